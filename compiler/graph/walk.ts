// Orders and rebuilds: what passes are made of.
import type { Builder, Graph, Node, Value } from "./node.ts";

const nothing: ReadonlySet<Node> = new Set();

/**
 * Every node that the values need but for those of `beyond` and those that were made before the one numbered `from`, each after its operands; the
 * order depends on nothing but the graph.
 */
export function topological(results: readonly Value[], beyond: ReadonlySet<Node> = nothing, from = 0): Node[] {
  const done = new Set(beyond);
  const order: Node[] = [];
  const stack = results.flatMap((v) => (v.node.id < from ? [] : [v.node])).toReversed();
  for (let node = stack.at(-1); node; node = stack.at(-1)) {
    const before = stack.length;
    if (!done.has(node))
      for (let i = node.args.length - 1; i >= 0; i--) {
        const next = node.args[i]?.node;
        if (next && next.id >= from && !done.has(next)) stack.push(next);
      }
    if (stack.length > before) continue;
    stack.pop();
    if (done.has(node)) continue;
    done.add(node);
    order.push(node);
  }
  return order;
}
/** How many nodes and results read each value. */
export function usesOf(results: readonly Value[], nodes: readonly Node[]): Map<Value, number> {
  const uses = new Map<Value, number>();
  for (const v of [...results, ...nodes.flatMap((n) => n.args)]) uses.set(v, (uses.get(v) ?? 0) + 1);
  return uses;
}
/** The store that a leaf reads, or null. */
export const storeOf = (node: Node): string | null =>
  node.op.name === "param" ? (node.attrs as { readonly store: string }).store : null;

/** What takes the place of a node's results; null: the node stays, on its new operands. `now`: what stands for a value that came before. */
export type Replace = (node: Node, args: readonly Value[], now: (v: Value) => Value) => readonly Value[] | null;

/**
 * The values anew in `g`, each node through `replace`. A node whose operands are the same objects stays the same node of `g`; those of
 * `beyond`, and what they need, are not looked at.
 */
export function rebuild(g: Builder, results: readonly Value[], replace: Replace, beyond?: ReadonlySet<Node>): Value[] {
  const made = new Map<Node, readonly Value[]>();
  const now = (v: Value): Value => made.get(v.node)?.[v.index] ?? v;
  for (const node of topological(results, beyond)) {
    const args = node.args.map(now);
    g.where = node.where;
    made.set(node, replace(node, args, now) ?? g.add(node.op, args, node.attrs).results);
  }
  g.where = null;
  return results.map(now);
}
/** A graph with other values. */
export const withValues = (graph: Graph, values: readonly Value[]): Graph => ({
  name: graph.name,
  results: graph.results.map((r, i) => ({ ...r, value: values[i] ?? r.value })),
});
/** The values of a graph's results. */
export const valuesOf = (graph: Graph): Value[] => graph.results.map((r) => r.value);
/** Every node that they need, each after its operands. */
export const nodesOf = (graph: Graph): Node[] => topological(valuesOf(graph));
