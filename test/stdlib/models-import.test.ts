// Weights that transformers wrote, and its logits. How they were made: scripts/peers/hf.py.

import assert from "node:assert/strict";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { Problem } from "../../compiler/diagnostic.ts";
import { openTransformers } from "../../runtime/import/config.ts";
import { families } from "../../runtime/import/families/index.ts";
import { importModel } from "../../runtime/import/import-model.ts";
import { transformersTensors, weightFiles } from "../../runtime/import/weights.ts";
import { readSafetensors, type Tensor, tensor, writeSafetensors } from "../../runtime/index.ts";
import { runEntry } from "../../runtime/run.ts";
import { readParameters } from "../../runtime/storage/parameters.ts";
import { readAll } from "../../runtime/storage/stored-tensor.ts";
import { fromNumbers, part, transposed } from "../../runtime/tensor.ts";
import { assertClose, type PeerTarget, peerTargets } from "../peer-results.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { last } from "../training-runs.ts";

const test = suite("models-import");
const hf = join(project, "test/peers/hf");
const program = (file = "decoder"): string => join(project, "stdlib/models", `${file}.moe`);
/** Families whose blocks have kernels like those of others: on the reference target alone. */
const likeOthers = new Set([
  "llama",
  "mistral",
  "qwen2",
  "qwen3",
  "gemma2",
  "minimax_m2",
  "dots1",
  "solar_open",
  "lfm2",
  "exaone_moe",
  "afmoe",
  "granitemoeshared",
  "flex_olmo",
  "ernie4_5_moe",
  "hunyuan_v1_moe",
  "deepseek_v2",
  "glm4_moe_lite",
  "qwen3_5_moe_text",
  "qwen3_5_text",
]);

/** transformers norms and turns in f32, also in f64. */
const bar = ({ precision }: PeerTarget): number => (precision === "f64" ? 1e-6 : 1e-5);
for (const { type, model: entry, file } of families)
  for (const way of likeOthers.has(type) ? peerTargets.slice(0, 1) : peerTargets)
    test(`${type}: the logits of transformers, ${way.target} ${way.precision}`, async () => {
      const at = join(hf, type);
      const input = join(temporaryFolder(), "tokens.json");
      const expected = readSafetensors(join(at, "expected.safetensors"));
      const rows = Array.from(expected.get("tokens")?.data ?? []);
      writeFileSync(input, JSON.stringify({ tokens: [rows.slice(0, 11), rows.slice(11)] }));
      const { target, precision } = way;
      const results = await runEntry({ program: program(file), entry, params: at, input, target, precision });
      assert.deepEqual(
        [...results.keys()].filter((k) => k.startsWith("param.")),
        [],
      );
      assertClose("logits", results.get("0"), expected.get("logits"), bar(way));
    });

const copy = (name: string, change: (config: Record<string, unknown>) => object): string => {
  const at = temporaryFolder();
  cpSync(join(hf, name), at, { recursive: true });
  const path = join(at, "config.json");
  writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>)));
  return at;
};
const without = (config: Record<string, unknown>, key: string): object =>
  Object.fromEntries(Object.entries(config).filter(([k]) => k !== key));
function refused(run: () => unknown, ...words: string[]): void {
  assert.throws(run, (e: unknown) => {
    assert.ok(e instanceof Problem, String(e));
    const said = `${e.message}\n${e.help}`;
    for (const word of words) assert.ok(said.includes(word), said);
    return true;
  });
}
const parametersOf = (path: string): ReadonlyMap<string, Tensor> => readAll(readParameters(path, assert.fail).tensors);
test("a configuration that the model cannot have is a Problem that names the key", () => {
  refused(() => openTransformers(copy("olmoe", (c) => ({ ...c, hidden_act: "gelu" }))), 'hidden_act is "gelu"');
  refused(() => openTransformers(copy("mixtral", (c) => ({ ...c, model_type: "gpt2" }))), '"gpt2"');
  refused(() => openTransformers(copy("mixtral", (c) => without(c, "model_type"))), "has no model_type");
  refused(() => openTransformers(copy("mixtral", (c) => without(c, "vocab_size"))), "vocab_size is not given");
  const yarn = { rope_type: "yarn", factor: 4, rope_theta: 10000 };
  refused(() => openTransformers(copy("mixtral", (c) => ({ ...c, rope_parameters: yarn }))), '"yarn"');
  refused(() => openTransformers(temporaryFolder()), "no config.json");
  refused(
    () => openTransformers(copy("gpt_oss", (c) => ({ ...c, layer_types: ["full_attention", "full_attention"] }))),
    "layer_types",
  );
  const awq = { quant_method: "awq" };
  refused(() => openTransformers(copy("gpt_oss", (c) => ({ ...c, quantization_config: awq }))), "quantised", '"awq"');
  assert.ok(openTransformers(copy("gpt_oss", (c) => ({ ...c, quantization_config: null }))));
});
test("an index that names files of other folders is refused", () => {
  const at = copy("olmoe", (c) => c);
  writeFileSync(join(at, "model.safetensors.index.json"), '{"weight_map": {"model.norm.weight": "../x.safetensors"}}');
  refused(() => transformersTensors(openTransformers(at)), "no weight_map from names to files");
});
const other = (name: string, change: object): string => copy(name, (c) => ({ ...c, ...change }));
type Header = ReturnType<typeof openTransformers>["header"];
const header = (name: string, change: object): Header => openTransformers(other(name, change)).header;
const order = ({ First, Early, Threes, Twos, Ones }: Header): unknown[] => [First, Early, Threes, Twos, Ones];
/** LFM2's blocks: `f` is full attention, others are convolutions. */
const layers = (types: string): object => ({
  num_hidden_layers: types.length,
  layer_types: Array.from(types, (type) => (type === "f" ? "full_attention" : "conv")),
});
test("what a family's blocks cannot be is refused by its key", () => {
  refused(() => openTransformers(other("qwen2_moe", { use_sliding_window: true })), "use_sliding_window is true");
  const types = ["sliding_attention", "full_attention"];
  refused(() => openTransformers(other("qwen2_moe", { layer_types: types })), "layer_types", "sliding_attention");
  refused(() => openTransformers(other("glm4_moe", { n_group: 2 })), "n_group is 2");
  refused(() => openTransformers(other("granitemoe", { attention_bias: true })), "attention_bias is true");
  refused(() => openTransformers(other("granitemoeshared", { shared_intermediate_size: 0 })), "from 1 to");
  const kinds = ["sliding_attention", "full_attention"];
  refused(() => openTransformers(other("afmoe", { layer_types: [0, 1, 0, 1].map((i) => kinds[i]) })), "layer_types is");
  refused(() => openTransformers(other("afmoe", { num_dense_layers: 4 })), "num_dense_layers is 4", "at most 3");
  refused(() => openTransformers(other("afmoe", { mup_enabled: 1 })), "mup_enabled is 1", "true or false");
  assert.equal(header("afmoe", { mup_enabled: null })["wide"], 1);
  refused(() => openTransformers(other("afmoe", { score_func: "softmax" })), 'score_func is "softmax"');
  refused(() => openTransformers(other("exaone_moe", { sliding_window_pattern: "LLG" })), '"LLG"', "LLLG");
  refused(() => openTransformers(other("exaone_moe", { mlp_layer_types: ["sparse"] })), "mlp_layer_types is");
  refused(() => openTransformers(other("solar_open", { partial_rotary_factor: 0.5 })), "partial_rotary_factor is 0.5");
  refused(
    () => openTransformers(other("gemma2", { attn_logit_softcapping: null })),
    "attn_logit_softcapping is not given",
  );
  refused(
    () => openTransformers(other("gemma2", { use_bidirectional_attention: true })),
    "use_bidirectional_attention is true",
  );
  const long = {
    rope_type: "longrope",
    short_factor: [1, 1],
    long_factor: [1, 1],
    original_max_position_embeddings: 8,
  };
  refused(() => openTransformers(other("phimoe", { rope_parameters: long })), '"longrope"', "short_mscale");
  refused(() => openTransformers(other("phimoe", { num_experts_per_tok: 1 })), "num_experts_per_tok is 1");
  const word = { ...long, short_mscale: 1, long_mscale: 1, short_factor: "long" };
  refused(() => openTransformers(other("phimoe", { rope_parameters: word })), 'short_factor is "long"');
  const linear = { num_hidden_layers: 12, layer_types: null, full_attention_interval: 3 };
  refused(() => openTransformers(other("qwen3_next", linear)), "full_attention_interval is 3");
  const released = openTransformers(other("lfm2_moe", { ...layers("ccfcccfcccfcccfcccfccfcc"), num_dense_layers: 2 }));
  const { First, Threes, Twos, Ones, L } = released.header;
  assert.deepEqual([First, Threes, Twos, Ones, L], [2, 4, 1, 0, 24]);
  assert.deepEqual(order(header("lfm2", layers("ccfccfcccfcccfcccfcccfccfccfcc"))), [2, 1, 4, 2, 0]);
  const older = { layer_types: null, num_hidden_layers: 16, full_attn_idxs: [2, 5, 8, 10, 12, 14] };
  assert.deepEqual(order(header("lfm2", older)), [2, 0, 0, 2, 3]);
  refused(() => openTransformers(other("lfm2", { ...older, full_attn_idxs: [2, 4, 7] })), "full_attn_idxs is [2,4,7]");
  const wide = { block_ff_dim: 12288, block_multiple_of: 256, block_ffn_dim_multiplier: 1 };
  assert.equal(header("lfm2", wide)["F"], 8192);
  assert.equal(header("lfm2", { ...wide, block_auto_adjust_ff_dim: false })["F"], 12288);
  assert.equal(header("lfm2", { ...wide, block_ffn_dim_multiplier: null, block_ff_dim: 14 })["F"], 9);
  refused(() => openTransformers(other("lfm2", { block_auto_adjust_ff_dim: 0 })), "block_auto_adjust_ff_dim is 0");
  refused(() => openTransformers(other("lfm2", { block_multiple_of: "4" })), "intermediate_size is 16", "can adjust");
  for (const types of ["ccfcfccf", "ccfccccf", "ccff", "ccc"])
    refused(() => openTransformers(other("lfm2_moe", layers(types))), "layer_types is");
  refused(() => openTransformers(other("lfm2_moe", { num_dense_layers: 3 })), "num_dense_layers is 3", "at most 2");
  refused(() => openTransformers(other("lfm2_moe", { layer_types: null })), "layer_types is not given");
  refused(() => openTransformers(other("lfm2_moe", { use_expert_bias: false })), "use_expert_bias is false");
  refused(() => openTransformers(other("lfm2_moe", { tie_embedding: false })), "tie_embedding is false");
  refused(() => openTransformers(other("minimax_m2", { scoring_func: "softmax" })), 'scoring_func is "softmax"');
  refused(() => openTransformers(other("dots1", { max_window_layers: 1 })), "max_window_layers is 1");
  refused(
    () => openTransformers(other("ernie4_5_moe", { moe_num_shared_experts: 0 })),
    "moe_num_shared_experts is 0",
    "1 or more",
  );
  refused(() => openTransformers(other("ernie4_5_moe", { moe_layer_end_index: 0 })), "moe_layer_end_index is 0");
  refused(
    () => openTransformers(other("deepseek_v2", { topk_method: "greedy" })),
    'topk_method is "greedy"',
    "group_limited",
  );
  refused(
    () => openTransformers(other("hunyuan_v1_moe", { rope_parameters: { rope_type: "dynamic", factor: 2 } })),
    '"dynamic"',
  );
  refused(() => openTransformers(other("hunyuan_v1_moe", { moe_topk: [2, 1] })), "moe_topk is [2,1]");
  refused(() => openTransformers(other("deepseek_v2", { norm_topk_prob: true })), "norm_topk_prob is true");
  const yarn = { rope_type: "yarn", factor: 4, mscale: 1, mscale_all_dim: 0.7 };
  refused(() => openTransformers(other("deepseek_v3", { rope_parameters: yarn })), '"yarn"', "with one mscale");
  refused(() => openTransformers(other("deepseek_v3", { rope_scaling: { factor: 4 } })), "factor is 4");
  const cool = { ...yarn, mscale: 0, mscale_all_dim: 0 };
  refused(() => openTransformers(other("deepseek_v3", { rope_parameters: cool })), '"yarn"', "with one mscale");
  const unsaid = { ...yarn, mscale: 0.7, factor: null };
  refused(() => openTransformers(other("deepseek_v3", { rope_parameters: unsaid })), '"yarn"', "with a factor");
  refused(() => openTransformers(copy("deepseek_v2", (c) => without(c, "topk_method"))), "n_group is 3");
  refused(
    () => openTransformers(copy("dots1", (c) => ({ ...without(c, "sliding_window"), max_window_layers: 1 }))),
    "is 1",
  );
  const heated = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 16, attention_factor: 1 };
  refused(() => openTransformers(other("gpt_oss", { rope_parameters: heated })), "attention_factor is 1");
  refused(
    () => openTransformers(other("llama4_text", { no_rope_layers: [1, 1, 1, 1] })),
    "no_rope_layers",
    "[1,1,1,0]",
  );
  refused(() => openTransformers(other("llama4_text", { moe_layers: [0, 1] })), "moe_layers", "[1,3]");
  refused(
    () => openTransformers(other("llama4_text", { interleave_moe_layer_step: 3 })),
    "interleave_moe_layer_step is 3",
  );
  refused(() => openTransformers(other("llama4_text", { attn_temperature_tuning: false })), "attn_temperature_tuning");
  refused(() => openTransformers(other("llama4_text", { rope_parameters: { rope_type: "yarn" } })), '"yarn"');
  refused(() => openTransformers(other("llama4_text", { rope_parameters: { type: "linear", factor: 4 } })), '"linear"');
  const unnamed = { factor: 4, original_max_position_embeddings: 16 };
  refused(() => openTransformers(other("gpt_oss", { rope_parameters: unnamed })), "factor is 4");
  refused(() => openTransformers(other("gpt_oss", { rope_parameters: { ...unnamed, type: "linear" } })), '"linear"');
});
test("RoPE's settings are one object", () => {
  for (const key of ["rope_parameters", "rope_scaling"]) {
    refused(() => openTransformers(other("afmoe", { [key]: "yarn" })), `${key} is "yarn"`, "an object");
    const kinds = { full_attention: { rope_type: "yarn", factor: 4 } };
    refused(
      () => openTransformers(other("exaone_moe", { [key]: kinds })),
      key,
      "its own for full_attention",
      "write a model",
    );
    assert.ok(openTransformers(other("flex_olmo", { [key]: null })));
  }
});
test("the type of RoPE may be under its older name", () => {
  for (const family of ["llama", "llama4_text", "gpt_oss", "deepseek_v2", "phimoe"]) {
    const older = copy(family, ({ rope_parameters: rope, ...config }) => {
      const { rope_type: type, rope_theta, ...others } = rope as Record<string, unknown>;
      return { ...config, rope_theta, rope_scaling: { ...others, type } };
    });
    assert.deepEqual(openTransformers(older).header, openTransformers(join(hf, family)).header, family);
  }
});
const rope = (parameters: object): string => other("llama", { rope_parameters: parameters });
test("a dense family's config.json: what is refused, and what is read where keys are missing or null", () => {
  refused(() => openTransformers(other("llama", { mlp_bias: true })), "mlp_bias is true");
  refused(() => openTransformers(other("llama", { hidden_act: "gelu" })), 'hidden_act is "gelu"');
  refused(() => openTransformers(rope({ rope_type: "yarn", factor: 4 })), '"yarn"', "default, linear", "llama3");
  refused(() => openTransformers(rope({ type: "dynamic", factor: 4 })), "rope_parameters.type", '"dynamic"');
  refused(() => openTransformers(rope({ rope_type: "llama3", factor: 8 })), '"llama3"', "low_freq_factor");
  refused(() => openTransformers(rope({ rope_type: "linear" })), '"linear"', "with a factor alone");
  const both = { rope_type: "linear", factor: 4, original_max_position_embeddings: 16 };
  refused(() => openTransformers(rope(both)), '"linear"', "with a factor alone");
  refused(() => openTransformers(rope({ rope_type: "default", factor: 4 })), "factor is 4");
  refused(() => openTransformers(other("mistral", { rope_parameters: { type: "linear", factor: 4 } })), '"linear"');
  refused(() => openTransformers(other("qwen2", { use_sliding_window: true })), "use_sliding_window is true");
  const types = ["full_attention", "sliding_attention"];
  refused(() => openTransformers(other("qwen3", { layer_types: types })), "layer_types", "sliding_attention");
  assert.equal(header("llama", { num_key_value_heads: null })["Groups"], 4); // as Llama 1 has it
  assert.equal(header("llama", { head_dim: null })["A"], undefined);
  assert.equal(header("qwen3", { head_dim: null })["A"], 128);
  assert.equal(header("mistral", {})["window"], 5);
  assert.equal(header("mistral", { sliding_window: null })["window"], undefined);
  const old = header("llama", { rope_parameters: null, rope_theta: 5e5, rope_scaling: { type: "linear", factor: 4 } });
  assert.deepEqual([old["base"], old["stretch"], old["original"]], [5e5, 4, undefined]);
});
/** Of the first few dense blocks, the step, and of how many layers: `Dense`, `Step` and `Mixed`. */
const denseBlocks = (first: number, step: number | null, layers: number): unknown[] => {
  const only = step === null ? null : Array.from({ length: first }, (_, i) => i);
  const all = { mlp_only_layers: only, decoder_sparse_step: step, num_hidden_layers: layers };
  const { Dense, Step, Mixed } = header("qwen3_moe", all);
  return [Dense, Step, Mixed];
};
test("which blocks of Qwen's are dense: the first few, and all but each Step-th of the others", () => {
  assert.deepEqual(denseBlocks(0, null, 48), [0, 1, 48]);
  assert.deepEqual(denseBlocks(2, 1, 5), [2, 1, 3]);
  assert.deepEqual(denseBlocks(1, 2, 6), [0, 2, 3]);
  assert.deepEqual(denseBlocks(3, 2, 7), [2, 2, 2]);
  assert.deepEqual(denseBlocks(4, 3, 4), [3, 3, 0]);
  refused(
    () => openTransformers(other("qwen3_moe", { mlp_only_layers: [1] })),
    "mlp_only_layers is [1]",
    "the first few",
  );
  refused(() => openTransformers(other("qwen2_moe", { mlp_only_layers: 1 })), "mlp_only_layers is 1", "the first few");
});
/** Of eight tokens that stand `step` positions apart. */
const llamaLogits = async (rope: object, step: number): Promise<Tensor | undefined> => {
  const params = copy("llama", (c) => ({ ...c, rope_parameters: { rope_theta: 1e4, ...rope } }));
  const input = join(temporaryFolder(), "tokens.json");
  const rows = [3, 1, 4, 1, 5, 9, 2, 6];
  writeFileSync(input, JSON.stringify({ tokens: [rows], at: [rows.map((_, i) => step * i)] }));
  const way = { target: "reference", precision: "f64" } as const;
  return (await runEntry({ program: program(), entry: "Llama", params, input, ...way })).get("0");
};
test("Llama's linear scaling: position 4 i is what i is without, and a factor below 1 holds too", async () => {
  const plain = await llamaLogits({ rope_type: "default" }, 2);
  assertClose("logits", await llamaLogits({ rope_type: "linear", factor: 4 }, 8), plain, 1e-12);
  assertClose("logits", await llamaLogits({ rope_type: "linear", factor: 0.5 }, 1), plain, 1e-12);
  assert.notDeepEqual(await llamaLogits({ rope_type: "linear", factor: 4 }, 2), plain);
});
test("each number of config.json that is damaged is refused by its key", () => {
  for (const { type, header } of families) {
    const at = copy(type, (c) => c);
    const whole = readFileSync(join(at, "config.json"), "utf8");
    for (const { keys } of Object.values(header))
      for (const value of ["<infinite>", -1, "4", [1, 2], {}]) {
        const [key = ""] = keys;
        writeFileSync(join(at, "config.json"), changedAt(whole, key, value));
        refused(() => openTransformers(at), "config.json", `${key} is `, "must be");
      }
  }
});
/** A JSON text with another value at a dotted path. */
function changedAt(text: string, path: string, value: unknown): string {
  const json = JSON.parse(text) as Record<string, unknown>;
  const [name = "", inner] = path.split(".");
  json[name] = inner === undefined ? value : { ...(json[name] as object), [inner]: value };
  return JSON.stringify(json).replace('"<infinite>"', "1e999");
}
test("layers are not more than a model can have, and sizes are whole", () => {
  for (const value of [1e10, 10_001, 2.5, true])
    refused(() => openTransformers(other("phimoe", { num_hidden_layers: value })), `num_hidden_layers is ${value}`);
  for (const value of [1e10, 0, 2.5, true])
    refused(() => openTransformers(other("mixtral", { hidden_size: value })), `hidden_size is ${value}`, "from 1 to");
  const more = { num_nextn_predict_layers: 1e10 };
  refused(() => openTransformers(other("glm4_moe", more)), "num_nextn_predict_layers is 10000000000");
  refused(() => openTransformers(other("olmoe", { norm_topk_prob: 2 })), "norm_topk_prob is 2", "true or false");
  refused(() => openTransformers(other("olmoe", { tie_word_embeddings: "no" })), 'tie_word_embeddings is "no"');
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
test("LongRoPE's factors and heat are those of the context that the model is for", async () => {
  const tokens = join(temporaryFolder(), "tokens.json");
  writeFileSync(tokens, JSON.stringify({ tokens: [[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]] }));
  const logits = async (rope: object): Promise<Tensor | undefined> => {
    const params = copy("phimoe", (c) => ({ ...c, rope_parameters: { ...(c["rope_parameters"] as object), ...rope } }));
    const way = { target: "reference", precision: "f64" } as const;
    return (await runEntry({ program: program("phi"), entry: "PhiMoE", params, input: tokens, ...way })).get("0");
  };
  const far = await logits({ short_factor: [9, 9], short_mscale: 9 });
  assertClose("logits", await logits({}), far, 0);
  const short = { original_max_position_embeddings: 64, short_mscale: 1.3, long_factor: [9, 9], long_mscale: 9 };
  assertClose("logits", await logits(short), far, 0);
});
test("what llama3's rates are stretched from is the whole context, if nothing is said", () => {
  const parameters = { rope_type: "llama3", rope_theta: 1e4, factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
  const { header } = openTransformers(other("llama4_text", { rope_parameters: parameters }));
  assert.equal(header["original"], 64);
});
test("a fused matrix that does not divide into its parts is a Problem", () => {
  const at = copy("granitemoe", (c) => c);
  const path = join(at, "model.safetensors");
  const fused = "model.layers.0.block_sparse_moe.input_linear.weight";
  const odd = tensor("f32", [6, 23, 16], Array(6 * 23 * 16).fill(0));
  writeSafetensors(path, new Map([...readSafetensors(path), [fused, odd]]));
  refused(() => transformersTensors(openTransformers(at)), fused, "23 columns, for 2 matrices");
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
/** The checkpoint of a model that has this one within, and a part that reads images. */
function larger(family: string, rename: (name: string) => string): string {
  const at = copy(family, (c) => ({
    model_type: "larger",
    text_config: without(c, "tie_word_embeddings"),
    tie_word_embeddings: true,
  }));
  const path = join(at, "model.safetensors");
  const own = [...readSafetensors(path)].filter(([name]) => name !== "lm_head.weight");
  const image = ["model.visual.merger.norm.weight", tensor("f32", [2], [1, 2])] as const;
  writeSafetensors(path, new Map([...own.map(([name, t]) => [rename(name), t] as const), image]));
  return at;
}
test("the text model of a larger model is read from within its config, by either of its names", () => {
  const own = parametersOf(join(hf, "qwen3_5_text"));
  const expected = new Map(own).set("head.weight", transposed(own.get("embed.weight") as Tensor));
  for (const place of ["model.language_model.", "language_model.model."]) {
    const at = larger("qwen3_5_text", (name) => name.replace("model.", place));
    assert.deepEqual(parametersOf(at), expected);
    assert.equal(openTransformers(at).tied, true);
  }
  refused(() => parametersOf(larger("qwen3_5_text", (name) => name.replace("model.", "model.text."))), "model.text.");
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
