// Tensors of quantised checkpoints, with where they stand, and what is said of those that do not fit.
import { Problem } from "../../compiler/diagnostic.ts";
import { isFloat } from "../../compiler/types/dtype.ts";
import { sameShape } from "../../compiler/types/numbers.ts";
import { codeNames } from "../storage/safetensors.ts";
import { type Code, isCodes, type StoredCodes, type StoredTensor } from "../storage/stored-tensor.ts";
import { showShape } from "../tensor.ts";

/** `place`: its file and name. */
export interface Placed<T extends StoredTensor | StoredCodes = StoredTensor | StoredCodes> {
  readonly t: T;
  readonly place: string;
}

export const unfit = (what: string): Problem =>
  new Problem(what, "restore the files, and the config.json that belongs to them");
export const typeName = ({ t }: Placed): string => (isCodes(t) ? codeNames[t.code] : t.dtype);
const noScale = (scales: Placed): Problem => unfit(`${scales.place} is ${typeName(scales)}, which is no scale`);

/** What belongs to codes must be of this shape. */
export function requireShape(part: Placed, codes: Placed, shape: readonly number[]): void {
  if (!sameShape(part.t.shape, shape))
    throw unfit(
      `${part.place} is ${showShape(part.t.shape)}, and not ${showShape(shape)}: ${codes.place} is ${showShape(codes.t.shape)}`,
    );
}
/** The two last axes, of which the leading ones are stacks. */
export function matrixOf(codes: Placed): readonly [rows: number, columns: number] {
  const [rows, columns] = codes.t.shape.slice(-2);
  if (rows === undefined || columns === undefined) throw unfit(`${codes.place} is quantised, and no matrix`);
  return [rows, columns];
}
export function asFloats(scales: Placed): StoredTensor {
  if (isCodes(scales.t) || !isFloat(scales.t.dtype)) throw noScale(scales);
  return scales.t;
}
export function asCodes(part: Placed, ...codes: readonly Code[]): StoredCodes {
  if (!isCodes(part.t) || !codes.includes(part.t.code)) throw noScale(part);
  return part.t;
}
/** Its whole numbers of 32 bits. */
export function wordsOf(part: Placed): Int32Array {
  const data = isCodes(part.t) ? null : part.t.read().data;
  if (!(data instanceof Int32Array)) throw unfit(`${part.place} is ${typeName(part)}, and not I32`);
  return data;
}
