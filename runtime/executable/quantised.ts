// Presents stores that are kept as codes and scales (`quantise` of the compiler) as the parameters that they stand for: what is written is quantised,
// one tensor at a time, and what is read is multiplied out.
import { Bug } from "../../compiler/diagnostic.ts";
import { dtypeOfScales, shapeOfCodes, shapeOfNumbers, shapeOfScales } from "../../compiler/graph/codes.ts";
import type { Quantised } from "../../compiler/graph/node.ts";
import { showBytes } from "../../compiler/show-bytes.ts";
import { bytesOf, type WeightsOption } from "../../compiler/types/dtype.ts";
import { product, sum } from "../../compiler/types/numbers.ts";
import { bitsOf, dequantised, quantised } from "../codes.ts";
import { part, requireFit } from "../tensor.ts";
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
  readonly readPart?: NonNullable<Executable["readPart"]>;
  readonly writePart?: NonNullable<Executable["writePart"]>;
  readonly repeat?: NonNullable<Executable["repeat"]>;
  readonly #inner: Executable;
  readonly #quantised: ReadonlyMap<string, QuantisedStore>;

  constructor(inner: Executable) {
    this.#inner = inner;
    this.stores = withoutScales(inner.stores).map((s) => (isQuantised(s) ? asNumbers(s) : s));
    this.#quantised = new Map(this.stores.filter(isQuantised).map((s) => [s.name, s]));
    this.entries = inner.entries;
    this.bytes = inner.bytes;
    const { readPart } = inner;
    if (readPart)
      this.readPart = (...of) => (this.#quantised.has(of[0]) ? part(this.read(of[0]), of[1]) : readPart(...of));
    if (inner.writePart)
      this.writePart = (store, index, value) => {
        const of = this.#quantised.get(store);
        if (!of) return inner.writePart?.(store, index, value);
        this.#write(of, index, made(of, index.length, value()));
      };
    if (inner.repeat) this.repeat = (...how) => repeatOrRun(inner, ...how);
  }
  read(store: string): Tensor {
    const of = this.#quantised.get(store);
    return of ? dequantised(this.#codesOf(of), numbersOf(of.quantised)) : this.#inner.read(store);
  }
  readonly readCodes = (store: string): Codes => this.#codesOf(this.#find(store));
  #find(store: string): QuantisedStore {
    const of = this.#quantised.get(store);
    if (!of) throw new Bug(`${store} is not quantised`);
    return of;
  }
  #codesOf({ name, quantised: { code, scales } }: QuantisedStore): Codes {
    return { code, codes: this.#inner.read(name), scales: this.#inner.read(scales) };
  }
  write(store: string, value: Tensor): void {
    const of = this.#quantised.get(store);
    if (!of) return this.#inner.write(store, value);
    this.#write(of, [], made(of, 0, value));
  }
  readonly writeCodes = (store: string, index: readonly number[], codes: () => Codes): void =>
    this.#write(this.#find(store), index, codes());
  #write({ name, quantised: { scales: nameOfScales } }: QuantisedStore, index: readonly number[], of: Codes): void {
    const parts = [[name, of.codes] as const, [nameOfScales, of.scales] as const];
    for (const [store, t] of parts)
      if (index.length === 0) this.#inner.write(store, t);
      else this.#inner.writePart?.(store, index, () => t);
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
const withoutScales = (stores: readonly StoreInfo[]): StoreInfo[] => {
  const scales = new Set(stores.map((s) => s.quantised?.scales));
  return stores.filter((s) => !scales.has(s.name));
};
/** What a store of codes is outside. */
const asNumbers = (s: QuantisedStore): QuantisedStore => ({
  ...s,
  dtype: numbersOf(s.quantised),
  shape: shapeOfNumbers(s.shape, s.quantised),
});
/** Whether the user is told so: some are, or were to be. */
export const tellsCodes = (
  { weights = "float" }: { readonly weights?: WeightsOption | undefined },
  stores: readonly StoreInfo[],
): boolean => weights !== "float" || stores.some((s) => s.quantised);
/** A line for the user: how much of a model is in 4 and in 8 bits, and the bytes of its parameters so, scales included, and otherwise. */
export function quantisedSummary(stores: readonly StoreInfo[]): string {
  const parameters = stores.filter((s) => s.role === "parameter");
  const otherwise = sum(parameters.map((s) => product(s.shape) * bytesOf[s.quantised?.dtype ?? s.dtype]));
  const all = Math.max(1, elements(parameters));
  const shares = (["fp4", "int8"] as const)
    .map((code) => ({
      bits: bitsOf[code],
      share: elements(parameters.filter((s) => s.quantised?.code === code)) / all,
    }))
    .filter(({ share }) => share > 0)
    .map(
      ({ bits, share }, i) =>
        `${(100 * share).toFixed(1)} %${i === 0 ? ` of the parameters in ${bits} bits` : ` in ${bits}`}`,
    );
  const kept = sum(parameters.map(keptBytes));
  return `${shares.join(", ") || "no parameter as codes"}: ${showBytes(kept)} in place of ${showBytes(otherwise)}`;
}
const elements = (stores: readonly StoreInfo[]): number => sum(stores.map((s) => product(s.shape)));
function keptBytes({ shape, dtype, quantised: by }: StoreInfo): number {
  if (!by) return product(shape) * bytesOf[dtype];
  return product(shapeOfCodes(shape, by)) + product(shapeOfScales(shape, by)) * bytesOf[dtypeOfScales[by.code]];
}
type QuantisedStore = StoreInfo & { readonly quantised: Quantised };
/** The dtype in which numbers of a quantised store come and go: what codes stand for is exact in f32. */
const numbersOf = ({ dtype }: Quantised): "f32" | "f64" => (dtype === "f64" ? "f64" : "f32");
const isQuantised = (s: StoreInfo): s is QuantisedStore => s.quantised !== undefined;
/** The codes of a value of a store, or of a part of it, at an index of so many axes. */
function made(
  { name, dtype, shape, quantised: { code, axes } }: QuantisedStore,
  indexed: number,
  value: Tensor,
): Codes {
  requireFit(name, { dtype, shape: shape.slice(indexed) }, value);
  return quantised(name, value, { code, axes: axes.map((a) => a - indexed) });
}
