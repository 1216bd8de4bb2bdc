// Opens the folder of a trained or imported model: its newest checkpoint and its tokenizer; and, to generate text, compiles its `generate`.
import { join } from "node:path";
import { Problem } from "../../compiler/diagnostic.ts";
import type { Executable } from "../executable.ts";
import { readProgram } from "../program.ts";
import { type Checkpoint, loadStores, newestCheckpoint, type TrainingState } from "../storage/checkpoint.ts";
import { type RunConfig, readConfig } from "../storage/run-folder.ts";
import { selectCodec } from "../tokenizer/select-codec.ts";
import type { Codec } from "../tokens.ts";
import { type CompileGenerateOptions, compileGenerate, type OpenedModel } from "./compile-generate.ts";

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
/** How a trained model is opened to generate. Defaults: the sizes and precision of the training. */
export interface OpenRunOptions extends Omit<CompileGenerateOptions, "trained" | "prompt">, FolderOptions {
  readonly seed: number;
  /** The prompts, if they are known: `generate` is compiled for their lengths. */
  readonly prompts?: readonly string[] | undefined;
}
/** Opens a model with the newest intact checkpoint of its run, to generate. */
export async function openRun(options: OpenRunOptions): Promise<OpenedModel> {
  const { config, checkpoint, codec } = await openFolder(options);
  const { B: _, T: __, ...trained } = config.sizes;
  const { folder, precision = config.precision, prompts } = options;
  const prompt = prompts && Math.max(...prompts.map((text) => codec.encode(text).length));
  const program = readProgram(join(folder, "model.moe"));
  const compiled = await compileGenerate(program, config.model, { ...options, trained, precision, prompt });
  try {
    const { step } = await loadRun(compiled.executable, checkpoint, options);
    return { ...compiled, codec, step };
  } catch (error) {
    compiled.executable.close();
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
