// DBRX, whose config.json, and weights, have names of their own.
import { isJsonObject } from "../../storage/json.ts";
import { type Family, lookup } from "../family.ts";
import { required, requiredAs, ropeThetaKeys, unbiasedSettings } from "./shared.ts";

/** All experts' matrices of one kind, one below another. */
const stacked = (ours: string, transposed: boolean): Family["names"][string] => ({
  runs: [`blocks.*.feed.experts.${ours}.weight`],
  transposed,
  stacked: ({ E }) => Number(E),
});

export const dbrx: Family = {
  type: "dbrx",
  model: "Dbrx",
  header: {
    V: required("vocab_size"),
    D: required("d_model"),
    H: required("ffn_config.ffn_hidden_size"),
    L: requiredAs("layers", "n_layers"),
    Heads: required("n_heads"),
    Groups: required("attn_config.kv_n_heads"),
    E: required("ffn_config.moe_num_experts"),
    K: required("ffn_config.moe_top_k"),
    Context: required("max_seq_len"),
    base: { keys: [...ropeThetaKeys, "attn_config.rope_theta"], fallback: 10000 },
    clip: { keys: ["attn_config.clip_qkv"], fallback: null },
    renormalised: {
      keys: ["ffn_config.moe_normalize_expert_weights"],
      kind: "boolean",
      from: ({ ffn_config: feed }) => {
        const norm = isJsonObject(feed) ? (feed["moe_normalize_expert_weights"] ?? 1) : 1;
        return norm === 1 ? isJsonObject(feed) && feed["moe_normalize_expert_weights"] !== null : undefined;
      },
      must: "1, or null for scores as they are",
    },
    std: { keys: ["initializer_range"], fallback: null },
  },
  supported: {
    ...unbiasedSettings,
    "attn_config.rope_theta": (config: Parameters<typeof lookup>[0]) =>
      lookup(config, "rope_parameters.rope_theta") ?? lookup(config, "attn_config.rope_theta"),
    "ffn_config.ffn_act_fn": { name: "silu" },
    "ffn_config.moe_jitter_eps": 0,
  },
  names: {
    "transformer.wte.weight": ["embed.weight"],
    "transformer.norm_f.weight": "norm.weight",
    "lm_head.weight": "head.weight",
    "transformer.blocks.*.norm_attn_norm.norm_1.weight": "blocks.*.norm1.weight",
    "transformer.blocks.*.norm_attn_norm.norm_2.weight": "blocks.*.norm2.weight",
    "transformer.blocks.*.norm_attn_norm.attn.Wqkv.weight": {
      runs: ["query", "key", "value"].map((part) => `blocks.*.attention.${part}.weight`),
      transposed: true,
      shares: ({ Heads, Groups }) => [Number(Heads), Number(Groups), Number(Groups)],
    },
    "transformer.blocks.*.norm_attn_norm.attn.out_proj.weight": "blocks.*.attention.output.weight",
    "transformer.blocks.*.ffn.router.layer.weight": "blocks.*.feed.gate.weight",
    "transformer.blocks.*.ffn.experts.mlp.w1": stacked("gate", true),
    "transformer.blocks.*.ffn.experts.mlp.v1": stacked("up", true),
    "transformer.blocks.*.ffn.experts.mlp.w2": stacked("down", false),
  },
};
