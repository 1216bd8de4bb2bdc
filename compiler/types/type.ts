import { Bug } from "../diagnostic.ts";
import { bytesOf, type DType, type Element } from "./dtype.ts";
import { product } from "./numbers.ts";
import { equalAll, type Size, show } from "./size.ts";

/** The type of a tensor. The dtype `float` and symbolic sizes occur only while checking. */
export interface Type {
  readonly dtype: Element;
  readonly shape: readonly Size[];
}
export const type = (dtype: Element, shape: readonly Size[]): Type => ({ dtype, shape });
export const sameType = (a: Type, b: Type): boolean => a.dtype === b.dtype && equalAll(a.shape, b.shape);
export const showType = (t: Type): string =>
  t.shape.length === 0 ? t.dtype : `${t.dtype}[${t.shape.map(show).join(", ")}]`;

/** The shape as numbers, as all stages after elaboration need it. */
export function dims({ shape }: Type): readonly number[] {
  if (!areKnown(shape)) throw new Bug(`a size of [${shape.map(show).join(", ")}] is not known after elaboration`);
  return shape;
}
const areKnown = (sizes: readonly Size[]): sizes is readonly number[] => sizes.every((s) => typeof s === "number");
export function dtypeOf(t: Type): DType {
  if (t.dtype === "float") throw new Bug("`float` is not resolved after elaboration");
  return t.dtype;
}
export const count = (t: Type): number => product(dims(t));
export const byteSize = (t: Type): number => count(t) * bytesOf[dtypeOf(t)];
