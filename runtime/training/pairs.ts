// Batches for a model with an encoder: each row is a pair, a source that it reads and an answer that it writes.
import { Problem } from "../../compiler/diagnostic.ts";
import { sizeFlagText } from "../../compiler/flag-text.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import type { Tensor } from "../executable/executable.ts";
import type { TokenText } from "../storage/token-text.ts";
import { fromNumbers } from "../tensor.ts";
import { isTarget, type Tokens, tokenOf } from "../tokens.ts";

/** Documents each of which is a source, whose tokens are no targets, and an answer; `start` is what a decoder begins with. */
export interface PairText {
  readonly tokens: TokenText;
  readonly starts: Float64Array;
  readonly start: readonly number[];
}
/** A batch of B pairs: source is i32[B, U], tokens and targets are i32[B, T]; -1 is padding. */
interface PairBatch {
  readonly source: Tensor;
  readonly tokens: Tensor;
  readonly targets: Tensor;
  /** How many targets are not -1. */
  readonly count: number;
}
interface Pair {
  readonly source: Tokens;
  readonly answer: Tokens;
}
export function pairAt({ tokens, starts }: Pick<PairText, "tokens" | "starts">, i: number): Pair {
  const all = tokens.read(starts[i] ?? 0, starts[i + 1] ?? tokens.length);
  const first = all.findIndex(isTarget);
  const cut = first < 0 ? all.length : first;
  return { source: all.subarray(0, cut), answer: all.subarray(cut) };
}
/** The most tokens of a source, and of a row that holds an answer and all but one of those that it begins with. */
export function longestPair(text: PairText): Record<"source" | "answer", number> {
  let [source, answer] = [0, 1];
  for (let i = 0; i < text.starts.length; i++) {
    const pair = pairAt(text, i);
    [source, answer] = [Math.max(source, pair.source.length), Math.max(answer, pair.answer.length)];
  }
  return { source, answer: answer + text.start.length - 1 };
}
/**
 * The U of batches that hold all sources: a power of two, at most `most`, the header's `Source`. Throws Problem if a source is longer than that, or an answer than T.
 */
export function sourceSize(
  { source, answer }: Record<"source" | "answer", number>,
  T: number,
  most: number | null,
): number {
  if (answer > T)
    throw new Problem(
      `an answer has ${pluralize(answer, "token")} with what ends it, and a row has ${T}`,
      `give --length ${answer}, or leave out or cut what is longer`,
    );
  if (most !== null && source > most)
    throw new Problem(
      `a prompt has ${pluralize(source, "token")} with what ends it, and the model reads ${most}`,
      `give ${sizeFlagText("Source", source)}, or leave out or cut what is longer`,
    );
  return Math.min(2 ** Math.ceil(Math.log2(Math.max(source, 1))), most ?? Number.POSITIVE_INFINITY);
}
/** The batch of pairs with these numbers; one that there is not is a row of padding. */
export function pairBatch(text: PairText, pairs: readonly number[], U: number, T: number): PairBatch {
  const B = pairs.length;
  const [source, tokens, targets] = [U, T, T].map((n) => new Int32Array(B * n).fill(-1)) as [
    Int32Array,
    Int32Array,
    Int32Array,
  ];
  let count = 0;
  for (const [row, i] of pairs.entries()) {
    if (i >= text.starts.length) continue;
    const pair = pairAt(text, i);
    source.set(pair.source.map(tokenOf), row * U);
    tokens.set([...text.start, ...pair.answer.subarray(0, -1)], row * T);
    targets.set(pair.answer, row * T + text.start.length - 1);
    count += pair.answer.length;
  }
  const tensor = (values: Int32Array, n: number): Tensor => fromNumbers("i32", [B, n], values);
  return { source: tensor(source, U), tokens: tensor(tokens, T), targets: tensor(targets, T), count };
}
/** All pairs in order, B at a time. */
export function* pairBatches(text: PairText, B: number, U: number, T: number): Generator<PairBatch> {
  for (let from = 0; from < text.starts.length; from += B) {
    const pairs = Array.from({ length: B }, (_, row) => from + row);
    yield pairBatch(text, pairs, U, T);
  }
}
