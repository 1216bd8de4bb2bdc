// ZAYA: convolved queries and keys, and gates that hand on what they have made of a row.
import { type ConfigValue, type Family, type Json, lookup } from "../family.ts";
import {
  constant,
  denseHeader,
  outerNames,
  required,
  ropeOf,
  stackedExpertNames,
  windowOf,
  wordOfEach,
} from "./shared.ts";

const kinds = ["hybrid", "hybrid_sliding"] as const;
type Kind = (typeof kinds)[number];
const attention = wordOfEach("layer_types", kinds, () => "hybrid");
const isNear = (type: unknown): boolean => type === "hybrid_sliding";
/** A number of a kind's RoPE; where nothing is said of RoPE, or no block is of the kind, `alone`. */
const rope = (kind: Kind, key: string, alone: number, part?: (config: Json) => number): ConfigValue => ({
  keys: [ropeOf(kind, key)],
  kind: part ? "count" : "number",
  from: (config) => {
    const unsaid = lookup(config, "rope_parameters") === undefined || attention.of(config)?.includes(kind) === false;
    const is = lookup(config, ropeOf(kind, key)) ?? (unsaid ? alone : part && 1);
    if (typeof is !== "number") return undefined;
    return part ? Math.trunc(part(config) * is) : is;
  },
  must: "a number",
});
const width = (config: Json): number => Number(config["head_dim"] ?? 128);
const router = "model.layers.*.mlp.gate";
const projection = "model.layers.*.self_attn.qkv_proj";
const sumNames = (theirs: string, ours: string): Family["names"] => ({
  [`model.layers.*.${theirs}.hidden_states_scale`]: `blocks.*.${ours}.scale`,
  [`model.layers.*.${theirs}.hidden_states_bias`]: `blocks.*.${ours}.bias`,
  [`model.layers.*.${theirs}.residual_scale`]: `blocks.*.${ours}.old_scale`,
  [`model.layers.*.${theirs}.residual_bias`]: `blocks.*.${ours}.old_bias`,
});
const linearNames = (theirs: string, ours: string): Family["names"] => ({
  [`${theirs}.weight`]: `${ours}.weight`,
  [`${theirs}.bias`]: `${ours}.bias`,
});

export const zaya: Family = {
  type: "zaya",
  model: "Zaya",
  file: "zaya",
  header: {
    ...denseHeader,
    H: required("moe_intermediate_size"),
    E: required("num_experts"),
    R: { keys: ["router_hidden_size"], fallback: 256 },
    Groups: required("num_key_value_heads"),
    A: { keys: ["head_dim"], fallback: 128 },
    P: rope("hybrid", "partial_rotary_factor", 0.5, width),
    NearP: rope("hybrid_sliding", "partial_rotary_factor", 0.5, width),
    Width: { keys: ["cca_time0"], fallback: 2 },
    GroupWidth: { keys: ["cca_time1"], fallback: 2 },
    base: rope("hybrid", "rope_theta", 5e6),
    near_base: rope("hybrid_sliding", "rope_theta", 10000),
    window: windowOf(attention.of, "hybrid_sliding"),
    first: constant(true),
  },
  supported: {
    hidden_act: "silu",
    attention_bias: false,
    lm_head_bias: false,
    num_experts_per_tok: 1,
    layer_types: attention.only,
    ...Object.fromEntries(kinds.map((kind) => [ropeOf(kind, "rope_type"), "default"])),
  },
  ropeKinds: kinds,
  names: {
    ...outerNames,
    "model.input_hidden_states_scale": "scale",
    "model.input_hidden_states_bias": "bias",
    [`${projection}.q_proj.weight`]: "blocks.*.attention.query.weight",
    [`${projection}.k_proj.weight`]: "blocks.*.attention.key.weight",
    [`${projection}.v_proj_current.weight`]: "blocks.*.attention.value.weight",
    [`${projection}.v_proj_delayed.weight`]: "blocks.*.attention.value_before.weight",
    [`${projection}.conv_qk_depthwise.weight`]: "blocks.*.attention.conv",
    [`${projection}.conv_qk_depthwise.bias`]: "blocks.*.attention.conv_bias",
    [`${projection}.conv_qk_grouped.weight`]: ["blocks.*.attention.mix"],
    [`${projection}.conv_qk_grouped.bias`]: "blocks.*.attention.mix_bias",
    "model.layers.*.self_attn.qk_norm.temp": "blocks.*.attention.heat",
    "model.layers.*.self_attn.o_proj.weight": "blocks.*.attention.output.weight",
    ...sumNames("post_attention_residual_scale", "sum1"),
    ...sumNames("post_mlp_residual_scale", "sum2"),
    ...linearNames(`${router}.down_proj`, "blocks.*.gate.down"),
    [`${router}.router_states_scale`]: "blocks.*.gate.carried",
    [`${router}.router_mlp.norm.weight`]: "blocks.*.gate.norm.weight",
    ...linearNames(`${router}.router_mlp.fc1`, "blocks.*.gate.up1"),
    ...linearNames(`${router}.router_mlp.fc2`, "blocks.*.gate.up2"),
    [`${router}.router_mlp.out_proj.weight`]: "blocks.*.gate.choice.weight",
    [`${router}.balancing_biases`]: "blocks.*.gate.bias",
    ...stackedExpertNames("model.layers.*.mlp.experts", "blocks.*.experts"),
  },
  tied: true,
  blocks: {
    model: "ZayaBlocks",
    kinds: {
      FirstFar: "ZayaFar",
      FirstNear: "ZayaNear",
      Far: { layer: "ZayaFar", without: ["first"] },
      Near: { layer: "ZayaNear", without: ["first"] },
    },
    order: (config) =>
      (attention.of(config) ?? []).map((type, i) => `${i === 0 ? "First" : ""}${isNear(type) ? "Near" : "Far"}`),
  },
};
