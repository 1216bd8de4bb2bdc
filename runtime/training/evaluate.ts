// Evaluates a trained or imported model on a text, all of it, as `moec evaluate` does.
import { Problem } from "../../compiler/diagnostic.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import type { EncodingOptions } from "../cache/tokens.ts";
import { type CommonOptions, compileLoaded } from "../compile.ts";
import { storeOfInput } from "../executable.ts";
import { loadRun, type OpenedFolder, openFolder, programIn } from "../generation/open-run.ts";
import { findEntry } from "../program.ts";
import { textSizes, trainingRequest } from "../text-entry.ts";
import type { Codec, Progress } from "../tokens.ts";
import { evaluationBatches, readDataset, requireKnown } from "./data.ts";
import { runBatch, yieldToEvents } from "./loop.ts";
import { MeanLosses } from "./means.ts";
import { type Measure, measureOf } from "./train.ts";

export interface EvaluateOptions extends CommonOptions, EncodingOptions {
  /** The folder of a training run, or of an imported model. Its newest intact checkpoint is evaluated. */
  readonly folder: string;
  /** Text files, which are concatenated. */
  readonly data: readonly string[];
  /** The files hold token numbers. */
  readonly ids?: boolean | undefined;
  /** Rows of a batch. Default: the run's. */
  readonly batch?: number | undefined;
  /** Tokens of a row: no token sees more before it. Default: the run's. */
  readonly length?: number | undefined;
  /** Called with how many targets are evaluated, and how many there are. */
  readonly evaluating?: Progress | undefined;
}
export interface Evaluation {
  /** How many training steps the model has done. */
  readonly step: number;
  /** Names of the losses that the model's `train` itself states, and their unit where it is known. */
  readonly measure: Measure;
  /** Their means over all targets, and the sum of these. */
  readonly losses: ReadonlyMap<string, number>;
  readonly loss: number;
  /** Every token but the first is a target. */
  readonly targets: number;
  readonly unit: Codec["unit"];
  /** Where the loss is in nats: e^loss, and, of text, the loss of all targets in bits divided by the bytes of the text. */
  readonly perplexity?: number;
  readonly bitsPerByte?: number;
}

/** The mean losses of a model on a text, which is cut into rows as held-out text is. */
export async function evaluate(options: EvaluateOptions): Promise<Evaluation> {
  const opened = await openFolder(options);
  try {
    return await evaluateOpened(opened, options);
  } finally {
    opened.checkpoint.close();
  }
}
async function evaluateOpened(
  { config, checkpoint, codec }: OpenedFolder,
  options: EvaluateOptions,
): Promise<Evaluation> {
  const { folder, evaluating = () => {} } = options;
  const program = programIn(folder);
  const entry = findEntry(program, config.model, "train");
  const text = readDataset(options.data, codec, options);
  if (text.all.length < 2)
    throw new Problem(
      `the data has ${pluralize(text.all.length, codec.unit)}, and the first is predicted from nothing`,
      "give a text of two or more",
    );
  const { B = 16, T = 128, ...trained } = config.sizes;
  const asked = textSizes(entry, options);
  const [rows, length] = [asked.B ?? Number(B), asked.T ?? Number(T)];
  const { executable } = await compileLoaded(() => program, {
    ...trainingRequest(entry, { ...trained, ...asked.others, B: rows, T: length }, ["evaluate"]),
    restored: true,
    onChoices: (choices) => requireKnown(text, choices[storeOfInput("evaluate", "tokens")]),
    precision: options.precision ?? config.precision,
    target: options.target ?? "host",
    tf32: options.tf32,
    threads: options.threads,
    onCompile: options.onCompile,
  });
  const { step } = checkpoint.state;
  await loadRun(executable, checkpoint, config.seed);
  try {
    const measure = measureOf(program, entry, text);
    const means = new MeanLosses(measure.losses);
    const at = { seed: config.seed, call: step, step };
    for (const batch of evaluationBatches(text.all, rows, length)) {
      means.add(await runBatch(executable, "evaluate", batch, at), batch.count);
      evaluating(means.count, text.all.length - 1);
      await yieldToEvents();
    }
    const [loss, targets] = [means.sum, means.count];
    const nats = measure.unit === undefined ? {} : inNats(loss, targets, codec.name === "ids" ? null : text.bytes);
    return { step, measure, losses: means.each, loss, targets, unit: codec.unit, ...nats };
  } finally {
    executable.close();
  }
}
function inNats(loss: number, targets: number, bytes: number | null): Pick<Evaluation, "perplexity" | "bitsPerByte"> {
  const perplexity = Math.exp(loss);
  return bytes === null ? { perplexity } : { perplexity, bitsPerByte: (loss * targets) / Math.LN2 / bytes };
}
