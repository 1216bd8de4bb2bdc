// Helpers for the `across` rules of ops, which say how workers compute an op on parts: the rules that most ops share, and comparisons of placements.
import type { Across, Cut, Group, Node, Placement, Workers } from "../graph/node.ts";
import { product } from "../types/numbers.ts";
import { dims } from "../types/type.ts";
import { nth } from "./common.ts";

export type CutAt = Extract<Placement, { kind: "cut" }>;
export const whole: Placement = { kind: "whole" };
export const even = (among: number): Cut => ({ kind: "even", among });
export const cutAt = (axis: number, cut: Cut): CutAt => ({ kind: "cut", axis, cut });
/** `count` workers in groups of `n`, the ranks of a group `apart`. */
export const groupsOf = (count: number, n: number, apart = 1): Group => ({
  workers: n,
  ...(n === count ? {} : { groups: count / n }),
  ...(apart === 1 || n === 1 ? {} : { apart }),
});
export const isCut = (p: Placement): p is CutAt => p.kind === "cut";
/** A cut along an axis that will be summed over: padding rows must be zero. */
export const summed = (axis: number, cut: Cut): Placement => ({ ...cutAt(axis, cut), clean: true });

/** The placement of a reduction over an axis that is cut so. Any `among` consecutive workers have all parts of an even cut, so these make a group. */
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

/** Whether a worker that has a value placed as `p` has what `q` asks for, without communication; whether padding is zero (`clean`) does not count. */
export function isThere(p: Placement, q: Placement): boolean {
  if (p.kind !== "cut" || q.kind !== "cut") return p.kind === "whole";
  return p.axis === q.axis && cutKey(p.cut) === cutKey(q.cut);
}
/** The cut of an argument that the others are converted to: rows at their experts' owners, else other rows, else the even cut with most parts. */
export function leading(args: readonly Placement[]): CutAt | undefined {
  const rank = ({ cut }: CutAt): number => (cut.kind === "even" ? 2 + 1 / cut.among : cut.owned ? 0 : 1);
  return args.filter(isCut).toSorted((p, q) => rank(p) - rank(q))[0];
}
/** The rule of elementwise ops: all arguments and results have the same axes, and are cut alike. */
export function pointwise<A>({ results, args: values }: Node<A>, args: readonly Placement[]): Across<A> | null {
  const lead = leading(args);
  return lead
    ? { args: values.map(() => cutAt(lead.axis, lead.cut)), results: results.map(() => cutAt(lead.axis, lead.cut)) }
    : null;
}
/** The rule of ops that work on each row along the last axis: any other axis may be cut. Rows of the arguments may differ in length. */
export function rowwise<A>(node: Node<A>, args: readonly Placement[]): Across<A> | null {
  const lead = leading(args);
  const last = dims(nth(node.args, 0).type).length - 1;
  return lead && lead.axis < last ? pointwise(node, [cutAt(lead.axis, lead.cut)]) : null;
}
/** The shape of one worker's part. */
export const localShape = (shape: readonly number[], { axis, cut }: CutAt, workers: Workers): number[] =>
  shape.with(axis, workers.length(nth(shape, axis), cut));

/** The axis of the shape `to` that is cut if the axis `axis` is cut in `from`, of which `to` is a reshape; null: no axis of `to` has the same parts. */
export function reshaped(from: readonly number[], to: readonly number[], { axis, cut }: CutAt): number | null {
  const before = product(from.slice(0, axis));
  const unit = cut.kind === "even" ? cut.among : nth(dims(nth(cut.by.args, 0).type), 0);
  const found = to.findIndex(
    (n, i) => product(to.slice(0, i)) === before && n > 0 && n % unit === 0 && nth(from, axis) % unit === 0,
  );
  return found < 0 ? null : found;
}
