// Text models within larger ones, which also read images or sound.
import assert from "node:assert/strict";
import { join } from "node:path";
import { suite } from "uvu";
import { openTransformers } from "../../runtime/import/config.ts";
import { importModel } from "../../runtime/import/import-model.ts";
import { readJson } from "../../runtime/import/weight-files.ts";
import { readSafetensors, type Tensor, tensor, writeSafetensors } from "../../runtime/index.ts";
import { transposed } from "../../runtime/tensor.ts";
import { copy, hf, parametersOf, refused, without } from "../hf-copies.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("models-within");

/** The checkpoint of a model that has this one within, and a part that reads images. */
function larger(family: string, rename: (name: string) => string): string {
  const at = copy(family, (c) => ({
    model_type: "larger",
    text_config: without(c, "tie_word_embeddings"),
    tie_word_embeddings: true,
  }));
  const path = join(at, "model.safetensors");
  const own = [...readSafetensors(path)].filter(([name]) => name !== "lm_head.weight");
  const image = ["model.visual.merger.norm.weight", tensor("f32", [2], [1, 2])] as const;
  writeSafetensors(path, new Map([...own.map(([name, t]) => [rename(name), t] as const), image]));
  return at;
}
test("the text model of a larger model is read from within its config, wherever its weights are", async () => {
  const own = parametersOf(join(hf, "qwen3_5_text"));
  const expected = new Map(own).set("head.weight", transposed(own.get("embed.weight") as Tensor));
  for (const place of [
    "model.language_model.",
    "language_model.model.",
    "model.text_model.",
    "llm.model.",
    "model.",
    "",
  ]) {
    const at = larger("qwen3_5_text", (name) => name.replace("model.", place));
    assert.deepEqual(parametersOf(at), expected, place);
    assert.equal(openTransformers(at).tied, true);
    const { leftOut } = await importModel({ folder: at, out: join(temporaryFolder(), "run") });
    assert.deepEqual(
      leftOut,
      ["language_model.model.", "llm.model.", ""].includes(place) ? ["model"] : ["model.visual"],
      place,
    );
  }
  const unknown = larger("qwen3_5_text", (name) => name.replace(/norm\.weight$/, "scale.weight"));
  refused(() => parametersOf(unknown), "scale.weight` is nothing that Qwen35 has");
  const without = larger("qwen3_5_text", (name) => name.replace("embed_tokens", "words"));
  refused(() => parametersOf(without), "no embedding of the text model");
});
test("of two embeddings that which stands least deep is the text model's, and its head is beside it", () => {
  const expected = parametersOf(join(hf, "mixtral"));
  for (const [place, head] of [
    ["model.language_model.", ""],
    ["llm.model.", "llm."],
    ["", ""],
  ] as const) {
    const at = copy("mixtral", (c) => ({ model_type: "larger", text_config: c }));
    const path = join(at, "model.safetensors");
    const own = [...readSafetensors(path)].map(
      ([name, t]) => [name.replace(/^model\./, place).replace(/^(?=lm_head)/, head), t] as const,
    );
    const voice = ["model.audio.decoder.embed_tokens.weight", tensor("f32", [2], [1, 2])] as const;
    writeSafetensors(path, new Map([voice, ...own]));
    assert.deepEqual(parametersOf(at), expected, place);
  }
});
test("layers are called blocks, as transformers writes those of Kimi K2.5's text model", () => {
  const at = copy("kimi_k2", (c) => ({ model_type: "kimi_k25", text_config: { ...c, model_type: "deepseek_v3" } }));
  const path = join(at, "model.safetensors");
  const own = [...readSafetensors(path)].map(
    ([name, t]) => [`language_model.${name.replace(".layers.", ".blocks.")}`, t] as const,
  );
  const image = ["vision_tower.encoder.blocks.0.norm0.weight", tensor("f32", [2], [1, 2])] as const;
  writeSafetensors(path, new Map([...own, image]));
  assert.deepEqual(parametersOf(at), parametersOf(join(hf, "kimi_k2")));
});
test("DeepSeekMoE is read as released by itself, and as DeepSeek-OCR's release has it", () => {
  const own = join(hf, "deepseek_ocr2_text");
  const { text_config: within } = readJson(join(own, "config.json")) as { text_config: Record<string, unknown> };
  const { mlp_layer_types: _, rms_norm_eps: __, routed_scaling_factor: ___, ...said } = within;
  const plain = { ...said, first_k_dense_replace: 1, q_lora_rank: null, qk_nope_head_dim: 0 };
  const ocr = {
    model_type: "deepseek_vl_v2",
    language_config: { ...plain, model_type: "deepseek_v2", use_mla: false },
  };
  for (const config of [{ ...plain, model_type: "deepseek" }, ocr]) {
    const at = copy("deepseek_ocr2_text", () => config);
    const path = join(at, "model.safetensors");
    const all = [...readSafetensors(path)].map(([name, t]) => [name.replace("language_model.", ""), t] as const);
    const text = all.filter(([name]) => /^(lm_head|model\.(layers|norm|embed))/.test(name));
    writeSafetensors(path, new Map(config === ocr ? all : text));
    assert.deepEqual(parametersOf(at), parametersOf(own));
    const { header } = openTransformers(at);
    assert.deepEqual([header["Dense"], header["eps"], header["scale"]], [1, 1e-6, 1]);
  }
});
test("dots3 Note has one name with its text model within, and as released, where it is the whole", () => {
  const own = parametersOf(join(hf, "dots3_note_text"));
  const within = copy("dots3_note_text", (text) => ({ model_type: "dots3_note", text_config: text }));
  const path = join(within, "model.safetensors");
  const named = [...readSafetensors(path)].map(
    ([name, t]) => [name.replace(/^model\./, "model.language_model."), t] as const,
  );
  writeSafetensors(path, new Map(named));
  assert.deepEqual(parametersOf(within), own);
  assert.deepEqual(parametersOf(copy("dots3_note_text", (c) => ({ ...c, model_type: "dots3_note" }))), own);
});
test("Qwen2.5-VL as released says of the whole what it says of its text model", async () => {
  const own = join(hf, "qwen2_5_vl_text");
  const at = copy("qwen2_5_vl_text", ({ text_config: text, vision_config: images }) => ({
    ...without(text as Record<string, unknown>, "rope_parameters"),
    model_type: "qwen2_5_vl",
    rope_theta: 100,
    rope_scaling: { type: "mrope", rope_type: "default", mrope_section: [1, 1, 0] },
    vision_config: images,
  }));
  const path = join(at, "model.safetensors");
  const named = [...readSafetensors(path)].map(
    ([name, t]) => [name.replace("model.language_model.", "model.").replace("model.visual.", "visual."), t] as const,
  );
  writeSafetensors(path, new Map(named));
  assert.deepEqual(parametersOf(at), parametersOf(own));
  assert.deepEqual(openTransformers(at).header, openTransformers(own).header);
  const { leftOut } = await importModel({ folder: at, out: join(temporaryFolder(), "run") });
  assert.deepEqual(leftOut, ["visual"]);
  const longer = { rope_scaling: { type: "yarn", factor: 4 } };
  refused(
    () =>
      openTransformers(
        copy("qwen2_5_vl_text", (c) => ({ ...c, text_config: { ...(c["text_config"] as object), ...longer } })),
      ),
    'type is "yarn"',
  );
});
test("Qwen3-Omni's text model is within its thinker, beside what hears and speaks", () => {
  const at = copy("qwen3_omni_moe_text", (thinker) => ({ model_type: "qwen3_omni_moe", thinker_config: thinker }));
  const path = join(at, "model.safetensors");
  const own = [...readSafetensors(path)].map(([name, t]) => [`thinker.${name}`, t] as const);
  const voice = ["talker.model.norm.weight", tensor("f32", [2], [1, 2])] as const;
  writeSafetensors(path, new Map([...own, voice]));
  assert.deepEqual(parametersOf(at), parametersOf(join(hf, "qwen3_omni_moe_text")));
});
test("Nemotron 3 Omni's text model is where its release has it, beside what sees and hears", () => {
  const at = copy("nemotron_h", (text) => ({ model_type: "NemotronH_Nano_Omni_Reasoning_V3", llm_config: text }));
  const path = join(at, "model.safetensors");
  const own = [...readSafetensors(path)].map(([name, t]) => [`language_model.${name}`, t] as const);
  const others = [
    "mlp1.0.weight",
    "vision_projector.vision_final_layernorm.weight",
    "vision_final_layernorm.weight",
    "sound_projection.norm.weight",
    "sound_encoder.encoder.layers.0.norm_out.bias",
    "vision_model.radio_model.model.norm",
  ];
  writeSafetensors(path, new Map([...own, ...others.map((name) => [name, tensor("f32", [1], [1])] as const)]));
  assert.deepEqual(parametersOf(at), parametersOf(join(hf, "nemotron_h")));
});
test.run();
