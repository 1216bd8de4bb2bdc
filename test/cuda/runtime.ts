// Runs sequences of launches by the real CUDA runtime. The environment names the driver and NVRTC: NVIDIA's or the emulator's.
import { type NdArray, unstackedStore } from "../../compiler/graph/node.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import type { PlanKernel, Variant } from "../../compiler/plan/plan.ts";
import type { Sequence } from "../../compiler/plan/sequence.ts";
import { backends } from "../../compiler/targets.ts";
import type { KernelCache } from "../../runtime/cache/kernels.ts";
import { cudaExecutable } from "../../runtime/cuda/executable.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";

export interface Runnable {
  readonly sequence: Sequence;
  readonly stores: ReadonlyMap<string, NdArray>;
}
export interface RuntimeOptions {
  readonly cache: KernelCache;
  readonly poison?: boolean;
  /** Changes the wgmma variants before loading. */
  readonly change?: (variant: Variant) => Variant;
}
/** Messages about variants (`told`), and the outputs of each of two runs. */
export interface Ran {
  readonly told: readonly string[];
  readonly runs: readonly (readonly Float64Array[])[];
}
export async function throughRuntime({ sequence, stores }: Runnable, options: RuntimeOptions): Promise<Ran> {
  const { cache, poison = false, change = (variant) => variant } = options;
  const parameters = [...stores].map(([name, { dtype, shape }]) =>
    unstackedStore(name, "parameter", { dtype, shape }, true),
  );
  const plain = planMemory([sequence], parameters, { target: "cuda", header: backends.cuda.header() });
  const changed = ({ variant, ...k }: PlanKernel): PlanKernel => (variant ? { ...k, variant: change(variant) } : k);
  const told: string[] = [];
  const tell = (line: string): void => void told.push(line);
  const executable = await cudaExecutable({ ...plain, kernels: plain.kernels.map(changed) }, { cache, poison, tell });
  try {
    for (const [name, a] of stores) executable.write(name, fromNumbers(a.dtype, [...a.shape], [...a.data]));
    const runs: Float64Array[][] = [];
    for (let i = 0; i < 2; i++) {
      const { outputs } = await executable.run(sequence.entry, new Map(), { seed: 0, call: i, step: i });
      runs.push(outputs.map((t) => Float64Array.from(numbers(t))));
    }
    return { told, runs };
  } finally {
    executable.close();
  }
}
