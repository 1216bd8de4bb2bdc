// How a kernel reads a buffer: this decides whether the memory planner may put a result of the kernel in the same memory.
import { item } from "../item.ts";
import { getOrMake, memoize } from "../memoize.ts";
import { sameLayout } from "../plan/alias.ts";
import type { VirtualArg } from "../plan/sequence.ts";
import { sameShape } from "../types/numbers.ts";
import { num, same, sameAll, subexpressions } from "./expr.ts";
import type { Buffer, Expr, Kernel, Load, Stmt, StmtOf } from "./ir.ts";
import { ownExpressions, statements } from "./passes.ts";

interface At<S> {
  /** The number of the statement. */
  readonly place: number;
  readonly of: S;
}
const storesIn = memoize((k: Kernel): readonly At<StmtOf<"store">>[] =>
  statements(k.body).flatMap((of, place) => (of.s === "store" ? [{ place, of }] : [])),
);
const loadsIn = memoize((k: Kernel): ReadonlyMap<Load["from"], readonly At<Load>[]> => {
  const loads = new Map<Load["from"], At<Load>[]>();
  for (const [place, s] of statements(k.body).entries())
    for (const of of ownExpressions(s).flatMap(subexpressions))
      if (of.e === "load") getOrMake(loads, of.from, () => []).push({ place, of });
  return loads;
});
/**
 * "pointwise" if element i of b is read only to make element i of results with b's dtype, shape and layout, or to sum up the row that they are in, and
 * before those are stored.
 */
export function accessOf(k: Kernel, b: Buffer): VirtualArg["access"] {
  const targets = storesIn(k).filter((s) => targetMatches(s.of, b));
  const [first] = targets;
  if (!first) return "read";
  const loads = loadsIn(k).get(b) ?? [];
  const matched = loads.every((x) => targets.every((s) => sameAll(x.of.at, s.of.at) || isOfFoldedRow(k, x.of, s.of)));
  return matched && loads.every((x) => x.place <= first.place) ? "pointwise" : "read";
}
/** Whether the load is in a fold of a row, all of which a loop of the same task stores. Elements are stored once, so no other task has that row. */
function isOfFoldedRow(k: Kernel, load: Load, store: StmtOf<"store">): boolean {
  const own = load.at.findIndex((x, axis) => !same(x, item(store.at, axis)));
  const [read, written] = [item(load.at, own), item(store.at, own)];
  const others = (at: readonly Expr[]): readonly Expr[] => at.filter((_, axis) => axis !== own);
  if (!sameAll(others(load.at), others(store.at))) return false;
  const isFolded = k.body.some((s) => s.s === "fold" && same(s.v, read) && statements([s]).some((t) => reads(t, load)));
  const row = k.body.find((s) => s.s === "par" && same(s.v, written) && statements(s.body).includes(store));
  return isFolded && row?.s === "par" && same(row.extent, num(item(store.to.shape, own)));
}
const reads = (s: Stmt, load: Load): boolean => ownExpressions(s).some((x) => subexpressions(x).includes(load));
const targetMatches = (s: StmtOf<"store">, b: Buffer): boolean =>
  s.to.kind === "buffer" &&
  s.to.dtype === b.dtype &&
  sameShape(s.to.shape, b.shape) &&
  sameLayout(s.to.layout, b.layout);
