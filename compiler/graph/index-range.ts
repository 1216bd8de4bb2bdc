// What the elements of an integer tensor can index: which values its indices may take.
import type { Elaborated, Node, Value } from "./node.ts";
import { storeOf, topological, valuesOf } from "./walk.ts";

/** For each integer input that is used as an index: the size of the smallest axis that it indexes (for token numbers, the vocabulary). */
export function indexBounds({ stores, graphs }: Elaborated): Record<string, number> {
  const inputs = new Set(stores.filter((s) => s.role === "input").map((s) => s.name));
  const least = new Map<string, number>();
  for (const node of topological(graphs.flatMap(valuesOf))) {
    const chosen = node.op.indexes?.(node);
    if (!chosen) continue;
    for (const { node: source } of sourcesOf(chosen.index)) {
      const store = storeOf(source);
      if (store !== null && inputs.has(store)) least.set(store, Math.min(chosen.length, least.get(store) ?? Infinity));
    }
  }
  return Object.fromEntries(least);
}

/**
 * The longest axis any position of which may be among the elements of `index` (as of a `top_k`), and the node that gave them. What a `where` keeps by a
 * condition that knows the choice, `index < E`, may be dropped on purpose; by one that does not (a mask of padding) it is not.
 */
export function indexRangeOf(index: Value): { readonly length: number; readonly node: Node } | null {
  const found = new Set([index]);
  const conditions = new Set<Value>();
  for (const { node } of found) {
    const [condition, ...kept] = node.op.name === "select" ? node.args : [];
    if (condition) conditions.add(condition);
    for (const arg of [...copiedArgs(node), ...kept]) found.add(arg);
  }
  const known = new Set(topological([...conditions]));
  let most: ReturnType<typeof indexRangeOf> = null;
  for (const { node, index: result } of found) {
    const length = known.has(node) ? null : (node.op.indexRange?.(node, result) ?? null);
    if (length !== null && length > (most?.length ?? 0)) most = { length, node };
  }
  return most;
}
/** Whether every element of `index` is known to be a position in an axis of this `length`. */
export function isWithin({ node, index: result }: Value, length: number): boolean {
  const among = node.op.indexRange?.(node, result) ?? null;
  if (among !== null) return among <= length;
  const from = copiedArgs(node);
  return from.length > 0 && from.every((arg) => isWithin(arg, length));
}
/** The index, and all values whose elements are among its own unchanged. */
function sourcesOf(index: Value): Set<Value> {
  const found = new Set([index]);
  for (const { node } of found) for (const arg of copiedArgs(node)) found.add(arg);
  return found;
}
/** The arguments whose elements a node passes on unchanged; arithmetic and `where` give numbers of another range. */
const copiedArgs = ({ op, args }: Node): readonly Value[] =>
  op.lower === "view" ? args : copiesFirst.has(op.name) ? args.slice(0, 1) : [];
const copiesFirst: ReadonlySet<string> = new Set(["cast", "detach", "gather"]);
