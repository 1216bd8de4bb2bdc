// Generates several sequences at once, one in each row of a batch: prompts are read in chunks, each new token is fed back, and a row whose sequence
// has ended is given to the next one.
import { Bug, Problem } from "../../compiler/diagnostic.ts";
import { precisionFlagText } from "../../compiler/flag-text.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { blockingLimit, letEventsRun } from "../events.ts";
import { type Executable, type RunContext, repeatOrRun, storeOfInput, type Tensor } from "../executable/executable.ts";
import { fromNumbers } from "../tensor.ts";
import { chunkLength, paysOff } from "./generate-entries.ts";
import type { Prefixes, Stop } from "./prefixes.ts";

/** A sequence to generate. */
export interface GenerateRequest {
  /** What a model with an encoder reads before the prompt, which is then what every text begins with. */
  readonly source?: ArrayLike<number> | undefined;
  /** At least one token. */
  readonly prompt: ArrayLike<number>;
  /** How many tokens to generate. */
  readonly tokens: number;
  /** 0 takes the likeliest token each time. */
  readonly temperature: number;
  /** Nucleus sampling: only the likeliest tokens, up to this total probability; 1 leaves all. */
  readonly topP?: number | undefined;
  /** Only this many of the likeliest tokens; 0 leaves all. */
  readonly topK?: number | undefined;
  /** The token that ends the sequence, however many tokens are left to generate; null or undefined: none. */
  readonly end?: number | null | undefined;
  /** When it is aborted, nothing more of this sequence is given out. */
  readonly signal?: AbortSignal | undefined;
  /** Whether `signal` may be aborted because of the tokens that were given out. */
  readonly mayStop?: boolean | undefined;
  /** Called once nothing more is given out because `signal` was aborted, on this worker or another. */
  readonly onAbort?: (() => void) | undefined;
}
/** A generated token; `request` is the index of its request. The tokens of one request come in order. */
export interface GeneratedToken {
  readonly request: number;
  readonly token: number;
}
export interface BatchOptions {
  /** Rows of the batch that the entries `generate:T` were compiled for. Default: 1. */
  readonly rows?: number | undefined;
  readonly seed: number;
  /** How many training steps the model has done. */
  readonly step: number;
  readonly signal?: AbortSignal | undefined;
  /**
   * Several workers only, all of which generate the same: called before each call of the executable with whether this worker was stopped, and whether each
   * row was; returns what is true on any worker.
   */
  readonly agree?: ((stopped: readonly boolean[]) => readonly boolean[]) | undefined;
  /**
   * A single row only: the tokens that the row has read so far, which is kept up to date. A prompt that begins with all of them, and has more, is read from
   * there on; before any other the row begins anew, and this list too.
   */
  readonly read?: number[] | undefined;
  /** What is kept of the beginnings of prompts, of which others are read from there on. */
  readonly prefixes?: Prefixes | undefined;
}

/**
 * A row of the batch that is in use. `pending` holds the tokens that the model has yet to read, of which `position` is the first one's position;
 * `remaining` counts those yet to be generated.
 */
interface Row extends Omit<GenerateRequest, "source" | "tokens"> {
  readonly request: number;
  /** Where what was read is to be kept: a call reads no further. */
  stops: readonly Stop[];
  /** What its encoder has yet to read; null: nothing. */
  source: ArrayLike<number> | null;
  position: number;
  pending: ArrayLike<number>;
  remaining: number;
  /**
   * Its end token was generated, or it was aborted. Its tokens are still computed, but dropped, while other rows go on: how many tokens a call
   * generates depends on time, and no result may depend on it.
   */
  ended: boolean;
}

/**
 * Generates all requests, as many at a time as there are rows. The next request is taken from the iterator only when a row is free; an iterator that
 * had none is read again before the next call. A new sequence begins at position 0 of a free row: positions that the row held before are not visible.
 * A row's tokens do not depend on the other rows, except that random numbers are drawn by row and call.
 */
export async function* generateBatch(
  executable: Executable,
  requests: Iterable<GenerateRequest>,
  options: BatchOptions,
): AsyncGenerator<GeneratedToken, void> {
  // Kept short: V8 compiles what runs for each token, on a core that the kernels could use.
  for await (const { tokens, writing } of generateCalls(executable, requests, options))
    for (let i = 0; i < tokens.length; i++) {
      const [row, token] = [writing[i % writing.length], tokens[i]];
      if (!row || token === undefined || row.ended) continue;
      if (token < 0) throw noToken(token);
      if (!options.signal?.aborted) yield { request: row.request, token };
      row.ended = token === row.end; // also where this worker alone was aborted: all must know alike which rows go on
    }
}
const noToken = (token: number): Problem =>
  new Problem(
    `the model's next token is ${token}, none: its logits are NaN or infinite`,
    `its weights hold NaN, or it computes numbers too large for its precision: take an earlier checkpoint, or ${precisionFlagText("f32")}`,
  );
/**
 * The result of one call of the executable: the tokens of all rows, one round after another, and the `Row` that each belongs to; null where a row has
 * more of its prompt to read.
 */
interface Call {
  readonly tokens: ArrayLike<number>;
  readonly writing: readonly (Row | null)[];
}
async function* generateCalls(
  executable: Executable,
  requests: Iterable<GenerateRequest>,
  { rows: count = 1, seed, step, signal, agree = (own) => own, read, prefixes }: BatchOptions,
): AsyncGenerator<Call, void> {
  const lengths = lengthsOf(executable, "generate");
  const dtypes = samplingDtypes(executable, `generate:${lengths[0]}`);
  const queue = new RequestQueue(requests);
  const rows = Array.from({ length: count }, (): Row | null => null);
  for (let call = 0; ; ) {
    const [stopped, ...aborted] = agree([signal, ...rows.map((row) => row?.signal)].map((s) => s?.aborted ?? false));
    if (stopped) return;
    for (const [i, row] of rows.entries()) if (row && aborted[i]) abort(row);
    call += chunksOf(fillRows(rows, queue, { read, prefixes }));
    if (rows.every(isIdle)) return;
    await readSources(executable, rows, { seed, call, step });
    const longest = Math.max(...rows.map(due));
    const T = lengthFor(longest, lengths);
    call += Math.max(1, chunksOf(Math.min(T, longest))) - 1;
    const how = {
      times: executable.repeat && !read ? tokensPerCall(rows, queue) : 1, // more would be read past the end of a text
      within: blockingLimit,
      beside: backgroundLimit,
      to: "tokens",
      next: "at",
    };
    const inputs = inputsOf(rows, T, dtypes);
    const tokens = await repeatOrRun(executable, how, `generate:${T}`, inputs, { seed, call, step });
    const times = tokens.length / count;
    const done = rows.map((row) => row !== null && advance(row, T, read));
    for (const [i, row] of rows.entries()) if (row) keepPrefix(row, i, prefixes);
    yield { tokens, writing: rows.map((row, i) => (done[i] ? row : null)) };
    for (const [i, row] of rows.entries()) {
      if (row && done[i]) recordTokens(row, times, tokens[tokens.length - count + i] ?? 0);
      if (row?.remaining === 0) rows[i] = null;
    }
    call += times;
    // before yielding, when a request may arrive: it would be sampled with the random numbers of a later call
    if (rows.every(isIdle) && !queue.hasNext()) return;
    await letEventsRun();
  }
}
/** Reads the sources of rows that begin. The others, whose positions are all -1, keep what they have read. */
async function readSources(executable: Executable, rows: readonly (Row | null)[], at: RunContext): Promise<void> {
  const longest = Math.max(0, ...rows.map((row) => row?.source?.length ?? 0));
  if (longest === 0) return;
  const U = lengthsOf(executable, "encode").find((n) => n >= longest);
  if (U === undefined) throw new Bug(`no entry encode:U holds ${longest} tokens`);
  const [source, places] = [new Float64Array(rows.length * U).fill(-1), new Float64Array(rows.length * U).fill(-1)];
  for (const [i, row] of rows.entries()) {
    for (let t = 0; t < (row?.source?.length ?? 0); t++)
      [source[i * U + t], places[i * U + t]] = [row?.source?.[t] ?? 0, t];
    if (row) row.source = null;
  }
  const inputs = Object.entries({ source, at: places }).map(([name, x]): [string, Tensor] => [
    name,
    fromNumbers("i32", [rows.length, U], x),
  ]);
  await executable.run(`encode:${U}`, new Map(inputs), at);
}
function abort(row: Row): void {
  if (row.ended) return;
  row.ended = true;
  row.onAbort?.();
}
const isIdle = (row: Row | null): boolean => row === null || row.ended;
/** How many tokens a row reads at most in the next call. */
const due = (row: Row | null): number =>
  row ? Math.min(row.pending.length, (row.stops[0]?.position ?? Number.POSITIVE_INFINITY) - row.position) : 0;
/** What is drawn for a text that is alone does not depend on how much of its prompt a call reads. */
const chunksOf = (tokens: number): number => Math.ceil(tokens / chunkLength);
/** Gives free rows to the sequences that wait. Returns how many tokens all of them have read already; 0 if others are being written. */
function fillRows(rows: (Row | null)[], queue: RequestQueue, reuse: Reuse): number {
  const alone = rows.every(isIdle);
  const begun: number[] = [];
  for (const [i, row] of rows.entries()) {
    if (row && !row.ended) continue;
    const next = queue.next();
    if (!next) break;
    const started = startRow(next, i, reuse);
    rows[i] = started;
    begun.push(started.position);
  }
  return alone && begun.length > 0 ? Math.min(...begun) : 0;
}
/** Records that `times` tokens of a row were generated, of which the model has not yet read the newest. */
function recordTokens(row: Row, times: number, newest: number): void {
  row.position += times - 1;
  row.remaining -= times;
  row.pending = [newest];
}
/**
 * For how many milliseconds tokens may be withheld that are generated on another thread: too short for a reader to notice. Handing them out takes 0.6
 * ms.
 */
const backgroundLimit = 25;
/** The lengths T of the compiled entries `generate:T`, or `encode:T`, shortest first. */
function lengthsOf({ entries }: Executable, method: "generate" | "encode"): number[] {
  const lengths = entries.filter((name) => name.startsWith(`${method}:`)).map((name) => Number(name.split(":")[1]));
  if (lengths.length === 0) throw new Bug(`no entry ${method}:T was compiled`);
  return lengths.toSorted((a, b) => a - b);
}
/** The shortest length that holds all tokens, or the longest, of those that pay off. */
function lengthFor(tokens: number, lengths: readonly number[]): number {
  const useful = lengths.filter((n) => paysOff(n, tokens));
  return useful.find((n) => n >= tokens) ?? useful.at(-1) ?? 1;
}
/**
 * How many tokens the next call may generate for every row. Only one while a row still reads its prompt, so that its first token is given out at
 * once, and while a row may end by what is generated and a waiting request could take its place.
 */
function tokensPerCall(rows: readonly (Row | null)[], queue: RequestQueue): number {
  const open = rows.filter((row) => row !== null);
  if (open.some(({ end = null, mayStop }) => end !== null || mayStop) && queue.hasNext()) return 1;
  return open.every(({ position, pending }) => position > 0 && pending.length === 1)
    ? Math.min(...open.map(({ remaining }) => remaining))
    : 1;
}
/** Requests that have no row yet. The iterator is read only by `next` and `hasNext`. Requests for no tokens are skipped. */
class RequestQueue {
  readonly #requests: Iterator<GenerateRequest, unknown>;
  #count = 0;
  #peeked: readonly [number, GenerateRequest] | null = null;

  constructor(requests: Iterable<GenerateRequest>) {
    this.#requests = requests[Symbol.iterator]();
  }
  hasNext(): boolean {
    while (this.#peeked === null) {
      const next = this.#requests.next();
      if (next.done) return false;
      if (next.value.tokens > 0) this.#peeked = [this.#count, next.value];
      this.#count += 1;
    }
    return true;
  }
  next(): readonly [number, GenerateRequest] | null {
    const next = this.hasNext() ? this.#peeked : null;
    this.#peeked = null;
    return next;
  }
}
type Reuse = Pick<BatchOptions, "read" | "prefixes">;
function startRow([request, asked]: readonly [number, GenerateRequest], row: number, reuse: Reuse): Row {
  const { source = null, prompt, tokens, ...how } = asked;
  const { read, stops } = begin(row, prompt, reuse);
  const pending = Array.from(prompt).slice(read);
  return { ...how, request, source, prompt, position: read, pending, stops, remaining: tokens, ended: false };
}
function begin(row: number, prompt: ArrayLike<number>, { read = [], prefixes }: Reuse): ReturnType<Prefixes["begin"]> {
  if (prefixes) return prefixes.begin(row, prompt);
  if (read.length >= prompt.length || read.some((token, i) => token !== prompt[i])) read.length = 0;
  return { read: read.length, stops: [] };
}
function keepPrefix(row: Row, i: number, prefixes: Prefixes | undefined): void {
  const [stop, ...later] = row.stops;
  if (!prefixes || stop?.position !== row.position) return;
  prefixes.keep(i, row.prompt, stop);
  row.stops = later;
}
/** Updates a row after a call of length T. True if all its tokens were read, so that the call's result is its next token. */
function advance(row: Row, T: number, read: number[] | undefined): boolean {
  const pending = Array.from(row.pending);
  const taken = pending.slice(0, Math.min(T, due(row)));
  row.position += taken.length;
  row.pending = pending.slice(taken.length);
  read?.push(...taken);
  return row.pending.length === 0;
}

/** Dtypes of the inputs `temperature`, `top_p` and `top_k`; undefined where the entry does not have that input. */
type SamplingDtypes = Readonly<Record<"temperature" | "topP" | "topK", DType | undefined>>;
function samplingDtypes({ stores }: Executable, entry: string): SamplingDtypes {
  const of = (input: string): DType | undefined => stores.find((s) => s.name === storeOfInput(entry, input))?.dtype;
  return { temperature: of("temperature"), topP: of("top_p"), topK: of("top_k") };
}
/** The next tokens of each row and their positions, padded on the right. Padding and idle rows have position -1. */
function inputsOf(rows: readonly (Row | null)[], T: number, dtypes: SamplingDtypes): Map<string, Tensor> {
  const [tokens, at] = [new Float64Array(rows.length * T), new Float64Array(rows.length * T).fill(-1)];
  const [temperature, topK] = [new Float64Array(rows.length), new Float64Array(rows.length)];
  const topP = new Float64Array(rows.length).fill(1);
  for (const [i, row] of rows.entries()) {
    if (!row) continue;
    for (let t = 0; t < T && t < due(row); t++) {
      tokens[i * T + t] = row.pending[t] ?? 0;
      at[i * T + t] = row.position + t;
    }
    [temperature[i], topP[i], topK[i]] = [row.temperature, row.topP ?? 1, row.topK ?? 0];
  }
  const inputs = new Map([
    ["tokens", fromNumbers("i32", [rows.length, T], tokens)],
    ["at", fromNumbers("i32", [rows.length, T], at)],
    ["temperature", fromNumbers(dtypes.temperature ?? "f32", [rows.length], temperature)],
  ]);
  if (dtypes.topP) inputs.set("top_p", fromNumbers(dtypes.topP, [rows.length], topP));
  if (dtypes.topK) inputs.set("top_k", fromNumbers(dtypes.topK, [rows.length], topK));
  return inputs;
}
