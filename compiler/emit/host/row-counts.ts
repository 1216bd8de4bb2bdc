// How many rows a product on the host can have, where that is known: register tiles of other heights need not be compiled (`OneOf` of operands.hpp).
import { isNum, range, sub } from "../../kernel/expr.ts";
import type { Axis, Expr, Kernel, Var } from "../../kernel/ir.ts";
import { statements } from "../../kernel/passes.ts";
import { memoize } from "../../memoize.ts";

/** More of them say little. */
const most = 8;
type Counts = ReadonlyMap<Expr, readonly number[]>;

/** The numbers, of which x is one; null: not known. */
export function countsOf(x: Expr, k: Kernel): readonly number[] | null {
  if (isNum(x)) return x.value > 0 ? [x.value] : null;
  return blockLengths(k).get(x) ?? null;
}
/** For each variable that is the length of a block, the lengths that the blocks of its axis have, if these are few. */
const blockLengths = memoize((k: Kernel): Counts => {
  const known = new Map<Expr, readonly number[]>();
  const axes: readonly Axis[] = [...k.grid, ...statements(k.body).flatMap((s) => (s.s === "for" ? [s.axis] : []))];
  for (const axis of axes) {
    const lengths = axis.n.e === "var" && !axis.skip ? lengthsOf(axis, axis.n, known) : null;
    if (lengths && lengths.length <= most) known.set(axis.n, lengths);
  }
  return known;
});
function lengthsOf({ from, to, step }: Axis, n: Var, known: Counts): readonly number[] | null {
  const whole = sub(to, from);
  const all = isNum(whole) ? [whole.value] : known.get(whole);
  if (all)
    return [...new Set(all.flatMap((length) => [...(length >= step ? [step] : []), length % step]))].filter(
      (x) => x > 0,
    );
  const [low, high] = range(n);
  const count = Math.floor(high / n.divisor);
  return low > 0 && count <= most ? Array.from({ length: count }, (_, i) => (i + 1) * n.divisor) : null;
}
