// Sums of products whose rows are shifted: which become products of what is shifted, and what they give.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { gradients } from "../../compiler/gradients/differentiate.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, Value } from "../../compiler/graph/node.ts";
import { topological, valuesOf } from "../../compiler/graph/walk.ts";
import { hostChoices } from "../../compiler/kernel/schedule.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { pairsOf } from "../../compiler/ops/pairs.ts";
import { simplify } from "../../compiler/rewrite/simplify.ts";
import { pairProducts } from "../../compiler/transform/products/pairs.ts";
import { shiftOperands } from "../../compiler/transform/products/windows.ts";
import { dims } from "../../compiler/types/type.ts";
import { panelWidth } from "../../runtime/host/backend.ts";
import { toolchain } from "../../runtime/host/toolchain.ts";
import { distance, storesOf } from "../graphs.ts";
import { compare, graphOf, kernelsOf, lowered } from "../host/compare.ts";
import { compiled, runSequence } from "../host/run.ts";
import { kernelOf } from "../sequences.ts";

const test = suite("windows");
const g = new GraphBuilder(ops);
const given = (name: string, shape: readonly number[]): Value => b.param(g, name, { dtype: "f32", shape });
const none = (...shape: number[]): Value => b.broadcastTo(g, b.constant(g, 0, "f32"), shape);

/** Zeros before and after along an axis. */
function padded(x: Value, axis: number, n: number): Value {
  const zeros = none(...dims(x.type).with(axis, n));
  return n === 0 ? x : b.concat(g, [zeros, x, zeros], axis);
}
/** The axes of positions: all but the last, and but the first of more than two. */
const axesOf = (shape: readonly number[]): number[] => (shape.length === 2 ? [0] : [...shape.keys()].slice(1, -1));
/** The sum of products of windows, `taps` along each axis of positions with `around` zeros about it, and w[tap]. */
function convolved(x: Value, w: Value, taps: number, around: number): Value {
  const axes = axesOf(dims(x.type));
  const whole = axes.reduce((v, axis) => padded(v, axis, around), x);
  const windows = axes.reduce<Value[]>(
    (list, axis) =>
      list.flatMap((v) => {
        const size = (dims(v.type)[axis] ?? 0) + 1 - taps;
        return Array.from({ length: taps }, (_, t) => b.slice(g, v, axis, t, size));
      }),
    [whole],
  );
  return windows
    .map((v, t) => b.matmul(g, v, b.squeeze(g, b.slice(g, w, 0, t, 1), 0)))
    .reduce((p, q) => b.add(g, p, q));
}
/** The gradients of x and w, through the passes that follow them, of equal value before and after. */
function backward(shape: readonly number[], taps: number, around: number): Graph {
  const [x, w] = [
    given(`x${shape.join()}`, shape),
    given(`w${shape.length}`, [taps ** axesOf(shape).length, shape.at(-1) ?? 0, 5]),
  ];
  const y = convolved(x, w, taps, around);
  const seed = given(`dy${shape.join()}.${around}`, dims(y.type));
  return simplify(g, graphOf(gradients(g, [y], [x, w], [seed])), true);
}
function shifted(graph: Graph): Graph {
  const after = pairProducts(g, shiftOperands(g, graph));
  const stores = storesOf(valuesOf(graph));
  const [want, got] = [graph, after].map((x) => interpret(valuesOf(x), stores, { exact: true }));
  want?.forEach((v, i) => assert.ok(distance(v.data, got?.[i]?.data ?? []) < 1e-12, String(i)));
  return after;
}
/** Pairs of operands of each product that makes the first result. */
const pairs = (graph: Graph): number[] =>
  topological(valuesOf(graph).slice(0, 1))
    .filter(({ op }) => op.name === "dot")
    .map((n) => pairsOf(n).length);

test("what the taps of a convolution send back is one product", () => {
  const graph = backward([2, 6, 5, 7], 3, 1);
  assert.equal(pairs(graph), Array(9).fill(1));
  assert.equal(pairs(shifted(graph)), [9]);
});
test("where most rows would be zeros, and where something else reads the products, they stay", () => {
  assert.equal(pairs(shifted(backward([2, 6, 5, 7], 3, 0))), Array(9).fill(1));
  const [x, w] = [given("x", [12, 7]), given("w", [7, 5])];
  const products = [0, 1].map((i) => b.dot(g, b.slice(g, x, 0, i, 11), w)) as [Value, Value];
  const zeros = none(1, 5);
  const sum = b.add(g, b.concat(g, [zeros, products[0]], 0), b.concat(g, [products[1], zeros], 0));
  assert.equal(pairs(shifted(graphOf([sum, ...products]))), [1, 1]);
  assert.equal(pairs(shifted(graphOf([sum]))), [2]);
});
test("what is added besides is shifted with them, and what stands outside a slice is not", () => {
  const graph = backward([40, 7], 4, 2);
  const [dx] = valuesOf(graph) as [Value];
  const more = given("more", [39, 7]);
  const sum = b.add(g, b.slice(g, b.add(g, dx, given("skipped", [40, 7])), 0, 1, 39), more);
  assert.equal(pairs(shifted(graphOf([sum]))), [4]);
  const edge = b.concat(g, [b.slice(g, dx, 0, 4, 36), none(4, 7)], 0);
  assert.equal(pairs(shifted(graphOf([edge]))), [4]);
  const front = b.concat(g, [none(4, 7), b.slice(g, dx, 0, 0, 36)], 0);
  assert.equal(pairs(shifted(graphOf([front]))), [4]);
});
test("columns are not shifted, and what is no sum of rows stays", () => {
  const [dx] = valuesOf(backward([40, 7], 4, 2)) as [Value];
  for (const columns of [b.slice(g, dx, 1, 2, 3), b.concat(g, [none(40, 1), dx], 1)])
    assert.equal(pairs(shifted(graphOf([columns]))), [4]);
  const [x, w] = [given("apart", [12, 7]), given("columns", [7, 6])];
  const made = (shape: readonly number[]): [Value, Value] => {
    const [p, q] = [0, 1].map((i) => b.reshape(g, b.dot(g, b.slice(g, x, 0, i, 11), w), shape)) as [Value, Value];
    const zeros = none(1, ...shape.slice(1));
    return [b.concat(g, [zeros, p], 0), b.concat(g, [q, zeros], 0)];
  };
  assert.equal(pairs(shifted(graphOf([b.sub(g, ...made([11, 6]))]))), [1, 1]);
  assert.equal(pairs(shifted(graphOf([b.add(g, ...made([11, 2, 3]))]))), [1, 1]);
});
test("of more taps than one kernel takes there are several products", () => {
  assert.equal(
    pairs(shifted(backward([90, 2], 20, 10))).toSorted((p, q) => q - p),
    [16, 4],
  );
});
test("a sum is found under any zeros around it, and in a sum of any length", () => {
  const [dx] = valuesOf(backward([12, 7], 3, 0)) as [Value];
  assert.equal(pairs(shifted(graphOf([b.concat(g, [dx, none(20, 7)], 0)]))), [3]);
  const steps = Array.from({ length: 5000 }, (_, i) => given(`step${i}`, [12, 7]));
  const long = graphOf([steps.reduce((sum, v) => b.add(g, sum, v), dx)]);
  const after = valuesOf(pairProducts(g, shiftOperands(g, long)));
  assert.ok(topological(after).some((n) => n.op.name === "dot" && pairsOf(n).length === 3));
});
/** Of matrices that lie beside each other, some begin with a panel. */
function besides(): Graph {
  const [x, w] = [given("rows", [42, 12]), given("wide", [12, 192])];
  const products = [0, 72, 128].map((at, t) => b.dot(g, b.slice(g, x, 0, t, 40), b.slice(g, w, 1, at, 64)));
  return graphOf([products.reduce((p, q) => b.add(g, p, q))]);
}
test("on the host", async () => {
  const panel = panelWidth(await toolchain());
  const graphs = [shifted(backward([2, 9, 11, 32], 3, 1)), shifted(besides())];
  const sequences = graphs.map((graph, i) => lowered(graph, hostChoices, new Map(i === 1 ? [["wide", panel]] : [])));
  for (const [i, words] of [
    ["taps(", "row_pointers<32>"],
    ["taps(", `panels<${panel}>`, " pack<"],
  ].entries())
    for (const word of words)
      assert.ok(
        sequences[i]?.launches.some((l) => kernelOf(l).text.includes(word)),
        word,
      );
  const lib = compiled(kernelsOf(sequences), ["-Og"]);
  sequences.forEach((sequence, i) => {
    const graph = graphs[i] as Graph;
    const stores = storesOf(valuesOf(graph));
    compare("taps", graph, runSequence(sequence, stores, 1, lib));
  });
});
test.run();
