// Recognises index tensors that are affine in the positions along their axes (arithmetic on `iota`): `start + sum of step * position`.
import type { Value } from "../graph/node.ts";
import { memoize } from "../memoize.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { number } from "../ops/common.ts";
import { gcd, sum } from "../types/numbers.ts";
import { dims } from "../types/type.ts";
import { matchOp } from "./pattern.ts";

export interface AffineAxis {
  readonly size: number;
  /** How much the index grows per position along this axis. */
  readonly step: number;
}
/**
 * An i32 tensor whose element is `start` plus, for each axis, `step * position`. `axes[i]` describes axis i of the shape; it has several entries
 * where `div` or `%` of a range split that axis into digits (outermost first), each with a step of its own.
 */
export interface Affine {
  readonly axes: readonly (readonly AffineAxis[])[];
  readonly start: number;
}
/** Null if the tensor is not affine, or if a value might overflow i32. */
export const affineOf: (v: Value) => Affine | null = memoize((v) => {
  const found = v.type.dtype === "i32" ? affineForm(v) : null;
  const fits = found !== null && valueRange(found.axes.flat()).every((x) => Math.abs(x + found.start) < 2 ** 31);
  return fits ? found : null;
});
function affineForm(v: Value): Affine | null {
  const { op, attrs, args } = v.node;
  const [x, y] = args.map((a) => affineOf(a));
  switch (op.name) {
    case "const":
      return constant(dims(v.type), (attrs as OpAttrs["const"]).value);
    case "iota":
      return { axes: [[{ size: dims(v.type)[0] ?? 0, step: 1 }]], start: 0 };
    case "unary":
      return x && (attrs as OpAttrs["unary"]).fn === "neg" ? times(x, -1) : null;
    case "binary":
      return x && y ? binaryForm((attrs as OpAttrs["binary"]).fn, x, y) : null;
    default:
      return x ? affineView(v, x) : null;
  }
}
const constant = (shape: readonly number[], start: number): Affine => ({
  axes: shape.map((size) => [{ size, step: 0 }]),
  start,
});
const isConstant = ({ axes }: Affine): boolean => axes.flat().every(({ step }) => step === 0);
/** The least and the largest value that the sum of `step * position` over all axes can have. */
export function valueRange(axes: readonly AffineAxis[]): [least: number, most: number] {
  const ends = axes.map(({ size, step }) => step * Math.max(0, size - 1));
  return [sum(ends.map((x) => Math.min(0, x))), sum(ends.map((x) => Math.max(0, x)))];
}
function times({ axes, start }: Affine, by: number): Affine {
  return { axes: axes.map((list) => list.map(({ size, step }) => ({ size, step: step * by }))), start: start * by };
}
function binaryForm(fn: OpAttrs["binary"]["fn"], x: Affine, y: Affine): Affine | null {
  if (fn === "add") return plus(x, y);
  if (fn === "sub") return plus(x, times(y, -1));
  if (fn === "mul" && isConstant(y)) return times(x, y.start);
  if (fn === "mul" && isConstant(x)) return times(y, x.start);
  return (fn === "idiv" || fn === "rem") && isConstant(y) && y.start > 0 ? divided(x, y.start, fn === "rem") : null;
}
function plus(x: Affine, y: Affine): Affine | null {
  const axes = x.axes.map((list, i) => combineAxes(list, y.axes[i] ?? [], (a, b) => a + b));
  return axes.every((list) => list !== null) ? { axes, start: x.start + y.start } : null;
}
/** Refines two factorizations of one axis to a common one, and combines their steps by `f`; null if neither refines the other. */
function combineAxes(
  x: readonly AffineAxis[],
  y: readonly AffineAxis[],
  f: (a: number, b: number) => number,
): AffineAxis[] | null {
  const [a, b] = [x.at(-1), y.at(-1)];
  if (!a || !b) return a || b ? null : [];
  const size = Math.min(a.size, b.size);
  if (size === 0 || a.size % size !== 0 || b.size % size !== 0) return null;
  const rest = combineAxes(splitInner(x, size), splitInner(y, size), f);
  return rest && [...rest, { size, step: f(a.step, b.step) }];
}
/** The factors that remain when the innermost `size` positions are split off the last one. */
function splitInner(axes: readonly AffineAxis[], size: number): AffineAxis[] {
  const last = axes.at(-1);
  if (!last || last.size === size) return axes.slice(0, -1);
  return [...axes.slice(0, -1), { size: last.size / size, step: last.step * size }];
}
/** `x / by` rounded down, or `x % by` (`rest`); null unless the part of x that `by` does not divide stays within 0 .. by - 1 (no carry). */
function divided({ axes, start }: Affine, by: number, rest: boolean): Affine | null {
  const cut = axes.map((list) => list.flatMap((axis) => inMultiples(axis, by)));
  const isHigh = ({ step }: AffineAxis): boolean => step % by === 0;
  const low = cut.flat().filter((a) => !isHigh(a));
  const high = Math.floor(start / by);
  const left = start - high * by;
  const [least, most] = valueRange(low);
  if (left + least < 0 || left + most >= by) return null;
  const step = (a: AffineAxis): number => (rest ? (isHigh(a) ? 0 : a.step) : isHigh(a) ? a.step / by : 0);
  const quotient = cut.map((list) => list.map((a) => ({ size: a.size, step: step(a) })));
  return { axes: quotient, start: rest ? left : high };
}
/** Splits an axis in two if a whole number of its steps makes `by`: the outer one then steps by a multiple of `by`. */
function inMultiples(axis: AffineAxis, by: number): AffineAxis[] {
  const { size, step } = axis;
  const run = by / Math.abs(step);
  if (step % by === 0 || !Number.isInteger(run) || size <= run || size % run !== 0) return [axis];
  return [
    { size: size / run, step: step * run },
    { size: run, step },
  ];
}
/** The affine form of `v`, a view (broadcast, transpose, slice, reshape) of a tensor whose form is `x`; null if it is not affine. */
export function affineView(v: Value, x: Affine): Affine | null {
  const { axes, start } = x;
  const shape = dims(v.type);
  const wide = matchOp(v, "broadcast");
  if (wide) {
    const from = (i: number): number => wide.attrs.axes.indexOf(i);
    return { axes: shape.map((size, i) => (from(i) < 0 ? [{ size, step: 0 }] : (axes[from(i)] ?? []))), start };
  }
  const turned = matchOp(v, "transpose");
  if (turned) return { axes: turned.attrs.perm.map((i) => axes[i] ?? []), start };
  const part = matchOp(v, "slice");
  if (part) return sliced(x, part.attrs.axis, number(part.attrs.start), number(part.attrs.size));
  const grouped = matchOp(v, "reshape") ? regrouped(axes.flat(), shape) : null;
  return grouped && { axes: grouped, start };
}
function sliced({ axes, start }: Affine, axis: number, from: number, size: number): Affine | null {
  const [only, ...more] = axes[axis] ?? [];
  if (!only || more.length > 0) return null;
  return { axes: axes.with(axis, [{ size, step: only.step }]), start: start + from * only.step };
}
/** Distributes the factors over the axes of a shape with as many elements; null if a factor would straddle two axes. */
function regrouped(axes: readonly AffineAxis[], shape: readonly number[]): AffineAxis[][] | null {
  const size = shape.at(-1);
  const all = axes.filter((a) => a.size !== 1);
  if (size === undefined) return all.length === 0 ? [] : null;
  const group: AffineAxis[] = [];
  let left = all;
  for (let need = size; need > 1; ) {
    const last = left.at(-1);
    const taken = Math.min(last?.size ?? 0, need);
    if (!last || taken === 0 || last.size % taken !== 0 || need % taken !== 0) return null;
    group.unshift({ size: taken, step: last.step });
    left = splitInner(left, taken);
    need /= taken;
  }
  const before = regrouped(left, shape.slice(0, -1));
  return before && [...before, group.length > 0 ? group : [{ size, step: 0 }]];
}
/** Whether two forms have the same steps on every axis; their starts may differ. */
export const sameSteps = (x: Affine, y: Affine): boolean =>
  x.axes.length === y.axes.length &&
  x.axes.every((list, i) => combineAxes(list, y.axes[i] ?? [], (a, b) => Math.abs(a - b))?.every((a) => a.step === 0));
export const commonStep = (axes: readonly AffineAxis[]): number => axes.reduce((d, { step }) => gcd(d, step), 0);
/** Writes x as `by * unit + plus`: forms that are multiples of one another, shifted or not, get the same `unit`. */
export function normalize(x: Affine): { readonly unit: Affine; readonly by: number; readonly plus: number } {
  const flat = x.axes.flat();
  const sign = Math.sign(flat.find((a) => a.step !== 0)?.step ?? 1);
  const by = sign * Math.max(1, commonStep(flat));
  return { unit: times({ axes: x.axes, start: 0 }, 1 / by), by, plus: x.start };
}
