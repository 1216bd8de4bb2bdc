// Presents stores that are kept as codes and scales (`quantise` of the compiler) as the parameters that they stand for: what is written is quantised,
// one tensor at a time, and what is read is multiplied out.
import { Bug } from "../../compiler/diagnostic.ts";
import { shapeOfScales } from "../../compiler/graph/codes.ts";
import type { Quantised } from "../../compiler/graph/node.ts";
import { showBytes } from "../../compiler/show-bytes.ts";
import { bytesOf } from "../../compiler/types/dtype.ts";
import { product, sum } from "../../compiler/types/numbers.ts";
import { dequantised, quantised } from "../codes.ts";
import { requireFit } from "../tensor.ts";
import {
  type Codes,
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
      .map((s) => (s.quantised ? { ...s, dtype: numbersOf(s.quantised) } : s));
    this.entries = inner.entries;
    this.bytes = inner.bytes;
    if (inner.writePart)
      this.writePart = (store, index, value) => {
        const of = this.#quantised.get(store);
        if (!of) return inner.writePart?.(store, index, value);
        const axes = of.quantised.axes.map((a) => a - index.length);
        const { codes, scales } = made(of, of.shape.slice(index.length), axes, value());
        inner.writePart?.(store, index, () => codes);
        inner.writePart?.(of.quantised.scales, index, () => scales);
      };
    if (inner.repeat) this.repeat = (...how) => repeatOrRun(inner, ...how);
  }
  read(store: string): Tensor {
    const of = this.#quantised.get(store);
    return of ? dequantised(this.#codesOf(of), numbersOf(of.quantised)) : this.#inner.read(store);
  }
  readonly readCodes = (store: string): Codes => {
    const of = this.#quantised.get(store);
    if (!of) throw new Bug(`${store} is not quantised`);
    return this.#codesOf(of);
  };
  #codesOf({ name, quantised: { scales } }: QuantisedStore): Codes {
    return { codes: this.#inner.read(name), scales: this.#inner.read(scales) };
  }
  write(store: string, value: Tensor): void {
    const of = this.#quantised.get(store);
    if (!of) return this.#inner.write(store, value);
    const { codes, scales } = made(of, of.shape, of.quantised.axes, value);
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
  const otherwise = sum(parameters.map((s) => product(s.shape) * bytesOf[s.quantised?.dtype ?? s.dtype]));
  const share = elements(parameters.filter(isQuantised)) / Math.max(1, elements(parameters));
  return `${(100 * share).toFixed(1)} % of the parameters in 8 bits: ${showBytes(sum(parameters.map(keptBytes)))} in place of ${showBytes(otherwise)}`;
}
const elements = (stores: readonly StoreInfo[]): number => sum(stores.map((s) => product(s.shape)));
function keptBytes({ shape, dtype, quantised: by }: StoreInfo): number {
  if (!by) return product(shape) * bytesOf[dtype];
  return product(shape) * bytesOf.i8 + product(shapeOfScales(shape, by)) * bytesOf.f32;
}
type QuantisedStore = StoreInfo & { readonly quantised: Quantised };
/** The dtype in which numbers of a quantised store come and go: what codes stand for is exact in f32. */
const numbersOf = ({ dtype }: Quantised): "f32" | "f64" => (dtype === "f64" ? "f64" : "f32");
const isQuantised = (s: StoreInfo): s is QuantisedStore => s.quantised !== undefined;
function made(
  { name, quantised: by }: QuantisedStore,
  shape: readonly number[],
  axes: readonly number[],
  value: Tensor,
): Codes {
  requireFit(name, { dtype: numbersOf(by), shape }, value);
  return quantised(name, value, axes);
}
