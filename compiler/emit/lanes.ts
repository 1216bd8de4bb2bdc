// Decides whether a body can run on a group of SIMD lanes with the same meaning as element by element.
import { item } from "../item.ts";
import {
  address,
  children,
  dependsOn,
  knownDivisor,
  laneStride,
  substitute,
  typeOf,
  variable,
} from "../kernel/expr.ts";
import type { Buffer, Expr, Stmt, Tile, Var } from "../kernel/ir.ts";
import { bodyOf, loads, ownExpressions, statements, stores } from "../kernel/passes.ts";
import type { DType } from "../types/dtype.ts";
import type { ExpressionTarget } from "./expressions.ts";
import { guardOf } from "./guard.ts";

/** How a target's lanes access memory. */
export interface LaneAccess extends Pick<ExpressionTarget, "stridedLoads"> {
  /** A contiguous group must be aligned to its length. */
  readonly aligned: boolean;
}
type Strides = readonly number[] | "any";
/**
 * Whether a body can run on groups of so many consecutive v: each access must have a stride over the lanes that the target supports, or be one value
 * for the group.
 */
export function canVectorize(
  v: Var,
  body: readonly Stmt[],
  lanes: number,
  { aligned, stridedLoads }: LaneAccess,
): boolean {
  const varying = new Set<Expr>([v]);
  const varies = (x: Expr): boolean => varying.has(x) || children(x).some(varies);
  const hasStride = (x: Expr, steps: Strides): boolean => {
    if (!varies(x)) return true;
    const step = laneStride(x, v, lanes);
    if (step === 1 && aligned && !isLaneAligned(x, v, lanes)) return false;
    return (
      step !== null &&
      (steps === "any" || steps.includes(step)) &&
      ![...varying].some((y) => y !== v && dependsOn(x, y as Var))
    );
  };
  const note = (list: readonly Stmt[]): void => {
    for (const s of list) {
      note(bodyOf(s)); // first the body, as a fold's value depends on it
      if (s.s === "let" && varies(s.value)) varying.add(s.v);
      if (s.s === "fold" && varies(s.value)) varying.add(s.into);
      if (s.s === "scan" && varies(s.value)) varying.add(s.sum);
    }
  };
  note(body);
  if (!statements(body).every((s) => allowed(s, varies, hasStride, aligned))) return false;
  const reads = (x: Expr): boolean => {
    const guarded = stridedLoads ? guardOf(x, v, lanes) : null;
    if (guarded?.strided.every((y) => hasStride(y, "any"))) return true;
    return readable(x, varies, hasStride, stridedLoads ? "any" : [0, 1]) && children(x).every(reads);
  };
  return statements(body).flatMap(ownExpressions).every(reads);
}
/** Whether all memory that a body accesses along v has this dtype. */
export function touchesOnly(dtype: DType, v: Var, body: readonly Stmt[]): boolean {
  const isOther = (b: Buffer | Tile, at: readonly Expr[]): boolean =>
    b.kind === "buffer" && b.dtype !== dtype && at.some((x) => dependsOn(x, v));
  return !stores(body).some((s) => !s.run && isOther(s.to, s.at)) && !loads(body).some((x) => isOther(x.from, x.at));
}
type Varies = (x: Expr) => boolean;
type HasStride = (x: Expr, steps: Strides) => boolean;
/** Whether a statement has the same meaning for a group of lanes as for each element. */
function allowed(s: Stmt, varies: Varies, hasStride: HasStride, aligned: boolean): boolean {
  if (s.s === "tally") return !varies(s.key);
  if (s.s === "if") return !varies(s.cond);
  if (s.s !== "store") return true;
  if (s.to.kind === "tile") return s.to.role !== "shared";
  const at = address(s.to, s.at);
  // with a block of just one run of columns the place of the sum does not vary: on CUDA, lanes that exchange columns of two runs would both write it
  if (s.run) return (varies(at) || !aligned) && hasStride(at, [0]);
  return varies(at) && hasStride(at, [1]);
}
function readable(x: Expr, varies: Varies, hasStride: HasStride, steps: Strides): boolean {
  if (x.e === "load" && x.from.kind === "tile")
    return x.from.role === "shared" ? !varies(x) : !x.at.slice(0, -1).some(varies);
  if (x.e === "load") return x.from.kind !== "buffer" || hasStride(address(x.from, x.at), steps);
  if (x.e !== "op") return true;
  if (x.op === "value") return hasStride(item(x.args, 0), steps);
  if (x.op === "high") return hasStride(item(x.args, 0), [0, 1]);
  const ofIndex = x.op === "index" || (x.type === "bool" && x.args.some((y) => typeOf(y) === "index"));
  return !ofIndex || !varies(x);
}
/** Whether an address is a multiple of `lanes` where v is one. */
export function isLaneAligned(x: Expr, v: Var, lanes: number): boolean {
  return knownDivisor(substitute(x, v, variable("_start", "index", 0, Infinity, lanes))) % lanes === 0;
}
