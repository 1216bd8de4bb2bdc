// Presents stores that are kept as codes and scales (`quantise` of the compiler) as the parameters that they stand for: what is written is quantised,
// one tensor at a time, and what is read is multiplied out.
import { Problem } from "../../compiler/diagnostic.ts";
import type { Quantised } from "../../compiler/graph/node.ts";
import { showBytes } from "../../compiler/show-bytes.ts";
import { largestCode, shapeOfScales } from "../../compiler/transform/quantise.ts";
import { bytesOf } from "../../compiler/types/dtype.ts";
import { product, sum } from "../../compiler/types/numbers.ts";
import { convert, firstNonFinite, requireFit, zeros } from "../tensor.ts";
import {
  type Executable,
  type Outcome,
  type RunContext,
  repeatOrRun,
  type StoreInfo,
  type Tensor,
} from "./executable.ts";

export const withQuantisedStores = (executable: Executable): Executable =>
  executable.stores.some((s) => s.quantised) ? new QuantisedExecutable(executable) : executable;

class QuantisedExecutable implements Executable {
  readonly stores: Executable["stores"];
  readonly entries: Executable["entries"];
  readonly bytes: Executable["bytes"];
  readonly writePart?: NonNullable<Executable["writePart"]>;
  readonly repeat?: NonNullable<Executable["repeat"]>;
  readonly #inner: Executable;
  readonly #quantised: ReadonlyMap<string, QuantisedStore>;

  constructor(inner: Executable) {
    this.#inner = inner;
    this.#quantised = new Map(inner.stores.filter(isQuantised).map((s) => [s.name, s]));
    const scales = new Set([...this.#quantised.values()].map((s) => s.quantised.scales));
    this.stores = inner.stores
      .filter((s) => !scales.has(s.name))
      .map((s) => (s.quantised ? { ...s, dtype: s.quantised.dtype } : s));
    this.entries = inner.entries;
    this.bytes = inner.bytes;
    if (inner.writePart)
      this.writePart = (store, index, value) => {
        const of = this.#quantised.get(store);
        if (!of) return inner.writePart?.(store, index, value);
        const axes = of.quantised.axes.map((a) => a - index.length);
        const { codes, scales } = quantised(of, of.shape.slice(index.length), axes, value());
        inner.writePart?.(store, index, () => codes);
        inner.writePart?.(of.quantised.scales, index, () => scales);
      };
    if (inner.repeat) this.repeat = (...how) => repeatOrRun(inner, ...how);
  }
  read(store: string): Tensor {
    const of = this.#quantised.get(store);
    const codes = this.#inner.read(store);
    return of ? dequantised(of.quantised, codes, this.#inner.read(of.quantised.scales)) : codes;
  }
  write(store: string, value: Tensor): void {
    const of = this.#quantised.get(store);
    if (!of) return this.#inner.write(store, value);
    const { codes, scales } = quantised(of, of.shape, of.quantised.axes, value);
    this.#inner.write(store, codes);
    this.#inner.write(of.quantised.scales, scales);
  }
  run(entry: string, inputs: ReadonlyMap<string, Tensor>, at: RunContext): Promise<Outcome> {
    return this.#inner.run(entry, inputs, at);
  }
  cancel(): void {
    this.#inner.cancel?.();
  }
  close(): void {
    this.#inner.close();
  }
}
/** A line for the user: how much of a model is in 8 bits, and the bytes of its parameters so, scales included, and otherwise. */
export function quantisedSummary(stores: readonly StoreInfo[]): string {
  const parameters = stores.filter((s) => s.role === "parameter");
  const otherwise = sum(parameters.map((s) => product(s.shape) * bytesOf[s.dtype]));
  const share = elements(parameters.filter(isQuantised)) / Math.max(1, elements(parameters));
  return `${(100 * share).toFixed(1)} % of the parameters in 8 bits: ${showBytes(sum(parameters.map(keptBytes)))} in place of ${showBytes(otherwise)}`;
}
const elements = (stores: readonly StoreInfo[]): number => sum(stores.map((s) => product(s.shape)));
function keptBytes({ shape, dtype, quantised: by }: StoreInfo): number {
  if (!by) return product(shape) * bytesOf[dtype];
  return product(shape) * bytesOf.i8 + product(shapeOfScales(shape, by.axes)) * bytesOf.f32;
}
type QuantisedStore = StoreInfo & { readonly quantised: Quantised };
const isQuantised = (s: StoreInfo): s is QuantisedStore => s.quantised !== undefined;

/** The columns of a tensor: `depth` elements each, `inner` apart. */
function columnsOf(shape: readonly number[], axes: readonly number[]) {
  const [first = 0] = axes;
  const inner = product(shape.slice(first + axes.length));
  return { outer: product(shape.slice(0, first)), depth: product(axes.map((a) => shape[a] ?? 1)), inner };
}
/** Codes and scales of a tensor of that shape: the scale of a column is its largest magnitude / 127, and codes are the nearest, of two the even one. */
function quantised(
  { name, quantised: { dtype } }: QuantisedStore,
  shape: readonly number[],
  axes: readonly number[],
  value: Tensor,
): { readonly codes: Tensor; readonly scales: Tensor } {
  requireFit(name, { dtype, shape }, value);
  const wrong = firstNonFinite(value);
  if (wrong >= 0)
    throw new Problem(
      `\`${name}\` has an element that is not finite (${wrong}), which 8 bits cannot hold`,
      "restore the file; or train again, with a lower learning rate",
    );
  const { data } = convert(value, dtype === "f64" ? "f64" : "f32");
  const [codes, scales] = [zeros("i8", shape), zeros("f32", shapeOfScales(shape, axes))];
  const columns = columnsOf(shape, axes);
  setScales(data, scales.data, columns);
  mapWithScales([data, scales.data, codes.data], columns, codeOf);
  return { codes, scales };
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
  for (let i = 0; i < scales.length; i++) scales[i] = (scales[i] ?? 0) / largestCode;
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
/** The numbers that codes stand for. */
function dequantised({ dtype, axes }: Quantised, codes: Tensor, scales: Tensor): Tensor {
  const all = zeros("f32", codes.shape);
  mapWithScales([codes.data, scales.data, all.data], columnsOf(codes.shape, axes), (code, scale) => code * scale);
  return convert(all, dtype);
}
