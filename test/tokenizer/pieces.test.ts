// Pieces of a text are encoded once, and a text has the tokens that the library gives the whole.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { suite } from "uvu";
import { lcg } from "../../runtime/measure/lcg.ts";
import { readTokenizer, type TokenizerFile } from "../../runtime/tokenizer/file.ts";
import { openLibrary } from "../../runtime/tokenizer/pieces.ts";
import { exactPreTokenizer } from "../../runtime/tokenizer/pre-tokenizer.ts";
import { project } from "../project.ts";

const test = suite("pieces");
const texts = join(project, "test/peers/texts");
const fileOf = (name: string): TokenizerFile => readTokenizer(join(texts, name));
const bpe = (change: object): TokenizerFile => {
  const file = fileOf("llama");
  return { ...file, json: { ...file.json, model: { ...file.json.model, ...change } } };
};
const unsplit = (name: string): TokenizerFile => {
  const file = fileOf(name);
  return { ...file, json: { ...file.json, pre_tokenizer: { type: "Metaspace", split: false }, normalizer: null } };
};
const bytesUnsplit = (name: string): TokenizerFile => {
  const file = fileOf(name);
  const bytes = { type: "ByteLevel", add_prefix_space: false, use_regex: false };
  return { ...file, json: { ...file.json, pre_tokenizer: bytes } };
};
const files: readonly [string, TokenizerFile][] = [
  ...readdirSync(texts).map((name): [string, TokenizerFile] => [name, fileOf(name)]),
  ["marks by the pre-tokenizer", unsplit("llama")],
  ["bytes without splits", bytesUnsplit("gpt2")],
  ["Unigram without splits", unsplit("unigram")],
  ["whole texts that are tokens", bpe({ ignore_merges: true })],
  ["a suffix", bpe({ continuing_subword_suffix: "a" })],
  [
    "merges over marks",
    bpe({
      merges: [
        ["o", "\u2581t"],
        ["\u2581", "t"],
        ["e", "\ud83d"],
      ],
    }),
  ],
];
/** With the pieces that the model itself has encoded. */
function opened(file: TokenizerFile): { library: Tokenizer; plain: Tokenizer; encoded: string[] } {
  const pre = file.json.pre_tokenizer && exactPreTokenizer(file.json.pre_tokenizer, file);
  const encoded: string[] = [];
  class Noted extends Tokenizer {
    constructor(json: object, config: object) {
      super(json, config);
      const { model } = this as unknown as { readonly model: { encode(pieces: readonly string[]): string[] } };
      const encode = model.encode.bind(model);
      model.encode = (pieces) => {
        encoded.push(...pieces);
        return encode(pieces);
      };
    }
  }
  const plain = new Tokenizer({ ...file.json, pre_tokenizer: pre }, file.config);
  return { library: openLibrary({ Tokenizer: Noted }, file, pre), plain, encoded };
}
const words =
  "the then cat, sat\n on\r\n\t mat. 12 345 don't  ▁ ▁▁a été яблоко 中文字 \ud83d\udc33 \ud83d\udc33\ud83d\udc33 <|end|> </s> <unk> q\u0301 \ud83d x".split(
    " ",
  );
test("a text has the tokens that the library gives the whole of it", () => {
  const random = lcg(5);
  const drawn = (): string => words[Math.floor(words.length * random())] ?? "";
  for (const [name, file] of files) {
    const { library, plain } = opened(file);
    for (let round = 0; round < 40; round++) {
      const text = Array.from({ length: 60 }, () => drawn() + (random() < 0.7 ? " " : "")).join("");
      assert.deepEqual(library.encode(text).ids, plain.encode(text).ids, `${name}: ${text}`);
    }
  }
});
test("a piece is encoded once, however often it comes", () => {
  const own = ["gpt2", "gpt4", "llama", "unigram", "words"].map((name) => [name, fileOf(name)] as const);
  for (const [name, file] of [...own, ["marks by the pre-tokenizer", unsplit("llama")] as const]) {
    const { library, plain, encoded } = opened(file);
    const text = "the cat sat on the mat ";
    library.encode(text.repeat(2));
    assert.ok(encoded.length > 4, name);
    encoded.length = 0;
    assert.deepEqual(library.encode(text.repeat(200)).ids, plain.encode(text.repeat(200)).ids);
    assert.deepEqual(encoded, [], name);
  }
});
const lettersOf = (i: number): string => `b${i.toString(4).replaceAll(/./g, (digit) => "acde"[Number(digit)] ?? "")}`;
test("pieces that are long, or too many to keep, are encoded as they come", () => {
  const { library, plain, encoded } = opened(fileOf("words"));
  const long = "a".repeat(65);
  for (const text of [long, long]) assert.deepEqual(library.encode(text).ids, plain.encode(text).ids);
  assert.deepEqual(encoded, [long, long]);
  const many = Array.from({ length: 2 ** 18 + 1 }, (_, i) => lettersOf(i));
  for (let i = 0; i < many.length; i += 2 ** 12) library.encode(many.slice(i, i + 2 ** 12).join(" "));
  encoded.length = 0;
  library.encode(lettersOf(0));
  library.encode(lettersOf(0));
  assert.deepEqual(encoded, [lettersOf(0)], "of too many, all are forgotten");
});
test.run();
