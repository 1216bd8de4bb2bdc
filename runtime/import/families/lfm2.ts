// LFM2-MoE: short convolutions, and attention in every third or fourth block.
import type { ConfigValue, Family, Json } from "../family.ts";
import {
  attentionNames,
  defaultSettings,
  mixtureHeader,
  outerNames,
  required,
  requiredAs,
  ropeThetaKeys,
} from "./shared.ts";

const [convolution, attention] = ["conv", "full_attention"];
/** How many convolutions come before each attention block. */
function gapsOf(types: readonly unknown[]): number[] {
  const gaps: number[] = [];
  let gap = 0;
  for (const type of types) {
    if (type !== attention) gap++;
    else {
      gaps.push(gap);
      gap = 0;
    }
  }
  return gaps;
}
const gaps = (count: (gaps: readonly number[]) => number): ConfigValue => ({
  keys: ["layer_types"],
  kind: "count",
  from: ({ layer_types: types }) => (isTextList(types) ? count(gapsOf(types)) : undefined),
  must: "a list of texts, one for each layer",
});
const isTextList = (x: unknown): x is string[] => Array.isArray(x) && x.every((type) => typeof type === "string");
const longAs = (n: number): ConfigValue => gaps(([, ...later]) => later.filter((gap) => gap === n).length);

/** The only accepted `layer_types`: after the first gap those of three convolutions, then those of two, then those of one; convolutions at the end. */
function ordered({ num_hidden_layers: layers, layer_types: types }: Json): string[] {
  const [first = 0, ...later] = gapsOf(isTextList(types) ? types : []);
  const lengths = [first, ...later.map((gap) => Math.min(Math.max(gap, 1), 3)).toSorted((a, b) => b - a)];
  const before = lengths.flatMap((gap) => [...Array<string>(gap).fill(convolution), attention]);
  return Array.from({ length: Number(layers) }, (_, i) => before[i] ?? convolution);
}
/** The only accepted `num_dense_layers`: blocks before the first attention. */
const beforeAttention = ({ num_dense_layers: dense, layer_types: types }: Json): unknown => {
  const [first = 0] = gapsOf(isTextList(types) ? types : []);
  return Number(dense) <= first ? dense : `at most ${first}, the blocks before the first attention`;
};

const groupedNames: Family["names"] = {
  ...attentionNames,
  "model.layers.*.self_attn.out_proj.weight": "blocks.*.attention.output.weight",
  "model.layers.*.self_attn.q_layernorm.weight": "blocks.*.attention.query_norm.weight",
  "model.layers.*.self_attn.k_layernorm.weight": "blocks.*.attention.key_norm.weight",
};
const convolutionNames: Family["names"] = {
  "model.layers.*.conv.in_proj.weight": "blocks.*.attention.input.weight",
  "model.layers.*.conv.in_proj.bias": "blocks.*.attention.input.bias",
  "model.layers.*.conv.conv.weight": "blocks.*.attention.conv",
  "model.layers.*.conv.conv.bias": "blocks.*.attention.bias",
  "model.layers.*.conv.out_proj.weight": "blocks.*.attention.output.weight",
  "model.layers.*.conv.out_proj.bias": "blocks.*.attention.output.bias",
};
const feedNames = (part: string): Family["names"] => ({
  [`model.layers.*.feed_forward.${part}w1.weight`]: `blocks.*.feed.${part}gate.weight`,
  [`model.layers.*.feed_forward.${part}w2.weight`]: `blocks.*.feed.${part}down.weight`,
  [`model.layers.*.feed_forward.${part}w3.weight`]: `blocks.*.feed.${part}up.weight`,
});

export const lfm2Moe: Family = {
  type: "lfm2_moe",
  model: "Lfm2Moe",
  file: "lfm2",
  header: {
    ...mixtureHeader,
    F: required("intermediate_size"),
    H: required("moe_intermediate_size"),
    Dense: requiredAs("layers", "num_dense_layers"),
    First: gaps(([first = 0]) => first),
    Threes: longAs(3),
    Twos: longAs(2),
    Ones: longAs(1),
    Groups: required("num_key_value_heads"),
    A: { keys: ["head_dim"], fallback: null },
    Width: required("conv_L_cache"),
    E: required("num_experts"),
    base: { keys: ropeThetaKeys, fallback: 1000000 },
    eps: required("norm_eps"),
    scale: { keys: ["routed_scaling_factor"], fallback: 1 },
    renormalised: { keys: ["norm_topk_prob"], fallback: true },
    biased: { keys: ["conv_bias"], fallback: false },
  },
  supported: {
    ...defaultSettings,
    use_expert_bias: true,
    layer_types: ordered,
    num_dense_layers: beforeAttention,
    tie_embedding: ({ tie_word_embeddings: tied }: Json) => tied ?? true, // its older name, which transformers prefers
  },
  names: {
    ...outerNames,
    "model.embedding_norm.weight": "norm.weight",
    "model.layers.*.operator_norm.weight": "blocks.*.norm1.weight",
    "model.layers.*.ffn_norm.weight": "blocks.*.norm2.weight",
    ...groupedNames,
    ...convolutionNames,
    ...feedNames(""),
    ...feedNames("experts.*."),
    "model.layers.*.feed_forward.gate.weight": "blocks.*.feed.gate.weight",
    "model.layers.*.feed_forward.expert_bias": "blocks.*.feed.gate.bias",
  },
  tied: true,
};
