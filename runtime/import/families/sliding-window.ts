// Families with blocks of sliding-window (or chunked) attention among blocks of full attention: GPT-OSS, Gemma 2, Llama 4.
import type { Family, Json } from "../family.ts";
import {
  attentionBiasNames,
  decoderNames,
  denseHeader,
  everyFourth,
  layersBy,
  mixtureHeader,
  required,
  requiredAs,
  ropeFactor,
  ropeKeys,
  ropeThetaKeys,
  ropeType,
  ropeTypeIs,
  swigluNames,
  unbiasedSettings,
} from "./shared.ts";

/** The only accepted `layer_types` of GPT-OSS and Gemma 2: a window in every other block, from the first on. */
const everyOther = ({ num_hidden_layers: layers }: Json): string[] =>
  Array.from({ length: Number(layers) }, (_, i) => (i % 2 === 0 ? "sliding_attention" : "full_attention"));

const everyStep = ({ num_hidden_layers: layers, interleave_moe_layer_step: step = 1 }: Json): number[] =>
  Array.from({ length: Number(layers) }, (_, i) => i).filter((i) => (i + 1) % Number(step) === 0);

const llama3 = (config: Json): string => (ropeType(config) === "llama3" ? "llama3" : "default");

/** Accepts these values of a key; the error for another names the first of them. */
const oneOf =
  (key: string, ...values: readonly unknown[]) =>
  (config: Json): unknown =>
    values.includes(config[key]) ? config[key] : values[0];

export const gptOss: Family = {
  type: "gpt_oss",
  model: "GptOss",
  header: {
    ...mixtureHeader,
    H: required("intermediate_size"),
    Groups: required("num_key_value_heads"),
    A: required("head_dim"),
    E: required("num_local_experts", "num_experts"),
    window: requiredAs("size", "sliding_window"),
    stretch: required(...ropeKeys("factor")),
    original: required(...ropeKeys("original_max_position_embeddings")),
    truncate: { keys: ropeKeys("truncate"), fallback: true },
    limit: { keys: ["swiglu_limit"], fallback: 7 },
    alpha: { keys: ["swiglu_alpha"], fallback: 1.702 },
  },
  supported: {
    hidden_act: "silu",
    attention_bias: true,
    num_hidden_layers: layersBy(2),
    layer_types: everyOther,
    ...ropeTypeIs("yarn"),
    ...ropeFactor,
    ...Object.fromEntries(ropeKeys("beta_fast").map((key) => [key, 32])),
    ...Object.fromEntries(ropeKeys("beta_slow").map((key) => [key, 1])),
    ...Object.fromEntries([...ropeKeys("attention_factor"), ...ropeKeys("mscale_all_dim")].map((key) => [key, null])),
  },
  names: {
    ...decoderNames,
    ...attentionBiasNames,
    "model.layers.*.self_attn.sinks": "blocks.*.attention.sinks",
    "model.layers.*.mlp.router.weight": "blocks.*.feed.gate.weight",
    "model.layers.*.mlp.router.bias": "blocks.*.feed.gate.bias",
    "model.layers.*.mlp.experts.gate_up_proj": ["blocks.*.feed.experts.gate.weight", "blocks.*.feed.experts.up.weight"],
    "model.layers.*.mlp.experts.gate_up_proj_bias": [
      "blocks.*.feed.experts.gate.bias",
      "blocks.*.feed.experts.up.bias",
    ],
    "model.layers.*.mlp.experts.down_proj": ["blocks.*.feed.experts.down.weight"],
    "model.layers.*.mlp.experts.down_proj_bias": ["blocks.*.feed.experts.down.bias"],
  },
};

export const gemma2: Family = {
  type: "gemma2",
  model: "Gemma2",
  header: {
    ...denseHeader,
    H: required("intermediate_size"),
    Groups: required("num_key_value_heads"),
    A: required("head_dim"),
    window: requiredAs("size", "sliding_window"),
    scalar: requiredAs("positive", "query_pre_attn_scalar"),
    cap: requiredAs("positive", "attn_logit_softcapping"),
    last: requiredAs("positive", "final_logit_softcapping"),
  },
  supported: {
    ...unbiasedSettings,
    num_hidden_layers: layersBy(2),
    hidden_act: "gelu_pytorch_tanh",
    hidden_activation: "gelu_pytorch_tanh",
    layer_types: everyOther,
    use_bidirectional_attention: false,
  },
  names: {
    ...decoderNames,
    ...swigluNames("model.layers.*.mlp", "blocks.*.feed"),
    "model.layers.*.post_attention_layernorm.weight": "blocks.*.after1.weight",
    "model.layers.*.pre_feedforward_layernorm.weight": "blocks.*.norm2.weight",
    "model.layers.*.post_feedforward_layernorm.weight": "blocks.*.after2.weight",
  },
  tied: true,
};

export const llama4Text: Family = {
  type: "llama4_text",
  model: "Llama4",
  header: {
    ...mixtureHeader,
    F: required("intermediate_size_mlp"),
    H: required("intermediate_size"),
    Groups: required("num_key_value_heads"),
    A: required("head_dim"),
    E: required("num_local_experts"),
    Step: required("interleave_moe_layer_step"),
    base: { keys: ropeThetaKeys, fallback: 500000 },
    chunk: requiredAs("size", "attention_chunk_size"),
    normed: { keys: ["use_qk_norm"], fallback: true },
    heat: { keys: ["attn_scale"], fallback: 0.1 },
    span: { keys: ["floor_scale"], fallback: 8192 },
    stretch: { keys: ropeKeys("factor"), fallback: 1 },
    original: required(...ropeKeys("original_max_position_embeddings"), "max_position_embeddings"),
    low: { keys: ropeKeys("low_freq_factor"), fallback: null },
    high: { keys: ropeKeys("high_freq_factor"), fallback: null },
  },
  supported: {
    hidden_act: "silu",
    attention_bias: false,
    num_hidden_layers: layersBy(4),
    ...ropeTypeIs(llama3),
    ...ropeFactor,
    interleave_moe_layer_step: oneOf("interleave_moe_layer_step", 1, 2, 4),
    attn_temperature_tuning: oneOf("attn_temperature_tuning", true, 4),
    no_rope_layer_interval: 4,
    no_rope_layers: everyFourth(1, 0),
    layer_types: everyFourth("chunked_attention", "full_attention"),
    moe_layers: everyStep,
  },
  names: {
    ...decoderNames,
    ...swigluNames("model.layers.*.feed_forward", "blocks.*.feed.dense"),
    ...swigluNames("model.layers.*.feed_forward.shared_expert", "blocks.*.feed.shared"),
    "model.layers.*.feed_forward.router.weight": "blocks.*.feed.router.weight",
    "model.layers.*.feed_forward.experts.gate_up_proj": {
      runs: ["blocks.*.feed.experts.gate.weight", "blocks.*.feed.experts.up.weight"],
      transposed: false,
    },
    "model.layers.*.feed_forward.experts.down_proj": ["blocks.*.feed.experts.down.weight"],
  },
};
