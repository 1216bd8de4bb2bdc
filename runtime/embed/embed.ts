// The API for users' own TypeScript: `compile` makes a declaration callable, `train` trains a model on given batches.
import {
  type EntrySignature,
  entrySignature,
  type Loaded,
  load,
  loadFile,
  loadTemplate,
  sizesFromInputs,
} from "../../compiler/check/index.ts";
import { requireValid } from "../../compiler/check/valid.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { describeValue } from "../../compiler/flag-text.ts";
import type { Target } from "../../compiler/options.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { requireString } from "../../compiler/require-string.ts";
import type { Handle } from "../../compiler/syntax/template.ts";
import type { Precision, WeightsOption } from "../../compiler/types/dtype.ts";
import { sum } from "../../compiler/types/numbers.ts";
import { closedOnFailure } from "../closing.ts";
import { commonRequest, type EntryRequest, type Sizes, type TrainingSharing } from "../compile.ts";
import { DeviceFailed, type Outcome, type Tensor } from "../executable/executable.ts";
import { stepMeans, type Weighted } from "../training/means.ts";
import { compileOnWorkers } from "../workers/compile-on-workers.ts";
import { reportingFailure, requireEqualPrograms, requireEqualSharing } from "../workers/train-distributed.ts";
import { OtherWorkerFailed, singleWorker, type Workers, workers } from "../workers/workers.ts";
import { type Inputs, type LoadOptions, Program, requireInteger } from "./compiled-program.ts";
import { requireOptions } from "./options.ts";

/**
 * A declaration of a template; or a .moe file, or its text (the only model or, without one, only layer or function; or `declaration`). Errors call a text
 * `name`, and its imports are relative to that. Default: `text`.
 */
export type Source =
  | Handle
  | undefined
  | { readonly file: string; readonly declaration?: string }
  | { readonly text: string; readonly name?: string; readonly declaration?: string };
/** The options that `compile` and `train` have in common. */
export interface TargetOptions {
  /** Sizes and values by name: those of the header, and those that only the entry's types name. */
  readonly sizes?: Sizes;
  /** `host`; `cuda`, an NVIDIA GPU; or `reference`, the interpreter. */
  readonly target?: Target;
  /** What `float` is: f32, or bf16 (storage and products; sums and masters stay f32), or f64, the interpreter only. */
  readonly precision?: Precision;
  /** cuda only: products of f32 run on tensor cores, with operands rounded to tf32 (11 bits of 24); sums stay f32. */
  readonly tf32?: boolean;
  /**
   * `int8`: matrices that are multiplied and not trained, and embeddings, are kept in 8 bits, with a scale for each column (or row). `fp4`: in 4 bits, with a scale
   * for each 32 elements of a column, and what cannot be as `int8`. `float`: as the program has them. Default: `float`; but what the checkpoint of a folder that
   * `openModel` opens holds as codes stays codes.
   */
  readonly weights?: WeightsOption;
  /** The host's threads; default: all cores that this process may use. Results do not depend on it. */
  readonly threads?: number;
  /** Seeds the initial parameters and all random numbers. Default: 0. */
  readonly seed?: number;
}
/** The options of `compile`. */
export interface CompileOptions extends TargetOptions {
  /** The method or function to compile. Default: `forward`. */
  readonly entry?: string;
  /** With entry `train`: computes losses and metrics as on held-out batches; `training` is false, and nothing is learned. */
  readonly evaluates?: boolean;
  /** Also returns gradients of the losses and results by all parameters and float inputs that the entry reads, named as in `Program.names` and `input.NAME`. */
  readonly gradients?: boolean;
  /** Names of inputs that you will pass although they have a default. */
  readonly given?: readonly string[];
}

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
    ...(given === undefined ? {} : { inputs: given }),
  };
  const { executable, report } = await compiled(resolveSource(source), options, [request]);
  return new Program(executable, report, name, options.seed ?? 0);
}
async function compiled(
  { load, declaration }: ResolvedSource,
  options: TargetOptions & TrainingSharing & Pick<TrainOptions, "accumulate" | "recompute">,
  entries: readonly EntryRequest[],
  world: Workers = singleWorker,
) {
  const { sizes = {}, accumulate = 1, recompute, seed = 0 } = options;
  requireInteger("the seed", seed);
  const made = await compileOnWorkers(load, {
    ...(declaration === undefined ? {} : { declaration }),
    ...commonRequest(options, world),
    sizes,
    entries,
    accumulate,
    recompute,
  });
  await closedOnFailure(made.executable, () => made.executable.run("init", new Map(), { seed, call: 0, step: 0 }));
  return made;
}
interface ResolvedSource {
  readonly load: () => Loaded;
  /** Default: the only model. */
  readonly declaration: string | undefined;
}
export function resolveSource(source: Source): ResolvedSource {
  if (!source) throw new Problem("there is no such declaration", "take one that the template declares");
  if (Object(source) !== source || !("file" in source || "text" in source || "program" in source))
    throw new Problem("this is no declaration of a template", 'give one that `moe` returned, or { file: "model.moe" }');
  if ("program" in source) return { load: () => loadTemplate(source.program), declaration: source.name };
  const { declaration } = source;
  if ("text" in source) {
    requireOptions("a program's text", source);
    const { text, name = "text" } = source;
    requireString("the text", text, 'the program: { text: "model M(D) { ... }" }');
    return { load: () => load({ name, text }), declaration };
  }
  requireOptions("a program's file", source);
  const { file } = source;
  requireString("the file", file, 'its path, { file: "model.moe" }');
  return { load: () => loadFile(file), declaration };
}

/** The options of `train`. */
export interface TrainOptions extends TargetOptions, TrainingSharing, LoadOptions {
  /** The inputs of `train` for each step; the steps end where they do. Tensors in the first one also give the sizes that have no default. */
  readonly batches: Iterable<Inputs> | AsyncIterable<Inputs>;
  /** How many batches make one step, which takes the mean of their gradients. Default: 1. Left-over batches at the end make no step. */
  readonly accumulate?: number;
  /** How much a batch counts in that mean, such as the number of targets that its losses are means of. Default: all count the same. */
  readonly weight?: (batch: Inputs) => number;
  /** Names of inputs that all batches have although they have a default: `since` of the library's models. */
  readonly given?: readonly string[];
  /** Keep only what passes between the layers of an array, and make each layer again in the backward: less memory, more time. Default: false. */
  readonly recompute?: boolean;
  /** Initial values in place of those that the program gives, as `Program.load` takes them. */
  readonly parameters?: ReadonlyMap<string, Tensor>;
  /** Resumes, bit for bit: the number of steps done, and what `state` of their program returned. `batches` are then those that follow. */
  readonly from?: { readonly step: number; readonly state: ReadonlyMap<string, Tensor> };
  /** When aborted, the current step is finished and yielded, no further batch is asked for, and the loop ends. */
  readonly signal?: AbortSignal | undefined;
}
/** One step of `train`, which yields it. */
export interface TrainedStep {
  /** The number of steps done, this one and those of `from` included. */
  readonly step: number;
  /** The sum of all losses. Where several batches make a step, losses and metrics are their means, by `weight`. */
  readonly loss: number;
  /** By the path of the layer that states it: `square` of the model itself, `blocks.0.moe.gate.balance` of a layer in it. */
  readonly losses: ReadonlyMap<string, number>;
  /** By path too: `blocks.0.moe.gate.load`. */
  readonly metrics: ReadonlyMap<string, Tensor>;
  /** The model after this step; its parameters can be read inside the loop. */
  readonly program: Program;
}
/** The options of `fit`. */
export interface FitOptions extends TrainOptions {
  /** Called after each step, and awaited. */
  readonly onStep?: ((step: TrainedStep) => void | Promise<void>) | undefined;
}
function requireTraining(caller: "train" | "fit", options: TrainOptions): void {
  requireOptions(caller, options);
  const { accumulate = 1, batches, from, parameters, upcycle } = options;
  if (!Number.isSafeInteger(accumulate) || accumulate < 1)
    throw new Problem(`accumulate is ${accumulate}`, "give the whole number of batches that make a step");
  if (Object(batches) !== batches || !(Symbol.iterator in batches || Symbol.asyncIterator in batches))
    throw new Problem("batches cannot be iterated over", "give a list of each step's inputs, or a generator of them");
  if (from && parameters)
    throw new Problem("parameters and from are two beginnings", "leave one out: the state has its own parameters");
  if (upcycle && !parameters)
    throw new Problem(
      "upcycle copies layers of parameters, and none are given",
      "give parameters, those of the dense model",
    );
  if (from && !(Number.isSafeInteger(from.step) && from.step >= 0))
    throw new Problem(
      `from.step is ${describeValue(from.step)}`,
      "give the steps done: { from: { step: 100, state } }",
    );
}
/**
 * Trains a model with its own `train`, and yields each step. A loss that is not finite ends it with a Problem. The program is closed when the loop ends.
 * Where mpirun started several processes (`workers()`), they train one model: each calls this with the same options and whole batches, and reads the
 * same parameters at the same steps.
 */
export async function* train(source: Source, options: TrainOptions): AsyncGenerator<TrainedStep, void> {
  const world = workers();
  yield* reportingFailure(world, steps("train", source, options, world));
}
/** Trains until `batches` end or `signal` is aborted, and returns parameters and states, as `Program.load` takes them. No step at all is a Problem. */
export async function fit(source: Source, options: FitOptions): Promise<Map<string, Tensor>> {
  const world = workers();
  let parameters: Map<string, Tensor> | undefined;
  const end = (program: Program): void => void (parameters = program.parameters());
  for await (const _ of reportingFailure(world, steps("fit", source, options, world, end))) continue;
  if (!parameters)
    throw new Problem(
      "no step was done: the batches ended, or a signal was aborted, before that",
      `give ${pluralize(options.accumulate ?? 1, "batch", "batches")} at least; a generator has none left when it is used again`,
    );
  return parameters;
}
/** `end` is called after the last step, if there was one, before the program is closed. */
async function* steps(
  caller: "train" | "fit",
  source: Source,
  options: FitOptions,
  world: Workers,
  end?: (program: Program) => void,
): AsyncGenerator<TrainedStep, void> {
  requireTraining(caller, options);
  requireEqualSharing(options, world);
  const { accumulate = 1, batches, signal, from, onStep } = options;
  const stopped = (): boolean => world.anyWorker("whether to stop", signal?.aborted ?? false);
  let program: Program | undefined;
  try {
    const model = trainedModel(source);
    if (stopped()) return;
    if (needsNoBatch(model.entry, options)) program = await trainingProgram(model, options, world);
    let done = from?.step ?? 0;
    let made: Weighted[] = [];
    let number = 0;
    for await (const batch of batches) {
      number += 1;
      program ??= await trainingProgram(model, withSizesOf(model.entry, batch, options), world);
      const weight = weightOf(batch, number, options);
      made.push({ outcome: await runBatch(program, batch, { step: done, number, weight }), weight });
      if (made.length < accumulate) continue;
      const { losses, metrics } = stepMeans(made, done + 1);
      if (accumulate > 1) await program.update(done);
      made = [];
      done += 1;
      const loss = sum(losses.values());
      const step = { step: done, loss, losses, metrics, program };
      await onStep?.(step);
      yield step;
      if (stopped()) break;
    }
    if (program && done > (from?.step ?? 0)) end?.(program);
  } finally {
    program?.close();
  }
}
/** A program without errors, and its `train`. */
interface TrainedModel extends ResolvedSource {
  readonly program: Loaded;
  readonly entry: EntrySignature;
}
function trainedModel(source: Source): TrainedModel {
  const { load, declaration } = resolveSource(source);
  const program = load();
  requireValid(program); // before the first batch, which may take long to make, or may never come
  return { program, load: () => program, declaration, entry: entrySignature(program, declaration, "train") };
}
async function trainingProgram(model: TrainedModel, options: TrainOptions, world: Workers): Promise<Program> {
  const {
    accumulate = 1,
    from,
    given = [],
    parameters = new Map<string, Tensor>(),
    seed = 0,
    upcycle = false,
  } = options;
  requireEqualPrograms(model.program, options, world);
  const entry = { method: "train", name: "train", sizes: {}, inputs: given };
  const { executable, report } = await compiled(model, options, [entry], world);
  const program = new Program(executable, report, "train", seed);
  return closedOnFailure(program, async () => {
    program.load(parameters, { upcycle });
    if (from) program.restore(from.state, from.step * accumulate);
    return program;
  });
}
/** `number`: the place of the batch among all, from 1. */
function weightOf(batch: Inputs, number: number, { weight }: TrainOptions): number {
  const given = weight?.(batch) ?? 1;
  if (!(Number.isFinite(given) && given >= 0))
    throw new Problem(`the weight of batch ${number} is ${describeValue(given)}`, "give a number from 0 on");
  return given;
}
/** `number`: the place of the batch among all, from 1, which an error of its inputs names. */
async function runBatch(
  program: Program,
  batch: Inputs,
  at: { step: number; number: number; weight: number },
): Promise<Outcome> {
  try {
    return await program.runWeighted(batch, at.weight, { step: at.step });
  } catch (error) {
    if (!(error instanceof Problem) || error instanceof DeviceFailed || error instanceof OtherWorkerFailed) throw error;
    const smaller = "; if it is a smaller last batch, leave it out, or fill it up with rows that losses ignore";
    const help = at.number > 1 ? error.help + smaller : error.help;
    throw new Problem(`batch ${at.number}: ${error.message}`, help, { cause: error });
  }
}
/** The names that the header and the types of `train` leave to the caller. */
function openSizes({ header, arguments: given }: EntrySignature): Set<string> {
  const fixed = new Set(header.flatMap((h) => (h.default === null ? [] : [h.name])));
  const named = given.flatMap(({ spread, axes }) => [spread, ...axes].filter((name) => name !== null));
  return new Set([...header.map((h) => h.name), ...named].filter((name) => !fixed.has(name)));
}
const needsNoBatch = (entry: EntrySignature, { sizes = {} }: TrainOptions): boolean =>
  [...openSizes(entry)].every((name) => Object.hasOwn(sizes, name));
/** Adds the sizes without a default that the first batch's tensors have; a bare array has no shape. */
function withSizesOf(entry: EntrySignature, batch: Inputs, options: TrainOptions): TrainOptions {
  const shapes = Object.entries(Object(batch) as Inputs).flatMap(([name, x]): [string, readonly number[]][] =>
    Object(x) === x && "shape" in x && Array.isArray(x.shape) ? [[name, x.shape]] : [],
  );
  const open = openSizes(entry);
  const found = Object.entries(sizesFromInputs(entry, new Map(shapes))).filter(([name]) => open.has(name));
  return { ...options, sizes: { ...Object.fromEntries(found), ...options.sizes } };
}
