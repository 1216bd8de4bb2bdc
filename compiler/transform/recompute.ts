// Logits of a router are large beside what else the backward keeps, and cheap: rows that are kept anyway times a narrow weight. The backward
// makes them again, and with them all that follows element by element and row by row.
import type { Builder, Graph, Node, Value } from "../graph/node.ts";
import { nodesOf, rebuild, storeOf, valuesOf, withValues } from "../graph/walk.ts";
import * as b from "../ops/build.ts";
import { nth } from "../ops/common.ts";
import { count } from "../types/type.ts";
import { isAnchor, isFree } from "./region.ts";
import { forwardNodes } from "./regions.ts";

/** Elements that are worth a product of their own. */
const large = 1 << 20;
/** Its rows are at least so many times as long as its results, so that the product costs little beside others of those rows. */
const narrow = 4;

/** Nodes of the backward that read such logits, or what the forward made of them, read them from a second product. */
export function recompute(g: Builder, graph: Graph, least = large): Graph {
  const nodes = nodesOf(graph);
  const forward = forwardNodes(graph);
  const kept = operandsOf(nodes.filter((n) => !forward.has(n)));
  const again = new Map<Value, Value>();
  for (const node of nodes) {
    if (!forward.has(node)) continue;
    g.where = node.where;
    if (isCheap(node, kept, least)) again.set(nth(node.results, 0), anew(g, node));
    else if (!isAnchor(node) && node.args.some((a) => again.has(a))) {
      const args = node.args.map((a) => again.get(a) ?? a);
      g.add(node.op, args, node.attrs).results.forEach((v, i) => again.set(nth(node.results, i), v));
    }
  }
  if (again.size === 0) return graph;
  const values = rebuild(g, valuesOf(graph), (node, args) =>
    forward.has(node)
      ? node.results
      : g.add(
          node.op,
          args.map((a) => again.get(a) ?? a),
          node.attrs,
        ).results,
  );
  return withValues(graph, values);
}
/** Another node than the forward's: `detach` is the same weight by another name. */
function anew(g: Builder, { args }: Node): Value {
  const [x, w] = [nth(args, 0), nth(args, 1)];
  return b.dot(g, x, b.detach(g, w));
}
function isCheap(node: Node, kept: ReadonlySet<Value>, least: number): boolean {
  if (node.op.name !== "dot") return false;
  const [x, w, y] = [nth(node.args, 0), nth(node.args, 1), nth(node.results, 0)];
  if (
    count(y.type) < least ||
    narrow * count(y.type) > count(x.type) ||
    kept.has(y) ||
    storeOf(source(w).node) === null
  )
    return false;
  return kept.has(source(x)) || storeOf(source(x).node) !== null;
}
/** What contractions read, under views and casts. */
function operandsOf(nodes: readonly Node[]): Set<Value> {
  const found = new Set<Value>();
  for (const node of nodes)
    if (node.op.lower === "tile")
      for (const a of node.args)
        for (let v = a; ; v = nth(v.node.args, 0)) {
          found.add(v);
          if (!passes(v)) break;
        }
  return found;
}
const passes = ({ node }: Value): boolean => isFree(node) || (node.op.lower === "view" && node.args.length === 1);
const source = (v: Value): Value => (passes(v) ? source(nth(v.node.args, 0)) : v);
