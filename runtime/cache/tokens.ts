// The cache of encoded texts. A file holds, as little-endian 32-bit numbers, the tokens of one text, how many each of its documents has, and how many these are;
// then the SHA-256 of all of these. Its name is a hash of everything that determines them: this format, the text, the tokenizer's files, moec's own code, and
// Node's regular expressions and Unicode tables.
import { createHash } from "node:crypto";
import { Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import { sum } from "../../compiler/types/numbers.ts";
import { readInto, requireBufferSize, sha256, splitBytes } from "../storage/files.ts";
import { FileTokens, type Part, TokenText } from "../storage/token-text.ts";
import { isJsonLines } from "../tokenizer/documents.ts";
import { encodeFile, type HowToEncode } from "../tokenizer/encode-file.ts";
import { type Bytes, type Codec, type Documents, type Encoded, joinDocuments, joinStarts } from "../tokens.ts";
import { type CacheFile, CacheFolder, cacheFolder, gibibyte } from "./folder.ts";
import { buildHash } from "./plans.ts";

/** `encoding` is called with the progress in each file: of the tokenizer, if its tokens are not in the cache, or of reading a large one. */
export interface EncodingOptions extends HowToEncode {
  /** Called with messages that the user should see but need not act on. */
  readonly warn?: ((line: string) => void) | undefined;
  /** Whether tokens are held in memory; else they are read from files. Default: those of data of up to 1 GiB (`mostInMemory`). */
  readonly inMemory?: boolean | undefined;
}
/** A part of each name: another number, and no file of an earlier format is found. */
const format = 3;
/** In bytes. Shorter texts are encoded in about a second. */
const leastKept = 2 ** 18;

/** The folder of the cache. `limit` in bytes; default: 4 GiB, or a tenth of the disk if that is more. */
export const tokenFolder = (root: string = cacheFolder(), limit?: number): CacheFolder =>
  new CacheFolder("tokens", root, limit ?? 4 * gibibyte, limit === undefined ? { share: 0.1 } : {});

export class TokenCache {
  readonly #compiler: string;
  readonly #open: () => CacheFolder;
  /** Files that are never deleted by this process: data that has many would lose the first of them to the last. */
  readonly #used = new Set<string>();

  /** `compiler`: a hash of moec's own code. If `open` throws a Problem, nothing is found or kept. */
  constructor(compiler: string, open: () => CacheFolder = tokenFolder) {
    this.#compiler = compiler;
    this.#open = open;
  }
  /** The documents of a file of training data: those that an earlier call has kept, or newly encoded ones. */
  async encodeFile(codec: Codec, file: Bytes, path: string, options: EncodingOptions): Promise<Documents<Part>> {
    const { warn, inMemory = true, pairs = false } = options;
    const { tokenizer, begin } = codec.config;
    if ((tokenizer === undefined && inMemory) || file.length < leastKept)
      return encodeInMemory(codec, file, path, options);
    const { node, unicode } = process.versions;
    const name = `${sha256(JSON.stringify([format, this.#compiler, node, unicode, tokenizer ?? codec.name, isJsonLines(path), ...(pairs ? [pairs] : []), ...(begin ? [begin] : []), sha256(file.pieces())]))}.tokens`;
    this.#used.add(name);
    const kept = attempt(() => this.#find(name, inMemory));
    if (kept) return kept;
    const failed = (why: string): void => warn?.(`the tokens of ${path} are made anew at the next start: ${why}`);
    if (!inMemory && (await this.#write(name, encodeFile(codec, file, path, options), failed))) {
      const found = attempt(() => this.#find(name, inMemory));
      if (found) return found;
    }
    const made = await encodeInMemory(codec, file, path, options);
    if (inMemory) await this.#write(name, [made], failed);
    return made;
  }
  /** Null if there are none or they are damaged. */
  #find(name: string, inMemory: boolean): Documents<Part> | null {
    const folder = this.#open();
    const path = folder.pathOf(name);
    const found = folder.readOpen(name, (file, bytes) =>
      withFileErrors(path, "read", () => readDocuments(path, file, bytes, inMemory)),
    );
    if (found !== null) folder.touch(name);
    return found;
  }
  /** Writes what is encoded as it comes. False once the cache cannot be written, which `failed` is told. What ends the encoding is thrown. */
  async #write(
    name: string,
    parts: Iterable<Encoded> | AsyncIterable<Encoded>,
    failed: (why: string) => void,
  ): Promise<boolean> {
    const folder = attempt(this.#open, failed);
    const file = folder && attempt(() => new TokenFile(folder.begin(name)), failed);
    if (!file) return false;
    try {
      for await (const part of parts) if (!attempt(() => file.add(part), failed)) return false;
      const end = (): boolean => {
        file.end();
        withFileErrors(folder.path, "write", () => folder.prune(name, this.#used));
        return true;
      };
      return attempt(end, failed) ?? false;
    } finally {
      file.close();
    }
  }
}
/** A file of the cache that is being written. */
class TokenFile {
  readonly #file: CacheFile;
  readonly #hash = createHash("sha256");
  readonly #places: Documents<{ readonly length: number }>[] = [];

  constructor(file: CacheFile) {
    this.#file = file;
  }
  add({ tokens, starts }: Encoded): true {
    this.#write(tokens);
    this.#places.push({ tokens: { length: tokens.length }, starts });
    return true;
  }
  end(): void {
    const starts = joinStarts(this.#places);
    const all = sum(this.#places.map(({ tokens }) => tokens.length));
    this.#write(Uint32Array.from(starts, (start, i) => (starts[i + 1] ?? all) - start));
    this.#write(Uint32Array.of(starts.length));
    this.#file.add(Buffer.from(this.#hash.digest("hex")));
    this.#file.end();
  }
  close(): void {
    this.#file.close();
  }
  #write(numbers: ArrayBufferView): void {
    for (const bytes of splitBytes(numbers)) {
      this.#hash.update(bytes);
      this.#file.add(bytes);
    }
  }
}
/** The documents of a file, with all tokens in memory. */
export async function encodeInMemory(
  codec: Codec,
  file: Bytes,
  path: string,
  how: HowToEncode,
): Promise<Documents<Int32Array>> {
  const parts: Encoded[] = [];
  for await (const part of encodeFile(codec, file, path, how)) parts.push(part);
  requireBufferSize(`the tokens of ${path}`, 4 * sum(parts.map(({ tokens }) => tokens.length)));
  return joinDocuments(parts);
}
/** The characters of a SHA-256. */
const sumLength = 64;
function readDocuments(path: string, file: number, bytes: number, inMemory: boolean): Documents<Part> | null {
  const count = (bytes - sumLength) / 4;
  if (count < 1 || !Number.isInteger(count)) return null;
  if (inMemory) requireBufferSize(path, bytes);
  const numbers = inMemory
    ? readInto(new Int32Array(count), file, 0)
    : FileTokens.ofNumbers(path, { format: "kept", at: 0, length: count });
  const all = new TokenText([numbers]);
  const wanted = readInto(Buffer.alloc(sumLength), file, 4 * count).toString("latin1");
  const end = count - 1 - (all.read(count - 1)[0] ?? 0);
  if (wanted !== sha256(all.pieces()) || end < 0) return null;
  let start = 0;
  const lengths = Uint32Array.from(all.read(end, count - 1));
  return {
    tokens: numbers.subarray(0, end),
    starts: Float64Array.from(lengths, (length) => (start += length) - length),
  };
}
/** The cache only saves time, so a Problem with it ends no training. */
function attempt<T>(work: () => T, failed: (why: string) => void = () => {}): T | null {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    failed(error.message);
    return null;
  }
}

/** The token cache of this user; null if moec runs from its sources, which may change meanwhile. */
export const ownTokens = (): TokenCache | null => (buildHash === null ? null : new TokenCache(buildHash));
