// Whole runs over stores in panels: training, its files, going on, generation and `moec run`, against the interpreter.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import type { Precision } from "../../compiler/types/dtype.ts";
import { compileProgram } from "../../runtime/compile.ts";
import type { Tensor } from "../../runtime/executable/executable.ts";
import { generate } from "../../runtime/generation/generate.ts";
import { panelWidth } from "../../runtime/host/backend.ts";
import { toolchain } from "../../runtime/host/toolchain.ts";
import { moe, train } from "../../runtime/index.ts";
import { runEntry } from "../../runtime/run.ts";
import { writeSafetensors } from "../../runtime/storage/safetensors.ts";
import { fromNumbers } from "../../runtime/tensor.ts";
import type { TrainOptions } from "../../runtime/training/train-options.ts";
import { full } from "../full.ts";
import { hasClang, hasFeature } from "../host/machine.ts";
import { assertClose } from "../peer-results.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { last, losses as lossesOf, withoutText } from "../training-runs.ts";

const test = suite("panels-runs");
const root = temporaryFolder();
const silent = join(root, "silent.moe");
writeFileSync(silent, withoutText);
const data = join(root, "text");
writeFileSync(
  data,
  Uint8Array.from({ length: 1500 }, (_, i) => 97 + ((i * i + (i >> 3)) % 23)),
);
/** The inner width of 40 is no multiple of a panel, the others are. */
const set = { D: 64, H: 40, L: 1, Heads: 2, E: 3, Context: 16 };
const options: TrainOptions = {
  program: join(project, "examples/gpt-moe.moe"),
  data: [data],
  batch: 2,
  length: 8,
  steps: 3,
  saveEvery: 1,
  evaluateEvery: 2,
  set,
};
const losses = (more: Partial<TrainOptions>, until?: number): Promise<number[]> =>
  lossesOf({ ...options, ...more }, until);
async function text(run: string, target: "host" | "reference"): Promise<string> {
  let all = "";
  for await (const piece of generate({ folder: run, prompts: ["abc"], tokens: 8, temperature: 0, target }))
    all += piece.text;
  return all;
}
const [host, reference] = [join(root, "host"), join(root, "reference")];

test("the plan has panels as wide as a register tile, and rows where they do not divide a width", async () => {
  const { plan, executable } = await compileProgram({
    path: options.program,
    sizes: set,
    target: "host",
    precision: "f32",
    entries: [{ method: "forward", name: "forward", sizes: { B: 2, T: 8 } }],
  });
  executable.close();
  const layouts = new Map(plan?.stores.map((s) => [s.name, plan.buffers[s.buffer]?.layout]));
  const panels = { kind: "panels", width: panelWidth(await toolchain()) };
  assert.deepEqual(layouts.get("blocks.0.attention.query.weight"), panels);
  assert.deepEqual(layouts.get("blocks.0.feed.experts.*.down.weight"), panels);
  assert.deepEqual(layouts.get("blocks.0.feed.experts.*.up.weight"), { kind: "rows", pitch: 40 });
  assert.deepEqual(layouts.get("embed.weight"), { kind: "rows", pitch: 64 });
});
test("training: the interpreter's losses and parameters, and files in rows", async () => {
  const [got, want] = [await losses({ out: host }), await losses({ out: reference, target: "reference" })];
  assert.equal(got.length, 3);
  got.forEach((loss, i) => assert.ok(Math.abs(loss - (want[i] ?? Number.NaN)) < 1e-4, `${loss} is not ${want[i]}`));
  const [a, b] = [last(host), last(reference)];
  for (const kind of ["model", "training"] as const) {
    assert.deepEqual([...a[kind].keys()], [...b[kind].keys()]);
    for (const [name, tensor] of b[kind])
      assertClose(name, a[kind].get(name), tensor, name.includes("adam") ? 1e-3 : 1e-4);
  }
});
test("sizes of 0: experts without an inner layer, a model without width", async () => {
  for (const none of [{ H: 0 }, { D: 0 }]) {
    const more = { program: silent, out: null, steps: 1, set: { ...set, ...none } };
    const [[own = Number.NaN], [exact = Number.NaN]] = [
      await losses(more),
      await losses({ ...more, target: "reference" }),
    ];
    assert.ok(Math.abs(own / exact - 1) < 1e-6, `${own}, not ${exact}`);
  }
});
test("a run that was stopped goes on with the same bits, on any number of threads", async () => {
  const parts = join(root, "parts");
  await losses({ out: parts, threads: 1 }, 2);
  await losses({ out: parts, resume: true, threads: 3 });
  const [a, b] = [last(host), last(parts)];
  assert.deepEqual(b.model, a.model);
  assert.deepEqual(b.training, a.training);
});
test("sums of gradients", async () => {
  const both = ["host", "reference"] as const;
  const [got, want] = await Promise.all(
    both.map((target) => losses({ program: silent, out: null, target, accumulate: 2, steps: 2, evaluateEvery: 0 })),
  );
  got?.forEach((loss, i) =>
    assert.ok(Math.abs(loss - (want?.[i] ?? Number.NaN)) < 1e-4, `${loss} is not ${want?.[i]}`),
  );
});
test("generation from the run's files, whoever wrote them", async () => {
  const wanted = await text(reference, "reference");
  assert.ok(wanted.length >= 8);
  for (const run of [host, reference]) assert.equal(await text(run, "host"), wanted);
});
const small = join(root, "small.moe");
writeFileSync(
  small,
  `
import { Embedding, silu } from "std/nn"
import { cross_entropy } from "std/loss"
import { AdamW } from "std/optim"
layer Two(D = 32, H = 80) {
  param up: f32[D, H] = 0.1
  param down: f32[H, D] = 0.2
  forward(x: float[N, D]) -> float[N, D] { return silu(x @ up) @ down }
}
model Small(D = 32, H = 80) {
  embed: Embedding(256, D)
  two: Two(D, H)
  train(tokens: i32[B, T], targets: i32[B, T]) {
    loss l = cross_entropy(embed.logits(two(reshape(embed(tokens), [B * T, D]))), reshape(targets, [B * T]))
    optimize with AdamW()
  }
}`,
);
const sines = (shape: readonly number[]): Tensor =>
  fromNumbers(
    "f32",
    shape,
    Float64Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(i)),
  );
test("moec run with parameters of a file, and their gradients", async () => {
  const [params, input] = [join(root, "params.safetensors"), join(root, "input.safetensors")];
  const [x, up, down] = [sines([5, 32]), sines([32, 80]), sines([80, 32])];
  writeSafetensors(params, new Map(Object.entries({ up, down })));
  writeSafetensors(input, new Map(Object.entries({ x, "cotangent.0": x })));
  const of = (target: "host" | "reference") =>
    runEntry({ program: small, entry: "Two", input, params, gradients: true, target });
  const [got, want] = [await of("host"), await of("reference")];
  assert.deepEqual([...got.keys()].toSorted(), [...want.keys()].toSorted());
  assert.ok(["0", "grad.up", "grad.down", "grad.input.x"].every((name) => got.has(name)));
  for (const [name, t] of want) assertClose(name, got.get(name), t, 1e-5);
});
test("a weight in panels and a state in rows may begin with the same zeros", async () => {
  const { M } = moe`import { Sgd } from "std/optim"
    model M(D = 64, H = 128) {
      param a: float[D, H] = 0
      state slow: f32[D, H] = 0
      train(x: float[N, D]) {
        loss square = mean((x @ a - 1) ** 2)
        metric far = sum(slow)
        optimize with Sgd(lr: 1)
      }
    }`;
  const x = Float32Array.from({ length: 3 * 64 }, (_, i) => Math.sin(i));
  const of = async (target: "host" | "reference"): Promise<(number | undefined)[]> => {
    const found: (number | undefined)[] = [];
    for await (const { losses: named } of train(M, { batches: [{ x }, { x }], sizes: { N: 3 }, target }))
      found.push(named.get("square"));
    return found;
  };
  const [got, want] = [await of("host"), await of("reference")];
  for (const [i, loss] of got.entries()) assert.ok(Math.abs((loss ?? Number.NaN) - (want[i] ?? Number.NaN)) < 1e-5);
});
/** Each with the precisions that it is tried in, unless all is asked for. */
const machines: Readonly<Record<string, readonly [NodeJS.ProcessEnv, ...Precision[]]>> = {
  portable: [{ MOEC_ISA: "portable" }, "f32", "bf16"],
  ...(hasFeature("avx2") && hasFeature("fma") ? { AVX2: [{ MOEC_ISA: "avx2" }, "bf16"] } : {}),
  ...(hasFeature("avx512dq") ? { "AVX-512": [{ MOEC_ISA: "avx512" }, "bf16"] } : {}),
  ...(hasClang ? { "clang++": [{ CXX: "clang++" }, "f32"] } : {}),
};
/** What losses may be off: a number of bf16 by 2^-9 of it, and a loss is a mean of many. */
const rounding: Readonly<Record<Precision, number>> = { f32: 1e-4, bf16: 2 ** -7, f64: 1e-9 };
const short = { program: small, set: {}, out: null, steps: 2 } as const;
const known = new Map<Precision, Promise<number[]>>();
/** The interpreter's losses. */
function wanted(precision: Precision): Promise<number[]> {
  const found = known.get(precision) ?? losses({ ...short, target: "reference", precision });
  known.set(precision, found);
  return found;
}
for (const [name, [environment, ...some]] of Object.entries(machines))
  test(`training with kernels of ${name}`, async () => {
    const before = process.env;
    process.env = { ...before, ...environment };
    try {
      for (const precision of full ? (["f32", "bf16"] as const) : some) {
        const got = await losses({ ...short, target: "host", precision });
        const want = await wanted(precision);
        for (const [i, loss] of got.entries())
          assert.ok(Math.abs(loss - (want[i] ?? Number.NaN)) < rounding[precision], `${loss} is not ${want[i]}`);
      }
    } finally {
      process.env = before;
    }
  });
test.run();
