// Text models of models that read images too: Qwen2-VL, Qwen2.5-VL, Qwen3-VL, Qwen3-Omni, GLM-4.5V, ERNIE 4.5 VL, Aria.
import { type ConfigValue, type Count, type Family, type Json, lookup, type PackedTensor } from "../family.ts";
import { qwen2, qwen3 } from "./dense.ts";
import { qwen3Moe } from "./qwen.ts";
import {
  constant,
  decoderNames,
  denseHeader,
  headWidth,
  leadingDense,
  required,
  requiredAs,
  ropeKeys,
  ropeThetaKeys,
  swigluNames,
  unbiasedSettings,
} from "./shared.ts";
import { ernie45Moe, glm4Moe } from "./shared-experts.ts";

const atMillion: ConfigValue = { keys: ropeThetaKeys, fallback: 1e6 };
/** As released, RoPE has a type for the axes of an image, whose positions are one and the same for text; transformers 5 writes it beside the default. */
const anyAxes = Object.fromEntries(
  ["rope_type", "type"]
    .flatMap(ropeKeys)
    .map((key) => [key, (c: Json) => (lookup(c, key) === "mrope" ? "mrope" : "default")]),
);
export const qwen25VlText: Family = {
  ...qwen2,
  type: "qwen2_5_vl_text",
  otherTypes: ["qwen2_5_vl", "qwen2_vl_text", "qwen2_vl"], // as released the text model's settings are not within
  header: { ...qwen2.header, base: atMillion },
  supported: { ...qwen2.supported, ...anyAxes },
};
export const qwen3VlText: Family = {
  ...qwen3,
  type: "qwen3_vl_text",
  header: { ...qwen3.header, base: { keys: ropeThetaKeys, fallback: 500000 } },
};

/** Gate and up of all experts, [E, D, 2 H]; transformers 5 writes [E, 2 H, D]. */
const gateAndUp: PackedTensor = {
  runs: ["blocks.*.feed.experts.gate.weight", "blocks.*.feed.experts.up.weight"],
  transposed: ({ H }, shape) => shape.at(-2) === 2 * Number(H),
};
export const qwen3VlMoeText: Family = {
  ...qwen3Moe,
  type: "qwen3_vl_moe_text",
  header: { ...qwen3Moe.header, base: { keys: ropeThetaKeys, fallback: 500000 }, renormalised: constant(true) },
  supported: { ...qwen3Moe.supported, norm_topk_prob: true },
  names: {
    ...qwen3Moe.names,
    "model.layers.*.mlp.experts.gate_up_proj": gateAndUp,
    "model.layers.*.mlp.experts.down_proj": {
      runs: ["blocks.*.feed.experts.down.weight"],
      transposed: ({ D }, shape) => shape.at(-2) === D,
    },
  },
};

/** The text model of Qwen3-Omni, which is the part of its thinker that reads and writes text. */
export const qwen3OmniMoeText: Family = {
  ...qwen3Moe,
  type: "qwen3_omni_moe_text",
  header: {
    ...qwen3Moe.header,
    A: headWidth,
    base: atMillion,
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
  },
};

export const glm4vMoeText: Family = {
  ...glm4Moe,
  type: "glm4v_moe_text",
  header: {
    ...glm4Moe.header,
    A: headWidth,
    normed: constant(false),
    biased: { keys: ["attention_bias"], fallback: true },
  },
  supported: { ...glm4Moe.supported, use_qk_norm: false },
};

/** Positions of text are the same by height, width and time, so that it turns as without parts; the first two must then be of one length. */
const evenSections = (config: Json): unknown => {
  const sections = lookup(config, "rope_parameters.mrope_section");
  return Array.isArray(sections) && sections.length === 3 && sections[0] === sections[1]
    ? sections
    : "of equal first parts";
};
/** The experts for images, which are numbered behind those for text. */
const imageExperts = (count: Count): string[] => {
  const experts = count("moe_num_experts", 64);
  return Array.from({ length: experts }, (_, i) => `model.layers.*.mlp.experts.${experts + i}.`);
};
/** The text model of ERNIE 4.5 VL: gates of text stand untransposed, before those of images. */
export const ernie45VlMoeText: Family = {
  ...ernie45Moe,
  type: "ernie4_5_vl_moe_text",
  header: {
    ...ernie45Moe.header,
    Dense: leadingDense,
    H: {
      keys: ["moe_intermediate_size"],
      from: ({ moe_intermediate_size: widths = [1536, 512] }) => {
        const [text] = Array.isArray(widths) ? (widths as unknown[]) : [];
        return typeof text === "number" ? text : undefined;
      },
      must: "a list: for text, and for images",
    },
  },
  supported: { ...ernie45Moe.supported, "rope_parameters.mrope_section": evenSections },
  names: {
    ...ernie45Moe.names,
    "model.layers.*.mlp.gate.weight": ["blocks.*.feed.moe.gate.weight"],
    "model.layers.*.mlp.gate.weight_1": null,
    "model.layers.*.mlp.moe_statics.e_score_correction_bias": { row: "blocks.*.feed.moe.gate.bias", first: true },
  },
  ignoredPrefixes: imageExperts,
};

export const ariaText: Family = {
  type: "aria_text",
  model: "Aria",
  header: {
    ...denseHeader,
    H: required("intermediate_size"),
    Groups: required("num_key_value_heads", "num_attention_heads"),
    A: { keys: ["head_dim"], fallback: null },
    E: required("moe_num_experts"),
    K: required("moe_topk"),
    Shared: requiredAs("count", "moe_num_shared_experts"),
  },
  supported: { ...unbiasedSettings, mlp_bias: false },
  names: {
    ...decoderNames,
    ...swigluNames("model.layers.*.mlp.shared_experts", "blocks.*.feed.shared"),
    "model.layers.*.mlp.router.weight": "blocks.*.feed.moe.gate.weight",
    "model.layers.*.mlp.experts.fc1.weight": {
      runs: ["blocks.*.feed.moe.experts.gate.weight", "blocks.*.feed.moe.experts.up.weight"],
      transposed: false,
    },
    "model.layers.*.mlp.experts.fc2.weight": ["blocks.*.feed.moe.experts.down.weight"],
  },
};
