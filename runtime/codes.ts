// Codes of 8 bits with a scale for each column: what quantised weights are kept as. A scale has the 8 bits of a bf16, so a code times its scale is exact in
// f32, and numbers that codes stand for have the same codes again. Numbers of f32 are left to the addon (native/codes.cpp), where it is loaded.
import { Bug, Problem } from "../compiler/diagnostic.ts";
import { largestCode, shapeOfScales } from "../compiler/graph/codes.ts";
import { fromTo, product } from "../compiler/types/numbers.ts";
import type { Codes, Tensor } from "./executable/executable.ts";
import { nativeIfLoaded } from "./native.ts";
import { convert, firstNonFinite, fromBf16, sameShape, toBf16, zeros } from "./tensor.ts";

/** Of a tensor whose columns lie along `axes`: a scale is the largest magnitude of a column / 127, and codes are the nearest, of two the even one. */
export function quantised(name: string, value: Tensor, axes: readonly number[]): Codes {
  const { data, shape } = convert(value, value.dtype === "f64" ? "f64" : "f32");
  const [codes, scales] = [zeros("i8", shape), zeros("f32", shapeOfScales(shape, { code: "int8", axes }))];
  const all = { numbers: data, codes: codes.data, scales: scales.data };
  const columns = columnsOf(shape, axes);
  const addon = nativeIfLoaded();
  const isFinite =
    addon && isOfF32(all) ? addon.quantise(all.numbers, all.codes, all.scales, ...columns) : setCodes(all, columns);
  if (!isFinite)
    throw new Problem(
      `\`${name}\` has an element that is not finite (${firstNonFinite(value)}), which 8 bits cannot hold`,
      "restore the file; or train again, with a lower learning rate",
    );
  return { codes, scales };
}
/** The numbers that codes stand for. */
export function dequantised({ codes, scales }: Codes, dtype: "f32" | "f64" = "f32"): Tensor {
  const numbers = zeros(dtype, codes.shape);
  const all = { numbers: numbers.data, codes: codes.data, scales: scales.data };
  const axes = axesOfScales(codes.shape, scales.shape);
  if (axes === null) throw new Bug("scales are not those of a column of codes");
  const addon = nativeIfLoaded();
  if (addon && isOfF32(all)) addon.dequantise(all.numbers, all.codes, all.scales, ...columnsOf(codes.shape, axes));
  else setNumbers(all, columnsOf(codes.shape, axes));
  return numbers;
}
/** The axes of a column, which stand in a row, by the shapes of codes and of scales; null: no such scales can be those of these codes. */
export function axesOfScales(codes: readonly number[], scales: readonly number[]): readonly number[] | null {
  const long = codes.flatMap((n, i) => (n !== 1 && scales[i] === 1 ? [i] : []));
  const axes = fromTo(long[0] ?? 0, (long.at(-1) ?? -1) + 1);
  return sameShape(scales, shapeOfScales(codes, { code: "int8", axes })) ? axes : null;
}

interface Data {
  readonly numbers: Tensor["data"];
  readonly codes: Tensor["data"];
  readonly scales: Tensor["data"];
}
interface DataOfF32 {
  readonly numbers: Float32Array;
  readonly codes: Int8Array;
  readonly scales: Float32Array;
}
const isOfF32 = (all: Data): all is DataOfF32 =>
  all.numbers instanceof Float32Array && all.codes instanceof Int8Array && all.scales instanceof Float32Array;

type Columns = readonly [outer: number, depth: number, inner: number];
/** The columns of a tensor: `depth` elements each, `inner` apart, in `outer` parts. */
function columnsOf(shape: readonly number[], axes: readonly number[]): Columns {
  const [first = 0] = axes;
  const outer = product(shape.slice(0, first));
  return [outer, product(axes.map((a) => shape[a] ?? 1)), product(shape.slice(first + axes.length))];
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
function setNumbers({ numbers, codes, scales }: Data, columns: Columns): void {
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
