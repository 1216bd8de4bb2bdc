// Codes of 8 bits with a scale for each column: what quantised weights are kept as. A scale has the 8 bits of a bf16, so a code times its scale is exact in
// f32, and numbers that codes stand for have the same codes again.
import { Problem } from "../compiler/diagnostic.ts";
import { largestCode, shapeOfScales } from "../compiler/transform/quantise.ts";
import type { DType } from "../compiler/types/dtype.ts";
import { fromTo, product } from "../compiler/types/numbers.ts";
import type { Codes, Tensor } from "./executable/executable.ts";
import { convert, firstNonFinite, fromBf16, toBf16, zeros } from "./tensor.ts";

/** Of a tensor whose columns lie along `axes`: a scale is the largest magnitude of a column / 127, and codes are the nearest, of two the even one. */
export function quantised(name: string, value: Tensor, axes: readonly number[]): Codes {
  const wrong = firstNonFinite(value);
  if (wrong >= 0)
    throw new Problem(
      `\`${name}\` has an element that is not finite (${wrong}), which 8 bits cannot hold`,
      "restore the file; or train again, with a lower learning rate",
    );
  const { data, shape } = convert(value, value.dtype === "f64" ? "f64" : "f32");
  const [codes, scales] = [zeros("i8", shape), zeros("f32", shapeOfScales(shape, axes))];
  const columns = columnsOf(shape, axes);
  setScales(data, scales.data, columns);
  mapWithScales([data, scales.data, codes.data], columns, codeOf);
  return { codes, scales };
}
/** The numbers that codes stand for. */
export function dequantised({ codes, scales }: Codes, dtype: DType = "f32"): Tensor {
  const all = zeros(dtype, codes.shape);
  const long = codes.shape.flatMap((n, i) => (n !== 1 && scales.shape[i] === 1 ? [i] : []));
  const axes = fromTo(long[0] ?? 0, (long.at(-1) ?? -1) + 1);
  mapWithScales([codes.data, scales.data, all.data], columnsOf(codes.shape, axes), (code, scale) => code * scale);
  return all;
}

/** The columns of a tensor: `depth` elements each, `inner` apart. */
function columnsOf(shape: readonly number[], axes: readonly number[]) {
  const [first = 0] = axes;
  const inner = product(shape.slice(first + axes.length));
  return { outer: product(shape.slice(0, first)), depth: product(axes.map((a) => shape[a] ?? 1)), inner };
}
type Columns = ReturnType<typeof columnsOf>;
function setScales(data: Tensor["data"], scales: Tensor["data"], { outer, depth, inner }: Columns): void {
  for (let o = 0, at = 0; o < outer; o++) {
    const first = o * inner;
    for (let k = 0; k < depth; k++)
      for (let i = first; i < first + inner; i++, at++) {
        const size = Math.abs(data[at] ?? 0);
        if (size > (scales[i] ?? 0)) scales[i] = size;
      }
  }
  for (let i = 0; i < scales.length; i++) scales[i] = fromBf16(toBf16((scales[i] ?? 0) / largestCode));
}
/** Sets each element of `to` to `f` of that of `from` and its column's scale. */
function mapWithScales(
  [from, scales, to]: readonly [Tensor["data"], Tensor["data"], Tensor["data"]],
  { outer, depth, inner }: Columns,
  f: (x: number, scale: number) => number,
): void {
  for (let o = 0, at = 0; o < outer; o++) {
    const first = o * inner;
    for (let k = 0; k < depth; k++)
      for (let i = first; i < first + inner; i++, at++) to[at] = f(from[at] ?? 0, scales[i] ?? 0);
  }
}
/** Added and subtracted again, it rounds doubles to whole numbers, of two the even one. */
const rounding = 1.5 * 2 ** 52;
function codeOf(x: number, scale: number): number {
  const code = scale === 0 ? 0 : Math.fround(x / scale) + rounding - rounding;
  return Math.min(Math.max(code, -128), 127);
}
