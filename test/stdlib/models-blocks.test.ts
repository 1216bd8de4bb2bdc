// What config.json of a checkpoint says of each block, where a model is a list of them.
import assert from "node:assert/strict";
import { suite } from "uvu";
import { findDeclaration, load } from "../../compiler/check/index.ts";
import { openTransformers } from "../../runtime/import/config.ts";
import { families } from "../../runtime/import/families/index.ts";
import { copy, header, kindsOfFamily, other, refused, refuses } from "../hf-copies.ts";

const test = suite("models-blocks");
/** Of Granite 4.0 with these settings. */
const hybrid = (change: object): string => other("granitemoehybrid", change);
const kindsOf = (change: object): readonly string[] | undefined => openTransformers(hybrid(change)).order;
const nemotron = (change: object): string => other("nemotron_h", change);
test("Nemotron-H: blocks by a list or a pattern, of which there are as many as layers", () => {
  const pattern = { layers_block_type: null, hybrid_override_pattern: "M-M*E" };
  const { order, header } = openTransformers(nemotron({ ...pattern, num_hidden_layers: 5 }));
  assert.deepEqual([order, header["L"]], [["Mamba", "Dense", "Mamba", "Attention", "Mixture"], 5]);
  assert.equal(openTransformers(nemotron({ layers_block_type: ["mamba", "attention"] })).header["L"], 2);
  refused(() => openTransformers(nemotron({ ...pattern, num_hidden_layers: 6 })), "num_hidden_layers is 6", "only 5");
  refused(() => openTransformers(nemotron({ layers_block_type: ["conv"] })), "layers_block_type is", "a pattern of M");
  refused(
    () => openTransformers(nemotron({ ...pattern, hybrid_override_pattern: "M|" })),
    "hybrid_override_pattern is",
  );
  refused(() => openTransformers(nemotron({ layers_block_type: null })), "layers_block_type is not given");
  refused(() => openTransformers(nemotron({ mlp_hidden_act: "silu" })), 'mlp_hidden_act is "silu"');
  refused(() => openTransformers(nemotron({ time_step_limit: [0, 1] })), "time_step_limit is [0,1]");
  refused(() => openTransformers(nemotron({ sliding_window: 8 })), "sliding_window is 8");
  refused(() => openTransformers(nemotron({ n_shared_experts: 2 })), "n_shared_experts is 2");
});
/** The longest step of Mamba-2. */
const most = (value: unknown): unknown => header("granitemoehybrid", { time_step_limit: [0, value] })["most"];
test("Granite 4.0: what each block is, and what its Mamba-2 is", () => {
  assert.deepEqual(kindsOf({ layer_types: ["mamba", "attention", "attention", "mamba"] }), [
    "Mamba",
    "Attention",
    "Attention",
    "Mamba",
  ]);
  assert.deepEqual(kindsOf({ layer_types: null, num_hidden_layers: 2 }), ["Mamba", "Mamba"]);
  for (const types of [["mamba"], ["mamba", "mamba", "mamba", "moe"], "mamba"])
    refused(() => openTransformers(hybrid({ layer_types: types })), "layer_types is", "one for each layer");
  assert.equal(header("granitemoehybrid", { mamba_d_head: "auto" })["StateWidth"], 8);
  refused(() => openTransformers(hybrid({ mamba_expand: 4 })), "mamba_expand is 4", "has only 2");
  assert.equal(header("granitemoehybrid", { position_embedding_type: "rope" })["P"], 4);
  refused(() => openTransformers(hybrid({ position_embedding_type: "alibi" })), 'position_embedding_type is "alibi"');
  refused(() => openTransformers(hybrid({ attention_bias: true })), "attention_bias is true");
  assert.deepEqual([most(2), most({ __float__: "Infinity" }), most(null)], [2, undefined, undefined]);
  refused(() => most({ __float__: "NaN" }), "time_step_limit.1 is", "or infinite");
});
test("Jamba: one block in each so many has attention, or is a mixture", () => {
  assert.deepEqual(kindsOfFamily("jamba", {}), ["Mamba", "AttentionMixture", "Mamba", "MambaMixture", "Attention"]);
  assert.deepEqual(kindsOfFamily("jamba", { num_experts: 1, num_hidden_layers: 2 }), ["Mamba", "Attention"]);
  const usual = { attn_layer_period: null, attn_layer_offset: null, expert_layer_offset: null };
  assert.deepEqual(kindsOfFamily("jamba", usual), ["Mamba", "MambaMixture", "Mamba", "MambaMixture", "Attention"]);
  assert.equal(header("jamba", { mamba_dt_rank: "auto" })["Rank"], undefined);
  refuses("jamba", { mamba_dt_rank: "all" }, 'mamba_dt_rank is "all"');
  refuses("jamba", { attn_layer_period: 0 }, "attn_layer_period is 0", "at least 1");
  refuses("jamba", { expert_layer_offset: 2 }, "expert_layer_offset is 2", "below expert_layer_period, 2");
  refuses("jamba", { hidden_act: "gelu" }, 'hidden_act is "gelu"');
});
test("Bamba: blocks with attention by their numbers, and half of a head turns if nothing is said", () => {
  assert.deepEqual(kindsOfFamily("bamba", {}), ["Mamba", "Attention", "Mamba"]);
  assert.deepEqual(kindsOfFamily("bamba", { attn_layer_indices: null, num_hidden_layers: 2 }), ["Mamba", "Mamba"]);
  assert.equal(header("bamba", { rope_parameters: null })["P"], 2);
  assert.equal(header("bamba", { rope_parameters: { rope_theta: 5, partial_rotary_factor: 1 } })["P"], 4);
  refuses("bamba", { attn_layer_indices: 1 }, "attn_layer_indices is 1", "numbers of layers");
  refuses("bamba", { head_dim: 8 }, "head_dim is 8");
  refuses("bamba", { mlp_bias: true }, "mlp_bias is true");
});
test("Laguna: each kind of blocks has heads and RoPE of its own", () => {
  const { order, header: own } = openTransformers(other("laguna", {}));
  assert.deepEqual(order, ["Far", "NearMixture", "FarMixture", "Near"]);
  const { Heads, NearHeads, P, NearP, stretch, fast, single } = own;
  assert.deepEqual([Heads, NearHeads, P, NearP, stretch, fast, single], [2, 4, 4, 8, 4, 8, true]);
  const unsaid = header("laguna", {
    rope_parameters: null,
    num_attention_heads_per_layer: null,
    gating: "per-element",
  });
  assert.deepEqual([unsaid["base"], unsaid["P"], unsaid["stretch"], unsaid["NearHeads"]], [500000, 4, 1, 4]);
  assert.equal(unsaid["single"], false);
  const sliding = { rope_type: "default", rope_theta: 50, partial_rotary_factor: 0.55 }; // 4.4 features of 8
  assert.equal(
    header("laguna", { rope_parameters: { sliding_attention: sliding, full_attention: { rope_theta: 9 } } })["NearP"],
    4,
  );
  refuses("laguna", { num_attention_heads_per_layer: [2, 4, 2, 2] }, "heads_per_layer is [2,4,2,2]", "all of one kind");
  refuses("laguna", { gating: false }, "gating is false");
  refuses("laguna", { moe_router_logit_softcapping: 5 }, "moe_router_logit_softcapping is 5");
  refuses("laguna", { mlp_layer_types: ["sparse"] }, "mlp_layer_types is", "one for each layer");
  refuses("laguna", { layer_types: Array(4).fill("chunked_attention") }, "layer_types is", "one for each layer");
  refuses("laguna", { rope_parameters: { sliding_attention: { rope_theta: 9 } } }, "full_attention.rope_theta is");
});
/** A copy whose text model is said otherwise. */
const muse = (type: string, change: object): string =>
  copy(type, (c) => ({ ...c, text_config: { ...(c["text_config"] as object), ...change } }));
test("Muse: blocks that see all, and those whose heads do not turn, as released in each fourth from the last", () => {
  const said = { layer_types: null, layer_rope_theta: null };
  const kinds = (type: string, change: object): unknown => openTransformers(muse(type, change)).order;
  const near = Array<string>(3).fill("NearMixture");
  assert.deepEqual(kinds("muse_spark_text", said), ["Near", "FarStillMixture", ...near, "FarStillMixture"]);
  const own = ["NearStill", "FarStillMixture", "FarMixture", "NearMixture", "NearMixture", "FarStillMixture"];
  assert.deepEqual(kinds("muse_spark_text", {}), own);
  assert.deepEqual(kinds("muse_glimmer_text", said), ["FarStill", "Near", "Near", "Near", "FarStill"]);
  const other = muse("muse_spark_text", { layer_rope_theta: [0, 0, 7, 100, 100, 0] });
  refused(() => openTransformers(other), "layer_rope_theta is [0,0,7,", "0 or rope_theta for each layer");
  refused(() => openTransformers(muse("muse_glimmer_text", { layer_types: [] })), "layer_types is []");
  refused(() => openTransformers(muse("muse_spark_text", { qk_scale_factor: null })), "qk_scale_factor is not given");
});
test("Gemma 3: what each block sees, and how it turns, as released and as transformers writes it", () => {
  assert.deepEqual(openTransformers(other("gemma3_text", {})).order, ["Near", "Far", "Near"]);
  const old = { layer_types: null, rope_parameters: null, num_hidden_layers: 8, rope_local_base_freq: 7 };
  const more = { rope_scaling: { rope_type: "linear", factor: 8 }, num_attention_heads: null, head_dim: null };
  const { order, header: own } = openTransformers(other("gemma3_text", { ...old, ...more }));
  assert.deepEqual(order, [...Array<string>(5).fill("Near"), "Far", "Near", "Near"]);
  const { base, near_base, stretch, near_stretch, Heads, A } = own;
  assert.deepEqual([base, near_base, stretch, near_stretch, Heads, A], [1e6, 7, 8, undefined, 8, 256]);
  const two = kindsOfFamily("gemma3_text", { ...old, sliding_window_pattern: 2 });
  assert.deepEqual(two?.slice(0, 4), ["Near", "Far", "Near", "Far"]);
  refuses("gemma3_text", { layer_types: ["full_attention"] }, "layer_types is", "one for each layer");
  refuses("gemma3_text", { rope_scaling: { rope_type: "yarn", factor: 8 } }, 'rope_type is "yarn"');
  refuses("gemma3_text", { ...old, rope_scaling: { rope_type: "linear" } }, "factor is not given");
  for (const every of [0, 2.5, "six"])
    refuses("gemma3_text", { ...old, sliding_window_pattern: every }, "sliding_window_pattern is", "at least 1");
  assert.deepEqual(openTransformers(other("gemma3_text", {})).misspelt, []);
  refuses("gemma3_text", { use_bidirectional_attention: true }, "use_bidirectional_attention is true");
  refuses("gemma3_text", { attn_logit_softcapping: 50 }, "attn_logit_softcapping is 50");
});
test("ZAYA: what each block sees, and how it turns, where nothing is said too", () => {
  const { order, header: own } = openTransformers(other("zaya", {}));
  assert.deepEqual(order, ["FirstFar", "Near", "Far"]);
  const { P, NearP, base, near_base, GroupWidth } = own;
  assert.deepEqual([P, NearP, base, near_base, GroupWidth], [4, 6, 100, 10, 3]);
  const unsaid = header("zaya", { rope_parameters: null, layer_types: null, sliding_window: null });
  assert.deepEqual([unsaid["P"], unsaid["base"], unsaid["window"]], [3, 5e6, undefined]);
  const far = { rope_parameters: { hybrid: { rope_theta: 7 } }, layer_types: Array(3).fill("hybrid") };
  assert.deepEqual([header("zaya", far)["P"], header("zaya", far)["base"]], [6, 7]);
  refuses("zaya", { rope_parameters: { hybrid: { rope_theta: 7 } } }, "hybrid_sliding.rope_theta is not given");
  refuses("zaya", { layer_types: ["hybrid"] }, "layer_types is", "one for each layer");
  refuses("zaya", { sliding_window: null }, "sliding_window is not given");
  refuses("zaya", { num_experts_per_tok: 2 }, "num_experts_per_tok is 2");
  refuses("zaya", { lm_head_bias: true }, "lm_head_bias is true");
});
/** Step's text model alone, with these keys of its config set. */
const step = (change: object): string => copy("step3p5", (c) => ({ ...(c["text_config"] as object), ...change }));
/** Step-3.7, whose text model is said to be of another type. */
const stepTyped = (type: unknown): string =>
  copy("step3p5", (c) => ({ ...c, text_config: { ...(c["text_config"] as object), model_type: type } }));
const refusesStep = (change: object, ...words: string[]): void =>
  refused(() => openTransformers(step(change)), ...words);
test("Step: what each block sees, is and has limits for, as released and as transformers writes it", () => {
  const kinds = ["FarBound", "NearMixture", "FarMixtureExpertsBound", "NearMixtureSharedBound"];
  assert.deepEqual(openTransformers(other("step3p5", {})).order, kinds);
  for (const type of ["of its own code", "llama", null])
    assert.deepEqual(openTransformers(stepTyped(type)).order, kinds);
  const near = Array(3).fill("sliding_attention");
  const layer_types = ["full_attention", ...near, "full_attention", "sliding_attention"];
  const lists = { layer_types, mlp_layer_types: null, moe_layers_enum: "3, 4", num_nextn_predict_layers: 1 };
  const rates = { rope_theta: [7, 5, 5, 5, 7, 5], partial_rotary_factors: [0.5, 1, 1, 1, 0.5, 1] };
  const most = { swiglu_limits: [0, 0, 0, 7, 7, 0], swiglu_limits_shared: [0, 0, 0, 0, 16, 0], per_layer_config: null };
  const named = { num_attention_groups: 2, moe_num_experts: 9, moe_top_k: 3, share_expert_dims: 11, head_dim: 8 };
  const ours = { num_key_value_heads: null, n_routed_experts: null, num_experts_per_tok: null, share_expert_dim: null };
  const heads = { num_sliding_attention_heads: null, attention_other_setting: { num_attention_heads: 6, head_dim: 8 } };
  const unsaid = { rope_parameters: null, rms_norm_eps: null, query_pre_attn_scalar: null };
  const from = { rope_type: "llama3", original_max_position_embeddings: 9, low_freq_factor: 1, high_freq_factor: 32 };
  const stretched = { rope_scaling: { ...from, factor: 2 }, yarn_only_types: ["full_attention"], use_rope_layers: [] };
  const released = {
    ...lists,
    ...rates,
    ...most,
    ...named,
    ...ours,
    ...heads,
    ...unsaid,
    ...stretched,
    num_hidden_layers: 5,
  };
  const { order, header } = openTransformers(step(released));
  assert.deepEqual(order, ["Far", "Near", "Near", "NearMixtureExpertsBound", "FarMixtureBound"]);
  const { base, near_base, P, NearP, stretch, high, NearHeads, Groups, E, K, F, limit, shared_limit, eps } = header;
  assert.deepEqual([base, near_base, P, NearP, stretch, high, eps], [7, 5, 4, 8, 2, 32, 1e-5]);
  assert.deepEqual([NearHeads, Groups, E, K, F, limit, shared_limit], [6, 2, 9, 3, 11, 7, 16]);
  const usual = {
    mlp_layer_types: null,
    swiglu_limits: null,
    swiglu_limits_shared: null,
    layer_types: null,
    sliding_window: null,
  };
  assert.deepEqual(openTransformers(step({ ...usual, per_layer_config: null })).order, [
    "Far",
    "Far",
    "Far",
    "FarMixture",
  ]);
  const alike = { num_sliding_attention_heads: 4, per_layer_config: {} };
  assert.equal(openTransformers(step(alike)).header["NearHeads"], 4);
  refusesStep({ swiglu_limits: [0, 1, 2, 0] }, "swiglu_limits is [0,1,2,0]", "the same for all");
  refusesStep({ swiglu_limits_shared: [0.3] }, "swiglu_limits_shared is [0.3]");
  refusesStep({ layer_types: ["full_attention"] }, "layer_types is", "one for each layer");
  refusesStep({ mlp_layer_types: null, moe_layers_enum: "3,all" }, 'moe_layers_enum is "3,all"', "numbers of layers");
  refusesStep({ per_layer_config: { 1: { num_attention_heads: 8 } } }, "per_layer_config is");
  refusesStep({ num_attention_groups: 4 }, "num_attention_groups is 4", "has only 2");
  refusesStep({ attention_other_setting: { head_dim: 8 } }, "attention_other_setting.head_dim is 8", "has only 6");
  refusesStep({ use_rope_layers: [1, 0, 1, 1] }, "use_rope_layers is");
  refusesStep({ ...released, rope_scaling: { rope_type: "yarn", factor: 2 } }, 'rope_type is "yarn"', "or llama3 with");
  refusesStep(
    { ...released, rope_scaling: { rope_type: "llama3", factor: 2 } },
    'rope_type is "llama3"',
    "low_freq_factor",
  );
  refusesStep({ zero_centered: false }, "zero_centered is false");
});
test("Flint, Beam, Kolibri, Lara: what a block sees, and whether it is a mixture, where nothing is said too", () => {
  const near = ["NearMixture", "NearMixture"];
  const nothing = { layer_types: null, num_hidden_layers: 8 };
  assert.deepEqual(kindsOfFamily("flint", {}), ["Far", "Far", "NearMixture", "Near", "NearMixture", "FarMixture"]);
  const flint = ["Far", "Far", ...near, "NearMixture", "FarMixture", "NearMixture", "FarMixture"];
  assert.deepEqual(kindsOfFamily("flint", { ...nothing, mlp_only_layers: null }), flint);
  refuses("flint", { mlp_only_layers: ["all"] }, "mlp_only_layers is", "numbers of layers");
  refuses("flint", { layer_types: ["full_attention"] }, "layer_types is", "one for each layer");
  refuses("flint", { decoder_sparse_step: 2 }, "decoder_sparse_step is 2");
  assert.deepEqual(kindsOfFamily("beam", {}), ["Far", "NearMixture", "FarMixture", "Near", "FarMixture"]);
  const beam = ["Near", "Near", "Near", ...near, "FarMixture", "NearMixture", "FarMixture"];
  assert.deepEqual(kindsOfFamily("beam", { ...nothing, mlp_layer_types: null }), beam);
  assert.equal(header("beam", { rope_parameters: null })["base"], 10000);
  const turned = { rope_type: "default", rope_theta: 5 };
  refuses(
    "beam",
    { rope_parameters: { sliding_attention: turned, full_attention: turned } },
    "null: without positions",
  );
  const plain = { sliding_attention: null, full_attention: null };
  refuses("beam", { rope_parameters: plain }, "sliding_attention.rope_theta is not given");
  refuses("beam", { rope_parameters: turned }, "sliding_attention.rope_theta is not given");
  const far = { rope_parameters: plain, layer_types: Array(5).fill("full_attention") };
  assert.deepEqual(kindsOfFamily("beam", far)?.slice(2), ["FarMixture", "Far", "FarMixture"]);
  refuses("beam", { final_logit_softcapping: null }, "final_logit_softcapping is");
  const five = ["Near", "Near", "Near", "Near", "Far"];
  assert.deepEqual(kindsOfFamily("kolibri1", { layer_types: null, num_hidden_layers: 10 }), [...five, ...five]);
  assert.deepEqual(
    kindsOfFamily("kolibri1", { layer_types: Array(6).fill("sliding_attention") }),
    Array(6).fill("Near"),
  );
  const all = { layer_types: Array(6).fill("full_attention"), sliding_window: null };
  assert.deepEqual(kindsOfFamily("kolibri1", all), Array(6).fill("Far"));
  refuses("kolibri1", { sliding_window: null }, "sliding_window is not given", "must be a whole number");
  assert.deepEqual(kindsOfFamily("lara_mini", {}), ["Delta", "Far", "Near", "Delta"]);
  const lara = ["Delta", "Near", "Delta", "Far", "Near", "Delta", "Near", "Delta"];
  assert.deepEqual(kindsOfFamily("lara_mini", nothing), lara);
});
test("Kimi Linear: the order of blocks as released and as transformers writes it", () => {
  const kinds = ["DeltaMixture", "LatentMixture", "Delta"];
  assert.deepEqual(kindsOfFamily("kimi_linear", {}), kinds);
  const own = { num_heads: 3, head_dim: 7, short_conv_kernel_size: 2, full_attn_layers: [2], kda_layers: [1, 3] };
  const released = { layer_types: null, linear_attn_config: own, rope_scaling: null, mla_use_nope: true };
  assert.deepEqual(kindsOfFamily("kimi_linear", released), kinds);
  const { DeltaHeads, DeltaWidth, Width } = header("kimi_linear", released);
  assert.deepEqual([DeltaHeads, DeltaWidth, Width], [3, 7, 2]);
  const first = { layer_types: null, mlp_layer_types: null, first_k_dense_replace: 2 };
  assert.deepEqual(kindsOfFamily("kimi_linear", first), ["Delta", "Delta", "DeltaMixture"]);
  refuses(
    "kimi_linear",
    { ...released, linear_attn_config: { ...own, kda_layers: [1] } },
    "linear_attn_config is",
    "from 1 on",
  );
  const seven = { num_hidden_layers: 7, layer_types: null, mlp_layer_types: Array(7).fill("dense") };
  const usual = ["Delta", "Delta", "Delta", "Delta", "Latent", "Delta", "Delta"];
  assert.deepEqual(kindsOfFamily("kimi_linear", seven), usual, "nothing is said");
  const twice = { ...own, full_attn_layers: [2, 2] };
  refuses("kimi_linear", { ...released, linear_attn_config: twice }, "linear_attn_config is", "from 1 on");
  refuses("kimi_linear", { layer_types: ["mamba", "mamba", "mamba"] }, "layer_types is", "one for each layer");
  refuses("kimi_linear", { mla_use_nope: false }, "mla_use_nope is false");
  const unsaid = { layer_types: null, mlp_layer_types: null };
  assert.deepEqual(kindsOfFamily("kimi_linear", { ...unsaid, first_k_dense_replace: null }), [
    "Delta",
    "DeltaMixture",
    "DeltaMixture",
  ]);
  refuses("kimi_linear", { ...unsaid, first_k_dense_replace: "one" }, 'first_k_dense_replace is "one"', "whole number");
  refuses("kimi_linear", { ...unsaid, linear_attn_config: "none" }, 'linear_attn_config is "none"');
  refuses("kimi_linear", { linear_attn_config: "none" }, 'linear_attn_config is "none"');
  refuses("kimi_linear", { mlp_layer_types: ["dense"], first_k_dense_replace: 1 }, "mlp_layer_types is");
});
test("Ling 3: each so many blocks have latent attention, and what fades may have no bound", () => {
  assert.deepEqual(kindsOfFamily("bailing_hybrid", {}), ["Delta", "LatentMixture", "DeltaMixture"]);
  const unsaid = { layer_types: null, layer_group_size: 3, mlp_layer_types: null, first_k_dense_replace: null };
  assert.deepEqual(kindsOfFamily("bailing_hybrid", unsaid), ["Delta", "Delta", "LatentMixture"]);
  const released = { linear_head_dim: null, linear_num_heads: null, head_dim: 7, kda_lower_bound: null };
  const { DeltaWidth, DeltaHeads, most } = header("bailing_hybrid", released);
  assert.deepEqual([DeltaWidth, DeltaHeads, most], [7, 2, 5]);
  assert.equal(header("bailing_hybrid", { kda_safe_gate: false })["most"], 0);
  refuses("bailing_hybrid", { kda_lower_bound: 1 }, "kda_lower_bound is 1", "below 0");
  refuses("bailing_hybrid", { ...unsaid, layer_group_size: 0 }, "layer_group_size is 0", "at least 1");
  refuses("bailing_hybrid", { attention_bias: true }, "attention_bias is true");
});
test("dots3 Note: sizes of each kind of block, as written and as released", () => {
  const name = "dots3_note_text";
  assert.deepEqual(kindsOfFamily(name, {}), ["Far", "Near", "FarMixture", "NearMixture"]);
  const unsaid = { layer_types: null, mlp_layer_types: null, num_hidden_layers: 6 };
  const usual = ["Far", "FarMixture", "NearMixture", "NearMixture", "NearMixture", "FarMixture"];
  assert.deepEqual(kindsOfFamily(name, { ...unsaid, per_layer_config: {} }), usual);
  const full = ["full_attention", "sliding_attention", "full_attention", "sliding_attention"];
  const released = { per_layer_config: null, use_dsa: true, layer_types: full, model_type: "dots3_note" };
  assert.deepEqual(kindsOfFamily(name, released), kindsOfFamily(name, {}));
  const own = { swa_num_attention_heads: 3, swa_head_dim: 9, swa_qk_nope_head_dim: 5, swa_kv_lora_rank: 8 };
  const { Heads, NearHeads, NearQ, NearR, NearA, NearP, NearC } = header(name, { ...released, ...own });
  assert.deepEqual([Heads, NearHeads, NearQ, NearR, NearA, NearP, NearC], [2, 3, 1024, 8, 5, 4, 128]);
  refuses(name, { per_layer_config: { 1: { v_head_dim: 3 } } }, "v_head_dim is 5", "the same in all layers");
  refuses(name, { layer_types: full }, "layer_types is", "indexed_attention and sliding_attention");
  refuses(name, { ...released, use_dsa: false }, "use_dsa is false");
  assert.deepEqual(kindsOfFamily(name, { ...unsaid, per_layer_config: {}, moe_layer_freq: 2 })?.slice(1, 3), [
    "Far",
    "NearMixture",
  ]);
});
const widthsOfInkling = (change: object): unknown => {
  const { F, H } = header("inkling_text", change);
  return [F, H];
};
test("Inkling: which blocks have windows and which are mixtures, and widths as released and as transformers writes them", () => {
  assert.deepEqual(kindsOfFamily("inkling_text", {}), ["Near", "FarMixture", "NearMixture"]);
  const unsaid = { layer_types: null, mlp_layer_types: null };
  assert.deepEqual(kindsOfFamily("inkling_text", { ...unsaid, local_layer_ids: [1], dense_mlp_idx: 2 }), [
    "Far",
    "Near",
    "FarMixture",
  ]);
  const six = { ...unsaid, local_layer_ids: null, num_hidden_layers: 6 };
  assert.deepEqual(kindsOfFamily("inkling_text", six), [...Array(5).fill("NearMixture"), "FarMixture"]);
  assert.deepEqual(widthsOfInkling({ intermediate_size: 7 }), [7, 6]);
  assert.deepEqual(widthsOfInkling({ intermediate_size: 7, dense_intermediate_size: 9 }), [9, 7]);
  refuses("inkling_text", { shared_expert_sink: false }, "shared_expert_sink is false");
  refuses("inkling_text", { moe_intermediate_size: "6" }, 'moe_intermediate_size is "6"', "a whole number");
  refuses("inkling_text", { layer_types: ["hybrid", "full", "hybrid"] }, "layer_types is", "hybrid and hybrid_sliding");
});
test("MiniMax: blocks that see all come by turns, if nothing is said", () => {
  assert.deepEqual(kindsOfFamily("minimax", { layer_types: null }), ["Full", "Lightning"]);
  assert.deepEqual([header("minimax", {})["P"], header("minimax", { rotary_dim: 2 })["P"]], [undefined, 2]);
  refuses("minimax", { layer_types: ["full_attention", "mamba"] }, "layer_types is", "one for each layer");
});
test("of models that are lists of blocks each value is one of the model or of a block", () => {
  for (const { type, file = "", header, blocks } of families) {
    if (!blocks) continue;
    const { kinds } = blocks;
    const both = { ple_layer_ids: [1], num_hidden_layers: 2, mlp_layer_types: ["dense", "sparse"] };
    const all = typeof kinds === "function" ? kinds(both) : kinds;
    const layers = Object.values(all).map((of) => (typeof of === "string" ? of : of.layer));
    const names = `import { ${[...new Set(layers)].join(", ")} } from "std/models/${file}"`;
    const { model = "LanguageModel" } = blocks;
    const imports = `${names}\nimport { ${model} } from "std/models/${blocks.model ? file : "decoder"}"`;
    const declared = load({ name: "names.moe", text: imports });
    const headers = [...layers, model].map((name) => findDeclaration(declared, name).ast.header);
    const taken = new Set(headers.flat().map((p) => p.name.name));
    assert.deepEqual(
      Object.keys(header).filter((name) => !taken.has(name)),
      [],
      type,
    );
  }
});

test.run();
