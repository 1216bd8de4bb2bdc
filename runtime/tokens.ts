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

/** Refuses tokens that the model would take for none. `among`: how many it knows, if it looks them up; `what` holds the tokens. */
export function requireKnown(tokens: ArrayLike<number>, among: number | undefined, what: string): void {
  if (among === undefined) return;
  const unknown = Array.prototype.find.call(tokens, (token: number) => token >= among) as number | undefined;
  if (unknown === undefined) return;
  throw new Problem(
    `${what} holds the token ${unknown}, and the model's tokens are 0 to ${among - 1}`,
    "bytes need a vocabulary of 256 (`V` in examples/gpt-moe.moe); give the model more tokens, or other text",
  );
}

export const codecs = { bytes, ids } as const;
