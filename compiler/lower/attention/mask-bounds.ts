// The bounds of attention's loops under a mask that is arithmetic on positions: which keys a block of queries can see, and which queries see a block
// of keys.
import type { Value } from "../../graph/node.ts";
import { item } from "../../item.ts";
import { type Block, plus } from "../../kernel/builder.ts";
import {
  add,
  and,
  asIndex,
  asValue,
  bool,
  call,
  div,
  i32,
  isNum,
  less,
  max,
  min,
  mul,
  num,
  or,
  range,
  select,
  sub,
} from "../../kernel/expr.ts";
import type { Axis, Expr } from "../../kernel/ir.ts";
import { allBounds, type PositionPair } from "../../ops/attention.ts";
import type { Bound, Clause, OpAttrs } from "../../ops/attrs.ts";
import type { Draft } from "../draft.ts";
import type { Reader } from "../reader.ts";

type Side = keyof PositionPair<Value>;
/** The positions of T queries and U keys, and the bounds that a visible pair must satisfy. Side `at` is that of queries, `seen` that of keys. */
interface Positions {
  readonly reader: Reader;
  readonly pairs: readonly PositionPair<Value>[];
  readonly attrs: Pick<OpAttrs["attention"], "bounds">;
  readonly sizes: { readonly T: number; readonly U: number };
  /** The length of a block of the loop over the other side. */
  readonly block: number;
}
const largest = 2 ** 31 - 1;
/** x + by for by >= 0, saturated at the largest i32. */
function saturatingAdd(x: Expr, by: number): Expr {
  if (by === 0) return x;
  const inside = range(x)[1] <= largest - by ? x : call("min", "i32", x, i32(largest - by));
  return call("add", "i32", inside, i32(by));
}
/** a + more >= b, without overflow. */
function isAtLeast(a: Expr, b: Expr, more: number): Expr {
  if (range(a)[0] + more >= range(b)[1]) return bool(true);
  return more < 0 ? call("gt", "bool", a, saturatingAdd(b, -more - 1)) : call("ge", "bool", saturatingAdd(a, more), b);
}
/** Whether a bound holds for a query's and a key's position: at * query + seen * key + plus >= 0, where `at` and `seen` are -1, 0 or 1. */
function boundHolds({ at, seen, plus: more }: Bound, query: Expr, key: Expr): Expr {
  if (at === 0 || seen === 0) {
    const [x, sign] = at === 0 ? [key, seen] : [query, at];
    const limit = sign > 0 ? -more : more;
    if (sign === 0 || (limit | 0) !== limit) return bool(more >= 0);
    return sign > 0 ? isAtLeast(x, i32(limit), 0) : isAtLeast(i32(limit), x, 0);
  }
  if (at !== seen) return at > 0 ? isAtLeast(query, key, more) : isAtLeast(key, query, more);
  const complement = call("sub", "i32", i32(-1), key);
  return at > 0 ? isAtLeast(query, complement, more - 1) : isAtLeast(complement, query, more + 1);
}
/** Whether all clauses hold, given how to evaluate one bound. */
const clausesHold = (list: readonly Clause[], of: (bound: Bound) => Expr): Expr =>
  list
    .map((c) => ("any" in c ? c.any.map((some) => clausesHold(some, of)).reduce(or, bool(false)) : of(c)))
    .reduce(and, bool(true));
/** Whether the query at t may see the key at u. */
export function isVisible(o: Positions, b: Expr, t: Expr, u: Expr): Expr {
  const position = (of: Side, pair: number, i: Expr): Expr => o.reader.element(item(o.pairs, pair)[of], [b, i]);
  return clausesHold(o.attrs.bounds, (c) => boundHolds(c, position("at", c.pair, t), position("seen", c.pair, u)));
}
/** Which part of the other side a block must visit. */
export interface VisibleRange {
  /** Only [from, to), */
  readonly from: Expr;
  readonly to: Expr;
  /** without `by` elements from `at` on, which are whole blocks; null if there is no gap. */
  readonly skip: Axis["skip"] | null;
  /** Whether the mask must be applied to a block of the other side: some pair with it may be hidden. Null: never. */
  readonly needsMask: (c: Block) => Expr | null;
}
/** The whole blocks inside a gap; none if no visible element comes after the gap. */
function skipGap(
  d: Draft,
  { block }: Positions,
  { from, to }: Record<"from" | "to", Expr>,
  extent: number,
): Axis["skip"] {
  const at = d.k.let("jump", roundDown(add(from, num(block - 1)), block));
  const by = max(sub(roundDown(to, block), at), num(0));
  return { at, by: d.k.let("by", select(less(to, num(extent)), by, num(0))) };
}
const roundDown = (x: Expr, of: number): Expr => mul(div(asIndex(x), of), num(of));
/** Whether the positions of each row are 0, 1, .., extent - 1, generated (iota) instead of read from memory. */
function isIota(o: Positions, positions: Value, b: Expr, extent: number): boolean {
  const source = (v: Value): Value =>
    ["reshape", "broadcast"].includes(v.node.op.name) ? source(item(v.node.args, 0)) : v;
  if (source(positions).node.op.name !== "iota") return false;
  const is = (i: number): boolean => {
    const at = asIndex(o.reader.element(positions, [b, num(i)]));
    return isNum(at) && at.value === i;
  };
  return extent > 0 && is(0) && is(extent - 1);
}
type Interval = readonly [first: Expr, end: Expr];
/** A position limited to -far .. far, which does not change what is visible, so that 32-bit sums do not overflow. */
const clampPosition = (x: Expr, far: number): Expr => max(min(asIndex(x), num(far)), num(-far));
const queryAndKey = (side: Side, own: Expr, other: Expr): readonly [query: Expr, key: Expr] =>
  side === "at" ? [own, other] : [other, own];
/** Of positions 0 .. extent, the interval for which all bounds hold, given this side's position for each bound; it may be empty. */
function interval(
  bounds: readonly Bound[],
  side: Side,
  extremePosition: (bound: Bound) => Expr,
  extent: number,
): Interval {
  let [first, end]: [Expr, Expr] = [num(0), num(extent)];
  for (const bound of bounds) {
    const [own, other] = side === "at" ? [bound.at, bound.seen] : [bound.seen, bound.at];
    if (other === 0) end = select(boundHolds(bound, ...queryAndKey(side, extremePosition(bound), i32(0))), end, num(0));
    else {
      const at = own === 0 ? num(0) : clampPosition(extremePosition(bound), extent + Math.abs(bound.plus) + 1);
      const x = add(own < 0 ? sub(num(0), at) : at, num(bound.plus));
      if (other > 0) first = max(first, sub(num(0), x));
      else end = min(end, add(x, num(1)));
    }
  }
  return [first, end];
}
/** A block of one side, and the positions of the other side. */
interface VisibilityQuery {
  readonly d: Draft;
  readonly o: Positions;
  readonly side: Side;
  /** The number of positions on the other side, and position i of a pair there. */
  readonly extent: number;
  readonly otherPosition: (pair: number, i: Expr) => Expr;
  /** The extreme position of the block for a bound: the one for which the most positions are visible (`widest`), or the fewest. */
  readonly extremePosition: (bound: Bound, widest: boolean) => Expr;
  readonly endMultiple: number;
}
/** A block of positions of one side, in batch element `b`. */
interface Viewer {
  readonly b: Expr;
  readonly side: Side;
  readonly block: Block;
}
/**
 * What is visible to a block on the other side. `endMultiple`: `to` is rounded up to this multiple, or is the extent. The bounds are computed before
 * the loop, as positions may be arbitrary.
 */
export function visibleRange(d: Draft, o: Positions, { b, side, block }: Viewer, endMultiple = o.block): VisibleRange {
  const [other, extent] = side === "at" ? (["seen", o.sizes.U] as const) : (["at", o.sizes.T] as const);
  const bounds = allBounds(o.attrs.bounds);
  if (bounds.length === 0) return { from: num(0), to: num(extent), skip: null, needsMask: () => null };
  const element = (v: Value, i: Expr): Expr => o.reader.element(v, [b, i]);
  const own = new Map<Value, Record<"high" | "low", Expr>>();
  for (const v of new Set(bounds.filter((c) => c[side] !== 0).map((c) => item(o.pairs, c.pair)[side]))) {
    const extreme = (name: string, op: "max" | "min"): Expr =>
      d.k.fold(name, op, "i32", block.n, (i) => element(v, plus(block, i)));
    own.set(v, { high: extreme("high", "max"), low: extreme("low", "min") });
  }
  const extremePosition = (bound: Bound, widest: boolean): Expr => {
    const ends = own.get(item(o.pairs, bound.pair)[side]);
    return (widest === bound[side] > 0 ? ends?.high : ends?.low) ?? i32(0);
  };
  const query: VisibilityQuery = {
    d,
    o,
    side,
    extent,
    otherPosition: (p, i) => element(item(o.pairs, p)[other], i),
    extremePosition,
    endMultiple,
  };
  const runs = bounds.every((c) => c[other] === 0 || isIota(o, item(o.pairs, c.pair)[other], b, extent))
    ? disjuncts(o.attrs.bounds)
    : [];
  return runs.length === 1 || runs.length === 2 ? rangeByArithmetic(query, runs) : rangeByScan(query);
}
/** The clauses as a disjunction of conjunctions: one of the lists must hold entirely. */
function disjuncts(list: readonly Clause[]): Bound[][] {
  const one = (c: Clause): Bound[][] => ("any" in c ? c.any.flatMap(disjuncts) : [[c]]);
  return list.map(one).reduce((all, more) => all.flatMap((x) => more.map((y) => [...x, ...y])), [[]]);
}
/** Whether a block is not entirely inside [from, to). */
const isPartlyOutside = (c: Block, from: Expr, to: Expr): Expr => or(less(c.at, from), less(to, plus(c, c.n)));
/** If the other side's positions are 0, 1, 2, ..: each list of bounds allows one interval, computed by arithmetic. */
function rangeByArithmetic(
  { d, o, side, extent, extremePosition, endMultiple }: VisibilityQuery,
  lists: readonly (readonly Bound[])[],
): VisibleRange {
  const of = (widest: boolean): Interval[] =>
    lists.map((list) => interval(list, side, (bound) => extremePosition(bound, widest), extent));
  const [runs, all] = [of(true), of(false)];
  const within = all.map(([first, end]) => [d.k.let("unmasked_from", first), d.k.let("unmasked_to", end)] as const);
  const gap = runs.length > 1 ? hullAndGap(d, runs, extent) : null;
  const [begin, last] = gap?.hull ?? item(runs, 0);
  return {
    from: d.k.let("from", roundDown(min(begin, num(extent)), o.block)),
    to: d.k.let("to", min(num(extent), roundDown(add(max(last, num(0)), num(endMultiple - 1)), endMultiple))),
    skip: gap && skipGap(d, o, gap, extent),
    needsMask: (c) => within.map(([first, end]) => isPartlyOutside(c, first, end)).reduce(and),
  };
}
/** The hull of two intervals, either of which may be empty, and the gap between them. */
function hullAndGap(
  d: Draft,
  runs: readonly Interval[],
  extent: number,
): Record<"from" | "to", Expr> & { readonly hull: Interval } {
  const named = runs.map(([first, end]) => [d.k.let("first", first), d.k.let("end", end)] as const);
  const of = (f: (run: Interval) => Expr, none: number): readonly [Expr, Expr] =>
    named.map((run) => select(less(run[0], run[1]), f(run), num(none))) as [Expr, Expr];
  const [firsts, ends, stops] = [of(([x]) => x, extent), of(([, x]) => x, 0), of(([, x]) => x, extent)];
  return {
    from: d.k.let("gap", min(...stops)),
    to: d.k.let("again", max(...firsts)),
    hull: [min(...firsts), max(...ends)],
  };
}
const not = (x: Expr): Expr => (isNum(x) ? bool(x.value === 0) : call("not", "bool", x));
const isFrom = (first: Expr, i: Expr): Expr => call("ge", "bool", asValue(i), first);
/** If the other side's positions are arbitrary: they are scanned one by one. */
function rangeByScan({
  d,
  o,
  side,
  extent,
  otherPosition,
  extremePosition,
  endMultiple,
}: VisibilityQuery): VisibleRange {
  const isVisibleAt = (widest: boolean, i: Expr): Expr =>
    clausesHold(o.attrs.bounds, (bound) =>
      boundHolds(bound, ...queryAndKey(side, extremePosition(bound, widest), otherPosition(bound.pair, i))),
    );
  const first = (name: string, cond: (i: Expr) => Expr): Expr =>
    d.k.fold(name, "min", "i32", num(extent), (i) => select(cond(i), asValue(i), i32(extent)));
  /** One past the last i for which the condition holds; 0 if there is none. */
  const after = (name: string, cond: (i: Expr) => Expr): Expr =>
    d.k.fold(name, "max", "i32", num(extent), (i) => select(cond(i), asValue(add(i, num(1))), i32(0)));
  const [begin, last] = [first("begin", (i) => isVisibleAt(true, i)), after("last", (i) => isVisibleAt(true, i))];
  const broken = after("broken", (i) => isVisibleAt(false, i));
  const whole = after("whole", (i) => and(call("lt", "bool", asValue(i), broken), not(isVisibleAt(false, i))));
  const isOne = o.attrs.bounds.every((c) => !("any" in c));
  const gap = isOne ? null : first("gap", (i) => and(isFrom(begin, i), not(isVisibleAt(true, i))));
  const again = gap && first("again", (i) => and(isFrom(gap, i), isVisibleAt(true, i)));
  return {
    from: d.k.let("from", roundDown(begin, o.block)),
    to: d.k.let("to", min(num(extent), roundDown(add(asIndex(last), num(endMultiple - 1)), endMultiple))),
    skip: gap && again && skipGap(d, o, { from: asIndex(gap), to: asIndex(again) }, extent),
    needsMask: (c) => isPartlyOutside(c, asIndex(whole), asIndex(broken)),
  };
}
