// MiMo-V2-Flash: full attention in the first block and each N-th, windows with sinks in the others; RoPE and keys differ.
import { isJsonObject } from "../../storage/json.ts";
import { type ConfigValue, type Family, type Json, lookup } from "../family.ts";
import {
  attentionBiasNames,
  attentionKinds,
  decoderNames,
  everyNth,
  mixtureNames,
  required,
  routedHeader,
  swigluNames,
  unbiasedSettings,
} from "./shared.ts";

const usual = 6;
function everyOf({ layer_types: types, num_hidden_layers: layers }: Json): number | undefined {
  if (types === undefined || types === null) return Number(layers) % usual === 0 ? usual : undefined;
  if (!Array.isArray(types) || types.length !== layers || types[0] !== "full_attention") return undefined;
  const every = everyNth(["sliding_attention", ...types.slice(1)], "sliding_attention", "full_attention") ?? 0;
  return types.length % every === 0 ? every : undefined;
}
/** How many features of a head turn, of the blocks of one kind. */
const turning = (kind: string): ConfigValue => ({
  keys: [`rope_parameters.${kind}.partial_rotary_factor`],
  from: (config) => {
    const said = lookup(config, "rope_parameters") === undefined ? config : lookup(config, `rope_parameters.${kind}`);
    const part = isJsonObject(said) ? (said["partial_rotary_factor"] ?? 0.334) : undefined;
    return typeof part === "number" ? Math.trunc(Number(config["head_dim"]) * part) : undefined;
  },
  must: "a part of 1",
});
/** Windows, as released, leave the query itself out. */
const window: ConfigValue = {
  keys: ["sliding_window_size", "sliding_window"],
  kind: "size",
  from: ({ sliding_window_size: before, sliding_window: all }) => {
    if (typeof before === "number") return before + 1;
    return (before ?? null) === null && typeof all === "number" ? all : undefined;
  },
  must: "a whole number",
};
/** What values are multiplied by: 1 where it is null; nothing said is the default of both, 0.707. */
const strength: ConfigValue = {
  keys: ["attention_value_scale"],
  from: ({ attention_value_scale: scale }) => {
    if (scale === undefined) return null;
    if (scale === null) return 1;
    return typeof scale === "number" ? scale : undefined;
  },
  must: "a number, or null",
};
const onlyFirst = ({ num_hidden_layers: layers }: Json): string[] =>
  Array.from({ length: Number(layers) }, (_, i) => (i === 0 ? "dense" : "sparse"));

export const mimoV2Flash: Family = {
  type: "mimo_v2_flash",
  model: "MiMoV2Flash",
  file: "windowed",
  header: {
    ...routedHeader,
    F: required("intermediate_size"),
    Every: {
      keys: ["layer_types"],
      from: everyOf,
      must: "full attention in the first and each N-th, the last among them",
    },
    A: required("head_dim"),
    C: required("v_head_dim"),
    NearGroups: {
      keys: ["num_key_value_heads"],
      from: ({ num_key_value_heads: groups }) => 2 * Number(groups),
    },
    P: turning("full_attention"),
    NearP: turning("sliding_attention"),
    E: required("n_routed_experts", "num_local_experts"),
    G: required("n_group"),
    Open: required("topk_group"),
    eps: required("rms_norm_eps", "layernorm_epsilon"),
    base: { keys: ["rope_parameters.full_attention.rope_theta", "rope_theta"], fallback: 5000000 },
    near_base: { keys: ["rope_parameters.sliding_attention.rope_theta", "swa_rope_theta"], fallback: 10000 },
    window,
    strength,
    scale: { keys: ["routed_scaling_factor"], fallback: 1 },
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
    biased: { keys: ["attention_bias"], fallback: false },
  },
  supported: {
    hidden_act: unbiasedSettings["hidden_act"],
    mlp_layer_types: onlyFirst,
    "rope_parameters.full_attention.rope_type": "default",
    "rope_parameters.sliding_attention.rope_type": "default",
  },
  ropeKinds: attentionKinds,
  names: {
    ...decoderNames,
    ...attentionBiasNames,
    ...mixtureNames("feed"),
    ...swigluNames("model.layers.*.mlp", "blocks.*.feed"),
    "model.layers.*.mlp.gate.e_score_correction_bias": "blocks.*.feed.gate.bias",
    "model.layers.*.self_attn.attention_sink_bias": "blocks.*.attention.sinks",
  },
  ignoredPrefixes: () => ["model.mtp."],
};
