// A pass on kernels. Where a loop walks along rows of another length (a concat that is reshaped, as relative positions are moved), each of its rounds
// meets the ends of these rows at other places. It becomes a loop over the rows, with one over each piece of a row: no element asks where it lies.
import { item } from "../item.ts";
import { gcd } from "../types/numbers.ts";
import {
  add,
  dependsOn,
  div,
  isNum,
  knowing,
  knownDivisor,
  max,
  min,
  mod,
  mul,
  num,
  range,
  replace,
  same,
  splitConstant,
  stride,
  sub,
  subexpressions,
  substitute,
  variable,
} from "./expr.ts";
import type { Expr, Kernel, Op, Stmt, StmtOf } from "./ir.ts";
import { expressions, mapExpressions } from "./passes.ts";

/** Shorter rows are not worth a loop each, nor are rows of more pieces. */
const [shortest, maxPieces] = [64, 4];

type Par = StmtOf<"par">;
/** How a loop walks: `element`, which is base + v, in rows of `width`. */
interface Walk {
  readonly element: Expr;
  readonly base: Expr;
  readonly width: number;
}
/** The kernel with loops over such rows, where their ends are not known to lie between groups of so many lanes. */
export const cutAtRowEnds = (k: Kernel, lanes: number): Kernel => ({ ...k, body: cutIn(k.body, lanes) });

const cutIn = (list: readonly Stmt[], lanes: number): readonly Stmt[] =>
  list.map((s) => {
    if (s.s === "for" || s.s === "if") return { ...s, body: cutIn(s.body, lanes) };
    const walk = s.s === "par" ? walkOf(s, lanes) : null;
    return (s.s === "par" && walk && byRows(s, walk)) || s;
  });
/** How a loop walks along rows; null if it does not, or along those of several widths. */
function walkOf({ v, body, extent }: Par, lanes: number): Walk | null {
  const isSimple = isNum(extent) && body.every((s) => s.s === "let" || s.s === "store");
  const divisions = expressions(body)
    .filter(isDivision)
    .filter((x) => dependsOn(item(x.args, 0), v));
  const [element, by] = divisions[0]?.args ?? [];
  if (!isSimple || !element || !by || !isNum(by) || by.value < shortest) return null;
  const made = new Set<Expr>(body.flatMap((s) => (s.s === "let" ? [s.v] : [])));
  const walk = { element, base: substitute(element, v, num(0)), width: by.value };
  const isAlong =
    stride(element, v) === 1 && range(walk.base)[0] >= 0 && !subexpressions(element).some((x) => made.has(x));
  const isAligned = gcd(by.value, knownDivisor(walk.base)) % lanes === 0;
  return isAlong && !isAligned && divisions.every(({ args }) => args[0] && same(args[0], element)) ? walk : null;
}
const isDivision = (x: Expr): x is Op => x.e === "op" && (x.op === "/" || x.op === "%");

/** The loop over rows; null if there are too many pieces, or if an element still asks where it lies. */
function byRows(s: Par, { element, base, width }: Walk): Stmt | null {
  const column = mod(element, width);
  const ends = [...endsIn(s.body, column, width), width];
  if (ends.length > maxPieces) return null;
  const name = `${s.v.name}_row`;
  const [row, before] = [variable(name), variable(`${name}_from`, "index", -Infinity)];
  const inRow = (x: Expr): Expr => replace(x, div(element, width), row);
  const body = ends.flatMap((end, i) => {
    const start = ends[i - 1] ?? 0;
    const from = variable(`${name}_at${i || ""}`, "index", start, end);
    const v = variable(`${s.v.name}_in${i || ""}`, "index", 0, end - start - 1);
    const known = knowing(column, start, end);
    const of = (x: Expr): Expr =>
      substitute(replace(inRow(known(x)), column, add(from, v)), s.v, add(sub(from, before), v));
    const extent = max(sub(min(add(before, s.extent), num(end)), from), num(0));
    const piece: Par = { ...s, v, extent, body: s.body.map((b) => mapExpressions(b, of)) };
    return [{ s: "let", v: from, value: max(before, num(start)) } as const, piece];
  });
  const asks = expressions(body).some((x) => isDivision(x) && body.some((p) => p.s === "par" && dependsOn(x, p.v)));
  const last = add(add(base, s.extent), num(width - 1));
  const axis = { v: row, n: num(1), from: div(base, width), to: div(last, width), step: 1 };
  const first = { s: "let", v: before, value: sub(base, mul(row, num(width))) } as const;
  return asks ? null : { s: "for", axis, body: [first, ...body] };
}
/** The places within a row at which the column is compared, in order. */
function endsIn(body: readonly Stmt[], column: Expr, width: number): number[] {
  const found = expressions(body).flatMap((x) => {
    const [limited, by] = x.e === "op" && (x.op === "lt" || x.op === "ge") ? x.args : [];
    if (!limited || !by || !isNum(by)) return [];
    const [term, n] = splitConstant(limited);
    return same(term, column) ? [by.value - n] : [];
  });
  return [...new Set(found)].filter((end) => end > 0 && end < width).toSorted((a, b) => a - b);
}
