// Sums of products as one contraction of several pairs of operands: which are, what they give, and what they cost.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, Node, Value } from "../../compiler/graph/node.ts";
import { verifyGraph } from "../../compiler/graph/verify.ts";
import { nodesOf, valuesOf } from "../../compiler/graph/walk.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { depthOf, pairsOf } from "../../compiler/ops/pairs.ts";
import { pairProducts } from "../../compiler/transform/products/pairs.ts";
import { loweredForCuda } from "../emulator/sequence.ts";
import { distance, storesOf } from "../graphs.ts";
import { compare, graphOf, lowered } from "../host/compare.ts";
import { runSequence } from "../host/run.ts";
import { kernelOf } from "../sequences.ts";

const test = suite("pairs");
type Make = (g: GraphBuilder, p: (name: string, shape: readonly number[]) => Value) => readonly Value[];

/** The graph of what is made, and the same after the pass, of equal value. */
function paired(make: Make, dtype: "f32" | "bf16" = "f32"): Graph {
  const g = new GraphBuilder(ops);
  const graph = graphOf(make(g, (name, shape) => b.param(g, name, { dtype, shape })));
  const after = pairProducts(g, graph);
  verifyGraph(after, "pairs");
  const stores = storesOf(valuesOf(graph));
  const [want, got] = [graph, after].map((x) => interpret(valuesOf(x), stores, { exact: true }));
  want?.forEach((x, i) => assert.ok(distance(x.data, got?.[i]?.data ?? []) < 1e-12, String(i)));
  return after;
}
const products = (graph: Graph): Node[] =>
  nodesOf(graph).filter(({ op }) => op.name === "dot" || op.name === "ragged_dot");
const depths = (graph: Graph): number[][] =>
  products(graph).map((n) => pairsOf(n).map(([x]) => Number(x.type.shape.at(-1))));
/** a[5, k] @ b[k, 6]. */
const dot = (g: GraphBuilder, p: Parameters<Make>[1], k: number): Value =>
  b.dot(g, p(`a${k}`, [5, k]), p(`b${k}`, [k, 6]));

/** a[2, 3, k] @ b[k, 6]. */
const rows = (g: GraphBuilder, p: Parameters<Make>[1], k: number): Value =>
  b.matmul(g, p(`a${k}`, [2, 3, k]), p(`b${k}`, [k, 6]));
/** Of rows of one routing, and of the `second`. */
const sum = (g: GraphBuilder, p: Parameters<Make>[1], second: number): readonly Value[] => {
  const routes = [0, 1].map((i) => b.route(g, b.param(g, `index${i}`, { dtype: "i32", shape: [12] }), 4));
  const product = (k: number, by: number): Value =>
    b.raggedDot(g, p(`x${k}`, [12, k]), p(`w${k}`, [4, k, 5]), routes[by]?.offsets as Value);
  return [b.add(g, product(3, 0), product(7, second))];
};

test("products that are added have one accumulator, in the order of the sum; what is added besides comes after", () => {
  const graph = paired((g, p) => [
    b.add(g, b.add(g, dot(g, p, 3), p("r", [5, 6])), b.add(g, dot(g, p, 7), dot(g, p, 1))),
  ]);
  assert.equal(depths(graph), [[3, 7, 1]]);
});
test("at most four in one", () => {
  const graph = paired((g, p) => [[1, 2, 3, 4, 5, 6].map((k) => dot(g, p, k)).reduce((x, y) => b.add(g, x, y))]);
  assert.equal(depths(graph), [
    [1, 2, 3, 4],
    [5, 6],
  ]);
});
test("under reshapes", () => {
  const graph = paired((g, p) => [b.add(g, rows(g, p, 2), rows(g, p, 5))]);
  assert.equal(depths(graph), [[2, 5]]);
});
test("products and sums that something else reads stay as they are", () => {
  const twice = paired((g, p) => {
    const x = dot(g, p, 3);
    return [b.add(g, x, dot(g, p, 7)), b.exp(g, x)];
  });
  assert.equal(depths(twice), [[3], [7]]);
  const inner = paired((g, p) => {
    const x = b.add(g, dot(g, p, 3), dot(g, p, 7));
    return [b.add(g, x, dot(g, p, 1)), b.exp(g, x)];
  });
  assert.equal(depths(inner), [[3, 7], [1]]);
});
test("rows of the same groups only", () => {
  assert.equal(depths(paired((g, p) => sum(g, p, 0))), [[3, 7]]);
  assert.equal(depths(paired((g, p) => sum(g, p, 1))), [[3], [7]]);
});
test("a launch counts the work and the bytes of all pairs", () => {
  const graph = paired((g, p) => [b.add(g, dot(g, p, 33), dot(g, p, 40))]);
  const [node] = products(graph);
  assert.is(depthOf(node as Node), 73);
  const [launch, ...more] = lowered(graph).launches;
  assert.is(more.length, 0);
  assert.is(launch?.flops, 2 * 5 * 6 * 73);
  const bytes = launch?.args.reduce((n, a) => n + a.buffer.bytes, 0);
  assert.is(launch?.bytes, bytes);
  assert.is(launch?.args.length, 5);
});
/** Groups 0, 1 and 4 of five have rows, more than a few; the others none. */
function inGroups(g: GraphBuilder): Value {
  const index = b.param(g, "index", { dtype: "i32", shape: [240] });
  return b.rem(g, b.mul(g, index, index), 5);
}
const layers: Readonly<Record<string, Make>> = {
  "left operands turned, and as they lie": (g, p) => [
    b.add(
      g,
      b.dot(g, b.swap(g, p("a", [40, 13])), p("b", [40, 70])),
      b.add(g, b.dot(g, p("c", [13, 21]), p("d", [21, 70])), b.dot(g, b.swap(g, p("e", [9, 13])), p("f", [9, 70]))),
    ),
  ],
  "depths of several rounds": (g, p) => [
    [300, 1300, 20]
      .map((k) => b.dot(g, p(`a${k}`, [300, k]), b.swap(g, p(`b${k}`, [130, k]))))
      .reduce((x, y) => b.add(g, x, y)),
  ],
  "two accumulators": (g, p) => {
    const [x, h] = [p("x", [50, 24]), p("h", [50, 17])];
    const both = (name: string): Value =>
      b.add(g, b.dot(g, x, p(`wx${name}`, [24, 40])), b.dot(g, h, p(`wh${name}`, [17, 40])));
    return [b.mul(g, b.sigmoid(g, both("0")), both("1"))];
  },
  "two accumulators whose columns do not stay in L1": (g, p) => {
    const [x, h] = [p("x", [53, 700]), p("h", [53, 33])];
    const both = (name: string): Value =>
      b.add(g, b.dot(g, x, p(`wx${name}`, [700, 70])), b.dot(g, h, p(`wh${name}`, [33, 70])));
    return [b.mul(g, b.sigmoid(g, both("0")), both("1"))];
  },
  "the same of groups, of which some are empty": (g, p) => {
    const { offsets } = b.route(g, inGroups(g), 5);
    const [x, h] = [p("x", [240, 530]), p("h", [240, 17])];
    const both = (name: string): Value =>
      b.add(
        g,
        b.raggedDot(g, x, p(`wx${name}`, [5, 530, 64]), offsets),
        b.raggedDot(g, h, p(`wh${name}`, [5, 17, 64]), offsets),
      );
    return [b.raggedSum(g, b.mul(g, b.sigmoid(g, both("0")), both("1")), offsets)];
  },
  "rows of groups times two matrices": (g, p) => {
    const { offsets } = b.route(g, inGroups(g), 5);
    const x = p("x", [240, 530]);
    const [gate, up] = ["gate", "up"].map((name) => b.raggedDot(g, x, p(name, [5, 530, 70]), offsets)) as [
      Value,
      Value,
    ];
    return [b.raggedSum(g, b.mul(g, b.sigmoid(g, gate), up), offsets)];
  },
};
for (const [name, make] of Object.entries(layers))
  test(`on the host: ${name}`, () => {
    const graph = paired(make);
    const sequence = lowered(graph);
    assert.is(sequence.launches.filter(({ kernel }) => kernel.name.includes("dot")).length, 1);
    compare(name, graph, runSequence(sequence, storesOf(valuesOf(graph))));
  });
test("where few results of a long product are made of pieces, the products are added", () => {
  const graph = paired((g, p) => [b.add(g, dot(g, p, 40), dot(g, p, 2048))]);
  const sequence = lowered(graph);
  assert.is(sequence.launches.length, 2);
  compare("pieces", graph, runSequence(sequence, storesOf(valuesOf(graph))));
});
const sumOfTwo = (k: number, other: number): Graph =>
  paired((g, p) => [b.add(g, dot(g, p, k), dot(g, p, other))], "bf16");
test("on the host a register tile sums all pairs; on CUDA rounds of one loop take them in turn", () => {
  const host = lowered(sumOfTwo(40, 48)).launches.map(kernelOf)[0]?.text;
  const cuda = loweredForCuda(sumOfTwo(140, 148)).launches.map(kernelOf)[0]?.text;
  assert.match(
    host ?? "",
    /mma\(true, left, OneOf<[^>]*>\{\w+\}, 40, \w+, plus\(rhs\(right, acc\), left1, 48, right1\)\);/,
  );
  assert.is(cuda?.match(/mma_pipeline</g)?.length, 1);
  assert.match(cuda ?? "", /mma_pipeline<\d, 128>\(0, 512, 128, /);
});
test("pairs whose operands lie differently have loops and stages of their own, which together fit a block of every GPU", () => {
  for (const dtype of ["f32", "bf16"] as const)
    for (const [m, n] of [
      [1, 640],
      [20, 640],
      [64, 640],
      [200, 130],
    ] as const)
      for (const count of [2, 3]) {
        const product = (g: GraphBuilder, p: Parameters<Make>[1], i: number): Value =>
          b.dot(g, p(`x${i}`, [m, 300]), i % 2 ? b.swap(g, p(`w${i}`, [n, 300])) : p(`w${i}`, [300, n]));
        const g = new GraphBuilder(ops);
        const p = (name: string, shape: readonly number[]): Value => b.param(g, name, { dtype, shape });
        const all = Array.from({ length: count }, (_, i) => product(g, p, i));
        const graph = pairProducts(g, graphOf([all.reduce((x, y) => b.add(g, x, y))]));
        const [kernel, ...more] = loweredForCuda(graph).launches.map(kernelOf);
        assert.is(more.length, 0);
        assert.is(kernel?.text.match(/pipeline</g)?.length, count, `${dtype}, ${count} pairs of ${m} rows`);
        const { shared = 0 } = kernel?.launch ?? {};
        assert.ok(shared > 0 && shared <= 99 * 1024, `${dtype}, ${count} of ${m} rows: ${shared}`);
      }
});
test.run();
