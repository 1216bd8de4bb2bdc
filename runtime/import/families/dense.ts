// Dense models, whose blocks have one feed-forward part instead of a mixture: Llama, Mistral, StarCoder2, Qwen2, Qwen3.
import type { Family, Json } from "../family.ts";
import {
  attentionBiasNames,
  decoderNames,
  defaultSettings,
  denseHeader,
  everyFull,
  queryKeyNormNames,
  required,
  ropeFactor,
  ropeKeys,
  ropeSetting,
  ropeType,
  ropeTypeIs,
  swigluNames,
  unbiasedSettings,
} from "./shared.ts";

export const header: Family["header"] = {
  ...denseHeader,
  H: required("intermediate_size"),
  Groups: required("num_key_value_heads", "num_attention_heads"), // Llama 1 has no groups
  A: { keys: ["head_dim"], fallback: null },
};
export const names: Family["names"] = {
  ...decoderNames,
  ...swigluNames("model.layers.*.mlp", "blocks.*.feed"),
};
const { "model.layers.*.input_layernorm.weight": _, ...others } = names;
/** Where norms come after each part of a block. */
export const normedAfterNames: Family["names"] = {
  ...others,
  "model.layers.*.post_attention_layernorm.weight": "blocks.*.norm1.weight",
  "model.layers.*.post_feedforward_layernorm.weight": "blocks.*.norm2.weight",
};

/** The only accepted type of RoPE: default, linear, or Llama 3's, each with exactly the numbers that tell it from the others. */
export function llamaRope(config: Json): string {
  const has = (key: string): boolean => ropeSetting(config, key) !== undefined;
  const type = ropeType(config);
  const ends = ["low_freq_factor", "high_freq_factor", "original_max_position_embeddings"];
  if (type === "default") return "default";
  if (type === "linear" && has("factor") && !ends.some(has)) return "linear";
  if (type === "llama3" && ["factor", ...ends].every(has)) return "llama3";
  return `default, linear with a factor alone, or llama3 with factor, ${ends.join(", ")}`;
}
export const llama: Family = {
  type: "llama",
  model: "Llama",
  header: {
    ...header,
    biased: { keys: ["attention_bias"], fallback: false },
    stretch: { keys: ropeKeys("factor"), fallback: null },
    original: { keys: ropeKeys("original_max_position_embeddings"), fallback: null },
    low: { keys: ropeKeys("low_freq_factor"), fallback: null },
    high: { keys: ropeKeys("high_freq_factor"), fallback: null },
  },
  supported: {
    hidden_act: "silu",
    mlp_bias: false,
    ...ropeTypeIs(llamaRope),
    ...ropeFactor,
  },
  names: { ...names, ...attentionBiasNames },
};

export const mistral: Family = {
  type: "mistral",
  model: "Mistral",
  header: { ...header, window: { keys: ["sliding_window"], fallback: null, kind: "size" } },
  supported: unbiasedSettings,
  names,
};

export const starcoder2: Family = {
  type: "starcoder2",
  model: "StarCoder2",
  file: "dense",
  header: {
    ...header,
    eps: { keys: ["norm_epsilon"], fallback: 1e-5 },
    window: { keys: ["sliding_window"], fallback: null, kind: "size" },
    biased: { keys: ["use_bias"], fallback: true },
  },
  supported: { ...defaultSettings, hidden_act: "gelu_pytorch_tanh" },
  names: {
    ...decoderNames,
    ...attentionBiasNames,
    "model.layers.*.input_layernorm.bias": "blocks.*.norm1.bias",
    "model.layers.*.post_attention_layernorm.bias": "blocks.*.norm2.bias",
    "model.norm.bias": "norm.bias",
    ...Object.fromEntries(
      ["weight", "bias"].flatMap((kind) => [
        [`model.layers.*.mlp.c_fc.${kind}`, `blocks.*.feed.up.${kind}`],
        [`model.layers.*.mlp.c_proj.${kind}`, `blocks.*.feed.down.${kind}`],
      ]),
    ),
  },
  tied: true,
};

/** A window may be named, but not used. */
const windowless: Family["supported"] = { use_sliding_window: false, layer_types: everyFull };

export const qwen2: Family = {
  type: "qwen2",
  model: "Qwen2",
  header,
  supported: { ...unbiasedSettings, ...windowless },
  names: { ...names, ...attentionBiasNames },
};

export const qwen3: Family = {
  type: "qwen3",
  model: "Qwen3",
  header: {
    ...header,
    A: { keys: ["head_dim"], fallback: 128 },
    biased: { keys: ["attention_bias"], fallback: false },
  },
  supported: { ...defaultSettings, ...windowless },
  names: { ...names, ...attentionBiasNames, ...queryKeyNormNames },
};
