// node --import tsx test/cuda/gpu-worker.ts GROUP [FIRST [END]]: runs the cases of a group on the GPU, from FIRST to before END, and prints a line of
// JSON when each begins and ends. After a kernel that failed every call of the driver fails, so the process exits, and its caller starts another.
import { argv } from "node:process";
import { backends } from "../../compiler/targets.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import { compileKernels } from "../../runtime/cuda/code.ts";
import { architectureOf, cudaDriver, type Driver } from "../../runtime/cuda/driver.ts";
import { compileVariants, variantsFor } from "../../runtime/cuda/variants.ts";
import { cores } from "../../runtime/machine.ts";
import { native } from "../../runtime/native.ts";
import { nvrtc } from "../../runtime/nvrtc.ts";
import { kernelsOf } from "../host/compare.ts";
import { type GpuCase, type Group, groups } from "./gpu-cases.ts";
import { throughRuntime } from "./runtime.ts";

/** `wrong` is null if the results are right. `broken`: the driver cannot be used by this process any more. */
export type Said =
  | { readonly compiled: number }
  | { readonly begins: number; readonly name: string }
  | {
      readonly ends: number;
      readonly wrong: string | null;
      readonly told: readonly string[];
      readonly broken: boolean;
    };
const say = (said: Said): void => void process.stdout.write(`${JSON.stringify(said)}\n`);

const cache = new KernelCache();
/** Compiles the kernels of all cases into the cache, as many at a time as there are cores. */
async function compiled(all: readonly GpuCase[], { version, devices: [device] }: Driver): Promise<void> {
  const compiler = await nvrtc(process.env, version);
  const architecture = architectureOf(device, compiler.architectures);
  const plan = { kernels: kernelsOf(all.map((r) => r.sequence)), header: backends.cuda.header() };
  const tools = { architecture, compiler, cache, jobs: cores() };
  await compileKernels(plan, tools);
  await compileVariants({ ...plan, kernels: variantsFor(plan, architecture) }, tools);
}
async function ran(c: GpuCase): Promise<readonly string[]> {
  const { told, runs } = await throughRuntime(c, { cache, poison: true });
  const [first = [], second = []] = runs;
  c.check(first);
  if (first.some((x, i) => !sameBits(x, second[i]))) throw new Error("two runs differ");
  c.check(second);
  return told;
}
const sameBits = (a: Float64Array, b: Float64Array | undefined): boolean =>
  b !== undefined && a.every((x, i) => Object.is(x, b[i]));
/** Whether an error is one that the driver returns for every call after a kernel failed. */
const isFatal = (message: string): boolean => /CUDA_ERROR_(?!OUT_OF_MEMORY|INVALID_VALUE)|ENDLESS_KERNEL/.test(message);

const [, , group = "", first = "0", end = "Infinity"] = argv;
if (!(group in groups)) throw new Error(`name one of ${Object.keys(groups).join(", ")}`);
const driver = cudaDriver();
const all = groups[group as Group]();
const chosen = [...all.entries()].slice(Number(first), Number(end));
try {
  await compiled(
    chosen.map(([, c]) => c),
    driver,
  );
} catch {
  // a kernel that NVRTC rejects is reported by its own case
}
say({ compiled: all.length });
// Keeps the device's context alive: making one takes longer than most cases.
const { CudaExecutor } = native();
const held = new CudaExecutor({
  driver: driver.path,
  device: 0,
  bytes: 1,
  graphs: false,
  nccl: "",
  buffers: [],
  kernels: [],
  entries: [],
});
let failed = false;
for (const [i, c] of chosen) {
  say({ begins: i, name: c.name });
  try {
    say({ ends: i, wrong: null, told: await ran(c), broken: false });
  } catch (error) {
    failed = true;
    const wrong = error instanceof Error ? error.message : String(error);
    const broken = isFatal(wrong);
    say({ ends: i, wrong, told: [], broken });
    if (broken) process.exit(1);
  }
}
held.close();
process.exit(failed ? 1 : 0);
