// Qwen's mixtures: Qwen2-MoE, Qwen3-MoE, Qwen3-Next.
import type { Family } from "../family.ts";
import {
  attentionBiasNames,
  attentionNames,
  everyFourth,
  everyFull,
  layersBy,
  mixtureHeader,
  mixtureNames,
  outerNames,
  queryKeyNormNames,
  required,
  requiredAs,
  swigluNames,
  unbiasedSettings,
} from "./shared.ts";

/** Weights of a shared expert with a gate. */
const gatedSharedExpertNames: Family["names"] = {
  ...swigluNames("model.layers.*.mlp.shared_expert", "blocks.*.feed.shared.inner"),
  "model.layers.*.mlp.shared_expert_gate.weight": "blocks.*.feed.shared.gate.weight",
};

export const qwen2Moe: Family = {
  type: "qwen2_moe",
  model: "Qwen2Moe",
  header: {
    ...mixtureHeader,
    H: required("moe_intermediate_size"),
    F: required("shared_expert_intermediate_size"),
    Groups: required("num_key_value_heads"),
    E: required("num_experts", "num_local_experts"),
    renormalised: requiredAs("boolean", "norm_topk_prob"),
    A: { keys: ["head_dim"], fallback: null },
    biased: { keys: ["qkv_bias"], fallback: true },
  },
  supported: {
    ...unbiasedSettings,
    use_sliding_window: false,
    layer_types: everyFull,
    decoder_sparse_step: 1,
    mlp_only_layers: [],
  },
  names: {
    ...outerNames,
    ...attentionNames,
    ...attentionBiasNames,
    ...mixtureNames("feed.moe"),
    ...gatedSharedExpertNames,
  },
};

export const qwen3Moe: Family = {
  type: "qwen3_moe",
  model: "Qwen3Moe",
  header: {
    ...mixtureHeader,
    H: required("moe_intermediate_size"),
    Groups: required("num_key_value_heads"),
    A: required("head_dim"),
    E: required("num_experts", "num_local_experts"),
    renormalised: requiredAs("boolean", "norm_topk_prob"),
  },
  supported: { ...unbiasedSettings, use_sliding_window: false, decoder_sparse_step: 1, mlp_only_layers: [] },
  names: { ...outerNames, ...attentionNames, ...queryKeyNormNames, ...mixtureNames("feed") },
};

export const qwen3Next: Family = {
  type: "qwen3_next",
  model: "Qwen3Next",
  file: "qwen3_next",
  header: {
    ...mixtureHeader,
    H: required("moe_intermediate_size"),
    F: required("shared_expert_intermediate_size"),
    Groups: required("num_key_value_heads"),
    A: required("head_dim"),
    Keys: required("linear_num_key_heads"),
    Values: required("linear_num_value_heads"),
    KeyWidth: required("linear_key_head_dim"),
    ValueWidth: required("linear_value_head_dim"),
    Width: required("linear_conv_kernel_dim"),
    E: required("num_experts", "num_local_experts"),
    part: { keys: ["rope_parameters.partial_rotary_factor", "partial_rotary_factor"], fallback: 0.25 },
    renormalised: requiredAs("boolean", "norm_topk_prob"),
  },
  supported: {
    ...unbiasedSettings,
    num_hidden_layers: layersBy(4),
    layer_types: everyFourth("linear_attention", "full_attention"),
    full_attention_interval: 4,
    decoder_sparse_step: 1,
    mlp_only_layers: [],
  },
  names: {
    ...outerNames,
    ...attentionNames,
    ...queryKeyNormNames,
    ...mixtureNames("feed.moe"),
    ...gatedSharedExpertNames,
    "model.layers.*.linear_attn.in_proj_qkvz.weight": "blocks.*.attention.mixed.weight",
    "model.layers.*.linear_attn.in_proj_ba.weight": "blocks.*.attention.steps.weight",
    "model.layers.*.linear_attn.conv1d.weight": "blocks.*.attention.conv",
    "model.layers.*.linear_attn.A_log": "blocks.*.attention.rate",
    "model.layers.*.linear_attn.dt_bias": "blocks.*.attention.start",
    "model.layers.*.linear_attn.norm.weight": "blocks.*.attention.norm",
    "model.layers.*.linear_attn.out_proj.weight": "blocks.*.attention.output.weight",
  },
  ignoredPrefixes: () => ["mtp."],
};
