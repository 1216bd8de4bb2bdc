// Beam: windows beside blocks that see all, whose heads do not turn with positions; what blocks give is scaled by how many come before.
import { type Family, type Json, lookup } from "../family.ts";
import {
  decoderNames,
  denseOrSparse,
  mixtureNames,
  nearAndFar,
  nearOrFar,
  queryKeyNormNames,
  required,
  requiredAs,
  routedHeader,
  swigluNames,
  unbiasedSettings,
} from "./shared.ts";

const seen = nearOrFar((i, layers) => i % 6 === 5 || i === layers - 1);
const feed = denseOrSparse((i) => i < 3);
const near = "rope_parameters.sliding_attention";
/** The base of blocks with a window; 10000 where no settings are given at all, or there is no such block. */
function turning(config: Json): number | undefined {
  const theta = lookup(config, `${near}.rope_theta`);
  if (typeof theta === "number") return theta;
  const isUnsaid = lookup(config, "rope_parameters") === undefined;
  return theta === undefined && (isUnsaid || !seen.of(config)?.includes("sliding_attention")) ? 10000 : undefined;
}

export const beam: Family = {
  type: "beam",
  model: "Beam",
  file: "beam",
  header: {
    ...routedHeader,
    Wide: required("intermediate_size"),
    A: required("head_dim"),
    E: required("num_experts"),
    G: required("n_group"),
    Open: required("topk_group"),
    base: {
      keys: [`${near}.rope_theta`],
      kind: "number",
      from: turning,
      must: "a number, since heads of blocks with a window turn with positions",
    },
    window: requiredAs("size", "sliding_window"),
    scale: required("routed_scaling_factor"),
    cap: {
      keys: ["final_logit_softcapping"],
      kind: "positive",
      from: ({ final_logit_softcapping: cap = 30 }) => (typeof cap === "number" ? cap : undefined),
      must: "a number",
    },
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
  },
  supported: {
    hidden_act: unbiasedSettings["hidden_act"],
    attention_bias: false,
    layer_types: seen.only,
    mlp_layer_types: feed.only,
    [`${near}.rope_type`]: "default",
    "rope_parameters.full_attention": "null: without positions",
  },
  ropeKinds: ["sliding_attention", "full_attention"],
  names: {
    ...decoderNames,
    ...queryKeyNormNames,
    ...swigluNames("model.layers.*.mlp", "blocks.*.feed"),
    ...mixtureNames("feed"),
    "model.layers.*.mlp.gate.e_score_correction_bias": "blocks.*.feed.gate.bias",
    "model.layers.*.self_attn.gate_proj.weight": "blocks.*.attention.gate.weight",
    "model.layers.*.self_attn.gate_bias": "blocks.*.attention.gate_bias",
    "model.layers.*.post_attention_layernorm.weight": "blocks.*.after1.weight",
    "model.layers.*.pre_feedforward_layernorm.weight": "blocks.*.norm2.weight",
    "model.layers.*.post_feedforward_layernorm.weight": "blocks.*.after2.weight",
  },
  blocks: {
    model: "BeamBlocks",
    kinds: { Near: "BeamNear", NearMixture: "BeamNearMixture", Far: "BeamFar", FarMixture: "BeamFarMixture" },
    order: (config) => nearAndFar(seen.of(config), (i) => feed.of(config)?.[i] !== "sparse"),
  },
};
