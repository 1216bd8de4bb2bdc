// Optimizers, schedules, clipping and selectors against 50 steps in PyTorch. How the numbers were made: scripts/peers/optim.py.
import assert from "node:assert/strict";
import { join } from "node:path";
import { suite } from "uvu";
import { compile, readSafetensors, tensor } from "../runtime/index.ts";
import { close, given, some, type Way } from "./stored.ts";

const folder = join(import.meta.dirname, "peers");
const tensors = readSafetensors(join(folder, "optim.safetensors"));
const names = new Set([...tensors.keys()].filter((k) => k.endsWith(".losses")).map((k) => k.split(".")[0] ?? k));

// PyTorch's own f32 ends up to 1.5e-6 from its f64.
const ways: readonly Way[] = [
  { target: "reference", precision: "f64", apart: 1e-10 },
  { target: "host", precision: "f32", apart: 2e-5 },
];

/** A batch for each step. */
function* batches(precision: Way["precision"]) {
  const inputs = [...given(some(tensors, "input."), precision)];
  const steps = inputs[0]?.[1].shape[0] ?? 0;
  for (let s = 0; s < steps; s++)
    yield Object.fromEntries(
      inputs.map(([name, t]) => {
        const [, ...shape] = t.shape;
        const size = shape.reduce((p, q) => p * q, 1);
        return [name, { ...t, shape, data: t.data.slice(s * size, (s + 1) * size) }];
      }),
    );
}

const test = suite("stdlib-optim");
for (const way of ways)
  for (const declaration of names)
    test(`${declaration}, ${way.target} ${way.precision}`, async () => {
      const { target, precision, apart } = way;
      const source = { file: join(folder, "optim.moe"), declaration };
      const program = await compile(source, { entry: "train", sizes: { N: 8 }, target, precision });
      program.load(given(some(tensors, "param."), precision));
      const losses: number[] = [];
      for (const batch of batches(precision)) losses.push(...(await program.run(batch, losses.length)).losses.values());
      close("losses", tensor("f64", [losses.length], losses), tensors.get(`${declaration}.losses`), apart);
      const expected = some(tensors, `${declaration}.after.`);
      assert.deepEqual(program.names.toSorted(), [...expected.keys()].toSorted());
      for (const [name, t] of expected) close(name, program.read(name), t, apart);
      program.close();
    });
test.run();
