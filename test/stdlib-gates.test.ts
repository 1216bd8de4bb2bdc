// Gates against PyTorch: scores, choices, losses, gradients and states, on random and on skewed rows. How the numbers were made: scripts/peers/gates.py.
import assert from "node:assert/strict";
import { join } from "node:path";
import { suite } from "uvu";
import {
  type CompileOptions,
  compile,
  type Outcome,
  type Program,
  readSafetensors,
  type Tensor,
} from "../runtime/index.ts";

const folder = join(import.meta.dirname, "peers");
const file = join(folder, "gates.moe");

/** What is stored of each gate and input, by what it is: `input.x`, `metric.score`. */
const cases = new Map<string, Map<string, Map<string, Tensor>>>();
for (const [key, tensor] of readSafetensors(join(folder, "gates.safetensors"))) {
  const [gate = "", kind = "", ...what] = key.split(".");
  const kinds = cases.get(gate) ?? new Map<string, Map<string, Tensor>>();
  const tensors = kinds.get(kind) ?? new Map<string, Tensor>();
  cases.set(gate, kinds.set(kind, tensors.set(what.join("."), tensor)));
}
const some = (tensors: ReadonlyMap<string, Tensor>, prefix: string): Map<string, Tensor> =>
  new Map([...tensors].flatMap(([k, t]) => (k.startsWith(prefix) ? [[k.slice(prefix.length), t]] : [])));

interface Way {
  readonly target: "host" | "reference";
  readonly precision: "f32" | "f64";
  /** Norm of a difference over the norm. */
  readonly apart: number;
}
const ways: readonly Way[] = [
  { target: "reference", precision: "f64", apart: 1e-10 },
  { target: "host", precision: "f32", apart: 1e-5 },
];
const sizes = { N: 24 };
/** DenseToSparse cools with the steps. */
const step = 25;

const norm = (x: readonly number[]): number => Math.hypot(...x);
function close(name: string, got: Tensor | undefined, expected: Tensor, bar: number): void {
  assert.ok(got, `${name} is missing`);
  assert.deepEqual(got.shape, expected.shape, name);
  const wanted = Array.from(expected.data);
  const apart = norm(Array.from(got.data, (x, i) => x - (wanted[i] ?? Number.NaN)));
  assert.ok(apart <= bar * (norm(wanted) + 1e-6), `${name} is ${apart} of ${norm(wanted)} apart`);
}
const scalar = (x: number): Tensor => ({ dtype: "f64", shape: [], data: Float64Array.of(x) });
/** Inputs as the working precision has them. */
const given = (tensors: ReadonlyMap<string, Tensor>, precision: "f32" | "f64") =>
  Object.fromEntries(
    [...tensors].map(([k, t]) => [
      k,
      precision === "f64" && t.dtype === "f32" ? { ...t, dtype: "f64" as const, data: Float64Array.from(t.data) } : t,
    ]),
  );

/** A training step: losses, metrics, gradients and states as stored; a BASE gate's as its choices ask for. */
async function trained(program: Program, tensors: ReadonlyMap<string, Tensor>, way: Way): Promise<void> {
  const { precision, apart } = way;
  program.load(new Map(Object.entries(given(some(tensors, "param."), precision))));
  const outcome = await program.run(given(some(tensors, "input."), precision), step);
  const { losses, metrics, gradients } = outcome;
  const got = new Map([
    ...[...losses].map(([k, x]): [string, Tensor] => [`loss.${k.split(".").at(-1) ?? k}`, scalar(x)]),
    ...[...metrics].map(([k, t]): [string, Tensor] => [`metric.${k}`, t]),
    ...[...gradients].map(([k, t]): [string, Tensor] => [`grad.${k}`, t]),
  ]);
  for (const [key, expected] of tensors) {
    if (/^(metric|loss|grad)\./.test(key)) close(key, got.get(key), expected, key === "metric.expert" ? 0 : apart);
    if (key.startsWith("state.")) close(key, program.read(key.slice(6)), expected, apart);
  }
  const optimum = tensors.get("optimum")?.data[0];
  if (optimum === undefined) return;
  balanced(metrics, optimum);
  close("grad.gate.weight", gradients.get("gate.weight"), sigmoids(outcome, stored(tensors, "input.x")), apart);
}

/** Without training, or a function: its results in order. Choices are the same; scores are near. */
async function plain(program: Program, tensors: ReadonlyMap<string, Tensor>, { precision, apart }: Way): Promise<void> {
  const [params, results] = [some(tensors, "param."), some(tensors, "output.")];
  program.load(new Map(Object.entries(given(params, precision))));
  const inputs = params.size > 0 ? new Map([["x", stored(tensors, "input.x")]]) : some(tensors, "input.");
  const { outputs } = await program.run(given(inputs, precision));
  assert.equal(outputs.length, results.size);
  for (const [i, expected] of results)
    close(`output ${i}`, outputs[Number(i)], expected, expected.dtype === "i32" ? 0 : apart);
}
function stored(tensors: ReadonlyMap<string, Tensor>, key: string): Tensor {
  const tensor = tensors.get(key);
  assert.ok(tensor, key);
  return tensor;
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
for (const way of ways)
  for (const [gate, kinds] of cases)
    test(`${gate}, ${way.target} ${way.precision}`, async () => {
      const { target, precision } = way;
      const source = { file, declaration: gate };
      const learns = [...kinds.values()].some((tensors) => tensors.has("input.weight"));
      if (learns) await eachCase({ entry: "train", gradients: true, sizes, target, precision }, trained);
      if (!learns || target === "reference") await eachCase({ sizes, target, precision }, plain);

      async function eachCase(options: CompileOptions, run: typeof plain): Promise<void> {
        const program = await compile(source, options);
        for (const tensors of kinds.values()) await run(program, tensors, way);
        program.close();
      }
    });
test.run();
