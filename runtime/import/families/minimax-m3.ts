// MiniMax-M3's text model: blocks of keys that an indexer chooses, and clamped experts beside a shared one.
import { type ConfigValue, type Family, type Json, lookup, lookupFirst } from "../family.ts";
import {
  decoderNames,
  mixtureHeader,
  queryKeyNormNames,
  required,
  ropeThetaKeys,
  ropeTypeIs,
  sharedExpertNames,
  stackedExpertNames,
  swigluNames,
} from "./shared.ts";

/** A list with a word or a number for each block; undefined if it is none. */
function listOf(
  config: Json,
  keys: readonly string[],
  usual: string,
  words: ReadonlyMap<unknown, string>,
): string[] | undefined {
  const layers = Number(config["num_hidden_layers"]);
  const list = lookupFirst(config, keys) ?? Array(layers).fill(usual);
  if (!Array.isArray(list) || list.length !== layers) return undefined;
  const found = list.flatMap((one) => words.get(one) ?? []);
  return found.length === layers ? found : undefined;
}
const attentionKeys = ["layer_types", "sparse_attention_config.sparse_attention_freq"];
const attentionWords = new Map<unknown, string>([
  ["full_attention", "Full"],
  ["minimax_m3_sparse", "Sparse"],
  [0, "Full"],
  [1, "Sparse"],
]);
const feedKeys = ["mlp_layer_types", "moe_layer_freq"];
const feedWords = new Map<unknown, string>([
  ["dense", ""],
  ["sparse", "Mixture"],
  [0, ""],
  [1, "Mixture"],
]);
const attentionOf = (config: Json): string[] | undefined =>
  listOf(config, attentionKeys, "full_attention", attentionWords);
const feedOf = (config: Json): string[] | undefined => listOf(config, feedKeys, "sparse", feedWords);
/** The only accepted values of keys: lists of these words or numbers, one for each block. */
const listed = (
  keys: readonly string[],
  list: (config: Json) => string[] | undefined,
  words: ReadonlyMap<unknown, string>,
): Family["supported"] =>
  Object.fromEntries(
    keys.map((key) => [
      key,
      (config: Json) =>
        list(config) ? lookup(config, key) : `a list, for each layer one of ${[...words.keys()].join(", ")}`,
    ]),
  );
/** A number of the indexer, as released and as transformers writes it. */
const index = (released: string, key: string, fallback: number): ConfigValue => ({
  keys: [`sparse_attention_config.${released}`, key],
  fallback,
});
/** How much of a head turns: all, if no part is said; transformers does not read `rotary_dim`. */
const turning: ConfigValue = {
  keys: ["rope_parameters.partial_rotary_factor", "partial_rotary_factor"],
  from: (config) => {
    const part = lookup(config, "rope_parameters.partial_rotary_factor") ?? config["partial_rotary_factor"] ?? 1;
    return typeof part === "number" ? Math.trunc(Number(config["head_dim"] ?? 128) * part) : undefined;
  },
  must: "a number",
};

const feed = "model.layers.*.block_sparse_moe";
/** In the text model alone: gate and up in one matrix. */
const joined = (theirs: string, ours: string): Family["names"] => ({
  [`${theirs}.gate_up_proj.weight`]: { runs: [`${ours}.gate.weight`, `${ours}.up.weight`], transposed: true },
});
export const minimaxM3Text: Family = {
  type: "minimax_m3_vl_text",
  model: "MiniMaxM3",
  file: "minimax_m3",
  header: {
    ...mixtureHeader,
    H: required("intermediate_size"),
    F: { keys: ["shared_intermediate_size"], fallback: 3072 },
    Wide: { keys: ["dense_intermediate_size"], fallback: 12288 },
    Groups: required("num_key_value_heads"),
    A: { keys: ["head_dim"], fallback: 128 },
    P: turning,
    E: required("num_local_experts", "num_experts"),
    base: { keys: ropeThetaKeys, fallback: 5000000 },
    Top: index("sparse_topk_blocks", "index_topk_blocks", 16),
    Size: index("sparse_block_size", "index_block_size", 128),
    Local: { ...index("sparse_local_block", "index_local_blocks", 1), kind: "count" },
    IndexWidth: index("sparse_index_dim", "index_head_dim", 128),
    indexed: {
      keys: attentionKeys,
      kind: "boolean",
      from: (config) => attentionOf(config)?.includes("Sparse"),
      must: `a list, for each layer one of ${[...attentionWords.keys()].join(", ")}`,
    },
    scale: { keys: ["routed_scaling_factor"], fallback: 2 },
    limit: { keys: ["swiglu_limit"], fallback: 7 },
    alpha: { keys: ["swiglu_alpha"], fallback: 1.702 },
  },
  supported: {
    hidden_act: ({ hidden_act: act }: Json) => (act === "swigluoai" ? act : "silu"),
    ...ropeTypeIs("default"),
    ...listed(attentionKeys, attentionOf, attentionWords),
    ...listed(feedKeys, feedOf, feedWords),
    index_n_heads: ({ num_key_value_heads: groups }: Json) => groups,
    "sparse_attention_config.use_sparse_attention": true,
    "sparse_attention_config.sparse_score_type": "max",
    "sparse_attention_config.sparse_init_block": 0,
    "sparse_attention_config.sparse_num_index_heads": ({ num_key_value_heads: groups }: Json) => groups,
    scoring_func: "sigmoid",
    use_qk_norm: true,
    qk_norm_type: "per_head",
    use_gemma_norm: true,
    use_routing_bias: true,
    n_shared_experts: 1,
    attention_output_gate: false,
  },
  names: {
    ...decoderNames,
    ...queryKeyNormNames,
    "model.layers.*.self_attn.index_q_proj.weight": "blocks.*.attention.indexer.query.weight",
    "model.layers.*.self_attn.index_k_proj.weight": "blocks.*.attention.indexer.row.weight",
    "model.layers.*.self_attn.index_q_norm.weight": "blocks.*.attention.indexer.query_norm.weight",
    "model.layers.*.self_attn.index_k_norm.weight": "blocks.*.attention.indexer.row_norm.weight",
    "model.layers.*.self_attn.indexer.q_proj.weight": "blocks.*.attention.indexer.query.weight",
    "model.layers.*.self_attn.indexer.k_proj.weight": "blocks.*.attention.indexer.row.weight",
    "model.layers.*.self_attn.indexer.q_norm.weight": "blocks.*.attention.indexer.query_norm.weight",
    "model.layers.*.self_attn.indexer.k_norm.weight": "blocks.*.attention.indexer.row_norm.weight",
    ...sharedExpertNames,
    ...stackedExpertNames("model.layers.*.mlp.experts", "blocks.*.feed.moe.experts"),
    ...joined("model.layers.*.mlp", "blocks.*.feed"),
    ...joined("model.layers.*.mlp.shared_experts", "blocks.*.feed.shared"),
    [`${feed}.gate.weight`]: "blocks.*.feed.moe.gate.weight",
    [`${feed}.e_score_correction_bias`]: "blocks.*.feed.moe.gate.bias",
    [`${feed}.experts.*.w1.weight`]: "blocks.*.feed.moe.experts.*.gate.weight",
    [`${feed}.experts.*.w2.weight`]: "blocks.*.feed.moe.experts.*.down.weight",
    [`${feed}.experts.*.w3.weight`]: "blocks.*.feed.moe.experts.*.up.weight",
    ...swigluNames(`${feed}.shared_experts`, "blocks.*.feed.shared"),
  },
  ignoredPrefixes: () => ["mtp.", "model.mtp."],
  blocks: {
    model: "MiniMaxM3Blocks",
    kinds: {
      Full: "MiniMaxM3Full",
      FullMixture: "MiniMaxM3FullMixture",
      Sparse: "MiniMaxM3Sparse",
      SparseMixture: "MiniMaxM3SparseMixture",
    },
    order: (config) => {
      const feeds = feedOf(config);
      return (attentionOf(config) ?? []).map((kind, i) => kind + (feeds?.[i] ?? ""));
    },
  },
};
