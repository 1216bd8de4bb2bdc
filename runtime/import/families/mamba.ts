// What families with Mamba-2, or with Mamba-1, have in common: what their blocks are, and names of weights.
import { type ConfigValue, type Family, lookup, type PackedTensor } from "../family.ts";
import { constant, required, requiredAs } from "./shared.ts";

/** The kinds of blocks by their names in config.json, older ones too, and by the letters of a pattern. */
const kinds = new Map(
  Object.entries({
    Mamba: ["linear_attention", "mamba", "M"],
    Attention: ["full_attention", "attention", "*"],
    Mixture: ["moe", "E"],
    Dense: ["mlp", "-"],
  }).flatMap(([kind, names]) => names.map((name) => [name, kind])),
);
/** The kind of each block, from a list of names or a pattern of letters. Undefined: it is neither. */
export function kindsOf(order: unknown): string[] | undefined {
  if (typeof order !== "string" && !Array.isArray(order)) return undefined;
  const found = Array.from<unknown, string | undefined>(order, (name) => kinds.get(String(name)));
  return found.every((kind) => kind !== undefined) ? found : undefined;
}

/** The matrices that transformers has as one, in its order, and how many columns each has. */
const inward = (place: string, part: string): Omit<PackedTensor, "transposed"> => ({
  runs: ["gate", "row", "steps"].map((name) => `${place}.${name}.${part}`),
  shares: (header) => {
    const of = (name: string): number => Number(header[name]);
    const [heads, inner] = [of("StateHeads"), of("StateHeads") * of("StateWidth")];
    return [inner, inner + 2 * of("StateGroups") * of("States"), heads];
  },
});
export const mambaNames = (theirs: string, ours: string): Family["names"] => ({
  [`${theirs}.in_proj.weight`]: { ...inward(ours, "weight"), transposed: true },
  [`${theirs}.in_proj.bias`]: { ...inward(ours, "bias"), transposed: false },
  [`${theirs}.conv1d.weight`]: `${ours}.conv`,
  [`${theirs}.conv1d.bias`]: `${ours}.bias`,
  [`${theirs}.A_log`]: `${ours}.rate`,
  [`${theirs}.dt_bias`]: `${ours}.start`,
  [`${theirs}.D`]: `${ours}.skip`,
  [`${theirs}.norm.weight`]: `${ours}.norm`,
  [`${theirs}.out_proj.weight`]: `${ours}.output.weight`,
  [`${theirs}.out_proj.bias`]: `${ours}.output.bias`,
});
/** Of Mamba-1, whose matrices that lead inward are two as one. */
export const selectiveNames = (theirs: string, ours: string): Family["names"] => {
  const both = (part: string): readonly string[] => ["row", "gate"].map((name) => `${ours}.${name}.${part}`);
  return {
    [`${theirs}.in_proj.weight`]: { runs: both("weight"), transposed: true },
    [`${theirs}.in_proj.bias`]: { runs: both("bias"), transposed: false },
    [`${theirs}.conv1d.weight`]: `${ours}.conv`,
    [`${theirs}.conv1d.bias`]: `${ours}.bias`,
    [`${theirs}.x_proj.weight`]: `${ours}.select.weight`,
    [`${theirs}.dt_proj.weight`]: `${ours}.steps.weight`,
    [`${theirs}.dt_proj.bias`]: `${ours}.start`,
    [`${theirs}.A_log`]: `${ours}.rate`,
    [`${theirs}.D`]: `${ours}.skip`,
    [`${theirs}.out_proj.weight`]: `${ours}.output.weight`,
    [`${theirs}.out_proj.bias`]: `${ours}.output.bias`,
  };
};

/** Channels of Mamba-1: so many times as wide as the model. */
export const channels = (key: string): ConfigValue => ({
  keys: [key],
  from: (config) => {
    const times = lookup(config, key) ?? 2;
    const C = Number(times) * Number(config["hidden_size"]);
    return typeof times === "number" && Number.isInteger(C) ? C : undefined;
  },
  must: "a number that gives a whole number of channels",
});
/** How many numbers its steps are made of. */
export const rank = (key: string): ConfigValue => ({
  keys: [key],
  from: (config) => {
    const is = lookup(config, key) ?? "auto";
    return is === "auto" ? null : typeof is === "number" ? is : undefined;
  },
  must: 'a whole number, or "auto"',
});
/** Far more positions than a program will be for: Mamba has no greatest. */
const anyContext = constant(2 ** 24);
export const falconMamba: Family = {
  type: "falcon_mamba",
  model: "FalconMamba",
  file: "mamba",
  header: {
    V: required("vocab_size"),
    D: required("hidden_size"),
    L: requiredAs("layers", "num_hidden_layers"),
    C: channels("expand"),
    States: { keys: ["state_size"], fallback: 16 },
    Rank: rank("time_step_rank"),
    Width: { keys: ["conv_kernel"], fallback: 4 },
    Context: anyContext,
    eps: { keys: ["layer_norm_epsilon"], fallback: 1e-5 },
    inner_eps: { keys: ["mixer_rms_eps"], fallback: 1e-6 },
    normed: constant(true),
    biased: { keys: ["use_bias"], fallback: false },
    conv_biased: { keys: ["use_conv_bias"], fallback: true },
    std: { keys: ["initializer_range"], fallback: null },
  },
  supported: { hidden_act: "silu" },
  names: {
    "backbone.embeddings.weight": ["embed.weight"],
    "backbone.norm_f.weight": "norm.weight",
    "lm_head.weight": "head.weight",
    "backbone.layers.*.norm.weight": "blocks.*.norm.weight",
    ...selectiveNames("backbone.layers.*.mixer", "blocks.*.mixer"),
  },
  tied: true,
};
/** The first Mamba, which norms nothing within. */
export const mamba: Family = {
  ...falconMamba,
  type: "mamba",
  header: { ...falconMamba.header, normed: constant(false) },
};
