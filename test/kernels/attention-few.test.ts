// Attention of few queries on the host: the queries of heads that share keys are rows of one task, and a long past is cut into pieces.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { interpret } from "../../compiler/graph/interpret.ts";
import { hostChoices, type Pieces, type QueryTasks } from "../../compiler/kernel/schedule.ts";
import { distance, ndarray } from "../graphs.ts";
import { kernelsOf, lowered, valuesOf, widthsInTurn } from "../host/compare.ts";
import { compiled, runSequences } from "../host/run.ts";
import { firstAndNear } from "../masks.ts";
import { attended, cases, type Few, near, storesFor, tasksOf } from "./few-queries.ts";

const test = suite("attention-few");

/** Each piece takes several runs of keys: all that are seen, those of a window, those beside a gap that begins in one run and ends in another. */
const several = { B: 2, G: 8, R: 2, T: 2, U: 2900, A: 5, C: 6 };
const long: readonly Few[] = [
  { shape: several, at: [2890, 1201] },
  { shape: several, at: [1500, 2200], bounds: near(900) },
  { shape: several, at: [2047, 700], bounds: firstAndNear(0), more: "sink" },
];
const runs = (["f32", "bf16"] as const).flatMap((dtype) =>
  [...cases, ...long].map((c, i) => {
    const graph = attended(c, dtype);
    return { name: `${dtype}, case ${i}`, dtype, graph, sequence: lowered(graph), stores: storesFor(c, graph) };
  }),
);

test("a task is the heads that share keys, or 48 rows of them, or one of the pieces of a long past", () => {
  const of = runs.slice(0, cases.length + long.length).map(({ sequence }) => tasksOf(sequence));
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
    ...long.map(() => "attention_pieces 32, attention_join 64"),
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
const tasks: QueryTasks = { texts: 1, heads: 2, queries: 8, blocks: 1, rows: 8, keys: 5000 };
const piecesOf = (more: Partial<QueryTasks>): Pieces | null => hostChoices.attention.keyPieces({ ...tasks, ...more });
test("pieces are whole runs that cover all keys, of few queries and few heads alone", () => {
  const { count, run } = piecesOf({}) ?? { count: 0, run: null };
  assert.is(count, 8);
  assert.ok(run !== null && run % 64 === 0 && run >= 512);
  assert.equal([piecesOf({ texts: 16 }), piecesOf({ queries: 1, rows: 2 })], [piecesOf({}), piecesOf({})]);
  assert.equal([piecesOf({ queries: 9 }), piecesOf({ heads: 16 }), piecesOf({ keys: 1023 })], [null, null, null]);
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
/** Of a result [B, G, R, T, ..] of one sequence: query t. */
function queryOf(data: ArrayLike<number>, queries: number, heads: number, t: number): number[] {
  const width = data.length / (heads * queries);
  return Array.from(
    { length: heads * width },
    (_, i) => data[(Math.floor(i / width) * queries + t) * width + (i % width)] ?? NaN,
  );
}
test("a query has the same bits alone and beside others of its text, wherever a piece of the past ends", () => {
  const queries = 4;
  const past = [
    { of: { G: 1, R: 16, U: 1100 }, first: 1022 },
    { of: { G: 8, R: 16, U: 1613 }, first: 1500 },
    { of: { G: 1, R: 14, U: 5000 }, first: 4606, bounds: near(1100) },
    { of: { G: 4, R: 1, U: 2053 }, first: 1022 },
  ].map(({ of, first, bounds }) => {
    const shape = { B: 1, T: queries, A: 36, C: 32, ...of };
    const together: Few = { shape, at: [first], ...(bounds ? { bounds } : {}) };
    const graph = attended(together, "f32");
    const stores = storesFor(together, graph);
    const alone = Array.from({ length: queries }, (_, t) => {
      const one: Few = { ...together, shape: { ...shape, T: 1 }, at: [first + t] };
      const own = attended(one, "f32");
      const q = queryOf(stores.get("q")?.data ?? [], queries, of.G * of.R, t);
      const given = new Map([...stores, ...storesFor(one, own)].filter(([name]) => name === "at"));
      return {
        sequence: lowered(own),
        stores: new Map([...stores, ...given, ["q", ndarray("f32", [1, of.G, of.R, 1, 36], q)]]),
      };
    });
    return { heads: of.G * of.R, all: [{ sequence: lowered(graph), stores }, ...alone] };
  });
  const each = past.flatMap(({ all }) => all);
  const lib = compiled(kernelsOf(each.map(({ sequence }) => sequence)), ["-march=native", "-O2"]);
  const made = runSequences(each, 2, lib);
  past.forEach(({ heads }, i) => {
    const [together = [], ...alone] = made.slice(i * (queries + 1), (i + 1) * (queries + 1));
    alone.forEach((values, t) =>
      values.forEach((value, r) =>
        assert.equal(queryOf(together[r] ?? [], queries, heads, t), [...value], `past ${i}, query ${t}, result ${r}`),
      ),
    );
  });
});
test.run();
