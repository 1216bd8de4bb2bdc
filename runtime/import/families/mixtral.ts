// Mixtral and similar models: each block has one mixture, without shared experts.
import type { Family } from "../family.ts";
import {
  decoderNames,
  defaultSettings,
  mixtureHeader,
  mixtureNames,
  queryKeyNormNames,
  required,
  requiredAs,
  ropeThetaKeys,
  unbiasedSettings,
} from "./shared.ts";

/** Header values of Mixtral and models made like it. */
export const grouped: Family["header"] = {
  H: required("intermediate_size"),
  Groups: required("num_key_value_heads"),
  E: required("num_local_experts"),
  A: { keys: ["head_dim"], fallback: null },
};
export const sparse: Family["names"] = {
  "model.layers.*.block_sparse_moe.gate.weight": "blocks.*.feed.gate.weight",
  "model.layers.*.block_sparse_moe.experts.*.w1.weight": "blocks.*.feed.experts.*.gate.weight",
  "model.layers.*.block_sparse_moe.experts.*.w2.weight": "blocks.*.feed.experts.*.down.weight",
  "model.layers.*.block_sparse_moe.experts.*.w3.weight": "blocks.*.feed.experts.*.up.weight",
};

export const mixtral: Family = {
  type: "mixtral",
  model: "Mixtral",
  header: {
    ...mixtureHeader,
    ...grouped,
    window: { keys: ["sliding_window"], fallback: null, kind: "size" },
  },
  supported: unbiasedSettings,
  names: {
    ...decoderNames,
    ...sparse,
  },
};

export const olmoe: Family = {
  type: "olmoe",
  model: "Olmoe",
  header: {
    ...mixtureHeader,
    H: required("intermediate_size"),
    Groups: required("num_key_value_heads"),
    E: required("num_experts", "num_local_experts"),
    renormalised: requiredAs("boolean", "norm_topk_prob"),
    clip: { keys: ["clip_qkv"], fallback: null },
  },
  supported: unbiasedSettings,
  names: { ...decoderNames, ...queryKeyNormNames, ...mixtureNames("feed") },
};

export const flexOlmo: Family = {
  type: "flex_olmo",
  model: "FlexOlmo",
  header: {
    ...mixtureHeader,
    H: required("intermediate_size"),
    Groups: required("num_key_value_heads", "num_attention_heads"),
    A: { keys: ["head_dim"], fallback: null },
    E: required("num_experts", "num_local_experts"),
    base: { keys: ropeThetaKeys, fallback: 500000 },
    renormalised: { keys: ["norm_topk_prob"], fallback: false },
  },
  supported: unbiasedSettings,
  names: {
    ...decoderNames,
    ...queryKeyNormNames,
    ...mixtureNames("feed"),
    "model.layers.*.post_attention_layernorm.weight": "blocks.*.norm1.weight",
    "model.layers.*.post_feedforward_layernorm.weight": "blocks.*.norm2.weight",
  },
};

export const minimaxM2: Family = {
  type: "minimax_m2",
  model: "MiniMaxM2",
  header: {
    ...mixtureHeader,
    ...grouped,
    A: required("head_dim"),
    part: { keys: ["rope_parameters.partial_rotary_factor", "partial_rotary_factor"], fallback: 1 },
    P: { keys: ["rotary_dim"], fallback: null },
    base: { keys: ropeThetaKeys, fallback: 5000000 },
  },
  supported: {
    ...defaultSettings,
    scoring_func: "sigmoid",
    use_qk_norm: true,
    use_routing_bias: true,
    shared_intermediate_size: 0,
  },
  names: {
    ...decoderNames,
    ...queryKeyNormNames,
    ...sparse,
    "model.layers.*.block_sparse_moe.e_score_correction_bias": "blocks.*.feed.gate.bias",
  },
};
