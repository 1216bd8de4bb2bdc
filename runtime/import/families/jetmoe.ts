// JetMoE: mixtures of attention heads, and of feed-forward parts.
import type { Family } from "../family.ts";
import { mixtureHeader, outerNames, required, ropeTypeIs } from "./shared.ts";

const attention = "model.layers.*.self_attention";
const feed = "model.layers.*.mlp";
export const jetmoe: Family = {
  type: "jetmoe",
  model: "JetMoe",
  file: "jetmoe",
  header: {
    ...mixtureHeader,
    H: required("intermediate_size"),
    Heads: required("num_key_value_heads"),
    A: required("kv_channels", "head_dim"),
    E: required("num_local_experts"),
    eps: { keys: ["rms_norm_eps"], fallback: 1e-6 },
  },
  supported: { activation_function: "silu", ...ropeTypeIs("default") },
  names: {
    ...outerNames,
    [`${attention}.kv_proj.weight`]: {
      runs: ["blocks.*.attention.key.weight", "blocks.*.attention.value.weight"],
      transposed: true,
    },
    [`${attention}.experts.input_linear.weight`]: { runs: ["blocks.*.attention.queries.weight"], transposed: true },
    [`${attention}.experts.output_linear.weight`]: { runs: ["blocks.*.attention.outputs.weight"], transposed: true },
    [`${attention}.experts.router.layer.weight`]: "blocks.*.attention.gate.weight",
    [`${attention}.experts.bias`]: "blocks.*.attention.bias",
    [`${feed}.input_linear.weight`]: {
      runs: ["blocks.*.feed.moe.experts.gate.weight", "blocks.*.feed.moe.experts.up.weight"],
      transposed: true,
    },
    [`${feed}.output_linear.weight`]: { runs: ["blocks.*.feed.moe.experts.down.weight"], transposed: true },
    [`${feed}.router.layer.weight`]: "blocks.*.feed.moe.gate.weight",
    [`${feed}.bias`]: "blocks.*.feed.bias",
  },
  tied: true,
};
