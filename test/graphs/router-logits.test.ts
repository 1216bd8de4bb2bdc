// The backward makes a router's logits again: the same numbers, and nothing of the logits' size between forward and backward.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { gradients } from "../../compiler/gradients/differentiate.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, Value } from "../../compiler/graph/node.ts";
import { forwardNodes, nodesOf, valuesOf } from "../../compiler/graph/walk.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { simplify } from "../../compiler/rewrite/simplify.ts";
import { recomputeRouterLogits } from "../../compiler/transform/router-logits.ts";
import { showType } from "../../compiler/types/type.ts";
import { storesOf } from "../graphs.ts";

const test = suite("router-logits");
const [rows, experts] = [5, 3];
/** The gradients of a weighted sum of softmax(x w)'s largest two. */
function router(g: GraphBuilder, width = 12): Graph {
  const [x, w] = [
    b.param(g, "x", { dtype: "bf16", shape: [rows, width] }),
    b.param(g, "w", { dtype: "f32", shape: [width, experts] }),
  ];
  const p = b.softmax(g, b.dot(g, b.cast(g, x, "f32"), w));
  const [best] = b.topK(g, p, 2);
  const loss = b.sum(g, b.mul(g, best, b.param(g, "seed", { dtype: "f32", shape: [rows, 2] })));
  const results = gradients(g, [loss], [x, w]).map((value, i) => ({
    role: "gradient" as const,
    name: String(i),
    value,
  }));
  return simplify(g, { name: "router", results: [{ role: "loss", name: "l", value: loss }, ...results] }, true);
}
/** What the backward reads of the forward, but for stores and top-k's choice. */
function crossing(graph: Graph): Value[] {
  const forward = forwardNodes(graph);
  const late = nodesOf(graph).filter((n) => !forward.has(n));
  return late
    .flatMap((n) => n.args)
    .filter((a) => forward.has(a.node) && a.node.args.length > 0 && a.node.op.name !== "top_k");
}
const sizes = (graph: Graph): string[] => crossing(graph).map((v) => showType(v.type));
test("logits and softmax are the backward's own, and its gradients the same to the bit", () => {
  const g = new GraphBuilder(ops);
  const before = router(g);
  const after = recomputeRouterLogits(g, before, 0);
  assert.ok(sizes(before).includes("f32[5, 3]"));
  assert.not.ok(sizes(after).includes("f32[5, 3]"), "nothing of the logits' size is kept");
  const stores = storesOf(valuesOf(before));
  const [expected, found] = [before, after].map((graph) => interpret(valuesOf(graph), stores).map((a) => [...a.data]));
  assert.equal(found, expected);
});
test("what is small stays kept", () => {
  const g = new GraphBuilder(ops);
  const graph = router(g);
  assert.is(recomputeRouterLogits(g, graph), graph);
});
test("what would cost a product nearly as large as those of the same rows stays kept", () => {
  const g = new GraphBuilder(ops);
  const graph = router(g, 4 * experts - 1);
  assert.is(recomputeRouterLogits(g, graph, 0), graph);
});
test.run();
