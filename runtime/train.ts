// Training as `moec train` does it: reads the data, compiles the model, opens the run's folder and runs the loop.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type EntrySignature, findModel, type Loaded } from "../compiler/check/index.ts";
import { Problem } from "../compiler/diagnostic.ts";
import { modelFlagText } from "../compiler/flag-text.ts";
import type { Bytes } from "../compiler/plan/plan.ts";
import { type Checkpoint, checkpointSteps, newestCheckpoint } from "./checkpoint.ts";
import { type CommonOptions, type Compiled, type CompileRequest, compileOnWorkers, compileProgram } from "./compile.ts";
import { type Dataset, entropies, opening, readDataset, requireEnough } from "./data.ts";
import { type Executable, storeOfInput } from "./executable.ts";
import { decodeTokens, type GenerateOptions, generateTokens } from "./generate.ts";
import { contextOf, generateEntries, tokensLeft } from "./generate-entries.ts";
import { lockFolder } from "./lock.ts";
import { type TrainSetup, type TrainStep, trainSteps } from "./loop.ts";
import { type LoadedParameters, loadParameters, readParameters, sizesFromConfig } from "./parameters.ts";
import {
  copyProgram,
  findEntry,
  hasHeader,
  hasMethod,
  headerDefault,
  headerSizes,
  isCopied,
  isInNats,
  ownLosses,
  readProgram,
} from "./program.ts";
import { defaultRunFolder, type RunConfig, RunLog, readConfig, requireSame, writeConfig } from "./run-folder.ts";
import { count } from "./tensor.ts";
import { copyTokenizerFiles, selectCodec } from "./tokenizer/select-codec.ts";
import { type Progress, requireInVocabulary, requireVocabulary } from "./tokens.ts";
import { shardingSummary } from "./workers/sharded-executable.ts";
import {
  reportingFailure,
  requireDivisibleBatch,
  requireEqualRuns,
  requireEqualSharing,
  requireFiles,
  sampleSaved,
} from "./workers/train-distributed.ts";
import { type Workers, workers } from "./workers/workers.ts";

/** Options that are left out come from the run's config.json when resuming, else they have the defaults given here. */
export interface TrainOptions extends CommonOptions {
  /** A .moe file. */
  readonly program: string;
  /** Which of the file's models. Default: resuming, the run's; else its only one. */
  readonly model?: string | undefined;
  /** Text files, which are concatenated. Tokens are bytes unless `ids` or `tokenizer` says otherwise. */
  readonly data: readonly string[];
  /** The files hold token numbers, separated by blanks or commas. */
  readonly ids?: boolean | undefined;
  /** The files hold text for this tokenizer: a tokenizer.json, or a folder with one. */
  readonly tokenizer?: string | undefined;
  /** Steps in total, those before a resume included. Default: the model's `Steps`, or 400. */
  readonly steps?: number | undefined;
  /** Rows of a batch. Default: 16. */
  readonly batch?: number | undefined;
  /** Tokens of a row. Default: 128. */
  readonly length?: number | undefined;
  /** Batches per step, which takes the mean of their gradients. Default: 1. */
  readonly accumulate?: number | undefined;
  /** Default: 0. */
  readonly seed?: number | undefined;
  /** Initial parameters: a safetensors file, or a folder that training or transformers wrote. Those that it lacks are initialised from the seed. */
  readonly params?: string | undefined;
  /** The run's folder; null: nothing is written. Default: runs/NAME. */
  readonly out?: string | null | undefined;
  /** Steps from one checkpoint to the next. Default: 100. */
  readonly saveEvery?: number | undefined;
  /** Steps from one evaluation to the next. Default: 0, after the last step only. */
  readonly evaluateEvery?: number | undefined;
  readonly resume?: boolean | undefined;
  /** Several workers only: over how many of them experts are spread, a divisor of their number. Default: over all. */
  readonly expertParallel?: number | undefined;
  /** Several workers only: how many rows one worker's experts have memory for, in multiples of an equal share of its group's rows. Default: all rows. */
  readonly room?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with messages that the user should see but need not act on. */
  readonly warn?: ((line: string) => void) | undefined;
  /** Called with the progress of the tokenizer in each file. */
  readonly encoding?: Progress | undefined;
}
type SampleOptions = Pick<GenerateOptions, "tokens" | "temperature" | "signal">;
/** The first line of a run's log. `bigram` and `unigram`: the `entropies` of the data's bytes; absent of token numbers. */
interface About {
  readonly bigram?: number;
  readonly unigram?: number;
  readonly bytes: number;
  readonly measure: Measure;
  /** The number of scalars in all parameters, and in those that are not frozen. */
  readonly parameters: number;
  readonly trained: number;
  /** The number of workers, if several; `plan` is that of one of them. */
  readonly workers?: number;
  /** Bytes by use; on a target without an arena, without those of the arena. */
  readonly plan: Bytes | Pick<Bytes, "parameters" | "prepared" | "gradients" | "optimizer" | "activations">;
}
/** What the held-out loss is: the sum of these losses; `unit` where it is one whose unit is known. */
export interface Measure {
  readonly losses: readonly string[];
  readonly unit?: string;
}
export interface Training {
  readonly folder: string | null;
  readonly config: RunConfig;
  readonly text: Dataset;
  readonly report: Compiled["report"];
  readonly about: About;
  readonly world: Workers;
  /** A line for the user about what each of several workers has (see `shardingSummary`); null: there is one. */
  readonly sharding: string | null;
  /** The checkpoint from which it resumes; null: none. */
  readonly from: Checkpoint | null;
  /** The names of parameters that `params` lacks; null: it was not given. */
  readonly missing: readonly string[] | null;
  /** The training loop. When `signal` is aborted, the current step is finished and saved, and the loop ends. */
  steps(signal?: AbortSignal): AsyncGenerator<TrainStep, void>;
  /**
   * Text generated by the model in its current state, as long as its Context allows; null: it has no `generate`, or its tokens are numbers. Where there are
   * several workers, worker 0 alone generates it, from the newest checkpoint.
   */
  sample(how: SampleOptions): AsyncGenerator<string, void> | null;
  close(): void;
}

/** Trains a model and yields each step: `for await (const step of train({ program: "gpt.moe", data: ["a.txt"] })) ...` */
export async function* train(options: TrainOptions): AsyncGenerator<TrainStep, void> {
  const training = await openTraining(options);
  try {
    yield* training.steps(options.signal);
  } finally {
    training.close();
  }
}

/** Does everything before the first step. The caller closes the result. All workers call it; if it fails on one, it throws on all. */
export async function openTraining(options: TrainOptions, world: Workers = workers()): Promise<Training> {
  try {
    return await opened(options, world);
  } catch (error) {
    throw world.reportFailure(error);
  }
}
async function opened(options: TrainOptions, world: Workers): Promise<Training> {
  requireFiles(options.data, world);
  requireEqualSharing(options, world);
  const program = readProgram(options.program);
  const folder =
    options.out === null ? null : (options.out ?? defaultRunFolder(options.program, options.resume ?? false));
  const entry = findEntry(program, modelIn(program, options, folder), "train");
  const text = await textIn(options, folder);
  const ownFolder = folder === null || world.rank > 0 ? null : folder;
  const lock = (): (() => void) => (ownFolder === null ? () => {} : lockFolder(ownFolder));
  lock()(); // reports a conflict at once, and unlocks: a process that ends while kernels are compiled leaves nothing
  const config = configIn(options, entry, folder, text);
  const params = givenParameters(options, config, folder);
  const compiled = await compileOnWorkers(world, options.target ?? "host", (device) =>
    compileTraining({ options, program, entry, config, text, world, device }),
  );
  const { executable, report } = compiled;
  let release: (() => void) | undefined;
  const close = (): void => {
    executable.close();
    release?.();
  };
  try {
    release = lock();
    configIn(options, entry, folder, text); // checked again: another run may have begun meanwhile
    const from = folder !== null && options.resume ? newestIn(folder, options.warn) : null;
    const { saveEvery = 100, evaluateEvery = 0 } = options;
    requireEqualRuns({ program, config, folder, from, params, saveEvery, evaluateEvery }, world);
    const measure = measureOf(program, entry, text);
    const about = aboutOf(compiled, text, measure, world);
    const missing = params && [...loadParameters(executable, params).keys()]; // throws what does not fit before anything is written
    if (ownFolder !== null) writeRunFiles(ownFolder, program, options, { config, text, about, from });
    const setup = {
      executable,
      text,
      config,
      modelLosses: measure.losses,
      folder,
      from,
      world,
      params,
      saveEvery,
      evaluateEvery,
    };
    return {
      folder,
      config,
      text,
      report,
      from,
      about,
      missing,
      world,
      sharding:
        world.size > 1
          ? shardingSummary(executable.stores, world, Number(config.sizes["B"]), options.expertParallel)
          : null,
      close,
      steps: (signal) => reportingFailure(world, trainSteps(signal ? { ...setup, signal } : setup)),
      sample: (how) => {
        if (!hasMethod(program, config.model, "generate") || text.codec.name === "ids") return null;
        if (world.size === 1) return sampleText(executable, entry, setup, how);
        return ownFolder === null
          ? null
          : sampleSaved(ownFolder, options, (saved) => sampleText(saved, entry, setup, how));
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}
/** Writes the files that a run's folder has before the first step. */
function writeRunFiles(
  folder: string,
  program: Loaded,
  { program: path, warn }: TrainOptions,
  { config, text, about, from }: Pick<Training, "config" | "text" | "about" | "from">,
): void {
  if (from !== null && !isCopied(program, folder)) warn?.(`${path} has changed since ${folder} was saved`);
  copyProgram(program, folder);
  writeConfig(folder, config);
  copyTokenizerFiles(text.codec, folder);
  new RunLog(folder).begin(about);
}
function textIn(options: TrainOptions, folder: string | null): Promise<Dataset> {
  const config = options.resume ? savedIn(folder) : null;
  const run = folder === null || config === null ? null : { folder, config };
  return selectCodec(options, run).then((codec) => readDataset(options.data, codec, options.encoding));
}
/** The parameters that the run starts from; null: they come from the seed, or from its own checkpoint. */
function givenParameters(options: TrainOptions, { params }: RunConfig, folder: string | null): LoadedParameters | null {
  const goesOn = options.resume && folder !== null && checkpointSteps(folder).length > 0;
  return params === undefined || goesOn ? null : readParameters(params, options.warn ?? (() => {}));
}
function newestIn(folder: string, warn: TrainOptions["warn"] = () => {}): Checkpoint | null {
  const from = newestCheckpoint(folder, warn);
  if (from === null) warn(`${folder} has no checkpoint yet: training begins at step 0`);
  return from;
}

export function measureOf(program: Loaded, { declaration }: EntrySignature, { codec }: Dataset): Measure {
  const losses = ownLosses(program, declaration);
  return isInNats(program, declaration) ? { losses, unit: `nats a ${codec.unit}` } : { losses };
}
function aboutOf({ executable, report }: Compiled, text: Dataset, measure: Measure, { size }: Workers): About {
  const all = executable.stores.filter((s) => s.role === "parameter");
  const parameters = all.reduce((sum, s) => sum + count(s.shape), 0);
  const { trained } = report;
  const known = text.all instanceof Uint8Array ? entropies(text.all) : {};
  const several = size > 1 ? { workers: size } : {};
  const plan = executable.bytes ?? planned(report);
  return { ...known, bytes: text.bytes, measure, parameters, trained, ...several, plan };
}
const planned = ({ parameters, prepared, gradients, optimizer, activations }: Compiled["report"]): About["plan"] => ({
  parameters,
  prepared,
  gradients,
  optimizer,
  activations,
});
interface CompileInputs {
  readonly options: TrainOptions;
  readonly program: Loaded;
  readonly entry: EntrySignature;
  readonly config: RunConfig;
  readonly text: Dataset;
  readonly world: Workers;
  readonly device: number | undefined;
}
async function compileTraining({
  options,
  program,
  entry,
  config,
  text,
  world,
  device,
}: CompileInputs): Promise<Compiled> {
  const batch = Number(config.sizes["B"]);
  requireDivisibleBatch(batch, world);
  requireEnough(text, batch, Number(config.sizes["T"]));
  const { entries, ...request } = trainingRequest(entry, config.sizes, ["train", "evaluate"]);
  return compileProgram({
    ...request,
    path: options.program,
    onChoices: (choices) => {
      const vocabulary = choices[storeOfInput("train", "tokens")];
      requireVocabulary(text.codec, vocabulary);
      requireInVocabulary(text.all, vocabulary, "the data");
    },
    precision: config.precision,
    target: options.target ?? "host",
    tf32: config.tf32,
    device,
    threads: options.threads ?? world.threads,
    onCompile: options.onCompile,
    accumulate: config.accumulate ?? 1,
    expertParallel: options.expertParallel,
    room: options.room,
    world,
    entries: [...entries, ...(world.size > 1 ? [] : generateEntries(program, entry.declaration))],
  });
}
/** The request for `train` or `evaluate` on B rows of T tokens; other sizes come from the model's header. */
export function trainingRequest(
  entry: EntrySignature,
  { B = 1, T = 1, ...sizes }: RunConfig["sizes"],
  names: readonly ("train" | "evaluate")[],
): Pick<CompileRequest, "declaration" | "sizes" | "entries"> {
  const [batch, length] = textAxes(entry);
  const rows = { [batch]: B, [length]: T };
  const entries = names.map((name) => ({ method: "train", name, sizes: rows }));
  return { declaration: entry.declaration, sizes, entries };
}
function sampleText(
  executable: Executable,
  entry: EntrySignature,
  { config, text }: Pick<TrainSetup, "config" | "text">,
  how: SampleOptions,
): AsyncGenerator<string, void> {
  const context = contextOf(entry, config.sizes);
  const { codec } = text;
  const prompt = opening(text);
  const tokens = Math.min(how.tokens, tokensLeft(prompt, context));
  const options = { ...how, tokens, prompt, seed: config.seed, context, step: config.steps, end: codec.endToken };
  return decodeTokens(generateTokens(executable, options), codec.decoder(prompt));
}

/** Whether an entry is `train(tokens: i32[B, T], targets: i32[B, T])`. */
export const takesText = (entry: EntrySignature): boolean => axesOfText(entry) !== null;
/** The names of the two sizes of such an entry; null: it has another signature. */
function axesOfText({ arguments: given }: EntrySignature): [batch: string, length: string] | null {
  const [batch, length, ...more] = given[0]?.axes ?? [];
  const fits = given.map((a) => a.name).join() === "tokens,targets" && more.length === 0;
  return fits && batch && length ? [batch, length] : null;
}
function textAxes(entry: EntrySignature): [batch: string, length: string] {
  const axes = axesOfText(entry);
  if (axes) return axes;
  throw new Problem(
    `\`${entry.declaration}.train\` takes (${entry.arguments.map((a) => `${a.name}: ${a.text}`).join(", ")}), which is not text`,
    "text is train(tokens: i32[B, T], targets: i32[B, T]); batches of other inputs are given in TypeScript, to `train` of moec, and their sizes by --set",
  );
}

/** The name of the model to train: given, or, when resuming, the run's, or the file's only one. */
function modelIn(program: Loaded, { model, resume }: TrainOptions, folder: string | null): string {
  const name = model ?? (resume ? savedIn(folder)?.model : undefined);
  return findModel(program, name, modelFlagText).ast.name.name;
}
const savedIn = (folder: string | null): RunConfig | null =>
  folder !== null && existsSync(join(folder, "config.json")) ? readConfig(folder) : null;
/** The run's options. Throws if the folder holds a run and `resume` is not set, or if they contradict those of the run that is resumed. */
function configIn(options: TrainOptions, entry: EntrySignature, folder: string | null, text: Dataset): RunConfig {
  if (options.resume && options.params !== undefined)
    throw new Problem(
      "a run that is resumed goes on from its own checkpoint, not from --params",
      "leave one of --resume and --params out",
    );
  const saved = options.resume ? savedIn(folder) : null;
  if (options.resume && saved === null)
    throw new Problem(
      `${folder ?? "nothing"} holds no run to resume`,
      "leave --resume out, or name the run's folder with --out",
    );
  if (folder === null || saved === null) {
    if (folder !== null && checkpointSteps(folder).length > 0)
      throw new Problem(`${folder} already holds a run`, "go on with --resume, or choose another folder with --out");
    return configOf(options, entry, text, null);
  }
  const config = configOf(options, entry, text, saved);
  requireSame(folder, saved, config);
  if (config.tf32 && options.target !== "cuda")
    throw new Problem(
      `${folder} cannot go on on the ${options.target ?? "host"} target: it was trained with --tf32`,
      "add --target cuda, or start another run with --out",
    );
  return config;
}
function configOf(
  options: TrainOptions,
  entry: EntrySignature,
  { files, bytes, hash, codec }: Dataset,
  saved: RunConfig | null,
): RunConfig {
  const before = saved?.sizes ?? {};
  const steps = options.steps ?? saved?.steps ?? headerDefault(entry, "Steps") ?? 400;
  const accumulate = options.accumulate ?? saved?.accumulate;
  const params = options.params ?? saved?.params;
  return {
    model: entry.declaration,
    sizes: {
      ...before,
      ...(options.params === undefined ? {} : headerSizes(entry, sizesFromConfig(options.params))),
      ...options.set,
      B: options.batch ?? before["B"] ?? 16,
      T: options.length ?? before["T"] ?? 128,
      ...(hasHeader(entry, "Steps") ? { Steps: steps } : {}),
    },
    steps,
    seed: options.seed ?? saved?.seed ?? 0,
    precision: options.precision ?? saved?.precision ?? "f32",
    ...((options.tf32 ?? saved?.tf32) ? { tf32: true } : {}),
    ...(params === undefined ? {} : { params }),
    ...(accumulate === undefined ? {} : { accumulate }),
    ...codec.config,
    data: { files: [...files], bytes, hash },
  };
}
