/** What an element is stored as. `float` (the working type) is one of these once a program is compiled. */
export type DType = "f32" | "f64" | "bf16" | "i32" | "bool";
export const dtypes: readonly DType[] = ["f32", "f64", "bf16", "i32", "bool"];
export const isFloat = (t: DType | "float"): boolean => t !== "i32" && t !== "bool";
export const bytesOf: Readonly<Record<DType, number>> = { f32: 4, f64: 8, bf16: 2, i32: 4, bool: 1 };
/** What the type `float` may mean. f64: `f32` means it too. */
export type Precision = "f32" | "bf16" | "f64";
export const precisions: readonly Precision[] = ["f32", "bf16", "f64"];
