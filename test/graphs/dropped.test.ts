// Rows that go to no expert: what all rows share learns from the others alone.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { gradients } from "../../compiler/gradients/differentiate.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { mapGraph } from "../../compiler/graph/map.ts";
import type { Graph, Mapped, Routing, Value } from "../../compiler/graph/node.ts";
import { nodesOf } from "../../compiler/graph/walk.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { simplify } from "../../compiler/rewrite/simplify.ts";
import { routedBackward } from "../../compiler/transform/routed.ts";
import { storesOf } from "../graphs.ts";
import { compare, kernelsOf, lowered, valuesOf } from "../host/compare.ts";
import { compiled, runSequence } from "../host/run.ts";

const test = suite("dropped");
/** h * s + h @ m @ v[index] of h = (x + z) @ w[index], s, m and z being of all experts, and the gradients. `whole`: each index is one of the three. */
function shared(whole: boolean): Graph {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const [x, w, v] = [p("x", 9, 4), p("w", 3, 4, 5), p("v", 3, 5, 5)];
  const [s, m, z] = [p("s", 5), p("m", 5, 5), p("z", 4)];
  const chosen = whole
    ? b.reshape(g, b.topK(g, p("scores", 9, 3), 1)[1], [9])
    : b.sub(g, b.param(g, "index", { dtype: "i32", shape: [9] }), 1);
  const by: Routing = { ...b.route(g, chosen, 3), groups: 3, rows: 9 };
  const [row, own, last] = [p("row", 1, 4), p("own", 4, 5), p("last", 5, 5)];
  const rows = b.reshape(g, b.dispatch(g, x, by), [9, 1, 4]);
  const bind = new Map<Value, Mapped>([
    [row, { kind: "rows", value: rows, by }],
    [own, { kind: "each", value: w, over: 3 }],
    [last, { kind: "each", value: v, over: 3 }],
  ]);
  const h = b.matmul(g, b.add(g, row, z), own);
  const [made] = mapGraph([b.add(g, b.mul(g, h, s), b.matmul(g, b.matmul(g, h, m), last))], bind, g) as [Mapped];
  const out = b.combine(g, b.reshape(g, made.value, [9, 5]), by);
  const grads = gradients(g, [b.sum(g, b.mul(g, out, p("seed", 9, 5)))], [x, w, v, s, m, z]);
  const results = [out, ...grads].map((value, i) => ({ role: "output" as const, name: String(i), value }));
  return routedBackward(g, simplify(g, { name: "shared", results }, true));
}
/** Whether rows are told apart. */
const asks = (of: Graph): boolean => nodesOf(of).some((node) => node.op.name === "select");
const run = (graph: Graph): Float64Array[] => {
  const sequence = lowered(graph);
  return runSequence(sequence, storesOf(valuesOf(graph)), 2, compiled(kernelsOf([sequence]), ["-Og"]));
};
test("a value and a matrix that all rows share have finite gradients, the definition's", () => {
  const graph = shared(false);
  const index = storesOf(valuesOf(graph)).get("index")?.data ?? [];
  assert.ok([...index].some((i) => i < 1 || i > 3));
  compare("shared", graph, run(graph));
});
test("where every row has an expert nothing is left out, and nothing is asked", () => {
  const graph = shared(true);
  assert.equal([asks(graph), asks(shared(false))], [false, true]);
  compare("shared", graph, run(graph));
});
test("what asks which rows have an expert is made of all rows, not where only theirs are", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const by = b.route(g, b.sub(g, b.param(g, "index", { dtype: "i32", shape: [9] }), 1), 3);
  const made = b.raggedDot(g, p("x", 9, 4), p("w", 3, 4, 5), by.offsets, 1);
  const inGroups = b.broadcast(g, b.ge(g, by.order, 0), [9, 5], [0]);
  const kept = b.where(g, inGroups, b.tanh(g, made), 0);
  const graph = simplify(
    g,
    {
      name: "kept",
      results: [
        { role: "output", name: "y", value: kept },
        { role: "output", name: "sum", value: b.sum(g, kept, [0]) },
      ],
    },
    true,
  );
  compare("kept", graph, run(graph));
});
test.run();
