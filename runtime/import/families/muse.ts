// Muse Spark and Muse Glimmer: the text models, whose blocks with a window turn heads, and whose other blocks do not.
import { type BlockKind, type Blocks, type Family, type Json, type Kinds, lookup } from "../family.ts";
import {
  decoderNames,
  denseHeader,
  denseOrSparse,
  listOfEach,
  mixtureHeader,
  nearOrFar,
  required,
  stackedExpertNames,
  swigluNames,
  unbiasedSettings,
} from "./shared.ts";

/** Each fourth block, counted from the last. */
const isFourthLast = (i: number, layers: number): boolean => (layers - 1 - i) % 4 === 0;
const attention = nearOrFar((i, layers) => isFourthLast(i, layers));
const feed = denseOrSparse(() => false);
/** Of each block the base of RoPE, 0 where heads do not turn; undefined if they differ otherwise. */
function basesOf(config: Json): readonly unknown[] | undefined {
  const base = lookup(config, "rope_parameters.rope_theta");
  const list = listOfEach(config, "layer_rope_theta", (i, layers) => (isFourthLast(i, layers) ? 0 : base));
  return list?.every((x) => x === 0 || x === base) ? list : undefined;
}
interface Block {
  readonly name: string;
  readonly kind: BlockKind;
}
const blocksOf =
  (layerOf: (config: Json, i: number) => { readonly part: string; readonly layer: string }) =>
  (config: Json): readonly Block[] =>
    (attention.of(config) ?? []).map((type, i) => {
      const { part, layer } = layerOf(config, i);
      const [far, still] = [type === "full_attention", basesOf(config)?.[i] === 0];
      return {
        name: `${far ? "Far" : "Near"}${still ? "Still" : ""}${part}`,
        kind: { layer, without: far ? ["window"] : [], gives: still ? { P: 0 } : {} },
      };
    });
const listed = (blocks: (config: Json) => readonly Block[]): Blocks => ({
  model: "MuseBlocks",
  kinds: (config): Kinds => Object.fromEntries(blocks(config).map(({ name, kind }) => [name, kind])),
  order: (config) => blocks(config).map(({ name }) => name),
});

const header: Family["header"] = {
  ...denseHeader,
  F: required("intermediate_size"),
  Groups: required("num_key_value_heads"),
  A: required("head_dim"),
  base: required("rope_parameters.rope_theta"), // another default in each
  window: { keys: ["sliding_window"], fallback: 2048, kind: "size" },
  factor: required("qk_scale_factor"),
  multiplier: { keys: ["output_multiplier"], kind: "positive" },
  cap: { keys: ["final_logit_softcapping"], fallback: 20, kind: "positive" },
  post_eps: { keys: ["post_norm_eps"], fallback: 1e-8 },
};
const supported: Family["supported"] = {
  ...unbiasedSettings,
  hidden_activation: "silu",
  layer_types: attention.only,
  layer_rope_theta: (config: Json) => (basesOf(config) ? config["layer_rope_theta"] : "0 or rope_theta for each layer"),
};
const names: Family["names"] = {
  ...decoderNames,
  "model.layers.*.self_attn.gate_proj.weight": "blocks.*.attention.gate.weight",
  "model.layers.*.pre_feedforward_layernorm.weight": "blocks.*.norm2.weight",
  ...swigluNames("model.layers.*.mlp", "blocks.*.feed"),
};

export const museSpark: Family = {
  type: "muse_spark_text",
  model: "MuseSpark",
  file: "muse",
  header: {
    ...mixtureHeader,
    ...header,
    H: required("moe_intermediate_size"),
    R: required("moe_hidden_size"),
    E: required("num_local_experts"),
    scale: { keys: ["routed_scaling_factor"], fallback: 1 },
    temperature: { keys: ["residual_gate_temperature"], fallback: 0.3, kind: "positive" },
  },
  supported: { ...supported, mlp_layer_types: feed.only },
  names: {
    ...names,
    "model.layers.*.post_attention_residual_gate.gate": "blocks.*.gate1.gate",
    "model.layers.*.post_feedforward_layernorm.weight": "blocks.*.after.weight",
    "model.layers.*.post_feedforward_residual_gate.gate": "blocks.*.gate2.gate",
    "model.layers.*.mlp.gate.weight": "blocks.*.feed.gate.weight",
    "model.layers.*.mlp.gate.e_score_correction_bias": "blocks.*.feed.gate.bias",
    "model.layers.*.mlp.pre_expert_proj.weight": "blocks.*.feed.narrow.weight",
    "model.layers.*.mlp.pre_expert_norm.weight": "blocks.*.feed.norm.weight",
    "model.layers.*.mlp.experts.post_expert_norm.weight": "blocks.*.feed.after.weight",
    "model.layers.*.mlp.post_expert_proj.weight": "blocks.*.feed.wide.weight",
    ...swigluNames("model.layers.*.mlp.experts.*", "blocks.*.feed.experts.*"),
    ...stackedExpertNames("model.layers.*.mlp.experts", "blocks.*.feed.experts"),
  },
  blocks: listed(
    blocksOf((config, i) =>
      feed.of(config)?.[i] === "dense"
        ? { part: "", layer: "MuseSparkDense" }
        : { part: "Mixture", layer: "MuseSparkMixture" },
    ),
  ),
};
export const museGlimmer: Family = {
  type: "muse_glimmer_text",
  model: "MuseGlimmer",
  file: "muse",
  header,
  supported,
  names: {
    ...names,
    "model.layers.*.post_attention_layernorm.weight": "blocks.*.after1.weight",
    "model.layers.*.post_feedforward_layernorm.weight": "blocks.*.after2.weight",
  },
  blocks: listed(blocksOf(() => ({ part: "", layer: "MuseGlimmerBlock" }))),
};
