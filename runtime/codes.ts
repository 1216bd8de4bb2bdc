// What quantised weights are kept as: codes and scales (compiler/graph/codes.ts). Numbers of f32 are left to the addon (native/codes.cpp, native/fp4.cpp),
// where it is loaded.
import { Bug, Problem } from "../compiler/diagnostic.ts";
import { dtypeOfScales, shapeOfCodes, shapeOfNumbers, shapeOfScales } from "../compiler/graph/codes.ts";
import type { Quantised } from "../compiler/graph/node.ts";
import type { Weights } from "../compiler/types/dtype.ts";
import { fromTo, product, sameShape } from "../compiler/types/numbers.ts";
import type { Codes, Tensor } from "./executable/executable.ts";
import * as fp4 from "./fp4.ts";
import type { Columns, Data } from "./int8.ts";
import * as int8 from "./int8.ts";
import { nativeIfLoaded } from "./native.ts";
import { convert, firstNonFinite, zeros } from "./tensor.ts";

/**
 * Of a tensor whose columns lie along `axes`. int8: a scale is the largest magnitude of a column / 127, and codes are the nearest, of two the even one. fp4: that
 * of fp4.ts.
 */
export function quantised(name: string, value: Tensor, how: Pick<Quantised, "code" | "axes">): Codes {
  const { code, axes } = how;
  const { data, shape } = convert(value, code === "int8" && value.dtype === "f64" ? "f64" : "f32");
  const codes = zeros("i8", shapeOfCodes(shape, how));
  const scales = zeros(dtypeOfScales[code], shapeOfScales(shape, how));
  const all = { numbers: data, codes: codes.data, scales: scales.data };
  if (!setCodes(code, all, columnsOf(shape, axes)))
    throw new Problem(
      `\`${name}\` has an element that is not finite (${firstNonFinite(value)}), which ${bitsOf[code]} bits cannot hold`,
      "restore the file; or train again, with a lower learning rate",
    );
  return { code, codes, scales };
}
/** How many bits a code has. */
export const bitsOf: Readonly<Record<Weights, number>> = { int8: 8, fp4: 4 };
/** The numbers that codes stand for. */
export function dequantised({ code, codes, scales }: Codes, dtype: "f32" | "f64" = "f32"): Tensor {
  const axes = axesOfScales(code, codes.shape, scales.shape);
  if (axes === null) throw new Bug("scales are not those of a column of codes");
  const shape = shapeOfNumbers(codes.shape, { code, axes });
  const numbers = zeros(code === "int8" ? dtype : "f32", shape);
  setNumbers(code, { numbers: numbers.data, codes: codes.data, scales: scales.data }, columnsOf(shape, axes));
  return convert(numbers, dtype);
}
/** The axes of a column, which stand in a row, by the shapes of codes and of scales; null: no such scales can be those of these codes. */
export function axesOfScales(
  code: Weights,
  codes: readonly number[],
  scales: readonly number[],
): readonly number[] | null {
  if (code === "fp4" && codes.length < 2) return null;
  const axes = code === "fp4" ? [codes.length - 2] : axesOfLength1(codes, scales);
  const shape = shapeOfNumbers(codes, { code, axes });
  return sameShape(scales, shapeOfScales(shape, { code, axes })) ? axes : null;
}
function axesOfLength1(codes: readonly number[], scales: readonly number[]): readonly number[] {
  const long = codes.flatMap((n, i) => (n !== 1 && scales[i] === 1 ? [i] : []));
  return fromTo(long[0] ?? 0, (long.at(-1) ?? -1) + 1);
}

/** The columns of a tensor. */
function columnsOf(shape: readonly number[], axes: readonly number[]): Columns {
  const [first = 0] = axes;
  const outer = product(shape.slice(0, first));
  return [outer, product(axes.map((a) => shape[a] ?? 1)), product(shape.slice(first + axes.length))];
}

/** What the addon takes: numbers of f32. */
interface Known<Scales> {
  readonly numbers: Float32Array;
  readonly codes: Int8Array;
  readonly scales: Scales;
}
const isInt8 = (all: Data): all is Known<Float32Array> => isOfF32(all) && all.scales instanceof Float32Array;
const isFp4 = (all: Data): all is Known<Uint16Array> => isOfF32(all) && all.scales instanceof Uint16Array;
const isOfF32 = ({ numbers, codes }: Data): boolean => numbers instanceof Float32Array && codes instanceof Int8Array;
/** False if a number is not finite. */
function setCodes(code: Weights, all: Data, columns: Columns): boolean {
  const addon = nativeIfLoaded();
  if (addon && isInt8(all)) return addon.quantise(all.numbers, all.codes, all.scales, ...columns);
  if (addon && isFp4(all)) return addon.quantiseFp4(all.numbers, all.codes, all.scales, ...columns);
  return (code === "fp4" ? fp4 : int8).setCodes(all, columns);
}
function setNumbers(code: Weights, all: Data, columns: Columns): void {
  const addon = nativeIfLoaded();
  if (addon && isInt8(all)) addon.dequantise(all.numbers, all.codes, all.scales, ...columns);
  else if (addon && isFp4(all)) addon.dequantiseFp4(all.numbers, all.codes, all.scales, ...columns);
  else (code === "fp4" ? fp4 : int8).setNumbers(all, columns);
}
