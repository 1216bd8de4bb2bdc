// OLMo 2, 3 and Hybrid: queries and keys normed over all heads, norms after each part of a block; OLMo 3 has windows, and YaRN where there are none; Hybrid has gated
// DeltaNets beside attention.
import { isJsonObject } from "../../storage/json.ts";
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
  wordOfEach,
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

const hybridKinds = { linear_attention: "Delta", full_attention: "Far" } as const;
/** Each fourth block has attention, or the last, where there are fewer than four. */
const hybrid = wordOfEach("layer_types", Object.keys(hybridKinds), (i, layers) =>
  i % 4 === 3 || (layers < 4 && i === layers - 1) ? "full_attention" : "linear_attention",
);
/** The width of a key of DeltaNet. */
function keyWidth({
  linear_key_head_dim: width,
  hidden_size: D,
  num_attention_heads: heads,
  linear_num_key_heads: keys,
}: Json): number | undefined {
  return sizeOr(width, () => Math.trunc((0.75 * Number(D)) / Number(keys ?? heads)));
}
const sizeOr = (x: unknown, other: () => number | undefined): number | undefined =>
  (x ?? null) === null ? other() : typeof x === "number" ? x : undefined;
const must = "a whole number of at least 1";
/** Heads turn, unless it is said that they have no base, as in what is released. */
function turned({ rope_parameters: rope, hidden_size: D, num_attention_heads: heads }: Json): number {
  const still = isJsonObject(rope) && rope["rope_theta"] === null;
  return still ? 0 : Number(D) / Number(heads);
}
/** Three matrices of theirs, for queries, keys and values, side by side in ours. */
const besideNames = (theirs: string, ours: string): Family["names"] =>
  Object.fromEntries(
    ["q", "k", "v"].map((one, i) => [`model.layers.*.linear_attn.${one}_${theirs}.weight`, `${ours} ${i}`]),
  );
export const olmoHybrid: Family = {
  type: "olmo_hybrid",
  model: "OlmoHybrid",
  file: "dense",
  header: {
    ...header,
    eps: { keys: ["rms_norm_eps"], fallback: 1e-6 },
    P: { keys: ["rope_parameters.rope_theta"], kind: "count", from: turned },
    Keys: { keys: ["linear_num_key_heads", "num_attention_heads"] },
    Values: { keys: ["linear_num_value_heads", "num_attention_heads"] },
    KeyWidth: { keys: ["linear_key_head_dim"], from: keyWidth, must },
    ValueWidth: {
      keys: ["linear_value_head_dim"],
      from: (config) => sizeOr(config["linear_value_head_dim"], () => 2 * Number(keyWidth(config))),
      must,
    },
    Width: { keys: ["linear_conv_kernel_dim"], fallback: 4 },
    most: {
      keys: ["linear_allow_neg_eigval"],
      from: ({ linear_allow_neg_eigval: negative }) =>
        (negative ?? true) === true ? 2 : negative === false ? 1 : undefined,
      must: "true or false",
    },
  },
  supported: { ...unbiasedSettings, layer_types: hybrid.only },
  names: {
    ...names,
    // As released a block with DeltaNet has layer norms of its own names; transformers 5.25 writes `feedforward_layer_norm` in all blocks.
    "model.layers.*.attention_layer_norm.weight": "blocks.*.norm.weight",
    "model.layers.*.feedforward_layer_norm.weight": "blocks.*.norm1.weight",
    ...besideNames("proj", "blocks.*.attention.row.weight"),
    ...besideNames("conv1d", "blocks.*.attention.conv"), // parted anyhow: transformers 5.25 writes three of nearly one width
    "model.layers.*.linear_attn.A_log": "blocks.*.attention.rate",
    "model.layers.*.linear_attn.dt_bias": "blocks.*.attention.start",
    "model.layers.*.linear_attn.a_proj.weight": "blocks.*.attention.fade.weight",
    "model.layers.*.linear_attn.b_proj.weight": "blocks.*.attention.beta.weight",
    "model.layers.*.linear_attn.g_proj.weight": "blocks.*.attention.gate.weight",
    "model.layers.*.linear_attn.o_norm.weight": "blocks.*.attention.norm",
    "model.layers.*.linear_attn.o_proj.weight": "blocks.*.attention.output.weight",
  },
  blocks: {
    kinds: { Delta: "OlmoHybridDelta", Far: "OlmoHybridFar" },
    order: (config) => (hybrid.of(config) ?? []).map((type) => hybridKinds[type as keyof typeof hybridKinds]),
  },
};
