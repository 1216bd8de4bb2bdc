// GLM-5.3's text model: Kimi Delta Attention beside latent attention to pools of keys that an indexer chooses; clamped mixtures, on streams.
import { type ConfigValue, type Family, type Json, lookup } from "../family.ts";
import { deepseekV32, indexersOf } from "./deepseek.ts";
import { connectionNames } from "./deepseek-v4.ts";
import { either, kimiLinear, linearAttention, still } from "./kimi-linear.ts";
import { denseOrSparse, required, requiredAs, stackedExpertNames, unbiasedSettings, wordOfEach } from "./shared.ts";

const linear = "linear_attention";
const attention = wordOfEach("layer_types", [linear, "indexed_attention", "full_attention"], (i) =>
  i % 4 === 3 ? "indexed_attention" : linear,
);
const feed = denseOrSparse((i) => i < 3);
/** The only accepted values of keys by which blocks might take the keys that one before chose: none does. */
const ownIndexers =
  (key: string) =>
  (config: Json): unknown =>
    attention.of(config)?.every((type, i) => type === linear || indexersOf(config)?.[i] === "full")
      ? config[key]
      : "an indexer of its own for each layer with latent attention";
/** How many pools of keys a query sees, beside those after them. */
const pools: ConfigValue = {
  keys: ["index_topk"],
  from: ({ index_topk: all = 2048, index_kpool: size = 16 }) => {
    return typeof all === "number" && typeof size === "number" && all % size === 0 ? all / size : undefined;
  },
  must: "a multiple of index_kpool",
};
/** What is left of a feature in a row is at least the exponential of the bound; without one, 0. */
const bound: ConfigValue = {
  keys: ["linear_attn_config.gate_lower_bound", "linear_lower_bound"],
  kind: "number",
  from: (config) => {
    const { gate_lower_bound: own = config["linear_lower_bound"], safe_gate: safe = true } = linearAttention(config);
    const none = lookup(config, "linear_attn_config") !== undefined && safe === true ? -5 : 0;
    const least = own === undefined ? -5 : (own ?? none);
    return typeof least === "number" && least <= 0 ? Math.abs(least) : undefined;
  },
  must: "a number of at most 0, or null",
};

export const glm5Next: Family = {
  type: "glm5_next_text",
  otherTypes: ["glm5_next"], // without a part for images the text model's settings are not within
  model: "Glm5Next",
  file: "glm5_next",
  header: {
    ...still,
    F: required("intermediate_size"),
    H: required("moe_intermediate_size"),
    N: { keys: ["hc_mult"], fallback: 4 },
    E: required("n_routed_experts", "num_local_experts"),
    K: required("num_experts_per_tok"),
    Shared: requiredAs("count", "n_shared_experts"),
    G: { keys: ["n_group"], fallback: 1 },
    Open: { keys: ["topk_group"], fallback: 1 },
    Q: required("q_lora_rank"),
    R: required("kv_lora_rank"),
    A: required("qk_nope_head_dim"),
    C: required("v_head_dim"),
    Size: { keys: ["index_kpool"], fallback: 16 },
    Top: pools,
    IndexHeads: { keys: ["index_n_heads"], fallback: 32 },
    IndexWidth: { keys: ["index_head_dim"], fallback: 128 },
    DeltaHeads: either("linear_num_heads", "num_heads", 64),
    DeltaWidth: either("linear_head_dim", "head_dim", 128),
    Width: either("linear_conv_kernel_dim", "short_conv_kernel_size", 4),
    most: bound,
    scale: required("routed_scaling_factor"),
    limit: { keys: ["swiglu_limit"], fallback: 10, kind: "positive" },
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
    Rounds: { keys: ["hc_sinkhorn_iters"], fallback: 20 },
    hyper_eps: { keys: ["hc_eps"], fallback: 1e-6 },
    indexed: {
      keys: ["layer_types"],
      kind: "boolean",
      from: (config) => attention.of(config)?.some((type) => type !== linear),
      must: "a list of kinds of attention, one for each layer",
    },
  },
  supported: {
    hidden_act: unbiasedSettings["hidden_act"],
    attention_bias: false,
    qk_rope_head_dim: 0,
    num_key_value_heads: ({ num_attention_heads: heads }: Json) => heads,
    index_kpool_always_select_tail: true,
    layer_types: attention.only,
    mlp_layer_types: feed.only,
    ...Object.fromEntries(
      ["indexer_types", "index_topk_pattern", "index_topk_freq", "index_skip_topk_offset"].map((key) => [
        key,
        ownIndexers(key),
      ]),
    ),
  },
  names: {
    ...deepseekV32.names,
    ...kimiLinear.names,
    ...stackedExpertNames("model.layers.*.mlp.experts", "blocks.*.feed.moe.experts"),
    ...connectionNames("model.layers.*.hc_attn", "blocks.*.streams1"),
    ...connectionNames("model.layers.*.hc_ffn", "blocks.*.streams2"),
    "model.layers.*.self_attn.indexer.index_kpool_compress_ape": ["blocks.*.attention.indexer.place"],
    "model.layers.*.self_attn.indexer.index_kpool_compress_gate": "blocks.*.attention.indexer.gate.weight",
  },
  ignoredPrefixes: (count) => [`model.layers.${count("num_hidden_layers")}.`],
  blocks: {
    model: "Glm5NextBlocks",
    kinds: {
      Delta: "Glm5NextDelta",
      DeltaMixture: "Glm5NextDeltaMixture",
      Latent: "Glm5NextLatent",
      LatentMixture: "Glm5NextLatentMixture",
    },
    order: (config) =>
      (attention.of(config) ?? []).map(
        (type, i) => `${type === linear ? "Delta" : "Latent"}${feed.of(config)?.[i] === "sparse" ? "Mixture" : ""}`,
      ),
  },
};
