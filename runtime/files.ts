// Files that are either whole or not there: written beside, flushed, renamed into place.
import { constants } from "node:buffer";
import { createHash } from "node:crypto";
import {
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
import { dirname } from "node:path";
import { StringDecoder } from "node:string_decoder";
import { Problem } from "../compiler/diagnostic.ts";
import { isCode, onFile } from "../compiler/on-file.ts";

export const readText = (path: string): string => onFile(path, "read", () => readFileSync(path, "utf8"));

/** So much is read, written or hashed at once: Node takes no more than 2 GiB. */
const most = 1 << 30;
/** Parts of `bytes`, one after the other, that are no longer than that. */
export function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += most) yield bytes.subarray(at, at + most);
}
/** The lines of a text of any length; the last may lack its end. */
export function* readLines(path: string, atOnce = 1 << 20): Generator<string> {
  const file = onFile(path, "read", () => openSync(path, "r"));
  const [chunk, decoder] = [new Uint8Array(atOnce), new StringDecoder("utf8")];
  const next = (): number => onFile(path, "read", () => readSync(file, chunk));
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
/** A file of up to as many bytes as Node holds at once, which are more than `readFileSync` reads. */
export function readBytes(path: string): Uint8Array {
  return onFile(path, "read", () => {
    const file = openSync(path, "r");
    try {
      const { size } = fstatSync(file);
      requireHeld(path, size);
      return size > most ? readAt(file, 0, size) : readFileSync(file); // a pipe has no size
    } finally {
      closeSync(file);
    }
  });
}
export function requireHeld(what: string, bytes: number): void {
  if (bytes > constants.MAX_LENGTH)
    throw new Problem(
      `${what} has ${bytes} bytes, and Node ${process.versions.node} holds ${constants.MAX_LENGTH} at once`,
      "give less of it; Node 22 and later hold more",
    );
}
/** So many bytes of an open file. */
export function readAt(file: number, position: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const got = readSync(file, bytes, done, Math.min(length - done, most), position + done);
    if (got === 0)
      throw new Problem("the file became shorter while it was read", "read it again when nothing writes it");
    done += got;
  }
  return bytes;
}
/** SHA-256 of bytes of any number. */
export function hashOf(chunks: Iterable<Uint8Array>): string {
  const hash = createHash("sha256");
  for (const chunk of chunks) for (const piece of pieces(chunk)) hash.update(piece);
  return hash.digest("hex");
}
/** SHA-256 of a file of any size. */
export function hashFile(path: string): string {
  return onFile(path, "read", () => {
    const file = openSync(path, "r");
    const hash = createHash("sha256");
    const chunk = new Uint8Array(1 << 20);
    try {
      for (let n = readSync(file, chunk); n > 0; n = readSync(file, chunk)) hash.update(chunk.subarray(0, n));
    } finally {
      closeSync(file);
    }
    return hash.digest("hex");
  });
}

/**
 * Makes a folder with all that it lies in; gives those that were not there, the outermost first. (Node's own `recursive` does not end below
 * /proc, and takes a disk that is read-only for a path that is not there.)
 */
export const makeFolder = (path: string, mode?: number): string[] => onFile(path, "make", () => madeWithin(path, mode));
/** `again`: what it lies in is there by now. */
function madeWithin(path: string, mode: number | undefined, again = false): string[] {
  try {
    mkdirSync(path, { mode });
    return [path];
  } catch (error) {
    const above = dirname(path);
    if (isCode(error, "EEXIST") && statSync(path).isDirectory()) return [];
    if (!isCode(error, "ENOENT") || again) throw error;
    const made = existsSync(above) ? [] : madeWithin(above, mode); // another process may have made it since
    return [...made, ...madeWithin(path, mode, true)];
  }
}

/** Writes and flushes a file in place; for a folder that is itself renamed in. */
export const writeWhole = (path: string, chunks: Iterable<Uint8Array>, mode?: number): void =>
  writeTo(path, chunks, fsyncSync, mode);
function writeTo(path: string, chunks: Iterable<Uint8Array>, flush: (file: number) => void, mode?: number): void {
  onFile(path, "write", () => {
    const file = openSync(path, "w", mode);
    try {
      for (const chunk of chunks) writeAll(file, chunk);
      flush(file);
    } finally {
      closeSync(file);
    }
  });
}
function writeAll(file: number, chunk: Uint8Array): void {
  for (let done = 0; done < chunk.byteLength; )
    done += writeSync(file, chunk, done, Math.min(chunk.byteLength - done, most));
}
/** A text, or bytes one after the other. */
type Content = string | Uint8Array | Iterable<Uint8Array>;
function chunksOf(content: Content): Iterable<Uint8Array> {
  if (typeof content === "string") return [new TextEncoder().encode(content)];
  return ArrayBuffer.isView(content) ? [content] : content;
}

/** Replaces a file at once: a reader, or a crash at any moment, sees the old one or the new one. */
export function writeAtomic(path: string, content: Content): void {
  const beside = `${path}.${process.pid}.tmp`;
  makeFolder(dirname(path));
  try {
    writeWhole(beside, chunksOf(content));
    onFile(path, "write", () => renameSync(beside, path));
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
  syncFolder(dirname(path));
}

/** The same of what a user named: a link goes on naming its file, and what is no file (a pipe, /dev/stdout) is written to, not replaced. */
export function writeNamed(path: string, content: Content): void {
  const found = onFile(path, "write", () => statSync(path, { throwIfNoEntry: false }));
  if (!found || found.isFile() || found.isDirectory()) writeAtomic(found ? realpathSync(path) : path, content);
  else writeTo(path, chunksOf(content), () => {}); // such a thing cannot be flushed
}

/** Makes renames in a folder survive a power cut. */
export function syncFolder(path: string): void {
  onFile(path, "flush", () => {
    const folder = openSync(path, "r");
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  });
}
