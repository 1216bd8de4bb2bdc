// DeepSeek-V4: compressed attention of three kinds, hyper-connections, and mixtures whose experts a table may choose.
import { type ConfigValue, type Family, type Json, type Kind, lookupFirst, withNames } from "../family.ts";
import { requiredAs, ropeOf, wholeOr } from "./shared.ts";

const layersOf = (config: Json): number => Number(config["num_hidden_layers"]);
/** By their words in `layer_types`; by their numbers in `compress_ratios`, as released. */
const kinds = new Map<unknown, string>([
  ["sliding_attention", "Near"],
  ["compressed_sparse_attention", "Sparse"],
  ["heavily_compressed_attention", "Heavy"],
  [0, "Near"],
  [4, "Sparse"],
  [128, "Heavy"],
]);
const feeds = new Map<unknown, string>([
  ["hash_moe", "Hashed"],
  ["moe", "Mixture"],
]);
/** The kind of each block in a list, which may go on for blocks that predict the token after the next; undefined if it is no such list. */
function kindsIn(list: unknown, words: ReadonlyMap<unknown, string>, layers: number): string[] | undefined {
  if (!Array.isArray(list) || list.length < layers) return undefined;
  const found = list.slice(0, layers).flatMap((one) => words.get(one) ?? []);
  return found.length === layers ? found : undefined;
}
/** What transformers has where nothing is said. */
const usualKind = (i: number): string => (i > 2 && i % 2 === 1 ? "Sparse" : "Heavy");
function attentionOf(config: Json): string[] | undefined {
  const list = config["layer_types"] ?? config["compress_ratios"] ?? null;
  if (list === null) return Array.from({ length: layersOf(config) }, (_, i) => usualKind(i));
  return kindsIn(list, kinds, layersOf(config));
}
function feedOf(config: Json): string[] | undefined {
  const { mlp_layer_types: types = null, num_hash_layers: said } = config;
  if (types !== null) return kindsIn(types, feeds, layersOf(config));
  const hashed = wholeOr(said, 3);
  if (hashed === undefined) return undefined;
  return Array.from({ length: layersOf(config) }, (_, i) => (i < hashed ? "Hashed" : "Mixture"));
}
/** The only accepted value of a key: a list that says what each block is. */
const listed =
  (key: string, list: (config: Json) => string[] | undefined, must: string) =>
  (config: Json): unknown =>
    list(config) ? config[key] : must;
const words = (of: ReadonlyMap<unknown, string>): string => [...of.keys()].join(", ");
const ofKinds = (key: string): ReturnType<typeof listed> =>
  listed(key, attentionOf, `a list, for each layer one of ${words(kinds)}`);

/** A number of RoPE for blocks that see windows: of their own part, or of what is said for all. */
const farKeys = (key: string): string[] =>
  ["rope_parameters.compress", "rope_parameters", "rope_scaling"].map((part) => `${part}.${key}`);
const far = (config: Json, key: string): unknown => lookupFirst(config, farKeys(key));
const farType = (config: Json): unknown => far(config, "rope_type") ?? far(config, "type") ?? "default";
const yarn = (key: string, usual?: number): ConfigValue => ({
  keys: farKeys(key),
  kind: "number",
  from: (config) => {
    if (farType(config) !== "yarn") return null;
    const is = far(config, key) ?? usual;
    return typeof is === "number" ? is : undefined;
  },
  must: "a number",
});
const ropeKinds = ["main", "compress"];
const partKeys = ropeKinds.map((kind) => ropeOf(kind, "partial_rotary_factor"));
/** The part of a head that turns. */
function turningPart(config: Json): unknown {
  const { partial_rotary_factor: part, qk_rope_head_dim: width, head_dim: all = 512 } = config;
  return lookupFirst(config, partKeys) ?? part ?? (typeof width === "number" ? width / Number(all) : 64 / 512);
}
const turning: ConfigValue = {
  keys: ["rope_parameters.main.partial_rotary_factor", "partial_rotary_factor"],
  from: (config) => {
    const part = turningPart(config);
    return typeof part === "number" ? Math.trunc(Number(config["head_dim"] ?? 512) * part) : undefined;
  },
  must: "a number",
};
const usual = (key: string, fallback: number, kind?: Kind): ConfigValue => ({
  keys: [key],
  fallback,
  ...(kind ? { kind } : {}),
});
const rateOf = (kind: string, old: string, fallback: number): ConfigValue => ({
  keys: [old, `compress_rates.${kind}`],
  fallback,
});

/** A block's weights, as transformers writes them; released ones have no `model.` before. */
const blockNames: Family["names"] = {
  "attn_norm.weight": "norm1.weight",
  "ffn_norm.weight": "norm2.weight",
  "attn.attn_sink": "attention.sinks",
  "attn.wq_a.weight": "attention.query_down.weight",
  "attn.q_norm.weight": "attention.query_norm.weight",
  "attn.wq_b.weight": "attention.query_up.weight",
  "attn.wkv.weight": "attention.row.weight",
  "attn.norm.weight": "attention.norm.weight",
  "attn.kv_norm.weight": "attention.norm.weight",
  "attn.wo_a.weight": { runs: ["attention.mix"], transposed: true, stacked: ({ OutGroups }) => Number(OutGroups) },
  "attn.wo_b.weight": "attention.output.weight",
  ...compressorNames("attn.compressor", "attention.compressor"),
  ...compressorNames("attn.indexer.compressor", "attention.indexer.compressor"),
  "attn.indexer.wq_b.weight": "attention.indexer.query.weight",
  "attn.indexer.weights_proj.weight": "attention.indexer.weight",
  ...connectionNames("hc_attn", "streams1"),
  ...connectionNames("hc_ffn", "streams2"),
  "ffn.gate.weight": "feed.moe.gate.weight",
  "ffn.gate.bias": "feed.moe.gate.bias",
  "ffn.gate.tid2eid": ["feed.moe.gate.table"],
  ...expertNames("ffn.experts.*", "feed.moe.experts.*"),
  ...expertNames("ffn.shared_experts", "feed.shared"),
};
function compressorNames(theirs: string, ours: string): Family["names"] {
  return {
    [`${theirs}.wkv.weight`]: `${ours}.row.weight`,
    [`${theirs}.wgate.weight`]: `${ours}.gate.weight`,
    [`${theirs}.ape`]: [`${ours}.place`],
    [`${theirs}.norm.weight`]: `${ours}.norm.weight`,
  };
}
export function connectionNames(theirs: string, ours: string): Family["names"] {
  return {
    [`${theirs}_fn`]: `${ours}.weight`,
    [`${theirs}_base`]: `${ours}.bias`,
    [`${theirs}_scale`]: `${ours}.scale`,
  };
}
function expertNames(theirs: string, ours: string): Family["names"] {
  return {
    [`${theirs}.w1.weight`]: `${ours}.gate.weight`,
    [`${theirs}.w2.weight`]: `${ours}.down.weight`,
    [`${theirs}.w3.weight`]: `${ours}.up.weight`,
  };
}
const placed = (name: string): string => `blocks.*.${name}`;

export const deepseekV4: Family = {
  type: "deepseek_v4",
  model: "DeepSeekV4",
  file: "deepseek_v4",
  header: {
    V: usual("vocab_size", 129280),
    D: usual("hidden_size", 4096),
    L: requiredAs("layers", "num_hidden_layers"),
    N: usual("hc_mult", 4),
    H: { keys: ["moe_intermediate_size", "intermediate_size"], fallback: 2048 },
    Heads: usual("num_attention_heads", 64),
    E: { keys: ["n_routed_experts", "num_local_experts"], fallback: 256 },
    K: usual("num_experts_per_tok", 6),
    Q: usual("q_lora_rank", 1024),
    A: usual("head_dim", 512),
    P: turning,
    OutGroups: usual("o_groups", 8),
    O: usual("o_lora_rank", 1024),
    window: usual("sliding_window", 128, "size"),
    SparseRate: rateOf("compressed_sparse_attention", "compress_rate_csa", 4),
    HeavyRate: rateOf("heavily_compressed_attention", "compress_rate_hca", 128),
    Top: usual("index_topk", 512),
    IndexHeads: usual("index_n_heads", 64),
    IndexWidth: usual("index_head_dim", 128),
    Context: usual("max_position_embeddings", 1048576),
    base: { keys: ["rope_parameters.main.rope_theta", "rope_theta"], fallback: 10000 },
    far_base: { keys: ["rope_parameters.compress.rope_theta", "compress_rope_theta"], fallback: 160000 },
    stretch: yarn("factor"),
    original: yarn("original_max_position_embeddings"),
    fast: yarn("beta_fast", 32),
    slow: yarn("beta_slow", 1),
    eps: usual("rms_norm_eps", 1e-6),
    scale: usual("routed_scaling_factor", 1.5),
    limit: usual("swiglu_limit", 10),
    Rounds: usual("hc_sinkhorn_iters", 20),
    hyper_eps: usual("hc_eps", 1e-6),
    indexed: {
      keys: ["layer_types", "compress_ratios"],
      kind: "boolean",
      from: (config) => attentionOf(config)?.includes("Sparse"),
      must: `a list, for each layer one of ${words(kinds)}`,
    },
    std: { keys: ["initializer_range"], fallback: null },
  },
  supported: {
    hidden_act: "silu",
    attention_bias: false,
    mlp_bias: false,
    num_key_value_heads: 1,
    n_shared_experts: 1,
    scoring_func: "sqrtsoftplus",
    topk_method: "noaux_tc",
    norm_topk_prob: true,
    layer_types: ofKinds("layer_types"),
    compress_ratios: ofKinds("compress_ratios"),
    mlp_layer_types: listed("mlp_layer_types", feedOf, `a list, for each layer one of ${words(feeds)}`),
    num_hash_layers: listed("num_hash_layers", feedOf, "a whole number of at least 0"),
    "rope_parameters.main.rope_type": "default",
    ...Object.fromEntries(
      ["rope_type", "type"]
        .flatMap(farKeys)
        .map((key) => [key, (c: Json) => (farType(c) === "yarn" ? "yarn" : "default")]),
    ),
    ...Object.fromEntries(farKeys("attention_factor").map((key) => [key, 1])),
    ...Object.fromEntries(farKeys("truncate").map((key) => [key, true])),
    ...Object.fromEntries(partKeys.map((key) => [key, turningPart])),
  },
  ropeKinds,
  names: {
    ...Object.fromEntries(
      ["model.", ""].flatMap((before) => [
        ...Object.entries(blockNames).map(([theirs, ours]) => [`${before}layers.*.${theirs}`, withNames(ours, placed)]),
        [`${before}norm.weight`, "norm.weight"],
      ]),
    ),
    "model.embed_tokens.weight": ["embed.weight"],
    "embed.weight": ["embed.weight"],
    "lm_head.weight": "head.weight",
    "head.weight": "head.weight",
    ...connectionNames("model.hc_head.hc", "streams"),
    ...connectionNames("hc_head", "streams"),
  },
  ignoredPrefixes: () => ["mtp.", "model.mtp."],
  blocks: {
    model: "HyperModel",
    kinds: Object.fromEntries(
      ["Near", "Sparse", "Heavy"].flatMap((kind) =>
        ["Hashed", "Mixture"].map((feed) => [kind + feed, `V4${kind}${feed}`]),
      ),
    ),
    order: (config) => {
      const feed = feedOf(config);
      return (attentionOf(config) ?? []).map((kind, i) => kind + (feed?.[i] ?? "Mixture"));
    },
  },
};
