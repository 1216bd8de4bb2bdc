// What gates draw by themselves while training has the distribution that their papers say; and gates of awkward sizes, the same on every target.
import assert from "node:assert/strict";
import { join } from "node:path";
import { suite } from "uvu";
import { compile, moe, numbers, type Outcome, type Tensor, tensor } from "../../runtime/index.ts";
import { full } from "../full.ts";
import { assertClose } from "../peer-results.ts";
import { project } from "../project.ts";

const { Switch, GShard, Noisy, Sparse } = moe<"Switch" | "GShard" | "Noisy" | "Sparse">`
  import { SwitchGate, GShardGate, NoisyGate, DenseToSparseGate } from "std/gates"
  import { Sgd } from "std/optim"

  layer Drawing(D, K, gate: f32[...S, D] -> (f32[...S, K], i32[...S, K])) {
    gate: gate
    train(x: f32[N, D]) {
      let (score, expert) = gate(x)
      loss none = 0 * sum(score)
      metric score = score
      metric expert = expert
      optimize with Sgd()
    }
  }
  model Switch(D = 1) = Drawing(D, 1, SwitchGate(D, 2, factor: 2, jitter: 0.5))
  model GShard(D = 1) = Drawing(D, 2, GShardGate(D, 2, factor: 4))
  model Noisy(D = 1) = Drawing(D, 2, NoisyGate(D, 3, 2))
  model Sparse(D = 1) = Drawing(D, 2, DenseToSparseGate(D, 2, end: 0.5, steps: 10, threshold: 0))
`;
const N = 20_000;
/** One training step on rows that all are `x`, with these logits where a row is 1. */
async function draw(
  gate: typeof Switch,
  x: number,
  weight: readonly number[],
  step = 0,
): Promise<Map<string, number[]>> {
  const program = await compile(gate, { entry: "train", gradients: true, sizes: { N } });
  program.load(new Map([["gate.weight", tensor("f32", [1, weight.length], weight)]]));
  const { metrics } = await program.run(
    {
      x: tensor(
        "f32",
        [N, 1],
        Array.from({ length: N }, () => x),
      ),
    },
    { step },
  );
  program.close();
  return new Map([...metrics].map(([name, t]) => [name, Array.from(numbers(t))]));
}
const mean = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length;
const variance = (x: readonly number[]): number => mean(x.map((v) => v * v)) - mean(x) ** 2;
/** Within five deviations of what a mean over N numbers of this variance has. */
function about(name: string, got: number, expected: number, spread: number): void {
  assert.ok(Math.abs(got - expected) < 5 * Math.sqrt(spread / N), `${name} is ${got}, not ${expected}`);
}
const logit = (p: number): number => Math.log(p / (1 - p));

const test = suite("stdlib-draws");
test("Switch multiplies by 1 - jitter .. 1 + jitter, evenly", async () => {
  // one input of 1 and the logits [noise, 0]: the score is the noise's sigmoid
  const noise = ((await draw(Switch, 1, [1, 0])).get("score") ?? []).map(logit);
  assert.ok(Math.min(...noise) >= 0.499 && Math.max(...noise) <= 1.501);
  about("the mean", mean(noise), 1, 1 / 12);
  about("the variance", variance(noise), 1 / 12, 1 / 180);
  assert.ok(Math.min(...noise) < 0.501 && Math.max(...noise) > 1.499);
});
test("GShard keeps the second with a chance of twice its score", async () => {
  const metrics = await draw(GShard, 1, [logit(0.7), 0]);
  const seconds = (metrics.get("expert") ?? []).filter((_, i) => i % 2 === 1);
  about("the part kept", mean(seconds.map((e) => (e < 0 ? 0 : 1))), 0.6, 0.24);
  const firsts = (metrics.get("expert") ?? []).filter((_, i) => i % 2 === 0);
  assert.ok(firsts.every((e) => e === 0));
});
test("Noisy adds normal noise, as wide as softplus says", async () => {
  // no logits: the two largest of three noises apart, whose mean and variance are known (order statistics of the normal distribution)
  const scores = (await draw(Noisy, 0, [0, 0, 0])).get("score") ?? [];
  const width = Math.log(2) + 0.01;
  const apart = scores.flatMap((p, i) => (i % 2 === 0 ? [logit(p) / width] : []));
  about("the mean", mean(apart), 0.846284, 0.45681);
  about("the mean square", mean(apart.map((x) => x * x)), 1.173007, 5);
});
test("dense to sparse adds Gumbel noise, and cools", async () => {
  for (const [step, heat] of [
    [0, 2],
    [5, 1.25],
    [20, 0.5],
  ] as const) {
    const scores = (await draw(Sparse, 0, [0, 0], step)).get("score") ?? [];
    // the difference of two Gumbel numbers is logistic
    const apart = scores.flatMap((p, i) => (i % 2 === 0 ? [heat * Math.log(p / (scores[i + 1] ?? Number.NaN))] : []));
    about("the mean", mean(apart), 0, Math.PI ** 2 / 3);
    about("the variance", variance(apart), Math.PI ** 2 / 3, (16 / 45) * Math.PI ** 4);
  }
});
test("another call draws others, the same call the same", async () => {
  const program = await compile(Switch, { entry: "train", gradients: true, sizes: { N: 8 } });
  const again = await compile(Switch, { entry: "train", gradients: true, sizes: { N: 8 } });
  const x = tensor("f32", [8, 1], [1, 2, 3, 4, 5, 6, 7, 8]);
  const [first, second, same] = [await program.run({ x }), await program.run({ x }), await again.run({ x })];
  assert.notDeepEqual(first.metrics.get("score"), second.metrics.get("score"));
  assert.deepEqual(first.metrics.get("score"), same.metrics.get("score"));
  program.close();
  again.close();
});

const file = join(project, "test/peers/gates.moe");
const gates = [
  "Naive",
  "Softmax",
  "TopK",
  "Noisy",
  "Switch",
  "GShard",
  "Sinkhorn",
  "Base",
  "Bias",
  "Swipe",
  "Topology",
  "DenseToSparse",
  "Relu",
  "TopP",
];
const drawn: Record<string, (n: number) => number[]> = {
  Noisy: (n) => [n, 6],
  Switch: (n) => [n, 7],
  GShard: (n) => [n],
  DenseToSparse: (n) => [n, 6],
};
const choices: Record<string, number> = { Switch: 1, Base: 1, DenseToSparse: 6, Relu: 6, TopP: 3 };
const waves = (shape: readonly number[]): Tensor => {
  const size = shape.reduce((p, q) => p * q, 1);
  return tensor(
    "f32",
    shape,
    Array.from({ length: size }, (_, i) => 0.5 + 0.49 * Math.sin(3 * i * i + i)),
  );
};
/** Without MOEC_TEST=full, the kernels of these are compiled: they queue and sort. */
const onHost = new Set(["GShard", "Base", "Topology"]);
async function step(gate: string, rows: number, target: "host" | "reference"): Promise<Outcome> {
  const source = { file, declaration: gate };
  const program = await compile(source, { entry: "train", gradients: true, sizes: { N: rows }, target });
  const K = choices[gate] ?? 2;
  const extra = drawn[gate]?.(rows);
  const inputs = { x: waves([rows, 7]), weight: waves([rows, K]), ...(extra ? { drawn: waves(extra) } : {}) };
  const outcome = await program.run(inputs);
  program.close();
  return outcome;
}
for (const gate of gates) {
  test(`${gate} on one row`, async () => {
    const { losses, metrics, gradients } = await step(gate, 1, "reference");
    assert.ok([...losses.values()].every(Number.isFinite));
    for (const [name, t] of [...metrics, ...gradients]) assert.ok(numbers(t).every(Number.isFinite), name);
  });
  if (full || onHost.has(gate))
    test(`${gate} on 13 rows, on both targets`, async () => {
      const [host, reference] = [await step(gate, 13, "host"), await step(gate, 13, "reference")];
      assert.deepEqual(host.metrics.get("expert"), reference.metrics.get("expert"));
      for (const [name, t] of reference.metrics) assertClose(name, host.metrics.get(name), t, 1e-5);
      for (const [name, t] of reference.gradients) assertClose(name, host.gradients.get(name), t, 1e-4);
      const off = [...reference.losses].map(([name, x]) => Math.abs((host.losses.get(name) ?? Number.NaN) - x));
      assert.ok(off.every((x) => x < 1e-5));
    });
}
test("each call of a program draws anew, and a second program draws the same", async () => {
  const { Noise } = moe<"Noise">`layer Noise(D) { forward(x: f32[D]) -> f32[D] { return x + uniform([D]) } }`;
  const twice = async (): Promise<number[][]> => {
    const program = await compile(Noise, { sizes: { D: 4 }, target: "reference" });
    const calls = [await program.run({ x: new Float32Array(4) }), await program.run({ x: new Float32Array(4) })];
    program.close();
    return calls.flatMap(({ outputs }) => outputs.map((y) => [...numbers(y)]));
  };
  const [first, second] = await twice();
  assert.notDeepEqual(first, second);
  assert.deepEqual(await twice(), [first, second]);
});

test("normal has no bounds; truncated is the same within two deviations, and nothing lies on them", async () => {
  const { Drawn } = moe<"Drawn">`
  import { normal, truncated } from "std/init"
  layer Drawn(N) {
    param whole: f32[N] = normal(std: 3)
    param within: f32[N] = truncated(std: 3)
    forward(x: f32[N]) -> f32[N] { return x * whole * within }
  }`;
  const made = await compile(Drawn, { target: "reference", sizes: { N } });
  const [whole = [], within = []] = ["whole", "within"].map((name) =>
    Array.from(numbers(made.read(name)), (x) => x / 3),
  );
  made.close();
  const part = (x: readonly number[], from: number): number => mean(x.map((y) => Number(Math.abs(y) > from)));
  about("the mean", mean(whole), 0, 1);
  about("the variance", variance(whole), 1, 2);
  about("what lies beyond 2", part(whole, 2), 0.0455, 0.0434);
  assert.ok(within.every((x) => Math.abs(x) < 2 + 1e-5));
  about("the mean", mean(within), 0, 0.7737);
  about("the variance", variance(within), 0.773741, 0.8);
  about("what lies beyond 1", part(within, 1), 1 - 0.682689 / 0.9545, 0.204);
  about("what lies beyond 1.9", part(within, 1.9), 1 - 0.942569 / 0.9545, 0.0124);
});
test("dropout zeroes its part while training, scales the rest, and elsewhere does nothing", async () => {
  const { Dropping } = moe<"Dropping">`
  import { dropout } from "std/nn"
  import { Sgd } from "std/optim"
  model Dropping(D = 1) {
    param weight: f32[D] = 1
    forward(x: f32[N, D]) -> f32[N, D] { return dropout(x * weight, 0.3) }
    train(x: f32[N, D]) {
      let y = forward(x)
      loss none = 0 * sum(y)
      metric y = y
      optimize with Sgd()
    }
  }`;
  const x = tensor("f32", [N, 1], new Float32Array(N).fill(2));
  const run = async (entry: "train" | "forward"): Promise<Outcome> => {
    const program = await compile(Dropping, { entry, target: "reference", sizes: { N } });
    const outcome = await program.run({ x });
    program.close();
    return outcome;
  };
  const y = [...((await run("train")).metrics.get("y")?.data ?? [])];
  assert.ok(y.every((z) => z === 0 || Math.abs(z - 2 / 0.7) < 1e-6));
  about("the part that is zero", mean(y.map((z) => Number(z === 0))), 0.3, 0.21);
  assert.deepEqual((await run("forward")).outputs[0]?.data, x.data);
});

test("xavier and kaiming of stacked matrices are as wide as of each matrix", async () => {
  const { Stacks } = moe<"Stacks">`
  import { kaiming, xavier } from "std/init"
  layer Stacks(E, D, H) {
    param up: float[E, D, H] = xavier()
    param down: float[E, H, D] = kaiming()
    forward(x: float[N, D]) -> float[N, D] { return x @ up[0] @ down[0] }
  }`;
  const made = await compile(Stacks, { target: "reference", sizes: { E: 40, D: 6, H: 18, N: 1 } });
  for (const [name, bound] of [
    ["up", Math.sqrt(6 / 24)],
    ["down", Math.sqrt(1 / 18)],
  ] as const) {
    const most = Math.max(...numbers(made.read(name)).map(Math.abs));
    assert.ok(most <= bound && most > 0.99 * bound, `${name}: ${most} of ${bound}`);
  }
});
test.run();
