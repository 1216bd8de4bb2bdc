// OLMo 2 and 3: queries and keys normed over all heads, norms after each part of a block; OLMo 3 has windows, and YaRN where there are none.
import type { Family, Json } from "../family.ts";
import { header, normedAfterNames } from "./dense.ts";
import {
  attentionKinds,
  nearAndFar,
  nearOrFar,
  queryKeyNormNames,
  ropeOf,
  unbiasedSettings,
  windowOf,
} from "./shared.ts";
import { typeAt, yarnHeader } from "./yarn.ts";

const names: Family["names"] = { ...normedAfterNames, ...queryKeyNormNames };
const eps = { keys: ["rms_norm_eps"], fallback: 1e-5 };
export const olmo2: Family = {
  type: "olmo2",
  model: "Olmo2",
  file: "dense",
  header: { ...header, eps },
  supported: unbiasedSettings,
  names,
};

const attention = nearOrFar((i) => i % 4 === 3);
/** Older files have the settings of the blocks that see all, those of others are the default. */
const farKeys = (key: string): string[] => [`rope_scaling.${key}`, ropeOf("full_attention", key)];
const farType = (config: Json): string => (typeAt(config, farKeys) === "yarn" ? "yarn" : "default");
/** One base for both, where it is not said of each: transformers 5.24 leaves the windows' 500000 then. */
const theta = (kind: string): Family["header"][string] => ({
  keys: [ropeOf(kind, "rope_theta"), "rope_theta"],
  fallback: 500000,
});
export const olmo3: Family = {
  type: "olmo3",
  model: "Olmo3",
  file: "dense",
  header: {
    ...header,
    eps,
    base: theta("full_attention"),
    near_base: theta("sliding_attention"),
    window: windowOf(attention.of),
    ...yarnHeader(farKeys),
  },
  supported: {
    hidden_act: "silu",
    attention_bias: false,
    layer_types: attention.only,
    [ropeOf("sliding_attention", "rope_type")]: "default",
    [ropeOf("sliding_attention", "type")]: "default",
    ...Object.fromEntries(["rope_type", "type"].flatMap(farKeys).map((key) => [key, farType])),
    ...Object.fromEntries(farKeys("truncate").map((key) => [key, true])),
    "rope_parameters.rope_type": null, // nor is it read there by transformers
    "rope_parameters.rope_theta": null,
  },
  ropeKinds: attentionKinds,
  names,
  blocks: {
    kinds: { Near: "Olmo3Near", Far: "Olmo3Far" },
    order: (config) => nearAndFar(attention.of(config), () => true),
  },
};
