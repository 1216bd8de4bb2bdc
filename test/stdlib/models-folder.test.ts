// `moec import` of folders that are no whole checkpoint of transformers', or whose config.json says what nothing reads.
import assert from "node:assert/strict";
import { cpSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { openTransformers } from "../../runtime/import/config.ts";
import { importModel } from "../../runtime/import/import-model.ts";
import { weightFiles } from "../../runtime/import/weight-files.ts";
import { readParameters } from "../../runtime/storage/parameters.ts";
import { hf, other, refused } from "../hf-copies.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("models-folder");
const misspelt = (folder: string): unknown => openTransformers(folder).misspelt;
const misspeltIn = (change: object): unknown => misspelt(other("mixtral", change));
test("keys of config.json that are one slip away from missing ones are told of", async () => {
  for (const name of readdirSync(hf)) assert.deepEqual(misspelt(join(hf, name)), [], name);
  const theta = "rope_parameters.rope_theta";
  for (const slip of ["rope_thta", "rope_thheta", "rope_thita", "rope_tehta"])
    assert.deepEqual(misspeltIn({ rope_parameters: { [slip]: 1e6 } }), [[`rope_parameters.${slip}`, theta]]);
  for (const other of ["rope_thata_", "rope_texta", "rope_txhta", "rope_"])
    assert.deepEqual(misspeltIn({ rope_parameters: { [other]: 1e6 } }), []);
  assert.deepEqual(misspeltIn({ rope_parameters: { rope_thta: null } }), []);
  assert.deepEqual(misspeltIn({ router_temperature: 0.5, hidden_ac: "silu", hidden_act: null }), [
    ["hidden_ac", "hidden_act"],
  ]);
  assert.deepEqual(misspeltIn({ hidden_ac: "relu" }), []);
  const said: string[] = [];
  const folder = other("mixtral", { hidden_ac: "silu", hidden_act: null });
  await importModel({ folder, out: join(temporaryFolder(), "run"), warn: (line) => said.push(line) });
  assert.match(said.join(), /config\.json has hidden_ac, which nothing reads, and has no hidden_act: is that meant\?/);
});
/** A folder with these files, which hold nothing, and config.json if it `hasConfig`. */
function folderOf(names: readonly string[], hasConfig = true): string {
  const at = temporaryFolder();
  for (const name of names) writeFileSync(join(at, name), "");
  if (hasConfig) cpSync(join(hf, "mixtral", "config.json"), join(at, "config.json"));
  return at;
}
test("what is no whole checkpoint in safetensors is told by what it is, with what makes one of it", async () => {
  refused(() => openTransformers(folderOf(["adapter_config.json"])), "adapters of PEFT", "merge_and_unload");
  refused(() => openTransformers(folderOf(["model-Q4.gguf"], false)), "GGUF", 'gguf_file="model-Q4.gguf"');
  const at = folderOf(["model.gguf", "other.txt"], false);
  refused(() => openTransformers(join(at, "model.gguf")), "GGUF", 'gguf_file="model.gguf"');
  refused(() => openTransformers(join(at, "other.txt")), "is a file");
  refused(() => openTransformers(join(at, "none")), "no folder");
  symlinkSync("circle", join(at, "circle"));
  refused(() => openTransformers(join(at, "circle")), "cannot read", "in a circle");
  refused(() => readParameters(folderOf(["adapter_config.json"], false), assert.fail), "adapters of PEFT");
  refused(() => weightFiles(folderOf(["model-Q4.gguf"])), "GGUF");
  const lost = folderOf([]);
  symlinkSync("../blobs/1", join(lost, "model.safetensors"));
  refused(() => weightFiles(lost), "model.safetensors is a link to a file that is not there");
  refused(() => weightFiles(folderOf(["pytorch_model-00001-of-00002.bin"])), "pickles", "save_pretrained");
  refused(() => weightFiles(folderOf(["model-00001-of-00002.safetensors"])), "no model.safetensors.index.json");
  const part = other("olmoe", {});
  rmSync(join(part, "model-00002-of-00003.safetensors"));
  refused(() => weightFiles(part), "3 files, of which model-00002-of-00003.safetensors is not there");
  const above = other("olmoe", {});
  writeFileSync(
    join(above, "model.safetensors.index.json"),
    JSON.stringify({ weight_map: { "lm_head.weight": ".." } }),
  );
  refused(() => weightFiles(above), "no weight_map from names to files");
  rmSync(join(part, "model-00001-of-00003.safetensors"));
  refused(() => weightFiles(part), "2 are not there", "model-00001-of-00003.safetensors");
  const pieces = other("mixtral", {});
  writeFileSync(join(pieces, "tokenizer.model"), "");
  const said: string[] = [];
  await importModel({ folder: pieces, out: join(temporaryFolder(), "run"), warn: (line) => said.push(line) });
  assert.match(said.join(), /tokenizer\.model alone.*AutoTokenizer/);
});
test.run();
