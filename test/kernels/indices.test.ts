// Operands of contractions whose rows are split over axes that do not lie together.
import { suite } from "uvu";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Graph } from "../../compiler/graph/node.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { storesOf } from "../graphs.ts";
import { compare, lowered, valuesOf } from "../host/compare.ts";
import { runSequence } from "../host/run.ts";

const test = suite("indices");

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
    compare("products", graph, runSequence(sequence, storesOf(valuesOf(graph)), 1));
  });
}

test.run();
