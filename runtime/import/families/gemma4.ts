// Gemma 4: blocks that see all among those with a window, each kind with heads and RoPE of its own.
import { isJsonObject } from "../../storage/json.ts";
import { type ConfigValue, type Family, type Json, lookup } from "../family.ts";
import {
  decoderNames,
  denseHeader,
  everyNth,
  queryKeyNormNames,
  required,
  requiredAs,
  stackedExpertNames,
  swigluNames,
} from "./shared.ts";

const usual = 6;
/** Each so many-th block sees all, the last among them. */
const everyOf = ({ layer_types: types, num_hidden_layers: layers }: Json): number | undefined => {
  if (types === undefined || types === null) return usual;
  if (!Array.isArray(types) || types.length !== layers) return undefined;
  const every = everyNth(types, "sliding_attention", "full_attention") ?? 0;
  return types.length % every === 0 ? every : undefined;
};
/**
 * What `per_layer_config` says of the blocks that see all, which must be the same for all of them, and nothing of others. It is empty where they are like
 * the others, and its keys are as long as the last ("05" beside "29").
 */
function farConfig(config: Json): Json | undefined {
  const { per_layer_config: blocks, num_hidden_layers: layers } = config;
  const every = everyOf(config) ?? usual;
  if (!isJsonObject(blocks)) return undefined;
  const far = Array.from({ length: Math.floor(Number(layers) / every) }, (_, i) => (i + 1) * every - 1);
  const [first = {}, ...others] = Object.values(blocks);
  const same = others.every((one) => JSON.stringify(one) === JSON.stringify(first));
  const places = Object.keys(blocks).map(Number);
  const fits = places.length === 0 || places.toSorted((a, b) => a - b).join() === far.join();
  return isJsonObject(first) && same && fits ? first : undefined;
}
/** A value of the blocks that see all: from `per_layer_config`, which transformers 5 writes, or, as released, from a key of its own. */
const far = (inner: string, released: (config: Json) => unknown): ConfigValue => ({
  keys: ["per_layer_config"],
  kind: "size",
  from: (config) => {
    const own = farConfig(config);
    const is =
      lookup(config, "per_layer_config") === undefined ? released(config) : own && (own[inner] ?? config[inner]);
    return typeof is === "number" ? is : undefined;
  },
  must: "of the blocks that see all alone, and the same for each",
});
const releasedGroups = ({ attention_k_eq_v: same, num_global_key_value_heads: own, num_key_value_heads: all }: Json) =>
  same === true ? (own ?? all) : all;

const everyIn: ConfigValue = {
  keys: ["layer_types"],
  from: everyOf,
  must: "windows in all but each N-th block, the last among them",
};
const without = <T>(all: Readonly<Record<string, T>>, keys: readonly string[]): Record<string, T> =>
  Object.fromEntries(Object.entries(all).filter(([key]) => !keys.includes(key)));

/** Of experts, which a dense model has none of. */
const countOrNone = (key: string): ConfigValue => ({ keys: [key], fallback: 0, kind: "count" });
const rope = (kind: string, key: string): string => `rope_parameters.${kind}_attention.${key}`;
export const gemma4Text: Family = {
  type: "gemma4_text",
  model: "Gemma4",
  file: "gemma4",
  header: {
    ...denseHeader,
    F: required("intermediate_size"),
    H: countOrNone("moe_intermediate_size"),
    E: countOrNone("num_experts"),
    K: countOrNone("top_k_experts"),
    Every: everyIn,
    Groups: required("num_key_value_heads"),
    A: required("head_dim"),
    FarA: far("head_dim", (config) => config["global_head_dim"] ?? 512),
    FarGroups: far("num_key_value_heads", releasedGroups),
    base: required(rope("sliding", "rope_theta")),
    far_base: required(rope("full", "rope_theta")),
    part: required(rope("full", "partial_rotary_factor")),
    same: { keys: ["attention_k_eq_v"], fallback: false },
    window: requiredAs("size", "sliding_window"),
    cap: { keys: ["final_logit_softcapping"], fallback: null, kind: "positive" },
  },
  supported: {
    hidden_activation: "gelu_pytorch_tanh",
    attention_bias: false,
    use_bidirectional_attention: "vision", // of what a text has nothing
    hidden_size_per_layer_input: 0,
    num_kv_shared_layers: 0,
    enable_moe_block: ({ num_experts: experts }: Json) => Number(experts ?? 0) > 0,
    [rope("sliding", "rope_type")]: "default",
    [rope("full", "rope_type")]: "proportional",
    [rope("full", "factor")]: 1,
    [rope("sliding", "partial_rotary_factor")]: 1,
  },
  ropeKinds: ["sliding_attention", "full_attention"],
  names: {
    ...decoderNames,
    ...queryKeyNormNames,
    ...swigluNames("model.layers.*.mlp", "blocks.*.feed.dense"),
    "model.layers.*.post_attention_layernorm.weight": "blocks.*.after1.weight",
    "model.layers.*.pre_feedforward_layernorm.weight": "blocks.*.feed.norm.weight",
    "model.layers.*.post_feedforward_layernorm_1.weight": "blocks.*.feed.after.weight",
    "model.layers.*.pre_feedforward_layernorm_2.weight": "blocks.*.feed.inner.weight",
    "model.layers.*.post_feedforward_layernorm_2.weight": "blocks.*.feed.outer.weight",
    "model.layers.*.post_feedforward_layernorm.weight": "blocks.*.after2.weight",
    "model.layers.*.layer_scalar": "blocks.*.whole",
    "model.layers.*.router.proj.weight": "blocks.*.feed.gate.weight",
    "model.layers.*.router.scale": "blocks.*.feed.gate.features",
    "model.layers.*.router.per_expert_scale": "blocks.*.feed.gate.heat",
    ...stackedExpertNames("model.layers.*.experts", "blocks.*.feed.experts"),
  },
  tied: true,
};
/** The blocks without mixtures of E2B and E4B: after those with keys and values of their own come those that share. */
const edgeNames: Family["names"] = {
  ...decoderNames,
  ...queryKeyNormNames,
  "model.embed_tokens_per_layer.weight": ["own_embed.weight"],
  "model.per_layer_model_projection.weight": "own_project.weight",
  "model.per_layer_projection_norm.weight": "own_norm.weight",
  ...swigluNames("model.layers.*.mlp", "blocks.*.rest.feed.dense"),
  "model.layers.*.post_attention_layernorm.weight": "blocks.*.rest.after1.weight",
  "model.layers.*.pre_feedforward_layernorm.weight": "blocks.*.rest.feed.norm.weight",
  "model.layers.*.post_feedforward_layernorm.weight": "blocks.*.rest.after2.weight",
  "model.layers.*.per_layer_input_gate.weight": "blocks.*.rest.gate.weight",
  "model.layers.*.per_layer_projection.weight": "blocks.*.rest.up.weight",
  "model.layers.*.post_per_layer_input_norm.weight": "blocks.*.rest.after3.weight",
  "model.layers.*.layer_scalar": "blocks.*.rest.whole",
};
/** The only accepted number of blocks that share: some of the groups of which each ends with one that sees all, and not all of them. */
const sharedGroups = (config: Json): unknown => {
  const { num_kv_shared_layers: shared, num_hidden_layers: layers } = config;
  const every = everyOf(config) ?? usual;
  const fits = Number(shared) % every === 0 && Number(shared) >= 0 && Number(shared) < Number(layers);
  return fits ? shared : `a multiple of ${every} below num_hidden_layers`;
};
export const gemma4Edge: Family = {
  ...gemma4Text,
  isOf: ({ hidden_size_per_layer_input: own }) => (own ?? 0) !== 0,
  model: "Gemma4Edge",
  file: "gemma4_edge",
  header: {
    ...without(gemma4Text.header, ["H", "E", "K", "same"]),
    Every: {
      ...everyIn,
      from: (config) => ((everyOf(config) ?? 0) > 1 ? everyOf(config) : undefined),
    },
    P: required("hidden_size_per_layer_input"),
    Shared: { keys: ["num_kv_shared_layers"], fallback: 0, kind: "count" },
    SharedF: {
      keys: ["intermediate_size"],
      from: ({ intermediate_size: F, use_double_wide_mlp: double }) =>
        typeof F === "number" ? (double === true ? 2 : 1) * F : undefined,
      must: "a whole number",
    },
  },
  supported: {
    ...without(gemma4Text.supported, ["hidden_size_per_layer_input", "num_kv_shared_layers"]),
    vocab_size_per_layer_input: ({ vocab_size: V }: Json) => V,
    num_kv_shared_layers: sharedGroups,
    attention_k_eq_v: false,
    enable_moe_block: false,
    use_double_wide_mlp: ({ use_double_wide_mlp: double }: Json) => double === true,
  },
  names: edgeNames,
  places:
    ({ L, Shared }) =>
    (block) => {
      const own = Number(L) - Number(Shared);
      if (block >= own) return `shared.${block - own}`;
      return block === own - 1 ? "far" : block === own - 2 ? "near" : `blocks.${block}`;
    },
  ignoredPrefixes: (count) => {
    const [layers, shared] = [count("num_hidden_layers"), count("num_kv_shared_layers", 0)];
    const keys = ["k_proj", "v_proj", "k_norm", "v_norm"];
    return Array.from({ length: Math.min(shared, layers) }, (_, i) => layers - 1 - i).flatMap((block) =>
      keys.map((key) => `model.layers.${block}.self_attn.${key}.`),
    );
  },
};
/** The dense blocks alone. */
export const gemma4UnifiedText: Family = { ...gemma4Text, type: "gemma4_unified_text" };
