// Plans on a driver that records what is asked of it (test/cuda/libcuda.cpp): results, graphs, copies, errors. The emulator's driver, which
// runs real kernels, is tested in emulator.test.ts.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import type { Plan } from "../../compiler/plan/plan.ts";
import { architectureOf, cudaDriver, usableArchitecture } from "../../runtime/cuda/driver.ts";
import { type CudaOptions, loadOnDevice } from "../../runtime/cuda/executable.ts";
import { ownWheels, toolkits, wheels } from "../../runtime/cuda/nvidia-paths.ts";
import type { Outcome } from "../../runtime/executable/executable.ts";
import { PlanExecutable } from "../../runtime/executable/plan-executable.ts";
import { type NativeBuffer, native } from "../../runtime/native.ts";
import { fromNumbers } from "../../runtime/tensor.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { chainPlan, chainPlanWithVariant, image, inputs, rows } from "./chain.ts";

const test = suite("cuda-driver");
const here = temporaryFolder();
const log = join(here, "calls");
function built(name: string, ...source: string[]): string {
  const library = join(here, name);
  execFileSync("g++", ["-std=gnu++17", "-shared", "-fPIC", ...source, "-o", library]);
  return library;
}
const library = built("libcuda.so", join(project, "test/cuda/libcuda.cpp"));

/** With these in the environment, which the library reads too. */
async function under<T>(variables: Readonly<Record<string, string>>, work: () => T | Promise<T>): Promise<T> {
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  try {
    return await work();
  } finally {
    for (const [name, value] of before)
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
  }
}
/** What was called meanwhile, in order. */
async function calls(work: () => unknown): Promise<string[]> {
  rmSync(log, { force: true });
  await under({ MOEC_FAKE_LOG: log }, work);
  return existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : [];
}
const count = (all: readonly string[], name: string): number => all.filter((c) => c.split(" ")[0] === name).length;

function open(plan: Plan, options: CudaOptions = {}): PlanExecutable {
  const driver = cudaDriver({ MOEC_LIBCUDA: library });
  const code = plan.kernels.map(({ name }) => image(name));
  return new PlanExecutable(plan, loadOnDevice(plan, driver, code, options), options);
}
const at = { seed: 1, call: 2, step: 3 };
const sum = 2 * Array.from({ length: rows * 16 }, (_, i) => i % 7).reduce((a, b) => a + b);
const train = (executable: PlanExecutable): Promise<Outcome> => executable.run("train", inputs, at);

async function problem(work: () => unknown): Promise<Problem> {
  try {
    await work();
  } catch (error) {
    assert.instance(error, Problem, String(error));
    return error as Problem;
  }
  assert.unreachable("nothing went wrong");
  throw new Error("unreachable");
}

for (const graphs of [true, false]) {
  test(`a chain of launches ${graphs ? "in a graph" : "one by one"}`, async () => {
    let executable: PlanExecutable | undefined;
    const all = await calls(async () => {
      executable = open(chainPlan(), { graphs, poison: true });
      executable.write("w", fromNumbers("f32", [1], [0]));
      for (let call = 1; call <= 5; call++) {
        const { outputs, losses } = await train(executable);
        assert.is(losses.get("total"), sum);
        assert.is(executable.read("w").data[0], call * sum);
        assert.is(outputs[0]?.data[rows * 16 - 1], 2 * ((rows * 16 - 1) % 7));
      }
      executable.close();
    });
    assert.is(count(all, "cuLaunchKernel"), graphs ? 3 : 15);
    assert.is(count(all, "cuStreamBeginCapture_v2"), graphs ? 1 : 0);
    assert.is(count(all, "cuGraphLaunch"), graphs ? 5 : 0);
    // 4 multiprocessors that hold 2 blocks each
    assert.is(
      all.find((c) => c.startsWith("cuLaunchKernel")),
      "cuLaunchKernel 8 64 512",
    );
  });
}
test("what is taken is given back", async () => {
  const all = await calls(async () => {
    const executable = open(chainPlan());
    await train(executable);
    executable.close();
  });
  const pairs = [
    ["cuMemAlloc_v2", "cuMemFree_v2"],
    ["cuMemHostAlloc", "cuMemFreeHost"],
    ["cuStreamCreate", "cuStreamDestroy_v2"],
    ["cuEventCreate", "cuEventDestroy_v2"],
    ["cuModuleLoadData", "cuModuleUnload"],
    ["cuStreamEndCapture", "cuGraphDestroy"],
    ["cuGraphInstantiateWithFlags", "cuGraphExecDestroy"],
    ["cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease_v2"],
  ] as const;
  for (const [take, give] of pairs) assert.equal([take, count(all, take)], [take, count(all, give)]);
  assert.is(count(all, "cuMemAlloc_v2"), 1);
});
test("stores begin as zeros, and a run times its steps", async () => {
  const times: Float64Array[] = [];
  const executable = open(chainPlan(), { profile: (_, t) => times.push(t.wall, t.busy) });
  assert.equal(
    [...executable.read("train/x").data],
    Array.from({ length: rows * 16 }, () => 0),
  );
  await train(executable);
  assert.is(executable.read("w").data[0], sum);
  executable.close();
  assert.equal(
    times.map((t) => [...t]),
    Array.from({ length: 2 }, () => [250_000, 250_000, 250_000, 250_000]),
  );
});

/** The chain, where `twice` has a variant: what was told, and what was launched in each of `runs`. `factor`: of element j of the result, in all. */
async function judged(
  name: string,
  x: typeof inputs,
  runs: number,
  factor: (j: number) => number = () => 2,
): Promise<{ told: string[]; launched: number[] }> {
  const { plan, variants } = chainPlanWithVariant(name);
  const told: string[] = [];
  const code = plan.kernels.map((k) => image(k.name));
  const driver = cudaDriver({ MOEC_LIBCUDA: library });
  const options = { variants, tell: (line: string) => void told.push(line) };
  const executable = new PlanExecutable(plan, loadOnDevice(plan, driver, code, options), {});
  const launched: number[] = [];
  for (let i = 0; i < runs; i++) {
    const all = await calls(async () => {
      const { outputs } = await executable.run("train", x, { seed: 1, call: 2, step: 3 });
      for (const [j, y] of (outputs[0]?.data ?? []).entries()) assert.is(y, factor(j) * Number(x.get("x")?.data[j]));
    });
    launched.push(count(all, "cuLaunchKernel"));
  }
  executable.close();
  return { told, launched };
}
test("a variant is used once it gave what its kernel gives; its first run is no graph", async () => {
  const { told, launched } = await under({ MOEC_DEBUG: "1" }, () => judged("twice_sm90", inputs, 3));
  assert.equal(told, ["twice_sm90 of model.moe:5 is used: 592 elements agree"]);
  assert.equal(launched, [4, 3, 0]);
  assert.equal((await judged("twice_sm90", inputs, 1)).told, []);
});
test("one that adds up in another order gives its own bits from the first run on, so that a run that is resumed has them too", async () => {
  const { told, launched } = await judged("twice_near", inputs, 2, (j) => (j === 1 ? 2 + 2 / 128 : 2));
  assert.equal([told, launched], [[], [4, 3]]);
});
test("a variant that disagrees is told of in a line, and never used", async () => {
  const { told, launched } = await judged("twice_wrong", inputs, 3);
  assert.equal(told, ["twice_wrong of model.moe:5 is not used, mma.sync is: 1 of 592 elements differ"]);
  assert.equal(launched, [4, 3, 0]);
});
test("zeros decide nothing: after three trials the kernel stays", async () => {
  const zeros = new Map([
    [
      "x",
      fromNumbers(
        "f32",
        [rows, 16],
        Array.from({ length: rows * 16 }, () => 0),
      ),
    ],
  ]);
  const { told, launched } = await judged("twice_sm90", zeros, 5);
  assert.equal(told, ["twice_sm90 of model.moe:5 is not used, mma.sync is: both give nothing but zeros"]);
  assert.equal(launched, [4, 4, 4, 3, 0]);
});

interface Form {
  readonly outer?: number;
  readonly rows: number;
  readonly cols: number;
  readonly pitch: number;
  readonly panels?: boolean;
}
const sizeOf = ({ outer = 1, rows, cols }: Form): number => outer * rows * cols;
function placed({ outer = 1, rows, cols, pitch, panels = false }: Form, offset: number): NativeBuffer {
  const elements = outer * rows * (panels ? Math.ceil(cols / pitch) * pitch : pitch);
  return { outer, rows, cols, pitch, panels, width: 4, bytes: 4 * elements, offset };
}
/** Where an element lies, by the layouts' own words. */
function addressOf({ rows, cols, pitch, panels }: Form, i: number): number {
  const [row, c] = [Math.floor(i / cols), i % cols];
  if (panels !== true) return row * pitch + c;
  const panel = Math.floor(row / rows) * Math.ceil(cols / pitch) + Math.floor(c / pitch);
  return (panel * rows + (row % rows)) * pitch + (c % pitch);
}
const copy = (from: number, to: number) => ({
  kernel: -1,
  args: [from, to],
  tasks: 0,
  first: 0,
  small: false,
  grain: 1,
  beside: false,
  maps: [],
  writes: [],
});
const sameNumbers = (a: Float32Array, b: Float32Array): boolean =>
  Buffer.from(a.buffer).equals(Buffer.from(b.buffer)) && a.length === b.length;

/** One element, none, rows with padding and without, panels, more than the staging holds, rows that are longer than it. */
const forms: readonly Form[] = [
  { rows: 1, cols: 1, pitch: 1 },
  { rows: 0, cols: 5, pitch: 5 },
  { rows: 7, cols: 13, pitch: 16 },
  { outer: 3, rows: 5, cols: 67, pitch: 64, panels: true },
  { outer: 2, rows: 3, cols: 6, pitch: 3, panels: true },
  { rows: 2_100_001, cols: 1, pitch: 1 },
  { rows: 1501, cols: 1000, pitch: 1008 },
  { rows: 2, cols: 1_050_001, pitch: 1_050_016 },
];
for (const form of forms) {
  const name = `${form.outer ?? 1} x ${form.rows} x ${form.cols} in ${form.panels ? "panels" : "rows"} of ${form.pitch}`;
  test(`${name}: as the layout says, padding zero, and back; copied to another layout and back`, async () => {
    const own = placed(form, 0);
    const memory = { rows: 1, cols: own.bytes / 4, pitch: own.bytes / 4 };
    const other = placed({ ...form, pitch: form.pitch + 1 }, own.bytes);
    const again = placed(form, own.bytes + other.bytes);
    const { CudaExecutor } = native();
    const executor = new CudaExecutor({
      driver: library,
      device: 0,
      bytes: 2 * own.bytes + other.bytes,
      graphs: true,
      nccl: "",
      buffers: [own, placed(memory, 0), other, again],
      kernels: [],
      entries: [{ steps: [copy(0, 2), copy(2, 3)] }],
    });
    const data = Float32Array.from({ length: sizeOf(form) }, (_, i) => 1 + (i % 1009));
    const expected = new Float32Array(memory.cols);
    data.forEach((x, i) => {
      expected[addressOf(form, i)] = x;
    });
    const holds = (buffer: number, wanted: Float32Array): void => {
      const found = new Float32Array(wanted.length).fill(Number.NaN);
      executor.read(buffer, found);
      assert.ok(sameNumbers(found, wanted), `buffer ${buffer}`);
    };
    executor.fill(0, 2 * own.bytes + other.bytes, 0xff);
    executor.write(0, data);
    holds(1, expected);
    holds(0, data);
    await executor.run(0, false);
    holds(2, data);
    holds(3, data);
    executor.close();
  });
}
test("offsets and sizes pass 4 GiB", () => {
  const far = { ...placed({ rows: 1, cols: 3, pitch: 3 }, 2 ** 33 + 64) };
  const { CudaExecutor } = native();
  const spec = { driver: library, device: 0, graphs: true, nccl: "", kernels: [], entries: [] };
  const executor = new CudaExecutor({ ...spec, bytes: 2 ** 33 + 4096, buffers: [far] });
  executor.fill(2 ** 33, 4096, 0xff);
  executor.write(0, Float32Array.of(1, 2, 3));
  const back = new Float32Array(3);
  executor.read(0, back);
  assert.equal([...back], [1, 2, 3]);
  executor.close();
});

test("a part of a kernel's tasks is refused", () => {
  const { CudaExecutor } = native();
  const part = { ...copy(0, 0), kernel: 0, tasks: 2, first: 3 };
  const spec = { driver: library, device: 0, bytes: 64, graphs: true, nccl: "", kernels: [] };
  const buffers = [placed({ rows: 1, cols: 16, pitch: 16 }, 0)];
  assert.throws(() => new CudaExecutor({ ...spec, buffers, entries: [{ steps: [part] }] }), /not those from 3 on/);
});

test("no library, an old one, no device", async () => {
  const missing = await problem(() => cudaDriver({ MOEC_LIBCUDA: "/nowhere/libcuda.so.1" }));
  assert.match(missing.message, /^NVIDIA's driver was not found: \/nowhere\/libcuda\.so\.1: /);
  assert.match(missing.help, /apt install nvidia-driver.*MOEC_LIBCUDA/);
  const old = await problem(() => cudaDriver({ MOEC_LIBCUDA: built("old.so", "-x", "c++", "/dev/null") }));
  assert.match(old.message, /old\.so has no cuInit/);
  assert.match(old.help, /newer driver/);
  const none = await problem(() => under({ MOEC_FAKE_NO_DEVICE: "1" }, () => cudaDriver({ MOEC_LIBCUDA: library })));
  assert.match(none.help, /nvidia-smi/);
  const { path, version, devices } = cudaDriver({ MOEC_LIBCUDA: library });
  assert.equal([path, version, devices.length, devices[0].name], [library, "12.4", 1, "a fake"]);
});
test("too little memory says what is needed, what is free, and what is large", async () => {
  const large = chainPlan();
  const plan = { ...large, bytes: { ...large.bytes, arena: 2 ** 34 } };
  const before = await problem(() => open(plan));
  assert.match(
    before.message,
    /^the plan needs 16 GiB and 12 GiB are free; the largest buffers are\n {2}\S+: f32\[37, 16\]/,
  );
  const after = await problem(() => under({ MOEC_FAKE_FAIL: "cuMemAlloc_v2 2" }, () => open(chainPlan())));
  assert.match(after.message, /^CUDA_ERROR_OUT_OF_MEMORY: .*\d+ bytes of 12884901888 that are free/);
  assert.match(after.help, /nvidia-smi/);
});
test("code that does not load, or fits no multiprocessor, names its kernel and the program's lines", async () => {
  const broken = await problem(() => under({ MOEC_FAKE_FAIL: "cuModuleLoadData 200" }, () => open(chainPlan())));
  assert.match(broken.message, /^CUDA_ERROR_INVALID_IMAGE: .*kernel twice.*model\.moe:5/);
  assert.match(broken.help, /older than NVRTC/);
  const plan = chainPlan();
  const driver = cudaDriver({ MOEC_LIBCUDA: library });
  const other = await problem(() =>
    loadOnDevice(
      plan,
      driver,
      plan.kernels.map(() => image("twice")),
    ),
  );
  assert.match(other.message, /^CUDA_ERROR_NOT_FOUND: .*kernel total/);
  const wide = await problem(() => open(chainPlan(2048)));
  assert.match(wide.message, /^CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: .*kernel twice/);
});
test("a kernel that fails: in a graph the entry, one by one the kernel", async () => {
  const failing = { MOEC_FAKE_FAIL: "cuStreamSynchronize 700" };
  const inGraph = await problem(() => under(failing, () => train(open(chainPlan()))));
  assert.match(inGraph.message, /^train failed: CUDA_ERROR_ILLEGAL_ADDRESS: .*graph/);
  assert.match(inGraph.help, /MOEC_CUDA_GRAPHS=0/);
  const alone = await problem(() => under(failing, () => train(open(chainPlan(), { graphs: false }))));
  assert.match(alone.message, /^train failed: CUDA_ERROR_ILLEGAL_ADDRESS: .*kernel twice.*model\.moe:5/);
});
test("a launch that fails while it is captured leaves the stream as it was", async () => {
  const executable = open(chainPlan());
  const all = await calls(() =>
    problem(() => under({ MOEC_FAKE_FAIL: "cuLaunchKernel 701" }, () => train(executable))),
  );
  assert.is(count(all, "cuStreamEndCapture"), 1);
  assert.is(count(all, "cuGraphDestroy"), 1);
  assert.is((await train(executable)).losses.get("total"), sum);
  executable.close();
});

test("the driver is called as cuda.h declares it", () => {
  const folders = [...ownWheels(), ...toolkits(process.env), ...wheels()].map((from) => join(from, "include"));
  const header = folders.find((include) => existsSync(join(include, "cuda.h")));
  if (header === undefined) return console.log("skipped: cuda.h was not found; run `npm run nvrtc`");
  const program = join(here, "headers");
  const source = join(project, "test/cuda/headers.cpp");
  execFileSync("g++", ["-std=c++17", "-I", header, source, "-o", program]);
  assert.is(execFileSync(program, { encoding: "utf8" }), "");
});

const device = (major: number, minor: number) => ({ name: "", uuid: "", major, minor, multiprocessors: 1, bytes: 1 });
test("a device gets its own architecture, or the nearest older one that it runs", () => {
  const known = [75, 80, 86, 89, 90, 100, 120];
  const cases = {
    "8.0": "sm_80",
    "8.7": "sm_86",
    "9.0": "sm_90a",
    "12.1": "sm_120",
    "10.0": "sm_100a",
    "13.0": "sm_130",
  };
  for (const [version, wanted] of Object.entries(cases)) {
    const [major = 0, minor = 0] = version.split(".").map(Number);
    assert.is(architectureOf(device(major, minor), known), wanted);
  }
  assert.is(architectureOf(device(10, 3), [90, 100, 101, 120]), "sm_100"); // not a Jetson's
  const named = (name: string, major: number): ReturnType<typeof device> => ({ ...device(major, 0), name });
  const [pascal, ampere, next] = [named("GTX 1060", 6), named("A100", 8), named("X900", 13)];
  const found = [80, 90];
  assert.is(usableArchitecture([ampere, pascal], found), "sm_80");
  for (const [devices, what, help] of [
    [[pascal, ampere], /^GTX 1060 is sm_60, older than sm_80/, /^name A100 first in CUDA_VISIBLE_DEVICES; /],
    [[pascal], /^GTX 1060 is sm_60, older than sm_80/, /^use a newer GPU; /],
    [[next], /^X900 is sm_130, which this NVRTC makes no code for$/, /^install a newer NVRTC/],
  ] as const)
    assert.throws(
      () => usableArchitecture(devices, found),
      (e: unknown) => e instanceof Problem && what.test(e.message) && help.test(e.help),
    );
});

test.run();
