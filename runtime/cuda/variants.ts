// Variants: second versions of a plan's kernels, for sm_90a, that use wgmma. Selects, compiles and describes them to the addon, which uses one only
// after a trial run whose results agreed with its kernel's.
import { hopperHeader } from "../../compiler/emit/unit.ts";
import type { Plan, PlanKernel, Step, Variant } from "../../compiler/plan/plan.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { nativeStep } from "../executable/plan-executable.ts";
import { debugLevel } from "../measure/debug.ts";
import type { CudaKernelSpec, CudaStep, Finding } from "../native.ts";
import { compileKernels, type KernelCode, type Toolkit } from "./code.ts";
import { tensorMap } from "./tensor-map.ts";

/** By the index of the kernel that a variant replaces. */
export type Variants = ReadonlyMap<number, { readonly variant: Variant; readonly code: Pick<KernelCode, "cubin"> }>;

/** A variant as a kernel of its own; `replaces`: the index of the kernel that it replaces. */
export interface VariantKernel extends PlanKernel {
  readonly replaces: number;
}
export const variantsFor = ({ kernels }: Pick<Plan, "kernels">, architecture: string): VariantKernel[] =>
  kernels.flatMap(({ variant, params, origins }, of) => {
    if (!variant || architecture !== "sm_90a") return [];
    const { name, text, launch } = variant;
    return [{ replaces: of, name, text, launch, params: params ?? [], origins, scratch: 0 }];
  });
export const variantHeader = (header: string): string => [header, hopperHeader()].join("\n");
/** Code in the order of the variants. */
export const compileVariants = (
  { kernels, header }: { readonly kernels: readonly VariantKernel[]; readonly header: string },
  tools: Toolkit,
): Promise<readonly KernelCode[]> => compileKernels({ kernels, header: variantHeader(header) }, tools);

/** The variants to load on a device. One that ptxas spills, or warns of (such as serialised wgmma), is left out, since its kernel is faster. */
export function usableVariants(
  { kernels }: Pick<Plan, "kernels">,
  variants: readonly VariantKernel[],
  code: readonly KernelCode[],
): Variants {
  return new Map(
    variants.flatMap(({ replaces }, i) => {
      const [variant, made] = [kernels[replaces]?.variant, code[i]];
      return variant && made?.spills === 0 && made.warnings.length === 0
        ? [[replaces, { variant, code: made }] as const]
        : [];
    }),
  );
}
/** A message for each variant that `usableVariants` left out. */
export const rejectedVariants = (
  variants: readonly VariantKernel[],
  code: readonly KernelCode[],
  used: Variants,
): string[] =>
  variants.flatMap((variant, i) => {
    const made = code[i];
    if (!made || used.has(variant.replaces)) return [];
    return [notUsed(variant, made.spills > 0 ? `ptxas spills ${made.spills} bytes` : made.warnings.join("; "))];
  });
/** False where the user set `MOEC_WGMMA=0`. */
export const areVariantsEnabled = (): boolean => process.env["MOEC_WGMMA"] !== "0";

export const specOf = (
  { name, launch }: Pick<PlanKernel, "name" | "launch">,
  cubin: Buffer | undefined,
): CudaKernelSpec => ({
  name,
  image: cubin ?? Buffer.alloc(0),
  threads: launch?.threads ?? 0,
  shared: launch?.shared ?? 0,
  each: launch?.each ?? false,
});
const widths: Readonly<Partial<Record<DType, number>>> = { f32: 4, bf16: 2 };
export function cudaStep(step: Step, plan: Plan, variants: Variants): CudaStep {
  const found = step.kind === "launch" ? variants.get(step.launch.kernel)?.variant : undefined;
  if (step.kind !== "launch" || !found) return { ...nativeStep(step), maps: [], writes: [] };
  const buffer = (arg: number): Plan["buffers"][number] | undefined => plan.buffers[step.launch.args[arg] ?? -1];
  return {
    ...nativeStep(step),
    maps: found.maps.flatMap((map) => {
      const b = buffer(map.arg);
      const whole = plan.buffers[b?.of ?? -1] ?? b;
      return b && whole ? [tensorMap(whole, map, b.offset - whole.offset)] : [];
    }),
    writes: found.writes.map((arg) => ({ arg, width: widths[buffer(arg)?.dtype ?? "i32"] ?? 0 })),
  };
}
/** Messages on the trial runs of variants; those that agreed are mentioned only with MOEC_DEBUG. */
export function trialMessages(findings: readonly Finding[], { kernels }: Plan): string[] {
  return findings.flatMap(({ kernel, agrees, text }) => {
    const { variant, origins } = kernels[kernel] ?? { origins: [] };
    const found = { name: variant?.name ?? "a kernel", origins };
    if (agrees) return debugLevel() > 0 ? [`${named(found)} is used: ${text}`] : [];
    return [notUsed(found, text)];
  });
}
type Named = Pick<PlanKernel, "name" | "origins">;
const named = ({ name, origins }: Named): string => `${name} of ${origins.join(", ") || "no line"}`;
const notUsed = (k: Named, why: string): string => `${named(k)} is not used, mma.sync is: ${why}`;
