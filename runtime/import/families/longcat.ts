// LongCat-Flash: latent attention, shortcut-connected mixtures, experts that give back what they get.
import type { Count, Family, Json } from "../family.ts";
import {
  denseHeader,
  outerNames,
  required,
  requiredAs,
  ropeThetaKeys,
  swigluNames,
  unbiasedSettings,
} from "./shared.ts";

/** Of experts that give back what they get, transformers 5 writes gate and up, which nothing reads. */
function unread(count: Count): string[] {
  const [first, copies] = [count("n_routed_experts"), count("zero_expert_num", 0)];
  const experts = Array.from({ length: copies }, (_, i) => `mlp.experts.${first + i}.`);
  const blocks = Array.from({ length: count("num_layers") }, (_, i) => `model.layers.${i}.`);
  return ["model.mtp.", ...blocks.flatMap((block) => experts.map((expert) => block + expert))];
}

export const longcatFlash: Family = {
  type: "longcat_flash",
  model: "LongcatFlash",
  file: "longcat",
  header: {
    ...denseHeader,
    L: requiredAs("layers", "num_layers"),
    F: required("ffn_hidden_size"),
    H: required("expert_ffn_hidden_size"),
    E: required("n_routed_experts"),
    Copies: { keys: ["zero_expert_num"], fallback: 0, kind: "count" },
    K: required("moe_topk"),
    Q: required("q_lora_rank"),
    R: required("kv_lora_rank"),
    A: required("qk_nope_head_dim"),
    P: required("qk_rope_head_dim"),
    C: required("v_head_dim"),
    base: { keys: ropeThetaKeys, fallback: 10000000 },
    scale: required("routed_scaling_factor"),
  },
  supported: {
    ...unbiasedSettings,
    head_dim: ({ qk_rope_head_dim: turning }: Json) => turning, // transformers turns by rates of so many features
    router_bias: false,
    norm_topk_prob: false,
    zero_expert_type: "identity",
    mla_scale_q_lora: true,
    mla_scale_kv_lora: true,
  },
  names: {
    ...outerNames,
    "model.layers.*.input_layernorm.*.weight": "blocks.*.norm1.*.weight",
    "model.layers.*.post_attention_layernorm.*.weight": "blocks.*.norm2.*.weight",
    "model.layers.*.self_attn.*.q_a_proj.weight": "blocks.*.attention.*.query_down.weight",
    "model.layers.*.self_attn.*.q_a_layernorm.weight": "blocks.*.attention.*.query_norm.weight",
    "model.layers.*.self_attn.*.q_b_proj.weight": "blocks.*.attention.*.query_up.weight",
    "model.layers.*.self_attn.*.kv_a_proj_with_mqa.weight": "blocks.*.attention.*.down.weight",
    "model.layers.*.self_attn.*.kv_a_layernorm.weight": "blocks.*.attention.*.norm.weight",
    "model.layers.*.self_attn.*.kv_b_proj.weight": "blocks.*.attention.*.up.weight",
    "model.layers.*.self_attn.*.o_proj.weight": "blocks.*.attention.*.output.weight",
    ...swigluNames("model.layers.*.mlps.*", "blocks.*.dense.*"),
    ...swigluNames("model.layers.*.mlp.experts.*", "blocks.*.moe.experts.*"),
    "model.layers.*.mlp.router.classifier.weight": "blocks.*.moe.gate.weight",
    "model.layers.*.mlp.router.e_score_correction_bias": "blocks.*.moe.gate.bias",
  },
  ignoredPrefixes: unread,
};
