// What config.json of a dense model may say, and what is refused by its key.
import assert from "node:assert/strict";
import { suite } from "uvu";
import { openTransformers } from "../../runtime/import/config.ts";
import { copy, header, other, refused, refuses, without } from "../hf-copies.ts";

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
const orderOfExaone = (change: object): unknown => openTransformers(other("exaone4", change)).order;
const unwindowed = (): string =>
  copy("exaone4", (c) => ({ ...without(c, "sliding_window"), layer_types: Array(3).fill("full_attention") }));
test("Seed-OSS, SmolLM3, GLM-4, Phi-3, EXAONE 4.0: where biases, turns and windows are", () => {
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
  assert.equal(header("phi3", { sliding_window: null })["window"], undefined);
  refuses("phi3", { rope_scaling: { type: "longrope", long_factor: [1] } }, 'rope_scaling.type is "longrope"');
  refuses("phi3", { partial_rotary_factor: 0.75 }, "partial_rotary_factor is 0.75", "has only 1");
  assert.deepEqual(orderOfExaone({}), ["Near", "Far", "Near"]);
  assert.deepEqual(orderOfExaone({ layer_types: null, num_hidden_layers: 4 }), ["Near", "Near", "Near", "Far"]);
  assert.deepEqual(
    orderOfExaone({ layer_types: Array(3).fill("full_attention"), sliding_window: null }),
    Array(3).fill("Whole"),
  );
  assert.deepEqual(openTransformers(unwindowed()).order, Array(3).fill("Far"), "nothing is said of windows");
  refuses("exaone4", { layer_types: null, sliding_window_pattern: 3 }, "sliding_window_pattern is 3", "has only 4");
  refuses("exaone4", { sliding_window: null }, "sliding_window is not given");
  refuses("exaone4", { layer_types: ["full_attention"] }, "layer_types is", "one for each layer");
});
test.run();
