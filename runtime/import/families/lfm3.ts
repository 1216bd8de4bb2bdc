// LFM3: short convolutions, and attention to all or within a window, in the order of layer_types.
import { type ConfigValue, type Family, type Json, lookup } from "../family.ts";
import { lfm2Names } from "./lfm2.ts";
import {
  attentionBiasNames,
  attentionKinds,
  attentionNames,
  denseHeader,
  queryKeyNormNames,
  ropeOf,
  windowOf,
  wordOfEach,
} from "./shared.ts";
import { typeAt } from "./yarn.ts";

/** A convolution but in each other block from the third on, where attention to all and within a window take turns. */
const usual = (i: number): string =>
  i % 4 === 2 ? attentionKinds[0] : i % 4 === 0 && i > 0 ? attentionKinds[1] : "conv";
const operator = wordOfEach("layer_types", ["conv", ...attentionKinds], usual);
const called = new Map<unknown, string>([
  ["conv", "Short"],
  ["full_attention", "Far"],
  ["sliding_attention", "Near"],
]);
const farKeys = (key: string): string[] => [ropeOf("full_attention", key)];
const isSaid = (config: Json): boolean => lookup(config, "rope_parameters") !== undefined;
/** A number of a kind's RoPE: where that leaves it out, what is said of all, else `other`; where nothing is said of RoPE, `usual`. */
const setting = (config: Json, kind: string, key: string, usual: number, other: number): unknown =>
  isSaid(config) ? (lookup(config, ropeOf(kind, key)) ?? lookup(config, key) ?? other) : usual;
const theta = (kind: string, usual: number): ConfigValue => ({
  keys: [ropeOf(kind, "rope_theta"), "rope_theta"],
  from: (config) => {
    const base = setting(config, kind, "rope_theta", usual, 1000000);
    return typeof base === "number" ? base : undefined;
  },
  must: "a number",
});
/** Which of the pairs turn: the first half where nothing is said of RoPE, all where their type is the default. */
function partOf(config: Json): number | null | undefined {
  if (isSaid(config) && typeAt(config, farKeys) !== "proportional") return null;
  const part = setting(config, "full_attention", "partial_rotary_factor", 0.5, 1);
  return typeof part === "number" ? part : undefined;
}
const farType = (config: Json): string => (partOf(config) === null ? "default" : "proportional");
export const lfm3: Family = {
  type: "lfm3",
  model: "Lfm3",
  file: "lfm2",
  header: {
    ...denseHeader,
    F: { keys: ["intermediate_size"] },
    Groups: { keys: ["num_key_value_heads"], fallback: 4 },
    A: { keys: ["head_dim"], fallback: 128 },
    Width: { keys: ["conv_L_cache"], fallback: 7 },
    base: theta("full_attention", 1000000),
    near_base: theta("sliding_attention", 10000),
    part: {
      keys: [...farKeys("partial_rotary_factor"), "partial_rotary_factor"],
      kind: "number",
      from: partOf,
      must: "a number",
    },
    eps: { keys: ["norm_eps", "rms_norm_eps"], fallback: 1e-5 },
    window: windowOf(operator.of),
    gated: { keys: ["use_attention_gate"], fallback: true },
    attention_biased: { keys: ["attention_bias"], fallback: false },
    conv_biased: { keys: ["conv_bias"], fallback: false },
  },
  supported: {
    use_sandwich_norm: true,
    layer_types: operator.only,
    ...Object.fromEntries(["rope_type", "type"].flatMap(farKeys).map((key) => [key, farType])),
    [ropeOf("full_attention", "factor")]: 1,
    [ropeOf("sliding_attention", "rope_type")]: "default",
    [ropeOf("sliding_attention", "type")]: "default",
    "rope_parameters.rope_type": null, // nor is it read there by transformers
    "rope_parameters.rope_theta": null,
    rope_scaling: null,
  },
  ropeKinds: attentionKinds,
  names: {
    ...lfm2Names,
    ...attentionNames,
    ...attentionBiasNames,
    ...queryKeyNormNames,
    "model.layers.*.post_operator_norm.weight": "blocks.*.after1.weight",
    "model.layers.*.post_ffn_norm.weight": "blocks.*.after2.weight",
    "model.layers.*.self_attn.gate_proj.weight": "blocks.*.attention.gate.weight",
    "model.layers.*.self_attn.g_proj.weight": "blocks.*.attention.gate.weight",
  },
  tied: true,
  blocks: {
    kinds: { Short: "Lfm3Short", Near: "Lfm3Near", Far: "Lfm3Far" },
    order: (config) => (operator.of(config) ?? []).map((type) => called.get(type) ?? "Short"),
  },
};
