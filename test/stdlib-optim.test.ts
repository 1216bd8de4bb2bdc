// Optimizers, schedules, clipping and selectors against 50 steps in PyTorch. How the numbers were made: scripts/peers/optim.py.
import assert from "node:assert/strict";
import { join } from "node:path";
import { suite } from "uvu";
import { compile, readSafetensors, type Tensor } from "../runtime/index.ts";

const folder = join(import.meta.dirname, "peers");
const file = join(folder, "optim.moe");
const stored = readSafetensors(join(folder, "optim.safetensors"));

/** What is stored under a prefix, without it. */
const some = (prefix: string): Map<string, Tensor> =>
  new Map([...stored].flatMap(([k, t]) => (k.startsWith(prefix) ? [[k.slice(prefix.length), t]] : [])));
const cases = new Set([...stored.keys()].filter((k) => k.endsWith(".losses")).map((k) => k.split(".")[0] ?? k));

interface Way {
  readonly target: "host" | "reference";
  readonly precision: "f32" | "f64";
  /** Norm of a difference over the norm. PyTorch's own f32 ends up to 1.5e-6 from its f64. */
  readonly apart: number;
}
const ways: readonly Way[] = [
  { target: "reference", precision: "f64", apart: 1e-10 },
  { target: "host", precision: "f32", apart: 2e-5 },
];
const norm = (x: readonly number[]): number => Math.hypot(...x);
function close(name: string, got: readonly number[], expected: Tensor, bar: number): void {
  const wanted = Array.from(expected.data);
  assert.equal(got.length, wanted.length, name);
  const apart = norm(got.map((x, i) => x - (wanted[i] ?? Number.NaN)));
  assert.ok(apart <= bar * norm(wanted), `${name} is ${apart / norm(wanted)} of its norm apart`);
}
const as = (t: Tensor, precision: "f32" | "f64"): Tensor =>
  precision === "f64" ? { ...t, dtype: "f64", data: Float64Array.from(t.data) } : t;

/** A batch for each step. */
function* batches(precision: "f32" | "f64") {
  const inputs = [...some("input.")];
  const steps = inputs[0]?.[1].shape[0] ?? 0;
  for (let s = 0; s < steps; s++)
    yield Object.fromEntries(
      inputs.map(([name, t]) => {
        const [, ...shape] = t.shape;
        const size = shape.reduce((p, q) => p * q, 1);
        return [name, as({ ...t, shape, data: t.data.slice(s * size, (s + 1) * size) }, precision)];
      }),
    );
}

const test = suite("stdlib-optim");
for (const way of ways)
  for (const declaration of cases)
    test(`${declaration}, ${way.target} ${way.precision}`, async () => {
      const { target, precision, apart } = way;
      const program = await compile({ file, declaration }, { entry: "train", sizes: { N: 8 }, target, precision });
      program.load(new Map([...some("param.")].map(([k, t]) => [k, as(t, precision)])));
      const losses: number[] = [];
      for (const batch of batches(precision)) {
        const { losses: named } = await program.run(batch, losses.length);
        losses.push(...named.values());
      }
      close("losses", losses, stored.get(`${declaration}.losses`) ?? assert.fail(), apart);
      const expected = some(`${declaration}.after.`);
      assert.deepEqual(program.names.toSorted(), [...expected.keys()].toSorted());
      for (const [name, t] of expected) close(name, Array.from(program.read(name).data), t, apart);
      program.close();
    });
test.run();
