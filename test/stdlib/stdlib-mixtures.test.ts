// Mixtures against PyTorch: results, losses and gradients, on random and on skewed rows. How the numbers were made: scripts/peers/mixtures.py.
import assert from "node:assert/strict";
import { join } from "node:path";
import { suite } from "uvu";
import { compile, moe, type Outcome, type Tensor, tensor } from "../../runtime/index.ts";
import { stacked } from "../../runtime/tensor.ts";
import { assertClose, given, peerTargets, readCases, some } from "../peer-results.ts";
import { project } from "../project.ts";

const folder = join(project, "test/peers");

/** The copies of an array as one tensor, as PyTorch's file has them. */
function together(all: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const copies = new Map<string, Tensor[]>();
  for (const [name, t] of all) {
    const array = name.replace(/\.\d+\./, ".");
    copies.set(array, [...(copies.get(array) ?? []), t]);
  }
  const joined = (array: string, parts: readonly Tensor[]): Tensor =>
    all.get(array) ?? stacked(parts[0]?.dtype ?? "f32", [parts.length], parts[0]?.shape ?? [], parts);
  return new Map([...copies].map(([array, parts]) => [array, joined(array, parts)]));
}
function check({ outputs, losses, gradients }: Outcome, tensors: ReadonlyMap<string, Tensor>, apart: number): void {
  assertClose("result", outputs[0], tensors.get("output.0"), apart);
  const named = new Map([...losses].map(([k, x]) => [k.split(".").at(-1), tensor("f64", [], [x])]));
  assert.deepEqual([...named.keys()], [...some(tensors, "loss.").keys()]);
  for (const [k, t] of some(tensors, "loss.")) assertClose(k, named.get(k), t, apart);
  const grads = together(gradients);
  assert.deepEqual([...grads.keys()].toSorted(), [...some(tensors, "grad.").keys()].toSorted());
  for (const [k, t] of some(tensors, "grad.")) assertClose(k, grads.get(k), t, apart);
}

const test = suite("stdlib-mixtures");
for (const { target, precision, tolerance } of peerTargets)
  for (const [declaration, stored] of readCases(join(folder, "mixtures.safetensors")))
    test(`${declaration}, ${target} ${precision}`, async () => {
      const source = { file: join(folder, "mixtures.moe"), declaration };
      const program = await compile(source, { gradients: true, sizes: { B: 3, T: 8 }, target, precision });
      for (const kind of ["random.", "skewed."]) {
        const tensors = some(stored, kind);
        program.load(given(some(tensors, "param."), precision));
        check(await program.run(Object.fromEntries(given(some(tensors, "input."), precision))), tensors, tolerance);
      }
      program.close();
    });
const { Deep, Chosen } = moe<"Deep" | "Chosen">`
  import { Depth, ExpertChoice } from "std/moe"
  layer Add(D) { forward(x: f32[B, T, D], at: i32[B, T]) -> f32[B, T, D] { return x + 1 } }
  layer One(D) { forward(x: f32[...S, D]) -> f32[...S, D] { return x * 0 + 1 } }
  layer Deep(D, part) {
    inner: Depth(D, part, Add(D))
    forward(x: f32[B, T, D], at: i32[B, T]) -> f32[B, T, D] { return inner(x, at) - x }
  }
  layer Chosen(D, part) {
    inner: ExpertChoice(D, 1, part, One(D))
    forward(x: f32[B, T, D], at: i32[B, T]) -> f32[B, T, D] { return inner(x, at >= 0) }
  }`;
test("a share of the rows that is whole is not rounded up, nor one fewer, padded or not", async () => {
  for (const layer of [Deep, Chosen])
    for (const [part, real, wanted] of [
      [0.28, 25, 7],
      [0.6, 25, 15],
      [0.56, 25, 14],
      [0.999, 999, 999],
    ] as const)
      for (const T of [real, real + 3]) {
        const program = await compile(layer, { sizes: { D: 1, part, B: 1, T }, target: "reference" });
        const x = tensor(
          "f32",
          [1, T, 1],
          Array.from({ length: T }, (_, i) => Math.sin(i)),
        );
        const at = tensor(
          "i32",
          [1, T],
          Array.from({ length: T }, (_, i) => (i < real ? i : -1)),
        );
        const { outputs } = await program.run({ x, at });
        program.close();
        const changed = [...(outputs[0]?.data ?? [])].filter((y) => y !== 0);
        assert.equal(changed.length, wanted, `${part} of ${real}, ${T} in all`);
      }
});
test.run();
