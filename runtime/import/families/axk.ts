// A.X K1 and K2: DeepSeek's blocks with other norms, and K2 with gates.
import type { Family } from "../family.ts";
import { deepseekV3, deepseekV32, latentNames } from "./deepseek.ts";
import { blocksAfterLast, leadingDense, required, sharedExpertNames } from "./shared.ts";

/** A.X K1: DeepSeek-V3's blocks, where what a mixture gives is normed. Files have that norm for dense blocks too, which nothing reads. */
export const axk1: Family = {
  ...deepseekV3,
  type: "axk1",
  model: "AXK1",
  file: "sparse",
  header: {
    ...deepseekV3.header,
    Dense: leadingDense,
    G: { keys: ["n_group"], fallback: 8 },
    Open: { keys: ["topk_group"], fallback: 4 },
  },
  names: {
    ...latentNames,
    ...Object.fromEntries(
      Object.entries(sharedExpertNames).map(([theirs, ours]) => [
        theirs,
        typeof ours === "string" ? ours.replace(/feed\.(moe|shared)/, "feed.inner.$1") : ours,
      ]),
    ),
    "model.layers.*.post_mlp_layernorm.weight": "blocks.*.feed.norm.weight",
    "model.layers.*.mlp.post_mlp_layernorm.weight": "blocks.*.feed.norm.weight",
  },
  ignoredPrefixes: (count) => [
    ...blocksAfterLast(count),
    ...Array.from({ length: count("first_k_dense_replace", 0) }, (_, i) => [
      `model.layers.${i}.post_mlp_layernorm.`,
      `model.layers.${i}.mlp.post_mlp_layernorm.`,
    ]).flat(),
  ],
  optional: [/\.gate\.bias$/],
};

const { "model.layers.*.input_layernorm.weight": _, ...otherNames } = deepseekV32.names;
/** A norm with a gate: as transformers saves it, and as it calls its parts. */
const gatedNormNames = (theirs: string, ours: string): Family["names"] => ({
  [`model.layers.*.${theirs}.norm.weight`]: `blocks.*.${ours}.norm.weight`,
  [`model.layers.*.${theirs}.W_down.weight`]: `blocks.*.${ours}.down.weight`,
  [`model.layers.*.${theirs}.W_up.weight`]: `blocks.*.${ours}.up.weight`,
  [`model.layers.*.${theirs}.mlp.fc1.weight`]: `blocks.*.${ours}.down.weight`,
  [`model.layers.*.${theirs}.mlp.fc2.weight`]: `blocks.*.${ours}.up.weight`,
});
/** A.X K2: DeepSeek-V3.2's blocks with gates on norms and on what heads give, which one matrix makes beside the queries. Light has no groups of experts. */
export const axk2: Family = {
  ...deepseekV32,
  type: "axk2",
  model: "AXK2",
  header: {
    ...deepseekV32.header,
    Dense: leadingDense,
    G: { keys: ["n_group"], fallback: 1 },
    Open: { keys: ["topk_group"], fallback: 1 },
    Rank: required("gated_norm_rank"),
  },
  names: {
    ...otherNames,
    ...gatedNormNames("input_layernorm", "norm1"),
    ...gatedNormNames("post_attention_layernorm", "norm2"),
    "model.layers.*.self_attn.q_b_proj.weight": "blocks.*.attention.query_gate.weight",
    "model.layers.*.self_attn.q_gate_proj.weight": "blocks.*.attention.query_gate.weight",
  },
};
