// Text from a trained model: its entry `generate` compiled, prompts as tokens, tokens as text.
import { join } from "node:path";
import type { EntrySignature, Loaded } from "../compiler/check/index.ts";
import { Problem } from "../compiler/diagnostic.ts";
import { type Wish, writeBatch } from "./batch.ts";
import { type Checkpoint, loadStores, newestCheckpoint } from "./checkpoint.ts";
import { compileProgram, type EntryRequest, type Running } from "./compile.ts";
import { type Executable, storeOfInput } from "./executable.ts";
import { findEntry, hasMethod, headerDefault, readProgram } from "./program.ts";
import { type RunConfig, readConfig } from "./run-folder.ts";
import { codecOf } from "./tokenizer/chosen.ts";
import { type Codec, type Decoder, requireKnown } from "./tokens.ts";

/** How many tokens of a prompt one call takes. */
const chunkLength = 64;

/** How the unlikely is left out: inputs of `generate`, with what they are where nothing is. */
const choices = { top_p: "f32[B] = 1", top_k: "i32[B] = 0" };
export type Choice = keyof typeof choices;
/** `generate` at lengths 1 and 64, for `rows` sequences, with the inputs that are `asked` for; none if the model has no `generate`. */
export function generateEntries(
  program: Loaded,
  declaration: string,
  { rows = 1, asked = [] }: { readonly rows?: number; readonly asked?: readonly Choice[] } = {},
): EntryRequest[] {
  if (!hasMethod(program, declaration, "generate")) return [];
  const given = findEntry(program, `${declaration}.generate`).arguments;
  const [batch, length] = given[0]?.axes ?? [];
  const names = given.map((a) => a.name).join();
  if (!/^tokens,at,temperature(,top_p)?(,top_k)?$/.test(names) || !batch || !length)
    throw new Problem(
      `\`${declaration}.generate\` takes (${given.map((a) => `${a.name}: ${a.text}`).join(", ")})`,
      "write generate(tokens: i32[B, T], at: i32[B, T], temperature: f32[B], top_p: f32[B] = 1, top_k: i32[B] = 0) -> i32[B]",
    );
  for (const name of asked)
    if (!given.some((a) => a.name === name))
      throw new Problem(
        `\`${declaration}.generate\` takes no \`${name}\``,
        `add the argument \`${name}: ${choices[name]}\`, and give it to \`sample\`; or leave --${name.replace("_", "-")} out`,
      );
  return [1, chunkLength].map((T) => ({
    method: "generate",
    name: `generate:${T}`,
    sizes: { [batch]: rows, [length]: T },
    given: asked,
  }));
}
/** How many positions a model has, or null where its header does not say. */
export function contextOf(entry: EntrySignature, sizes: Readonly<Record<string, number | boolean>>): number | null {
  const set = sizes["Context"];
  return typeof set === "number" ? set : headerDefault(entry, "Context");
}

export interface GenerateOptions {
  /** At least one token. */
  readonly prompt: ArrayLike<number>;
  readonly tokens: number;
  /** 0: the likeliest token each time. */
  readonly temperature: number;
  readonly seed: number;
  readonly context: number | null;
  /** The training steps that the model has done. */
  readonly step: number;
  /** Ends the text, and is not given out. */
  readonly end?: number | null | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Yields each new token. */
export async function* generateTokens(executable: Executable, options: GenerateOptions): AsyncGenerator<number, void> {
  const { prompt, tokens, temperature, context, end, ...how } = options;
  requireRoom(prompt.length, tokens, context);
  const wish = { prompt, tokens, temperature, end };
  for await (const { token } of writeBatch(executable, [wish], how)) if (token !== end) yield token;
}
/** How many tokens fit after a prompt: the last one is given out and not fed back. */
export const roomFor = (prompt: ArrayLike<number>, context: number | null): number =>
  context === null ? Number.POSITIVE_INFINITY : context - prompt.length + 1;
function requireRoom(prompt: number, tokens: number, context: number | null): void {
  const room = roomFor({ length: prompt }, context);
  if (tokens <= room) return;
  throw new Problem(
    `the model's Context is ${context}, and a prompt of ${prompt} tokens with ${tokens} more does not fit`,
    room > 0 ? `lower --tokens to at most ${room}` : `shorten the prompt to at most ${context} tokens`,
  );
}

export interface RunGenerateOptions extends Running {
  /** The folder of a training run, or of an imported model. */
  readonly folder: string;
  /** One begins after a line break, if there is none. */
  readonly prompts?: readonly string[] | undefined;
  /** Prompts and texts are token numbers, `5 12 7`, as also where the model was trained on those. Else they are the run's tokenizer's, or bytes. */
  readonly ids?: boolean | undefined;
  /** Writes on past the token that ends a text, which else is the last. */
  readonly pastEnd?: boolean | undefined;
  /** Of each text: 200, or what fits. */
  readonly tokens?: number | undefined;
  /** 0.8. */
  readonly temperature?: number | undefined;
  /** Only the likeliest tokens whose chances sum to this: 1, all. */
  readonly topP?: number | undefined;
  /** Only so many of the likeliest tokens: 0, all. */
  readonly topK?: number | undefined;
  /** Texts at a time: all, up to 16. */
  readonly batch?: number | undefined;
  readonly seed?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly warn?: ((line: string) => void) | undefined;
}
/** A piece of the text after a prompt, by the prompt's place in the list; `last` ends it. */
export interface Piece {
  readonly prompt: number;
  readonly text: string;
  readonly last: boolean;
}
/** Texts of a trained model, from the newest good checkpoint of its run. Those of different prompts come mixed. */
export async function* generate(options: RunGenerateOptions): AsyncGenerator<Piece, void> {
  const { folder, prompts = [""], seed = 0, signal } = options;
  const config = readConfig(folder);
  const checkpoint = newestCheckpoint(folder, options.warn ?? (() => {}));
  if (!checkpoint) throw new Problem(`${folder} has no checkpoint`, "train first: moec train writes one");
  const codec = await codecIn(options, config, checkpoint);
  const rows = options.batch ?? Math.min(16, Math.max(1, prompts.length));
  const { executable, context, among } = await compileRun(options, config, rows);
  try {
    const end = options.pastEnd ? null : codec.end;
    const wishes = prompts.map((prompt) => ({ ...wishOf(codec.encode(prompt), options, context), end }));
    for (const { prompt } of wishes) requireKnown(prompt, among, "a prompt");
    await executable.run("init", new Map(), { seed, call: 0, step: 0 });
    loadStores(executable, checkpoint);
    const { step } = checkpoint.state;
    yield* asTexts(writeBatch(executable, wishes, { rows, seed, step, signal }), wishes, codec);
  } finally {
    executable.close();
  }
}
async function codecIn({ folder, ids }: RunGenerateOptions, config: RunConfig, from: Checkpoint): Promise<Codec> {
  if (!ids && from.state.tokenizer === "foreign")
    throw new Problem(
      `${from.path}: its tokens are not bytes, and no tokenizer.json came with it`,
      "give --ids, and prompts as token numbers: --prompt '5 12 7'; or import it again from a folder with tokenizer.json",
    );
  const codec = await codecOf(ids ? { ids } : {}, { folder, config });
  if (codec.name === "tokenizer" && codec.asked.tokenizer !== config.tokenizer)
    throw new Problem(
      `the tokenizer in ${folder} is not the one that config.json names by its SHA-256`,
      "restore tokenizer.json and tokenizer_config.json, or give --ids and token numbers",
    );
  return codec;
}
const askedOf = ({ topP, topK }: RunGenerateOptions): Choice[] => [
  ...(topP === undefined ? [] : (["top_p"] as const)),
  ...(topK === undefined ? [] : (["top_k"] as const)),
];
async function compileRun(options: RunGenerateOptions, config: RunConfig, rows: number) {
  const path = join(options.folder, "model.moe");
  const program = readProgram(path);
  const { B: _, T: __, ...trained } = config.sizes;
  const sizes = { ...trained, ...options.set };
  const { executable, report } = await compileProgram({
    path,
    declaration: config.model,
    sizes,
    precision: options.precision ?? config.precision,
    target: options.target ?? "host",
    tf32: options.tf32,
    threads: options.threads,
    compiling: options.compiling,
    entries: generateEntries(program, config.model, { rows, asked: askedOf(options) }),
  });
  const context = contextOf(findEntry(program, config.model, "generate"), sizes);
  return { executable, context, among: report.choices[storeOfInput("generate:1", "tokens")] };
}
function wishOf(prompt: readonly number[], options: RunGenerateOptions, context: number | null): Wish & TextPrompt {
  const tokens = options.tokens ?? Math.min(200, Math.max(1, roomFor(prompt, context)));
  requireRoom(prompt.length, tokens, context);
  return { prompt, tokens, temperature: options.temperature ?? 0.8, topP: options.topP, topK: options.topK };
}

interface TextPrompt {
  readonly prompt: readonly number[];
}
async function* asTexts(
  written: ReturnType<typeof writeBatch>,
  wishes: readonly (Wish & TextPrompt)[],
  codec: Codec,
): AsyncGenerator<Piece, void> {
  const texts = wishes.map(({ prompt, tokens, end }) => ({ left: tokens, end, decoder: codec.decoder(prompt) }));
  for await (const { wish, token } of written) {
    const text = texts[wish];
    if (!text) continue;
    text.left -= 1;
    const ends = token === text.end;
    const last = ends || text.left === 0;
    const more = ends ? "" : text.decoder.push(token);
    yield { prompt: wish, text: more + (last ? text.decoder.end() : ""), last };
  }
}

/** Tokens as text as soon as whole characters are there. */
export async function* asText(tokens: AsyncIterable<number>, decoder: Decoder): AsyncGenerator<string, void> {
  for await (const token of tokens) {
    const text = decoder.push(token);
    if (text !== "") yield text;
  }
  const rest = decoder.end();
  if (rest !== "") yield rest;
}
