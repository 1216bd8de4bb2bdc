// Where a checkpoint says how its weights are quantised: in config.json, in a part of it, or in a file beside it.
import assert from "node:assert/strict";
import { cpSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { openTransformers } from "../../runtime/import/config.ts";
import { exportModel } from "../../runtime/import/export.ts";
import { importModel } from "../../runtime/import/import-model.ts";
import { readJson } from "../../runtime/import/weight-files.ts";
import { readSafetensors } from "../../runtime/index.ts";
import { writeSafetensors } from "../../runtime/storage/safetensors.ts";
import { fromNumbers } from "../../runtime/tensor.ts";
import { assertProblem } from "../assert-problem.ts";
import { hf, other } from "../hf-copies.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("models-said");
const channels = {
  quant_method: "compressed-tensors",
  format: "float-quantized",
  config_groups: { group_0: { weights: { type: "float", num_bits: 8, symmetric: true, strategy: "channel" } } },
};

for (const key of ["text_config", "llm_config"])
  test(`what is quantised may be said within ${key} alone, as Kimi K2.5 has it, and of caches`, async () => {
    const [like, run, out] = [temporaryFolder(), join(temporaryFolder(), "run"), join(temporaryFolder(), "theirs")];
    const quantised = { ...channels, kv_cache_scheme: { num_bits: 8, type: "float" } };
    const text = readJson(join(hf, "llama", "config.json"));
    const whole = { model_type: "larger", [key]: { ...text, quantization_config: quantised } };
    writeFileSync(join(like, "config.json"), JSON.stringify(whole));
    const own = [...readSafetensors(join(hf, "llama", "model.safetensors"))];
    const scale = ["language_model.model.layers.0.self_attn.k_scale", fromNumbers("f32", [1], [1])] as const;
    const all = [...own.map(([name, t]) => [`language_model.${name}`, t] as const), scale];
    writeSafetensors(join(like, "model.safetensors"), new Map(all));
    await importModel({ folder: like, out: run });
    exportModel({ folder: run, like, out, warn: assert.fail });
    assert.deepEqual(readJson(join(out, "config.json")), { model_type: "larger", [key]: text });
  });
test("what is quantised holds wherever it is said: beside a null, and of Qwen3-Omni's thinker alone", () => {
  const text = readJson(join(hf, "llama", "config.json"));
  const quantised = { quantization_config: channels };
  for (const whole of [
    { model_type: "larger", quantization_config: null, text_config: { ...text, ...quantised } },
    { model_type: "larger", thinker_config: { ...quantised, text_config: text } },
  ]) {
    const at = temporaryFolder();
    writeFileSync(join(at, "config.json"), JSON.stringify(whole));
    assert.ok(openTransformers(at).quantisation);
  }
});
test("a quantised text model within a larger one is found by its weights, which are codes", async () => {
  const at = temporaryFolder();
  cpSync(join(project, "test/peers/quantised/deepseek_v3"), at, { recursive: true });
  const text = readJson(join(at, "config.json"));
  writeFileSync(join(at, "config.json"), JSON.stringify({ model_type: "larger", text_config: text }));
  const { model, leftOut } = await importModel({ folder: at, out: join(temporaryFolder(), "run") });
  assert.deepEqual([model, leftOut], ["DeepSeekMain", []]);
});
test("what ModelOpt says beside config.json holds, and is not exported with weights of bf16", async () => {
  const [like, run, out] = [other("llama", {}), join(temporaryFolder(), "run"), join(temporaryFolder(), "theirs")];
  const beside = join(like, "hf_quant_config.json");
  writeFileSync(beside, JSON.stringify({ quantization: { quant_algo: "NVFP4", exclude_modules: ["lm_head"] } }));
  const file = join(like, "model.safetensors");
  const scale = ["model.layers.0.self_attn.k_proj.k_scale", fromNumbers("f32", [], [1])] as const;
  writeSafetensors(file, new Map([...readSafetensors(file), scale]));
  assert.ok(openTransformers(like).quantisation);
  await importModel({ folder: like, out: run });
  exportModel({ folder: run, like, out, warn: assert.fail });
  assert.deepEqual(readdirSync(out).toSorted(), ["config.json", "model.safetensors"]);
  writeFileSync(beside, JSON.stringify({ quantization: { quant_algo: "MIXED_PRECISION" } }));
  await assertProblem(() => openTransformers(like), "quant_algo", "dequantize()");
});

test.run();
