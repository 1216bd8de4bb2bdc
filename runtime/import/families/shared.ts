// What several families have in common: header values, accepted settings of config.json, and names of weights.
import { type Family, type Json, lookup, type Said } from "../family.ts";

export const said = (...keys: string[]): Said => ({ keys });
export const rotations = ["rope_parameters.rope_theta", "rope_theta"];
export const dense: Family["header"] = {
  V: said("vocab_size"),
  D: said("hidden_size"),
  L: said("num_hidden_layers"),
  Heads: said("num_attention_heads"),
  Context: said("max_position_embeddings"),
  base: { keys: rotations, otherwise: 10000 },
  eps: said("rms_norm_eps"),
};
export const common: Family["header"] = { ...dense, K: said("num_experts_per_tok") };
export const bare: Family["only"] = {
  hidden_act: "silu",
  "rope_parameters.rope_type": "default",
  "rope_scaling.rope_type": "default",
  "rope_scaling.type": "default",
};
export const plain: Family["only"] = { ...bare, attention_bias: false };
export const outer: Family["names"] = {
  "model.embed_tokens.weight": ["embed.weight"],
  "model.norm.weight": "norm.weight",
  "lm_head.weight": "head.weight",
  "model.layers.*.input_layernorm.weight": "blocks.*.norm1.weight",
  "model.layers.*.post_attention_layernorm.weight": "blocks.*.norm2.weight",
  "model.layers.*.self_attn.rotary_emb.inv_freq": null,
};
export const attention = {
  "model.layers.*.self_attn.q_proj.weight": "blocks.*.attention.query.weight",
  "model.layers.*.self_attn.k_proj.weight": "blocks.*.attention.key.weight",
  "model.layers.*.self_attn.v_proj.weight": "blocks.*.attention.value.weight",
  "model.layers.*.self_attn.o_proj.weight": "blocks.*.attention.output.weight",
};
export const norms: Family["names"] = {
  "model.layers.*.self_attn.q_norm.weight": "blocks.*.attention.query_norm.weight",
  "model.layers.*.self_attn.k_norm.weight": "blocks.*.attention.key_norm.weight",
};
export const swiglu = (theirs: string, ours: string): Family["names"] => ({
  [`${theirs}.gate_proj.weight`]: `${ours}.gate.weight`,
  [`${theirs}.up_proj.weight`]: `${ours}.up.weight`,
  [`${theirs}.down_proj.weight`]: `${ours}.down.weight`,
});
export const mixture = (ours: string): Family["names"] => ({
  "model.layers.*.mlp.gate.weight": `blocks.*.${ours}.gate.weight`,
  ...swiglu("model.layers.*.mlp.experts.*", `blocks.*.${ours}.experts.*`),
});
/** Weights of DeepSeek-like blocks: dense, or a mixture with a shared expert, routed by scores plus a bias. */
export const deepseek: Family["names"] = {
  ...mixture("feed.moe"),
  ...swiglu("model.layers.*.mlp", "blocks.*.feed"),
  ...swiglu("model.layers.*.mlp.shared_experts", "blocks.*.feed.shared"),
  "model.layers.*.mlp.gate.e_score_correction_bias": "blocks.*.feed.moe.gate.bias",
};
export const biases: Family["names"] = Object.fromEntries(
  Object.entries(attention).map(([theirs, ours]) => [toBias(theirs), toBias(ours)]),
);
function toBias(weight: string): string {
  return weight.replace(/weight$/, "bias");
}
/** A list for all blocks: three of one kind, then one of another. */
export const everyFourth =
  <T>(near: T, far: T) =>
  ({ num_hidden_layers: layers }: Json): T[] =>
    Array.from({ length: Number(layers) }, (_, i) => (i % 4 === 3 ? far : near));
export const everyFull = ({ num_hidden_layers: layers }: Json): string[] =>
  Array(Number(layers)).fill("full_attention");
export const scaling = (key: string): string[] => [`rope_parameters.${key}`, `rope_scaling.${key}`];
export const saidOfRope = (config: Json, key: string): unknown =>
  scaling(key)
    .map((path) => lookup(config, path))
    .find((x) => x !== undefined);
