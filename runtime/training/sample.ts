// Text that a model writes while it is trained.
import type { EntrySignature, Loaded } from "../../compiler/check/index.ts";
import type { Compiled } from "../compile.ts";
import type { OpenedModel } from "../generation/compile-generate.ts";
import { decodeTokens, type GenerateOptions, generateTokens } from "../generation/generate.ts";
import { contextOf, hasEncoder, positionsOf, tokensLeft } from "../generation/generate-entries.ts";
import { openRun } from "../generation/open-run.ts";
import { hasMethod } from "../program.ts";
import { opening } from "./data.ts";
import type { TrainSetup } from "./loop.ts";
import type { TrainOptions } from "./train-options.ts";

export type SampleOptions = Pick<GenerateOptions, "tokens" | "temperature" | "signal">;
interface SampledRun {
  readonly program: Loaded;
  readonly entry: EntrySignature;
  readonly options: TrainOptions;
}
/** See `Training.sample`. */
export function sampleOf(
  compiled: Compiled,
  setup: TrainSetup,
  { program, entry, options }: SampledRun,
  how: SampleOptions,
): AsyncGenerator<string, void> | null {
  const { text, config, world, folder } = setup;
  if (!hasMethod(program, config.model, "generate") || text.codec.name === "ids") return null;
  if (hasEncoder(program, config.model)) return null;
  if (world.size === 1) return sampleText(compiled, entry, setup, how);
  if (folder === null || world.rank > 0) return null;
  return sampleSaved(folder, options, (saved) => sampleText(saved, entry, setup, how));
}
function sampleText(
  { executable, report: { choices } }: Pick<Compiled, "executable" | "report">,
  entry: EntrySignature,
  { config, text }: Pick<TrainSetup, "config" | "text">,
  how: SampleOptions,
): AsyncGenerator<string, void> {
  const context = positionsOf(choices, contextOf(entry, config.sizes));
  const { codec } = text;
  const prompt = opening(text);
  const tokens = Math.min(how.tokens, tokensLeft(prompt, context));
  const options = { ...how, tokens, prompt, seed: config.seed, context, step: config.steps, end: codec.endToken };
  return decodeTokens(generateTokens(executable, options), codec.decoder(prompt));
}
/** Text generated from the newest checkpoint of a run by this worker alone. `written` generates it with the executable that was opened. */
async function* sampleSaved(
  folder: string,
  { threads, onCompile, warn }: TrainOptions,
  written: (model: OpenedModel) => AsyncGenerator<string, void>,
): AsyncGenerator<string, void> {
  const model = await openRun({ folder, rows: 1, seed: 0, sampling: [], threads, onCompile, warn });
  try {
    yield* written(model);
  } finally {
    model.executable.close();
  }
}
