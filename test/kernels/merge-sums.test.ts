// Sums over the same elements that need the same costly function of them, in one loop.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Value } from "../../compiler/graph/node.ts";
import { KernelBuilder } from "../../compiler/kernel/builder.ts";
import { call, f32, load, num } from "../../compiler/kernel/expr.ts";
import { mergeSums } from "../../compiler/kernel/merge-sums.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { compareWidths, graphOf, kernelsOf, lowered } from "../host/compare.ts";

const test = suite("merged sums");
const param = (g: GraphBuilder, name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
const textOf = (results: readonly Value[]): string =>
  kernelsOf([lowered(graphOf(results))])
    .map(({ text }) => text)
    .join("\n");
/** How many functions are computed, and of how many numbers the loops with several of them are. */
function countsOf(results: readonly Value[], name = "exp"): readonly number[] {
  const text = textOf(results);
  const several = [...text.matchAll(/(?:sum\d*_and_)+sum\d* = /g)].map(([names]) => names.split("_and_").length);
  return [[...text.matchAll(new RegExp(`\\b${name}_\\(`, "g"))].length, ...several];
}
/** Sums over an axis of exp(x) times each of so many other tensors, as a gradient of decays has them. */
function weighed(g: GraphBuilder, shape: readonly number[], axis: number, n: number): Value[] {
  const e = b.exp(g, param(g, "x", ...shape));
  return Array.from({ length: n }, (_, i) => b.sum(g, b.mul(g, e, param(g, `y${i}`, ...shape)), [axis]));
}

test("rows of any length, and columns, a lane each: numbers of each loop are added as they are alone", () => {
  const shapes: readonly [number[], number][] = [
    ...[1, 17, 32, 64, 129, 600].map((n): [number[], number] => [[3, n], 1]),
    ...[1, 2, 7, 16].map((n): [number[], number] => [[3, n, 37], 1]),
  ];
  const graphs = shapes.map(([shape, axis]) => graphOf(weighed(new GraphBuilder(ops), shape, axis, 3)));
  compareWidths(
    "merged sums",
    graphs,
    graphs.map((graph) => lowered(graph)),
  );
  assert.equal(countsOf(weighed(new GraphBuilder(ops), [3, 129], 1, 3)), [1, 3]);
  assert.equal(countsOf(weighed(new GraphBuilder(ops), [3, 16, 37], 1, 2)), [1, 2]);
});
/** Sums of columns of y times each of so many other tensors: the gradients of a convolution's taps. */
function taps(rows: number, columns: number, n: number, of = (_: GraphBuilder, y: Value): Value => y): Value[] {
  const g = new GraphBuilder(ops);
  const y = param(g, "y", 3, rows, columns);
  return Array.from({ length: n }, (_, i) => b.sum(g, b.mul(g, y, of(g, param(g, `x${i}`, 3, rows, columns))), [1]));
}
test("cheap sums down columns that read the same elements, but not costly ones", () => {
  const graphs = [taps(1, 37, 2), taps(33, 64, 4), taps(70, 20, 6)].map(graphOf);
  compareWidths(
    "taps",
    graphs,
    graphs.map((graph) => lowered(graph)),
  );
  assert.equal(countsOf(taps(33, 64, 4)), [0, 4]);
  assert.equal(countsOf(taps(33, 64, 3, b.exp)), [3]);
});
test("at most four sums are one loop", () => {
  assert.equal(countsOf(weighed(new GraphBuilder(ops), [3, 129], 1, 6)), [2, 4, 2]);
});
test("only sums of the same function of the same elements, of which none needs the other", () => {
  const g = new GraphBuilder(ops);
  const [x, y, z] = [param(g, "x", 3, 129), param(g, "y", 3, 129), param(g, "z", 3, 64)];
  const times = (f: Value, by: Value): Value => b.sum(g, b.mul(g, f, by), [1], true);
  const e = b.exp(g, x);
  const total = times(e, y);
  const cases = {
    same: [total, times(e, x)],
    "of another": [total, times(b.exp(g, y), x)],
    cheap: [times(b.neg(g, x), y), times(b.neg(g, x), x)],
    shorter: [total, times(b.exp(g, z), z)],
    "it needs the other": [total, times(e, b.sub(g, x, total))],
    maxima: [b.max(g, b.mul(g, e, x), [1]), b.max(g, b.mul(g, e, y), [1])],
  };
  const merged = Object.entries(cases).flatMap(([name, values]) =>
    textOf(values).includes("several_(") ? [name] : [],
  );
  assert.equal(merged, ["same"]);
  const graphs = Object.values(cases).map(graphOf);
  compareWidths(
    "other sums",
    graphs,
    graphs.map((graph) => lowered(graph)),
  );
});
/** How many sums are left of two alike, between which a number that they read may be stored. */
const sumsLeft = (stores: boolean): number => {
  const k = new KernelBuilder("a test");
  const [x, y] = [k.local("x", [64]), k.local("y", [64])];
  const add = (): void => {
    k.fold("sum", "sum", "f32", num(64), (i) =>
      call("mul", "f32", k.letHere("e", call("exp", "f32", load(x, i))), load(y, i)),
    );
  };
  add();
  if (stores) k.store(y, [num(3)], f32(1));
  add();
  return mergeSums(k.kernel("test")).body.filter((s) => s.s === "fold").length;
};
test("a sum that reads what is stored after the other stays after it", () => {
  assert.equal([sumsLeft(false), sumsLeft(true)], [1, 2]);
});

test.run();
