// top_k kernels: the k largest of each row, found one after the other. On the host, a long row is divided into runs and the maximum of each run is
// kept, so that a search looks at one run and at the maxima of the others; short rows are ranked.
import type { Node, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { type Block, blockAt, plus } from "../kernel/builder.ts";
import {
  add,
  and,
  asIndex,
  asValue,
  call,
  div,
  equals,
  f32,
  i32,
  isNum,
  load,
  num,
  roundUp,
  select,
  sub,
  unflatten,
} from "../kernel/expr.ts";
import type { Buffer, Expr } from "../kernel/ir.ts";
import type { Choices } from "../kernel/schedule.ts";
import type { VirtualBuffer } from "../plan/sequence.ts";
import { product } from "../types/numbers.ts";
import { dtypeOf } from "../types/type.ts";
import type { Draft } from "./draft.ts";
import { operand, result, shapeOf } from "./reader.ts";
import { addLaneRows, maxRows, minRows, visitRowMajor } from "./rows/short-rows.ts";

const bool = (op: string, ...xs: readonly Expr[]): Expr => call(op, "bool", ...xs);
/** Whether (x, i) comes before (y, j) in the result, y being a number: x is larger, or equal and earlier. */
const precedes = (x: Expr, i: Expr, y: Expr, j: Expr): Expr =>
  bool("or", bool("gt", x, y), bool("and", bool("eq", x, y), bool("lt", i, j)));
/** Whether (x, i) comes before (y, j), y being NaN: all numbers do, and earlier NaNs. */
const precedesNaN = (x: Expr, i: Expr, y: Expr, j: Expr): Expr =>
  bool("and", bool("ne", y, y), bool("or", bool("eq", x, x), bool("lt", i, j)));
/** Up to `maxSearch` are found one after the other. More are sorted (top-k-sort.ts), or found by runs in rows of `elementsPerResult` or more for each. */
const maxSearch = 32;
const elementsPerResult = 32;
/** The longest rows that may be ranked. */
const maxRankedRow = 64;
/** The shortest rows that are searched by runs. */
const minRunRow = 256;
const sizesOf = (node: Node): { readonly n: number; readonly k: number } => ({
  n: item(shapeOf(operand(node)), shapeOf(operand(node)).length - 1),
  k: item(shapeOf(result(node)), shapeOf(result(node)).length - 1),
});
/** Whether a row is searched by runs. The maxima of runs are kept in a local buffer of f32, whose size the target limits (`maxCachedRow`). */
function usesRuns(node: Node, { rows: { maxCachedRow } }: Choices): boolean {
  const { n, k } = sizesOf(node);
  const real = dtypeOf(operand(node).type) !== "i32";
  return (
    real &&
    n >= minRunRow &&
    n / runLength(n) <= maxCachedRow &&
    k > 1 &&
    k <= Math.max(maxSearch, n / elementsPerResult)
  );
}
/** Whether rows are sorted entirely (top-k-sort.ts). */
export const usesSort = (node: Node, choices: Choices): boolean =>
  sizesOf(node).k > maxSearch && !usesRuns(node, choices) && !isRanked(node, choices);
/**
 * Whether elements are ranked, by counting how many come before each. That takes as many comparisons as a row has pairs; a search reads the row for
 * each of the k results, the first in half the time.
 */
function isRanked(node: Node, choices: Choices): boolean {
  const { n, k } = sizesOf(node);
  const rows = product(shapeOf(result(node)).slice(0, -1));
  return choices.rows.shortRow > 0 && n > 1 && n <= maxRankedRow && n * n <= 512 * k - 256 && rows >= minRows;
}
/** The length of a run: a search looks at about n / run + 3 run elements, which is least near this. */
const runLength = (n: number): number => Math.max(16, 2 ** Math.round(Math.log2(Math.sqrt(n / 3))));
/** An i32 key that rises as x falls; NaN is last. */
const descendingKey = (x: Expr, real: boolean): Expr =>
  real ? call("xor", "i32", call("falling", "i32", x), i32(-(2 ** 31))) : call("xor", "i32", x, i32(-1));
/** Ranks short rows, one lane for each row: how many elements come before an element is its place in the order. */
function byRank(d: Draft, node: Node): void {
  const x = operand(node);
  const [shape, { n, k }] = [shapeOf(x), sizesOf(node)];
  const outer = shape.slice(0, -1);
  const rows = addLaneRows(d, product(outer));
  const place = (i: Expr, j: Expr): Expr[] => [...unflatten(plus(rows, i), outer), j];
  const reader = d.reader({ withoutLets: true });
  const value = (i: Expr, j: Expr): Expr => reader.element(x, place(i, j));
  const ranks = rankedRows(d, rows, n, dtypeOf(x.type) !== "i32", value);
  const order = d.k.local("order", [n], "i32");
  const [values, index] = [d.output(result(node), "values"), d.output(result(node, 1), "index")];
  d.k.for("i", num(0), rows.n, 1, ({ at: i }) => {
    for (let j = 0; j < n; j++) d.k.store(order, [asIndex(load(ranks, num(j), i))], i32(j));
    for (let p = 0; p < k; p++) {
      const j = d.k.letHere("j", asIndex(load(order, num(p))));
      d.k.store(values, place(i, num(p)), value(i, j));
      d.k.store(index, place(i, num(p)), asValue(j));
    }
  });
}
/** Fills ranks[j, i]: how many elements of row i come before element j. */
function rankedRows(d: Draft, rows: Block, n: number, real: boolean, value: (i: Expr, j: Expr) => Expr): Buffer {
  const column = (name: string, dtype: "f32" | "i32"): Buffer => d.k.local(name, [n, maxRows], dtype, true);
  const [own, keys, ranks] = [column("own", real ? "f32" : "i32"), column("keys", "i32"), column("ranks", "i32")];
  const each = (f: (j: Expr) => void): void => d.k.for("j", num(0), num(n), 1, ({ at }) => f(at));
  visitRowMajor(d, rows, n, (i, j) => d.k.store(own, [j, i], value(i, j)));
  d.k.par(rows.n, (i) => {
    each((j) => d.k.store(keys, [j, i], descendingKey(load(own, j, i), real)));
    each((j) => {
      const key = d.k.letHere("key", load(keys, j, i));
      const before = (from: Expr, extent: Expr, op: "le" | "lt"): Expr =>
        d.k.fold("before", "sum", "i32", extent, (m) =>
          select(bool(op, load(keys, add(from, m), i), key), i32(1), i32(0)),
        );
      const later = add(j, num(1));
      const rank = call("add", "i32", before(num(0), j, "le"), before(later, sub(num(n), later), "lt"));
      d.k.store(ranks, [j, i], rank);
    });
  });
  return ranks;
}
/** Writes the top_k kernel that has one launch: a task for each row, or a block of short rows. */
export function topK(d: Draft, node: Node): void {
  if (isRanked(node, d.choices)) return byRank(d, node);
  const x = operand(node);
  const shape = shapeOf(x);
  const { n, k } = sizesOf(node);
  const row = unflatten(d.k.task("r", product(shape.slice(0, -1))).at, shape.slice(0, -1));
  const reader = d.reader({ withoutLets: true });
  const value = (j: Expr): Expr => reader.element(x, [...row, j]);
  const [values, index] = [
    d.param("values", d.bufferOf(result(node)), "write", { mutable: true }),
    d.param("index", d.bufferOf(result(node, 1)), "write", { mutable: true }),
  ];
  const put = (at: Expr, j: Expr): void => {
    d.k.store(values, [...row, at], value(j));
    d.k.store(index, [...row, at], asValue(j));
  };
  const real = dtypeOf(x.type) !== "i32";
  const tops = usesRuns(node, d.choices) ? runMaxima(d, n, value) : null;
  d.k.for("p", num(0), num(k), 1, (p) => {
    const search: Search = {
      n: num(n),
      maxLength: n,
      value,
      real,
      ...lastFound(d, { real, values, index, row, p: p.at }),
    };
    if (tops) nextLargestByRuns(d, search, tops, (j) => put(p.at, j));
    else nextLargest(d, search, (j) => put(p.at, j));
  });
}
/** The place of the element found last, and whether a number (`isAfter`) or a NaN (`isNaNAfter`) comes after that element. */
interface Last {
  readonly index: Expr;
  readonly isAfter: (value: Expr, j: Expr) => Expr;
  readonly isNaNAfter: (value: Expr, j: Expr) => Expr;
}
interface Search extends Last {
  /** The number of elements; `maxLength` is an upper bound. */
  readonly n: Expr;
  readonly maxLength: number;
  readonly value: (j: Expr) => Expr;
  readonly real: boolean;
}
interface Found {
  readonly real: boolean;
  readonly values: Buffer;
  readonly index: Buffer;
  readonly row: readonly Expr[];
  readonly p: Expr;
}
function lastFound(d: Draft, { real, values, index, row, p }: Found): Last {
  if (isNum(p)) return nothingFound(real);
  const [first, before] = [equals(p, num(0)), [...row, sub(p, num(1))]];
  const last = d.k.letHere("last", select(first, largestOf(real), load(values, ...before)));
  return after(last, d.k.letHere("where_", select(first, i32(-1), load(index, ...before))));
}
const after = (last: Expr, index: Expr): Last => ({
  index,
  isAfter: (value, j) => precedes(last, index, value, asValue(j)),
  isNaNAfter: (value, j) => precedesNaN(last, index, value, asValue(j)),
});
const largestOf = (real: boolean): Expr => (real ? f32(Infinity) : i32(2 ** 31 - 1));
/** Before the first search: all elements come after. */
const nothingFound = (real: boolean): Last => after(largestOf(real), i32(-1));
/** Finds the first of the largest elements that come after the last one found. NaNs are looked for only when no number is left. */
function nextLargest(
  d: Draft,
  { n, maxLength, value, real, isAfter, isNaNAfter }: Search,
  put: (j: Expr) => void,
): void {
  const lowest = real ? f32(-Infinity) : i32(-(2 ** 31));
  const best = d.k.fold("best", "max", real ? "f32" : "i32", n, (j) => select(isAfter(value(j), j), value(j), lowest));
  const none = i32(maxLength);
  const first = (is: (x: Expr, j: Expr) => Expr): Expr =>
    d.k.fold("at", "min", "i32", n, (j) => select(is(value(j), j), asValue(j), none));
  const at = first((x, j) => and(isAfter(x, j), bool("eq", x, best)));
  if (!real) return put(d.k.letHere("j", asIndex(at)));
  d.k.if(bool("lt", at, none), () => put(asIndex(at)));
  d.k.if(bool("le", none, at), () => put(asIndex(first(isNaNAfter))));
}
/** The results of each piece of `length` elements of a row: its largest element, and that element's place in the row. */
interface LargestPieces {
  readonly length: number;
  readonly values: VirtualBuffer;
  readonly index: VirtualBuffer;
}
/** The length of the pieces if tasks search the pieces of a row for its one largest element (where rows are few); null if they do not. */
export function searchPieceLength(node: Node, choices: Choices): number | null {
  const [{ n, k }, rows] = [sizesOf(node), product(shapeOf(result(node)).slice(0, -1))];
  const pieces = k === 1 && rows > 0 ? choices.rows.topKPieces(rows, n) : 1;
  return pieces > 1 ? roundUp(Math.ceil(n / pieces), 64) : null;
}
/** A search that has found nothing yet. */
function initialSearch(x: Value, n: Expr, maxLength: number, value: (j: Expr) => Expr): Search {
  const real = dtypeOf(x.type) !== "i32";
  return { n, maxLength, value, real, ...nothingFound(real) };
}
/** First launch: a task finds the largest element of one piece of a row. */
export function largestOfPiece(d: Draft, node: Node, made: LargestPieces): void {
  const [x, { n }] = [operand(node), sizesOf(node)];
  const [rows = 1, pieces = 1] = made.values.shape;
  const r = d.k.task("r", rows).at;
  const c = d.k.task("c", pieces).at;
  const own = blockAt(c, n, made.length);
  const reader = d.reader({ withoutLets: true });
  const row = unflatten(r, shapeOf(x).slice(0, -1));
  const value = (j: Expr): Expr => reader.element(x, [...row, plus(own, j)]);
  nextLargest(d, initialSearch(x, own.n, made.length, value), (j) => {
    d.k.store(d.param("values", made.values, "write"), [r, c], value(j));
    d.k.store(d.param("index", made.index, "write"), [r, c], asValue(plus(own, j)));
  });
}
/** Second launch: the largest of the pieces' results, the first of equal ones, as pieces are in order. */
export function largestOfPieces(d: Draft, node: Node, made: LargestPieces): void {
  const [rows = 1, pieces = 1] = made.values.shape;
  const r = d.k.task("r", rows).at;
  const at = [...unflatten(r, shapeOf(result(node)).slice(0, -1)), num(0)];
  const [values, index] = [d.param("from", made.values, "read"), d.param("at", made.index, "read")];
  const value = (c: Expr): Expr => load(values, r, c);
  nextLargest(d, initialSearch(operand(node), num(pieces), pieces, value), (c) => {
    d.k.store(d.output(result(node), "values"), at, value(c));
    d.k.store(d.output(result(node, 1), "index"), at, load(index, r, c));
  });
}
/** The maximum of each run, in a local buffer; -inf for a run without numbers. */
function runMaxima(d: Draft, n: number, value: (j: Expr) => Expr): Buffer {
  const tops = d.k.local("tops", [Math.ceil(n / runLength(n))]);
  d.k.for("r", num(0), num(Math.ceil(n / runLength(n))), 1, ({ at }) =>
    d.k.store(
      tops,
      [at],
      runMaximum(d, n, at, value, (x) => bool("eq", x, x)),
    ),
  );
  return tops;
}
/** The maximum of those elements of a run for which `counts` holds; -inf if there are none. */
function runMaximum(
  d: Draft,
  n: number,
  run: Expr,
  value: (j: Expr) => Expr,
  counts: (x: Expr, j: Expr) => Expr,
): Expr {
  const { at, n: own } = blockAt(run, n, runLength(n));
  return d.k.fold("top", "max", "f32", own, (i) => {
    const j = add(at, i);
    return select(counts(value(j), j), value(j), f32(-Infinity));
  });
}
/** Finds the next element in the first run with the largest maximum. -inf and NaN are no run's maximum: for these the whole row is searched. */
function nextLargestByRuns(d: Draft, search: Search, tops: Buffer, put: (j: Expr) => void): void {
  const { maxLength: n, value, index, isAfter } = search;
  const runs = item(tops.shape, 0);
  d.k.if(bool("lt", i32(-1), index), () => {
    const run = d.k.letHere("run", div(asIndex(index), runLength(n)));
    const left = runMaximum(d, n, run, value, isAfter);
    d.k.store(tops, [run], left);
  });
  const best = d.k.fold("best", "max", "f32", num(runs), (r) => load(tops, r));
  const first = d.k.fold("first", "min", "i32", num(runs), (r) =>
    select(bool("eq", load(tops, r), best), asValue(r), i32(runs)),
  );
  const { at, n: own } = blockAt(d.k.letHere("run", asIndex(first)), n, runLength(n));
  const none = i32(n);
  const found = d.k.fold("at", "min", "i32", own, (i) => {
    const j = add(at, i);
    return select(and(isAfter(value(j), j), bool("eq", value(j), best)), asValue(j), none);
  });
  d.k.if(bool("lt", found, none), () => put(asIndex(found)));
  d.k.if(bool("le", none, found), () => nextLargest(d, search, put));
}
