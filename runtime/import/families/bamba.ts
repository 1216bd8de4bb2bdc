// Bamba: Granite 4.0's blocks with a wide layer alone, and attention of which half of each head turns.
import { type ConfigValue, type Family, type Json, lookup } from "../family.ts";
import { granitemoehybrid, stateHeader } from "./granite.ts";
import { mambaNames } from "./mamba.ts";
import { attentionNames, constant, defaultSettings, denseHeader, outerNames, required, swigluNames } from "./shared.ts";

/** The width of a head, which config.json does not say. */
const headOf = ({ hidden_size: D, num_attention_heads: heads }: Json): number => Number(D) / Number(heads);
const parts = ["rope_parameters.partial_rotary_factor", "rope_scaling.partial_rotary_factor"];
/** How many features of a head turn; half of them if nothing is said. */
const turned: ConfigValue = {
  keys: parts,
  kind: "count",
  from: (config) => {
    const part = parts.map((key) => lookup(config, key)).find((x) => x !== undefined) ?? 0.5;
    return typeof part === "number" ? Math.trunc(part * headOf(config)) : undefined;
  },
  must: "a number",
};
const placesIn = ({ attn_layer_indices: places }: Json): readonly unknown[] | undefined =>
  (places ?? null) === null ? [] : Array.isArray(places) ? places : undefined;
/** The only accepted places of blocks with attention: numbers of layers. */
const placesOfLayers = (config: Json): unknown => {
  const fits = placesIn(config)?.every((i) => Number.isInteger(i) && Number(i) >= 0);
  return fits === true ? config["attn_layer_indices"] : "a list of numbers of layers";
};

export const bamba: Family = {
  type: "bamba",
  model: "GraniteMoeHybrid",
  file: "granite",
  header: {
    ...denseHeader,
    ...stateHeader,
    F: required("intermediate_size"),
    E: { ...constant(0), kind: "count" },
    Groups: { keys: ["num_key_value_heads"], fallback: 8 },
    P: turned,
    scale: { keys: [], kind: "number", from: (config) => headOf(config) ** -0.5 },
    part: constant(1),
  },
  supported: {
    ...defaultSettings,
    attention_bias: false,
    mlp_bias: false,
    head_dim: headOf,
    mamba_expand: granitemoehybrid.supported["mamba_expand"],
    attn_layer_indices: placesOfLayers,
  },
  names: {
    ...outerNames,
    "model.final_layernorm.weight": "norm.weight",
    "model.layers.*.pre_ff_layernorm.weight": "blocks.*.norm2.weight",
    ...attentionNames,
    ...swigluNames("model.layers.*.feed_forward", "blocks.*.feed.shared"),
    ...mambaNames("model.layers.*.mamba", "blocks.*.attention"),
  },
  blocks: {
    kinds: { Mamba: "GraniteMamba", Attention: "GraniteAttention" },
    order: (config) =>
      Array.from({ length: Number(config["num_hidden_layers"]) }, (_, i) =>
        placesIn(config)?.includes(i) ? "Attention" : "Mamba",
      ),
  },
};
