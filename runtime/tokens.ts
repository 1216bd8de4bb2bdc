// Text and the tokens that a model reads and writes: bytes, token numbers, or a tokenizer's (tokenizer/codec.ts).
import { Problem } from "../compiler/diagnostic.ts";

/** One way to read tokens in text: all that differs between the ways. */
export interface Codec {
  readonly name: "bytes" | "ids" | "tokenizer";
  readonly unit: "byte" | "token";
  /** What config.json keeps of the way; `tokenizer` is the SHA-256 of its files, `opening` what an empty text is in place of the codec's own. */
  readonly asked: {
    readonly ids?: true | undefined;
    readonly tokenizer?: string | undefined;
    readonly opening?: readonly number[] | undefined;
  };
  /** What a run's folder keeps beside it, by name. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** How many tokens it knows; null where it cannot say. */
  readonly tokens: number | null;
  /** The token that ends a text. */
  readonly end: number | null;
  /** A prompt: at least one token, also of an empty text. */
  encode(text: string): number[];
  /** A file of data. */
  data(file: Uint8Array, path: string, progress?: Progress): Tokens;
  /** Of what follows a prompt. */
  decoder(prompt: ArrayLike<number>): Decoder;
}
export type Tokens = Uint8Array | Int32Array;
/** How many bytes of a file are done. */
export type Progress = (done: number, of: number) => void;
/** Gives text as soon as it is whole. */
export interface Decoder {
  push(token: number): string;
  end(): string;
}

/** A token is a byte of UTF-8. An empty text is a line break; what is not UTF-8 becomes U+FFFD. */
const bytes: Codec = {
  name: "bytes",
  unit: "byte",
  asked: {},
  files: new Map(),
  tokens: null,
  end: null,
  data: (file) => file,
  encode: (text) => [...new TextEncoder().encode(text === "" ? "\n" : text)],
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
    "text is bytes: the model's vocabulary must be 256; --ids writes token numbers",
  );
}

/** The same, but an empty text is `opening`: at least one token. */
export const opened = (codec: Codec, opening: readonly number[]): Codec => ({
  ...codec,
  asked: { ...codec.asked, opening },
  encode: (text) => (text === "" ? [...opening] : codec.encode(text)),
});

/** Token numbers with spaces or commas between. */
const ids: Codec = {
  name: "ids",
  unit: "token",
  asked: { ids: true },
  files: new Map(),
  tokens: null,
  end: null,
  data: tokenNumbers,
  encode: (text) => {
    const pieces = text.split(/[\s,]+/).filter((piece) => piece !== "");
    const wrong = pieces.find((piece) => !/^\d{1,9}$/.test(piece));
    if (wrong !== undefined || pieces.length === 0)
      throw new Problem(
        wrong === undefined ? "a prompt of token numbers is empty" : `\`${wrong}\` is not a token number`,
        "give whole numbers: --prompt '5 12 7'",
      );
    return pieces.map(Number);
  },
  decoder: () => ({ push: (token) => ` ${token}`, end: () => "" }),
};

/** All token numbers of a file. */
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
    } else throw noNumber(file, i - digits, path);
  }
  return found.subarray(0, count);
}
const [blank, zero] = [32, 48];
const blanks: ReadonlySet<number> = new Set([blank, 9, 10, 13, 44]);
function noNumber(file: Uint8Array, at: number, path: string): Problem {
  const [word] = new TextDecoder().decode(file.subarray(at, at + 24)).split(/[\s,]/);
  return new Problem(
    `${path}: \`${word}\` is not a token number`,
    "with --ids, data is whole numbers with blanks or commas between: 5 12 7; without it, text",
  );
}

/** Refuses a tokenizer that has more tokens than the model. `among` as in `requireKnown`. */
export function requireRoomFor({ tokens }: Codec, among: number | undefined): void {
  if (tokens === null || among === undefined || tokens <= among) return;
  throw new Problem(
    `the tokenizer's numbers are 0 to ${tokens - 1}, and the model's tokens are 0 to ${among - 1}`,
    `give the model as many (\`--set V=${tokens}\` in examples/gpt-moe.moe), or use the tokenizer that it was made for`,
  );
}
/** Refuses tokens that the model would take for none. `among`: how many it knows, if it looks them up; `what` holds the tokens. */
export function requireKnown(tokens: ArrayLike<number>, among: number | undefined, what: string): void {
  if (among === undefined) return;
  const unknown = Array.prototype.find.call(tokens, (token: number) => token >= among) as number | undefined;
  if (unknown === undefined) return;
  throw new Problem(
    `${what} holds the token ${unknown}, and the model's tokens are 0 to ${among - 1}`,
    "bytes need a vocabulary of 256 (`V` in examples/gpt-moe.moe), a tokenizer's numbers one as large as its own; give the model more tokens, or other text",
  );
}

export const codecs = { bytes, ids } as const;
