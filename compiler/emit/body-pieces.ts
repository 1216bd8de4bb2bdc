// Cuts a body where it asks of each element in which piece of a concat it lies (`j % 32 < 16`: halves of heads that are merged into a row). Where whole
// groups of lanes lie in one piece, each piece has a body of its own, without the question and without the limits on the indices of what it reads.
import { item } from "../item.ts";
import {
  add,
  dependsOn,
  isNum,
  knowing,
  knownDivisor,
  less,
  num,
  range,
  same,
  splitConstant,
  stride,
  sub,
  subexpressions,
  substitute,
  typeOf,
  variable,
} from "../kernel/expr.ts";
import type { Axis, Expr, Stmt, Var } from "../kernel/ir.ts";
import { expressions, mapExpressions, withoutUnread } from "../kernel/passes.ts";
import { readsBoundIn } from "./names.ts";

/** A piece: the groups for which all `conditions` hold, and that are in no piece before it. */
export interface Piece {
  readonly conditions: readonly Expr[];
  /** An expression of the body, simplified by what is known of the piece. */
  of(x: Expr): Expr;
}
/** The most pieces: each has the text of the whole body. */
const maxPieces = 6;

/** What runs for each element. A fold has a value too. */
export interface Body {
  readonly body: readonly Stmt[];
  readonly value?: Expr;
}
/** What a body runs over: aligned groups of so many consecutive v. `block`: the axis of which v counts a block's elements. */
export interface Row {
  readonly v: Var;
  readonly lanes: number;
  readonly block?: Axis;
}
/** The pieces of a body that runs over a row; a single one if there is nothing to cut, null if there are too many. */
export function piecesOf(row: Row, whole: Body): readonly Piece[] | null {
  const cut = cutOf(row.v, whole, row.lanes);
  if (!cut) return [{ conditions: [], of: (x) => x }];
  const last = endOf(cut.index, row);
  const ends = cut.ends.filter((end) => end < last);
  const found: Piece[] = [];
  for (const [i, end] of [...ends, last].entries()) {
    const of = knowing(cut.index, ends[i - 1] ?? range(cut.index)[0], end);
    const inner = found.length < maxPieces ? piecesOf(row, bodyIn({ of }, whole)) : null;
    if (!inner) return null;
    const own = i < ends.length ? [less(cut.index, num(end))] : [];
    for (const p of inner) found.push({ conditions: [...own, ...p.conditions], of: (x) => p.of(of(x)) });
  }
  return found.length <= maxPieces ? found : null;
}
/** What an index stays below: the end of the axis if it is of the block's rows, however few are left for the last block. */
function endOf(index: Expr, { v, block }: Row): number {
  const end = range(index)[1] + 1;
  return block && isNum(block.to) && sub(index, block.v) === v ? Math.min(end, block.to.value) : end;
}
/** A body in a piece, without lets that nothing reads there. */
export function bodyIn({ of }: Pick<Piece, "of">, { body, value }: Body): Body {
  const own = value && of(value);
  const mapped = (list: readonly Stmt[]): Stmt[] =>
    list.map((s) => ({ ...mapExpressions(s, of), ...("body" in s && { body: mapped(s.body) }) }));
  const read = new Set(own ? subexpressions(own) : []);
  return { body: withoutUnread(mapped(body), read), ...(own && { value: own }) };
}
/** The places at which an index is compared: in order, within its range. */
interface Cut {
  readonly index: Expr;
  readonly ends: readonly number[];
}
/** The first index whose comparisons have one outcome for each group of lanes; null if there is none. */
function cutOf(v: Var, { body, value }: Body, lanes: number): Cut | null {
  const found = [...expressions(body), ...(value ? subexpressions(value) : [])].flatMap((x) => {
    const c = comparisonOf(x);
    const isKnown = c && dependsOn(c.index, v) && !readsBoundIn(body, c.index);
    return isKnown && isSameForGroup(c, v, lanes) ? [c] : [];
  });
  const [first] = found;
  if (!first) return null;
  const ends = found.flatMap(({ index, end }) => (same(index, first.index) ? [end] : []));
  return { index: first.index, ends: [...new Set(ends)].toSorted((a, b) => a - b) };
}
/** The comparison `index < end`, of which x is the outcome or its opposite; null if x is none, or always has one outcome. */
function comparisonOf(x: Expr): { readonly index: Expr; readonly end: number } | null {
  if (x.e !== "op" || (x.op !== "lt" && x.op !== "ge")) return null;
  const [limited, by] = [item(x.args, 0), item(x.args, 1)];
  if (typeOf(limited) !== "index" || !isNum(by)) return null;
  let [index, end] = [limited, by.value];
  for (;;) {
    const [term, n] = splitConstant(index);
    [index, end] = [term, end - n];
    const limit = index.e === "op" && (index.op === "min" || index.op === "max") ? index.args : [];
    if (!limit[0] || !limit[1] || !isNum(limit[1])) break;
    index = limit[0];
  }
  const [lo, hi] = range(index);
  return lo > -Infinity && hi < Infinity && lo < end && end <= hi ? { index, end } : null;
}
/** Whether `index < end` has one outcome for each aligned group of lanes: they count up from a multiple of what also divides the end. */
function isSameForGroup({ index, end }: { index: Expr; end: number }, v: Var, lanes: number): boolean {
  const [base, lane] = [variable("_base", "index", 0, Infinity, lanes), variable("_lane", "index", 0, lanes - 1)];
  const x = substitute(index, v, add(base, lane));
  const step = stride(x, lane);
  if (step === 0) return true;
  const divisor = knownDivisor(substitute(x, lane, num(0)));
  return step !== null && step > 0 && end % divisor === 0 && step * (lanes - 1) < divisor;
}
