// Reads files of text, and of token numbers, as tokens. Large ones stay in their files: bytes and NumPy's numbers in the user's, others in the cache's.
import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import { idsFlagText, tokenizerFlagText } from "../../compiler/flag-text.ts";
import { sum } from "../../compiler/types/numbers.ts";
import { type EncodingOptions, encodeInMemory, type TokenCache } from "../cache/tokens.ts";
import { cores } from "../machine.ts";
import { readBytes } from "../storage/files.ts";
import { bytesInMemory, bytesOfFile, FileTokens, type Part, TokenText } from "../storage/token-text.ts";
import { isJsonLines } from "../tokenizer/documents.ts";
import { isNumpy, openNumpy } from "../tokenizer/numpy.ts";
import { type Codec, type Documents, joinStarts, oneDocument, type Tokens } from "../tokens.ts";

/** Files of a text, with their size and SHA-256. */
export interface DataFiles {
  readonly files: readonly string[];
  readonly bytes: number;
  readonly hash: string;
}
export interface Text extends DataFiles, Documents<TokenText> {}
/** In bytes of all files. Larger data stays in its files. */
export const mostInMemory = 2 ** 30;
/** Of threads that encode a text: each takes some 200 MB, and more would wait for the one that reads it. */
const mostThreads = 32;

/** The text of all files, one after the other. */
export async function readTexts(
  files: readonly string[],
  codec: Codec,
  options: EncodingOptions,
  cache: TokenCache | null,
): Promise<Text> {
  const plain = options.pairs ? files.find((path) => !isJsonLines(path)) : undefined;
  if (plain !== undefined) throw noPairs(plain);
  const size = sum(files.map((path) => withFileErrors(path, "read", () => statSync(path).size)));
  const threads = Math.min(options.threads ?? mostThreads, cores(), mostThreads);
  const how = { ...options, threads, inMemory: options.inMemory ?? size <= mostInMemory };
  const hash = createHash("sha256");
  let bytes = 0;
  const add: Add = (piece) => {
    hash.update(piece);
    bytes += piece.byteLength;
  };
  const isPlain = codec.unit === "byte" && files.every(isText);
  const texts: Documents<Part>[] = [];
  for (const path of files)
    if (isNumpy(path)) texts.push(readNumbers(path, codec, how, add));
    else texts.push(isPlain ? readPlain(path, how, add) : await readEncoded(path, codec, how, cache, add));
  const tokens = new TokenText(texts.map((text) => text.tokens));
  return { files, tokens, starts: joinStarts(texts), bytes, hash: hash.digest("hex") };
}
/** Whether a file is a text, all of which the model reads. */
export const isText = (path: string): boolean => !isJsonLines(path) && !isNumpy(path);
/** Is given all bytes of a file, in order. */
type Add = (piece: Tokens) => void;
/** A pipe is read once, so what comes of it is in memory. */
const staysInFile = (path: string, { inMemory }: EncodingOptions): boolean => !inMemory && statSync(path).isFile();
/** A text whose tokens are its bytes. */
function readPlain(path: string, { inMemory, encoding }: EncodingOptions, add: Add): Documents<Part> {
  const tokens = staysInFile(path, { inMemory }) ? FileTokens.ofBytes(path) : readBytes(path);
  let done = 0;
  for (const piece of new TokenText([tokens]).pieces()) {
    if (!inMemory) encoding?.(done, tokens.length);
    add(piece);
    done += piece.length;
  }
  return oneDocument(tokens);
}
function readNumbers(path: string, codec: Codec, { inMemory }: EncodingOptions, add: Add): Documents<Part> {
  if (codec.unit === "byte")
    throw new Problem(
      `${path} holds token numbers, and tokens are bytes`,
      `give ${idsFlagText}, or by ${tokenizerFlagText} the tokenizer that made them`,
    );
  const tokens = openNumpy(path);
  for (const piece of new TokenText([FileTokens.ofBytes(path)]).pieces()) add(piece);
  return oneDocument(inMemory ? tokens.read() : tokens);
}
function readEncoded(
  path: string,
  codec: Codec,
  options: EncodingOptions,
  cache: TokenCache | null,
  add: Add,
): Promise<Documents<Part>> {
  const file = staysInFile(path, options) ? bytesOfFile(path) : bytesInMemory(readBytes(path));
  for (const piece of file.pieces()) add(piece);
  return cache ? cache.encodeFile(codec, file, path, options) : encodeInMemory(codec, file, path, options);
}
const noPairs = (path: string): Problem =>
  new Problem(
    `${path} is a text, and the model reads a prompt and writes an answer`,
    'give files whose names end in .jsonl, and whose lines are {"prompt": "..", "completion": ".."}',
  );
