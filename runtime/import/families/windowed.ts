// Families with three blocks of sliding-window attention, then one of full attention without positions: K-EXAONE, Trinity.
import type { ConfigValue, Family, Json } from "../family.ts";
import {
  decoderNames,
  denseFirst,
  everyFourth,
  layersBy,
  mixtureHeader,
  queryKeyNormNames,
  required,
  requiredAs,
  ropeThetaKeys,
  sharedExpertNames,
  swigluNames,
  unbiasedSettings,
} from "./shared.ts";

const header: Family["header"] = {
  ...mixtureHeader,
  F: required("intermediate_size"),
  H: required("moe_intermediate_size"),
  Groups: required("num_key_value_heads", "num_attention_heads"),
  E: required("num_experts", "num_local_experts"),
  Shared: requiredAs("count", "num_shared_experts"),
  window: requiredAs("size", "sliding_window"),
};
const settings: Family["supported"] = {
  ...unbiasedSettings,
  num_hidden_layers: layersBy(4),
  layer_types: everyFourth("sliding_attention", "full_attention"),
};
/** The only accepted number of dense blocks: those before the first block that sees all. */
const beforeFull =
  (key: string) =>
  ({ [key]: dense }: Json): unknown =>
    Number(dense) <= 3 ? dense : "at most 3, the blocks before the first full attention";

export const exaoneMoe: Family = {
  type: "exaone_moe",
  model: "ExaoneMoe",
  file: "windowed",
  header: {
    ...header,
    A: { keys: ["head_dim"], fallback: null },
    Dense: { keys: ["first_k_dense_replace"], fallback: 1, kind: "layers" },
    G: { keys: ["n_group"], fallback: 1 },
    Open: { keys: ["topk_group"], fallback: 1 },
    scale: required("routed_scaling_factor"),
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
  },
  supported: {
    ...settings,
    first_k_dense_replace: beforeFull("first_k_dense_replace"),
    mlp_layer_types: denseFirst,
    sliding_window_pattern: ({ sliding_window_pattern: pattern }: Json) => (pattern === 4 ? 4 : "LLLG"),
  },
  names: {
    ...decoderNames,
    ...queryKeyNormNames,
    ...sharedExpertNames,
    "model.layers.*.mlp.e_score_correction_bias": "blocks.*.feed.moe.gate.bias",
  },
  ignoredPrefixes: () => ["mtp."],
};

/** Embeddings are multiplied by the root of their width, or by nothing. */
const rootOfWidth: ConfigValue = {
  keys: ["mup_enabled"],
  from: ({ mup_enabled, hidden_size: width }) => {
    const enabled = mup_enabled ?? false;
    return typeof enabled === "boolean" ? (enabled ? Math.sqrt(Number(width)) : 1) : undefined;
  },
  must: "true or false",
};
export const afmoe: Family = {
  type: "afmoe",
  model: "Afmoe",
  file: "windowed",
  header: {
    ...header,
    A: { keys: ["head_dim"], fallback: 128 },
    Dense: requiredAs("layers", "num_dense_layers"),
    base: { keys: ropeThetaKeys, fallback: 10000 },
    scale: required("route_scale"),
    wide: rootOfWidth,
  },
  supported: {
    ...settings,
    num_dense_layers: beforeFull("num_dense_layers"),
    global_attn_every_n_layers: 4,
    score_func: "sigmoid",
    route_norm: true,
    n_group: 1,
    topk_group: 1,
  },
  names: {
    ...decoderNames,
    ...queryKeyNormNames,
    ...swigluNames("model.layers.*.mlp", "blocks.*.feed"),
    ...swigluNames("model.layers.*.mlp.experts.*", "blocks.*.feed.moe.experts.*"),
    ...swigluNames("model.layers.*.mlp.shared_experts", "blocks.*.feed.shared"),
    "model.layers.*.self_attn.gate_proj.weight": "blocks.*.attention.gate.weight",
    "model.layers.*.post_attention_layernorm.weight": "blocks.*.after1.weight",
    "model.layers.*.pre_mlp_layernorm.weight": "blocks.*.norm2.weight",
    "model.layers.*.post_mlp_layernorm.weight": "blocks.*.after2.weight",
    "model.layers.*.mlp.router.gate.weight": "blocks.*.feed.moe.gate.weight",
    "model.layers.*.mlp.expert_bias": "blocks.*.feed.moe.gate.bias",
  },
};
