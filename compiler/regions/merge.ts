// Merges regions into one kernel: pointwise ops with the contraction whose epilogue they become, contractions with the same left rows, and regions
// over the same rows or elements.
import type { Node, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { getOrMake } from "../memoize.ts";
import { isRightOperand, viewBase } from "../ops/pairs.ts";
import { topologicalOrder } from "../topological-order.ts";
import { isFloat } from "../types/dtype.ts";
import { product, sameShape } from "../types/numbers.ts";
import { count, dims, dtypeOf } from "../types/type.ts";
import { BitSet } from "./bit-set.ts";
import { type Region, rowMoves } from "./region.ts";

/**
 * A region, with what it reads from memory. `pointwiseReads`: the values that are read only at the element that is being computed; for a sum over
 * the last axis, at the element that is being added.
 */
export interface FusionCandidate extends Region {
  readonly reads: ReadonlySet<Value>;
  readonly pointwiseReads: ReadonlySet<Value>;
  /**
   * Values that are read at other elements than the one being computed: a kernel that joined with their maker would have to recompute them there.
   */
  readonly remoteReads: ReadonlySet<Value>;
  /** The operand, if it is nothing but a sum over the last axis with no other reduction inside; else null. */
  readonly summed: Value | null;
}
/** A merged region while it grows. */
class FusionGroup {
  readonly kind: FusionCandidate["kind"];
  readonly isBackward: boolean;
  readonly recomputed: ReadonlySet<Value>;
  readonly nodes: Node[] = [];
  readonly outputs: Value[] = [];
  readonly reads = new Set<Value>();
  readonly pointwiseReads = new Set<Value>();
  depth: number | null = null;
  readonly rows: number;
  /** How many groups there were before this one. */
  readonly index: number;
  /** The indices of the groups that it depends on, transitively. */
  readonly before = new BitSet();
  /** Whether it has an `after` node, which waits for other results, and would hold up all that it is merged with. */
  waits = false;
  constructor(part: FusionCandidate, index: number) {
    this.index = index;
    this.isBackward = part.isBackward;
    this.recomputed = part.recomputed;
    this.kind = part.kind;
    this.rows = part.rows;
    this.join(part);
  }
  join(part: FusionCandidate): void {
    if (part.kind === this.kind || this.kind === "rows") this.nodes.push(...part.nodes);
    this.outputs.push(...part.outputs);
    for (const v of part.reads) this.reads.add(v);
    for (const v of part.pointwiseReads) this.pointwiseReads.add(v);
    this.depth ??= part.depth;
    this.waits ||= part.nodes.some(isAfter);
  }
}
const shapeOf = (v: Value): readonly number[] => dims(v.type);

/** With fewer rows, a task per row keeps too few cores busy, unless the rows are short (`rowOfFew`). */
const fewRows = 64;

export interface MergeOptions {
  /** The number of columns that a contraction's epilogue sums into one partial sum; a later kernel adds these. */
  readonly sums: number;
  /** Whether an epilogue may contain sums over gathered rows, which it reads a few columns at a time. */
  readonly gathers: boolean;
  /** How many products of one left operand with parts of one tensor become one kernel; null: as many as `operands` says. */
  readonly parts: number | null;
  /** How many results one kernel may have after a region joins that reads the same values, or one that is made of the kernel's results. */
  readonly outputs: Readonly<Record<"alike" | "made", number>>;
  /** Regions over rows of at most so many elements may be merged even if there are few rows, and so few tasks. */
  readonly rowOfFew: number;
  /** Regions of at most so many elements are merged with others that read the same values. */
  readonly small: number;
  /** How many contractions of the same rows become one kernel, given the number of rows: they share the registers as accumulators. */
  readonly operands: (rows: number) => number;
}
/** Merges `parts`, which are in topological order, as are the regions returned. `results`: values that must be in memory. */
export function merge(parts: readonly FusionCandidate[], results: ReadonlySet<Value>, options: MergeOptions): Region[] {
  const { sums, small } = options;
  const makers = new Map<Value, FusionGroup>();
  const readers = new Map<Value, Set<FusionGroup>>();
  const groups: FusionGroup[] = [];
  const addends = new Addends(parts, results, sums);
  for (const part of parts) {
    const addsUp: AddsUp = (g) => addends.needNoStore(g, part);
    const waitsFor = [...part.reads].flatMap((v) => makers.get(v) ?? []);
    const fits = (g: FusionGroup): boolean =>
      !waitsFor.some((maker) => maker.before.has(g.index)) && canJoin(g, part, addsUp, options);
    const home = firstNear(part, makers, readers, small, fits);
    const group = home ?? new FusionGroup(part, groups.length);
    if (home) home.join(part);
    else groups.push(group);
    for (const v of part.outputs) makers.set(v, group);
    for (const maker of waitsFor) noteDependence(group, maker, readers);
    for (const v of part.reads) moveToEnd(readers, v, group);
  }
  const ordered = topologicalOrder(groups, (g) => [...g.reads].flatMap((v) => makers.get(v) ?? []));
  const wanted = (v: Value, g: FusionGroup): boolean =>
    results.has(v) || [...(readers.get(v) ?? [])].some((r) => r !== g && !merelyWaitsFor(r, v));
  return ordered.map((g) => ({
    kind: g.kind,
    isBackward: g.isBackward,
    recomputed: g.recomputed,
    nodes: g.nodes,
    depth: g.depth,
    rows: g.rows,
    outputs: g.kind === "algorithm" ? g.outputs : atLeastOne(g.outputs, (v) => wanted(v, g)),
  }));
}
/** Of the groups that make what the part reads, or read it too, the first that fits: what is read last comes first. */
function firstNear(
  part: FusionCandidate,
  makers: ReadonlyMap<Value, FusionGroup>,
  readers: ReadonlyMap<Value, ReadonlySet<FusionGroup>>,
  small: number,
  fits: (g: FusionGroup) => boolean,
): FusionGroup | undefined {
  for (const v of [...part.reads].toReversed()) {
    const maker = makers.get(v);
    if (maker && fits(maker)) return maker;
    if (part.kind === "rows" && !isWorthReadingOnce(v, part, small)) continue;
    for (const g of readers.get(v) ?? []) if (fits(g)) return g;
  }
  return undefined;
}
/** Notes that the group, and all that depends on it, come after the maker of what it reads. */
function noteDependence(
  group: FusionGroup,
  maker: FusionGroup,
  readers: ReadonlyMap<Value, Iterable<FusionGroup>>,
): void {
  const inherit = (g: FusionGroup, from: FusionGroup): FusionGroup[] => {
    if (g === from) return [];
    const isNew = !g.before.has(from.index);
    g.before.add(from.index);
    return g.before.addAll(from.before) || isNew ? [g] : [];
  };
  const grown = inherit(group, maker);
  for (let g = grown.pop(); g; g = grown.pop())
    for (const v of g.outputs) for (const reader of readers.get(v) ?? []) grown.push(...inherit(reader, g));
}
/** A region has an output even if nothing reads it. */
function atLeastOne(outputs: readonly Value[], wanted: (v: Value) => boolean): Value[] {
  const found = outputs.filter(wanted);
  return found.length > 0 ? found : outputs.slice(0, 1);
}
function moveToEnd(readers: Map<Value, Set<FusionGroup>>, v: Value, group: FusionGroup): void {
  const known = getOrMake(readers, v, () => new Set());
  known.delete(group);
  known.add(group);
}

function canJoin(g: FusionGroup, part: FusionCandidate, addsUp: AddsUp, options: MergeOptions): boolean {
  if (g.isBackward !== part.isBackward || g.waits || part.nodes.some(isAfter)) return false;
  const most = innerOf(g, part).length > 0 ? options.outputs.made : options.outputs.alike;
  if (g.outputs.length + part.outputs.length > most) return false;
  switch (`${g.kind} ${part.kind}`) {
    case "rows rows":
      return areSameRows(g, part, options);
    case "tile rows":
      return isEpilogue(g, part, addsUp, options);
    case "tile tile":
      return sharesLeftOperands(g, part, options);
    case "algorithm algorithm":
      return sameScatter(g, part);
    default:
      return false;
  }
}
/** Whether a sum's addends need not be stored if it is part of the group. */
type AddsUp = (g: FusionGroup) => boolean;
function areSameRows(g: FusionGroup, part: FusionCandidate, { rowOfFew, small }: MergeOptions): boolean {
  return (
    isWorthMerging(g, part, small) &&
    sameIterationSpace(g, part, rowOfFew) &&
    !innerOf(g, part).some((v) => part.remoteReads.has(v))
  );
}
/** Whether the part can follow the group's contractions, tile by tile. */
function isEpilogue(g: FusionGroup, part: FusionCandidate, addsUp: AddsUp, { gathers }: MergeOptions): boolean {
  const first = item(g.nodes, 0);
  const shape = shapeOf(item(first.results, 0));
  const inner = innerOf(g, part);
  if (!inner.every((v) => part.pointwiseReads.has(v))) return false;
  if (first.op.name === "ragged_dot" && readsRouteOrder(part)) return false;
  if (part.summed) return inner.length > 0 && sameShape(shapeOf(part.summed), shape) && addsUp(g);
  const along = inner.length > 0 || sharesRaggedResult(first, g, part);
  return along && isPointwise(part, shape) && (gathers || !sumsGatheredRows(part));
}
function sharesLeftOperands(g: FusionGroup, { nodes: [node] }: FusionCandidate, options: MergeOptions): boolean {
  return (
    node !== undefined &&
    sameLeftOperands(item(g.nodes, 0), node) &&
    g.nodes.length < operandsOf([...g.nodes, node], options)
  );
}
/** Whether all nodes are single products whose right operands are slices of one tensor. */
function sliceOneTensor(nodes: readonly Node[]): boolean {
  const rights = nodes.flatMap(({ args: [x, y, ...more] }) => (x && y && more.length === 0 ? [viewBase(y)] : []));
  return rights.length === nodes.length && new Set(rights).size === 1;
}
/**
 * Whether the part asks which rows belong to a group at all (it reads a routing's `order`): the epilogue of a grouped contraction does not write
 * the rows past the last group.
 */
function readsRouteOrder({ outputs, reads }: FusionCandidate): boolean {
  const seen = new Set<Value>();
  const visit = (v: Value): boolean => {
    // a stored condition may have been computed from the routing, so it is followed; stored floats have been computed for all rows
    if (seen.has(v) || (reads.has(v) && isFloat(dtypeOf(v.type)))) return false;
    seen.add(v);
    const { op, args } = v.node;
    if (op.name === "route") return v.index === 0;
    return (op.lower === "point" || op.lower === "view") && args.some(visit);
  };
  return outputs.some(visit);
}
/** Whether a reduction in the part adds up gathered rows. */
function sumsGatheredRows({ nodes, reads }: FusionCandidate): boolean {
  const seen = new Set<Value>(reads);
  const visit = (v: Value, many: number): boolean => {
    if (seen.has(v)) return false;
    seen.add(v);
    const [x] = v.node.args;
    const here = v.node.op.name === "reduce" && x ? many * (count(x.type) / count(v.type)) : many;
    return (here > 1 && rowMoves.has(v.node.op.name)) || v.node.args.some((a) => visit(a, here));
  };
  return nodes.some((n) => n.args.some((a) => visit(a, 1)));
}
const innerOf = (g: FusionGroup, part: FusionCandidate): Value[] => g.outputs.filter((v) => part.reads.has(v));
const isPointwise = ({ depth, outputs }: FusionCandidate, shape: readonly number[]): boolean =>
  depth === null && outputs.every((v) => sameShape(shapeOf(v), shape));
/** Which sums can be made in an epilogue so that their addends need not be written to memory. */
class Addends {
  readonly #readers = new Map<Value, FusionCandidate[]>();
  /** For each part, its place, and the places of the parts that it depends on, transitively. */
  readonly #places = new Map<FusionCandidate, { readonly at: number; readonly before: BitSet }>();
  readonly #results: ReadonlySet<Value>;
  /** How many columns a partial sum has. */
  readonly #columns: number;

  /** `parts` are in topological order. */
  constructor(parts: readonly FusionCandidate[], results: ReadonlySet<Value>, columns: number) {
    [this.#results, this.#columns] = [results, columns];
    const makers = new Map<Value, FusionCandidate>();
    for (const part of parts) {
      this.#addPlace(part, makers);
      for (const v of part.outputs) makers.set(v, part);
    }
  }
  #addPlace(part: FusionCandidate, makers: ReadonlyMap<Value, FusionCandidate>): void {
    const before = new BitSet();
    for (const v of part.reads) {
      getOrMake(this.#readers, v, () => []).push(part);
      const maker = this.#placeOf(makers.get(v));
      if (!maker) continue;
      before.add(maker.at);
      before.addAll(maker.before);
    }
    this.#places.set(part, { at: this.#places.size, before });
  }
  #placeOf(part: FusionCandidate | undefined) {
    return part && this.#places.get(part);
  }
  /** Every other reader of the group's addends must be pointwise, and must not depend on the sum, so that it can join the epilogue too. */
  needNoStore(g: FusionGroup, sum: FusionCandidate): boolean {
    if (sum.summed === null || (shapeOf(sum.summed).at(-1) ?? 0) % this.#columns !== 0) return false;
    const at = this.#placeOf(sum)?.at ?? 0;
    const joins = (p: FusionCandidate, v: Value): boolean =>
      isPointwise(p, shapeOf(v)) && p.pointwiseReads.has(v) && !this.#placeOf(p)?.before.has(at);
    const readers = (v: Value): FusionCandidate[] => (this.#readers.get(v) ?? []).filter((p) => p !== sum);
    return innerOf(g, sum).every((v) => !this.#results.has(v) && readers(v).every((p) => joins(p, v)));
  }
}
/** Whether both read, at the same elements, the result of another ragged_dot over the same groups: merged, they read it once. */
function sharesRaggedResult(first: Node, g: FusionGroup, part: FusionCandidate): boolean {
  const shared = [...part.pointwiseReads].filter((v) => g.pointwiseReads.has(v) && v.node.op === first.op);
  return first.op.name === "ragged_dot" && shared.some((v) => v.node.args[2] === first.args[2]);
}
const isAfter = ({ op }: Node): boolean => op.name === "after";
/** Whether the group's place in the order is all that an `after` needs of v: its operand is made of other values that are in memory. */
function merelyWaitsFor({ nodes: [after], reads }: FusionGroup, v: Value): boolean {
  if (!after || !isAfter(after)) return false;
  const made = new Set(after.args.slice(0, 1));
  for (const x of made) if (!reads.has(x)) for (const a of x.node.args) made.add(a);
  return !made.has(v);
}
/** How many contractions one kernel may hold. */
function operandsOf(nodes: readonly Node[], { parts, operands }: MergeOptions): number {
  const rows = nodes[0]?.results[0] ? product(shapeOf(nodes[0].results[0]).slice(0, -1)) : 0;
  return parts !== null && sliceOneTensor(nodes) ? parts : operands(rows);
}
const scatterKey = ({ op, attrs, args, results }: Node): string =>
  JSON.stringify([op.name, attrs, args[1]?.node.id, args[1]?.index, results.map(shapeOf)]);
/** Whether all parts scatter to the same places of tensors of one shape, each into its own tensor, which no other part reads. */
function sameScatter(g: FusionGroup, part: FusionCandidate): boolean {
  const nodes = [...g.nodes, ...part.nodes];
  const [first] = nodes;
  if (!first || first.op.name !== "scatter" || nodes.some((n) => scatterKey(n) !== scatterKey(first))) return false;
  const [bases, read] = [
    nodes.map(({ args: [base] }) => base),
    nodes.flatMap(({ args }) => args.slice(1).map(viewBase)),
  ];
  return innerOf(g, part).length === 0 && new Set(bases).size === bases.length && !read.some((v) => bases.includes(v));
}
/** Whether two contractions have the same left operands, groups and result shape. */
function sameLeftOperands(a: Node, b: Node): boolean {
  const [x, y] = [a.results[0], b.results[0]];
  return (
    a.op === b.op &&
    a.args.length === b.args.length &&
    a.args.every((v, i) => v === b.args[i] || isRightOperand(a, i)) &&
    JSON.stringify(a.attrs) === JSON.stringify(b.attrs) &&
    x !== undefined &&
    y !== undefined &&
    sameShape(shapeOf(x), shapeOf(y))
  );
}
/** Whether merging pays: one reads what the other makes, both read a value that is large beside the results, or the results are small anyway. */
function isWorthMerging(g: FusionGroup, part: FusionCandidate, small: number): boolean {
  const [made, read] = [g.outputs, g.reads];
  return (
    made.some((v) => part.reads.has(v)) ||
    [...part.reads].some((v) => read.has(v) && isWorthReadingOnce(v, part, small))
  );
}
/** Whether the value is large beside the part's results, or these are small anyway. */
function isWorthReadingOnce(v: Value, { outputs }: FusionCandidate, small: number): boolean {
  const size = Math.max(...outputs.map((out) => count(out.type)));
  return size <= small || 2 * count(v.type) >= size;
}
/** Whether all results share one iteration space: the same elements or, where a row is reduced, one number for each of its rows. */
function sameIterationSpace(g: FusionGroup, part: FusionCandidate, rowOfFew: number): boolean {
  if (g.depth !== null && part.depth !== null && g.depth !== part.depth) return false;
  const depth = g.depth ?? part.depth;
  const shapes = [...g.outputs, ...part.outputs].map(shapeOf);
  const full = shapes.reduce((a, b) => (b.length > a.length ? b : a));
  if (
    depth !== null &&
    product(full) > rowOfFew * product(full.slice(0, depth)) &&
    product(full.slice(0, depth)) < fewRows
  )
    return false;
  return shapes.every((s) => sameShape(s, full) || (depth !== null && sameShape(s, full.slice(0, depth))));
}
