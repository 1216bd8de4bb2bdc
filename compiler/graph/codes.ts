// What a quantised parameter is kept as: codes, and the scales that codes are multiplied by (`Quantised` of node.ts).
//
// int8: a code is a whole number, and the elements along `axes` share one scale.
// fp4: a byte holds the codes of two rows along the only axis of `axes`, which is the last but one: the even row's in its low four bits, the odd row's in
// its high four. A code is e2m1 of OCP's MX formats: its highest bit is the sign, the others choose one of `fp4Sizes`. 32 rows of a column share a scale.
import type { DType, Weights } from "../types/dtype.ts";
import type { Quantised } from "./node.ts";

/** The largest code of 8 bits: codes are symmetric. */
export const largestCode = 127;
/** What the low three bits of a code of 4 bits choose. */
export const fp4Sizes: readonly number[] = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
/** How many rows of a column share a scale in fp4. */
export const fp4Group = 32;
/** How many codes of 4 bits a byte holds. */
export const fp4PerByte = 2;
export const dtypeOfScales: Readonly<Record<Weights, DType>> = { int8: "f32", fp4: "bf16" };

type How = Pick<Quantised, "code" | "axes">;
/** The shape of the codes of a parameter. */
export const shapeOfCodes = (shape: readonly number[], { code, axes }: How): number[] =>
  shape.map((n, i) => (code === "fp4" && axes.includes(i) ? n / fp4PerByte : n));
/** The shape of its scales. */
export const shapeOfScales = (shape: readonly number[], { code, axes }: How): number[] =>
  shape.map((n, i) => (axes.includes(i) ? (code === "fp4" ? n / fp4Group : 1) : n));
/** The shape of the parameter whose codes have this shape. */
export const shapeOfNumbers = (codes: readonly number[], { code, axes }: How): number[] =>
  codes.map((n, i) => (code === "fp4" && axes.includes(i) ? n * fp4PerByte : n));
