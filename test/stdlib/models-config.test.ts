// What config.json of a transformers checkpoint may say, and what is refused by its key.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { openTransformers } from "../../runtime/import/config.ts";
import { families } from "../../runtime/import/families/index.ts";
import { importModel } from "../../runtime/import/import-model.ts";
import { programOf } from "../../runtime/import/program.ts";
import { readSafetensors, tensor, writeSafetensors } from "../../runtime/index.ts";
import { copy, type Header, header, hf, other, refused, refuses, without } from "../hf-copies.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { last } from "../training-runs.ts";

const test = suite("models-config");
test("a configuration that the model cannot have is a Problem that names the key", () => {
  refused(() => openTransformers(copy("olmoe", (c) => ({ ...c, hidden_act: "gelu" }))), 'hidden_act is "gelu"');
  refused(
    () => openTransformers(copy("mixtral", (c) => ({ ...c, model_type: "gpt2" }))),
    '"gpt2"',
    "it has gpt_oss; docs/from-pytorch.md",
  );
  refused(
    () => openTransformers(other("mixtral", { model_type: "glm6_next" })),
    "it has glm4, ",
    ", glm_moe_dsa; docs",
  );
  const text = { model_type: "glm6_next_text" };
  refused(
    () => openTransformers(other("mixtral", { model_type: "seeing", text_config: text })),
    'the model_type is "seeing", of its text model "glm6_next_text", which',
    "it has glm4, ",
  );
  refused(() => openTransformers(copy("mixtral", (c) => without(c, "model_type"))), "has no model_type");
  refused(() => openTransformers(copy("mixtral", (c) => without(c, "vocab_size"))), "vocab_size is not given");
  const yarn = { rope_type: "yarn", factor: 4, rope_theta: 10000 };
  refused(() => openTransformers(copy("mixtral", (c) => ({ ...c, rope_parameters: yarn }))), '"yarn"');
  refused(() => openTransformers(temporaryFolder()), "no config.json");
  refused(
    () => openTransformers(copy("gpt_oss", (c) => ({ ...c, layer_types: ["full_attention", "full_attention"] }))),
    "layer_types",
  );
  const hqq = { quant_method: "hqq" };
  refused(() => openTransformers(copy("gpt_oss", (c) => ({ ...c, quantization_config: hqq }))), "quantised", '"hqq"');
  assert.ok(openTransformers(copy("gpt_oss", (c) => ({ ...c, quantization_config: null }))));
});
const order = ({ First, Early, Threes, Twos, Ones }: Header): unknown[] => [First, Early, Threes, Twos, Ones];
/** LFM2's blocks: `f` is full attention, others are convolutions. */
const layers = (types: string): object => ({
  num_hidden_layers: types.length,
  layer_types: Array.from(types, (type) => (type === "f" ? "full_attention" : "conv")),
});
/** With these keys of the text model's config set. */
const inner = (name: string, change: object): string =>
  copy(name, (c) => ({ ...c, text_config: { ...(c["text_config"] as object), ...change } }));
test("what a family's blocks cannot be is refused by its key", () => {
  refused(() => openTransformers(other("qwen2_moe", { use_sliding_window: true })), "use_sliding_window is true");
  const types = ["sliding_attention", "full_attention"];
  refused(() => openTransformers(other("qwen2_moe", { layer_types: types })), "layer_types", "sliding_attention");
  refused(() => openTransformers(other("glm4_moe", { n_group: 2 })), "n_group is 2");
  refused(() => openTransformers(other("granitemoe", { attention_bias: true })), "attention_bias is true");
  for (const [type, key] of [
    ["granitemoe", "logits_scaling"],
    ["gemma2", "query_pre_attn_scalar"],
    ["gemma2", "attn_logit_softcapping"],
    ["gemma2", "final_logit_softcapping"],
    ["gemma3_text", "query_pre_attn_scalar"],
    ["gemma3_text", "final_logit_softcapping"],
    ["gemma4_text", "final_logit_softcapping"],
    ["gemma4_text_edge", "final_logit_softcapping"],
    ["nanochat", "final_logit_softcapping"],
    ["beam", "final_logit_softcapping"],
  ] as const)
    refuses(type, { [key]: 0 }, `${key} is 0`, "a number above 0");
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
  const mixed = ["dense", "sparse", "dense"];
  refused(
    () => openTransformers(other("hy_v3", { mlp_layer_types: mixed, num_hidden_layers: 3 })),
    "mlp_layer_types is",
  );
  assert.equal(header("hy_v3", { mlp_layer_types: null })["Dense"], 1);
  refused(() => openTransformers(other("hy_v3", { mlp_bias: true })), "mlp_bias is true");
  refused(() => openTransformers(other("sarvam_moe", { score_function: "softmax" })), 'score_function is "softmax"');
  for (const key of ["use_gated_attention", "partial_rotary_factor"])
    refused(() => openTransformers(other("minicpm5_moe", { [key]: false })), `${key} is false`);
  assert.equal(header("sarvam_moe", { n_routed_experts: null, num_experts: 7 })["E"], 7);
  refused(() => openTransformers(other("aria_text", { mlp_bias: true })), "mlp_bias is true");
  refused(() => openTransformers(inner("qwen3_vl_moe_text", { norm_topk_prob: false })), "norm_topk_prob is false");
  assert.equal(openTransformers(inner("qwen3_vl_moe_text", { rope_parameters: null })).header["base"], 5e5);
  refused(() => openTransformers(inner("glm4v_moe_text", { use_qk_norm: true })), "use_qk_norm is true");
  assert.equal(openTransformers(inner("glm4v_moe_text", { head_dim: 6 })).header["A"], 6);
  refused(() => openTransformers(other("minimax_m2", { scoring_func: "softmax" })), 'scoring_func is "softmax"');
  refused(() => openTransformers(other("dots1", { max_window_layers: 1 })), "max_window_layers is 1");
  refused(
    () => openTransformers(other("ernie4_5_moe", { moe_num_shared_experts: 0 })),
    "moe_num_shared_experts is 0",
    "1 or more",
  );
  const sections = { rope_type: "default", mrope_section: [2, 1, 1] };
  refused(() => openTransformers(inner("ernie4_5_vl_moe_text", { rope_parameters: sections })), "mrope_section is");
  refused(() => openTransformers(inner("ernie4_5_vl_moe_text", { moe_intermediate_size: 4 })), "it must be a list");
  refused(() => openTransformers(inner("ernie4_5_vl_moe_text", { mlp_layer_types: ["dense"] })), "mlp_layer_types is");
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
test("numbers that JSON has not, as Python writes them, are read where they stand alone", () => {
  const at = other("granitemoehybrid", { architectures: ["[Infinity, NaN"] });
  const path = join(at, "config.json");
  const text = readFileSync(path, "utf8").replace("1.2]", "Infinity]");
  assert.match(text, /,Infinity\]/);
  writeFileSync(path, text);
  assert.deepEqual([openTransformers(at).header["least"], openTransformers(at).header["most"]], [0.1, undefined]);
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
test("Gemma 4's blocks that see all: which they are, and where their heads are said", () => {
  const { Every, FarA, FarGroups } = header("gemma4_text", {});
  assert.deepEqual([Every, FarA, FarGroups], [2, 12, 1]);
  const released = { per_layer_config: null, global_head_dim: 16, num_global_key_value_heads: 2 };
  assert.deepEqual(header("gemma4_text", released)["FarA"], 16);
  assert.deepEqual(header("gemma4_text", released)["FarGroups"], 2);
  assert.equal(header("gemma4_text", { ...released, attention_k_eq_v: false, num_key_value_heads: 4 })["FarGroups"], 4);
  const dense = { num_experts: null, top_k_experts: null, moe_intermediate_size: null, enable_moe_block: false };
  assert.equal(header("gemma4_text", dense)["E"], 0);
  refuses("gemma4_text", { enable_moe_block: false }, "enable_moe_block is false");
  refuses("gemma4_text", { per_layer_config: { 1: { head_dim: 12 } } }, "per_layer_config is", "the same for each");
  const twelve = { num_hidden_layers: 12, layer_types: null };
  const far = { head_dim: 20, num_key_value_heads: 1 };
  assert.equal(header("gemma4_text", { ...twelve, per_layer_config: { "05": far, 11: far } })["FarA"], 20);
  refuses("gemma4_text", { ...twelve, per_layer_config: { "04": far, 11: far } }, "per_layer_config is");
  assert.equal(header("gemma4_text", { per_layer_config: {} })["FarA"], 4);
  refuses(
    "gemma4_text",
    { layer_types: ["full_attention", ...Array<string>(3).fill("sliding_attention")] },
    "layer_types is",
  );
  refuses("gemma4_text", { hidden_size_per_layer_input: 4 }, "enable_moe_block is true, and Gemma4Edge has only false");
  refuses("gemma4_text", { num_kv_shared_layers: 1 }, "num_kv_shared_layers is 1");
  refuses("gemma4_text", { use_bidirectional_attention: "all" }, 'use_bidirectional_attention is "all"');
  refuses("gemma4_text", { rope_parameters: { other_attention: {} } }, "rope_theta is not given");
});
const edgeHeader = (change: object): Readonly<Record<string, unknown>> => header("gemma4_text_edge", change);
test("Gemma 4 E2B: the last blocks share keys and values, in whole groups, and may be wider", () => {
  const { Shared, SharedF, P, FarGroups } = edgeHeader({});
  assert.deepEqual([Shared, SharedF, P, FarGroups], [4, 24, 6, 2]);
  assert.deepEqual(
    [edgeHeader({ use_double_wide_mlp: false })["SharedF"], edgeHeader({ num_kv_shared_layers: 0 })["Shared"]],
    [12, 0],
  );
  refuses("gemma4_text_edge", { num_kv_shared_layers: 3 }, "num_kv_shared_layers is 3", "a multiple of 2 below");
  refuses("gemma4_text_edge", { num_kv_shared_layers: 8 }, "num_kv_shared_layers is 8");
  refuses("gemma4_text_edge", { vocab_size_per_layer_input: 41 }, "vocab_size_per_layer_input is 41");
  refuses("gemma4_text_edge", { layer_types: Array(8).fill("full_attention") }, "layer_types is");
});
test("Cohere's order of blocks, and words that are one of two", () => {
  const { Dense, Every, Full } = header("cohere2_moe", {});
  assert.deepEqual([Dense, Every, Full], [1, 2, 1]);
  const released = { layer_types: null, mlp_layer_types: null, sliding_window_pattern: 4, num_hidden_layers: 8 };
  assert.deepEqual(header("cohere2_moe", released)["Full"], 2);
  assert.deepEqual(header("cohere2_moe", { ...released, first_k_dense_replace: 1 })["Full"], 1);
  assert.equal(header("cohere2_moe", { rms_norm_eps: 1e-3 })["centred"], false);
  const types = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"];
  refuses("cohere2_moe", { layer_types: types }, "layer_types is", "each N-th");
  // transformers counts the dense blocks of mlp_layer_types as others where it makes layer_types itself
  refuses("cohere2_moe", { layer_types: null }, "layer_types is not given");
  refuses("cohere2_moe", { expert_selection_fn: "relu" }, 'expert_selection_fn is "relu"', '"softmax" or "sigmoid"');
  refuses("cohere2_moe", { shared_expert_combination_strategy: "max" }, 'strategy is "max"');
  refuses("cohere2_moe", { prefix_dense_sliding_window_pattern: 2 }, "sliding_window_pattern is 2");
});
test("Mistral 4's experts are in no groups, and what turns follows from widths", () => {
  refuses("mistral4", { n_group: 5 }, "n_group is 5");
  assert.equal(header("mistral4", {})["growth"], 0.5);
  const { rope_parameters: rope } = JSON.parse(readFileSync(join(hf, "mistral4", "config.json"), "utf8")) as {
    readonly rope_parameters: object;
  };
  refuses("mistral4", { rope_parameters: null }, "rope_parameters.rope_theta is not given"); // YaRN in transformers
  refuses("mistral4", { rope_parameters: { ...rope, partial_rotary_factor: 1 } }, "partial_rotary_factor is 1");
});
/** DBRX's settings of one part, with some changed. */
const dbrxPart = (key: "ffn_config" | "attn_config", change: object): object => {
  const config = JSON.parse(readFileSync(join(hf, "dbrx", "config.json"), "utf8")) as Record<typeof key, object>;
  return { [key]: { ...config[key], ...change } };
};
test("DBRX's settings within settings", () => {
  const norm = "moe_normalize_expert_weights";
  assert.equal(header("dbrx", {})["renormalised"], true);
  assert.equal(header("dbrx", dbrxPart("ffn_config", { [norm]: null }))["renormalised"], false);
  refuses("dbrx", dbrxPart("ffn_config", { [norm]: 2 }), `ffn_config.${norm} is 2`);
  refuses("dbrx", dbrxPart("ffn_config", { moe_jitter_eps: 0.1 }), "moe_jitter_eps is 0.1");
  refuses("dbrx", dbrxPart("ffn_config", { ffn_act_fn: { name: "gelu" } }), "ffn_act_fn is");
  refuses("dbrx", dbrxPart("attn_config", { rope_theta: 5e5 }), "attn_config.rope_theta is 500000");
  assert.equal(header("dbrx", { rope_parameters: null, ...dbrxPart("attn_config", { rope_theta: 5e5 }) })["base"], 5e5);
});
test("Models like DeepSeek-V3: as released, and what is refused", () => {
  const scaling = { factor: 40, mscale: 1, mscale_all_dim: 1, original_max_position_embeddings: 4096 };
  const kimi = header("kimi_k2", { rope_parameters: null, rope_scaling: { type: "yarn", ...scaling, beta_fast: 1 } });
  assert.deepEqual([kimi["fast"], kimi["slow"], kimi["stretch"], kimi["G"]], [1, 1, 40, 1]);
  refuses("kimi_k2", { scoring_func: "softmax" }, 'scoring_func is "softmax"');
  const released = {
    n_routed_experts: null,
    num_experts: 5,
    n_shared_experts: null,
    num_shared_experts: 1,
    n_group: null,
  };
  const sarvam = {
    ...released,
    rope_parameters: null,
    rope_scaling: { type: "deepseek_yarn", ...scaling },
    head_dim: 9,
  };
  const { E, Shared, G, Q, stretch } = header("sarvam_mla", sarvam);
  assert.deepEqual([E, Shared, G, Q, stretch], [5, 1, 1, 0, 40]);
  assert.equal(header("axk1", { mlp_layer_types: null, first_k_dense_replace: 2 })["Dense"], 2);
  const { G: groups, Open, Dense } = header("axk2", { n_group: null, topk_group: null, mlp_layer_types: null });
  assert.deepEqual([groups, Open, Dense], [1, 1, 1]);
  refuses("axk2", { moe_layer_freq: 2 }, "moe_layer_freq is 2");
  refuses("axk2", { q_lora_rank: null }, "q_lora_rank is not given");
  refuses("axk2", { gated_norm_rank: null }, "gated_norm_rank is not given");
  assert.equal(header("deepseek_v32", { first_k_dense_replace: null, mlp_layer_types: null })["Dense"], 3);
  refuses("deepseek_v32", { scoring_func: "softmax" }, 'scoring_func is "softmax"');
  refuses("deepseek_v32", { indexer_rope_interleave: true }, "indexer_rope_interleave is true");
  refuses("glm_moe_dsa", { indexer_rope_interleave: false }, "indexer_rope_interleave is false");
  refuses("deepseek_v32", { q_lora_rank: null }, "q_lora_rank is not given");
  refuses("deepseek_v32", { mlp_layer_types: ["sparse", "dense"] }, "mlp_layer_types is");
  assert.equal(header("glm_moe_dsa", { indexer_types: null, index_topk_pattern: "FF" })["index_paired"], true);
  refuses("glm_moe_dsa", { indexer_types: ["full", "none"] }, 'indexer_types is ["full","none"]', "full or shared");
  refuses("glm_moe_dsa", { indexer_types: null, index_topk_freq: "four" }, 'index_topk_freq is "four"');
  refuses("glm_moe_dsa", { indexer_types: null, index_topk_pattern: "SF" }, 'index_topk_pattern is "SF"');
});
test("T5's feed-forward parts, where config.json does not say: gated after T5 1.0", () => {
  const gated = ["t5", "mt5", "umt5"].map((type) => header(type, { feed_forward_proj: null })["gated"]);
  assert.deepEqual(gated, [false, true, true]);
  refuses("umt5", { feed_forward_proj: "gated-silu" }, 'feed_forward_proj is "gated-silu"', "gated-gelu");
});
const stepsOf = (step: number | null): unknown[] => {
  const { Step, Mixed, Step2, Mixed2 } = header("nllb-moe", { encoder_sparse_step: step, decoder_sparse_step: step });
  return [Step, Mixed, Step2, Mixed2];
};
test("NLLB's mixtures: each how many-th block, and with a step of 0 none", () => {
  const { M = 0, L = 0 } = header("nllb-moe", {});
  assert.deepEqual(stepsOf(0), [1, 0, 1, 0]);
  assert.deepEqual(stepsOf(1), [1, M, 1, L]);
  assert.deepEqual(stepsOf(null), [4, Math.floor(Number(M) / 4), 4, Math.floor(Number(L) / 4)]);
});
test("A.X K1 is released without its gates' biases, and with norms after dense blocks that nothing reads", async () => {
  const at = copy("axk1", (c) => ({ ...without(c, "mlp_layer_types"), first_k_dense_replace: 1 }));
  const path = join(at, "model.safetensors");
  const own = [...readSafetensors(path)].filter(([name]) => !name.endsWith("e_score_correction_bias"));
  writeSafetensors(path, new Map([...own, ["model.layers.0.post_mlp_layernorm.weight", tensor("f32", [2], [1, 2])]]));
  const out = join(temporaryFolder(), "run");
  await importModel({ folder: at, out, warn: assert.fail });
  assert.equal(last(out).model.has("blocks.1.feed.inner.moe.gate.bias"), false);
});
test("LongCat's bottlenecks are scaled, and experts that cost nothing give back what they get", () => {
  refuses("longcat_flash", { zero_expert_type: "zero" }, 'zero_expert_type is "zero"');
  refuses("longcat_flash", { mla_scale_q_lora: false }, "mla_scale_q_lora is false");
  refuses("longcat_flash", { head_dim: 2 }, "head_dim is 2");
  refuses("longcat_flash", { router_bias: true }, "router_bias is true");
});
test("MiMo's first block is dense and sees all, as each N-th does", () => {
  const { Every, NearGroups, P, NearP } = header("mimo_v2_flash", {});
  assert.deepEqual([Every, NearGroups, P, NearP], [3, 2, 4, 2]);
  assert.equal(header("mimo_v2_flash", { layer_types: null })["Every"], 6);
  assert.equal(header("mimo_v2_flash", { sliding_window_size: 128 })["window"], 129);
  assert.equal(header("mimo_v2_flash", { routed_scaling_factor: null })["scale"], 1);
  const silent = copy("mimo_v2_flash", (c) => without(c, "attention_value_scale"));
  assert.equal(openTransformers(silent).header["strength"], undefined); // our default is theirs
  assert.equal(header("mimo_v2_flash", { attention_value_scale: null })["strength"], 1);
  const released = header("mimo_v2_flash", {
    rope_parameters: null,
    rope_theta: 3e6,
    partial_rotary_factor: 0.7,
    rms_norm_eps: null,
    layernorm_epsilon: 1e-4,
  });
  assert.deepEqual(
    ["P", "NearP", "base", "near_base", "eps"].map((name) => released[name]),
    [4, 4, 3e6, 1e4, 1e-4],
  );
  refuses("mimo_v2_flash", { layer_types: Array<string>(6).fill("sliding_attention") }, "layer_types is", "each N-th");
  refuses("mimo_v2_flash", { mlp_layer_types: Array<string>(6).fill("sparse") }, "mlp_layer_types is");
});
const spacing = ({ First, Every, Full }: Header): unknown[] => [First, Every, Full];
test("blocks that see all stand evenly, with one base each kind", () => {
  assert.deepEqual(spacing(header("granitemoe_swa", {})), [0, 4, 2]);
  assert.deepEqual(spacing(header("granitemoe_swa", { layer_types: null })), [0, 4, 2]);
  assert.deepEqual(spacing(header("mellum", {})), [1, 2, 2]);
  assert.deepEqual(spacing(header("mellum", { layer_types: null })), [0, 1, 4]);
  const { P, NearP, near_base: base } = header("granitemoe_swa", {});
  assert.deepEqual([P, NearP, base], [0, 4, 100]);
  assert.equal(header("granitemoe_swa", { layer_rope_theta: null })["base"], 10000);
  refuses("granitemoe_swa", { layer_rope_theta: [0, 1, 2, 3, 0] }, "layer_rope_theta is [0,1,2,3,0]", "one number");
  refuses("granitemoe_swa", { layer_rope_theta: [0, 100] }, "layer_rope_theta is [0,100]");
  const uneven = [0, 1, 3].map((i) => (i === 3 ? "sliding_attention" : "full_attention"));
  refuses("mellum", { layer_types: [...uneven, "full_attention"] }, "layer_types is", "an equal number apart");
  refuses("mellum", { mlp_layer_types: Array<string>(4).fill("dense") }, "mlp_layer_types is");
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
test("each number of config.json that is damaged is refused by its key", () => {
  for (const family of families) {
    const { type, header, isOf } = family;
    const others = [
      ...(type === "qwen4_exp_text" ? [`${type}_ngrams`] : []),
      type,
      "gemma4_text_edge",
      "glm_moe_dsa_shared",
    ];
    const at = copy(
      others.find((name) => !isOf || openTransformers(join(hf, name)).family === family) ?? type,
      (c) => c,
    );
    const whole = readFileSync(join(at, "config.json"), "utf8");
    const path = "text_config" in JSON.parse(whole) ? "text_config." : "";
    for (const [key] of Object.values(header).map(({ keys }) => keys))
      for (const value of key === undefined ? [] : ["<infinite>", -1, "4", [1, 2], {}]) {
        if (key === "per_layer_config" && JSON.stringify(value) === "{}") continue; // no block differs
        if (key?.endsWith("_lower_bound") && value === -1) continue; // it is below 0
        if (key === "eos_token_id" && Array.isArray(value)) continue; // one of them
        if (type === "ernie4_5_vl_moe_text" && key === "moe_intermediate_size" && Array.isArray(value)) continue; // for text, and for images
        writeFileSync(join(at, "config.json"), changedAt(whole, `${path}${key}`, value));
        refused(() => openTransformers(at), "config.json", `${key} is `, "must be");
      }
  }
});
/** A JSON text with another value at a dotted path. */
function changedAt(text: string, path: string, value: unknown): string {
  const changed = (json: object, [name = "", ...inner]: readonly string[]): object => ({
    ...json,
    [name]: inner.length === 0 ? value : changed({ ...(json as Record<string, object>)[name] }, inner),
  });
  return JSON.stringify(changed(JSON.parse(text) as object, path.split("."))).replace('"<infinite>"', "1e999");
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
test("a kind of block whose name cannot be a layer's is told by name", () => {
  const opened = openTransformers(join(hf, "mixtral"));
  const listed = { ...opened, kinds: { "sliding window": "Mixtral" }, order: ["sliding window"] };
  assert.throws(() => programOf(listed, 8), /blocks.kinds of mixtral: `sliding window` names a layer/);
});
test.run();
