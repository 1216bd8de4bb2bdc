// Training on the CUDA target through the real runtime, where the emulator stands in for NVIDIA's driver and for NVRTC: the host's losses.
// MOEC_TEST=full trains the mixture of the issue.
import { rejects } from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { attention, dense, gpt as gptCase, moe } from "../../bench/cases.ts";
import { measureCuda } from "../../bench/cuda.ts";
import type { Plan } from "../../compiler/plan/plan.ts";
import { Debugger } from "../../runtime/measure/debug.ts";
import { profile } from "../../runtime/measure/profile.ts";
import type { TrainOptions } from "../../runtime/training/train-options.ts";
import { lossesOf } from "../../scripts/losses-of.ts";
import { command } from "../command.ts";
import { full } from "../full.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { last, small, losses as trained, withoutText } from "../training-runs.ts";
import { build, libraryEnvironment, onEmulator } from "./build.ts";

const test = suite("emulated");
const here = temporaryFolder();
const data = join(here, "data.txt");
writeFileSync(data, "It is a way I have of driving off the spleen, and regulating the circulation. ".repeat(40));

type Options = Omit<TrainOptions, "data" | "out">;
const losses = (options: Options): Promise<number[]> => lossesOf({ ...options, data: [data] });
/** `npm run emulated -- ARGS`, in a process of its own. */
const npmRunEmulated = (more: NodeJS.ProcessEnv, ...args: readonly string[]) =>
  spawnSync(process.execPath, [...process.execArgv, join(project, "test/emulator/emulated.ts"), ...args], {
    encoding: "utf8",
    env: { ...process.env, ...more },
  });
/** `apart`: of each loss. In bf16 both round where a buffer is, and tensor cores what they are given. */
async function same(options: Options, apart = 1e-5): Promise<void> {
  const expected = await losses(options);
  const found = await onEmulator(() => losses({ ...options, target: "cuda" }));
  assert.is(found.length, expected.length);
  for (const [i, x] of found.entries()) {
    const distance = Math.abs(x / (expected[i] ?? Number.NaN) - 1);
    assert.ok(distance < apart, `loss ${i} is ${x}, and ${expected[i]} on the host`);
  }
}
test("the benchmarks of a GPU on tiny shapes: what they count and the form of what they say", async () => {
  const tables: string[] = [];
  const passes = ["dense", "moe", "attention"].flatMap((name) => [`${name} forward`, `${name} step`]);
  const sizes = { V: 32, D: 16, H: 8, L: 1, Heads: 2, E: 4, K: 2 };
  const cases = [
    dense(16, 24, 16),
    moe("SwiGluMoE", 9, 16, 8, 3, 2),
    attention(1, 2, 9, 16),
    ...(full ? [gptCase(sizes, 1, 8)] : []),
  ];
  const figures = await onEmulator(() =>
    measureCuda(cases, { precision: "bf16", times: 1, seconds: 0, python: null, kernels: (text) => tables.push(text) }),
  );
  assert.equal(
    figures.map((f) => `${f.name} ${f.pass}`),
    passes.concat(full ? ["gpt-moe step"] : []),
  );
  for (const f of figures) {
    const work = cases.find((c) => c.name === f.name)?.work[f.pass] ?? Number.NaN;
    assert.ok(Math.abs(f.rate / ((work / f.seconds) * 1e-12) - 1) < 1e-9, f.name);
    assert.ok(f.ceiling > 0 && Math.abs(f.share / (f.rate / f.ceiling) - 1) < 1e-9);
  }
  assert.is(tables.length, cases.length);
  assert.match(tables[1] ?? "", /times between events of the GPU[^]* - +\d+ +forward +ragged_dot/);
  assert.not.match(tables.join(""), /NaN|undefined|Infinity/);
});
test("a plan that does not fit: what it needs, what is free and what to do, before anything is written", async () => {
  const libraries = libraryEnvironment(await build());
  const program = join(here, "small.moe");
  writeFileSync(program, small(256, 16));
  const out = join(here, "large");
  const flags = ["--data", data, "--batch", "2", "--length", "8", "--target", "cuda", "--out", out];
  for (const [words, help] of [
    ["memory=65536", /help: lower the model's sizes/],
    [
      "memory=1048576 taken=983040",
      /help: end what else uses the GPU \(`nvidia-smi` lists it\), or lower the model's sizes/,
    ],
  ] as const) {
    const env = { ...process.env, ...libraries, MOEC_EMULATOR: words };
    const { status, stdout, stderr } = command(["train", program, ...flags], env);
    assert.is(status, 1, stderr);
    assert.is(stdout, "");
    assert.match(
      stderr,
      /^(compiling.*\n)*error: the plan needs 92 KiB and 64 KiB are free; the largest buffers are\n +embed\.weight: f32\[256, 16\], 16 KiB/,
    );
    assert.match(stderr, help);
    assert.not.match(stderr, /\n\s+at /);
    assert.not.ok(existsSync(out));
  }
});
test("a run that began with tf32 goes on with it, on a GPU only", async () => {
  const program = join(here, "small.moe");
  writeFileSync(program, small(256, 16));
  const options = { program, data: [data], batch: 2, length: 8, target: "cuda" } as const;
  const [exact, whole, parts] = ["exact", "whole", "parts"].map((name) => join(here, name)) as [string, string, string];
  await onEmulator(async () => {
    await trained({ ...options, out: exact });
    await trained({ ...options, out: whole, tf32: true });
    await trained({ ...options, out: parts, tf32: true }, 1);
    await trained({ ...options, out: parts, resume: true });
  });
  assert.equal(last(parts).model, last(whole).model);
  assert.not.equal(last(exact).model, last(whole).model);
  for (const [more, why] of [
    [{ target: "host" }, /cannot go on on the host target: it was trained with --tf32/],
    [{ tf32: false }, /--tf32 was given and is now not given/],
  ] as const)
    await rejects(trained({ ...options, out: whole, resume: true, ...more }), why);
});
test("profile and MOEC_DEBUG=2 time the kernels of a GPU", async () => {
  const program = join(project, "examples/one-layer.moe");
  const set = { N: 6, D: 16, H: 8, E: 3, K: 2 };
  const { kernels, trace } = await onEmulator(() =>
    profile({ program, entry: "Layer", set, gradients: true, runs: 1, target: "cuda" }),
  );
  assert.ok(kernels.length > 3 && kernels.every((k) => k.seconds > 0 && k.busySeconds === k.seconds));
  assert.ok(kernels.some((k) => k.kernel.startsWith("ragged_dot") && k.lines.length > 0));
  assert.ok(trace.traceEvents.some((e) => e.cat === "kernel"));
  const said: string[] = [];
  const watcher = new Debugger({ level: 2, write: (text) => said.push(text) });
  const plan = { target: "cuda", kernels: [], buffers: [], entries: [] } as unknown as Plan;
  const { profile: told, closed } = await watcher.profileOptions(plan, 1);
  told?.(
    { name: "train", inputs: [], results: [], steps: [] },
    { wall: new Float64Array(0), busy: new Float64Array(0) },
  );
  closed?.();
  assert.match(said.join(""), "entry train, last run: times between events of the GPU");
});
test("a small model trains to the host's losses", async () => {
  const program = join(here, "small.moe");
  writeFileSync(program, small(256, 8));
  await same({ program, steps: 3, batch: 2, length: 9 });
});
const gpt = join(project, "examples/gpt-moe.moe");
/** Half a unit in a bf16's last place. */
const rounding = 2 ** -9;
test("in bf16 two layers of a mixture train five steps to the host's losses", async () => {
  const program = join(here, "gpt.moe");
  writeFileSync(program, withoutText);
  const set = { L: 2, D: 16, H: 16, E: 4, Heads: 2, Context: 64 };
  const options: Options = { program, precision: "bf16", steps: 5, batch: 1, length: 8, set };
  await same(options, rounding);
});
for (const [precision, apart] of [
  ["bf16", rounding, full ? 2 : 1],
  ...(full ? [["f32", 1e-5, 2] as const] : []),
] as const)
  test(`adapters of a mixture whose other matrices are in 8 bits train to the host's losses, ${precision}`, async () => {
    const program = join(here, "lora.moe");
    copyFileSync(join(project, "examples/lora.moe"), program);
    writeFileSync(join(here, "gpt-moe.moe"), withoutText); // which it imports
    const set = { L: 1, D: 16, H: 16, E: 4, Heads: 2, R: 2, Context: 64 };
    await same({ program, precision, weights: "int8", steps: 2, batch: 1, length: 8, set }, apart);
  });
test("a whole program, its memory shared as it is planned: nothing is read that another thread writes, nor what nobody wrote", () => {
  const program = join(here, "checked.moe");
  writeFileSync(program, withoutText);
  const sizes = Object.entries({ L: 1, D: 32, H: 32, E: 4, Heads: 2 }).flatMap(([k, n]) => ["--set", `${k}=${n}`]);
  const flags = [
    "--data",
    data,
    "--batch",
    "2",
    "--length",
    "16",
    "--steps",
    "1",
    "--target",
    "cuda",
    "--json",
    ...sizes,
  ];
  const { status, stderr } = npmRunEmulated(
    { MOEC_EMULATOR: "check" },
    "train",
    program,
    ...flags,
    "--out",
    join(here, "checked"),
  );
  assert.is(status, 0, stderr);
  assert.not.match(stderr, "emulator: ");
});
if (full)
  for (const [precision, apart] of [
    ["f32", 1e-5],
    ["bf16", rounding],
  ] as const)
    test(`two layers of a mixture train five steps to the host's losses, ${precision}`, async () => {
      const set = { L: 2, D: 64, H: 96, Heads: 2 };
      await same({ program: gpt, precision, steps: 5, batch: 2, length: 32, set }, apart);
    });

test.run();
