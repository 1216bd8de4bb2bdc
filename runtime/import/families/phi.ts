// Phi-3, Phi-4 and Phi-3.5-MoE: LongRoPE, whose factors config.json has as lists.
import type { ConfigValue, Family, Json } from "../family.ts";
import { header, names } from "./dense.ts";
import { grouped, sparse } from "./mixtral.ts";
import {
  attentionBiasNames,
  decoderNames,
  denseHeader,
  gateUpNames,
  headWidth,
  ropeKeys,
  ropeSetting,
  ropeThetaKeys,
  ropeType,
  ropeTypeIs,
  unbiasedSettings,
} from "./shared.ts";

const isLong = (config: Json): boolean => ropeType(config) !== "default";
/** Where the type is the default, factors may stand beside it, and are not read. */
const factorLists: Pick<Family, "lists" | "hasLists"> = {
  lists: {
    "blocks.*.attention.near": ropeKeys("short_factor"),
    "blocks.*.attention.far": ropeKeys("long_factor"),
  },
  hasLists: isLong,
};
/** The only accepted type of RoPE: default, or LongRoPE, which is called so or by `others`, with all `parts` that it needs. */
const longRope =
  (parts: readonly string[], others: readonly string[] = []) =>
  (config: Json): unknown => {
    const type = ropeType(config);
    const isLong = type === "longrope" || others.includes(String(type));
    if (type === "default" || (isLong && parts.every((key) => ropeSetting(config, key) !== undefined))) return type;
    return `default, or longrope with ${parts.join(", ")}`;
  };

/** What stands among RoPE's settings is not read, as in transformers. */
const originalOf = ({ original_max_position_embeddings: original }: Json): unknown => original ?? 4096;
/** What cosines and sines are multiplied by, in short contexts as in long ones. */
function heatOf(config: Json): number | null | undefined {
  if (!isLong(config)) return null;
  const [said, times] = ["attention_factor", "factor"].map((key) => ropeSetting(config, key));
  const original = Number(originalOf(config));
  const factor = times ?? Number(config["max_position_embeddings"]) / original;
  if (said !== undefined || typeof factor !== "number") return typeof said === "number" ? said : undefined;
  return factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
}
const turned: ConfigValue = {
  keys: [...ropeKeys("partial_rotary_factor"), "partial_rotary_factor"],
  from: (config) => {
    const part = ropeSetting(config, "partial_rotary_factor") ?? config["partial_rotary_factor"] ?? 1;
    return typeof part === "number" ? Math.trunc(Number(headWidth.from?.(config)) * part) : undefined;
  },
  must: "a number",
};
export const phi3: Family = {
  type: "phi3",
  model: "Phi3",
  file: "phi",
  header: {
    ...header,
    window: { keys: ["sliding_window"], fallback: null, kind: "size" },
    P: turned,
    original: {
      keys: ["original_max_position_embeddings"],
      from: (config) => {
        if (!isLong(config)) return null;
        const original = originalOf(config);
        return typeof original === "number" ? original : undefined;
      },
      must: "a number",
    },
    heat: { keys: [...ropeKeys("attention_factor"), ...ropeKeys("factor")], from: heatOf, must: "a number" },
  },
  supported: { ...unbiasedSettings, ...ropeTypeIs(longRope(["short_factor", "long_factor"], ["su", "yarn"])) },
  names: {
    ...names,
    ...gateUpNames,
    "model.layers.*.self_attn.qkv_proj.weight": {
      runs: ["query", "key", "value"].map((name) => `blocks.*.attention.${name}.weight`),
      transposed: true,
      shares: ({ Heads, Groups }) => [Number(Heads), Number(Groups), Number(Groups)],
    },
  },
  ...factorLists,
};

const mixtureParts = ["short_factor", "long_factor", "short_mscale", "long_mscale", "original_max_position_embeddings"];
export const phimoe: Family = {
  type: "phimoe",
  model: "PhiMoE",
  file: "phi",
  header: {
    ...denseHeader,
    ...grouped,
    base: { keys: ropeThetaKeys, fallback: 1000000 },
    window: { keys: ["sliding_window"], fallback: null, kind: "size" },
    biased: { keys: ["attention_bias"], fallback: false },
    head_biased: { keys: ["lm_head_bias"], fallback: false },
    original: {
      keys: ropeKeys("original_max_position_embeddings"),
      kind: "number",
      from: (config) => {
        const original = ropeSetting(config, "original_max_position_embeddings") ?? null;
        if (original === null || !isLong(config)) return null;
        return typeof original === "number" ? original : undefined;
      },
      must: "a number",
    },
    warm: { keys: ropeKeys("short_mscale"), fallback: null },
    hot: { keys: ropeKeys("long_mscale"), fallback: null },
    jitter: { keys: ["router_jitter_noise"], fallback: 0.01 },
  },
  supported: {
    hidden_act: "silu",
    num_experts_per_tok: 2,
    ...ropeTypeIs(longRope(mixtureParts)),
  },
  names: {
    ...decoderNames,
    ...attentionBiasNames,
    ...sparse,
    "model.norm.bias": "norm.bias",
    "lm_head.bias": "head.bias",
    "model.layers.*.input_layernorm.bias": "blocks.*.norm1.bias",
    "model.layers.*.post_attention_layernorm.bias": "blocks.*.norm2.bias",
  },
  ...factorLists,
};
