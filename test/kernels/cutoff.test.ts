// Where the largest of a row are enough, against the definition: on the host, and on the emulator by one block a row and by pieces of rows.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { roundBf16 } from "../../compiler/graph/array.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, NdArray } from "../../compiler/graph/node.ts";
import { hostChoices } from "../../compiler/kernel/schedule.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { emulationModes, loweredForCuda, modulesOf, type Run, runEmulated } from "../emulator/sequence.ts";
import { ndarray } from "../graphs.ts";
import { graphOf, kernelsOf, lowered, valuesOf } from "../host/compare.ts";
import { compiled, runSequences } from "../host/run.ts";

const test = suite("cutoff");
const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
const draw = (i: number): number => Math.imul(i + 1, 2654435761) >>> 0;
/** Rows of many equals, of no equals, of numbers near 0, of infinities, zeros of both signs and NaN; the first is all of one number. */
const rows: readonly ((j: number, n: number) => number)[] = [
  () => 3,
  (j) => draw(j) % 7,
  (j) => (draw(j) - 2 ** 31) * 1e-3,
  (j, n) => n - j,
  (j) => (draw(j) - 2 ** 31) * 2 ** -170,
  (j) => (j % 97 === 3 ? -j : -inf),
  (j) => (j % 5 === 0 ? nan : (draw(j) % 100) - 50),
  (j) => [0, -0, inf, -inf, nan][draw(j) % 5] ?? 0,
  () => nan,
];
const amounts = (n: number): number[] => [0, 1, 2, 3, n / 2, n - 1, n, n + 7, -1];
interface Case {
  readonly n: number;
  readonly weight: "one" | "own" | "whole";
  readonly dtype?: DType;
  readonly asked?: readonly number[];
}
/** Each row with each amount. Weights are quarters, so that any order gives the same sums; `one`: whole numbers count. */
function made({ n, weight, dtype = "f32", asked = amounts(n) }: Case): {
  readonly graph: Graph;
  readonly stores: Map<string, NdArray>;
} {
  const g = new GraphBuilder(ops);
  const count = rows.length * asked.length;
  const kind = weight === "own" ? "f32" : "i32";
  const of = (name: string, type: DType, shape: readonly number[]) => b.param(g, name, { dtype: type, shape });
  const x = of("x", dtype, [count, n]);
  const each =
    weight === "one" ? b.broadcastTo(g, b.constant(g, 1, "i32"), [count, n]) : of("weight", kind, [count, n]);
  const row = (i: number): number => Math.floor(i / n);
  const data = Float64Array.from({ length: count * n }, (_, i) => {
    const value = rows[row(i) % rows.length]?.(i % n, n) ?? 0;
    return dtype === "f32" ? Math.fround(value) : roundBf16(value);
  });
  const unit = kind === "f32" ? 4 : 1;
  const weights = Float64Array.from({ length: count * n }, (_, i) => (draw(i + 7) % 4) / unit);
  const wanted = Float64Array.from({ length: count }, (_, r) => {
    const amount = asked[Math.floor(r / rows.length)] ?? 0;
    return weight === "own" ? amount * 0.375 : Math.floor(amount);
  });
  const stores = new Map<string, NdArray>([
    ["x", { dtype, shape: [count, n], data }],
    ["weight", { dtype: kind, shape: [count, n], data: weights }],
    ["amount", { dtype: kind, shape: [count], data: wanted }],
  ]);
  return { graph: graphOf([b.cutoff(g, x, each, of("amount", kind, [count]))]), stores };
}
function check(name: string, graph: Graph, stores: Map<string, NdArray>, got: readonly Float64Array[]): void {
  const [want] = interpret(valuesOf(graph), stores);
  want?.data.forEach((x, i) => assert.ok(x === got[0]?.[i], `${name}: row ${i} is ${got[0]?.[i]}, not ${x}`));
}
const cases: readonly Case[] = [1, 7, 100, 1000].flatMap((n) =>
  (["one", "own", "whole"] as const).map((weight) => ({ n, weight })),
);
const told = ({ n, weight, dtype = "f32" }: Case): string => `${n} of ${dtype}, ${weight}`;

test("on the host, by any number of threads", () => {
  const all = [...cases, { n: 130, weight: "own", dtype: "bf16" } as const].map((c) => ({ name: told(c), ...made(c) }));
  const lowerings = all.map((c) => ({ ...c, sequence: lowered(c.graph, hostChoices) }));
  const lib = compiled(kernelsOf(lowerings.map((c) => c.sequence)), ["-Og"]);
  for (const threads of [1, 3]) {
    const got = runSequences(lowerings, threads, lib);
    for (const [i, { name, graph, stores }] of lowerings.entries()) check(name, graph, stores, got[i] ?? []);
  }
});
test("of equal elements each is sent its share back; where there is no cutoff, nothing is sent", () => {
  const g = new GraphBuilder(ops);
  const [x, dy] = [b.param(g, "x", { dtype: "f32", shape: [3, 4] }), b.param(g, "dy", { dtype: "f32", shape: [3] })];
  const amount = b.param(g, "amount", { dtype: "i32", shape: [3] });
  const { node } = b.cutoff(g, x, b.broadcastTo(g, b.constant(g, 1, "i32"), [3, 4]), amount);
  const [dx] = node.op.vjp(node, [dy], g);
  assert.ok(dx);
  const stores = new Map<string, NdArray>([
    ["x", ndarray("f32", [3, 4], [5, 2, 5, 5, 1, 4, 2, 3, 1, 2, 3, 4])],
    ["amount", ndarray("i32", [3], [2, 2, 9])],
    ["dy", ndarray("f32", [3], [6, 7, 8])],
  ]);
  assert.equal(Array.from(interpret([dx], stores)[0]?.data ?? []), [2, 0, 2, 2, 0, 0, 0, 7, 0, 0, 0, 0]);
});
test("on CUDA, a block a row and by pieces of few rows", async () => {
  const few = [1, 100].map((n) => ({ n, asked: [2, n, n + 7] }));
  const short = few.flatMap((c) => (["one", "own", "whole"] as const).map((weight) => ({ ...c, weight })));
  const long = (["one", "own", "whole"] as const).map((weight, i) => ({
    n: 4099,
    asked: [[5, 4000, 5][i] ?? 0],
    weight,
  }));
  const all: readonly Case[] = [...short, ...long];
  const runs = all.map((c): Run & { readonly graph: Graph } => {
    const { graph, stores } = made(c);
    return { name: told(c), graph, stores, sequence: loweredForCuda(graph) };
  });
  assert.equal(
    runs.map((r) => r.sequence.launches.length),
    [1, 1, 1, 1, 1, 1, 9, 9, 9],
  );
  const modules = await modulesOf(kernelsOf(runs.map((r) => r.sequence)));
  for (const [w, way] of emulationModes.entries()) {
    const chosen = runs.filter((_, i) => i % emulationModes.length === w);
    const outcomes = await runEmulated(chosen, modules, way);
    for (const [i, r] of chosen.entries()) {
      assert.is(outcomes[i]?.findings, "", `${r.name}, ${way.words}`);
      check(`${r.name}, ${way.words}`, r.graph, new Map(r.stores), outcomes[i]?.results ?? []);
    }
  }
});
test.run();
