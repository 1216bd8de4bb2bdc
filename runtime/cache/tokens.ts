// The cache of encoded texts. A file holds, as little-endian 32-bit numbers, the tokens of one text, where its documents begin, and how many these are;
// then the SHA-256 of all of these. Its name is a hash of everything that determines them: this format, the text, the tokenizer's files, moec's own code, and
// Node's regular expressions and Unicode tables.
import { Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import { readInto, requireBufferSize, sha256, splitBytes } from "../storage/files.ts";
import { FileTokens, type Part, TokenText } from "../storage/token-text.ts";
import { encodeFile as encodeWith, isJsonLines } from "../tokenizer/documents.ts";
import type { Codec, Documents, Progress } from "../tokens.ts";
import { CacheFolder, cacheFolder, gibibyte } from "./folder.ts";
import { buildHash } from "./plans.ts";

export interface EncodingOptions {
  /** Called with the progress in each file: of the tokenizer, if its tokens are not in the cache, or of reading a large one. */
  readonly encoding?: Progress | undefined;
  /** Called with messages that the user should see but need not act on. */
  readonly warn?: ((line: string) => void) | undefined;
  /** Whether tokens are held in memory; else they are read from files. Default: those of data of up to 1 GiB (`mostInMemory`). */
  readonly inMemory?: boolean | undefined;
  /** Whether documents are pairs of a source and an answer, for a model with an encoder. */
  readonly pairs?: boolean | undefined;
}
/** A part of each name: another number, and no file of an earlier format is found. */
const format = 2;
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
  encodeFile(codec: Codec, file: Uint8Array, path: string, options: EncodingOptions): Documents<Part> {
    const { encoding, warn, inMemory = true, pairs = false } = options;
    const how = { encoding, pairs };
    const { tokenizer, begin } = codec.config;
    if ((tokenizer === undefined && inMemory) || file.length < leastKept) return encodeWith(codec, file, path, how);
    const { node, unicode } = process.versions;
    const name = `${sha256(JSON.stringify([format, this.#compiler, node, unicode, tokenizer ?? codec.name, isJsonLines(path), ...(pairs ? [pairs] : []), ...(begin ? [begin] : []), sha256([file])]))}.tokens`;
    this.#used.add(name);
    const kept = attempt(() => this.#find(name, inMemory));
    if (kept) return kept;
    const made = encodeWith(codec, file, path, how);
    attempt(
      () => this.#keep(name, made),
      (why) => warn?.(`the tokens of ${path} are made anew at the next start: ${why}`),
    );
    return (inMemory ? null : attempt(() => this.#find(name, inMemory))) ?? made;
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
  #keep(name: string, { tokens, starts }: Documents<Int32Array>): void {
    const folder = this.#open();
    const parts = [tokens, Uint32Array.from(starts), Uint32Array.of(starts.length)].flatMap((part) => [
      ...splitBytes(part),
    ]);
    withFileErrors(folder.path, "write", () => {
      folder.write(name, [...parts, Buffer.from(sha256(parts))]);
      folder.prune(name, this.#used);
    });
  }
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
  return { tokens: numbers.subarray(0, end), starts: Float64Array.from(Uint32Array.from(all.read(end, count - 1))) };
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
