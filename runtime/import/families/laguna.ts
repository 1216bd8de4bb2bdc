// Laguna: windows beside blocks that see all, each kind with heads and RoPE of its own; mixtures beside dense layers.
import { type ConfigValue, type Family, type Json, type Kind, lookup } from "../family.ts";
import {
  attentionBiasNames,
  attentionKinds,
  decoderNames,
  denseOrSparse,
  listOfEach,
  mixtureHeader,
  mixtureNames,
  nearAndFar,
  queryKeyNormNames,
  required,
  ropeOf,
  swigluNames,
  wordOfEach,
} from "./shared.ts";
import { yarnHeader } from "./yarn.ts";

type Attention = (typeof attentionKinds)[number];
const attention = wordOfEach("layer_types", attentionKinds, () => "full_attention");
const feed = denseOrSparse((i) => i === 0);
/** How many heads the blocks of one kind have, which must be the same for all of them. */
const heads = (kind: Attention): ConfigValue => ({
  keys: ["num_attention_heads_per_layer", "num_attention_heads"],
  from: (config) => {
    const all = listOfEach(config, "num_attention_heads_per_layer", () => config["num_attention_heads"]);
    const types = attention.of(config);
    const [first = config["num_attention_heads"], ...others] = all?.filter((_, i) => types?.[i] === kind) ?? [];
    return all && typeof first === "number" && others.every((n) => n === first) ? first : undefined;
  },
  must: "a number for each layer, the same for all of one kind",
});

/** A number of a kind's RoPE. `alone`: what transformers has where config.json says nothing of RoPE; `else`: where it leaves out this number. */
const rope = (
  kind: Attention,
  key: string,
  of: { readonly alone: number; readonly else?: number; readonly as?: Kind; readonly by?: (config: Json) => number },
): ConfigValue => ({
  keys: [ropeOf(kind, key)],
  ...(of.as ? { kind: of.as } : {}),
  from: (config) => {
    const unused = !attention.of(config)?.includes(kind);
    const is =
      lookup(config, ropeOf(kind, key)) ??
      (lookup(config, "rope_parameters") === undefined || unused ? of.alone : of.else);
    if (typeof is !== "number") return undefined;
    return of.by ? Math.trunc(of.by(config) * is) : is;
  },
  must: "a number",
});
const headWidth = (config: Json): number => Number(config["head_dim"] ?? 128);
const far = (key: string): string => ropeOf("full_attention", key);
const isYarn = (config: Json): boolean => lookup(config, far("rope_type")) === "yarn";

const gates = new Map<unknown, boolean>([
  [undefined, true],
  [null, true],
  [true, true],
  ["per-head", true],
  ["per-element", false],
]);
const correction = "e_score_correction_bias";
export const laguna: Family = {
  type: "laguna",
  model: "Laguna",
  file: "laguna",
  header: {
    ...mixtureHeader,
    H: { keys: ["moe_intermediate_size"], fallback: 512 },
    F: { keys: ["shared_expert_intermediate_size"], fallback: 512 },
    Wide: required("intermediate_size"),
    Heads: heads("full_attention"),
    NearHeads: heads("sliding_attention"),
    Groups: required("num_key_value_heads"),
    A: { keys: ["head_dim"], fallback: 128 },
    P: rope("full_attention", "partial_rotary_factor", { alone: 0.5, else: 1, as: "count", by: headWidth }),
    NearP: rope("sliding_attention", "partial_rotary_factor", { alone: 1, else: 1, as: "count", by: headWidth }),
    E: { keys: ["num_experts"], fallback: 256 },
    base: rope("full_attention", "rope_theta", { alone: 500000 }),
    near_base: rope("sliding_attention", "rope_theta", { alone: 10000 }),
    window: { keys: ["sliding_window"], kind: "size", fallback: 512 },
    ...yarnHeader((key) => [far(key)]),
    scale: { keys: ["moe_routed_scaling_factor"], fallback: 1 },
    single: {
      keys: ["gating"],
      kind: "boolean",
      from: ({ gating }) => gates.get(gating),
      must: 'true, "per-head" or "per-element"',
    },
    attention_biased: { keys: ["attention_bias"], fallback: false },
  },
  supported: {
    hidden_act: "silu",
    layer_types: attention.only,
    mlp_layer_types: feed.only,
    moe_apply_router_weight_on_input: false,
    moe_router_logit_softcapping: 0,
    [ropeOf("sliding_attention", "rope_type")]: "default",
    [far("rope_type")]: (config: Json) => (isYarn(config) ? "yarn" : "default"),
    [far("mscale")]: null,
    [far("mscale_all_dim")]: null,
    [far("truncate")]: true,
  },
  ropeKinds: attentionKinds,
  names: {
    ...decoderNames,
    ...attentionBiasNames,
    ...queryKeyNormNames,
    "model.layers.*.self_attn.g_proj.weight": "blocks.*.attention.gate.weight",
    ...swigluNames("model.layers.*.mlp", "blocks.*.feed"),
    ...mixtureNames("feed.moe"),
    ...swigluNames("model.layers.*.mlp.shared_experts", "blocks.*.feed.shared"),
    ...swigluNames("model.layers.*.mlp.shared_expert", "blocks.*.feed.shared"),
    [`model.layers.*.mlp.gate.${correction}`]: "blocks.*.feed.moe.gate.bias",
    [`model.layers.*.mlp.experts.${correction}`]: "blocks.*.feed.moe.gate.bias",
  },
  blocks: {
    kinds: {
      Near: "LagunaNear",
      NearMixture: "LagunaNearMixture",
      Far: "LagunaFar",
      FarMixture: "LagunaFarMixture",
    },
    order: (config) => nearAndFar(attention.of(config), (i) => feed.of(config)?.[i] !== "sparse"),
  },
};
