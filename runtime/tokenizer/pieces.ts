// A tokenizer of the library that encodes each piece of a text alone, and keeps what the piece gave: most pieces come again.
import type { Tokenizer as Library } from "@huggingface/tokenizers";
import type { Part, TokenizerFile, TokenizerJson } from "./file.ts";
import { flat, leftAndRight } from "./pre-tokenizer.ts";

interface Package {
  readonly Tokenizer: typeof Library;
}
type PreTokenizer = (text: string) => string[];

/** `pre`: a pre-tokenizer that the library runs exactly. */
export function openLibrary(bundle: Package, { json, config }: TokenizerFile, pre: Part | null): Library {
  const stages = flat(pre, "pretokenizers");
  const last = stages.at(-1);
  // what writes bytes as letters splits nothing, and takes longer than to find a piece again
  const bytes = last?.type === "ByteLevel" && last["use_regex"] === false ? last : null;
  const head = bytes ? stages.slice(0, -1) : stages;
  const library = new bundle.Tokenizer({ ...json, pre_tokenizer: sequence(head) }, config);
  const splits = head.some((stage) => stage.type !== "Metaspace" || stage["split"] !== false);
  keepPieces(library, {
    bytes: bytes && preTokenizerOf(bundle, bytes),
    cut: splits || bytes ? (piece) => [piece] : cutBetweenMerges(json.model),
  });
  return library;
}
/** One without a tokenizer around it: the package's types lack it. */
function preTokenizerOf(bundle: Package, part: Part): PreTokenizer {
  const model = { type: "BPE", vocab: {}, merges: [] };
  const none = { normalizer: null, post_processor: null, decoder: null, added_tokens: [] };
  return new bundle.Tokenizer({ ...none, model, pre_tokenizer: part }, {}).pre_tokenizer as PreTokenizer;
}
const sequence = (pretokenizers: readonly Part[]): Part | null =>
  pretokenizers.length === 0 ? null : { type: "Sequence", pretokenizers };

/** How many pieces are kept, and of how many characters at most. */
const [mostKept, longestKept] = [2 ** 18, 64];
interface Pieces {
  /** The last step before the model; null if there is none. */
  readonly bytes: PreTokenizer | null;
  /** Cuts further what a pre-tokenizer left whole. */
  readonly cut: (piece: string) => readonly string[];
}
function keepPieces({ model }: Library, { bytes, cut }: Pieces): void {
  if (!model) return;
  const encode = model.encode.bind(model) as (pieces: readonly string[]) => string[];
  const kept = new Map<string, readonly string[]>();
  const tokensOf = (piece: string): readonly string[] => {
    const found = kept.get(piece);
    if (found) return found;
    const own = copied(piece);
    const made = encode(bytes ? bytes(own) : [own]);
    if (own.length > longestKept) return made;
    if (kept.size >= mostKept) kept.clear();
    kept.set(own, made);
    return made;
  };
  model.encode = (pieces: readonly string[]) => {
    const tokens: string[] = [];
    for (const whole of pieces) for (const piece of cut(whole)) for (const token of tokensOf(piece)) tokens.push(token);
    return tokens;
  };
}
/** The same characters; a slice of a long text would keep all of it in memory. */
const copied = (text: string): string => Buffer.from(text, "utf16le").toString("utf16le");

/** Cuts a text between characters that no merge joins; the whole text if that is not how its tokens are made. */
function cutBetweenMerges(model: TokenizerJson["model"]): Pieces["cut"] {
  const suffixes = [model["end_of_word_suffix"], model["continuing_subword_suffix"], model["ignore_merges"]];
  if (model.type !== "BPE" || suffixes.some(Boolean)) return (text) => [text];
  const joined = joinedBy(model.merges.map(leftAndRight));
  return (text) => {
    const pieces: string[] = [];
    let from = 0;
    for (let at = 1; at < text.length; at++) {
      if (joined(text.charCodeAt(at - 1), text.charCodeAt(at))) continue;
      pieces.push(text.slice(from, at));
      from = at;
    }
    if (from < text.length) pieces.push(text.slice(from));
    return pieces;
  };
}
/** Whether the left side of some merge ends with the first of two UTF-16 units, and its right side begins with the second. */
function joinedBy(merges: readonly (readonly [string, string])[]): (first: number, second: number) => boolean {
  const found = merges.map(([left, right]) => [left.charCodeAt(left.length - 1), right.charCodeAt(0)] as const);
  const places = new Int32Array(2 ** 16).fill(-1);
  const units = [...new Set(found.flat())];
  for (const [place, unit] of units.entries()) places[unit] = place;
  const pairs = new Uint8Array(units.length ** 2);
  for (const [first, second] of found) pairs[(places[first] ?? 0) * units.length + (places[second] ?? 0)] = 1;
  return (first, second) => {
    if (isLowSurrogate(second)) return true;
    const [row, column] = [places[first] ?? -1, places[second] ?? -1];
    return row >= 0 && column >= 0 && pairs[row * units.length + column] === 1;
  };
}
const isLowSurrogate = (unit: number): boolean => (unit & 0xfc00) === 0xdc00;
