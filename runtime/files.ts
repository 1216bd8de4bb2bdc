// Files that are either whole or not there: written beside, flushed, renamed into place.
import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { isCode, onFile } from "../compiler/on-file.ts";

export const readText = (path: string): string => onFile(path, "read", () => readFileSync(path, "utf8"));
export const readBytes = (path: string): Uint8Array => onFile(path, "read", () => readFileSync(path));

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
function madeWithin(path: string, mode: number | undefined): string[] {
  try {
    mkdirSync(path, { mode });
    return [path];
  } catch (error) {
    const above = dirname(path);
    if (isCode(error, "EEXIST") && statSync(path).isDirectory()) return [];
    if (!isCode(error, "ENOENT") || existsSync(above)) throw error;
    return [...madeWithin(above, mode), ...madeWithin(path, mode)];
  }
}

/** Writes and flushes a file in place; for a folder that is itself renamed in. */
export function writeWhole(path: string, chunks: Iterable<Uint8Array>, mode?: number): void {
  onFile(path, "write", () => {
    const file = openSync(path, "w", mode);
    try {
      for (const chunk of chunks) writeAll(file, chunk);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  });
}
function writeAll(file: number, chunk: Uint8Array): void {
  for (let done = 0; done < chunk.byteLength; )
    done += writeSync(file, chunk, done, Math.min(chunk.byteLength - done, 1 << 30));
}

/** Replaces a file at once: a reader, or a crash at any moment, sees the old one or the new one. */
export function writeAtomic(path: string, text: string | Uint8Array): void {
  const beside = `${path}.${process.pid}.tmp`;
  makeFolder(dirname(path));
  try {
    writeWhole(beside, [typeof text === "string" ? new TextEncoder().encode(text) : text]);
    onFile(path, "write", () => renameSync(beside, path));
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
  syncFolder(dirname(path));
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
