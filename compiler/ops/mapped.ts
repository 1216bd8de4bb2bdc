// Inside experts[index](...) and over stacked layers: operands of three kinds are brought to one space, and most ops then
// work one axis further right. A space of rows nested in rows (a mixture inside an expert) is in the order of its own routing.

import { Bug } from "../diagnostic.ts";
import { TypeMismatch } from "../graph/builder.ts";
import { isAmong } from "../graph/choices.ts";
import type { Builder, Mapped, Node, Outer, Routing, Value } from "../graph/node.ts";
import { once } from "../once.ts";
import { isFloat } from "../types/dtype.ts";
import { product } from "../types/numbers.ts";
import { dims, dtypeOf } from "../types/type.ts";
import type { OpAttrs, OpName } from "./attrs.ts";
import * as b from "./build.ts";

export type Space = { readonly kind: "each"; readonly over: number } | { readonly kind: "rows"; readonly by: Routing };

/** The smallest space that holds all operands: rows, if there are any (nested ones before others), else the stack. */
export function spaceOf(args: readonly Mapped[]): Space {
  const rows = args.filter((m) => m.kind === "rows");
  const inner = rows.find((m) => m.by.outer) ?? rows[0];
  if (inner) return { kind: "rows", by: inner.by };
  const each = args.find((m) => m.kind === "each");
  if (!each) throw new Bug("an op was mapped though all of its operands are plain");
  return { kind: "each", over: each.over };
}
/** The length of the axis that a space adds in front. */
export const lead = (s: Space): number => (s.kind === "each" ? s.over : (s.by.outer ?? s.by).rows);
export const placed = (s: Space, value: Value): Mapped => ({ ...s, value });

/** The operand with the leading axis of the space. */
export function lift(g: Builder, m: Mapped, to: Space): Value {
  if (to.kind === "rows" && to.by.outer) return liftNested(g, m, to.by, to.by.outer);
  if (m.kind === "plain") return grouped(g, repeated(g, m.value, lead(to)), to);
  if (to.kind === "each" && m.kind === "each") return m.value;
  if (to.kind === "rows" && m.kind === "each") return b.take(g, m.value, to.by.expert);
  if (to.kind === "rows" && m.kind === "rows" && m.by === to.by) return m.value;
  if (to.kind === "each" && m.kind === "rows")
    throw new TypeMismatch("the index of a mixture inside an expert must depend on the expert's row");
  throw new Bug("rows of two routings meet");
}
function repeated(g: Builder, x: Value, n: number): Value {
  const shape = dims(x.type);
  return b.broadcast(g, x, [n, ...shape], later([...shape.keys()]));
}
/** To the order of a nested routing: first to the space around it, then as its rows move. */
function liftNested(g: Builder, m: Mapped, by: Routing, outer: Outer): Value {
  if (m.kind === "rows" && m.by === by) return m.value;
  const wide = lift(g, m, outer.by ? { kind: "rows", by: outer.by } : { kind: "each", over: outer.rows });
  return m.kind === "plain" && repeatsRows(m.value)
    ? grouped(g, wide, { kind: "rows", by })
    : inPlaces(g, wide, by, outer);
}
/** Without what stands in rows of no group, which nothing has made: in a gradient, what is the same for all rows sums over them. */
export function grouped(g: Builder, x: Value, to: Space): Value {
  if (to.kind !== "rows" || !isFloat(dtypeOf(x.type)) || !mayLearn(x.node)) return x;
  const { order, outer, groups, rows } = to.by;
  if (rows === 0 || isAmong(routed(order), groups)) return x;
  const shape = dims(x.type);
  const axes = shape.slice(0, outer ? 2 : 1);
  const unit = product(axes) / rows;
  const mask = b.reshape(g, b.broadcast(g, b.ge(g, order, 0), [rows, unit], [0]), axes);
  return b.where(g, b.broadcast(g, mask, shape, [...axes.keys()]), x, 0);
}
/** What a routing sorts. */
const routed = (order: Value): Value => order.node.args[0] ?? order;
/** Whether something is stored that it is made of, so that there may be a gradient. */
export const mayLearn: (node: Node) => boolean = once(
  ({ op, args }) => op.name === "param" || args.some((a) => mayLearn(a.node)),
);
/** Whether all entries along the first axis are equal, so that an order changes nothing. */
const repeatsRows = ({ node }: Value): boolean =>
  node.op.name === "broadcast" && !(node.attrs as OpAttrs["broadcast"]).axes.includes(0);
function inPlaces(g: Builder, x: Value, by: Routing, outer: Outer): Value {
  if (by.rows === 0) return x;
  const [, n = 1, ...rest] = dims(x.type);
  const unit = (n * outer.rows) / by.rows;
  // a matrix of the outer expert, by which rows of the inner ones are multiplied
  if (!Number.isInteger(unit))
    throw new TypeMismatch(
      "what a mixture inside an expert takes for all its choices must be the same for all outer experts",
    );
  return b.reshape(g, b.dispatch(g, b.reshape(g, x, [by.rows, unit, ...rest]), by), dims(x.type));
}

/** The rule of most ops: all operands in one space, the attributes one axis further right. */
export const leading =
  <N extends OpName>(name: N, shift: (attrs: OpAttrs[N], lead: number) => OpAttrs[N]) =>
  (args: readonly Mapped[], attrs: OpAttrs[N], g: Builder): Mapped[] => {
    const space = spaceOf(args);
    const values = args.map((m) => lift(g, m, space));
    return b.make(g, name, values, shift(attrs, lead(space))).results.map((value) => placed(space, value));
  };
export const pointwise = <N extends OpName>(name: N) => leading(name, (attrs: OpAttrs[N]) => attrs);
export const later = (axes: readonly number[]): number[] => axes.map((a) => a + 1);
/** A leaf has no operands to be mapped. */
export const leaf = (): never => {
  throw new Bug("a leaf was mapped");
};
