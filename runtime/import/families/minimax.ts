// MiniMax-Text-01 and M1: lightning attention beside attention that sees all.
import type { ConfigValue, Family, Json } from "../family.ts";
import { mixtral } from "./mixtral.ts";
import { headWidth, ropeThetaKeys } from "./shared.ts";

/** The kind of each block; undefined if the list is not of these words. */
function kindsOf({ layer_types: types, num_hidden_layers: layers }: Json): string[] | undefined {
  const each = Array.from({ length: Number(layers) }, (_, i) => i);
  if ((types ?? null) === null) return each.map((i) => (i % 2 === 0 ? "Full" : "Lightning"));
  const found = Array.isArray(types) ? types.flatMap((type) => words.get(type) ?? []) : [];
  return Array.isArray(types) && types.length === each.length && found.length === each.length ? found : undefined;
}
const words = new Map<unknown, string>([
  ["full_attention", "Full"],
  ["linear_attention", "Lightning"],
]);
const factor = (key: string): ConfigValue => ({ keys: [key], fallback: 1 });

export const minimax: Family = {
  ...mixtral,
  type: "minimax",
  model: "MiniMax",
  file: "minimax",
  header: {
    ...mixtral.header,
    A: headWidth,
    P: { keys: ["rotary_dim"], fallback: null }, // as released; transformers turns whole heads
    base: { keys: ropeThetaKeys, fallback: 1000000 },
    full_keep: factor("full_attn_alpha_factor"),
    full_part: factor("full_attn_beta_factor"),
    linear_keep: factor("linear_attn_alpha_factor"),
    linear_part: factor("linear_attn_beta_factor"),
    feed_keep: factor("mlp_alpha_factor"),
    feed_part: factor("mlp_beta_factor"),
  },
  supported: {
    ...mixtral.supported,
    layer_types: (config: Json) =>
      kindsOf(config) ? config["layer_types"] : `a list of ${[...words.keys()].join(" and ")}, one for each layer`,
  },
  names: {
    ...mixtral.names,
    "model.layers.*.self_attn.qkv_proj.weight": "blocks.*.attention.row.weight",
    "model.layers.*.self_attn.output_gate.weight": "blocks.*.attention.gate.weight",
    "model.layers.*.self_attn.norm.weight": "blocks.*.attention.norm.weight",
    "model.layers.*.self_attn.out_proj.weight": "blocks.*.attention.output.weight",
    "model.layers.*.self_attn.slope_rate": { row: "blocks.*.attention.slope" },
    // powers of it, for the places of a block
    "model.layers.*.self_attn.query_decay": null,
    "model.layers.*.self_attn.key_decay": null,
    "model.layers.*.self_attn.diagonal_decay": null,
  },
  blocks: {
    kinds: { Full: "MiniMaxFull", Lightning: "MiniMaxLightning" },
    order: (config) => kindsOf(config) ?? [],
  },
};
