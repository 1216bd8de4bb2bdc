// Loads a plan on this machine: compiles its kernels, checks that its memory is available, and hands it to the addon.
import { existsSync } from "node:fs";
import { Problem } from "../../compiler/diagnostic.ts";
import { type FreeMemory, requireMemory } from "../../compiler/plan/bytes.ts";
import { grainOf, isSmall, type Launch, type Plan, type Step } from "../../compiler/plan/plan.ts";
import { product } from "../../compiler/types/numbers.ts";
import { KernelCache } from "../cache/kernels.ts";
import { type ExecuteOptions, nativeBuffer, nativeStep, PlanExecutable } from "../executable/plan-executable.ts";
import { cores, freeMemory } from "../machine.ts";
import { type Executor, type NativePlan, type NativeStep, native } from "../native.ts";
import { mpiWorkers } from "../workers/mpi.ts";
import { type Built, buildKernels, KernelBuild } from "./compile.ts";
import { toolchain } from "./toolchain.ts";

export interface HostOptions extends ExecuteOptions {
  /** Default: the number of cores that this process may use. */
  readonly threads?: number;
  readonly cache?: KernelCache;
  /** The compilation that was begun while the plan was made; null if there is none. */
  readonly build?: KernelBuild | null;
  /** Free memory. Default: what this machine has. */
  readonly free?: FreeMemory;
}
/** A `KernelBuild` to report kernels to while a plan is made; null without a compiler. */
export async function startBuild(header: string): Promise<KernelBuild | null> {
  const tools = await toolchain().catch(() => null);
  return tools && new KernelBuild(header, tools, new KernelCache(), cores());
}

export async function hostExecutable(plan: Plan, options: HostOptions): Promise<PlanExecutable> {
  requireMemory(plan, options.free ?? { bytes: freeMemory() });
  native(); // reports problems with the addon before kernels are compiled
  if (plan.entries.some(({ steps }) => steps.some((s) => s.kind === "collective"))) mpiWorkers();
  const cache = options.cache ?? new KernelCache();
  const build = async (): Promise<Built> => buildKernels(plan, await toolchain(), cache, cores(), options.onCompile);
  const threads = options.threads ?? cores();
  let built = await (options.build?.finish(plan.kernels, options.onCompile) ?? build());
  // another process may have deleted a cached library since
  if (!built.libraries.every((path) => existsSync(path))) built = await build();
  return new PlanExecutable(plan, load(plan, built, threads, options.shares ?? options.poison === true), options);
}
function load(plan: Plan, { libraries, kernels }: Built, threads: number, sharesAll: boolean): Executor {
  const { Executor } = native();
  const step = (s: Step): NativeStep => {
    const work = sharesAll ? null : workOfStep(plan, s);
    return nativeStep(s, {
      small: s.kind === "collective" || (work !== null && isSmall(work)),
      grain: work ? grainOf(work) : 1,
    });
  };
  const spec: NativePlan = {
    bytes: plan.bytes.arena,
    threads,
    scratch: Math.max(0, ...plan.kernels.map((k) => k.scratch)),
    buffers: plan.buffers.map(nativeBuffer),
    libraries,
    kernels,
    entries: plan.entries.map((entry) => ({ steps: entry.steps.map(step) })),
  };
  try {
    return new Executor(spec);
  } catch (error) {
    const message = error instanceof Error ? error.message : "";
    const [, help] = remedies.find(([start]) => message.startsWith(start)) ?? [];
    throw help === undefined ? error : new Problem(message, help, { cause: error });
  }
}
/** What says how a step is divided among threads; null: nothing does. A task of a copy is a row. */
function workOfStep(plan: Plan, step: Step): Pick<Launch, "tasks" | "flops" | "bytes"> | null {
  if (step.kind === "launch") return step.launch;
  const to = step.kind === "copy" ? plan.buffers[step.to] : undefined;
  return to ? { tasks: product(to.shape.slice(0, -1)), flops: 0, bytes: 2 * to.bytes } : null;
}
/** Advice by the beginning of the addon's error message. */
const remedies: readonly (readonly [start: string, help: string])[] = [
  ["kernels for a CPU with amx", "set MOEC_ISA=avx512: this CPU has none, or Linux does not let this process use it"],
  [
    "kernels for a CPU with",
    "leave MOEC_ISA out, and machine flags out of CXX; if this CPU has it, the addon is older than moec: run `npm rebuild moec` (in a checkout: `npm run install`)",
  ],
  ["cannot start", "give fewer threads, or close programs that are no longer used"],
];
