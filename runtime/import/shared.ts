// What several families have alike: keys of config.json, what they may say, and names of weights.
import { type Family, type Json, lookup, type Said } from "./family.ts";

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
/** Mixtral's, and of those made like it. */
export const mixtral: Family["header"] = {
  ...common,
  H: said("intermediate_size"),
  Groups: said("num_key_value_heads"),
  E: said("num_local_experts"),
  A: { keys: ["head_dim"], otherwise: null },
};
export const plain: Family["only"] = { ...bare, attention_bias: false };
/** GLM-4.5's, and of those made like it. */
export const glm: Family["header"] = {
  ...common,
  F: said("intermediate_size"),
  H: said("moe_intermediate_size"),
  Dense: said("first_k_dense_replace"),
  Groups: said("num_key_value_heads"),
  E: said("n_routed_experts", "num_local_experts"),
  Shared: said("n_shared_experts"),
  scale: said("routed_scaling_factor"),
};
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
export const sparse: Family["names"] = {
  "model.layers.*.block_sparse_moe.gate.weight": "blocks.*.feed.gate.weight",
  "model.layers.*.block_sparse_moe.experts.*.w1.weight": "blocks.*.feed.experts.*.gate.weight",
  "model.layers.*.block_sparse_moe.experts.*.w2.weight": "blocks.*.feed.experts.*.down.weight",
  "model.layers.*.block_sparse_moe.experts.*.w3.weight": "blocks.*.feed.experts.*.up.weight",
};
/** Dense blocks, then blocks with a shared expert, chosen by scores and a bias. */
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
/** GPT-OSS's: a window in every other block, from the first on. */
export const everyOther = ({ num_hidden_layers: layers }: Json): string[] =>
  Array.from({ length: Number(layers) }, (_, i) => (i % 2 === 0 ? "sliding_attention" : "full_attention"));
/** Llama 4's: three blocks with rope, then one without. */
export const everyFourth =
  <T>(near: T, far: T) =>
  ({ num_hidden_layers: layers }: Json): T[] =>
    Array.from({ length: Number(layers) }, (_, i) => (i % 4 === 3 ? far : near));
export const everyFull = ({ num_hidden_layers: layers }: Json): string[] =>
  Array(Number(layers)).fill("full_attention");
export const everyStep = ({ num_hidden_layers: layers, interleave_moe_layer_step: step = 1 }: Json): number[] =>
  Array.from({ length: Number(layers) }, (_, i) => i).filter((i) => (i + 1) % Number(step) === 0);
/** Where layers have windows (as they do if nothing is said), only those from here on. */
export const beyondWindows = ({
  sliding_window: window,
  max_window_layers: from,
  num_hidden_layers: layers,
}: Json): unknown => (window === null || Number(from) >= Number(layers) ? from : layers);
/** All blocks after the first few are mixtures, with a shared expert. */
export const toTheLast = ({ moe_layer_end_index: end, num_hidden_layers: layers }: Json): number =>
  end === -1 ? -1 : Number(layers) - 1;
export const someShared = ({ moe_num_shared_experts: n }: Json): unknown => (n === 0 ? "1 or more" : n);
export const llama3 = (config: Json): string =>
  scaling("rope_type").some((key) => lookup(config, key) === "llama3") ? "llama3" : "default";
/** Only llama3's rates are stretched. */
export const stretchOf =
  (key: string) =>
  (config: Json): unknown =>
    llama3(config) === "llama3" ? lookup(config, key) : 1;
/** The key's own value if it is one of these, else the first. */
export const oneOf =
  (key: string, ...values: readonly unknown[]) =>
  (config: Json): unknown =>
    values.includes(config[key]) ? config[key] : values[0];
export const scaling = (key: string): string[] => [`rope_parameters.${key}`, `rope_scaling.${key}`];

const saidOfRope = (config: Json, key: string): unknown =>
  scaling(key)
    .map((path) => lookup(config, path))
    .find((x) => x !== undefined);
/** Hunyuan's "dynamic" is a base that grows by alpha, whatever the length. */
export const byAlpha = (config: Json): string => (saidOfRope(config, "alpha") === undefined ? "default" : "dynamic");
/** YaRN as DeepSeek has it, which heats scores alone: by what is alike for both, cosines and sines are multiplied by 1. */
function latentRope(config: Json): string {
  const type = saidOfRope(config, "rope_type") ?? saidOfRope(config, "type") ?? "default";
  const heat = saidOfRope(config, "mscale");
  const hot = heat !== undefined && heat !== 0 && heat === saidOfRope(config, "mscale_all_dim");
  if (type === "yarn" && hot && saidOfRope(config, "factor") !== undefined) return "yarn";
  return type === "default" ? type : "default, or yarn with a factor and with one mscale";
}
/** DeepSeek-V2's and V3's: latent attention, dense blocks, then mixtures. */
export const latent: Family["header"] = {
  ...common,
  F: said("intermediate_size"),
  H: said("moe_intermediate_size"),
  Dense: said("first_k_dense_replace"),
  E: said("n_routed_experts"),
  R: said("kv_lora_rank"),
  A: said("qk_nope_head_dim"),
  P: said("qk_rope_head_dim"),
  C: said("v_head_dim"),
  scale: said("routed_scaling_factor"),
  stretch: { keys: scaling("factor"), otherwise: 1 },
  original: said(...scaling("original_max_position_embeddings"), "max_position_embeddings"),
  heat: { keys: scaling("mscale_all_dim"), otherwise: null },
};
export const stretched: Family["only"] = {
  ...Object.fromEntries([...scaling("rope_type"), "rope_scaling.type"].map((key) => [key, latentRope])),
  ...Object.fromEntries(
    scaling("factor").map((key) => [key, (c: Json) => (latentRope(c) === "yarn" ? lookup(c, key) : 1)]),
  ),
  ...Object.fromEntries(scaling("beta_fast").map((key) => [key, 32])),
  ...Object.fromEntries(scaling("beta_slow").map((key) => [key, 1])),
  ...Object.fromEntries(scaling("truncate").map((key) => [key, true])),
  ...Object.fromEntries(scaling("attention_factor").map((key) => [key, null])),
};
export const latentNames: Family["names"] = {
  ...outer,
  "model.layers.*.self_attn.q_a_proj.weight": "blocks.*.attention.query_down.weight",
  "model.layers.*.self_attn.q_a_layernorm.weight": "blocks.*.attention.query_norm.weight",
  "model.layers.*.self_attn.q_b_proj.weight": "blocks.*.attention.query_up.weight",
  "model.layers.*.self_attn.kv_a_proj_with_mqa.weight": "blocks.*.attention.down.weight",
  "model.layers.*.self_attn.kv_a_layernorm.weight": "blocks.*.attention.norm.weight",
  "model.layers.*.self_attn.kv_b_proj.weight": "blocks.*.attention.up.weight",
  "model.layers.*.self_attn.o_proj.weight": "blocks.*.attention.output.weight",
  ...deepseek,
};
/** Where experts stand in groups, by the best of each. */
export const ofGroups = ({ n_group: groups, topk_method: how }: Json): unknown =>
  how === "greedy" && (groups ?? 1) === 1 ? how : "group_limited_greedy";
/** Elsewhere groups are not looked at. */
export const groupsOf = ({ n_group: groups, topk_method: how }: Json): unknown =>
  how === "group_limited_greedy" ? groups : 1;
