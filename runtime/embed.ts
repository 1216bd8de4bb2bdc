// The compiler in a user's own TypeScript: `compile` a declaration and run it, or `train` a model on batches of one's own.

import { kindOf } from "../compiler/asked.ts";
import { type Loaded, loadFile, loadTemplate } from "../compiler/check/index.ts";
import { Problem } from "../compiler/diagnostic.ts";
import type { Target } from "../compiler/options.ts";
import type { Handle } from "../compiler/syntax/template.ts";
import { updateOf } from "../compiler/transform/accumulate.ts";
import { type DType, isFloat, type Precision } from "../compiler/types/dtype.ts";
import { loadStores, storesOf } from "./checkpoint.ts";
import { type CompileReport, compileLoaded, type EntryRequest, type Sizes } from "./compile.ts";
import {
  type Executable,
  inputOfStore,
  type Outcome,
  type StoreInfo,
  storeOfInput,
  type Tensor,
} from "./executable.ts";
import { byName } from "./loop.ts";
import { totalsOf } from "./means.ts";
import { NamedTensors, namesHelp, namesOf, split } from "./names.ts";
import { requireOptions } from "./options.ts";
import { bytesOfTensor, convert, count, fromBytes, fromNumbers, requireElements, requireFit } from "./tensor.ts";

/** A declaration of a template, or a .moe file (its only model, or `declaration`). */
export type Source = Handle | undefined | { readonly file: string; readonly declaration?: string };
/** A tensor, or its elements alone in row-major order. A float input may be given in f32: it is rounded to bf16, and as it is in f64. */
export type Input = Tensor | Tensor["data"];
/** By the names of the entry's signature. */
export type Inputs = Readonly<Record<string, Input>>;

/** What `compile` and `train` take alike. */
export interface TargetOptions {
  /** Sizes and values by name: those of the header, and those that only the entry's types name. */
  readonly sizes?: Sizes;
  /** `host`; `cuda`, an NVIDIA GPU; or `reference`, the interpreter. */
  readonly target?: Target;
  /** What `float` is: f32, or bf16 (storage and products; sums and masters stay f32), or f64, the interpreter only. */
  readonly precision?: Precision;
  /** Of cuda: products of f32 by tensor cores, of operands rounded to tf32 (11 bits of 24); sums stay f32. */
  readonly tf32?: boolean;
  /** Of the host: the cores that this process may use. The results do not depend on it. */
  readonly threads?: number;
  /** What parameters and random numbers come from: 0. */
  readonly seed?: number;
}
/** What `compile` takes. */
export interface CompileOptions extends TargetOptions {
  /** A method, or a function's name: `forward`. */
  readonly entry?: string;
  /** Of `train`: its losses and metrics as of held-out batches: `training` is false, and nothing is learned. */
  readonly evaluates?: boolean;
  /** Adds gradients of the losses and results in all parameters and float inputs, by the names of `Program.names` and `input.NAME`. */
  readonly gradients?: boolean;
  /** Inputs that have a default and are given all the same. */
  readonly given?: readonly string[];
}

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

/** Compiles one entry and initialises its parameters. Throws ProgramError with all that is wrong in the program. */
export async function compile(source: Source, options: CompileOptions = {}): Promise<Program> {
  requireOptions("compile", options);
  const { entry = "forward", evaluates = false, gradients, given } = options;
  if (evaluates && entry !== "train")
    throw new Problem(`${entry} does not evaluate`, 'give entry: "train" with evaluates, or leave evaluates out');
  const name = evaluates ? "evaluate" : entry;
  const request = {
    method: entry,
    name,
    sizes: {},
    ...(gradients === undefined ? {} : { gradients }),
    ...(given === undefined ? {} : { given }),
  };
  const { executable, report } = await compiled(source, options, [request]);
  return new Program(executable, report, name, options.seed ?? 0);
}
async function compiled(
  source: Source,
  options: TargetOptions & Pick<TrainOptions, "accumulate">,
  entries: readonly EntryRequest[],
) {
  const { sizes = {}, target = "host", precision = "f32", tf32, threads, accumulate = 1, seed = 0 } = options;
  requireInteger("the seed", seed);
  const [load, declaration] = opened(source);
  const made = await compileLoaded(load, {
    ...(declaration === undefined ? {} : { declaration }),
    threads,
    tf32,
    sizes,
    target,
    precision,
    entries,
    accumulate,
  });
  try {
    await made.executable.run("init", new Map(), { seed, call: 0, step: 0 });
  } catch (error) {
    made.executable.close();
    throw error;
  }
  return made;
}
function requireMap(what: string, tensors: ReadonlyMap<string, Tensor>): void {
  if (Object.prototype.toString.call(tensors) !== "[object Map]")
    throw new Problem(
      `${what} ${what.endsWith("s") ? "are" : "is"} no Map`,
      'give tensors by name: new Map([["weight", tensor("f32", [2, 3], numbers)]])',
    );
}
function requireInteger(what: string, x: unknown): void {
  if (typeof x !== "number" || (x | 0) !== x)
    throw new Problem(`${what} is ${kindOf(x)}`, "give a whole number from -2147483648 to 2147483647");
}
function opened(source: Source): [load: () => Loaded, declaration: string | undefined] {
  if (!source) throw new Problem("there is no such declaration", "take one that the template declares");
  if (Object(source) !== source || !("file" in source || "program" in source))
    throw new Problem("this is no declaration of a template", 'give one that `moe` returned, or { file: "model.moe" }');
  if ("file" in source && typeof source.file !== "string")
    throw new Problem(`the file is ${kindOf(source.file)}`, 'give its path: { file: "model.moe" }');
  if ("file" in source) return [() => loadFile(source.file), source.declaration];
  return [() => loadTemplate(source.program), source.name];
}

/** What `train` takes. */
export interface TrainOptions extends TargetOptions {
  /** The inputs of `train` for each step; the steps end where they do. */
  readonly batches: Iterable<Inputs> | AsyncIterable<Inputs>;
  /** How many batches make a step, by the mean of their gradients: 1. Batches that are left over at the end make none. */
  readonly accumulate?: number;
  /** What parameters begin from, where their own beginning is not wanted: as `Program.load` takes them. */
  readonly parameters?: ReadonlyMap<string, Tensor>;
  /** Where it goes on, with the same bits: steps done, and what `state` of their program gave. `batches` are those that follow. */
  readonly from?: { readonly step: number; readonly state: ReadonlyMap<string, Tensor> };
  /** Aborted: the step that has begun is done and yielded, no batch is asked for after it, and the loop ends. */
  readonly signal?: AbortSignal | undefined;
}
/** What `train` yields. */
export interface TrainedStep {
  /** Steps done, from 1, those of `from` among them. */
  readonly step: number;
  /** The sum of all losses. Where several batches make a step, losses and metrics are their means. */
  readonly loss: number;
  readonly losses: Readonly<Record<string, number>>;
  readonly metrics: Readonly<Record<string, Tensor>>;
  /** The model as it is after this step: its parameters can be read. */
  readonly program: Program;
}
function requireTraining(options: TrainOptions): void {
  requireOptions("train", options);
  const { accumulate = 1, batches, from, parameters } = options;
  if (!Number.isSafeInteger(accumulate) || accumulate < 1)
    throw new Problem(`accumulate is ${accumulate}`, "give the whole number of batches that make a step");
  if (Object(batches) !== batches || !(Symbol.iterator in batches || Symbol.asyncIterator in batches))
    throw new Problem("batches cannot be iterated over", "give a list of each step's inputs, or a generator of them");
  if (from && parameters)
    throw new Problem("parameters and from are two beginnings", "leave one out: the state has its own parameters");
  if (from && !(Number.isSafeInteger(from.step) && from.step >= 0))
    throw new Problem(`from.step is ${kindOf(from.step)}`, "give the steps done: { from: { step: 100, state } }");
}
/** Trains a model with its own `train`: yields each step. A loss that is no number ends it as a Problem. The program is closed when the loop ends. */
export async function* train(source: Source, options: TrainOptions): AsyncGenerator<TrainedStep, void> {
  requireTraining(options);
  const { accumulate = 1, batches, signal, from } = options;
  const entry = { method: "train", name: "train", sizes: {} };
  const { executable, report } = await compiled(source, options, [entry]);
  const program = new Program(executable, report, "train", options.seed ?? 0);
  try {
    program.load(options.parameters ?? new Map());
    if (from) program.restore(from.state, from.step * accumulate);
    let done = from?.step ?? 0;
    let outcomes: Outcome[] = [];
    if (signal?.aborted) return;
    for await (const batch of batches) {
      outcomes.push(await program.run(batch, { step: done }));
      if (outcomes.length < accumulate) continue;
      const { losses, metrics } = totalsOf(outcomes, done + 1);
      if (accumulate > 1) await program.update(done);
      outcomes = [];
      done += 1;
      const named = Object.fromEntries(byName(losses));
      const loss = Object.values(named).reduce((a, b) => a + b, 0);
      yield { step: done, loss, losses: named, metrics: Object.fromEntries(metrics), program };
      if (signal?.aborted) return;
    }
  } finally {
    program.close();
  }
}
