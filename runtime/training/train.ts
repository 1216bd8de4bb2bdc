// Training as `moec train` does it: reads the data, compiles the model, opens the run's folder and runs the loop.
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { EntrySignature, Loaded } from "../../compiler/check/index.ts";
import { requireValid } from "../../compiler/check/valid.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import type { Bytes } from "../../compiler/plan/plan.ts";
import { product } from "../../compiler/types/numbers.ts";
import { closedOnFailure } from "../closing.ts";
import { type Compiled, commonRequest } from "../compile.ts";
import type { Executable } from "../executable/executable.ts";
import { quantisedSummary } from "../executable/quantised.ts";
import { generateEntries, sourceOf } from "../generation/generate-entries.ts";
import { isTransformersFolder, openTransformers, startOf } from "../import/config.ts";
import { copyProgram, findEntry, isCopied, isInNats, ownLosses, readProgram } from "../program.ts";
import { type BestEvaluation, type Checkpoint, newestCheckpoint, requireSameStores } from "../storage/checkpoint.ts";
import { bestOf, isOf, isRun } from "../storage/checkpoint-folder.ts";
import { holdsFolder, lockFolder } from "../storage/lock.ts";
import { namesOf } from "../storage/names.ts";
import {
  type LoadedParameters,
  matchParameters,
  missingParameters,
  readParameters,
  upcycledArrays,
} from "../storage/parameters.ts";
import { defaultRunFolder, type RunConfig, RunLog, writeConfig } from "../storage/run-folder.ts";
import type { CopiedArray } from "../storage/upcycle.ts";
import { sourceAxis, tellsApart, textAxes, trainingRequest } from "../text-entry.ts";
import { tokenizerName } from "../tokenizer/file.ts";
import { copyTokenizerFiles, type SavedRun, selectCodec } from "../tokenizer/select-codec.ts";
import { type Codec, requireEncoder, withBegin, withLanguages, withStart } from "../tokens.ts";
import { compileOnWorkers } from "../workers/compile-on-workers.ts";
import { shardingSummary } from "../workers/sharding-summary.ts";
import {
  reportingFailure,
  requireDivisibleBatch,
  requireEqualCheckpoints,
  requireEqualRuns,
  requireEqualSharing,
  requireFiles,
} from "../workers/train-distributed.ts";
import { type Workers, workers } from "../workers/workers.ts";
import { bestBefore, requireEvaluations } from "./best.ts";
import {
  type CountedLosses,
  countedLosses,
  type DataOptions,
  type Dataset,
  pairsOf,
  readDataset,
  requireEnough,
  requireKnown,
  vocabularyOf,
} from "./data.ts";
import { type TrainSetup, type TrainStep, trainSteps } from "./loop.ts";
import { longestPair, sourceSize } from "./pairs.ts";
import { type SampleOptions, sampleOf } from "./sample.ts";
import { configIn, inherited, modelIn, savedIn, type TrainOptions } from "./train-options.ts";

/** The first line of a run's log. `CountedLosses` are absent of token numbers. */
interface About extends Partial<CountedLosses> {
  readonly bytes: number;
  readonly measure: Measure;
  /** The number of scalars in all parameters, and in those that are not frozen. */
  readonly parameters: number;
  readonly trained: number;
  /** Of those, the names of parameters that no loss depends on. Absent: none. */
  readonly unreached?: readonly string[];
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
  /** A line about weights that are codes (`quantisedSummary`); null: there are none. */
  readonly quantised: string | null;
  /** The checkpoint from which it resumes; null: none. */
  readonly from: Checkpoint | null;
  /** The best evaluation of the run before it goes on; null: there is none. */
  readonly best: BestEvaluation | null;
  /** The names of parameters that `params` lacks; null: it was not given. */
  readonly missing: readonly string[] | null;
  /** See `upcycledArrays`. */
  readonly upcycled: readonly CopiedArray[];
  /** What its header has of the run that `params` names; see `inherited`. */
  readonly inherited: RunConfig["sizes"];
  /** The training loop. When `signal` is aborted, the current step is finished and saved, and the loop ends. */
  steps(signal?: AbortSignal): AsyncGenerator<TrainStep, void>;
  /**
   * Text generated by the model in its current state, as long as its Context allows; null: it has no `generate`, or its tokens are numbers. Where there are
   * several workers, worker 0 alone generates it, from the newest checkpoint.
   */
  sample(how: SampleOptions): AsyncGenerator<string, void> | null;
  close(): void;
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
  const run = await plannedRun(options, world);
  const opened = [(): void => run.params?.close?.()];
  const close = (): void => {
    for (const end of opened.splice(0).toReversed()) end();
  };
  return closedOnFailure({ close }, async () => {
    requireEqualRuns(run, world);
    const compiled = await compileTraining(run);
    opened.push(() => compiled.executable.close());
    opened.push(lockFolderOf(run));
    configIn(options, run.entry, run.folder, run.text); // checked again: another run may have begun meanwhile
    const from = checkpointToGoOnFrom(options, run.config, run.folder);
    opened.push(() => from?.close());
    return { ...begun(run, compiled, from), close };
  });
}
/** A run before its model is compiled. */
interface PlannedRun extends Pick<TrainSetup, "saveEvery" | "evaluateEvery" | "patience" | "sourceLength"> {
  readonly options: TrainOptions;
  readonly world: Workers;
  readonly program: Loaded;
  readonly entry: EntrySignature;
  /** null: nothing is written. */
  readonly folder: string | null;
  readonly text: Dataset;
  readonly config: RunConfig;
  /** See `givenParameters`. */
  readonly params: LoadedParameters | null;
}
async function plannedRun(options: TrainOptions, world: Workers): Promise<PlannedRun> {
  requireFiles(options.data, world);
  requireFiles(options.heldOut ?? [], world, "--held-out");
  requireEqualSharing(options, world);
  requireEvaluations(options);
  const { saveEvery = 100, evaluateEvery = 0, patience = null, resume = false } = options;
  const program = readProgram(options.program);
  const { out: folder = defaultRunFolder(options.program, resume) } = options;
  requireValid(program); // before the data is read and encoded, which may take minutes
  const entry = findEntry(program, modelIn(program, options, folder), "train");
  textAxes(entry);
  const text = await textIn(options, entry, folder, world);
  lockFolderOf({ folder, world })(); // reports a conflict at once, and unlocks: a process that ends while kernels are compiled leaves nothing
  const config = configIn(options, entry, folder, text);
  const params = givenParameters(options, config, folder);
  const sourceLength = sourceLengthOf(text, entry, config.sizes);
  return {
    sourceLength,
    options,
    world,
    program,
    entry,
    folder,
    text,
    config,
    params,
    saveEvery,
    evaluateEvery,
    patience,
  };
}
/** The U of a batch's sources; null: the model has no encoder. Throws Problem if a pair is longer than the model's rows. */
export function sourceLengthOf(text: Dataset, entry: EntrySignature, sizes: RunConfig["sizes"]): number | null {
  if (!text.pairs) return null;
  const [all, held] = [longestPair(pairsOf(text, "all")), longestPair(pairsOf(text, "heldOut"))];
  const longest = { source: Math.max(all.source, held.source), answer: Math.max(all.answer, held.answer) };
  return sourceSize(longest, Number(sizes["T"]), sourceOf(entry, sizes));
}
/** The folder that this worker writes; null: none. */
const ownFolderOf = ({ folder, world }: Pick<PlannedRun, "folder" | "world">): string | null =>
  world.rank > 0 ? null : folder;
function lockFolderOf(run: Pick<PlannedRun, "folder" | "world">): () => void {
  const own = ownFolderOf(run);
  return own === null ? () => {} : lockFolder(own);
}
/** A compiled run that goes on from a checkpoint, or begins. What does not fit is thrown before anything is written: a run that cannot go on keeps its program. */
function begun(run: PlannedRun, compiled: Compiled, from: Checkpoint | null): Omit<Training, "close"> {
  const { options, world, program, entry, folder, text, config, params } = run;
  const { executable, report } = compiled;
  const best = bestBefore(folder, from, config, run.patience); // before the exchange, after which worker 0 may write it
  requireEqualCheckpoints(from, world);
  const measure = measureOf(program, entry, text);
  const about = aboutOf(compiled, text, measure, world);
  if (from) requireFitting(executable, from, config.from);
  const missing = params && missingParameters(matchParameters(executable.stores, params)).flatMap(namesOf);
  const upcycled = params ? upcycledArrays(executable.stores, params) : [];
  const ownFolder = ownFolderOf(run);
  if (ownFolder !== null && from !== null && isOf(ownFolder, from) && !isCopied(program, ownFolder))
    options.warn?.(`${options.program} has changed since ${ownFolder} was saved`);
  const writeFiles = (): void => {
    if (ownFolder !== null) writeRunFiles(ownFolder, program, { config, text, about });
  };
  writeFiles();
  const restoreFolder = (): boolean => {
    if (ownFolder === null || holdsFolder(ownFolder)) return false;
    lockFolder(ownFolder); // a Problem if another run has it
    if (existsSync(join(ownFolder, "config.json"))) return false; // its lock alone was removed
    options.warn?.(`${ownFolder} was removed while it is trained: it is written again, without the steps up to here`);
    writeFiles();
    return true;
  };
  const setup: TrainSetup = { ...run, executable, modelLosses: measure.losses, from, best, restoreFolder };
  return {
    folder,
    config,
    text,
    from,
    best,
    world,
    report,
    about,
    missing,
    upcycled,
    inherited: inherited(options, entry),
    sharding: shardingOf(setup, options),
    quantised: config.weights === undefined ? null : quantisedSummary(executable.stores),
    steps: (signal) => reportingFailure(world, trainSteps(signal ? { ...setup, signal } : setup)),
    sample: (how) => sampleOf(compiled, setup, run, how),
  };
}
function shardingOf({ executable, world, config }: TrainSetup, options: TrainOptions): string | null {
  return world.size > 1 ? shardingSummary(executable.stores, world, Number(config.sizes["B"]), options) : null;
}
/** Writes the files that a run's folder has before the first step. */
function writeRunFiles(
  folder: string,
  program: Loaded,
  { config, text, about }: Pick<Training, "config" | "text" | "about">,
): void {
  for (const place of [folder, ...(config.keepBest ? [bestOf(folder)] : [])]) {
    copyProgram(program, place);
    writeConfig(place, config);
    copyTokenizerFiles(text.codec, place);
  }
  new RunLog(folder).begin(about);
}
/** The run whose tokens are taken where the options name none: the one that it goes on with, or begins from. */
function runOfCodec({ resume, from, params }: TrainOptions, own: string | null): SavedRun | null {
  const folder = resume ? own : (from ?? params ?? null);
  const config = folder !== null && (resume || isRun(folder)) ? savedIn(folder) : null;
  return folder === null || config === null ? null : { folder, config };
}
/** The folder that transformers wrote and that the parameters are of, if it has a tokenizer and the options say nothing of tokens. */
function tokenizerOfParams({ ids, resume, from, params }: TrainOptions): string | undefined {
  if (ids !== undefined || resume || from !== undefined || params === undefined) return undefined;
  return existsSync(join(params, tokenizerName)) && !isRun(params) ? params : undefined;
}
/** The tokens that the decoder of a run, or of a model that transformers wrote, begins with, where these are known. */
function startIn({ params }: TrainOptions, run: SavedRun | null): readonly number[] | undefined {
  if (run) return run.config.start;
  return params !== undefined && isTransformersFolder(params) ? startOf(openTransformers(params)) : undefined;
}
/** With the tokens that a source, and what the decoder writes, begin with: those of the run or of the model, or of the languages that are given. */
const codecOfPairs = (codec: Codec, options: TrainOptions, run: SavedRun | null): Codec =>
  withLanguages(withBegin(withStart(codec, startIn(options, run)), run?.config.begin), options);
/** A run's tokens for a model without an encoder, whose texts begin with no language. */
function withoutEncoder(run: SavedRun | null): SavedRun | null {
  if (run === null) return null;
  const { start: _, begin: __, ...config } = run.config;
  return { ...run, config };
}
async function textIn(
  options: TrainOptions,
  entry: EntrySignature,
  folder: string | null,
  world: Workers,
): Promise<Dataset> {
  const { ids, tokenizer = tokenizerOfParams(options) } = options;
  const run = runOfCodec(options, folder);
  const pairs = sourceAxis(entry) !== null;
  const codec = await selectCodec({ ids, tokenizer }, pairs || options.resume ? run : withoutEncoder(run));
  requireEncoder(options, pairs);
  const how = { ...options, apart: tellsApart(entry), pairs };
  return readOnWorkers(options.data, pairs ? codecOfPairs(codec, options, run) : codec, how, world);
}
/** Where a text is encoded, by the first worker of a machine before the others there, which then find its tokens in the cache. */
export async function readOnWorkers(
  data: readonly string[],
  codec: Codec,
  options: DataOptions,
  world: Workers,
): Promise<Dataset> {
  const read = (): Promise<Dataset> => readDataset(data, codec, options);
  const encodes = world.anyWorker("whether text is encoded", codec.name === "tokenizer");
  return encodes ? world.localFirst("encode the data", read) : read();
}
/** The parameters that the run starts from; null: they come from the seed, or from its own checkpoint. */
function givenParameters(
  options: TrainOptions,
  { params, upcycle }: RunConfig,
  folder: string | null,
): LoadedParameters | null {
  const goesOn = options.resume && folder !== null && isRun(folder);
  if (params === undefined || goesOn) return null;
  return { ...readParameters(params, options.warn ?? (() => {})), upcycle: upcycle ?? false };
}
/** Its own newest checkpoint if it resumes, else that of the run that it is to go on from; null: there is none. */
function checkpointToGoOnFrom(
  { resume, warn = () => {} }: TrainOptions,
  config: RunConfig,
  folder: string | null,
): Checkpoint | null {
  const own = folder !== null && resume ? newestCheckpoint(folder, warn) : null;
  if (own !== null) return own;
  if (config.from !== undefined) return checkpointOf(config.from, config.steps, warn);
  if (resume) warn(`${folder} has no checkpoint yet: training begins at step 0`);
  return null;
}
/** See `requireSameStores`. `run`: the other run that this one goes on from. */
function requireFitting(executable: Executable, checkpoint: Checkpoint, run: string | undefined): void {
  try {
    requireSameStores(executable, checkpoint);
  } catch (error) {
    if (!(error instanceof Problem) || run === undefined) throw error;
    throw new Problem(error.message, `${error.help}; \`--params ${run}\` begins with its parameters alone, at step 0`, {
      cause: error,
    });
  }
}
function checkpointOf(run: string, steps: number, warn: (line: string) => void): Checkpoint {
  const from = newestCheckpoint(run, warn);
  if (from === null)
    throw new Problem(`${run} has no checkpoint yet`, "give --from the folder of a run that saved one");
  const { step } = from.state;
  if (step < steps) return from;
  from.close();
  throw new Problem(
    `${run} is at step ${step}, and ${steps} in all were asked for`,
    `give more, such as \`--steps ${step + steps}\`; those of ${run} count`,
  );
}

export function measureOf(program: Loaded, { declaration }: EntrySignature, { codec }: Dataset): Measure {
  const losses = ownLosses(program, declaration);
  return isInNats(program, declaration) ? { losses, unit: `nats a ${codec.unit}` } : { losses };
}
function aboutOf({ executable, report }: Compiled, text: Dataset, measure: Measure, { size }: Workers): About {
  const all = executable.stores.filter((s) => s.role === "parameter");
  const parameters = all.reduce((sum, s) => sum + product(s.shape), 0);
  const { trained, unreached } = report;
  return {
    ...countedLosses(text),
    bytes: text.bytes,
    measure,
    parameters,
    trained,
    ...(unreached.length > 0 ? { unreached } : {}),
    ...(size > 1 ? { workers: size } : {}),
    plan: executable.bytes ?? planned(report),
  };
}
const planned = ({ parameters, prepared, gradients, optimizer, activations }: Compiled["report"]): About["plan"] => ({
  parameters,
  prepared,
  gradients,
  optimizer,
  activations,
});
function compileTraining({
  options,
  world,
  program,
  entry,
  config,
  text,
  params,
  sourceLength,
}: PlannedRun): Promise<Compiled> {
  const batch = Number(config.sizes["B"]);
  requireDivisibleBatch(batch, world, options);
  requireEnough(text, batch, Number(config.sizes["T"]), config.shuffle);
  const { entries, ...request } = trainingRequest(entry, config.sizes, ["train", "evaluate"], sourceLength);
  const source = sourceLength === null ? undefined : [sourceLength];
  const generating = world.size > 1 ? [] : generateEntries(program, entry.declaration, { source });
  return compileOnWorkers(() => program, {
    ...request,
    entries: [...entries, ...generating],
    ...commonRequest({ ...options, precision: config.precision, tf32: config.tf32, weights: config.weights }, world),
    onInputs: ({ choices }) => requireKnown(text, vocabularyOf(choices, "train")),
    onStores: (stores) => void (params && matchParameters(stores, params)),
    accumulate: config.accumulate ?? 1,
    recompute: config.recompute,
  });
}
