// Operations that are more than one pass over their operands: running sums, the k largest, replaced rows.
import type { Node, Value } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { around } from "../ops/common.ts";
import { dtypeOf } from "../types/type.ts";
import type { Draft } from "./draft.ts";
import { within } from "./elements.ts";
import {
  asIndex,
  asValue,
  both,
  call,
  equals,
  f32,
  i32,
  isNum,
  item,
  load,
  num,
  product,
  select,
  sub,
  unflatten,
} from "./expr.ts";
import type { Buffer, Expr } from "./ir.ts";
import { shapeOf } from "./read.ts";

const result = (node: Node, i = 0): Value => item(node.results, i);
const operand = (node: Node, i = 0): Value => item(node.args, i);

/** Running sums along an axis, a lane for each place of the axes after it. */
export function scan(d: Draft, node: Node): void {
  const { axis, exclusive, reverse } = node.attrs as OpAttrs["scan"];
  const x = operand(node);
  const shape = shapeOf(x);
  const [before, n, after] = around(shape, axis);
  const row = unflatten(d.k.task("r", before).at, shape.slice(0, axis));
  const reader = d.reader(undefined, { plain: true });
  const out = d.output(result(node));
  d.k.par(num(after), (j) => {
    const at = (i: Expr): Expr[] => [...row, reverse ? sub(num(n - 1), i) : i, ...unflatten(j, shape.slice(axis + 1))];
    const value = (i: Expr): Expr => reader.element(x, at(i));
    const type = dtypeOf(x.type) === "i32" ? "i32" : "f32";
    d.k.scan(num(n), value, (i, sum) => d.k.store(out, at(i), exclusive ? sum : call("add", type, sum, value(i))));
  });
}

const bool = (op: string, ...xs: readonly Expr[]): Expr => call(op, "bool", ...xs);
/** (x, i) stands before (y, j): larger, or equal and earlier; NaN last. */
function precedes(x: Expr, i: Expr, y: Expr, j: Expr, real: boolean): Expr {
  const earlier = bool("lt", i, j);
  const ordered = bool("or", bool("gt", x, y), bool("and", bool("eq", x, y), earlier));
  if (!real) return ordered;
  const last = bool("and", bool("ne", y, y), bool("or", bool("eq", x, x), earlier));
  return bool("or", ordered, last);
}
/** So many are found one after the other; more are sorted (sort.ts). */
export const fewLargest = 32;
/** The k largest of each row, one after the other. */
export function topK(d: Draft, node: Node): void {
  const x = operand(node);
  const shape = shapeOf(x);
  const n = item(shape, shape.length - 1);
  const k = item(shapeOf(result(node)), shape.length - 1);
  const row = unflatten(d.k.task("r", product(shape.slice(0, -1))).at, shape.slice(0, -1));
  const reader = d.reader(undefined, { plain: true });
  const value = (j: Expr): Expr => reader.element(x, [...row, j]);
  const [values, index] = [
    d.param("values", d.bufferOf(result(node)), "write", null, true),
    d.param("index", d.bufferOf(result(node, 1)), "write", null, true),
  ];
  const put = (at: Expr, j: Expr): void => {
    d.k.store(values, [...row, at], value(j));
    d.k.store(index, [...row, at], asValue(j));
  };
  const real = dtypeOf(x.type) !== "i32";
  d.k.for("p", num(0), num(k), 1, (p) => put(p.at, nextLargest(d, { n, value, real, values, index, row, p: p.at })));
}
interface Row {
  readonly n: number;
  readonly value: (j: Expr) => Expr;
  readonly real: boolean;
}
/** Where the largest element stands that comes after the one found before. */
function nextLargest(
  d: Draft,
  t: Row & { readonly values: Buffer; readonly index: Buffer; readonly row: readonly Expr[]; readonly p: Expr },
): Expr {
  const type = t.real ? "f32" : "i32";
  const [first, before] = [equals(t.p, num(0)), [...t.row, sub(t.p, num(1))]];
  const top = t.real ? f32(Infinity) : i32(2 ** 31 - 1);
  const start = isNum(t.p);
  const last = start ? top : d.k.letHere("last", select(first, top, load(t.values, ...before)));
  const where = start ? i32(-1) : d.k.letHere("where_", select(first, i32(-1), load(t.index, ...before)));
  const after = (j: Expr): Expr => precedes(last, where, t.value(j), asValue(j), t.real);
  const lowest = t.real ? f32(-Infinity) : i32(-(2 ** 31));
  const best = d.k.fold("best", "max", type, num(t.n), (j) =>
    select(both(after(j), call("eq", "bool", t.value(j), t.value(j))), t.value(j), lowest),
  );
  const none = i32(t.n);
  const found = (is: (x: Expr) => Expr): Expr =>
    d.k.fold("at", "min", "i32", num(t.n), (j) =>
      select(call("and", "bool", after(j), is(t.value(j))), asValue(j), none),
    );
  const at = found((x) => call("eq", "bool", x, best));
  if (!t.real) return d.k.letHere("j", asIndex(at));
  const nan = found((x) => call("ne", "bool", x, x));
  return d.k.letHere("j", asIndex(select(call("lt", "bool", at, none), at, nan)));
}
/** y[.., index[i], ..] = rows[.., i, ..] for each i in order; y holds the base before. */
export function scatterSet(d: Draft, node: Node): void {
  const { axis, batch } = node.attrs as OpAttrs["scatter"];
  const [base, index, from] = [operand(node), operand(node, 1), operand(node, 2)];
  const shape = shapeOf(base);
  const picks = shapeOf(index).slice(batch);
  const inner = shape.slice(axis + 1);
  const outer = unflatten(d.k.task("r", product(shape.slice(0, axis))).at, shape.slice(0, axis));
  const reader = d.reader(undefined, { plain: true, name: "rows" });
  const to = d.param("y", d.bufferOf(result(node)), "update", d.bufferOf(base));
  d.k.for("i", num(0), num(product(picks)), 1, (b) => {
    const pick = unflatten(b.at, picks);
    const at = d.k.letHere("at", asIndex(reader.element(index, [...outer.slice(0, batch), ...pick])));
    d.k.if(within(at, item(shape, axis)), () => {
      d.k.par(num(product(inner)), (j) => {
        const rest = unflatten(j, inner);
        d.k.store(to, [...outer, at, ...rest], reader.element(from, [...outer, ...pick, ...rest]));
      });
    });
  });
}
