// bf16 as the meaning of `float`: where it is stored, what stays in f32, and that losses are the f32 run's to its rounding.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadFile } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import type { Target } from "../../compiler/options.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toGraphs, toPlan } from "../../compiler/pipeline.ts";
import { backends } from "../../compiler/targets.ts";
import { prepareEntry } from "../../compiler/transform/prepare.ts";
import type { Precision } from "../../compiler/types/dtype.ts";
import type { Executable } from "../../runtime/executable/executable.ts";
import { withPreparedCopies } from "../../runtime/executable/prepared.ts";
import { figuresOf } from "../../runtime/figures.ts";
import { generate } from "../../runtime/generation/generate.ts";
import { compile, moe, type Program, train as trainOn } from "../../runtime/index.ts";
import { runEntry } from "../../runtime/run.ts";
import { newestCheckpoint } from "../../runtime/storage/checkpoint.ts";
import { readConfig } from "../../runtime/storage/run-folder.ts";
import { writeSafetensors } from "../../runtime/storage/safetensors.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";
import type { TrainOptions } from "../../runtime/training/train-options.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { train, withoutText } from "../training-runs.ts";

const test = suite("precision");
const root = temporaryFolder();
const data = join(root, "text");
writeFileSync(
  data,
  "Some years ago, never mind how long precisely, having little or no money in my purse. ".repeat(30),
);
const model = join(project, "examples/gpt-moe.moe");
const options: TrainOptions = {
  program: model,
  data: [data],
  batch: 2,
  length: 12,
  steps: 4,
  saveEvery: 2,
  set: { L: 1, D: 16, H: 24, E: 4, Heads: 2, Context: 64 },
};
async function losses(more: Partial<TrainOptions>, until = Number.POSITIVE_INFINITY): Promise<number[]> {
  const stop = new AbortController();
  const all: number[] = [];
  for await (const { step, loss } of train({ out: null, ...options, ...more, signal: stop.signal })) {
    all.push(loss);
    if (step === until) stop.abort();
  }
  return all;
}
/** A bf16 has 8 bits: half a unit in the last place is 2^-9 of a number, and a loss is a mean of many. */
const rounding = 2 ** -9;
function near(got: readonly number[], expected: readonly number[]): void {
  assert.is(got.length, expected.length);
  for (const [i, x] of got.entries())
    assert.ok(Math.abs(x / (expected[i] ?? Number.NaN) - 1) < rounding, `${x} and ${expected[i]}`);
}

test("a mixture trains to the losses of f32, and to the interpreter's", async () => {
  const program = join(root, "gpt.moe");
  writeFileSync(program, withoutText);
  const host = await losses({ program, precision: "bf16" });
  assert.is(host.length, 4);
  near(host, await losses({ program, precision: "bf16", target: "reference" }));
  const full = await losses({ program, precision: "f32", target: "reference" });
  near(host, full);
  assert.not.equal(host, full);
});
test("a master has one copy in bf16, which products read and the optimizer's kernel writes", () => {
  const entries = [{ method: "train", name: "train", sizes: { B: 2, T: 12 } }];
  const sizes = { L: 1, D: 16, H: 24, E: 4, Heads: 2, Context: 64 };
  const program = toGraphs(
    loadFile(model),
    { declaration: "GptMoE", sizes, precision: "bf16", entries },
    silentObserver(),
  );
  const plan = toPlan(program, silentObserver());
  const stores = new Map(plan.stores.map((s) => [s.name, { ...s, dtype: plan.buffers[s.buffer]?.dtype }]));
  const master = "blocks.0.feed.experts.*.up.weight";
  assert.is(stores.get(master)?.dtype, "f32");
  assert.is(stores.get(`${master}.adam.m`)?.dtype, "f32");
  const copy = stores.get(`${master} as bf16`);
  assert.equal([copy?.role, copy?.dtype, copy?.saved], ["prepared", "bf16", false]);
  // the router says f32
  assert.not.ok(stores.has("blocks.0.feed.gate.weight as bf16"));
  const steps = plan.entries.find((e) => e.name === "train")?.steps ?? [];
  const uses = (name: string) => {
    const buffer = stores.get(name)?.buffer ?? Number.NaN;
    const places = plan.buffers.flatMap((b, i) => (b.offset === plan.buffers[buffer]?.offset ? [i] : []));
    return steps.filter((s) => s.kind === "launch" && s.launch.args.some((a) => places.includes(a)));
  };
  const masters = uses(master);
  assert.is(masters.length, 1, "the optimizer alone reads and writes a master");
  assert.ok(uses(`${master} as bf16`).includes(masters[0] as never), "and writes the copy too");
  assert.is(
    plan.bytes.prepared,
    [...stores.values()].reduce((n, s) => n + (s.role === "prepared" ? (plan.buffers[s.buffer]?.bytes ?? 0) : 0), 0),
  );
});
/** A model of which `line` trains a part. */
const partlyTrained = (line: string) => `
  import { Linear } from "std/nn"
  import { Sgd } from "std/optim"
  model M(D = 16, E = 4) {
    fixed: Linear(D, D, std: 0.3)
    param scale: float[D] = 0.7
    param exact: f32[D] = 0.7
    experts: Linear(D, D, std: 0.3)[E]
    up: Linear(D, D, std: 0.3)
    train(x: float[N, D], i: i32[N, 2]) {
      let y = fixed(x) * scale * float(exact)
      loss size = mean(f32(up(sum(experts[i](y), axis: 1))) ** 2)
      ${line}
    }
  }`;
test("what nothing trains has no master, and the same results", async () => {
  const batch = { x: waves(64, 0.1), i: Int32Array.of(0, 3, 1, 2, 0, 1, -1, 2) };
  const trained = async (line: string): Promise<[string[], number[]]> => {
    const all: number[] = [];
    let narrow: string[] = [];
    const program = join(root, "frozen.moe");
    writeFileSync(program, partlyTrained(line));
    const how = { sizes: { N: 4 }, precision: "bf16" as const, batches: [batch, batch, batch] };
    for await (const step of trainOn({ file: program }, how)) {
      all.push(step.loss);
      narrow = step.program.names.filter((name) => step.program.read(name).dtype === "bf16");
    }
    return [narrow, all];
  };
  const [none, expected] = await trained("optimize up with Sgd(lr: 1)\n optimize with Sgd(lr: 0)");
  const [narrow, losses] = await trained("optimize up with Sgd(lr: 1)");
  assert.equal(none, []);
  assert.equal(narrow, [
    "fixed.weight",
    "scale",
    "experts.0.weight",
    "experts.1.weight",
    "experts.2.weight",
    "experts.3.weight",
  ]);
  assert.equal(losses, expected);
  assert.ok(new Set(losses).size === 3);
});

const { Line } = moe`
model Line(N, D) {
  param w: float[D, 1] = 0
  forward(x: float[N, D]) -> float[N, 1] { return x @ w }
  train(x: float[N, D]) {
    loss mean = mean(f32(forward(x)))
    optimize with Sgd()
  }
}
optimizer Sgd(lr = 1) {
  apply(param: f32[...S], grad: f32[...S]) { update param = param - lr * grad }
}
`;
const sizes = { N: 4, D: 4 };
const ones = (dtype: "f32" | "bf16") => fromNumbers(dtype, [4, 4], new Float64Array(16).fill(1));
for (const target of ["host", "reference"] as const satisfies readonly Target[]) {
  test(`copies follow what is loaded and what is learned, ${target}`, async () => {
    const program: Program = await compile(Line, { entry: "train", sizes, target, precision: "bf16" });
    const loss = async (): Promise<number> => (await program.run({ x: ones("f32") })).losses.get("mean") ?? Number.NaN;
    program.load(new Map([["w", fromNumbers("f32", [4, 1], [1, 2, 3, 1.001])]]));
    // 1.001 is 1 in bf16; then each weight has lost 1
    assert.is(await loss(), 7);
    assert.is(await loss(), 3);
    assert.equal(
      [...numbers(program.read("w"))].map((x) => x.toFixed(3)),
      ["-1.000", "0.000", "1.000", "-0.999"],
    );
    program.load(new Map([["w", fromNumbers("f32", [4, 1], [5, 0, 0, 0])]]));
    assert.is(await loss(), 5);
    assert.equal(program.names, ["w"]);
    program.close();
  });
  test(`gradients of several batches are summed in f32, ${target}`, async () => {
    const batches = [1, 1 / 512, 1 / 512, 1 / 512].map((x) => ({
      x: fromNumbers("f32", [4, 4], new Float64Array(16).fill(x)),
    }));
    for await (const { program } of trainOn(Line, { sizes, target, precision: "bf16", batches, accumulate: 4 }))
      assert.is(numbers(program.read("w"))[0], -(1 + 3 / 512) / 4);
  });
}
test("a Float32Array is rounded to a bf16 input", async () => {
  const program = await compile(Line, { sizes, precision: "bf16" });
  program.load(new Map([["w", fromNumbers("f32", [4, 1], [1, 1, 1, 1])]]));
  const { outputs } = await program.run({ x: new Float32Array(16).fill(1.001) });
  assert.equal([outputs[0]?.dtype, ...numbers(outputs[0] ?? ones("f32"))], ["bf16", 4, 4, 4, 4]);
  const refused: unknown = await Promise.resolve()
    .then(() => program.run({ x: new Int32Array(12) }))
    .catch((error: unknown) => error);
  assert.instance(refused, Problem);
  program.close();
});

test("a run keeps its precision: resumed, and asked for text", async () => {
  const target = "reference";
  const [whole, parts] = [join(root, "whole"), join(root, "parts")];
  const unbroken = await losses({ out: whole, target, precision: "bf16" });
  const broken = [
    ...(await losses({ out: parts, target, precision: "bf16" }, 2)),
    ...(await losses({ out: parts, target, resume: true })),
  ];
  assert.equal(broken, unbroken);
  assert.is(readConfig(parts).precision, "bf16");
  const saved = newestCheckpoint(whole, () => {});
  if (!saved) throw new Error("nothing was saved");
  for (const [name, tensor] of [...saved.model, ...saved.training])
    if (tensor.dtype !== "i32") assert.is(tensor.dtype, "f32", name);
  try {
    await losses({ out: whole, target, resume: true, steps: 5, precision: "f32" });
    assert.unreachable();
  } catch (error) {
    assert.instance(error, Problem);
    assert.match((error as Problem).message, /--precision was bf16 and is now f32/);
  }
  const text = async (precision?: Precision): Promise<string> => {
    let all = "";
    for await (const piece of generate({
      folder: whole,
      target,
      prompts: ["So"],
      tokens: 8,
      temperature: 0,
      ...(precision ? { precision } : {}),
    }))
      all += piece.text;
    return all;
  };
  assert.is(await text(), await text("bf16"));
  assert.is((await text("f64")).length, 8, "temperatures are f64 too");
});

test("safetensors of bf16 go in and out, and what is f32 is rounded where the signature says float", async () => {
  const program = join(root, "twice.moe");
  writeFileSync(program, "fn twice(x: float[N], y: f32[N]) -> (float[N], f32[N]) { return 2 * x, y }");
  const input = join(root, "in.safetensors");
  const [x, y] = [
    [1.001, -3, 0.1],
    [1.001, -3, 0.5],
  ];
  const run = async (dtype: "f32" | "bf16", target: Target) => {
    writeSafetensors(
      input,
      new Map([
        ["x", fromNumbers(dtype, [3], x)],
        ["y", fromNumbers(dtype, [3], y)],
      ]),
    );
    return runEntry({ program, entry: "twice", input, precision: "bf16", target });
  };
  for (const target of ["host", "reference"] as const)
    for (const dtype of ["f32", "bf16"] as const) {
      const found = await run(dtype, target);
      const [first, second] = [found.get("0"), found.get("1")];
      assert.equal([first?.dtype, second?.dtype], ["bf16", "f32"]);
      assert.equal([...numbers(first ?? ones("f32"))], [2, -6, 0.2001953125]);
      assert.is(numbers(second ?? ones("f32"))[0], dtype === "f32" ? Math.fround(1.001) : 1);
    }
});
test("of a mixture the backward keeps the rows, two halves of the hidden layer and the routing, in bf16", () => {
  const layers = join(project, "bench/layers.moe");
  const [T, d, n, E, K] = [24576, 1536, 256, 128, 8];
  const program = toGraphs(
    loadFile(layers),
    {
      declaration: "MoEStep",
      sizes: { D: d, H: n, E, K },
      precision: "bf16",
      entries: [{ method: "train", name: "train", sizes: { T } }],
    },
    silentObserver(),
  );
  for (const backend of [backends.host, backends.cuda]) {
    const { activations } = figuresOf(program, toPlan(program, silentObserver(), undefined, undefined, backend));
    const rows = 2 * T * d + 4 * T * K * n;
    assert.is(rows, 264 * 2 ** 20);
    // the choice, its score, and two ways between choices and sorted rows; the softmax over E is made again
    assert.ok(
      activations >= rows && activations - rows <= 4 * 2 ** 20,
      `${backend.name}: ${activations / 2 ** 20} MiB`,
    );
  }
});
test("copies are made anew after a part of a parameter was written, and not else", async () => {
  const ran: string[] = [];
  const store = { name: "w", role: "parameter", dtype: "f32", shape: [2, 2, 2], stack: 1, saved: true } as const;
  const inner: Executable = {
    stores: [store, { ...store, name: "s", role: "state" }],
    entries: [prepareEntry, "forward"],
    bytes: null,
    read: () => ones("f32"),
    write: () => {},
    writePart: () => {},
    run: async (entry) => (
      ran.push(entry), { outputs: [], losses: new Map(), metrics: new Map(), gradients: new Map() }
    ),
    repeat: async (_, entry) => (ran.push(`${entry} again and again`), new Int32Array(2)),
    close: () => {},
  };
  const executable = withPreparedCopies(inner);
  const run = async (...written: string[]): Promise<string[]> => {
    for (const name of written) executable.writePart?.(name, [0], () => ones("f32"));
    await executable.run("forward", new Map(), { seed: 0, call: 0, step: 0 });
    return ran.splice(0);
  };
  assert.equal(await run(), [prepareEntry, "forward"]);
  assert.equal(await run("s"), ["forward"]);
  assert.equal(await run("w"), [prepareEntry, "forward"]);
  executable.write("w", ones("f32"));
  const how = { times: 2, within: 1, beside: 1, to: "x", next: "y" };
  await executable.repeat?.(how, "forward", new Map(), { seed: 0, call: 0, step: 0 });
  assert.equal(ran, [prepareEntry, "forward again and again"]);
});
test("without masters nothing is prepared", () => {
  const entries = [{ method: "forward", name: "forward", sizes: { B: 1, T: 4 } }];
  const request = { declaration: "GptMoE", sizes: { L: 1, D: 16, H: 24, E: 4, Heads: 2 }, entries };
  for (const precision of ["f32", "bf16"] as const) {
    const { graphs, stores } = toGraphs(loadFile(model), { ...request, precision }, silentObserver());
    assert.not.ok(graphs.some((g) => g.name === prepareEntry) || stores.some((s) => s.role === "prepared"));
  }
});
test("`float` is the widest float among the arguments, whichever stands first", async () => {
  const { First, Last } = moe<"First" | "Last">`
    fn product(x: float[N], y: float[N]) -> float[N] { return x * y }
    layer First(D) { forward(x: f32[D], y: bf16[D]) -> f32[D] { return product(x, y) } }
    layer Last(D) { forward(x: f32[D], y: bf16[D]) -> f32[D] { return product(y, x) } }`;
  for (const layer of [First, Last]) {
    const program = await compile(layer, { sizes: { D: 1 }, target: "reference" });
    const { outputs } = await program.run({ x: Float32Array.of(1 + 2 ** -20), y: fromNumbers("bf16", [1], [3]) });
    assert.equal(
      outputs.map((y) => [...numbers(y)]),
      [[Math.fround(3 + 3 * 2 ** -20)]],
    );
    program.close();
  }
});
const waves = (n: number, by: number): Float32Array => Float32Array.from({ length: n }, (_, i) => Math.sin(i * by));
test("few rows add a second product to a first, with weights that are read a word of two columns at a time", async () => {
  const { Two } = moe`
    layer Two(D, H) {
      param a: float[D, H] = 0
      param b: float[D, H] = 0
      forward(x: float[N, D], y: float[N, D]) -> float[N, H] { return x @ a + y @ b }
    }
  `;
  if (!Two) throw new Error("no layer");
  const weights = ["a", "b"].map(
    (name, i) => [name, fromNumbers("f32", [96, 128], waves(96 * 128, 0.37 + i))] as const,
  );
  for (const N of [1, 3, 16]) {
    const results: Float64Array[] = [];
    for (const target of ["host", "reference"] as const) {
      const program = await compile(Two, { sizes: { D: 96, H: 128, N }, precision: "bf16", target });
      program.load(new Map(weights));
      const { outputs } = await program.run({ x: waves(96 * N, 1.1), y: waves(96 * N, 1.7) });
      const [out] = [...outputs.values()];
      if (out) results.push(numbers(out));
      program.close();
    }
    const [host, reference] = results;
    assert.is(host?.length, 128 * N);
    const most = Math.max(...(reference ?? []).map(Math.abs));
    host?.forEach((x, i) =>
      assert.ok(Math.abs(x - (reference?.[i] ?? Number.NaN)) < most * rounding * 2, `${N}: ${i}`),
    );
  }
});
test("a depth whose last block is short is read by words too", async () => {
  const { Tied } = moe`
    import { normal } from "std/init"
    layer Tied(D, V) {
      param w: float[D, V] = normal(std: 0.2)
      forward(x: float[N, D]) -> float[N, D] { return tanh(x @ w) @ transpose(w, 0, 1) }
    }`;
  for (const V of [1024 + 128, 1024 + 64, 2 * 1024 + 63]) {
    const results = [];
    for (const target of ["host", "reference"] as const) {
      const program = await compile(Tied, { sizes: { N: 40, D: 64, V }, target, precision: "bf16" });
      const { outputs } = await program.run({ x: waves(40 * 64, 0.1) });
      results.push(...outputs.map((y) => [...numbers(y)]));
      program.close();
    }
    const [host = [], reference = []] = results;
    const size = Math.max(...reference.map(Math.abs));
    assert.is(host.length, 40 * 64);
    for (const [i, x] of host.entries())
      assert.ok(Math.abs(x - (reference[i] ?? Number.NaN)) <= 1e-2 * size, `${V}, ${i}: ${x}, not ${reference[i]}`);
  }
});
test.run();
