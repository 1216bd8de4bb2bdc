// Finds, reads and validates tokenizer.json and tokenizer_config.json, as Hugging Face's tokenizers and transformers write them.
import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import * as v from "valibot";
import { Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import { idsFlagText } from "../../compiler/flag-text.ts";
import { readBytes, sha256 } from "../storage/files.ts";
import { isJsonObject, requireJson, showIssue, whole } from "../storage/json.ts";

export const tokenizerName = "tokenizer.json";
const configName = "tokenizer_config.json";
/** Where newer versions of transformers write the chat template. */
const templateName = "chat_template.jinja";
/** The size limit in bytes; the largest known files are half of it. */
const most = 64 << 20;

/** A normalizer, pre-tokenizer, post-processor or decoder: its type and any other properties. */
export interface Part {
  readonly type: string;
  readonly [key: string]: unknown;
}
const inner = v.optional(v.array(v.lazy((): v.GenericSchema<Part> => part)));
const pattern = v.union(
  [v.looseObject({ String: v.string() }), v.looseObject({ Regex: v.string() })],
  "it must have a String or a Regex",
);
const lists = { normalizers: inner, pretokenizers: inner, processors: inner, decoders: inner };
const part = v.looseObject({ type: v.string(), pattern: v.optional(pattern), ...lists });
/** A token number. Limited, because the library makes arrays of this length; the largest known vocabularies are a sixteenth of it. */
const id = v.pipe(whole, v.maxValue(2 ** 22 - 1));
/** Not a valibot record, which would drop the keys `constructor` and `prototype`: they are words. */
const numbered = v.custom<Readonly<Record<string, number>>>(
  (x) => isJsonObject(x) && Object.values(x).every((n) => v.is(id, n)),
  "it must give each token a whole number below 4194304",
);
const isPair = (x: unknown): boolean => Array.isArray(x) && x.length === 2 && x.every((s) => typeof s === "string");
const merges = v.custom<readonly (string | readonly [string, string])[]>(
  (x) => Array.isArray(x) && x.every((m) => (typeof m === "string" ? m.includes(" ") : isPair(m))),
  "it must be a list of pairs of tokens",
);
const scored = v.custom<readonly (readonly [string, number])[]>(
  (x) => Array.isArray(x) && x.length > 0 && x.every((p) => Array.isArray(p) && isScore(p)),
  "it must be a list of tokens with their scores",
);
const isScore = ([token, score]: readonly unknown[]): boolean => typeof token === "string" && Number.isFinite(score);
const models = v.variant("type", [
  v.looseObject({ type: v.literal("BPE"), vocab: numbered, merges, dropout: v.nullish(v.literal(0)) }),
  v.looseObject({ type: v.literal("WordPiece"), vocab: numbered, unk_token: v.string() }),
  v.looseObject({ type: v.literal("Unigram"), vocab: scored, unk_id: v.nullish(id) }),
]);
const added = v.looseObject({ id, content: v.pipe(v.string(), v.minLength(1)) });
const schema = v.looseObject({
  normalizer: v.nullish(part, null),
  pre_tokenizer: v.nullish(part, null),
  post_processor: v.nullish(part, null),
  decoder: v.nullish(part, null),
  added_tokens: v.optional(v.array(added), []),
  model: models,
});
export type TokenizerJson = v.InferOutput<typeof schema>;
const named = v.nullish(v.union([v.string(), v.looseObject({ content: v.string() })]));
const configSchema = v.looseObject({
  bos_token: named,
  eos_token: named,
  add_bos_token: v.nullish(v.boolean()),
  add_eos_token: v.nullish(v.boolean()),
  chat_template: v.nullish(v.union([v.string(), v.array(v.object({ name: v.string(), template: v.string() }))])),
});
type TokenizerConfig = v.InferOutput<typeof configSchema>;

/** `files`: contents by name; `hash`: SHA-256 of all of them. */
export interface TokenizerFile {
  readonly path: string;
  readonly json: TokenizerJson;
  readonly config: TokenizerConfig;
  /** The text of the chat template; null if there is none. */
  readonly template: string | null;
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly hash: string;
}
const remedy = `give a tokenizer.json of Hugging Face's tokenizers, or a folder with one; ${idsFlagText} takes token numbers`;

/** `at`: a tokenizer.json, or its folder; a tokenizer_config.json and a chat_template.jinja in the same folder are read too. */
export function readTokenizer(at: string): TokenizerFile {
  const isFolder = withFileErrors(at, "read", () => statSync(at)).isDirectory();
  const path = isFolder ? join(at, tokenizerName) : at;
  if (!existsSync(path)) throw new Problem(`${at} has no ${tokenizerName}`, remedy);
  const beside = (name: string): string => join(dirname(path), name);
  const files = new Map([[tokenizerName, readLimited(path)]]);
  for (const name of [configName, templateName])
    if (existsSync(beside(name))) files.set(name, readLimited(beside(name)));
  const given = files.get(configName);
  const config = checked(beside(configName), configSchema, given ? parsed(beside(configName), given) : {});
  return {
    path,
    json: checked(path, schema, withModelType(parsed(path, files.get(tokenizerName)))),
    config,
    template: templateOf(config, files.get(templateName)),
    files,
    hash: sha256(files.values()),
  };
}
function templateOf({ chat_template: given }: TokenizerConfig, file: Uint8Array | undefined): string | null {
  if (file) return new TextDecoder().decode(file);
  if (!Array.isArray(given)) return given ?? null;
  return given.find(({ name }) => name === "default")?.template ?? null;
}
function readLimited(path: string): Uint8Array {
  const { size } = withFileErrors(path, "read", () => statSync(path));
  if (size > most) throw new Problem(`${path} has ${size} bytes; a tokenizer's are ${most} at most`, remedy);
  return readBytes(path);
}
const parsed = (path: string, bytes: Uint8Array | undefined): unknown =>
  requireJson(path, new TextDecoder().decode(bytes), `restore the file, or ${remedy}`);
/** Adds the type of the model, which old files leave out. */
function withModelType(json: unknown): unknown {
  if (!isJsonObject(json) || !isJsonObject(json["model"]) || "type" in json["model"]) return json;
  const { vocab, merges: pairs } = json["model"];
  const type = Array.isArray(vocab) ? "Unigram" : pairs === undefined ? "WordPiece" : "BPE";
  return { ...json, model: { ...json["model"], type } };
}
function checked<T extends v.GenericSchema>(path: string, schema: T, json: unknown): v.InferOutput<T> {
  const found = withinStack(path, () => v.safeParse(schema, json));
  if (found.success) return found.output;
  throw new Problem(`${path}: ${showIssue(found.issues[0])}`, remedy);
}
function withinStack<T>(path: string, check: () => T): T {
  try {
    return check();
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new Problem(`${path} has parts in parts beyond any use`, remedy);
  }
}
/** The error for a valid file that moec does not support. */
export const unsupported = ({ path }: Pick<TokenizerFile, "path">, what: string): Problem =>
  new Problem(
    `${path}: ${what}`,
    `make token numbers with Python's tokenizers, and give those with ${idsFlagText} (docs/from-pytorch.md)`,
  );
