// Mistral Large 4: latent attention to keys that an indexer chooses, where blocks may read the rows of one before, and mixtures.
import { type BlockKind, type Family, type Json, type Kinds, lookup } from "../family.ts";
import { indexerLists, indexersOf } from "./deepseek.ts";
import {
  denseBefore,
  listOfEach,
  mixtureHeader,
  required,
  requiredAs,
  ropeKeys,
  ropeType,
  ropeTypeIs,
  stackedExpertNames,
  wholeOr,
} from "./shared.ts";
import { yarnHeader } from "./yarn.ts";

const feedsOf = denseBefore(1);
/** Of each block, whether its heads turn; undefined if what is said fits no model. */
function turningOf(config: Json): readonly boolean[] | undefined {
  const layers = Number(config["num_hidden_layers"]);
  const every = wholeOr(config["no_rope_layer_interval"], 4);
  const usual = (i: number): number => ((i + 1) % Number(every) === 0 ? 0 : 1);
  const list = lookup(config, "no_rope_layers") ?? Array.from({ length: layers }, (_, i) => usual(i));
  if (!Array.isArray(list) || list.length < layers || !list.every((x) => x === 0 || x === 1)) return undefined;
  return every === 0 && lookup(config, "no_rope_layers") === undefined
    ? undefined
    : list.slice(0, layers).map((x) => x === 1);
}
/**
 * Of each block, whose rows it reads, its own if it has some; undefined if there are none such. transformers gives a block those of the last one before that keeps rows for
 * others and whose heads turn as its own do, whatever block is named.
 */
function sourcesOf(config: Json): readonly number[] | undefined {
  const turning = turningOf(config);
  const list = listOfEach(config, "kv_source_layers", (i) => i);
  if (!list?.every((x) => typeof x === "number") || !turning) return undefined;
  const isKept = (j: number): boolean => list.includes(j, j + 1);
  const given = (i: number): number => list.findLastIndex((_, j) => j < i && isKept(j) && turning[j] === turning[i]);
  return list.every((source, i) => source === i || (list[source] === source && source === given(i))) ? list : undefined;
}
interface Block {
  readonly name: string;
  readonly kind: BlockKind;
}
/** The blocks: a kind is named by what sets it apart. */
function blocksOf(config: Json): readonly Block[] {
  const [feeds, turning, indexers] = [feedsOf(config).of(config), turningOf(config), indexersOf(config)];
  const sources = sourcesOf(config);
  return (feeds ?? []).map((feed, i) => {
    const gives = {
      still: turning?.[i] === false,
      reading: sources?.[i] !== i,
      kept: sources?.includes(i, i + 1) ?? false,
      taken: indexers?.[i] === "shared",
    };
    const part = feed === "dense" ? "Dense" : "Mixture";
    const words = Object.entries(gives).flatMap(([word, holds]) => (holds ? [word] : []));
    const name = [part, ...words].map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
    return { name, kind: { layer: `MistralLarge4${part}`, gives } };
  });
}
const kindsOf = (config: Json): Kinds => Object.fromEntries(blocksOf(config).map(({ name, kind }) => [name, kind]));

/** transformers' names, and those of the files that it writes and of the release. */
const names: Family["names"] = {
  ...both("embed_tokens.weight", "tok_embeddings.weight", ["embed.weight"]),
  ...both("rotary_emb.alpha", "lerope.alpha", "learnt"),
  ...both("norm.weight", "norm.weight", "norm.weight"),
  "lm_head.weight": "head.weight",
  "output.weight": "head.weight",
  ...inBlock("input_layernorm.weight", "attention_norm.weight", "norm1.weight"),
  ...inBlock("post_attention_layernorm.weight", "ffn_norm.weight", "norm2.weight"),
  ...inAttention("q_proj.weight", "wq.weight", "query.weight"),
  ...inAttention("kv_a_proj_with_mqa.weight", "wkv_a_with_mqa.weight", "down.weight"),
  ...inAttention("kv_a_layernorm.weight", "kv_a_norm.weight", "norm.weight"),
  ...inAttention("kv_b_proj.weight", "wkv_b.weight", "up.weight"),
  ...inAttention("o_proj.weight", "wo.weight", "output.weight"),
  ...inAttention("indexer.wq_b.weight", "indexer.wq_b.weight", "indexer.query.weight"),
  ...inAttention("indexer.wk.weight", "indexer.wk.weight", "indexer.row.weight"),
  ...inAttention("indexer.weights_proj.weight", "indexer.weights_proj.weight", "indexer.weight"),
  ...Object.assign(
    {},
    ...["weight", "bias"].map((part) => ({
      ...inAttention(`indexer.k_norm.${part}`, `indexer.k_norm.${part}`, `indexer.norm.${part}`),
      ...inAttention(`indexer.q_input_norm.${part}`, `indexer.q_input_norm.${part}`, `indexer.query_norm.${part}`),
    })),
  ),
  ...growingNames(""),
  ...growingNames("indexer."),
  ...inBlock("mlp.gate.weight", "gate.weight", "feed.moe.gate.weight"),
  ...stackedExpertNames("model.layers.*.mlp.experts", "blocks.*.feed.moe.experts"),
  ...feedNames("mlp", "feed_forward", "feed"),
  ...feedNames("mlp.shared_experts", "shared_experts", "feed.shared"),
  ...feedNames("mlp.experts.*", "experts.*", "feed.moe.experts.*"),
};
function both(theirs: string, released: string, ours: string | readonly string[]): Family["names"] {
  return { [`model.${theirs}`]: ours, [released]: ours };
}
function inBlock(theirs: string, released: string, ours: string): Family["names"] {
  return both(`layers.*.${theirs}`, `layers.*.${released}`, `blocks.*.${ours}`);
}
function inAttention(theirs: string, released: string, ours: string): Family["names"] {
  return inBlock(`self_attn.${theirs}`, `attention.${released}`, `attention.${ours}`);
}
function growingNames(within: string): Family["names"] {
  return {
    ...inAttention(`${within}softmax_scaling.scale`, `${within}ssmax_scaling.s`, `${within}growing.scale`),
    ...inAttention(`${within}softmax_scaling.bias`, `${within}ssmax_scaling.b`, `${within}growing.bias`),
  };
}
function feedNames(theirs: string, released: string, ours: string): Family["names"] {
  return {
    ...inBlock(`${theirs}.gate_proj.weight`, `${released}.w1.weight`, `${ours}.gate.weight`),
    ...inBlock(`${theirs}.down_proj.weight`, `${released}.w2.weight`, `${ours}.down.weight`),
    ...inBlock(`${theirs}.up_proj.weight`, `${released}.w3.weight`, `${ours}.up.weight`),
  };
}

export const mistralLarge4: Family = {
  type: "mistral_large4_text",
  model: "MistralLarge4Blocks",
  file: "mistral_large4",
  header: {
    ...mixtureHeader,
    F: required("intermediate_size"),
    H: required("moe_intermediate_size"),
    E: required("n_routed_experts", "num_local_experts", "num_experts"),
    Shared: requiredAs("count", "n_shared_experts"),
    R: required("kv_lora_rank"),
    A: required("qk_nope_head_dim"),
    P: required("qk_rope_head_dim"),
    C: required("v_head_dim"),
    Top: required("index_topk"),
    IndexHeads: required("index_n_heads"),
    IndexWidth: required("index_head_dim"),
    base: required("rope_parameters.rope_theta"), // without rope_parameters transformers takes YaRN, not the default
    ...yarnHeader(ropeKeys),
    scale: { keys: ["routed_scaling_factor"], fallback: 1 },
    cap: { keys: ["final_logit_softcapping"], fallback: 30, kind: "positive" },
  },
  supported: {
    hidden_act: "silu",
    attention_bias: false,
    n_group: 1,
    topk_group: 1,
    ...ropeTypeIs((config: Json) => (ropeType(config) === "yarn" ? "yarn" : "default")),
    ...Object.fromEntries(ropeKeys("truncate").map((key) => [key, true])),
    ...Object.fromEntries(ropeKeys("mscale_all_dim").map((key) => [key, 0])),
    ...Object.fromEntries(ropeKeys("partial_rotary_factor").map((key) => [key, 1])),
    layer_types: ({ num_hidden_layers: layers }: Json) => Array(Number(layers)).fill("indexed_attention"),
    ...indexerLists,
    mlp_layer_types: (config: Json) => feedsOf(config).only(config),
    no_rope_layers: (config: Json) =>
      turningOf(config) ? config["no_rope_layers"] : "a list of 0 and 1, one for each layer",
    kv_source_layers: (config: Json) =>
      sourcesOf(config)
        ? config["kv_source_layers"]
        : "each layer's own number, or that of the last layer before whose rows are read, which turns heads as this one does",
  },
  names,
  ignoredPrefixes: () => [
    "mtp_dspark.",
    "vision_encoder.",
    "patch_merger.",
    "pre_mm_projector_norm.",
    "vision_language_adapter.",
  ],
  blocks: {
    model: "MistralLarge4Blocks",
    kinds: kindsOf,
    order: (config) => blocksOf(config).map(({ name }) => name),
  },
};
