// T5 and models made like it, which have an encoder and a decoder.
import type { ConfigValue, Family, Json } from "../family.ts";
import { constant, required, requiredAs, wholeOr } from "./shared.ts";

/** What is added to scores goes by distances, so positions have no limit: these are a default. */
const positions: ConfigValue = { keys: ["n_positions"], fallback: 512, kind: "size" };
const gatedOr = (usual: string): ConfigValue => ({
  keys: ["feed_forward_proj"],
  kind: "boolean",
  from: ({ feed_forward_proj: said }) => {
    const form = said ?? usual;
    return form === "relu" ? false : form === "gated-gelu" ? true : undefined;
  },
  must: '"relu" or "gated-gelu"',
});
/** What the head reads is multiplied by D ** -0.5, unless `unless` says otherwise. */
const part = (unless: (config: Json) => boolean): ConfigValue => ({
  keys: ["d_model"],
  kind: "number",
  from: (config) => (unless(config) ? 1 : Number(config["d_model"]) ** -0.5),
});
const header: Family["header"] = {
  V: required("vocab_size"),
  D: required("d_model"),
  H: required("d_ff"),
  M: requiredAs("layers", "num_layers"),
  L: requiredAs("layers", "num_decoder_layers", "num_layers"),
  Heads: required("num_heads"),
  A: required("d_kv"),
  Buckets: { keys: ["relative_attention_num_buckets"], fallback: 32 },
  most: { keys: ["relative_attention_max_distance"], fallback: 128 },
  Context: positions,
  Source: positions,
  eps: { keys: ["layer_norm_epsilon"], fallback: 1e-6 },
};
const [reads, writes] = ["encoder.block.*.layer", "decoder.block.*.layer"];
const attentionNames = (theirs: string, ours: string): Family["names"] => ({
  [`${theirs}.q.weight`]: `${ours}.query.weight`,
  [`${theirs}.k.weight`]: `${ours}.key.weight`,
  [`${theirs}.v.weight`]: `${ours}.value.weight`,
  [`${theirs}.o.weight`]: `${ours}.output.weight`,
});
const feedNames = (theirs: string, ours: string): Family["names"] => ({
  [`${theirs}.wi.weight`]: `${ours}.up.weight`,
  [`${theirs}.wi_0.weight`]: `${ours}.gate.weight`,
  [`${theirs}.wi_1.weight`]: `${ours}.up.weight`,
  [`${theirs}.wo.weight`]: `${ours}.down.weight`,
});
const bias = "SelfAttention.relative_attention_bias.weight";
const outerNames: Family["names"] = {
  "shared.weight": ["embed.weight"],
  "encoder.embed_tokens.weight": ["embed.weight"],
  "decoder.embed_tokens.weight": ["embed.weight"],
  "lm_head.weight": "head.weight",
  "encoder.final_layer_norm.weight": "encoder_norm.weight",
  "decoder.final_layer_norm.weight": "norm.weight",
  [`${reads}.0.layer_norm.weight`]: "encoder.*.norms.0.weight",
  [`${reads}.1.layer_norm.weight`]: "encoder.*.norms.1.weight",
  [`${writes}.0.layer_norm.weight`]: "blocks.*.norms.0.weight",
  [`${writes}.1.layer_norm.weight`]: "blocks.*.norms.1.weight",
  [`${writes}.2.layer_norm.weight`]: "blocks.*.norms.2.weight",
  ...attentionNames(`${reads}.0.SelfAttention`, "encoder.*.attention"),
  ...attentionNames(`${writes}.0.SelfAttention`, "blocks.*.attention"),
  ...attentionNames(`${writes}.1.EncDecAttention`, "blocks.*.cross"),
};
const common: Pick<Family, "file" | "ownHead" | "fixedNumbers" | "unlimited" | "startKeys"> = {
  file: "t5",
  ownHead: "lm_head.weight",
  fixedNumbers: "layer",
  unlimited: true,
  startKeys: ["decoder_start_token_id", "pad_token_id"],
};
const dense: Family["names"] = {
  ...outerNames,
  ...feedNames(`${reads}.1.DenseReluDense`, "encoder.*.feed"),
  ...feedNames(`${writes}.2.DenseReluDense`, "blocks.*.feed"),
};
/** Those of the first blocks are for all; a bias of the first block's look at the source is one of older files, which nothing reads. */
const sharedTables: Family["names"] = {
  [`${reads}.0.${bias}`]: ["encoder_table"],
  [`${writes}.0.${bias}`]: ["table"],
  [`${writes}.1.EncDecAttention.relative_attention_bias.weight`]: null,
};

export const t5: Family = {
  ...common,
  type: "t5",
  model: "T5",
  header: {
    ...header,
    gated: gatedOr("relu"),
    part: part((c) => (c["scale_decoder_outputs"] ?? c["tie_word_embeddings"]) === false),
  },
  supported: {},
  names: { ...dense, ...sharedTables },
};
export const mt5: Family = {
  ...t5,
  type: "mt5",
  header: { ...t5.header, gated: gatedOr("gated-gelu"), part: constant(1) },
};
export const umt5: Family = {
  ...t5,
  type: "umt5",
  header: { ...t5.header, gated: gatedOr("gated-gelu"), own: constant(true) },
  names: {
    ...dense,
    [`${reads}.0.${bias}`]: ["encoder.*.attention.table"],
    [`${writes}.0.${bias}`]: ["blocks.*.attention.table"],
  },
};

type Sparse = Record<"First" | "Step" | "Mixed" | "Odd", number>;
/** Which of a stack's blocks are mixtures: those whose number is 1 by the step; all if it is 1. Undefined: config.json does not say. */
function sparse(config: Json, stack: "encoder" | "decoder"): Sparse | undefined {
  const layers = Number((stack === "decoder" ? config["num_decoder_layers"] : null) ?? config["num_layers"]);
  const mixtures = wholeOr(config[`num_sparse_${stack}_layers`], 3);
  if (mixtures === undefined) return undefined;
  const step = wholeOr(config[`${stack}_sparse_step`], mixtures > 0 ? Math.floor(layers / mixtures) : layers);
  if (step === undefined) return undefined;
  if (step === 0) return { First: layers, Step: 1, Mixed: 0, Odd: 0 };
  if (step === 1) return { First: 0, Step: 1, Mixed: layers, Odd: 0 };
  const first = Math.min(1, layers);
  const mixed = Math.floor((layers - first) / step);
  return { First: first, Step: step, Mixed: mixed, Odd: layers - first > mixed * step ? 1 : 0 };
}
const sparseHeader = (stack: "encoder" | "decoder", suffix: string): Family["header"] =>
  Object.fromEntries(
    (["First", "Step", "Mixed", "Odd"] as const).map((name): [string, ConfigValue] => [
      `${name}${suffix}`,
      {
        keys: [`num_sparse_${stack}_layers`, `${stack}_sparse_step`],
        kind: "count",
        from: (config) => sparse(config, stack)?.[name],
        must: `a whole number of at least 0, as ${stack}_sparse_step must`,
      },
    ]),
  );
const mixtureNames = (theirs: string, ours: string): Family["names"] => ({
  [`${theirs}.router.classifier.weight`]: `${ours}.weight`,
  [`${theirs}.router.classifier.bias`]: `${ours}.bias`,
  ...feedNames(`${theirs}.experts.expert_*`, `${ours}.experts.*`),
  ...feedNames(theirs, ours),
});
export const switchTransformers: Family = {
  ...common,
  type: "switch_transformers",
  model: "SwitchTransformers",
  header: {
    ...header,
    E: required("num_experts"),
    capacity: { keys: ["expert_capacity"], fallback: 64, kind: "size" },
    ...sparseHeader("encoder", ""),
    ...sparseHeader("decoder", "2"),
    part: part((c) => c["tie_word_embeddings"] === false),
    biased: { keys: ["router_bias"], fallback: false },
    jitter: { keys: ["router_jitter_noise"], fallback: 0.01 },
    balance: { keys: ["router_aux_loss_coef"], fallback: 0.001 },
    z: { keys: ["router_z_loss_coef"], fallback: 0.001 },
  },
  supported: { router_dtype: "float32", dense_act_fn: "relu" },
  names: {
    ...outerNames,
    ...sharedTables,
    ...mixtureNames(`${reads}.1.mlp`, "encoder.*.feed"),
    ...mixtureNames(`${writes}.2.mlp`, "blocks.*.feed"),
  },
};
