// Indices of kernels: sums that are divided, and operands whose rows are split over axes that do not lie together.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../compiler/graph/builder.ts";
import type { Graph } from "../compiler/graph/node.ts";
import { add, children, div, item, laneStride, mod, mul, num } from "../compiler/kernel/expr.ts";
import type { Expr, Var } from "../compiler/kernel/ir.ts";
import { show } from "../compiler/kernel/print.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import { storesOf } from "./graphs.ts";
import { compare, kernelsOf, lowered, valuesOf } from "./host/compare.ts";
import { compiled, runSequence } from "./host/run.ts";

const test = suite("indices");

const variable = (name: string, hi: number, mult = 1): Var => ({ e: "var", name, type: "index", lo: 0, hi, mult });
test("a sum is split by what its terms are multiples of, in any order", () => {
  const [n, j, one] = [variable("n", 192, 64), variable("j", 63), variable("one", 0)];
  const split = add(mul(div(add(n, j), 32), num(4096)), mod(add(n, j), 32));
  assert.equal(laneStride(split, j, 16), 1);
  assert.equal(laneStride(div(add(n, j), 32), j, 16), 0);
  assert.equal(laneStride(mod(add(n, j), 12), j, 16), null);
  assert.equal(show(div(add(mul(one, num(128)), j), 2)), "j / 2");
});
test("quotients and remainders of sums keep their meaning", () => {
  const terms = [variable("a", 40, 8), variable("b", 5), mul(variable("c", 3), num(24))];
  const sums = [0, 1, 2].map((i) => terms.toSpliced(i, 1).reduce(add, item(terms, i)));
  for (let i = 0; i < 200; i++) {
    const at = new Map([
      ["a", 8 * (i % 6)],
      ["b", (i % 7) % 6],
      ["c", i % 4],
    ]);
    for (const x of sums)
      for (const c of [2, 5, 8, 12, 24, 32]) {
        assert.equal(numberOf(div(x, c), at), Math.floor(numberOf(x, at) / c));
        assert.equal(numberOf(mod(x, c), at), numberOf(x, at) % c);
      }
  }
});
function numberOf(x: Expr, at: ReadonlyMap<string, number>): number {
  if (x.e === "num") return x.value;
  if (x.e === "var") return at.get(x.name) ?? Number.NaN;
  const [p = Number.NaN, q = Number.NaN] = children(x).map((y) => numberOf(y, at));
  const values: Readonly<Record<string, number>> = { "+": p + q, "*": p * q, "/": Math.floor(p / q), "%": p % q };
  return (x.e === "op" ? values[x.op] : undefined) ?? Number.NaN;
}

// A gradient of a projection before attention: [B, heads, T, A] on either side, summed over B and T.
for (const [A, T] of [
  [32, 9],
  [16, 40],
  [5, 7],
] as const) {
  test(`products of [2, 3, ${T}, ${A}] by its tokens`, () => {
    const g = new GraphBuilder(ops);
    const wide = 3 * A;
    const heads = b.transpose(g, b.param(g, "heads", { dtype: "f32", shape: [2, 3, T, A] }), [0, 2, 1, 3]);
    const rows = b.reshape(g, heads, [2 * T, wide]);
    const y = b.param(g, "y", { dtype: "f32", shape: [2 * T, 50] });
    const [left, right] = [b.dot(g, b.swap(g, rows), y), b.dot(g, b.swap(g, y), rows)];
    const results: Graph["results"] = [left, right].map((value, i) => ({ role: "output", name: String(i), value }));
    const graph: Graph = { name: "products", results };
    const sequence = lowered(graph);
    const [got = []] = [1].map((threads) =>
      runSequence(sequence, storesOf(valuesOf(graph)), threads, compiled(kernelsOf([sequence]))),
    );
    compare("products", graph, got);
  });
}

test.run();
