// Shadowed experts: which ones they are, what of them is moved, and where they are refused. What they compute is compared in partition-programs.test.ts.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { load, loadFile } from "../../compiler/check/index.ts";
import type { Elaborated, Node, Value } from "../../compiler/graph/node.ts";
import { nodesOf } from "../../compiler/graph/walk.ts";
import { choosePanels } from "../../compiler/lower/layout.ts";
import type { OpAttrs } from "../../compiler/ops/attrs.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { type BuildRequest, toGraphs } from "../../compiler/pipeline.ts";
import { isFloat } from "../../compiler/types/dtype.ts";
import { dtypeOf } from "../../compiler/types/type.ts";
import { interpretOnWorkers, placementsOf } from "../on-workers.ts";
import { project } from "../project.ts";
import { compare, numbersOf } from "./compare-workers.ts";

const test = suite("shadow");
const example = loadFile(join(project, "examples/gpt-moe.moe"));
const sizes = { L: 1, D: 12, H: 8, Heads: 2, E: 6, V: 30, Context: 16 };
/** What makes the graphs of a step of the demo with a shadowed expert. */
const shadowing = (B: number, more: Partial<BuildRequest>) => () => {
  const entries = [{ method: "train", name: "train", sizes: { B, T: 5 } }];
  return toGraphs(example, { sizes, entries, precision: "f32", shadow: 1, ...more }, silentObserver());
};
test("shadowed experts are refused where workers share none", () => {
  for (const more of [{}, { workers: 5 }, { workers: 5, tensorParallel: 5 }])
    assert.throws(shadowing(5, more), /no experts can be shadowed/);
  assert.throws(shadowing(4, { workers: 4, tensorParallel: 2 }), /no experts can be shadowed/); // 3 of each pair
});
/** Experts and an embedding, of which one is trained, and the other may be codes, as may experts that are not called by index. */
function tuned(trained: "embed" | "experts"): Elaborated {
  const text = `import { Embedding, Linear } from "std/nn"
    import { cross_entropy } from "std/loss"
    import { AdamW } from "std/optim"
    model Tuned(V = 30, D = 8, E = 4) {
      embed: Embedding(V, D)
      experts: Linear(D, D)[E]
      all: Linear(D, D)[E]
      train(tokens: i32[N], targets: i32[N]) {
        let y = experts[where(tokens < E, tokens, 0)](embed(tokens))
        loss language = cross_entropy(embed.logits(reshape(all[:](reshape(y, [E, N / E, D])), [N, D])), targets)
        optimize ${trained} with AdamW(lr: 0.1)
      }
    }`;
  const entries = [{ method: "train", name: "train", sizes: { N: 8 } }];
  const request = { sizes: {}, entries, precision: "f32", workers: 2, shadow: 1, weights: "int8" } as const;
  return toGraphs(load({ name: "tuned.moe", text }), request, silentObserver());
}
test("of frozen experts, which are codes, none are shadowed, but trained experts are, whatever else is codes", () => {
  assert.throws(() => tuned("embed"), /codes cannot be shadowed/);
  const codes = tuned("experts").stores.flatMap((s) => (s.quantised ? [s.name] : []));
  assert.equal(codes, ["embed.weight", "all.*.weight"]);
});
test("the experts with the most rows are shadowed: theirs have no room at their owner, and take none", () => {
  const program = load({
    name: "uneven.moe",
    text: `import { Linear } from "std/nn"
      model Uneven(D = 3, E = 4) {
        experts: Linear(D, D)[E]
        routed(x: f32[N, D], i: i32[N]) -> f32[N, D] {
          return experts[where(i < 99 && range(N) < 2, range(N), 3)](x)
        }
      }`,
  });
  const entries = [{ method: "routed", name: "routed", sizes: { N: 8 }, gradients: true }];
  const one = { program, request: { sizes: {}, entries }, workers: 2, room: 1 };
  assert.throws(() => compare(one), /room for 4 rows/);
  compare({ ...one, shadow: 1 });
});
test("of shadowed experts alone all workers get the parameters, in groups too, and these stay in panels", () => {
  for (const more of [{ workers: 2 }, { workers: 4 }, { workers: 6, tensorParallel: 2 }]) {
    const [own, none] = [{}, { shadow: undefined }].map((how) => shadowing(12, { ...more, ...how })());
    const gathers = own?.graphs.flatMap(nodesOf).filter((n) => n.op.name === "all_gather") ?? [];
    assert.not.ok(gathers.some((n) => n.results.some(isOfExperts)));
    const panels = [own, none].map((e) => [...choosePanels(e?.graphs ?? [], e?.stores ?? [], 4).keys()].toSorted());
    assert.ok(panels[0]?.some((name) => name.includes("experts")));
    assert.equal(panels[0], panels[1]);
  }
});
test("with --precision bf16 the copies of shadowed experts are moved", () => {
  const { graphs } = shadowing(4, { workers: 2, precision: "bf16" })();
  const sums = graphs.flatMap(nodesOf).filter((n) => n.op.name === "all_reduce" && n.results.some(isOfExperts));
  assert.equal(
    sums.flatMap((n) => n.results.map((v) => dtypeOf(v.type))),
    sums.map(() => "bf16"),
  );
  assert.is(sums.length, 6); // three matrices, and their gradients
});
/** How many rows each of so many workers sorts for the shadowed expert. */
function shadowedRows(workers: number, tensorParallel?: number): number[] {
  const { graphs, stores } = shadowing(12, { workers, tensorParallel })();
  const [train] = graphs
    .filter((g) => g.name === "train")
    .flatMap(nodesOf)
    .filter(isOfOneGroup);
  const ends = train?.results.slice(1, 2).map((value) => ({ role: "metric" as const, name: "ends", value })) ?? [];
  const whole = shadowing(12, { workers: 1, shadow: undefined })().stores;
  const found = interpretOnWorkers({ name: "rows", results: ends }, numbersOf(whole), placementsOf(stores), workers);
  return found.map(([own]) => own?.data[1] ?? Number.NaN);
}
const isOfOneGroup = ({ op, attrs }: Node): boolean => op.name === "route" && (attrs as OpAttrs["route"]).groups === 1;
test("workers that share matrices share out the rows of shadowed experts", () => {
  const [alone, shared] = [shadowedRows(3), shadowedRows(6, 2)];
  assert.equal(
    alone,
    alone.map((_, i) => (shared[2 * i] ?? 0) + (shared[2 * i + 1] ?? 0)),
  );
  assert.ok(shared.filter((n) => n > 0).length > 4);
});
/** Whether a value has a matrix of each of several experts. */
const isOfExperts = ({ type }: Value): boolean => isFloat(dtypeOf(type)) && type.shape.length === 3;
test.run();
