// Encodes a file of training data in parts, in other threads if it is large. What comes of it arrives in order, and does not depend on their number.
import { Bug } from "../../compiler/diagnostic.ts";
import { type Bytes, type Codec, type Encoded, type EncodePart, oneDocument, type Progress } from "../tokens.ts";
import { encodeJsonLines, encodePart, isJsonLines } from "./documents.ts";

export interface HowToEncode {
  readonly encoding?: Progress | undefined;
  /** Whether each line is a prompt and a completion, for a model with an encoder. */
  readonly pairs?: boolean | undefined;
  /** The most that encode a large file. Default: the caller's alone. */
  readonly threads?: number | undefined;
}
/** In bytes of a file. A thread takes about as long to start, and to meet the usual words, as to encode half of them. */
const bytesOfThread = 2 ** 23;
/** How many parts are encoded at once, or wait for those before. */
const partsOfThread = 3;
/** The bytes of a piece of a file: a part begins with every one or two. */
const pieceBytes = 2 ** 16;

type Parts = Iterable<Encoded | Promise<Encoded>>;

/** The documents of a file: those of its lines if its name ends in .jsonl or .ndjson, else its text as one. */
export async function* encodeFile(
  codec: Codec,
  file: Bytes,
  path: string,
  { encoding, pairs = false, threads = 1 }: HowToEncode = {},
): AsyncGenerator<Encoded> {
  const count = Math.min(threads, Math.floor(file.length / bytesOfThread));
  const others = count > 1 ? (codec.openThreads?.(count) ?? null) : null;
  const encode = others ? others.encode : encodeHere(codec);
  const most = others ? partsOfThread * count : 1;
  const pieces = counted(file, encoding);
  try {
    if (isJsonLines(path)) yield* inOrder(encodeJsonLines(codec, pieces, { path, pairs }, encode), most);
    else yield* asOne(inOrder(codec.encodeText(pieces, path, encode), most));
  } finally {
    await others?.close();
  }
}
/** On the caller's thread. */
const encodeHere =
  ({ documents }: Codec): EncodePart =>
  (part) => {
    if (documents === null) throw new Bug("token numbers are encoded as they are read");
    return encodePart(documents, part);
  };
function* counted(file: Bytes, progress?: Progress): Generator<Uint8Array> {
  let done = 0;
  for (const piece of file.pieces(pieceBytes)) {
    progress?.(done, file.length);
    yield piece;
    done += piece.length;
  }
}
/** Parts that may be encoded at the same time, `most` at once. The first that fails ends them, wherever others fail meanwhile. */
async function* inOrder(parts: Parts, most: number): AsyncGenerator<Encoded> {
  const begun: Promise<Encoded>[] = [];
  for (const part of withFailure(parts)) {
    const encoded = Promise.resolve(part);
    encoded.catch(() => {}); // it is thrown in its turn
    begun.push(encoded);
    const first = begun.length < most ? undefined : begun.shift();
    if (first) yield await first;
  }
  for (const encoded of begun) yield await encoded;
}
/** A failure to read or cut the file is the last part. */
function* withFailure(parts: Parts): Generator<Encoded | Promise<Encoded>> {
  try {
    yield* parts;
  } catch (error) {
    yield Promise.reject<Encoded>(error);
  }
}
/** All parts together are one document. */
async function* asOne(parts: AsyncIterable<Encoded>): AsyncGenerator<Encoded> {
  let begun = false;
  for await (const { tokens } of parts) {
    yield begun ? { tokens, starts: new Float64Array() } : oneDocument(tokens);
    begun ||= tokens.length > 0;
  }
}
