// The compiler in a user's own TypeScript: `compile` a declaration and run it, or `train` a model on batches of one's own.

import { type Loaded, loadFile, loadTemplate } from "../compiler/check/index.ts";
import { Problem } from "../compiler/diagnostic.ts";
import type { Target } from "../compiler/options.ts";
import type { Handle } from "../compiler/syntax/template.ts";
import { updateOf } from "../compiler/transform/accumulate.ts";
import type { Precision } from "../compiler/types/dtype.ts";
import { type CompileReport, compileLoaded, type EntryRequest, type Sizes } from "./compile.ts";
import { type Executable, type Outcome, storeOfInput, type Tensor } from "./executable.ts";
import { byName } from "./loop.ts";
import { meanOf } from "./means.ts";
import { NamedTensors, split } from "./names.ts";
import { convert, count, fromNumbers, zeros } from "./tensor.ts";

/** A declaration of a template, or a .moe file (its only model, or `declaration`). */
export type Source = Handle | undefined | { readonly file: string; readonly declaration?: string };
/** A tensor, or its elements alone in row-major order. Of a bf16 input, f32 is rounded. */
export type Input = Tensor | Tensor["data"];
export type Inputs = Readonly<Record<string, Input>>;

export interface TargetOptions {
  /** Sizes and values by name: those of the header, and those that only the entry's types name. */
  readonly sizes?: Sizes;
  /** `host`; `cuda`, an NVIDIA GPU; or `reference`, the interpreter. */
  readonly target?: Target;
  /** What `float` is: f32, or bf16 (storage and products; sums and masters stay f32), or f64, the interpreter only. */
  readonly precision?: Precision;
  /** Of cuda: products of f32 by tensor cores, of operands rounded to tf32 (11 bits of 24); sums stay f32. */
  readonly tf32?: boolean;
  readonly threads?: number;
  /** What parameters and random numbers come from: 0. */
  readonly seed?: number;
}
export interface CompileOptions extends TargetOptions {
  /** A method, or a function's name: `forward`. */
  readonly entry?: string;
  /** Adds gradients of the losses and results in all parameters and float inputs, by `PATH` and `input.NAME`. */
  readonly gradients?: boolean;
  /** Inputs that have a default and are given all the same. */
  readonly given?: readonly string[];
}

/** A compiled entry with its parameters. */
export class Program {
  readonly report: CompileReport;
  private readonly executable: Executable;
  private readonly entry: string;
  private readonly seed: number;
  private calls = 0;
  private closed = false;

  constructor(executable: Executable, report: CompileReport, entry: string, seed: number) {
    [this.executable, this.report, this.entry, this.seed] = [executable, report, entry, seed];
  }
  /** Names of parameters and states; each copy in an array of layers has its own: `experts.3.up.weight`. */
  get names(): string[] {
    return this.kept().flatMap((s) => split(s.name, this.executable.read(s.name)).map(([name]) => name));
  }
  /** A copy of a parameter or state, by the name of one copy. */
  read(name: string): Tensor {
    for (const s of this.kept())
      for (const [copy, tensor] of split(s.name, this.executable.read(s.name))) if (copy === name) return tensor;
    throw new Problem(`there is no parameter ${name}`, `the parameters are ${this.names.join(", ")}`);
  }
  /** Sets parameters by name: whole arrays of layers (`experts.up.weight`, with a leading axis) or every copy of one. */
  load(tensors: ReadonlyMap<string, Tensor>): void {
    const named = new NamedTensors(tensors, "the tensors given");
    for (const store of this.kept()) {
      const value = named.take(store);
      if (value) this.executable.write(store.name, value);
    }
    const [unread] = named.unread();
    if (unread !== undefined)
      throw new Problem(`nothing is named ${unread}`, `the parameters are ${this.names.join(", ")}`);
  }
  /** One call, off the JavaScript thread. Inputs by the names of the signature. */
  run(inputs: Inputs, step = 0): Promise<Outcome> {
    const given = Object.entries(inputs).map(([name, x]): [string, Tensor] => [name, this.input(name, x)]);
    return this.executable.run(this.entry, new Map([...this.ones(inputs), ...given]), {
      seed: this.seed,
      call: this.calls++,
      step,
    });
  }
  /** Steps the optimizer from the gradients that `train` has added up. */
  async update(step: number): Promise<void> {
    await this.executable.run(updateOf(this.entry), new Map(), { seed: this.seed, call: this.calls, step });
  }
  /** Frees the memory; nothing can be read afterwards. */
  close(): void {
    if (!this.closed) this.executable.close();
    this.closed = true;
  }
  private kept() {
    return this.executable.stores.filter((s) => s.role === "parameter" || (s.role === "state" && s.saved));
  }
  private input(name: string, x: Input): Tensor {
    const full = storeOfInput(this.entry, name);
    const store = this.executable.stores.find((s) => s.name === full);
    const short = store?.dtype === "bf16";
    if (Object(x) !== x) throw new Problem(`${name} is given a ${typeof x}`, "give a typed array or a Tensor");
    if ("dtype" in x) return short && x.dtype === "f32" ? convert(x, "bf16") : x;
    if (!store) throw new Problem(`there is no input ${name}`, "give inputs by the names of the entry's signature");
    if (short && x instanceof Float32Array && x.length === count(store.shape))
      return fromNumbers("bf16", store.shape, x);
    const { data } = zeros(store.dtype, store.shape);
    if (data.constructor !== x.constructor || x.length !== count(store.shape))
      throw new Problem(
        `${name} is ${store.dtype}[${store.shape.join(", ")}], and ${x.constructor.name}(${x.length}) was given`,
        `give a ${data.constructor.name} of ${count(store.shape)} elements`,
      );
    return { dtype: store.dtype, shape: store.shape, data: x };
  }
  /** Cotangents that are not given are 1. */
  private ones(inputs: Inputs): [string, Tensor][] {
    const prefix = storeOfInput(this.entry, "");
    return this.executable.stores.flatMap((s): [string, Tensor][] => {
      const name = s.name.slice(prefix.length);
      if (!s.name.startsWith(`${prefix}cotangent.`) || Object.hasOwn(inputs, name)) return [];
      const t = zeros(s.dtype, s.shape);
      t.data.fill(1);
      return [[name, t]];
    });
  }
}

/** Compiles one entry and initialises its parameters. Throws ProgramError with all that is wrong in the program. */
export async function compile(source: Source, options: CompileOptions = {}): Promise<Program> {
  const { entry = "forward", gradients, given } = options;
  const request = {
    method: entry,
    name: entry,
    sizes: {},
    ...(gradients === undefined ? {} : { gradients }),
    ...(given === undefined ? {} : { given }),
  };
  const { executable, report } = await compiled(source, options, [request]);
  return new Program(executable, report, entry, options.seed ?? 0);
}
async function compiled(
  source: Source,
  options: TargetOptions & Pick<TrainOptions, "accumulate">,
  entries: readonly EntryRequest[],
) {
  const { sizes = {}, target = "host", precision = "f32", tf32, threads, accumulate = 1, seed = 0 } = options;
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
  await made.executable.run("init", new Map(), { seed, call: 0, step: 0 });
  return made;
}
function opened(source: Source): [load: () => Loaded, declaration: string | undefined] {
  if (!source) throw new Problem("there is no such declaration", "take one that the template declares");
  if ("file" in source) return [() => loadFile(source.file), source.declaration];
  return [() => loadTemplate(source.program), source.name];
}

export interface TrainOptions extends TargetOptions {
  /** The inputs of `train` for each step; the steps end where they do. */
  readonly batches: Iterable<Inputs> | AsyncIterable<Inputs>;
  /** How many batches make a step, by the mean of their gradients: 1. Batches that are left over at the end make none. */
  readonly accumulate?: number;
  /** What parameters begin from, where their own beginning is not wanted: as `Program.load` takes them. */
  readonly parameters?: ReadonlyMap<string, Tensor>;
}
export interface TrainedStep {
  /** Steps done, from 1. */
  readonly step: number;
  /** The sum of all losses. Where several batches make a step, losses and metrics are their means. */
  readonly loss: number;
  readonly losses: Readonly<Record<string, number>>;
  readonly metrics: Readonly<Record<string, Tensor>>;
  /** The model as it is after this step: its parameters can be read. */
  readonly program: Program;
}
/** Trains a model with its own `train`: yields each step. The program is closed when the loop ends. */
export async function* train(source: Source, options: TrainOptions): AsyncGenerator<TrainedStep, void> {
  const { accumulate = 1, batches } = options;
  if (!Number.isSafeInteger(accumulate) || accumulate < 1)
    throw new Problem(`accumulate is ${accumulate}`, "give the whole number of batches that make a step");
  const entry = { method: "train", name: "train", sizes: {} };
  const { executable, report } = await compiled(source, options, [entry]);
  const program = new Program(executable, report, "train", options.seed ?? 0);
  try {
    program.load(options.parameters ?? new Map());
    let done = 0;
    let outcomes: Outcome[] = [];
    for await (const batch of batches) {
      outcomes.push(await program.run(batch, done));
      if (outcomes.length < accumulate) continue;
      if (accumulate > 1) await program.update(done);
      const { losses, metrics } = meanOf(outcomes);
      outcomes = [];
      done += 1;
      const named = Object.fromEntries(byName(losses));
      const loss = Object.values(named).reduce((a, b) => a + b, 0);
      yield { step: done, loss, losses: named, metrics: Object.fromEntries(metrics), program };
    }
  } finally {
    program.close();
  }
}
