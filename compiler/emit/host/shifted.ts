// Finds left operands whose rows are those of another one, shifted by a constant (a convolution's taps), so that row pointers are computed only for
// the first.
import { item } from "../../item.ts";
import { address, isNum, num, same, splitConstant, substitute } from "../../kernel/expr.ts";
import type { Expr, Kernel, Stmt, StmtOf, Tile } from "../../kernel/ir.ts";
import { bodyOf, statements } from "../../kernel/passes.ts";
import { memoize } from "../../memoize.ts";
import { rowLoadOf } from "../operand-layout.ts";
import { productsFrom } from "../runs.ts";

interface Shifted {
  readonly of: Tile;
  /** The shift, in elements. */
  readonly by: number;
}
/** The shifted operands of products that are summed together (`Target.mmaSum`), each relative to the left operand of the first product. */
export const shiftedIn: (k: Kernel) => ReadonlyMap<Tile, Shifted> = memoize(
  (k) => new Map(listsOf(k).flatMap(shiftedAmong)),
);
const listsOf = (k: Kernel): (readonly Stmt[])[] => [k.body, ...statements(k.body).map(bodyOf)];
function shiftedAmong(list: readonly Stmt[]): [Tile, Shifted][] {
  const at = list.findIndex((s) => s.s === "mma");
  const [first, ...others] = at < 0 ? [] : productsFrom(list, at);
  const stage = (t: Tile): StmtOf<"stage"> | undefined => list.filter((s) => s.s === "stage").find((s) => s.tile === t);
  const from = first && stage(first.a);
  return others.flatMap(({ a }): [Tile, Shifted][] => {
    const s = stage(a);
    const by = from && s ? shift(from, s) : null;
    return from && by !== null ? [[a, { of: from.tile, by }]] : [];
  });
}
/** The shift from the rows of s to those of t; null if they are not read in place or the shift is not constant. */
function shift(s: StmtOf<"stage">, t: StmtOf<"stage">): number | null {
  const [x, y] = [rowLoadOf(s), rowLoadOf(t)];
  if (!x || !y || x.load.from !== y.load.from || s.tile.form || t.tile.form) return null;
  if (s.tile.shape.join() !== t.tile.shape.join() || x.strides[1] !== y.strides[1]) return null;
  const like = y.load.at.map((i) => substitute(substitute(i, t.vs[0], s.vs[0]), t.vs[1], s.vs[1]));
  const steps = like.map((i, axis) => constantDifference(i, item(x.load.at, axis)));
  if (steps.includes(null)) return null;
  const by = address(
    x.load.from,
    steps.map((n) => num(n ?? 0)),
  );
  return isNum(by) ? by.value : null;
}
/** a - b if they differ only in a constant term; else null. */
function constantDifference(a: Expr, b: Expr): number | null {
  const [[x, m], [y, n]] = [splitConstant(a), splitConstant(b)];
  return same(x, y) ? m - n : null;
}
