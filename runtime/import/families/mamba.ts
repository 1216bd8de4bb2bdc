// What families with Mamba-2 have in common: what their blocks are, and names of weights.
import type { Family, PackedTensor } from "../family.ts";

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
