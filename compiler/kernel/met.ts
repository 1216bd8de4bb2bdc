// Which keys a block of queries meets, and which queries a block of keys: what a mask that is arithmetic on positions leaves of a loop.
import type { Value } from "../graph/node.ts";
import type { Bound, OpAttrs } from "../ops/attrs.ts";
import { type Block, plus } from "./build.ts";
import type { Draft } from "./draft.ts";
import {
  add,
  asIndex,
  asValue,
  both,
  call,
  div,
  i32,
  isNum,
  item,
  least,
  less,
  most,
  mul,
  num,
  range,
  select,
  sub,
  truth,
} from "./expr.ts";
import type { Expr } from "./ir.ts";
import type { Reader } from "./read.ts";

type Side = "at" | "seen";
/** The positions of T queries and U keys, and what must hold of those that meet. */
export interface Positions {
  readonly reader: Reader;
  readonly at: Value;
  readonly seen: Value;
  readonly attrs: Pick<OpAttrs["attention"], "bounds">;
  readonly sizes: { readonly T: number; readonly U: number };
  /** Keys, or queries, taken at a time. */
  readonly block: number;
}
const sum = ([first = i32(0), ...more]: readonly Expr[]): Expr =>
  more.reduce((x, y) => call("add", "i32", x, y), first);
/** Whether a bound holds of a query's position and a key's. */
function holds({ at, seen, plus: more }: Bound, query: Expr, key: Expr): Expr {
  const side = (sign: number): Expr => {
    const terms = [at === sign ? [query] : [], seen === sign ? [key] : [], sign * more > 0 ? [i32(sign * more)] : []];
    return sum(terms.flat());
  };
  const [a, b] = [side(1), side(-1)];
  return range(a)[0] >= range(b)[1] ? truth(true) : call("ge", "bool", a, b);
}
/** Whether the query at t may see the key at u. */
export function sees(o: Positions, b: Expr, t: Expr, u: Expr): Expr {
  const [at, seen] = [o.reader.element(o.at, [b, t]), o.reader.element(o.seen, [b, u])];
  return o.attrs.bounds.map((bound) => holds(bound, at, seen)).reduce(both, truth(true));
}
/** What a block of queries or of keys meets on the other side: none but [from, to); `partly`: whether not all of both meet. */
export interface Met {
  readonly from: Expr;
  readonly to: Expr;
  readonly partly: (c: Block) => Expr | null;
}
const multiple = (x: Expr, of: number): Expr => mul(div(asIndex(x), of), num(of));
/** Whether the positions of each row are 0, 1, 2, .. `extent`, which no memory holds. */
function isRange(o: Positions, positions: Value, b: Expr, extent: number): boolean {
  const source = (v: Value): Value =>
    ["reshape", "broadcast"].includes(v.node.op.name) ? source(item(v.node.args, 0)) : v;
  if (source(positions).node.op.name !== "iota") return false;
  const is = (i: number): boolean => {
    const at = asIndex(o.reader.element(positions, [b, num(i)]));
    return isNum(at) && at.value === i;
  };
  return extent > 0 && is(0) && is(extent - 1);
}
/** Of positions 0 .. `extent`, those that meet an element at `mine` of a bound: [first, end), or nothing. */
function interval(
  bounds: readonly Bound[],
  side: Side,
  mine: (bound: Bound) => Expr,
  extent: number,
): readonly [Expr, Expr] {
  let [first, end]: [Expr, Expr] = [num(0), num(extent)];
  for (const bound of bounds) {
    const [own, other] = side === "at" ? [bound.at, bound.seen] : [bound.seen, bound.at];
    const x = add(own < 0 ? sub(num(0), mine(bound)) : own > 0 ? mine(bound) : num(0), num(bound.plus));
    if (other > 0) first = most(first, sub(num(0), x));
    else if (other < 0) end = least(end, add(x, num(1)));
    else end = select(less(x, num(0)), num(0), end);
  }
  return [first, end];
}
/** One side's block among the positions of the other side. */
interface Among {
  readonly d: Draft;
  readonly o: Positions;
  readonly side: Side;
  /** How many positions the other side has, and each of them. */
  readonly extent: number;
  readonly other: (i: Expr) => Expr;
  /** Of the block's positions, the one of a bound with which most meet (`widest`), or least. */
  readonly mine: (bound: Bound, widest: boolean) => Expr;
  readonly round: number;
}
/** `side`: what the block is of; `round`: what the end is a multiple of, or the extent. Found before the loop over the other side, for positions may be any. */
export function met(d: Draft, o: Positions, b: Expr, side: Side, block: Block, round = o.block): Met {
  const [other, extent] = side === "at" ? (["seen", o.sizes.U] as const) : (["at", o.sizes.T] as const);
  if (o.attrs.bounds.length === 0) return { from: num(0), to: num(extent), partly: () => null };
  const position = (of: Side, i: Expr): Expr => o.reader.element(o[of], [b, i]);
  const extreme = (name: string, op: "max" | "min"): Expr =>
    d.k.fold(name, op, "i32", block.n, (i) => position(side, plus(block, i)));
  const [high, low] = [extreme("high", "max"), extreme("low", "min")];
  const mine = (bound: Bound, widest: boolean): Expr => (widest === bound[side] > 0 ? high : low);
  const among = { d, o, side, extent, other: (i: Expr) => position(other, i), mine, round };
  return isRange(o, o[other], b, extent) ? reckoned(among) : folded(among);
}
function reckoned({ d, o, side, extent, mine, round }: Among): Met {
  const of = (widest: boolean): readonly [Expr, Expr] =>
    interval(o.attrs.bounds, side, (bound) => asIndex(mine(bound, widest)), extent);
  const [[begin, last], all] = [of(true), of(false)];
  const [whole, broken] = [d.k.let("whole", all[0]), d.k.let("broken", all[1])];
  return {
    from: d.k.let("from", multiple(least(begin, num(extent)), o.block)),
    to: d.k.let("to", least(num(extent), multiple(add(most(last, num(0)), num(round - 1)), round))),
    partly: (c) => {
      const [before, after] = [less(c.at, whole), less(broken, plus(c, c.n))];
      return isNum(before) && before.value === 0 ? after : call("or", "bool", before, after);
    },
  };
}
function folded({ d, o, side, extent, other, mine, round }: Among): Met {
  const meets = (widest: boolean, i: Expr): Expr =>
    o.attrs.bounds
      .map((bound) =>
        side === "at" ? holds(bound, mine(bound, widest), other(i)) : holds(bound, other(i), mine(bound, widest)),
      )
      .reduce(both);
  const first = (name: string, cond: (i: Expr) => Expr): Expr =>
    d.k.fold(name, "min", "i32", num(extent), (i) => select(cond(i), asValue(i), i32(extent)));
  const begin = first("begin", (i) => meets(true, i));
  const last = d.k.fold("last", "max", "i32", num(extent), (i) => select(meets(true, i), asValue(i), i32(0)));
  const whole = first("whole", (i) => meets(false, i));
  const broken = first("broken", (i) =>
    both(call("ge", "bool", asValue(i), whole), call("not", "bool", meets(false, i))),
  );
  return {
    from: d.k.let("from", multiple(begin, o.block)),
    to: d.k.let("to", least(num(extent), add(multiple(last, round), num(round)))),
    partly: (c) => call("or", "bool", less(c.at, asIndex(whole)), less(asIndex(broken), plus(c, c.n))),
  };
}
