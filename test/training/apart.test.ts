// Documents that a model keeps apart: what the loader says of them, and that packed into rows they have the losses that each has alone.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { load } from "../../compiler/check/index.ts";
import type { Target } from "../../compiler/options.ts";
import { compileProgram } from "../../runtime/compile.ts";
import { lcg } from "../../runtime/measure/lcg.ts";
import { findEntry, readProgram } from "../../runtime/program.ts";
import { TokenText } from "../../runtime/storage/token-text.ts";
import { fromNumbers } from "../../runtime/tensor.ts";
import { tellsApart, textAxes, trainingRequest } from "../../runtime/text-entry.ts";
import { codecs, joinStarts, oneDocument, tokenOf } from "../../runtime/tokens.ts";
import {
  type Batch,
  type Dataset,
  evaluationBatches,
  readDataset,
  requireEnough,
  shuffledBatch,
  targetsOf,
  trainingBatch,
} from "../../runtime/training/data.ts";
import { evaluate } from "../../runtime/training/evaluate.ts";
import { runBatch } from "../../runtime/training/loop.ts";
import { assertProblem } from "../assert-problem.ts";
import { onEmulator } from "../emulator/build.ts";
import { full } from "../full.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { losses } from "../training-runs.ts";

const test = suite("documents apart");
const folder = temporaryFolder();
const file = (name: string, content: string): string => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};
const random = lcg(5);
const below = (n: number): number => Math.floor(n * random());

const read = (files: string[], apart = true): Promise<Dataset> => readDataset(files, codecs.bytes, { apart }, null);
test("where documents begin: lines, and files of text; a part that is held out has its own places", async () => {
  const lines = ['{"text": "ab"}', "", '{"prompt": "c", "completion": "d"}', '{"text": ""}'].join("\n");
  const [jsonl, plain] = [file("some.jsonl", lines), file("some.txt", "efg")];
  const text = await read([plain, jsonl, plain]);
  assert.is(String.fromCharCode(...Int32Array.from(text.all.read(), tokenOf)), "efgab\ncd\n\nefg");
  assert.equal([...(text.starts ?? [])], [0, 3, 6, 9, 10]);
  assert.equal([...((await read([plain, file("no.txt", ""), plain])).starts ?? [])], [0, 3]);
  const together = await read([jsonl], false);
  assert.equal([together.starts, together.heldOutStarts], [null, null]);
  const long = await read([file("long.jsonl", '{"text": "1234"}\n'.repeat(40))]); // 200 tokens, of which 190 to train
  assert.equal([long.training.length, [...(long.heldOutStarts ?? [])]], [190, [0, 5]]);
  const given = await readDataset([plain], codecs.bytes, { apart: true, heldOut: [jsonl] }, null);
  assert.equal([[...(given.starts ?? [])], [...(given.heldOutStarts ?? [])]], [[0], [0, 3, 6]]);
  const { all, starts } = await read([jsonl, jsonl]);
  assert.is(targetsOf(all, starts), 2 * (2 + 2), "of ab and cd; what is only read is none where it begins, either");
});

test("where documents begin is known past 4 GiB", () => {
  const [long, short] = [oneDocument(new Uint8Array(2 ** 32)), oneDocument(new Uint8Array(1))];
  assert.equal([...joinStarts([long, short])], [0, 2 ** 32]);
});

/** Documents of token numbers, each token once; a document is a file. */
const lengths = Array.from({ length: 60 }, () => 1 + below(20));
const numbered = (): Promise<Dataset> => {
  let next = 0;
  const files = lengths.map((n, i) => file(`${i}.ids`, Array.from({ length: n }, () => next++).join(" ")));
  return readDataset(files, codecs.ids, { apart: true }, null);
};
test("a batch says where in its row each token's document begins, and no document's first token is a target", async () => {
  const text = await numbered();
  const document = lengths.flatMap((n, i) => Array.from({ length: n }, () => i));
  const [B, T] = [3, 17];
  const check = ({ tokens, targets, since, count }: Batch, first = 0): void => {
    let counted = 0;
    for (let i = 0; i < B * T; i++) {
      const [row, token, target] = [i - (i % T), tokens.data[i] ?? -1, targets.data[i] ?? -2];
      const place = tokens.data.findIndex((t, j) => j >= row && document[t + first] === document[token + first]) - row;
      if (target < 0 && token === 0 && i % T > 0) continue; // behind the end of the text
      assert.is(since?.data[i], place, `token ${token}`);
      const same = document[token + first] === document[token + first + 1];
      if (i % T < T - 1 && tokens.data[i + 1] === token + 1) assert.is(target, same ? token + 1 : -1);
      counted += target >= 0 ? 1 : 0;
    }
    assert.is(count, counted);
  };
  for (let step = 0; step < 30; step++) check(trainingBatch(text, B, T, step));
  for (let step = 0; step < 30; step++) check(shuffledBatch(text, B, T, step, 1));
  const batches = [...evaluationBatches(text.all, B, T, text.starts)];
  batches.forEach((batch) => check(batch));
  const targets = batches.flatMap((batch) => [...batch.targets.data].filter((t) => t >= 0));
  const wanted = document.flatMap((d, i) => (d === document[i - 1] ? [i] : []));
  assert.equal(
    targets.toSorted((a, b) => a - b),
    wanted,
  );
  assert.is(targetsOf(text.all, text.starts), wanted.length);
  const single = { ...text, heldOut: new TokenText([Int32Array.of(1, 2, 3)]), heldOutStarts: Float64Array.of(0, 1, 2) };
  assert.throws(() => requireEnough(single, 1, 4), "nothing of the held-out 3 tokens");
});
/** A `train` that takes text and then `more`. */
const entry = (more: string) => {
  const train = `train(tokens: i32[N, L], targets: i32[N, L]${more}) { loss a = f32(sum(tokens)) }`;
  return findEntry(load({ name: "a.moe", text: `model A() { ${train} }` }), undefined, "train");
};
test("`since` is known as a third argument of that type and shape, and asked for even if it has a default", async () => {
  const inputs = (more: string): unknown => trainingRequest(entry(more), { B: 1, T: 2 }, ["train"]).entries[0]?.inputs;
  assert.equal([", since: i32[N, L]", ", since: i32[N, L] = 0"].map(inputs), [["since"], ["since"]]);
  assert.equal([tellsApart(entry("")), inputs("")], [false, []]);
  for (const more of [
    ", since: f32[N, L]",
    ", since: i32[L, N]",
    ", since: i32[N]",
    ", since: i32[...S, N, L]",
    ", mask: i32[N, L]",
    ", since: i32[N, L], x: f32",
  ])
    await assertProblem(() => textAxes(entry(more)), "which is not text", "with or without since: i32[B, T]");
});

/** Models of the library, small, with what differs in how they attend; the first is of few kernels. */
/** A block with n-grams, on two streams. */
const ngrams = (more: string): string =>
  `Qwen4NgramDelta(8, 2, 3, 6, 5, 3, 2, 60, 3, Keys: 1, Values: 2, KeyWidth: 3, ValueWidth: 2, Chunk: 4, GramHeads: 2, Shards: 2, ${more}, std: 0.5)`;
const models = {
  LanguageModel: "LanguageModel(19, 8, 1, Block(8, Attention(8, 4, 2, std: 0.5), SwiGlu(8, 6, 0.5))[1], std: 0.5)",
  Mixtral: "Mixtral(V: 19, D: 8, H: 6, L: 1, Heads: 4, Groups: 2, E: 3, K: 2, window: 5, std: 0.5)",
  GptOss: "GptOss(V: 19, D: 8, H: 6, L: 2, Heads: 4, Groups: 2, A: 4, E: 3, K: 2, window: 4, std: 0.5)",
  DeepSeekV3:
    "DeepSeekV3(V: 19, D: 8, F: 10, H: 6, L: 2, Dense: 1, Heads: 2, E: 4, K: 2, G: 2, Open: 1, Q: 6, R: 4, A: 4, P: 2, C: 4, std: 0.5)",
  DeepSeekV32:
    "DeepSeekV32(V: 19, D: 8, F: 10, H: 6, L: 1, Dense: 1, Heads: 2, E: 4, K: 2, G: 2, Open: 1, Q: 6, R: 4, A: 4, P: 2, C: 4, Top: 3, IndexHeads: 4, IndexWidth: 4, std: 0.5)",
  Dots3Note:
    "Dots3Note(V: 19, D: 8, F: 10, H: 6, S: 5, L: 6, Heads: 2, Q: 6, R: 4, A: 4, P: 2, C: 4, NearHeads: 1, NearQ: 5, NearR: 3, NearA: 3, NearP: 4, NearC: 3, E: 4, K: 2, Top: 3, IndexHeads: 4, IndexWidth: 4, window: 4, std: 0.5)",
  Gemma2: "Gemma2(V: 19, D: 8, H: 6, L: 2, Heads: 4, Groups: 2, A: 4, window: 4, scalar: 5, cap: 2, last: 9, std: 0.5)",
  Llama4:
    "Llama4(V: 19, D: 8, F: 10, H: 6, L: 4, Heads: 2, Groups: 1, A: 4, E: 3, Step: 2, chunk: 4, span: 3, std: 0.5)",
  MiniMaxM2: "MiniMaxM2(V: 19, D: 8, H: 6, L: 1, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, std: 0.5)",
  Gated: "LanguageModel(19, 8, 1, Block(8, GatedAttention(8, 2, 1, 4, 64), SwiGlu(8, 6, 0.5))[1], std: 0.5)",
  Short: "LanguageModel(19, 8, 1, Block(8, ShortConvolution(8, std: 0.5), SwiGlu(8, 6, 0.5))[1], std: 0.5)",
  Delta:
    "LanguageModel(19, 8, 1, Block(8, DeltaNet(8, 1, 2, 3, 2, Chunk: 8, std: 0.5), SwiGlu(8, 6, 0.5))[1], std: 0.5)",
  OlmoHybrid:
    "OlmoHybrid(V: 19, D: 8, H: 6, L: 4, Heads: 2, Groups: 1, KeyWidth: 3, ValueWidth: 2, Chunk: 4, std: 0.5)",
  Kimi: "LanguageModel(19, 8, 1, Block(8, KimiDeltaAttention(8, 2, 3, Chunk: 8, std: 0.5), SwiGlu(8, 6, 0.5))[1], std: 0.5)",
  State: "LanguageModel(19, 8, 1, Block(8, Mamba2(8, 2, 4, 3, Chunk: 8, std: 0.5), SwiGlu(8, 6, 0.5))[1], std: 0.5)",
  Selective:
    "LanguageModel(19, 8, 1, Block(8, Mamba(8, 12, 3, 2, Chunk: 8, std: 0.5), SwiGlu(8, 6, 0.5))[1], std: 0.5)",
  DeepSeekV4:
    "DeepSeekV4(V: 19, D: 8, H: 6, L: 3, N: 2, Heads: 2, E: 4, K: 2, Q: 6, A: 6, P: 4, OutGroups: 2, O: 3, window: 3, SparseRate: 2, HeavyRate: 3, Top: 2, IndexHeads: 8, IndexWidth: 5, Hashed: 1, Rounds: 3, std: 0.5)",
  Glm5Next:
    "Glm5Next(V: 19, D: 8, F: 10, H: 6, L: 5, N: 2, Heads: 2, E: 4, K: 2, Q: 6, R: 4, A: 4, C: 4, Size: 2, Top: 1, IndexHeads: 8, IndexWidth: 4, DeltaHeads: 2, DeltaWidth: 3, Rounds: 3, Chunk: 4, std: 0.5)",
  Inkling:
    "Inkling(V: 19, D: 8, F: 10, H: 6, L: 3, Dense: 1, Every: 2, Heads: 4, Groups: 2, A: 4, NearHeads: 2, NearGroups: 1, NearA: 6, R: 3, Extent: 5, window: 3, E: 4, K: 2, Shared: 2, Width: 3, floor: 3, std: 0.5)",
  Hunyuan4:
    "Hunyuan4(V: 19, D: 8, N: 2, F: 10, H: 6, L: 4, Every: 2, Heads: 2, E: 4, K: 2, Q: 6, R: 4, A: 4, P: 2, C: 4, Top: 3, IndexHeads: 4, IndexWidth: 4, std: 0.5)",
  MistralLarge4:
    "MistralLarge4(V: 19, D: 8, F: 10, H: 6, L: 8, Own: 4, Heads: 2, E: 4, K: 2, R: 5, A: 3, P: 4, C: 5, Top: 3, IndexHeads: 8, IndexWidth: 6, std: 0.5)",
  Qwen4:
    "Qwen4(V: 19, D: 8, H: 6, F: 5, L: 4, N: 2, Low: 3, Heads: 2, Groups: 1, A: 4, Size: 2, Top: 1, IndexHeads: 8, IndexWidth: 4, Keys: 1, Values: 2, KeyWidth: 3, ValueWidth: 2, E: 3, K: 2, part: 0.5, Chunk: 4, std: 0.5)",
  Qwen4Blocks: `Qwen4Blocks(19, 8, 2, 3, 3, [${ngrams("end: 3")}, Qwen4Choosing(8, 2, 3, 6, 5, 3, 2, 2, 1, 4, 2, 1, 8, 4, std: 0.5), ${ngrams("Grams: 2, GramWidth: 2")}], std: 0.5)`,
  MiniMax: "MiniMax(V: 19, D: 8, H: 6, L: 2, Heads: 2, Groups: 1, A: 4, E: 3, K: 2, Every: 2, Chunk: 8, std: 0.5)",
  MiniMaxM3:
    "MiniMaxM3(V: 19, D: 8, Wide: 10, H: 6, F: 5, L: 2, Dense: 1, Heads: 4, Groups: 2, A: 4, P: 2, E: 4, K: 2, Top: 2, Size: 3, IndexWidth: 3, std: 0.5)",
  Lfm3: "Lfm3(V: 19, D: 8, F: 6, L: 4, Heads: 2, Groups: 1, A: 4, window: 4, std: 0.5)",
  Ministral3:
    "Ministral3(V: 19, D: 8, H: 6, L: 1, Heads: 4, Groups: 2, A: 4, window: 5, original: 4, growth: 0.5, std: 0.5)",
  NanoChat: "NanoChat(V: 19, D: 8, H: 6, L: 1, Heads: 4, Groups: 2, std: 0.5)",
  Cohere: "Cohere(V: 19, D: 8, H: 6, L: 1, Heads: 4, Groups: 2, normed: true, std: 0.5)",
  PhiMoE: "PhiMoE(V: 19, D: 8, H: 6, L: 1, Heads: 2, Groups: 1, E: 4, std: 0.5)",
  Laguna:
    "Laguna(V: 19, D: 8, H: 6, F: 5, Wide: 10, L: 4, Every: 2, Heads: 2, NearHeads: 4, Groups: 2, A: 4, E: 4, K: 2, window: 4, std: 0.5)",
  MuseSpark: "MuseSpark(V: 19, D: 8, R: 6, H: 6, L: 2, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, window: 4, std: 0.5)",
  Beam: "Beam(V: 19, D: 8, H: 6, Wide: 10, L: 4, Dense: 1, Every: 2, Full: 1, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, G: 2, Open: 1, window: 4, std: 0.5)",
  Zaya: "Zaya(V: 19, D: 8, H: 6, L: 2, E: 3, R: 5, Heads: 4, Groups: 2, A: 4, Width: 3, std: 0.5)",
  Gemma4Edge:
    "Gemma4Edge(V: 19, D: 8, F: 6, SharedF: 12, L: 4, Shared: 2, Every: 2, P: 3, Heads: 2, Groups: 1, A: 4, FarA: 8, window: 4, std: 0.5)",
};
/** Those of models that are not in `decoder`. */
const files = new Map<string, string>([
  ["Cohere", "cohere2"],
  ["Lfm3", "lfm2"],
  ["Ministral3", "dense"],
  ["NanoChat", "dense"],
  ["OlmoHybrid", "dense"],
  ["DeepSeekV32", "sparse"],
  ["Dots3Note", "sparse"],
  ["DeepSeekV4", "deepseek_v4"],
  ["Glm5Next", "glm5_next"],
  ["Inkling", "inkling"],
  ["Hunyuan4", "hunyuan4"],
  ["MistralLarge4", "mistral_large4"],
  ["Qwen4", "qwen4"],
  ["Qwen4Blocks", "qwen4"],
  ["MiniMax", "minimax"],
  ["MiniMaxM3", "minimax_m3"],
  ["PhiMoE", "phi"],
  ["Laguna", "laguna"],
  ["MuseSpark", "muse"],
  ["Beam", "beam"],
  ["Zaya", "zaya"],
  ["Gemma4Edge", "gemma4_edge"],
]);
const program = (name: keyof typeof models): string =>
  file(
    `${name}.moe`,
    `import { Block } from "std/models/decoder"
     import { Attention } from "std/attention"
     import { SwiGlu } from "std/nn"
     import { GatedAttention } from "std/models/qwen3_next"
     import { ShortConvolution } from "std/convolution"
     import { DeltaNet } from "std/delta"
     import { KimiDeltaAttention } from "std/kda"
     import { Mamba, Mamba2 } from "std/mamba"
     import { Qwen4Choosing, Qwen4NgramDelta } from "std/models/qwen4"
     import { ${["Gated", "Short", "Delta", "Kimi", "State", "Selective"].includes(name) ? "LanguageModel" : name} } from "std/models/${files.get(name) ?? "decoder"}"
     model Small() = ${models[name]}`,
  );
const documents = [7, 1, 12, 2, 5, 9].map((n) => Array.from({ length: n }, () => below(19)));
/** All documents in one row. */
async function packed(): Promise<Batch> {
  const files = documents.map((numbers, i) => file(`${i}.numbers`, numbers.join(" ")));
  const text = await readDataset(files, codecs.ids, { apart: true }, null);
  const [batch] = evaluationBatches(text.all, 1, text.all.length - 1, text.starts);
  if (!batch) throw new Error("no batch");
  return batch;
}
/** Each document in a row of its own, padded. */
function alone(): Batch {
  const T = Math.max(...documents.map((numbers) => numbers.length));
  const row = (numbers: readonly number[], none: number): number[] =>
    Array.from({ length: T }, (_, i) => numbers[i] ?? none);
  const rows = (all: number[][]) => fromNumbers("i32", [all.length, T], Float64Array.from(all.flat()));
  const targets = documents.map((numbers) => row(numbers.slice(1), -1));
  const count = targets.flat().filter((t) => t >= 0).length;
  const [tokens, since] = [documents.map((numbers) => row(numbers, 0)), documents.map(() => row([], 0))];
  return { tokens: rows(tokens), targets: rows(targets), since: rows(since), count };
}
/** The losses that the model itself states. */
async function lossesOf(
  batch: Batch,
  name: keyof typeof models,
  target: Target,
  precision: "f32" | "f64",
): Promise<number[]> {
  const path = program(name);
  const [B = 0, T = 0] = batch.tokens.shape;
  const request = trainingRequest(findEntry(readProgram(path), undefined, "train"), { B, T }, ["evaluate"]);
  const { executable } = await compileProgram({ ...request, path, target, precision });
  try {
    const at = { seed: 1, call: 0, step: 0 };
    await executable.run("init", new Map(), at);
    const found = await runBatch(executable, "evaluate", batch, at);
    return ["language", "ahead"].flatMap((loss) => found.losses.get(loss) ?? []);
  } finally {
    executable.close();
  }
}
/** Checks that the losses of both are the same, and returns them. */
async function same(
  name: keyof typeof models,
  target: Target,
  precision: "f32" | "f64",
  bar: number,
): Promise<readonly number[]> {
  const [row, rows] = [await packed(), alone()];
  assert.is(row.count, rows.count);
  const [all, each] = [await lossesOf(row, name, target, precision), await lossesOf(rows, name, target, precision)];
  requireNear(all, each, bar);
  return all;
}
function requireNear(all: readonly number[], each: readonly number[], bar: number): void {
  assert.ok(all.length > 0 && all.length === each.length);
  all.forEach((x, i) => assert.ok(Math.abs(x - (each[i] ?? Number.NaN)) <= bar, `${x} and ${each[i]}`));
}
const all = Object.keys(models) as (keyof typeof models)[];
for (const name of full
  ? all
  : ([
      "GptOss",
      "DeepSeekV3",
      "DeepSeekV32",
      "Dots3Note",
      "DeepSeekV4",
      "Glm5Next",
      "Hunyuan4",
      "MistralLarge4",
      "Qwen4",
      "Qwen4Blocks",
      "MiniMax",
      "MiniMaxM3",
      "Llama4",
      "Gated",
      "Short",
      "Delta",
      "OlmoHybrid",
      "Kimi",
      "State",
      "Selective",
      "MuseSpark",
      "Zaya",
      "Gemma4Edge",
      "Ministral3",
    ] as const))
  test(`${name}: packed documents have the loss that they have alone`, async () =>
    void (await same(name, "reference", "f64", 1e-11)));
test("so they have by kernels, of the host and emulated", async () => {
  const own = await same("LanguageModel", "host", "f32", 1e-5);
  await onEmulator(async () => requireNear(await lossesOf(await packed(), "LanguageModel", "cuda", "f32"), own, 1e-5));
});
/** Its loss is large where a document does not begin with `^`, or its beginning is a target. */
const letters = `import { cross_entropy } from "std/loss"
import { AdamW } from "std/optim"
model Letters(V = 128, Steps = 4) {
  param table: float[V, V] = 0
  train(tokens: i32[B, T], targets: i32[B, T], since: i32[B, T]) {
    let wrong = (since > 0 && take(tokens, since, axis: 1) != 94) || targets == 94
    loss letters = cross_entropy(table[tokens], targets) + 100 * f32(sum(wrong)) + where(sum(since) > 0, 0, 100)
    optimize with AdamW(lr: 0.1)
  }
}
`;
test("a run keeps documents apart in training, resumed too, and in evaluation", async () => {
  const texts = Array.from({ length: 80 }, (_, i) => `^${"abcdefghi".slice(i % 3, 4 + (i % 5))}`);
  const data = file("letters.jsonl", texts.map((text) => JSON.stringify({ text })).join("\n"));
  const model = file("letters.moe", letters);
  const [out, part] = [join(folder, "run"), join(folder, "part")];
  const options = { program: model, data: [data], batch: 2, length: 16, accumulate: 2, target: "reference" } as const;
  const whole = await losses({ ...options, steps: 4, out });
  assert.ok(
    whole.every((loss) => loss < 10),
    String(whole),
  );
  await losses({ ...options, steps: 4, out: part }, 2);
  const resumed = await losses({ ...options, steps: 4, out: part, resume: true });
  assert.ok(resumed.length > 0);
  assert.equal(resumed, whole.slice(-resumed.length));
  const shuffled = await losses({ ...options, steps: 2, out: join(folder, "shuffled"), shuffle: true });
  assert.ok(
    shuffled.every((loss) => loss < 10),
    String(shuffled),
  );
  const heldOut = /"held_out":([^,}]+)/.exec(readFileSync(join(out, "log.jsonl"), "utf8"))?.[1];
  assert.ok(Number(heldOut) < 10, `held out: ${heldOut}`);
  const told: number[] = [];
  const evaluating = (done: number, of: number): number => told.push(done / of);
  const { targets, loss } = await evaluate({ folder: out, data: [data], target: "reference", evaluating });
  assert.is(told.at(-1), 1);
  assert.is(targets, texts.join("").length, "all but the first of each document, with its line end");
  assert.ok(loss < 10, String(loss));
  const single = file("single.jsonl", '{"text": ""}\n'.repeat(9));
  const nothing = (): Promise<unknown> => evaluate({ folder: out, data: [single], target: "reference" });
  await assertProblem(nothing, "the data has 9 bytes, and the first", "two or more");
});
test.run();
