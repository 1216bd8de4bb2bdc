// Gemma 3: blocks that see all among those with a window, each kind with a base of its own.
import { type ConfigValue, type Family, type Json, lookup, lookupFirst } from "../family.ts";
import {
  attentionKinds,
  decoderNames,
  denseHeader,
  nearAndFar,
  queryKeyNormNames,
  required,
  ropeOf,
  swigluNames,
  windowOf,
  windowPattern,
} from "./shared.ts";

const attention = windowPattern(6);
const keysOf = (kind: string, key: string): string[] => [
  ropeOf(kind, key),
  ...(kind === "full_attention" ? [`rope_scaling.${key}`] : []),
];
/** How much more slowly the pairs of a kind turn, if they do. */
const stretch = (kind: string): ConfigValue => ({
  keys: keysOf(kind, "factor"),
  kind: "number",
  from: (config) => {
    const [factor, linear] = [
      lookupFirst(config, keysOf(kind, "factor")),
      lookupFirst(config, keysOf(kind, "rope_type")) === "linear",
    ];
    if (factor === undefined && !linear) return null;
    return typeof factor === "number" && (linear || factor === 1) ? factor : undefined;
  },
  must: "a number, of a linear rope_type",
});
const types = (kind: string): Family["supported"] =>
  Object.fromEntries(
    keysOf(kind, "rope_type").map((key) => [
      key,
      (config: Json) => (lookup(config, key) === "linear" ? "linear" : "default"),
    ]),
  );
const defaultTo = (fallback: number, ...keys: string[]): ConfigValue => ({ keys, fallback });

/** Released files leave out what is as in transformers. */
export const gemma3Text: Family = {
  type: "gemma3_text",
  model: "Gemma3",
  file: "gemma3",
  header: {
    ...denseHeader,
    V: defaultTo(262208, "vocab_size"),
    Heads: defaultTo(8, "num_attention_heads"),
    Context: defaultTo(131072, "max_position_embeddings"),
    eps: defaultTo(1e-6, "rms_norm_eps"),
    H: required("intermediate_size"),
    Groups: defaultTo(4, "num_key_value_heads"),
    A: defaultTo(256, "head_dim"),
    base: defaultTo(1e6, "rope_parameters.full_attention.rope_theta", "rope_theta"),
    near_base: defaultTo(10000, "rope_parameters.sliding_attention.rope_theta", "rope_local_base_freq"),
    stretch: stretch("full_attention"),
    near_stretch: stretch("sliding_attention"),
    window: windowOf(attention.of),
    scalar: { ...defaultTo(256, "query_pre_attn_scalar"), kind: "positive" },
    cap: { keys: ["final_logit_softcapping"], fallback: null, kind: "positive" },
  },
  supported: {
    hidden_activation: "gelu_pytorch_tanh",
    attention_bias: false,
    attn_logit_softcapping: null,
    use_bidirectional_attention: false,
    ...attention.only,
    _sliding_window_pattern: (config: Json) => config["_sliding_window_pattern"], // transformers writes it, and does not read it
    ...types("full_attention"),
    ...types("sliding_attention"),
  },
  ropeKinds: attentionKinds,
  names: {
    ...decoderNames,
    ...queryKeyNormNames,
    ...swigluNames("model.layers.*.mlp", "blocks.*.feed"),
    "model.layers.*.post_attention_layernorm.weight": "blocks.*.after1.weight",
    "model.layers.*.pre_feedforward_layernorm.weight": "blocks.*.norm2.weight",
    "model.layers.*.post_feedforward_layernorm.weight": "blocks.*.after2.weight",
  },
  tied: true,
  blocks: {
    model: "Gemma3Blocks",
    kinds: { Near: "Gemma3Near", Far: "Gemma3Far" },
    order: (config) => nearAndFar(attention.of(config), () => true),
  },
};
