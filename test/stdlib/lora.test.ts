// examples/lora.moe: begun from a run of examples/gpt-moe.moe, it trains what it adds and nothing else.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { generate } from "../../runtime/generation/generate.ts";
import { type Tensor, tensor, writeSafetensors } from "../../runtime/index.ts";
import { mergeRun } from "../../runtime/merge.ts";
import { readRunLog } from "../../runtime/report/log.ts";
import { runEntry } from "../../runtime/run.ts";
import { readConfig } from "../../runtime/storage/run-folder.ts";
import { numbers } from "../../runtime/tensor.ts";
import { assertClose } from "../peer-results.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { last, losses } from "../training-runs.ts";

const test = suite("lora");
const at = temporaryFolder();
const [data, base, tuned] = [join(at, "text"), join(at, "base"), join(at, "tuned")];
const program = (name: string): string => join(project, "examples", name);
const options = { data: [data], target: "reference", batch: 2, length: 8 } as const;
const [H, R, alpha] = [6, 2, 16];

test.before(async () => {
  writeFileSync(data, "abcdefgh ".repeat(40));
  const set = { V: 128, D: 8, H, L: 1, Heads: 2, E: 3, Context: 16 };
  await losses({ ...options, program: program("gpt-moe.moe"), set, steps: 4, out: base });
  await losses({ ...options, program: program("lora.moe"), set: { R }, params: base, steps: 4, out: tuned });
});
const bits = (t: Tensor | undefined): number[] => [...numbers(t ?? assert.fail())];

test("all of the base has the bits that it had, and all adapters have learned", () => {
  const [before, after] = [last(base).model, last(tuned).model];
  for (const [name, t] of before) assert.deepEqual(bits(after.get(name)), bits(t), name);
  const added = [...after.keys()].filter((name) => !before.has(name));
  assert.equal(added.length, 3 * 3 * 2);
  for (const name of added) {
    assert.match(name, /^blocks\.\d\.feed\.experts\.\d\.(gate|up|down)\.[ab]$/);
    if (name.endsWith(".b"))
      assert.ok(
        bits(after.get(name)).some((x) => x !== 0),
        name,
      );
  }
});

test("a run says how many of its numbers are trained", () => {
  const { parameters = 0, trained } = readRunLog(tuned).about;
  const sizes = [...last(tuned).model].map(([name, t]) => [/\.[ab]$/.test(name), numbers(t).length] as const);
  assert.equal(
    trained,
    sizes.reduce((sum, [learns, n]) => sum + (learns ? n : 0), 0),
  );
  assert.equal(
    parameters,
    sizes.reduce((sum, [, n]) => sum + n, 0),
  );
  assert.equal(readRunLog(base).about.trained, readRunLog(base).about.parameters);
});

/** The base's parameters, each that has adapters with alpha / R a b added. */
function merged(model: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const names = [...model.keys()].filter((name) => !/\.[ab]$/.test(name));
  return new Map(
    names.map((name) => {
      const [w, a, b] = ["weight", "a", "b"].map((own) => model.get(name.replace(/weight$/, own)));
      if (!w || !a || !b) return [name, model.get(name) ?? assert.fail()];
      const columns = w.shape[1] ?? 0;
      const sum = bits(w).map((x, i) => {
        const [row, column] = [Math.floor(i / columns), i % columns];
        const product = Array.from(
          { length: R },
          (_, r) => (bits(a)[row * R + r] ?? 0) * (bits(b)[r * columns + column] ?? 0),
        );
        return x + (alpha / R) * product.reduce((p, q) => p + q, 0);
      });
      return [name, tensor("f64", w.shape, sum)];
    }),
  );
}
const logits = async (
  name: string,
  params: string,
  set: Record<string, number>,
  precision: "f64" | "bf16" = "f64",
): Promise<Tensor | undefined> => {
  const input = join(at, "tokens.json");
  writeFileSync(input, JSON.stringify({ tokens: [[97, 98, 99, 100, 101]] }));
  const results = await runEntry({ program: program(name), params, input, set, target: "reference", precision });
  assert.ok(
    [...results.keys()].every((key) => !key.startsWith("param.")),
    "a parameter is missing",
  );
  return results.get("0");
};
test("it computes what gpt-moe.moe does with the merged matrices", async () => {
  const file = join(at, "merged.safetensors");
  writeSafetensors(file, merged(last(tuned).model));
  const sizes = { V: 128, D: 8, H, L: 1, Heads: 2, E: 3, Context: 16 };
  const expected = await logits("gpt-moe.moe", file, sizes);
  assertClose("logits", await logits("lora.moe", tuned, {}), expected, 1e-12);
  const far = bits(await logits("gpt-moe.moe", base, {})).some((x, i) => Math.abs(x - (bits(expected)[i] ?? 0)) > 1e-7);
  assert.ok(far, "the adapters change nothing");
});
test("moec merge writes a run of gpt-moe.moe with the merged matrices, which computes, writes and trains", async () => {
  const out = join(at, "plain");
  const { step, model, merged: set } = await mergeRun({ folder: tuned, out, target: "reference", warn: assert.fail });
  assert.deepEqual([step, model, set], [4, "GptMoE", 3 * 3]);
  const [expected, { model: plain }] = [merged(last(tuned).model), last(out)];
  assert.deepEqual([...plain.keys()].toSorted(), [...last(base).model.keys()].toSorted());
  for (const [name, t] of expected)
    if (t.dtype === "f64") assertClose(name, plain.get(name), t, 1e-7);
    else assert.deepEqual(plain.get(name), t, name);
  const { sizes: own, data: text, params } = readConfig(out);
  assert.deepEqual([own, text, params], [{ ...readConfig(base).sizes, B: 2, T: 8 }, readConfig(tuned).data, undefined]);
  assertClose("logits", await logits("gpt-moe.moe", out, {}), await logits("lora.moe", tuned, {}), 1e-7);
  assert.equal(await writtenBy(out), await writtenBy(tuned));
  const next = { ...options, program: program("gpt-moe.moe"), params: out, steps: 1, out: join(at, "next") };
  assert.equal((await losses(next)).length, 1);
});
test("in bf16 the merged matrices compute what the adapters do, to its rounding", async () => {
  const [out, wide] = [join(at, "plain-bf16"), join(at, "wide")];
  const how = { ...options, precision: "bf16", params: base, steps: 4, out: wide } as const;
  await losses({ ...how, program: program("lora.moe"), set: { R } });
  await mergeRun({ folder: wide, out, target: "reference", warn: assert.fail });
  assert.equal(readConfig(out).precision, "bf16");
  for (const [name, t] of merged(last(wide).model)) assertClose(name, last(out).model.get(name), t, 1e-7);
  assertClose("logits", await logits("gpt-moe.moe", out, {}, "bf16"), await logits("lora.moe", wide, {}, "bf16"), 2e-2);
});
async function writtenBy(folder: string): Promise<string> {
  let text = "";
  const how = { folder, prompts: ["abc"], tokens: 8, temperature: 0, target: "reference" } as const;
  for await (const { text: piece } of generate(how)) text += piece;
  return text;
}
test("it writes", async () => assert.ok((await writtenBy(tuned)).length > 0));
test.run();
