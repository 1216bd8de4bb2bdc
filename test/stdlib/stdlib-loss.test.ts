// Losses against sums over rows and chances. Without smoothing cross_entropy is PyTorch's in peers.test.ts.
import assert from "node:assert/strict";
import { suite } from "uvu";
import { compile, moe, numbers, tensor } from "../../runtime/index.ts";

const { Losses } = moe<"Losses">`
  import { cross_entropy, z_loss } from "std/loss"
  layer Losses(V) {
    forward(logits: f32[N, V], target: i32[N]) -> (f32, f32, f32) {
      return cross_entropy(logits, target), cross_entropy(logits, target, smooth: 0.2), z_loss(logits, target >= 0)
    }
  }`;
const [N, V] = [5, 4];
const targets = [3, -1, 0, 2, 0];
const logits = Array.from({ length: N }, (_, n) => Array.from({ length: V }, (__, v) => 3 * Math.sin(n * n + 2 * v)));

/** The mean over rows with a target, and what each gives. */
function mean(of: (row: readonly number[], target: number) => number): number {
  const rows = logits.flatMap((row, n) => ((targets[n] ?? -1) < 0 ? [] : [of(row, targets[n] ?? -1)]));
  return rows.reduce((sum, x) => sum + x, 0) / rows.length;
}
const logsum = (row: readonly number[]): number => Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
/** The cross entropy of the chances with a distribution that has 1 - smooth at the target, and the rest spread over all. */
const smoothed =
  (smooth: number) =>
  (row: readonly number[], target: number): number =>
    -row.reduce((sum, x, v) => sum + ((v === target ? 1 - smooth : 0) + smooth / V) * (x - logsum(row)), 0);

const test = suite("stdlib-loss");
test("cross_entropy, smoothed or not, and z_loss: rows with a target of -1 do not count", async () => {
  const program = await compile(Losses, { target: "reference", precision: "f64", sizes: { N, V } });
  const given = { logits: tensor("f64", [N, V], logits.flat()), target: Int32Array.from(targets) };
  const { outputs } = await program.run(given);
  const expected = [mean(smoothed(0)), mean(smoothed(0.2)), mean((row) => logsum(row) ** 2)];
  assert.equal(outputs.length, expected.length);
  for (const [i, x] of expected.entries()) {
    const [got = Number.NaN] = outputs.slice(i, i + 1).flatMap((t) => [...numbers(t)]);
    assert.ok(Math.abs(got - x) < 1e-12, `${i}: ${got}, not ${x}`);
  }
  const none = await program.run({ ...given, target: new Int32Array(N).fill(-1) });
  assert.deepEqual(
    none.outputs.map((t) => [...numbers(t)]),
    [[0], [0], [0]],
  );
  program.close();
});
test.run();
