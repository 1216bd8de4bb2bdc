// Where kernels begin and end. A region becomes one kernel (an algorithm several): its outputs go to memory, and all else that it needs
// is computed where it is read. Nodes are visited from the results down; what each is read by, and at which index, decides.
import type { Graph, Node, Value } from "../graph/node.ts";
import { topological, valuesOf } from "../graph/walk.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { dims } from "../types/type.ts";
import { merge, type Part } from "./merge.ts";

export interface Region {
  /** tile: contractions, and points of their accumulators. rows: elements, or rows with their folds. algorithm: one node in its own way. */
  readonly kind: "tile" | "rows" | "algorithm";
  /** The contractions, or the algorithm; of rows, the nodes of the outputs. */
  readonly nodes: readonly Node[];
  /** What goes to memory. */
  readonly outputs: readonly Value[];
  /** How many leading axes of the outputs' space the tasks walk, because a reduction over the others is inside; null: as it suits. */
  readonly depth: number | null;
}
/** Reductions over so few elements are written out, like points. */
export const unrolled = 8;
/** Where a value is read from an element of a root: the root's axis for each of its own, or null for anything else. */
type Pattern = readonly (number | null)[];
type Reach = Map<Value, Pattern[]>;

const sizeOf = (v: Value): number => dims(v.type).reduce((a, b) => a * b, 1);
const attrsOf = <N extends keyof OpAttrs>(node: Node): OpAttrs[N] => node.attrs as OpAttrs[N];

/** Rows moved by an index: read in the consumer's load, whatever consumes it. */
const carries = new Set(["gather", "dispatch", "combine"]);
/** A reduction over trailing axes is a fold of a row. */
export function isFold(node: Node): boolean {
  if (node.op.name !== "reduce") return false;
  const { axes } = attrsOf<"reduce">(node);
  const rank = node.args[0]?.type.shape.length ?? 0;
  return axes.every((_, i) => axes.includes(rank - 1 - i));
}
function isSmall(node: Node): boolean {
  const [x, y] = [node.args[0], node.results[0]];
  return (
    node.op.name === "reduce" &&
    x !== undefined &&
    y !== undefined &&
    sizeOf(y) > 0 &&
    sizeOf(x) / sizeOf(y) <= unrolled
  );
}
/** Ends a region always: its results are in memory. */
export function isAnchor(node: Node): boolean {
  const { lower, name } = node.op;
  if (lower === "tile" || (lower === "algorithm" && !carries.has(name))) return true;
  return lower === "reduce" && !isFold(node) && !isSmall(node);
}

export function fuse(graph: Graph): Region[] {
  const nodes = topological(valuesOf(graph));
  const plan = new Plan(nodes, new Set(graph.results.map((r) => r.value)));
  for (const node of nodes.toReversed()) plan.visit(node);
  return merge(plan.parts(nodes), new Set(valuesOf(graph)));
}

class Plan {
  private readonly stored: Set<Value>;
  private readonly reach = new Map<Value, Reach>();
  private readonly depths = new Map<Value, number>();
  private readonly costs = new Map<Node, number>();

  constructor(nodes: readonly Node[], results: ReadonlySet<Value>) {
    this.stored = new Set(results);
    for (const node of nodes) this.costs.set(node, this.costOf(node));
  }
  /** Operations to compute one element again from what is in memory. */
  private costOf(node: Node): number {
    if (isAnchor(node) || node.op.name === "param") return 0;
    const [x, y] = [node.args[0], node.results[0]];
    const own = y && sizeOf(y) > 0 ? node.op.cost(node).flops / sizeOf(y) : 0;
    const many = node.op.name === "reduce" && x && y && sizeOf(y) > 0 ? sizeOf(x) / sizeOf(y) : 1;
    return own + node.args.reduce((sum, a) => sum + many * (this.costs.get(a.node) ?? 0), 0);
  }
  visit(node: Node): void {
    if (node.op.name === "param") return;
    if (isAnchor(node)) {
      for (const v of node.results) this.stored.add(v);
      if (node.op.name !== "reduce") return node.args.forEach((a, i) => this.operand(node, i, a));
    }
    for (const v of node.results) if (!this.stored.has(v) && this.wants(v)) this.stored.add(v);
    for (const v of node.results) {
      const reach: Reach = this.stored.has(v)
        ? new Map([[v, [v.type.shape.map((_, i) => i)]]])
        : (this.reach.get(v) ?? new Map());
      for (const [root, patterns] of reach) {
        if (isFold(node) && !isSmall(node)) this.depths.set(root, v.type.shape.length);
        for (const p of patterns) node.args.forEach((a, i) => this.read(root, a, through(node, i, p)));
      }
    }
  }
  private read(root: Value, v: Value, pattern: Pattern): void {
    const reach = this.reach.get(v) ?? new Map<Value, Pattern[]>();
    const known = reach.get(root) ?? [];
    if (!known.some((p) => p.every((a, i) => a === pattern[i]))) reach.set(root, [...known, pattern]);
    this.reach.set(v, reach);
  }
  /** What an anchor reads must lie in memory, under any view. */
  private operand(anchor: Node, index: number, v: Value): void {
    const { lower, name } = v.node.op;
    const next = v.node.args[0];
    if (anchor.op.name === "scatter" && index === 0 && name !== "param") return void this.stored.add(v);
    const rowsOfGroups = anchor.op.name.startsWith("ragged_") && name === "dispatch" && index < 2;
    if (next && ((lower === "view" && name !== "concat") || rowsOfGroups)) {
      for (const a of rowsOfGroups ? v.node.args.slice(1, 2) : []) this.operand(anchor, index, a);
      return this.operand(anchor, index, next);
    }
    if (lower !== "leaf") this.stored.add(v);
  }
  /** Whether a value that need not be in memory is better there. */
  private wants(v: Value): boolean {
    const reach = this.reach.get(v) ?? new Map<Value, Pattern[]>();
    const { node } = v;
    if (isFold(node) && !isSmall(node)) return !this.foldsInside(v, reach);
    if (node.op.lower === "leaf" || node.op.lower === "view") return false;
    const cost = this.costs.get(node) ?? 0;
    if (reach.size > 1 && cost > 8) return true;
    const repeats = [...reach].some(
      ([root, patterns]) => sizeOf(root) >= 4 * sizeOf(v) && !patterns.every((p) => isPrefix(p, dims(v.type))),
    );
    return cost > 400 || (cost >= 10 && repeats);
  }
  /** Whether each row of the one kernel that reads this reduction can make it once. */
  private foldsInside(v: Value, reach: Reach): boolean {
    const [only, ...more] = reach;
    if (!only || more.length > 0) return false;
    const [root, patterns] = only;
    const rank = v.type.shape.length;
    const rows = sizeOf(v);
    const wide = (v.node.args[0] ? sizeOf(v.node.args[0]) : 0) + sizeOf(root);
    const depth = this.depths.get(root) ?? rank;
    return (
      patterns.every((p) => isPrefix(p, dims(v.type))) &&
      depth === rank &&
      rank <= root.type.shape.length &&
      (rows >= 16 || wide <= 1 << 14)
    );
  }
  parts(nodes: readonly Node[]): Part[] {
    return nodes.flatMap((node): Part[] => {
      const outputs = node.results.filter((v) => this.stored.has(v));
      const [first] = outputs;
      if (first === undefined || node.op.name === "param") return [];
      const reads = this.reads(node);
      const exact = [...reads].filter((v) =>
        this.reach
          .get(v)
          ?.get(first)
          ?.every((p) => isPrefix(p, []) && p.length === first.type.shape.length),
      );
      return [
        {
          kind: kindOf(node),
          nodes: [node],
          outputs,
          depth: this.depths.get(first) ?? null,
          reads,
          exact: new Set(exact),
        },
      ];
    });
  }
  /** What is read from memory to compute a node. */
  private reads(node: Node): Set<Value> {
    const found = new Set<Value>();
    const seen = new Set<Node>();
    const visit = (n: Node): void => {
      seen.add(n);
      for (const a of n.args) {
        if (this.stored.has(a) || a.node.op.name === "param") found.add(a);
        else if (!seen.has(a.node)) visit(a.node);
      }
    };
    visit(node);
    return found;
  }
}
const contractions = new Set(["dot", "ragged_dot"]);
function kindOf(node: Node): Region["kind"] {
  if (contractions.has(node.op.name)) return "tile";
  return isAnchor(node) && node.op.name !== "reduce" ? "algorithm" : "rows";
}
const isPrefix = (p: Pattern, shape: readonly number[]): boolean => p.every((a, i) => a === i || shape[i] === 1);

/** Where argument `arg` of a node is read, when its result is read at `p`. */
function through(node: Node, arg: number, p: Pattern): Pattern {
  const shape = node.args[arg]?.type.shape ?? [];
  const at = (i: number): number | null => p[i] ?? null;
  switch (node.op.name) {
    case "reshape":
      return regrouped(p, node.results[0] ? dims(node.results[0].type) : [], shape as readonly number[]);
    case "transpose": {
      const { perm } = attrsOf<"transpose">(node);
      return perm.map((_, i) => at(perm.indexOf(i)));
    }
    case "broadcast":
      return attrsOf<"broadcast">(node).axes.map(at);
    case "slice":
    case "concat": {
      const { axis } = attrsOf<"concat">(node);
      return p.map((a, i) => (i === axis ? null : a));
    }
    case "reduce": {
      const { axes } = attrsOf<"reduce">(node);
      let kept = 0;
      return shape.map((_, i) => (axes.includes(i) ? null : at(kept++)));
    }
    case "gather": {
      const { axis, batch } = attrsOf<"gather">(node);
      const many = (node.args[1]?.type.shape.length ?? batch) - batch;
      if (arg === 1) return [...p.slice(0, batch), ...p.slice(axis, axis + many)];
      return [...p.slice(0, axis), null, ...p.slice(axis + many)];
    }
    case "dispatch":
    case "combine":
      return arg === 0 ? [null, ...p.slice(1)] : p.slice(0, 1);
    case "random":
      return arg === 0 ? [null] : p.slice(0, shape.length);
    default:
      return p.length === shape.length ? p : shape.map(() => null);
  }
}
/** Axes that a reshape leaves alone are read as they were. */
function regrouped(p: Pattern, from: readonly number[], to: readonly number[]): Pattern {
  const result: (number | null)[] = to.map(() => null);
  let [i, j, m, n] = [0, 0, 1, 1];
  while (i < from.length && j < to.length) {
    if (m === n && from[i] === to[j]) {
      result[j++] = p[i++] ?? null;
      continue;
    }
    if (m <= n) m *= from[i++] ?? 1;
    else n *= to[j++] ?? 1;
    if (m === n) [m, n] = [1, 1];
  }
  return result;
}
