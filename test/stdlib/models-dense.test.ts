// What config.json of a dense model may say, and what is refused by its key.
import assert from "node:assert/strict";
import { suite } from "uvu";
import { openTransformers } from "../../runtime/import/config.ts";
import { copy, type Header, header, other, refused, refuses, without } from "../hf-copies.ts";

const test = suite("models-dense");
const rope = (parameters: object): string => other("llama", { rope_parameters: parameters });
test("a dense family's config.json: what is refused, and what is read where keys are missing or null", () => {
  refused(() => openTransformers(other("llama", { mlp_bias: true })), "mlp_bias is true");
  refused(() => openTransformers(other("llama", { hidden_act: "gelu" })), 'hidden_act is "gelu"');
  refused(() => openTransformers(rope({ rope_type: "yarn", factor: 4 })), '"yarn"', "default, linear", "llama3");
  refused(() => openTransformers(rope({ type: "dynamic", factor: 4 })), "rope_parameters.type", '"dynamic"');
  refused(() => openTransformers(rope({ rope_type: "llama3", factor: 8 })), '"llama3"', "low_freq_factor");
  refused(() => openTransformers(rope({ rope_type: "linear" })), '"linear"', "with a factor alone");
  const both = { rope_type: "linear", factor: 4, original_max_position_embeddings: 16 };
  refused(() => openTransformers(rope(both)), '"linear"', "with a factor alone");
  refused(() => openTransformers(rope({ rope_type: "default", factor: 4 })), "factor is 4");
  refused(() => openTransformers(other("mistral", { rope_parameters: { type: "linear", factor: 4 } })), '"linear"');
  refused(() => openTransformers(other("qwen2", { use_sliding_window: true })), "use_sliding_window is true");
  const types = ["full_attention", "sliding_attention"];
  refused(() => openTransformers(other("qwen3", { layer_types: types })), "layer_types", "sliding_attention");
  assert.equal(header("llama", { num_key_value_heads: null })["Groups"], 4); // as Llama 1 has it
  assert.equal(header("llama", { head_dim: null })["A"], undefined);
  assert.equal(header("qwen3", { head_dim: null })["A"], 128);
  assert.equal(header("mistral", {})["window"], 5);
  assert.equal(header("mistral", { sliding_window: null })["window"], undefined);
  const old = header("llama", { rope_parameters: null, rope_theta: 5e5, rope_scaling: { type: "linear", factor: 4 } });
  assert.deepEqual([old["base"], old["stretch"], old["original"]], [5e5, 4, undefined]);
});
const orderOf = (name: string, change: object): unknown => openTransformers(other(name, change)).order;
const unwindowed = (): string =>
  copy("exaone4", (c) => ({ ...without(c, "sliding_window"), layer_types: Array(3).fill("full_attention") }));
test("Seed-OSS, SmolLM3, GLM-4, EXAONE 4.0: where biases, turns and windows are", () => {
  refuses("seed_oss", { attention_bias: false }, "attention_bias is false");
  refuses("seed_oss", { attention_out_bias: true }, "attention_out_bias is true");
  assert.equal(header("seed_oss", { head_dim: null })["A"], 128);
  assert.equal(header("smollm3", { rope_parameters: null, no_rope_layers: null })["base"], 2e6);
  refuses("smollm3", { no_rope_layers: [1, 1, 1, 1] }, "no_rope_layers is [1,1,1,1]", "[1,1,1,0]");
  refuses("smollm3", { num_hidden_layers: 6, no_rope_layers: null }, "num_hidden_layers is 6", "multiple of 4");
  refuses("smollm3", { use_sliding_window: true }, "use_sliding_window is true");
  refuses("smollm3", { rope_parameters: { rope_type: "yarn", factor: 2 } }, 'rope_type is "yarn"');
  const { part, biased } = header("glm4", { rope_parameters: { rope_theta: 5 }, attention_bias: null });
  assert.deepEqual([part, biased], [0.5, true]);
  assert.deepEqual(orderOf("exaone4", {}), ["Near", "Far", "Near"]);
  assert.deepEqual(orderOf("exaone4", { layer_types: null, num_hidden_layers: 4 }), ["Near", "Near", "Near", "Far"]);
  assert.deepEqual(
    orderOf("exaone4", { layer_types: Array(3).fill("full_attention"), sliding_window: null }),
    Array(3).fill("Whole"),
  );
  assert.deepEqual(openTransformers(unwindowed()).order, Array(3).fill("Far"), "nothing is said of windows");
  refuses("exaone4", { layer_types: null, sliding_window_pattern: 3 }, "sliding_window_pattern is 3", "has only 4");
  refuses("exaone4", { sliding_window: null }, "sliding_window is not given");
  refuses("exaone4", { layer_types: ["full_attention"] }, "layer_types is", "one for each layer");
});
const factors = { short_factor: [1, 2, 3], long_factor: [4, 5, 6] };
/** With RoPE's settings in the object of older files. */
const phi3 = (rope: object, more: object = {}): unknown[] => {
  const { original, heat, P } = header("phi3", { rope_parameters: null, rope_scaling: rope, ...more });
  return [original, heat, P];
};
test("Phi-3: where LongRoPE begins, what it multiplies by, and how much of a head turns", () => {
  assert.equal(header("phi3", { sliding_window: null })["window"], undefined);
  const [root, part] = [Math.sqrt(2), 6];
  for (const type of ["longrope", "su", "yarn"])
    assert.deepEqual(phi3({ type, ...factors }, { partial_rotary_factor: 0.8 }), [8, root, part], type);
  const said = { rope_type: "longrope", ...factors };
  assert.deepEqual(phi3({ ...said, factor: 1, partial_rotary_factor: 0.5 }), [8, 1, 4]);
  assert.deepEqual(phi3({ ...said, attention_factor: 1.2 }), [8, 1.2, part]);
  const none = { original_max_position_embeddings: null, max_position_embeddings: 131072 };
  const within = { ...said, original_max_position_embeddings: 16 }; // transformers does not read it there
  assert.deepEqual(phi3(within, none), [4096, Math.sqrt(1 + 5 / 12), part]);
  assert.deepEqual(phi3({ rope_type: "default" }, { partial_rotary_factor: null }), [undefined, undefined, 8]);
  for (const type of ["phi3", "phimoe"]) {
    const unread = { ...factors, rope_type: "default", original_max_position_embeddings: 8 };
    const model = openTransformers(other(type, { rope_parameters: unread }));
    assert.deepEqual([model.header["original"], model.lists.size], [undefined, 0], `${type} without LongRoPE`);
  }
  refuses("phi3", { rope_parameters: { type: "longrope", long_factor: [1] } }, 'is "longrope"', "with short_factor");
  refuses("phi3", { rope_parameters: { rope_type: "linear", factor: 2 } }, 'is "linear"', "default, or longrope");
  refuses("phi3", { rope_parameters: { ...said, attention_factor: "hot" } }, 'attention_factor is "hot"', "a number");
});
test("OLMo Hybrid: which blocks have attention, whether heads turn, and what is wide where nothing says it", () => {
  assert.deepEqual(orderOf("olmo_hybrid", {}), ["Delta", "Far", "Delta", "Delta"]);
  assert.deepEqual(orderOf("olmo_hybrid", { layer_types: null }), ["Delta", "Delta", "Delta", "Far"]);
  assert.deepEqual(orderOf("olmo_hybrid", { layer_types: null, num_hidden_layers: 2 }), ["Delta", "Far"]);
  refuses("olmo_hybrid", { layer_types: ["full_attention"] }, "layer_types is", "one for each layer");
  refuses("olmo_hybrid", { attention_bias: true }, "attention_bias is true");
  refuses("olmo_hybrid", { linear_allow_neg_eigval: 1 }, "linear_allow_neg_eigval is 1", "true or false");
  const keys = ["linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim"];
  const nothing = Object.fromEntries(keys.map((key) => [key, null]));
  const { Keys, Values, KeyWidth, ValueWidth } = header("olmo_hybrid", nothing);
  assert.deepEqual([Keys, Values, KeyWidth, ValueWidth], [4, 4, 3, 6]);
  assert.equal(header("olmo_hybrid", {})["P"], 0);
  for (const rope of [null, { rope_theta: 10 }]) assert.equal(header("olmo_hybrid", { rope_parameters: rope })["P"], 4);
  assert.equal(header("olmo_hybrid", { linear_allow_neg_eigval: null })["most"], 2);
  assert.equal(header("olmo_hybrid", { linear_allow_neg_eigval: false })["most"], 1);
});
/** OLMo 3's settings of RoPE in the form of older files. */
const olmo3 = (rope: object | null, more: object = {}): Header =>
  header("olmo3", { rope_parameters: null, rope_theta: 5e5, rope_scaling: rope, ...more });
test("OLMo 2 and 3: where windows are, and how far YaRN stretches", () => {
  assert.equal(header("olmo2", { num_key_value_heads: null })["Groups"], 4);
  refuses("olmo2", { attention_bias: true }, "attention_bias is true");
  assert.deepEqual(orderOf("olmo3", {}), ["Near", "Far", "Near"]);
  assert.deepEqual(orderOf("olmo3", { layer_types: null, num_hidden_layers: 4 }), ["Near", "Near", "Near", "Far"]);
  refuses("olmo3", { layer_types: ["full_attention"] }, "layer_types is", "one for each layer");
  refuses("olmo3", { sliding_window: null }, "sliding_window is not given");
  const { base, near_base, stretch } = header("olmo3", {});
  assert.deepEqual([base, near_base, stretch], [1000, 100, 8]);
  const plain = olmo3(null, { rope_theta: 9 });
  assert.deepEqual([plain["base"], plain["near_base"], plain["stretch"], plain["heat"]], [9, 9, 1, undefined]);
  const yarn = { rope_type: "yarn", factor: 8 };
  const { original, fast, slow, heat } = olmo3(yarn);
  assert.deepEqual([original, fast, slow, heat], [64, 32, 1, 0.1 * Math.log(8) + 1]);
  assert.equal(olmo3({ ...yarn, attention_factor: 1.3, mscale: 2, mscale_all_dim: 1 })["heat"], 1.3);
  const times = (0.2 * Math.log(8) + 1) / (0.1 * Math.log(8) + 1);
  assert.equal(olmo3({ ...yarn, mscale: 2, mscale_all_dim: 1 })["heat"], times);
  refused(() => olmo3({ ...yarn, factor: 0.5 }), "rope_scaling.factor is 0.5", "at least 1");
  refused(() => olmo3({ ...yarn, truncate: false }), "rope_scaling.truncate is false");
  refused(() => olmo3({ rope_type: "linear", factor: 2 }), 'rope_scaling.rope_type is "linear"');
  refuses(
    "olmo3",
    { rope_parameters: { rope_theta: 5, rope_type: "default" } },
    'rope_parameters.rope_type is "default"',
  );
});
test("Ministral 3 and nanochat: YaRN, growth and caps, and what is refused", () => {
  const yarn = { rope_type: "yarn", rope_theta: 9, factor: 4 };
  const { base, original, heat, growth, A } = header("ministral3", { rope_parameters: yarn, head_dim: null });
  assert.deepEqual([base, original, heat, growth, A], [9, 64, 0.1 * Math.log(4) + 1, 0, 128]);
  const plain = header("ministral3", { rope_parameters: { rope_type: "default", rope_theta: 9 } });
  assert.deepEqual([plain["stretch"], plain["growth"]], [1, 0], "the model's own stretch is 16");
  refuses("ministral3", { rope_parameters: null }, "rope_theta is not given");
  refuses("ministral3", { rope_parameters: null, rope_theta: 9 }, "rope_theta is 9", "the type of RoPE");
  const grown = { rope_type: "default", rope_theta: 9, llama_4_scaling_beta: 0.1 };
  refuses("ministral3", { rope_parameters: grown }, "llama_4_scaling_beta is 0.1", "has only 0");
  refuses("ministral3", { rope_parameters: { ...yarn, rope_type: "linear" } }, 'rope_type is "linear"');
  assert.equal(header("nanochat", {})["cap"], 1.5);
  assert.equal(header("nanochat", { final_logit_softcapping: null })["cap"], undefined);
  assert.equal(openTransformers(copy("nanochat", (c) => without(c, "final_logit_softcapping"))).header["cap"], 15);
  refuses("nanochat", { final_logit_softcapping: "high" }, 'final_logit_softcapping is "high"', "or null");
  refuses("nanochat", { hidden_act: "silu" }, 'hidden_act is "silu"');
});
const orderOfCohere = (change: object): unknown => orderOf("cohere2", { layer_types: null, ...change });
test("Command R, R7B and A: how logits are scaled, what turns, and where windows are", () => {
  const { soft, base, eps, normed } = header("cohere", { rope_parameters: null, layer_norm_eps: null });
  assert.deepEqual([soft, base, eps, normed], [1 / 0.3, 500000, 1e-5, true]);
  assert.equal(header("cohere", { logit_scale: null })["soft"], 16);
  assert.equal(header("cohere", { use_qk_norm: null })["normed"], false);
  for (const scale of [0, -1, "0.3"])
    refuses("cohere", { logit_scale: scale }, `logit_scale is ${JSON.stringify(scale)}`, "a number above 0");
  refuses("cohere", { rope_scaling: { type: "linear", factor: 4 } }, 'rope_scaling.type is "linear"');
  assert.ok(openTransformers(copy("cohere2", (c) => without(c, "tie_word_embeddings"))).tied);
  assert.deepEqual(orderOfCohere({ num_hidden_layers: 4 }), ["Near", "Near", "Near", "Far"]);
  assert.deepEqual(orderOfCohere({ sliding_window_pattern: 2 }), ["Near", "Far", "Near"]);
  assert.deepEqual(orderOfCohere({ sliding_window_pattern: 1, sliding_window: null }), ["Far", "Far", "Far"]);
  assert.equal(header("cohere2", { rope_parameters: null })["base"], 10000);
  refuses("cohere2", { layer_types: null, sliding_window_pattern: 0 }, "sliding_window_pattern is 0", "at least 1");
  refuses("cohere2", { sliding_window: null }, "sliding_window is not given");
  refuses("cohere2", { layer_types: ["full_attention"] }, "layer_types is", "one for each layer");
});
/** LFM3's settings of RoPE for blocks that see all. */
const lfm3 = (rope: object): Header => header("lfm3", { rope_parameters: { full_attention: rope } });
test("LFM3: the order of blocks, and which pairs turn", () => {
  assert.deepEqual(orderOf("lfm3", {}), ["Short", "Far", "Near"]);
  const usual = ["Short", "Short", "Far", "Short", "Near", "Short", "Far"];
  assert.deepEqual(orderOf("lfm3", { layer_types: null, num_hidden_layers: 7 }), usual);
  const { base, near_base, part, Width } = header("lfm3", { rope_parameters: null });
  assert.deepEqual([base, near_base, part, Width], [1e6, 1e4, 0.5, 7]);
  assert.deepEqual(
    [{ rope_type: "proportional" }, { rope_type: "default", partial_rotary_factor: 0.5 }].map(
      (rope) => lfm3(rope)["part"],
    ),
    [1, undefined],
  );
  const older = {
    rope_theta: 9,
    partial_rotary_factor: 0.25,
    rope_parameters: { full_attention: { type: "proportional" } },
  };
  const { base: far, near_base: near, part: first } = header("lfm3", older);
  assert.deepEqual([far, near, first], [9, 9, 0.25], "what is said of all");
  assert.equal(lfm3({ rope_type: "default" })["near_base"], 1e6);
  assert.ok(openTransformers(copy("lfm3", (c) => without(c, "tie_word_embeddings"))).tied);
  refused(() => lfm3({ rope_type: "yarn", factor: 2 }), 'rope_type is "yarn"');
  refused(() => lfm3({ rope_type: "proportional", factor: 2 }), "factor is 2", "has only 1");
  refuses("lfm3", { use_sandwich_norm: false }, "use_sandwich_norm is false");
  refuses("lfm3", { layer_types: ["conv"] }, "layer_types is", "one for each layer");
  refuses("lfm3", { sliding_window: null }, "sliding_window is not given");
});
test.run();
