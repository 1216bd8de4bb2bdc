// Families with blocks of sliding-window (or chunked) attention among blocks of full attention: GPT-OSS, Gemma 2, Llama 4.
import { type Family, type Json, lookup } from "../family.ts";
import {
  attention,
  biases,
  common,
  dense,
  everyFourth,
  outer,
  plain,
  rotations,
  said,
  scaling,
  swiglu,
} from "./shared.ts";

/** The only accepted `layer_types` of GPT-OSS and Gemma 2: a window in every other block, from the first on. */
const everyOther = ({ num_hidden_layers: layers }: Json): string[] =>
  Array.from({ length: Number(layers) }, (_, i) => (i % 2 === 0 ? "sliding_attention" : "full_attention"));

const everyStep = ({ num_hidden_layers: layers, interleave_moe_layer_step: step = 1 }: Json): number[] =>
  Array.from({ length: Number(layers) }, (_, i) => i).filter((i) => (i + 1) % Number(step) === 0);

const llama3 = (config: Json): string =>
  scaling("rope_type").some((key) => lookup(config, key) === "llama3") ? "llama3" : "default";

/** The only accepted value of a scaling factor: 1, unless the type is llama3. */
const stretchOf =
  (key: string) =>
  (config: Json): unknown =>
    llama3(config) === "llama3" ? lookup(config, key) : 1;

/** Accepts these values of a key; the error for another names the first of them. */
const oneOf =
  (key: string, ...values: readonly unknown[]) =>
  (config: Json): unknown =>
    values.includes(config[key]) ? config[key] : values[0];

export const gptOss: Family = {
  type: "gpt_oss",
  model: "GptOss",
  header: {
    ...common,
    H: said("intermediate_size"),
    Groups: said("num_key_value_heads"),
    A: said("head_dim"),
    E: said("num_local_experts", "num_experts"),
    window: said("sliding_window"),
    stretch: said(...scaling("factor")),
    original: said(...scaling("original_max_position_embeddings")),
    truncate: { keys: scaling("truncate"), otherwise: true },
    limit: { keys: ["swiglu_limit"], otherwise: 7 },
    alpha: { keys: ["swiglu_alpha"], otherwise: 1.702 },
  },
  only: {
    hidden_act: "silu",
    attention_bias: true,
    layer_types: everyOther,
    ...Object.fromEntries(scaling("rope_type").map((key) => [key, "yarn"])),
    ...Object.fromEntries(scaling("beta_fast").map((key) => [key, 32])),
    ...Object.fromEntries(scaling("beta_slow").map((key) => [key, 1])),
    ...Object.fromEntries([...scaling("attention_factor"), ...scaling("mscale_all_dim")].map((key) => [key, null])),
  },
  names: {
    ...outer,
    ...attention,
    ...biases,
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
    ...dense,
    H: said("intermediate_size"),
    Groups: said("num_key_value_heads"),
    A: said("head_dim"),
    window: said("sliding_window"),
    scalar: said("query_pre_attn_scalar"),
    cap: said("attn_logit_softcapping"),
    last: said("final_logit_softcapping"),
  },
  only: {
    ...plain,
    hidden_act: "gelu_pytorch_tanh",
    hidden_activation: "gelu_pytorch_tanh",
    layer_types: everyOther,
    use_bidirectional_attention: false,
  },
  names: {
    ...outer,
    ...attention,
    ...swiglu("model.layers.*.mlp", "blocks.*.feed"),
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
    ...common,
    F: said("intermediate_size_mlp"),
    H: said("intermediate_size"),
    Groups: said("num_key_value_heads"),
    A: said("head_dim"),
    E: said("num_local_experts"),
    Step: said("interleave_moe_layer_step"),
    base: { keys: rotations, otherwise: 500000 },
    chunk: said("attention_chunk_size"),
    normed: { keys: ["use_qk_norm"], otherwise: true },
    heat: { keys: ["attn_scale"], otherwise: 0.1 },
    span: { keys: ["floor_scale"], otherwise: 8192 },
    stretch: { keys: scaling("factor"), otherwise: 1 },
    original: said(...scaling("original_max_position_embeddings"), "max_position_embeddings"),
    low: { keys: scaling("low_freq_factor"), otherwise: null },
    high: { keys: scaling("high_freq_factor"), otherwise: null },
  },
  only: {
    hidden_act: "silu",
    attention_bias: false,
    ...Object.fromEntries(scaling("rope_type").map((key) => [key, llama3])),
    ...Object.fromEntries(scaling("factor").map((key) => [key, stretchOf(key)])),
    interleave_moe_layer_step: oneOf("interleave_moe_layer_step", 1, 2, 4),
    attn_temperature_tuning: oneOf("attn_temperature_tuning", true, 4),
    no_rope_layer_interval: 4,
    no_rope_layers: everyFourth(1, 0),
    layer_types: everyFourth("chunked_attention", "full_attention"),
    moe_layers: everyStep,
  },
  names: {
    ...outer,
    ...attention,
    ...swiglu("model.layers.*.feed_forward", "blocks.*.feed.dense"),
    ...swiglu("model.layers.*.feed_forward.shared_expert", "blocks.*.feed.shared"),
    "model.layers.*.feed_forward.router.weight": "blocks.*.feed.router.weight",
    "model.layers.*.feed_forward.experts.gate_up_proj": {
      runs: ["blocks.*.feed.experts.gate.weight", "blocks.*.feed.experts.up.weight"],
      turned: false,
    },
    "model.layers.*.feed_forward.experts.down_proj": ["blocks.*.feed.experts.down.weight"],
  },
};
