// Model families whose mixtures have shared experts: GLM-4.5, dots.llm1, ERNIE 4.5, Hunyuan.
import type { Family, Json } from "../family.ts";
import {
  attentionBiasNames,
  blocksAfterLast,
  decoderNames,
  defaultSettings,
  denseHeader,
  everyFull,
  mixtureNames,
  queryKeyNormNames,
  required,
  requiredAs,
  ropeKeys,
  ropeSetting,
  ropeThetaKeys,
  ropeTypeIs,
  routedHeader,
  sharedExpertNames,
  swigluNames,
  unbiasedSettings,
} from "./shared.ts";

/** Header values of GLM-4.5 and models made like it. */
const glm: Family["header"] = {
  ...routedHeader,
  F: required("intermediate_size"),
  Dense: requiredAs("layers", "first_k_dense_replace"),
  E: required("n_routed_experts", "num_local_experts"),
  Shared: requiredAs("count", "n_shared_experts"),
  scale: required("routed_scaling_factor"),
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
const byAlpha = (config: Json): string => (ropeSetting(config, "alpha") === undefined ? "default" : "dynamic");

export const glm4Moe: Family = {
  type: "glm4_moe",
  model: "Glm4Moe",
  header: {
    ...glm,
    A: required("head_dim"),
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
    part: { keys: ["rope_parameters.partial_rotary_factor", "partial_rotary_factor"], fallback: 0.5 },
    normed: { keys: ["use_qk_norm"], fallback: false },
    biased: { keys: ["attention_bias"], fallback: false },
  },
  supported: { ...defaultSettings, n_group: 1, topk_group: 1 },
  names: {
    ...decoderNames,
    ...attentionBiasNames,
    ...queryKeyNormNames,
    ...sharedExpertNames,
  },
  ignoredPrefixes: blocksAfterLast,
};

export const solarOpen: Family = {
  type: "solar_open",
  model: "SolarOpen",
  header: {
    ...routedHeader,
    A: required("head_dim"),
    E: required("n_routed_experts", "num_local_experts"),
    Shared: requiredAs("count", "n_shared_experts"),
    base: { keys: ropeThetaKeys, fallback: 1000000 },
    biased: { keys: ["attention_bias"], fallback: false },
    scale: required("routed_scaling_factor"),
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
  },
  supported: {
    ...defaultSettings,
    n_group: 1,
    topk_group: 1,
    partial_rotary_factor: 1,
    "rope_parameters.partial_rotary_factor": 1,
  },
  names: { ...decoderNames, ...attentionBiasNames, ...sharedExpertNames },
  ignoredPrefixes: blocksAfterLast,
};

export const dots1: Family = {
  type: "dots1",
  model: "Dots1",
  header: {
    ...glm,
    A: { keys: ["head_dim"], fallback: null },
    renormalised: { keys: ["norm_topk_prob"], fallback: false },
  },
  supported: {
    ...unbiasedSettings,
    n_group: 1,
    topk_group: 1,
    layer_types: everyFull,
    max_window_layers: beyondWindows,
  },
  names: { ...decoderNames, ...queryKeyNormNames, ...sharedExpertNames },
};

export const ernie45Moe: Family = {
  type: "ernie4_5_moe",
  model: "Ernie45Moe",
  header: {
    ...denseHeader,
    F: required("intermediate_size"),
    H: required("moe_intermediate_size"),
    Dense: requiredAs("layers", "moe_layer_start_index"),
    Groups: required("num_key_value_heads"),
    A: { keys: ["head_dim"], fallback: null },
    E: required("moe_num_experts"),
    K: required("moe_k"),
    Shared: requiredAs("count", "moe_num_shared_experts"),
    base: { keys: ropeThetaKeys, fallback: 500000 },
  },
  supported: {
    ...defaultSettings,
    use_bias: false,
    moe_num_shared_experts: someShared,
    moe_layer_interval: 1,
    moe_layer_end_index: toTheLast,
    moe_norm_min: 1e-12,
  },
  names: {
    ...decoderNames,
    ...sharedExpertNames,
    "model.layers.*.mlp.moe_statics.e_score_correction_bias": { row: "blocks.*.feed.moe.gate.bias" },
  },
  ignoredPrefixes: () => ["model.mtp_"],
  tied: true,
};

export const hunyuanV1Moe: Family = {
  type: "hunyuan_v1_moe",
  model: "HunYuanMoE",
  header: {
    ...denseHeader,
    H: required("intermediate_size"),
    Groups: required("num_key_value_heads"),
    A: { keys: ["head_dim"], fallback: null },
    E: required("num_experts"),
    K: required("moe_topk"),
    alpha: { keys: ropeKeys("alpha"), fallback: 1 },
    biased: { keys: ["attention_bias"], fallback: false },
  },
  supported: {
    ...defaultSettings,
    use_qk_norm: true,
    use_cla: false,
    ...ropeTypeIs(byAlpha),
  },
  names: {
    ...decoderNames,
    ...attentionBiasNames,
    ...mixtureNames("feed.moe"),
    ...swigluNames("model.layers.*.mlp.shared_mlp", "blocks.*.feed.shared"),
    "model.layers.*.mlp.gate.wg.weight": "blocks.*.feed.moe.gate.weight",
    "model.layers.*.self_attn.query_layernorm.weight": "blocks.*.attention.query_norm.weight",
    "model.layers.*.self_attn.key_layernorm.weight": "blocks.*.attention.key_norm.weight",
  },
};
