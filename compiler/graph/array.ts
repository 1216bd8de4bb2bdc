// The arrays of the reference interpreter: doubles in row-major order, rounded to values of their dtype.
import { Problem } from "../diagnostic.ts";
import { targetFlagText } from "../flag-text.ts";
import type { DType } from "../types/dtype.ts";
import { product } from "../types/numbers.ts";

/** Converts to the dtype: floats to nearest, ties to even (bf16 by way of f32, as in kernels), i32 truncates and wraps, i8 to nearest
 * and saturating. */
export function roundAll(dtype: DType, data: ArrayLike<number>): Float64Array {
  if (dtype === "f32") return new Float64Array(new Float32Array(data));
  if (dtype === "i32") return new Float64Array(new Int32Array(data));
  return new Float64Array(data).map(roundTo[dtype]);
}
const bits = new DataView(new ArrayBuffer(4));
export function roundBf16(x: number): number {
  if (Number.isNaN(x)) return x;
  bits.setFloat32(0, x);
  const word = bits.getUint32(0);
  bits.setUint32(0, ((word + 0x7fff + ((word >>> 16) & 1)) & 0xffff0000) >>> 0);
  return bits.getFloat32(0);
}
/** The nearest whole number, of two the even one. */
export function halfToEven(x: number): number {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 === 0 ? down : down + 1;
}
/** Converts one number to each dtype. */
export const roundTo: Readonly<Record<DType, (x: number) => number>> = {
  f32: Math.fround,
  f64: (x) => x,
  bf16: roundBf16,
  i32: (x) => x | 0,
  bool: (x) => (x === 0 ? 0 : 1),
  i8: (x) => Math.min(Math.max(halfToEven(x), -128), 127) || 0,
};

/** What `made` returns. An array that JavaScript cannot make is an error of sizes, which may be those of a damaged file: Problem, of `what`. */
export function withMemoryErrors<T>(what: () => string, made: () => T): T {
  try {
    return made();
  } catch (cause) {
    if (!(cause instanceof RangeError && /allocation failed|array length/i.test(cause.message))) throw cause;
    throw new Problem(
      `${what()}: too much memory for the interpreter, which keeps a number in 8 bytes`,
      `take smaller sizes, or leave ${targetFlagText("reference")} out`,
      { cause },
    );
  }
}

/** The row-major strides of a shape, in elements. */
export function strides(shape: readonly number[]): number[] {
  const steps = shape.map(() => 1);
  for (let i = shape.length - 2; i >= 0; i--) steps[i] = (steps[i + 1] ?? 1) * (shape[i + 1] ?? 1);
  return steps;
}
/** Reads a strided view: `out[i...] = from[offset + sum(i * steps)]`. */
export function readStrided(
  from: Float64Array,
  shape: readonly number[],
  steps: readonly number[],
  offset = 0,
): Float64Array {
  const out = new Float64Array(product(shape));
  const at = shape.map(() => 0);
  let place = offset;
  for (let i = 0; i < out.length; i++) {
    out[i] = from[place] ?? Number.NaN;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const size = shape[axis] ?? 1;
      const step = steps[axis] ?? 0;
      place += step;
      at[axis] = (at[axis] ?? 0) + 1;
      if (at[axis] !== size) break;
      at[axis] = 0;
      place -= step * size;
    }
  }
  return out;
}
