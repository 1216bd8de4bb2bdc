// Families with GLM-4.5's blocks under other names: Hunyuan 3, Sarvam, Param2, MiniCPM5.
import type { Family } from "../family.ts";
import {
  blocksAfterLast,
  constant,
  decoderNames,
  defaultSettings,
  leadingDense,
  queryKeyNormNames,
  required,
  requiredAs,
  ropeThetaKeys,
  routedHeader,
  sharedExpertNames,
  swigluNames,
  unbiasedSettings,
} from "./shared.ts";
import { glm4Moe } from "./shared-experts.ts";

export const hyV3: Family = {
  type: "hy_v3",
  model: "Glm4Moe",
  header: {
    ...routedHeader,
    F: required("intermediate_size"),
    Dense: leadingDense,
    A: required("head_dim"),
    E: required("num_experts", "num_local_experts"),
    Shared: requiredAs("count", "num_shared_experts"),
    base: { keys: ropeThetaKeys, fallback: 11158840 },
    part: constant(1),
    biased: constant(false),
    scale: required("router_scaling_factor"),
  },
  supported: { ...unbiasedSettings, mlp_bias: false },
  names: {
    ...decoderNames,
    ...queryKeyNormNames,
    ...sharedExpertNames,
    ...swigluNames("model.layers.*.mlp.shared_mlp", "blocks.*.feed.shared"),
    "model.layers.*.mlp.router.gate.weight": "blocks.*.feed.moe.gate.weight",
    "model.layers.*.mlp.expert_bias": "blocks.*.feed.moe.gate.bias",
  },
  ignoredPrefixes: blocksAfterLast,
};

/** Queries, keys and values side by side in one tensor. */
const fusedAttention = (kind: "weight" | "bias"): Family["names"] => ({
  [`model.layers.*.attention.query_key_value.${kind}`]: {
    runs: ["query", "key", "value"].map((part) => `blocks.*.attention.${part}.${kind}`),
    transposed: kind === "weight",
    shares: ({ Heads, Groups }) => [Number(Heads), Number(Groups), Number(Groups)],
  },
});
/** Where a whole head turns, queries and keys are normed if nothing is said, and settings may have the names of the first release. */
const wholeTurned = (base: number): Family["header"] => ({
  ...glm4Moe.header,
  Dense: { keys: ["first_k_dense_replace"], fallback: 1, kind: "layers" },
  E: required("n_routed_experts", "num_experts", "num_local_experts"),
  Shared: requiredAs("count", "n_shared_experts", "num_shared_experts"),
  base: { keys: ropeThetaKeys, fallback: base },
  part: { keys: ["rope_parameters.partial_rotary_factor", "partial_rotary_factor"], fallback: 1 },
  normed: { keys: ["use_qk_norm"], fallback: true },
  biased: { keys: ["attention_bias", "use_qkv_bias"], fallback: false },
});
export const sarvamMoe: Family = {
  type: "sarvam_moe",
  model: "Glm4Moe",
  header: wholeTurned(8000000),
  supported: { ...defaultSettings, n_group: 1, topk_group: 1, score_function: "sigmoid" },
  names: {
    ...glm4Moe.names,
    ...fusedAttention("weight"),
    ...fusedAttention("bias"),
    "model.word_embeddings.weight": ["embed.weight"],
    "model.layers.*.attention.dense.weight": "blocks.*.attention.output.weight",
    "model.layers.*.attention.query_layernorm.weight": "blocks.*.attention.query_norm.weight",
    "model.layers.*.attention.key_layernorm.weight": "blocks.*.attention.key_norm.weight",
    "model.layers.*.mlp.gate.expert_bias": "blocks.*.feed.moe.gate.bias",
  },
};

export const param2Moe: Family = { ...sarvamMoe, type: "param2moe", header: wholeTurned(500000), tied: true };

export const minicpm5Moe: Family = {
  type: "minicpm5_moe",
  model: "Glm4Moe",
  header: {
    ...glm4Moe.header,
    Dense: leadingDense,
    Shared: { keys: ["n_shared_experts"], fallback: 1, kind: "count" },
    base: { keys: ropeThetaKeys, fallback: 5000000 },
    part: constant(1),
    normed: constant(false),
    biased: constant(false),
    gated: constant(true),
  },
  supported: {
    ...unbiasedSettings,
    n_group: 1,
    topk_group: 1,
    use_gated_attention: true,
    partial_rotary_factor: 1,
    "rope_parameters.partial_rotary_factor": 1,
  },
  names: {
    ...decoderNames,
    ...sharedExpertNames,
    "model.layers.*.self_attn.q_proj.weight": {
      runs: ["blocks.*.attention.query.weight", "blocks.*.attention.gate.weight"],
      transposed: true,
      groups: ({ Heads }) => Number(Heads),
    },
  },
  ignoredPrefixes: blocksAfterLast,
};
