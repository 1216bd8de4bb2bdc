// Dense models that are Llama's with few changes each: Seed-OSS, SmolLM3, GLM-4, Ministral 3, nanochat, EXAONE 4.0.
import { type ConfigValue, type Family, type Json, lookup } from "../family.ts";
import { header, llama, llamaRope, mistral, names, normedAfterNames, qwen2 } from "./dense.ts";
import {
  attentionBiasNames,
  decoderNames,
  defaultSettings,
  everyFourth,
  everyFull,
  gateUpNames,
  layersBy,
  nearOrFar,
  queryKeyNormNames,
  ropeFactor,
  ropeKeys,
  ropeThetaKeys,
  ropeType,
  ropeTypeIs,
  unbiasedSettings,
  windowOf,
} from "./shared.ts";
import { yarnHeader } from "./yarn.ts";

export const seedOss: Family = {
  type: "seed_oss",
  model: "Qwen2",
  header: { ...header, A: { keys: ["head_dim"], fallback: 128 } },
  supported: { ...defaultSettings, attention_bias: true, attention_out_bias: false, mlp_bias: false },
  names: qwen2.names,
};

export const smollm3: Family = {
  type: "smollm3",
  model: "SmolLM3",
  file: "dense",
  header: {
    ...header,
    base: { keys: ["rope_parameters.rope_theta", "rope_theta"], fallback: 2e6 },
    biased: { keys: ["attention_bias"], fallback: false },
  },
  supported: {
    ...defaultSettings,
    mlp_bias: false,
    num_hidden_layers: layersBy(4),
    no_rope_layers: everyFourth(1, 0),
    no_rope_layer_interval: 4,
    use_sliding_window: false,
    layer_types: everyFull,
  },
  names: { ...names, ...attentionBiasNames },
  tied: true,
};

const partKeys = ["rope_parameters.partial_rotary_factor", "partial_rotary_factor"];
export const glm4: Family = {
  type: "glm4",
  model: "Glm4",
  file: "dense",
  header: {
    ...header,
    A: { keys: ["head_dim"], fallback: 128 },
    part: { keys: partKeys, fallback: 0.5 },
    biased: { keys: ["attention_bias"], fallback: true },
  },
  supported: defaultSettings,
  names: {
    ...names,
    ...attentionBiasNames,
    "model.layers.*.post_self_attn_layernorm.weight": "blocks.*.after1.weight",
    "model.layers.*.post_mlp_layernorm.weight": "blocks.*.after2.weight",
    ...gateUpNames,
  },
};

const attention = nearOrFar((i) => i % 4 === 3);
/** A window is null where there are none; in transformers one that is missing is 4096. */
const hasWindows = ({ sliding_window: window }: Json): boolean => window !== null;
/** Without a list a window must be in all but each fourth block. */
const pattern = (config: Json): unknown =>
  lookup(config, "layer_types") === undefined ? 4 : config["sliding_window_pattern"];
/** Where nothing is said of RoPE but its base, transformers takes YaRN, and a base of its own. */
const ministralBase: ConfigValue = {
  keys: ropeThetaKeys,
  from: (config) => {
    if (["rope_parameters", "rope_scaling"].every((key) => lookup(config, key) === undefined)) return undefined;
    const base = ropeThetaKeys.map((key) => lookup(config, key)).find((x) => x !== undefined);
    return typeof base === "number" ? base : undefined;
  },
  must: "a number, beside the type of RoPE in rope_parameters",
};
export const ministral3: Family = {
  type: "ministral3",
  model: "Ministral3",
  file: "dense",
  header: {
    ...mistral.header,
    A: { keys: ["head_dim"], fallback: 128 },
    base: ministralBase,
    ...yarnHeader(ropeKeys),
    growth: { keys: ropeKeys("llama_4_scaling_beta"), fallback: 0 },
  },
  supported: {
    hidden_act: "silu",
    ...ropeTypeIs((config: Json) => (ropeType(config) === "yarn" ? "yarn" : "default")),
    ...Object.fromEntries(ropeKeys("truncate").map((key) => [key, true])),
    ...Object.fromEntries(
      ropeKeys("llama_4_scaling_beta").map((key) => [key, (c: Json) => (ropeType(c) === "yarn" ? lookup(c, key) : 0)]),
    ),
  },
  names,
};

export const nanochat: Family = {
  type: "nanochat",
  model: "NanoChat",
  file: "dense",
  header: {
    ...header,
    cap: {
      keys: ["final_logit_softcapping"],
      kind: "positive",
      from: ({ final_logit_softcapping: cap = 15 }) => (cap === null || typeof cap === "number" ? cap : undefined),
      must: "a number, or null",
    },
    eps: { keys: ["rms_norm_eps"], fallback: 1e-6 },
    biased: { keys: ["attention_bias"], fallback: false },
  },
  supported: { hidden_act: "relu2", ...ropeTypeIs("default") },
  names: {
    ...decoderNames,
    ...attentionBiasNames,
    "model.layers.*.mlp.fc1.weight": "blocks.*.feed.up.weight",
    "model.layers.*.mlp.fc2.weight": "blocks.*.feed.down.weight",
  },
};

export const exaone4: Family = {
  type: "exaone4",
  model: "Exaone4",
  file: "dense",
  header: { ...llama.header, window: windowOf(attention.of) },
  supported: {
    ...unbiasedSettings,
    ...ropeTypeIs(llamaRope),
    ...ropeFactor,
    layer_types: attention.only,
    sliding_window_pattern: pattern,
  },
  names: {
    ...normedAfterNames,
    ...queryKeyNormNames,
  },
  blocks: {
    kinds: { Near: "Exaone4Near", Far: "Exaone4Far", Whole: "Exaone4Whole" },
    order: (config) =>
      (attention.of(config) ?? []).map((type) =>
        type === "sliding_attention" ? "Near" : hasWindows(config) ? "Far" : "Whole",
      ),
  },
};
