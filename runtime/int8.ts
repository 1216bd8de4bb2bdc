// Codes of 8 bits with a scale for each column (compiler/graph/codes.ts): which ones numbers get. A scale has the 8 bits of a bf16, so a code times its scale is
// exact in f32, and numbers that codes stand for have the same codes again. native/codes.cpp does the same, to the same bits.
import { largestCode } from "../compiler/graph/codes.ts";
import type { Tensor } from "./executable/executable.ts";
import { fromBf16, toBf16 } from "./tensor.ts";

/** The columns of a tensor: `depth` elements each, `inner` apart, in `outer` parts. */
export type Columns = readonly [outer: number, depth: number, inner: number];
export interface Data {
  readonly numbers: Tensor["data"];
  readonly codes: Tensor["data"];
  readonly scales: Tensor["data"];
}
/** Added and subtracted again, it rounds doubles to whole numbers, of two the even one. */
const rounding = 1.5 * 2 ** 52;
/** Sets codes and scales to those of the numbers; false if one is not finite. */
export function setCodes({ numbers, codes, scales }: Data, columns: Columns): boolean {
  if (numbers.some((x) => !Number.isFinite(x))) return false;
  forElements(columns, (at, column) => {
    const size = Math.abs(numbers[at] ?? 0);
    if (size > (scales[column] ?? 0)) scales[column] = size;
  });
  for (let i = 0; i < scales.length; i++) scales[i] = fromBf16(toBf16((scales[i] ?? 0) / largestCode));
  forElements(columns, (at, column) => {
    const scale = scales[column] ?? 0;
    const code = scale === 0 ? 0 : Math.fround((numbers[at] ?? 0) / scale) + rounding - rounding;
    codes[at] = Math.min(Math.max(code, -largestCode), largestCode); // a subnormal scale is far off
  });
  return true;
}
/** Sets the numbers to what the codes stand for. */
export function setNumbers({ numbers, codes, scales }: Data, columns: Columns): void {
  forElements(columns, (at, column) => {
    numbers[at] = (codes[at] ?? 0) * (scales[column] ?? 0);
  });
}
function forElements([outer, depth, inner]: Columns, f: (at: number, column: number) => void): void {
  for (let o = 0, at = 0; o < outer; o++) {
    const first = o * inner;
    for (let k = 0; k < depth; k++) for (let i = first; i < first + inner; i++, at++) f(at, i);
  }
}
