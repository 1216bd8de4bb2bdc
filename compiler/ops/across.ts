// What records say of workers that have parts of values: rules of most ops, and how axes move.
import type { Across, Cut, Node, Placement, Workers } from "../graph/node.ts";
import { product } from "../types/numbers.ts";
import { dims } from "../types/type.ts";
import { nth } from "./common.ts";

export type CutAt = Extract<Placement, { kind: "cut" }>;
export const whole: Placement = { kind: "whole" };
export const even: Cut = { kind: "even" };
export const cutAt = (axis: number, cut: Cut = even): CutAt => ({ kind: "cut", axis, cut });
export const partial = (fn: "sum" | "max" | "min"): Placement => ({ kind: "partial", fn });
export const isCut = (p: Placement): p is CutAt => p.kind === "cut";
/** What is added up along the axis must have nothing in rows of nothing. */
export const summed = (axis: number, cut: Cut): Placement => ({ ...cutAt(axis, cut), clean: true });

/** Whether each worker has of what is placed as `p` what it has of it as `q`. */
export function isThere(p: Placement, q: Placement): boolean {
  if (p.kind !== "cut" || q.kind !== "cut") return p.kind === "whole";
  if (p.cut.kind === "even" || q.cut.kind === "even") return p.axis === q.axis && p.cut.kind === q.cut.kind;
  return p.axis === q.axis && p.cut.by === q.cut.by && p.cut.owned === q.cut.owned;
}
/** Of several cuts the one that the others are brought to: rows at their groups' owners, other rows, even ones. */
export function leading(args: readonly Placement[]): CutAt | undefined {
  const rank = ({ cut }: CutAt): number => (cut.kind === "even" ? 2 : cut.owned ? 0 : 1);
  return args.filter(isCut).toSorted((p, q) => rank(p) - rank(q))[0];
}
/** The rule of ops whose arguments and results all have the same axes. */
export function pointwise<A>({ results, args: values }: Node<A>, args: readonly Placement[]): Across<A> | null {
  const lead = leading(args);
  return lead
    ? { args: values.map(() => cutAt(lead.axis, lead.cut)), results: results.map(() => cutAt(lead.axis, lead.cut)) }
    : null;
}
/** The rule of ops that work on each row along the last axis, which is cut nowhere, whatever the lengths of the arguments' rows. */
export function rowwise<A>(node: Node<A>, args: readonly Placement[]): Across<A> | null {
  const lead = leading(args);
  const last = dims(nth(node.args, 0).type).length - 1;
  return lead && lead.axis < last ? pointwise(node, [cutAt(lead.axis, lead.cut)]) : null;
}
/** The shape with its cut axis as long as a worker's part. */
export const localShape = (shape: readonly number[], { axis, cut }: CutAt, workers: Workers): number[] =>
  shape.with(axis, workers.length(nth(shape, axis), cut));

/** Which axis of `to`, of the same elements in row-major order, is cut where `at` is in `from`; null: none. */
export function reshaped(
  from: readonly number[],
  to: readonly number[],
  { axis, cut }: CutAt,
  workers: number,
): number | null {
  const before = product(from.slice(0, axis));
  const unit = cut.kind === "even" ? workers : nth(dims(nth(cut.by.args, 0).type), 0);
  const found = to.findIndex(
    (n, i) => product(to.slice(0, i)) === before && n > 0 && n % unit === 0 && nth(from, axis) % unit === 0,
  );
  return found < 0 ? null : found;
}
