// Nemotron-H, Nemotron Nano 2 and Nemotron 3: Mamba-2, attention, mixtures and dense layers, each a block of its own.
import { type Family, floatTag, type Json, lookup } from "../family.ts";
import { kindsOf, mambaNames } from "./mamba.ts";
import { required } from "./shared.ts";

const orderKeys = ["layers_block_type", "layer_types", "hybrid_override_pattern"];
/** The kind of each block, from a list, or from a pattern in older files. Undefined: it is neither. */
const kindsIn = (config: Json): string[] | undefined =>
  kindsOf(orderKeys.map((key) => lookup(config, key)).find((x) => x !== undefined));
/** The only accepted `num_hidden_layers`, which newer files have not. */
const asManyAsKinds = (config: Json): number | undefined => kindsIn(config)?.length;

/** The only accepted limits of a step: from `time_step_min` on, which transformers applies, none. */
const noLimit = [0, { [floatTag]: "Infinity" }];
/** Matrices of a layer without a gate, and their biases. */
const denseNames = (theirs: string, ours: string): Family["names"] =>
  Object.fromEntries(
    ["up", "down"].flatMap((name) =>
      ["weight", "bias"].map((part) => [`${theirs}.${name}_proj.${part}`, `${ours}.${name}.${part}`]),
    ),
  );
const mixer = "backbone.layers.*.mixer";
const mixtureNames: Family["names"] = {
  [`${mixer}.gate.weight`]: "blocks.*.mixer.moe.gate.weight",
  [`${mixer}.gate.e_score_correction_bias`]: "blocks.*.mixer.moe.gate.bias",
  [`${mixer}.fc1_latent_proj.weight`]: "blocks.*.mixer.moe.narrow.weight",
  [`${mixer}.fc1_latent_proj.bias`]: "blocks.*.mixer.moe.narrow.bias",
  [`${mixer}.fc2_latent_proj.weight`]: "blocks.*.mixer.moe.wide.weight",
  [`${mixer}.fc2_latent_proj.bias`]: "blocks.*.mixer.moe.wide.bias",
  ...denseNames(`${mixer}.experts.*`, "blocks.*.mixer.moe.experts.*"),
  ...denseNames(`${mixer}.shared_experts`, "blocks.*.mixer.shared"),
};
const names: Family["names"] = {
  "backbone.embeddings.weight": ["embed.weight"],
  "backbone.norm_f.weight": "norm.weight",
  "lm_head.weight": "head.weight",
  "backbone.layers.*.norm.weight": "blocks.*.norm.weight",
  ...mambaNames(mixer, "blocks.*.mixer"),
  [`${mixer}.q_proj.weight`]: "blocks.*.mixer.query.weight",
  [`${mixer}.k_proj.weight`]: "blocks.*.mixer.key.weight",
  [`${mixer}.v_proj.weight`]: "blocks.*.mixer.value.weight",
  [`${mixer}.o_proj.weight`]: "blocks.*.mixer.output.weight",
  ...mixtureNames,
  ...denseNames(mixer, "blocks.*.mixer"),
};

/** The names of the model within transformers, which it saves under the older ones. */
const newerNames = Object.fromEntries(
  Object.entries(names).map(([theirs, ours]) => [theirs.replace(/^backbone\./, "model."), ours]),
);

export const nemotronH: Family = {
  type: "nemotron_h",
  model: "NemotronH",
  file: "nemotron",
  header: {
    V: required("vocab_size"),
    D: required("hidden_size"),
    L: {
      keys: orderKeys,
      kind: "layers",
      from: asManyAsKinds,
      must: "a list of mamba, attention, moe and mlp, or a pattern of M, *, E and -",
    },
    Heads: required("num_attention_heads"),
    Groups: required("num_key_value_heads", "num_attention_heads"),
    A: { keys: ["head_dim", "attention_head_dim"], fallback: 128 },
    Context: required("max_position_embeddings"),
    eps: required("layer_norm_epsilon"),
    std: { keys: ["initializer_range"], fallback: null },
    Wide: { keys: ["intermediate_size"], fallback: 21504 },
    StateHeads: { keys: ["mamba_num_heads"], fallback: 128 },
    StateWidth: { keys: ["mamba_head_dim"], fallback: 64 },
    States: { keys: ["ssm_state_size"], fallback: 128 },
    StateGroups: { keys: ["n_groups", "mamba_n_groups"], fallback: 8 },
    Width: { keys: ["conv_kernel", "mamba_d_conv"], fallback: 4 },
    least: { keys: ["time_step_min", "mamba_dt_min"], fallback: 0.001 },
    state_biased: { keys: ["use_bias"], fallback: false },
    conv_biased: { keys: ["use_conv_bias", "mamba_conv_bias"], fallback: true },
    feed_biased: { keys: ["mlp_bias"], fallback: false },
    H: { keys: ["moe_intermediate_size"], fallback: 7688 },
    F: { keys: ["moe_shared_expert_intermediate_size"], fallback: 7688 },
    E: { keys: ["n_routed_experts", "num_local_experts"], fallback: 8 },
    K: { keys: ["num_experts_per_tok"], fallback: 2 },
    R: { keys: ["moe_latent_size"], kind: "count", fallback: 0 },
    G: { keys: ["n_group"], fallback: 1 },
    Open: { keys: ["topk_group"], fallback: 1 },
    scale: { keys: ["routed_scaling_factor"], fallback: 1 },
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
  },
  supported: {
    mamba_hidden_act: "silu",
    mlp_hidden_act: "relu2",
    attention_bias: false,
    mamba_proj_bias: false,
    n_shared_experts: 1,
    num_hidden_layers: asManyAsKinds,
    time_step_limit: noLimit,
    mamba_dt_limit: noLimit,
    sliding_window: null,
    tie_word_embeddings: false,
  },
  names: { ...names, ...newerNames },
  ignoredPrefixes: () => ["mtp."],
  blocks: {
    kinds: {
      Mamba: "NemotronMamba",
      Attention: "NemotronAttention",
      Mixture: "NemotronMixture",
      Dense: "NemotronDense",
    },
    order: (config) => kindsIn(config) ?? [],
  },
};
