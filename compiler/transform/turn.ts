// A weight's gradient that is only read transposed is made so: (x^T y)^T = y^T x, the same contraction of the same rows, in the order of its reader.
import type { Builder, Graph, Node, Value } from "../graph/node.ts";
import { rebuild, topological, valuesOf, withValues } from "../graph/walk.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { nth } from "../ops/common.ts";
import { madeBy } from "../rewrite/pattern.ts";
import { dims } from "../types/type.ts";

/** The graph with such products turned. One that a product reads transposed stays: a contraction takes either order. */
export function turnProducts(g: Builder, graph: Graph): Graph {
  const users = usersOf(graph);
  const values = rebuild(g, valuesOf(graph), (node, args) => {
    const [product] = node.args;
    if (!product || !isSwap(node) || users.get(product)?.length !== 1) return null;
    if (users.get(nth(node.results, 0))?.some((n) => n?.op.name === "dot")) return null;
    return turned(g, nth(args, 0));
  });
  return withValues(graph, values);
}
/** Who reads each value; null: the graph gives it out. */
function usersOf(graph: Graph): ReadonlyMap<Value, readonly (Node | null)[]> {
  const users = new Map<Value, (Node | null)[]>();
  const add = (v: Value, node: Node | null): void => {
    const known = users.get(v);
    if (known) known.push(node);
    else users.set(v, [node]);
  };
  for (const v of valuesOf(graph)) add(v, null);
  for (const node of topological(valuesOf(graph))) for (const v of node.args) add(v, node);
  return users;
}
/** x^T y as y^T x; null for what is no such product. */
function turned(g: Builder, product: Value): Value[] | null {
  const [left, y, ...more] = madeBy(product, "dot")?.args ?? [];
  if (!left || !y || more.length > 0 || !isSwap(left.node) || left.type.dtype !== y.type.dtype) return null;
  return [b.dot(g, b.swap(g, y), nth(left.node.args, 0))];
}
/** Whether the last two axes change places, and no others. */
function isSwap({ op, attrs, results }: Node): boolean {
  if (op.name !== "transpose") return false;
  const last = dims(nth(results, 0).type).length - 1;
  const place = (i: number): number => (i === last ? last - 1 : i === last - 1 ? last : i);
  return (attrs as OpAttrs["transpose"]).perm.every((p, i) => p === place(i));
}
