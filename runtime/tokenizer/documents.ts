// Training data as JSON lines: each line is a document, of which the loss may count a part only.
//
//   {"text": ".."}                                      all of it
//   {"prompt": "..", "completion": ".."}                the completion
//   {"messages": [{"role": "..", "content": ".."}, ..]} what the assistant says; the tokenizer's chat template makes the text
import * as v from "valibot";
import { Problem } from "../../compiler/diagnostic.ts";
import { idsFlagText } from "../../compiler/flag-text.ts";
import { isJsonObject, parseJson, showIssue } from "../storage/json.ts";
import {
  type ChatTemplate,
  type Codec,
  cutAfter,
  type DocumentCodec,
  type Encoded,
  type EncodePart,
  type FilePart,
  joinDocuments,
  type LinesPart,
  type Message,
  oneDocument,
} from "../tokens.ts";
import { requireTemplate } from "./chat.ts";

export const isJsonLines = (path: string): boolean => /\.(jsonl|ndjson)$/i.test(path);

const remedy =
  'a line is {"text": ".."}, {"prompt": "..", "completion": ".."} or {"messages": [{"role": "user", "content": ".."}, ..]}';
const schemas = {
  messages: v.object({ messages: v.array(v.looseObject({ role: v.string(), content: v.string() })) }),
  prompt: v.object({ prompt: v.string(), completion: v.string() }),
  text: v.object({ text: v.string() }),
};
/** A part of a document. `counts`: its tokens are targets of the loss. */
interface Part {
  readonly text: string;
  readonly counts: boolean;
}

/** What comes of a part of a file. */
export function encodePart(codec: DocumentCodec, part: FilePart): Encoded {
  const { path } = part;
  if (!("text" in part)) return encodeLines({ ...codec, begin: part.begin }, part, path);
  const tokens = codec.limited(part.text, () => codec.encode(part.text, path));
  return { tokens: Int32Array.from(tokens), starts: new Float64Array() };
}
/** Lines are encoded under one time limit, because setting it takes as long as encoding a short one. */
function encodeLines(codec: DocumentCodec, { lines, first, pairs }: LinesPart, path: string): Encoded {
  const encode = pairs ? encodePair : encodeLine;
  const all = (): number[][] =>
    lines.flatMap((line, i) => (line.trim() === "" ? [] : encode(codec, line, `${path}, line ${first + i}`)));
  const documents = codec.limited(lines.join("\n"), all);
  return joinDocuments(documents.map((tokens) => oneDocument(Int32Array.from(tokens))));
}
/** The documents of a file of JSON lines, whose bytes arrive in pieces. */
export function* encodeJsonLines(
  { documents }: Codec,
  pieces: Iterable<Uint8Array>,
  { path, pairs }: { readonly path: string; readonly pairs: boolean },
  encode: EncodePart,
): ReturnType<Codec["encodeText"]> {
  if (!documents) throw new Problem(`${path} holds documents, not token numbers`, `leave ${idsFlagText} out`);
  const { begin } = documents;
  let [at, first] = [0, 1];
  for (const piece of cutAfter(pieces, (byte) => byte === lineEnd)) {
    const lines = utf8(piece, path, at).replace(/\n$/, "").split("\n");
    yield encode({ path, lines, first, begin, pairs });
    at += piece.length;
    first += lines.length;
  }
}
const lineEnd = 10;
/** The text of a part of a file, which begins at byte `at`; without a byte order mark. Throws Problem if it is not UTF-8. */
export function utf8(bytes: Uint8Array, path: string, at = 0): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Problem(`${path} is not UTF-8 after byte ${at}`, "convert it (iconv -t utf-8)");
  }
}

/**
 * A line as a pair: the prompt with what begins and ends a text, whose tokens are no targets, and the completion with what ends one: what it begins with
 * is the decoder's.
 */
function encodePair(codec: DocumentCodec, line: string, where: string): number[][] {
  const json = parseJson(line);
  if (!isJsonObject(json) || !("prompt" in json))
    throw new Problem(
      `${where} has no prompt, which the model's encoder reads`,
      'a line is {"prompt": "..", "completion": ".."}',
    );
  const { prompt, completion } = checked(schemas.prompt, json, where);
  const ended = (text: string): number[] => [...codec.encode(text, where), ...codec.end];
  return [[...kept([...codec.begin, ...ended(prompt)], false), ...ended(completion)]];
}
/** The documents of a line: one, but of a conversation perhaps several. */
function encodeLine(codec: DocumentCodec, line: string, where: string): number[][] {
  const json = parseJson(line);
  if (!isJsonObject(json)) throw new Problem(`${where} is not a JSON object`, remedy);
  if ("messages" in json) {
    const { messages } = checked(schemas.messages, json, where);
    return replies(requireTemplate(codec, where), messages, where).map((parts) => encodeParts(codec, parts, where));
  }
  return [encodeWhole(codec, "prompt" in json ? promptParts(json, where) : textParts(json, where), where)];
}
function promptParts(json: object, where: string): Part[] {
  const { prompt, completion } = checked(schemas.prompt, json, where);
  return [
    { text: prompt, counts: false },
    { text: completion, counts: true },
  ];
}
const textParts = (json: object, where: string): Part[] => [
  { text: checked(schemas.text, json, where).text, counts: true },
];
function checked<T extends v.GenericSchema>(schema: T, json: object, where: string): v.InferOutput<T> {
  const found = v.safeParse(schema, json);
  if (found.success) return found.output;
  throw new Problem(`${where}: ${showIssue(found.issues[0])}`, remedy);
}

/**
 * Documents that together hold each of the assistant's replies once, after what the model reads before it. One document unless the template
 * changes earlier messages as more follow (some leave out earlier thoughts); then each such reply begins a document.
 */
function replies(template: ChatTemplate, messages: readonly Message[], where: string): Part[][] {
  const documents: Part[][] = [];
  let made = "";
  for (const [i, { role }] of messages.entries()) {
    if (role !== "assistant") continue;
    const [before, whole] = [template(messages.slice(0, i), true), template(messages.slice(0, i + 1), false)];
    if (!whole.startsWith(before)) throw unlikePrompt(where);
    if (made === "" || !before.startsWith(made)) [made] = ["", documents.push([])];
    documents
      .at(-1)
      ?.push({ text: before.slice(made.length), counts: false }, { text: whole.slice(before.length), counts: true });
    made = whole;
  }
  if (documents.length > 0) return documents;
  throw new Problem(`${where} has no message of the assistant`, "leave the line out: nothing in it would be learnt");
}
const unlikePrompt = (where: string): Problem =>
  new Problem(
    `${where}: the chat template writes a reply otherwise than after the prompt that asks for it`,
    "write out the text, as a prompt and its completion",
  );

/** What begins a document is kept as its first part is; its end counts. */
const encodeWhole = (codec: DocumentCodec, parts: readonly Part[], where: string): number[] => [
  ...kept(codec.begin, parts[0]?.counts ?? true),
  ...encodeParts(codec, parts, where),
  ...codec.end,
];
/** All parts are encoded together, as one text. A token belongs to the part in which it ends. */
function encodeParts(codec: DocumentCodec, parts: readonly Part[], where: string): number[] {
  const tokens = codec.encode(parts.map(({ text }) => text).join(""), where);
  const found: number[] = [];
  let before = "";
  for (const [i, { text, counts }] of parts.entries()) {
    before += text;
    const end = i + 1 === parts.length ? tokens.length : inCommon(codec.encode(before, where), tokens);
    for (const token of kept(tokens.slice(found.length, end), counts)) found.push(token);
  }
  return found;
}
function inCommon(a: readonly number[], b: readonly number[]): number {
  const differs = a.findIndex((token, i) => token !== b[i]);
  return differs < 0 ? a.length : differs;
}
const kept = (tokens: readonly number[], counts: boolean): readonly number[] =>
  counts ? tokens : tokens.map((token) => ~token);
