// A compiled entry with its parameters, as it is called from a user's own TypeScript.
import { stackedName } from "../../compiler/copies.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { describeValue } from "../../compiler/flag-text.ts";
import { updateEntryName } from "../../compiler/gradients/accumulate.ts";
import { type DType, isFloat } from "../../compiler/types/dtype.ts";
import { product } from "../../compiler/types/numbers.ts";
import type { CompileReport } from "../compile.ts";
import { letEventsRun } from "../events.ts";
import {
  type Executable,
  inputOfStore,
  type Outcome,
  type StoreInfo,
  storeOfInput,
  type Tensor,
} from "../executable/executable.ts";
import { loadStores, savedTensors } from "../storage/checkpoint.ts";
import { namesHelp, namesOf, splitStacked } from "../storage/names.ts";
import { type LoadedParameters, matchParameters, writeParameters } from "../storage/parameters.ts";
import { allInMemory, readAll } from "../storage/stored-tensor.ts";
import { convert, fromNumbers, requireElements, requireFit, requireIndices, requireMap } from "../tensor.ts";
import { requireOptions } from "./options.ts";

/**
 * A tensor, or only its elements in row-major order. A float input may be given in f32 whatever its dtype: it is rounded to bf16, or widened to f64.
 */
export type Input = Tensor | Tensor["data"];
/** By the input names of the entry's signature. */
export type Inputs = Readonly<Record<string, Input>>;

/** Options of one `run`. */
export interface CallOptions {
  /** How many training steps were done. Default: 0. */
  readonly step?: number;
  /**
   * When it is aborted, the run is rejected with the signal's reason: on the host before its next kernel, elsewhere after a run that has begun.
   * Stores that the run assigns (states; in training, parameters too) may then be partly updated.
   */
  readonly signal?: AbortSignal | undefined;
}

/** Options of `load`. */
export interface LoadOptions {
  /**
   * Arrays of layers that the tensors lack begin as copies of the layer that they have in their place (sparse upcycling): `feed.experts.3.up.weight` is
   * `feed.up.weight`. Default: false.
   */
  readonly upcycle?: boolean;
}

/** A compiled entry with its parameters. Runs are executed one after another, in the order of the calls. */
export class Program {
  /** How long compiling took and how much memory the program needs. */
  readonly report: CompileReport;
  readonly #executable: Executable;
  readonly #entry: string;
  readonly #seed: number;
  readonly #inputs: ReadonlyMap<string, StoreInfo>;
  #calls = 0;
  #closed = false;
  /** How many runs have not ended; `last` settles with the newest of them. */
  #pending = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(executable: Executable, report: CompileReport, entry: string, seed: number) {
    [this.#executable, this.report, this.#entry, this.#seed] = [executable, report, entry, seed];
    const own = executable.stores.filter((s) => s.role === "input" && s.name.startsWith(storeOfInput(entry, "")));
    this.#inputs = new Map(own.map((s) => [inputOfStore(entry, s.name), s]));
  }
  /**
   * Names of all parameters and saved states. Each copy in an array of layers has its own name, `experts.3.up.weight`; if there are more than 32,768
   * all are one tensor, `experts.up.weight`, with an axis for the layers. So it is in all that a program returns.
   */
  get names(): string[] {
    return modelStores(this.#executable).flatMap(namesOf);
  }
  /** The dtype and shape of each input that `run` takes. Those with a default are among them if `given` names them. */
  get inputs(): Map<string, { readonly dtype: DType; readonly shape: readonly number[] }> {
    return new Map([...this.#inputs].map(([name, { dtype, shape }]) => [name, { dtype, shape }]));
  }
  /** A copy of the value of a parameter or state; `name` is one of `names`. */
  read(name: string): Tensor {
    this.#requireIdle();
    const store = modelStores(this.#executable).find((s) => namesOf(s).includes(name));
    const [, tensor] = store
      ? (splitStacked(store.name, this.#executable.read(store.name)).find(([n]) => n === name) ?? [])
      : [];
    if (!tensor) throw new Problem(`there is no parameter ${name}`, namesHelp("parameters", name, this.names));
    return tensor;
  }
  /** Copies of all parameters and states, as `load` takes them. */
  parameters(): Map<string, Tensor> {
    this.#requireIdle();
    return new Map(
      modelStores(this.#executable).flatMap(({ name }) => splitStacked(name, this.#executable.read(name))),
    );
  }
  /**
   * Sets parameters and states by name: whole arrays of layers (`experts.up.weight`, with a leading axis), or each copy by itself. If anything does
   * not fit, nothing is set.
   */
  load(tensors: ReadonlyMap<string, Tensor>, options: LoadOptions = {}): void {
    this.#requireIdle();
    requireOptions("load", options);
    const given = { ...givenTensors(tensors), upcycle: options.upcycle ?? false };
    writeParameters(this.#executable, matchParameters(this.#executable.stores, given));
  }
  /**
   * Everything that training can be continued from: parameters, states and optimizer state, as `restore` and `train` take it. `writeSafetensors`
   * writes it to a file.
   */
  state(): Map<string, Tensor> {
    this.#requireIdle();
    const { model, frozen, training } = savedTensors(this.#executable);
    return readAll(new Map([...model, ...frozen, ...training]));
  }
  /** Sets everything that `state` gave; `calls` is how many runs had been made then, so that random numbers go on from there. */
  restore(state: ReadonlyMap<string, Tensor>, calls: number): void {
    this.#requireIdle();
    requireMap("the state", state);
    const known = new Set(this.#executable.stores.flatMap((s) => (s.saved ? namesInState(s) : [])));
    for (const [name, tensor] of state) {
      if (!known.has(name)) throw new Problem(`nothing is named ${name}`, namesHelp("tensors", name, [...known]));
      requireElements(name, tensor);
    }
    const optimizer = this.#executable.stores.filter((s) => s.saved && s.role === "optimizer");
    if (optimizer.length > 0 && !optimizer.some((s) => namesInState(s).some((name) => state.has(name))))
      throw new Problem(
        "the state has no optimizer state",
        "give what `state()` of the trained program returned; parameters alone begin a new training: `train(source, { parameters, ... })`",
      );
    loadStores(this.#executable, { path: "the state", model: allInMemory(state), training: new Map() });
    this.#calls = calls;
  }
  /** One call, off the JavaScript thread (except by the interpreter). The caller may change the inputs as soon as `run` has returned its promise. */
  async run(inputs: Inputs, options: CallOptions = {}): Promise<Outcome> {
    return this.runWeighted(inputs, 1, options);
  }
  /** `run`, where the batch counts as `weight` among those of its step. */
  async runWeighted(inputs: Inputs, weight: number, options: CallOptions): Promise<Outcome> {
    this.#requireOpen();
    const given = this.#copyInputs(inputs);
    requireOptions("a run", options);
    const { step = 0, signal } = options;
    requireInteger("the step", step);
    const at = { seed: this.#seed, call: this.#calls++, step, weight };
    return this.#enqueue(async () =>
      splitGradients(await this.#withCancel(signal, () => this.#executable.run(this.#entry, given, at))),
    );
  }
  /** Runs the optimizer on the gradients that accumulating runs have summed. */
  async update(step: number): Promise<void> {
    this.#requireOpen();
    requireInteger("the step", step);
    const at = { seed: this.#seed, call: this.#calls, step };
    await this.#enqueue(() => this.#executable.run(updateEntryName(this.#entry), new Map(), at));
  }
  /** Frees the memory once all pending runs have ended; nothing can be read after that. */
  close(): void {
    if (!this.#closed && this.#pending === 0) this.#executable.close();
    this.#closed = true;
  }
  async #withCancel<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    const cancel = (): void => this.#executable.cancel?.();
    signal?.addEventListener("abort", cancel);
    try {
      return await work();
    } catch (error) {
      signal?.throwIfAborted(); // rejects with the reason of the cancellation
      throw error;
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }
  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    const inTurn = async (): Promise<T> => {
      try {
        return await work();
      } finally {
        await letEventsRun(); // short runs are made on this thread
      }
    };
    const turn = this.#pending === 0 ? inTurn() : this.#last.then(inTurn);
    const over = (): void => {
      this.#pending -= 1;
      if (this.#closed && this.#pending === 0) this.#executable.close();
    };
    this.#pending += 1;
    this.#last = turn.then(over, over);
    return turn;
  }
  #requireOpen(): void {
    if (this.#closed)
      throw new Problem(
        "the program is closed",
        "use it before `close`, and that of `train` inside the loop, which closes it at its end: `fit` returns the parameters; or compile it again",
      );
  }
  #requireIdle(): void {
    this.#requireOpen();
    if (this.#pending > 0)
      throw new Problem("the program is running", "await its runs before its parameters are read or set");
  }
  /** Copies all inputs of a run, because it may have to wait for other runs. */
  #copyInputs(inputs: Inputs): Map<string, Tensor> {
    if (Object(inputs) !== inputs || Symbol.iterator in inputs)
      throw new Problem("the inputs are no object of names", "give them by name: { x: new Float32Array(8) }");
    const given = Object.entries(inputs).map(([name, x]): [string, Tensor] => [name, this.#input(name, x)]);
    return new Map([...this.#defaultCotangents(inputs), ...given]);
  }
  #input(name: string, x: Input): Tensor {
    const store = this.#inputs.get(name);
    if (!store)
      throw new Problem(
        `${this.#entry} has no input ${name}`,
        `it reads ${[...this.#inputs.keys()].join(", ") || "nothing"}; what has a default is named in \`given\` when it is compiled`,
      );
    if (Object(x) !== x) throw new Problem(`${name} is given ${describeValue(x)}`, "give a typed array or a Tensor");
    const { dtype, shape } = store;
    const tensor = "dtype" in x ? x : { dtype: assumedDtype(x, dtype), shape, data: x };
    requireElements(name, tensor);
    const value = isFloat(dtype) && tensor.dtype === "f32" ? convert(tensor, dtype) : tensor;
    requireFit(name, store, value);
    requireIndices(name, value, this.report.choices[store.name]);
    return { dtype, shape, data: value.data.slice() };
  }
  /** Cotangents that are not given are all ones. */
  #defaultCotangents(inputs: Inputs): [string, Tensor][] {
    const missing = [...this.#inputs].filter(([name]) => name.startsWith("cotangent.") && !Object.hasOwn(inputs, name));
    return missing.map(([name, { dtype, shape }]) => [
      name,
      fromNumbers(dtype, shape, new Uint8Array(product(shape)).fill(1)),
    ]);
  }
}

const modelStores = ({ stores }: Executable): StoreInfo[] =>
  stores.filter((s) => s.role === "parameter" || (s.role === "state" && s.saved));
/** Parameters and states as `load` takes them. */
export function givenTensors(tensors: ReadonlyMap<string, Tensor>): LoadedParameters {
  requireMap("the parameters", tensors);
  for (const [name, tensor] of tensors) requireElements(name, tensor);
  return { path: "the parameters", tensors: allInMemory(tensors) };
}

/** Splits the gradients of arrays of layers, so that each copy has its own name as in `names` and `read`. */
const splitGradients = (outcome: Outcome): Outcome => ({
  ...outcome,
  gradients: new Map([...outcome.gradients].flatMap(([name, t]) => splitStacked(name, t))),
});
/** The dtype that a bare array is taken to have: any float input may be given in f32. */
const assumedDtype = (x: Input, dtype: DType): DType =>
  isFloat(dtype) && Object.prototype.toString.call(x) === "[object Float32Array]" ? "f32" : dtype;

export function requireInteger(what: string, x: unknown): void {
  if (typeof x !== "number" || (x | 0) !== x)
    throw new Problem(`${what} is ${describeValue(x)}`, "give a whole number from -2147483648 to 2147483647");
}
/** Under which names a state may give a store. */
const namesInState = (store: StoreInfo): string[] => [stackedName(store.name), ...namesOf(store)];
