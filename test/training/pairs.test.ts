// Pairs of a prompt and an answer, for models with an encoder: their batches, and a run from training to text.

import assert from "node:assert/strict";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import type { Problem } from "../../compiler/diagnostic.ts";
import { TokenCache, tokenFolder } from "../../runtime/cache/tokens.ts";
import { compileGenerate } from "../../runtime/generation/compile-generate.ts";
import { generate } from "../../runtime/generation/generate.ts";
import { openFolder } from "../../runtime/generation/open-run.ts";
import { openModel } from "../../runtime/index.ts";
import { findEntry, readProgram } from "../../runtime/program.ts";
import { bytesOfFile, TokenText } from "../../runtime/storage/token-text.ts";
import { textSizes } from "../../runtime/text-entry.ts";
import { encodeSource } from "../../runtime/tokenizer/chat.ts";
import { openTokenizer } from "../../runtime/tokenizer/codec.ts";
import { type Codec, codecs, type Languages, startTokensOf, withBegin, withStart } from "../../runtime/tokens.ts";
import {
  type Batch,
  type Dataset,
  pairsOf,
  readDataset,
  requireEnough,
  trainingPairs,
} from "../../runtime/training/data.ts";
import { evaluate } from "../../runtime/training/evaluate.ts";
import { longestPair, pairBatch, pairBatches, sourceSize } from "../../runtime/training/pairs.ts";
import { openTraining } from "../../runtime/training/train.ts";
import { singleWorker } from "../../runtime/workers/workers.ts";
import { assertProblem } from "../assert-problem.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { small } from "../training-runs.ts";

const test = suite("pairs");
const folder = temporaryFolder();
const fileOf = (name: string, pairs: readonly (readonly [string, string])[]): string => {
  const path = join(folder, name);
  writeFileSync(path, pairs.map(([prompt, completion]) => `${JSON.stringify({ prompt, completion })}\n`).join(""));
  return path;
};
const read = (path: string, start: readonly number[] = [1]): Promise<Dataset> =>
  readDataset([path], withStart(codecs.bytes, start), { pairs: true }, null);
const rows = ({ source, tokens, targets }: Batch): string[] =>
  [source, tokens, targets].map((t) => {
    const [b = 0, n = 0] = t?.shape ?? [];
    const row = (i: number): string => Array.from(t?.data.subarray(i * n, i * n + n) ?? [], showByte).join("");
    return Array.from({ length: b }, (_, i) => row(i)).join("|");
  });
const showByte = (token: number): string =>
  token === -1 ? "." : token === 1 ? "^" : token === 10 ? "$" : String.fromCharCode(token);
const some = Array.from({ length: 40 }, (_, i): [string, string] => ["ab".repeat(1 + (i % 3)), "xyz".slice(0, i % 4)]);

test("a prompt is a source with what ends it, and an answer what is written after the start token", async () => {
  const text = await read(fileOf("two.jsonl", [...some.slice(0, 3), ["a", ""]]));
  assert.deepEqual(longestPair(pairsOf(text, "all")), { source: 7, answer: 3 });
  const [batch, ...more] = pairBatches(pairsOf(text, "all"), 5, 8, 4);
  assert.equal(more.length, 0);
  assert.ok(batch);
  assert.deepEqual(rows(batch), [
    "ab$.....|abab$...|ababab$.|a$......|........",
    "^...|^x..|^xy.|^...|....",
    "$...|x$..|xy$.|$...|....",
  ]);
  assert.equal(batch.count, 1 + 2 + 3 + 1);
});
test("a decoder may begin with several tokens, of which it predicts none", async () => {
  const text = await read(fileOf("one.jsonl", [["a", "xy"]]), [1, 66]);
  assert.deepEqual(longestPair(pairsOf(text, "all")), { source: 2, answer: 4 });
  assert.deepEqual(rows(pairBatch(pairsOf(text, "all"), [0], 2, 5)), ["a$", "^Bxy.", ".xy$."]);
});
test("what begins a text stands before the prompt alone; an answer of no tokens has room for its beginning", async () => {
  const { documents } = codecs.bytes;
  const codec = (end: readonly number[]) =>
    withStart({ ...codecs.bytes, documents: documents && { ...documents, begin: [60], end } }, [1, 66]);
  const path = fileOf("begun.jsonl", [["a", "x"]]);
  const text = pairsOf(await readDataset([path], codec([10]), { pairs: true }, null), "all");
  assert.deepEqual(rows(pairBatch(text, [0], 3, 3)), ["<a$", "^Bx", ".x$"]);
  const empty = pairsOf(
    await readDataset([fileOf("none.jsonl", [["a", ""]])], codec([]), { pairs: true }, null),
    "all",
  );
  const { source, answer } = longestPair(empty);
  assert.deepEqual(rows(pairBatch(empty, [0], source, answer)), ["<a", "^B", ".."]);
});
test("what is read has a length of its own, which the data says", async () => {
  const path = join(folder, "lengths.moe");
  const entryOf = (U: string) => {
    writeFileSync(
      path,
      `model M() { train(source: i32[B, ${U}], tokens: i32[B, T], targets: i32[B, T]) { loss none = 0 } }`,
    );
    return findEntry(readProgram(path), "M.train");
  };
  assert.deepEqual(textSizes(entryOf("U"), { set: { T: 3, D: 5 } }), { B: undefined, T: 3, others: { D: 5 } });
  await assertProblem(
    () => textSizes(entryOf("U"), { set: { U: 3 } }),
    "U of `train` follows from the prompts",
    "--set U=VALUE",
  );
  await assertProblem(() => textSizes(entryOf("T"), {}), "which is not text", "source: i32[B, U]");
});
test("no pair is cut where held-out text begins, and an epoch has each pair once", async () => {
  const text = await read(fileOf("some.jsonl", some));
  const [kept, held] = [pairsOf(text, "training").starts.length, pairsOf(text, "heldOut").starts.length];
  assert.equal(kept + held, 40);
  assert.ok(held >= 1);
  for (const seed of [undefined, 7]) {
    const [seen, next] = [0, kept].map((from) =>
      Array.from({ length: kept }, (_, i) => rows(trainingPairs(text, 1, 8, 4, from + i, seed)).join("/")),
    ) as [string[], string[]];
    const all = [...pairBatches(pairsOf(text, "training"), 1, 8, 4)].map((batch) => rows(batch).join("/"));
    assert.deepEqual(seed === undefined ? seen : seen.toSorted(), seed === undefined ? all : all.toSorted());
    assert.deepEqual(next.toSorted(), all.toSorted());
    if (seed !== undefined) for (const order of [all, next]) assert.notDeepEqual(seen, order);
  }
});
const said = (run: () => unknown, ...words: string[]): Promise<void> =>
  assert.rejects(
    async () => run(),
    (e: Problem) => words.every((word) => `${e.message}\n${e.help}`.includes(word)),
  );
test("what does not fit says what to do", async () => {
  const plain = join(folder, "plain.txt");
  writeFileSync(plain, "abc");
  await said(() => read(plain), "plain.txt is a text", ".jsonl");
  const text = join(folder, "text.jsonl");
  writeFileSync(text, '{"text": "abc"}\n');
  await said(() => read(text), "text.jsonl, line 1 has no prompt", '"completion"');
  const one = await read(fileOf("one.jsonl", some.slice(0, 1)));
  await said(() => requireEnough(one, 1, 4), "too few pairs", "--held-out");
  await said(() => sourceSize({ source: 3, answer: 9 }, 8, null), "an answer has 9 tokens", "--length 9");
  await said(() => sourceSize({ source: 9, answer: 3 }, 8, 8), "a prompt has 9 tokens", "Source=9");
  assert.equal(sourceSize({ source: 9, answer: 3 }, 8, 12), 12);
  assert.equal(sourceSize({ source: 5, answer: 3 }, 8, null), 8);
});

test("a language is a token: of the prompt before it, of the answer behind the decoder's first", async () => {
  const codec = withStart(await openTokenizer(join(project, "test/peers/texts/unigram")), [2, 9]);
  const [begin, ...rest] = encodeSource(codec, "the ship");
  assert.equal(begin, 1);
  assert.deepEqual(encodeSource(codec, "the ship", "<|end|>"), [2, ...rest]);
  assert.deepEqual(encodeSource(codecs.ids, "5 12", "66"), [66, 5, 12]);
  await said(() => encodeSource(codec, [{ role: "user", content: "a" }], "<unk>"), "a conversation", "or give a text");
  assert.deepEqual(startTokensOf(codec, "<unk>"), [2, 0]);
  assert.deepEqual(startTokensOf(withStart(codecs.ids, [2]), "66"), [2, 66]);
  for (const other of [codec, codecs.bytes])
    await said(() => startTokensOf(other, "fra_Latin"), "fra_Latin is no token", "fra_Latn in NLLB's");
});

const model = `import { SwitchTransformers } from "std/models/t5"
model Tiny(Context = 6, Source = 8) =
  SwitchTransformers(V: 256, D: 8, H: 8, M: 2, L: 2, Heads: 1, A: 4, E: 2, First: 1, Step: 2, Mixed: 0, Odd: 1, Buckets: 4, most: 8,
                     Context: Context, Source: Source, rate: 0.02)
`;
const unigram = join(project, "test/peers/texts/unigram");
test("a run is trained in languages, keeps them, and is evaluated and asked in them", async () => {
  const [program, out] = [join(folder, "languages.moe"), join(folder, "languages")];
  writeFileSync(program, model.replace("V: 256", "V: 400").replaceAll("= 6", "= 8"));
  const data = [
    fileOf(
      "languages.jsonl",
      some.map(([a, b]) => [a.slice(0, 2), b.slice(0, 1)]),
    ),
  ];
  const how = { data, program, out, tokenizer: unigram, steps: 1, batch: 2, length: 6, target: "reference" } as const;
  const languages = { sourceLanguage: "<unk>", targetLanguage: "<|end|>" } as const;
  const trained = await openTraining({ ...how, ...languages });
  for await (const { heldOut } of trained.steps()) assert.ok(heldOut === null || heldOut > 0);
  const [{ source, tokens, targets }] = [trainingPairs(trained.text, 1, 8, 6, 1)];
  const [end] = trained.text.codec.documents?.end ?? [];
  assert.equal(source?.data[0], 0);
  assert.deepEqual(Array.from(tokens.data.subarray(0, 2)), [end, 2]);
  assert.deepEqual([targets.data[0], Number(targets.data[1]) >= 0], [-1, true]);
  trained.close();
  const { begin, start } = JSON.parse(readFileSync(join(out, "config.json"), "utf8"));
  assert.deepEqual([begin, start], [[0], [end, 2]]);
  const { codec, checkpoint } = await openFolder({ folder: out });
  checkpoint.close();
  assert.deepEqual([encodeSource(codec, "ab")[0], startTokensOf(codec)], [0, [end, 2]]);
  assert.equal(encodeSource(codec, "ab", "<s>")[0], 1);
  const lossOf = async (more: Languages): Promise<number> =>
    (await evaluate({ folder: out, data, target: "reference", ...more })).loss;
  const [own, same, other] = [await lossOf({}), await lossOf(languages), await lossOf({ sourceLanguage: "<s>" })];
  assert.equal(own, same);
  assert.notEqual(own, other);
  const firstLoss = async (shuffle: boolean): Promise<number | null> => {
    const training = await openTraining({ ...how, ...languages, out: null, shuffle });
    let first: number | null = null;
    for await (const { loss } of training.steps()) first ??= loss;
    training.close();
    return first;
  };
  assert.notEqual(await firstLoss(true), await firstLoss(false));
  const goOn = { ...how, steps: 2, resume: true } as const;
  (await openTraining(goOn)).close();
  (await openTraining({ ...goOn, ...languages })).close();
  for (const [name, more] of [
    ["--source-language", { sourceLanguage: "<s>" }],
    ["--target-language", { targetLanguage: "<s>" }],
  ] as const)
    await assertProblem(() => openTraining({ ...goOn, ...more }), `${name} was`, "--from");
  await assertProblem(
    () => openTraining({ ...goOn, sourceLanguage: "fra" }),
    "the language fra is no token",
    "fra_Latn",
  );
  const plain = { ...how, program: join(project, "examples/gpt-moe.moe"), out: null, ...languages };
  await assertProblem(() => openTraining(plain), "has no encoder", "leave the languages out");
});
test("a model without an encoder begins no text with the language of the run that it begins from", async () => {
  const [program, out] = [join(folder, "decoder.moe"), join(folder, "decoder")];
  writeFileSync(program, small(400, 8));
  const how = {
    program,
    data: [fileOf("decoder.jsonl", some)],
    batch: 1,
    length: 6,
    steps: 1,
    target: "reference",
  } as const;
  const trained = await openTraining({ ...how, out, tokenizer: unigram });
  for await (const _ of trained.steps()) continue;
  trained.close();
  const params = configured(out, { begin: [0], start: [2] });
  const training = await openTraining({ ...how, out: null, params });
  const { config, text } = training;
  training.close();
  assert.deepEqual([config.tokenizer, config.begin, config.start], [trained.config.tokenizer, undefined, undefined]);
  assert.deepEqual(text.codec.documents?.begin, [1]);
});
test("encoded pairs, and texts, are kept with what begins them", async () => {
  const [made, root] = [[] as number[], temporaryFolder()];
  const text = Array.from({ length: 6000 }, (_, i): [string, string] => [
    `the ship ${i} and the sea`,
    "the whale is white",
  ]);
  const path = fileOf("many.jsonl", text);
  const codec = codecs.bytes;
  const known: Codec = { ...codec, config: { tokenizer: "known" } };
  const cache = new TokenCache("test", () => tokenFolder(root));
  for (const pairs of [true, false])
    for (const one of [known, withBegin(known, [60]), known, withBegin(known, [61])]) {
      const { tokens } = await cache.encodeFile(one, bytesOfFile(path), path, { pairs });
      made.push(new TokenText([tokens]).read()[0] ?? 0);
    }
  assert.deepEqual(made, [~116, ~60, ~116, ~61, ~116, ~60, ~116, ~61]);
});

/** A copy of a run's folder whose config.json has more. */
function configured(run: string, more: object): string {
  const copy = join(temporaryFolder(), "run");
  cpSync(run, copy, { recursive: true });
  const path = join(copy, "config.json");
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...more }));
  return copy;
}
/** Looks at no more than four tokens of a source, which its header does not say. */
const short = `
  import { Embedding } from "std/nn"
  import { CrossAttention } from "std/attention"
  import { newest, sample } from "std/sample"
  model Short(V = 16, D = 4) {
    embed: Embedding(V, D)
    cross: CrossAttention(D, 1, Context: 4)
    encode(source: i32[B, U], at: i32[B, U]) {
      let none: float[B, 0, D] = 0
      let _ = cross(none, embed(source), at)
    }
    generate(tokens: i32[B, T], at: i32[B, T], temperature: f32[B]) -> i32[B] {
      let none: float[B, 0, D] = 0
      let nowhere: i32[B, 0] = -1
      return sample(embed.logits(newest(cross(embed(tokens), none, nowhere), at)), temperature)
    }
  }
`;
test("a source longer than what its keys have room for is refused, also where the header does not say", async () => {
  const file = join(folder, "short.moe");
  writeFileSync(file, short);
  const program = readProgram(file);
  const how = { target: "reference", rows: 1 } as const;
  const { executable, source } = await compileGenerate(program, "Short", how);
  executable.close();
  assert.equal(source, 4);
  await assert.rejects(
    compileGenerate(program, "Short", { ...how, prompt: 5 }),
    /reads 4 tokens, and the prompt has 5/,
  );
});
test("a model is trained on pairs, evaluated, and answers prompts of its own length, one by one as in a batch", async () => {
  const [program, out] = [join(folder, "tiny.moe"), join(folder, "run")];
  writeFileSync(program, model);
  const pairs = Array.from({ length: 60 }, (_, i): [string, string] => (i % 2 === 0 ? ["a", "y"] : ["bbbb", "xz"]));
  const data = [fileOf("learn.jsonl", pairs)];
  const how = { data, steps: 60, batch: 6, length: 4, target: "reference" } as const;
  let loss = Number.NaN;
  const training = await openTraining({ ...how, program, out });
  for await (const step of training.steps()) loss = step.heldOut ?? loss;
  assert.ok(loss < 0.3, String(loss));
  let sample = "";
  for await (const piece of training.sample({ tokens: 300, temperature: 2 }) ?? []) sample += piece;
  assert.equal(sample, "a\ny");
  training.close();
  const evaluated = await evaluate({ folder: out, data, target: "reference" });
  assert.ok(Math.abs(evaluated.loss - loss) < 0.1, String(evaluated.loss));
  assert.equal(evaluated.targets, 30 * 2 + 30 * 3);
  const prompts = ["a", "bbbb", "a"];
  const texts = prompts.map(() => "");
  for await (const { prompt, text, answers } of generate(
    { folder: out, prompts, batch: 2, temperature: 0 },
    singleWorker,
  )) {
    texts[prompt] += text;
    assert.ok(answers);
  }
  assert.deepEqual(texts, ["y", "xz", "y"]);
  const opened = await openModel(out, { batch: 1, target: "reference" });
  try {
    let answer = "";
    for await (const piece of opened.generate("bbbb", { temperature: 0 })) answer += piece;
    assert.equal(answer, "xz");
    const french = opened.generate("a", { targetLanguage: "fra_Latn" }).next();
    await assert.rejects(french, /the language fra_Latn is no token/);
    const long = opened.generate("b".repeat(9)).next();
    await assert.rejects(long, /the model reads 8 tokens, and the prompt has 10/);
    const unknown = generate({ folder: configured(out, { start: [256] }), prompts: ["a"] }, singleWorker).next();
    await assert.rejects(unknown, /begin with the token 256, and the model's tokens are 0 to 255/);
    const kept = generate({ folder: out, prompts, prefixes: 1, target: "reference" }, singleWorker).next();
    await assert.rejects(kept, /an encoder, which reads each prompt whole: no beginning/);
    await assert.rejects(evaluate({ folder: configured(out, { start: [1, 300] }), data }), /begin with the token 300/);
  } finally {
    await opened.close();
  }
});
test.run();
