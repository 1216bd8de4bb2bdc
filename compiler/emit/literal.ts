// Words of C++ for what kernels are made of.
import type { DType } from "../types/dtype.ts";

/** What memory of a dtype holds. */
export const types: Readonly<Record<DType, string>> = { f32: "f32", f64: "f64", bf16: "bf16", i32: "i32", bool: "u8" };
/** A number as C++ writes it. */
export function number(x: number, float: boolean): string {
  if (Number.isNaN(x)) return '__builtin_nanf("")';
  if (!Number.isFinite(x)) return x > 0 ? "__builtin_inff()" : "-__builtin_inff()";
  if (Object.is(x, -0)) return float ? "-0.0f" : "0";
  if (!float) return x === -(2 ** 31) ? "(-2147483647 - 1)" : String(x);
  return `${Number.isInteger(x) && Math.abs(x) < 1e21 ? x.toFixed(1) : String(x)}f`;
}
