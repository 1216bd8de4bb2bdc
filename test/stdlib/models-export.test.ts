// `moec export` is the inverse of `moec import`, of models that transformers wrote (scripts/peers/hf.py).
import assert from "node:assert/strict";
import fs, { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import { product } from "../../compiler/types/numbers.ts";
import { openTransformers } from "../../runtime/import/config.ts";
import { exportModel } from "../../runtime/import/export.ts";
import { importModel } from "../../runtime/import/import-model.ts";
import { readJson, weightFiles } from "../../runtime/import/weight-files.ts";
import { readSafetensors, type Tensor, tensor, writeSafetensors } from "../../runtime/index.ts";
import { runEntry } from "../../runtime/run.ts";
import { Copies } from "../../runtime/storage/names.ts";
import { readParameters } from "../../runtime/storage/parameters.ts";
import { readConfig } from "../../runtime/storage/run-folder.ts";
import { openSafetensors } from "../../runtime/storage/safetensors.ts";
import { allInMemory, inMemory, readAll } from "../../runtime/storage/stored-tensor.ts";
import { convert } from "../../runtime/tensor.ts";
import { assertProblem } from "../assert-problem.ts";
import { full } from "../full.ts";
import { withPatchedFs } from "../patch-fs.ts";
import { assertClose } from "../peer-results.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { train } from "../training-runs.ts";

const test = suite("models-export");
const hf = join(project, "test/peers/hf");
const warn = assert.fail;
async function imported(like: string): Promise<string> {
  const out = join(temporaryFolder(), "run");
  await importModel({ folder: like, out });
  return out;
}
function exported(run: string, like: string): { out: string; untied: boolean; parameters: number } {
  const out = join(temporaryFolder(), "theirs");
  return { out, ...exportModel({ folder: run, like, out, warn }) };
}
const sum = (all: readonly number[]): number => all.reduce((a, b) => a + b, 0);
/** Trains an imported model for two steps; returns the new run's folder. */
async function trained(run: string): Promise<string> {
  const [data, out] = [join(run, "data.txt"), join(temporaryFolder(), "trained")];
  writeFileSync(data, Array.from({ length: 200 }, (_, i) => (i * i) % 37).join(" "));
  const how = { data: [data], ids: true, params: run, steps: 2, batch: 2, length: 5, target: "reference" } as const;
  for await (const _ of train({ ...how, program: join(run, "model.moe"), out })) continue;
  return out;
}
async function logits(program: string, params: string): Promise<Tensor | undefined> {
  const input = join(temporaryFolder(), "tokens.json");
  writeFileSync(input, JSON.stringify({ tokens: [[3, 1, 4, 1, 5, 9, 2, 6]] }));
  return (await runEntry({ program, entry: "Imported", params, input, target: "reference" })).get("0");
}

/** A copy of a folder of transformers', with its config.json and the weights of each of its files changed. */
function changed(name: string, change: object, weights: (tensors: Map<string, Tensor>) => void): string {
  const like = temporaryFolder();
  cpSync(join(hf, name), like, { recursive: true });
  const config = join(like, "config.json");
  writeFileSync(config, JSON.stringify({ ...readJson(config), ...change }));
  for (const path of weightFiles(like)) {
    const tensors = readSafetensors(path);
    weights(tensors);
    writeSafetensors(path, tensors);
  }
  return like;
}

/** A file's tensors; whole numbers of 64 bits as words of 32. */
const inFull = (path: string): Map<string, Tensor> =>
  new Map([...openSafetensors(path)].map(([name, t]) => [name, (t.words ?? t).read()]));
for (const name of readdirSync(hf))
  test(`${name}: imported and exported, it is as it was`, async () => {
    const like = join(hf, name);
    const { out, untied, parameters } = exported(await imported(like), like);
    assert.equal(untied, false);
    const weights = weightFiles(like).flatMap((file) => [...openSafetensors(file).values()]);
    assert.equal(parameters, sum(weights.map(({ shape }) => product(shape))));
    for (const file of readdirSync(like)) {
      if (file === "expected.safetensors") continue; // the logits
      const [was = "", is] = [like, out].map((at) => join(at, file));
      if (file.endsWith(".safetensors")) assert.deepEqual(inFull(is ?? ""), inFull(was));
      else assert.equal(readFileSync(is ?? "", "utf8"), readFileSync(was, "utf8"));
    }
  });

/** The shards of each table of n-grams, which stand one behind another in a file, as one tensor. */
function joinShards(path: string): void {
  const bytes = readFileSync(path);
  const begin = 8 + Number(bytes.readBigUInt64LE());
  type Item = { readonly dtype: string; readonly shape: readonly number[]; readonly data_offsets: readonly number[] };
  const items = new Map<string, Item>();
  for (const [name, item] of Object.entries(JSON.parse(bytes.toString("utf8", 8, begin)) as Record<string, Item>)) {
    if (name === "__metadata__") continue;
    const whole = name.replace(/shard_\d+\./, "");
    const first = items.get(whole) ?? { shape: [0], data_offsets: item.data_offsets };
    const shape = [(first.shape[0] ?? 0) + (item.shape[0] ?? 0), ...item.shape.slice(1)];
    const offsets = [first.data_offsets[0] ?? 0, item.data_offsets[1] ?? 0];
    items.set(whole, whole === name ? item : { dtype: item.dtype, shape, data_offsets: offsets });
  }
  bytes.write(JSON.stringify(Object.fromEntries(items)).padEnd(begin - 8), 8);
  writeFileSync(path, bytes);
}
const parameters = (at: string): ReadonlyMap<string, Tensor> => readAll(readParameters(at, warn).tensors);
test("a table of n-grams that stands whole is imported as its shards are, and exported whole", async () => {
  const shards = join(hf, "qwen4_exp_text_ngrams");
  const whole = temporaryFolder();
  cpSync(shards, whole, { recursive: true });
  const path = join(whole, "model.safetensors");
  joinShards(path);
  const tables = [...openSafetensors(path)].filter(([name]) => name.endsWith("ngram_embedding.weight"));
  assert.deepEqual(
    tables.map(([, { shape }]) => shape),
    [
      [208, 2],
      [360, 2],
    ],
  );
  const run = await imported(whole);
  assert.deepEqual(parameters(run), parameters(await imported(shards)));
  for (const like of [whole, shards])
    assert.deepEqual(
      inFull(join(exported(run, like).out, "model.safetensors")),
      inFull(join(like, "model.safetensors")),
    );
});

test("f16 is written as f32, and so say config.json and the index", async () => {
  const like = changed("olmoe", { dtype: "float16", torch_dtype: "float16" }, (tensors) => {
    for (const [name, t] of tensors) tensors.set(name, convert(t, "bf16"));
  });
  for (const path of weightFiles(like)) // two bytes a number either way
    writeFileSync(path, Buffer.from(readFileSync(path, "latin1").replaceAll('"BF16"', '"F16" '), "latin1"));
  const { out } = exported(await imported(like), like);
  const { dtype, torch_dtype: older } = readJson(join(out, "config.json"));
  assert.deepEqual([dtype, older], ["float32", "float32"]);
  const weights = weightFiles(out).flatMap((file) => [...readSafetensors(file).values()]);
  const bytes = sum(weights.map(({ data }) => data.byteLength));
  const { metadata } = readJson(join(out, "model.safetensors.index.json"));
  assert.equal((metadata as { total_size: number }).total_size, bytes);
  assert.equal(bytes, 4 * sum(weights.map(({ data }) => data.length)));
});
test("texts, tokenizers and templates beside the weights are copied; other files and folders are not", async () => {
  const like = changed("olmoe", {}, () => {});
  const copied = ["merges.txt", "tokenizer.model", "chat_template.jinja", "generation_config.json"];
  for (const name of [...copied, "pytorch_model.bin"]) writeFileSync(join(like, name), `{"in": "${name}"}`);
  mkdirSync(join(like, "folder.json"));
  const { out } = exported(await imported(like), like);
  for (const name of copied) assert.equal(readFileSync(join(out, name), "utf8"), `{"in": "${name}"}`);
  for (const name of ["pytorch_model.bin", "folder.json"]) assert.ok(!existsSync(join(out, name)), name);
  const [first = ""] = weightFiles(out);
  assert.match(readFileSync(first, "latin1"), /"__metadata__":\{"format":"pt"\}/); // transformers asks for it
});
test("weights that import does not read are written as they were", async () => {
  const like = changed("qwen3_next", {}, (tensors) => void tensors.set("mtp.fc.weight", tensor("f32", [1, 2], [1, 2])));
  const { out } = exported(await imported(like), like);
  const [path = ""] = weightFiles(out);
  assert.deepEqual(readSafetensors(path).get("mtp.fc.weight"), tensor("f32", [1, 2], [1, 2]));
});

test("of a bias for texts and for images, that for texts is written, and the other stays", async () => {
  const [like, bias] = [join(hf, "ernie4_5_vl_moe_text"), /e_score_correction_bias$/];
  const doubled = changed("ernie4_5_vl_moe_text", {}, (tensors) => {
    for (const [name, t] of tensors) if (bias.test(name)) tensors.set(name, { ...t, data: t.data.map((x) => 2 * x) });
  });
  const { out } = exported(await imported(doubled), like);
  const [was, is] = [like, out].map((folder) => readSafetensors(join(folder, "model.safetensors")));
  const [[, before] = assert.fail()] = [...(was ?? [])].filter(([name]) => bias.test(name));
  const [[, after] = assert.fail()] = [...(is ?? [])].filter(([name]) => bias.test(name));
  const [rows = 0, experts = 0] = before.shape;
  assert.ok(rows === 2 && before.data.every((x) => x !== 0));
  assert.deepEqual(after, { ...before, data: before.data.map((x, i) => (i < experts ? 2 * x : x)) });
});
test("the text model of a larger one is written into its folder, beside the weights of the other parts", async () => {
  const own = join(hf, "mistral");
  const like = changed("mistral", {}, (tensors) => {
    for (const [name, t] of Array.from(tensors)) {
      tensors.delete(name);
      tensors.set(name.replace("model.", "model.language_model."), t);
    }
    tensors.set("model.vision_tower.weight", tensor("f32", [2], [1, 2]));
  });
  const whole = { model_type: "mistral3", text_config: readJson(join(own, "config.json")) };
  writeFileSync(join(like, "config.json"), JSON.stringify(whole));
  const { out } = exported(await imported(like), like);
  assert.deepEqual(readSafetensors(join(out, "model.safetensors")), readSafetensors(join(like, "model.safetensors")));
  assert.deepEqual(readJson(join(out, "config.json")), whole);
});
for (const name of [
  "gpt_oss",
  "granitemoe",
  "deepseek_v3",
  "qwen3_next",
  "lfm2_moe",
  "granitemoehybrid",
  ...(full ? ["qwen3_5_moe_text"] : []), // much of it is as in qwen3_next
])
  test(`${name}: what was trained is imported again with the same logits`, async () => {
    const like = join(hf, name);
    const run = await imported(like);
    const tuned = await trained(run);
    const { out } = exported(tuned, like);
    const [before, after] = [await logits(join(run, "model.moe"), run), await logits(join(run, "model.moe"), out)];
    assertClose("logits", after, await logits(join(run, "model.moe"), tuned), 0);
    assert.notDeepEqual(after, before);
  });

test("a head that shared the embedding's table and was trained is written by itself", async () => {
  const like = changed("gemma2", {}, (tensors) => {
    for (const [name, t] of tensors) tensors.set(name, convert(t, "bf16"));
  });
  const run = await imported(like);
  assert.equal(readConfig(run).precision, "bf16");
  const { out, untied } = exported(await trained(run), like);
  assert.equal(untied, true);
  const head = readSafetensors(join(out, "model.safetensors")).get("lm_head.weight");
  const table = readSafetensors(join(like, "model.safetensors")).get("model.embed_tokens.weight");
  assert.equal(head?.dtype, "bf16");
  assert.deepEqual(head.shape, table?.shape);
  assert.equal(openTransformers(out).tied, false);
  await imported(out);
});

for (const [place, head] of [
  ["model.language_model.", "lm_head.weight"],
  ["language_model.model.", "language_model.lm_head.weight"],
  ["thinker.model.", "thinker.lm_head.weight"],
  ["model.", "lm_head.weight"],
] as const)
  test(`a trained head of a text model at ${place} is written by itself, and both configs say so`, async () => {
    const like = changed("qwen2", {}, (tensors) => {
      for (const [name, t] of Array.from(tensors)) {
        tensors.delete(name);
        tensors.set(name.replace("model.", place), t);
      }
    });
    const text = readJson(join(like, "config.json"));
    writeFileSync(join(like, "config.json"), JSON.stringify({ model_type: "larger", text_config: text }));
    const { out, untied } = exported(await trained(await imported(like)), like);
    assert.equal(untied, true);
    assert.ok(readSafetensors(join(out, "model.safetensors")).has(head));
    const written = readJson(join(out, "config.json"));
    assert.deepEqual(written, {
      model_type: "larger",
      text_config: { ...text, tie_word_embeddings: false },
      tie_word_embeddings: false,
    });
    await imported(out);
  });
test("a head that is written by itself is in the index of several files", async () => {
  const like = changed("olmoe", { tie_word_embeddings: true }, (tensors) => void tensors.delete("lm_head.weight"));
  const index = "model.safetensors.index.json";
  const { weight_map: map, ...rest } = readJson(join(like, index)) as { weight_map: Record<string, string> };
  const { "lm_head.weight": _, ...others } = map;
  writeFileSync(join(like, index), JSON.stringify({ ...rest, weight_map: others }));
  const run = await imported(like);
  const { out, untied } = exported(await trained(run), like);
  assert.equal(untied, true);
  const written = (readJson(join(out, index)) as { weight_map: Record<string, string> }).weight_map;
  const file = written["lm_head.weight"] ?? assert.fail();
  assert.ok(readSafetensors(join(out, file)).has("lm_head.weight"));
  assert.equal(file, written["model.embed_tokens.weight"]);
});
const copies = (...indices: number[]): Copies =>
  new Copies(new Map(indices.map((i) => [`experts.${i}.w`, inMemory(tensor("f32", [2], [i, i]))])));
test("copies of an array are stacked in order, and only if none is missing and all are of one shape", () => {
  assert.deepEqual([...(copies(2, 0, 1).take("experts.w")?.data ?? [])], [0, 0, 1, 1, 2, 2]);
  assert.equal(copies(0, 2).take("experts.w"), null);
  const apart = [2, 3].map((n, i): [string, Tensor] => [
    `experts.${i}.w`,
    tensor("f32", [n], Array<number>(n).fill(i)),
  ]);
  assert.equal(new Copies(allInMemory(new Map(apart))).take("experts.w"), null);
  const two = copies(0, 1);
  two.take("experts.1.w");
  assert.deepEqual(two.unused(), ["experts.0.w"]);
});
test("copies of an array that is one tensor, as of very many layers, are taken from it", () => {
  const name = "blocks.experts.w";
  const one = new Copies(allInMemory(new Map([[name, tensor("f32", [2, 2, 1], [0, 1, 2, 3])]])));
  assert.deepEqual(one.take("blocks.1.experts.0.w"), tensor("f32", [1], [2]));
  assert.ok(one.has("blocks.0.experts.w") && !one.has("blocks.0.experts.2.w") && !one.has("blocks.0.experts.0.v"));
  assert.equal(one.take("blocks.2.experts.0.w"), null);
  for (const copy of ["0.experts.0", "0.experts.1", "1.experts.0"]) one.take(`blocks.${copy}.w`);
  assert.deepEqual(one.unused(), [name]);
  one.take("blocks.1.experts.1.w");
  assert.deepEqual(one.unused(), []);
});
test("what does not fit is a Problem, and nothing is written", async () => {
  const like = join(hf, "olmoe");
  const run = await imported(like);
  const out = join(temporaryFolder(), "theirs");
  const to =
    (other: string, from = run) =>
    () =>
      exportModel({ folder: from, like: other, out, warn });
  await assertProblem(to(join(hf, "mixtral")), "", "--like");
  await assertProblem(to(temporaryFolder()), "no config.json", "save_pretrained");
  await assertProblem(to(like, temporaryFolder()), "no checkpoint", "a run");
  const wide = changed("olmoe", {}, (tensors) => {
    if (tensors.has("model.norm.weight")) tensors.set("model.norm.weight", tensor("f32", [3], [1, 2, 3]));
  });
  await assertProblem(to(wide), "model.norm.weight", "--like");
  const fewer = changed("olmoe", {}, (tensors) => void tensors.delete("model.norm.weight"));
  await assertProblem(to(fewer), "the run has `norm.weight`", "--like");
  assert.deepEqual(readdirSync(dirname(out)), []);
  exportModel({ folder: run, like, out, warn });
  await assertProblem(to(like), "exists already", "--out");
});

/** How many files this process has open, where that is told. */
const openFiles = (): number => (existsSync("/proc/self/fd") ? readdirSync("/proc/self/fd").length : 0);
test("what a killed export left is not exported, the new folder's name is flushed, and no file stays open", async () => {
  const run = await imported(join(hf, "olmoe"));
  const above = temporaryFolder();
  mkdirSync(join(above, ".theirs.tmp"), { recursive: true });
  writeFileSync(join(above, ".theirs.tmp", "model-00009-of-00009.safetensors"), "cut off");
  const { fsyncSync } = fs;
  const flushed: number[] = [];
  const flushing = (file: number): void => {
    flushed.push(fs.fstatSync(file).ino);
    fsyncSync(file);
  };
  const before = openFiles();
  const out = join(above, "theirs");
  await withPatchedFs({ fsyncSync: flushing }, () => exportModel({ folder: run, like: join(hf, "olmoe"), out, warn }));
  assert.equal(openFiles(), before);
  assert.equal(flushed.at(-1), fs.statSync(above).ino);
  assert.deepEqual(
    readdirSync(out).filter((name) => name.includes("00009")),
    [],
  );
  assert.deepEqual(readdirSync(above), ["theirs"]);
});
test.run();
