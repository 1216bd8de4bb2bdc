// Tokenizers beside Python's numbers. How those were made: scripts/peers/texts.py.
import assert from "node:assert/strict";
import { cpSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { lcg } from "../../runtime/measure/lcg.ts";
import { openTokenizer } from "../../runtime/tokenizer/codec.ts";
import { type Part, readTokenizer, type TokenizerJson } from "../../runtime/tokenizer/file.ts";
import { exactPreTokenizer } from "../../runtime/tokenizer/pre-tokenizer.ts";
import { type SplitPoints, splitPointsOf, splitText } from "../../runtime/tokenizer/split-points.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { encoded } from "./encoded.ts";
import { refused } from "./refused.ts";

const test = suite("tokenizer");
const peers = join(project, "test/peers");
const texts = join(peers, "texts");
const names = readdirSync(texts);
interface Numbers {
  readonly texts: readonly string[];
  readonly ids: readonly (readonly number[])[];
  readonly whole: readonly (readonly number[])[];
  readonly decoded: readonly string[];
}
const numbersOf = (name: string): Numbers =>
  JSON.parse(readFileSync(join(texts, name, "numbers.json"), "utf8")) as Numbers;
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

for (const name of names)
  test(`${name}: the numbers and texts of Python's tokenizers`, async () => {
    const codec = await openTokenizer(join(texts, name));
    const expected = numbersOf(name);
    for (const [i, text] of expected.texts.entries()) {
      assert.deepEqual([...(await encoded(codec, utf8(text)))], expected.whole[i], text);
      const decoder = codec.decoder([]);
      const pieces = (expected.ids[i] ?? []).map((id) => decoder.push(id));
      assert.equal([...pieces, decoder.end()].join(""), expected.decoded[i]);
    }
  });

const ended = (decoder: { push(token: number): string; end(): string }, tokens: readonly number[]): string =>
  [...tokens.map((t) => decoder.push(t)), decoder.end()].join("");
test("pieces of any tokens after any prompt are whole characters, and together the text of all", async () => {
  const random = lcg(1);
  const drawn = (below: number): number => Math.floor(below * random());
  for (const name of names) {
    const codec = await openTokenizer(join(texts, name));
    const { Tokenizer } = await import("@huggingface/tokenizers");
    const { json, config } = readTokenizer(join(texts, name));
    const library = new Tokenizer(json, config);
    const decoded = (ids: number[]): string => {
      const known = ids.filter((id) => library.id_to_token(id) !== undefined);
      return known.length === 0
        ? ""
        : library.decode(known, { skip_special_tokens: true, clean_up_tokenization_spaces: false });
    };
    for (let round = 0; round < 60; round++) {
      const prompt = numbersOf(name).ids[round % 7]?.slice(0, drawn(9)) ?? [];
      const tokens = Array.from({ length: drawn(30) }, () => drawn((codec.vocabularySize ?? 0) + 3));
      const before = decoded(prompt);
      const given = before.endsWith("\ufffd") ? [] : prompt; // no text ends so
      const text = decoded([...given, ...tokens]).slice(given.length === 0 ? 0 : before.length);
      assert.equal(ended(codec.decoder(given), tokens), text, `${name}: ${given.join(" ")}; ${tokens.join(" ")}`);
    }
  }
  const gpt2 = await openTokenizer(join(texts, "gpt2"));
  const decoder = gpt2.decoder([]);
  const pieces = gpt2.encode("a🐳é").map((id) => decoder.push(id));
  assert.deepEqual(
    pieces.filter((p) => p !== ""),
    ["a", "🐳", "é"],
  );
});

const cutsIn = (name: string, change: (pre: Part | null) => Part | null = (pre) => pre): SplitPoints | null => {
  const file = readTokenizer(join(texts, name));
  const pre = change(file.json.pre_tokenizer);
  return splitPointsOf(file.json, pre && exactPreTokenizer(pre, file));
};
const cutsAfter = (cuts: SplitPoints | null, letter: string): boolean =>
  cuts !== null && new RegExp(cuts.at.source).test(`${letter} c`);
/** Letters of many scripts, marks, blanks and signs in any order. */
function scrambled(length: number): string {
  const random = lcg(7);
  const pieces = [
    ...Array.from("aesZQ'' \n\n   \t\r\u00a0\u3000яЖёйςσΣάΩ中東。、한글각אשעربيﷺ\u0301\u0308ﾞカガéŉſKİªहि์ท12२.!_▁<Ġ"),
    ..." then| il|\n\n|слово и|λόγος |Ἀρχὴ ".split("|"),
  ];
  return Array.from({ length }, () => pieces[Math.floor(pieces.length * random())] ?? "").join("");
}
test("a text cut into parts is the same tokens", async () => {
  const text = numbersOf("gpt2").texts.join(" then\nthere 12 a ").repeat(2) + scrambled(1500);
  for (const name of names) {
    const cuts = cutsIn(name);
    assert.equal(cuts === null, name === "merged", name);
    const codec = await openTokenizer(join(texts, name));
    const bare = async (t: string): Promise<number[]> => {
      const [of, none] = [await encoded(codec, utf8(t)), await encoded(codec, utf8(""))];
      return Array.from(of.subarray(none.length));
    };
    for (const size of [1, 7, 40]) {
      const cut = [...splitText(text.match(/[^]{1,5}/gu) ?? [], cuts, () => {}, size)];
      assert.ok(cut.length > (cuts === null ? 0 : 3), name);
      assert.deepEqual((await Promise.all(cut.map(bare))).flat(), await bare(text), `${name} ${size}`);
    }
  }
});
const by = (Regex: string): Part => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });
test("a text is cut after letters of every script that the vocabulary has", () => {
  for (const name of ["gpt2", "gpt4"]) {
    const cuts = cutsIn(name);
    for (const letter of "aZéя中한ςعʰ".split("")) assert.ok(cutsAfter(cuts, letter), letter);
    for (const other of ["1", ".", "\u0301", "。", "𝔞"]) assert.ok(!cutsAfter(cuts, other), other);
    for (const script of ["Все счастливые семьи похожи ", "Ἐν ἀρχῇ ἦν ὁ λόγος\n", "道可道 非常道\n"])
      assert.ok([...splitText([script.repeat(50)], cuts, () => {}, 100)].length === 2, script);
  }
  assert.ok(!cutsAfter(cutsIn("gpt4"), "\ufb2a"), "NFC makes two characters of it");
  assert.deepEqual(
    "aя東中".split("").map((c) => cutsAfter(cutsIn("llama"), c)),
    [true, false, true, false],
  );
  const latin = cutsIn("gpt2", () => by(String.raw`[a-zA-Z]+|[^a-zA-Z]+`));
  assert.deepEqual(
    "aя".split("").map((c) => cutsAfter(latin, c)),
    [true, false],
  );
});
test("a text is cut where one piece of it ends too", () => {
  const parts = splitText(["aaaaaaaa ", "bbbbbbbb"], cutsIn("llama"), () => {}, 4);
  assert.deepEqual([...parts], ["aaaaaaaa", "bbbbbbbb"]);
});
test("nothing is cut where an expression may see over the cut", () => {
  for (const over of [
    String.raw`\p{L}+\s*|\s+`,
    String.raw`[^,]+|,`,
    String.raw`\p{L}+(?=\n)|\p{L}|\s`,
    String.raw`(?<=\s)\p{L}+|\p{L}|\s`,
    String.raw`\p{L}+$|\p{L}|\s`,
    String.raw`\b\p{L}+|\s+`,
    String.raw`(?:\p{L}+|\s)+`,
    String.raw`(?:\s?\p{L})+|\s`,
    String.raw`(?:(?:\s)?(?:\p{L}){2})*|\p{L}|\s`,
    String.raw`(?:\p{L}|\d)\s?|\s`,
    String.raw`[\p{L}[\s]]+`,
    String.raw`\p{N}+`,
  ])
    assert.equal(
      cutsIn("gpt2", () => by(over)),
      null,
      over,
    );
  const lines = cutsIn("gpt2", () => by(String.raw`[^\r\n]+|\n`));
  assert.match(lines?.at.source ?? "", /\[\\n\]/);
  const encoded = { type: "ByteLevel", use_regex: false };
  const begun = { ...encoded, add_prefix_space: true };
  for (const stages of [[begun], [by(String.raw`\p{L}+|\P{L}`), begun], [encoded, by(String.raw`\S+`)]])
    assert.equal(
      cutsIn("gpt2", () => ({ type: "Sequence", pretokenizers: stages })),
      null,
    );
});

/** As llama's: a prefix, and blanks as marks. */
function prefixed(prepend: string, ...more: Part[]): Part {
  const marks = { type: "Replace", pattern: { String: " " }, content: "\u2581" };
  return { type: "Sequence", normalizers: [{ type: "Prepend", prepend }, marks, ...more] };
}
test("nothing is cut where an added token, the normalizer, a merge or an unknown letter may reach over the cut", () => {
  const cut = (name: string, change: (json: TokenizerJson) => Partial<TokenizerJson>): SplitPoints | null => {
    const file = readTokenizer(join(texts, name));
    const pre = file.json.pre_tokenizer;
    return splitPointsOf({ ...file.json, ...change(file.json) }, pre && exactPreTokenizer(pre, file));
  };
  for (const more of [{ rstrip: true }, { lstrip: true }, { content: "b c" }])
    assert.equal(
      cut("gpt2", () => ({ added_tokens: [{ id: 0, content: "<x>", ...more }] })),
      null,
    );
  const lower = { ...readTokenizer(join(texts, "gpt2")).json, normalizer: { type: "Lowercase" } };
  assert.ok(splitPointsOf(lower, by(String.raw`(?i:[A-Z])|\p{Ll}|[^\p{L}]`)));
  assert.equal(splitPointsOf(lower, by(String.raw`(?i:[A-Z]\s?)|\p{Ll}|[^\p{L}]`)), null);
  const two = { type: "Replace", pattern: { String: "b " }, content: "" };
  assert.equal(
    cut("gpt2", () => ({ normalizer: two })),
    null,
  );
  const marked = { type: "Replace", pattern: { String: " " }, content: "_" };
  for (const [name, normalizers] of [
    ["gpt2", [marked]],
    ["words", [{ type: "BertNormalizer" }, marked]],
  ] as [string, Part[]][]) {
    const normalizer = { type: "Sequence", normalizers };
    const file = readTokenizer(join(texts, name));
    const cuts = splitPointsOf({ ...file.json, normalizer }, by(String.raw`\w+|\W`));
    assert.equal(cuts?.at.source.endsWith("[\\n]") ?? false, name === "gpt2", name);
  }
  for (const content of ["", "  "])
    assert.equal(
      cut("gpt2", () => ({ normalizer: { ...marked, content } }))?.at.source.endsWith("[\\n]"),
      true,
      content,
    );
  const { model: bpe } = readTokenizer(join(texts, "llama")).json;
  assert.ok(bpe.type === "BPE");
  const { q: _, ...vocab } = bpe.vocab;
  for (const [letter, model] of [
    ["b", { ...bpe, merges: [...bpe.merges, "ab \u2581c"] }],
    ["q", { ...bpe, vocab }],
  ] as const) {
    const cuts = cut("llama", () => ({ model }));
    assert.deepEqual([cutsAfter(cuts, letter), cutsAfter(cuts, "a")], [false, true]);
  }
  for (const content of ["bcq", "qcb"]) {
    const cuts = cut("llama", ({ added_tokens: added }) => ({ added_tokens: [...added, { id: 5, content }] }));
    assert.deepEqual([cutsAfter(cuts, "b"), cutsAfter(cuts, "q"), cutsAfter(cuts, "a")], [false, false, true]);
  }
  const unsplit = { type: "Metaspace", split: false };
  const digits = { type: "Sequence", pretokenizers: [unsplit, { type: "Digits" }] };
  const unprefixed = { type: "Metaspace", prepend_scheme: "never" };
  assert.ok(cutsIn("unigram"));
  const more = { type: "Sequence", pretokenizers: [{ type: "Metaspace" }, { type: "Digits" }] };
  for (const pre of [unsplit, digits, more, unprefixed])
    assert.equal(
      cutsIn("unigram", () => pre),
      null,
    );
  const over = { type: "Replace", pattern: { String: "b\u2581" }, content: "" };
  assert.ok(cut("llama", () => ({ normalizer: prefixed("\u2581") })));
  for (const [name, normalizer] of [
    ["llama", prefixed("\u2581", over)],
    ["llama", prefixed("_")],
    ["unigram", two],
  ] as const)
    assert.equal(
      cut(name, () => ({ normalizer })),
      null,
    );
  assert.equal(
    cutsIn("llama", () => by(String.raw`\p{L}+\W*|\W+`)),
    null,
  );
  const { model: bytes } = readTokenizer(join(texts, "gpt2")).json;
  assert.ok(bytes.type === "BPE");
  const { "\u0143": __, ...fewer } = bytes.vocab;
  const cuts = cut("gpt2", () => ({ model: { ...bytes, vocab: fewer } }));
  assert.deepEqual([cutsAfter(cuts, "\u00e9"), cutsAfter(cuts, "a")], [false, true]);
});

const broken = (change: (json: Record<string, unknown>) => unknown, name = "gpt2"): string => {
  const at = temporaryFolder();
  cpSync(join(texts, name), at, { recursive: true });
  const path = join(at, "tokenizer.json");
  const made = change(JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>);
  writeFileSync(path, typeof made === "string" ? made : JSON.stringify(made));
  return at;
};
const model = (json: Record<string, unknown>): Record<string, unknown> => json["model"] as Record<string, unknown>;
const deep = `${'{"type":"Sequence","pretokenizers":['.repeat(1e4)}${"]}".repeat(1e4)}`;
test("a file that is no tokenizer is a Problem with its path, the key and what to do", async () => {
  const open = (change: (json: Record<string, unknown>) => unknown) => () => openTokenizer(broken(change));
  await refused(
    open(() => "{"),
    /tokenizer\.json is not JSON/,
    "restore",
  );
  await refused(
    open(() => []),
    /tokenizer\.json: /,
  );
  await refused(
    open((j) => ({ ...j, model: undefined })),
    "tokenizer.json: model",
  );
  await refused(
    open((j) => ({ ...j, model: { ...model(j), vocab: { a: "1" } } })),
    "model.vocab",
    "--ids",
  );
  await refused(
    open((j) => ({ ...j, model: { ...model(j), vocab: { a: 1e9 } } })),
    "model.vocab",
  );
  await refused(
    open((j) => ({ ...j, model: { ...model(j), merges: [1] } })),
    "model.merges",
  );
  await refused(
    open((j) => ({ ...j, model: { ...model(j), type: "Other" } })),
    "model.type",
  );
  await refused(
    open((j) => ({ ...j, added_tokens: [{ id: -1, content: "a" }] })),
    "added_tokens.0.id",
  );
  await refused(
    open((j) => ({ ...j, normalizer: { type: "Nothing" } })),
    "Nothing",
  );
  await refused(
    open((j) => ({ ...j, pre_tokenizer: { type: "UnicodeScripts" } })),
    "UnicodeScripts",
  );
  for (const decoder of [{ type: "CTC" }, { type: "Strip", content: " ", start: 0, stop: 1 }])
    await refused(
      open((j) => ({ ...j, decoder })),
      decoder.type,
    );
  const empty = { type: "Sequence", pretokenizers: [null] };
  await refused(
    open((j) => ({ ...j, pre_tokenizer: empty })),
    "pre_tokenizer.pretokenizers.0",
  );
  await refused(
    open((j) => JSON.stringify({ ...j, pre_tokenizer: 0 }).replace('"pre_tokenizer":0', `"pre_tokenizer":${deep}`)),
    "parts in parts",
  );
  await refused(
    open((j) => ({ ...j, normalizer: { type: "Replace", pattern: {} } })),
    "normalizer.pattern: it must",
  );
  const unclosed = { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated", invert: false };
  await refused(
    open((j) => ({ ...j, pre_tokenizer: unclosed })),
    "tokenizer.json",
  );
  const long = broken((j) => j);
  truncateSync(join(long, "tokenizer.json"), 100e6);
  await refused(() => openTokenizer(long), "tokenizer.json has 100000000 bytes; a tokenizer's are");
  await refused(() => openTokenizer(temporaryFolder()), "has no tokenizer.json");
  await refused(() => openTokenizer(join(temporaryFolder(), "none")), "no such file");
  const large = Object.fromEntries(Array.from({ length: 200_000 }, (_, i) => [`t${i}`, i]));
  const words = broken((j) => ({ ...j, added_tokens: [], model: { ...model(j), vocab: large } }), "words");
  assert.equal((await openTokenizer(words)).vocabularySize, 200_000);
  const codec = await openTokenizer(join(texts, "gpt2"));
  await refused(() => encoded(codec, Uint8Array.of(97, 0xff), "latin.txt"), "latin.txt is not UTF-8", "iconv");
  const cut = new Uint8Array(2 << 16).fill(97).fill(0xc3, (2 << 16) - 1);
  await refused(() => encoded(codec, cut, "cut.txt"), "cut.txt is not UTF-8", "iconv");
  const digits = new Uint8Array((8 << 20) + 1).fill(0x31);
  await refused(() => encoded(codec, digits, "digits.txt"), "digits.txt has more than 8388608 characters", "--data");
});
test("whether texts begin with a token, tokenizer_config.json says before tokenizer.json", async () => {
  const single = [{ SpecialToken: { id: "<|end|>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }];
  const tokens = { "<|end|>": { id: "<|end|>", ids: [0], tokens: ["<|end|>"] } };
  const post = { type: "TemplateProcessing", single, pair: single, special_tokens: tokens };
  const at = broken((j) => ({ ...j, post_processor: post }));
  const [first, ...a] = (await openTokenizer(at)).encode("a");
  assert.equal(first, 0);
  writeFileSync(join(at, "tokenizer_config.json"), '{"add_bos_token": false}');
  assert.deepEqual((await openTokenizer(at)).encode("a"), a);
  const after = [single[1], { SpecialToken: { id: "a", type_id: 0 } }];
  const known = { a: { id: "a", ids: a, tokens: ["a"] } };
  const ended = broken((j) => ({ ...j, post_processor: { ...post, single: after, special_tokens: known } }));
  assert.deepEqual((await openTokenizer(ended)).documents?.end, a);
});
test("words like those of JavaScript's objects keep their numbers", async () => {
  const vocab = { constructor: 0, prototype: 1, toString: 2, "<unk>": 3 };
  const at = broken(
    (j) => ({ ...j, added_tokens: [], model: { ...model(j), vocab: { ...vocab, ["__proto__"]: 4 } } }),
    "words",
  );
  assert.deepEqual((await openTokenizer(at)).encode("constructor prototype other"), [0, 1, 3]);
});
test("an expression that tries every way to divide a text is ended, also where it takes one letter", async () => {
  const slower = { type: "Split", pattern: { Regex: "(?:a?|a??){40}c" }, behavior: "Isolated", invert: false };
  const opened = broken((j) => ({ ...j, pre_tokenizer: slower }));
  await refused(() => openTokenizer(opened, 1000), "no end after", "--ids");
  const slow = { type: "Split", pattern: { Regex: "(?:a+)+b" }, behavior: "Isolated", invert: false };
  const codec = await openTokenizer(
    broken((j) => ({ ...j, pre_tokenizer: slow })),
    1000,
  );
  await refused(() => codec.encode("a".repeat(40)), "no end after", "--ids");
});
test.run();
