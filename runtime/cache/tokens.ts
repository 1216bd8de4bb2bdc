// The cache of encoded texts. A file holds, as little-endian 32-bit numbers, the tokens of one text, where its documents begin, and how many these are;
// then the SHA-256 of all of these. Its name is a hash of everything that determines them: this format, the text, the tokenizer's files, moec's own code, and
// Node's regular expressions and Unicode tables.
import { Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import { readInto, requireBufferSize, sha256, splitBytes } from "../storage/files.ts";
import { encodeFile as encodeWith, isJsonLines } from "../tokenizer/documents.ts";
import type { Codec, Documents, Progress } from "../tokens.ts";
import { CacheFolder, cacheFolder, gibibyte } from "./folder.ts";
import { buildHash } from "./plans.ts";

export interface EncodingOptions {
  /** Called with the progress of the tokenizer in each file whose tokens are not in the cache. */
  readonly encoding?: Progress | undefined;
  /** Called with messages that the user should see but need not act on. */
  readonly warn?: ((line: string) => void) | undefined;
  /** Whether documents are pairs of a source and an answer, for a model with an encoder. */
  readonly pairs?: boolean | undefined;
}
/** A part of each name: another number, and no file of an earlier format is found. */
const format = 2;
/** In bytes. Shorter texts are encoded in about a second. */
const leastKept = 2 ** 18;

/** The folder of the cache. `limit` in bytes; the default is as much as one array of Node 20 holds. */
export const tokenFolder = (root: string = cacheFolder(), limit: number = 4 * gibibyte): CacheFolder =>
  new CacheFolder("tokens", root, limit);

export class TokenCache {
  readonly #compiler: string;
  readonly #open: () => CacheFolder;

  /** `compiler`: a hash of moec's own code. If `open` throws a Problem, nothing is found or kept. */
  constructor(compiler: string, open: () => CacheFolder = tokenFolder) {
    this.#compiler = compiler;
    this.#open = open;
  }
  /** The documents of a file of training data: those that an earlier call has kept, or newly encoded ones. */
  encodeFile(
    codec: Codec,
    file: Uint8Array,
    path: string,
    { encoding, warn, pairs = false }: EncodingOptions,
  ): Documents<Int32Array> {
    const how = { encoding, pairs };
    const { tokenizer, begin } = codec.config;
    if (tokenizer === undefined || file.length < leastKept) return encodeWith(codec, file, path, how);
    const { node, unicode } = process.versions;
    const name = `${sha256(JSON.stringify([format, this.#compiler, node, unicode, tokenizer, isJsonLines(path), ...(pairs ? [pairs] : []), ...(begin ? [begin] : []), sha256([file])]))}.tokens`;
    const kept = attempt(() => this.#find(name));
    if (kept) return kept;
    const made = encodeWith(codec, file, path, how);
    attempt(
      () => this.#keep(name, made),
      (why) => warn?.(`the tokens of ${path} are made anew at the next start: ${why}`),
    );
    return made;
  }
  /** Null if there are none or they are damaged. */
  #find(name: string): Documents<Int32Array> | null {
    const folder = this.#open();
    const found = folder.readOpen(name, (file, bytes) =>
      withFileErrors(folder.pathOf(name), "read", () => readDocuments(folder.pathOf(name), file, bytes)),
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
      folder.prune(name);
    });
  }
}
/** The characters of a SHA-256. */
const sumLength = 64;
function readDocuments(path: string, file: number, bytes: number): Documents<Int32Array> | null {
  const count = (bytes - sumLength) / 4;
  if (count < 1 || !Number.isInteger(count)) return null;
  requireBufferSize(path, bytes);
  const all = readInto(new Int32Array(count), file, 0);
  const sum = readInto(Buffer.alloc(sumLength), file, 4 * count);
  const end = count - 1 - (all[count - 1] ?? 0);
  if (sum.toString("latin1") !== sha256(splitBytes(all)) || end < 0) return null;
  return { tokens: all.subarray(0, end), starts: Float64Array.from(Uint32Array.from(all.subarray(end, count - 1))) };
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
