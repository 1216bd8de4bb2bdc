// Codecs between text and tokens: bytes, token numbers, or a tokenizer (tokenizer/codec.ts).
import { Problem } from "../compiler/diagnostic.ts";
import { idsFlagText, sizeFlagText } from "../compiler/flag-text.ts";

/** Everything in which the ways to read and write tokens differ. */
export interface Codec {
  readonly name: "bytes" | "ids" | "tokenizer";
  readonly unit: "byte" | "token";
  /** What config.json records of the codec: `tokenizer` is the SHA-256 of its files; `opening` replaces the codec's own encoding of an empty text. */
  readonly config: {
    /** The tokens that a decoder behind an encoder begins with. */
    readonly start?: readonly number[] | undefined;
    /** The tokens that begin what an encoder reads, where these are others than the tokenizer's. */
    readonly begin?: readonly number[] | undefined;
    readonly ids?: true | undefined;
    readonly tokenizer?: string | undefined;
    readonly opening?: readonly number[] | undefined;
  };
  /** Files, by name, to be copied to the run's folder. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** The size of the tokenizer's vocabulary; null for bytes and token numbers. */
  readonly vocabularySize: number | null;
  /** The token that ends a text; null if there is none. */
  readonly endToken: number | null;
  /** Encodes a prompt; at least one token, even for an empty text. */
  encode(text: string): number[];
  /** The number of a token by its name; null if there is none. */
  named(token: string): number | null;
  /** The tokens of a text, in order, as pieces of its bytes arrive. `encode` is given the parts that take long. */
  encodeText(pieces: Iterable<Uint8Array>, path: string, encode: EncodePart): Iterable<Encoded | Promise<Encoded>>;
  /** How documents are encoded; null for token numbers, which are no text. */
  readonly documents: DocumentCodec | null;
  /** Starts so many threads that encode as this codec does; null if it is too fast to need any, or they cannot be started. */
  readonly openThreads: ((count: number) => EncodingThreads) | null;
  /** A decoder of the tokens that follow this prompt. */
  decoder(prompt: ArrayLike<number>): Decoder;
}
/** What came of a part of a file. */
export type Encoded = Documents<Int32Array>;
/** A part of a file that is encoded apart from the others: a text with no document in it, or lines that hold documents. `path` is for errors. */
export type FilePart = { readonly path: string } & ({ readonly text: string } | LinesPart);
export interface LinesPart {
  readonly lines: readonly string[];
  /** The number of the first, from 1 on. */
  readonly first: number;
  /** What comes before each document. */
  readonly begin: readonly number[];
  /** Whether each line is a pair of a source and an answer. */
  readonly pairs: boolean;
}
export type EncodePart = (part: FilePart) => Encoded | Promise<Encoded>;
export interface EncodingThreads {
  readonly encode: (part: FilePart) => Promise<Encoded>;
  close(): Promise<void>;
}
/** Encodes texts that begin and end, such as conversations. */
export interface DocumentCodec {
  /** What comes before each document, and after it. */
  readonly begin: readonly number[];
  readonly end: readonly number[];
  /** Null if the tokenizer has none. */
  readonly template: ChatTemplate | null;
  /** The tokens of a text, with nothing before or after. `where` names it in errors. */
  encode(text: string, where: string): readonly number[];
  /** Runs what encodes texts, which `about` begins, under a time limit. */
  limited<T>(about: string, run: () => T): T;
}
/** One message of a conversation. The template may read more of it. */
export interface Message {
  /** `system`, `user`, `assistant`, or what else the template knows. */
  readonly role: string;
  readonly content: string;
}
/** A text, or a conversation that the assistant is to go on with. */
export type Prompt = string | readonly Message[];
/** The text of a conversation, as the model reads it; with `opensReply` also what begins the assistant's next message. */
export type ChatTemplate = (messages: readonly Message[], opensReply: boolean) => string;

/** Tokens of data. One that is read, but is no target of the loss, is kept as `~token`, a negative number. */
export type Tokens = Uint8Array | Int32Array;
export const isTarget = (kept: number): boolean => kept >= 0;
export const tokenOf = (kept: number): number => (isTarget(kept) ? kept : ~kept);
/** Documents, one after the other. */
export interface Documents<T extends { readonly length: number } = Tokens> {
  readonly tokens: T;
  /** Where each begins, in order: places in bytes of any number. */
  readonly starts: Float64Array;
}
/** A file's bytes, which may be read in pieces again and again. */
export interface Bytes {
  readonly length: number;
  pieces(most?: number): Iterable<Uint8Array>;
}
/** A text as a single document. */
export const oneDocument = <T extends { readonly length: number }>(tokens: T): Documents<T> => ({
  tokens,
  starts: Float64Array.of(...(tokens.length > 0 ? [0] : [])),
});
/** Where the documents of several texts begin once these follow one another. */
export function joinStarts(texts: readonly Documents<{ readonly length: number }>[]): Float64Array {
  const all = new Float64Array(texts.reduce((sum, { starts }) => sum + starts.length, 0));
  let [count, at] = [0, 0];
  for (const { tokens, starts } of texts) {
    for (const start of starts) all[count++] = at + start;
    at += tokens.length;
  }
  return all;
}
export const joinDocuments = (texts: readonly Documents<Int32Array>[]): Documents<Int32Array> => ({
  tokens: joinTokens(texts.map(({ tokens }) => tokens)),
  starts: joinStarts(texts),
});
export function joinTokens(chunks: readonly Int32Array[]): Int32Array {
  const all = new Int32Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}
/** Called with how many bytes of a file are encoded, and how many there are. */
export type Progress = (done: number, of: number) => void;
/** Returns text as soon as its characters are complete; `end` returns the rest. */
export interface Decoder {
  push(token: number): string;
  end(): string;
}

const utf8 = (text: string): number[] => [...new TextEncoder().encode(text)];
/** Tokens are bytes of UTF-8. An empty text is a line break; invalid UTF-8 is decoded as U+FFFD. */
const bytes: Codec = {
  name: "bytes",
  unit: "byte",
  config: {},
  files: new Map(),
  vocabularySize: null,
  endToken: null,
  named: () => null,
  *encodeText(pieces) {
    for (const piece of pieces) yield oneDocument(Int32Array.from(piece));
  },
  openThreads: null,
  encode: (text) => utf8(text === "" ? "\n" : text),
  documents: { begin: [], end: utf8("\n"), template: null, encode: utf8, limited: (_, run) => run() },
  decoder: () => {
    const decoder = new TextDecoder("utf-8");
    return {
      push: (token) => decoder.decode(Uint8Array.of(byte(token)), { stream: true }),
      end: () => decoder.decode(),
    };
  },
};
function byte(token: number): number {
  if (token >= 0 && token <= 255) return token;
  throw new Problem(
    `the model made the token ${token}, which is not a byte`,
    `text is bytes: the model's vocabulary must be 256; ${idsFlagText} writes token numbers`,
  );
}

/** The same codec, but an empty text is encoded as `opening` (at least one token). */
export const withOpening = (codec: Codec, opening: readonly number[]): Codec => ({
  ...codec,
  config: { ...codec.config, opening },
  encode: (text) => (text === "" ? [...opening] : codec.encode(text)),
});

/** The same codec, with the tokens that a decoder behind an encoder begins with, where these are known. */
export const withStart = (codec: Codec, start: readonly number[] | undefined): Codec =>
  start === undefined ? codec : { ...codec, config: { ...codec.config, start } };
/** The same codec, with other tokens that begin what an encoder reads, where these are given. Token numbers have theirs already. */
export const withBegin = (codec: Codec, begin: readonly number[] | undefined): Codec =>
  begin === undefined || codec.documents === null
    ? codec
    : { ...codec, config: { ...codec.config, begin }, documents: { ...codec.documents, begin } };

/** Of a model with an encoder whose tokenizer has tokens for languages, their names: `eng_Latn`. Default: those of its files. */
export interface Languages {
  /** Of what the encoder reads. */
  readonly sourceLanguage?: string | undefined;
  /** Of what is written. */
  readonly targetLanguage?: string | undefined;
}
/** The same codec for pairs of these languages: that of the prompt begins it, that of the answer follows what the decoder begins with. */
export function withLanguages(codec: Codec, { sourceLanguage, targetLanguage }: Languages): Codec {
  const begun = sourceLanguage === undefined ? codec : withBegin(codec, [tokenNamed(codec, sourceLanguage)]);
  return targetLanguage === undefined ? begun : withStart(begun, startTokensOf(codec, targetLanguage));
}
/** Throws Problem if languages are given to a model without an encoder. */
export function requireEncoder({ sourceLanguage, targetLanguage }: Languages, encodes: boolean): void {
  if (encodes || (sourceLanguage ?? targetLanguage) === undefined) return;
  throw new Problem(
    "the model has no encoder, whose prompts and answers have languages",
    "leave the languages out, and say in the prompt what is to be written",
  );
}
/**
 * The tokens that a decoder behind an encoder begins with: those of the run's config, else what ends a text. With a `language`, the first of them and the token
 * of this name.
 */
export function startTokensOf(codec: Codec, language?: string): readonly number[] {
  const start = codec.config.start ?? codec.documents?.end;
  if (start !== undefined) return language === undefined ? start : [...start.slice(0, 1), tokenNamed(codec, language)];
  throw new Problem(
    "the model has an encoder, and nothing says which token its decoder begins with",
    'add `"start": [0]` to the config.json of the run, with that token\'s number in place of 0',
  );
}

/** The number of the token of a language, such as `fra_Latn`. */
export function tokenNamed(codec: Codec, name: string): number {
  const token = codec.named(name);
  if (token !== null) return token;
  throw new Problem(
    `the language ${name} is no token of the model's tokenizer`,
    "give the name that it has there, such as fra_Latn in NLLB's; if languages are no tokens, leave them out, and say them in the prompt",
  );
}
/** The token that ends a text; null: none. An answer (`answers`) to what an encoder read ends as in pairs, of bytes by a line end. */
export const endOfText = ({ endToken, documents }: Codec, answers: boolean): number | null =>
  endToken ?? (answers ? (documents?.end[0] ?? null) : null);

/** Texts are token numbers, separated by blanks or commas. */
const ids: Codec = {
  name: "ids",
  unit: "token",
  config: { ids: true },
  files: new Map(),
  vocabularySize: null,
  endToken: null,
  named: (token) => (/^\d{1,9}$/.test(token) ? Number(token) : null),
  *encodeText(pieces, path) {
    for (const piece of cutAfter(pieces, (byte) => blanks.has(byte))) yield oneDocument(tokenNumbers(piece, path));
  },
  openThreads: null,
  documents: null,
  encode: (text) => {
    const pieces = text.split(/[\s,]+/).filter((piece) => piece !== "");
    const wrong = pieces.find((piece) => !/^\d{1,9}$/.test(piece));
    if (wrong !== undefined || pieces.length === 0)
      throw new Problem(
        wrong === undefined ? "a prompt of token numbers is empty" : `\`${wrong}\` is not a token number`,
        "give whole numbers, as in `--prompt '5 12 7'` (in TypeScript `generate(\"5 12 7\")`)",
      );
    return pieces.map(Number);
  },
  decoder: () => ({ push: (token) => ` ${token}`, end: () => "" }),
};

/** The same bytes in pieces that end after such a byte, but for the last. */
export function* cutAfter(pieces: Iterable<Uint8Array>, isEnd: (byte: number) => boolean): Generator<Uint8Array> {
  let rest: Uint8Array[] = [];
  for (const piece of pieces) {
    const end = piece.findLastIndex(isEnd) + 1;
    if (end > 0) yield Buffer.concat([...rest, piece.subarray(0, end)]);
    rest = end > 0 ? [piece.subarray(end)] : [...rest, piece];
  }
  const last = Buffer.concat(rest);
  if (last.length > 0) yield last;
}
/** Parses all token numbers of a piece of a file. */
function tokenNumbers(file: Uint8Array, path: string): Int32Array {
  const found = new Int32Array(Math.ceil(file.length / 2));
  let [count, value, digits] = [0, 0, 0];
  for (let i = 0; i <= file.length; i++) {
    const byte = file[i] ?? blank;
    if (byte >= zero && byte < zero + 10 && digits < 9) {
      value = 10 * value + byte - zero;
      digits += 1;
    } else if (blanks.has(byte)) {
      if (digits > 0) found[count++] = value;
      [value, digits] = [0, 0];
    } else throw notANumber(file, i - digits, path);
  }
  return found.subarray(0, count);
}
const [blank, zero] = [32, 48];
const blanks: ReadonlySet<number> = new Set([blank, 9, 10, 13, 44]);
function notANumber(file: Uint8Array, at: number, path: string): Problem {
  const [word] = new TextDecoder().decode(file.subarray(at, at + 24)).split(/[\s,]/);
  return new Problem(
    `${path}: \`${word}\` is not a token number`,
    "with --ids, data is whole numbers with blanks or commas between: 5 12 7; without it, text",
  );
}

/** Throws Problem if a tokenizer has more tokens than the model. `vocabulary` as in `requireInVocabulary`. */
export function requireVocabulary({ vocabularySize }: Codec, vocabulary: number | undefined): void {
  if (vocabularySize === null || vocabulary === undefined || vocabularySize <= vocabulary) return;
  throw new Problem(
    `the tokenizer's numbers are 0 to ${vocabularySize - 1}, and the model's tokens are 0 to ${vocabulary - 1}`,
    `give the model as many, in examples/gpt-moe.moe by ${sizeFlagText("V", vocabularySize)}, or use the tokenizer that it was made for`,
  );
}
/**
 * Throws Problem if a token is outside the model's vocabulary. `vocabulary`: the vocabulary's size, undefined if the model does not look tokens up;
 * `what`: what holds the tokens, for the error.
 */
export function requireInVocabulary(tokens: ArrayLike<number>, vocabulary: number | undefined, what: string): void {
  if (vocabulary === undefined) return;
  let i = 0;
  while (i < tokens.length && tokenOf(tokens[i] ?? 0) < vocabulary) i++; // a loop: `find` takes twenty times as long
  const unknown = tokens[i];
  if (unknown === undefined) return;
  throw new Problem(
    `${what} holds the token ${tokenOf(unknown)}, and the model's tokens are 0 to ${vocabulary - 1}`,
    "bytes need a vocabulary of 256 (`V` in examples/gpt-moe.moe), a tokenizer's numbers one as large as its own; give the model more tokens, or other text",
  );
}
/** Throws Problem if a decoder's first tokens are not in its vocabulary. */
export function requireStart(start: ArrayLike<number>, vocabulary: number | undefined): void {
  const unknown = vocabulary === undefined ? undefined : Array.from(start).find((token) => token >= vocabulary);
  if (unknown === undefined) return;
  throw new Problem(
    `the decoder is to begin with the token ${unknown}, and the model's tokens are 0 to ${Number(vocabulary) - 1}`,
    'give one that it has by `"start"` in the config.json of the run',
  );
}

export const codecs = { bytes, ids } as const;
