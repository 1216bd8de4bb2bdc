// The interface to a compiled program, the same for every target: the training loop, generation and the command line use it.
import { Bug, Problem } from "../../compiler/diagnostic.ts";
import { inputFlagText } from "../../compiler/flag-text.ts";
import { placeOfKeyInput, runtimeInputs, type Store } from "../../compiler/graph/node.ts";
import type { Bytes, PlanStore } from "../../compiler/plan/plan.ts";
import type { DType, Weights } from "../../compiler/types/dtype.ts";
import { dims, dtypeOf } from "../../compiler/types/type.ts";

/** A device failed while it was running something. */
export class DeviceFailed extends Problem {}

/**
 * A tensor that goes into or comes out of an executable: row-major, and never an alias of a store. `data` is a Float32Array (f32), Float64Array (f64),
 * Int32Array (i32), Uint8Array (bool), Uint16Array (bf16) or, inside of an executable alone, Int8Array (i8).
 */
export interface Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Float32Array | Float64Array | Int32Array | Uint8Array | Uint16Array | Int8Array;
}
/** What quantised weights are kept as (compiler/graph/codes.ts). */
export interface Codes {
  readonly code: Weights;
  /** i8, of `shapeOfCodes`. */
  readonly codes: Tensor;
  /** Of `dtypeOfScales` and `shapeOfScales`. */
  readonly scales: Tensor;
}
/** A store; of one that is kept as codes the dtype is i8, and outside of `withQuantisedStores` that of what they stand for. */
export interface StoreInfo extends Omit<PlanStore, "buffer"> {
  readonly dtype: DType;
  readonly shape: readonly number[];
}
/**
 * Whether the codes that workers have of a store are parts of those of the whole: a column of 8 bits that they share has as many scales as workers, and pieces
 * of one may end within a group of 4 bits.
 */
export const hasWholeCodes = ({ quantised: by, shards = [] }: StoreInfo): boolean =>
  by !== undefined && !shards.some((s) => by.axes.includes(s.axis) && (by.code !== "fp4" || s.pieces !== undefined));
/** A store of a graph that no workers share. */
export const storeInfo = ({ name, role, type, stack, saved, frozen, quantised }: Store): StoreInfo => ({
  name,
  role,
  dtype: dtypeOf(type),
  shape: dims(type),
  stack,
  saved,
  ...(frozen ? { frozen } : {}),
  ...(quantised ? { quantised } : {}),
});
/** The store that holds the input `name` of an entry. */
export const storeOfInput = (entry: string, name: string): string => `${entry}/${name}`;
/** The name by which an entry knows a store that is its input. */
export const inputOfStore = (entry: string, store: string): string =>
  store.startsWith(`${entry}/`) ? store.slice(entry.length + 1) : store;
/** Throws if an input is given that the entry does not have, or one that it reads is missing. */
export function requireInputs(
  entry: string,
  reads: readonly string[],
  given: ReadonlyMap<string, Tensor>,
  has: (store: string) => boolean,
): void {
  for (const name of given.keys())
    if (!has(storeOfInput(entry, name))) throw new Problem(`${entry} has no input ${name}`, readsText(entry, reads));
  requireGiven(entry, reads, given);
}
/** Throws if an input is missing. */
export function requireGiven(entry: string, reads: readonly string[], given: ReadonlyMap<string, Tensor>): void {
  const missing = reads.find((name) => !given.has(name));
  if (missing !== undefined)
    throw new Problem(
      `input ${missing} of ${entry} is missing`,
      `${readsText(entry, reads)}: give it, ${inputFlagText(missing)}`,
    );
}
const readsText = (entry: string, reads: readonly string[]): string =>
  `${entry} reads ${reads.join(", ") || "nothing"}`;
/**
 * `seed` and `call` key the random numbers, `step` is the number of training steps done, `rank` is this worker's (default 0). `weight`: how much the batch
 * counts among those of its step, at least 0 (default 1).
 */
export interface RunContext {
  readonly seed: number;
  readonly call: number;
  readonly step: number;
  readonly rank?: number;
  readonly weight?: number;
}
/** The value of a hidden input (see `runtimeInputs` in compiler/graph/node.ts); null: the store is none. */
export function hiddenInput(store: string, { seed, call, step, rank = 0, weight = 1 }: RunContext): Tensor | null {
  if (store === runtimeInputs.step) return { dtype: "i32", shape: [], data: Int32Array.of(step) };
  if (store === runtimeInputs.rank) return { dtype: "i32", shape: [], data: Int32Array.of(rank) };
  if (store === runtimeInputs.weight) return { dtype: "f32", shape: [], data: Float32Array.of(weight) };
  const place = placeOfKeyInput(store);
  return place === null ? null : { dtype: "i32", shape: [2], data: Int32Array.of(seed, call ^ place) };
}
/** The results of one run. */
export interface Outcome {
  /** In the order of the entry's signature. */
  readonly outputs: readonly Tensor[];
  /** By the path of the layer that states it, as metrics are: `blocks.0.moe.gate.balance`. */
  readonly losses: ReadonlyMap<string, number>;
  readonly metrics: ReadonlyMap<string, Tensor>;
  /** Empty unless the entry was compiled with `gradients`. */
  readonly gradients: ReadonlyMap<string, Tensor>;
}
/**
 * Runs an entry repeatedly, as generation does: after each run its only output becomes its input `to`, and `at.call` and all integers >= 0 of its input
 * `next` are incremented. It ends after `times` runs or a time limit in milliseconds: `within` if it blocks the JavaScript thread, `beside` if it runs
 * on another thread.
 */
export interface Repeat {
  readonly times: number;
  readonly within: number;
  readonly beside: number;
  readonly to: string;
  readonly next: string;
}
export interface Executable {
  readonly stores: readonly StoreInfo[];
  readonly entries: readonly string[];
  /** Absent on the reference interpreter. */
  readonly bytes: Bytes | null;
  read(store: string): Tensor;
  /** What a quantised store with `hasWholeCodes` is kept as. Absent where there is none. */
  readonly readCodes?: (store: string) => Codes;
  /** Writes the same, or the part at an index of its first axes (as `writePart`), which must be of its code and shapes. */
  readonly writeCodes?: (store: string, index: readonly number[], codes: () => Codes) => void;
  write(store: string, value: Tensor): void;
  /** The part of a store at an index of its first axes, which has two axes or more. Absent in the interpreter, and with several workers. */
  readonly readPart?: (store: string, index: readonly number[]) => Tensor;
  /**
   * Writes the part of a store at an index of its first axes, which has two axes or more. `value` is not read by a worker that has another shard of the
   * store. Absent in the interpreter.
   */
  writePart?(store: string, index: readonly number[], value: () => Tensor): void;
  /** Runs one entry off the JavaScript thread; one at a time. Inputs by the names of its signature. */
  run(entry: string, inputs: ReadonlyMap<string, Tensor>, at: RunContext): Promise<Outcome>;
  /** Ends the run in progress before its next step. Its promise is rejected, and stores keep what was assigned so far. Absent where a run cannot be ended. */
  cancel?(): void;
  /** The integers of the outputs, run after run. Absent on targets where the overhead between two runs does not matter. */
  repeat?(how: Repeat, ...run: Parameters<Executable["run"]>): Promise<Tensor["data"]>;
  close(): void;
}

/** `repeat` if the executable has it, else a single run. */
export async function repeatOrRun(
  executable: Executable,
  how: Repeat,
  ...run: Parameters<Executable["run"]>
): Promise<Tensor["data"]> {
  if (executable.repeat) return executable.repeat(how, ...run);
  return onlyOutput(await executable.run(...run));
}
export function onlyOutput({ outputs: [output, ...more] }: Outcome): Tensor["data"] {
  if (!output || more.length > 0) throw new Bug("not one output");
  return output.data;
}
