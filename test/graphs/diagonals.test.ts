// Sums into places that arithmetic on ranges says: nothing is sorted, in what users write and on the host.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { load } from "../../compiler/check/index.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { NdArray, Value } from "../../compiler/graph/node.ts";
import { topological } from "../../compiler/graph/walk.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toGraphs } from "../../compiler/pipeline.ts";
import { affineOf } from "../../compiler/rewrite/affine.ts";
import { diagonals } from "../../compiler/transform/scatters/diagonals.ts";
import { dims } from "../../compiler/types/type.ts";
import { distance, generator, printValues, storesOf } from "../graphs.ts";
import { compare, compareWidths, graphOf, kernelsOf, lowered, valuesOf } from "../host/compare.ts";
import { compiled, runSequence } from "../host/run.ts";

const test = suite("diagonals");

const programs: Record<string, string> = {
  "a Toeplitz matrix": `layer P(D, T) {
    param k: f32[D, T] = 0
    forward(x: f32[D, T, 3]) -> f32[D, T, 3] {
      let at: i32[D, T, T] = range(T)[:, new] - range(T)
      return take(k, at, axis: 1) @ x
    }
  }`,
  "buckets of how far": `layer P(D, T) {
    param table: f32[8, D] = 0
    forward(x: f32[D, T, 3]) -> f32[D, T, 3] {
      let far = range(T) - range(T)[:, new]
      let back = range(T)[:, new] - range(T)
      let d = abs(far)
      let log = 2 + i32(log(maximum(f32(d), 1) / 2) / log(16) * 2)
      let bucket = i32(back < 0) * 4 + where(d < 2, d, minimum(log, 3))
      return transpose(transpose(table[bucket], 1, 2), 0, 1) @ x
    }
  }`,
  "a relative shift": `layer P(D, T) {
    param k: f32[D, 2 * T, 4 * T - 1] = 0
    forward(x: f32[D, 2 * T, 3]) -> f32[D, 2 * T, 3] {
      let far = range(2 * T) - range(2 * T)[:, new] + 2 * T - 1
      return take(k, far[new], axis: 2) @ x
    }
  }`,
  "a window's relative positions": `layer P(D, T, W = T) {
    param table: f32[(2 * W - 1) * (2 * W - 1), D] = 0
    forward(x: f32[D, W * W, 3]) -> f32[D, W * W, 3] {
      let y = div(range(W * W), W)
      let z = range(W * W) % W
      let at = (y[:, new] - y + W - 1) * (2 * W - 1) + z[:, new] - z + W - 1
      return transpose(transpose(table[at], 1, 2), 0, 1) @ x
    }
  }`,
};
for (const [name, text] of Object.entries(programs))
  test(`${name}: the gradient is right, and no more is sorted than there are distances`, () => {
    const entries = [{ method: "forward", name: "forward", sizes: {}, gradients: true }];
    const sizes = { D: 2, T: text.includes("W = T") ? 4 : 17 };
    const request = { declaration: "P", sizes, precision: "f32", entries } as const;
    const { graphs } = toGraphs(load({ name: "test.moe", text }), request, silentObserver());
    const [out, grad] = (graphs.find((g) => g.name === "forward")?.results ?? []).flatMap((r) =>
      r.name.startsWith("input.") ? [] : [r.value],
    ) as [Value, Value];
    const sorted = topological([out, grad]).flatMap(({ op, args }) => (op.name === "route" ? args : []));
    assert.ok(
      sorted.every(({ type }) => dims(type).join() === "33"),
      "but one index for each distance",
    );
    const stores = storesOf([out, grad]);
    const [y, dk] = interpret([out, grad], stores, { exact: true });
    const [k, dy] = ["", "cotangent"].map((part) => [...stores].find(([s]) => isOf(s, part))?.[1]);
    assert.ok(Math.abs(dot(y, dy) - dot(dk, k)) < 1e-9 * Math.abs(dot(y, dy)), "the result is linear in the parameter");
  });
const dot = (a?: NdArray, b?: NdArray): number =>
  Array.from(a?.data ?? []).reduce((sum, x, i) => sum + x * entry(b, i), 0);
const entry = (a: NdArray | undefined, i: number): number => a?.data[i] ?? Number.NaN;
const isOf = (store: string, part: string): boolean =>
  part === "" ? !store.startsWith("forward/") : store.includes(part);

test("an index whose every step reads the one before twice is made once a step", () => {
  const g = new GraphBuilder(ops);
  const at = (axis: number): Value => b.broadcast(g, b.iota(g, 37), [37, 37], [axis]);
  const steps = Array.from({ length: 26 }, () => null);
  const index = steps.reduce(
    (h) => b.rem(g, b.add(g, b.mul(g, h, 3), b.idiv(g, h, 2)), 64),
    b.rem(g, b.abs(g, b.sub(g, at(0), at(1))), 64),
  );
  const x = b.transpose(g, b.param(g, "x", { dtype: "f32", shape: [37, 37] }), [1, 0]);
  const sum = b.make1(g, "scatter", [index, x], { axis: 0, batch: 0, mode: "add", size: 64 });
  const read = b.mul(g, b.take(g, b.param(g, "k", { dtype: "f32", shape: [64] }), index), x);
  const start = performance.now();
  const graph = graphOf([diagonals.apply(sum, g) ?? sum, read]);
  lowered(graph);
  assert.ok(performance.now() - start < 20_000, "the time doubled with each step");
});
test("the host makes the same sums, without a routing, but for one of how far two places may lie apart", () => {
  const g = new GraphBuilder(ops);
  const graphs = diagonals.examples(g).map((v) => graphOf([v]));
  const sequences = graphs.map((graph) => lowered(graph));
  const kernels = kernelsOf(sequences);
  const routed = sequences.map((s) => kernelsOf([s]).some((k) => k.name.startsWith("route")));
  assert.equal(routed, [false, false, false, false, true, ...Array(7).fill(false)]);
  const made = kernelsOf(sequences.slice(5, 6)).filter(({ text }) => text.includes("exp_"));
  assert.ok(made.length === 1 && made.every(({ text }) => !text.includes("guarded")), "made once, then read");
  const lib = compiled(kernels, ["-Og"]);
  for (const [i, graph] of graphs.entries()) {
    const s = sequences[i];
    if (s) compare(`diagonals ${i}`, graph, runSequence(s, storesOf(valuesOf(graph)), 2, lib));
  }
});
test("lanes read what an index finds in its axis: backwards, apart, of each type, to the end of a row, by a fold too", () => {
  const g = new GraphBuilder(ops);
  const [rows, places] = [b.broadcast(g, b.iota(g, 7), [7, 61], [0]), b.broadcast(g, b.iota(g, 61), [7, 61], [1])];
  const near = b.sub(g, b.mul(g, rows, 5), b.sub(g, places, 20));
  const skipping = b.add(g, b.mul(g, places, 3), b.sub(g, rows, 9));
  const rest = b.param(g, "rest", { dtype: "f32", shape: [5, 21] });
  const [five, back] = [b.broadcastTo(g, b.constant(g, 5, "f32"), [21]), b.sub(g, 60, b.iota(g, 61))];
  const numbered = b.reshape(g, b.iota(g, 61 * 7), [61, 7]);
  const takes = (dtype: "f32" | "bf16" | "i32" | "bool"): Value[] =>
    [near, skipping].map((index) => b.take(g, b.param(g, dtype, { dtype, shape: [40] }), index));
  const graphs = [
    ...takes("f32").map((y) => [b.exp(g, y), b.sum(g, y, [1])]),
    ...takes("bf16").map((y) => [b.mul(g, b.cast(g, y, "f32"), 3)]),
    ...takes("i32").map((y) => [b.add(g, y, 1), b.sum(g, y, [1])]),
    ...takes("bool").map((y) => [b.cast(g, y, "i32")]),
    [b.concat(g, [b.exp(g, b.param(g, "x", { dtype: "f32", shape: [5, 40] })), b.like(g, rest, 0)], 1)],
    [b.exp(g, b.take(g, b.concat(g, [b.param(g, "x", { dtype: "f32", shape: [40] }), five], 0), back))],
    [b.add(g, b.param(g, "y", { dtype: "i32", shape: [7, 61] }), b.transpose(g, numbered, [1, 0]))],
  ].map(graphOf);
  const sequences = graphs.map((graph) => lowered(graph));
  const texts = sequences.map((s) => kernelsOf([s]).map(({ text }) => text));
  assert.ok(texts.slice(0, -3).every((list) => list.every((t) => /ld_guarded<(-1, -1|3, 3)>/.test(t))));
  compareWidths("within", graphs, sequences);
});
test("drawn indices: what is summed along diagonals is what the scatter says", () => {
  const next = generator("diagonals");
  const draw = (n: number): number => Math.floor(next() * n);
  const pick = (list: readonly number[]): number => list[draw(list.length)] ?? 1;
  let applied = 0;
  for (let i = 0; i < 400; i++) {
    const g = new GraphBuilder(ops);
    const shape = Array.from({ length: 2 + draw(3) }, () => pick([1, 2, 3, 4, 6, 7, 12]));
    const batch = draw(2);
    const term = (): Value => {
      const axis = i % 3 === 0 ? draw(shape.length) : batch + draw(shape.length - batch);
      const n = b.iota(g, shape[axis] ?? 1);
      const part = [n, b.idiv(g, n, pick([2, 3])), b.rem(g, n, pick([2, 3]))][draw(3)] ?? n;
      return b.mul(g, b.broadcast(g, part, shape, [axis]), pick([1, 2, 3, -1, -2, 7]));
    };
    let index = b.add(g, b.add(g, term(), term()), draw(30) - 10);
    if (draw(3) === 0) index = b.add(g, index, term());
    if (draw(3) === 0) index = b.minimum(g, b.abs(g, index), b.add(g, b.cast(g, b.gt(g, index, 3), "i32"), 4));
    const rows = b.param(g, "rows", { dtype: "f32", shape: [...shape, 2] });
    const sum = b.make1(g, "scatter", [index, rows], { axis: batch, batch, mode: "add", size: 1 + draw(40) });
    const after = diagonals.apply(sum, g);
    if (!after) continue;
    applied++;
    const [x, y] = interpret([sum, after], storesOf([sum]), { exact: true });
    assert.equal(y?.shape, x?.shape);
    assert.ok(distance(x?.data ?? [], y?.data ?? [0]) < 1e-9, printValues([sum, after]));
  }
  assert.ok(applied > 150, `only ${applied} are such sums`);
});
const isAffine = (v: Value): boolean => affineOf(v) !== null;
test("indices that are no arithmetic on ranges", () => {
  const g = new GraphBuilder(ops);
  const n = b.iota(g, 10);
  const four = b.broadcast(g, b.iota(g, 4), [3, 4], [1]);
  assert.ok(isAffine(b.add(g, b.mul(g, b.idiv(g, n, 5), 7), b.rem(g, n, 5))));
  assert.equal(affineOf(b.slice(g, b.mul(g, n, 2), 0, 3, 4)), { axes: [[{ size: 4, step: 2 }]], start: 6 });
  for (const v of [
    b.param(g, "index", { dtype: "i32", shape: [10] }),
    b.idiv(g, n, 4), // a run that the axis ends in
    b.idiv(g, b.mul(g, n, 6), 4), // steps of one and a half
    b.rem(g, b.add(g, n, 3), 5), // one that begins before it
    b.slice(g, b.add(g, b.mul(g, b.idiv(g, n, 5), 7), b.rem(g, n, 5)), 0, 1, 4), // a part of both digits
    b.idiv(g, b.sub(g, 2, b.iota(g, 8)), 4), // one that goes down past a multiple
    b.mul(g, n, n),
    b.mul(g, n, 2 ** 28), // more than an i32 holds
    b.add(g, n, 2 ** 31 - 9),
    b.reshape(g, b.add(g, b.mul(g, b.broadcast(g, b.iota(g, 3), [3, 4], [0]), 5), four), [2, 6]), // rows across two
    b.add(g, b.rem(g, n, 2), b.rem(g, n, 5)), // cuts that cross
    b.abs(g, n),
  ])
    assert.not.ok(isAffine(v));
});

test.run();
