// DeepSeek-V2 and V3: latent attention, dense blocks first, then mixtures.
import { type Family, type Json, lookup } from "../family.ts";
import { common, deepseek, outer, plain, said, saidOfRope, scaling } from "./shared.ts";

/**
 * The only accepted type of RoPE: default, or YaRN in DeepSeek's form, where `mscale` equals `mscale_all_dim`, so that only the scores are scaled
 * (cosines and sines are multiplied by the ratio, 1).
 */
function latentRope(config: Json): string {
  const type = saidOfRope(config, "rope_type") ?? saidOfRope(config, "type") ?? "default";
  const heat = saidOfRope(config, "mscale");
  const hot = heat !== undefined && heat !== 0 && heat === saidOfRope(config, "mscale_all_dim");
  if (type === "yarn" && hot && saidOfRope(config, "factor") !== undefined) return "yarn";
  return type === "default" ? type : "default, or yarn with a factor and with one mscale";
}

/** Header values of both versions. */
const latent: Family["header"] = {
  ...common,
  F: said("intermediate_size"),
  H: said("moe_intermediate_size"),
  Dense: said("first_k_dense_replace"),
  E: said("n_routed_experts"),
  R: said("kv_lora_rank"),
  A: said("qk_nope_head_dim"),
  P: said("qk_rope_head_dim"),
  C: said("v_head_dim"),
  scale: said("routed_scaling_factor"),
  stretch: { keys: scaling("factor"), otherwise: 1 },
  original: said(...scaling("original_max_position_embeddings"), "max_position_embeddings"),
  heat: { keys: scaling("mscale_all_dim"), otherwise: null },
};

const stretched: Family["only"] = {
  ...Object.fromEntries([...scaling("rope_type"), "rope_scaling.type"].map((key) => [key, latentRope])),
  ...Object.fromEntries(
    scaling("factor").map((key) => [key, (c: Json) => (latentRope(c) === "yarn" ? lookup(c, key) : 1)]),
  ),
  ...Object.fromEntries(scaling("beta_fast").map((key) => [key, 32])),
  ...Object.fromEntries(scaling("beta_slow").map((key) => [key, 1])),
  ...Object.fromEntries(scaling("truncate").map((key) => [key, true])),
  ...Object.fromEntries(scaling("attention_factor").map((key) => [key, null])),
};

const latentNames: Family["names"] = {
  ...outer,
  "model.layers.*.self_attn.q_a_proj.weight": "blocks.*.attention.query_down.weight",
  "model.layers.*.self_attn.q_a_layernorm.weight": "blocks.*.attention.query_norm.weight",
  "model.layers.*.self_attn.q_b_proj.weight": "blocks.*.attention.query_up.weight",
  "model.layers.*.self_attn.kv_a_proj_with_mqa.weight": "blocks.*.attention.down.weight",
  "model.layers.*.self_attn.kv_a_layernorm.weight": "blocks.*.attention.norm.weight",
  "model.layers.*.self_attn.kv_b_proj.weight": "blocks.*.attention.up.weight",
  "model.layers.*.self_attn.o_proj.weight": "blocks.*.attention.output.weight",
  ...deepseek,
};

/** The only accepted `topk_method`: greedy, if experts are not in groups, or by each group's best expert. */
const ofGroups = ({ n_group: groups, topk_method: how }: Json): unknown =>
  how === "greedy" && (groups ?? 1) === 1 ? how : "group_limited_greedy";

/** Unless the method is by groups, `n_group` must be 1. */
const groupsOf = ({ n_group: groups, topk_method: how }: Json): unknown =>
  how === "group_limited_greedy" ? groups : 1;

export const deepseekV2: Family = {
  type: "deepseek_v2",
  model: "DeepSeekV2",
  header: {
    ...latent,
    Q: { keys: ["q_lora_rank"], otherwise: 0 },
    Shared: said("n_shared_experts"),
    G: { keys: ["n_group"], otherwise: 1 },
    Open: { keys: ["topk_group"], otherwise: 1 },
  },
  only: {
    ...plain,
    ...stretched,
    mlp_bias: false,
    norm_topk_prob: false,
    scoring_func: "softmax",
    topk_method: ofGroups,
    n_group: groupsOf,
    moe_layer_freq: 1,
  },
  names: { ...latentNames, "model.layers.*.self_attn.q_proj.weight": "blocks.*.attention.query.weight" },
};

export const deepseekV3: Family = {
  type: "deepseek_v3",
  model: "DeepSeekMain",
  header: { ...latent, G: said("n_group"), Open: said("topk_group"), Q: said("q_lora_rank") },
  only: {
    ...plain,
    ...stretched,
    norm_topk_prob: true,
    n_shared_experts: 1,
    rope_interleave: true,
    moe_layer_freq: 1,
  },
  names: latentNames,
};
