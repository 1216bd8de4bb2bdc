// C++ types and literals.
import type { DType } from "../types/dtype.ts";

/** The C++ type of memory of a dtype. */
export const types: Readonly<Record<DType, string>> = { f32: "f32", f64: "f64", bf16: "bf16", i32: "i32", bool: "u8" };
/** A pointer `n` elements past another. */
export const past = (base: string, n: number): string => (n === 0 ? base : `${base} + ${n}`);
/** A number as a C++ literal. */
export function number(x: number, float: boolean): string {
  if (Number.isNaN(x)) return '__builtin_nanf("")';
  if (!Number.isFinite(x)) return x > 0 ? "__builtin_inff()" : "-__builtin_inff()";
  if (Object.is(x, -0)) return float ? "-0.0f" : "0";
  if (!float) return x === -(2 ** 31) ? "(-2147483647 - 1)" : String(x);
  return `${Number.isInteger(x) && Math.abs(x) < 1e21 ? x.toFixed(1) : String(x)}f`;
}
