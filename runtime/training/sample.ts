// Text that a model writes while it is trained.
import type { EntrySignature, Loaded } from "../../compiler/check/index.ts";
import type { Compiled } from "../compile.ts";
import type { OpenedModel } from "../generation/compile-generate.ts";
import { decodeTokens, type GenerateOptions, generateTokens } from "../generation/generate.ts";
import { contextOf, positionsOf, tokensLeft } from "../generation/generate-entries.ts";
import { openRun } from "../generation/open-run.ts";
import { hasMethod } from "../program.ts";
import { endOfText, tokenOf } from "../tokens.ts";
import { type Dataset, opening, pairsOf } from "./data.ts";
import type { TrainSetup } from "./loop.ts";
import { pairAt } from "./pairs.ts";
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
  const asked: Asked = text.pairs ? heldOutPrompt(text) : { prompt: opening(text) };
  const tokens = Math.min(how.tokens, tokensLeft(asked.prompt, context));
  const end = endOfText(codec, text.pairs);
  const options = { ...how, ...asked, tokens, seed: config.seed, context, step: config.steps, end };
  const written = decodeTokens(generateTokens(executable, options), codec.decoder(asked.prompt));
  return asked.source ? answered(asked.source, text, written) : written;
}
interface Asked extends Pick<GenerateOptions, "prompt"> {
  readonly source?: readonly number[];
  readonly temperature?: number;
}
/** What a model with an encoder is asked: the first prompt that is held out. Its answer is the likeliest, as what is right is known. */
function heldOutPrompt(text: Dataset): Asked {
  const pairs = pairsOf(text, "heldOut");
  return { source: Array.from(pairAt(pairs, 0).source, tokenOf), prompt: pairs.start, temperature: 0 };
}
/** The prompt, and the answer in a line of its own. */
async function* answered(
  source: readonly number[],
  { codec }: Dataset,
  answer: AsyncGenerator<string, void>,
): AsyncGenerator<string, void> {
  const decoder = codec.decoder([]);
  yield `${(source.map((token) => decoder.push(token)).join("") + decoder.end()).trimEnd()}\n`;
  yield* answer;
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
