// What records say of workers that have parts of values: rules of most ops, and how axes move.
import type { Across, Cut, Group, Node, Placement, Workers } from "../graph/node.ts";
import { product } from "../types/numbers.ts";
import { dims } from "../types/type.ts";
import { nth } from "./common.ts";

export type CutAt = Extract<Placement, { kind: "cut" }>;
export const whole: Placement = { kind: "whole" };
export const even = (among: number): Cut => ({ kind: "even", among });
export const cutAt = (axis: number, cut: Cut): CutAt => ({ kind: "cut", axis, cut });
/** Groups of `n` of so many workers. */
export const groupsOf = (count: number, n: number, apart = 1): Group => ({
  workers: n,
  ...(n === count ? {} : { groups: count / n }),
  ...(apart === 1 || n === 1 ? {} : { apart }),
});
export const isCut = (p: Placement): p is CutAt => p.kind === "cut";
/** What is added up along the axis must have nothing in rows of nothing. */
export const summed = (axis: number, cut: Cut): Placement => ({ ...cutAt(axis, cut), clean: true });

/** What is `fn` of all along an axis that is cut so: of an even one all parts are in each run of as many workers. */
export const partial = (fn: "sum" | "max" | "min", cut: Cut, { count }: Workers): Placement => ({
  kind: "partial",
  fn,
  among: groupsOf(count, cut.kind === "even" ? cut.among : count),
  of: whole,
});

export const same = (p: Placement, q: Placement): boolean => keyOf(p) === keyOf(q);
export function keyOf(p: Placement): string {
  switch (p.kind) {
    case "whole":
      return "whole";
    case "partial":
      return `partial ${p.fn} ${p.among.workers} ${p.among.apart ?? 1} ${keyOf(p.of)}`;
    case "routing":
      return `routing ${p.by.id} ${p.owned}`;
    case "cut":
      return `cut ${p.axis} ${cutKey(p.cut)} ${p.clean ?? false}`;
  }
}
const cutKey = (cut: Cut): string => (cut.kind === "even" ? `even ${cut.among}` : `rows ${cut.by.id} ${cut.owned}`);

/** Whether each worker has of what is placed as `p` what it has of it as `q`. */
export function isThere(p: Placement, q: Placement): boolean {
  if (p.kind !== "cut" || q.kind !== "cut") return p.kind === "whole";
  return p.axis === q.axis && cutKey(p.cut) === cutKey(q.cut);
}
/** Of several cuts the one that the others are brought to: rows at their groups' owners, other rows, even ones, of many parts first. */
export function leading(args: readonly Placement[]): CutAt | undefined {
  const rank = ({ cut }: CutAt): number => (cut.kind === "even" ? 2 + 1 / cut.among : cut.owned ? 0 : 1);
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
export function reshaped(from: readonly number[], to: readonly number[], { axis, cut }: CutAt): number | null {
  const before = product(from.slice(0, axis));
  const unit = cut.kind === "even" ? cut.among : nth(dims(nth(cut.by.args, 0).type), 0);
  const found = to.findIndex(
    (n, i) => product(to.slice(0, i)) === before && n > 0 && n % unit === 0 && nth(from, axis) % unit === 0,
  );
  return found < 0 ? null : found;
}
