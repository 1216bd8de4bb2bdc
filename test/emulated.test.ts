// Training on the CUDA target through the real runtime, where the emulator stands in for NVIDIA's driver and for NVRTC: the host's losses.
// MOEC_TEST=full trains the mixture of the issue.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openTraining, type TrainOptions } from "../runtime/train.ts";
import { build } from "./emulator/build.ts";
import { folder } from "./folder.ts";

const test = suite("emulated");
const here = folder();
const data = join(here, "data.txt");
writeFileSync(data, "It is a way I have of driving off the spleen, and regulating the circulation. ".repeat(40));

type Options = Omit<TrainOptions, "data" | "out">;
/** The loss of each step, and of the held-out text at the end. */
async function losses(options: Options): Promise<readonly number[]> {
  const training = await openTraining({ ...options, data: [data], out: null });
  try {
    const all: number[] = [];
    for await (const { loss, heldOut } of training.steps()) all.push(loss, ...(heldOut === null ? [] : [heldOut]));
    return all;
  } finally {
    training.close();
  }
}
async function onEmulator<T>(work: () => Promise<T>): Promise<T> {
  const { libcuda, libnvrtc } = await build();
  const before = process.env;
  process.env = { ...before, MOEC_LIBCUDA: libcuda, MOEC_LIBNVRTC: libnvrtc };
  try {
    return await work();
  } finally {
    process.env = before;
  }
}
/** `apart`: of each loss. In bf16 both round where a buffer is, and tensor cores what they are given. */
async function same(options: Options, apart = 1e-5): Promise<void> {
  const expected = await losses(options);
  const found = await onEmulator(() => losses({ ...options, target: "cuda" }));
  assert.is(found.length, expected.length);
  for (const [i, x] of found.entries()) {
    const distance = Math.abs(x / (expected[i] ?? Number.NaN) - 1);
    assert.ok(distance < apart, `loss ${i} is ${x}, and ${expected[i]} on the host`);
  }
}
test("a small model trains to the host's losses", async () => {
  const program = join(here, "small.moe");
  writeFileSync(
    program,
    `import { Embedding, Linear } from "std/nn"
import { cross_entropy } from "std/loss"
import { AdamW } from "std/optim"
model Small(V = 256, D = 8, Steps = 2) {
  embed: Embedding(V, D)
  mix: Linear(D, D)
  forward(tokens: i32[B, T]) -> float[B, T, V] { return embed.logits(tanh(mix(embed(tokens)))) }
  train(tokens: i32[B, T], targets: i32[B, T]) {
    loss language = cross_entropy(forward(tokens), targets)
    optimize with AdamW(lr: 0.01)
  }
}
`,
  );
  await same({ program, steps: 3, batch: 2, length: 9 });
});
const gpt = join(import.meta.dirname, "..", "examples", "gpt-moe.moe");
/** Half a unit in a bf16's last place. */
const rounding = 2 ** -9;
test("in bf16 two layers of a mixture train five steps to the host's losses", async () => {
  const program = join(here, "gpt.moe");
  // text is another test's: it would double the kernels
  writeFileSync(program, readFileSync(gpt, "utf8").replace(/\n {2}generate\([\s\S]*?\n {2}\}\n/, ""));
  const set = { L: 2, D: 16, H: 16, E: 4, Heads: 2, Context: 64 };
  const options: Options = { program, precision: "bf16", steps: 5, batch: 1, length: 8, set };
  await same(options, rounding);
});
if (process.env["MOEC_TEST"] === "full")
  for (const [precision, apart] of [
    ["f32", 1e-5],
    ["bf16", rounding],
  ] as const)
    test(`two layers of a mixture train five steps to the host's losses, ${precision}`, async () => {
      const set = { L: 2, D: 64, H: 96, Heads: 2 };
      await same({ program: gpt, precision, steps: 5, batch: 2, length: 32, set }, apart);
    });

test.run();
