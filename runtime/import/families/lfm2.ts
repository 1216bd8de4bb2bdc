// LFM2 and LFM2-MoE: short convolutions, and attention in every third or fourth block.
import { type ConfigValue, type Family, type Json, lookup } from "../family.ts";
import {
  attentionNames,
  defaultSettings,
  denseHeader,
  mixtureHeader,
  outerNames,
  required,
  requiredAs,
  ropeThetaKeys,
} from "./shared.ts";

const [convolution, attention] = ["conv", "full_attention"];
const isTextList = (x: unknown): x is string[] => Array.isArray(x) && x.every((type) => typeof type === "string");
/** The kind of each block; older files of LFM2 say only which blocks have attention. Undefined: neither is said. */
function typesOf({
  layer_types: types,
  full_attn_idxs: places,
  num_hidden_layers: layers,
}: Json): string[] | undefined {
  if ((types ?? undefined) === undefined && Array.isArray(places))
    return Array.from({ length: Number(layers) }, (_, i) => (places.includes(i) ? attention : convolution));
  return isTextList(types) ? types : undefined;
}
/** How many convolutions come before each attention block. */
function gapsOf(types: readonly string[]): number[] {
  const gaps: number[] = [];
  let gap = 0;
  for (const type of types) {
    if (type !== attention) gap++;
    else {
      gaps.push(gap);
      gap = 0;
    }
  }
  return gaps;
}
const gaps = (count: (gaps: readonly number[]) => number): ConfigValue => ({
  keys: ["layer_types"],
  kind: "count",
  from: (config) => {
    const types = typesOf(config);
    return types && count(gapsOf(types));
  },
  must: "a list of texts, one for each layer",
});
const longAs = (n: number, gapsOfAll: readonly number[]): number => gapsOfAll.filter((gap) => gap === n).length;
/** How many gaps of two come before those of three, where there are any. */
const earlyOf = (later: readonly number[]): number => (later.includes(3) ? later.findIndex((gap) => gap !== 2) : 0);
const orderHeader: Family["header"] = {
  First: gaps(([first = 0]) => first),
  Early: gaps(([, ...later]) => earlyOf(later)),
  Threes: gaps(([, ...later]) => longAs(3, later)),
  Twos: gaps(([, ...later]) => longAs(2, later) - earlyOf(later)),
  Ones: gaps(([, ...later]) => longAs(1, later)),
};

/**
 * The only accepted order of blocks: after the first gap some of two convolutions, those of three, those of two, then those of one; convolutions at the
 * end.
 */
function ordered(config: Json): string[] {
  const [first = 0, ...later] = gapsOf(typesOf(config) ?? []);
  const early = earlyOf(later);
  const rest = later.slice(early).map((gap) => Math.min(Math.max(gap, 1), 3));
  const lengths = [first, ...later.slice(0, early), ...rest.toSorted((a, b) => b - a)];
  const before = lengths.flatMap((gap) => [...Array<string>(gap).fill(convolution), attention]);
  return Array.from({ length: Number(config["num_hidden_layers"]) }, (_, i) => before[i] ?? convolution);
}
const orderSettings: Family["supported"] = {
  layer_types: ordered,
  full_attn_idxs: (config: Json): unknown =>
    isTextList(config["layer_types"])
      ? config["full_attn_idxs"]
      : ordered(config).flatMap((type, i) => (type === attention ? [i] : [])),
  tie_embedding: ({ tie_word_embeddings: tied }: Json) => tied ?? true, // its older name, which transformers prefers
};
/** The only accepted `num_dense_layers`: blocks before the first attention. */
const beforeAttention = (config: Json): unknown => {
  const { num_dense_layers: dense } = config;
  const [first = 0] = gapsOf(typesOf(config) ?? []);
  return Number(dense) <= first ? dense : `at most ${first}, the blocks before the first attention`;
};

const groupedNames: Family["names"] = {
  ...attentionNames,
  "model.layers.*.self_attn.out_proj.weight": "blocks.*.attention.output.weight",
  "model.layers.*.self_attn.q_layernorm.weight": "blocks.*.attention.query_norm.weight",
  "model.layers.*.self_attn.k_layernorm.weight": "blocks.*.attention.key_norm.weight",
};
const convolutionNames: Family["names"] = {
  "model.layers.*.conv.in_proj.weight": "blocks.*.attention.input.weight",
  "model.layers.*.conv.in_proj.bias": "blocks.*.attention.input.bias",
  "model.layers.*.conv.conv.weight": "blocks.*.attention.conv",
  "model.layers.*.conv.conv.bias": "blocks.*.attention.bias",
  "model.layers.*.conv.out_proj.weight": "blocks.*.attention.output.weight",
  "model.layers.*.conv.out_proj.bias": "blocks.*.attention.output.bias",
};
const feedNames = (part: string): Family["names"] => ({
  [`model.layers.*.feed_forward.${part}w1.weight`]: `blocks.*.feed.${part}gate.weight`,
  [`model.layers.*.feed_forward.${part}w2.weight`]: `blocks.*.feed.${part}down.weight`,
  [`model.layers.*.feed_forward.${part}w3.weight`]: `blocks.*.feed.${part}up.weight`,
});

/** Header values of both models. */
const lfm2Header: Family["header"] = {
  ...orderHeader,
  Groups: required("num_key_value_heads"),
  A: { keys: ["head_dim"], fallback: null },
  Width: required("conv_L_cache"),
  base: { keys: ropeThetaKeys, fallback: 1000000 },
  eps: required("norm_eps"),
  biased: { keys: ["conv_bias"], fallback: false },
};
export const lfm2Names: Family["names"] = {
  ...outerNames,
  "model.embedding_norm.weight": "norm.weight",
  "model.layers.*.operator_norm.weight": "blocks.*.norm1.weight",
  "model.layers.*.ffn_norm.weight": "blocks.*.norm2.weight",
  ...groupedNames,
  ...convolutionNames,
  ...feedNames(""),
};

/** The hidden units of a dense block, which are adjusted from what config.json says: two thirds of it, rounded up. Undefined: not a number. */
function adjusted(config: Json): number | undefined {
  const { block_ffn_dim_multiplier: times = 1, block_multiple_of: step = 256 } = config;
  const wide = lookup(config, "block_ff_dim") ?? config["intermediate_size"];
  if (typeof wide !== "number" || typeof step !== "number") return undefined;
  if (config["block_auto_adjust_ff_dim"] === false) return wide;
  const narrow = Math.trunc((2 * wide) / 3);
  if (times === null) return narrow;
  return typeof times === "number" ? step * Math.ceil(Math.trunc(times * narrow) / step) : undefined;
}
export const lfm2: Family = {
  type: "lfm2",
  model: "Lfm2",
  file: "lfm2",
  header: {
    ...denseHeader,
    ...lfm2Header,
    F: {
      keys: ["intermediate_size", "block_ff_dim"],
      from: adjusted,
      must: "a size that block_ffn_dim_multiplier and block_multiple_of can adjust",
    },
  },
  supported: {
    ...defaultSettings,
    ...orderSettings,
    block_use_swiglu: true,
    block_auto_adjust_ff_dim: ({ block_auto_adjust_ff_dim: adjusts }: Json) => adjusts !== false,
  },
  names: lfm2Names,
  tied: true,
};

export const lfm2Moe: Family = {
  type: "lfm2_moe",
  model: "Lfm2Moe",
  file: "lfm2",
  header: {
    ...mixtureHeader,
    ...lfm2Header,
    F: required("intermediate_size"),
    H: required("moe_intermediate_size"),
    Dense: requiredAs("layers", "num_dense_layers"),
    E: required("num_experts"),
    scale: { keys: ["routed_scaling_factor"], fallback: 1 },
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
  },
  supported: { ...defaultSettings, ...orderSettings, use_expert_bias: true, num_dense_layers: beforeAttention },
  names: {
    ...lfm2Names,
    ...feedNames("experts.*."),
    "model.layers.*.feed_forward.gate.weight": "blocks.*.feed.gate.weight",
    "model.layers.*.feed_forward.expert_bias": "blocks.*.feed.gate.bias",
  },
  tied: true,
};
