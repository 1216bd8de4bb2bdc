/**
 * The dtype of an element in memory. Elaboration resolves `float` to one of these. `i8`, a whole number from -128 to 127, is of quantised stores alone:
 * it is no word of the language, and all that reads it converts it.
 */
export type DType = "f32" | "f64" | "bf16" | "i32" | "bool" | "i8";
/** A dtype, or the language's `float`. */
export type Element = DType | "float";
/** Those of the language. */
export const dtypes: readonly Exclude<DType, "i8">[] = ["f32", "f64", "bf16", "i32", "bool"];
export const isFloat = (t: Element): boolean => t !== "i32" && t !== "bool" && t !== "i8";
const promotionRank: Readonly<Record<Element, number>> = { bool: 0, i8: 1, i32: 2, bf16: 3, float: 4, f32: 5, f64: 6 };
/** The dtype that two operands are promoted to: the wider float; integers and bools become the float that they meet. */
export const wider = <T extends Element>(a: T, b: T): T => (promotionRank[a] >= promotionRank[b] ? a : b);
export const bytesOf: Readonly<Record<DType, number>> = { f32: 4, f64: 8, bf16: 2, i32: 4, bool: 1, i8: 1 };
/** What the language's `float` means. With f64, `f32` means f64 as well. */
export type Precision = "f32" | "bf16" | "f64";
/** How weights are kept that are not trained: as codes of 8 bits, or of 4. */
export type Weights = "int8" | "fp4";
export const allWeights: readonly Weights[] = ["int8", "fp4"];
/** The same, or as the program has them. */
export type WeightsOption = Weights | "float";
export const allWeightsOptions: readonly WeightsOption[] = [...allWeights, "float"];
export const precisions: readonly Precision[] = ["f32", "bf16", "f64"];
