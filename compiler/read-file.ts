// Reads whole files, and what has no end known before: pipes, terminals and devices.
import { constants } from "node:buffer";
import { closeSync, fstatSync, openSync, readFileSync, readSync } from "node:fs";
import { Problem } from "./diagnostic.ts";
import { withFileErrors } from "./file-errors.ts";
import { showBytes } from "./show-bytes.ts";

/** The most bytes that Node takes at once, as of a file of known size. */
const mostBytes = 2 ** 31 - 1;

/** All that an open file of unknown size gives, as a pipe. Throws Problem if that is more than `most` bytes: it may be endless. */
export function readUnsized(path: string, file: number, most = mostBytes): Buffer {
  const [pieces, chunk] = [[] as Uint8Array[], new Uint8Array(1 << 20)];
  for (let bytes = 0; ; ) {
    const got = readSync(file, chunk);
    if (got === 0) return Buffer.concat(pieces);
    pieces.push(chunk.slice(0, got));
    bytes += got;
    if (bytes > most) throw noEnd(path, most);
  }
}
/** The error where more than `most` bytes come. */
export const noEnd = (path: string, most: number): Problem =>
  new Problem(`${path} has no end within ${showBytes(most)}`, "name a file, such as one of the part that is wanted");
/** A file's text; what is no UTF-8 becomes U+FFFD. */
export const readText = (path: string): string =>
  withFileErrors(path, "read", () => {
    const file = openSync(path, "r");
    try {
      const isKnown = fstatSync(file).isFile();
      return isKnown ? readFileSync(file, "utf8") : readUnsized(path, file, constants.MAX_STRING_LENGTH).toString();
    } finally {
      closeSync(file);
    }
  });
