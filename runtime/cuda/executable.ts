// Loads a plan on a GPU: compiles its kernels by NVRTC and hands code, buffers and steps to the addon.
import { requireMemory } from "../../compiler/plan/bytes.ts";
import type { Plan } from "../../compiler/plan/plan.ts";
import { KernelCache } from "../cache/kernels.ts";
import { type ExecuteOptions, nativeBuffer, PlanExecutable, storeBytes } from "../executable/plan-executable.ts";
import { cores } from "../machine.ts";
import { type Executor, type NativeRun, native } from "../native.ts";
import { nvrtc } from "../nvrtc.ts";
import { nccl } from "../workers/nccl.ts";
import type { Workers } from "../workers/workers.ts";
import { compileKernels, type KernelCode } from "./code.ts";
import { cudaDriver, type Driver, freeBytes, usableArchitecture, withRemedy } from "./driver.ts";
import {
  areVariantsEnabled,
  compileVariants,
  cudaStep,
  rejectedVariants,
  specOf,
  trialMessages,
  usableVariants,
  type Variants,
  variantsFor,
} from "./variants.ts";

export interface CudaOptions extends ExecuteOptions {
  readonly cache?: KernelCache;
  /** The group of workers, each with a GPU of its own. */
  readonly world?: Pick<Workers, "rank" | "size">;
  /** The GPU's index in the driver's list. Default: the first. */
  readonly device?: number | undefined;
  /** Whether launches are captured in CUDA graphs. Default: yes, unless MOEC_CUDA_GRAPHS is 0. */
  readonly graphs?: boolean;
  /** sm_90a variants of the plan's kernels, by kernel index. */
  readonly variants?: Variants | undefined;
  /** Called with messages on which variants are used, on the first worker only. Default: writes to stderr. */
  readonly tell?: (line: string) => void;
}

/** Throws Problem if there is no GPU, no NVRTC, too little memory, or, for several workers, no NCCL. */
export async function cudaExecutable(plan: Plan, options: CudaOptions): Promise<PlanExecutable> {
  const driver = cudaDriver();
  const device = driver.devices[options.device ?? 0] ?? driver.devices[0];
  requireMemory(plan, { bytes: device.bytes }); // whether that much is free shows when it is allocated
  const compiler = await nvrtc(process.env, driver.version);
  const architecture = usableArchitecture(driver.devices, compiler.architectures, device);
  const tools = { architecture, compiler, cache: options.cache ?? new KernelCache(), jobs: cores() };
  const code = await compileKernels(plan, { ...tools, onCompile: options.onCompile });
  const own = areVariantsEnabled() ? variantsFor(plan, architecture) : [];
  const second = await compileVariants({ ...plan, kernels: own }, tools);
  const variants = usableVariants(plan, own, second);
  for (const line of rejectedVariants(own, second, variants)) messageSink(options)(line);
  return new PlanExecutable(plan, loadOnDevice(plan, driver, code, { variants, ...options }), options);
}

/** `code` has an element for each kernel of the plan. */
export function loadOnDevice(
  plan: Plan,
  driver: Pick<Driver, "path">,
  code: readonly Pick<KernelCode, "cubin">[],
  options: CudaOptions = {},
): Executor {
  const { graphs = process.env["MOEC_CUDA_GRAPHS"] !== "0", variants = new Map(), world, device = 0 } = options;
  const { CudaExecutor } = native();
  try {
    const executor = new CudaExecutor({
      driver: driver.path,
      device,
      bytes: plan.bytes.arena,
      graphs,
      nccl: world && world.size > 1 ? nccl().path : "",
      buffers: plan.buffers.map(nativeBuffer),
      kernels: plan.kernels.map((kernel, i) => {
        const second = variants.get(i);
        const variant = second ? [specOf(second.variant, second.code.cubin)] : [];
        return { ...specOf(kernel, code[i]?.cubin), variant };
      }),
      entries: plan.entries.map(({ steps }) => ({ steps: steps.map((s) => cudaStep(s, plan, variants)) })),
    });
    executor.fill(0, storeBytes(plan), 0);
    return withRemedies(executor, plan, messageSink(options));
  } catch (error) {
    const free = freeBytes(error);
    if (free !== null) requireMemory(plan, { bytes: free }, "end what else uses the GPU (`nvidia-smi` lists it), or ");
    throw withRemedy(error, linesOf(plan));
  }
}
const toStderr = (line: string): void => void process.stderr.write(`moec: ${line}\n`);
const messageSink = ({ world, tell = toStderr }: CudaOptions): ((line: string) => void) =>
  world && world.rank > 0 ? () => {} : tell;
const linesOf = (plan: Plan): ReadonlyMap<string, readonly string[]> =>
  new Map(
    plan.kernels.flatMap(({ name, origins, variant }) =>
      [name, ...(variant ? [variant.name] : [])].map((n) => [n, origins]),
    ),
  );

/** Wraps an executor so that errors of the driver say what can be done, and findings on variants are passed to `tell`. */
function withRemedies(executor: Executor, plan: Plan, tell: (line: string) => void): Executor {
  const explain = (error: unknown): unknown => withRemedy(error, linesOf(plan));
  const tried = <T>(work: () => T): T => {
    try {
      return work();
    } catch (error) {
      throw explain(error);
    }
  };
  const ran = async (entry: number, run: () => ReturnType<Executor["run"]>): Promise<NativeRun> => {
    try {
      const result = await run();
      for (const line of trialMessages(result.findings, plan)) tell(line);
      return result;
    } catch (error) {
      throw withRemedy(error, linesOf(plan), plan.entries[entry]?.name);
    }
  };
  return {
    write: (buffer, from) => tried(() => executor.write(buffer, from)),
    writePart: (buffer, from, first) => tried(() => executor.writePart(buffer, from, first)),
    read: (buffer, to) => tried(() => executor.read(buffer, to)),
    readPart: (buffer, to, first) => tried(() => executor.readPart(buffer, to, first)),
    fill: (offset, bytes, byte) => tried(() => executor.fill(offset, bytes, byte)),
    run: (entry, timed) => ran(entry, () => executor.run(entry, timed)),
    repeat: (repeat) => ran(repeat.entry, () => executor.repeat(repeat)),
    cancel: () => executor.cancel(),
    close: () => executor.close(),
  };
}
