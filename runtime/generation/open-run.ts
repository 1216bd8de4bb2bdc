// Opens a trained or imported model: its newest checkpoint and its tokenizer; and, to generate text, compiles its `generate`.
import { join } from "node:path";
import { Problem } from "../../compiler/diagnostic.ts";
import { type CommonOptions, type CompileReport, compileProgram } from "../compile.ts";
import { type Executable, storeOfInput } from "../executable.ts";
import { findEntry, hasMethod, readProgram } from "../program.ts";
import { type Checkpoint, loadStores, newestCheckpoint, type TrainingState } from "../storage/checkpoint.ts";
import { type RunConfig, readConfig } from "../storage/run-folder.ts";
import { tokenAxes } from "../text-entry.ts";
import { selectCodec } from "../tokenizer/select-codec.ts";
import { type Codec, requireInVocabulary } from "../tokens.ts";
import type { GenerateRequest } from "./batch.ts";
import {
  contextOf,
  generateEntries,
  generateSignature,
  lacksSamplingInput,
  requireContext,
  type SamplingInput,
  samplingInputs,
  tokensLeft,
} from "./generate-entries.ts";

interface FolderOptions {
  /** The folder of a training run, or of an imported model. */
  readonly folder: string;
  /**
   * Prompts and texts are token numbers, such as `5 12 7`, whatever tokenizer the run has. Default: false; the run's tokenizer, bytes, or numbers if
   * it was trained on numbers.
   */
  readonly ids?: boolean | undefined;
  readonly warn?: ((line: string) => void) | undefined;
}
interface Folder {
  readonly config: RunConfig;
  readonly checkpoint: Checkpoint;
  readonly codec: Codec;
}
/** How a trained model is opened to generate. */
export interface OpenRunOptions extends CommonOptions, FolderOptions {
  /** How many texts are generated at a time. */
  readonly rows: number;
  readonly seed: number;
  /** Which optional inputs (`top_p`, `top_k`) to compile `generate` with. Default: all that the model's `generate` has. */
  readonly sampling?: readonly SamplingInput[] | undefined;
}
/** An opened model, with the newest intact checkpoint of its run. Generates as many texts at a time as it was opened for. */
export interface OpenRun {
  readonly executable: Executable;
  readonly report: CompileReport;
  readonly codec: Codec;
  /** The optional inputs that `generate` was compiled with. */
  readonly sampling: readonly SamplingInput[];
  readonly context: number | null;
  /** The size of its vocabulary, if tokens index a table; else undefined. */
  readonly vocabulary: number | undefined;
  /** How many training steps it has done. */
  readonly step: number;
}
export async function openRun(options: OpenRunOptions): Promise<OpenRun> {
  const { config, checkpoint, codec } = await openFolder(options);
  const { executable, report, context, sampling } = await compileRun(options, config);
  try {
    const { step } = await loadRun(executable, checkpoint, options);
    const vocabulary = report.choices[storeOfInput("generate:1", "tokens")];
    return { executable, report, codec, sampling, context, vocabulary, step };
  } catch (error) {
    executable.close();
    throw error;
  }
}
/** What the folder of a run, or of an imported model, holds. Throws Problem if it has no intact checkpoint. */
export async function openFolder(options: FolderOptions): Promise<Folder> {
  const { folder } = options;
  const config = readConfig(folder);
  const checkpoint = newestCheckpoint(folder, options.warn ?? (() => {}));
  if (!checkpoint) throw new Problem(`${folder} has no checkpoint`, "train first: moec train writes one");
  return { config, checkpoint, codec: await codecOfRun(options, config, checkpoint) };
}
/**
 * Gives an executable that was compiled as `restored` the values of a checkpoint; what checkpoints do not hold begins as `init` leaves it. Training
 * may have deleted the checkpoint since it was opened: then a later one is loaded. Returns the state of the one that was.
 */
export async function loadRun(
  executable: Executable,
  checkpoint: Checkpoint,
  { folder, seed, warn = () => {} }: Pick<OpenRunOptions, "folder" | "seed" | "warn">,
): Promise<TrainingState> {
  await executable.run("init", new Map(), { seed, call: 0, step: 0 });
  for (let from = checkpoint; ; ) {
    try {
      loadStores(executable, from);
      return from.state;
    } catch (error) {
      const newest = newestCheckpoint(folder, warn);
      if (newest === null || newest.state.step <= from.state.step) throw error;
      from = newest;
    }
  }
}
async function codecOfRun({ folder, ids }: FolderOptions, config: RunConfig, from: Checkpoint): Promise<Codec> {
  if (!ids && from.state.tokenizer === "foreign")
    throw new Problem(
      `${from.path}: its tokens are not bytes, and no tokenizer.json came with it`,
      "give --ids, and prompts as token numbers: --prompt '5 12 7'; or import it again from a folder with tokenizer.json",
    );
  const codec = await selectCodec(ids ? { ids } : {}, { folder, config });
  if (codec.name === "tokenizer" && codec.config.tokenizer !== config.tokenizer)
    throw new Problem(
      `the tokenizer in ${folder} is not the one that config.json names by its SHA-256`,
      "restore tokenizer.json and tokenizer_config.json, or give --ids and token numbers",
    );
  return codec;
}
async function compileRun(options: OpenRunOptions, config: RunConfig) {
  const path = join(options.folder, "model.moe");
  const program = readProgram(path);
  const { B: _, T: __, ...trained } = config.sizes;
  const sizes = { ...trained, ...options.set };
  if (!hasMethod(program, config.model, "generate"))
    throw new Problem(
      `the model of ${path} has no method \`generate\``,
      `add it there and to your program: ${generateSignature} { ... }, as grammar/GRAMMAR.md has it under "Models and training"`,
    );
  const entry = findEntry(program, config.model, "generate");
  const takes = (Object.keys(samplingInputs) as SamplingInput[]).filter((name) =>
    entry.arguments.some((a) => a.name === name),
  );
  const own = tokenAxes(entry)?.find((name) => options.set?.[name] !== undefined);
  if (own !== undefined)
    throw new Problem(
      `${own} of \`generate\` follows from the prompts`,
      `leave --set ${own} out; --batch says how many texts are generated at a time`,
    );
  const { rows, sampling = takes } = options;
  const { executable, report } = await compileProgram({
    path,
    declaration: config.model,
    sizes,
    precision: options.precision ?? config.precision,
    target: options.target ?? "host",
    tf32: options.tf32,
    threads: options.threads,
    onCompile: options.onCompile,
    entries: generateEntries(program, config.model, { rows, sampling }),
    restored: true,
  });
  return { executable, report, sampling, context: contextOf(entry, sizes) };
}

/** How one text is generated. */
export interface TextOptions {
  /** How many tokens. Default: 200, or as many as fit. */
  readonly tokens?: number | undefined;
  /** Default: 0.8. 0 takes the likeliest token each time. */
  readonly temperature?: number | undefined;
  /** Only the likeliest tokens, up to this total probability. Default: 1, all. */
  readonly topP?: number | undefined;
  /** Only so many of the likeliest tokens. Default: 0, all. */
  readonly topK?: number | undefined;
  /** Goes on after the token that ends a text. Default: false. */
  readonly pastEnd?: boolean | undefined;
}
export const samplingOf = ({ topP, topK }: TextOptions): SamplingInput[] => [
  ...(topP === undefined ? [] : (["top_p"] as const)),
  ...(topK === undefined ? [] : (["top_k"] as const)),
];
/**
 * The request for one text. Throws Problem if a token of the prompt is not in the vocabulary, if the text does not fit, or if the model lacks an
 * option.
 */
export function requestOf(prompt: ArrayLike<number>, options: TextOptions, model: OpenRun): GenerateRequest {
  const { codec, context, vocabulary } = model;
  for (const name of samplingOf(options))
    if (!model.sampling.includes(name)) throw lacksSamplingInput(name, "the model's `generate`");
  const tokens = options.tokens ?? Math.min(200, Math.max(1, tokensLeft(prompt, context)));
  requireContext(prompt.length, tokens, context);
  requireInVocabulary(prompt, vocabulary, "a prompt");
  const { temperature = 0.8, topP, topK, pastEnd = false } = options;
  return { prompt, tokens, temperature, topP, topK, end: pastEnd ? null : codec.endToken };
}
