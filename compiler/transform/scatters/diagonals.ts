// Scatter-adds whose index is affine in positions, such as the gradient of a Toeplitz matrix or of a relative-position table. All rows that go to
// one place lie along a diagonal, so the sum gathers them from there: no sort, no atomics.
import type { Builder, Value } from "../../graph/node.ts";
import { item } from "../../item.ts";
import { memoize } from "../../memoize.ts";
import * as b from "../../ops/build.ts";
import { number } from "../../ops/common.ts";
import { isAnchor } from "../../regions/region.ts";
import {
  type Affine,
  type AffineAxis,
  affineOf,
  affineView,
  commonStep,
  normalize,
  sameSteps,
  valueRange,
} from "../../rewrite/affine.ts";
import { fromTo, product } from "../../types/numbers.ts";
import { dims, dtypeOf } from "../../types/type.ts";
import { isAxisAfterBatch, pickShape, type ScatterAdd, scatterAddRule } from "./scatter-add.ts";

/** `diagonal` gathers at most this many times as many elements as the operand has. */
const maxExpansion = 4;
/** Rows shorter than this are moved in front of the places, so that the places become the inner axis. */
const shortRow = 16;

export const diagonals = scatterAddRule(
  "scatter(rows, arithmetic on ranges) = sums along diagonals",
  isAxisAfterBatch,
  (g, s) => scatterAffine(g, s) ?? scatterByFunction(g, s) ?? gatherBack(g, s),
  (g) => {
    const at = (n: number, shape: readonly number[], axis: number): Value =>
      b.broadcast(g, b.iota(g, n), shape, [axis]);
    const x = (...shape: number[]): Value => b.param(g, `x ${shape.join()}`, { dtype: "f32", shape });
    const far = b.sub(g, at(7, [7, 9], 0), at(9, [7, 9], 1));
    const shared = b.broadcast(g, far, [2, 7, 9], [1, 2]);
    const [y, z] = [b.idiv(g, b.iota(g, 12), 4), b.rem(g, b.iota(g, 12), 4)];
    const between = (v: Value): Value => b.sub(g, b.broadcast(g, v, [12, 12], [0]), b.broadcast(g, v, [12, 12], [1]));
    const window = b.add(g, b.mul(g, b.add(g, between(y), 2), 7), b.add(g, between(z), 3));
    const bucket = b.minimum(g, b.abs(g, b.mul(g, far, 2)), b.add(g, b.cast(g, b.gt(g, far, 0), "i32"), 3));
    return [
      b.scatter(g, x(7, 9), far, 7),
      b.scatter(g, x(2, 7, 9, 3), b.sub(g, 4, shared), 20, 1),
      b.scatter(g, x(7, 9, 20), b.mul(g, far, 3), 12),
      b.scatter(g, x(144, 2), b.reshape(g, window, [144]), 35),
      b.scatter(g, x(7, 9, 2), bucket, 6),
      b.scatter(g, b.sum(g, b.exp(g, x(4, 7, 9)), [0]), far, 7),
      b.scatter(g, x(40), b.sub(g, 30, b.iota(g, 40)), 50),
      b.scatter(g, x(3, 40, 2), b.sub(g, 30, b.broadcast(g, b.iota(g, 40), [3, 40], [1])), 50, 1),
      b.scatter(g, x(7, 9), b.add(g, b.mul(g, at(7, [7, 9], 0), 2), 1), 12),
      b.scatter(g, x(7, 9), b.add(g, far, 90), 12),
      b.scatter(g, x(7, 9, 2), b.add(g, far, 8), 14, 1),
      b.scatter(g, x(2, 7, 9), b.sub(g, 8, shared), 20, 2),
    ];
  },
);

/** The index's axes after the batch axes; null if the index varies along a batch axis. */
function pickAxes({ axes }: Affine, batch: number): readonly AffineAxis[] | null {
  const same = axes.slice(0, batch).every((list) => list.every((a) => a.step === 0));
  return same ? axes.slice(batch).flat() : null;
}
/** For an index that is itself affine. */
function scatterAffine(g: Builder, { index, rows, attrs }: ScatterAdd): Value | null {
  const a = affineOf(index);
  const axes = a && pickAxes(a, attrs.batch);
  if (!a || !axes) return null;
  const start = -a.start;
  return sumByIndex(g, { index, rows, attrs }, axes, [start, start + number(attrs.size)]);
}
/**
 * For an index that is a pointwise function of one affine number (a bucket of a distance, say): sums by that number first, which takes far fewer
 * distinct values than there are picks, then scatters these sums.
 */
function scatterByFunction(g: Builder, s: ScatterAdd): Value | null {
  const { index, attrs } = s;
  const made = functionOf(index);
  const axes = made?.over && pickAxes(made.over, attrs.batch);
  if (!made || !axes) return null;
  const [least, most] = valueRange(axes);
  const values = most + 1 - least;
  const each = 2 * values <= product(pickShape(s)) ? sumByIndex(g, s, axes, [least, most + 1]) : null;
  if (!each) return null;
  const where = made.of(g, b.add(g, b.iota(g, values), least));
  const shared = b.broadcast(g, where, [...dims(index.type).slice(0, attrs.batch), values], [attrs.batch]);
  return b.make1(g, "scatter", [shared, each], attrs);
}

/** For a batch whose rows each scatter to consecutive places: each place gathers its element back, or 0 if none was written there. */
function gatherBack(g: Builder, { index, rows, attrs }: ScatterAdd): Value | null {
  const [batch, size] = [attrs.batch, number(attrs.size)];
  const [pick, ...more] = affineOf(index)?.axes.slice(batch).flat() ?? [];
  if (!pick || pick.size === 0 || more.length > 0 || Math.abs(pick.step) !== 1) return null;
  const lead = dims(index.type).slice(0, batch);
  const shape = [...lead, size];
  const first = b.broadcast(g, b.reshape(g, b.slice(g, index, batch, 0, 1), lead), shape, [...lead.keys()]);
  const far = b.sub(g, b.broadcast(g, b.iota(g, size), shape, [batch]), first);
  return b.make1(g, "gather", [rows, b.mul(g, far, pick.step)], { axis: batch, batch });
}

interface IndexFunction {
  /** The affine number; null if the value is a constant. */
  readonly over: Affine | null;
  of(g: Builder, values: Value): Value;
}
/** Expresses a value as a pointwise function of one affine number; null if it is not one. */
const functionOf: (v: Value) => IndexFunction | null = memoize((v) => leafOf(v) ?? viewOf(v) ?? pointOf(v));
function leafOf(v: Value): IndexFunction | null {
  const a = affineOf(v);
  if (a && a.axes.flat().some(({ step }) => step !== 0)) {
    const { unit, by, plus } = normalize(a);
    return { over: unit, of: (g, values) => b.add(g, b.mul(g, values, by), plus) };
  }
  const { op, attrs } = v.node;
  if (op.name !== "const") return null;
  const { value } = attrs as { value: number };
  return { over: null, of: (g, values) => b.fill(g, value, dtypeOf(v.type), dims(values.type)) };
}
function viewOf(v: Value): IndexFunction | null {
  const [x] = v.node.args;
  const from = x && v.node.op.lower === "view" && v.node.args.length === 1 ? functionOf(x) : null;
  if (!from?.over) return from;
  const over = affineView(v, from.over);
  return over && { ...from, over };
}
function pointOf({ node, index }: Value): IndexFunction | null {
  if (node.op.lower !== "point" || node.args.length === 0 || node.op.name === "random") return null;
  const parts = node.args.map(functionOf);
  if (!parts.every((p) => p !== null)) return null;
  const [over = null, ...more] = parts.flatMap((p) => (p.over ? [p.over] : []));
  if (over && !more.every((x) => sameSteps(over, x))) return null;
  // memoized per operand, so that a function that reads one subexpression often builds it once
  const known = new WeakMap<Value, Value>();
  const of = (g: Builder, values: Value): Value => {
    const args = known.has(values) ? [] : parts.map((p) => p.of(g, values));
    const made = known.get(values) ?? item(g.add(node.op, args, node.attrs).results, index);
    known.set(values, made);
    return made;
  };
  return { over, of };
}

type Range = readonly [from: number, to: number];
/** For each number in `range`, the sum of the rows whose steps add up to it. */
function sumByIndex(g: Builder, s: ScatterAdd, axes: readonly AffineAxis[], range: Range): Value | null {
  const { rows, attrs } = s;
  const shape = dims(rows.type);
  const [batch, rest] = [shape.slice(0, attrs.batch), shape.slice(attrs.batch + pickShape(s).length)];
  const [from, to] = range;
  if (product(shape) === 0 || from >= to) return b.fill(g, 0, dtypeOf(rows.type), [...batch, to - from, ...rest]);
  const sizes = axes.map((a) => a.size);
  const whole = b.reshape(g, rows, [...batch, ...sizes, ...rest]);
  if (product(rest) >= shortRow || rest.length === 0) return sumAlong(g, { x: whole, lead: batch.length, axes }, range);
  const [first, last] = [batch.length + sizes.length, batch.length + sizes.length + rest.length];
  const lead = [...batch.keys()];
  const perm = [...lead, ...fromTo(first, last), ...fromTo(batch.length, first)];
  const sum = sumAlong(g, { x: b.transpose(g, whole, perm), lead: batch.length + rest.length, axes }, range);
  const places = batch.length + rest.length;
  return sum && b.transpose(g, sum, [...lead, places, ...fromTo(batch.length, places)]);
}

/** x: [...lead axes, ...axes, ...rest]. An element belongs to the number that its positions along `axes`, times their steps, add up to. */
interface Summand {
  readonly x: Value;
  readonly lead: number;
  readonly axes: readonly AffineAxis[];
}
/** [...lead, ...axes, ...rest] -> [...lead, numbers of the range, ...rest]; null if that would gather too many elements (`maxExpansion`). */
function sumAlong(g: Builder, summand: Summand, range: Range): Value | null {
  const { x, lead, axes } = summand;
  const flat = axes.flatMap(({ step }, i) => (step === 0 ? [lead + i] : []));
  const steps = axes.filter(({ step }) => step !== 0);
  if (flat.length > 0) return sumAlong(g, { x: b.sum(g, x, flat), lead, axes: steps }, range);
  const [only] = steps;
  if (!only) return cropOrPad(g, b.expand(g, x, lead), lead, 0, range);
  const common = commonStep(steps);
  if (common > 1) return sumStrided(g, summand, common, range);
  if (steps.length === 1) return sumOneAxis(g, x, lead, only, range);
  return inDigits(g, summand, range) ?? diagonal(g, summand, range);
}
/** Crops or pads x along `axis` so that it covers `range`, with zeros where x has nothing; x's own positions begin at `first`. */
function cropOrPad(g: Builder, x: Value, axis: number, first: number, [from, to]: Range): Value {
  const shape = dims(x.type);
  const end = first + (shape[axis] ?? 0);
  const [start, stop] = [Math.max(first, from), Math.min(end, to)];
  if (start >= stop) return b.fill(g, 0, dtypeOf(x.type), shape.with(axis, to - from));
  const part = stop - start === shape[axis] ? x : b.slice(g, x, axis, start - first, stop - start);
  return b.pad(g, part, axis, start - from, to - stop);
}
/** Steps with a common divisor `by`: solves for the steps divided by it, then puts `by - 1` zeros between the results. */
function sumStrided(g: Builder, { x, lead, axes }: Summand, by: number, range: Range): Value | null {
  const [from, to] = [Math.ceil(range[0] / by), Math.floor((range[1] - 1) / by) + 1];
  const near = axes.map(({ size, step }) => ({ size, step: step / by }));
  const sum = from < to ? sumAlong(g, { x, lead, axes: near }, [from, to]) : null;
  if (!sum) return null;
  return cropOrPad(g, dilate(g, sum, lead, by), lead, from * by, range);
}
/** Follows each position along `axis` with `by - 1` zeros. */
function dilate(g: Builder, x: Value, axis: number, by: number): Value {
  const shape = dims(x.type);
  return b.reshape(
    g,
    b.pad(g, b.expand(g, x, axis + 1), axis + 1, 0, by - 1),
    shape.with(axis, (shape[axis] ?? 0) * by),
  );
}
function sumOneAxis(g: Builder, x: Value, lead: number, { step }: AffineAxis, range: Range): Value {
  if (step === 1) return cropOrPad(g, x, lead, 0, range);
  const back = b.sub(g, -range[0], b.iota(g, range[1] - range[0]));
  return b.make1(g, "gather", [x, back], { axis: lead, batch: 0 });
}
/** If the small steps together span less than the common divisor of the large ones, numbers have two digits: sums by the low, then the high one. */
function inDigits(g: Builder, { x, lead, axes }: Summand, range: Range): Value | null {
  const order = [...axes.keys()].toSorted((i, j) => Math.abs(axes[j]?.step ?? 0) - Math.abs(axes[i]?.step ?? 0));
  const of = (list: readonly number[]): AffineAxis[] => list.flatMap((i) => axes[i] ?? []);
  for (let n = 1; n < axes.length; n++) {
    const [high, low] = [order.slice(0, n).toSorted((i, j) => i - j), order.slice(n).toSorted((i, j) => i - j)];
    const by = commonStep(of(high));
    const [least, most] = valueRange(of(low));
    if (most + 1 - least > by) continue;
    const rest = fromTo(lead + axes.length, dims(x.type).length);
    const turned = b.transpose(g, x, [...fromTo(0, lead), ...[...high, ...low].map((i) => lead + i), ...rest]);
    const units = sumAlong(g, { x: turned, lead: lead + n, axes: of(low) }, [least, most + 1]);
    const multiples = of(high).map(({ size, step }) => ({ size, step: step / by }));
    const [from, to] = valueRange(multiples);
    const both = units && sumAlong(g, { x: units, lead, axes: multiples }, [from, to + 1]);
    if (!both) return null;
    const digits = cropOrPad(g, both, lead + 1, least, [least, least + by]);
    const shape = dims(digits.type);
    const flat = b.reshape(g, digits, [...shape.slice(0, lead), (to + 1 - from) * by, ...shape.slice(lead + 2)]);
    return cropOrPad(g, flat, lead, from * by + least, range);
  }
  return null;
}
/**
 * The general case: solves for the position along one axis of step 1 or -1 from those along the others, gathers there, and sums over the others.
 * The last such axis is taken, which is usually the contiguous one.
 */
function diagonal(g: Builder, { x, lead, axes }: Summand, [from, to]: Range): Value | null {
  const m = axes.findLastIndex(({ step }) => Math.abs(step) === 1);
  const own = axes[m];
  const others = axes.filter((_, i) => i !== m);
  const sizes = others.map((a) => a.size);
  if (!own || to - from > maxExpansion * own.size) return null;
  const rest = fromTo(lead + axes.length, dims(x.type).length);
  const before = fromTo(0, axes.length).filter((i) => i !== m);
  const turned = b.transpose(g, x, [...fromTo(0, lead), ...[...before, m].map((i) => lead + i), ...rest]);
  const shape = [...sizes, to - from];
  const along = (v: Value, axis: number): Value => b.broadcast(g, v, shape, [axis]);
  const start = b.add(g, along(b.iota(g, to - from), sizes.length), from);
  const left = others.reduce((v, { size, step }, i) => b.sub(g, v, b.mul(g, along(b.iota(g, size), i), step)), start);
  const at = b.mul(g, left, own.step);
  const batch = [...dims(x.type).slice(0, lead), ...sizes];
  const index = b.broadcast(g, at, [...batch, to - from], fromTo(lead, batch.length + 1));
  const found = b.make1(g, "gather", [materialize(g, turned), index], { axis: batch.length, batch: batch.length });
  return b.sum(g, found, fromTo(lead, batch.length));
}
/** Materializes what the gather reads, so that it is computed once and vector lanes can load it. */
function materialize(g: Builder, x: Value): Value {
  let { node } = x;
  for (let next = node.args[0]; next && node.op.lower === "view" && node.op.name !== "concat"; next = node.args[0])
    ({ node } = next);
  return node.op.lower === "leaf" || isAnchor(node) ? x : b.after(g, x, []);
}
