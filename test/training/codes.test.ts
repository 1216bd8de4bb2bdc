// What becomes of a run whose checkpoint holds codes: they stay codes where it is evaluated, generated from and merged; nothing else becomes any.
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { WeightsOption } from "../../compiler/types/dtype.ts";
import { openRun } from "../../runtime/generation/open-run.ts";
import { importModel } from "../../runtime/import/import-model.ts";
import { openModel } from "../../runtime/index.ts";
import { mergeRun } from "../../runtime/merge.ts";
import { readConfig } from "../../runtime/storage/run-folder.ts";
import { openWithCodes } from "../../runtime/storage/safetensors.ts";
import { evaluate } from "../../runtime/training/evaluate.ts";
import { near } from "../language/elaborate-text.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { losses } from "../training-runs.ts";

const test = suite("codes");
const root = temporaryFolder();
const data = join(root, "text");
writeFileSync(data, "Some years ago, never mind how long precisely, having little or no money. ");
const target = "reference";
const options = { data: [data], target, batch: 1, length: 4, steps: 1 } as const;
const base = join(root, "base");
const example = (name: string): string => join(project, "examples", name);
const set = { V: 128, D: 32, H: 32, L: 1, Heads: 2, E: 2, Context: 16, K: 1 };
await losses({ ...options, program: example("gpt-moe.moe"), set, out: base });
/** A run of adapters over the base, whose other weights are kept so. */
async function adapted(weights: WeightsOption): Promise<string> {
  const out = join(root, weights);
  await losses({ ...options, program: example("lora.moe"), set: { R: 2 }, params: base, weights, out });
  return out;
}
const runs = { int8: await adapted("int8"), fp4: await adapted("fp4"), float: await adapted("float") };

/** The tensors of a checkpoint's model, trained and frozen ones, as they stand in its files. */
const tensorsOf = (run: string, step = 1) =>
  new Map(
    ["model", "frozen"]
      .map((name) => join(run, `checkpoints/step-00000${step}/${name}.safetensors`))
      .flatMap((path) => (existsSync(path) ? [...openWithCodes(path)] : [])),
  );
/** What they are, by their names without numbers. */
const kinds = (run: string, step?: number): ReadonlyMap<string, string> =>
  new Map([...tensorsOf(run, step)].map(([name, t]) => [name.replaceAll(/\d+/g, "*"), "code" in t ? t.code : t.dtype]));
/** How a run is evaluated: its loss, and what is said of its weights. */
async function evaluated(folder: string, how: { readonly weights?: WeightsOption; readonly ids?: boolean } = {}) {
  const said: string[] = [];
  const texts = how.ids ? [join(root, "ids")] : [data];
  const { loss } = await evaluate({
    folder,
    data: texts,
    target,
    ...how,
    batch: 1,
    length: 8,
    tell: (line) => said.push(line),
  });
  return { loss, said: said.map((line) => line.replaceAll(/[\d.]+ %/g, "n %").replace(/:.*/, "")) };
}
const run = (weights: WeightsOption): string => runs[weights];

test("a checkpoint holds what was kept as codes, and as floats what was trained", () => {
  const [eight, four] = [kinds(run("int8")), kinds(run("fp4"))];
  const expert = "blocks.*.feed.experts.*.up";
  for (const [all, code, scales] of [
    [eight, "i8", "f32"],
    [four, "u8", "bf16"],
  ] as const) {
    assert.is(all.get(`${expert}.weight`), code);
    assert.is(all.get(`${expert}.weight scales`), scales);
    assert.is(all.get(`${expert}.a`), "f32");
    assert.is(all.get("embed.weight"), "i8"); // rows are looked up, which 4 bits do not have
    assert.is(all.get("embed.weight scales"), "f32");
  }
  assert.not.ok([...kinds(run("float")).values()].some((kind) => kind.endsWith("8")));
  assert.equal(
    [readConfig(run("int8")).weights, readConfig(run("fp4")).weights, readConfig(run("float")).weights],
    ["int8", "fp4", undefined],
  );
});
test("codes stay codes where a run is evaluated, which --weights says otherwise", async () => {
  const eight = "n % of the parameters in 8 bits";
  const four = "n % of the parameters in 4 bits, n % in 8";
  for (const [weights, said] of [
    ["int8", eight],
    ["fp4", four],
  ] as const) {
    const [kept, floats] = [await evaluated(run(weights)), await evaluated(run(weights), { weights: "float" })];
    assert.equal([kept.said, floats.said], [[said], []]);
    near([kept.loss], [floats.loss], 1e-6);
    const all = await evaluated(run(weights), { weights: "int8" });
    assert.equal(all.said, [eight]);
    assert.ok(all.loss !== kept.loss, "adapters are rounded too");
  }
  assert.equal((await evaluated(run("float"))).said, []);
});
test("they stay so where texts are generated, and in TypeScript", async () => {
  const { executable } = await openRun({ folder: run("fp4"), target, rows: 1, seed: 0 });
  const codes = executable.stores.flatMap(({ name, quantised: by }) => (by ? [`${name} ${by.code}`] : []));
  assert.ok(codes.includes("blocks.0.feed.experts.*.down.weight fp4") && codes.includes("embed.weight int8"));
  assert.not.ok(codes.some((name) => name.includes(".a ") || name.includes(".b ")));
  executable.close();
  const texts = await Promise.all(
    ([undefined, "float"] as const).map(async (weights) => {
      const model = await openModel(run("fp4"), { target, batch: 1, ...(weights && { weights }) });
      let text = "";
      for await (const piece of model.generate("Some", { tokens: 4, temperature: 0 })) text += piece;
      await model.close();
      return text;
    }),
  );
  assert.is(texts[0], texts[1]);
});
test("a run goes on with its kind of weights, and another that goes on from it may have floats", async () => {
  const how = { ...options, steps: 2, program: example("lora.moe"), set: { R: 2 } };
  await losses({ ...how, resume: true, out: run("fp4") });
  const [before, after] = [tensorsOf(run("fp4")), tensorsOf(run("fp4"), 2)];
  const name = "blocks.0.feed.experts.1.gate.weight";
  assert.equal(after.get(name)?.read(), before.get(name)?.read());
  assert.equal(after.get(`${name} scales`)?.read(), before.get(`${name} scales`)?.read());
  const floats = join(root, "floats");
  await losses({ ...how, from: run("int8"), weights: "float", out: floats });
  assert.is(kinds(floats, 2).get("embed.weight"), "f32");
});
test("merging leaves codes where it merges nothing", async () => {
  const out = join(root, "merged");
  await mergeRun({ folder: run("fp4"), out, target, warn: () => {} });
  const all = kinds(out, 2);
  assert.equal(
    ["embed.weight", "blocks.*.attention.query.weight", "blocks.*.feed.experts.*.up.weight"].map((n) => all.get(n)),
    ["i8", "u8", "f32"],
  );
  near([(await evaluated(out)).loss], [(await evaluated(run("fp4"))).loss], 1e-5);
});
test("of an imported model in MXFP4 the experts stay in 4 bits, which changes nothing", async () => {
  const out = join(root, "imported");
  writeFileSync(join(root, "ids"), Array.from({ length: 40 }, (_, i) => (7 * i * i) % 20).join(" "));
  await importModel({ folder: join(project, "test/peers/quantised/gpt_oss"), out });
  const ids = true;
  const [kept, floats] = [await evaluated(out, { ids }), await evaluated(out, { ids, weights: "float" })];
  assert.equal([kept.said, floats.said], [["n % of the parameters in 4 bits"], []]);
  near([kept.loss], [floats.loss], 1e-3); // in bf16
  const [more] = (await evaluated(out, { ids, weights: "fp4" })).said;
  assert.is(more, "n % of the parameters in 4 bits, n % in 8");
});
test.run();
