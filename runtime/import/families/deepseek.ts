// DeepSeek-V2, V3 and models made like them: latent attention, dense blocks first, then mixtures.
import type { Family, Json } from "../family.ts";
import {
  blocksAfterLast,
  denseFirst,
  mixtureHeader,
  outerNames,
  required,
  requiredAs,
  ropeFactor,
  ropeKeys,
  ropeSetting,
  ropeType,
  ropeTypeIs,
  sharedExpertNames,
  stackedExpertNames,
  unbiasedSettings,
} from "./shared.ts";

/**
 * The only accepted type of RoPE: default, or YaRN in DeepSeek's form, where `mscale` equals `mscale_all_dim`, so that only the scores are scaled
 * (cosines and sines are multiplied by the ratio, 1).
 */
function latentRope(config: Json): string {
  const type = ropeType(config);
  const heat = ropeSetting(config, "mscale");
  const hot = heat !== undefined && heat !== 0 && heat === ropeSetting(config, "mscale_all_dim");
  if (type === "yarn" && hot && ropeSetting(config, "factor") !== undefined) return "yarn";
  return type === "default" ? type : "default, or yarn with a factor and with one mscale";
}

/** Header values of both versions. */
const latentHeader: Family["header"] = {
  ...mixtureHeader,
  F: required("intermediate_size"),
  H: required("moe_intermediate_size"),
  Dense: requiredAs("layers", "first_k_dense_replace"),
  E: required("n_routed_experts"),
  Shared: requiredAs("count", "n_shared_experts"),
  Q: { keys: ["q_lora_rank"], fallback: 0, kind: "count" },
  R: required("kv_lora_rank"),
  A: required("qk_nope_head_dim"),
  P: required("qk_rope_head_dim"),
  C: required("v_head_dim"),
  scale: required("routed_scaling_factor"),
  stretch: { keys: ropeKeys("factor"), fallback: 1 },
  original: required(...ropeKeys("original_max_position_embeddings"), "max_position_embeddings"),
  heat: { keys: ropeKeys("mscale_all_dim"), fallback: null },
};

const yarnSettings: Family["supported"] = {
  ...ropeTypeIs(latentRope),
  ...ropeFactor,
  ...Object.fromEntries(ropeKeys("beta_fast").map((key) => [key, 32])),
  ...Object.fromEntries(ropeKeys("beta_slow").map((key) => [key, 1])),
  ...Object.fromEntries(ropeKeys("truncate").map((key) => [key, true])),
  ...Object.fromEntries(ropeKeys("attention_factor").map((key) => [key, null])),
};

const latentNames: Family["names"] = {
  ...outerNames,
  "model.layers.*.self_attn.q_proj.weight": "blocks.*.attention.query.weight",
  "model.layers.*.self_attn.q_a_proj.weight": "blocks.*.attention.query_down.weight",
  "model.layers.*.self_attn.q_a_layernorm.weight": "blocks.*.attention.query_norm.weight",
  "model.layers.*.self_attn.q_b_proj.weight": "blocks.*.attention.query_up.weight",
  "model.layers.*.self_attn.kv_a_proj_with_mqa.weight": "blocks.*.attention.down.weight",
  "model.layers.*.self_attn.kv_a_layernorm.weight": "blocks.*.attention.norm.weight",
  "model.layers.*.self_attn.kv_b_proj.weight": "blocks.*.attention.up.weight",
  "model.layers.*.self_attn.o_proj.weight": "blocks.*.attention.output.weight",
  ...sharedExpertNames,
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
    ...latentHeader,
    G: { keys: ["n_group"], fallback: 1 },
    Open: { keys: ["topk_group"], fallback: 1 },
  },
  supported: {
    ...unbiasedSettings,
    ...yarnSettings,
    mlp_bias: false,
    norm_topk_prob: false,
    scoring_func: "softmax",
    topk_method: ofGroups,
    n_group: groupsOf,
    moe_layer_freq: 1,
  },
  names: latentNames,
};

export const deepseekV3: Family = {
  type: "deepseek_v3",
  model: "DeepSeekMain",
  header: { ...latentHeader, G: required("n_group"), Open: required("topk_group") },
  supported: {
    ...unbiasedSettings,
    ...yarnSettings,
    norm_topk_prob: true,
    rope_interleave: true,
    moe_layer_freq: 1,
  },
  names: latentNames,
  ignoredPrefixes: blocksAfterLast,
};

export const glm4MoeLite: Family = {
  ...deepseekV3,
  type: "glm4_moe_lite",
  header: { ...deepseekV3.header, Dense: { keys: ["first_k_dense_replace"], fallback: 1, kind: "layers" } },
  supported: { ...deepseekV3.supported, mlp_layer_types: denseFirst },
};

/** All that YaRN says in Mistral 4's form, of which `partial_rotary_factor` follows from the widths. */
const turningPart = ({ qk_rope_head_dim: turning, qk_nope_head_dim: other }: Json): number =>
  Number(turning) / (Number(turning) + Number(other));
export const mistral4: Family = {
  type: "mistral4",
  model: "Mistral4",
  header: {
    ...latentHeader,
    Dense: { keys: ["first_k_dense_replace"], fallback: 0, kind: "layers" },
    base: required("rope_parameters.rope_theta"), // without rope_parameters transformers takes YaRN, not the default
    growth: { keys: ropeKeys("llama_4_scaling_beta"), fallback: 0 },
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
  },
  supported: {
    ...unbiasedSettings,
    ...yarnSettings,
    n_group: 1,
    topk_group: 1,
    rope_interleave: true,
    "rope_parameters.partial_rotary_factor": turningPart,
  },
  names: { ...latentNames, ...stackedExpertNames("model.layers.*.mlp.experts", "blocks.*.feed.moe.experts") },
};
