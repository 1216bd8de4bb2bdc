// Training data: text as bytes or token numbers, split into training and held-out parts, and cut into streams and batches.
import { Problem } from "../../compiler/diagnostic.ts";
import { threefry } from "../../compiler/ops/random.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { fromTo, sum } from "../../compiler/types/numbers.ts";
import { type EncodingOptions, ownTokens, type TokenCache } from "../cache/tokens.ts";
import { storeOfInput, type Tensor } from "../executable/executable.ts";
import type { Figures } from "../figures.ts";
import { countBelow, type TokenText } from "../storage/token-text.ts";
import { fromNumbers } from "../tensor.ts";
import {
  type Codec,
  codecs,
  isTarget,
  requireInVocabulary,
  requireStart,
  requireVocabulary,
  startTokensOf,
  tokenOf,
  withOpening,
} from "../tokens.ts";
import { type PairText, pairBatch } from "./pairs.ts";
import { type DataFiles, mostInMemory, readTexts, type Text } from "./read-texts.ts";

/**
 * Data of one run. Without files of held-out text `training` is the first 95% of `all` or more, and `heldOut` the rest, at most `mostHeldOut`; with them
 * `training` is `all`.
 */
export interface Dataset extends DataFiles {
  readonly heldOutFiles: DataFiles | null;
  readonly all: TokenText;
  readonly training: TokenText;
  readonly heldOut: TokenText;
  /** Where documents of `all`, and so of `training`, begin, and those of `heldOut`; null: the model does not tell them apart. */
  readonly starts: Float64Array | null;
  readonly heldOutStarts: Float64Array | null;
  /** Whether documents are pairs of a source and an answer, for a model with an encoder; `starts` then say where each begins. */
  readonly pairs: boolean;
  /** What made tokens of the text; encoding an empty prompt gives what `opening` returns. */
  readonly codec: Codec;
}
/** One batch; all tensors but the source are i32[B, T]. A target of -1 is ignored by the loss. */
export interface Batch {
  /** What a model with an encoder reads, i32[B, U]; -1 is padding. */
  readonly source?: Tensor;
  readonly tokens: Tensor;
  readonly targets: Tensor;
  /** If the model keeps documents apart: the place in its row where the document of each token begins, 0 if before the row. */
  readonly since?: Tensor;
  /** How many targets are not -1. */
  readonly count: number;
}

export interface DataOptions extends EncodingOptions {
  /** Files of held-out text; none: it is the end of the data. */
  readonly heldOut?: readonly string[] | undefined;
  /** Whether the model tells documents apart (`tellsApart`). */
  readonly apart?: boolean | undefined;
}
/** The tokens of all files, one after the other. `cache`: of encoded files; null: none. */
export async function readDataset(
  files: readonly string[],
  codec: Codec = codecs.bytes,
  { heldOut = [], apart = false, ...options }: DataOptions = {},
  cache: TokenCache | null = ownTokens(),
): Promise<Dataset> {
  const { pairs = false } = options;
  const read = (some: readonly string[]): Promise<Text> => readTexts(some, codec, options, cache);
  const [text, held] = [await read(files), heldOut.length > 0 ? await read(heldOut) : null];
  return datasetOf(text, codec, held, { apart: apart || pairs, pairs });
}
export function datasetOf(
  { tokens: all, starts, ...from }: Text,
  codec: Codec,
  held: Text | null,
  { apart = false, pairs = false }: Pick<DataOptions, "apart" | "pairs"> = {},
): Dataset {
  const text = { ...from, all, codec, starts: apart ? starts : null, pairs };
  if (held) {
    const { tokens: heldOut, starts: own, ...heldOutFiles } = held;
    return addOpening({ ...text, training: all, heldOut, heldOutStarts: apart ? own : null, heldOutFiles });
  }
  const place = Math.max(Math.floor(all.length * 0.95), all.length - mostHeldOut);
  const cut = pairs ? (starts[Math.min(countBelow(starts, place), starts.length - 1)] ?? 0) : place; // no pair is cut
  const [training, heldOut] = [all.subarray(0, cut), all.subarray(cut)];
  const heldOutStarts = apart ? starts.subarray(countBelow(starts, cut)).map((start) => start - cut) : null;
  return addOpening({ ...text, training, heldOut, heldOutStarts, heldOutFiles: null });
}
/** In tokens. The loss of so many is known to about 0.002 nats; more would only take longer, hours for gigabytes. */
const mostHeldOut = 2 ** 20;
/** Replaces the codec by one that encodes an empty text as `opening`. Token numbers (`ids`) have no text, so theirs stays. */
function addOpening(text: Dataset): Dataset {
  const { codec } = text;
  const first = codec.name === "ids" || text.pairs ? [] : opening(text);
  const same = first.length === 0 || first.join() === codec.encode("").join();
  return same ? text : { ...text, codec: withOpening(codec, first) };
}

/**
 * The tokens that generated text begins after if there is no prompt: a line end, or, if the training data has none (the model never learnt what
 * follows one), the first held-out token.
 */
export function opening({ training, heldOut, codec }: Dataset): readonly number[] {
  const lineEnd = codec.encode("\n");
  const known = lineEnd.length > 0 && lineEnd.every((token) => training.includes(token));
  return known ? lineEnd : [...heldOut.read(0, 1)].map(tokenOf);
}

/** Throws Problem unless the model has all of the data's tokens. `vocabulary` as in `requireInVocabulary`. */
export function requireKnown({ codec, all, heldOut, pairs }: Dataset, vocabulary: number | undefined): void {
  requireVocabulary(codec, vocabulary);
  if (pairs) requireStart(startTokensOf(codec), vocabulary);
  requireTokens(all, vocabulary, "the data");
  requireTokens(heldOut, vocabulary, "the held-out text");
}
function requireTokens(text: TokenText, vocabulary: number | undefined, what: string): void {
  if (text.isBytes && (vocabulary ?? 256) >= 256) return;
  for (const piece of text.pieces()) requireInVocabulary(piece, vocabulary, what);
}
/** How many tokens are targets of the loss; the first, which nothing comes before, is none, nor, with `starts`, is that of any document. */
export function targetsOf(tokens: TokenText, starts: Float64Array | null): number {
  let [count, at, begun] = [0, 0, 0];
  for (const piece of tokens.pieces()) {
    for (let i = at === 0 ? 1 : 0; i < piece.length; i++) if (isTarget(piece[i] ?? 0)) count += 1;
    const end = at + piece.length;
    for (let start = starts?.[begun] ?? end; start < end; start = starts?.[++begun] ?? end)
      if (start > 0 && isTarget(piece[start - at] ?? 0)) count -= 1;
    at = end;
  }
  return count;
}
/** The number of tokens that a training step knows, as what is read and as what is predicted; undefined if it looks up neither. */
export function vocabularyOf(choices: Figures["choices"], entry: string): number | undefined {
  const known = ["source", "tokens", "targets"].flatMap((name) => choices[storeOfInput(entry, name)] ?? []);
  return known.length > 0 ? Math.min(...known) : undefined;
}
/** Throws Problem if the text is too short for B streams of rows of T tokens; with `shuffle`, for one row. */
export function requireEnough(text: Dataset, B: number, T: number, shuffle = false): void {
  if (text.pairs) return requirePairs(text);
  const n = text.training.length;
  const streams = shuffle ? 1 : B;
  const rows = streams * (T + 1);
  const apart = text.heldOutFiles !== null;
  const needed = apart ? rows : Math.max(Math.min(Math.ceil(rows / 0.95), rows + mostHeldOut), 21); // of 21 two are held out
  if (n >= rows && targetsOf(text.heldOut, text.heldOutStarts) > 0) return;
  if (n >= rows && text.heldOut.length >= 2)
    throw new Problem(
      `nothing of the held-out ${pluralize(text.heldOut.length, text.codec.unit)} is to be predicted`,
      `give more documents${apart ? " to" : ", or"} --held-out`,
    );
  if (apart && n >= rows)
    throw new Problem(
      `the held-out text has ${pluralize(text.heldOut.length, text.codec.unit)}`,
      "give --held-out a text of two or more: each but the first is predicted from those before it",
    );
  const remedies = [
    ...(Math.floor(n / (T + 1)) > 0 ? [`--batch to at most ${Math.floor(n / (T + 1))}`] : []),
    ...(Math.floor(n / streams) > 1 ? [`--length to at most ${Math.floor(n / streams) - 1}`] : []),
  ];
  const asked = shuffle ? `--length ${T}` : `--batch ${B} with --length ${T}`;
  throw new Problem(
    `the data has ${pluralize(text.all.length, text.codec.unit)}, and ${asked} needs ${needed}`,
    remedies.length > 0 ? `lower ${remedies.join(", or ")}, or give more data` : "give more data",
  );
}

function requirePairs({ training, heldOut }: Dataset): void {
  if (training.length > 0 && heldOut.length > 0) return;
  throw new Problem("the data has too few pairs to hold one out", "give at least two, or others to --held-out");
}
/** The pairs of the training data, with what a decoder begins with. Those of held-out data stand behind them. */
export const pairsOf = (text: Dataset, part: "all" | "training" | "heldOut"): PairText => {
  const starts = (part === "heldOut" ? text.heldOutStarts : text.starts) ?? new Float64Array();
  const tokens = text[part];
  return { tokens, starts: starts.subarray(0, countBelow(starts, tokens.length)), start: startTokensOf(text.codec) };
};
/** The batch of pairs of a training step: B each step, in order or, with a seed, in random order, another one each epoch. */
export function trainingPairs(text: Dataset, B: number, U: number, T: number, step: number, seed?: number): Batch {
  const pairs = pairsOf(text, "training");
  const n = pairs.starts.length;
  const rows = Array.from({ length: B }, (_, row) => {
    const read = step * B + row;
    return seed === undefined ? read % n : permuted(read % n, n, seed, Math.floor(read / n));
  });
  return pairBatch(pairs, rows, U, T);
}

/**
 * The batch of a training step, counted from 0. Row b reads stream b, which begins at token b * floor(n / B), T tokens a step. At the stream's end it
 * wraps round to a position that differs from round to round.
 */
export function trainingBatch(text: Dataset, B: number, T: number, step: number): Batch {
  const length = Math.floor(text.training.length / B);
  const from = streamPosition(text, B, T, step);
  return batch(text.training, text.starts, B, T, (row) => [row * length + from, row * length + from + T]);
}

/**
 * The batch of a step with --shuffle. In each epoch the text is cut into crops of T tokens, from a random place on, and each is read once, in random order.
 * Cut and order follow from the seed and the epoch alone, so a step's batch depends on nothing that was read before.
 */
export function shuffledBatch(text: Dataset, B: number, T: number, step: number, seed: number): Batch {
  const { length } = text.training;
  const crops = Math.max(1, Math.floor((length - 1) / T) - 1); // one fewer than fit, so that the cut has T places or more
  return batch(text.training, text.starts, B, T, (row) => {
    const read = step * B + row;
    const epoch = Math.floor(read / crops);
    const cut = Math.floor((drawn(seed, epoch, 0, 0) / 2 ** 32) * (length - crops * T));
    const from = cut + permuted(read % crops, crops, seed, epoch) * T;
    return [from, from + T];
  });
}
/** Where a random permutation of 0:n takes i: a Feistel network over 2^(2 bits) >= n numbers, applied until the result is one of the n. */
function permuted(i: number, n: number, seed: number, epoch: number): number {
  const half = 2 ** Math.ceil(Math.log2(n) / 2);
  let [left, right] = [Math.floor(i / half), i % half];
  do {
    for (let round = 1; round <= 6; round++) [left, right] = [right, (left + drawn(seed, epoch, round, right)) % half];
  } while (left * half + right >= n);
  return left * half + right;
}
/** 32 random bits. */
const drawn = (seed: number, epoch: number, round: number, i: number): number =>
  threefry(seed, epoch ^ placeOfData, i, round) >>> 0;
/** Tells the random numbers of the data from those of the model, which have places of their own. */
const placeOfData = 0x726f7773;

/** Where in each stream the batch of a step begins. */
export const streamPosition = (text: Dataset, B: number, T: number, step: number): number =>
  text.pairs
    ? (step * B) % pairsOf(text, "training").starts.length
    : (step * T) % (Math.floor(text.training.length / B) - T);

/**
 * Batches in which each token but the first, and with `starts` the first of each document, is a target once, unless the loss does not count it. Tokens are cut
 * into B streams like the training data; the last rows are padded.
 */
export function* evaluationBatches(
  tokens: TokenText,
  B: number,
  T: number,
  starts: Float64Array | null = null,
): Generator<Batch> {
  const targets = tokens.length - 1;
  const length = Math.ceil(targets / B);
  for (let from = 0; from < length; from += T) {
    yield batch(tokens, starts, B, T, (row) => {
      const end = Math.min((row + 1) * length, targets);
      return [Math.min(row * length + from, end), Math.min(row * length + from + T, end)];
    });
  }
}

/** `range`: which tokens a row reads; each one's target is the token after it, with `starts` of the same document. */
function batch(
  all: TokenText,
  starts: Float64Array | null,
  B: number,
  T: number,
  range: (row: number) => [from: number, to: number],
): Batch {
  const tokens = new Float64Array(B * T);
  const since = new Float64Array(B * T);
  const targets = new Float64Array(B * T).fill(-1);
  let counted = 0;
  for (let row = 0; row < B; row++) {
    const [from, to] = range(row);
    const read = all.read(from, Math.min(to + 1, all.length));
    let [begun, document] = [starts ? countBelow(starts, from + 1) : 0, 0];
    for (let i = from, at = row * T; i < to; i++, at++) {
      const [token = 0, next = 0] = [read[i - from], read[i - from + 1]];
      const ends = starts?.[begun] === i + 1;
      tokens[at] = tokenOf(token);
      since[at] = document;
      if (isTarget(next) && !ends) {
        targets[at] = next;
        counted += 1;
      }
      if (ends) [begun, document] = [begun + 1, i + 1 - from];
    }
  }
  const tensor = (values: Float64Array): Tensor => fromNumbers("i32", [B, T], values);
  const found = { tokens: tensor(tokens), targets: tensor(targets), count: counted };
  return starts ? { ...found, since: tensor(since) } : found;
}

/** Losses in nats a byte, on the held-out part but for its first byte, of models that count bytes of the training part, of its first GiB. */
export interface CountedLosses {
  /** Of a model that knows how often each byte is. */
  readonly unigram: number;
  /** Of one that knows how often each byte follows another. */
  readonly bigram: number;
}
/** With 0.01 added to each count. Null unless the data is bytes. */
export function countedLosses({ training, heldOut }: Dataset): CountedLosses | null {
  if (!training.isBytes) return null;
  const text = training.subarray(0, Math.min(training.length, mostInMemory));
  const counts = new Float64Array(65536);
  eachPair(text, (a, b) => {
    counts[a * 256 + b] = (counts[a * 256 + b] ?? 0) + 1;
  });
  const first = text.read(0, 1)[0];
  const counted = (b: number): number =>
    sum(fromTo(0, 256).map((a) => counts[a * 256 + b] ?? 0)) + (b === first ? 1 : 0);
  const single = Float64Array.from({ length: 256 }, (_, b) => counted(b) + 0.01);
  const pairs = counts.map((n) => n + 0.01);
  const rows = Float64Array.from({ length: 256 }, (_, a) => sum(pairs.subarray(a * 256, a * 256 + 256)));
  const all = sum(single);
  const nats = { unigram: 0, bigram: 0 };
  eachPair(heldOut, (a, b) => {
    nats.unigram -= Math.log((single[b] ?? 0) / all);
    nats.bigram -= Math.log((pairs[a * 256 + b] ?? 0) / (rows[a] ?? 0));
  });
  const count = Math.max(1, heldOut.length - 1);
  return { unigram: nats.unigram / count, bigram: nats.bigram / count };
}
function eachPair(bytes: TokenText, found: (a: number, b: number) => void): void {
  let before: number | undefined;
  for (const piece of bytes.pieces())
    for (const byte of piece) {
      if (before !== undefined) found(before, byte);
      before = byte;
    }
}
