// Tokens of data: in memory, or in files of which only what is asked for is read, so that data may be larger than memory.
import { closeSync, fstatSync, openSync } from "node:fs";
import { Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import type { Bytes, Tokens } from "../tokens.ts";
import { readInto } from "./files.ts";

/** An open file, which is closed when nothing refers to it any more. */
class OpenFile {
  readonly path: string;
  readonly bytes: number;
  readonly #file: number;
  /** When it was last changed; null if nothing changes it. */
  readonly #written: number | null;

  constructor(path: string, mayChange: boolean) {
    this.path = path;
    this.#file = withFileErrors(path, "read", () => openSync(path, "r"));
    unreferenced.register(this, this.#file);
    const { size, mtimeMs } = fstatSync(this.#file);
    [this.bytes, this.#written] = [size, mayChange ? mtimeMs : null];
  }
  readInto<T extends ArrayBufferView>(array: T, position: number): T {
    if (this.#written !== null) this.#requireUnchanged(this.#written);
    return withFileErrors(this.path, "read", () => readInto(array, this.#file, position));
  }
  #requireUnchanged(written: number): void {
    const { size, mtimeMs } = fstatSync(this.#file);
    if (size === this.bytes && mtimeMs === written) return;
    throw new Problem(
      `${this.path} was changed while it was read`,
      "begin again: what is larger than memory stays in its files, which must stay as they are until its end",
    );
  }
}
const unreferenced = new FinalizationRegistry<number>((file) => closeSync(file));

/** The bytes of a user's file, which are read in pieces. To read them is a Problem once it has changed. */
export function bytesOfFile(path: string): Bytes {
  const file = new OpenFile(path, true);
  return bytesBy(file.bytes, (from, to) => file.readInto(new Uint8Array(to - from), from));
}
export const bytesInMemory = (bytes: Uint8Array): Bytes =>
  bytesBy(bytes.length, (from, to) => bytes.subarray(from, to));
const bytesBy = (length: number, read: (from: number, to: number) => Uint8Array): Bytes => ({
  length,
  *pieces(most = 1 << 20) {
    for (let from = 0; from < length; from += most) yield read(from, Math.min(from + most, length));
  },
});

/** How a file holds tokens: as bytes of text, as the cache keeps them, or as token numbers of a type of NumPy's. */
const arrays = {
  bytes: Uint8Array,
  kept: Int32Array,
  "|u1": Uint8Array,
  "<u2": Uint16Array,
  "<u4": Uint32Array,
  "<i4": Int32Array,
  "<i8": BigInt64Array,
} as const;
type Format = keyof typeof arrays;
export const isNumberFormat = (name: string): name is Exclude<Format, "bytes" | "kept"> =>
  Object.hasOwn(arrays, name) && name !== "bytes" && name !== "kept";

/** Tokens in a file. */
export class FileTokens {
  readonly length: number;
  readonly #file: OpenFile;
  readonly #format: Format;
  /** Where they begin, in bytes. */
  readonly #at: number;

  private constructor(file: OpenFile, { format, at, length }: { format: Format; at: number; length: number }) {
    [this.#file, this.#format, this.#at, this.length] = [file, format, at, length];
  }
  /** The bytes of a user's file. To read them is a Problem once it has changed. */
  static ofBytes(path: string): FileTokens {
    const file = new OpenFile(path, true);
    return new FileTokens(file, { format: "bytes", at: 0, length: file.bytes });
  }
  /** `length` numbers of a file, from byte `at` on. To read those of a user's file is a Problem once it has changed, as are numbers that are no tokens'. */
  static ofNumbers(path: string, place: { format: Exclude<Format, "bytes">; at: number; length: number }): FileTokens {
    const file = new OpenFile(path, place.format !== "kept");
    if (place.at + place.length * arrays[place.format].BYTES_PER_ELEMENT > file.bytes)
      throw new Problem(`${path} ends before its last number`, "write it again");
    return new FileTokens(file, place);
  }
  get isBytes(): boolean {
    return this.#format === "bytes";
  }
  subarray(from: number, to: number): FileTokens {
    const at = this.#at + from * arrays[this.#format].BYTES_PER_ELEMENT;
    return new FileTokens(this.#file, { format: this.#format, at, length: to - from });
  }
  read(): Tokens {
    const { length } = this;
    if (this.#format === "bytes") return this.#file.readInto(new Uint8Array(length), this.#at);
    if (this.#format === "kept") return this.#file.readInto(new Int32Array(length), this.#at);
    return tokenNumbers(this.#file.readInto(new arrays[this.#format](length), this.#at), this.#file.path);
  }
}
function tokenNumbers(found: ArrayLike<number | bigint>, path: string): Int32Array {
  const tokens = new Int32Array(found.length);
  for (let i = 0; i < tokens.length; i++) {
    const token = Number(found[i]);
    if (token < 0 || token > mostToken)
      throw new Problem(`${path} holds ${token}, which is no token number`, `they are 0 to ${mostToken}`);
    tokens[i] = token;
  }
  return tokens;
}
const mostToken = 999_999_999;
export type Part = Tokens | FileTokens;
const isBytes = (part: Part): boolean => (part instanceof FileTokens ? part.isBytes : part instanceof Uint8Array);
const inMemory = (part: Part): Tokens => (part instanceof FileTokens ? part.read() : part);

/** The tokens of several parts, one part after the other. */
export class TokenText {
  readonly length: number;
  /** Whether all tokens are bytes of plain text. */
  readonly isBytes: boolean;
  readonly #parts: readonly Part[];
  /** Where each part begins. */
  readonly #starts: Float64Array;

  constructor(parts: readonly Part[]) {
    this.#parts = parts;
    this.#starts = new Float64Array(parts.length);
    let length = 0;
    for (const [i, part] of parts.entries()) {
      this.#starts[i] = length;
      length += part.length;
    }
    [this.length, this.isBytes] = [length, parts.every(isBytes)];
  }
  /** Those at `from` and later, before `to`. Reads no file. */
  subarray(from: number, to: number = this.length): TokenText {
    const parts: Part[] = [];
    for (let i = Math.max(0, countBelow(this.#starts, from + 1) - 1); i < this.#parts.length; i++) {
      const [part, start] = [this.#parts[i], this.#starts[i] ?? 0];
      if (!part || start >= to) break;
      parts.push(part.subarray(Math.max(from - start, 0), Math.min(to - start, part.length)));
    }
    return new TokenText(parts);
  }
  /** The same as one array in memory. */
  read(from = 0, to: number = this.length): Tokens {
    const parts = this.subarray(from, to).#parts.map(inMemory);
    const [only = new Uint8Array(), ...more] = parts;
    if (more.length === 0) return only;
    const all = new (parts.every(isBytes) ? Uint8Array : Int32Array)(parts.reduce((sum, p) => sum + p.length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
  /** All tokens in order, as arrays of at most `most`. */
  *pieces(most = 1 << 20): Generator<Tokens> {
    for (let from = 0; from < this.length; from += most) yield this.read(from, Math.min(from + most, this.length));
  }
  /** Whether a token is there, as a target of the loss or not. */
  includes(token: number): boolean {
    for (const piece of this.pieces()) if (piece.includes(token) || piece.includes(~token)) return true;
    return false;
  }
}
/** How many of sorted numbers are below a bound. */
export function countBelow(sorted: Float64Array, bound: number): number {
  let [from, to] = [0, sorted.length];
  while (from < to) {
    const middle = (from + to) >>> 1;
    if ((sorted[middle] ?? 0) < bound) from = middle + 1;
    else to = middle;
  }
  return from;
}
