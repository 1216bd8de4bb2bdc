// A codec of a model's own tokenizer, by the package @huggingface/tokenizers.
import { createContext, Script } from "node:vm";
import type { Tokenizer as Library } from "@huggingface/tokenizers";
import { Problem } from "../../compiler/diagnostic.ts";
import { type ChatTemplate, type Codec, type Decoder, type DocumentCodec, oneDocument } from "../tokens.ts";
import { chatTemplate } from "./chat.ts";
import { type Part, readTokenizer, type TokenizerFile, unsupported } from "./file.ts";
import { openLibrary } from "./pieces.ts";
import { exactPreTokenizer, partsOf } from "./pre-tokenizer.ts";
import { type SplitPoints, splitPointsOf, splitText } from "./split-points.ts";
import { threadsOf } from "./threads.ts";

/** `at`: a tokenizer.json, or its folder. `timeLimit`: the time limit, in milliseconds, for encoding the shortest text. */
export const openTokenizer = (at: string, timeLimit = 30_000): Promise<Codec> =>
  codecOfFile(readTokenizer(at), timeLimit);
export async function codecOfFile(file: TokenizerFile, timeLimit: number): Promise<Codec> {
  requirePieces(file);
  const pre = file.json.pre_tokenizer && exactPreTokenizer(file.json.pre_tokenizer, file);
  const [bundle, template] = [await import("@huggingface/tokenizers"), await chatTemplate(file)];
  try {
    const library = openLibrary(bundle, file, pre);
    // `splitPointsOf` also runs the file's regular expressions, on single letters, so it is under the time limit too
    return withTimeLimit(file, "a", timeLimit, () =>
      codecOf({ file, library, cuts: splitPointsOf(file.json, pre), timeLimit, template }),
    );
  } catch (cause) {
    if (cause instanceof Problem) throw cause;
    throw unsupported(file, cause instanceof Error ? cause.message : String(cause));
  }
}
interface Opened {
  readonly file: TokenizerFile;
  readonly library: Library;
  readonly cuts: SplitPoints | null;
  readonly timeLimit: number;
  readonly template: ChatTemplate | null;
}
function codecOf(opened: Opened): Codec {
  const { file, library, cuts, timeLimit } = opened;
  const endToken = idOf(library, file.config.eos_token);
  const { before, after } = specialTokens(file, library);
  const plain = (text: string): number[] =>
    withTimeLimit(file, text, timeLimit + text.length, () => idsOf(library, text));
  const ends = after.length > 0 ? after : endToken === null ? plain("\n") : [endToken];
  return {
    name: "tokenizer",
    unit: "token",
    config: { tokenizer: file.hash },
    files: file.files,
    vocabularySize: [...library.get_vocab().values()].reduce((most, id) => Math.max(most, id + 1), 0),
    endToken,
    encode: (text) => {
      const ids = [...before, ...plain(text)];
      return ids.length > 0 ? ids : endToken === null ? plain("\n") : [endToken];
    },
    named: (token) => library.token_to_id(token) ?? null,
    *encodeText(pieces, path, encode) {
      yield oneDocument(Int32Array.from(before));
      for (const text of splitText(utf8(pieces, path), cuts, (length) => requireShort(length, path)))
        yield encode({ path, text });
      yield oneDocument(Int32Array.from(after));
    },
    openThreads: threadsOf({ file, timeLimit }),
    documents: { begin: before, end: ends, ...documentCodec(opened) },
    decoder: (prompt) => decoderOf(library, prompt),
  };
}
const documentCodec = ({
  file,
  library,
  cuts,
  timeLimit,
  template,
}: Opened): Pick<DocumentCodec, "template" | "encode" | "limited"> => ({
  template,
  encode: (text, where) =>
    [...splitText(slices(text), cuts, (length) => requireShort(length, where))].flatMap((part) => idsOf(library, part)),
  limited: (about, run) => withTimeLimit(file, about, timeLimit + about.length, run),
});
const slice = 1 << 16;
function* slices(text: string): Generator<string> {
  for (let at = 0; at < text.length; at += slice) yield text.slice(at, at + slice);
}
type Named = TokenizerFile["config"]["eos_token"];
function idOf(library: Library, named: Named): number | null {
  const token = typeof named === "string" ? named : named?.content;
  return token === undefined ? null : (library.token_to_id(token) ?? null);
}
/** Token numbers of a text. Like Python, leaves out what the vocabulary lacks, for which the library gives undefined. */
const idsOf = (library: Library, text: string, special = false): number[] =>
  library.encode(text, { add_special_tokens: special }).ids.filter((id: number | undefined) => id !== undefined);

/**
 * The tokens to put before and after each text. As in transformers, the config's `add_bos_token` and `add_eos_token` take precedence over the
 * post-processor.
 */
function specialTokens({ config, json }: TokenizerFile, library: Library): Record<"before" | "after", number[]> {
  const { add_bos_token: bos, add_eos_token: eos } = config;
  const wanted = (add: boolean | null | undefined, named: Named): number[] => {
    const id = idOf(library, named);
    return add && id !== null ? [id] : [];
  };
  if (typeof bos === "boolean" || typeof eos === "boolean" || json.post_processor === null)
    return { before: wanted(bos, config.bos_token), after: wanted(eos, config.eos_token) };
  const [inner, whole] = [idsOf(library, "a"), idsOf(library, "a", true)];
  const from = whole.findIndex((_, i) => inner.every((id, j) => whole[i + j] === id));
  return { before: whole.slice(0, from), after: whole.slice(from + inner.length) };
}

const inTime = new Script("run()");
/**
 * Runs with a time limit in milliseconds (a hundred times what a text needs), in case a regular expression of the file backtracks without end. The limit
 * is one of time on the clock: what was stopped meanwhile (Ctrl-Z), or hardly got a core, runs again, at most `again` times.
 */
function withTimeLimit<T>(file: TokenizerFile, text: string, timeout: number, run: () => T, again = 3): T {
  let result: { readonly value: T } | undefined;
  const start = process.cpuUsage();
  try {
    inTime.runInContext(createContext({ run: () => void (result = { value: run() }) }), { timeout });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== "ERR_SCRIPT_EXECUTION_TIMEOUT" && !(cause instanceof RangeError)) throw cause;
    const computed = process.cpuUsage(start).user / 1000;
    if (code !== undefined && computed < timeout / 2 && again > 0)
      return withTimeLimit(file, text, timeout, run, again - 1);
    const what = code === undefined ? String(cause) : `no end after ${Math.round(timeout / 1000)} seconds`;
    throw unsupported(file, `${text.length} characters that begin with ${JSON.stringify(text.slice(0, 24))}: ${what}`);
  }
  if (!result) throw unsupported(file, "nothing came of a text");
  return result.value;
}

/** The longest text that is encoded without cuts: it takes some 200 times as much memory. */
const maxUncut = 8 << 20;
function requireShort(length: number, path: string): void {
  if (length <= maxUncut) return;
  throw new Problem(
    `${path} has more than ${maxUncut} characters in which nothing shows where this tokenizer's text may be cut, as a blank after a letter would`,
    "cut it where you like into files of fewer, and give them in order: --data a.txt b.txt",
  );
}
function* utf8(pieces: Iterable<Uint8Array>, path: string): Generator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let at = 0;
  const decode = (piece?: Uint8Array): string => {
    try {
      return decoder.decode(piece, { stream: piece !== undefined });
    } catch (cause) {
      if (!(cause instanceof TypeError)) throw cause;
      throw new Problem(
        `${path} is not UTF-8 around byte ${at}`,
        "a tokenizer takes text: convert it (iconv -t utf-8), or leave --tokenizer out and train on bytes",
      );
    }
  };
  for (const piece of pieces) {
    yield decode(piece);
    at += piece.length;
  }
  yield decode();
}

/** Decoders that can run incrementally: the text of some tokens is a prefix of the text with more tokens, except for an incomplete character. */
const incrementalDecoders = new Set(
  "ByteLevel WordPiece Metaspace BPEDecoder Replace Fuse Strip ByteFallback".split(" "),
);
function requirePieces(file: TokenizerFile, part: Part | null = file.json.decoder): void {
  if (part?.type === "Sequence") for (const inner of partsOf(part, "decoders")) requirePieces(file, inner);
  else if (part) {
    const expression =
      part.type === "Replace" && typeof (part["pattern"] as { String?: unknown } | undefined)?.String !== "string";
    const cutsEnd = part.type === "Strip" && part["stop"] !== 0;
    if (!incrementalDecoders.has(part.type) || expression || cutsEnd)
      throw unsupported(file, `decoder: moec does not know ${JSON.stringify(part).slice(0, 80)}`);
  }
}
/** Decodes the tokens after a prompt in pieces of whole characters. All pieces together are the text of all tokens, without the prompt's. */
function decoderOf(library: Library, prompt: ArrayLike<number>): Decoder {
  const decode = (ids: readonly number[]): string => {
    const known = ids.filter((id) => library.id_to_token(id) !== undefined);
    return known.length === 0
      ? ""
      : library.decode(known, { skip_special_tokens: true, clean_up_tokenization_spaces: false });
  };
  // `tokens`: the fewest newest tokens that determine how the next one is decoded; `text`: the text of the first `read` of them, already returned
  const before = Array.from(prompt);
  let [tokens, text] = [before, decode(before)];
  let read = tokens.length;
  return {
    push: (token) => {
      tokens.push(token);
      const longer = decode(tokens);
      if (longer.endsWith("\ufffd")) return "";
      const piece = longer.slice(text.length);
      const newest = tokens.slice(read);
      const alone = decode(newest);
      // a blank at the start of a text may be dropped, so older tokens are left out only if the newest alone give some text
      [tokens, text] = alone === "" || alone.endsWith("\ufffd") ? [tokens, longer] : [newest, alone];
      read = tokens.length;
      return piece;
    },
    end: () => decode(tokens).slice(text.length),
  };
}
