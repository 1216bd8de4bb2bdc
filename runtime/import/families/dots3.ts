// dots3 Note: latent attention, to keys that an indexer chooses or within a window, each kind with sizes of its own; mixtures.
import { type ConfigValue, type Family, type Json, lookup } from "../family.ts";
import { deepseekV32 } from "./deepseek.ts";
import {
  denseOrSparse,
  mixtureHeader,
  nearAndFar,
  required,
  ropeOf,
  stackedExpertNames,
  wordOfEach,
} from "./shared.ts";

const near = "sliding_attention";
/** As released, blocks with a window have their sizes under keys of their own, and those with an indexer are called full. */
const isReleased = (config: Json): boolean => (config["per_layer_config"] ?? null) === null;
const seesAll = (i: number): boolean => i < 2 || i % 4 === 1;
const written = wordOfEach("layer_types", ["indexed_attention", near], (i) =>
  seesAll(i) ? "indexed_attention" : near,
);
const released = wordOfEach("layer_types", ["full_attention", "indexed_attention", near], (i) =>
  seesAll(i) ? "full_attention" : near,
);
const typesOf = (config: Json): typeof written => (isReleased(config) ? released : written);
const attentionOf = (config: Json): string[] =>
  (typesOf(config).of(config) ?? []).map((type) => (type === near ? near : "full_attention"));

const feedsOf = ({ first_k_dense_replace: dense = 1, moe_layer_freq: every = 1 }: Json): typeof written => {
  const isMixture = (i: number): boolean => (Array.isArray(every) ? Boolean(every[i]) : i % Number(every) === 0);
  return denseOrSparse((i) => i < Number(dense) || !isMixture(i));
};

/** A size of all blocks of one kind. `own`: what stands for it where no block has another. */
const sizeOf = (kind: string, key: string, own: (config: Json) => unknown): ConfigValue => ({
  keys: [key],
  from: (config) => {
    const of = (i: number): unknown => lookup(config, `per_layer_config.${i}.${key}`) ?? own(config);
    const sizes = new Set(attentionOf(config).flatMap((type, i) => (type === kind ? [of(i)] : [])));
    const [size = own(config)] = sizes;
    return sizes.size < 2 && typeof size === "number" ? size : undefined;
  },
  must: "a whole number, the same in all layers with a window, or in all others",
});
const far = (key: string): ConfigValue => sizeOf("full_attention", key, (config) => config[key]);
const windowed = (key: string, usual: (config: Json) => number): ConfigValue =>
  sizeOf(near, key, (config) => (isReleased(config) ? (config[`swa_${key}`] ?? usual(config)) : config[key]));
const turning = ({ swa_head_dim: width = 256, swa_qk_nope_head_dim: other = 192 }: Json): number =>
  Number(width) - Number(other);
/** Hidden units of all shared experts. */
const shared: ConfigValue = {
  keys: ["shared_experts_intermediate_size", "moe_shared_expert_intermediate_size"],
  from: (config) => {
    const own = config["shared_experts_intermediate_size"] ?? config["moe_shared_expert_intermediate_size"] ?? 1536;
    return typeof own === "number" ? own * Number(config["n_shared_experts"] ?? 1) : undefined;
  },
  must: "a whole number",
};

const ropeKinds = ["indexed_attention", near];
export const dots3Note: Family = {
  type: "dots3_note_text",
  otherTypes: ["dots3_note"], // as released the text model's settings are not within
  model: "Dots3Note",
  file: "sparse",
  header: {
    ...mixtureHeader,
    F: required("intermediate_size"),
    H: required("moe_intermediate_size"),
    S: shared,
    Heads: far("num_attention_heads"),
    Q: far("q_lora_rank"),
    R: far("kv_lora_rank"),
    A: far("qk_nope_head_dim"),
    P: far("qk_rope_head_dim"),
    C: far("v_head_dim"),
    NearHeads: windowed("num_attention_heads", () => 64),
    NearQ: windowed("q_lora_rank", () => 1024),
    NearR: windowed("kv_lora_rank", () => 1024),
    NearA: windowed("qk_nope_head_dim", () => 192),
    NearP: windowed("qk_rope_head_dim", turning),
    NearC: windowed("v_head_dim", () => 128),
    E: required("n_routed_experts", "num_local_experts"),
    G: { keys: ["n_group"], fallback: 1 },
    Open: { keys: ["topk_group"], fallback: 1 },
    Top: required("index_topk"),
    IndexHeads: required("index_n_heads"),
    IndexWidth: required("index_head_dim"),
    base: { keys: [ropeOf("indexed_attention", "rope_theta"), "rope_theta"], fallback: 8e7 },
    near_base: { keys: [ropeOf(near, "rope_theta"), "swa_rope_theta"], fallback: 50000 },
    window: { keys: ["sliding_window", "sliding_window_size"], kind: "size", fallback: 512 },
    scale: { keys: ["routed_scaling_factor"], fallback: 1 },
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
  },
  supported: {
    hidden_act: "silu",
    attention_bias: false,
    mlp_bias: false,
    use_dsa: true,
    use_sliding_window: true,
    layer_types: (config: Json) => typesOf(config).only(config),
    mlp_layer_types: (config: Json) => feedsOf(config).only(config),
    ...Object.fromEntries(ropeKinds.map((kind) => [ropeOf(kind, "rope_type"), "default"])),
  },
  ropeKinds,
  names: {
    ...deepseekV32.names,
    ...stackedExpertNames("model.layers.*.mlp.experts", "blocks.*.feed.moe.experts"),
    "model.layers.*.self_attn.k_rope_only_layernorm.weight": "blocks.*.attention.turned_norm.weight",
    "model.layers.*.self_attn.g_proj.weight": "blocks.*.attention.gate.weight",
  },
  ignoredPrefixes: (count) => [
    `model.layers.${count("num_hidden_layers")}.`,
    "model.mtp.",
    "vision_encoder.",
    "audio_encoder.",
    "audio_adapter.",
  ],
  blocks: {
    model: "IndexedModel",
    kinds: { Near: "Dots3Near", NearMixture: "Dots3NearMixture", Far: "Dots3Far", FarMixture: "Dots3FarMixture" },
    order: (config) => nearAndFar(attentionOf(config), (i) => feedsOf(config).of(config)?.[i] !== "sparse"),
  },
};
