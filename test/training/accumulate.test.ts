// Steps that are made of several batches: what they read, how much each counts, and that runs go on with the same bits.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import { Problem } from "../../compiler/diagnostic.ts";
import { type Inputs, moe, train } from "../../runtime/index.ts";
import { readConfig } from "../../runtime/storage/run-folder.ts";
import type { TrainOptions } from "../../runtime/training/train-options.ts";
import { targets } from "../embed-programs.ts";
import { project } from "../project.ts";
import { last, losses as lossesOf, small } from "../training-runs.ts";

const root = mkdtempSync(join(tmpdir(), "moec-accumulate-"));
const data = join(root, "text");
writeFileSync(
  data,
  Uint8Array.from({ length: 2000 }, (_, i) => (i * i + (i >> 3)) % 37),
);
const options: TrainOptions = {
  program: join(project, "test/peers/gpt.moe"),
  data: [data],
  batch: 2,
  length: 9,
  steps: 4,
  accumulate: 3,
  saveEvery: 1,
  target: "reference",
};
const losses = (more: Partial<TrainOptions>, until?: number): Promise<number[]> =>
  lossesOf({ ...options, ...more }, until);

const test = suite("accumulate");
test.after(() => rmSync(root, { recursive: true }));
test("a run that was stopped goes on with the same bits", async () => {
  const [whole, parts] = [join(root, "whole"), join(root, "parts")];
  const unbroken = await losses({ out: whole });
  assert.equal(unbroken.length, 4);
  const broken = [...(await losses({ out: parts }, 2)), ...(await losses({ out: parts, resume: true }))];
  assert.deepEqual(broken, unbroken);
  const [a, b] = [last(whole), last(parts)];
  assert.deepEqual(b.model, a.model);
  assert.deepEqual(b.state, a.state);
  // 12 batches of 9 bytes of each stream; the sums of gradients are 0 again and not kept
  assert.equal(a.state.data.position, 108);
  assert.equal(a.state.random.call, 12);
  assert.ok([...a.training.keys()].every((name) => !name.includes("gradient")));
});
test("one step of three batches is not three steps", async () => {
  const [three, one] = [await losses({ out: null }), await losses({ out: null, accumulate: 1, steps: 12 })];
  // the first step's batches are the first three, from the parameters at the start
  assert.ok(Math.abs((three[0] ?? 0) - (one[0] ?? 0)) < 0.5);
  assert.notEqual(three[0], one[0]);
  assert.notEqual(three[3], one[11]);
});
/** A document of which more or less is to be predicted. */
const documentOf = (_: unknown, i: number): string =>
  JSON.stringify({ prompt: "abcdefgh".repeat((i * 7) % 5), completion: `${i * i}.`.repeat(1 + (i % 3) * (i % 4)) });
/** `small`, with a parameter that is bf16 whatever the precision. */
const withBf16 = small(128, 8).replace("mix: ", "param scale: bf16[D] = 1\n  mix: ").replace("tanh(", "scale * tanh(");
for (const [what, text, bar] of [
  ["f32", small(128, 8), 1e-5],
  ["bf16 too", withBf16, 1e-3],
] as const)
  test(`each batch of a step counts by its targets: three of two rows learn what one of six does, ${what}`, async () => {
    const [documents, program] = [join(root, "documents.jsonl"), join(root, "small.moe")];
    writeFileSync(program, text);
    writeFileSync(documents, Array.from({ length: 60 }, documentOf).join("\n"));
    const run = (batch: number, accumulate: number): Promise<number[]> =>
      losses({ program, data: [documents], out: null, shuffle: true, batch, accumulate });
    const [parts, whole] = [await run(2, 3), await run(6, 1)];
    for (const [i, loss] of whole.entries())
      assert.ok(Math.abs((parts[i] ?? Number.NaN) - loss) < bar, `step ${i + 1}`);
  });
const { Mean } = moe<"Mean">`
  import { Sgd } from "std/optim"
  model Mean(N) {
    param m: f32 = 0
    train(x: f32[N], weight: bool[N]) {
      loss square = sum(where(weight, (m - x) ** 2, 0)) / maximum(sum(weight), 1)
      optimize with Sgd(lr: 0.5, momentum: 0)
    }
  }`;
/** An eighth for each number that counts: weights that may sum to less than 1. */
const weightOf = ({ weight }: Inputs): number => (weight as Uint8Array).reduce((n, x) => n + x / 8, 0);
const counted = (x: number[], weight: number[]): Inputs => ({
  x: Float32Array.from(x),
  weight: Uint8Array.from(weight),
});
for (const target of targets)
  test(`a step of several batches takes their mean by weight, which may be the name of an input, on ${target}`, async () => {
    const [full, one, none] = [
      counted([1, 2, 3], [1, 1, 1]),
      counted([6, 9, 9], [1, 0, 0]),
      counted([9, 9, 9], [0, 0, 0]),
    ];
    const means: number[][] = [];
    const batches = [full, one, none, none, none, one];
    for await (const { loss, program } of train(Mean, {
      batches,
      sizes: { N: 3 },
      accumulate: 2,
      weight: weightOf,
      target,
    }))
      means.push([loss, ...program.read("m").data].map((x) => Number(x.toFixed(5))));
    assert.deepEqual(means, [
      [(1 + 4 + 9 + 36) / 4, 3], // the mean of 1, 2, 3 and 6
      [0, 3], // nothing counts, nothing is learnt
      [9, 6],
    ]);
  });
test("how many batches make a step is part of the run", async () => {
  const out = join(root, "fixed");
  await losses({ out, steps: 1 });
  await assert.rejects(losses({ out, steps: 2, resume: true, accumulate: 2 }), (error: unknown) => {
    assert.ok(error instanceof Problem);
    assert.match(error.message, /--accumulate was 3 and is now 2/);
    return true;
  });
  assert.equal((await losses({ out, steps: 2, resume: true, accumulate: undefined })).length, 1);
});
const saved = (out: string): unknown => readConfig(out).recompute;
test("whether layers are made again is kept, and may be asked for when a run goes on", async () => {
  const [from, later] = [join(root, "from"), join(root, "later")];
  const first = await losses({ out: from, steps: 2, recompute: true });
  assert.deepEqual(first, await losses({ out: later, steps: 2 }));
  assert.deepEqual([saved(from), saved(later)], [true, undefined]);
  const [kept, asked] = [
    await losses({ out: from, steps: 3, resume: true }),
    await losses({ out: later, steps: 3, resume: true, recompute: true }),
  ];
  assert.deepEqual(kept, asked);
  assert.deepEqual([saved(from), saved(later)], [true, true]);
});
test.run();
