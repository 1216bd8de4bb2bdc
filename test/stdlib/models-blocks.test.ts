// What config.json of a checkpoint says of each block, where a model is a list of them.

import assert from "node:assert/strict";
import { suite } from "uvu";
import { findDeclaration, load } from "../../compiler/check/index.ts";
import { openTransformers } from "../../runtime/import/config.ts";
import { families } from "../../runtime/import/families/index.ts";
import { header, other, refused, refuses } from "../hf-copies.ts";

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
const kindsOfFamily = (type: string, change: object): readonly string[] | undefined =>
  openTransformers(other(type, change)).order;
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
  assert.deepEqual([unsaid["base"], unsaid["P"], unsaid["stretch"], unsaid["NearHeads"]], [500000, 4, undefined, 4]);
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
test("of models that are lists of blocks each value is one of the model or of a block", () => {
  for (const { type, file = "", header, blocks } of families) {
    if (!blocks) continue;
    const layers = Object.values(blocks.kinds);
    const names = `import { ${layers.join(", ")} } from "std/models/${file}"`;
    const imports = `${names}\nimport { LanguageModel } from "std/models/decoder"`;
    const declared = load({ name: "names.moe", text: imports });
    const headers = [...layers, "LanguageModel"].map((name) => findDeclaration(declared, name).ast.header);
    const taken = new Set(headers.flat().map((p) => p.name.name));
    assert.deepEqual(
      Object.keys(header).filter((name) => !taken.has(name)),
      [],
      type,
    );
  }
});

test.run();
