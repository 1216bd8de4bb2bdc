// Training steps of which several workers share each sequence's tokens, run together in the interpreter, against one worker.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { load, loadFile } from "../../compiler/check/index.ts";
import type { Graph, Node } from "../../compiler/graph/node.ts";
import { nodesOf } from "../../compiler/graph/walk.ts";
import { item } from "../../compiler/item.ts";
import type { OpAttrs } from "../../compiler/ops/attrs.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { type BuildRequest, toGraphs } from "../../compiler/pipeline.ts";
import { sum } from "../../compiler/types/numbers.ts";
import { count, dims } from "../../compiler/types/type.ts";
import { partOf } from "../../runtime/workers/shards.ts";
import { project } from "../project.ts";
import { compare, shown } from "./compare-workers.ts";

const test = suite("partition-context");

const example = loadFile(join(project, "examples/gpt-moe.moe"));
const sizes = { L: 1, D: 12, H: 8, Heads: 2, E: 6, V: 30, Context: 16 };
for (const { B, accumulate, ...sharing } of [
  { workers: 2, contextParallel: 2, B: 1, accumulate: 1 },
  { workers: 3, contextParallel: 3, B: 1, accumulate: 1 },
  { workers: 2, contextParallel: 2, B: 3, accumulate: 2 },
  { workers: 3, contextParallel: 3, B: 2, accumulate: 1, room: 2.9, shardOptimizer: true },
  { workers: 4, contextParallel: 2, B: 2, accumulate: 1 },
  { workers: 6, contextParallel: 3, B: 4, accumulate: 1, shardParameters: true, expertParallel: 1 },
  { workers: 4, contextParallel: 2, tensorParallel: 2, B: 1, accumulate: 1 },
  { workers: 2, contextParallel: 2, B: 3, accumulate: 1, shadow: 1, shardParameters: true },
  { workers: 8, contextParallel: 2, tensorParallel: 2, B: 2, accumulate: 1, shardOptimizer: true },
])
  test(`a step of the demo by ${shown(sharing)}, ${B} rows, ${accumulate} times`, () => {
    const of = { sizes: { B, T: 6 }, method: "train" };
    const names = accumulate > 1 ? ["train", "evaluate"] : ["train"]; // whose forward is the same
    const entries = names.map((name) => ({ ...of, name }));
    for (const limits of [{}, { sharedRows: -Infinity }])
      compare({ program: example, request: { sizes, entries, accumulate, limits }, ...sharing });
  });
for (const { B, ...sharing } of [
  { workers: 2, contextParallel: 2, shardParameters: true, B: 2 },
  { workers: 4, contextParallel: 2, tensorParallel: 2, B: 1 },
  { workers: 8, contextParallel: 4, expertParallel: 2, B: 2 },
])
  test(`tokens in pieces, a step by ${shown(sharing)}`, () => {
    const entries = [{ name: "train", method: "train", sizes: { B, T: 16 } }];
    const request = {
      sizes: { ...sizes, D: 4, H: 2, E: 2, V: 6, Context: 16 },
      entries,
      limits: { sharedRows: -Infinity, leastTokens: 2 },
    };
    compare({ program: example, request, ...sharing });
  });
test("norms of heads are summed by the workers that share matrices, then by others, whose ranks lie apart", () => {
  const path = join(project, "examples/gpt-moe.moe");
  const plain = "Attention(D, Heads, Context: Context)";
  const text = readFileSync(path, "utf8").replaceAll(plain, plain.replace(")", ", normed: true)"));
  const program = load({ name: path, text });
  const entries = [{ name: "train", method: "train", sizes: { B: 2, T: 6 } }];
  compare({ program, request: { sizes, entries }, workers: 8, contextParallel: 2, tensorParallel: 2 });
});
test("tokens are in up to eight pieces, in each of which a worker has 16 or more, so that a causal mask leaves all about as much", () => {
  for (const [T, workers, pieces] of [
    [16, 2, 1],
    [62, 2, 1],
    [64, 2, 2],
    [2048, 2, 8],
    [8192, 4, 8],
  ] as const) {
    const entries = [{ name: "train", method: "train", sizes: { B: 1, T } }];
    const request = { sizes, entries, precision: "f32", workers, contextParallel: workers } as const;
    const { stores } = toGraphs(example, request, silentObserver());
    const shards = stores.find((s) => s.name === "train/tokens")?.shards ?? [];
    const seen = Array.from({ length: workers }, (_, w) => {
      const [, own = []] = partOf({ shape: [1, T], shards }, w);
      return sum(own.map(({ start, length }) => length * (start + (length + 1) / 2)));
    });
    const mean = sum(seen) / workers;
    const most = 1 + (workers - 1) / (pieces * workers);
    assert.ok(Math.max(...seen) <= most * mean && Math.max(...seen) > 0.975 * most * mean, `${T}: ${seen.join(" ")}`);
  }
});
test("sequences whose length the workers do not divide are refused", () => {
  const entries = [{ name: "train", method: "train", sizes: { B: 1, T: 5 } }];
  const request = { sizes, entries, precision: "f32", workers: 2, contextParallel: 2 } as const;
  assert.throws(
    () => toGraphs(example, request, silentObserver()),
    /2 workers cannot share the tokens of a sequence: tokens has 5, targets has 5/,
  );
});
for (const [workers, B, T] of [
  [3, 1, 12],
  [3, 2, 12],
  [6, 4, 12],
  [3, 2, 96],
] as const)
  test(`each of ${workers} has a part of all that is computed of ${B} rows of ${T} tokens, gathers keys and values alone, and has a part of their gradients`, () => {
    const D = 8;
    const entries = [{ name: "train", method: "train", sizes: { B, T } }];
    const request = {
      sizes: { ...sizes, D, Context: T },
      entries,
      precision: "f32",
      workers,
      contextParallel: 3,
    } as const;
    const nodes = toGraphs(example, request, silentObserver()).graphs.flatMap(nodesOf);
    const moved = (op: string): number[] =>
      nodes
        .filter((node) => node.op.name === op && node.results[0]?.type.dtype === "f32")
        .flatMap(({ results }) => results.map(({ type }) => count(type)));
    const ofTokens = ((3 * B) / workers) * T * D;
    assert.equal(moved("all_gather"), [ofTokens, ofTokens]);
    assert.equal(
      moved("all_to_all").filter((n) => n === ofTokens),
      [ofTokens, ofTokens],
    );
    assert.not(moved("all_reduce").includes(ofTokens));
  });
/** Of the demo's step by two groups of two: by whom its gradients are summed up, with the shape. */
function sums(more: Partial<BuildRequest>): string[] {
  const entries = [{ name: "train", method: "train", sizes: { B: 2, T: 12 } }];
  const request = { sizes, entries, precision: "f32", workers: 4, contextParallel: 2, ...more } as const;
  const nodes = toGraphs(example, request, silentObserver()).graphs.flatMap(nodesOf) as Node<OpAttrs["all_reduce"]>[];
  const found = nodes.filter(({ op, results }) => op.name === "all_reduce" && dims(item(results, 0).type).length > 1);
  return found.map(({ attrs, results }) => `${attrs.workers} ${dims(item(results, 0).type).join(" ")}`).toSorted();
}
const four = (what: string): string[] => Array.from({ length: 4 }, () => what);
test("groups that share the batch sum gradients at once with those that share tokens, and parts where each has one", () => {
  const experts = ["2 3 12 8", "2 3 12 8", "2 3 8 12"]; // each is on one of two
  assert.equal(sums({}), [...experts, ...four("4 12 12"), "4 12 6", "4 30 12"]);
  assert.equal(sums({ shardParameters: true }), ["2 15 12", ...experts, ...four("2 6 12"), "2 6 6"]);
  const copied = ["4 3 12 8", "4 3 12 8", "4 3 8 12"]; // of each there are two in each of two groups
  assert.equal(sums({ workers: 8, contextParallel: 4, expertParallel: 2 }), [
    ...copied,
    ...four("8 12 12"),
    "8 12 6",
    "8 30 12",
  ]);
});
test("each worker draws the random numbers of its own rows and tokens, as one draws them", () => {
  const program = load({
    name: "dropped.moe",
    text: `import { Linear, dropout } from "std/nn"
      import { Sgd } from "std/optim"
      model Dropped(D = 3) {
        up: Linear(D, D)
        train(x: f32[B, T, D]) {
          loss square = mean(dropout(up(x), 0.5) ** 2)
          optimize with Sgd(lr: 0.1)
        }
      }`,
  });
  const entries = [{ name: "train", method: "train", sizes: { B: 4, T: 6 } }];
  const request = { sizes: {}, entries };
  for (const sharing of [
    { workers: 6, contextParallel: 3 },
    { workers: 8, contextParallel: 2 },
  ]) {
    compare({ program, request, ...sharing });
    const { graphs } = toGraphs(program, { ...request, precision: "f32", ...sharing }, silentObserver());
    const [train] = graphs.filter((g) => g.name === "train");
    const drawn = nodesOf(train as Graph).filter((n) => n.op.name === "random");
    assert.equal(
      drawn.map(({ results }) => count(item(results, 0).type)),
      [(4 * 6 * 3) / sharing.workers],
    );
  }
});
test.run();
