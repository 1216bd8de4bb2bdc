/** The dtype of an element in memory. The language's `float` is resolved to one of these during elaboration. */
export type DType = "f32" | "f64" | "bf16" | "i32" | "bool";
export const dtypes: readonly DType[] = ["f32", "f64", "bf16", "i32", "bool"];
export const isFloat = (t: DType | "float"): boolean => t !== "i32" && t !== "bool";
export const bytesOf: Readonly<Record<DType, number>> = { f32: 4, f64: 8, bf16: 2, i32: 4, bool: 1 };
/** What the language's `float` means. With f64, `f32` means f64 as well. */
export type Precision = "f32" | "bf16" | "f64";
export const precisions: readonly Precision[] = ["f32", "bf16", "f64"];
