// Granite's dense models, Granite-MoE, with a shared expert too, and Granite 4.0: Mamba-2 beside attention.
import { type Blocks, type Family, floatTag, type Json, lookup } from "../family.ts";
import { header, names } from "./dense.ts";
import { kindsOf, mambaNames } from "./mamba.ts";
import { grouped } from "./mixtral.ts";
import {
  attentionBiasNames,
  decoderNames,
  defaultSettings,
  mixtureHeader,
  required,
  requiredAs,
  unbiasedSettings,
} from "./shared.ts";

const multipliers: Family["header"] = {
  scale: { keys: ["attention_multiplier"], fallback: 1 },
  part: { keys: ["residual_multiplier"], fallback: 1 },
  wide: { keys: ["embedding_multiplier"], fallback: 1 },
  soft: { keys: ["logits_scaling"], fallback: 1, kind: "positive" },
};
const graniteHeader: Family["header"] = { ...mixtureHeader, ...grouped, ...multipliers };
/** A SwiGLU whose gate and up are one matrix, or those of all experts. */
const fusedNames = (theirs: string, ours: string): Family["names"] => ({
  [`${theirs}.input_linear.weight`]: { runs: [`${ours}.gate.weight`, `${ours}.up.weight`], transposed: true },
  [`${theirs}.output_linear.weight`]: { runs: [`${ours}.down.weight`], transposed: true },
});
const graniteNames = (ours: string): Family["names"] => ({
  ...decoderNames,
  "model.layers.*.block_sparse_moe.router.layer.weight": `blocks.*.${ours}.gate.weight`,
  ...fusedNames("model.layers.*.block_sparse_moe", `blocks.*.${ours}.experts`),
});

export const granite: Family = {
  type: "granite",
  model: "Granite",
  file: "dense",
  header: { ...header, ...multipliers, biased: { keys: ["attention_bias"], fallback: false } },
  supported: { ...defaultSettings, mlp_bias: false },
  names: { ...names, ...attentionBiasNames },
};

export const granitemoe: Family = {
  type: "granitemoe",
  model: "GraniteMoe",
  header: graniteHeader,
  supported: unbiasedSettings,
  names: graniteNames("feed"),
};

export const granitemoeshared: Family = {
  type: "granitemoeshared",
  model: "GraniteMoeShared",
  header: { ...graniteHeader, F: required("shared_intermediate_size") },
  supported: unbiasedSettings,
  names: { ...graniteNames("feed.moe"), ...fusedNames("model.layers.*.shared_mlp", "blocks.*.feed.shared") },
};

/** The kind of each block: Mamba-2 if nothing is said. */
const kindsIn = ({ layer_types: types, num_hidden_layers: layers }: Json): string[] =>
  kindsOf(types ?? Array<string>(Number(layers)).fill("mamba")) ?? [];
/** The only accepted `layer_types`: of two kinds, one for each layer. */
function oneForEach(config: Json): unknown {
  const kinds = kindsIn(config);
  const fits = kinds.every((kind) => kind in blocks.kinds) && kinds.length === Number(config["num_hidden_layers"]);
  return fits
    ? config["layer_types"]
    : "a list of mamba (linear_attention) and attention (full_attention), one for each layer";
}
const blocks: Blocks = { kinds: { Mamba: "GraniteMamba", Attention: "GraniteAttention" }, order: kindsIn };
/** Numbers of a head of Mamba-2; `auto` shares out what the layer is wider. */
function stateWidth({
  mamba_d_head: width = "auto",
  mamba_expand: times = 2,
  hidden_size: D,
  mamba_n_heads: heads = 128,
}: Json): number | undefined {
  if (width !== "auto") return typeof width === "number" ? width : undefined;
  return Math.floor((Number(times) * Number(D)) / Number(heads));
}
/** The only accepted `mamba_expand`: as wide as its heads are together. */
const asWideAsHeads = (config: Json): number =>
  (Number(config["mamba_n_heads"] ?? 128) * Number(stateWidth(config))) / Number(config["hidden_size"]);
/** The longest step; null: none. */
function longestStep(config: Json): number | null | undefined {
  const most = lookup(config, "time_step_limit.1") ?? { [floatTag]: "Infinity" };
  if (typeof most === "number") return most;
  return lookup({ most }, `most.${floatTag}`) === "Infinity" ? null : undefined;
}
/** How many features of a head turn with positions: all, or none. */
function turnedFeatures({
  position_embedding_type: type,
  hidden_size: D,
  num_attention_heads: heads,
  head_dim: A,
}: Json): number | undefined {
  if (type === "rope") return typeof A === "number" ? A : Number(D) / Number(heads);
  return type === undefined || type === null || type === "nope" ? 0 : undefined;
}

/** Of Mamba-2. */
export const stateHeader: Family["header"] = {
  StateHeads: { keys: ["mamba_n_heads"], fallback: 128 },
  StateWidth: { keys: ["mamba_d_head"], from: stateWidth, must: 'a number, or "auto"' },
  States: { keys: ["mamba_d_state"], fallback: 256 },
  StateGroups: { keys: ["mamba_n_groups"], fallback: 1 },
  Width: { keys: ["mamba_d_conv"], fallback: 4 },
  least: { keys: ["time_step_limit.0"], fallback: 0 },
  most: { keys: ["time_step_limit.1"], from: longestStep, must: "a number, or infinite" },
  state_biased: { keys: ["mamba_proj_bias"], fallback: false },
  conv_biased: { keys: ["mamba_conv_bias"], fallback: true },
};
export const granitemoehybrid: Family = {
  type: "granitemoehybrid",
  model: "GraniteMoeHybrid",
  file: "granite",
  header: {
    ...graniteHeader,
    Groups: required("num_key_value_heads", "num_attention_heads"),
    K: requiredAs("count", "num_experts_per_tok"),
    E: requiredAs("count", "num_local_experts"),
    F: required("shared_intermediate_size"),
    P: {
      keys: ["position_embedding_type"],
      kind: "count",
      from: turnedFeatures,
      must: '"rope", or null or "nope" for heads that do not turn',
    },
    ...stateHeader,
  },
  supported: { ...unbiasedSettings, layer_types: oneForEach, mamba_expand: asWideAsHeads },
  names: {
    ...graniteNames("feed.moe"),
    ...fusedNames("model.layers.*.shared_mlp", "blocks.*.feed.shared"),
    ...mambaNames("model.layers.*.mamba", "blocks.*.attention"),
  },
  blocks,
};
