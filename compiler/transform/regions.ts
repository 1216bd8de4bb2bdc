// Where kernels begin and end. A region becomes one kernel (an algorithm several): its outputs go to memory, and all else that it needs
// is computed where it is read. Nodes are visited from the results down; what each is read by, and at which index, decides.
import type { Graph, Node, Value } from "../graph/node.ts";
import { topological, valuesOf } from "../graph/walk.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { dims } from "../types/type.ts";
import { type MergeOptions, merge, type Part } from "./merge.ts";
import { carries, manySteps, type Region } from "./region.ts";

/** Reductions over so few elements are written out, like points, unless an element takes so many operations to make. */
const fewElements = 8;
const fewOperations = 8;
/** Where a value is read from an element of a root: the root's axis for each of its own, or null for anything else. */
type Pattern = readonly (number | null)[];
type Reach = Map<Value, Pattern[]>;

const sizeOf = (v: Value): number => dims(v.type).reduce((a, b) => a * b, 1);
/** Costs nothing where an operand is loaded, so that no buffer is made for it: a cast that loses nothing, and a mere other name. */
export const isFree = ({ op, args, results }: Node): boolean =>
  op.name === "detach" || (op.name === "cast" && args[0]?.type.dtype === "bf16" && results[0]?.type.dtype === "f32");

/** A reduction over the last axes is a fold of a row. */
export const isFold = (axes: readonly number[], rank: number): boolean =>
  axes.every((_, i) => axes.includes(rank - 1 - i));
const folds = (node: Node): boolean =>
  node.op.name === "reduce" && isFold((node.attrs as OpAttrs["reduce"]).axes, node.args[0]?.type.shape.length ?? 0);
/** Written out where it is read, once for each element that reads it. */
export function isWrittenOut(node: Node): boolean {
  const [x, y] = [node.args[0], node.results[0]];
  if (node.op.name !== "reduce" || !x || !y || sizeOf(y) === 0) return false;
  const { axes } = node.attrs as OpAttrs["reduce"];
  const few = sizeOf(x) <= fewElements * sizeOf(y);
  return few && (!isFold(axes, x.type.shape.length) || operations(x) <= fewOperations);
}
/** To make an element by points alone; what is no more than moved costs nothing. */
function operations(v: Value): number {
  const { node } = v;
  const { lower } = node.op;
  if (lower !== "point" && lower !== "view") return 0;
  const own = lower === "point" ? node.op.flops(node) / Math.max(1, sizeOf(v)) : 0;
  return own + node.args.reduce((sum, a) => sum + (sum > fewOperations ? 0 : operations(a)), 0);
}
/** A concat of what many steps make: each piece is written to its place in memory. */
export const isInSteps = ({ op, args }: Node): boolean => op.name === "concat" && args.length > manySteps;
/** Ends a region always: its results are in memory. */
export function isAnchor(node: Node): boolean {
  const { lower, name } = node.op;
  if (isInSteps(node)) return true;
  if (lower === "tile" || (lower === "algorithm" && !carries.has(name))) return true;
  return lower === "reduce" && !folds(node) && !isWrittenOut(node);
}

export function fuse(graph: Graph, options: MergeOptions = {}): Region[] {
  const nodes = topological(valuesOf(graph));
  const plan = new Plan(nodes, graph);
  for (const node of nodes.toReversed()) plan.visit(node);
  return merge(plan.parts(nodes), new Set(valuesOf(graph)), options);
}
/** What is needed for something that is reported: all but gradients and new contents of stores. */
export function forwardNodes(graph: Graph): Set<Node> {
  const reported = graph.results.filter((r) => r.role !== "store" && r.role !== "gradient");
  return ahead(reported.map((r) => r.value));
}
/** What is computed to make the values, but for what `after` only waits for. */
function ahead(values: readonly Value[]): Set<Node> {
  const found = new Set<Node>();
  const waiting = values.map((v) => v.node);
  for (let node = waiting.pop(); node; node = waiting.pop()) {
    if (found.has(node)) continue;
    found.add(node);
    for (const a of node.op.name === "after" ? node.args.slice(0, 1) : node.args) waiting.push(a.node);
  }
  return found;
}
function readersOf(nodes: readonly Node[]): Map<Value, Node[]> {
  const found = new Map<Value, Node[]>();
  for (const node of nodes) for (const a of node.args) found.set(a, [...(found.get(a) ?? []), node]);
  return found;
}
/** In operations on an element: to read one from memory, and what it must save to be worth a buffer. */
const reading = 4;
const worth = 20;
/** More than this is never computed again. */
const dear = 400;
/** So many values are made again one of another: a long loop's last step would make all steps before. */
const mostAgain = 3;
/** What is no mere load is made at so many places for one element, then read. */
const manyPlaces = 8;

class Plan {
  private readonly stored: Set<Value>;
  /** In memory for the forward's readers only: what reads it later computes it again. */
  private readonly again = new Set<Value>();
  /** How many values, one of another, late kernels make again to make one that reads this. */
  private readonly above = new Map<Value, number>();
  private readonly forward: ReadonlySet<Node>;
  private readonly readers: ReadonlyMap<Value, readonly Node[]>;
  private readonly reach = new Map<Value, Reach>();
  /** At how many different places each kernel that computes a value does so for one of its own elements: views and gathers move what is behind them. */
  private readonly places = new Map<Value, Map<Value, ReadonlySet<string>>>();
  private readonly depths = new Map<Value, number>();
  private readonly costs = new Map<Node, number>();

  constructor(nodes: readonly Node[], graph: Graph) {
    this.stored = new Set(valuesOf(graph));
    this.forward = forwardNodes(graph);
    this.readers = readersOf(nodes);
    for (const node of nodes) this.costs.set(node, this.costOf(node));
    for (const node of nodes.filter(({ op }) => op.name === "after"))
      for (const v of [...node.results, ...node.args.slice(1)]) this.stored.add(v);
    for (const node of nodes.filter(isAnchor)) {
      for (const v of node.results) this.stored.add(v);
      if (node.op.name !== "reduce") node.args.forEach((a, i) => this.operand(node, i, a));
    }
  }
  /** Operations to compute one element again from what is in memory, the row's folds being there. */
  private costOf(node: Node): number {
    const [x, y] = [node.args[0], node.results[0]];
    if (isAnchor(node) || node.op.name === "param" || (folds(node) && !isWrittenOut(node))) return reading;
    if (!y || sizeOf(y) === 0) return 0;
    const own = node.op.flops(node) / sizeOf(y);
    const many = node.op.name === "reduce" && x ? sizeOf(x) / sizeOf(y) : 1;
    return own + node.args.reduce((sum, a) => sum + many * this.share(a, y), 0);
  }
  /** What an element of an argument costs for one of the result: less, where it serves many. */
  private share(a: Value, y: Value): number {
    const full = this.costs.get(a.node) ?? 0;
    const cost = this.pays(full, this.readers.get(a)?.length ?? 0) ? reading : full;
    return sizeOf(a) * 8 < sizeOf(y) ? Math.min(cost, 1) : cost;
  }
  /** Whether a buffer saves more than it costs. */
  private pays(cost: number, readers: number): boolean {
    return (readers - 1) * (cost - reading) > worth;
  }
  visit(node: Node): void {
    if (node.op.name === "param") return;
    if (isAnchor(node) && node.op.name !== "reduce") return;
    for (const v of node.results) {
      if (!this.stored.has(v) && this.wants(v)) this.stored.add(v);
      if (this.stored.has(v) && (this.above.get(v) ?? 0) < mostAgain && this.cheapAgain(v)) this.again.add(v);
      this.deepen(v);
      for (const [root, patterns] of this.rootsOf(v)) {
        if (folds(node) && !isWrittenOut(node)) this.depths.set(root, v.type.shape.length);
        for (const p of patterns) node.args.forEach((a, i) => this.read(root, a, through(node, i, p)));
        node.args.forEach((a, i) => this.move(root, v, a, moves(node, i) ? `${node.op.name}${node.id}.${i}` : null));
      }
    }
  }
  /** What a value reads is made again with it, as far as that is not read from memory. */
  private deepen(v: Value): void {
    const own = this.above.get(v) ?? 0;
    const here = this.again.has(v) ? own + 1 : this.stored.has(v) ? 0 : own;
    for (const a of v.node.args) this.above.set(a, Math.max(here, this.above.get(a) ?? 0));
  }
  /** Which kernels compute a value, and at which of their elements. */
  private rootsOf(v: Value): Reach {
    const reach = this.reach.get(v) ?? new Map<Value, Pattern[]>();
    if (!this.stored.has(v)) return reach;
    const own: Reach = new Map([[v, [v.type.shape.map((_, i) => i)]]]);
    if (this.again.has(v)) for (const [root, patterns] of reach) if (this.isLate(root)) own.set(root, patterns);
    return own;
  }
  private isLate(root: Value): boolean {
    return !this.forward.has(root.node);
  }
  private read(root: Value, v: Value, pattern: Pattern): void {
    const reach = this.reach.get(v) ?? new Map<Value, Pattern[]>();
    const known = reach.get(root) ?? [];
    if (!known.some((p) => p.every((a, i) => a === pattern[i]))) reach.set(root, [...known, pattern]);
    this.reach.set(v, reach);
  }
  private move(root: Value, from: Value, to: Value, by: string | null): void {
    const here = root === from ? atRoot : (this.places.get(from)?.get(root) ?? atRoot);
    const roots = this.places.get(to) ?? new Map<Value, ReadonlySet<string>>();
    const moved = [...here].map((place) => (by === null ? place : `${by} ${place}`));
    const all = new Set([...(roots.get(root) ?? []), ...moved]);
    this.places.set(to, roots.set(root, new Set([...all].slice(0, manyPlaces + 1))));
  }
  /** Whether a kernel would make it at so many places that it had better read it: twice as many with each step of what doubles back on itself. */
  private isEverywhere(v: Value, roots: Iterable<Value>): boolean {
    if ((this.costs.get(v.node) ?? 0) <= reading) return false;
    return [...roots].some((root) => (this.places.get(v)?.get(root)?.size ?? 0) > manyPlaces);
  }
  /** Whether a kernel that joined with its maker would make it again for other elements, or other rows, than its own. */
  private isFar(v: Value, root: Value): boolean {
    const isRow = folds(v.node) && !isWrittenOut(v.node);
    if (!isRow && (this.costs.get(v.node) ?? 0) <= reading) return false;
    const [shape, depth] = [dims(v.type), this.depths.get(root) ?? Infinity];
    const elsewhere = (p: Pattern): boolean => p.some((a, i) => a !== i && i < depth && shape[i] !== 1);
    if (this.reach.get(v)?.get(root)?.some(elsewhere)) return true;
    return [...(this.places.get(v)?.get(root) ?? [])].some((place) =>
      /gather|slice|concat|dispatch|combine/.test(place),
    );
  }
  /** What an anchor reads must lie in memory, under any view. */
  private operand(anchor: Node, index: number, v: Value): void {
    const { lower, name } = v.node.op;
    const next = v.node.args[0];
    if (anchor.op.name === "scatter" && index === 0 && name !== "param") return void this.stored.add(v);
    const rowsOfGroups = anchor.op.name.startsWith("ragged_") && name === "dispatch" && index !== 2;
    const free = isFree(v.node) && (contractions.has(anchor.op.name) || anchor.op.name === "ragged_outer");
    if (next && ((lower === "view" && name !== "concat") || rowsOfGroups || free)) {
      for (const a of rowsOfGroups ? v.node.args.slice(1, 2) : []) this.operand(anchor, index, a);
      return this.operand(anchor, index, next);
    }
    if (lower !== "leaf") this.stored.add(v);
  }
  /** Whether the backward had better make a value of the forward again, from what is kept for it anyway. */
  private cheapAgain(v: Value): boolean {
    const { node } = v;
    const reach = this.reach.get(v) ?? new Map<Value, Pattern[]>();
    if (!this.forward.has(node) || isAnchor(node) || folds(node) || (this.costs.get(node) ?? 0) > 2 * worth)
      return false;
    const late = [...reach].filter(([root]) => this.isLate(root));
    if (late.length === 0 || this.isLateOperand(v) || this.readOften(v, late)) return false;
    if (
      this.isEverywhere(
        v,
        late.map(([root]) => root),
      )
    )
      return false;
    return [...this.reads(node, false)].every(
      (s) => s.node.op.name === "param" || 8 * sizeOf(s) <= sizeOf(v) || this.isLateOperand(s) || this.lateReader(s, 0),
    );
  }
  /** Whether it would be made several times for each of its elements, and is no mere load. */
  private readOften(v: Value, reach: readonly [root: Value, patterns: Pattern[]][]): boolean {
    const often = ([root, patterns]: (typeof reach)[number]): boolean =>
      sizeOf(root) >= 4 * sizeOf(v) && !patterns.every((p) => isPrefix(p, dims(v.type)));
    return (this.costs.get(v.node) ?? 0) > reading && reach.some(often);
  }
  /** Read by the backward, through no more than a few nodes. */
  private lateReader(v: Value, depth: number): boolean {
    return (this.readers.get(v) ?? []).some(
      (n) =>
        !this.forward.has(n) ||
        (depth < 3 && n.op.lower === "view" && n.results.some((r) => this.lateReader(r, depth + 1))),
    );
  }
  /** An operand of a contraction of the backward, under any view. */
  private isLateOperand(v: Value): boolean {
    return (this.readers.get(v) ?? []).some((n) =>
      isAnchor(n) && n.op.name !== "reduce"
        ? !this.forward.has(n)
        : (n.op.lower === "view" || carries.has(n.op.name) || isFree(n)) &&
          n.args[0] === v &&
          n.results.some((r) => this.isLateOperand(r)),
    );
  }
  /** Whether a value that need not be in memory is better there. */
  private wants(v: Value): boolean {
    const reach = this.reach.get(v) ?? new Map<Value, Pattern[]>();
    const { node } = v;
    if (folds(node) && !isWrittenOut(node)) return !this.foldsInside(v, reach);
    if (node.op.lower === "leaf" || node.op.lower === "view") return false;
    const cost = this.costs.get(node) ?? 0;
    if (cost > dear || this.isEverywhere(v, reach.keys())) return true;
    const many = [...reach].filter(([root]) => sizeOf(root) >= 4 * sizeOf(v));
    const byRow = many.every(([, patterns]) => patterns.every((p) => isPrefix(p, dims(v.type))));
    if (many.length === reach.size && byRow) return false;
    return this.pays(cost, reach.size) || (cost >= 10 && !byRow);
  }
  /** Whether each row of the one kernel that reads this reduction can make it once. */
  private foldsInside(v: Value, reach: Reach): boolean {
    const [only, ...more] = reach;
    if (!only || more.length > 0) return false;
    const [root, patterns] = only;
    const rank = v.type.shape.length;
    if (rank === 0 && this.depths.has(root)) return false; // alike ones are one kernel, which is compiled once
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
      const late = this.isLate(first);
      const reads = this.reads(node, late);
      const exact = [...reads].filter((v) =>
        this.reach
          .get(v)
          ?.get(first)
          ?.every((p) => isPrefix(p, []) && p.length === first.type.shape.length),
      );
      const again = late ? this.again : new Set<Value>();
      const added = this.added(node, late);
      return [
        {
          kind: kindOf(node),
          nodes: [node],
          outputs,
          depth: this.depths.get(first) ?? null,
          late,
          again,
          reads,
          exact: added ?? new Set(exact),
          far: new Set([...reads].filter((v) => this.isFar(v, first))),
          summed: added && (node.args[0] ?? null),
        },
      ];
    });
  }
  /** What is read from memory to compute a node, by a kernel of the forward or a late one. */
  private reads(node: Node, late: boolean): Set<Value> {
    const found = new Set<Value>();
    const seen = new Set<Node>();
    const visit = (n: Node): void => {
      seen.add(n);
      for (const a of n.args) {
        if (this.inMemory(a, late)) found.add(a);
        else if (!seen.has(a.node)) visit(a.node);
      }
    };
    visit(node);
    return found;
  }
  private inMemory(v: Value, late: boolean): boolean {
    return (this.stored.has(v) && !(late && this.again.has(v))) || v.node.op.name === "param";
  }
  /** Of a sum over the last axis what is read at the element that is added, and nowhere else; null for anything else, and where a fold is inside. */
  private added(node: Node, late: boolean): Set<Value> | null {
    const [x] = node.args;
    const { fn, axes } = node.attrs as OpAttrs["reduce"];
    if (node.op.name !== "reduce" || !x || fn !== "sum" || axes.join() !== String(x.type.shape.length - 1)) return null;
    const own = x.type.shape.map((_, i) => i);
    const read = new Map<Value, boolean>();
    const seen = new Set<string>();
    let inside = 0;
    const visit = (v: Value, p: Pattern): void => {
      const key = `${v.node.id}.${v.index} ${p.join()}`;
      if (seen.has(key)) return;
      seen.add(key);
      if (this.inMemory(v, late)) return void read.set(v, (read.get(v) ?? true) && p.join() === own.join());
      if (v.node.op.name === "reduce") inside++;
      v.node.args.forEach((a, i) => visit(a, through(v.node, i, p)));
    };
    visit(x, own);
    return inside > 0 ? null : new Set([...read.keys()].filter((v) => read.get(v)));
  }
}
const contractions = new Set(["dot", "ragged_dot"]);
const atRoot: ReadonlySet<string> = new Set([""]);
/** Whether an argument is read elsewhere than the result is. */
const moves = ({ op }: Node, arg: number): boolean =>
  op.lower === "view" || (arg === 0 && /^(gather|dispatch|combine)$/.test(op.name));
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
      const { perm } = node.attrs as OpAttrs["transpose"];
      return perm.map((_, i) => at(perm.indexOf(i)));
    }
    case "broadcast":
      return (node.attrs as OpAttrs["broadcast"]).axes.map(at);
    case "slice":
    case "concat": {
      const { axis } = node.attrs as OpAttrs["concat"];
      return p.map((a, i) => (i === axis ? null : a));
    }
    case "reduce": {
      const { axes } = node.attrs as OpAttrs["reduce"];
      let kept = 0;
      return shape.map((_, i) => (axes.includes(i) ? null : at(kept++)));
    }
    case "gather": {
      const { axis, batch } = node.attrs as OpAttrs["gather"];
      const many = (node.args[1]?.type.shape.length ?? batch) - batch;
      if (arg === 1) return [...p.slice(0, batch), ...p.slice(axis, axis + many)];
      return [...p.slice(0, axis), null, ...p.slice(axis + many)];
    }
    case "dispatch":
    case "combine":
      return arg === 0 ? [null, ...p.slice(1)] : p.slice(0, 1);
    case "after":
      return arg === 0 ? p : shape.map(() => null);
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
