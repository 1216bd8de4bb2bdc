// Evaluates a trained or imported model on a text, all of it, as `moec evaluate` does, by one process or several.
import type { EntrySignature } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import type { Settings } from "../../compiler/options.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import type { EncodingOptions } from "../cache/tokens.ts";
import { type CommonOptions, commonRequest, type ParameterSharing } from "../compile.ts";
import { letEventsRun } from "../events.ts";
import { type Executable, type RunContext } from "../executable/executable.ts";
import { quantisedSummary, tellsCodes } from "../executable/quantised.ts";
import { type FolderOptions, loadRun, type OpenedFolder, openFolder, programIn } from "../generation/open-run.ts";
import { findEntry } from "../program.ts";
import { codesIn } from "../storage/names.ts";
import type { RunConfig } from "../storage/run-folder.ts";
import { sourceAxis, tellsApart, textSizes, trainingRequest } from "../text-entry.ts";
import { type Codec, type Languages, type Progress, requireEncoder, withLanguages } from "../tokens.ts";
import { compileOnWorkers } from "../workers/compile-on-workers.ts";
import { requireEqualModels } from "../workers/generate-distributed.ts";
import { shardingSummary } from "../workers/sharding-summary.ts";
import { identityOf, requireFiles } from "../workers/train-distributed.ts";
import { type Workers, workers } from "../workers/workers.ts";
import { type Dataset, evaluationBatches, pairsOf, requireKnown, targetsOf, vocabularyOf } from "./data.ts";
import { runBatch } from "./loop.ts";
import { MeanLosses } from "./means.ts";
import { pairBatches } from "./pairs.ts";
import { isText } from "./read-texts.ts";
import { type Measure, measureOf, readOnWorkers, sourceLengthOf } from "./train.ts";

/** The newest intact checkpoint of the folder is evaluated. */
export interface EvaluateOptions extends FolderOptions, CommonOptions, EncodingOptions, ParameterSharing, Languages {
  /** Text files, which are concatenated. */
  readonly data: readonly string[];
  /** Rows of a batch. Default: the run's. */
  readonly batch?: number | undefined;
  /** Tokens of a row: no token sees more before it. Default: the run's. */
  readonly length?: number | undefined;
  /** Called with how many targets are evaluated, and how many there are. */
  readonly evaluating?: Progress | undefined;
  /** Called with a line about what each of several workers has (`shardingSummary`), and one about weights that are codes (`quantisedSummary`). */
  readonly tell?: ((line: string) => void) | undefined;
}
export interface Evaluation {
  /** How many training steps the model has done. */
  readonly step: number;
  /** Names of the losses that the model's `train` itself states, and their unit where it is known. */
  readonly measure: Measure;
  /** Their means over all targets, and the sum of these. */
  readonly losses: ReadonlyMap<string, number>;
  readonly loss: number;
  /** Every token but the first is a target; of documents those that the loss counts, without the first of each if the model tells documents apart. */
  readonly targets: number;
  readonly unit: Codec["unit"];
  /** Where the loss is in nats: e^loss, and, of text, the loss of all targets in bits divided by the bytes of the text. */
  readonly perplexity?: number;
  readonly bitsPerByte?: number;
}

/** The mean losses of a model on a text, which is cut into rows as held-out text is. All workers call it, with the same options. */
export async function evaluate(options: EvaluateOptions, world: Workers = workers()): Promise<Evaluation> {
  try {
    const opened = await openFolder(options);
    try {
      return await evaluateOpened(opened, options, world);
    } finally {
      opened.checkpoint.close();
    }
  } catch (error) {
    throw world.reportFailure(error);
  }
}
async function evaluateOpened(
  { config, checkpoint, codec }: OpenedFolder,
  options: EvaluateOptions,
  world: Workers,
): Promise<Evaluation> {
  requireFiles(options.data, world);
  const program = programIn(options.folder);
  const entry = findEntry(program, config.model, "train");
  const pairs = sourceAxis(entry) !== null;
  requireEncoder(options, pairs);
  const how = { ...options, apart: tellsApart(entry), pairs };
  const text = await readOnWorkers(options.data, withLanguages(codec, options), how, world);
  requireTarget(text);
  const sizes = sizesOf(entry, config, options);
  const sourceLength = sourceLengthOf(text, entry, sizes);
  const { B: rows, T: length } = sizes;
  const request = { ...options, precision: options.precision ?? config.precision, world };
  requireEqualModels(program, identityOf(checkpoint), { ...request, set: sizes, rows, seed: config.seed });
  world.requireEqual({ data: `SHA-256 ${text.hash}` });
  const { executable } = await compileOnWorkers(() => program, {
    ...trainingRequest(entry, sizes, ["evaluate"], sourceLength),
    ...commonRequest(request, world),
    kept: codesIn(checkpoint.model),
    restored: true,
    onInputs: ({ choices }) => requireKnown(text, vocabularyOf(choices, "evaluate")),
  });
  try {
    await loadRun(executable, checkpoint, config.seed);
    if (world.size > 1) options.tell?.(shardingSummary(executable.stores, world, rows, options));
    if (tellsCodes(options, executable.stores)) options.tell?.(quantisedSummary(executable.stores));
    const measure = measureOf(program, entry, text);
    const { step } = checkpoint.state;
    const at = { seed: config.seed, call: step, step };
    const means = await meanLosses(executable, text, { ...options, measure, rows, length, sourceLength, at });
    return { step, ...figuresOf(means, measure, text) };
  } finally {
    executable.close();
  }
}
function requireTarget({ all, starts, codec }: Dataset): void {
  if (targetsOf(all, starts) === 0)
    throw new Problem(
      `the data has ${pluralize(all.length, codec.unit)}, and the first is predicted from nothing`,
      "give a text of two or more",
    );
}
/** The sizes that the options give, else those of the training. */
function sizesOf(
  entry: EntrySignature,
  { sizes: { B = 16, T = 128, ...trained } }: RunConfig,
  options: EvaluateOptions,
): Settings & { readonly B: number; readonly T: number } {
  const asked = textSizes(entry, options);
  return { ...trained, ...asked.others, B: asked.B ?? Number(B), T: asked.T ?? Number(T) };
}
interface Cut extends Pick<EvaluateOptions, "evaluating"> {
  readonly measure: Measure;
  readonly rows: number;
  readonly length: number;
  readonly sourceLength: number | null;
  readonly at: RunContext;
}
async function meanLosses(
  executable: Executable,
  text: Dataset,
  { measure, rows, length, sourceLength, at, evaluating = () => {} }: Cut,
): Promise<MeanLosses> {
  const { all, starts } = text;
  const [means, targets] = [new MeanLosses(measure.losses), targetsOf(all, starts)];
  const batches =
    sourceLength === null
      ? evaluationBatches(all, rows, length, starts)
      : pairBatches(pairsOf(text, "all"), rows, sourceLength, length);
  for (const batch of batches) {
    means.add(await runBatch(executable, "evaluate", batch, at), batch.count);
    evaluating(means.count, targets);
    await letEventsRun();
  }
  return means;
}
function figuresOf(
  { sum: loss, count: targets, each: losses }: MeanLosses,
  measure: Measure,
  { codec, files, bytes }: Dataset,
): Omit<Evaluation, "step"> {
  const figures = { measure, losses, loss, targets, unit: codec.unit };
  if (measure.unit === undefined) return figures;
  const perplexity = Math.exp(loss);
  if (codec.name === "ids" || !files.every(isText)) return { ...figures, perplexity };
  return { ...figures, perplexity, bitsPerByte: (loss * targets) / Math.LN2 / bytes };
}
