// The numbers that codes and scales stand for, in bf16. As in transformers, a product is rounded to f32, then to bf16.
import type { Problem } from "../../compiler/diagnostic.ts";
import { fp4Group } from "../../compiler/graph/codes.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import type { Tensor } from "../executable/executable.ts";
import { computed, type KeptCodes, type StoredCodes, type StoredTensor } from "../storage/stored-tensor.ts";
import { numbers, toBf16, transposed, zeros } from "../tensor.ts";

/** Rows and columns of what one scale belongs to. */
export type Block = readonly [rows: number, columns: number];
export type Scales = StoredTensor | StoredCodes;

/** e4m3fn: no infinities, and one NaN of each sign. */
function fromE4m3(code: number): number {
  const [exponent, mantissa] = [(code >> 3) & 15, code & 7];
  const size = exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10);
  return (code & 127) === 127 ? Number.NaN : code & 128 ? -size : size;
}
const e4m3 = Float64Array.from({ length: 256 }, (_, code) => fromE4m3(code));
const e2m1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6];
const powerOf = (exponent: number): number => 2 ** (exponent - 127);
const bf16Powers = Uint16Array.from({ length: 256 }, (_, x) => toBf16(powerOf(x)));
const powers = {
  /** Its last code is NaN; where the bytes are U8, transformers computes the power in f32, where the last is infinite. */
  e8m0: Float64Array.from({ length: 256 }, (_, x) => (x === 255 ? Number.NaN : powerOf(x))),
  u8: Float64Array.from({ length: 256 }, (_, x) => Math.fround(powerOf(x))),
};
function scalesAt(scales: Scales, index: readonly number[]): Float64Array {
  if (!("code" in scales)) return numbers(scales.read(index));
  const [codes, of] = [scales.read(index), scales.code === "e8m0" ? powers.e8m0 : powers.u8];
  const all = new Float64Array(codes.length);
  for (let i = 0; i < all.length; i++) all[i] = of[codes[i] ?? 0] ?? Number.NaN;
  return all;
}

/** e4m3 codes, [..., rows, columns]: each block of a matrix has a scale, in row-major order; those at the end are cut off. */
export function byBlocks(codes: StoredCodes, scales: Scales, block: Block): StoredTensor {
  const [rows = 0, columns = 0] = codes.shape.slice(-2);
  return computed("bf16", codes.shape, (index = []) => {
    const t = zeros("bf16", codes.shape.slice(index.length));
    scaleBlocks(codes.read(index), scalesAt(scales, index), [rows, columns], block, t.data);
    return t;
  });
}
function scaleBlocks(
  codes: Uint8Array,
  scales: Float64Array,
  [rows, columns]: Block,
  [high, wide]: Block,
  to: Tensor["data"],
): void {
  const table = new Uint16Array(256); // of one block: its codes, scaled
  let block = 0;
  for (let matrix = 0; matrix < codes.length; matrix += rows * columns)
    for (let r = 0; r < rows; r += high)
      for (let c = 0; c < columns; c += wide) {
        const scale = scales[block++] ?? Number.NaN;
        for (let code = 0; code < 256; code++) table[code] = toBf16((e4m3[code] ?? 0) * scale);
        for (let i = r; i < Math.min(rows, r + high); i++) {
          const row = matrix + i * columns;
          const end = row + Math.min(columns, c + wide);
          for (let at = row + c; at < end; at++) to[at] = table[codes[at] ?? 0] ?? 0;
        }
      }
}

/** MXFP4: two e2m1 codes a byte, the one in the lower bits first, [..., groups, bytes]; a power of two for each group, [..., groups]. */
export function byGroups(codes: StoredCodes, scales: StoredCodes): StoredTensor {
  const [groups = 0, bytes = 0] = codes.shape.slice(-2);
  const shape = [...codes.shape.slice(0, -2), groups * bytes * 2];
  return computed("bf16", shape, (index = []) => {
    const t = zeros("bf16", shape.slice(index.length));
    const pairs = scales.code === "e8m0" ? byE8m0 : byPower;
    scaleGroups(codes.read(index), scales.read(index), bytes, pairs, new Uint32Array(t.data.buffer));
    return t;
  });
}
/** NVFP4: the same two a byte, [rows, bytes], with an e4m3 scale for each group, [rows, groups], of which `numberOf` makes what numbers are multiplied by. */
export function scaledRows(
  codes: StoredCodes,
  scales: StoredCodes,
  numberOf: () => (scale: number) => number,
): StoredTensor {
  const [rows = 0, bytes = 0] = codes.shape;
  return computed("bf16", [rows, 2 * bytes], () => {
    const t = zeros("bf16", [rows, 2 * bytes]);
    const number = numberOf();
    const pairs = pairsBy((code) => number(e4m3[code] ?? 0));
    scaleGroups(codes.read(), scales.read(), bytes / (scales.shape[1] ?? 1), pairs, new Uint32Array(t.data.buffer));
    return t;
  });
}
/**
 * The same numbers transposed, as codes of ours with the same bits: bytes are of neighbouring rows. Null: groups are not of 32. `notPower`: the Problem
 * of a scale that is no number, which no bf16 is in its place.
 */
export function keptGroups(codes: StoredCodes, scales: StoredCodes, notPower: () => Problem): KeptCodes | null {
  const [columns = 0, groups = 0, bytes = 0] = codes.shape.slice(-3);
  const leading = codes.shape.slice(0, -3);
  if (2 * bytes !== fp4Group) return null;
  const transposedOf = (rows: number, dtype: DType, read: (index: readonly number[]) => Tensor["data"]): StoredTensor =>
    computed(dtype, [...leading, rows, columns], (index = []) =>
      transposed({ dtype, shape: [...leading.slice(index.length), columns, rows], data: read(index) }),
    );
  const scalesOf = (exponents: Uint8Array): Uint16Array => {
    if (exponents.includes(255)) throw notPower();
    const all = new Uint16Array(exponents.length);
    for (let i = 0; i < all.length; i++) all[i] = bf16Powers[exponents[i] ?? 0] ?? 0;
    return all;
  };
  return {
    code: "fp4",
    codes: transposedOf(groups * bytes, "i8", (index) => new Int8Array(codes.read(index).buffer)),
    scales: transposedOf(groups, "bf16", (index) => scalesOf(scales.read(index))),
  };
}
function scaleGroups(codes: Uint8Array, scales: Uint8Array, bytes: number, pairsOf: Pairs, to: Uint32Array): void {
  let at = 0;
  for (const scale of scales) {
    const pairs = pairsOf(scale);
    for (const end = at + bytes; at < end; at++) to[at] = pairs[codes[at] ?? 0] ?? 0;
  }
}
/** What each byte becomes, by the code of its scale. */
type Pairs = (scale: number) => Uint32Array;
function pairsBy(numberOf: (scale: number) => number): Pairs {
  const all: Uint32Array[] = [];
  return (scale) => (all[scale] ??= scaledPairs(numberOf(scale)));
}
function scaledPairs(scale: number): Uint32Array {
  const of = e2m1.map((x) => toBf16(x * scale));
  return Uint32Array.from({ length: 256 }, (_, byte) => (of[byte & 15] ?? 0) | ((of[byte >> 4] ?? 0) << 16));
}
const byPower = pairsBy(powerOf);
const byE8m0 = pairsBy((exponent) => powers.e8m0[exponent] ?? Number.NaN);
