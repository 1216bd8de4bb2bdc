// A trained model in a user's own TypeScript: opened once, then asked for texts at any time, which are generated together in the rows of one batch.
import { ReadableStream, type ReadableStreamDefaultController } from "node:stream/web";
import { Problem } from "../../compiler/diagnostic.ts";
import { describeValue } from "../../compiler/flag-text.ts";
import type { CompileReport, ParameterSharing } from "../compile.ts";
import { requireInteger } from "../embed/compiled-program.ts";
import type { Source, TargetOptions } from "../embed/embed.ts";
import { requireOptions } from "../embed/options.ts";
import { encodePrompt, encodeSource } from "../tokenizer/chat.ts";
import { type Languages, type Message, type Prompt, requireEncoder, startTokensOf } from "../tokens.ts";
import { agreeing, requireEqualTexts } from "../workers/generate-distributed.ts";
import { singleWorker, type Workers, workers } from "../workers/workers.ts";
import { type GenerateRequest, generateBatch } from "./batch.ts";
import { type OpenedModel, requestOf, type TextOptions } from "./compile-generate.ts";
import { decodeTokens } from "./generate.ts";
import { type GivenModel, openProgram } from "./open-program.ts";
import { openRun } from "./open-run.ts";
import { stopTextsOf } from "./stop-texts.ts";

/** Options of `openModel`. Of a folder the sizes and precision are by default those of the training. `seed` is that of the sampling. */
export interface OpenOptions extends TargetOptions, ParameterSharing {
  /** How many texts are generated at a time; others wait. All these rows are computed, however few texts there are. Default: 16. */
  readonly batch?: number;
  /**
   * How many beginnings of prompts are kept, so that prompts which begin so are read from there on: a system prompt, a conversation. Each takes the memory of the
   * states of one row. Default: 0.
   */
  readonly prefixes?: number;
  /** Prompts and texts are token numbers, such as `5 12 7`. Works without the model's tokenizer. */
  readonly ids?: boolean;
}
/** Options of `openModel` for a folder. */
export interface OpenFolderOptions extends OpenOptions {
  /** The name of the optimizer's state that is taken for each parameter, where it is kept: an average, such as `ema`. Default: the parameters. */
  readonly average?: string;
}
/** Options of `openModel` for a program. */
export interface OpenProgramOptions extends OpenOptions, GivenModel {}
/** Options of one text. */
export interface AskOptions extends TextOptions, Languages {
  /** When it is aborted, the text ends with what was generated so far. */
  readonly signal?: AbortSignal | undefined;
}

/** A trained model in memory. If several workers share it, all ask for the same texts in the same order: each begins when all have asked for it. */
export class TextModel {
  readonly #model: OpenedModel;
  readonly #batch: number;
  readonly #seed: number;
  readonly #world: Workers;
  readonly #queue: PendingText[] = [];
  /** Aborted once this worker, or another, closes the model. */
  readonly #closing = new AbortController();
  #closed = false;
  #running: Promise<void> | null = null;

  constructor(model: OpenedModel, batch: number, seed: number, world: Workers = singleWorker) {
    [this.#model, this.#batch, this.#seed, this.#world] = [model, batch, seed, world];
  }
  /** How long compiling took and how much memory the model needs. */
  get report(): CompileReport {
    return this.#model.report;
  }
  /** The model's number of positions (`Context`); null if its header has none. */
  get context(): number | null {
    return this.#model.context;
  }
  /**
   * Generates the text after a prompt, or the assistant's reply in a conversation, piece by piece. A text may be asked for while others are being
   * generated. At temperature 0 a text does not depend on the others; at other temperatures it is reproducible only if it is generated alone.
   */
  async *generate(prompt: Prompt, options: AskOptions = {}): AsyncGenerator<string, void> {
    requirePrompt(prompt);
    requireOptions("a text", options);
    const { stop, sourceLanguage, ...how } = options;
    const { codec } = this.#model;
    const encodes = this.#model.source !== null;
    requireEncoder(options, encodes);
    const tokens = encodes ? encodeSource(codec, prompt, sourceLanguage) : encodePrompt(codec, prompt);
    const before = encodes ? startTokensOf(codec, how.targetLanguage) : tokens;
    yield* decodeTokens(this.tokens(tokens, how), codec.decoder(before), stopTextsOf(codec, stop));
  }
  /** The same as token numbers, without the token that ends the text. */
  async *tokens(
    prompt: ArrayLike<number>,
    options: Omit<AskOptions, "stop" | "sourceLanguage"> = {},
  ): AsyncGenerator<number, void> {
    requireOptions("a text's tokens", options);
    const given = tokensOf(prompt);
    if (this.#closing.signal.aborted) throw new Problem("the model is closed", "open it again with openModel");
    const text = new PendingText(requestOf(given, options, this.#model), options.signal);
    this.#queue.push(text);
    this.#running ??= this.#run();
    yield* text.stream;
  }
  /** Ends all texts that are being generated and frees the memory. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#closing.abort();
    await this.#running;
    this.#model.executable.close();
  }
  /** Runs until no text is waiting, then again if new ones came in meanwhile. */
  async #run(): Promise<void> {
    const started = new Map<number, PendingText>();
    const { signal } = this.#closing;
    const agree = agreeing(this.#world, () => this.#closing.abort());
    const { step, prefixes } = this.#model;
    const how = { rows: this.#batch, seed: this.#seed, step, signal, agree, prefixes };
    const written = generateBatch(this.#model.executable, this.#requests(started), how);
    let failure: unknown;
    try {
      for await (const { request, token } of written) started.get(request)?.push(token);
    } catch (error) {
      failure = this.#world.reportFailure(error);
    }
    if (failure !== undefined || this.#closing.signal.aborted)
      for (const asked of [...started.values(), ...this.#queue.splice(0)]) asked.end(failure);
    this.#running = this.#queue.length > 0 ? this.#run() : null;
  }
  /** The waiting texts, one for each free row. `started` maps the numbers that `generateBatch` gives them to them. */
  #requests(started: Map<number, PendingText>): Iterable<GenerateRequest> {
    let count = 0;
    const next = (): IteratorResult<GenerateRequest, undefined> => {
      for (const [number, { isOver }] of started) if (isOver) started.delete(number);
      const asked = this.#allWait() ? this.#queue.shift() : undefined;
      if (!asked) return { done: true, value: undefined };
      started.set(count++, asked);
      const { source, prompt, tokens, temperature, topP, topK, end } = asked.request;
      requireEqualTexts({ source, prompt, tokens, temperature, topP, topK, "end token": end }, this.#world);
      return { done: false, value: asked.request };
    };
    return { [Symbol.iterator]: () => ({ next }) };
  }
  /** Whether a text waits on each worker. */
  #allWait(): boolean {
    return !this.#world.anyWorker("whether no text waits", this.#queue.length === 0);
  }
}
/** A text that was asked for, with its tokens as a stream. */
class PendingText {
  readonly request: GenerateRequest;
  readonly stream: ReadableStream<number>;
  readonly #stopped = new AbortController();
  #controller: ReadableStreamDefaultController<number> | undefined;
  #remaining: number;

  constructor(request: GenerateRequest, signal: AbortSignal | undefined) {
    this.request = { ...request, signal: this.#stopped.signal, onAbort: () => this.end() };
    this.#remaining = request.tokens;
    const start = (to: ReadableStreamDefaultController<number>): void => {
      this.#controller = to;
    };
    this.stream = new ReadableStream({ start, cancel: () => this.#stopped.abort() });
    if (signal?.aborted) this.end();
    else if (signal) this.#endWith(signal);
  }
  #endWith(signal: AbortSignal): void {
    const texts = textsEndedBy(signal);
    texts.add(this);
    this.#stopped.signal.addEventListener("abort", () => texts.delete(this));
  }
  /** Whether all of it was generated, or nobody reads it any more. */
  get isOver(): boolean {
    return this.#stopped.signal.aborted;
  }
  push(token: number): void {
    if (this.isOver) return;
    this.#remaining -= 1;
    if (token !== this.request.end) this.#controller?.enqueue(token);
    if (token === this.request.end || this.#remaining === 0) this.end();
  }
  end(failure?: unknown): void {
    if (this.isOver) return;
    this.#stopped.abort();
    if (failure === undefined) this.#controller?.close();
    else this.#controller?.error(failure);
  }
}
const endedBy = new WeakMap<AbortSignal, Set<PendingText>>();
/** The texts that a signal ends, all by one listener: Node 20 warns of a leak when a signal gets its eleventh. */
function textsEndedBy(signal: AbortSignal): Set<PendingText> {
  const known = endedBy.get(signal);
  if (known) return known;
  const texts = new Set<PendingText>();
  signal.addEventListener("abort", () => {
    for (const text of texts) text.end();
  });
  endedBy.set(signal, texts);
  return texts;
}
function isMessage(x: unknown): boolean {
  const { role, content } = Object(x) as Partial<Message>;
  return typeof role === "string" && typeof content === "string";
}
/** Throws Problem unless it is a string, or a list of messages. */
function requirePrompt(prompt: unknown): void {
  if (typeof prompt === "string") return;
  if (Array.isArray(prompt) && prompt.length > 0 && prompt.every(isMessage)) return;
  throw new Problem(
    `the prompt is ${describeValue(prompt)}`,
    'give a string, or the messages of a conversation: [{ role: "user", content: "Who are you?" }]',
  );
}
/** Validates and copies a prompt: the caller may change the list while the text waits. */
function tokensOf(prompt: ArrayLike<number>): number[] {
  const list = Array.isArray(prompt) || ArrayBuffer.isView(prompt) ? Array.from(prompt) : [];
  const wrong = list.find((token) => !Number.isSafeInteger(token) || token < 0 || token >= 2 ** 31);
  if (list.length === 0 || wrong !== undefined)
    throw new Problem(
      wrong === undefined ? "the prompt has no tokens" : `the prompt's token ${describeValue(wrong)} is none`,
      "give a list of at least one token number",
    );
  return list;
}

/** Opens the folder of a run of `moec train` or `moec import`, to generate texts. Throws a Problem that says what is missing. */
export function openModel(folder: string, options?: OpenFolderOptions): Promise<TextModel>;
/** Opens a program, as `compile` takes it, with trained parameters, to generate texts. The model needs a method `generate`. */
export function openModel(source: Source, options: OpenProgramOptions): Promise<TextModel>;
export async function openModel(
  from: string | Source,
  options: Partial<OpenProgramOptions & OpenFolderOptions> = {},
): Promise<TextModel> {
  if (typeof from !== "string" && Object(from) !== from)
    throw new Problem(
      `the model is ${describeValue(from)}`,
      'give the folder of a run, "runs/gpt-moe"; or a declaration of a template, or { file: "model.moe" }',
    );
  if (typeof from === "string" && from.endsWith(".moe"))
    throw new Problem(
      `${from} is a program, and a string names the folder of a run`,
      `give { file: ${JSON.stringify(from)} } and its parameters: openModel({ file }, { parameters, sizes }); or the folder that \`moec train\` wrote`,
    );
  requireOptions(typeof from === "string" ? "openModel of a folder" : "openModel of a program", options);
  const { sizes: set, batch: rows = 16, seed = 0, ...more } = options;
  requireInteger("the seed", seed);
  const world = workers();
  const how = { ...more, set, rows, seed, world };
  try {
    const model = await (typeof from === "string" ? openRun({ ...how, folder: from }) : openProgram(from, how));
    return new TextModel(model, rows, seed, world);
  } catch (error) {
    throw world.reportFailure(error);
  }
}
