// The generation loop: a prompt in chunks, then the model's own bytes fed back one by one. A position is data: `at`.
import { join } from "node:path";
import type { EntrySignature, Loaded } from "../compiler/check/index.ts";
import { Problem } from "../compiler/diagnostic.ts";
import { loadStores, newestCheckpoint } from "./checkpoint.ts";
import { compileProgram, type EntryRequest } from "./compile.ts";
import type { Executable } from "./executable.ts";
import { breath } from "./loop.ts";
import { findEntry, hasMethod, headerDefault, readProgram } from "./program.ts";
import { readConfig } from "./run-folder.ts";
import { fromNumbers } from "./tensor.ts";

/** How many tokens of a prompt one call takes. */
export const chunkLength = 64;

/** `generate` at lengths 1 and 64, for one sequence; none if the model has no `generate`. */
export function generateEntries(program: Loaded, declaration: string): EntryRequest[] {
  if (!hasMethod(program, declaration, "generate")) return [];
  const given = findEntry(program, `${declaration}.generate`).arguments;
  const [batch, length] = given[0]?.axes ?? [];
  if (given.map((a) => a.name).join() !== "tokens,at,temperature" || !batch || !length)
    throw new Problem(
      `\`${declaration}.generate\` takes (${given.map((a) => `${a.name}: ${a.text}`).join(", ")})`,
      "write generate(tokens: i32[B, T], at: i32[B, T], temperature: f32[B]) -> i32[B]",
    );
  return [1, chunkLength].map((T) => ({
    method: "generate",
    name: `generate:${T}`,
    sizes: { [batch]: 1, [length]: T },
  }));
}
/** How many positions a model has, or null where its header does not say. */
export function contextOf(entry: EntrySignature, sizes: Readonly<Record<string, number | boolean>>): number | null {
  const set = sizes["Context"];
  return typeof set === "number" ? set : headerDefault(entry, "Context");
}

export interface GenerateOptions {
  /** Empty: begins after a line break. */
  readonly prompt: Uint8Array;
  readonly tokens: number;
  /** 0: the likeliest token each time. */
  readonly temperature: number;
  readonly seed: number;
  readonly context: number | null;
  /** The training steps that the model has done. */
  readonly step: number;
  readonly signal?: AbortSignal | undefined;
}

/** Yields each new token. Positions begin at 0 again, so nothing of an earlier sequence is seen. */
export async function* generateTokens(executable: Executable, options: GenerateOptions): AsyncGenerator<number, void> {
  requireRoom(options);
  const prompt = options.prompt.length > 0 ? options.prompt : Uint8Array.of(10);
  let at = 0;
  let next = -1;
  while (at < prompt.length) {
    const chunk = prompt.subarray(at, at + (prompt.length - at === 1 ? 1 : chunkLength));
    next = await feed(executable, chunk, at, options);
    at += chunk.length;
  }
  const stopped = (): boolean => options.signal?.aborted ?? false;
  for (let made = 1; made <= options.tokens && !stopped(); made++) {
    yield next;
    await breath();
    if (made < options.tokens) next = await feed(executable, Uint8Array.of(next), at++, options);
  }
}
/** How many tokens fit after a prompt: the last one is given out and not fed back. */
export const roomFor = (prompt: Uint8Array, context: number | null): number =>
  context === null ? Number.POSITIVE_INFINITY : context - Math.max(1, prompt.length) + 1;
function requireRoom({ prompt, tokens, context }: GenerateOptions): void {
  const room = roomFor(prompt, context);
  if (tokens <= room) return;
  throw new Problem(
    `the model's Context is ${context}, and a prompt of ${prompt.length} bytes with ${tokens} more does not fit`,
    room > 0 ? `lower --tokens to at most ${room}` : `shorten the prompt to at most ${context} bytes`,
  );
}

/** Runs the model on tokens at positions at, at + 1, ..., padded on the right, and gives the token after the last. */
async function feed(executable: Executable, tokens: Uint8Array, at: number, options: GenerateOptions): Promise<number> {
  const T = tokens.length === 1 ? 1 : chunkLength;
  const row = (of: (i: number) => number, nothing: number): number[] =>
    Array.from({ length: T }, (_, i) => (i < tokens.length ? of(i) : nothing));
  const inputs = new Map([
    [
      "tokens",
      fromNumbers(
        "i32",
        [1, T],
        row((i) => tokens[i] ?? 0, 0),
      ),
    ],
    [
      "at",
      fromNumbers(
        "i32",
        [1, T],
        row((i) => at + i, -1),
      ),
    ],
    ["temperature", fromNumbers("f32", [1], [options.temperature])],
  ]);
  const { outputs } = await executable.run(`generate:${T}`, inputs, {
    seed: options.seed,
    call: at,
    step: options.step,
  });
  const token = outputs[0]?.data[0];
  if (token === undefined || token < 0 || token > 255)
    throw new Problem(
      `the model made the token ${token}, which is not a byte`,
      "text is bytes: the model's vocabulary must be 256",
    );
  return token;
}

export interface RunGenerateOptions {
  /** The folder of a training run. */
  readonly folder: string;
  readonly prompt?: string | undefined;
  /** 200, or what fits. */
  readonly tokens?: number | undefined;
  /** 0.8. */
  readonly temperature?: number | undefined;
  readonly seed?: number | undefined;
  readonly set?: Readonly<Record<string, number | boolean>> | undefined;
  readonly target?: "host" | "reference" | undefined;
  readonly precision?: "f32" | "f64" | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly warn?: ((line: string) => void) | undefined;
}
/** Text of a trained model, from the newest good checkpoint of its run. */
export async function* generate(options: RunGenerateOptions): AsyncGenerator<string, void> {
  const { folder, temperature = 0.8, seed = 0, signal } = options;
  const config = readConfig(folder);
  const checkpoint = newestCheckpoint(folder, options.warn ?? (() => {}));
  if (!checkpoint) throw new Problem(`${folder} has no checkpoint`, "train first: moec train writes one");
  const path = join(folder, "model.moe");
  const program = readProgram(path);
  const entry = findEntry(program, config.model, "generate");
  const { B: _, T: __, ...trained } = config.sizes;
  const sizes = { ...trained, ...options.set };
  const { executable } = await compileProgram({
    path,
    declaration: config.model,
    sizes,
    precision: options.precision ?? config.precision,
    target: options.target ?? "host",
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    entries: generateEntries(program, config.model),
  });
  try {
    await executable.run("init", new Map(), { seed, call: 0, step: 0 });
    loadStores(executable, checkpoint);
    const prompt = new TextEncoder().encode(options.prompt ?? "");
    const context = contextOf(entry, sizes);
    const { step } = checkpoint.state;
    const tokens = options.tokens ?? Math.min(200, Math.max(1, roomFor(prompt, context)));
    yield* asText(generateTokens(executable, { prompt, tokens, temperature, seed, context, step, signal }));
  } finally {
    executable.close();
  }
}

/** Bytes as text as soon as whole characters are there; what is not UTF-8 becomes U+FFFD. */
export async function* asText(bytes: AsyncIterable<number>): AsyncGenerator<string, void> {
  const decoder = new TextDecoder("utf-8");
  for await (const byte of bytes) {
    const text = decoder.decode(Uint8Array.of(byte), { stream: true });
    if (text !== "") yield text;
  }
  const rest = decoder.decode();
  if (rest !== "") yield rest;
}
