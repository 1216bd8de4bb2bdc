// Attention of few queries on the host: the queries of heads that share keys are rows of one task, and a long past is cut into pieces.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { interpret } from "../../compiler/graph/interpret.ts";
import { distance } from "../graphs.ts";
import { kernelsOf, lowered, valuesOf, widthsInTurn } from "../host/compare.ts";
import { compiled, runSequences } from "../host/run.ts";
import { attended, cases, storesFor, tasksOf } from "./few-queries.ts";

const test = suite("attention-few");

const runs = (["f32", "bf16"] as const).flatMap((dtype) =>
  cases.map((c, i) => {
    const graph = attended(c, dtype);
    return { name: `${dtype}, case ${i}`, dtype, graph, sequence: lowered(graph), stores: storesFor(c, graph) };
  }),
);

test("a task is the heads that share keys, or 48 rows of them, or one of the pieces of a long past", () => {
  const of = runs.slice(0, cases.length).map(({ sequence }) => tasksOf(sequence));
  assert.equal(of, [
    "attention 2",
    "attention 8",
    "attention 2",
    "attention 3",
    "attention 2",
    "attention 2",
    "attention_pieces 6, attention_join 32",
    "attention_pieces 6, attention_join 36",
    "attention_pieces 4, attention_join 2",
    "attention_pieces 6, attention_join 3",
    "attention 1",
  ]);
  const texts = kernelsOf(runs.map(({ sequence }) => sequence)).map(({ text }) => text);
  assert.not.ok(
    texts.some((text) => /^\/\/ *$/m.test(text)),
    "no comment says nothing",
  );
});
for (const { flags, some } of widthsInTurn(runs))
  test(`few queries as the op says, by any number of threads ${flags.join(" ")}`, () => {
    const lib = compiled(kernelsOf(some.map((x) => x.sequence)), [...flags, "-Og"]);
    const [all, others] = [1, 3].map((threads) => runSequences(some, threads, lib)) as [
      Float64Array[][],
      Float64Array[][],
    ];
    for (const [i, { name, dtype, graph, stores }] of some.entries()) {
      assert.equal(others[i], all[i], name);
      interpret(valuesOf(graph), stores, { exact: true }).forEach((want, r) => {
        const most = Math.max(1, ...want.data.map(Math.abs));
        const off = distance(want.data, all[i]?.[r] ?? []);
        assert.ok(off < (dtype === "bf16" ? 2 ** -7 : 1e-5) * most, `${name}, result ${r}: off by ${off}`);
      });
    }
  });
test.run();
