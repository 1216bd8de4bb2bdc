// Text and the tokens that a model reads and writes.
import { Problem } from "../compiler/diagnostic.ts";

export interface Codec {
  encode(text: string): number[];
  decoder(): Decoder;
}
/** Gives text as soon as it is whole. */
export interface Decoder {
  push(token: number): string;
  end(): string;
}

/** A token is a byte of UTF-8. An empty text is a line break; what is not UTF-8 becomes U+FFFD. */
const bytes: Codec = {
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

/** Token numbers with spaces or commas between. */
const ids: Codec = {
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
export function tokenNumbers(file: Uint8Array, path: string): Int32Array {
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
