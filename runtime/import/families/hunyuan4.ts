// Hunyuan 4: latent attention with sinks over keys that an indexer chooses, mixtures, and independent streams.
import type { Family, Json } from "../family.ts";
import { deepseekV32 } from "./deepseek.ts";
import { constant, denseOrSparse, required, stackedExpertNames, wordOfEach } from "./shared.ts";

const indexers = wordOfEach("indexer_types", ["full", "shared"], (i) =>
  i === 0 || (i - 1) % 4 === 0 ? "full" : "shared",
);
const feeds = denseOrSparse((i) => i === 0);
/** The first block has nothing to take. */
const firstFull = (config: Json): unknown =>
  indexers.of(config)?.[0] === "shared" ? "a list that begins with full" : indexers.only(config);

/** Each name as transformers has it, and as the files of `save_pretrained` and of the release do. */
const connectionNames = (theirs: string, own: string, ours: string): Family["names"] =>
  Object.fromEntries(
    Object.entries({ fn: "weight", base: "bias", scale: "scale" }).flatMap(([part, name]) => [
      [`model.layers.*.${own}.${part}`, `blocks.*.${ours}.${name}`],
      [`model.layers.*.${theirs}.hc_${part}`, `blocks.*.${ours}.${name}`],
      [`model.layers.*.hc_pre.${theirs}.hc_${part}`, `blocks.*.${ours}.${name}`],
      [`model.layers.*.${theirs}.hc_pre.hc_${part}`, `blocks.*.${ours}.${name}`],
      [`model.hc_head.hc_${part}`, `streams.${name}`],
      [`model.hc_head.hc_head_${part}`, `streams.${name}`],
      [`model.hc_pre.hc_head.hc_head_${part}`, `streams.${name}`],
      [`model.hc_head.hc_pre.hc_head_${part}`, `streams.${name}`],
    ]),
  );
/** The gate of a wide layer, of the shared expert, and of what heads give. */
const gateNames = (theirs: string): Family["names"] => ({
  [`model.layers.*.mlp.${theirs}.weight`]: "blocks.*.feed.gate.weight",
  [`model.layers.*.mlp.shared_experts.${theirs}.weight`]: "blocks.*.feed.shared.gate.weight",
  [`model.layers.*.self_attn.${theirs}.weight`]: "blocks.*.attention.weight_of.weight",
});

const { Dense: _, ...header } = deepseekV32.header;
export const hunyuan4: Family = {
  type: "hy_v4",
  model: "Hunyuan4Blocks",
  file: "hunyuan4",
  header: {
    ...header,
    G: { keys: ["n_group"], fallback: 1 },
    Open: { keys: ["topk_group"], fallback: 1 },
    E: required("n_routed_experts", "num_local_experts"),
    N: required("hc_mult"),
    most: { keys: ["hc_magnitude"], fallback: 2 },
    hyper_eps: { keys: ["hc_eps"], fallback: 1e-6 },
    limit: { keys: ["swiglu_limit"], fallback: 10, kind: "positive" }, // transformers' text says that 0 means none, and its code gives zeros for it
  },
  supported: {
    ...deepseekV32.supported,
    rope_interleave: false,
    indexer_types: firstFull,
    mlp_layer_types: feeds.only,
  },
  names: {
    ...deepseekV32.names,
    ...stackedExpertNames("model.layers.*.mlp.experts", "blocks.*.feed.moe.experts"),
    ...gateNames("gate_proj"),
    ...gateNames("linear_gate"),
    ...connectionNames("hc_attn_layer", "attn_hc", "streams1"),
    ...connectionNames("hc_mlp_layer", "ffn_hc", "streams2"),
    "model.layers.*.self_attn.sinks": "blocks.*.attention.sinks",
    "model.layers.*.self_attn.learnable_sink_param": "blocks.*.attention.sinks",
  },
  ignoredPrefixes: () => ["model.mtp_layers."],
  blocks: {
    model: "Hunyuan4Blocks",
    kinds: {
      Dense: "Hunyuan4Dense",
      Mixture: "Hunyuan4Mixture",
      TakingDense: "Hunyuan4TakingDense",
      TakingMixture: "Hunyuan4TakingMixture",
    },
    order: (config) => {
      const feed = feeds.of(config) ?? [];
      const taking = (i: number): string => (indexers.of(config)?.[i] === "shared" ? "Taking" : "");
      return feed.map((kind, i) => `${taking(i)}${kind === "dense" ? "Dense" : "Mixture"}`);
    },
  },
};
/** The text model of Hunyuan 4 as it is released, which reads images. */
export const hunyuan4Text: Family = {
  ...hunyuan4,
  type: "hy_v4_vl_text",
  header: { ...hunyuan4.header, latent_eps: { keys: ["rms_norm_eps"], fallback: 1e-5 }, paired: constant(true) },
};
