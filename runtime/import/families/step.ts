// Step-3.5-Flash and the text model of Step-3.7-Flash, as released and as transformers writes them: windows beside blocks that see all, and limits in some blocks.
import { type Blocks, type ConfigValue, type Family, type Json, type Kind, lookup, lookupFirst } from "../family.ts";
import {
  attentionKinds,
  blocksAfterLast,
  decoderNames,
  denseHeader,
  nearAndFar,
  queryKeyNormNames,
  required,
  ropeOf,
  swigluNames,
  windowOf,
} from "./shared.ts";

/** What is said of each block; lists may go on with the blocks that predict the token after the next (MTP). Undefined if there are not as many. */
function listOf(config: Json, key: string): readonly unknown[] | undefined {
  const [layers, after] = [Number(config["num_hidden_layers"]), Number(config["num_nextn_predict_layers"] ?? 0)];
  const list = config[key];
  if (!Array.isArray(list) || (list.length !== layers && list.length !== layers + after)) return undefined;
  return list.slice(0, layers);
}
const isMissing = (config: Json, key: string): boolean => lookup(config, key) === undefined;
const each = <T>(config: Json, of: (i: number) => T): T[] =>
  Array.from({ length: Number(config["num_hidden_layers"]) }, (_, i) => of(i));
type Attention = (typeof attentionKinds)[number];

function attentionOf(config: Json): readonly unknown[] | undefined {
  if (isMissing(config, "layer_types")) return each(config, () => "full_attention");
  const list = listOf(config, "layer_types");
  return list?.every((type) => type === "full_attention" || type === "sliding_attention") ? list : undefined;
}
/** Which blocks are mixtures: a word for each, or the numbers of those that are; else all from the fourth on. */
function mixturesOf(config: Json): readonly boolean[] | undefined {
  if (!isMissing(config, "mlp_layer_types")) {
    const list = listOf(config, "mlp_layer_types");
    return list?.every((word) => word === "dense" || word === "sparse")
      ? list.map((word) => word === "sparse")
      : undefined;
  }
  const { moe_layers_enum: said = null } = config;
  if (said === null) return each(config, (i) => i >= 3);
  const numbers: readonly unknown[] | undefined =
    typeof said === "string"
      ? said.split(",").flatMap((n) => (n.trim() === "" ? [] : [Number(n)]))
      : Array.isArray(said)
        ? said
        : undefined;
  return numbers?.every(Number.isSafeInteger) ? each(config, (i) => numbers.includes(i)) : undefined;
}
/** The only accepted value of a key that says something of each block. */
const listed =
  (key: string, of: (config: Json) => unknown, what: string) =>
  (config: Json): unknown =>
    of(config) === undefined ? what : config[key];
const words = (all: string): string => `a list of ${all}, one for each layer`;

/** What stands under the first key, or in the list of the second at the first block of a kind. */
const ofKind = (config: Json, kind: Attention, key: string, list: string): unknown => {
  const at = lookup(config, ropeOf(kind, key));
  if (at !== undefined) return at;
  const all = lookup(config, list);
  return Array.isArray(all) ? all[attentionOf(config)?.indexOf(kind) ?? 0] : all;
};
const rope = (
  kind: Attention,
  key: string,
  list: string,
  usual: number,
  as: Kind,
  by: (config: Json) => number = () => 1,
): ConfigValue => ({
  keys: [ropeOf(kind, key), list],
  kind: as,
  from: (config) => {
    const is = ofKind(config, kind, key, list) ?? usual;
    if (typeof is !== "number") return undefined;
    return as === "count" ? Math.trunc(is * by(config)) : is;
  },
  must: "a number, or one for each layer",
});
const width = (config: Json): number => Number(config["head_dim"] ?? 128);
const part = (kind: Attention): ConfigValue =>
  rope(kind, "partial_rotary_factor", "partial_rotary_factors", 1, "count", width);
const base = (kind: Attention): ConfigValue => rope(kind, "rope_theta", "rope_theta", 10000, "number");

/** Llama 3.1's stretching, which only the blocks that see all may have. */
const scalingKeys = (key: string): string[] => [`rope_parameters.full_attention.${key}`, `rope_scaling.${key}`];
const scaling = (config: Json, key: string): unknown => lookupFirst(config, scalingKeys(key));
const stretching = ["factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"];
function onlyType(config: Json): string {
  if ((scaling(config, "rope_type") ?? "default") === "default") return "default";
  return stretching.every((key) => scaling(config, key) !== undefined)
    ? "llama3"
    : `default, or llama3 with ${stretching.join(", ")}`;
}
const stretch = (key: string): ConfigValue => ({
  keys: scalingKeys(key),
  kind: "number",
  from: (config) => {
    const is = scaling(config, key) ?? null;
    if (is === null || typeof is === "number") return scaling(config, "rope_type") === "llama3" ? is : null;
    return undefined;
  },
  must: "a number",
});

/** The limits of blocks that have one; null: no list. */
function limitsOf(config: Json, key: string): readonly unknown[] | null | undefined {
  if (isMissing(config, key)) return null;
  return listOf(config, key)?.map((limit: unknown) => limit ?? 0);
}
const hasLimit = (config: Json, key: string, i: number): boolean => (limitsOf(config, key)?.[i] ?? 0) !== 0;
const limit = (key: string): ConfigValue => ({
  keys: [key],
  kind: "number",
  from: (config) => {
    const [first = null, ...others] = new Set(limitsOf(config, key)?.filter((x) => x !== 0));
    if (limitsOf(config, key) === undefined || others.length > 0) return undefined;
    return first === null || typeof first === "number" ? first : undefined;
  },
  must: "a list with a number for each layer, 0 or the same for all that have one",
});
const [routed, shared] = ["swiglu_limits", "swiglu_limits_shared"];

/** The only accepted value of another name of a number: the same. */
const alsoCalled = (key: string, other: string) => ({ [other]: (config: Json) => config[key] ?? config[other] });
/** What `num_sliding_attention_heads` makes of each block, which is written too where it changes something. */
const headsByLayer = (config: Json): unknown => {
  const heads = lookup(config, "num_sliding_attention_heads");
  const near = attentionOf(config)?.flatMap((type, i) =>
    type === "sliding_attention" && heads !== config["num_attention_heads"]
      ? [[String(i), { num_attention_heads: heads }]]
      : [],
  );
  return Object.fromEntries(near ?? []) as unknown;
};
const allTrue = ({ use_rope_layers: all }: Json): unknown =>
  Array.isArray(all) && all.every((x) => x === true || x === 1) ? all : [];

/** Blocks are what they see, a mixture or not, and whether what experts, or the shared one or a dense layer, multiply has a limit. */
const kinds: Blocks["kinds"] = Object.fromEntries(
  ["Near", "Far"].flatMap((seen) => [
    [seen, { layer: `Step${seen}`, without: ["shared_limit"] }],
    [`${seen}Bound`, `Step${seen}`],
    [`${seen}Mixture`, { layer: `Step${seen}Mixture`, without: ["limit", "shared_limit"] }],
    [`${seen}MixtureExpertsBound`, { layer: `Step${seen}Mixture`, without: ["shared_limit"] }],
    [`${seen}MixtureSharedBound`, { layer: `Step${seen}Mixture`, without: ["limit"] }],
    [`${seen}MixtureBound`, `Step${seen}Mixture`],
  ]),
);
function boundOf(config: Json, i: number): string {
  const [one, other] = [mixturesOf(config)?.[i] === true && hasLimit(config, routed, i), hasLimit(config, shared, i)];
  if (mixturesOf(config)?.[i] !== true) return other ? "Bound" : "";
  return one && other ? "Bound" : one ? "ExpertsBound" : other ? "SharedBound" : "";
}
export const step35: Family = {
  type: "step3p5",
  outerType: "step3p7",
  model: "StepFlash",
  file: "step",
  header: {
    ...denseHeader,
    Context: { keys: ["max_position_embeddings"], fallback: 128000 },
    eps: { keys: ["rms_norm_eps"], fallback: 1e-5 },
    Wide: required("intermediate_size"),
    H: required("moe_intermediate_size"),
    F: required("share_expert_dim", "share_expert_dims"),
    NearHeads: required(
      "num_sliding_attention_heads",
      "attention_other_setting.num_attention_heads",
      "num_attention_heads",
    ),
    Groups: required("num_key_value_heads", "num_attention_groups"),
    A: { keys: ["head_dim"], fallback: 128 },
    P: part("full_attention"),
    NearP: part("sliding_attention"),
    E: required("n_routed_experts", "num_local_experts", "moe_num_experts"),
    K: required("num_experts_per_tok", "moe_top_k"),
    base: base("full_attention"),
    near_base: base("sliding_attention"),
    window: windowOf(attentionOf),
    stretch: stretch("factor"),
    original: stretch("original_max_position_embeddings"),
    low: stretch("low_freq_factor"),
    high: stretch("high_freq_factor"),
    scalar: { keys: ["query_pre_attn_scalar"], fallback: null },
    scale: { keys: ["moe_router_scaling_factor"], fallback: 1 },
    limit: limit(routed),
    shared_limit: limit(shared),
  },
  supported: {
    hidden_act: "silu",
    attention_bias: false,
    mlp_bias: false,
    layer_types: listed("layer_types", attentionOf, words(attentionKinds.join(" and "))),
    mlp_layer_types: listed("mlp_layer_types", mixturesOf, words("dense and sparse")),
    moe_layers_enum: listed("moe_layers_enum", mixturesOf, "numbers of layers, with commas"),
    per_layer_config: headsByLayer,
    "rope_parameters.sliding_attention.rope_type": "default",
    ...Object.fromEntries(scalingKeys("rope_type").map((key) => [key, onlyType])),
    yarn_only_types: ["full_attention"],
    ...alsoCalled("share_expert_dim", "share_expert_dims"),
    ...alsoCalled("num_key_value_heads", "num_attention_groups"),
    ...alsoCalled("n_routed_experts", "moe_num_experts"),
    ...alsoCalled("num_experts_per_tok", "moe_top_k"),
    "attention_other_setting.head_dim": width,
    "attention_other_setting.num_attention_groups": (config: Json) =>
      config["num_key_value_heads"] ?? config["num_attention_groups"],
    use_rope_layers: allTrue,
    use_qk_norm: true,
    use_head_wise_attn_gate: true,
    use_moe: true,
    use_moe_router_bias: true,
    norm_expert_weight: true,
    zero_centered: true,
    moe_router_activation: "sigmoid",
  },
  ropeKinds: attentionKinds,
  names: {
    ...decoderNames,
    ...queryKeyNormNames,
    "model.layers.*.self_attn.g_proj.weight": "blocks.*.attention.gate.weight",
    ...swigluNames("model.layers.*.mlp", "blocks.*.feed"),
    ...swigluNames("model.layers.*.share_expert", "blocks.*.feed.shared"),
    "model.layers.*.moe.gate.weight": "blocks.*.feed.moe.gate.weight",
    "model.layers.*.moe.router_bias": "blocks.*.feed.moe.gate.bias",
    ...Object.fromEntries(
      ["gate", "up", "down"].map((name) => [
        `model.layers.*.moe.${name}_proj.weight`,
        { runs: [`blocks.*.feed.moe.experts.${name}.weight`], transposed: true },
      ]),
    ),
  },
  ignoredPrefixes: (count) => [...blocksAfterLast(count), "vit_large_projector."],
  blocks: {
    model: "StepBlocks",
    kinds,
    order: (config) =>
      nearAndFar(attentionOf(config), (i) => mixturesOf(config)?.[i] !== true).map(
        (kind, i) => kind + boundOf(config, i),
      ),
  },
};
