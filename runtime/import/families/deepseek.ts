// DeepSeek-V2, V3 and models made like them: latent attention, dense blocks first, then mixtures.
import type { ConfigValue, Family, Json } from "../family.ts";
import {
  blocksAfterLast,
  constant,
  decoderNames,
  denseFirst,
  leadingDense,
  leadingDenseOf,
  mixtureHeader,
  outerNames,
  required,
  requiredAs,
  ropeFactor,
  ropeKeys,
  ropeSetting,
  ropeType,
  ropeTypeIs,
  sharedExpertNames,
  stackedExpertNames,
  unbiasedSettings,
  wholeOr,
} from "./shared.ts";

/**
 * The only accepted type of RoPE: default, or YaRN in DeepSeek's form, where `mscale` equals `mscale_all_dim`, so that only the scores are scaled
 * (cosines and sines are multiplied by the ratio, 1).
 */
function latentRope(config: Json): string {
  const type = ropeType(config);
  const heat = ropeSetting(config, "mscale");
  const hot = heat !== undefined && heat !== 0 && heat === ropeSetting(config, "mscale_all_dim");
  const yarn = type === "yarn" || type === "deepseek_yarn"; // as Sarvam's files call it
  if (yarn && hot && ropeSetting(config, "factor") !== undefined) return type;
  return type === "default" ? type : "default, or yarn with a factor and with one mscale";
}

/** Header values of both versions. */
const latentHeader: Family["header"] = {
  ...mixtureHeader,
  F: required("intermediate_size"),
  H: required("moe_intermediate_size"),
  Dense: requiredAs("layers", "first_k_dense_replace"),
  E: required("n_routed_experts"),
  Shared: requiredAs("count", "n_shared_experts"),
  Q: { keys: ["q_lora_rank"], fallback: 0, kind: "count" },
  R: required("kv_lora_rank"),
  A: required("qk_nope_head_dim"),
  P: required("qk_rope_head_dim"),
  C: required("v_head_dim"),
  scale: required("routed_scaling_factor"),
  stretch: { keys: ropeKeys("factor"), fallback: 1 },
  original: required(...ropeKeys("original_max_position_embeddings"), "max_position_embeddings"),
  heat: { keys: ropeKeys("mscale_all_dim"), fallback: null },
};

const latentSettings: Family["supported"] = {
  ...unbiasedSettings,
  ...ropeTypeIs(latentRope),
  ...ropeFactor,
  ...Object.fromEntries(ropeKeys("truncate").map((key) => [key, true])),
  ...Object.fromEntries(ropeKeys("attention_factor").map((key) => [key, null])),
};
/** Where YaRN passes from one rate to the other; a 0 is the default there too. */
const turns = (key: string, usual: number): ConfigValue => ({
  keys: ropeKeys(key),
  kind: "number",
  from: (config) => {
    const is = ropeSetting(config, key) ?? usual;
    return typeof is === "number" ? is || usual : undefined;
  },
  must: "a number",
});
const yarnHeader: Family["header"] = { fast: turns("beta_fast", 32), slow: turns("beta_slow", 1) };
/** The same, where our model has only the defaults. */
const yarnSettings: Family["supported"] = {
  ...latentSettings,
  ...Object.fromEntries(ropeKeys("beta_fast").map((key) => [key, 32])),
  ...Object.fromEntries(ropeKeys("beta_slow").map((key) => [key, 1])),
};

export const latentNames: Family["names"] = {
  ...outerNames,
  "model.layers.*.self_attn.q_proj.weight": "blocks.*.attention.query.weight",
  "model.layers.*.self_attn.q_a_proj.weight": "blocks.*.attention.query_down.weight",
  "model.layers.*.self_attn.q_a_layernorm.weight": "blocks.*.attention.query_norm.weight",
  "model.layers.*.self_attn.q_b_proj.weight": "blocks.*.attention.query_up.weight",
  "model.layers.*.self_attn.kv_a_proj_with_mqa.weight": "blocks.*.attention.down.weight",
  "model.layers.*.self_attn.kv_a_layernorm.weight": "blocks.*.attention.norm.weight",
  "model.layers.*.self_attn.kv_b_proj.weight": "blocks.*.attention.up.weight",
  "model.layers.*.self_attn.o_proj.weight": "blocks.*.attention.output.weight",
  ...sharedExpertNames,
};

/** The only accepted `topk_method`: greedy, if experts are not in groups, or by each group's best expert. */
const ofGroups = ({ n_group: groups, topk_method: how }: Json): unknown =>
  how === "greedy" && (groups ?? 1) === 1 ? how : "group_limited_greedy";

/** Unless the method is by groups, `n_group` must be 1. */
const groupsOf = ({ n_group: groups, topk_method: how }: Json): unknown =>
  how === "group_limited_greedy" ? groups : 1;

const hasPlainHeads = (config: Json): boolean => config["model_type"] !== "deepseek_v2" || config["use_mla"] === false;
/** DeepSeekMoE, whose heads are plain: as DeepSeek-OCR 2, as released for itself, and as DeepSeek-OCR and DeepSeek-VL2 call it. */
export const deepseekMoe: Family = {
  type: "deepseek_ocr2_text",
  otherTypes: ["deepseek", "deepseek_v2"],
  isOf: hasPlainHeads,
  model: "DeepSeekMoE",
  header: {
    ...mixtureHeader,
    F: required("intermediate_size"),
    H: required("moe_intermediate_size"),
    Dense: leadingDense,
    Groups: required("num_key_value_heads", "num_attention_heads"),
    E: required("n_routed_experts"),
    Shared: requiredAs("count", "n_shared_experts"),
    eps: { keys: ["rms_norm_eps"], fallback: 1e-6 },
    scale: { keys: ["routed_scaling_factor"], fallback: 1 },
  },
  supported: {
    ...unbiasedSettings,
    mlp_bias: false,
    norm_topk_prob: false,
    scoring_func: "softmax",
    topk_method: "greedy",
    moe_layer_freq: 1,
  },
  names: { ...decoderNames, ...sharedExpertNames },
};

export const deepseekV2: Family = {
  type: "deepseek_v2",
  isOf: (config) => !hasPlainHeads(config),
  model: "DeepSeekV2",
  header: {
    ...latentHeader,
    G: { keys: ["n_group"], fallback: 1 },
    Open: { keys: ["topk_group"], fallback: 1 },
  },
  supported: {
    ...yarnSettings,
    mlp_bias: false,
    norm_topk_prob: false,
    scoring_func: "softmax",
    topk_method: ofGroups,
    n_group: groupsOf,
    moe_layer_freq: 1,
  },
  names: latentNames,
};

export const deepseekV3: Family = {
  type: "deepseek_v3",
  model: "DeepSeekMain",
  header: { ...latentHeader, ...yarnHeader, G: required("n_group"), Open: required("topk_group") },
  supported: {
    ...latentSettings,
    norm_topk_prob: true,
    rope_interleave: true,
    moe_layer_freq: 1,
  },
  names: latentNames,
  ignoredPrefixes: blocksAfterLast,
};

/** Kimi K2, whose files name DeepSeek-V3's code. */
export const kimiK2: Family = {
  ...deepseekV3,
  type: "kimi_k2",
  supported: { ...deepseekV3.supported, scoring_func: "sigmoid", topk_method: "noaux_tc" },
};

/** Sarvam 105B: as transformers writes it, and with the keys that it is released with. */
export const sarvamMla: Family = {
  ...deepseekV3,
  type: "sarvam_mla",
  header: {
    ...deepseekV3.header,
    Dense: { keys: ["first_k_dense_replace"], fallback: 1, kind: "layers" },
    E: required("n_routed_experts", "num_experts", "num_local_experts"),
    Shared: requiredAs("count", "n_shared_experts", "num_shared_experts"),
    G: { keys: ["n_group"], fallback: 1 },
    Open: { keys: ["topk_group"], fallback: 1 },
  },
  supported: { ...deepseekV3.supported, score_function: "sigmoid" },
};

/** Where an indexer chooses the keys that a query sees. */
const indexed: Pick<Family, "model" | "file" | "header" | "supported" | "names"> = {
  model: "DeepSeekV32",
  file: "sparse",
  header: {
    ...deepseekV3.header,
    Dense: leadingDenseOf(3),
    Q: required("q_lora_rank"),
    Top: required("index_topk"),
    IndexHeads: required("index_n_heads"),
    IndexWidth: required("index_head_dim"),
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
  },
  supported: {
    ...latentSettings,
    mlp_bias: false,
    rope_interleave: true,
    indexer_rope_interleave: false,
    scoring_func: "sigmoid",
    topk_method: "noaux_tc",
    moe_layer_freq: 1,
    layer_types: ({ num_hidden_layers: layers }: Json) => Array(Number(layers)).fill("indexed_attention"),
  },
  names: {
    ...latentNames,
    "model.layers.*.self_attn.indexer.wq_b.weight": "blocks.*.attention.indexer.query.weight",
    "model.layers.*.self_attn.indexer.wk.weight": "blocks.*.attention.indexer.row.weight",
    "model.layers.*.self_attn.indexer.k_norm.weight": "blocks.*.attention.indexer.norm.weight",
    "model.layers.*.self_attn.indexer.k_norm.bias": "blocks.*.attention.indexer.norm.bias",
    "model.layers.*.self_attn.indexer.weights_proj.weight": "blocks.*.attention.indexer.weight",
  },
};
export const deepseekV32: Family = { ...deepseekV3, ...indexed, type: "deepseek_v32" };

const indexerWords = new Map([
  ["F", "full"],
  ["S", "shared"],
]);
/** Of GLM-5's blocks, which have an indexer, as transformers finds it; undefined if what is said fits no model. */
export function indexersOf(config: Json): readonly unknown[] | undefined {
  const { indexer_types: types = null, index_topk_pattern: pattern = null, num_hidden_layers: layers } = config;
  const letters = typeof pattern === "string" ? Array.from(pattern, (c) => indexerWords.get(c)) : pattern;
  const said = types ?? letters;
  if (said !== null) return Array.isArray(said) && said.length === layers ? said : undefined;
  const [every, offset] = [wholeOr(config["index_topk_freq"], 1), wholeOr(config["index_skip_topk_offset"], 2)];
  if (every === undefined || offset === undefined) return undefined;
  const full = (i: number): boolean => Math.max(i - offset + 1, 0) % Math.max(every, 1) === 0;
  return Array.from({ length: Number(layers) }, (_, i) => (full(i) ? "full" : "shared"));
}
const sharesIndexers = (config: Json): boolean => indexersOf(config)?.includes("shared") ?? false;
/** The only accepted values: lists that say so of each block, of which the first has an indexer. */
export const indexerLists: Family["supported"] = Object.fromEntries(
  ["indexer_types", "index_topk_pattern", "index_topk_freq", "index_skip_topk_offset"].map((key) => [
    key,
    (config: Json) => {
      const list = indexersOf(config);
      const fits = list?.[0] === "full" && list.every((type) => type === "full" || type === "shared");
      return fits ? config[key] : "what makes each layer full or shared, and the first full";
    },
  ]),
);
export const glmMoeDsa: Family = {
  ...deepseekV32,
  type: "glm_moe_dsa",
  isOf: (config) => !sharesIndexers(config),
  header: {
    ...indexed.header,
    G: { keys: ["n_group"], fallback: 1 },
    Open: { keys: ["topk_group"], fallback: 1 },
    index_paired: constant(true),
  },
  supported: {
    ...indexed.supported,
    indexer_rope_interleave: true,
    ...indexerLists,
  },
};
const { Dense: dense, ...sharedHeader } = glmMoeDsa.header;
/** How many of GLM-5's blocks are dense. */
const denseIn = (config: Json): number => Number(dense?.from?.(config) ?? 0);
/** GLM-5 with shared indexers: some blocks take the keys that a block before chose. */
export const glmMoeDsaShared: Family = {
  ...glmMoeDsa,
  isOf: sharesIndexers,
  model: "ChoosingModel",
  header: sharedHeader,
  supported: {
    ...glmMoeDsa.supported,
    ...Object.fromEntries(
      ["mlp_layer_types", "first_k_dense_replace"].map((key) => [
        key,
        (config: Json) => (dense?.from?.(config) === undefined ? dense?.must : config[key]),
      ]),
    ),
  },
  blocks: {
    model: "ChoosingModel",
    kinds: {
      Full: "ChoosingDense",
      FullMixture: "ChoosingMixture",
      Shared: "TakingDense",
      SharedMixture: "TakingMixture",
    },
    order: (config) =>
      (indexersOf(config) ?? []).map(
        (type, i) => `${type === "full" ? "Full" : "Shared"}${i < denseIn(config) ? "" : "Mixture"}`,
      ),
  },
};

export const glm4MoeLite: Family = {
  ...deepseekV3,
  type: "glm4_moe_lite",
  header: { ...deepseekV3.header, Dense: { keys: ["first_k_dense_replace"], fallback: 1, kind: "layers" } },
  supported: { ...deepseekV3.supported, mlp_layer_types: denseFirst },
};

/** All that YaRN says in Mistral 4's form, of which `partial_rotary_factor` follows from the widths. */
const turningPart = ({ qk_rope_head_dim: turning, qk_nope_head_dim: other }: Json): number =>
  Number(turning) / (Number(turning) + Number(other));
export const mistral4: Family = {
  type: "mistral4",
  model: "Mistral4",
  header: {
    ...latentHeader,
    Dense: { keys: ["first_k_dense_replace"], fallback: 0, kind: "layers" },
    base: required("rope_parameters.rope_theta"), // without rope_parameters transformers takes YaRN, not the default
    growth: { keys: ropeKeys("llama_4_scaling_beta"), fallback: 0 },
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
  },
  supported: {
    ...yarnSettings,
    n_group: 1,
    topk_group: 1,
    rope_interleave: true,
    "rope_parameters.partial_rotary_factor": turningPart,
  },
  names: { ...latentNames, ...stackedExpertNames("model.layers.*.mlp.experts", "blocks.*.feed.moe.experts") },
};
