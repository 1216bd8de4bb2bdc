// Transformer-XL's memory stands for the segments before.
import assert from "node:assert/strict";
import { join } from "node:path";
import { suite } from "uvu";
import { compileProgram } from "../../runtime/compile.ts";
import type { Executable, Tensor } from "../../runtime/executable/executable.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";
import { assertClose, peerTargets } from "../peer-results.ts";
import { project } from "../project.ts";

const test = suite("models-xl");
const path = join(project, "stdlib/models/xl.moe");

const xl = { V: 7, D: 6, H: 5, L: 2, Heads: 2, E: 3, K: 2, M: 8, rate: 0 };
const streams = [0, 1].map((s) => Array.from({ length: 13 }, (_, i) => (i * i * 2 + 3 * s) % 7));
/** Tokens from .. from + T of both streams. */
const segment = (from: number, T: number): Tensor =>
  fromNumbers(
    "i32",
    [2, T],
    streams.flatMap((s) => s.slice(from, from + T)),
  );
/** Of one shape [B, T, V]: the rows from .. from + T of each stream. */
function rows(t: Tensor, from: number, T: number): Tensor {
  const [B = 0, all = 0, V = 0] = t.shape;
  const data = Array.from({ length: B }, (_, b) =>
    Array.from(numbers(t).slice((b * all + from) * V, (b * all + from + T) * V)),
  );
  return fromNumbers(t.dtype, [B, T, V], data.flat());
}
for (const { target, precision, tolerance } of peerTargets)
  test(`Transformer-XL: three segments with memory are one long sequence, ${target} ${precision}`, async () => {
    const { executable } = await compileProgram({
      path,
      declaration: "TransformerXl",
      sizes: xl,
      target,
      precision,
      entries: [12, 4].map((T) => ({ method: "forward", name: `forward:${T}`, sizes: { B: 2, T } })),
    });
    const logits = async (from: number, T: number): Promise<Tensor | undefined> =>
      (await executable.run(`forward:${T}`, new Map([["tokens", segment(from, T)]]), { seed: 0, call: 0, step: 0 }))
        .outputs[0];
    try {
      const begin = () => executable.run("init", new Map(), { seed: 2, call: 0, step: 0 });
      await begin();
      const whole = await logits(0, 12);
      assert.ok(whole);
      await begin();
      for (const from of [0, 4, 8])
        assertClose(`from ${from}`, await logits(from, 4), rows(whole, from, 4), tolerance / 100);
    } finally {
      executable.close();
    }
  });

const segments = (from: number) =>
  new Map([
    ["tokens", segment(from, 4)],
    ["targets", segment(from + 1, 4)],
  ]);
/** The loss of a segment for which `u` is `second`, after one for which it was `first`; and its gradients. */
async function after(executable: Executable, first: Tensor, second: Tensor) {
  const at = { seed: 0, call: 0, step: 0 };
  await executable.run("init", new Map(), { seed: 2, call: 0, step: 0 });
  for (const { name, role } of executable.stores) {
    const t = executable.read(name);
    const wide = numbers(t).map((x) => (name.includes("norm") ? x : 20 * x));
    if (role === "parameter") executable.write(name, fromNumbers(t.dtype, t.shape, wide));
  }
  executable.write("u", first);
  await executable.run("train", segments(0), at);
  executable.write("u", second);
  const { losses, gradients } = await executable.run("train", segments(4), at);
  return { loss: losses.get("language") ?? Number.NaN, gradients };
}
const u = (by: number): Tensor => fromNumbers("f64", [2, 3], [0.5 + by, -0.3, 0.2, 0.7, 0.1, -0.6]);
test("Transformer-XL: the gradient stops at the memory", async () => {
  const { executable } = await compileProgram({
    path,
    declaration: "TransformerXl",
    sizes: xl,
    target: "reference",
    precision: "f64",
    entries: [{ method: "train", name: "train", sizes: { B: 2, T: 4 }, gradients: true }],
  });
  const step = 1e-5;
  const slope = async (inMemory: number): Promise<number> => {
    const [low, high] = [
      await after(executable, u(-step * inMemory), u(-step)),
      await after(executable, u(step * inMemory), u(step)),
    ];
    return (high.loss - low.loss) / (2 * step);
  };
  const { gradients } = await after(executable, u(0), u(0));
  const [by = Number.NaN] = numbers(gradients.get("u") ?? u(0));
  const [stopped, through] = [await slope(0), await slope(1)];
  executable.close();
  assert.ok(Math.abs(by) > 1e-6 && Math.abs(by - stopped) < 1e-4 * Math.abs(by), `${by}, by differences ${stopped}`);
  assert.ok(Math.abs(by - through) > 1e-3 * Math.abs(by), `${by}, through the memory too ${through}`);
});
test.run();
