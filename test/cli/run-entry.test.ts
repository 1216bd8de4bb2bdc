import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { ProgramError } from "../../compiler/program-error.ts";
import type { Executable, Outcome, StoreInfo, Tensor } from "../../runtime/executable/executable.ts";
import { runEntry, runOn } from "../../runtime/run.ts";
import { readParameters } from "../../runtime/storage/parameters.ts";
import { writeSafetensors } from "../../runtime/storage/safetensors.ts";
import { fromNumbers, numbers, zeros } from "../../runtime/tensor.ts";
import { assertProblem } from "../assert-problem.ts";

const test = suite("run-entry");
const folder = mkdtempSync(join(tmpdir(), "moec-run-"));
test.after(() => rmSync(folder, { recursive: true }));
const f32 = (shape: readonly number[], ...values: number[]): Tensor => fromNumbers("f32", shape, values);

const store = (name: string, role: StoreInfo["role"], shape: readonly number[]): StoreInfo => {
  return { name, role, dtype: "f32", shape, stack: name.split("*").length - 1, saved: role !== "input" };
};
/** out = w[0] * x + w[1], with the state `seen` counting runs; the gradient of x is the cotangent times w[0]. */
class Affine implements Executable {
  readonly bytes = null;
  readonly entries = ["init", "forward"];
  readonly stores: readonly StoreInfo[];
  readonly #losses: boolean;
  readonly #values: Map<string, Tensor>;

  constructor(losses: boolean) {
    this.#losses = losses;
    this.stores = [
      store("w.*", "parameter", [2]),
      store("seen", "state", []),
      store("forward/x", "input", [2]),
      store("forward/cotangent.0", "input", [2]),
    ];
    this.#values = new Map(this.stores.map((s) => [s.name, zeros(s.dtype, s.shape)]));
  }
  read = (name: string): Tensor => this.#values.get(name) ?? f32([0]);
  write = (name: string, t: Tensor): void => void this.#values.set(name, t);
  close(): void {}
  async run(entry: string, inputs: ReadonlyMap<string, Tensor>, { seed }: { seed: number }): Promise<Outcome> {
    await Promise.resolve();
    const none = { outputs: [], losses: new Map(), metrics: new Map(), gradients: new Map() };
    if (entry === "init") {
      this.write("w.*", f32([2], seed, seed + 1));
      this.write("seen", f32([], 0));
      return none;
    }
    this.write("seen", f32([], (this.read("seen").data[0] ?? 0) + 1));
    const [w0 = 0, w1 = 0] = this.read("w.*").data;
    const of = (name: string, f: (x: number) => number): Tensor =>
      f32([2], ...numbers(inputs.get(name) ?? f32([0])).map(f));
    return {
      outputs: [of("x", (x) => w0 * x + w1)],
      losses: new Map(
        this.#losses
          ? [
              ["a.language", 2],
              ["b.language", 3],
            ]
          : [],
      ),
      metrics: new Map([["blocks.*.load", f32([2], 5, 6)]]),
      gradients: new Map([["input.x", of("cotangent.0", (c) => c * w0)]]),
    };
  }
}
interface Given {
  readonly inputs?: Record<string, Tensor>;
  readonly params?: string;
  readonly losses?: boolean;
}
async function run({
  inputs = { x: f32([2], 1, 2) },
  params,
  losses = false,
}: Given): Promise<Record<string, number[]>> {
  const results = await runOn(new Affine(losses), "forward", {
    inputs: new Map(Object.entries(inputs)),
    params: params === undefined ? null : readParameters(params, assert.unreachable),
    seed: 4,
  });
  return Object.fromEntries([...results].map(([name, t]) => [name, [...numbers(t)]]));
}
function file(tensors: Record<string, Tensor>): string {
  const path = join(folder, "p.safetensors");
  writeSafetensors(path, new Map(Object.entries(tensors)));
  return path;
}

test("results by position, losses summed by name, metrics, states and gradients by path, fresh parameters", async () => {
  assert.equal(await run({ losses: true }), {
    "0": [9, 13],
    "loss.language": [5],
    "metric.blocks.0.load": [5],
    "metric.blocks.1.load": [6],
    "state.seen": [1],
    "grad.input.x": [0, 0],
    "param.w.0": [4],
    "param.w.1": [5],
  });
});
test("an absent cotangent is 1 where there are no losses, and the state has been stepped once", async () => {
  const { "grad.input.x": gradient, "state.seen": seen } = await run({});
  assert.equal([gradient, seen], [[4, 4], [1]]);
  const given = await run({ inputs: { x: f32([2], 1, 2), "cotangent.0": f32([2], 3, -1) }, losses: true });
  assert.equal(given["grad.input.x"], [12, -4]);
});
test("parameters and states come from a file, by copy, stacked, or as a run wrote them", async () => {
  for (const tensors of [
    { "w.0": f32([], 2), "w.1": f32([], 1), seen: f32([], 7) },
    { w: f32([2], 2, 1), "state.seen": f32([], 7) },
    { "param.w.0": f32([], 2), "param.w.1": f32([], 1), "state.seen": f32([], 7) },
  ]) {
    const results = await run({ params: file(tensors) });
    assert.equal(results["0"], [3, 5]);
    assert.equal(results["state.seen"], [8]);
    assert.not.ok(Object.keys(results).some((name) => name.startsWith("param.")));
  }
});
test("a tensor that is given with and without its prefix is a Problem", async () => {
  const params = file({ "param.w.0": f32([], 1), "w.1": f32([], 1), "w.0": f32([], 2) });
  await assertProblem(() => run({ params }), "gives `w.0` twice", "leave one of them out");
});
test("names that nothing has and shapes that do not fit are Problems", async () => {
  const refusals: [Given, string][] = [
    [{ params: file({ "w.0": f32([], 1), "w.1": f32([], 1), v: f32([], 1) }) }, "`v`"],
    [{ inputs: { y: f32([2], 1, 2) } }, "`y`"],
    [{ inputs: { x: f32([3], 1, 2, 3) } }, "[3]"],
  ];
  for (const [given, word] of refusals) {
    const error: unknown = await run(given).catch((e: unknown) => e);
    assert.instance(error, Problem);
    assert.match((error as Problem).message, word);
  }
});
test("the program's own errors come before those of files and sizes that are given with it", async () => {
  const program = join(folder, "wrong.moe");
  writeFileSync(program, "layer A(D) { forward(x: f32[N, D]) -> f32[N, D] { return y } }");
  for (const given of [{ input: join(folder, "none.json") }, { params: join(folder, "none") }, { set: { Q: 3 } }]) {
    const error = await runEntry({ program, entry: "A", target: "reference", ...given }).catch((e: unknown) => e);
    assert.ok(error instanceof ProgramError, String(error));
  }
  writeFileSync(program, "layer A(D) { forward(x: f32[N, D]) -> f32[N, D] { return x } }");
  const error = await runEntry({ program, entry: "A", input: join(folder, "none.json") }).catch((e: unknown) => e);
  assert.ok(error instanceof Problem && error.message.includes("none.json"), String(error));
});
test("inputs that disagree on a size, a layer set from outside, and f64 on the host are Problems", async () => {
  const [program, input] = [join(folder, "refused.moe"), join(folder, "refused.json")];
  const refused = async (text: string, given: object, message: string, help: string): Promise<void> => {
    writeFileSync(program, text);
    writeFileSync(input, JSON.stringify({ x: [1, 2] }));
    await assertProblem(() => runEntry({ program, entry: "a", input, target: "reference", ...given }), message, help);
  };
  const two = join(folder, "two.json");
  writeFileSync(two, JSON.stringify({ x: [1, 2], y: [1, 2, 3] }));
  const sum = "fn a(x: f32[N], y: f32[N]) -> f32[N] { return x + y }";
  await refused(sum, { input: two }, "input y: N is 3 here and 2 in another input", "f32[N]");
  const given = "layer A(D, f: float[...S] -> float[...S]) { forward(x: f32[D]) -> f32[D] { return f(x) } }";
  await refused(given, { entry: "A", set: { f: 3 } }, "f is a layer, which cannot be set", "model M(...) = A(...)");
  await refused("fn a(x: f64[N]) -> f64[N] { return x }", { target: "host" }, "asks for f64", "--target reference");
});
const tooLate = (): void => assert.unreachable("kernels are compiled");
test("inputs that are missing or past a table's end, cotangents of nothing, and parameters that do not fit are Problems before a kernel is compiled", async () => {
  const [program, input] = [join(folder, "inputs.moe"), join(folder, "inputs.json")];
  writeFileSync(
    program,
    "layer A(D) { param table: f32[3, D] = 1 forward(at: i32[N], x: f32[N, D], idle: f32[N]) -> f32[N, D] { return table[at] + x } }",
  );
  const right = { at: [0, -1], x: [[1], [2]] };
  const refused = async (inputs: object, gradients: boolean, message: string, help: string): Promise<void> => {
    writeFileSync(input, JSON.stringify(inputs));
    await assertProblem(() => runEntry({ program, entry: "A", input, gradients, onCompile: tooLate }), message, help);
  };
  await refused({ at: [0, 1], y: [1] }, false, "`y` is not an input", "at, x, idle");
  await refused(
    { ...right, at: [0, 3] },
    false,
    "at has the index 3 (element 1), and what it indexes has 3",
    "-1 for none",
  );
  await refused({ ...right, "cotangent.0": [[1], [1]] }, false, "no gradients", "`--grad`");
  await refused({ ...right, "cotangent.1": [[1], [1]] }, true, "of no result", "from 0");
  writeFileSync(input, JSON.stringify({ x: right.x }));
  await assertProblem(
    () => runEntry({ program, entry: "A", input, set: { N: 2 }, onCompile: tooLate }),
    "input at of forward is missing",
    "forward reads at, x: give it",
  );
  writeFileSync(input, JSON.stringify(right));
  await assertProblem(
    () => runEntry({ program, entry: "A", input, params: file({ table: f32([2, 1], 1, 2) }), onCompile: tooLate }),
    "gives f32[2, 1] for `table`, which is f32[3, 1]",
    "check the sizes",
  );
  const results = await runEntry({ program, entry: "A", input, target: "reference" });
  assert.equal([...(results.get("0")?.data ?? [])], [2, 2]);

  const expert = "layer X(D) { param w: f32[D] = 1 forward(x: f32[D]) -> f32[D] { return w * x } }";
  const mixture = "layer A(D) { e: X(D)[3] forward(at: i32[N, 2], x: f32[N, D]) -> f32[N, 2, D] { return e[at](x) } }";
  writeFileSync(program, `${expert} ${mixture}`);
  const late = {
    at: [
      [0, 3],
      [-1, 2],
    ],
    x: right.x,
  };
  await refused(late, false, "at has the index 3 (element 1), and what it indexes has 3", "-1 for none");
});
test.run();
