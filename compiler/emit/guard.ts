// Recognises guarded loads, `select(0 <= i < n, load at i, 0)`, which a group of lanes can do as one masked load (`ld_guarded`).
import { item } from "../item.ts";
import {
  add,
  address,
  call,
  clamp,
  dependsOn,
  isNum,
  laneStride,
  load,
  mul,
  range,
  same,
  sub,
  typeOf,
  within,
} from "../kernel/expr.ts";
import type { Buffer, Expr, Var } from "../kernel/ir.ts";

/** A load where an index is inside its axis, and 0 elsewhere. */
interface Guard {
  readonly from: Buffer;
  /** The load's index, not clamped to the axis. */
  readonly at: readonly Expr[];
  readonly index: Expr;
  readonly size: number;
  /** The address and the index; each has a constant stride over lanes. */
  readonly strided: readonly [Expr, Expr];
}
/** The guarded load that x is, if its index varies over lanes; else null. */
export function guardOf(x: Expr, v: Var, lanes: number): Guard | null {
  if (x.e !== "op" || x.op !== "select" || !dependsOn(x, v)) return null;
  const [cond, found, none] = [item(x.args, 0), item(x.args, 1), item(x.args, 2)];
  const bound = boundOf(cond);
  if (!bound || bound.size === Infinity || found.e !== "load" || found.from.kind !== "buffer") return null;
  if (!isNum(none) || !Object.is(none.value, 0)) return null;
  const { index, size } = bound;
  const clamped = clamp(index, size);
  const at = found.at.map((y) => replaceIndex(y, clamped, index));
  const strided = [address(found.from, at), index] as const;
  const moves = strided.every((y) => laneStride(y, v, lanes) !== null) && laneStride(index, v, lanes) !== 0;
  return moves ? { from: found.from, at, index, size, strided } : null;
}
/** x, which is computed only where the condition holds, with the index that the condition compares not clamped. */
export function unclamped(x: Expr, cond: Expr): Expr {
  const bound = boundOf(cond);
  return bound ? replaceIndex(x, clamp(bound.index, bound.size), bound.index) : x;
}
/** The index and the size (`Infinity` if it is not compared) of a condition made by `within`; null for other conditions. */
function boundOf(cond: Expr): { readonly index: Expr; readonly size: number } | null {
  const last = cond.e === "op" && cond.op === "and" ? item(cond.args, 1) : cond;
  if (last.e !== "op") return null;
  const [index, b] = [item(last.args, 0), last.args[1]];
  if (!b || !isNum(b) || typeOf(index) !== "index") return null;
  const size = last.op === "lt" ? b.value : range(index)[1] + 1;
  return same(cond, within(index, size)) ? { index, size } : null;
}
function replaceIndex(x: Expr, from: Expr, to: Expr): Expr {
  if (same(x, from)) return to;
  if (x.e === "load") return load(x.from, ...x.at.map((y) => replaceIndex(y, from, to)));
  if (x.e !== "op") return x;
  if (x.type !== "index" || x.args.length !== 2)
    return call(x.op, x.type, ...x.args.map((y) => replaceIndex(y, from, to)));
  const [a, b] = x.args.map((y) => replaceIndex(y, from, to)) as [Expr, Expr];
  if (x.op === "+") return add(a, b);
  if (x.op === "-") return sub(a, b);
  return x.op === "*" ? mul(a, b) : x;
}
