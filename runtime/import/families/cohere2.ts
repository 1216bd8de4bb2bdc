// Cohere's models: parallel blocks. Command R sees all; Command R7B and A have windows in most blocks, Command A+ is a mixture of them.
import type { ConfigValue, Family, Json } from "../family.ts";
import { names as denseNames, header } from "./dense.ts";
import {
  attentionBiasNames,
  decoderNames,
  defaultSettings,
  everyNth,
  leadingDense,
  mixtureHeader,
  nearAndFar,
  oneOfWords,
  required,
  requiredAs,
  ropeThetaKeys,
  sharedExpertNames,
  windowOf,
  windowPattern,
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

/** What logits are divided by, as they are multiplied in transformers. */
const soft: ConfigValue = {
  keys: ["logit_scale"],
  from: ({ logit_scale: given }) => {
    const scale = given ?? 0.0625;
    return typeof scale === "number" && Number.isFinite(scale) && scale > 0 ? 1 / scale : undefined;
  },
  must: "a number above 0",
};
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
    soft,
    logistic: oneOfWords("expert_selection_fn", "softmax", "sigmoid"),
    averaged: oneOfWords("shared_expert_combination_strategy", "sum", "average"),
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
    biased: { keys: ["attention_bias"], fallback: false },
  },
  supported: { ...defaultSettings, prefix_dense_sliding_window_pattern: 1 },
  names: {
    ...decoderNames,
    ...attentionBiasNames,
    ...sharedExpertNames,
    "model.layers.*.input_layernorm.weight": "blocks.*.norm.weight",
  },
  tied: true,
};

const denseHeader: Family["header"] = {
  ...header,
  eps: { keys: ["layer_norm_eps"], fallback: 1e-5 },
  soft,
  biased: { keys: ["attention_bias"], fallback: false },
};
const parallelNames: Family["names"] = {
  ...denseNames,
  ...attentionBiasNames,
  "model.layers.*.input_layernorm.weight": "blocks.*.norm.weight",
};
export const cohere: Family = {
  type: "cohere",
  model: "Cohere",
  file: "cohere2",
  header: {
    ...denseHeader,
    base: { keys: ropeThetaKeys, fallback: 500000 },
    normed: { keys: ["use_qk_norm"], fallback: false },
  },
  supported: defaultSettings,
  names: {
    ...parallelNames,
    "model.layers.*.self_attn.q_norm.weight": ["blocks.*.attention.query_norm.weight"],
    "model.layers.*.self_attn.k_norm.weight": ["blocks.*.attention.key_norm.weight"],
  },
  tied: true,
};

const attention = windowPattern(4);
export const cohere2: Family = {
  type: "cohere2",
  model: "Cohere2",
  file: "cohere2",
  header: { ...denseHeader, window: windowOf(attention.of) },
  supported: { ...defaultSettings, ...attention.only },
  names: parallelNames,
  tied: true,
  blocks: {
    model: "Cohere2Blocks",
    kinds: { Near: "Cohere2Near", Far: "Cohere2Far" },
    order: (config) => nearAndFar(attention.of(config), () => true),
  },
};
