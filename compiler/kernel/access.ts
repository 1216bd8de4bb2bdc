// How a kernel reads a buffer: this decides whether the memory planner may put a result of the kernel in the same memory.
import { getOrMake, memoize } from "../memoize.ts";
import { sameLayout } from "../plan/alias.ts";
import type { VirtualArg } from "../plan/sequence.ts";
import { sameShape } from "../types/numbers.ts";
import { sameAll, subexpressions } from "./expr.ts";
import type { Buffer, Kernel, Load, StmtOf } from "./ir.ts";
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
/** "pointwise" if element i of b is read only to make element i of results with b's dtype, shape and layout, and before those are stored. */
export function accessOf(k: Kernel, b: Buffer): VirtualArg["access"] {
  const targets = storesIn(k).filter((s) => targetMatches(s.of, b));
  const [first] = targets;
  if (!first) return "read";
  const loads = loadsIn(k).get(b) ?? [];
  const matched = loads.every((x) => targets.every((s) => sameAll(x.of.at, s.of.at)));
  return matched && loads.every((x) => x.place <= first.place) ? "pointwise" : "read";
}
const targetMatches = (s: StmtOf<"store">, b: Buffer): boolean =>
  s.to.kind === "buffer" &&
  s.to.dtype === b.dtype &&
  sameShape(s.to.shape, b.shape) &&
  sameLayout(s.to.layout, b.layout);
