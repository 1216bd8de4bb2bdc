// Generates text with a trained model: encodes prompts, runs `generateBatch`, decodes tokens.
import type { Executable } from "../executable/executable.ts";
import { quantisedSummary, tellsCodes } from "../executable/quantised.ts";
import type { Codec, Decoder, Languages, Prompt } from "../tokens.ts";
import { agreeing, requireEqualTexts } from "../workers/generate-distributed.ts";
import { shardingSummary } from "../workers/sharding-summary.ts";
import { reportingFailure } from "../workers/train-distributed.ts";
import { type Workers, workers } from "../workers/workers.ts";
import { type BatchOptions, type GenerateRequest, generateBatch } from "./batch.ts";
import { requestOf, samplingOf, type TextOptions } from "./compile-generate.ts";
import { requireContext } from "./generate-entries.ts";
import { type OpenRunOptions, openRun } from "./open-run.ts";
import { StopTexts, stopTextsOf } from "./stop-texts.ts";

/** `end` is not yielded. */
export interface GenerateOptions
  extends Pick<GenerateRequest, "source" | "prompt" | "tokens" | "temperature" | "end">,
    Pick<BatchOptions, "seed" | "step" | "signal"> {
  readonly context: number | null;
}

/** Yields each new token. */
export async function* generateTokens(executable: Executable, options: GenerateOptions): AsyncGenerator<number, void> {
  const { source, prompt, tokens, temperature, context, end, ...how } = options;
  requireContext(prompt.length, tokens, context);
  const request = { source, prompt, tokens, temperature, end };
  for await (const { token } of generateBatch(executable, [request], how)) if (token !== end) yield token;
}
export interface RunGenerateOptions
  extends Omit<OpenRunOptions, "rows" | "seed" | "sampling" | "world">,
    TextOptions,
    Languages {
  /** Default: one empty prompt, which begins as the sample after training does, usually after a line end. */
  readonly prompts?: readonly Prompt[] | undefined;
  /** How many texts are generated at a time. Default: all, but at most 16. */
  readonly batch?: number | undefined;
  readonly seed?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called on each worker once the model is open. */
  readonly onOpen?: (() => Promise<unknown>) | undefined;
  /** Called with a line about what each of several workers has (`shardingSummary`), and one about weights that are codes (`quantisedSummary`). */
  readonly tell?: ((line: string) => void) | undefined;
}
/**
 * A piece of the text after prompt number `prompt`; `last` is true on its last piece. `answers`: an encoder read the prompt, so the text does not go
 * on with it. `tokens`: how many of the text are generated so far; `seconds`:
 * since the model was loaded.
 */
export interface Piece {
  readonly prompt: number;
  readonly text: string;
  readonly last: boolean;
  readonly answers: boolean;
  readonly tokens: number;
  readonly seconds: number;
}
/** Generates a text after each prompt. The pieces of different texts come interleaved. All workers call it, with the same options. */
export const generate = (options: RunGenerateOptions, world: Workers = workers()): AsyncGenerator<Piece, void> =>
  reportingFailure(world, generated(options, world));
async function* generated(options: RunGenerateOptions, world: Workers): AsyncGenerator<Piece, void> {
  const { prompts = [""], seed = 0, tokens, temperature, topP, topK, pastEnd, stop, signal } = options;
  const { sourceLanguage, targetLanguage } = options;
  const rows = options.batch ?? Math.min(16, Math.max(1, prompts.length));
  requireEqualTexts(
    { prompt: prompts, tokens, temperature, topP, topK, pastEnd, stop, sourceLanguage, targetLanguage },
    world,
  );
  const model = await openRun({ ...options, prompts, rows, seed, sampling: samplingOf(options), world });
  const { executable, codec, step, prefixes } = model;
  try {
    await options.onOpen?.();
    if (world.size > 1) options.tell?.(shardingSummary(executable.stores, world, rows, options));
    if (tellsCodes(options, executable.stores)) options.tell?.(quantisedSummary(executable.stores));
    const answers = model.source !== null;
    const texts = model.prompts.map((prompt) => new WrittenText(requestOf(prompt, options, model), codec, stop));
    const how = { rows, seed, step, signal, prefixes, agree: agreeing(world) };
    const requests = texts.map(({ request }) => request);
    yield* asPieces(generateBatch(executable, requests, how), texts, answers);
  } finally {
    executable.close();
  }
}
async function* asPieces(
  written: ReturnType<typeof generateBatch>,
  texts: readonly WrittenText[],
  answers: boolean,
): AsyncGenerator<Piece, void> {
  const start = performance.now();
  for await (const { request, token } of written) {
    const text = texts[request];
    if (!text || text.isOver) continue;
    const more = text.push(token);
    const seconds = (performance.now() - start) / 1000;
    yield { prompt: request, text: more, last: text.isOver, answers, tokens: text.tokens, seconds };
  }
}
/** A text that grows by tokens until it has all, meets its end token, or says one of the texts that stop it. */
class WrittenText {
  readonly request: GenerateRequest;
  readonly #stopping = new AbortController();
  readonly #decoder: Decoder;
  readonly #until: StopTexts;
  tokens = 0;
  isOver = false;

  constructor(request: GenerateRequest, codec: Codec, stop: readonly string[] = []) {
    const mayStop = stop.length > 0;
    this.request = mayStop ? { ...request, mayStop, signal: this.#stopping.signal } : request;
    [this.#decoder, this.#until] = [codec.decoder(request.prompt), stopTextsOf(codec, stop)];
  }
  /** What a token adds that can be given out. */
  push(token: number): string {
    this.tokens += 1;
    const all = token === this.request.end || this.tokens === this.request.tokens;
    const piece = (token === this.request.end ? "" : this.#decoder.push(token)) + (all ? this.#decoder.end() : "");
    const { text, ends } = this.#until.push(piece);
    this.isOver = all || ends;
    if (ends) this.#stopping.abort();
    return all && !ends ? text + this.#until.rest() : text;
  }
}

/** Decodes tokens; yields text as soon as it consists of whole characters, and ends before the first of the texts of `until`. */
export async function* decodeTokens(
  tokens: AsyncIterable<number>,
  decoder: Decoder,
  until: StopTexts = new StopTexts([]),
): AsyncGenerator<string, void> {
  for await (const token of tokens) {
    const { text, ends } = until.push(decoder.push(token));
    if (text !== "") yield text;
    if (ends) return;
  }
  const { text, ends } = until.push(decoder.end());
  const rest = ends ? text : text + until.rest();
  if (rest !== "") yield rest;
}
