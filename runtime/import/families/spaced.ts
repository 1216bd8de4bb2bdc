// Families whose blocks of full attention stand among those with a window: Granite SWA, Mellum, Kolibri.
import type { ConfigValue, Family, Json } from "../family.ts";
import { granitemoeshared } from "./granite.ts";
import {
  attentionKinds,
  decoderNames,
  headWidth,
  mixtureNames,
  nearAndFar,
  nearOrFar,
  queryKeyNormNames,
  required,
  requiredAs,
  ropeOf,
  ropeThetaKeys,
  routedHeader,
  sharedExpertNames,
  stackedExpertNames,
  unbiasedSettings,
  windowOf,
} from "./shared.ts";

interface Spacing {
  readonly first: number;
  readonly every: number;
  readonly full: number;
}
const isFull = (type: unknown): boolean => type === "full_attention";
/** Where the blocks that see all stand, if evenly. `usual`: the types of blocks that no list is given for. */
function spacingOf({ layer_types: given, num_hidden_layers: layers }: Json, usual: (i: number) => string) {
  const types: unknown = given ?? Array.from({ length: Number(layers) }, (_, i) => usual(i));
  if (!Array.isArray(types) || types.length !== layers) return undefined;
  if (!types.every((type) => isFull(type) || type === "sliding_attention")) return undefined;
  const places = types.flatMap((type, i) => (isFull(type) ? [i] : []));
  const [first, second] = places;
  if (first === undefined) return undefined;
  const spacing: Spacing = { first, every: (second ?? first + 1) - first, full: places.length };
  return places.every((place, i) => place === first + i * spacing.every) ? spacing : undefined;
}
const spaced = (usual: (i: number) => string): Family["header"] => {
  const value = (name: keyof Spacing, kind: ConfigValue["kind"]): ConfigValue => ({
    keys: ["layer_types"],
    kind: kind ?? "size",
    from: (config) => spacingOf(config, usual)?.[name],
    must: "windows, but for blocks of full attention an equal number apart",
  });
  return { First: value("first", "layers"), Every: value("every", "size"), Full: value("full", "layers") };
};

const everyFourthFull = (i: number): string => (i % 4 === 0 ? "full_attention" : "sliding_attention");
/** Of `layer_rope_theta`, that of the blocks of one kind, which must be the same for all of them. */
function thetaOf(config: Json, full: boolean): number | undefined {
  const { layer_types: given, layer_rope_theta: thetas, num_hidden_layers: layers, rope_parameters: rope } = config;
  const types: unknown[] = Array.isArray(given)
    ? given
    : Array.from({ length: Number(layers) }, (_, i) => everyFourthFull(i));
  const all = (rope as Json | null | undefined)?.["rope_theta"] ?? 10000;
  const own = Array.isArray(thetas) ? thetas.filter((_, i) => isFull(types[i]) === full) : [all];
  const [first = all] = own;
  const fits = (thetas ?? null) === null || (Array.isArray(thetas) && thetas.length === layers);
  return fits && typeof first === "number" && own.every((theta) => theta === first) ? first : undefined;
}
const theta = (full: boolean): ConfigValue => ({
  keys: ["layer_rope_theta"],
  kind: "number",
  from: (config) => {
    const is = thetaOf(config, full);
    return is === 0 ? 1 : is; // without positions any base will do
  },
  must: "a list for all blocks, with one number for those that see all and one for the others",
});
/** How many features of a head turn: all, or where theta is 0 none. */
const turning = (full: boolean): ConfigValue => ({
  keys: ["layer_rope_theta"],
  kind: "count",
  from: (config) => (thetaOf(config, full) === 0 ? 0 : Number(headWidth.from?.(config))),
});
export const granitemoeSwa: Family = {
  ...granitemoeshared,
  type: "granitemoe_swa",
  model: "GraniteMoeSwa",
  file: "windowed",
  header: {
    ...granitemoeshared.header,
    ...spaced(everyFourthFull),
    Groups: required("num_key_value_heads", "num_attention_heads"),
    base: theta(true),
    near_base: theta(false),
    P: turning(true),
    NearP: turning(false),
    window: requiredAs("size", "sliding_window"),
  },
  names: {
    ...granitemoeshared.names,
    "model.layers.*.self_attn.sinks": "blocks.*.attention.sinks",
    "model.layers.*.block_sparse_moe.router.weight": "blocks.*.feed.moe.gate.weight",
    ...stackedExpertNames("model.layers.*.block_sparse_moe.experts", "blocks.*.feed.moe.experts"),
  },
};

const allSparse = ({ num_hidden_layers: layers }: Json): string[] => Array(Number(layers)).fill("sparse");
export const mellum: Family = {
  type: "mellum",
  model: "Mellum",
  file: "windowed",
  header: {
    ...routedHeader,
    ...spaced(() => "full_attention"),
    A: required("head_dim"),
    E: required("num_experts", "num_local_experts"),
    base: required(ropeOf("full_attention", "rope_theta")),
    near_base: { keys: [ropeOf("sliding_attention", "rope_theta")], fallback: null },
    window: requiredAs("size", "sliding_window"),
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
  },
  supported: {
    hidden_act: unbiasedSettings["hidden_act"],
    attention_bias: false,
    mlp_layer_types: allSparse,
    [ropeOf("full_attention", "rope_type")]: "default",
    [ropeOf("sliding_attention", "rope_type")]: "default",
    [ropeOf("full_attention", "partial_rotary_factor")]: 1,
    [ropeOf("sliding_attention", "partial_rotary_factor")]: 1,
  },
  ropeKinds: attentionKinds,
  names: { ...decoderNames, ...queryKeyNormNames, ...mixtureNames("feed") },
  ignoredPrefixes: () => ["mtp."],
};

const kolibri = nearOrFar((i) => i % 5 === 4);
export const kolibri1: Family = {
  type: "kolibri1",
  model: "Kolibri1",
  file: "windowed",
  header: {
    ...routedHeader,
    F: required("shared_expert_intermediate_size"),
    A: required("head_dim"),
    E: required("num_experts", "num_local_experts"),
    base: { keys: ropeThetaKeys, fallback: 10000 },
    window: windowOf(kolibri.of),
    renormalised: { keys: ["norm_topk_prob"], fallback: false },
  },
  supported: { ...unbiasedSettings, layer_types: kolibri.only },
  names: {
    ...decoderNames,
    ...queryKeyNormNames,
    ...sharedExpertNames,
    "model.layers.*.post_attn_norm.weight": "blocks.*.after1.weight",
    "model.layers.*.post_ffn_norm.weight": "blocks.*.after2.weight",
    "model.layers.*.moe.router.expert_bias": "blocks.*.feed.moe.gate.bias",
  },
  blocks: {
    kinds: { Near: "KolibriNear", Far: "KolibriFar" },
    order: (config) => nearAndFar(kolibri.of(config), () => true),
  },
};
