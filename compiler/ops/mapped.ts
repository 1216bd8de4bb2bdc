// How ops are mapped inside `experts[index](...)` and over stacked layers (`Mapped`). Operands of the three kinds are brought to one space, which
// adds a leading axis; most ops then work unchanged, one axis further right. A mixture inside an expert has a nested routing, whose space keeps its
// own order of rows.
import { Bug } from "../diagnostic.ts";
import { TypeMismatch } from "../graph/builder.ts";
import type { Builder, Mapped, Node, OuterRouting, Routing, Value } from "../graph/node.ts";
import { memoize } from "../memoize.ts";
import { isFloat } from "../types/dtype.ts";
import { product } from "../types/numbers.ts";
import { dims, dtypeOf } from "../types/type.ts";
import type { OpAttrs, OpName } from "./attrs.ts";
import * as b from "./build.ts";
import { isWithin } from "./index-range.ts";

/** A leading axis that mapped values get: one entry for each layer of a stack, or the sorted rows of a routing. */
export type Space = { readonly kind: "each"; readonly over: number } | { readonly kind: "rows"; readonly by: Routing };

/** The space in which all operands can be expressed: rows if there are any (of a nested routing rather than the outer one), else the stack. */
export function spaceOf(args: readonly Mapped[]): Space {
  const rows = args.filter((m) => m.kind === "rows");
  const inner = rows.find((m) => m.by.outer) ?? rows[0];
  if (inner) return { kind: "rows", by: inner.by };
  const each = args.find((m) => m.kind === "each");
  if (!each) throw new Bug("an op was mapped though all of its operands are uniform");
  return { kind: "each", over: each.over };
}
/** The size of the leading axis of a space. */
export const spaceLength = (s: Space): number => (s.kind === "each" ? s.over : (s.by.outer ?? s.by).rows);
export const inSpace = (s: Space, value: Value): Mapped => ({ ...s, value });

/** Gives an operand the leading axis of the space: a uniform value is repeated, a value per expert is looked up for each row. */
export function lift(g: Builder, m: Mapped, to: Space): Value {
  if (to.kind === "rows" && to.by.outer) return liftNested(g, m, to.by, to.by.outer);
  if (m.kind === "uniform") return maskPadding(g, repeated(g, m.value, spaceLength(to)), to);
  if (to.kind === "each" && m.kind === "each") return m.value;
  if (to.kind === "rows" && m.kind === "each") return b.take(g, m.value, to.by.expert);
  if (to.kind === "rows" && m.kind === "rows" && m.by === to.by) return m.value;
  if (to.kind === "each" && m.kind === "rows")
    throw new TypeMismatch("the index of a mixture inside an expert must depend on the expert's row");
  throw new Bug("rows of two routings meet");
}
function repeated(g: Builder, x: Value, n: number): Value {
  const shape = dims(x.type);
  return b.broadcast(g, x, [n, ...shape], shiftAxes([...shape.keys()]));
}
/** Brings an operand to a nested routing: first to the space around it, then into the nested routing's order of rows. */
function liftNested(g: Builder, m: Mapped, by: Routing, outer: OuterRouting): Value {
  if (m.kind === "rows" && m.by === by) return m.value;
  if (m.kind === "uniform" && repeatsRows(m.value))
    return maskPadding(g, repeated(g, m.value, outer.rows), { kind: "rows", by });
  const wide = lift(g, m, outer.by ? { kind: "rows", by: outer.by } : { kind: "each", over: outer.rows });
  return dispatchToNested(g, wide, by, outer);
}
/**
 * Zeros in the rows that belong to no group, whose contents are undefined: in a gradient, what is broadcast to all rows is summed over all rows.
 */
export function maskPadding(g: Builder, x: Value, to: Space): Value {
  if (to.kind !== "rows" || !isFloat(dtypeOf(x.type)) || !dependsOnStore(x.node)) return x;
  const { order, outer, groups, rows } = to.by;
  if (rows === 0 || isWithin(routedIndex(order), groups)) return x;
  const shape = dims(x.type);
  const axes = shape.slice(0, outer ? 2 : 1);
  const unit = product(axes) / rows;
  const mask = b.reshape(g, b.broadcast(g, b.ge(g, order, 0), [rows, unit], [0]), axes);
  return b.where(g, b.broadcast(g, mask, shape, [...axes.keys()]), x, 0);
}
/** The index that a routing sorts. */
const routedIndex = (order: Value): Value => order.node.args[0] ?? order;
/** Whether a node depends on any store, so that a gradient may flow through it. */
export const dependsOnStore: (node: Node) => boolean = memoize(
  ({ op, args }) => op.name === "param" || args.some((a) => dependsOnStore(a.node)),
);
/** Whether all entries along the first axis are equal, so that reordering changes nothing. */
const repeatsRows = ({ node }: Value): boolean =>
  node.op.name === "broadcast" && !(node.attrs as OpAttrs["broadcast"]).axes.includes(0);
/** Moves values of the outer rows into the order of the nested routing. */
function dispatchToNested(g: Builder, x: Value, by: Routing, outer: OuterRouting): Value {
  if (by.rows === 0) return x;
  const [, n = 1, ...rest] = dims(x.type);
  const unit = (n * outer.rows) / by.rows;
  // then x is a matrix for each outer expert, which rows of the inner experts would be multiplied by
  if (!Number.isInteger(unit))
    throw new TypeMismatch(
      "what a mixture inside an expert takes for all its choices must be the same for all outer experts",
    );
  return b.reshape(g, b.dispatch(g, b.reshape(g, x, [by.rows, unit, ...rest]), by), dims(x.type));
}

/** The `mapped` of most ops: all operands in one space, axes in the attributes shifted by `shift`. */
export const mapLeading =
  <N extends OpName>(name: N, shift: (attrs: OpAttrs[N], lead: number) => OpAttrs[N]) =>
  (args: readonly Mapped[], attrs: OpAttrs[N], g: Builder): Mapped[] => {
    const space = spaceOf(args);
    const values = args.map((m) => lift(g, m, space));
    return b.make(g, name, values, shift(attrs, spaceLength(space))).results.map((value) => inSpace(space, value));
  };
export const mapPointwise = <N extends OpName>(name: N) => mapLeading(name, (attrs: OpAttrs[N]) => attrs);
export const shiftAxes = (axes: readonly number[]): number[] => axes.map((a) => a + 1);
/** The `mapped` of ops that are in no routed call: leaves have no operands, and others are made only after such calls are elaborated. */
export const neverMapped = (name: OpName) => (): never => {
  throw new Bug(`${name} was mapped`);
};
