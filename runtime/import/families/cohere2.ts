// Cohere's Command A+: parallel blocks, windows in all but each N-th.
import type { Family, Json } from "../family.ts";
import {
  attentionBiasNames,
  attentionNames,
  defaultSettings,
  everyNth,
  leadingDense,
  mixtureHeader,
  oneOfWords,
  outerNames,
  required,
  requiredAs,
  sharedExpertNames,
} from "./shared.ts";

const usual = 4;
const denseOf = (config: Json): number => Number(leadingDense.from?.(withoutDense(config)) ?? 0);
/** No block is dense, unless it is said. */
const withoutDense = (config: Json): Json => ({ first_k_dense_replace: 0, ...config });
/** Of the blocks after the dense ones each so many-th sees all. */
function everyOf(config: Json): number | undefined {
  const { layer_types: types, sliding_window_pattern: pattern = usual, first_k_dense_replace: first = 0 } = config;
  if (types === undefined || types === null)
    return typeof pattern === "number" && first === denseOf(config) ? pattern : undefined;
  if (!Array.isArray(types) || types.length !== config["num_hidden_layers"]) return undefined;
  const dense = denseOf(config);
  if (types.slice(0, dense).some((type) => type !== "full_attention")) return undefined;
  return everyNth(types.slice(dense), "sliding_attention", "full_attention");
}
const windows = "full attention in the dense blocks, then windows in all but each N-th";

export const cohere2Moe: Family = {
  type: "cohere2_moe",
  model: "Cohere2Moe",
  file: "cohere2",
  header: {
    ...mixtureHeader,
    F: required("prefix_dense_intermediate_size", "intermediate_size"),
    H: required("intermediate_size"),
    Dense: { ...leadingDense, from: (config) => leadingDense.from?.(withoutDense(config)) },
    Every: { keys: ["layer_types"], from: everyOf, must: windows },
    Full: {
      keys: ["layer_types"],
      kind: "layers",
      from: (config) =>
        Math.floor((Number(config["num_hidden_layers"]) - denseOf(config)) / (everyOf(config) ?? usual)),
    },
    Groups: required("num_key_value_heads", "num_attention_heads"),
    A: required("head_dim"),
    E: required("num_experts", "num_local_experts"),
    Shared: { keys: ["num_shared_experts"], fallback: 0, kind: "count" },
    eps: required("rms_norm_eps", "layer_norm_eps"),
    centred: { keys: ["rms_norm_eps"], kind: "boolean", from: ({ rms_norm_eps: eps }) => (eps ?? null) === null },
    window: requiredAs("size", "sliding_window"),
    soft: {
      keys: ["logit_scale"],
      from: ({ logit_scale: scale = 0.0625 }) => (Number.isFinite(scale) ? 1 / Number(scale) : undefined),
      must: "a number above 0",
    },
    logistic: oneOfWords("expert_selection_fn", "softmax", "sigmoid"),
    averaged: oneOfWords("shared_expert_combination_strategy", "sum", "average"),
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
    biased: { keys: ["attention_bias"], fallback: false },
  },
  supported: { ...defaultSettings, prefix_dense_sliding_window_pattern: 1 },
  names: {
    ...outerNames,
    ...attentionNames,
    ...attentionBiasNames,
    ...sharedExpertNames,
    "model.layers.*.input_layernorm.weight": "blocks.*.norm.weight",
  },
  tied: true,
};
