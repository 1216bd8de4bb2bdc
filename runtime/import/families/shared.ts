// What several families have in common: header values, accepted settings of config.json, and names of weights.
import { type ConfigValue, type Count, type Family, type Json, type Kind, lookup, lookupFirst } from "../family.ts";

export const required = (...keys: string[]): ConfigValue => ({ keys });
export const requiredAs = (kind: Kind, ...keys: string[]): ConfigValue => ({ keys, kind });
/** A header value that the family always has. */
export const constant = (value: number | boolean): ConfigValue => ({ keys: [], fallback: value });
export const ropeThetaKeys = ["rope_parameters.rope_theta", "rope_theta"];
export const denseHeader: Family["header"] = {
  V: required("vocab_size"),
  D: required("hidden_size"),
  L: requiredAs("layers", "num_hidden_layers"),
  Heads: required("num_attention_heads"),
  Context: required("max_position_embeddings"),
  base: { keys: ropeThetaKeys, fallback: 10000 },
  eps: required("rms_norm_eps"),
  std: { keys: ["initializer_range"], fallback: null },
};
export const mixtureHeader: Family["header"] = { ...denseHeader, K: required("num_experts_per_tok") };
export const routedHeader: Family["header"] = {
  ...mixtureHeader,
  H: required("moe_intermediate_size"),
  Groups: required("num_key_value_heads"),
};
/** Where config.json has a number of RoPE for blocks of one kind. */
export const ropeOf = (kind: string, key: string): string => `rope_parameters.${kind}.${key}`;
export const ropeKeys = (key: string): string[] => [`rope_parameters.${key}`, `rope_scaling.${key}`];
export const ropeSetting = (config: Json, key: string): unknown => lookupFirst(config, ropeKeys(key));
/** The type of RoPE; older files call it `type`. */
export const ropeType = (config: Json): unknown =>
  ropeSetting(config, "rope_type") ?? ropeSetting(config, "type") ?? "default";
/** The only accepted type of RoPE, wherever config.json has it. */
export const ropeTypeIs = (type: unknown): Family["supported"] =>
  Object.fromEntries([...ropeKeys("rope_type"), ...ropeKeys("type")].map((key) => [key, type]));
/** The only accepted factor: 1, where the type is the default, which has none. */
export const ropeFactor: Family["supported"] = Object.fromEntries(
  ropeKeys("factor").map((key) => [key, (config: Json) => (ropeType(config) === "default" ? 1 : lookup(config, key))]),
);
export const defaultSettings: Family["supported"] = { hidden_act: "silu", ...ropeTypeIs("default") };
export const unbiasedSettings: Family["supported"] = { ...defaultSettings, attention_bias: false };
export const outerNames: Family["names"] = {
  "model.embed_tokens.weight": ["embed.weight"],
  "model.norm.weight": "norm.weight",
  "lm_head.weight": "head.weight",
  "model.layers.*.input_layernorm.weight": "blocks.*.norm1.weight",
  "model.layers.*.post_attention_layernorm.weight": "blocks.*.norm2.weight",
  "model.layers.*.self_attn.rotary_emb.inv_freq": null,
};
export const attentionNames = {
  "model.layers.*.self_attn.q_proj.weight": "blocks.*.attention.query.weight",
  "model.layers.*.self_attn.k_proj.weight": "blocks.*.attention.key.weight",
  "model.layers.*.self_attn.v_proj.weight": "blocks.*.attention.value.weight",
  "model.layers.*.self_attn.o_proj.weight": "blocks.*.attention.output.weight",
};
/** Most decoders' names, but for what follows attention. */
export const decoderNames: Family["names"] = { ...outerNames, ...attentionNames };
export const queryKeyNormNames: Family["names"] = {
  "model.layers.*.self_attn.q_norm.weight": "blocks.*.attention.query_norm.weight",
  "model.layers.*.self_attn.k_norm.weight": "blocks.*.attention.key_norm.weight",
};
export const swigluNames = (theirs: string, ours: string): Family["names"] => ({
  [`${theirs}.gate_proj.weight`]: `${ours}.gate.weight`,
  [`${theirs}.up_proj.weight`]: `${ours}.up.weight`,
  [`${theirs}.down_proj.weight`]: `${ours}.down.weight`,
});
/** Gate and up as the halves of one matrix. */
export const gateUpNames: Family["names"] = {
  "model.layers.*.mlp.gate_up_proj.weight": {
    runs: ["blocks.*.feed.gate.weight", "blocks.*.feed.up.weight"],
    transposed: true,
  },
};
export const mixtureNames = (ours: string): Family["names"] => ({
  "model.layers.*.mlp.gate.weight": `blocks.*.${ours}.gate.weight`,
  ...swigluNames("model.layers.*.mlp.experts.*", `blocks.*.${ours}.experts.*`),
});
/** All experts of a block in one tensor each, [E, 2 H, D] and [E, D, H]. */
export const stackedExpertNames = (theirs: string, ours: string): Family["names"] => ({
  [`${theirs}.gate_up_proj`]: { runs: [`${ours}.gate.weight`, `${ours}.up.weight`], transposed: true },
  [`${theirs}.down_proj`]: { runs: [`${ours}.down.weight`], transposed: true },
});
/** Weights of DeepSeek-like blocks: dense, or a mixture with a shared expert, routed by scores plus a bias. */
export const sharedExpertNames: Family["names"] = {
  ...mixtureNames("feed.moe"),
  ...swigluNames("model.layers.*.mlp", "blocks.*.feed"),
  ...swigluNames("model.layers.*.mlp.shared_experts", "blocks.*.feed.shared"),
  "model.layers.*.mlp.gate.e_score_correction_bias": "blocks.*.feed.moe.gate.bias",
};
export const attentionBiasNames: Family["names"] = Object.fromEntries(
  Object.entries(attentionNames).map(([theirs, ours]) => [toBias(theirs), toBias(ours)]),
);
function toBias(weight: string): string {
  return weight.replace(/weight$/, "bias");
}
/** The only accepted `num_hidden_layers` of a model whose blocks come `n` at a time. */
export const layersBy =
  (n: number) =>
  ({ num_hidden_layers: layers }: Json): unknown =>
    Number(layers) % n === 0 ? layers : `a multiple of ${n}`;
/** A list for all blocks: three of one kind, then one of another. */
export const everyFourth =
  <T>(near: T, far: T) =>
  ({ num_hidden_layers: layers }: Json): T[] =>
    Array.from({ length: Number(layers) }, (_, i) => (i % 4 === 3 ? far : near));
/** The only accepted `mlp_layer_types`: dense blocks first. */
export const denseFirst = ({ num_hidden_layers: layers, first_k_dense_replace: dense = 1 }: Json): string[] =>
  Array.from({ length: Number(layers) }, (_, i) => (i < Number(dense) ? "dense" : "sparse"));
/** A whole number from 0 on, or `missing` where there is none; undefined: something else. */
export const wholeOr = (x: unknown, missing: number): number | undefined => {
  if (x === undefined || x === null) return missing;
  return Number.isSafeInteger(x) && Number(x) >= 0 && Number(x) < 2 ** 31 ? Number(x) : undefined;
};
/** A list with an item for each block, `usual` where config.json has none; undefined if what it has is no such list. */
export function listOfEach(
  config: Json,
  key: string,
  usual: (i: number, layers: number) => unknown,
): readonly unknown[] | undefined {
  const layers = Number(config["num_hidden_layers"]);
  const list = lookup(config, key) ?? Array.from({ length: layers }, (_, i) => usual(i, layers));
  return Array.isArray(list) && list.length === layers ? list : undefined;
}
/** A list with one of these words for each block. `only`: the only accepted value of its key. */
export function wordOfEach(key: string, words: readonly string[], usual: (i: number, layers: number) => string) {
  const of = (config: Json): readonly unknown[] | undefined => {
    const list = listOfEach(config, key, usual);
    return list?.every((word) => words.includes(String(word))) ? list : undefined;
  };
  const only = (config: Json): unknown =>
    of(config) ? config[key] : `a list of ${words.join(" and ")}, one for each layer`;
  return { of, only };
}
export const attentionKinds = ["full_attention", "sliding_attention"] as const;
/** Which blocks see all and which have a window, as `layer_types` says. */
export const nearOrFar = (seesAll: (i: number, layers: number) => boolean): ReturnType<typeof wordOfEach> =>
  wordOfEach("layer_types", attentionKinds, (i, layers) => attentionKinds[seesAll(i, layers) ? 0 : 1]);
/** Which blocks are dense and which are mixtures, as `mlp_layer_types` says. */
export const denseOrSparse = (isDense: (i: number) => boolean): ReturnType<typeof wordOfEach> =>
  wordOfEach("mlp_layer_types", ["dense", "sparse"], (i) => (isDense(i) ? "dense" : "sparse"));
/** The same of each config.json: of so many blocks that `first_k_dense_replace` says, if no list says more, else of the `usual` number. */
export const denseBefore =
  (usual: number) =>
  (config: Json): ReturnType<typeof wordOfEach> => {
    const dense = wholeOr(config["first_k_dense_replace"], usual) ?? 0;
    return denseOrSparse((i) => i < dense);
  };
/**
 * The kind of attention of each block, as `layer_types` says, or, where it does not, windows but for each so many-th block (`sliding_window_pattern`), by default the `usual`-th.
 * `only`: the only accepted values of both keys.
 */
export function windowPattern(usual: number) {
  const everyIn = (config: Json): number | undefined => wholeOr(config["sliding_window_pattern"], usual) || undefined;
  const words = (config: Json): ReturnType<typeof wordOfEach> => {
    const every = everyIn(config) ?? 1;
    return nearOrFar((i) => (i + 1) % every === 0);
  };
  const only: Family["supported"] = {
    layer_types: (config: Json) => words(config).only(config),
    sliding_window_pattern: (config: Json) => everyIn(config) ?? "a whole number of at least 1",
  };
  return { of: (config: Json) => words(config).of(config), only };
}
/** How far blocks see that do not see all; a model without such blocks need not say it. */
export const windowOf = (
  kindsOf: (config: Json) => readonly unknown[] | undefined,
  near = "sliding_attention",
): ConfigValue => ({
  keys: ["sliding_window"],
  kind: "size",
  from: (config) => {
    const window = config["sliding_window"] ?? null;
    if (window === null && kindsOf(config)?.includes(near) === false) return null;
    return typeof window === "number" ? window : undefined;
  },
  must: "a whole number of at least 1",
});
/** The kind of each block: "Far", which sees all, or "Near", with a window; with "Mixture" after it unless it `isDense`. */
export const nearAndFar = (seen: readonly unknown[] = [], isDense: (i: number) => boolean): string[] =>
  seen.map((type, i) => `${type === "full_attention" ? "Far" : "Near"}${isDense(i) ? "" : "Mixture"}`);
/** N, where each N-th of these is `far` and all others are `near`; undefined if they stand otherwise. */
export function everyNth(types: readonly unknown[], near: unknown, far: unknown): number | undefined {
  const n = types.indexOf(far) + 1 || types.length + 1;
  return types.every((type, i) => type === ((i + 1) % n === 0 ? far : near)) ? n : undefined;
}
/** Whether the second of two words stands under a key. */
export const oneOfWords = (key: string, no: string, yes: string): ConfigValue => ({
  keys: [key],
  kind: "boolean",
  from: ({ [key]: word }) => (word === no ? false : word === yes ? true : undefined),
  must: `"${no}" or "${yes}"`,
});
/** How many blocks are dense, of which the mixtures come after; so many, if nothing is said. */
export const leadingDenseOf = (usual: number): ConfigValue => ({
  keys: ["mlp_layer_types", "first_k_dense_replace"],
  kind: "layers",
  from: ({ mlp_layer_types: types, first_k_dense_replace: said, num_hidden_layers: layers }) => {
    const first = said ?? usual;
    if (types === undefined || types === null) return typeof first === "number" ? first : undefined;
    if (!Array.isArray(types) || types.length !== layers) return undefined;
    const dense = types.filter((type) => type === "dense").length;
    return types.every((type, i) => type === (i < dense ? "dense" : "sparse")) ? dense : undefined;
  },
  must: '"dense" for the first few blocks, then "sparse", or a number of dense ones',
});
export const leadingDense = leadingDenseOf(1);
/** The width of a head: where it is not given, as those of all heads are D. */
export const headWidth: ConfigValue = {
  keys: ["head_dim"],
  from: ({ head_dim: width, hidden_size: all, num_attention_heads: heads }) =>
    typeof width === "number" ? width : (width ?? null) === null ? Number(all) / Number(heads) : undefined,
  must: "a whole number",
};
export const everyFull = ({ num_hidden_layers: layers }: Json): string[] =>
  Array(Number(layers)).fill("full_attention");
/** The blocks after the last, which predict the token after the next (MTP), as DeepSeek and GLM save them. */
export const blocksAfterLast = (count: Count): string[] => {
  const last = count("num_hidden_layers");
  return Array.from({ length: count("num_nextn_predict_layers", 0) }, (_, i) => `model.layers.${last + i}.`);
};
