// What the training loop, generation and the command line drive, whatever the target.
import { askedInput } from "../compiler/asked.ts";
import { Bug, Problem } from "../compiler/diagnostic.ts";
import { hidden, placeOfKey } from "../compiler/graph/node.ts";
import type { Bytes } from "../compiler/plan/plan.ts";
import type { DType } from "../compiler/types/dtype.ts";

/** A device has failed, in the midst of whatever it was asked for. */
export class DeviceFailed extends Problem {}

/** A tensor at the border: plain row-major, never an alias of a store. f32: Float32Array, f64: Float64Array, i32: Int32Array, bool: Uint8Array, bf16: Uint16Array. */
export interface Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Float32Array | Float64Array | Int32Array | Uint8Array | Uint16Array;
}
export interface StoreInfo {
  readonly name: string;
  readonly role: "parameter" | "prepared" | "state" | "optimizer" | "gradient" | "input";
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly stack: number;
  readonly saved: boolean;
  /** Into how many equal parts its first axis is cut: worker r has part r % split. */
  readonly split?: number;
}
/** The store that holds the input `name` of an entry. */
export const storeOfInput = (entry: string, name: string): string => `${entry}/${name}`;
/** What an entry calls a store that is its input. */
export const inputOfStore = (entry: string, store: string): string =>
  store.startsWith(`${entry}/`) ? store.slice(entry.length + 1) : store;
/** Throws where an input is given that there is not, or one that the entry reads is not given. */
export function requireInputs(
  entry: string,
  reads: readonly string[],
  given: ReadonlyMap<string, Tensor>,
  has: (store: string) => boolean,
): void {
  const help = `${entry} reads ${reads.join(", ") || "nothing"}`;
  for (const name of given.keys())
    if (!has(storeOfInput(entry, name))) throw new Problem(`${entry} has no input ${name}`, help);
  const missing = reads.find((name) => !given.has(name));
  if (missing !== undefined)
    throw new Problem(`input ${missing} of ${entry} is missing`, `${help}: give it, ${askedInput(missing)}`);
}
/** `call` keys the random numbers with the seed, `step` is the training steps done, `rank` which worker this is: 0. */
export interface At {
  readonly seed: number;
  readonly call: number;
  readonly step: number;
  readonly rank?: number;
}
/** What no caller gives by name: what keys the random numbers, how many steps were trained, and which worker this is. */
export function hiddenInput(store: string, { seed, call, step, rank = 0 }: At): Tensor | null {
  if (store === hidden.step) return { dtype: "i32", shape: [], data: Int32Array.of(step) };
  if (store === hidden.rank) return { dtype: "i32", shape: [], data: Int32Array.of(rank) };
  const place = placeOfKey(store);
  return place === null ? null : { dtype: "i32", shape: [2], data: Int32Array.of(seed, call ^ place) };
}
/** What one run gives. */
export interface Outcome {
  /** In the order of the signature. */
  readonly outputs: readonly Tensor[];
  readonly losses: ReadonlyMap<string, number>;
  readonly metrics: ReadonlyMap<string, Tensor>;
  /** Where it was compiled with `gradients`. */
  readonly gradients: ReadonlyMap<string, Tensor>;
}
/**
 * An entry run again and again: its only output becomes its input `to`, and the integers of its input `next` that are not negative, and `at.call`, go
 * up by one. It ends after so many times, or when so many milliseconds have passed: `within` where JavaScript waits for it, `beside` where it runs on
 * another thread.
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
  write(store: string, value: Tensor): void;
  /** Runs one entry off the JavaScript thread; one at a time. Inputs by the names of its signature. */
  run(entry: string, inputs: ReadonlyMap<string, Tensor>, at: At): Promise<Outcome>;
  /** Ends the run in progress before its next step: it is rejected, and stores keep what was assigned so far. Absent where nothing can. */
  cancel?(): void;
  /** The integers of the outputs, run after run. Absent where a run takes much longer than what is between two. */
  repeat?(how: Repeat, ...run: Parameters<Executable["run"]>): Promise<Tensor["data"]>;
  close(): void;
}

/** Where it cannot be repeated, one run. */
export async function repeated(
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
