// Qwen's mixtures: Qwen2-MoE, Qwen3-MoE, Qwen3-Next, Qwen3.5; Lara Mini, which has their DeltaNet.
import { item } from "../../../compiler/item.ts";
import type { Family, Json } from "../family.ts";
import {
  attentionBiasNames,
  decoderNames,
  denseHeader,
  everyFourth,
  everyFull,
  layersBy,
  mixtureHeader,
  mixtureNames,
  queryKeyNormNames,
  required,
  requiredAs,
  routedHeader,
  stackedExpertNames,
  swigluNames,
  unbiasedSettings,
  wordOfEach,
} from "./shared.ts";

const denseNames = swigluNames("model.layers.*.mlp", "blocks.*.feed");
/** Weights of a shared expert with a gate. */
const gatedSharedExpertNames: Family["names"] = {
  ...swigluNames("model.layers.*.mlp.shared_expert", "blocks.*.feed.shared.inner"),
  "model.layers.*.mlp.shared_expert_gate.weight": "blocks.*.feed.shared.gate.weight",
};

/** The first blocks that are dense whatever the step says; a list of others is refused. */
const firstDense = ({ mlp_only_layers: dense, num_hidden_layers: layers }: Json): number =>
  Array.isArray(dense) ? Math.min(dense.length, Number(layers)) : 0;
const firstLayers = (config: Json): unknown => {
  const layers = Array.from({ length: firstDense(config) }, (_, i) => i);
  return JSON.stringify(config["mlp_only_layers"]) === JSON.stringify(layers)
    ? layers
    : "the first few: [], [0], [0, 1], ...";
};
const stepOf = ({ decoder_sparse_step: step }: Json): number => Number(step ?? 1);
/** The dense blocks before those of which each Step-th is a mixture. */
const before = (config: Json): number => firstDense(config) - (firstDense(config) % stepOf(config));
/** Header values of blocks that are not all mixtures. */
const sparseHeader: Family["header"] = {
  Step: { keys: ["decoder_sparse_step"], fallback: 1 },
  Dense: { keys: ["decoder_sparse_step"], kind: "layers", from: before },
  Mixed: {
    keys: ["decoder_sparse_step"],
    kind: "layers",
    from: (config) => Math.floor((Number(config["num_hidden_layers"]) - before(config)) / stepOf(config)),
  },
};

export const qwen2Moe: Family = {
  type: "qwen2_moe",
  model: "Qwen2Moe",
  header: {
    ...routedHeader,
    F: required("shared_expert_intermediate_size"),
    E: required("num_experts", "num_local_experts"),
    renormalised: requiredAs("boolean", "norm_topk_prob"),
    A: { keys: ["head_dim"], fallback: null },
    biased: { keys: ["qkv_bias"], fallback: true },
    Wide: required("intermediate_size"),
    ...sparseHeader,
  },
  supported: {
    ...unbiasedSettings,
    use_sliding_window: false,
    layer_types: everyFull,
    mlp_only_layers: firstLayers,
  },
  names: {
    ...decoderNames,
    ...attentionBiasNames,
    ...mixtureNames("feed.moe"),
    ...gatedSharedExpertNames,
    ...denseNames,
  },
};

export const qwen3Moe: Family = {
  type: "qwen3_moe",
  model: "Qwen3Moe",
  header: {
    ...routedHeader,
    A: required("head_dim"),
    E: required("num_experts", "num_local_experts"),
    renormalised: requiredAs("boolean", "norm_topk_prob"),
    F: required("intermediate_size"),
    ...sparseHeader,
  },
  supported: { ...unbiasedSettings, use_sliding_window: false, mlp_only_layers: firstLayers },
  names: { ...decoderNames, ...queryKeyNormNames, ...mixtureNames("feed"), ...denseNames },
};

/** Header values of attention, and of a DeltaNet. */
const deltaHeader: Family["header"] = {
  Groups: required("num_key_value_heads"),
  A: required("head_dim"),
  Keys: required("linear_num_key_heads"),
  Values: required("linear_num_value_heads"),
  KeyWidth: required("linear_key_head_dim"),
  ValueWidth: required("linear_value_head_dim"),
  Width: required("linear_conv_kernel_dim"),
};
/** The part of a head that turns. */
const part = { keys: ["rope_parameters.partial_rotary_factor", "partial_rotary_factor"], fallback: 0.25 };
const deltaMixtureHeader: Family["header"] = {
  ...mixtureHeader,
  ...deltaHeader,
  H: required("moe_intermediate_size"),
  F: required("shared_expert_intermediate_size"),
  E: required("num_experts", "num_local_experts"),
};
const deltaSettings: Family["supported"] = {
  ...unbiasedSettings,
  num_hidden_layers: layersBy(4),
  layer_types: everyFourth("linear_attention", "full_attention"),
  full_attention_interval: 4,
};
const deltaNames: Family["names"] = {
  ...decoderNames,
  ...queryKeyNormNames,
  "model.layers.*.linear_attn.conv1d.weight": "blocks.*.attention.conv",
  "model.layers.*.linear_attn.A_log": "blocks.*.attention.rate",
  "model.layers.*.linear_attn.dt_bias": "blocks.*.attention.start",
  "model.layers.*.linear_attn.norm.weight": "blocks.*.attention.norm",
  "model.layers.*.linear_attn.out_proj.weight": "blocks.*.attention.output.weight",
};

export const qwen3Next: Family = {
  type: "qwen3_next",
  model: "Qwen3Next",
  file: "qwen3_next",
  header: { ...deltaMixtureHeader, part, renormalised: requiredAs("boolean", "norm_topk_prob") },
  supported: { ...deltaSettings, decoder_sparse_step: 1, mlp_only_layers: [] },
  names: {
    ...deltaNames,
    ...mixtureNames("feed.moe"),
    ...gatedSharedExpertNames,
    "model.layers.*.linear_attn.in_proj_qkvz.weight": "blocks.*.attention.mixed.weight",
    "model.layers.*.linear_attn.in_proj_ba.weight": "blocks.*.attention.steps.weight",
  },
  ignoredPrefixes: () => ["mtp."],
};

const apartNames: Family["names"] = {
  ...deltaNames,
  "model.layers.*.linear_attn.in_proj_qkv.weight": "blocks.*.attention.row.weight",
  "model.layers.*.linear_attn.in_proj_z.weight": "blocks.*.attention.gate.weight",
  "model.layers.*.linear_attn.in_proj_b.weight": "blocks.*.attention.beta.weight",
  "model.layers.*.linear_attn.in_proj_a.weight": "blocks.*.attention.fade.weight",
};
export const qwen35Moe: Family = {
  type: "qwen3_5_moe_text",
  model: "Qwen35Moe",
  file: "qwen3_next",
  header: { ...deltaMixtureHeader, part },
  supported: deltaSettings,
  names: {
    ...apartNames,
    ...mixtureNames("feed.moe"),
    ...stackedExpertNames("model.layers.*.mlp.experts", "blocks.*.feed.moe.experts"),
    ...gatedSharedExpertNames,
  },
  ignoredPrefixes: () => ["mtp."],
};
export const qwen35: Family = {
  type: "qwen3_5_text",
  model: "Qwen35",
  file: "qwen3_next",
  header: { ...denseHeader, ...deltaHeader, part, H: required("intermediate_size") },
  supported: deltaSettings,
  names: { ...apartNames, ...denseNames },
  ignoredPrefixes: () => ["mtp."],
};

const laraKinds = { linear_attention: "Delta", sliding_attention: "Near", full_attention: "Far" } as const;
const laraUsual = ["linear_attention", "sliding_attention", "linear_attention", "full_attention", "sliding_attention"];
const laraTypes = wordOfEach("layer_types", Object.keys(laraKinds), (i) => item(laraUsual, i % laraUsual.length));
export const laraMini: Family = {
  type: "lara_mini",
  model: "LaraMini",
  file: "qwen3_next",
  header: {
    ...deltaMixtureHeader,
    window: requiredAs("size", "sliding_window"),
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
  },
  supported: { ...unbiasedSettings, layer_types: laraTypes.only },
  names: {
    ...deltaNames,
    ...mixtureNames("feed.moe"),
    ...stackedExpertNames("model.layers.*.mlp.experts", "blocks.*.feed.moe.experts"),
    ...swigluNames("model.layers.*.mlp.shared_expert", "blocks.*.feed.shared"),
    "model.layers.*.linear_attn.out_norm.weight": "blocks.*.attention.norm",
    "model.layers.*.linear_attn.in_proj.weight": {
      runs: ["row", "gate", "beta", "fade"].map((name) => `blocks.*.attention.${name}.weight`),
      transposed: true,
      shares: ({ Keys, Values, KeyWidth, ValueWidth }) => {
        const [gate, steps] = [Number(Values) * Number(ValueWidth), Number(Values)];
        return [2 * Number(Keys) * Number(KeyWidth) + gate, gate, steps, steps];
      },
    },
  },
  tied: true,
  blocks: {
    kinds: { Near: "LaraNear", Far: "LaraFar", Delta: "LaraDelta" },
    order: (config) => (laraTypes.of(config) ?? []).map((type) => laraKinds[type as keyof typeof laraKinds]),
  },
};
