// Finds chains of reductions over rows of few numbers, such as rounds of Sinkhorn's scaling of a 4 x 4 matrix for each token. Each becomes one kernel, in which
// a lane holds all numbers of its row; else each reduction would end a kernel.
import type { Graph, Node, Value } from "../graph/node.ts";
import { nodesOf, readersOf, valuesOf } from "../graph/walk.ts";
import { groupBy } from "../group-by.ts";
import { item } from "../item.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { splatOf } from "../rewrite/pattern.ts";
import { product } from "../types/numbers.ts";
import { count, dims } from "../types/type.ts";

/** Nodes that one kernel computes, a lane for each of `rows` rows. */
export interface LaneChain {
  readonly rows: number;
  /** In topological order. */
  readonly nodes: readonly Node[];
  readonly isBackward: boolean;
  /** The chains whose values it computes again instead of reading them. */
  readonly recomputes: Set<LaneChain>;
}
/** The most numbers of a row. */
export const longestRow = 16;
/**
 * How many reductions must follow one another for a kernel of their own, in the forward and in the backward. The forward decides for both: where layers are
 * made again in the backward (`recompute`) chains are longer there, and a lane adds up in another order than other kernels, so bits would differ.
 */
const [fewestForward, fewestBackward] = [8, 4];
/** Of fewer values of another chain a backward chain reads what that one stored. */
const manyReads = 5;
/**
 * The most numbers that a lane computes in the forward and in the backward. Its text has a line for each, but where rounds become a loop (kernel/roll.ts), of
 * which the backward keeps what each round made, in memory of the lane. A backward has about three times its forward's numbers, and makes
 * these again.
 */
const [mostForward, mostBackward] = [4096, 16384];

/**
 * The chain of each node that is in one. `forward`: the nodes of the forward. All chains have the same number of rows (that of the most nodes), since two
 * of different numbers might need results of each other.
 */
export function laneChains(graph: Graph, forward: ReadonlySet<Node>): ReadonlyMap<Node, LaneChain> {
  const found = rowCounts(nodesOf(graph)).map((rows) => chainsOfRows(graph, rows, forward));
  const chains = found.reduce<ReadonlyMap<Node, LaneChain>>((a, b) => (b.size > a.size ? b : a), new Map());
  for (const chain of new Set(chains.values())) addRecomputed(chain, chains);
  return chains;
}
function chainsOfRows(graph: Graph, rows: number, forward: ReadonlySet<Node>): ReadonlyMap<Node, LaneChain> {
  const nodes = nodesOf(graph);
  const found = new Map<Node, LaneChain>();
  const fits = new Set(nodes.filter((n) => isOfRows(n, rows)));
  if (longestChain([...fits]) < fewestForward) return found;
  const isForward = (list: readonly Node[]): boolean => forward.has(item(list, 0));
  const long = components(nodes, fits, forward).filter((list) => {
    const [fewest, most] = isForward(list) ? [fewestForward, mostForward] : [fewestBackward, mostBackward];
    return longestChain(list) >= fewest && numbers(list, rows) <= most;
  });
  if (!long.some(isForward)) return found;
  const [results, isOutput] = [new Set(valuesOf(graph)), outputsOf(graph, fits)];
  for (const list of long) {
    const kept = withoutEnds(list, results, isOutput);
    const chain: LaneChain = { rows, nodes: kept, isBackward: !isForward(list), recomputes: new Set() };
    for (const n of kept) found.set(n, chain);
  }
  return found;
}
/** A backward chain computes again what it reads of another one, unless it reads little of it, that one does the same, or both are too much. */
function addRecomputed(chain: LaneChain, chains: ReadonlyMap<Node, LaneChain>): void {
  if (!chain.isBackward) return;
  let all = numbers(chain.nodes, chain.rows);
  const read = new Set(chain.nodes.flatMap((n) => n.args));
  for (const [from, values] of groupBy(read, (v) => chains.get(v.node))) {
    if (!from || from === chain || from.recomputes.size > 0 || values.length < manyReads) continue;
    all += numbers(from.nodes, from.rows);
    if (all <= mostBackward) chain.recomputes.add(from);
  }
}
/** The values of a chain that other kernels read, or that are results. */
export function laneOutputs(graph: Graph, chains: ReadonlyMap<Node, LaneChain>): Set<Value> {
  const readers = readersOf(nodesOf(graph));
  const results = new Set(valuesOf(graph));
  const isElsewhere = (reader: Node, own: LaneChain): boolean => {
    const chain = chains.get(reader);
    return chain !== own && !chain?.recomputes.has(own);
  };
  return new Set(
    [...chains].flatMap(([{ results: made }, own]) =>
      made.filter((v) => results.has(v) || readers.get(v)?.some((n) => isElsewhere(n, own))),
    ),
  );
}
/** How many rows chains may have: whatever leaves a row of at most `longestRow` numbers of enough reductions' operands. */
const rowCounts = (nodes: readonly Node[]): number[] =>
  [...groupBy(nodes.flatMap(rowCountsOf), (rows) => rows)]
    .flatMap(([rows, all]) => (all.length < fewestForward ? [] : [rows]))
    .toSorted((a, b) => a - b);
function rowCountsOf({ op, args: [x], attrs }: Node): number[] {
  if (op.name !== "reduce" || !x) return [];
  const shape = dims(x.type);
  const lead = Math.min(...(attrs as OpAttrs["reduce"]).axes);
  return shape
    .slice(0, lead + 1)
    .map((_, i) => product(shape.slice(0, i)))
    .filter((rows) => isShort(x, rows));
}
const rowLength = (v: Value, rows: number): number => count(v.type) / rows;
const isShort = (v: Value, rows: number): boolean => count(v.type) > 0 && rowLength(v, rows) <= longestRow;
const numbers = (nodes: readonly Node[], rows: number): number =>
  nodes.reduce((sum, n) => sum + (n.op.lower === "view" ? 0 : rowLength(item(n.results, 0), rows)), 0);

/** Whether each row of a node's result is made of the same row of what it reads, or of what is the same for all rows. */
function isOfRows(node: Node, rows: number): boolean {
  const { op, args, attrs } = node;
  const y = item(node.results, 0);
  if (!isShort(y, rows) || splatOf(y) !== null) return false;
  const [whole, from] = [dims(y.type), args[0] ? dims(args[0].type) : []];
  switch (op.name) {
    case "unary":
    case "binary":
    case "select":
    case "cast":
    case "detach":
      return leads(whole, rows).length > 0;
    case "reshape":
      return leads(whole, rows).length > 0 && leads(from, rows).length > 0;
    case "slice":
    case "concat": {
      const { axis } = attrs as OpAttrs["slice"];
      return leads(whole, rows).some((lead) => axis >= lead);
    }
    case "reduce": {
      const { axes } = attrs as OpAttrs["reduce"];
      return args.every((x) => isShort(x, rows)) && leads(from, rows).some((lead) => axes.every((a) => a >= lead));
    }
    case "transpose": {
      const { perm } = attrs as OpAttrs["transpose"];
      return leads(whole, rows).some((lead) => perm.slice(0, lead).every((p, i) => p === i));
    }
    case "broadcast": {
      const { axes } = attrs as OpAttrs["broadcast"];
      return leads(whole, rows).some(
        (lead) => product(axes.filter((a) => a < lead).map((a) => item(whole, a))) === rows,
      );
    }
    default:
      return false;
  }
}
/** The numbers of leading axes that together have so many rows: several where axes of one element follow. */
export function leads(shape: readonly number[], rows: number): number[] {
  const found: number[] = [];
  let before = 1;
  for (let lead = 0; lead <= shape.length; lead++) {
    if (before === rows) found.push(lead);
    before *= shape[lead] ?? 1;
  }
  return found;
}

/**
 * Groups of connected nodes, none of which needs another's results through a node outside: all nodes of a group have the same number of changes, between
 * nodes that fit and others, on the way to the last result.
 */
function components(nodes: readonly Node[], fits: ReadonlySet<Node>, forward: ReadonlySet<Node>): Node[][] {
  const changes = new Map<Node, number>();
  const first = new Map<Node, Node>();
  const rootOf = (n: Node): Node => {
    let root = n;
    for (let next = first.get(root); next && next !== root; next = first.get(root)) root = next;
    for (let m = n, next = n; m !== root; m = next) {
      next = first.get(m) ?? root;
      first.set(m, root);
    }
    return root;
  };
  for (const node of nodes.toReversed()) {
    const own = changes.get(node) ?? 0;
    changes.set(node, own);
    for (const { node: a } of node.args) {
      const step = fits.has(a) || fits.has(node) ? Number(fits.has(a) !== fits.has(node)) : 0;
      changes.set(a, Math.max(changes.get(a) ?? 0, own + step));
    }
  }
  for (const node of fits)
    for (const { node: a } of node.args)
      if (fits.has(a) && changes.get(a) === changes.get(node) && forward.has(a) === forward.has(node))
        first.set(rootOf(a), rootOf(node));
  return [...groupBy([...fits], rootOf).values()];
}
/** Whether a value is a result, or what does not fit reads it, directly or by views. */
function outputsOf(graph: Graph, fits: ReadonlySet<Node>): (v: Value) => boolean {
  const readers = readersOf(nodesOf(graph));
  const results = new Set(valuesOf(graph));
  const isOutside = (n: Node): boolean => !fits.has(n) || (n.op.lower === "view" && n.results.some(isOutput));
  const isOutput = (v: Value): boolean => results.has(v) || readers.get(v)?.some(isOutside) === true;
  return isOutput;
}
/**
 * The nodes, which are in topological order, without those at the ends that are as well computed where they are read: views, and what is made of other
 * outputs alone. Reductions and results of the graph stay.
 */
function withoutEnds(list: readonly Node[], results: ReadonlySet<Value>, isOutput: (v: Value) => boolean): Node[] {
  const kept = new Set(list);
  const read = new Set<Node>();
  for (const node of list.toReversed()) {
    const { op, args } = node;
    const own = args.filter((a) => kept.has(a.node));
    const isNeeded = op.name === "reduce" || read.has(node) || node.results.some((v) => results.has(v));
    const isEnd = !isNeeded && (op.lower === "view" || own.every(isOutput));
    if (isEnd) kept.delete(node);
    else for (const a of own) read.add(a.node);
  }
  for (const node of kept) if (node.op.lower === "view" && !node.args.some((a) => kept.has(a.node))) kept.delete(node);
  return [...kept];
}
/** How many reductions of the nodes, which are in topological order, follow one another. */
function longestChain(nodes: readonly Node[]): number {
  const before = new Map<Node, number>();
  let longest = 0;
  for (const node of nodes) {
    const most = Math.max(0, ...node.args.map((a) => before.get(a.node) ?? 0)) + Number(node.op.name === "reduce");
    before.set(node, most);
    longest = Math.max(longest, most);
  }
  return longest;
}
