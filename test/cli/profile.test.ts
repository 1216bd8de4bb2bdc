import { rejects } from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { profileCommand } from "../../cli/commands/profile.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { kernelTable, kernelTimes, unknownLimits } from "../../runtime/measure/kernel-times.ts";
import { type EntryOptions, entryRequest } from "../../runtime/measure/measured-entry.ts";
import { profile, type Trace } from "../../runtime/measure/profile.ts";
import { showLines } from "../../runtime/measure/show-lines.ts";
import { readProgram } from "../../runtime/program.ts";
import { assertProblem } from "../assert-problem.ts";
import { project } from "../project.ts";

const test = suite("profile");
const program = join(project, "examples/one-layer.moe");
const folder = mkdtempSync(join(tmpdir(), "moec-profile-"));
test.after(() => rmSync(folder, { recursive: true }));
const set = { D: 8, H: 6, E: 3, K: 2, N: 20 };
const moved = 2 ** 22;

type Slice = Trace["traceEvents"][number] & { readonly ts: number; readonly dur: number };
const slices = ({ traceEvents }: Trace, cat: string): Slice[] =>
  traceEvents.filter((e): e is Slice => e.ph === "X" && e.cat === cat);
const end = (e: Slice): number => e.ts + e.dur;
const inside = (a: Slice, b: Slice): boolean => b.ts <= a.ts + 0.01 && end(a) <= end(b) + 0.01;

test("a trace has the passes, and each run with its phases and kernels one after the other", async () => {
  const made = await profile({ program, entry: "Layer", set, gradients: true, runs: 3, threads: 2, moved });
  assert.is(made.entry, "forward");
  assert.is(made.seconds.length, 3);
  const passes = slices(made.trace, "pass").map((e) => e.name);
  for (const pass of ["parse", "check", "simplify", "differentiate", "lower", "plan", "load"])
    assert.ok(passes.includes(pass), pass);
  const [runs, phases, kernels] = ["run", "phase", "kernel"].map((cat) => slices(made.trace, cat)) as [
    Slice[],
    Slice[],
    Slice[],
  ];
  assert.equal(
    runs.map((r) => r.name),
    ["forward", "forward", "forward"],
  );
  assert.equal([...new Set(phases.map((p) => p.name))], ["forward", "backward"]);
  assert.is(kernels.length, 3 * made.kernels.length);
  for (const k of kernels) assert.is(runs.filter((r) => inside(k, r)).length, 1, k.name);
  for (const k of kernels) assert.ok(phases.some((p) => inside(k, p)));
  kernels.reduce((a, b) => (assert.ok(end(a) <= b.ts + 0.01), b));
  const [ragged] = kernels.filter((k) => k.name.startsWith("ragged_dot"));
  assert.match(String(ragged?.args?.["lines"]), /one-layer\.moe:\d+/);
  assert.match(String(ragged?.args?.["contraction"]), "3 groups");
});

test("rows of a text and their length are those of a training that is named among others, and of --set", () => {
  const decoders = readProgram(join(project, "stdlib/models/decoder.moe"));
  const rows = (options: EntryOptions): unknown => entryRequest(decoders, options).entries[0]?.sizes;
  assert.equal(rows({ entry: "Mixtral.train", batch: 2, set: { T: 64 } }), { B: 2, T: 64 });
  assert.equal(rows({ entry: "Mixtral.train" }), { B: 16, T: 128 });
  const gpt = readProgram(join(project, "examples/gpt-moe.moe"));
  assert.equal(entryRequest(gpt, { set: { B: 4 } }).entries[0]?.sizes, { B: 4, T: 128 });
});
test("the training of a model that takes no text is profiled with the sizes given", async () => {
  const regression = join(folder, "regression.moe");
  writeFileSync(
    regression,
    `import { Sgd } from "std/optim"
    model Regression(D) {
      param w: float[D] = 0.5
      train(x: float[N, D], y: float[N]) {
        loss square = mean((sum(x * w, axis: -1) - y) ** 2)
        optimize with Sgd()
      }
    }`,
  );
  const made = await profile({ program: regression, set: { D: 3, N: 5 }, runs: 1, threads: 1, moved });
  assert.is(made.entry, "train");
  await assertProblem(
    () => profile({ program: regression, set: { D: 3, N: 5 }, batch: 5, runs: 1 }),
    "`Regression.train` takes (x: float[N, D], y: float[N]), which is not text",
    "their sizes by --set",
  );
});
test("rates are work by the time of cores at work, and the share is of the nearer ceiling", () => {
  const launch = { kernel: 0, args: [0], tasks: 4, flops: 6e6, bytes: 1e6, phase: "forward" } as const;
  const plan = {
    buffers: [{ name: "x", dtype: "f32", shape: [2, 3], layout: { kind: "rows", pitch: 3 }, offset: 0, bytes: 24 }],
    kernels: [{ name: "dot_1", text: "", origins: ["a:1", "a:2", "a:3", "a:4", "a:5"], scratch: 0 }],
  };
  const entry = { name: "e", inputs: [], results: [], steps: [{ kind: "launch", launch } as const] };
  const limits = { threads: 2, gflops: 4, gbytes: 4 };
  const times = { wall: Float64Array.of(0.005), busy: Float64Array.of(0.004) };
  const rows = kernelTimes({ ...plan, buffers: [...plan.buffers] } as never, entry, times, limits);
  const [row] = rows;
  assert.ok(row);
  assert.equal([row.seconds, row.busySeconds], [0.005, 0.002]);
  assert.ok(Math.abs(row.gflops - 3) < 1e-9 && Math.abs(row.gbytes - 0.5) < 1e-9 && Math.abs(row.share - 0.75) < 1e-9);
  const lines = kernelTable(rows, limits, "lines").split("\n");
  assert.match(lines[0] ?? "", "ceilings 4 GFLOP/s, 4 GB/s on 2 threads; cores at work 2.000 ms");
  assert.match(lines[2] ?? "", /^5\.000 +40\.0 % +100\.0 % +3\.0 +0\.5 +75\.0 % +4 +forward +dot_1 +a:1-5$/);
  assert.match(kernelTable(rows, limits, "operands"), "x[2,3]");
  const above = { ...limits, gbytes: 0.4 };
  const table = (l: typeof limits): string => kernelTable(kernelTimes(plan as never, entry, times, l), l, "lines");
  assert.match(table(above), /\nabove 100 %: read from the processor's caches, or less than is counted: attention .*$/);
  assert.not.match(table(limits), "above");
  const copy = { kind: "copy", from: 0, to: 0 } as const;
  const sum = { op: { name: "all_reduce" }, args: [0], flops: 0, bytes: 8e6, phase: "backward" };
  const others = { ...entry, steps: [copy, { kind: "collective", collective: sum }] };
  const both = { wall: Float64Array.of(0.002, 0.005), busy: Float64Array.of(0.002, 0.004) };
  const [copied, summed] = kernelTimes(plan as never, others as never, both, limits);
  assert.equal([copied?.bytes, copied?.busySeconds, summed?.busySeconds], [48, 0.001, 0.005]); // of a sum the wall's
  const idle = kernelTimes(plan as never, entry, { wall: Float64Array.of(0), busy: Float64Array.of(0) }, limits);
  assert.ok(Number.isFinite(idle[0]?.gflops), "of no time there is no infinite rate");
  const begun = {
    ...entry,
    steps: [
      { kind: "collective", collective: sum, beside: true },
      { kind: "wait", step: 0 },
    ],
  };
  const [begins, waits] = kernelTimes(plan as never, begun as never, both, limits);
  assert.equal([begins?.bytes, begins?.gbytes, waits?.bytes, waits?.seconds], [0, 0, 0, 0.005]);
  assert.match(waits?.kernel ?? "", "wait for ");
  const sorted = kernelTable(kernelTimes(plan as never, others as never, both, limits), limits, "lines").split("\n");
  assert.match(sorted[2] ?? "", /all_reduce/);
  const over = { wall: Float64Array.of(0.005), busy: Float64Array.of(0.02) }; // clocks of two kinds
  assert.match(kernelTable(kernelTimes(plan as never, entry, over, limits), limits, "lines"), /\n5\.000 +100\.0 % /);
  const memory = { ...limits, gflops: Infinity };
  assert.match(kernelTable(rows, memory, "lines"), "ceilings 4 GB/s on 2 threads");
  assert.match(kernelTable(rows, unknownLimits, "lines"), /between events of the GPU.*\n.*\n.* - /);
});

const bytes = (of: readonly { readonly bytes: number }[]): number => of.reduce((sum, k) => sum + k.bytes, 0);
test("a profile is of the precision that is asked for; tf32 is of a GPU", async () => {
  const options = { program, entry: "Layer", set, runs: 1, threads: 2, moved };
  const { kernels } = await profile({ ...options, precision: "bf16" });
  assert.ok(bytes(kernels) < 0.8 * bytes((await profile(options)).kernels));
  for (const [wrong, why] of [
    [{ tf32: true }, /tf32 is of CUDA targets/],
    [{ precision: "f64" }, /alone computes in f64/],
    [{ target: "reference" }, /interpreter/],
  ] as const)
    await rejects(profile({ ...options, ...wrong }), (e: unknown) => e instanceof Problem && why.test(e.message));
});

test("a kernel's lines are shown by file, neighbours as ranges", () => {
  assert.is(showLines([]), "");
  assert.is(showLines(["a.moe:9"]), "a.moe:9");
  const lines = ["std/nn:54", "a.moe:11", "std/nn:7", "std/nn:55", "a.moe:13", "std/nn:56", "a.moe:12", "a.moe:20"];
  assert.is(showLines(lines), "std/nn:7, 54-56 a.moe:11-13, 20");
});
test("the command writes the trace, and with --json a line for all and one for each launch", async () => {
  const lines: string[] = [];
  const write = process.stdout.write.bind(process.stdout);
  const trace = join(folder, "t.json");
  process.stdout.write = (text: string) => lines.push(text) > 0;
  try {
    const sizes = Object.entries(set).flatMap(([k, v]) => ["--set", `${k}=${v}`]);
    const flags = ["--entry", "Layer", "--runs", "1", "-o", trace, "--json"];
    await profileCommand().parseAsync([program, ...sizes, ...flags], { from: "user" });
  } finally {
    process.stdout.write = write;
  }
  const [head, ...kernels] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.is(head?.["entry"], "forward");
  assert.is(head?.["trace"], trace);
  assert.ok(kernels.length > 3 && kernels.every((k) => typeof k["kernel"] === "string" && Number(k["at_work"]) > 0));
  assert.ok((JSON.parse(readFileSync(trace, "utf8")) as Trace).traceEvents.length > kernels.length);
});
test.run();
