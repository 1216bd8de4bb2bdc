// Codes of 4 bits with a scale for each 32 elements of a column (compiler/graph/codes.ts): which ones numbers get. A code times its scale is exact in f32, so
// numbers that codes stand for are kept as they are, signs of zeros too. native/fp4.cpp does the same, to the same bits.
import { fp4Group, fp4Sizes } from "../compiler/graph/codes.ts";
import type { Columns, Data } from "./int8.ts";
import { fromBf16, toBf16 } from "./tensor.ts";

/** Sets codes and scales (bf16) to those of the numbers (f32); false if one is not finite. The depth of the columns is a multiple of 32. */
export function setCodes({ numbers, codes, scales }: Data, columns: Columns): boolean {
  if (numbers.some((x) => !Number.isFinite(x))) return false;
  forGroups(columns, (group, first, inner) => {
    const x = Float32Array.from({ length: fp4Group }, (_, k) => numbers[first + k * inner] ?? 0);
    const scale = scaleOf(x);
    const code = (k: number): number => codeOf(x[k] ?? 0, scale);
    scales[group] = toBf16(scale);
    for (let k = 0; k < fp4Group; k += 2) codes[byteAt(first, inner, k)] = code(k) | (code(k + 1) << 4);
  });
  return true;
}
/** Sets the numbers to what the codes stand for. */
export function setNumbers({ numbers, codes, scales }: Data, columns: Columns): void {
  forGroups(columns, (group, first, inner) => {
    const scale = fromBf16(scales[group] ?? 0);
    for (let k = 0; k < fp4Group; k++) {
      const code = (codes[byteAt(first, inner, k)] ?? 0) >> (k % 2 === 0 ? 0 : 4);
      const size = (fp4Sizes[code & 7] ?? 0) * scale;
      numbers[first + k * inner] = code & 8 ? -size : size;
    }
  });
}
/** Calls f with each group's number and the place of its first element; the others follow `inner` apart. */
function forGroups([outer, depth, inner]: Columns, f: (group: number, first: number, inner: number) => void): void {
  for (let row = 0; row < (outer * depth) / fp4Group; row++)
    for (let i = 0; i < inner; i++) f(row * inner + i, row * fp4Group * inner + i, inner);
}
/** The byte of element `k` of a group, whose elements are in rows of `inner`; the first is at `first`. */
const byteAt = (first: number, inner: number, k: number): number => {
  const column = first % inner;
  return (first - column) / 2 + (k >> 1) * inner + column;
};

/**
 * The sizes of codes that the largest of a group may become, in the order in which they are tried. Where the first one's scale is a normal number, those after the
 * second are no better: their scales are a power of two times one of the first two, of whose numbers theirs are some.
 */
const largest = [6, 4, 3, 2, 1.5, 1, 0.5];
const leastNormal = 2 ** -126;
/** The scale of the least squared error, of equal ones the first; 0 where all are 0. */
function scaleOf(x: Float32Array): number {
  const most = x.reduce((m, y) => Math.max(m, Math.abs(y)), 0);
  const [first = 0, ...others] = largest.map((size) => scaleFor(most, size));
  const tried = first < leastNormal ? others : others.slice(0, 1);
  let [best, least] = [first, errorOf(x, first)];
  for (const scale of tried) {
    const error = errorOf(x, scale);
    if (error < least) [best, least] = [scale, error];
  }
  return best;
}
/** The bf16 nearest to most / size; the one below it, where that times the size is no f32. */
function scaleFor(most: number, size: number): number {
  const bits = toBf16(Math.fround(most / size));
  return fromBf16(Number.isFinite(Math.fround(fromBf16(bits) * size)) ? bits : bits - 1);
}
function errorOf(x: Float32Array, scale: number): number {
  let sum = 0;
  for (const y of x) {
    const off = Math.fround(Math.abs(y) - (fp4Sizes[indexOf(y, scale)] ?? 0) * scale);
    sum += off * off;
  }
  return sum;
}
const codeOf = (x: number, scale: number): number => indexOf(x, scale) | (x < 0 || Object.is(x, -0) ? 8 : 0);
/** Which size times the scale is the nearest to that of x, of two the one with the even index. */
function indexOf(x: number, scale: number): number {
  if (scale === 0) return 0;
  const size = Math.abs(x);
  let index = 0;
  for (; index < fp4Sizes.length - 1; index++) {
    const middle = (((fp4Sizes[index] ?? 0) + (fp4Sizes[index + 1] ?? 0)) / 2) * scale;
    if (!(size > middle || (size === middle && index % 2 === 1))) break;
  }
  return index;
}
