// A trained model in a user's own TypeScript: opened once, then asked for texts, which share the rows of one batch whenever they were asked for.
import { ReadableStream, type ReadableStreamDefaultController } from "node:stream/web";
import { kindOf } from "../compiler/asked.ts";
import { Problem } from "../compiler/diagnostic.ts";
import { type Wish, writeBatch } from "./batch.ts";
import type { CompileReport } from "./compile.ts";
import type { TargetOptions } from "./embed.ts";
import { asText } from "./generate.ts";
import { type OpenRun, openRun, type TextOptions, wishOf } from "./open-run.ts";
import { requireOptions } from "./options.ts";

/** What `openModel` takes. Sizes and precision are the training's, if not given; the seed is what chance comes from. */
export interface OpenOptions extends Omit<TargetOptions, "sizes"> {
  /** Of the model's header. */
  readonly sizes?: Readonly<Record<string, number | boolean>>;
  /** Texts at a time: 16. Others wait for a place. */
  readonly batch?: number;
  /** Prompts and texts are token numbers, `5 12 7`: also of a model whose tokenizer is not there. */
  readonly ids?: boolean;
}
/** How a text is written. */
export interface AskOptions extends TextOptions {
  /** Aborted: the text ends with what was written. */
  readonly signal?: AbortSignal | undefined;
}

/** A trained model that is held in memory. */
export class TextModel {
  readonly #model: OpenRun;
  readonly #batch: number;
  readonly #seed: number;
  readonly #waiting: Asked[] = [];
  readonly #closing = new AbortController();
  #writing: Promise<void> | null = null;

  constructor(model: OpenRun, batch: number, seed: number) {
    [this.#model, this.#batch, this.#seed] = [model, batch, seed];
  }
  /** What compiling took and what the model needs. */
  get report(): CompileReport {
    return this.#model.report;
  }
  /** How many positions the model has; null where its header does not say. */
  get context(): number | null {
    return this.#model.context;
  }
  /**
   * What follows a prompt, piece by piece. Texts that are asked for while others are written join them. At temperature 0 a text is the same in any company;
   * where chance has a part, one that is written alone is the same each time.
   */
  async *generate(prompt: string, options: AskOptions = {}): AsyncGenerator<string, void> {
    if (typeof prompt !== "string") throw new Problem(`the prompt is ${kindOf(prompt)}`, "give a string");
    const { codec } = this.#model;
    const tokens = codec.encode(prompt);
    yield* asText(this.tokens(tokens, options), codec.decoder(tokens));
  }
  /** The same in token numbers; the one that ends a text is not given out. */
  async *tokens(prompt: ArrayLike<number>, options: AskOptions = {}): AsyncGenerator<number, void> {
    requireOptions("a text", options);
    const given = tokensOf(prompt);
    if (this.#closing.signal.aborted) throw new Problem("the model is closed", "open it again with openModel");
    const asked = new Asked(wishOf(given, options, this.#model), options.signal);
    this.#waiting.push(asked);
    this.#writing ??= this.#write();
    yield* asked.written;
  }
  /** Ends the texts that are being written, and frees the memory. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    await this.#writing;
    this.#model.executable.close();
  }
  /** Until no text is asked for. */
  async #write(): Promise<void> {
    const begun = new Map<number, Asked>();
    const how = { rows: this.#batch, seed: this.#seed, step: this.#model.step, signal: this.#closing.signal };
    const written = writeBatch(this.#model.executable, this.#wishes(begun), how);
    let failure: unknown;
    try {
      for await (const { wish, token } of written) begun.get(wish)?.take(token);
    } catch (error) {
      failure = error;
    }
    if (failure !== undefined || this.#closing.signal.aborted)
      for (const asked of [...begun.values(), ...this.#waiting.splice(0)]) asked.end(failure);
    this.#writing = this.#waiting.length > 0 ? this.#write() : null;
  }
  /** Those that wait, whenever a row is free for one; they are begun by their number. */
  #wishes(begun: Map<number, Asked>): Iterable<Wish> {
    let count = 0;
    const next = (): IteratorResult<Wish, undefined> => {
      for (const [number, { over }] of begun) if (over) begun.delete(number);
      const asked = this.#waiting.shift();
      if (!asked) return { done: true, value: undefined };
      begun.set(count++, asked);
      return { done: false, value: asked.wish };
    };
    return { [Symbol.iterator]: () => ({ next }) };
  }
}
/** A text that was asked for, as a stream of its tokens. */
class Asked {
  readonly wish: Wish;
  readonly written: ReadableStream<number>;
  readonly #gone = new AbortController();
  #to: ReadableStreamDefaultController<number> | undefined;
  #left: number;

  constructor(wish: Wish, signal: AbortSignal | undefined) {
    this.wish = { ...wish, signal: this.#gone.signal };
    this.#left = wish.tokens;
    const start = (to: ReadableStreamDefaultController<number>): void => {
      this.#to = to;
    };
    this.written = new ReadableStream({ start, cancel: () => this.#gone.abort() });
    if (signal?.aborted) this.end();
    signal?.addEventListener("abort", () => this.end(), { signal: this.#gone.signal });
  }
  /** All of it was written, or nobody reads it any more. */
  get over(): boolean {
    return this.#gone.signal.aborted;
  }
  take(token: number): void {
    if (this.over) return;
    this.#left -= 1;
    if (token !== this.wish.end) this.#to?.enqueue(token);
    if (token === this.wish.end || this.#left === 0) this.end();
  }
  end(failure?: unknown): void {
    if (this.over) return;
    this.#gone.abort();
    if (failure === undefined) this.#to?.close();
    else this.#to?.error(failure);
  }
}
/** A copy: a text may wait, and who asked for it may go on with the list. */
function tokensOf(prompt: ArrayLike<number>): number[] {
  const list = Array.isArray(prompt) || ArrayBuffer.isView(prompt) ? Array.from(prompt) : [];
  const wrong = list.find((token) => !Number.isSafeInteger(token) || token < 0 || token >= 2 ** 31);
  if (list.length === 0 || wrong !== undefined)
    throw new Problem(
      wrong === undefined ? "the prompt has no tokens" : `the prompt's token ${kindOf(wrong)} is none`,
      "give a list of at least one token number",
    );
  return list;
}

/**
 * Opens what `moec train` or `moec import` left in a folder, to write texts with `generate`. Needs a model with that entry and a checkpoint; throws a
 * Problem that says what is missing.
 */
export async function openModel(folder: string, options: OpenOptions = {}): Promise<TextModel> {
  requireOptions("openModel", options);
  if (typeof folder !== "string") throw new Problem(`the folder is ${kindOf(folder)}`, 'give its path: "runs/gpt-moe"');
  const { sizes, batch = 16, seed = 0, ...more } = options;
  return new TextModel(await openRun({ ...more, folder, set: sizes, rows: batch, seed }), batch, seed);
}
