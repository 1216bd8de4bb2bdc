// Reads a whole text from standard input.
import { constants } from "node:buffer";
import { noEnd } from "../compiler/read-file.ts";

/** All that a stream gives. Throws Problem if that is more than `most` bytes, by default the most that a text has. */
export async function readStdin(
  stream: AsyncIterable<Uint8Array> = process.stdin,
  most: number = constants.MAX_STRING_LENGTH,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of stream) {
    bytes += piece.length;
    if (bytes > most) throw noEnd("stdin", most);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
