// Qwen 4: Qwen3.5's blocks on streams that are weighed by gates, where attention is to blocks of keys that an indexer chooses.
import { type ConfigValue, type Family, type Json, lookup } from "../family.ts";
import { blocksWithNgrams, ngramHeader, ngramNames, ngramSettings, requireParts, tablesOf } from "./ngrams.ts";
import { qwen35Moe } from "./qwen.ts";
import { ropeThetaKeys, unbiasedSettings, wholeOr, wordOfEach } from "./shared.ts";

/** A full attention's indexer is not said by its name: transformers reads the first two as one. */
const kinds = { full_attention: "Choosing", indexed_attention: "Choosing", linear_attention: "Delta" } as const;
const everyIn = (config: Json): number | undefined => wholeOr(config["full_attention_interval"], 4) || undefined;
const types = (config: Json): ReturnType<typeof wordOfEach> => {
  const every = everyIn(config) ?? 1;
  return wordOfEach("layer_types", Object.keys(kinds), (i) =>
    (i + 1) % every === 0 ? "indexed_attention" : "linear_attention",
  );
};
const order = (config: Json): string[] => {
  const withNgrams = blocksWithNgrams(config) ?? [];
  return (types(config).of(config) ?? []).map((type, i) => {
    const kind = kinds[type as keyof typeof kinds];
    return withNgrams.includes(i + 1) ? ngramKind(withNgrams.indexOf(i + 1)) : kind;
  });
};
/** Each has a table of its own size. */
const ngramKind = (i: number): string => `Ngram${i + 1}`;
/** Of blocks with n-grams, which must have no attention. */
const layersWithNgrams = (config: Json): unknown => {
  const list = blocksWithNgrams(config);
  const all = types(config).of(config) ?? [];
  const fits = list?.every((i) => all[i - 1] === "linear_attention") ?? false;
  return fits ? config["ple_layer_ids"] : "a list of blocks, counted from 1, whose layer_types are linear_attention";
};

/** A number of the indexer, which a model without one need not say. */
const ofIndexer = (key: string): ConfigValue => ({
  keys: [key],
  kind: "size",
  from: (config) => {
    const is = config[key] ?? null;
    if (is === null && !order(config).includes("Choosing")) return null;
    return typeof is === "number" ? is : undefined;
  },
  must: "a whole number of at least 1, for blocks with attention have an indexer",
});
/** How many blocks of keys a query sees. */
const budget: ConfigValue = {
  ...ofIndexer("indexer_budget"),
  from: (config) => {
    const { indexer_budget: all, indexer_compress_ratio: size } = config;
    if ((all ?? null) === null && !order(config).includes("Choosing")) return null;
    return typeof all === "number" && typeof size === "number" && all % size === 0 ? all / size : undefined;
  },
  must: "a multiple of indexer_compress_ratio",
};

/** How streams become a row, before a layer or in the end. */
const streamNames = (theirs: string, ours: string): Family["names"] => ({
  [`${theirs}.hc_norm.weight`]: `${ours}.norm.weight`,
  [`${theirs}.input_mix_weight_down.weight`]: `${ours}.down.weight`,
  [`${theirs}.input_mix_weight_up.weight`]: `${ours}.up.weight`,
  [`${theirs}.block_inject_weight.weight`]: `${ours}.inject.weight`,
});
const indexer = "model.layers.*.self_attn.indexer";

export const qwen4: Family = {
  ...qwen35Moe,
  type: "qwen4_exp_text",
  model: "Qwen4Blocks",
  file: "qwen4",
  header: {
    ...qwen35Moe.header,
    N: { keys: ["hc_count"], fallback: 4 },
    Low: { keys: ["hc_lowrank"], fallback: 320 },
    Size: ofIndexer("indexer_compress_ratio"),
    Top: budget,
    IndexHeads: ofIndexer("indexer_n_heads"),
    IndexWidth: ofIndexer("indexer_head_dim"),
    indexed: {
      keys: ["layer_types"],
      kind: "boolean",
      from: (config) => types(config).of(config) && order(config).includes("Choosing"),
      must: `a list of ${Object.keys(kinds).join(", ")}, one for each layer`,
    },
    ...ngramHeader,
    base: { keys: ropeThetaKeys, fallback: 10000 },
    part: { keys: ["rope_parameters.partial_rotary_factor", "partial_rotary_factor"], fallback: 1 },
    E: { keys: ["num_experts", "num_local_experts"], fallback: 512 },
    K: { keys: ["num_experts_per_tok"], fallback: 10 },
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
    bounded: {
      keys: ["output_gate_type"],
      kind: "boolean",
      from: ({ output_gate_type: type }) =>
        type === "sigmoid" ? true : (type ?? "silu") === "silu" ? false : undefined,
      must: '"sigmoid" or "silu"',
    },
  },
  supported: {
    ...unbiasedSettings,
    full_attention_interval: (config: Json) =>
      lookup(config, "layer_types") === undefined
        ? (everyIn(config) ?? "a whole number of at least 1")
        : config["full_attention_interval"],
    indexer_kv_heads: 1,
    ple_layer_ids: layersWithNgrams,
    ...ngramSettings,
  },
  names: {
    ...qwen35Moe.names,
    ...ngramNames,
    ...streamNames("model.layers.*.attn_hyper_connection", "blocks.*.streams1"),
    ...streamNames("model.layers.*.mlp_hyper_connection", "blocks.*.streams2"),
    ...streamNames("model.hyper_connection_mixer", "streams"),
    [`${indexer}.index_qk_proj.weight`]: {
      runs: ["blocks.*.attention.indexer.query.weight", "blocks.*.attention.indexer.row.weight"],
      transposed: true,
      shares: ({ IndexHeads }) => [Number(IndexHeads), 1],
    },
    [`${indexer}.q_layernorm.weight`]: "blocks.*.attention.indexer.query_norm.weight",
    [`${indexer}.k_layernorm.weight`]: "blocks.*.attention.indexer.row_norm.weight",
  },
  requireNumbers: requireParts,
  blocks: {
    model: "Qwen4Blocks",
    kinds: (config) => ({
      Choosing: "Qwen4Choosing",
      Delta: "Qwen4Delta",
      ...Object.fromEntries(tablesOf(config).map((gives, i) => [ngramKind(i), { layer: "Qwen4NgramDelta", gives }])),
    }),
    order,
  },
};
