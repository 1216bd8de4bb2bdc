// A compiled entry as a user's own TypeScript calls it, with its parameters.
import { kindOf } from "../compiler/asked.ts";
import { Problem } from "../compiler/diagnostic.ts";
import { updateOf } from "../compiler/transform/accumulate.ts";
import { type DType, isFloat } from "../compiler/types/dtype.ts";
import { loadStores, storesOf } from "./checkpoint.ts";
import type { CompileReport } from "./compile.ts";
import {
  type Executable,
  inputOfStore,
  type Outcome,
  type StoreInfo,
  storeOfInput,
  type Tensor,
} from "./executable.ts";
import { NamedTensors, namesHelp, namesOf, split } from "./names.ts";
import { requireOptions } from "./options.ts";
import { bytesOfTensor, convert, count, fromBytes, fromNumbers, requireElements, requireFit } from "./tensor.ts";

/** A tensor, or its elements alone in row-major order. A float input may be given in f32: it is rounded to bf16, and as it is in f64. */
export type Input = Tensor | Tensor["data"];
/** By the names of the entry's signature. */
export type Inputs = Readonly<Record<string, Input>>;

/** What `run` takes besides its inputs. */
export interface CallOptions {
  /** How many training steps were done: 0. */
  readonly step?: number;
  /**
   * Aborted: the run is rejected with the signal's reason, on the host before its next kernel; elsewhere one that has begun ends as it would. What it
   * assigns (states; in training, parameters too) may then be half assigned.
   */
  readonly signal?: AbortSignal | undefined;
}

/** A compiled entry with its parameters. Its runs follow one another in the order of the calls. */
export class Program {
  /** What compiling took and what the program needs. */
  readonly report: CompileReport;
  private readonly executable: Executable;
  private readonly entry: string;
  private readonly seed: number;
  private readonly inputs: ReadonlyMap<string, StoreInfo>;
  private calls = 0;
  private closed = false;
  /** How many runs are not over, and the end of the last of them. */
  private pending = 0;
  private last: Promise<void> = Promise.resolve();

  constructor(executable: Executable, report: CompileReport, entry: string, seed: number) {
    [this.executable, this.report, this.entry, this.seed] = [executable, report, entry, seed];
    const own = executable.stores.filter((s) => s.role === "input" && s.name.startsWith(storeOfInput(entry, "")));
    this.inputs = new Map(own.map((s) => [inputOfStore(entry, s.name), s]));
  }
  /** Names of parameters and states; each copy in an array of layers has its own: `experts.3.up.weight`. */
  get names(): string[] {
    return this.kept().flatMap(namesOf);
  }
  /** A copy of a parameter or state, by the name of one copy. */
  read(name: string): Tensor {
    this.requireIdle();
    const store = this.kept().find((s) => namesOf(s).includes(name));
    const [, tensor] = store
      ? (split(store.name, this.executable.read(store.name)).find(([n]) => n === name) ?? [])
      : [];
    if (!tensor) throw new Problem(`there is no parameter ${name}`, namesHelp("parameters", name, this.names));
    return tensor;
  }
  /** Sets parameters by name, all or, where one does not fit, none: whole arrays of layers (`experts.up.weight`, with a leading axis) or every copy of one. */
  load(tensors: ReadonlyMap<string, Tensor>): void {
    this.requireIdle();
    requireMap("the parameters", tensors);
    for (const [name, tensor] of tensors) requireElements(name, tensor);
    const named = new NamedTensors(tensors, "the tensors given");
    for (const store of this.kept()) named.take(store); // once to see that it fits: all at a time are as large as the model
    const [unread] = named.unread();
    if (unread !== undefined)
      throw new Problem(`nothing is named ${unread}`, namesHelp("parameters", unread, this.names));
    for (const store of this.kept()) {
      const value = named.take(store);
      if (value) this.executable.write(store.name, value);
    }
  }
  /** All that training goes on from, as `train` takes it: parameters, states and the optimizer's. `writeSafetensors` puts it in a file. */
  state(): Map<string, Tensor> {
    this.requireIdle();
    const { model, training } = storesOf(this.executable);
    return new Map([...model, ...training]);
  }
  /** Goes on from what `state` gave after so many runs. */
  restore(state: ReadonlyMap<string, Tensor>, calls: number): void {
    this.requireIdle();
    requireMap("the state", state);
    const known = new Set(this.executable.stores.flatMap((s) => (s.saved ? [s.name, ...namesOf(s)] : [])));
    for (const [name, tensor] of state) {
      if (!known.has(name)) throw new Problem(`nothing is named ${name}`, namesHelp("tensors", name, [...known]));
      requireElements(name, tensor);
    }
    loadStores(this.executable, { path: "the state", model: state, training: new Map() });
    this.calls = calls;
  }
  /** One call, off the JavaScript thread (the interpreter runs on it). Inputs by the names of the signature; they may be changed once it has returned. */
  async run(inputs: Inputs, options: CallOptions = {}): Promise<Outcome> {
    this.requireOpen();
    const given = this.given(inputs);
    requireOptions("a run", options);
    const { step = 0, signal } = options;
    requireInteger("the step", step);
    const at = { seed: this.seed, call: this.calls++, step };
    return this.inTurn(async () => apart(await this.heeding(signal, () => this.executable.run(this.entry, given, at))));
  }
  /** Steps the optimizer from the gradients that `train` has added up. */
  async update(step: number): Promise<void> {
    this.requireOpen();
    requireInteger("the step", step);
    const at = { seed: this.seed, call: this.calls, step };
    await this.inTurn(() => this.executable.run(updateOf(this.entry), new Map(), at));
  }
  /** Frees the memory, after the runs that were asked for before; nothing can be read afterwards. */
  close(): void {
    if (!this.closed && this.pending === 0) this.executable.close();
    this.closed = true;
  }
  private async heeding<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    const cancel = (): void => this.executable.cancel?.();
    signal?.addEventListener("abort", cancel);
    try {
      return await work();
    } catch (error) {
      signal?.throwIfAborted(); // which says why it was cancelled
      throw error;
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }
  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.pending === 0 ? work() : this.last.then(work);
    const over = (): void => {
      this.pending -= 1;
      if (this.closed && this.pending === 0) this.executable.close();
    };
    this.pending += 1;
    this.last = turn.then(over, over);
    return turn;
  }
  private requireOpen(): void {
    if (this.closed)
      throw new Problem("the program is closed", "call `close` when nothing is to follow, or compile it again");
  }
  private requireIdle(): void {
    this.requireOpen();
    if (this.pending > 0)
      throw new Problem("the program is running", "await its runs before its parameters are read or set");
  }
  private kept() {
    return this.executable.stores.filter((s) => s.role === "parameter" || (s.role === "state" && s.saved));
  }
  /** All inputs of a run, with elements of their own: it may have to wait. */
  private given(inputs: Inputs): Map<string, Tensor> {
    if (Object(inputs) !== inputs || Symbol.iterator in inputs)
      throw new Problem("the inputs are no object of names", "give them by name: { x: new Float32Array(8) }");
    const given = Object.entries(inputs).map(([name, x]): [string, Tensor] => [name, this.input(name, x)]);
    return new Map([...this.ones(inputs), ...given]);
  }
  private input(name: string, x: Input): Tensor {
    const store = this.inputs.get(name);
    if (!store)
      throw new Problem(
        `${this.entry} has no input ${name}`,
        `it reads ${[...this.inputs.keys()].join(", ") || "nothing"}; what has a default is named in \`given\` when it is compiled`,
      );
    if (Object(x) !== x) throw new Problem(`${name} is given ${kindOf(x)}`, "give a typed array or a Tensor");
    const { dtype, shape } = store;
    const tensor = "dtype" in x ? x : { dtype: givenAs(x, dtype), shape, data: x };
    requireElements(name, tensor);
    const value = isFloat(dtype) && tensor.dtype === "f32" ? convert(tensor, dtype) : tensor;
    requireFit(name, store, value);
    return fromBytes(dtype, shape, bytesOfTensor(value));
  }
  /** Cotangents that are not given are 1. */
  private ones(inputs: Inputs): [string, Tensor][] {
    const missing = [...this.inputs].filter(([name]) => name.startsWith("cotangent.") && !Object.hasOwn(inputs, name));
    return missing.map(([name, { dtype, shape }]) => [
      name,
      fromNumbers(dtype, shape, new Uint8Array(count(shape)).fill(1)),
    ]);
  }
}

/** Gradients of arrays of layers by the names of their copies, as `names` and `read` have them. */
const apart = (outcome: Outcome): Outcome => ({
  ...outcome,
  gradients: new Map([...outcome.gradients].flatMap(([name, t]) => split(name, t))),
});
/** What the elements of an input are: those of any float one may be given in f32. */
const givenAs = (x: Input, dtype: DType): DType =>
  isFloat(dtype) && Object.prototype.toString.call(x) === "[object Float32Array]" ? "f32" : dtype;

function requireMap(what: string, tensors: ReadonlyMap<string, Tensor>): void {
  if (Object.prototype.toString.call(tensors) !== "[object Map]")
    throw new Problem(
      `${what} ${what.endsWith("s") ? "are" : "is"} no Map`,
      'give tensors by name: new Map([["weight", tensor("f32", [2, 3], numbers)]])',
    );
}
export function requireInteger(what: string, x: unknown): void {
  if (typeof x !== "number" || (x | 0) !== x)
    throw new Problem(`${what} is ${kindOf(x)}`, "give a whole number from -2147483648 to 2147483647");
}
