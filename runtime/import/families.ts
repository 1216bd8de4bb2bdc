// Which of transformers' architectures the standard library has: for each, where config.json says the header's values, and what weights are called.

export type Json = Readonly<Record<string, unknown>>;
/** `a.b` is b in a; null is as if it were not there. */
export const lookup = (config: Json, key: string): unknown =>
  key.split(".").reduce<unknown>((x, part) => (x as Json | null | undefined)?.[part], config) ?? undefined;
/** Keys of config.json, the first that is there; `a.b` is b in a. What it is without any (null: as the model's header has it), else one is needed. */
interface Said {
  readonly keys: readonly string[];
  readonly otherwise?: number | boolean | null;
}
export interface Family {
  /** The `model_type` of config.json. */
  readonly type: string;
  /** The model of std/models/decoder. */
  readonly model: string;
  readonly header: Readonly<Record<string, Said>>;
  /** What else a key must say, if it is there and not null: the model knows nothing else. A function has it from the rest of config.json. */
  readonly only: Readonly<Record<string, unknown>>;
  /**
   * Their name and ours; each `*` is a number, and null is not read. Their matrices are [out, in], ours [in, out]. What is not turned has its name in
   * a list; of several names each takes the last axis's elements in turn.
   */
  readonly names: Readonly<Record<string, string | readonly string[] | Runs | Row | null>>;
  /** Whether the head is the embedding's table where config.json does not say. */
  readonly tied?: boolean;
}
/** Each name takes a run of the last axis, all of one length. `turned`: the last two axes are exchanged first. */
export interface Runs {
  readonly runs: readonly string[];
  readonly turned: boolean;
}
/** A matrix of one row, which is a vector here. */
export interface Row {
  readonly row: string;
}

const said = (...keys: string[]): Said => ({ keys });
const rotations = ["rope_parameters.rope_theta", "rope_theta"];
const dense: Family["header"] = {
  V: said("vocab_size"),
  D: said("hidden_size"),
  L: said("num_hidden_layers"),
  Heads: said("num_attention_heads"),
  Context: said("max_position_embeddings"),
  base: { keys: rotations, otherwise: 10000 },
  eps: said("rms_norm_eps"),
};
const common: Family["header"] = { ...dense, K: said("num_experts_per_tok") };
const bare: Family["only"] = {
  hidden_act: "silu",
  "rope_parameters.rope_type": "default",
  "rope_scaling.rope_type": "default",
  "rope_scaling.type": "default",
};
/** Mixtral's, and of those made like it. */
const mixtral: Family["header"] = {
  ...common,
  H: said("intermediate_size"),
  Groups: said("num_key_value_heads"),
  E: said("num_local_experts"),
  A: { keys: ["head_dim"], otherwise: null },
};
const plain: Family["only"] = { ...bare, attention_bias: false };
/** GLM-4.5's, and of those made like it. */
const glm: Family["header"] = {
  ...common,
  F: said("intermediate_size"),
  H: said("moe_intermediate_size"),
  Dense: said("first_k_dense_replace"),
  Groups: said("num_key_value_heads"),
  E: said("n_routed_experts", "num_local_experts"),
  Shared: said("n_shared_experts"),
  scale: said("routed_scaling_factor"),
};
const outer: Family["names"] = {
  "model.embed_tokens.weight": ["embed.weight"],
  "model.norm.weight": "norm.weight",
  "lm_head.weight": "head.weight",
  "model.layers.*.input_layernorm.weight": "blocks.*.norm1.weight",
  "model.layers.*.post_attention_layernorm.weight": "blocks.*.norm2.weight",
  "model.layers.*.self_attn.rotary_emb.inv_freq": null,
};
const attention = {
  "model.layers.*.self_attn.q_proj.weight": "blocks.*.attention.query.weight",
  "model.layers.*.self_attn.k_proj.weight": "blocks.*.attention.key.weight",
  "model.layers.*.self_attn.v_proj.weight": "blocks.*.attention.value.weight",
  "model.layers.*.self_attn.o_proj.weight": "blocks.*.attention.output.weight",
};
const norms: Family["names"] = {
  "model.layers.*.self_attn.q_norm.weight": "blocks.*.attention.query_norm.weight",
  "model.layers.*.self_attn.k_norm.weight": "blocks.*.attention.key_norm.weight",
};
const swiglu = (theirs: string, ours: string): Family["names"] => ({
  [`${theirs}.gate_proj.weight`]: `${ours}.gate.weight`,
  [`${theirs}.up_proj.weight`]: `${ours}.up.weight`,
  [`${theirs}.down_proj.weight`]: `${ours}.down.weight`,
});
const mixture = (ours: string): Family["names"] => ({
  "model.layers.*.mlp.gate.weight": `blocks.*.${ours}.gate.weight`,
  ...swiglu("model.layers.*.mlp.experts.*", `blocks.*.${ours}.experts.*`),
});
const sparse: Family["names"] = {
  "model.layers.*.block_sparse_moe.gate.weight": "blocks.*.feed.gate.weight",
  "model.layers.*.block_sparse_moe.experts.*.w1.weight": "blocks.*.feed.experts.*.gate.weight",
  "model.layers.*.block_sparse_moe.experts.*.w2.weight": "blocks.*.feed.experts.*.down.weight",
  "model.layers.*.block_sparse_moe.experts.*.w3.weight": "blocks.*.feed.experts.*.up.weight",
};
/** Dense blocks, then blocks with a shared expert, chosen by scores and a bias. */
const deepseek: Family["names"] = {
  ...mixture("feed.moe"),
  ...swiglu("model.layers.*.mlp", "blocks.*.feed"),
  ...swiglu("model.layers.*.mlp.shared_experts", "blocks.*.feed.shared"),
  "model.layers.*.mlp.gate.e_score_correction_bias": "blocks.*.feed.moe.gate.bias",
};

const biases: Family["names"] = Object.fromEntries(
  Object.entries(attention).map(([theirs, ours]) => [toBias(theirs), toBias(ours)]),
);
function toBias(weight: string): string {
  return weight.replace(/weight$/, "bias");
}
/** GPT-OSS's: a window in every other block, from the first on. */
const everyOther = ({ num_hidden_layers: layers }: Json): string[] =>
  Array.from({ length: Number(layers) }, (_, i) => (i % 2 === 0 ? "sliding_attention" : "full_attention"));
/** Llama 4's: three blocks with rope, then one without. */
const everyFourth =
  <T>(near: T, far: T) =>
  ({ num_hidden_layers: layers }: Json): T[] =>
    Array.from({ length: Number(layers) }, (_, i) => (i % 4 === 3 ? far : near));
const everyFull = ({ num_hidden_layers: layers }: Json): string[] => Array(Number(layers)).fill("full_attention");
const everyStep = ({ num_hidden_layers: layers, interleave_moe_layer_step: step = 1 }: Json): number[] =>
  Array.from({ length: Number(layers) }, (_, i) => i).filter((i) => (i + 1) % Number(step) === 0);
/** Where layers have windows, only those from here on. */
const beyondWindows = ({
  sliding_window: window,
  max_window_layers: from,
  num_hidden_layers: layers,
}: Json): unknown => (window === null || window === undefined || Number(from) >= Number(layers) ? from : layers);
/** All blocks after the first few are mixtures, with a shared expert. */
const toTheLast = ({ moe_layer_end_index: end, num_hidden_layers: layers }: Json): number =>
  end === -1 ? -1 : Number(layers) - 1;
const someShared = ({ moe_num_shared_experts: n }: Json): unknown => (n === 0 ? "1 or more" : n);
const llama3 = (config: Json): string =>
  scaling("rope_type").some((key) => lookup(config, key) === "llama3") ? "llama3" : "default";
/** Only llama3's rates are stretched. */
const stretchOf =
  (key: string) =>
  (config: Json): unknown =>
    llama3(config) === "llama3" ? lookup(config, key) : 1;
/** The key's own value if it is one of these, else the first. */
const oneOf =
  (key: string, ...values: readonly unknown[]) =>
  (config: Json): unknown =>
    values.includes(config[key]) ? config[key] : values[0];
const scaling = (key: string): string[] => [`rope_parameters.${key}`, `rope_scaling.${key}`];

export const families: readonly Family[] = [
  {
    type: "mixtral",
    model: "Mixtral",
    header: {
      ...mixtral,
      window: { keys: ["sliding_window"], otherwise: null },
    },
    only: plain,
    names: {
      ...outer,
      ...attention,
      ...sparse,
    },
  },
  {
    type: "olmoe",
    model: "Olmoe",
    header: {
      ...common,
      H: said("intermediate_size"),
      Groups: said("num_key_value_heads"),
      E: said("num_experts", "num_local_experts"),
      renormalised: said("norm_topk_prob"),
    },
    only: { ...plain, clip_qkv: null },
    names: { ...outer, ...attention, ...norms, ...mixture("feed") },
  },
  {
    type: "qwen3_moe",
    model: "Qwen3Moe",
    header: {
      ...common,
      H: said("moe_intermediate_size"),
      Groups: said("num_key_value_heads"),
      A: said("head_dim"),
      E: said("num_experts", "num_local_experts"),
      renormalised: said("norm_topk_prob"),
    },
    only: { ...plain, use_sliding_window: false, decoder_sparse_step: 1, mlp_only_layers: [] },
    names: { ...outer, ...attention, ...norms, ...mixture("feed") },
  },
  {
    type: "qwen2_moe",
    model: "Qwen2Moe",
    header: {
      ...common,
      H: said("moe_intermediate_size"),
      F: said("shared_expert_intermediate_size"),
      Groups: said("num_key_value_heads"),
      E: said("num_experts", "num_local_experts"),
      renormalised: said("norm_topk_prob"),
      A: { keys: ["head_dim"], otherwise: null },
      biased: { keys: ["qkv_bias"], otherwise: true },
    },
    only: { ...plain, use_sliding_window: false, layer_types: everyFull, decoder_sparse_step: 1, mlp_only_layers: [] },
    names: {
      ...outer,
      ...attention,
      ...biases,
      ...mixture("feed.moe"),
      ...swiglu("model.layers.*.mlp.shared_expert", "blocks.*.feed.shared.inner"),
      "model.layers.*.mlp.shared_expert_gate.weight": "blocks.*.feed.shared.gate.weight",
    },
  },
  {
    type: "glm4_moe",
    model: "Glm4Moe",
    header: {
      ...glm,
      A: said("head_dim"),
      renormalised: { keys: ["norm_topk_prob"], otherwise: true },
      part: { keys: ["rope_parameters.partial_rotary_factor", "partial_rotary_factor"], otherwise: 0.5 },
      normed: { keys: ["use_qk_norm"], otherwise: false },
      biased: { keys: ["attention_bias"], otherwise: false },
    },
    only: { ...bare, n_group: 1, topk_group: 1 },
    names: {
      ...outer,
      ...attention,
      ...biases,
      ...norms,
      ...deepseek,
    },
  },
  {
    type: "dots1",
    model: "Dots1",
    header: {
      ...glm,
      A: { keys: ["head_dim"], otherwise: null },
      renormalised: { keys: ["norm_topk_prob"], otherwise: false },
    },
    only: { ...plain, n_group: 1, topk_group: 1, layer_types: everyFull, max_window_layers: beyondWindows },
    names: { ...outer, ...attention, ...norms, ...deepseek },
  },
  {
    type: "ernie4_5_moe",
    model: "Ernie45Moe",
    header: {
      ...dense,
      F: said("intermediate_size"),
      H: said("moe_intermediate_size"),
      Dense: said("moe_layer_start_index"),
      Groups: said("num_key_value_heads"),
      A: { keys: ["head_dim"], otherwise: null },
      E: said("moe_num_experts"),
      K: said("moe_k"),
      Shared: said("moe_num_shared_experts"),
      base: { keys: rotations, otherwise: 500000 },
    },
    only: {
      ...bare,
      use_bias: false,
      moe_num_shared_experts: someShared,
      moe_layer_interval: 1,
      moe_layer_end_index: toTheLast,
      moe_norm_min: 1e-12,
    },
    names: {
      ...outer,
      ...attention,
      ...deepseek,
      "model.layers.*.mlp.moe_statics.e_score_correction_bias": { row: "blocks.*.feed.moe.gate.bias" },
    },
    tied: true,
  },
  {
    type: "minimax_m2",
    model: "MiniMaxM2",
    header: {
      ...mixtral,
      A: said("head_dim"),
      part: { keys: ["rope_parameters.partial_rotary_factor", "partial_rotary_factor"], otherwise: 1 },
      P: { keys: ["rotary_dim"], otherwise: null },
      base: { keys: rotations, otherwise: 5000000 },
    },
    only: { ...bare, scoring_func: "sigmoid", use_qk_norm: true, use_routing_bias: true, shared_intermediate_size: 0 },
    names: {
      ...outer,
      ...attention,
      ...norms,
      ...sparse,
      "model.layers.*.block_sparse_moe.e_score_correction_bias": "blocks.*.feed.gate.bias",
    },
  },
  {
    type: "granitemoe",
    model: "GraniteMoe",
    header: {
      ...mixtral,
      scale: { keys: ["attention_multiplier"], otherwise: 1 },
      part: { keys: ["residual_multiplier"], otherwise: 1 },
      wide: { keys: ["embedding_multiplier"], otherwise: 1 },
      soft: { keys: ["logits_scaling"], otherwise: 1 },
    },
    only: plain,
    names: {
      ...outer,
      ...attention,
      "model.layers.*.block_sparse_moe.router.layer.weight": "blocks.*.feed.gate.weight",
      "model.layers.*.block_sparse_moe.input_linear.weight": {
        runs: ["blocks.*.feed.experts.gate.weight", "blocks.*.feed.experts.up.weight"],
        turned: true,
      },
      "model.layers.*.block_sparse_moe.output_linear.weight": {
        runs: ["blocks.*.feed.experts.down.weight"],
        turned: true,
      },
    },
  },
  {
    type: "gpt_oss",
    model: "GptOss",
    header: {
      ...common,
      H: said("intermediate_size"),
      Groups: said("num_key_value_heads"),
      A: said("head_dim"),
      E: said("num_local_experts", "num_experts"),
      window: said("sliding_window"),
      stretch: said(...scaling("factor")),
      original: said(...scaling("original_max_position_embeddings")),
      truncate: { keys: scaling("truncate"), otherwise: true },
      limit: { keys: ["swiglu_limit"], otherwise: 7 },
      alpha: { keys: ["swiglu_alpha"], otherwise: 1.702 },
    },
    only: {
      hidden_act: "silu",
      attention_bias: true,
      layer_types: everyOther,
      ...Object.fromEntries(scaling("rope_type").map((key) => [key, "yarn"])),
      ...Object.fromEntries(scaling("beta_fast").map((key) => [key, 32])),
      ...Object.fromEntries(scaling("beta_slow").map((key) => [key, 1])),
    },
    names: {
      ...outer,
      ...attention,
      ...biases,
      "model.layers.*.self_attn.sinks": "blocks.*.attention.sinks",
      "model.layers.*.mlp.router.weight": "blocks.*.feed.gate.weight",
      "model.layers.*.mlp.router.bias": "blocks.*.feed.gate.bias",
      "model.layers.*.mlp.experts.gate_up_proj": [
        "blocks.*.feed.experts.gate.weight",
        "blocks.*.feed.experts.up.weight",
      ],
      "model.layers.*.mlp.experts.gate_up_proj_bias": [
        "blocks.*.feed.experts.gate.bias",
        "blocks.*.feed.experts.up.bias",
      ],
      "model.layers.*.mlp.experts.down_proj": ["blocks.*.feed.experts.down.weight"],
      "model.layers.*.mlp.experts.down_proj_bias": ["blocks.*.feed.experts.down.bias"],
    },
  },
  {
    type: "gemma2",
    model: "Gemma2",
    header: {
      ...dense,
      H: said("intermediate_size"),
      Groups: said("num_key_value_heads"),
      A: said("head_dim"),
      window: said("sliding_window"),
      scalar: said("query_pre_attn_scalar"),
      cap: said("attn_logit_softcapping"),
      last: said("final_logit_softcapping"),
    },
    only: {
      ...plain,
      hidden_act: "gelu_pytorch_tanh",
      hidden_activation: "gelu_pytorch_tanh",
      layer_types: everyOther,
      use_bidirectional_attention: false,
    },
    names: {
      ...outer,
      ...attention,
      ...swiglu("model.layers.*.mlp", "blocks.*.feed"),
      "model.layers.*.post_attention_layernorm.weight": "blocks.*.after1.weight",
      "model.layers.*.pre_feedforward_layernorm.weight": "blocks.*.norm2.weight",
      "model.layers.*.post_feedforward_layernorm.weight": "blocks.*.after2.weight",
    },
    tied: true,
  },
  {
    type: "llama4_text",
    model: "Llama4",
    header: {
      ...common,
      F: said("intermediate_size_mlp"),
      H: said("intermediate_size"),
      Groups: said("num_key_value_heads"),
      A: said("head_dim"),
      E: said("num_local_experts"),
      Step: said("interleave_moe_layer_step"),
      base: { keys: rotations, otherwise: 500000 },
      chunk: said("attention_chunk_size"),
      normed: { keys: ["use_qk_norm"], otherwise: true },
      heat: { keys: ["attn_scale"], otherwise: 0.1 },
      span: { keys: ["floor_scale"], otherwise: 8192 },
      stretch: { keys: scaling("factor"), otherwise: 1 },
      original: said(...scaling("original_max_position_embeddings"), "max_position_embeddings"),
      low: { keys: scaling("low_freq_factor"), otherwise: null },
      high: { keys: scaling("high_freq_factor"), otherwise: null },
    },
    only: {
      hidden_act: "silu",
      attention_bias: false,
      ...Object.fromEntries(scaling("rope_type").map((key) => [key, llama3])),
      ...Object.fromEntries(scaling("factor").map((key) => [key, stretchOf(key)])),
      interleave_moe_layer_step: oneOf("interleave_moe_layer_step", 1, 2, 4),
      attn_temperature_tuning: oneOf("attn_temperature_tuning", true, 4),
      no_rope_layer_interval: 4,
      no_rope_layers: everyFourth(1, 0),
      layer_types: everyFourth("chunked_attention", "full_attention"),
      moe_layers: everyStep,
    },
    names: {
      ...outer,
      ...attention,
      ...swiglu("model.layers.*.feed_forward", "blocks.*.feed.dense"),
      ...swiglu("model.layers.*.feed_forward.shared_expert", "blocks.*.feed.shared"),
      "model.layers.*.feed_forward.router.weight": "blocks.*.feed.router.weight",
      "model.layers.*.feed_forward.experts.gate_up_proj": {
        runs: ["blocks.*.feed.experts.gate.weight", "blocks.*.feed.experts.up.weight"],
        turned: false,
      },
      "model.layers.*.feed_forward.experts.down_proj": ["blocks.*.feed.experts.down.weight"],
    },
  },
  {
    type: "deepseek_v3",
    model: "DeepSeekMain",
    header: {
      ...common,
      F: said("intermediate_size"),
      H: said("moe_intermediate_size"),
      Dense: said("first_k_dense_replace"),
      E: said("n_routed_experts"),
      G: said("n_group"),
      Open: said("topk_group"),
      Q: said("q_lora_rank"),
      R: said("kv_lora_rank"),
      A: said("qk_nope_head_dim"),
      P: said("qk_rope_head_dim"),
      C: said("v_head_dim"),
      scale: said("routed_scaling_factor"),
    },
    only: { ...plain, norm_topk_prob: true, n_shared_experts: 1, rope_interleave: true, moe_layer_freq: 1 },
    names: {
      ...outer,
      "model.layers.*.self_attn.q_a_proj.weight": "blocks.*.attention.query_down.weight",
      "model.layers.*.self_attn.q_a_layernorm.weight": "blocks.*.attention.query_norm.weight",
      "model.layers.*.self_attn.q_b_proj.weight": "blocks.*.attention.query_up.weight",
      "model.layers.*.self_attn.kv_a_proj_with_mqa.weight": "blocks.*.attention.down.weight",
      "model.layers.*.self_attn.kv_a_layernorm.weight": "blocks.*.attention.norm.weight",
      "model.layers.*.self_attn.kv_b_proj.weight": "blocks.*.attention.up.weight",
      "model.layers.*.self_attn.o_proj.weight": "blocks.*.attention.output.weight",
      ...deepseek,
    },
  },
];
