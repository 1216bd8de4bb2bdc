// C++ types and literals.
import type { DType } from "../types/dtype.ts";

/** The C++ type of memory of a dtype. */
export const types: Readonly<Record<DType, string>> = {
  f32: "f32",
  f64: "f64",
  bf16: "bf16",
  i32: "i32",
  bool: "u8",
  i8: "i8",
};
/** A number, or a vector of them, as it is stored in memory of a dtype, given its text. */
export function stored(dtype: DType, text: string): string {
  if (dtype === "i8") return `to_i8(${text})`;
  return dtype === "bf16" ? `to_bf16(${text})` : text;
}
/** A pointer `n` elements past another. */
export const past = (base: string, n: number): string => (n === 0 ? base : `${base} + ${n}`);
/** A number as a C++ literal. */
export function number(x: number, float: boolean): string {
  if (Number.isNaN(x)) return '__builtin_nanf("")';
  if (!Number.isFinite(x)) return x > 0 ? "__builtin_inff()" : "-__builtin_inff()";
  if (Object.is(x, -0)) return float ? "-0.0f" : "0";
  if (!float) return x === -(2 ** 31) ? "(-2147483647 - 1)" : String(x);
  const short = Number.isInteger(x) ? x : shortest(x);
  return `${Number.isInteger(short) && Math.abs(short) < 1e21 ? short.toFixed(1) : String(short)}f`;
}
/** The number with the fewest digits that is x as an f32: 0.1 for 1 - 0.9, which is 0.09999999999999998. */
function shortest(x: number): number {
  for (let digits = 1; digits <= 9; digits++) {
    const short = Number(x.toPrecision(digits));
    if (Math.fround(short) === Math.fround(x)) return short;
  }
  return x; // next to the middle between two f32
}
