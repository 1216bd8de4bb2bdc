// Flint: windows beside blocks that see all and whose heads do not turn with positions; sinks in all; mixtures beside dense layers.
import type { Family, Json } from "../family.ts";
import {
  decoderNames,
  mixtureNames,
  nearAndFar,
  nearOrFar,
  queryKeyNormNames,
  required,
  ropeThetaKeys,
  routedHeader,
  swigluNames,
  unbiasedSettings,
  windowOf,
} from "./shared.ts";

const seen = nearOrFar((i, layers) => i < 2 || i % 4 === 1 || i === layers - 1);
/** The numbers of the blocks with one wide layer. */
function denseOf(config: Json): readonly unknown[] | undefined {
  const dense = config["mlp_only_layers"] ?? [0, 1];
  return Array.isArray(dense) && dense.every(Number.isSafeInteger) ? dense : undefined;
}

export const flint: Family = {
  type: "flint",
  model: "Flint",
  file: "windowed",
  header: {
    ...routedHeader,
    F: required("shared_expert_intermediate_size"),
    Wide: required("intermediate_size"),
    A: required("head_dim"),
    E: required("num_experts", "num_local_experts"),
    base: { keys: ropeThetaKeys, fallback: 10000 },
    window: windowOf(seen.of),
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
  },
  supported: {
    ...unbiasedSettings,
    decoder_sparse_step: 1,
    layer_types: seen.only,
    mlp_only_layers: (config: Json) => denseOf(config) ?? "a list of numbers of layers",
  },
  names: {
    ...decoderNames,
    ...queryKeyNormNames,
    ...mixtureNames("feed.moe"),
    ...swigluNames("model.layers.*.mlp", "blocks.*.feed"),
    ...swigluNames("model.layers.*.mlp.shared_expert", "blocks.*.feed.shared"),
    "model.layers.*.self_attn.softmax_offset": "blocks.*.attention.sinks",
  },
  blocks: {
    kinds: { Near: "FlintNear", NearMixture: "FlintNearMixture", Far: "FlintFar", FarMixture: "FlintFarMixture" },
    order: (config) => nearAndFar(seen.of(config), (i) => denseOf(config)?.includes(i) === true),
  },
};
