// Qwen's mixtures: Qwen2-MoE, Qwen3-MoE, Qwen3-Next.
import type { Family } from "../family.ts";
import {
  attention,
  biases,
  common,
  everyFourth,
  everyFull,
  mixture,
  norms,
  outer,
  plain,
  said,
  swiglu,
} from "./shared.ts";

/** Weights of a shared expert with a gate. */
const besides: Family["names"] = {
  ...swiglu("model.layers.*.mlp.shared_expert", "blocks.*.feed.shared.inner"),
  "model.layers.*.mlp.shared_expert_gate.weight": "blocks.*.feed.shared.gate.weight",
};

export const qwen2Moe: Family = {
  type: "qwen2_moe",
  model: "Qwen2Moe",
  header: {
    ...common,
    H: said("moe_intermediate_size"),
    F: said("shared_expert_intermediate_size"),
    Groups: said("num_key_value_heads"),
    E: said("num_experts", "num_local_experts"),
    renormalised: said("norm_topk_prob"),
    A: { keys: ["head_dim"], otherwise: null },
    biased: { keys: ["qkv_bias"], otherwise: true },
  },
  only: {
    ...plain,
    use_sliding_window: false,
    layer_types: everyFull,
    decoder_sparse_step: 1,
    mlp_only_layers: [],
  },
  names: {
    ...outer,
    ...attention,
    ...biases,
    ...mixture("feed.moe"),
    ...besides,
  },
};

export const qwen3Moe: Family = {
  type: "qwen3_moe",
  model: "Qwen3Moe",
  header: {
    ...common,
    H: said("moe_intermediate_size"),
    Groups: said("num_key_value_heads"),
    A: said("head_dim"),
    E: said("num_experts", "num_local_experts"),
    renormalised: said("norm_topk_prob"),
  },
  only: { ...plain, use_sliding_window: false, decoder_sparse_step: 1, mlp_only_layers: [] },
  names: { ...outer, ...attention, ...norms, ...mixture("feed") },
};

export const qwen3Next: Family = {
  type: "qwen3_next",
  model: "Qwen3Next",
  file: "qwen3_next",
  header: {
    ...common,
    H: said("moe_intermediate_size"),
    F: said("shared_expert_intermediate_size"),
    Groups: said("num_key_value_heads"),
    A: said("head_dim"),
    Keys: said("linear_num_key_heads"),
    Values: said("linear_num_value_heads"),
    KeyWidth: said("linear_key_head_dim"),
    ValueWidth: said("linear_value_head_dim"),
    Width: said("linear_conv_kernel_dim"),
    E: said("num_experts", "num_local_experts"),
    part: { keys: ["rope_parameters.partial_rotary_factor", "partial_rotary_factor"], otherwise: 0.25 },
    renormalised: said("norm_topk_prob"),
  },
  only: {
    ...plain,
    layer_types: everyFourth("linear_attention", "full_attention"),
    full_attention_interval: 4,
    decoder_sparse_step: 1,
    mlp_only_layers: [],
  },
  names: {
    ...outer,
    ...attention,
    ...norms,
    ...mixture("feed.moe"),
    ...besides,
    "model.layers.*.linear_attn.in_proj_qkvz.weight": "blocks.*.attention.mixed.weight",
    "model.layers.*.linear_attn.in_proj_ba.weight": "blocks.*.attention.steps.weight",
    "model.layers.*.linear_attn.conv1d.weight": "blocks.*.attention.conv",
    "model.layers.*.linear_attn.A_log": "blocks.*.attention.rate",
    "model.layers.*.linear_attn.dt_bias": "blocks.*.attention.start",
    "model.layers.*.linear_attn.norm.weight": "blocks.*.attention.norm",
    "model.layers.*.linear_attn.out_proj.weight": "blocks.*.attention.output.weight",
  },
  unread: "mtp.",
};
