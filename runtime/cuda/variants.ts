// Kernels by wgmma: which of a plan's kernels have one for a device, and what each launch of theirs needs besides. The executor uses one only
// once it gave what the kernel gave.
import { hopperHeader } from "../../compiler/emit/unit.ts";
import type { Plan, PlanKernel, Step, Variant } from "../../compiler/plan/plan.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { debugLevel } from "../debug.ts";
import type { KernelCache } from "../host/cache.ts";
import type { CudaKernelSpec, CudaStep, Finding } from "../native.ts";
import type { Nvrtc } from "../nvrtc.ts";
import { nativeStep } from "../plan-executable.ts";
import { compileKernels, type KernelCode } from "./code.ts";
import { tensorMap } from "./tensor-map.ts";

/** By the kernel's number. */
export type Variants = ReadonlyMap<number, { readonly variant: Variant; readonly code: Pick<KernelCode, "cubin"> }>;

/** What variants are, to all that takes a plan's kernels. */
export const asKernel = (variant: Variant, { origins }: PlanKernel): PlanKernel => ({
  name: variant.name,
  text: variant.text,
  origins,
  scratch: 0,
  launch: variant.launch,
});
/** The code of the variants that `architecture` has. What ptxas spills or serialises is left out: the kernel is faster. */
export async function compileVariants(
  plan: Pick<Plan, "kernels" | "header">,
  architecture: string,
  compiler: Nvrtc,
  cache: KernelCache | null,
  jobs: number,
): Promise<ReadonlyMap<number, { readonly variant: Variant; readonly code: KernelCode }>> {
  const own = architecture === "sm_90a" ? plan.kernels : [];
  const found = own.flatMap((kernel, i) => (kernel.variant ? [{ i, kernel, variant: kernel.variant }] : []));
  const kernels = found.map(({ kernel, variant }) => asKernel(variant, kernel));
  const header = [plan.header, hopperHeader()].join("\n");
  const code = await compileKernels({ kernels, header }, architecture, compiler, cache, jobs);
  return new Map(
    found.flatMap(({ i, variant }, n) => {
      const made = code[n];
      return made && made.spills === 0 && made.warnings.length === 0 ? [[i, { variant, code: made }] as const] : [];
    }),
  );
}
/** `MOEC_WGMMA=0` leaves them out; drivers older than CUDA 12 make no tensor maps. */
export const wantsVariants = (version: string, environment: NodeJS.ProcessEnv = process.env): boolean =>
  environment["MOEC_WGMMA"] !== "0" && Number.parseInt(version, 10) >= 12;

export const specOf = (
  { name, launch }: Pick<PlanKernel, "name" | "launch">,
  cubin: Buffer | undefined,
): CudaKernelSpec => ({
  name,
  image: cubin ?? Buffer.alloc(0),
  threads: launch?.threads ?? 0,
  shared: launch?.shared ?? 0,
});
const widths: Readonly<Partial<Record<DType, number>>> = { f32: 4, bf16: 2 };
export function cudaStep(step: Step, plan: Plan, variants: Variants): CudaStep {
  const found = step.kind === "launch" ? variants.get(step.launch.kernel)?.variant : undefined;
  if (step.kind !== "launch" || !found) return nativeStep(step);
  const buffer = (arg: number): Plan["buffers"][number] | undefined => plan.buffers[step.launch.args[arg] ?? -1];
  return {
    ...nativeStep(step),
    maps: found.maps.flatMap((map) => {
      const b = buffer(map.arg);
      return b ? [tensorMap(b, map)] : [];
    }),
    writes: found.writes.map((arg) => ({ arg, width: widths[buffer(arg)?.dtype ?? "i32"] ?? 0 })),
  };
}
/** A line for each: those that agree only where MOEC_DEBUG asks. */
export function told(findings: readonly Finding[], { kernels }: Plan, debug = debugLevel()): string[] {
  return findings.flatMap(({ kernel, agrees, text }) => {
    const { variant, origins } = kernels[kernel] ?? { origins: [] };
    const what = `${variant?.name ?? "a kernel"} of ${origins.join(", ") || "no line"}`;
    if (agrees) return debug > 0 ? [`${what} is used: ${text}`] : [];
    return [`${what} is not used, mma.sync is: ${text}`];
  });
}
