// Qwen's.
import type { Family } from "../family.ts";
import { attention, biases, common, everyFull, mixture, norms, outer, plain, said, swiglu } from "./shared.ts";

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
  only: { ...plain, use_sliding_window: false, layer_types: everyFull, decoder_sparse_step: 1, mlp_only_layers: [] },
  names: {
    ...outer,
    ...attention,
    ...biases,
    ...mixture("feed.moe"),
    ...swiglu("model.layers.*.mlp.shared_expert", "blocks.*.feed.shared.inner"),
    "model.layers.*.mlp.shared_expert_gate.weight": "blocks.*.feed.shared.gate.weight",
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
