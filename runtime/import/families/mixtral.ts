// Mixtral and similar models: each block has one mixture, without shared experts.
import type { Family, Json } from "../family.ts";
import {
  attention,
  bare,
  biases,
  common,
  dense,
  mixture,
  norms,
  outer,
  plain,
  rotations,
  said,
  saidOfRope,
  scaling,
} from "./shared.ts";

/** Header values of Mixtral and models made like it. */
const grouped: Family["header"] = {
  H: said("intermediate_size"),
  Groups: said("num_key_value_heads"),
  E: said("num_local_experts"),
  A: { keys: ["head_dim"], otherwise: null },
};
const sparse: Family["names"] = {
  "model.layers.*.block_sparse_moe.gate.weight": "blocks.*.feed.gate.weight",
  "model.layers.*.block_sparse_moe.experts.*.w1.weight": "blocks.*.feed.experts.*.gate.weight",
  "model.layers.*.block_sparse_moe.experts.*.w2.weight": "blocks.*.feed.experts.*.down.weight",
  "model.layers.*.block_sparse_moe.experts.*.w3.weight": "blocks.*.feed.experts.*.up.weight",
};

export const mixtral: Family = {
  type: "mixtral",
  model: "Mixtral",
  header: {
    ...common,
    ...grouped,
    window: { keys: ["sliding_window"], otherwise: null },
  },
  only: plain,
  names: {
    ...outer,
    ...attention,
    ...sparse,
  },
};

export const olmoe: Family = {
  type: "olmoe",
  model: "Olmoe",
  header: {
    ...common,
    H: said("intermediate_size"),
    Groups: said("num_key_value_heads"),
    E: said("num_experts", "num_local_experts"),
    renormalised: said("norm_topk_prob"),
  },
  only: { ...plain, clip_qkv: null },
  names: { ...outer, ...attention, ...norms, ...mixture("feed") },
};

export const granitemoe: Family = {
  type: "granitemoe",
  model: "GraniteMoe",
  header: {
    ...common,
    ...grouped,
    scale: { keys: ["attention_multiplier"], otherwise: 1 },
    part: { keys: ["residual_multiplier"], otherwise: 1 },
    wide: { keys: ["embedding_multiplier"], otherwise: 1 },
    soft: { keys: ["logits_scaling"], otherwise: 1 },
  },
  only: plain,
  names: {
    ...outer,
    ...attention,
    "model.layers.*.block_sparse_moe.router.layer.weight": "blocks.*.feed.gate.weight",
    "model.layers.*.block_sparse_moe.input_linear.weight": {
      runs: ["blocks.*.feed.experts.gate.weight", "blocks.*.feed.experts.up.weight"],
      turned: true,
    },
    "model.layers.*.block_sparse_moe.output_linear.weight": {
      runs: ["blocks.*.feed.experts.down.weight"],
      turned: true,
    },
  },
};

export const minimaxM2: Family = {
  type: "minimax_m2",
  model: "MiniMaxM2",
  header: {
    ...common,
    ...grouped,
    A: said("head_dim"),
    part: { keys: ["rope_parameters.partial_rotary_factor", "partial_rotary_factor"], otherwise: 1 },
    P: { keys: ["rotary_dim"], otherwise: null },
    base: { keys: rotations, otherwise: 5000000 },
  },
  only: { ...bare, scoring_func: "sigmoid", use_qk_norm: true, use_routing_bias: true, shared_intermediate_size: 0 },
  names: {
    ...outer,
    ...attention,
    ...norms,
    ...sparse,
    "model.layers.*.block_sparse_moe.e_score_correction_bias": "blocks.*.feed.gate.bias",
  },
};

/** The only accepted type of RoPE: default, or LongRoPE with all the factors that it needs. */
function longRope(config: Json): string {
  const type = saidOfRope(config, "rope_type") ?? saidOfRope(config, "type") ?? "default";
  const parts = ["short_factor", "long_factor", "short_mscale", "long_mscale", "original_max_position_embeddings"];
  if (type === "longrope" && parts.every((key) => saidOfRope(config, key) !== undefined)) return "longrope";
  return type === "default" ? type : `default, or longrope with ${parts.join(", ")}`;
}
export const phimoe: Family = {
  type: "phimoe",
  model: "PhiMoE",
  file: "phi",
  header: {
    ...dense,
    ...grouped,
    base: { keys: rotations, otherwise: 1000000 },
    window: { keys: ["sliding_window"], otherwise: null },
    biased: { keys: ["attention_bias"], otherwise: false },
    head_biased: { keys: ["lm_head_bias"], otherwise: false },
    original: { keys: scaling("original_max_position_embeddings"), otherwise: null },
    warm: { keys: scaling("short_mscale"), otherwise: null },
    hot: { keys: scaling("long_mscale"), otherwise: null },
    jitter: { keys: ["router_jitter_noise"], otherwise: 0.01 },
  },
  only: {
    hidden_act: "silu",
    num_experts_per_tok: 2,
    ...Object.fromEntries([...scaling("rope_type"), "rope_scaling.type"].map((key) => [key, longRope])),
  },
  names: {
    ...outer,
    ...attention,
    ...biases,
    ...sparse,
    "model.norm.bias": "norm.bias",
    "lm_head.bias": "head.bias",
    "model.layers.*.input_layernorm.bias": "blocks.*.norm1.bias",
    "model.layers.*.post_attention_layernorm.bias": "blocks.*.norm2.bias",
  },
  lists: {
    "blocks.*.attention.near": scaling("short_factor"),
    "blocks.*.attention.far": scaling("long_factor"),
  },
};
