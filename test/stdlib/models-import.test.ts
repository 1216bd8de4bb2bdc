// Weights that transformers wrote, and its logits. How they were made: scripts/peers/hf.py.
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { openTransformers } from "../../runtime/import/config.ts";
import { families } from "../../runtime/import/families/index.ts";
import { importModel } from "../../runtime/import/import-model.ts";
import { weightFiles } from "../../runtime/import/weight-files.ts";
import { oursOf, transformersTensors } from "../../runtime/import/weights.ts";
import { readSafetensors, type Tensor, tensor, writeSafetensors } from "../../runtime/index.ts";
import { runEntry } from "../../runtime/run.ts";
import { inMemory } from "../../runtime/storage/stored-tensor.ts";
import { fromNumbers, part, transposed } from "../../runtime/tensor.ts";
import { rejectedProblem } from "../assert-problem.ts";
import { full } from "../full.ts";
import { copy, hf, other, parametersOf, refused, without } from "../hf-copies.ts";
import { assertClose, type PeerTarget, peerTargets } from "../peer-results.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { last } from "../training-runs.ts";

const test = suite("models-import");
const program = (file = "decoder"): string => join(project, "stdlib/models", `${file}.moe`);
/** Families with kernels that generate.test.ts does not compile of any model: on the host too. */
const ownKernels = new Set(["gpt_oss", "phimoe", "nemotron_h", "t5", "switch_transformers", "nllb-moe"]);

/** Two rows of tokens, and of a source where the model reads one. */
const inputsOf = (expected: ReadonlyMap<string, Tensor>): object =>
  Object.fromEntries(
    [...expected].flatMap(([name, { data }]) => {
      const half = data.length / 2;
      return name === "logits" ? [] : [[name, [Array.from(data.slice(0, half)), Array.from(data.slice(half))]]];
    }),
  );
/** transformers norms and turns in f32, also in f64. */
const bar = ({ precision }: PeerTarget): number => (precision === "f64" ? 1e-6 : 1e-5);
/** What runs the checkpoint of a folder: the library's model with its header, or, where blocks are listed, the program that import writes. */
async function entryOf(at: string): Promise<{ program: string; entry: string; params: string }> {
  const { family } = openTransformers(at);
  if (!family.blocks) return { program: program(family.file), entry: family.model, params: at };
  const out = join(temporaryFolder(), "run");
  await importModel({ folder: at, out });
  return { program: join(out, "model.moe"), entry: "Imported", params: out };
}
test("every family has a checkpoint and the numbers of transformers", () => {
  for (const { type } of families)
    assert.ok(
      existsSync(join(hf, type, "expected.safetensors")),
      `add ${type} to scripts/peers/hf_models.py, then run python scripts/peers/hf.py --write ${type}`,
    );
});
for (const type of new Set([
  ...families.map((family) => family.type),
  "granitemoehybrid_dense",
  "exaone4_whole",
  "gemma4_text_edge",
  "glm_moe_dsa_shared",
  "inkling_mm_model",
]))
  for (const way of full || ownKernels.has(type) ? peerTargets : peerTargets.slice(0, 1))
    test(`${type}: the logits of transformers, ${way.target} ${way.precision}`, async () => {
      const at = join(hf, type);
      const input = join(temporaryFolder(), "tokens.json");
      const expected = readSafetensors(join(at, "expected.safetensors"));
      writeFileSync(input, JSON.stringify(inputsOf(expected)));
      const { target, precision } = way;
      const results = await runEntry({ ...(await entryOf(at)), input, target, precision });
      assert.deepEqual(
        [...results.keys()].filter((k) => k.startsWith("param.")),
        [],
      );
      assertClose("logits", results.get("0"), expected.get("logits"), bar(way));
    });

const inklingsLogits = async (change: object): Promise<Tensor | undefined> => {
  const input = join(temporaryFolder(), "tokens.json");
  writeFileSync(input, JSON.stringify({ tokens: [[3, 1, 4]] }));
  const run = await entryOf(other("inkling_text", change));
  return (await runEntry({ ...run, input, target: "reference", precision: "f64" })).get("0");
};
test("Inkling's logits of what is no token are -Infinity, and the others as they are", async () => {
  const [all, some] = [await inklingsLogits({}), await inklingsLogits({ unpadded_vocab_size: 38 })];
  const expected = Array.from(all?.data ?? [], (x, i) => (i % 40 < 38 ? x : -Infinity));
  assert.deepEqual(Array.from(some?.data ?? []), expected);
  assert.equal(expected.length, 120);
});
test("an index that names files of other folders is refused", () => {
  const at = copy("olmoe", (c) => c);
  writeFileSync(join(at, "model.safetensors.index.json"), '{"weight_map": {"model.norm.weight": "../x.safetensors"}}');
  refused(() => transformersTensors(openTransformers(at)), "no weight_map from names to files");
});
/** Of eight tokens that stand `step` positions apart: a function of RoPE's settings and of `step`. */
const turnedLogits =
  (type: string, change: object) =>
  async (rope: object, step: number): Promise<Tensor | undefined> => {
    const at = other(type, { ...change, rope_parameters: { rope_theta: 1e4, ...rope } });
    const input = join(temporaryFolder(), "tokens.json");
    const rows = [3, 1, 4, 1, 5, 9, 2, 6];
    writeFileSync(input, JSON.stringify({ tokens: [rows], at: [rows.map((_, i) => step * i)] }));
    return (await runEntry({ ...(await entryOf(at)), input, target: "reference", precision: "f64" })).get("0");
  };
for (const [type, change] of [
  ["llama", {}],
  ["exaone4", { sliding_window: 64 }],
  ["exaone4_whole", {}],
] as const)
  test(`${type}, linear scaling: position 4 i is what i is without, and a factor below 1 holds too`, async () => {
    const logits = turnedLogits(type, change);
    const plain = await logits({ rope_type: "default" }, 2);
    assertClose("logits", await logits({ rope_type: "linear", factor: 4 }, 8), plain, 1e-12);
    assertClose("logits", await logits({ rope_type: "linear", factor: 0.5 }, 1), plain, 1e-12);
    assert.notDeepEqual(await logits({ rope_type: "linear", factor: 4 }, 2), plain);
  });
const refusal = (at: string, ...words: string[]): Promise<void> =>
  assert.rejects(importModel({ folder: at, out: join(temporaryFolder(), "run") }), (e: unknown) => {
    refused(
      () => {
        throw e;
      },
      ...words,
    );
    return true;
  });
test("a config.json that does not fit itself or the weights is said to be the cause", async () => {
  await refusal(
    other("gpt_oss", { num_hidden_layers: 3, layer_types: null }),
    "num_hidden_layers is 3",
    "multiple of 2",
  );
  await refusal(other("mixtral", { num_hidden_layers: 3 }), "num_hidden_layers is 3", "are of 2 blocks");
  await refusal(other("mixtral", { num_attention_heads: 3 }), "config.json describes a model of Mixtral", "D / Heads");
  await refusal(
    other("mixtral", { num_local_experts: 1e9 }),
    "config.json describes a model of Mixtral",
    "1000000000 layers",
  );
  await refusal(other("mixtral", { vocab_size: 41 }), "f32[41, 16]", "config.json is not that of these weights");
});
test("a tensor that two files have is a Problem that names both", () => {
  const at = copy("olmoe", (c) => c);
  const [first = "", second = ""] = weightFiles(at);
  const [[name, t] = assert.fail()] = readSafetensors(first);
  writeSafetensors(second, new Map([...readSafetensors(second), [name, t]]));
  refused(() => transformersTensors(openTransformers(at)), `\`${name}\` is in`, first, second);
});
/** The logits of a checkpoint. */
async function logitsOf(at: string): Promise<Tensor | undefined> {
  const input = join(temporaryFolder(), "tokens.json");
  writeFileSync(input, JSON.stringify({ tokens: [[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]] }));
  return (await runEntry({ ...(await entryOf(at)), input, target: "reference", precision: "f64" })).get("0");
}
/** Those of a checkpoint with LongRoPE whose settings are changed. */
const longLogits =
  (type: string) =>
  (rope: object, change: object = {}): Promise<Tensor | undefined> =>
    logitsOf(
      copy(type, (c) => ({ ...c, ...change, rope_parameters: { ...(c["rope_parameters"] as object), ...rope } })),
    );
test("LongRoPE's factors and heat are those of the context that the model is for", async () => {
  const mixture = longLogits("phimoe");
  const far = await mixture({ short_factor: [9, 9], short_mscale: 9 });
  assertClose("logits", await mixture({}), far, 0);
  const short = { original_max_position_embeddings: 64, short_mscale: 1.3, long_factor: [9, 9], long_mscale: 9 };
  assertClose("logits", await mixture(short), far, 0);
  const dense = longLogits("phi3");
  const whole = await dense({ short_factor: [9, 9, 9] });
  assertClose("logits", await dense({}), whole, 0);
  const heat = { attention_factor: Math.sqrt(2), short_factor: [1.1, 1.9, 3.1], long_factor: [9, 9, 9] };
  assertClose("logits", await dense(heat, { original_max_position_embeddings: 64 }), whole, 0);
  assert.notDeepEqual(await dense({ attention_factor: 1 }), whole);
});
test("a list of factors that is too long or too short is named, with the length that it must have", async () => {
  for (const [type, pairs] of [
    ["phi3", 3],
    ["phimoe", 2],
  ] as const)
    for (const [key, factors] of [
      ["short_factor", Array<number>(pairs - 1).fill(1)],
      ["long_factor", Array<number>(2 * pairs).fill(1)],
    ] as const) {
      const change = (c: Record<string, unknown>): object => ({
        ...c,
        rope_parameters: { ...(c["rope_parameters"] as object), [key]: factors },
      });
      const folder = copy(type, change);
      const { message, help } = await rejectedProblem(() => importModel({ folder, out: join(folder, "out") }));
      assert.match(
        message,
        new RegExp(`config.json: ${key} has ${factors.length} numbers?, and the model needs ${pairs}$`),
      );
      assert.match(help, /restore the file.*width of a head/);
    }
});
/** A hundred times as large, if it makes queries, keys and values. */
const scaled = ([name, t]: [string, Tensor]): [string, Tensor] => [
  name,
  name.includes("Wqkv") ? { ...t, data: t.data.map((x) => 100 * x) } : t,
];
/** Those of DBRX whose queries, keys and values are large. */
const largeLogits = (clip: number | null): Promise<Tensor | undefined> => {
  const at = copy("dbrx", (c) => ({ ...c, attn_config: { ...(c["attn_config"] as object), clip_qkv: clip } }));
  const [file = ""] = weightFiles(at);
  writeSafetensors(file, new Map([...readSafetensors(file)].map(scaled)));
  return logitsOf(at);
};
const ministralLogits = (rope: object): Promise<Tensor | undefined> =>
  logitsOf(other("ministral3", { rope_parameters: { rope_theta: 100, ...rope } }));
test("what config.json leaves out is left out, also where the library's model has it as released", async () => {
  const alone = await ministralLogits({ rope_type: "default" });
  assertClose("without YaRN", alone, await ministralLogits({ rope_type: "yarn", factor: 1 }), 0);
  assert.notDeepEqual(alone, await ministralLogits({ rope_type: "yarn", factor: 16 }));
  const unclipped = await largeLogits(null);
  assertClose("without a clip", unclipped, await largeLogits(1e9), 0);
  assert.notDeepEqual(unclipped, await largeLogits(8));
});
test("what llama3's rates are stretched from is the whole context, if nothing is said", () => {
  const parameters = { rope_type: "llama3", rope_theta: 1e4, factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
  const { header } = openTransformers(other("llama4_text", { rope_parameters: parameters }));
  assert.equal(header["original"], 64);
});
test("of experts that stand one below another each is read alone", () => {
  for (const name of ["gate", "down"]) {
    const all = transformersTensors(openTransformers(join(hf, "dbrx"))).get(`blocks.0.feed.experts.${name}.weight`);
    assert.ok(all);
    for (const i of [0, 3]) assert.deepEqual(all.read([i]), part(all.read(), [i]));
  }
});
test("the last shard of a table has rows of zeros after its own; one that has too few or too many has what it has", () => {
  const model = openTransformers(join(hf, "qwen4_exp_text_ngrams")); // the first table: 70, 70 and 68 rows
  const shard = (i: number, rows: number): readonly number[] => {
    const name = `model.layers.0.ple.ple_embedding.ngram_embedding.shard_${i}.weight`;
    const [[ours, t] = []] = oursOf(name, inMemory(tensor("f32", [rows, 1], Array(rows).fill(1))), model, "a file");
    assert.equal(ours, `blocks.0.before.embed.shards.${i}.weight`);
    return [...(t?.read().data ?? [])].map(Number);
  };
  assert.deepEqual(shard(2, 68), [...Array(68).fill(1), 0, 0]);
  for (const [i, rows] of [
    [0, 68],
    [1, 70],
    [2, 67],
    [2, 69],
  ] as const)
    assert.deepEqual(shard(i, rows), Array(rows).fill(1));
});
test("parts of a table of n-grams that it has not are refused", async () => {
  const type = "qwen4_exp_text_ngrams"; // its second table has 360 rows, of which the last head has 287 to 357
  const damaged = (buffer: string, head: number, is: number): string => {
    const at = copy(type, (c) => c);
    const path = join(at, "model.safetensors");
    const bytes = readFileSync(path);
    const begin = 8 + Number(bytes.readBigUInt64LE());
    const items = JSON.parse(bytes.toString("utf8", 8, begin)) as Record<string, { data_offsets: [number, number] }>;
    const {
      data_offsets: [first],
    } = items[`model.layers.2.ple.ple_embedding.${buffer}`] ?? assert.fail(buffer);
    bytes.writeBigInt64LE(BigInt(is), begin + first + 8 * head);
    writeFileSync(path, bytes);
    return at;
  };
  for (const [buffer, head, is] of [
    ["ngram_heads_vocab_sizes", 0, 0],
    ["ngram_heads_vocab_sizes", 1, -5],
    ["ngram_heads_vocab_sizes", 2, 2 ** 27 + 1],
    ["ngram_heads_offsets", 3, -1],
    ["ngram_heads_offsets", 5, 290],
  ] as const)
    await refusal(
      damaged(buffer, head, is),
      `model.layers.2.ple.ple_embedding.${buffer}`,
      `${is} for head ${head},`,
      "damaged",
    );
  await importModel({ folder: damaged("ngram_heads_offsets", 5, 289), out: join(temporaryFolder(), "run") });
});
test("a fused matrix that does not divide into its parts is a Problem", () => {
  const at = copy("granitemoe", (c) => c);
  const path = join(at, "model.safetensors");
  const fused = "model.layers.0.block_sparse_moe.input_linear.weight";
  const odd = tensor("f32", [6, 23, 16], Array(6 * 23 * 16).fill(0));
  writeSafetensors(path, new Map([...readSafetensors(path), [fused, odd]]));
  refused(() => transformersTensors(openTransformers(at)), fused, "23 columns, for 2 matrices");
});
test("a matrix that is not as wide as its parts together is a Problem", () => {
  const at = other("granitemoehybrid", { mamba_d_state: 6 });
  refused(
    () => transformersTensors(openTransformers(at)),
    "mamba.in_proj",
    "88 columns, for 3 matrices in parts of 32, 56, 4",
  );
});
/** A copy of OLMo Hybrid with other weights. */
function hybridWith(change: (tensors: Map<string, Tensor>) => Map<string, Tensor>): string {
  const at = copy("olmo_hybrid", (c) => c);
  const path = join(at, "model.safetensors");
  writeSafetensors(path, change(readSafetensors(path)));
  return at;
}
const delta = "model.layers.0.linear_attn";
/** As released: a convolution for each of queries, keys and values; transformers writes three of nearly one width. */
function asReleased(tensors: Map<string, Tensor>): Map<string, Tensor> {
  const names = ["q", "k", "v"].map((one) => `${delta}.${one}_conv1d.weight`);
  const numbers = names.flatMap((name) => [...(tensors.get(name)?.data ?? [])].map(Number));
  let first = 0;
  for (const [i, features] of [6, 6, 16].entries()) {
    const end = first + 4 * features;
    tensors.set(names[i] ?? "", tensor("f32", [features, 1, 4], numbers.slice(first, end)));
    first = end;
  }
  const old = "model.layers.1.feedforward_layer_norm.weight";
  const norm = tensors.get(old) ?? assert.fail(old);
  tensors.delete(old);
  return tensors.set("model.layers.1.post_attention_layernorm.weight", norm);
}
test("OLMo Hybrid is the same as released, with other parts and names", () => {
  const ours = parametersOf(join(hf, "olmo_hybrid"));
  assert.deepEqual(ours.get("blocks.0.attention.conv")?.shape, [4, 28]);
  assert.deepEqual(parametersOf(hybridWith(asReleased)), ours);
});
test("matrices that stand side by side are refused where one is missing, or has other rows", async () => {
  const less = hybridWith((all) => new Map([...all].filter(([name]) => name !== `${delta}.k_conv1d.weight`)));
  await refusal(less, "f32[4, 18] for `blocks.0.attention.conv`", "f32[4, 28]");
  const other = hybridWith((all) => all.set(`${delta}.k_proj.weight`, tensor("f32", [6, 15], Array(90).fill(0))));
  await refusal(other, "nothing for `blocks.0.attention.row.weight`");
});
/** A copy whose weights have one more, of this name. */
function withWeight(family: string, name: string, change: (config: Record<string, unknown>) => object): string {
  const at = copy(family, change);
  const path = join(at, "model.safetensors");
  writeSafetensors(path, new Map([...readSafetensors(path), [name, tensor("f32", [1, 2], [1, 2])]]));
  return at;
}
/** What the import of weights says of which some hold NaN. */
const warnings = async (broken: readonly string[]): Promise<string[]> => {
  const at = copy("granitemoe", (c) => c);
  const path = join(at, "model.safetensors");
  const tensors = readSafetensors(path);
  for (const name of broken) (tensors.get(name)?.data ?? assert.fail(name))[3] = Number.NaN;
  writeSafetensors(path, tensors);
  const said: string[] = [];
  await importModel({ folder: at, out: join(temporaryFolder(), "run"), warn: (line) => void said.push(line) });
  return said;
};
test("weights that are not finite are imported with a warning that names the first", async () => {
  assert.deepEqual(await warnings([]), []);
  const [one = "", ...more] = await warnings(["model.layers.1.block_sparse_moe.input_linear.weight"]);
  assert.match(one, /NaN or infinities in `blocks\.1\.feed\.experts\.gate\.weight`: what/);
  const [two = ""] = await warnings(["model.norm.weight", "model.layers.0.self_attn.q_proj.weight"]);
  assert.match(two, /in `blocks\.0\.attention\.query\.weight` and 1 more tensor: what/);
  assert.deepEqual(more, []);
});
test("what predicts the token after the next is not read", () => {
  for (const [family, name] of [
    ["nemotron_h", "mtp.layers.0.norm.weight"],
    ["qwen3_next", "mtp.fc.weight"],
    ["ernie4_5_moe", "model.mtp_block.0.self_attn.q_proj.weight"],
    ["glm4_moe", "model.layers.3.eh_proj.weight"],
    ["deepseek_v3", "model.layers.3.self_attn.o_proj.weight"],
    ["glm4_moe_lite", "model.layers.2.self_attn.o_proj.weight"],
  ] as const) {
    const at = withWeight(family, name, (c) => ({ ...c, num_nextn_predict_layers: 1 }));
    assert.deepEqual([...parametersOf(at).keys()], [...parametersOf(join(hf, family)).keys()], name);
  }
  const none = withWeight("glm4_moe", "model.layers.3.eh_proj.weight", (c) => ({ ...c, num_nextn_predict_layers: 0 }));
  refused(() => parametersOf(none), "model.layers.3.eh_proj.weight");
});
test("Nemotron-H's weights may have the names of the model within transformers", () => {
  const at = copy("nemotron_h", (c) => c);
  const path = join(at, "model.safetensors");
  const renamed = [...readSafetensors(path)].map(([name, t]) => [name.replace(/^backbone\./, "model."), t] as const);
  writeSafetensors(path, new Map(renamed));
  assert.deepEqual(parametersOf(at), parametersOf(join(hf, "nemotron_h")));
});
test("experts may be one tensor, as Qwen3.5 has them", () => {
  const at = copy("qwen3_5_moe_text", (c) => c);
  const path = join(at, "model.safetensors");
  const tensors = readSafetensors(path);
  for (let layer = 0; layer < 4; layer++) {
    const place = `model.layers.${layer}.mlp.experts`;
    const of = (part: string): Tensor[] =>
      [0, 1, 2, 3].map((e) => tensors.get(`${place}.${e}.${part}_proj.weight`) as Tensor);
    const both = of("gate").flatMap((gate, e) => [...gate.data, ...(of("up")[e]?.data ?? [])]);
    tensors.set(`${place}.gate_up_proj`, fromNumbers("f32", [4, 12, 16], both));
    tensors.set(
      `${place}.down_proj`,
      fromNumbers(
        "f32",
        [4, 16, 6],
        of("down").flatMap((t) => [...t.data]),
      ),
    );
  }
  writeSafetensors(path, new Map([...tensors].filter(([name]) => !/experts\.\d/.test(name))));
  const stacked = parametersOf(at);
  for (const [name, t] of parametersOf(join(hf, "qwen3_5_moe_text"))) {
    const [, before = "", e = "", rest = ""] = /^(.*\.experts)\.(\d)\.(.*)$/.exec(name) ?? [];
    const whole = stacked.get(e === "" ? name : `${before}.${rest}`);
    assert.ok(whole, name);
    assert.deepEqual(e === "" ? whole : part(whole, [Number(e)]), t, name);
  }
});
test("Qwen3-VL's experts may be [in, out], as released, or [out, in], as transformers 5 writes them", () => {
  const at = copy("qwen3_vl_moe_text", (c) => c);
  const path = join(at, "model.safetensors");
  const turned = [...readSafetensors(path)].map(
    ([name, t]) => [name, /experts/.test(name) ? transposed(t) : t] as const,
  );
  writeSafetensors(path, new Map(turned));
  assert.deepEqual(parametersOf(at), parametersOf(join(hf, "qwen3_vl_moe_text")));
});
test("an imported model has each expert's gate and up from the columns that hold both in turn", async () => {
  const at = join(hf, "gpt_oss");
  const out = join(temporaryFolder(), "run");
  assert.equal((await importModel({ folder: at, out })).model, "GptOss");
  for (const [name, model] of [
    ["phimoe", "PhiMoE"],
    ["qwen3_next", "Qwen3Next"],
    ["qwen3_5_moe_text", "Qwen35Moe"],
  ] as const)
    assert.equal((await importModel({ folder: join(hf, name), out: join(temporaryFolder(), name) })).model, model);
  refused(() => openTransformers(out), "is a run of moec");
  const ours = last(out).model;
  const theirs = readSafetensors(join(at, "model.safetensors")).get("model.layers.1.mlp.experts.gate_up_proj_bias");
  const halves = ["gate", "up"].map((half) => ours.get(`blocks.1.feed.experts.${half}.bias`));
  for (const [i, half] of halves.entries())
    assert.deepEqual(
      half?.data,
      theirs?.data.filter((_, at) => at % 2 === i),
    );
});
test("what is named otherwise is a Problem, and so are foreign weights without their config.json", () => {
  const other = { model_type: "qwen3_moe", head_dim: 4, moe_intermediate_size: 24, norm_topk_prob: true };
  refused(() => parametersOf(copy("mixtral", (c) => ({ ...c, ...other }))), "block_sparse_moe", "Qwen3Moe");
  refused(() => parametersOf(join(hf, "mixtral", "model.safetensors")), "a name of transformers'");
  const at = copy("mixtral", (c) => c);
  const path = join(at, "model.safetensors");
  writeSafetensors(path, new Map([...readSafetensors(path), ["constructor", tensor("f32", [1], [1])]]));
  refused(() => parametersOf(at), "`constructor` is nothing that Mixtral has");
});
test("older keys of config.json, and a head that is the embedding's table", () => {
  const old = copy("mixtral", (c) => ({
    ...without(c, "rope_parameters"),
    rope_theta: 5e5,
    tie_word_embeddings: true,
  }));
  assert.equal(openTransformers(old).header["base"], 5e5);
  const tensors = parametersOf(old);
  assert.deepEqual(tensors.get("head.weight"), parametersOf(join(hf, "mixtral")).get("head.weight")); // a file that has one keeps it
  assert.deepEqual(tensors.get("embed.weight")?.shape, [40, 16]);
  const { header } = openTransformers(other("minimax_m2", { rope_parameters: null, rotary_dim: 6, rope_theta: 3e6 }));
  assert.deepEqual([header["part"], header["P"], header["base"]], [1, 6, 3e6]);
  const stretched = { rope_type: "yarn", factor: 4, mscale: 1, mscale_all_dim: 1 };
  assert.equal(openTransformers(other("deepseek_v3", { rope_parameters: stretched })).header["original"], 64);
  assert.equal(openTransformers(copy("dots1", (c) => without(c, "norm_topk_prob"))).header["renormalised"], false);
  assert.ok(openTransformers(copy("gemma2", (c) => without(c, "tie_word_embeddings"))).tied);
});
test.run();
