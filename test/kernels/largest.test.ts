// The largest of long rows, found by runs, and of short ones, by rank.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, NdArray } from "../../compiler/graph/node.ts";
import { item } from "../../compiler/item.ts";
import { hostChoices } from "../../compiler/kernel/schedule.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { emulationModes, loweredForCuda, modulesOf, type Run, runEmulated } from "../emulator/sequence.ts";
import { graphOf, kernelsOf, lowered, valuesOf } from "../host/compare.ts";
import { compiled, runSequence } from "../host/run.ts";

const test = suite("largest");
const draw = (i: number): number => Math.imul(i + 1, 2654435761) >>> 0;
/** Rows of few numbers, so of many equals; of numbers in order; of one number; with infinities, zeros of both signs and NaN. */
const rows: readonly ((j: number, n: number) => number)[] = [
  (j) => draw(j) % 7,
  (j) => j,
  (j, n) => n - j,
  () => 3,
  (j) => (j % 5 === 0 ? Number.NaN : draw(j) % 100),
  (j) => (j % 97 === 3 ? j : Number.NEGATIVE_INFINITY),
  (j) => (j === 200 ? 1 : Number.NaN),
  (j) => [0, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN][draw(j) % 5] ?? 0,
];
/** Whatever the rows hold, the interpreter's values and places. `word`: of the text of every kernel. */
function check(cases: readonly { n: number; k: number; times?: number }[], word: string): void {
  const made = cases.map(({ n, k, times = 1 }) => {
    const g = new GraphBuilder(ops);
    const count = times * rows.length;
    const graph = graphOf(b.topK(g, b.param(g, "x", { dtype: "f32", shape: [count, n] }), k));
    return { n, count, graph, sequence: lowered(graph, hostChoices) };
  });
  const kernels = kernelsOf(made.map(({ sequence }) => sequence));
  assert.is(kernels.filter((k) => k.text.includes(word)).length, cases.length);
  const lib = compiled(kernels, ["-Og"]);
  for (const { n, count, graph, sequence } of made) {
    const value = (r: number, j: number): number => rows[r % rows.length]?.(j + r - (r % rows.length), n) ?? 0;
    const data = Float64Array.from({ length: count * n }, (_, i) => value(Math.floor(i / n), i % n));
    const stores = new Map<string, NdArray>([["x", { dtype: "f32", shape: [count, n], data }]]);
    const got = runSequence(sequence, stores, 2, lib);
    for (const [r, want] of interpret(valuesOf(graph), stores).entries())
      want.data.forEach((x, i) =>
        assert.ok(Object.is(x, got[r]?.[i]), `${n}: ${r}.${i} is ${x}, and not ${got[r]?.[i]}`),
      );
  }
}
test("by runs", () => {
  const cases = [
    { n: 256, k: 2 },
    { n: 300, k: 9 },
    { n: 1100, k: 34 },
  ];
  check(cases, "tops");
});
test("by counting how many come before", () => {
  const cases = [
    { n: 8, k: 2, times: 3 },
    { n: 15, k: 15, times: 2 },
    { n: 64, k: 12, times: 70 },
  ];
  check(cases, "ranks");
});
test("of rows of one", () => check([{ n: 1, k: 1, times: 3 }], "top_k"));

/** Also of nothing that is a number, at the start or everywhere; of whole numbers, the least among them. */
const floats = [...rows, (j: number) => (j < 3000 ? Number.NaN : -j), () => Number.NaN];
const wholes = [(j: number): number => draw(j) % 7, (): number => -(2 ** 31)];
test("on CUDA the one largest of few long rows is searched by pieces of them", async () => {
  const runs = ([["f32", floats] as const, ["i32", wholes] as const] as const).map(
    ([dtype, list]): Run & { readonly graph: Graph } => {
      const g = new GraphBuilder(ops);
      const [n, shape] = [6300, [list.length, 6300]];
      const graph = graphOf(b.topK(g, b.param(g, "x", { dtype, shape }), 1));
      const data = Float64Array.from({ length: list.length * n }, (_, i) => list[Math.floor(i / n)]?.(i % n, n) ?? 0);
      return { name: dtype, graph, stores: new Map([["x", { dtype, shape, data }]]), sequence: loweredForCuda(graph) };
    },
  );
  assert.equal(
    runs.map((r) => r.sequence.launches.map((l) => l.tasks)),
    [
      [30, 10],
      [6, 2],
    ],
  );
  const got = await runEmulated(runs, await modulesOf(kernelsOf(runs.map((r) => r.sequence))), item(emulationModes, 1));
  for (const [i, { graph, stores }] of runs.entries()) {
    assert.is(got[i]?.findings, "");
    assert.equal(
      got[i]?.results.map((x) => Array.from(x)),
      interpret(valuesOf(graph), new Map(stores)).map((x) => Array.from(x.data)),
    );
  }
});
test.run();
