// Gradients of models that transformers wrote, by its autograd. How they were made: scripts/peers/hf.py.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { openTransformers } from "../../runtime/import/config.ts";
import { importModel } from "../../runtime/import/import-model.ts";
import { transformersTensors } from "../../runtime/import/weights.ts";
import { readSafetensors, type Tensor, writeSafetensors } from "../../runtime/index.ts";
import { runEntry } from "../../runtime/run.ts";
import { Copies } from "../../runtime/storage/names.ts";
import { numbers, zeros } from "../../runtime/tensor.ts";
import { copy, hf } from "../hf-copies.ts";
import { assertClose, some } from "../peer-results.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("models-gradients");
const gradients = join(project, "test/peers/gradients");

/** Those of transformers, by our names and in our layouts: a checkpoint whose weights they are. */
function theirsOf(type: string, given: ReadonlyMap<string, Tensor>): Copies {
  const at = copy(type, (c) => c);
  const path = join(at, "model.safetensors");
  writeSafetensors(path, new Map([...readSafetensors(path), ...given]));
  return new Copies(transformersTensors(openTransformers(at)));
}
const minus = (a: Tensor, b: Tensor | undefined): Tensor => {
  const without = numbers(b ?? assert.fail());
  return { ...a, data: a.data.map((x, i) => x - (without[i] ?? Number.NaN)) };
};
for (const type of readdirSync(gradients))
  test(`${type}: the gradients of transformers`, async () => {
    const run = join(temporaryFolder(), "run");
    await importModel({ folder: join(hf, type), out: run });
    const { cotangent = assert.fail(), ...given } = Object.fromEntries(
      readSafetensors(join(gradients, type, "model.safetensors")),
    );
    const tokens = readSafetensors(join(hf, type, "expected.safetensors")).get("tokens") ?? assert.fail();
    const of = async (c: Tensor): Promise<Map<string, Tensor>> => {
      const input = join(temporaryFolder(), "input.safetensors");
      writeSafetensors(input, new Map(Object.entries({ tokens, "cotangent.0": c })));
      const how = { program: join(run, "model.moe"), entry: "Imported", params: run, input } as const;
      return some(await runEntry({ ...how, gradients: true, target: "reference", precision: "f64" }), "grad.");
    };
    const ours = await of(cotangent);
    const ofLosses = await of(zeros(cotangent.dtype, cotangent.shape)); // gates have some of their own
    const theirs = theirsOf(type, new Map(Object.entries(given)));
    for (const [name, g] of ours) assertClose(name, minus(g, ofLosses.get(name)), theirs.take(name) ?? undefined, 1e-5);
    assert.ok(ours.size > 50);
  });
test.run();
