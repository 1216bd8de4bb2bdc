// Traversals and rebuilding of graphs, which passes are built from.
import { getOrMake, memoize } from "../memoize.ts";
import type { Builder, Graph, Node, Value } from "./node.ts";

const nothing: ReadonlySet<Node> = new Set();

/**
 * All nodes that the values need, in topological order; it depends on nothing but the graph. The nodes in `frozen`, and those with an id below
 * `minId`, are left out, together with what only they need.
 */
export function topological(results: readonly Value[], frozen: ReadonlySet<Node> = nothing, minId = 0): Node[] {
  const found: Node[] = [];
  // by id, which is unique in a graph, and above those of the arguments
  const isFound = new Uint8Array(Math.max(0, results.reduce((most, v) => Math.max(most, v.node.id), -1) + 1 - minId));
  const isWanted = (node: Node): boolean => node.id >= minId && isFound[node.id - minId] === 0 && !frozen.has(node);
  // from a result down to the node that is being visited, with how many arguments of each have been
  const path: { readonly node: Node; visited: number }[] = [];
  for (const result of results) {
    if (isWanted(result.node)) path.push({ node: result.node, visited: 0 });
    for (let last = path.at(-1); last; last = path.at(-1)) {
      const next = last.node.args[last.visited++]?.node;
      if (next === undefined) {
        found.push(last.node);
        isFound[last.node.id - minId] = 1;
        path.pop();
      } else if (isWanted(next)) path.push({ node: next, visited: 0 });
    }
  }
  return found;
}
/** For each value, how many arguments of nodes and how many results refer to it. */
export function useCounts(results: readonly Value[], nodes: readonly Node[]): Map<Value, number> {
  const uses = new Map<Value, number>();
  const count = (v: Value): void => void uses.set(v, (uses.get(v) ?? 0) + 1);
  results.forEach(count);
  for (const { args } of nodes) args.forEach(count);
  return uses;
}
/** The nodes that read each value, in their order; one that reads it twice stands there twice. */
export function readersOf(nodes: readonly Node[]): Map<Value, Node[]> {
  const found = new Map<Value, Node[]>();
  for (const node of nodes) for (const a of node.args) getOrMake(found, a, () => []).push(node);
  return found;
}
/** The name of the store that a `param` node reads; null for any other node. */
export const storeOf = (node: Node): string | null =>
  node.op.name === "param" ? (node.attrs as { readonly store: string }).store : null;

/** The replacement for a node's results; null: it stays, with operands `args`. `now` maps any value visited earlier to its replacement. */
type Replace = (node: Node, args: readonly Value[], now: (v: Value) => Value) => readonly Value[] | null;

/**
 * Rebuilds the values in `g`, asking `replace` about each of `nodes`, which are in topological order: all that the values need, if not given, or a part,
 * the rest of which is left alone. A node whose operands do not change stays the same node.
 */
export function rebuild(
  g: Builder,
  results: readonly Value[],
  replace: Replace,
  nodes: readonly Node[] = topological(results),
): Value[] {
  const made = new Map<Node, readonly Value[]>();
  const now = (v: Value): Value => made.get(v.node)?.[v.index] ?? v;
  for (const node of nodes) {
    const args = node.args.map(now);
    g.span = node.span;
    const results = replace(node, args, now) ?? g.withArgs(node, args).results;
    if (results !== node.results) made.set(node, results);
  }
  g.span = null;
  return results.map(now);
}
/** The graph with its results' values replaced, in order; the graph itself if they are its own. */
export const withValues = (graph: Graph, values: readonly Value[]): Graph =>
  graph.results.every((r, i) => r.value === values[i])
    ? graph
    : { name: graph.name, results: graph.results.map((r, i) => ({ ...r, value: values[i] ?? r.value })) };
/** The values of a graph's results. */
export const valuesOf = (graph: Graph): Value[] => graph.results.map((r) => r.value);
/** The graph whose results are rebuilt. */
export const rebuildGraph = (g: Builder, graph: Graph, replace: Replace): Graph =>
  withValues(graph, rebuild(g, valuesOf(graph), replace, nodesOf(graph)));
/** The stores that graphs give new contents. */
export const assignedStores = (graphs: readonly Graph[]): Set<string> =>
  new Set(graphs.flatMap(({ results }) => results.flatMap((r) => (r.role === "store" ? [r.name] : []))));
/** All nodes of a graph, in topological order. */
export const nodesOf = memoize((graph: Graph): readonly Node[] => topological(valuesOf(graph)));
/** The nodes that outputs, losses and metrics need: all but those that only gradients and new store contents need. */
export function forwardNodes(graph: Graph): Set<Node> {
  const reported = graph.results.filter((r) => r.role !== "store" && r.role !== "gradient");
  return ancestors(reported.map((r) => r.value));
}
/** The nodes that the values are computed from, without what `after` merely waits for. */
function ancestors(values: readonly Value[]): Set<Node> {
  const found = new Set<Node>();
  const waiting = values.map((v) => v.node);
  for (let node = waiting.pop(); node; node = waiting.pop()) {
    if (found.has(node)) continue;
    found.add(node);
    for (const a of node.op.name === "after" ? node.args.slice(0, 1) : node.args) waiting.push(a.node);
  }
  return found;
}
