// Products of f32 as sums of products of bf16 terms (AMX): as near to the definition as one by one in f32, whatever the sizes.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { NdArray, Value } from "../../compiler/graph/node.ts";
import { type Choices, hostChoicesOf } from "../../compiler/kernel/schedule.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import type { Sequence } from "../../compiler/plan/sequence.ts";
import { pairProducts } from "../../compiler/transform/products/pairs.ts";
import { bf16ProductsOf } from "../../runtime/host/backend.ts";
import { storesOf } from "../graphs.ts";
import {
  chosenSamples,
  compare,
  compareByCompilers,
  compareOps,
  graphOf,
  kernelsOf,
  kernelsOfSamples,
  lowered,
  valuesOf,
} from "../host/compare.ts";
import { hasTiles, hasTileVectors, machineFlags, splitAll, splitAndCut, tileFlags } from "../host/forms.ts";
import { compiled, runSequence, runSequences } from "../host/run.ts";
import { layers, moeLayer } from "../layers.ts";

const test = suite("split");
const p = (g: GraphBuilder, name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
/** Sizes about those of a tile (16 x 32), a strip (64) and what is split at a time (128). */
const sizes = [
  [1, 1, 1],
  [16, 32, 16],
  [17, 33, 15],
  [31, 127, 65],
  [33, 129, 48],
  [129, 300, 80],
  [20, 1030, 200],
  [34, 2080, 70],
] as const;
const products = (dtype: "f32" | "bf16"): Value[] => {
  const g = new GraphBuilder(ops);
  const of = (name: string, ...shape: number[]): Value => b.cast(g, b.param(g, name, { dtype, shape }), "f32");
  return sizes.flatMap(([m, k, n]) => {
    const [x, w] = [of(`x${m}`, m, k), of(`w${m}`, k, n)];
    const [turned, outer] = [of(`wT${m}`, n, k), of(`xT${m}`, k, m)];
    return [b.matmul(g, x, w), b.matmul(g, x, b.swap(g, turned)), b.matmul(g, b.swap(g, outer), w)];
  });
};
/** Numbers from 1 to 1e30, of both signs. */
const wide = (i: number): number => (i % 2 ? -1 : 1) * 1.2345678 * 10 ** ((i * 7) % 31);
/** A diagonal of powers of ten from 1e-29 to 1. */
const powers = (i: number): number => (i % 65 === 0 ? 10 ** ((i / 65) % 30) / 10 ** 29 : 0);
const square = (value: (i: number) => number): NdArray => ({
  dtype: "f32",
  shape: [64, 64],
  data: Float64Array.from(Float32Array.from({ length: 4096 }, (_, i) => value(i))),
});
const text = (choices: Choices, dtype: "f32" | "bf16" = "f32"): string =>
  kernelsOf([lowered(graphOf(products(dtype)), choices)])
    .map((k) => k.text)
    .join("\n");

/** Whether a product of that size is, by itself. */
const isSplit = (m: number, k: number, n: number): boolean => {
  const g = new GraphBuilder(ops);
  const graph = graphOf([b.matmul(g, p(g, "x", m, k), p(g, "w", k, n))]);
  return kernelsOf([lowered(graph, hostChoicesOf(64, "tiles"))]).some((k) => k.text.includes("split_"));
};
test("only where the CPU has such units, and only products large enough for it to pay, are split", () => {
  assert.not.match(text(hostChoicesOf(64)), /split_/);
  assert.ok(isSplit(32, 32, 16));
  for (const [m, k, n] of [
    [31, 32, 16],
    [32, 31, 16],
    [32, 32, 15],
  ] as const)
    assert.not.ok(isSplit(m, k, n), `${m} x ${k} x ${n}`);
  for (const word of ["split_rows<3>", "split_steps<3>", "StripAcc<"]) assert.ok(text(splitAll).includes(word), word);
  for (const word of ["split_rows<1>", "split_steps<1>", "StripAcc<"])
    assert.ok(text(splitAll, "bf16").includes(word), word);
  assert.match(text(splitAndCut), /\bAcc<32, 128>/);
});
test("a compiler that is told to do without AVX-512 splits nothing", () => {
  for (const name of ["AMX_BF16", "AMXBF16"]) assert.is(bf16ProductsOf({ features: ["AVX512F", name] }), "tiles");
  assert.is(bf16ProductsOf({ features: ["AVX2", "AMX_BF16"] }), null);
  assert.is(bf16ProductsOf({ features: ["AVX512F", "AMX_TILE"] }), null);
});
/** Results, from kernels for this CPU's tiles or, where it has none, for emulated ones. */
function run(
  sequence: Sequence,
  stores: ReadonlyMap<string, NdArray>,
  threads = 2,
  lib = compiled(kernelsOf([sequence]), [...tileFlags, "-Og"]),
): Float64Array[] {
  return runSequence(sequence, stores, threads, lib);
}
if (!hasTileVectors) console.log(" split: this CPU has no AVX-512, so kernels for AMX are compiled but not run");
test("every op that is lowered by them against its definition", () => {
  const all = chosenSamples(splitAll);
  compareByCompilers(all, [...machineFlags, "-Og"], hasTiles);
  if (hasTileVectors && !hasTiles) compareOps(all, compiled(kernelsOfSamples(all), [...tileFlags, "-Og"]));
});
if (hasTileVectors) {
  test("layers against the interpreter, the same bits with any number of threads", () => {
    const all = Object.entries(layers)
      .map(([name, graph]) => ({ name, graph, sequence: lowered(graph, splitAll), stores: storesOf(valuesOf(graph)) }))
      .filter(({ sequence }) => kernelsOf([sequence]).some((k) => k.text.includes("split_")));
    assert.ok(all.length >= 13);
    const lib = compiled(kernelsOf(all.map((s) => s.sequence)), [...tileFlags, "-Og"]);
    const [one = [], three] = [1, 3].map((threads) => runSequences(all, threads, lib));
    for (const [i, { name, graph }] of all.entries()) {
      assert.equal(three?.[i], one[i], name);
      compare(name, graph, one[i] ?? []);
    }
  });
  for (const dtype of ["f32", "bf16"] as const)
    test(`sizes about those of tiles, each way that operands of ${dtype} lie, cut in two ways to the same bits`, () => {
      const graph = graphOf(products(dtype));
      const [got = [], other] = [splitAll, splitAndCut].map((c) => run(lowered(graph, c), storesOf(valuesOf(graph))));
      compare("products", graph, got);
      assert.equal(other, got);
    });
  for (const [dtype, error] of [
    ["f32", 2e-5],
    ["bf16", 2 ** -6],
  ] as const)
    test(`a mixture and its gradients, of weights of ${dtype} in panels`, () => {
      const graph = moeLayer(67, 64, 128, 5, 2, dtype);
      const panels = new Map(["w.gate", "w.up", "w.down"].map((name) => [name, 64]));
      const part = { ...graph, results: graph.results.filter((r) => r.role !== "loss") };
      const [got = [], other] = [splitAll, splitAndCut].map((choices) => {
        const sequence = lowered(part, choices, panels);
        const texts = kernelsOf([sequence]).map((k) => k.text);
        assert.ok(["transposed_panels<64>", "panels<64>"].every((word) => texts.some((t) => t.includes(word))));
        return run(sequence, storesOf(valuesOf(part)));
      });
      compare(dtype, part, got, error);
      assert.equal(other, got);
    });
  test("operands of one sum, and of one kernel, that lie in different ways", () => {
    const g = new GraphBuilder(ops);
    const [x, y, h] = [p(g, "x", 61, 64), p(g, "y", 61, 64), p(g, "h", 61, 40)];
    const [v, w, u] = [p(g, "v", 64, 128), p(g, "w", 128, 40), p(g, "u", 128, 64)];
    const sum = b.tanh(g, b.add(g, b.matmul(g, x, v), b.matmul(g, h, b.swap(g, w))));
    const gated = b.mul(g, b.matmul(g, y, v), b.tanh(g, b.matmul(g, y, b.swap(g, u))));
    const graph = pairProducts(g, graphOf([sum, gated]));
    const sequence = lowered(graph, splitAll);
    const texts = kernelsOf([sequence]).map((k) => k.text);
    assert.ok(texts.some((t) => /plus\(rhs\(/.test(t)) && texts.some((t) => /rhs\(.*, rhs\(/.test(t)));
    assert.ok(texts.filter((t) => t.includes("in_place_or_pack<") && t.includes("pack_transposed<")).length === 2);
    compare("operands", graph, run(sequence, storesOf(valuesOf(graph))));
  });
  test("a right operand whose steps of the depth are all one row", () => {
    const g = new GraphBuilder(ops);
    const graph = graphOf([b.matmul(g, p(g, "x", 33, 40), b.broadcastTo(g, p(g, "w", 1, 64), [40, 64]))]);
    compare("row", graph, run(lowered(graph, splitAll), storesOf(valuesOf(graph))));
  });
  test("a right operand whose steps of the depth are two axes, which are not a constant apart", () => {
    const g = new GraphBuilder(ops);
    const apart = b.reshape(g, b.transpose(g, p(g, "w", 20, 3, 2, 64), [1, 0, 2, 3]), [3, 40, 64]);
    const graph = graphOf([b.matmul(g, p(g, "x", 3, 33, 40), apart)]);
    assert.ok(kernelsOf([lowered(graph, hostChoicesOf(64))]).some((k) => k.text.includes("row_pointers<64>")));
    compare("axes", graph, run(lowered(graph, splitAll), storesOf(valuesOf(graph))));
  });
  test("numbers from 1e-30 to 1e30 keep 22 bits, and what is no number stays so", () => {
    const g = new GraphBuilder(ops);
    const [x, w] = [p(g, "x", 64, 64), p(g, "w", 64, 64)];
    const graph = graphOf([b.matmul(g, x, w)]);
    const [left, diagonal] = [square(wide), square(powers)];
    const of = (a: NdArray): Float64Array =>
      run(
        lowered(graph, splitAll),
        new Map([
          ["x", a],
          ["w", diagonal],
        ]),
      )[0] ?? new Float64Array();
    of(left).forEach((y, i) => {
      const want = (left.data[i] ?? 0) * (diagonal.data[(i % 64) * 65] ?? 0);
      assert.ok(Math.abs(y - want) <= 2 ** -22 * Math.abs(want), `${y} is not ${want}`);
    });
    const broken = { ...left, data: left.data.map((v, i) => (i === 70 ? Number.NaN : i === 140 ? Infinity : v)) };
    const got = of(broken);
    for (let i = 0; i < 4096; i++)
      assert.is(Number.isFinite(got[i]), ![1, 2].includes(Math.floor(i / 64)), `element ${i}`);
  });
}
test.run();
