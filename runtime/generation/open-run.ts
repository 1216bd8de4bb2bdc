// Opens the folder of a trained or imported model: its newest checkpoint and its tokenizer; and, to generate text, compiles its `generate`.
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Loaded } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { idsFlagText } from "../../compiler/flag-text.ts";
import { closedOnFailure } from "../closing.ts";
import type { Executable } from "../executable/executable.ts";
import { readProgram } from "../program.ts";
import { type Checkpoint, loadStores, newestModel } from "../storage/checkpoint.ts";
import { codesIn } from "../storage/names.ts";
import { type RunConfig, readConfig } from "../storage/run-folder.ts";
import { encodePrompt, encodeSource } from "../tokenizer/chat.ts";
import { selectCodec } from "../tokenizer/select-codec.ts";
import { type Codec, type Prompt, requireEncoder } from "../tokens.ts";
import { requireEqualModels } from "../workers/generate-distributed.ts";
import { identityOf } from "../workers/train-distributed.ts";
import { type CompileGenerateOptions, compileGenerate, type OpenedModel } from "./compile-generate.ts";
import { hasEncoder } from "./generate-entries.ts";

export interface FolderOptions {
  /** The folder of a training run, or of an imported model. */
  readonly folder: string;
  /**
   * Prompts, texts and files of data are token numbers, such as `5 12 7`, whatever tokenizer the run has. Default: false; the run's
   * tokenizer, bytes, or numbers if it was trained on numbers.
   */
  readonly ids?: boolean | undefined;
  /** The name of the optimizer's state that is taken for each parameter, where it is kept: an average, such as `ema`. Default: the parameters themselves. */
  readonly average?: string | undefined;
  readonly warn?: ((line: string) => void) | undefined;
}
export interface OpenedFolder {
  readonly config: RunConfig;
  readonly checkpoint: Checkpoint;
  readonly codec: Codec;
}
/** How a trained model is opened to generate. Defaults: the sizes and precision of the training. */
export interface OpenRunOptions extends Omit<CompileGenerateOptions, "trained" | "prompt" | "kept">, FolderOptions {
  readonly seed: number;
  /** The prompts, if they are known: `generate` is compiled for their lengths. */
  readonly prompts?: readonly Prompt[] | undefined;
  /** The language of the prompts, of a model with an encoder (`Languages`). */
  readonly sourceLanguage?: string | undefined;
  /** Whether prompts will be conversations: the tokenizer needs a chat template. */
  readonly converses?: boolean | undefined;
}
/** A model of a folder, and the tokens of the prompts that it was opened for. */
interface OpenedRun extends OpenedModel {
  readonly prompts: readonly (readonly number[])[];
}
/** Opens a model with the newest intact checkpoint of its run, to generate. */
export async function openRun(options: OpenRunOptions): Promise<OpenedRun> {
  const { config, checkpoint, codec } = await openFolder(options);
  const { B: _, T: __, ...trained } = config.sizes;
  const { folder, precision = config.precision } = options;
  try {
    if (options.converses) encodePrompt(codec, [{ role: "user", content: "" }]);
    const program = programIn(folder);
    const encodes = hasEncoder(program, config.model);
    requireEncoder(options, encodes);
    const prompts = options.prompts?.map((prompt) =>
      encodes ? encodeSource(codec, prompt, options.sourceLanguage) : encodePrompt(codec, prompt),
    );
    const prompt = prompts?.reduce((longest, { length }) => Math.max(longest, length), 0);
    const identity = [identityOf(checkpoint), ...(options.average === undefined ? [] : [options.average])].join(", ");
    requireEqualModels(program, identity, { ...options, trained, precision });
    const known = { trained, precision, prompt, kept: codesIn(checkpoint.model) };
    const compiled = await compileGenerate(program, config.model, { ...options, ...known });
    await loadRun(compiled.executable, checkpoint, options.seed);
    return { ...compiled, codec, step: checkpoint.state.step, prompts: prompts ?? [] };
  } finally {
    checkpoint.close();
  }
}
/** The program of a run. */
export function programIn(folder: string): Loaded {
  const path = join(folder, "model.moe");
  if (existsSync(path)) return readProgram(path);
  throw new Problem(`${folder} lacks its program, model.moe`, `copy there, as ${path}, the program that was trained`);
}
/** What the folder of a run, or of an imported model, holds. Throws Problem if it has no intact checkpoint. The caller closes the checkpoint. */
export async function openFolder(options: FolderOptions): Promise<OpenedFolder> {
  const { folder } = options;
  const config = readConfig(folder);
  const checkpoint = newestModel(folder, options.warn ?? (() => {}), options.average);
  if (!checkpoint) throw new Problem(`${folder} has no checkpoint`, "train first: moec train writes one");
  const codec = await closedOnFailure(checkpoint, () => codecOfRun(options, config, checkpoint));
  return { config, checkpoint, codec };
}
/**
 * Gives an executable that was compiled as `restored` the values of a checkpoint, and closes that; what checkpoints do not hold begins as `init` leaves
 * it. If it fails the executable is closed.
 */
export const loadRun = (executable: Executable, checkpoint: Checkpoint, seed: number): Promise<void> =>
  closedOnFailure(executable, async () => {
    await executable.run("init", new Map(), { seed, call: 0, step: 0 });
    loadStores(executable, checkpoint);
    checkpoint.close();
  });
async function codecOfRun({ folder, ids }: FolderOptions, config: RunConfig, from: Checkpoint): Promise<Codec> {
  if (!ids && from.state.tokenizer === "foreign")
    throw new Problem(
      `${from.path}: its tokens are not bytes, and no tokenizer.json came with it`,
      `give ${idsFlagText}, and token numbers as prompts, '5 12 7'; or import it again from a folder with tokenizer.json`,
    );
  const codec = await selectCodec(ids ? { ids } : {}, { folder, config });
  if (codec.name === "tokenizer" && codec.config.tokenizer !== config.tokenizer)
    throw new Problem(
      `the tokenizer in ${folder} is not the one that config.json names by its SHA-256`,
      `restore tokenizer.json and tokenizer_config.json, or give ${idsFlagText} and token numbers`,
    );
  return codec;
}
