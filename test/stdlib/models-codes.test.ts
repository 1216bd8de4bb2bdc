// Runs that are imported as codes: those of MXFP4, and those of `moec import --weights`.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import type { Weights } from "../../compiler/types/dtype.ts";
import { dequantised } from "../../runtime/codes.ts";
import { compileProgram } from "../../runtime/compile.ts";
import { generateEntries } from "../../runtime/generation/generate-entries.ts";
import { openTransformers } from "../../runtime/import/config.ts";
import { importModel } from "../../runtime/import/import-model.ts";
import { transformersTensors } from "../../runtime/import/weights.ts";
import { readProgram } from "../../runtime/program.ts";
import { runEntry } from "../../runtime/run.ts";
import { openSafetensors, openWithCodes } from "../../runtime/storage/safetensors.ts";
import { codesAt } from "../../runtime/storage/stored-tensor.ts";
import { convert, part } from "../../runtime/tensor.ts";
import { bits } from "../bits.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("models-codes");
const stored = join(project, "test/peers/quantised");

test("gpt_oss: a run keeps the codes of MXFP4, which stand for the same numbers", async () => {
  const folder = join(stored, "gpt_oss");
  const out = join(temporaryFolder(), "run");
  await importModel({ folder, out });
  const file = join(out, "checkpoints/step-000000/model.safetensors");
  const [found, run] = [openWithCodes(file), openSafetensors(file)];
  const described = [...found].flatMap(([name, t]) =>
    name.startsWith("blocks.0.feed.experts.d") ? [`${name} ${"code" in t ? t.code : t.dtype} ${t.shape.join()}`] : [],
  );
  assert.deepEqual(described.toSorted(), [
    "blocks.0.feed.experts.down.bias bf16 3,32",
    "blocks.0.feed.experts.down.weight scales bf16 3,1,32",
    "blocks.0.feed.experts.down.weight u8 3,16,32",
  ]);
  let kept = 0;
  for (const [name, t] of transformersTensors(openTransformers(folder))) {
    assert.equal(run.get(name)?.kept?.code, t.kept?.code);
    assert.deepEqual(bits(run.get(name)?.read()), bits(convert(t.read(), run.get(name)?.dtype ?? "f32")), name);
    if (!t.kept) continue;
    kept += 1;
    const [all, second] = [codesAt(t.kept, []), codesAt(t.kept, [1])];
    assert.deepEqual(bits(dequantised(all)), bits(convert(t.read(), "f32")), name);
    assert.deepEqual(second, { ...all, codes: part(all.codes, [1]), scales: part(all.scales, [1]) });
  }
  assert.equal(kept, 6); // gate, up and down of two blocks
});
/** By a tensor's name, what `generate` keeps it as. */
async function codesOf(program: string, weights: Weights): Promise<(name: string) => Weights | undefined> {
  const entries = generateEntries(readProgram(program), "Imported", { rows: 1 });
  const { executable } = await compileProgram({
    path: program,
    declaration: "Imported",
    sizes: {},
    precision: "f32",
    target: "host",
    weights,
    entries,
  });
  const code = new Map(executable.stores.map((s) => [s.name, s.quantised?.code]));
  executable.close();
  return (name) => code.get(name) ?? code.get(name.replace(/experts\.\d+/, "experts.*"));
}
for (const weights of ["int8", "fp4"] as const)
  test(`a run is written as codes of ${weights}, those that it would become`, async () => {
    const [plain, coded] = [join(temporaryFolder(), "plain"), join(temporaryFolder(), "coded")];
    const folder = join(stored, "deepseek_v3");
    await importModel({ folder, out: plain });
    await importModel({ folder, out: coded, weights });
    const tensors = openSafetensors(join(coded, "checkpoints/step-000000/model.safetensors"));
    const isRead = await codesOf(join(plain, "model.moe"), weights);
    for (const [name, t] of tensors) assert.equal(t.kept?.code, isRead(name), name);
    const input = join(temporaryFolder(), "tokens.json");
    writeFileSync(input, JSON.stringify({ tokens: [[3, 1, 4, 1, 5]] }));
    const of = (params: string) =>
      runEntry({ program: join(plain, "model.moe"), entry: "Imported", params, input, target: "reference", weights });
    assert.deepEqual(await of(coded), await of(plain));
  });
/** What the weights of GPT-OSS are kept as. */
async function codesOfGptOss(weights: "int8" | "float"): Promise<ReadonlySet<string | undefined>> {
  const out = join(temporaryFolder(), "run");
  await importModel({ folder: join(stored, "gpt_oss"), out, weights });
  const tensors = openSafetensors(join(out, "checkpoints/step-000000/model.safetensors"));
  return new Set([...tensors].flatMap(([name, t]) => (name.endsWith("weight") ? [t.kept?.code] : [])));
}
test("MXFP4 stays so beside other codes, and becomes floats where these are asked for", async () => {
  assert.deepEqual(await codesOfGptOss("int8"), new Set(["int8", undefined, "fp4"]));
  assert.deepEqual(await codesOfGptOss("float"), new Set([undefined]));
});

test.run();
