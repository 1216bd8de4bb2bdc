// Model families whose mixtures have shared experts: GLM-4.5, dots.llm1, ERNIE 4.5, Hunyuan.
import type { Family, Json } from "../family.ts";
import {
  attention,
  bare,
  biases,
  common,
  deepseek,
  dense,
  everyFull,
  mixture,
  norms,
  outer,
  plain,
  rotations,
  said,
  saidOfRope,
  scaling,
  swiglu,
} from "./shared.ts";

/** Header values of GLM-4.5 and models made like it. */
const glm: Family["header"] = {
  ...common,
  F: said("intermediate_size"),
  H: said("moe_intermediate_size"),
  Dense: said("first_k_dense_replace"),
  Groups: said("num_key_value_heads"),
  E: said("n_routed_experts", "num_local_experts"),
  Shared: said("n_shared_experts"),
  scale: said("routed_scaling_factor"),
};

/** The only accepted `max_window_layers`: if the config has windows (the default), none of its layers may have one. */
const beyondWindows = ({
  sliding_window: window,
  max_window_layers: from,
  num_hidden_layers: layers,
}: Json): unknown => (window === null || Number(from) >= Number(layers) ? from : layers);

/** The only accepted `moe_layer_end_index`: every block after the first few is a mixture. */
const toTheLast = ({ moe_layer_end_index: end, num_hidden_layers: layers }: Json): number =>
  end === -1 ? -1 : Number(layers) - 1;

const someShared = ({ moe_num_shared_experts: n }: Json): unknown => (n === 0 ? "1 or more" : n);

/** Hunyuan's "dynamic" RoPE with `alpha` is a constant, larger base, whatever the length. */
const byAlpha = (config: Json): string => (saidOfRope(config, "alpha") === undefined ? "default" : "dynamic");

export const glm4Moe: Family = {
  type: "glm4_moe",
  model: "Glm4Moe",
  header: {
    ...glm,
    A: said("head_dim"),
    renormalised: { keys: ["norm_topk_prob"], otherwise: true },
    part: { keys: ["rope_parameters.partial_rotary_factor", "partial_rotary_factor"], otherwise: 0.5 },
    normed: { keys: ["use_qk_norm"], otherwise: false },
    biased: { keys: ["attention_bias"], otherwise: false },
  },
  only: { ...bare, n_group: 1, topk_group: 1 },
  names: {
    ...outer,
    ...attention,
    ...biases,
    ...norms,
    ...deepseek,
  },
};

export const dots1: Family = {
  type: "dots1",
  model: "Dots1",
  header: {
    ...glm,
    A: { keys: ["head_dim"], otherwise: null },
    renormalised: { keys: ["norm_topk_prob"], otherwise: false },
  },
  only: { ...plain, n_group: 1, topk_group: 1, layer_types: everyFull, max_window_layers: beyondWindows },
  names: { ...outer, ...attention, ...norms, ...deepseek },
};

export const ernie45Moe: Family = {
  type: "ernie4_5_moe",
  model: "Ernie45Moe",
  header: {
    ...dense,
    F: said("intermediate_size"),
    H: said("moe_intermediate_size"),
    Dense: said("moe_layer_start_index"),
    Groups: said("num_key_value_heads"),
    A: { keys: ["head_dim"], otherwise: null },
    E: said("moe_num_experts"),
    K: said("moe_k"),
    Shared: said("moe_num_shared_experts"),
    base: { keys: rotations, otherwise: 500000 },
  },
  only: {
    ...bare,
    use_bias: false,
    moe_num_shared_experts: someShared,
    moe_layer_interval: 1,
    moe_layer_end_index: toTheLast,
    moe_norm_min: 1e-12,
  },
  names: {
    ...outer,
    ...attention,
    ...deepseek,
    "model.layers.*.mlp.moe_statics.e_score_correction_bias": { row: "blocks.*.feed.moe.gate.bias" },
  },
  tied: true,
};

export const hunyuanV1Moe: Family = {
  type: "hunyuan_v1_moe",
  model: "HunYuanMoE",
  header: {
    ...dense,
    H: said("intermediate_size"),
    Groups: said("num_key_value_heads"),
    A: { keys: ["head_dim"], otherwise: null },
    E: said("num_experts"),
    K: said("moe_topk"),
    alpha: { keys: scaling("alpha"), otherwise: 1 },
    biased: { keys: ["attention_bias"], otherwise: false },
  },
  only: {
    ...bare,
    use_qk_norm: true,
    use_cla: false,
    ...Object.fromEntries(scaling("rope_type").map((key) => [key, byAlpha])),
    "rope_scaling.type": byAlpha,
  },
  names: {
    ...outer,
    ...attention,
    ...biases,
    ...mixture("feed.moe"),
    ...swiglu("model.layers.*.mlp.shared_mlp", "blocks.*.feed.shared"),
    "model.layers.*.mlp.gate.wg.weight": "blocks.*.feed.moe.gate.weight",
    "model.layers.*.self_attn.query_layernorm.weight": "blocks.*.attention.query_norm.weight",
    "model.layers.*.self_attn.key_layernorm.weight": "blocks.*.attention.key_norm.weight",
  },
};
