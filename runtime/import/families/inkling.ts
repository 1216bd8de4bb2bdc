// Inkling's text model: windows and full attention with short convolutions and a bias by distance; mixtures whose gate weighs the shared experts too.
import { type ConfigValue, type Family, type Json, lookup } from "../family.ts";
import { still } from "./kimi-linear.ts";
import { denseOrSparse, required, requiredAs, unbiasedSettings, wholeOr, wordOfEach } from "./shared.ts";

type Ours = Family["names"][string];

/** Without a list of kinds those that `local_layer_ids` names have windows, or all but each sixth. */
const attention = ({ local_layer_ids: near }: Json): ReturnType<typeof wordOfEach> =>
  wordOfEach("layer_types", ["hybrid", "hybrid_sliding"], (i) =>
    (Array.isArray(near) ? near.includes(i) : (i + 1) % 6 > 0) ? "hybrid_sliding" : "hybrid",
  );
const feed = ({ dense_mlp_idx: said }: Json): ReturnType<typeof wordOfEach> => {
  const dense = wholeOr(said, 0) ?? 0;
  return denseOrSparse((i) => i < dense);
};

/** As released, the experts' width is called that of the dense blocks, which have a key of their own. */
const expertWidth: ConfigValue = {
  keys: ["moe_intermediate_size", "intermediate_size"],
  from: (config) => {
    const width = lookup(config, config["dense_intermediate_size"] ? "intermediate_size" : "moe_intermediate_size");
    return typeof width === "number" ? width : undefined;
  },
  must: "a whole number",
};
/** Gate and up of one layer or of several, one behind the other, or as released side by side, row by row of a `width`. */
const gateAndUp = (ours: string, width?: "F" | "H"): Ours => ({
  runs: [`blocks.*.${ours}.gate.weight`, `blocks.*.${ours}.up.weight`],
  transposed: true,
  groups: (header) => (width ? Number(header[width]) : 1),
});
/** Of the blocks' weights what transformers calls them, what a release does, and what they are of ours, under `blocks.*`. */
const blockNames = [
  ["input_layernorm.weight", "attn_norm.weight", "norm1.weight"],
  ["post_attention_layernorm.weight", "mlp_norm.weight", "norm2.weight"],
  ["self_attn.q_proj.weight", "attn.wq_du.weight", "attention.query.weight"],
  ["self_attn.k_proj.weight", "attn.wk_dv.weight", "attention.key.weight"],
  ["self_attn.v_proj.weight", "attn.wv_dv.weight", "attention.value.weight"],
  ["self_attn.r_proj.weight", "attn.wr_du.weight", "attention.place.weight"],
  ["self_attn.o_proj.weight", "attn.wo_ud.weight", "attention.output.weight"],
  ["self_attn.q_norm.weight", "attn.q_norm.weight", "attention.query_norm.weight"],
  ["self_attn.k_norm.weight", "attn.k_norm.weight", "attention.key_norm.weight"],
  ["self_attn.k_sconv.conv1d.weight", "attn.k_sconv.weight", "attention.key_conv.conv"],
  ["self_attn.v_sconv.conv1d.weight", "attn.v_sconv.weight", "attention.value_conv.conv"],
  ["attn_sconv.conv1d.weight", "attn_sconv.weight", "conv1.conv"],
  ["mlp_sconv.conv1d.weight", "mlp_sconv.weight", "conv2.conv"],
  ["mlp.down_proj.weight", "mlp.w2_md.weight", "feed.body.down.weight"],
  ["mlp.global_scale", "mlp.global_scale", "feed.gain"],
  ["mlp.gate.weight", "mlp.gate.weight", "feed.gate.weight"],
  ["mlp.gate.global_scale", "mlp.gate.global_scale", "feed.gate.gain"],
  ["mlp.gate.e_score_correction_bias", "mlp.gate.bias", "feed.gate.bias"],
] as const;
/** Those that are as in ours, and not turned. */
const asTheyAre = [["self_attn.rel_logits_proj.proj", "attn.rel_logits_proj.proj", "attention.profiles"]] as const;
/** Those of several experts in one. */
const stackedNames = [
  ["mlp.experts.down_proj", "mlp.experts.w2_weight", "feed.experts.down.weight"],
  ["mlp.shared_experts.down_proj", "mlp.shared_experts.shared_w2_weight", "feed.shared.down.weight"],
] as const;
const both = (names: readonly (readonly [string, string, string])[], as: (ours: string) => Ours): Family["names"] =>
  Object.fromEntries(
    names.flatMap(([theirs, released, ours]) => [
      [`model.layers.*.${theirs}`, as(`blocks.*.${ours}`)],
      [`model.llm.layers.*.${released}`, as(`blocks.*.${ours}`)],
    ]),
  );

export const inkling: Family = {
  type: "inkling_text",
  otherTypes: ["inkling_mm_model"],
  model: "Inkling",
  file: "inkling",
  header: {
    ...still,
    Context: required("max_position_embeddings", "model_max_length"),
    F: required("dense_intermediate_size", "intermediate_size"),
    H: expertWidth,
    Groups: required("num_key_value_heads"),
    A: required("head_dim"),
    NearHeads: required("swa_num_attention_heads"),
    NearGroups: required("swa_num_key_value_heads"),
    NearA: required("swa_head_dim"),
    R: { keys: ["d_rel"], fallback: 16 },
    Extent: { keys: ["rel_extent"], fallback: 1024 },
    window: requiredAs("size", "sliding_window_size", "sliding_window"),
    Width: { keys: ["conv_kernel_size", "sconv_kernel_size"], fallback: 4 },
    floor: { keys: ["log_scaling_n_floor"], fallback: 0 },
    growth: { keys: ["log_scaling_alpha"], fallback: 0.1 },
    E: required("n_routed_experts", "num_local_experts"),
    K: required("num_experts_per_tok"),
    Shared: requiredAs("size", "n_shared_experts"),
    scale: { keys: ["route_scale"], fallback: 8 },
    Known: { keys: ["unpadded_vocab_size"], fallback: null },
    soft: { keys: ["logits_mup_width_multiplier", "embedding_multiplier"], fallback: 24, kind: "positive" },
  },
  supported: {
    hidden_act: unbiasedSettings["hidden_act"],
    shared_expert_sink: true,
    layer_types: (config: Json) => attention(config).only(config),
    mlp_layer_types: (config: Json) => feed(config).only(config),
  },
  names: {
    ...both(blockNames, (ours) => ours),
    ...both(asTheyAre, (ours) => [ours]),
    ...both(stackedNames, (ours) => ({ runs: [ours], transposed: true })),
    "model.embed_tokens.weight": ["embed.weight"],
    "model.embed_tokens.embed_norm.weight": "embed_norm.weight",
    "model.norm.weight": "norm.weight",
    "lm_head.weight": "head.weight",
    "model.layers.*.mlp.gate_proj.weight": "blocks.*.feed.body.gate.weight",
    "model.layers.*.mlp.up_proj.weight": "blocks.*.feed.body.up.weight",
    "model.layers.*.mlp.experts.gate_up_proj": gateAndUp("feed.experts"),
    "model.layers.*.mlp.shared_experts.gate_proj": { runs: ["blocks.*.feed.shared.gate.weight"], transposed: true },
    "model.layers.*.mlp.shared_experts.up_proj": { runs: ["blocks.*.feed.shared.up.weight"], transposed: true },
    "model.llm.embed.weight": ["embed.weight"],
    "model.llm.embed_norm.weight": "embed_norm.weight",
    "model.llm.norm.weight": "norm.weight",
    "model.llm.unembed.weight": "head.weight",
    "model.llm.layers.*.mlp.w13_dn.weight": gateAndUp("feed.body", "F"),
    "model.llm.layers.*.mlp.experts.w13_weight": gateAndUp("feed.experts", "H"),
    "model.llm.layers.*.mlp.shared_experts.shared_w13_weight": gateAndUp("feed.shared", "H"),
  },
  ignoredPrefixes: () => ["model.mtp."],
  blocks: {
    model: "InklingBlocks",
    kinds: {
      Near: "InklingNear",
      Far: "InklingFar",
      NearMixture: "InklingNearMixture",
      FarMixture: "InklingFarMixture",
    },
    order: (config) =>
      (attention(config).of(config) ?? []).map(
        (type, i) =>
          `${type === "hybrid" ? "Far" : "Near"}${feed(config).of(config)?.[i] === "sparse" ? "Mixture" : ""}`,
      ),
  },
};
