// What must be done for each gate, mixture and optimizer of the library was done for all: numbers of PyTorch, rows that a mask leaves out, fuzz, workers.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parse } from "../../compiler/syntax/parse.ts";
import { readCases } from "../peer-results.ts";
import { project } from "../project.ts";

const test = suite("covered");
const read = (path: string): string => readFileSync(join(project, path), "utf8");
/** The names of declarations of a kind. */
const declared = (path: string, kind: string): string[] =>
  parse({ name: path, text: read(path) }).program.declarations.flatMap((d) => (d.kind === kind ? [d.name.name] : []));
const isIn = (text: string, name: string): boolean => new RegExp(`\\b${name}\\b`).test(text);

/** A mixture whose numbers are those of a model that transformers has (LongCat, test/stdlib/models.test.ts). */
const elsewhere = new Set(["CopyMoE"]);
for (const [module, kind, name] of [
  ["gates", "layer", "gates"],
  ["moe", "layer", "mixtures"],
  ["optim", "optimizer", "optim"],
] as const) {
  const [peer, script] = [`test/peers/${name}.moe`, `scripts/peers/${name}.py`];
  test(`std/${module} is compared with PyTorch`, () => {
    const models = read(peer);
    for (const part of declared(`stdlib/${module}.moe`, kind))
      if (!elsewhere.has(part))
        assert.ok(isIn(models, part), `add a model with ${part} to ${peer}, and what PyTorch does to ${script}`);
    const stored = readCases(join(project, `test/peers/${name}.safetensors`));
    for (const model of declared(peer, "model"))
      assert.ok(stored.has(model), `${model} of ${peer} has no numbers: add it to ${script}, then run it with --write`);
  });
}
test("gates and mixtures leave out what a mask does", () => {
  const padded = read("test/stdlib/stdlib-padding.test.ts");
  for (const part of ["gates", "moe"].flatMap((module) => declared(`stdlib/${module}.moe`, "layer")))
    assert.ok(isIn(padded, part), `add a model with ${part} to \`models\` of test/stdlib/stdlib-padding.test.ts`);
});
test("optimizers are drawn by the fuzz, and step the parts that workers have", () => {
  const lists = {
    "test/random/programs.ts": "optimizers",
    "test/workers/partition-parameters.test.ts": "each worker steps its part",
    "test/workers/partition-programs.test.ts": "small",
  };
  for (const [path, list] of Object.entries(lists))
    for (const part of declared("stdlib/optim.moe", "optimizer"))
      assert.ok(read(path).includes(`"${part}(`), `add "${part}(...)" to ${path} (${list})`);
});
test.run();
