// Past keeps the last tokens of a window: those that a text is rolled back over take the places of those that they replace.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { compileProgram } from "../../runtime/compile.ts";
import type { Tensor } from "../../runtime/executable/executable.ts";
import { fromNumbers, part } from "../../runtime/tensor.ts";
import { assertClose } from "../peer-results.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("past");
const windowed = `
import { causal, attend, Past } from "std/attention"
model Windowed() {
  past: Past(12, 3, spare: 2)
  generate(x: f32[B, 2, T, 4], at: i32[B, T]) -> f32[B, 2, T, 4] {
    let (k, v, seen) = past(x, x, at)
    return attend(x, k, v, causal(at, seen, 3))
  }
  forward(x: f32[B, 2, T, 4], at: i32[B, T]) -> f32[B, 2, T, 4] { return attend(x, x, x, causal(at, at, 3)) }
}`;
for (const T of [1, 2])
  test(`of a window's tokens one more than are spare can be rolled back, and ${T} at a time take their place`, async () => {
    const path = join(temporaryFolder(), "windowed.moe");
    writeFileSync(path, windowed);
    const entries = [8, T].map((n) => ({ method: "generate", name: `generate:${n}`, sizes: { B: 1, T: n } }));
    const forward = { method: "forward", name: "forward", sizes: { B: 1, T: 8 } };
    const { executable } = await compileProgram({
      path,
      sizes: {},
      target: "reference",
      precision: "f32",
      entries: [forward, ...entries],
    });
    /** Positions from `first` on, whose rows have numbers of their own in each draft. */
    const run = async (
      name: string,
      n: number,
      first: number,
      draft: readonly number[],
    ): Promise<Tensor | undefined> => {
      const row = (p: number, head: number) =>
        Array.from({ length: 4 }, (_, a) => Math.cos(p * 1.3 + a + 2 * head + (draft[p] ?? 0)));
      const at = Array.from({ length: n }, (_, i) => first + i);
      const x = fromNumbers(
        "f32",
        [1, 2, n, 4],
        [0, 1].flatMap((g) => at.flatMap((p) => row(p, g))),
      );
      const inputs = new Map([
        ["x", x],
        ["at", fromNumbers("i32", [1, n], at)],
      ]);
      return (await executable.run(name, inputs, { seed: 0, call: 0, step: 0 })).outputs[0];
    };
    try {
      await executable.run("init", new Map(), { seed: 0, call: 0, step: 0 });
      await run("generate:8", 8, 0, [0, 0, 0, 0, 0, 5, 5, 5]);
      const whole = await run("forward", 8, 0, []);
      assert.ok(whole);
      for (let p = 5; p + T <= 8; p += T) {
        const made = await run(`generate:${T}`, T, p, []);
        assert.ok(made);
        for (let i = 0; i < T; i++)
          for (const g of [0, 1])
            assertClose(`position ${p + i}`, part(made, [0, g, i]), part(whole, [0, g, p + i]), 1e-6);
      }
    } finally {
      executable.close();
    }
  });
test.run();
