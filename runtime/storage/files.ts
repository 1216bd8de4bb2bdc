// Reads and writes files of any size. Writing is atomic: to a temporary file beside, which is flushed and then renamed.
import { constants } from "node:buffer";
import { createHash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { StringDecoder } from "node:string_decoder";
import { Problem } from "../../compiler/diagnostic.ts";
import { hasErrorCode, withFileErrors } from "../../compiler/file-errors.ts";
import { readUnsized } from "../../compiler/read-file.ts";

/** The most bytes that are read, written or hashed in one call: Node takes no more than 2 GiB. */
const maxCallBytes = 1 << 30;
/** The bytes of an array in pieces that one call takes. Node 20 cannot view more than 4 GiB of them at once. */
export function* splitBytes(
  { buffer, byteOffset, byteLength }: ArrayBufferView,
  atOnce = maxCallBytes,
): Generator<Uint8Array> {
  for (let at = 0; at < byteLength; at += atOnce)
    yield new Uint8Array(buffer, byteOffset + at, Math.min(atOnce, byteLength - at));
}
/** Opens a file, or a folder, for `work` alone. */
export function withOpen<T>(path: string, flags: string, work: (file: number) => T, mode?: number): T {
  const file = openSync(path, flags, mode);
  try {
    return work(file);
  } finally {
    closeSync(file);
  }
}
/** The lines of a file of any size; the last may lack its line end. */
export function* readLines(path: string, atOnce = 1 << 20): Generator<string> {
  const file = withFileErrors(path, "read", () => openSync(path, "r"));
  const [chunk, decoder] = [new Uint8Array(atOnce), new StringDecoder("utf8")];
  const next = (): number => withFileErrors(path, "read", () => readSync(file, chunk));
  let rest = "";
  try {
    for (let n = next(); n > 0; n = next()) {
      const lines = (rest + decoder.write(Buffer.from(chunk.buffer, 0, n))).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
    }
  } finally {
    closeSync(file);
  }
  rest += decoder.end();
  if (rest !== "") yield rest;
}
/** Reads a whole file of up to the largest size of a buffer, which is more than `readFileSync` can read. */
export function readBytes(path: string): Uint8Array {
  const read = (file: number): Uint8Array => {
    const found = fstatSync(file);
    if (!found.isFile()) return readUnsized(path, file);
    requireBufferSize(path, found.size);
    return found.size > maxCallBytes ? readInto(new Uint8Array(found.size), file, 0) : readFileSync(file);
  };
  return withFileErrors(path, "read", () => withOpen(path, "r", read));
}
export function requireBufferSize(what: string, bytes: number): void {
  if (bytes > constants.MAX_LENGTH)
    throw new Problem(
      `${what} has ${bytes} bytes, and Node ${process.versions.node} holds ${constants.MAX_LENGTH} at once`,
      "give it as several files; Node 22 and later hold more at once",
    );
}
/** Fills an array with the bytes of an open file from `position` on. Returns the array. */
export function readInto<T extends ArrayBufferView>(array: T, file: number, position: number, atOnce?: number): T {
  let at = position;
  for (const piece of splitBytes(array, atOnce))
    for (let done = 0; done < piece.byteLength; ) {
      const got = readSync(file, piece, done, piece.byteLength - done, at);
      if (got === 0)
        throw new Problem("the file became shorter while it was read", "read it again when nothing writes it");
      done += got;
      at += got;
    }
  return array;
}
/** SHA-256 of a text, or of any number of bytes. */
export function sha256(content: string | Iterable<ArrayBufferView>): string {
  const hash = createHash("sha256");
  if (typeof content === "string") return hash.update(content).digest("hex");
  for (const chunk of content) for (const piece of splitBytes(chunk)) hash.update(piece);
  return hash.digest("hex");
}
/** SHA-256 of an open file of any size. */
export function sha256OfFile(file: number): string {
  const hash = createHash("sha256");
  const chunk = new Uint8Array(1 << 20);
  let at = 0;
  for (let n = readSync(file, chunk, { position: at }); n > 0; n = readSync(file, chunk, { position: at })) {
    hash.update(chunk.subarray(0, n));
    at += n;
  }
  return hash.digest("hex");
}

/**
 * Makes a folder and its missing parents; returns those that it made, outermost first. (Node's own `recursive` does not end below /proc, and reports
 * a read-only disk as a missing path.)
 */
export const makeFolder = (path: string, mode?: number): string[] =>
  withFileErrors(path, "make", () => makeParents(path, mode));
/** `again`: the parent has just been made, so that a second ENOENT is an error. */
function makeParents(path: string, mode: number | undefined, again = false): string[] {
  try {
    mkdirSync(path, { mode });
    return [path];
  } catch (error) {
    const above = dirname(path);
    if (hasErrorCode(error, "EEXIST") && statSync(path).isDirectory()) return [];
    if (!hasErrorCode(error, "ENOENT") || again) throw error;
    const made = existsSync(above) ? [] : makeParents(above, mode); // another process may have made it since
    return [...made, ...makeParents(path, mode, true)];
  }
}

/** Writes and flushes a file in place, not atomically: for a folder that is itself renamed when complete. */
export const writeFlushed = (path: string, chunks: Iterable<Uint8Array>, mode?: number): void =>
  writeTo(path, chunks, fsyncSync, mode);
/** Writes a file in place. After a power cut it may be empty or damaged. */
export const writeUnflushed = (path: string, chunks: Iterable<Uint8Array>, mode?: number): void =>
  writeTo(path, chunks, () => {}, mode);
/** `at`: where it is written, if that is only on the way to `path`, which errors name. */
function writeTo(
  path: string,
  chunks: Iterable<Uint8Array>,
  flush: (file: number) => void,
  mode?: number,
  at = path,
): void {
  const write = (file: number): void => {
    for (const chunk of chunks) writeAll(file, chunk);
    flush(file);
  };
  withFileErrors(path, "write", () => withOpen(at, "w", write, mode));
}
/** Writes all bytes at the end of what was written to an open file. */
export function writeAll(file: number, chunk: Uint8Array): void {
  for (const piece of splitBytes(chunk))
    for (let done = 0; done < piece.byteLength; ) done += writeSync(file, piece, done);
}
/** Text, or bytes in one or several chunks. */
type Content = string | Uint8Array | Iterable<Uint8Array>;
function chunksOf(content: Content): Iterable<Uint8Array> {
  if (typeof content === "string") return [new TextEncoder().encode(content)];
  return ArrayBuffer.isView(content) ? [content] : content;
}

/** Replaces a file at once: a reader, or a crash at any moment, sees the old one or the new one. `mode`: its permissions; default: the umask's. */
export function writeAtomic(path: string, content: Content, mode?: number): void {
  const temporary = `${path}.${process.pid}.tmp`;
  makeFolder(dirname(path));
  try {
    writeTo(path, chunksOf(content), fsyncSync, mode, temporary);
    withFileErrors(path, "write", () => {
      if (mode !== undefined) chmodSync(temporary, mode); // what the umask took
      renameSync(temporary, path);
    });
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncFolder(dirname(path));
}

/** Makes a folder at once: `write` fills another one beside it, which then takes its name. Nothing may have that name yet. Returns what `write` returns. */
export function writeNewFolder<T>(path: string, write: (temporary: string) => T): T {
  const temporary = join(dirname(path), `.${basename(path)}.tmp`);
  try {
    rmSync(temporary, { recursive: true, force: true });
    makeFolder(temporary);
    const written = write(temporary);
    withFileErrors(path, "write", () => renameSync(temporary, path));
    syncFolder(dirname(path));
    return written;
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw error;
  }
}

/**
 * Writes to a path that the user gave, atomically. A symbolic link is kept and its target replaced, by a file of the same permissions; what is no
 * regular file (a pipe, /dev/stdout) is written to in place.
 */
export function writeUserFile(path: string, content: Content): void {
  const found = withFileErrors(path, "write", () => statSync(path, { throwIfNoEntry: false }));
  if (!found || found.isFile()) writeAtomic(found ? realpathSync(path) : path, content, found && found.mode & 0o7777);
  else writeUnflushed(path, chunksOf(content)); // a pipe or terminal cannot be flushed
}

/** Flushes a folder, so that renames in it survive a power cut. */
export const syncFolder = (path: string): void => withFileErrors(path, "flush", () => withOpen(path, "r", fsyncSync));
