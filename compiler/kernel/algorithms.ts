// Operations that are more than one pass over their operands: routing, running sums, the k largest, replaced rows.
import type { Node, Value } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { around } from "../ops/common.ts";
import type { VirtualBuffer } from "../plan/sequence.ts";
import { dtypeOf } from "../types/type.ts";
import { piece, plus } from "./build.ts";
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

/** How many pieces a routing's choices are counted in. */
export function chunksOf(choices: number, groups: number): number {
  return Math.max(1, Math.min(64, Math.floor(choices / Math.max(1024, groups))));
}
/** The group of choice i; `groups` for an index outside. */
function keyOf(d: Draft, node: Node): (i: Expr) => Expr {
  const { groups } = node.attrs as { readonly groups: number };
  const reader = d.reader(undefined, { plain: true, name: "index" });
  return (i) => {
    const key = asIndex(reader.element(operand(node), [i]));
    return select(within(key, groups), key, num(groups));
  };
}
const count = (x: VirtualBuffer): [chunks: number, keys: number] => [item(x.shape, 0), item(x.shape, 1)];

/** counts[c, e]: choices of chunk c that go to group e. */
export function routeCount(d: Draft, node: Node, counts: VirtualBuffer): void {
  const [chunks, keys] = count(counts);
  const choices = item(shapeOf(operand(node)), 0);
  const c = d.k.task("c", chunks);
  const slots = piece(c.at, choices, Math.ceil(choices / chunks));
  const key = keyOf(d, node);
  const table = d.k.tile("shared", "table", [keys]);
  d.k.tally(
    slots.n,
    table,
    (i) => key(plus(slots, i)),
    () => undefined,
  );
  const to = d.param("counts", counts, "write");
  d.k.par(num(keys), (e) => d.k.store(to, [c.at, e], load(table, e)), "e");
}
/** counts[c, e] becomes the first place of chunk c's choices in group e; and the offsets of the groups. */
export function routeScan(d: Draft, node: Node, counts: VirtualBuffer, places: VirtualBuffer): void {
  const [chunks, keys] = count(counts);
  const [from, to, offsets] = [
    d.param("counts", counts, "read"),
    d.param("places", places, "write"),
    d.output(result(node, 1), "offsets"),
  ];
  const at = (i: Expr): Expr[] => unflatten(i, [keys, chunks]).toReversed();
  d.k.scan(
    num(keys * chunks),
    (i) => load(from, ...at(i)),
    (i, sum) => {
      const [c, e] = at(i);
      d.k.store(to, at(i), sum);
      if (c && e) d.k.if(equals(c, num(0)), () => d.k.store(offsets, [e], sum));
    },
  );
}
/** Each choice to its place, in order. */
export function routePlace(d: Draft, node: Node, places: VirtualBuffer): void {
  const [chunks, keys] = count(places);
  const choices = item(shapeOf(operand(node)), 0);
  const c = d.k.task("c", chunks);
  const slots = piece(c.at, choices, Math.ceil(choices / chunks));
  const key = keyOf(d, node);
  const from = d.param("places", places, "read");
  const [order, inverse, expert] = [
    d.output(result(node), "order"),
    d.output(result(node, 2), "inverse"),
    d.output(result(node, 3), "expert"),
  ];
  const table = d.k.tile("shared", "table", [keys]);
  d.k.par(num(keys), (e) => d.k.store(table, [e], load(from, c.at, e)), "e");
  d.k.tally(
    slots.n,
    table,
    (i) => key(plus(slots, i)),
    (i, rank) => {
      const choice = plus(slots, i);
      const group = d.k.letHere("group", key(choice));
      const or = (x: Expr): Expr => select(call("lt", "bool", group, num(keys - 1)), asValue(x), i32(-1));
      d.k.store(order, [rank], or(choice));
      d.k.store(expert, [rank], or(group));
      d.k.store(inverse, [choice], or(rank));
    },
  );
}

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
/** The k largest of each row, one after the other; many by counting what stands before each. */
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
  if (k <= 32)
    d.k.for("p", num(0), num(k), 1, (p) => put(p.at, nextLargest(d, { n, value, real, values, index, row, p: p.at })));
  else d.k.for("j", num(0), num(n), 1, (b) => place(d, b.at, { n, k, value, real, put }));
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
/** Element j where it belongs: after all that precede it. */
function place(d: Draft, j: Expr, t: Row & { readonly k: number; readonly put: (at: Expr, j: Expr) => void }): void {
  const rank = d.k.fold("rank", "sum", "i32", num(t.n), (i) =>
    call("number", "i32", precedes(t.value(i), asValue(i), t.value(j), asValue(j), t.real)),
  );
  d.k.if(call("lt", "bool", rank, i32(t.k)), () => t.put(asIndex(rank), j));
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
