// Tensors outside of a target: plain row-major typed arrays. Converts between them, numbers, bytes and nested arrays.
import { Problem } from "../compiler/diagnostic.ts";
import { describeValue } from "../compiler/flag-text.ts";
import { pluralize } from "../compiler/pluralize.ts";
import { bytesOf, type DType, isFloat } from "../compiler/types/dtype.ts";
import { product, sameShape } from "../compiler/types/numbers.ts";
import type { Tensor } from "./executable/executable.ts";
import { requireBufferSize } from "./storage/files.ts";

/** Nested arrays of a tensor's elements, as in JSON; a number that is not finite is a string ("NaN"), since JSON has none. */
type Nested = number | boolean | string | readonly Nested[];

const arrays = {
  f32: Float32Array,
  f64: Float64Array,
  bf16: Uint16Array,
  i32: Int32Array,
  bool: Uint8Array,
  i8: Int8Array,
} as const;

const isShape = (x: unknown): x is readonly number[] =>
  Array.isArray(x) && x.every((n) => Number.isSafeInteger(n) && (n as number) >= 0);

/** Whether two tensors have the same shape and, in the dtype of the second, the same elements. */
export function sameValues(a: Tensor, b: Tensor): boolean {
  const { data } = convert(a, b.dtype);
  return sameShape(a.shape, b.shape) && firstIndex(data, (x, i) => x !== b.data[i]) < 0;
}
/** As `findIndex` of typed arrays, which takes ten times as long. */
function firstIndex(data: Tensor["data"], is: (x: number, i: number) => boolean): number {
  for (let i = 0; i < data.length; i++) if (is(data[i] ?? Number.NaN, i)) return i;
  return -1;
}
/** The first element of a boolean tensor that is neither 0 nor 1, or undefined. */
export const noBit = (data: Tensor["data"]): number | undefined => data[firstIndex(data, (x) => x > 1)];
export const showShape = (shape: readonly number[]): string => `[${shape.join(", ")}]`;

/** Throws Problem unless `data` is an array of the type and length of `dtype` and `shape`. Arrays of another realm (a test runner's) are accepted. */
export function requireElements(name: string, tensor: Tensor): void {
  const { dtype, shape, data } = Object(tensor) as Tensor;
  if (typeof dtype !== "string" || !Object.hasOwn(arrays, dtype) || !isShape(shape))
    throw new Problem(`${name} is no tensor: it has no dtype and shape`, 'make one: tensor("f32", [2, 3], numbers)');
  const kind = arrays[dtype].name;
  if (Object.prototype.toString.call(data) !== `[object ${kind}]` || data.length !== product(shape)) {
    const wanted = `give ${kind === "Int32Array" ? "an" : "a"} ${kind} of ${pluralize(product(shape), "element")}`;
    throw new Problem(
      `${name} is ${dtype}${showShape(shape)}, and ${shownData(data)} was given`,
      Array.isArray(data) ? `${wanted}, or \`tensorOf("${dtype}", lists)\` of nested lists` : wanted,
    );
  }
  const other = dtype === "bool" ? noBit(data) : undefined;
  if (other !== undefined) throw noBoolean(name, other);
}
const noBoolean = (what: string, x: number): Problem =>
  new Problem(`${what} holds ${x}, which is not a boolean`, "give true or false, or 1 or 0");
const shownData = (data: unknown): string =>
  ArrayBuffer.isView(data) || Array.isArray(data)
    ? `${data.constructor.name}(${"length" in data ? data.length : data.byteLength})`
    : typeof data;
/** Throws Problem unless these are tensors by name. */
export function requireMap(what: string, tensors: unknown): asserts tensors is ReadonlyMap<string, Tensor> {
  if (Object.prototype.toString.call(tensors) !== "[object Map]")
    throw new Problem(
      `${what} ${what.endsWith("s") ? "are" : "is"} no Map`,
      'give tensors by name: new Map([["weight", tensor("f32", [2, 3], numbers)]])',
    );
}
/** Throws Problem unless the tensor has this dtype and shape. */
export function requireFit(name: string, { dtype, shape }: Pick<Tensor, "dtype" | "shape">, value: Tensor): void {
  if (value.dtype !== dtype || !sameShape(value.shape, shape))
    throw new Problem(
      `${name} is ${dtype}${showShape(shape)}, and ${value.dtype}${showShape(value.shape)} was given`,
      "give a tensor of that type",
    );
  requireElements(name, value);
}

/**
 * Throws Problem if an input holds an index past the end of what it indexes, which would read zeros. `length`: how many there are, undefined if it
 * indexes nothing (`Figures.choices`). Less than 0 is none, on purpose.
 */
export function requireIndices(name: string, { data }: Pick<Tensor, "data">, length: number | undefined): void {
  if (length === undefined) return;
  let i = 0;
  while (i < data.length && !(Number(data[i]) >= length)) i++; // a loop: `find` takes twenty times as long
  if (i === data.length) return;
  throw new Problem(
    `${name} has the index ${data[i]} (element ${i}), and what it indexes has ${length}: 0 to ${length - 1}`,
    "give smaller ones, or -1 for none; or give the table more rows, as by the size in the model's header",
  );
}

/** A tensor of zeros. Throws Problem if dtype or shape is invalid. */
export function zeros(dtype: DType, shape: readonly number[]): Tensor {
  if (typeof dtype !== "string" || !Object.hasOwn(arrays, dtype))
    throw new Problem(`the dtype is ${describeValue(dtype)}`, `give one of ${Object.keys(arrays).join(", ")}`);
  if (!isShape(shape))
    throw new Problem(
      `the shape is ${Array.isArray(shape) ? `[${(shape as unknown[]).map(describeValue).join(", ")}]` : describeValue(shape)}`,
      "give a list of whole numbers: [2, 3]",
    );
  if (!(product(shape) <= mostElements))
    throw new Problem(
      `a tensor of shape ${showShape(shape)} does not fit in one array`,
      `give one of at most ${mostElements} elements`,
    );
  return { dtype, shape, data: new arrays[dtype](product(shape)) };
}
/** The most elements that a typed array can hold on every machine. */
const mostElements = 2 ** 32;

/** A view of a tensor's bytes. */
export function bytesOfTensor({ data }: Tensor): Uint8Array {
  requireBufferSize("the tensor", data.byteLength);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** A tensor with a copy of little-endian bytes, whose number must fit the shape. */
export function fromBytes(dtype: DType, shape: readonly number[], bytes: Uint8Array): Tensor {
  if (bytes.byteLength !== product(shape) * bytesOf[dtype])
    throw new RangeError(`${pluralize(bytes.byteLength, "byte")} cannot be ${dtype}${showShape(shape)}`);
  return { dtype, shape, data: new arrays[dtype](bytes.slice().buffer) };
}

const word = new DataView(new ArrayBuffer(4));
/** The bits of the nearest bf16; ties go to the even one. */
export function toBf16(x: number): number {
  if (Number.isNaN(x)) return 0x7fc0;
  word.setFloat32(0, x);
  const bits = word.getUint32(0);
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}
export function fromBf16(bits: number): number {
  word.setUint32(0, bits << 16);
  return word.getFloat32(0);
}
/** The number of the bits of an IEEE half. */
function fromF16(bits: number): number {
  const [exponent, mantissa] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25);
  const special = mantissa ? Number.NaN : Number.POSITIVE_INFINITY;
  return (bits & 0x8000 ? -1 : 1) * (exponent === 31 ? special : size);
}
let halves: Float32Array | undefined;
/** Writes the numbers of IEEE halves. */
export function widenF16(bits: Uint16Array, to: Tensor["data"]): void {
  halves ??= Float32Array.from({ length: 2 ** 16 }, (_, half) => fromF16(half));
  for (let i = 0; i < bits.length; i++) to[i] = halves[bits[i] ?? 0] ?? 0;
}

/** Element `i` as a number. */
function at({ dtype, data }: Tensor, i: number): number {
  const x = data[i] ?? Number.NaN;
  return dtype === "bf16" ? fromBf16(x) : x;
}
/** The elements as numbers; those of bf16 are decoded. (`Float64Array.from` with a function makes a list first, whose size ends Node.) */
export function numbers(t: Tensor): Float64Array {
  const all = new Float64Array(t.data.length);
  for (let i = 0; i < all.length; i++) all[i] = at(t, i);
  return all;
}

/** A tensor of these numbers, rounded to the dtype. Throws Problem if a number is invalid for an integer dtype. `what` names the tensor in errors. */
export function fromNumbers(
  dtype: DType,
  shape: readonly number[],
  values: ArrayLike<number>,
  what = "the tensor",
): Tensor {
  const t = zeros(dtype, shape);
  const given = values as ArrayLike<number> | null | undefined;
  if (given?.length !== t.data.length)
    throw new Problem(
      `${what} is ${dtype}${showShape(shape)}, and ${typeof given?.length === "number" ? `${pluralize(given.length, "number")} ${given.length === 1 ? "was" : "were"}` : `${describeValue(given)} was`} given`,
      `give a list of ${pluralize(t.data.length, "number")}`,
    );
  for (let i = 0; i < t.data.length; i++) t.data[i] = stored(dtype, values[i] as number, what);
  return t;
}
function stored(dtype: DType, x: number, what: string): number {
  if (typeof x !== "number") throw new Problem(`${what} holds ${describeValue(x)}`, "give numbers");
  if (dtype === "i32" && (x | 0) !== x)
    throw new Problem(
      `${what} holds ${x}, which is not a 32-bit integer`,
      "give whole numbers from -2147483648 to 2147483647",
    );
  if (dtype === "bool" && x !== 0 && x !== 1) throw noBoolean(what, x);
  return dtype === "bf16" ? toBf16(x) : x;
}

/** Converts to another dtype; returns the same tensor if it already has it. */
export function convert(t: Tensor, dtype: DType): Tensor {
  if (t.dtype === dtype) return t;
  const to = zeros(dtype, t.shape);
  if (t.dtype === "bf16" && dtype === "f32") widen(t.data, new Uint32Array(to.data.buffer));
  else for (let i = 0; i < to.data.length; i++) to.data[i] = stored(dtype, at(t, i), "the tensor");
  return to;
}
/** bf16 is the upper half of f32. Apart from `convert`, because imported models are of this. */
function widen(halves: Tensor["data"], words: Uint32Array): void {
  for (let i = 0; i < words.length; i++) words[i] = (halves[i] ?? 0) << 16;
}

/** Which of the sub-tensors of the first axes, in row-major order, has this index. */
export const placeOf = (shape: readonly number[], index: readonly number[]): number =>
  index.reduce((sum, n, axis) => sum * (shape[axis] ?? 1) + n, 0);
/** The sub-tensor `t[index[0], index[1], ...]`, copied. */
export function part(t: Tensor, index: readonly number[]): Tensor {
  const shape = t.shape.slice(index.length);
  const size = product(shape);
  const place = placeOf(t.shape, index);
  return { dtype: t.dtype, shape, data: t.data.slice(place * size, (place + 1) * size) };
}

/** Concatenates tensors of one shape and dtype along new leading axes `over`; takes one at a time. */
export function stacked(
  dtype: DType,
  over: readonly number[],
  shape: readonly number[],
  parts: Iterable<Tensor>,
): Tensor {
  const whole = zeros(dtype, [...over, ...shape]);
  let at = 0;
  for (const { data } of parts) {
    whole.data.set(data, at);
    at += data.length;
  }
  return whole;
}

export const transposedShape = (shape: readonly number[]): number[] => [
  ...shape.slice(0, -2),
  ...shape.slice(-2).toReversed(),
];
/** Exchanges the last two axes; copies, by blocks that stay in the cache. */
export function transposed({ dtype, shape, data }: Tensor): Tensor {
  const [rows = 0, columns = 0] = shape.slice(-2);
  const to = zeros(dtype, transposedShape(shape));
  const block = 32;
  for (let from = 0; from < data.length; from += rows * columns)
    for (let r = 0; r < rows; r += block)
      for (let c = 0; c < columns; c += block)
        for (let i = r; i < Math.min(rows, r + block); i++)
          for (let j = c; j < Math.min(columns, c + block); j++)
            to.data[from + j * rows + i] = data[from + i * columns + j] ?? 0;
  return to;
}

/** The index of the first element that is not finite, or -1. */
export function firstNonFinite({ dtype, data }: Tensor): number {
  if (!isFloat(dtype)) return -1;
  return firstIndex(data, dtype === "bf16" ? (bits) => (bits & 0x7f80) === 0x7f80 : (x) => !Number.isFinite(x));
}

const safeNumber = (x: number): number | string => (Number.isFinite(x) ? x : String(x));
/** The elements as nested arrays, for JSON. */
export function toNested(t: Tensor): Nested {
  const of = (axis: number, from: number): Nested => {
    const size = t.shape[axis];
    if (size === undefined) return t.dtype === "bool" ? t.data[from] === 1 : safeNumber(at(t, from));
    const step = product(t.shape.slice(axis + 1));
    return Array.from({ length: size }, (_, i) => of(axis + 1, from + i * step));
  };
  requireElements("the tensor", t);
  return of(0, 0);
}

/** A tensor from nested arrays of numbers or booleans. `what` names it in the Problem for ragged arrays. */
export function fromNested(dtype: DType, nested: unknown, what = "the tensor"): Tensor {
  const shape: number[] = [];
  for (let x = nested; Array.isArray(x); x = x[0] as unknown) {
    shape.push(x.length);
    if (shape.length > deepest)
      throw new Problem(`${what} is nested more than ${deepest} deep`, "give one level of arrays for each axis");
  }
  const flat: number[] = [];
  collect(nested, shape, 0, flat, what);
  return fromNumbers(dtype, shape, flat, what);
}
const deepest = 64;
function collect(x: unknown, shape: readonly number[], axis: number, flat: number[], what: string): void {
  const size = shape[axis];
  if (size === undefined) {
    const special = x === "NaN" || x === "Infinity" || x === "-Infinity";
    if (typeof x !== "number" && typeof x !== "boolean" && !special)
      throw new Problem(
        `${what} holds ${Array.isArray(x) ? JSON.stringify(x) : describeValue(x)}`,
        "give numbers or booleans in nested arrays of equal lengths",
      );
    flat.push(Number(x));
    return;
  }
  if (!Array.isArray(x) || x.length !== size)
    throw new Problem(
      `${what} is ragged: axis ${axis} is not everywhere ${size} long`,
      "give nested arrays of equal lengths",
    );
  for (const row of x as unknown[]) collect(row, shape, axis + 1, flat, what);
}
