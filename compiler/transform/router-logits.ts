// The logits of a router are large compared with what else the backward keeps, but cheap to compute: rows that are kept anyway times a narrow
// weight. The backward computes them again, with everything elementwise or row by row that follows from them.
import type { Builder, Graph, Node, Value } from "../graph/node.ts";
import { forwardNodes, nodesOf, rebuildGraph, storeOf } from "../graph/walk.ts";
import { item } from "../item.ts";
import * as b from "../ops/build.ts";
import { isAnchor, isFree } from "../regions/region.ts";
import { count } from "../types/type.ts";

/** Only products of at least this many elements are computed again. */
const minElements = 1 << 20;
/**
 * The left operand must have at least this many times as many elements as the product, which then costs little beside other products of those rows.
 */
const minWidthRatio = 4;

/** Makes the backward read such logits, and what the forward computed from them without a contraction, from a second product. */
export function recomputeRouterLogits(g: Builder, graph: Graph, least = minElements): Graph {
  const nodes = nodesOf(graph);
  const forward = forwardNodes(graph);
  const kept = operandsOf(nodes.filter((n) => !forward.has(n)));
  const recomputed = new Map<Value, Value>();
  for (const node of nodes) {
    if (!forward.has(node)) continue;
    g.span = node.span;
    if (isCheap(node, kept, least)) recomputed.set(item(node.results, 0), duplicate(g, node));
    else if (!isAnchor(node) && node.args.some((a) => recomputed.has(a))) {
      const args = node.args.map((a) => recomputed.get(a) ?? a);
      g.add(node.op, args, node.attrs).results.forEach((v, i) => recomputed.set(item(node.results, i), v));
    }
  }
  if (recomputed.size === 0) return graph;
  return rebuildGraph(g, graph, (node, args) =>
    forward.has(node)
      ? node.results
      : g.add(
          node.op,
          args.map((a) => recomputed.get(a) ?? a),
          node.attrs,
        ).results,
  );
}
/** The same product as another node, so that the two are not shared: `detach` gives the weight another identity. */
function duplicate(g: Builder, { args }: Node): Value {
  const [x, w] = [item(args, 0), item(args, 1)];
  return b.dot(g, x, b.detach(g, w));
}
/** Whether a product is large, has a narrow parameter as its right operand, and reads only what the backward keeps anyway. */
function isCheap(node: Node, kept: ReadonlySet<Value>, least: number): boolean {
  if (node.op.name !== "dot") return false;
  const [x, w, y] = [item(node.args, 0), item(node.args, 1), item(node.results, 0)];
  if (
    count(y.type) < least ||
    minWidthRatio * count(y.type) > count(x.type) ||
    kept.has(y) ||
    storeOf(source(w).node) === null
  )
    return false;
  return kept.has(source(x)) || storeOf(source(x).node) !== null;
}
/** All operands of contractions, and what they are views or free casts of. */
function operandsOf(nodes: readonly Node[]): Set<Value> {
  const found = new Set<Value>();
  for (const node of nodes)
    if (node.op.lower === "tile")
      for (const a of node.args)
        for (let v = a; ; v = item(v.node.args, 0)) {
          found.add(v);
          if (!isTransparent(v)) break;
        }
  return found;
}
const isTransparent = ({ node }: Value): boolean =>
  isFree(node) || (node.op.lower === "view" && node.args.length === 1);
const source = (v: Value): Value => (isTransparent(v) ? source(item(v.node.args, 0)) : v);
