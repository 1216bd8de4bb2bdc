// Models whose blocks choose the keys that a query sees, or take those that another chose: which block is of which kind, as config.json says.
import assert from "node:assert/strict";
import { join } from "node:path";
import { suite } from "uvu";
import { openTransformers } from "../../runtime/import/config.ts";
import { compile, readSafetensors, writeSafetensors } from "../../runtime/index.ts";
import { copy, header, hf, kindsOfFamily, other, parametersOf, refused, refuses } from "../hf-copies.ts";
import { project } from "../project.ts";

const test = suite("models-choosing");

test("GLM-5: which blocks choose keys and which take them, by words, letters, or each so many", () => {
  const kinds = ["Full", "SharedMixture"];
  assert.deepEqual(kindsOfFamily("glm_moe_dsa_shared", {}), kinds);
  const unsaid = { indexer_types: null, index_topk_freq: null };
  assert.deepEqual(kindsOfFamily("glm_moe_dsa_shared", { ...unsaid, index_topk_pattern: "FS" }), kinds);
  const none = { layer_types: null, mlp_layer_types: null, indexer_types: null, index_skip_topk_offset: null };
  const four = { ...none, num_hidden_layers: 4 };
  assert.deepEqual(kindsOfFamily("glm_moe_dsa_shared", four), ["Full", "FullMixture", "SharedMixture", "FullMixture"]);
  assert.equal(kindsOfFamily("glm_moe_dsa_shared", { indexer_types: ["full", "full"] }), undefined);
  refuses("glm_moe_dsa_shared", { indexer_types: ["shared", "full"] }, "indexer_types is", "the first full");
  refuses("glm_moe_dsa_shared", { indexer_types: ["full", "none"] }, "indexer_types is", "full or shared");
});
test("MiniMax-M3: which blocks choose keys and which are mixtures, as released and as transformers writes it", () => {
  const type = "minimax_m3_vl_text";
  assert.deepEqual(kindsOfFamily(type, {}), ["SparseMixture", "Full"]);
  const own = { sparse_attention_freq: [0, 1], sparse_topk_blocks: 3, sparse_block_size: 4, sparse_index_dim: 7 };
  const released = { layer_types: null, mlp_layer_types: null, moe_layer_freq: [0, 1], sparse_attention_config: own };
  assert.deepEqual(kindsOfFamily(type, { ...released, hidden_act: "swigluoai" }), ["Full", "SparseMixture"]);
  const { Top, Size, IndexWidth, indexed } = header(type, released);
  assert.deepEqual([Top, Size, IndexWidth, indexed], [3, 4, 7, true]);
  assert.deepEqual(kindsOfFamily(type, { layer_types: null, mlp_layer_types: null }), ["FullMixture", "FullMixture"]);
  assert.equal(header(type, { rope_parameters: null })["P"], 6);
  refuses(type, { layer_types: ["full_attention"] }, "layer_types is", "for each layer one of full_attention");
  refuses(type, { index_n_heads: 1 }, "index_n_heads is 1", "has only 2");
  refuses(type, { sparse_attention_config: { ...own, sparse_init_block: 1 } }, "sparse_init_block is 1");
  refuses(type, { hidden_act: "gelu" }, 'hidden_act is "gelu"');
});
test("Hunyuan 4: which blocks choose keys, and which are mixtures", () => {
  assert.deepEqual(kindsOfFamily("hy_v4", {}), ["Dense", "TakingMixture", "Mixture"]);
  const unsaid = { indexer_types: null, mlp_layer_types: null, layer_types: null, num_hidden_layers: 6 };
  const four = ["Dense", "Mixture", "TakingMixture", "TakingMixture", "TakingMixture", "Mixture"];
  assert.deepEqual(kindsOfFamily("hy_v4", unsaid), four);
  assert.deepEqual(kindsOfFamily("hy_v4", { mlp_layer_types: ["sparse", "dense", "sparse"] })?.[1], "TakingDense");
  refuses("hy_v4", { indexer_types: ["shared", "full", "full"] }, "indexer_types is", "begins with full");
  refuses("hy_v4", { indexer_types: ["full", "some", "full"] }, "indexer_types is", "full and shared");
  refuses("hy_v4", { mlp_layer_types: ["dense"] }, "mlp_layer_types is", "dense and sparse");
  refuses("hy_v4", { swiglu_limit: 0 }, "swiglu_limit is 0", "above 0");
  refuses("hy_v4", { layer_types: ["full_attention"] }, "layer_types is");
});
test("Hunyuan 4 has the blocks that its config.json says", async () => {
  const source = { file: join(project, "stdlib/models/hunyuan4.moe"), declaration: "Hunyuan4" };
  const one = { F: 1, H: 1, Heads: 1, E: 2, K: 1, R: 1, A: 1, C: 1, Top: 1, IndexHeads: 1, B: 1, T: 1 };
  const sizes = { V: 2, L: 6, D: 2, N: 2, Q: 2, P: 2, IndexWidth: 2, ...one };
  const program = await compile(source, { target: "reference", sizes });
  const has = (i: number, part: string): boolean => program.names.includes(`blocks.${i}.${part}`);
  const feed = (i: number): string => (has(i, "feed.moe.gate.weight") ? "Mixture" : "Dense");
  const found = Array.from({ length: 6 }, (_, i) => (has(i, "attention.indexer.weight") ? "" : "Taking") + feed(i));
  program.close();
  const unsaid = { num_hidden_layers: 6, indexer_types: null, mlp_layer_types: null, layer_types: null };
  assert.deepEqual(found, kindsOfFamily("hy_v4", unsaid));
});
test("Mistral Large 4: which blocks turn heads, choose keys, read rows of another, and are mixtures", () => {
  const type = "mistral_large4_text";
  const text = (change: object): string =>
    copy(type, (config) => ({ ...config, text_config: { ...(config["text_config"] as object), ...change } }));
  const kinds = (change: object): unknown => openTransformers(text(change)).order;
  const fails = (change: object, ...words: string[]): void => refused(() => openTransformers(text(change)), ...words);
  const written = ["DenseKept", "MixtureStillKept", "MixtureReadingTaken", "MixtureStillReading", "Mixture"];
  assert.deepEqual(kinds({}), written);
  const unsaid = { kv_source_layers: null, no_rope_layers: null, indexer_types: null, mlp_layer_types: null };
  const alone = ["Dense", "Mixture", "Mixture", "MixtureStill", "Mixture"];
  assert.deepEqual(kinds(unsaid), alone);
  assert.deepEqual(kinds({ ...unsaid, no_rope_layer_interval: 2 }), [
    "Dense",
    "MixtureStill",
    "Mixture",
    "MixtureStill",
    "Mixture",
  ]);
  const rows = "that of the last layer before whose rows are read";
  const lists = [
    [0, 1, 0, 1, 2],
    [0, 0, 2, 3, 4],
    [0, 2, 2, 3, 4],
    [0, 1, 0, 1],
    [0, 1, 0.5, 1, 4],
  ];
  for (const list of lists) fails({ kv_source_layers: list }, "kv_source_layers is", rows);
  fails({ kv_source_layers: [0, 1, 2, 1, 2], no_rope_layers: [1, 0, 0, 0, 0] }, "kv_source_layers is", rows);
  fails({ no_rope_layers: [1, 0, 2, 0, 1] }, "no_rope_layers is", "a list of 0 and 1");
  fails({ indexer_types: ["shared", "full", "full", "full", "full"] }, "indexer_types is");
  fails({ final_logit_softcapping: 0 }, "final_logit_softcapping is 0", "above 0");
});
test("Qwen 4: which blocks have attention, whose indexer must be said", () => {
  const type = "qwen4_exp_text";
  const [Choosing, Delta] = ["Choosing", "Delta"];
  assert.deepEqual(kindsOfFamily(type, {}), [Choosing, Delta, Delta, Choosing]);
  assert.deepEqual(kindsOfFamily(type, { layer_types: null, num_hidden_layers: 5 }), [
    Delta,
    Delta,
    Delta,
    Choosing,
    Delta,
  ]);
  const second = { layer_types: null, full_attention_interval: 2 };
  assert.deepEqual(kindsOfFamily(type, second), [Delta, Choosing, Delta, Choosing]);
  assert.deepEqual(kindsOfFamily(type, { full_attention_interval: 7 }), [Choosing, Delta, Delta, Choosing]);
  refuses(type, { layer_types: null, full_attention_interval: 0 }, "full_attention_interval is 0");
  refuses(type, { layer_types: ["linear_attention"] }, "layer_types is", "one for each layer");
  const none = { indexer_n_heads: null, indexer_head_dim: null, indexer_budget: null, indexer_compress_ratio: null };
  const linear = ["linear_attention", "linear_attention", "linear_attention", "linear_attention"];
  assert.deepEqual(
    kindsOfFamily(type, { ...none, layer_types: linear }),
    linear.map(() => Delta),
  );
  for (const key of Object.keys(none)) refuses(type, { [key]: null }, key);
  refuses(type, { indexer_budget: 5 }, "indexer_budget is 5", "a multiple of indexer_compress_ratio");
  refuses(type, { indexer_kv_heads: 2 }, "indexer_kv_heads is 2");
  refuses(type, { output_gate_type: "tanh" }, 'output_gate_type is "tanh"', "sigmoid");
  const gate = (is: unknown): unknown => header(type, { output_gate_type: is })["bounded"];
  assert.deepEqual([gate("sigmoid"), gate("silu"), gate(null)], [true, false, false]);
  assert.deepEqual(header(type, { num_hidden_layers: 4 })["Top"], 2);
});
test("Qwen 4: which blocks have n-grams, and in how many rows and shards", () => {
  const type = "qwen4_exp_text_ngrams";
  assert.deepEqual(kindsOfFamily(type, {}), ["Ngram1", "Choosing", "Ngram2"]);
  assert.deepEqual(kindsOfFamily(type, { ple_layer_ids: [3, 3] }), ["Delta", "Choosing", "Ngram1"]);
  for (const none of [[], null])
    assert.deepEqual(kindsOfFamily(type, { ple_layer_ids: none }), ["Delta", "Choosing", "Delta"]);
  for (const list of [[2], [0], [4], [1.5], ["1"], 1])
    refuses(type, { ple_layer_ids: list }, `ple_layer_ids is ${JSON.stringify(list)}`, "counted from 1");
  const tables = (change: object): unknown => {
    const { Ngram1, Ngram2 } = openTransformers(other(type, change)).kinds ?? {};
    return [Ngram1, Ngram2].map((kind) => (typeof kind === "object" ? kind.gives : kind));
  };
  const [first, second] = [23 + 29 + 31 + 37 + 41 + 43, 47 + 53 + 59 + 61 + 67 + 71];
  assert.deepEqual(tables({ make_ngram_vocab_size_divisible_by: 1 }), [
    { Rows: first, Shards: 3 },
    { Rows: second, Shards: 3 },
  ]);
  // As torch.chunk: 204 rows for 20 shards are 11 each, of which 19 have all.
  assert.deepEqual(tables({ make_ngram_vocab_size_divisible_by: 1, split_ngram_parts: 20 }), [
    { Rows: first, Shards: 19 },
    { Rows: second, Shards: 20 },
  ]);
  const damaged = {
    ngram_size: [1, 65, "3"],
    heads_per_ngram: [0, 2.5],
    ple_conv_kernel_size: [0],
    ple_embed_dim: [13, 0],
    eos_token_id: [null, [], 40, "0"],
  };
  for (const [key, values] of Object.entries(damaged))
    for (const is of values) refuses(type, { [key]: is }, `${key} is`, "must be");
  const settings = {
    ngram_vocab_size_base: [0, 2 ** 27, -1],
    make_ngram_vocab_size_divisible_by: [0],
    split_ngram_parts: [0, "3"],
  };
  for (const [key, values] of Object.entries(settings))
    for (const is of values) refuses(type, { [key]: is }, `${key} is`, "a whole number from 1 to");
});
test("Qwen4 has the blocks that its config.json says", async () => {
  const source = { file: join(project, "stdlib/models/qwen4.moe"), declaration: "Qwen4" };
  const one = {
    H: 1,
    F: 1,
    Heads: 1,
    Groups: 1,
    E: 1,
    K: 1,
    Low: 1,
    Size: 1,
    Top: 1,
    IndexHeads: 1,
    Keys: 1,
    Values: 1,
    B: 1,
    T: 1,
  };
  const sizes = { V: 2, L: 8, D: 2, N: 2, A: 8, IndexWidth: 2, KeyWidth: 1, ValueWidth: 1, ...one };
  const program = await compile(source, { target: "reference", sizes });
  const chooses = (i: number): boolean => program.names.includes(`blocks.${i}.attention.indexer.row.weight`);
  const found = Array.from({ length: 8 }, (_, i) => (chooses(i) ? "Choosing" : "Delta"));
  program.close();
  assert.deepEqual(found, kindsOfFamily("qwen4_exp_text", { num_hidden_layers: 8, layer_types: null }));
});
/** With these keys of GLM-5.3's text model set. */
const glm = (change: object): string =>
  copy("glm5_next_text", (c) => ({ ...c, text_config: { ...(c["text_config"] as object), ...change } }));
const glmHeader = (change: object): ReturnType<typeof header> => openTransformers(glm(change)).header;
const kindsOfGlm = (change: object): unknown => openTransformers(glm(change)).order;
const valuesOfGlm = (change: object): unknown => {
  const { Top, most, DeltaHeads, DeltaWidth, Width, indexed } = glmHeader(change);
  return [Top, most, DeltaHeads, DeltaWidth, Width, indexed];
};
const boundWithin = (config: object): unknown =>
  glmHeader({ linear_attn_config: config, linear_lower_bound: null })["most"];
const refusesGlm = (change: object, ...words: string[]): void => refused(() => openTransformers(glm(change)), ...words);
test("GLM-5.3: kinds of blocks, pools and bounds, as released and as transformers writes them", () => {
  assert.deepEqual(kindsOfGlm({}), ["Delta", "Latent", "LatentMixture", "DeltaMixture"]);
  const unsaid = { layer_types: null, mlp_layer_types: null, indexer_types: null };
  assert.deepEqual(kindsOfGlm(unsaid), ["Delta", "Delta", "Delta", "LatentMixture"]);
  assert.deepEqual(valuesOfGlm({}), [2, 5, 2, 3, 4, true]);
  const own = { head_dim: 7, num_heads: 5, short_conv_kernel_size: 3, gate_lower_bound: -2 };
  assert.deepEqual(valuesOfGlm({ linear_attn_config: own }), [2, 2, 5, 7, 3, true]);
  assert.deepEqual(valuesOfGlm({ layer_types: Array(4).fill("linear_attention"), linear_lower_bound: null }), [
    2,
    0,
    2,
    3,
    4,
    false,
  ]);
  assert.deepEqual([{}, { safe_gate: false }, { gate_lower_bound: -3 }].map(boundWithin), [5, 0, 3]);
  refusesGlm({ index_kpool: 3 }, "index_topk is 4", "a multiple of index_kpool");
  refusesGlm({ linear_lower_bound: 1 }, "at most 0");
  refusesGlm({ index_kpool_always_select_tail: false }, "index_kpool_always_select_tail is false");
  refusesGlm({ qk_rope_head_dim: 4 }, "qk_rope_head_dim is 4");
  refusesGlm({ indexer_types: ["full", "full", "shared", "full"] }, "indexer_types is", "an indexer of its own");
  assert.deepEqual(kindsOfGlm({ indexer_types: ["shared", "full", "full", "shared"] }), kindsOfGlm({}));
});
test("GLM-5.3 without a part for images says of the whole what it else says of the text model", () => {
  const own = join(hf, "glm5_next_text");
  const at = copy("glm5_next_text", ({ text_config: text }) => ({ ...(text as object), model_type: "glm5_next" }));
  const path = join(at, "model.safetensors");
  const named = [...readSafetensors(path)].flatMap(([name, t]) =>
    name.startsWith("model.visual.") ? [] : [[name.replace("model.language_model.", "model."), t] as const],
  );
  writeSafetensors(path, new Map(named));
  assert.deepEqual(parametersOf(at), parametersOf(own));
});
test("GLM-5.3-Flash has the blocks that its config.json says", async () => {
  const source = { file: join(project, "stdlib/models/glm5_next.moe"), declaration: "Glm5Next" };
  const one = {
    F: 1,
    H: 1,
    Heads: 1,
    E: 2,
    K: 1,
    Q: 1,
    R: 1,
    A: 1,
    C: 1,
    Size: 1,
    Top: 1,
    IndexHeads: 1,
    IndexWidth: 1,
  };
  const sizes = { V: 2, L: 9, D: 2, N: 2, DeltaHeads: 1, DeltaWidth: 1, Rounds: 1, B: 1, T: 1, ...one };
  const program = await compile(source, { target: "reference", sizes });
  const has = (i: number, part: string): boolean => program.names.includes(`blocks.${i}.${part}`);
  const feed = (i: number): string => (has(i, "feed.moe.gate.weight") ? "Mixture" : "");
  const found = Array.from(
    { length: 9 },
    (_, i) => (has(i, "attention.indexer.weight") ? "Latent" : "Delta") + feed(i),
  );
  program.close();
  const unsaid = { num_hidden_layers: 9, layer_types: null, mlp_layer_types: null, indexer_types: null };
  assert.deepEqual(found, kindsOfGlm(unsaid));
});
test("DeepSeek-V4: kinds of blocks and RoPE as released and as transformers writes them", () => {
  const kinds = ["NearHashed", "SparseMixture", "HeavyMixture"];
  assert.deepEqual(kindsOfFamily("deepseek_v4", {}), kinds);
  const scaling = { type: "yarn", factor: 16, original_max_position_embeddings: 65536 };
  const rope = { rope_parameters: null, rope_scaling: scaling, partial_rotary_factor: null, rope_theta: 9 };
  const ratios = { layer_types: null, compress_ratios: [0, 4, 128, 0], mlp_layer_types: null, num_hash_layers: 1 };
  assert.deepEqual(kindsOfFamily("deepseek_v4", { ...rope, ...ratios }), kinds);
  const { P, stretch, original, base, fast } = header("deepseek_v4", { ...rope, ...ratios });
  assert.deepEqual([P, stretch, original, base, fast], [4, 16, 65536, 9, 32]);
  const four = { num_hidden_layers: 4, layer_types: null, mlp_layer_types: null };
  assert.deepEqual(kindsOfFamily("deepseek_v4", four), ["HeavyHashed", "HeavyHashed", "HeavyHashed", "SparseMixture"]);
  assert.equal(header("deepseek_v4", { layer_types: Array(3).fill("sliding_attention") })["indexed"], false);
  refuses("deepseek_v4", { ...ratios, compress_ratios: [0, 4, 8] }, "compress_ratios is [0,4,8]", "0, 4, 128");
  refuses("deepseek_v4", { scoring_func: "sigmoid" }, 'scoring_func is "sigmoid"');
  refuses("deepseek_v4", { n_shared_experts: 2 }, "n_shared_experts is 2");
  refuses("deepseek_v4", { rope_parameters: null, rope_scaling: { type: "linear" } }, 'rope_scaling.type is "linear"');
});
test("DeepSeek-V4-Flash has the blocks that its compress_ratios say", async () => {
  const source = { file: join(project, "stdlib/models/deepseek_v4.moe"), declaration: "DeepSeekV4" };
  const one = { Heads: 1, E: 2, K: 1, OutGroups: 1, Top: 1, IndexHeads: 1, Rounds: 1, B: 1, T: 1 };
  const two = { D: 2, H: 2, N: 2, Q: 2, A: 2, P: 2, O: 2, window: 2, SparseRate: 2, HeavyRate: 3, IndexWidth: 2 };
  const program = await compile(source, { target: "reference", sizes: { V: 2, L: 5, ...one, ...two } });
  const has = (i: number, part: string): boolean => program.names.includes(`blocks.${i}.${part}`);
  const kind = (i: number): string =>
    has(i, "attention.indexer.weight") ? "Sparse" : has(i, "attention.compressor.place") ? "Heavy" : "Near";
  const found = Array.from({ length: 5 }, (_, i) => kind(i) + (has(i, "feed.moe.gate.table") ? "Hashed" : "Mixture"));
  program.close();
  const released = { num_hidden_layers: 5, layer_types: null, mlp_layer_types: null, num_hash_layers: null };
  assert.deepEqual(found, kindsOfFamily("deepseek_v4", { ...released, compress_ratios: [0, 0, 4, 128, 4, 0] }));
});
test.run();
