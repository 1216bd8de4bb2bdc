// Kimi Linear: Kimi Delta Attention beside latent attention without positions, dense layers beside mixtures.
import { isJsonObject } from "../../storage/json.ts";
import type { ConfigValue, Family, Json } from "../family.ts";
import { latentNames } from "./deepseek.ts";
import {
  blocksAfterLast,
  defaultSettings,
  denseBefore,
  denseHeader,
  mixtureNames,
  required,
  requiredAs,
  ropeThetaKeys,
  sharedExpertNames,
  swigluNames,
  unbiasedSettings,
  wholeOr,
  wordOfEach,
} from "./shared.ts";

/** What the released config.json says of Kimi Delta Attention; an empty object if nothing. */
export const linearAttention = ({ linear_attn_config: own }: Json): Json => (own ?? {}) as Json;
/** The places of blocks of both kinds, from 1 on, if both are said. */
function placesIn(
  config: Json,
): { readonly full: readonly unknown[]; readonly linear: readonly unknown[] } | undefined {
  const { full_attn_layers: full, kda_layers: linear } = linearAttention(config);
  return Array.isArray(full) && Array.isArray(linear) ? { full, linear } : undefined;
}
/** The kind of attention of each block: `isFull`, where no list says it. */
const attentionBy = (isFull: (config: Json) => (i: number) => boolean) => (config: Json) =>
  wordOfEach("layer_types", ["linear_attention", "full_attention"], (i) =>
    isFull(config)(i) ? "full_attention" : "linear_attention",
  );
const attentionOf = attentionBy((config) => {
  const places = placesIn(config);
  return (i) => (places ? places.full.includes(i + 1) : i > 0 && i % 4 === 0);
});
const isListed = (config: Json): boolean =>
  attentionOf(config).of(config) !== undefined && (config["layer_types"] ?? null) !== null;
/** The only accepted number of dense blocks before the others. */
const denseCount =
  (usual: number) =>
  ({ first_k_dense_replace: said }: Json): unknown =>
    wholeOr(said, usual) ?? "a whole number of at least 0";
const feedOf = denseBefore(1);
/** The only accepted places: each block in one list. */
function onlyPlaces(config: Json): unknown {
  const own = config["linear_attn_config"];
  const { full = [], linear = [] } = placesIn(config) ?? {};
  const each = Array.from({ length: Number(config["num_hidden_layers"]) }, (_, i) => i + 1);
  const apart =
    full.length + linear.length === each.length && each.every((i) => full.includes(i) !== linear.includes(i));
  const fits = isJsonObject(own) && (isListed(config) || !placesIn(config) || apart);
  return fits ? own : "that with each layer in one of full_attn_layers and kda_layers, from 1 on";
}

/** A number under the key of transformers, unless the released config.json has it within. */
export const either = (theirs: string, released: string, fallback: number): ConfigValue => ({
  keys: [`linear_attn_config.${released}`, theirs],
  fallback,
});

/** No positions turn anything. */
export const { base: _, ...still } = denseHeader;

export const kimiLinear: Family = {
  type: "kimi_linear",
  model: "KimiLinear",
  file: "kimi_linear",
  header: {
    ...still,
    Context: required("model_max_length", "max_position_embeddings"),
    F: required("intermediate_size"),
    H: required("moe_intermediate_size"),
    E: required("num_experts", "num_local_experts"),
    K: required("num_experts_per_token", "num_experts_per_tok"),
    Shared: requiredAs("count", "num_shared_experts", "n_shared_experts"),
    G: { keys: ["num_expert_group", "n_group"], fallback: 1 },
    Open: { keys: ["topk_group"], fallback: 1 },
    Q: { keys: ["q_lora_rank"], fallback: 0, kind: "count" },
    R: required("kv_lora_rank"),
    A: required("qk_nope_head_dim"),
    P: required("qk_rope_head_dim"),
    C: required("v_head_dim"),
    DeltaHeads: either("linear_num_heads", "num_heads", 32),
    DeltaWidth: either("linear_head_dim", "head_dim", 128),
    Width: either("linear_conv_kernel_dim", "short_conv_kernel_size", 4),
    scale: required("routed_scaling_factor"),
    renormalised: { keys: ["moe_renormalize", "norm_topk_prob"], fallback: true },
  },
  supported: {
    hidden_act: defaultSettings["hidden_act"],
    attention_bias: false,
    mla_use_nope: true,
    moe_router_activation_func: "sigmoid",
    moe_layer_freq: 1,
    layer_types: (config: Json) => attentionOf(config).only(config),
    linear_attn_config: onlyPlaces,
    first_k_dense_replace: denseCount(1),
    mlp_layer_types: (config: Json) => feedOf(config).only(config),
  },
  names: {
    ...latentNames,
    ...Object.fromEntries(
      Object.entries(sharedExpertNames).map(([theirs, ours]) => [theirs.replace(".mlp.", ".block_sparse_moe."), ours]),
    ),
    ...swigluNames("model.layers.*.mlp", "blocks.*.feed"),
    "model.layers.*.block_sparse_moe.experts.*.w1.weight": "blocks.*.feed.moe.experts.*.gate.weight",
    "model.layers.*.block_sparse_moe.experts.*.w2.weight": "blocks.*.feed.moe.experts.*.down.weight",
    "model.layers.*.block_sparse_moe.experts.*.w3.weight": "blocks.*.feed.moe.experts.*.up.weight",
    // both kinds of attention have a q_proj and an o_proj
    "model.layers.*.self_attn.k_proj.weight": "blocks.*.attention.key.weight",
    "model.layers.*.self_attn.v_proj.weight": "blocks.*.attention.value.weight",
    "model.layers.*.self_attn.q_conv1d.weight": "blocks.*.attention.query_conv",
    "model.layers.*.self_attn.k_conv1d.weight": "blocks.*.attention.key_conv",
    "model.layers.*.self_attn.v_conv1d.weight": "blocks.*.attention.value_conv",
    "model.layers.*.self_attn.f_a_proj.weight": "blocks.*.attention.fade_down.weight",
    "model.layers.*.self_attn.f_b_proj.weight": "blocks.*.attention.fade_up.weight",
    "model.layers.*.self_attn.A_log": { row: "blocks.*.attention.rate" },
    "model.layers.*.self_attn.dt_bias": "blocks.*.attention.start",
    "model.layers.*.self_attn.b_proj.weight": "blocks.*.attention.beta.weight",
    "model.layers.*.self_attn.g_a_proj.weight": "blocks.*.attention.gate_down.weight",
    "model.layers.*.self_attn.g_b_proj.weight": "blocks.*.attention.gate_up.weight",
    "model.layers.*.self_attn.o_norm.weight": "blocks.*.attention.norm",
  },
  ignoredPrefixes: blocksAfterLast,
  blocks: {
    kinds: {
      Delta: "KimiDelta",
      DeltaMixture: "KimiDeltaMixture",
      Latent: "KimiLatent",
      LatentMixture: "KimiLatentMixture",
    },
    order: (config) => orderOf(attentionOf(config).of(config), feedOf(config).of(config)),
  },
};
function orderOf(attention: readonly unknown[] = [], feed: readonly unknown[] = []): string[] {
  return attention.map(
    (type, i) => `${type === "full_attention" ? "Latent" : "Delta"}${feed[i] === "sparse" ? "Mixture" : ""}`,
  );
}

/** Ling 3: each so many blocks have latent attention, if no list says which. */
const groupIn = ({ layer_group_size: said }: Json): number | undefined => wholeOr(said, 6) || undefined;
const groupedAttention = attentionBy((config) => (i) => (i + 1) % (groupIn(config) ?? 1) === 0);
const ling3Feed = denseBefore(2);
/** What is left of a feature in a row is at least the exponential of the bound; without one, 0. */
const boundOf: ConfigValue = {
  keys: ["kda_lower_bound"],
  kind: "number",
  from: ({ kda_safe_gate: safe = true, kda_lower_bound: bound }) => {
    if (safe === false) return 0;
    const least = bound ?? -5;
    return typeof least === "number" && least < 0 ? -least : undefined;
  },
  must: "a number below 0",
};
/** As transformers writes it, and with the names that it is released with. */
const ling3Names = (name: string): string[] => [
  name,
  name
    .replace(".self_attn.o_proj.", ".attention.dense.")
    .replace(".self_attn.", ".attention.")
    .replace(".e_score_correction_bias", ".expert_bias")
    .replace("model.embed_tokens.", "model.word_embeddings."),
];
export const ling3: Family = {
  ...kimiLinear,
  type: "bailing_hybrid",
  model: "Ling3",
  file: "ling",
  header: {
    ...kimiLinear.header,
    base: { keys: ropeThetaKeys, fallback: 6000000 },
    G: { keys: ["num_expert_group", "n_group"], fallback: 8 },
    Open: { keys: ["topk_group"], fallback: 4 },
    DeltaHeads: { keys: ["linear_num_heads", "num_attention_heads"], fallback: 32 },
    DeltaWidth: { keys: ["linear_head_dim", "head_dim"], fallback: 128 },
    Width: { keys: ["linear_conv_kernel_dim", "short_conv_kernel_size"], fallback: 4 },
    most: boundOf,
  },
  supported: {
    ...unbiasedSettings,
    moe_router_activation_func: "sigmoid",
    score_function: "sigmoid",
    kda_safe_gate: ({ kda_safe_gate: safe }: Json) => safe === true,
    layer_types: (config: Json) => groupedAttention(config).only(config),
    layer_group_size: (config: Json) =>
      isListed(config) || groupIn(config) ? config["layer_group_size"] : "a whole number of at least 1",
    first_k_dense_replace: denseCount(2),
    mlp_layer_types: (config: Json) => ling3Feed(config).only(config),
  },
  names: Object.fromEntries(
    Object.entries({
      ...kimiLinear.names,
      ...mixtureNames("feed.moe"),
      "model.layers.*.mlp.gate.e_score_correction_bias": "blocks.*.feed.moe.gate.bias",
      ...swigluNames("model.layers.*.mlp.shared_experts", "blocks.*.feed.shared"),
      "model.layers.*.self_attn.f_proj.weight": "blocks.*.attention.fade.weight",
      "model.layers.*.self_attn.g_proj.weight": "blocks.*.attention.gate.weight",
    }).flatMap(([theirs, ours]) => ling3Names(theirs).map((name) => [name, ours])),
  ),
  blocks: {
    kinds: {
      Delta: "LingDelta",
      DeltaMixture: "LingDeltaMixture",
      Latent: "LingLatent",
      LatentMixture: "LingLatentMixture",
    },
    order: (config) => orderOf(groupedAttention(config).of(config), ling3Feed(config).of(config)),
  },
};
