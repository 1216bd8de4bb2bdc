// Attention of few queries on the host: the queries of heads that share keys are rows of one task, and a long past is cut into pieces.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { interpret } from "../../compiler/graph/interpret.ts";
import { distance, ndarray } from "../graphs.ts";
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
test("a text has the same bits alone and beside others, however long its past", () => {
  const texts = 16;
  const shape = { B: 1, G: 2, R: 2, T: 1, U: 1613, A: 36, C: 32 };
  const alone = { shape, at: [1499] };
  const beside = { shape: { ...shape, B: texts }, at: Array.from({ length: texts }, () => 1499) };
  const [one, many] = [attended(alone, "f32"), attended(beside, "f32")];
  const stores = storesFor(alone, one);
  const copies = [...stores].map(([name, { dtype, shape, data }]) => {
    const all = Array.from({ length: texts }, () => [...data]).flat();
    return [name, ndarray(dtype, [texts, ...shape.slice(1)], all)] as const;
  });
  const both = [
    { sequence: lowered(one), stores },
    { sequence: lowered(many), stores: new Map(copies) },
  ];
  const lib = compiled(kernelsOf(both.map(({ sequence }) => sequence)), ["-march=native", "-O2"]);
  const [own = [], others = []] = runSequences(both, 2, lib);
  own.forEach((values, r) =>
    assert.equal([...(others[r] ?? [])], Array.from({ length: texts }, () => [...values]).flat(), `result ${r}`),
  );
});
test.run();
