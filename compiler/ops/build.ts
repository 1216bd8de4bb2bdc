// Builds nodes from convenient arguments: numbers as operands, broadcasting aligned at the right, dtype promotion. The ops themselves are strict:
// equal shapes and dtypes.
import { TypeMismatch } from "../graph/builder.ts";
import type { Builder, Node, ReduceName, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { type DType, isFloat, wider } from "../types/dtype.ts";
import { product, sameShape } from "../types/numbers.ts";
import { count, dims, dtypeOf, showType, type Type } from "../types/type.ts";
import { type BinaryName, none, type OpAttrs, type OpName, type UnaryName } from "./attrs.ts";

type Operand = Value | number;

/** Adds a node of the op `name`. */
export const make = <N extends OpName>(g: Builder, name: N, args: readonly Value[], attrs: OpAttrs[N]): Node =>
  g.add(g.op(name), args, attrs);
/** Adds a node of the op `name`; returns its first result. */
export const make1 = <N extends OpName>(g: Builder, name: N, args: readonly Value[], attrs: OpAttrs[N]): Value =>
  item(make(g, name, args, attrs).results, 0);

// Leaves
export const param = (g: Builder, store: string, type: Type): Value => make1(g, "param", [], { store, type });
export const constant = (g: Builder, value: number, dtype: DType): Value => make1(g, "const", [], { value, dtype });
export const iota = (g: Builder, size: number): Value => make1(g, "iota", [], { size });
export const fill = (g: Builder, value: number, dtype: DType, shape: readonly number[]): Value =>
  broadcastTo(g, constant(g, value, dtype), shape);
/** A tensor of the type of `x`, filled with `value`. */
export const like = (g: Builder, x: Value, value: number): Value => fill(g, value, dtypeOf(x.type), dims(x.type));

// Views; one that would change nothing adds no node
export const reshape = (g: Builder, x: Value, shape: readonly number[]): Value =>
  sameShape(dims(x.type), shape) ? x : make1(g, "reshape", [x], { shape });
export const transpose = (g: Builder, x: Value, perm: readonly number[]): Value =>
  perm.every((p, i) => p === i) ? x : make1(g, "transpose", [x], { perm });
/** Axis i of x becomes axis `axes[i]` of the result; x is repeated along the other axes. */
export const broadcast = (g: Builder, x: Value, shape: readonly number[], axes: readonly number[]): Value =>
  sameShape(dims(x.type), shape) ? x : make1(g, "broadcast", [x], { shape, axes });
/** The `size` elements from `start` on, along an axis. */
export function slice(g: Builder, x: Value, axis: number, start: number, size: number): Value {
  return start === 0 && size === dims(x.type)[axis] ? x : make1(g, "slice", [x], { axis, start, size });
}
/** Concatenates along an axis. */
export const concat = (g: Builder, list: readonly Value[], axis: number): Value =>
  list.length === 1 ? item(list, 0) : make1(g, "concat", list, { axis });
/** x between so many zeros before and after it along an axis. */
export function pad(g: Builder, x: Value, axis: number, before: number, after: number): Value {
  const zeros = (n: number): Value[] => (n > 0 ? [fill(g, 0, dtypeOf(x.type), dims(x.type).with(axis, n))] : []);
  return concat(g, [...zeros(before), x, ...zeros(after)], axis);
}
/** Exchanges two axes, the last two if not given; negative axes count from the end. */
export function swap(g: Builder, x: Value, first = -2, second = -1): Value {
  const rank = x.type.shape.length;
  const [a, b] = [axisOf(rank, first), axisOf(rank, second)];
  return transpose(
    g,
    x,
    Array.from({ length: rank }, (_, i) => (i === a ? b : i === b ? a : i)),
  );
}
/** Whether it is a transpose that puts the last axis second to last, possibly under a cast. */
export function isTransposed({ node, type }: Value): boolean {
  const [from] = node.args;
  if (node.op.name === "cast" && from) return isTransposed(from);
  return node.op.name === "transpose" && (node.attrs as OpAttrs["transpose"]).perm.at(-1) === type.shape.length - 2;
}
/** Inserts an axis of size 1 before axis `axis`. */
export const expand = (g: Builder, x: Value, axis: number): Value =>
  reshape(g, x, dims(x.type).toSpliced(axisOf(x.type.shape.length + 1, axis), 0, 1));
export const squeeze = (g: Builder, x: Value, axis: number): Value =>
  reshape(g, x, dims(x.type).toSpliced(axisOf(x.type.shape.length, axis), 1));

/** Broadcasts to a shape, aligned at the right: an axis that is missing or has size 1 is repeated. */
export function broadcastTo(g: Builder, x: Value, shape: readonly number[]): Value {
  const from = dims(x.type);
  if (sameShape(from, shape)) return x;
  const lead = shape.length - from.length;
  const fits = lead >= 0 && from.every((n, i) => n === 1 || n === shape[lead + i]);
  if (!fits) throw new TypeMismatch(`${showType(x.type)} does not stretch to [${shape.join(", ")}]`);
  const kept = from.flatMap((n, i) => (n === shape[lead + i] ? [i] : []));
  const bare = reshape(
    g,
    x,
    kept.map((i) => item(from, i)),
  );
  return broadcast(
    g,
    bare,
    shape,
    kept.map((i) => i + lead),
  );
}
/** The shape that two shapes broadcast to. */
function commonShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const [m, n] = [a[a.length - rank + i] ?? 1, b[b.length - rank + i] ?? 1];
    if (m !== n && m !== 1 && n !== 1)
      throw new TypeMismatch(`[${a.join(", ")}] and [${b.join(", ")}] do not stretch to one shape`);
    return m === 1 ? n : m;
  });
}

// Elementwise ops
export const cast = (g: Builder, x: Value, dtype: DType): Value =>
  x.type.dtype === dtype ? x : make1(g, "cast", [x], { dtype });
/** The numbers f32[.., K, N] of codes of 4 bits and their scales. */
export const fromFp4 = (g: Builder, codes: Value, scales: Value): Value => make1(g, "from_fp4", [codes, scales], none);
export const detach = (g: Builder, x: Value): Value => make1(g, "detach", [x], none);
/** x in a buffer of its own, computed after all of `first`. */
export const after = (g: Builder, x: Value, first: readonly Value[]): Value => make1(g, "after", [x, ...first], none);
/** x, all of it on each worker, moved when all of `first` are made. */
export const whole = (g: Builder, x: Value, first: readonly Value[]): Value => make1(g, "whole", [x, ...first], none);
export const unary = (g: Builder, fn: UnaryName, x: Value): Value => make1(g, "unary", [x], { fn });

/** Promotes and broadcasts both to one dtype and shape. A number takes the other's dtype, or f32 if it is a fraction beside an integer. */
function unify(g: Builder, a: Operand, b: Operand): [Value, Value] {
  if (typeof a === "number")
    return typeof b === "number" ? unify(g, constant(g, a, "f32"), b) : swapped(unify(g, b, a));
  const other = typeof b === "number" ? constant(g, b, literalDType(b, dtypeOf(a.type))) : b;
  const dtype = wider(dtypeOf(a.type), dtypeOf(other.type));
  const shape = commonShape(dims(a.type), dims(other.type));
  return [broadcastTo(g, cast(g, a, dtype), shape), broadcastTo(g, cast(g, other, dtype), shape)];
}
const swapped = ([a, b]: [Value, Value]): [Value, Value] => [b, a];
function literalDType(x: number, beside: DType): DType {
  if (isFloat(beside)) return beside;
  return Number.isInteger(x) ? "i32" : "f32";
}
export function binary(g: Builder, fn: BinaryName, a: Operand, b: Operand): Value {
  return make1(g, "binary", unify(g, a, b), { fn });
}
type Unary = (g: Builder, x: Value) => Value;
type Binary = (g: Builder, a: Operand, b: Operand) => Value;
const un =
  (fn: UnaryName): Unary =>
  (g, x) =>
    unary(g, fn, x);
const bin =
  (fn: BinaryName): Binary =>
  (g, a, b) =>
    binary(g, fn, a, b);
export const neg = un("neg");
export const not = un("not");
export const exp = un("exp");
export const log = un("log");
export const sqrt = un("sqrt");
export const rsqrt = un("rsqrt");
export const sin = un("sin");
export const cos = un("cos");
export const tanh = un("tanh");
export const sigmoid = un("sigmoid");
export const abs = un("abs");
export const sign = un("sign");
export const floor = un("floor");
export const add = bin("add");
export const sub = bin("sub");
export const mul = bin("mul");
export const div = bin("div");
export const idiv = bin("idiv");
export const rem = bin("rem");
export const pow = bin("pow");
export const maximum = bin("max");
export const minimum = bin("min");
export const eq = bin("eq");
export const ne = bin("ne");
export const lt = bin("lt");
export const le = bin("le");
export const gt = bin("gt");
export const ge = bin("ge");
export const and = bin("and");
export const or = bin("or");
/** The sum of one or more values, in order. */
export const addAll = (g: Builder, terms: readonly Value[]): Value => terms.reduce((x, y) => add(g, x, y));
/** Elementwise: a where `cond` is true, else b. */
export function where(g: Builder, cond: Value, a: Operand, b: Operand): Value {
  const [x, y] = unify(g, a, b);
  const shape = commonShape(dims(cond.type), dims(x.type));
  const [c, p, q] = [cond, x, y].map((v) => broadcastTo(g, v, shape)) as [Value, Value, Value];
  return make1(g, "select", [c, p, q], none);
}

// Reductions
const axisOf = (rank: number, axis: number): number => (axis < 0 ? axis + rank : axis);
function reduce(g: Builder, fn: ReduceName, x: Value, axes?: readonly number[], keep = false): Value {
  const shape = dims(x.type);
  const gone = new Set(axes ? axes.map((a) => axisOf(shape.length, a)) : shape.keys());
  const result = gone.size === 0 ? x : make1(g, "reduce", [x], { fn, axes: [...gone].toSorted((a, b) => a - b) });
  return keep
    ? reshape(
        g,
        result,
        shape.map((n, i) => (gone.has(i) ? 1 : n)),
      )
    : result;
}
type Reduction = (g: Builder, x: Value, axes?: readonly number[], keep?: boolean) => Value;
/** Reduces over `axes`, all axes if not given; `keep`: they stay, with size 1. A sum of bools counts, in i32. */
export const sum: Reduction = (g, x, axes, keep) =>
  reduce(g, "sum", x.type.dtype === "bool" ? cast(g, x, "i32") : x, axes, keep);
export const max: Reduction = (g, x, axes, keep) => reduce(g, "max", x, axes, keep);
export const min: Reduction = (g, x, axes, keep) => reduce(g, "min", x, axes, keep);
export function mean(g: Builder, x: Value, axes?: readonly number[], keep?: boolean): Value {
  const total = sum(g, x, axes, keep);
  return div(g, total, count(x.type) / count(total.type));
}
/** The lowest finite bf16, which every float type can represent: a maximum of -infinity is replaced by it, so that no NaN arises. */
const lowest = -3.3895313892515355e38;
/** exp(x) / sum(exp(x)) along an axis; 0 where `mask` is false, even if it is false for the whole row. */
export function softmax(g: Builder, x: Value, axis = -1, mask?: Value): Value {
  const seen = mask ? where(g, mask, x, Number.NEGATIVE_INFINITY) : x;
  const top = detach(g, maximum(g, max(g, seen, [axis], true), lowest));
  const e = exp(g, sub(g, seen, top));
  const total = sum(g, e, [axis], true);
  return div(g, e, mask ? where(g, gt(g, total, 0), total, 1) : total);
}
/** log(sum(exp(x))) along an axis. */
export function logsumexp(g: Builder, x: Value, axis = -1, keep = false): Value {
  const top = detach(g, maximum(g, max(g, x, [axis], true), lowest));
  const total = add(g, log(g, sum(g, exp(g, sub(g, x, top)), [axis], true)), top);
  return keep ? total : squeeze(g, total, axis);
}
/** Inclusive running sums along an axis. */
export const cumsum = (g: Builder, x: Value, axis = -1): Value =>
  make1(g, "scan", [x], { axis: axisOf(x.type.shape.length, axis), exclusive: false, reverse: false });

// Contractions
/** [...B, M, K] @ [...B, K, N], with equal batch axes B. */
export const dot = (g: Builder, a: Value, b: Value): Value => make1(g, "dot", [a, b], none);
/** Matrix product over the last axis of a and the second to last of b; leading axes broadcast. If b is a matrix, all rows of a go into one dot. */
export function matmul(g: Builder, a: Value, b: Value): Value {
  const dtype = wider(dtypeOf(a.type), dtypeOf(b.type));
  const [x, y] = [cast(g, a, dtype), cast(g, b, dtype)];
  const [left, right] = [dims(x.type), dims(y.type)];
  const [k, n] = [left.at(-1), right.at(-1)];
  if (k === undefined || n === undefined || right.length < 2 || right.at(-2) !== k)
    throw new TypeMismatch(
      `\`@\` needs the last axis of ${showType(a.type)} to equal the last but one of ${showType(b.type)}`,
    );
  if (right.length === 2) {
    const lead = left.slice(0, -1);
    return reshape(g, dot(g, reshape(g, x, [product(lead), k]), y), [...lead, n]);
  }
  if (left.length === 1) return squeeze(g, matmul(g, expand(g, x, 0), y), -2);
  const batch = commonShape(left.slice(0, -2), right.slice(0, -2));
  return dot(g, broadcastTo(g, x, [...batch, item(left, left.length - 2), k]), broadcastTo(g, y, [...batch, k, n]));
}
/** Rows x[M, K] sorted by group, times their group's matrix of w[E, K, N]: [M, N]. `offsets[E + 1]` count `unit` rows; see ops/ragged.ts. */
export const raggedDot = (g: Builder, x: Value, w: Value, offsets: Value, unit = 1): Value =>
  make1(g, "ragged_dot", [x, w, offsets], { unit });
/** x^T y over the rows of each group: x[M, K] and y[M, N], sorted by group, give [E, K, N]. */
export const raggedOuter = (g: Builder, x: Value, y: Value, offsets: Value, unit = 1): Value =>
  make1(g, "ragged_outer", [x, y, offsets], { unit });
/** The sum over the rows of each group: x[M, ..], sorted by group, gives [E, ..]. */
export const raggedSum = (g: Builder, x: Value, offsets: Value, unit = 1): Value =>
  make1(g, "ragged_sum", [x, offsets], { unit });

// Indexing
export interface Route {
  readonly order: Value;
  readonly offsets: Value;
  readonly inverse: Value;
  readonly expert: Value;
}
/** Sorts the choices `index: i32[C]` by group, stably; see ops/route.ts. */
export function route(g: Builder, index: Value, groups: number): Route {
  const { results } = make(g, "route", [index], { groups });
  return { order: item(results, 0), offsets: item(results, 1), inverse: item(results, 2), expert: item(results, 3) };
}
/** Moves rows from the order of choices, x[C, ..], to the order sorted by group, [rows, ..]. */
export const dispatch = (g: Builder, x: Value, by: Pick<Route, "order" | "inverse">): Value =>
  make1(g, "dispatch", [x, by.order, by.inverse], none);
/** Moves sorted rows back to the order of choices, [C, ..]. */
export const combine = (g: Builder, rows: Value, by: Pick<Route, "order" | "inverse">): Value =>
  make1(g, "combine", [rows, by.order, by.inverse], none);
/**
 * The language's `take`: the axes before `axis` match the first axes of the index (a size of 1 broadcasts); the index's other axes replace `axis`.
 * An index out of range gives 0.
 */
export function take(g: Builder, x: Value, index: Value, axis = 0): Value {
  const a = axisOf(x.type.shape.length, axis);
  const batch = commonShape(dims(x.type).slice(0, a), dims(index.type).slice(0, a));
  const [from, which] = [
    broadcastTo(g, x, [...batch, ...dims(x.type).slice(a)]),
    broadcastTo(g, index, [...batch, ...dims(index.type).slice(a)]),
  ];
  return make1(g, "gather", [from, which], { axis: a, batch: a });
}
/** The language's `put`: x with the rows at `index` along an axis replaced; of equal indices the last counts, one out of range writes nothing. */
export function put(g: Builder, x: Value, index: Value, rows: Value, axis = 0): Value {
  const a = axisOf(x.type.shape.length, axis);
  const which = broadcastTo(g, index, [...dims(x.type).slice(0, a), ...dims(index.type).slice(a)]);
  return make1(g, "scatter", [x, which, cast(g, rows, dtypeOf(x.type))], {
    axis: a,
    batch: a,
    mode: "set",
    size: item(dims(x.type), a),
  });
}
/** The language's `scatter`: the transpose of `take`; adds rows into `size` places. */
export function scatter(g: Builder, rows: Value, index: Value, size: number, axis = 0): Value {
  const a = axisOf(rows.type.shape.length, axis);
  const which = broadcastTo(g, index, [...dims(rows.type).slice(0, a), ...dims(index.type).slice(a)]);
  return make1(g, "scatter", [which, rows], { axis: a, batch: a, mode: "add", size });
}
/** The k largest along the last axis, and their indices. */
export function topK(g: Builder, x: Value, k: number): [values: Value, index: Value] {
  const { results } = make(g, "top_k", [x], { k });
  return [item(results, 0), item(results, 1)];
}
/** Sorts ascending along the last axis, stably; also returns the indices. */
export function sort(g: Builder, x: Value): [values: Value, index: Value] {
  // -1 - x reverses the order of integers without overflow
  const turn = (v: Value): Value => (isFloat(v.type.dtype) ? neg(g, v) : sub(g, -1, v));
  const [values, index] = topK(g, turn(x), item(dims(x.type), x.type.shape.length - 1));
  return [turn(values), index];
}

/** The largest element t of the last axis such that the weights of all elements >= t add up to at least `amount`; see ops/cutoff.ts. */
export const cutoff = (g: Builder, x: Value, weight: Value, amount: Value): Value =>
  make1(g, "cutoff", [x, weight, amount], none);

// Random numbers
/**
 * 32 random bits (i32) for each element of the shape [...base.shape, ...shape]. `place` tells random draws of a program apart; see ops/random.ts.
 */
export const random = (g: Builder, key: Value, place: number, shape: readonly number[], base?: Value): Value =>
  make1(g, "random", base ? [key, base] : [key], { place, shape });
/** f32 in [0, 1). */
export const uniform = (g: Builder, key: Value, place: number, shape: readonly number[], base?: Value): Value =>
  unary(g, "unit", random(g, key, place, shape, base));
/** Normally distributed f32 numbers, by Box-Muller from two uniform ones, drawn at `place` and `place + 1`. */
export function gaussian(g: Builder, key: Value, place: number, shape: readonly number[], base?: Value): Value {
  const radius = sqrt(g, mul(g, -2, log(g, sub(g, 1, uniform(g, key, place, shape, base)))));
  return mul(g, radius, cos(g, mul(g, 2 * Math.PI, uniform(g, key, place + 1, shape, base))));
}
