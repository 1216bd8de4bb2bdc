// Jamba: Mamba-1 beside attention, mixtures beside dense layers.
import type { Family, Json } from "../family.ts";
import { channels, rank, selectiveNames } from "./mamba.ts";
import { attentionNames, outerNames, required, requiredAs, swigluNames } from "./shared.ts";

/** Of blocks that come one in each so many: the keys that say which, and what transformers has if they do not. */
interface Every {
  readonly period: string;
  readonly offset: string;
  readonly usual: readonly [period: number, offset: number];
}
const attention: Every = { period: "attn_layer_period", offset: "attn_layer_offset", usual: [8, 4] };
const expert: Every = { period: "expert_layer_period", offset: "expert_layer_offset", usual: [2, 1] };
const everyOf = (config: Json, { period, offset, usual }: Every): readonly [period: unknown, offset: unknown] => [
  config[period] ?? usual[0],
  config[offset] ?? usual[1],
];
/** The only accepted values: of the blocks of a period the one at the offset. */
const everyIs = (which: Every): Family["supported"] => ({
  [which.period]: (config: Json) => {
    const [period] = everyOf(config, which);
    return Number.isInteger(period) && Number(period) >= 1 ? config[which.period] : "a whole number of at least 1";
  },
  [which.offset]: (config: Json) => {
    const [period, offset] = everyOf(config, which);
    const fits = Number.isInteger(offset) && Number(offset) >= 0 && Number(offset) < Number(period);
    return fits ? config[which.offset] : `a whole number below ${which.period}, ${String(period)}`;
  },
});
const expertKeys = ["num_experts", "num_local_experts"];
/** The kind of each block. One expert is a dense layer. */
function kindsIn(config: Json): string[] {
  const experts = expertKeys.map((key) => config[key]).find((x) => x !== undefined && x !== null) ?? 16;
  const among = (which: Every, i: number): boolean => {
    const [period, offset] = everyOf(config, which);
    return i % Number(period) === offset;
  };
  return Array.from({ length: Number(config["num_hidden_layers"]) }, (_, i) => {
    const mixed = Number(experts) > 1 && among(expert, i);
    return `${among(attention, i) ? "Attention" : "Mamba"}${mixed ? "Mixture" : ""}`;
  });
}
export const jamba: Family = {
  type: "jamba",
  model: "Jamba",
  file: "jamba",
  header: {
    V: required("vocab_size"),
    D: required("hidden_size"),
    H: required("intermediate_size"),
    L: requiredAs("layers", "num_hidden_layers"),
    Heads: required("num_attention_heads"),
    Groups: required("num_key_value_heads", "num_attention_heads"),
    A: { keys: ["head_dim"], fallback: null },
    Context: required("max_position_embeddings"),
    C: channels("mamba_expand"),
    States: { keys: ["mamba_d_state"], fallback: 16 },
    Rank: rank("mamba_dt_rank"),
    Width: { keys: ["mamba_d_conv"], fallback: 4 },
    E: { keys: expertKeys, fallback: 16 },
    K: { keys: ["num_experts_per_tok"], fallback: 2 },
    eps: required("rms_norm_eps"),
    state_biased: { keys: ["mamba_proj_bias"], fallback: false },
    conv_biased: { keys: ["mamba_conv_bias"], fallback: true },
    std: { keys: ["initializer_range"], fallback: null },
  },
  supported: { hidden_act: "silu", sliding_window: null, ...everyIs(attention), ...everyIs(expert) },
  names: {
    ...outerNames,
    "model.final_layernorm.weight": "norm.weight",
    "model.layers.*.pre_ff_layernorm.weight": "blocks.*.norm2.weight",
    ...attentionNames,
    ...swigluNames("model.layers.*.feed_forward", "blocks.*.feed"),
    ...swigluNames("model.layers.*.feed_forward.experts.*", "blocks.*.feed.experts.*"),
    "model.layers.*.feed_forward.router.weight": "blocks.*.feed.gate.weight",
    ...selectiveNames("model.layers.*.mamba", "blocks.*.attention"),
    "model.layers.*.mamba.dt_layernorm.weight": "blocks.*.attention.step_norm.weight",
    "model.layers.*.mamba.b_layernorm.weight": "blocks.*.attention.key_norm.weight",
    "model.layers.*.mamba.c_layernorm.weight": "blocks.*.attention.query_norm.weight",
  },
  blocks: {
    kinds: {
      Mamba: "JambaMamba",
      MambaMixture: "JambaMambaMixture",
      Attention: "JambaAttention",
      AttentionMixture: "JambaAttentionMixture",
    },
    order: kindsIn,
  },
};
