// Gates against PyTorch: scores, choices, losses, gradients and states, on random and on skewed rows. How the numbers were made: scripts/peers/gates.py.
import assert from "node:assert/strict";
import { join } from "node:path";
import { suite } from "uvu";
import {
  type CompileOptions,
  compile,
  moe,
  numbers,
  type Outcome,
  type Program,
  type Tensor,
  tensor,
} from "../../runtime/index.ts";
import { full } from "../full.ts";
import { assertClose, given, type PeerTarget, peerTargets, readCases, some } from "../peer-results.ts";
import { project } from "../project.ts";

const folder = join(project, "test/peers");
type Tensors = ReadonlyMap<string, Tensor>;
const sizes = { N: 24 };
/** DenseToSparse cools with the steps. */
const step = 25;

/** A training step: losses, metrics, gradients and states as stored; a BASE gate's as its choices ask for. */
async function trained(program: Program, tensors: Tensors, way: PeerTarget): Promise<void> {
  const { precision, tolerance } = way;
  const params = given(some(tensors, "param."), precision);
  const inputs = Object.fromEntries(given(some(tensors, "input."), precision));
  program.load(params);
  const outcome = await program.run(inputs, { step });
  const { losses, metrics, gradients } = outcome;
  const got = new Map([
    ...[...losses].map(([k, x]): [string, Tensor] => [`loss.${k.split(".").at(-1) ?? k}`, tensor("f64", [], [x])]),
    ...[...metrics].map(([k, t]): [string, Tensor] => [`metric.${k}`, t]),
    ...[...gradients].map(([k, t]): [string, Tensor] => [`grad.${k}`, t]),
  ]);
  for (const [key, expected] of tensors) {
    if (/^(metric|loss|grad)\./.test(key))
      assertClose(key, got.get(key), expected, key === "metric.expert" ? 0 : tolerance);
    if (key.startsWith("state.")) assertClose(key, program.read(key.slice(6)), expected, tolerance);
  }
  const optimum = tensors.get("optimum")?.data[0];
  if (optimum === undefined) return assert.deepEqual(lossesOf(got), lossesOf(tensors));
  balanced(metrics, optimum);
  assertClose(
    "grad.gate.weight",
    gradients.get("gate.weight"),
    sigmoids(outcome, tensors.get("input.x") ?? assert.fail()),
    tolerance,
  );
  const larger = [...params].map(([name, t]): [string, Tensor] => [
    name,
    tensor(
      "f32",
      t.shape,
      Array.from(numbers(t), (x) => 32 * x),
    ),
  ]);
  program.load(new Map(larger));
  const again = await program.run(inputs, { step });
  assert.deepEqual(again.metrics.get("expert"), metrics.get("expert"), "the size of logits changes nothing");
}

const lossesOf = (tensors: Tensors): string[] =>
  [...tensors.keys()].filter((key) => key.startsWith("loss.")).toSorted();

/** Without training, or a function: its results in order. Choices are the same; scores are near. */
async function plain(program: Program, tensors: Tensors, { precision, tolerance }: PeerTarget): Promise<void> {
  const [params, results] = [some(tensors, "param."), some(tensors, "output.")];
  program.load(given(params, precision));
  const inputs = params.size > 0 ? new Map([["x", tensors.get("input.x") ?? assert.fail()]]) : some(tensors, "input.");
  const { outputs } = await program.run(Object.fromEntries(given(inputs, precision)));
  assert.equal(outputs.length, results.size);
  for (const [i, expected] of results)
    assertClose(`output ${i}`, outputs[Number(i)], expected, expected.dtype === "i32" ? 0 : tolerance);
}
/** As many rows for each expert, and the sum of their logits (which the scores are sigmoids of) near the best one. */
function balanced(metrics: ReadonlyMap<string, Tensor>, optimum: number): void {
  const loads = [0, 0, 0, 0, 0, 0];
  for (const e of metrics.get("expert")?.data ?? []) loads[e] = (loads[e] ?? 0) + 1;
  assert.deepEqual(loads, [4, 4, 4, 4, 4, 4]);
  const total = Array.from(metrics.get("score")?.data ?? []).reduce((sum, p) => sum + Math.log(p / (1 - p)), 0);
  assert.ok(total <= optimum + 1e-3 && total >= optimum - 0.02 * Math.abs(optimum), `${total} of ${optimum}`);
}
/** The gradient of the sum of `sigmoid(x W)` at the experts taken. */
function sigmoids({ metrics }: Outcome, x: Tensor): Tensor {
  const [N = 0, D = 0] = x.shape;
  const [score, expert] = [metrics.get("score")?.data ?? [], metrics.get("expert")?.data ?? []];
  const data = new Float64Array(D * 6);
  for (let n = 0; n < N; n++)
    for (let d = 0; d < D; d++) {
      const [s = 0, e = 0] = [score[n], expert[n]];
      data[d * 6 + e] = (data[d * 6 + e] ?? 0) + s * (1 - s) * (x.data[n * D + d] ?? 0);
    }
  return { dtype: "f64", shape: [D, 6], data };
}

const test = suite("stdlib-gates");
/** Whose kernels others have as well, with more: on the reference alone. */
const within = new Set(["ReluFew", "TopKPlain"]);
for (const way of peerTargets)
  for (const [gate, stored] of readCases(join(folder, "gates.safetensors"))) {
    if (!full && way.target === "host" && within.has(gate)) continue;
    test(`${gate}, ${way.target} ${way.precision}`, async () => {
      const { target, precision } = way;
      const source = { file: join(folder, "gates.moe"), declaration: gate };
      const learns = stored.has("random.input.weight");
      if (learns) await eachCase({ entry: "train", gradients: true, sizes, target, precision }, trained);
      if (!learns || target === "reference") await eachCase({ sizes, target, precision }, plain);

      async function eachCase(options: CompileOptions, run: typeof plain): Promise<void> {
        const program = await compile(source, options);
        for (const kind of ["random.", "skewed."]) await run(program, some(stored, kind), way);
        program.close();
      }
    });
  }
const { Roots } = moe<"Roots">`
  import { root_softplus } from "std/nn"
  layer Roots() { forward(x: f32[N]) -> f32[N] { return root_softplus(x) } }`;
const root = (x: number): number => (x < -36 ? Math.exp(x / 2) : Math.sqrt(Math.log1p(Math.exp(x))));
const slope = (x: number): number => (x < -36 ? root(x) / 2 : 1 / (1 + Math.exp(-x)) / (2 * root(x)));
test("the root of softplus, and its gradient, where 1 + exp(x) is rounded", async () => {
  const at = [-800, -120, -40, -17, -9, -4.01, -4, -3.99, -1, 0.1, 3, 40];
  for (const [precision, bar] of [["f64", 1e-13] as const, ["f32", 1e-5] as const]) {
    const options = { target: "reference", precision, sizes: { N: at.length }, gradients: true } as const;
    const program = await compile(Roots, options);
    const { outputs, gradients } = await program.run({ x: tensor(precision, [at.length], at) });
    const got = [outputs[0], gradients.get("input.x")].map((t) => numbers(t ?? assert.fail()));
    for (const [i, x] of at.entries())
      [root(x), slope(x)].forEach((y, k) => {
        const is = got[k]?.[i] ?? Number.NaN;
        assert.ok(Math.abs(is - y) <= bar * y + 1e-37, `${precision} ${x}: ${is}, not ${y}`);
      });
    program.close();
  }
});
const coefficient = (of: Program): number => numbers(of.read("gate.coefficient"))[0] ?? Number.NaN;
test("Relu's coefficient rises over the target, falls under it, ends at its start, and is left alone by an evaluation", async () => {
  const [start, target, alpha] = [1e-8, 2.5, 1.5];
  const source = { file: join(folder, "gates.moe"), declaration: "Relu" };
  const options = { entry: "train", sizes, target: "reference", precision: "f64" } as const;
  const filled = (width: number, of: (i: number) => number): Tensor =>
    tensor(
      "f64",
      [sizes.N, width],
      Float64Array.from({ length: sizes.N * width }, (_, i) => of(i)),
    );
  // the loss asks for larger scores, and the penalty for smaller ones
  const inputs = { x: filled(7, (i) => Math.sin(i * i + 1)), weight: filled(6, () => -0.05) };
  const [program, evaluation] = [
    await compile(source, options),
    await compile(source, { ...options, evaluates: true }),
  ];
  const seen: number[] = [];
  for (let expected = start, i = 0; i < 120; i++) {
    const { metrics } = await program.run(inputs, { step: i });
    const active = metrics.get("gate.active")?.data[0] ?? Number.NaN;
    expected = Math.max(start, expected * alpha ** Math.sign(active - target));
    assert.ok(Math.abs(coefficient(program) / expected - 1) < 1e-9, `step ${i}: not ${expected}`);
    seen.push(active);
  }
  assert.ok(Math.max(...seen) > target && Math.min(...seen) < target && coefficient(program) === start);
  const { metrics } = await evaluation.run(inputs);
  assert.ok((metrics.get("gate.active")?.data[0] ?? 0) > target && coefficient(evaluation) === start);
  program.close();
  evaluation.close();
});
test.run();
