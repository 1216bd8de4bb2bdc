// NLLB-MoE: M2M-100's encoder and decoder with mixtures.
import type { ConfigValue, Family, Json } from "../family.ts";
import { required, requiredAs, wholeOr } from "./shared.ts";

const must = "a whole number of at least 0";
/** Each how many-th block of a stack is a mixture, and how many there are; a step of 0: none. */
function sparseHeader(stack: "encoder" | "decoder", suffix: string): Family["header"] {
  const keys = [`${stack}_sparse_step`];
  const stepOf = (config: Json): number | undefined => wholeOr(config[`${stack}_sparse_step`], 4);
  const mixed = (config: Json): number | undefined => {
    const step = stepOf(config);
    return step ? Math.floor(Number(config[`${stack}_layers`]) / step) : step;
  };
  const step = (config: Json): number | undefined => (stepOf(config) === 0 ? 1 : stepOf(config));
  return {
    [`Step${suffix}`]: { keys, kind: "size", from: step, must },
    [`Mixed${suffix}`]: { keys, kind: "count", from: mixed, must },
  };
}
/** A part of all rows. transformers takes that of training, and other numbers of rows, for 0 and less. */
const fraction: ConfigValue = {
  keys: ["moe_eval_capacity_token_fraction"],
  kind: "number",
  from: ({ moe_eval_capacity_token_fraction: part }) =>
    typeof (part ?? 1) === "number" && Number(part ?? 1) > 0 ? Number(part ?? 1) : undefined,
  must: "a number above 0",
};
const linear = (theirs: string, ours: string): Family["names"] => ({
  [`${theirs}.weight`]: `${ours}.weight`,
  [`${theirs}.bias`]: `${ours}.bias`,
});
const attentionNames = (theirs: string, ours: string): Family["names"] => ({
  ...linear(`${theirs}.q_proj`, `${ours}.query`),
  ...linear(`${theirs}.k_proj`, `${ours}.key`),
  ...linear(`${theirs}.v_proj`, `${ours}.value`),
  ...linear(`${theirs}.out_proj`, `${ours}.output`),
});
const feedNames = (theirs: string, ours: string): Family["names"] => ({
  ...linear(`${theirs}.fc1`, `${ours}.up`),
  ...linear(`${theirs}.fc2`, `${ours}.down`),
});
const blockNames = (theirs: string, ours: string, last: number): Family["names"] => ({
  ...attentionNames(`${theirs}.self_attn`, `${ours}.attention`),
  ...linear(`${theirs}.self_attn_layer_norm`, `${ours}.norms.0`),
  ...linear(`${theirs}.ff_layer_norm`, `${ours}.norms.${last}`),
  ...feedNames(`${theirs}.ffn`, `${ours}.feed`),
  ...feedNames(`${theirs}.ffn.experts.expert_*`, `${ours}.feed.experts.*`),
  [`${theirs}.ffn.router.classifier.weight`]: `${ours}.feed.weight`,
  [`${theirs}.ffn.router.classifier.bias`]: `${ours}.feed.bias`,
});
const [reads, writes] = ["model.encoder.layers.*", "model.decoder.layers.*"];

export const nllbMoe: Family = {
  type: "nllb-moe",
  model: "NllbMoe",
  file: "nllb",
  header: {
    V: required("vocab_size"),
    D: required("d_model"),
    H: required("encoder_ffn_dim"),
    H2: required("decoder_ffn_dim"),
    M: requiredAs("layers", "encoder_layers"),
    L: requiredAs("layers", "decoder_layers"),
    Heads: required("encoder_attention_heads"),
    Heads2: required("decoder_attention_heads"),
    E: required("num_experts"),
    ...sparseHeader("encoder", ""),
    ...sparseHeader("decoder", "2"),
    Context: required("max_position_embeddings"),
    Source: required("max_position_embeddings"),
    capacity: { keys: ["expert_capacity"], fallback: 64, kind: "size" },
    fraction,
    early: { keys: ["normalize_router_prob_before_dropping"], fallback: false },
    prioritised: { keys: ["batch_prioritized_routing"], fallback: false },
    biased: { keys: ["router_bias"], fallback: false },
    wide: {
      keys: ["scale_embedding"],
      kind: "number",
      from: ({ scale_embedding: scaled, d_model: D }) =>
        scaled === false ? 1 : (scaled ?? true) === true ? Math.sqrt(Number(D)) : undefined,
      must: "true or false",
    },
    first: {
      keys: ["pad_token_id"],
      kind: "number",
      from: ({ pad_token_id: pad }) => {
        const token = wholeOr(pad, 1);
        return token === undefined ? undefined : token + 1;
      },
      must,
    },
    drop: { keys: ["moe_token_dropout"], fallback: 0.2 },
    balance: { keys: ["router_aux_loss_coef"], fallback: 0.001 },
    z: { keys: ["router_z_loss_coef"], fallback: 0.001 },
    std: { keys: ["init_std"], fallback: 0.02 },
  },
  supported: {
    activation_function: "relu",
    router_dtype: "float32",
    second_expert_policy: "all",
    router_ignore_padding_tokens: false,
  },
  names: {
    "model.shared.weight": ["embed.weight"],
    "model.encoder.embed_tokens.weight": ["embed.weight"],
    "model.decoder.embed_tokens.weight": ["embed.weight"],
    "lm_head.weight": "head.weight",
    ...linear("model.encoder.layer_norm", "encoder_norm"),
    ...linear("model.decoder.layer_norm", "norm"),
    ...blockNames(reads, "encoder.*", 1),
    ...blockNames(writes, "blocks.*", 2),
    ...attentionNames(`${writes}.cross_attention`, "blocks.*.cross"),
    ...linear(`${writes}.cross_attention_layer_norm`, "blocks.*.norms.1"),
  },
  ownHead: "lm_head.weight",
  startKeys: ["decoder_start_token_id", "eos_token_id"],
};
