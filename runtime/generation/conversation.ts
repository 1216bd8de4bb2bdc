// A conversation with a trained model: each reply is written after all that was said, of which the model reads only what is new to it.
import { Problem } from "../../compiler/diagnostic.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { quantisedSummary, tellsCodes } from "../executable/quantised.ts";
import { encodePrompt } from "../tokenizer/chat.ts";
import { conversationOf } from "../tokenizer/prompts.ts";
import type { Message } from "../tokens.ts";
import { generateBatch } from "./batch.ts";
import { type OpenedModel, requestOf, samplingOf, type TextOptions } from "./compile-generate.ts";
import { decodeTokens } from "./generate.ts";
import { tokensLeft } from "./generate-entries.ts";
import { type OpenRunOptions, openRun } from "./open-run.ts";
import { stopTextsOf } from "./stop-texts.ts";

/** Options of `openConversation`, and of all its replies. `tokens`: the most that a reply has; default: as many as fit. */
export interface ConversationOptions
  extends Omit<OpenRunOptions, "folder" | "rows" | "seed" | "prompts" | "sampling" | "world" | "tokens">,
    TextOptions {
  /** What the model is told first. */
  readonly system?: string | undefined;
  /** Of the sampling. Default: 0. */
  readonly seed?: number | undefined;
  /** Called with a line about weights that are codes. */
  readonly tell?: ((line: string) => void) | undefined;
}

export class Conversation {
  readonly #model: OpenedModel;
  readonly #options: ConversationOptions;
  #said: readonly Message[] = [];
  /** The tokens that the model's states hold. */
  readonly #read: number[] = [];
  #replies = 0;
  #tokens = 0;

  constructor(model: OpenedModel, options: ConversationOptions) {
    [this.#model, this.#options] = [model, options];
  }
  /** All that was said, without the system's message. */
  get messages(): readonly Message[] {
    return this.#said;
  }
  /** How many tokens the newest reply has. */
  get tokens(): number {
    return this.#tokens;
  }
  /** Forgets all that was said. */
  restart(): void {
    this.#said = [];
  }
  /**
   * Says something; gives the model's reply, piece by piece. If the signal is aborted, or nobody reads on, what was given out is the reply. Throws Problem if
   * the conversation fits the model no more; nothing was said then.
   */
  async *say(content: string, signal?: AbortSignal): AsyncGenerator<string, void> {
    const said = [...this.#said, { role: "user", content }];
    const prompt = this.#prompt(said);
    const { codec } = this.#model;
    const until = stopTextsOf(codec, this.#options.stop);
    const before = this.#said;
    let reply = "";
    try {
      for await (const piece of decodeTokens(this.#reply(prompt, signal), codec.decoder(prompt), until)) {
        this.#said = [...said, { role: "assistant", content: (reply += piece) }];
        yield piece;
      }
      this.#said = [...said, { role: "assistant", content: reply }];
    } catch (error) {
      this.#said = before;
      this.#read.length = 0;
      throw error;
    }
  }
  #prompt(said: readonly Message[]): readonly number[] {
    const { codec, context } = this.#model;
    const prompt = encodePrompt(codec, conversationOf(said, this.#options.system));
    if (tokensLeft(prompt, context) > 0) return prompt;
    throw new Problem(
      `the conversation has ${pluralize(prompt.length, "token")}, and the model ${pluralize(context ?? 0, "position")}`,
      "begin another one, with /new",
    );
  }
  async *#reply(prompt: readonly number[], signal: AbortSignal | undefined): AsyncGenerator<number, void> {
    const { executable, step, context } = this.#model;
    const { seed = 0, tokens = Number.POSITIVE_INFINITY } = this.#options;
    const most = Math.min(tokens, tokensLeft(prompt, context));
    const request = requestOf(prompt, { ...this.#options, tokens: most }, this.#model);
    const how = { seed: seed + this.#replies++, step, signal, read: this.#read };
    this.#tokens = 0;
    for await (const { token } of generateBatch(executable, [request], how)) {
      this.#tokens += 1;
      if (token !== request.end) yield token;
    }
  }
  close(): void {
    this.#model.executable.close();
  }
}
/** Opens the folder of a run of `moec train` or `moec import`, whose tokenizer must have a chat template. */
export async function openConversation(folder: string, options: ConversationOptions = {}): Promise<Conversation> {
  const { seed = 0, tokens: _, ...more } = options;
  const model = await openRun({ ...more, folder, rows: 1, seed, sampling: samplingOf(options), converses: true });
  if (model.source !== null) {
    model.executable.close();
    throw new Problem(
      "the model has an encoder, which reads one prompt and not a conversation",
      `ask it once: moec generate ${folder} --prompt 'Who was Ahab?'`,
    );
  }
  const { stores } = model.executable;
  if (tellsCodes(options, stores)) options.tell?.(quantisedSummary(stores));
  return new Conversation(model, options);
}
