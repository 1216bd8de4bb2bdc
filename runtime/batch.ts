// Sequences side by side in the rows of one batch: prompts go in by chunks, each token is fed back, and a row whose sequence has ended is taken over by the next.
import { Bug } from "../compiler/diagnostic.ts";
import type { DType } from "../compiler/types/dtype.ts";
import { type Executable, repeated, storeOfInput, type Tensor } from "./executable.ts";
import { breath } from "./loop.ts";
import { fromNumbers } from "./tensor.ts";

/** A sequence to write. */
export interface Wish {
  /** At least one token. */
  readonly prompt: ArrayLike<number>;
  /** How many to add. */
  readonly tokens: number;
  /** 0: the likeliest token each time. */
  readonly temperature: number;
  /** Only the likeliest tokens, whose chances sum to this; 1 leaves all. */
  readonly topP?: number | undefined;
  /** Only so many of the likeliest tokens; 0 leaves all. */
  readonly topK?: number | undefined;
  /** The token after which it is done, whatever is left to add. */
  readonly end?: number | null | undefined;
  /** Aborted: nothing more of it is written. */
  readonly signal?: AbortSignal | undefined;
}
/** A token of a wish, by its number; those of one wish come in order. */
export interface Written {
  readonly wish: number;
  readonly token: number;
}
interface BatchOptions {
  /** Of the batch that `generate:1` and the other lengths are compiled for: 1. */
  readonly rows?: number | undefined;
  readonly seed: number;
  /** The training steps that the model has done. */
  readonly step: number;
  readonly signal?: AbortSignal | undefined;
}

/** A row of the batch at work: the tokens that the model has yet to read, the first of them at position `at`. */
interface Row {
  readonly wish: number;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  at: number;
  next: ArrayLike<number>;
  left: number;
  readonly end: number | null;
  readonly signal: AbortSignal | undefined;
  /** Its end was written, or it is given up. It writes on, for nobody, while others do: how many tokens a call makes depends on time, and no result may. */
  ended: boolean;
}

/**
 * Writes all wishes, as many at a time as there are rows; a wish is asked for when a row is free, also where there was none before. A new sequence begins at position 0 in whatever
 * row was free: what the row held before is never seen. Tokens of a row do not depend on the others, but for the random numbers they draw.
 */
export async function* writeBatch(
  executable: Executable,
  wishes: Iterable<Wish>,
  options: BatchOptions,
): AsyncGenerator<Written, void> {
  // short: V8 compiles what runs for each token, on a core that the kernels want
  for await (const { tokens, writing } of writeByCalls(executable, wishes, options))
    for (let i = 0; i < tokens.length && !options.signal?.aborted; i++) {
      const [row, token] = [writing[i % writing.length], tokens[i]];
      if (!row || token === undefined || row.ended) continue;
      yield { wish: row.wish, token };
      row.ended = token === row.end;
    }
}
/** What a call wrote, row after row, again and again, and for which: null of a row that has more to read. */
interface Call {
  readonly tokens: ArrayLike<number>;
  readonly writing: readonly (Row | null)[];
}
async function* writeByCalls(
  executable: Executable,
  wishes: Iterable<Wish>,
  { rows: count = 1, seed, step, signal }: BatchOptions,
): AsyncGenerator<Call, void> {
  const lengths = lengthsOf(executable);
  const dtypes = dtypesOf(executable, `generate:${lengths[0]}`);
  const waiting = new Waiting(wishes);
  const rows = Array.from({ length: count }, (): Row | null => null);
  const stopped = (): boolean => signal?.aborted ?? false;
  let breathed = performance.now();
  for (let call = 0; !stopped(); ) {
    for (const row of rows) if (row?.signal?.aborted) row.ended = true;
    for (const [i, row] of rows.entries()) if (!row || (row.ended && waiting.more())) rows[i] = begun(waiting.next());
    if (rows.every((row) => row === null || row.ended)) return;
    const longest = Math.max(...rows.map((row) => row?.next.length ?? 0));
    const T = lengths.find((n) => n >= longest) ?? lengths.at(-1) ?? 1;
    const how = { times: writesOf(rows, waiting), within: holding, beside: unseen, to: "tokens", next: "at" };
    const inputs = inputsOf(rows, T, dtypes);
    const tokens = await repeated(executable, how, `generate:${T}`, inputs, { seed, call, step });
    const times = tokens.length / count;
    const done = rows.map((row) => row !== null && advanced(row, T));
    yield { tokens, writing: rows.map((row, i) => (done[i] ? row : null)) };
    for (const [i, row] of rows.entries()) {
      if (row && done[i]) went(row, times, tokens[tokens.length - count + i] ?? 0);
      if (row?.left === 0) rows[i] = null;
    }
    call += times;
    if (performance.now() - breathed < holding) continue;
    await breath();
    breathed = performance.now();
  }
}
/** So many tokens were written, the newest of which is not yet read. */
function went(row: Row, times: number, newest: number): void {
  row.at += times - 1;
  row.left -= times;
  row.next = [newest];
}
/** Milliseconds for which signals, timers and who reads the tokens may wait. */
const holding = 5;
/** Milliseconds for which tokens may wait that another thread makes: less than who reads them sees. To hand them out takes it 0.6 of them. */
const unseen = 25;
/** The lengths that `generate` is compiled for, shortest first. */
function lengthsOf({ entries }: Executable): number[] {
  const lengths = entries.flatMap((name) => /^generate:(\d+)$/.exec(name)?.[1] ?? []).map(Number);
  if (lengths.length === 0) throw new Bug("no entry generate:T was compiled");
  return lengths.toSorted((a, b) => a - b);
}
/**
 * How many tokens all rows write one after the other: one where a row still reads its prompt, after which its first is given out at once, and where
 * a row that ends is taken over by a wish that waits.
 */
function writesOf(rows: readonly (Row | null)[], waiting: Waiting): number {
  const open = rows.filter((row) => row !== null);
  if (open.some(({ end }) => end !== null) && waiting.more()) return 1;
  return open.every(({ at, next }) => at > 0 && next.length === 1) ? Math.min(...open.map(({ left }) => left)) : 1;
}
/** Wishes that no row has; the next is asked for when it is wanted, or by `more`. Those without a token to add are left out. */
class Waiting {
  readonly #wishes: Iterator<Wish, unknown>;
  #count = 0;
  #next: readonly [number, Wish] | null = null;

  constructor(wishes: Iterable<Wish>) {
    this.#wishes = wishes[Symbol.iterator]();
  }
  more(): boolean {
    while (this.#next === null) {
      const next = this.#wishes.next();
      if (next.done) return false;
      if (next.value.tokens > 0) this.#next = [this.#count, next.value];
      this.#count += 1;
    }
    return true;
  }
  next(): readonly [number, Wish] | null {
    const next = this.more() ? this.#next : null;
    this.#next = null;
    return next;
  }
}
function begun(next: readonly [number, Wish] | null): Row | null {
  if (next === null) return null;
  const [wish, { prompt, tokens, temperature, topP = 1, topK = 0, end = null, signal }] = next;
  return { wish, temperature, topP, topK, at: 0, next: prompt, left: tokens, end, signal, ended: false };
}
/** After a call of length T; true where all tokens were read, so that the result is the row's next one. */
function advanced(row: Row, T: number): boolean {
  const read = Math.min(T, row.next.length);
  row.at += read;
  row.next = Array.from(row.next).slice(read);
  return row.next.length === 0;
}

/** Of the numbers that a row has, by the names of the inputs; none for `top_p` and `top_k` where they are not asked for. */
type Dtypes = Readonly<Record<"temperature" | "topP" | "topK", DType | undefined>>;
function dtypesOf({ stores }: Executable, entry: string): Dtypes {
  const of = (input: string): DType | undefined => stores.find((s) => s.name === storeOfInput(entry, input))?.dtype;
  return { temperature: of("temperature"), topP: of("top_p"), topK: of("top_k") };
}
/** Each row's next tokens and their positions, padded on the right; an idle row has none. */
function inputsOf(rows: readonly (Row | null)[], T: number, dtypes: Dtypes): Map<string, Tensor> {
  const [tokens, at] = [new Float64Array(rows.length * T), new Float64Array(rows.length * T).fill(-1)];
  const [temperature, topK] = [new Float64Array(rows.length), new Float64Array(rows.length)];
  const topP = new Float64Array(rows.length).fill(1);
  for (const [i, row] of rows.entries()) {
    if (!row) continue;
    for (let t = 0; t < T && t < row.next.length; t++) {
      tokens[i * T + t] = row.next[t] ?? 0;
      at[i * T + t] = row.at + t;
    }
    [temperature[i], topP[i], topK[i]] = [row.temperature, row.topP, row.topK];
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
