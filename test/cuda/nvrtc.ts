// NVRTC for tests; without one, null, and a line that says so.
import { Problem } from "../../compiler/diagnostic.ts";
import type { PlanKernel } from "../../compiler/plan/plan.ts";
import { backends } from "../../compiler/targets.ts";
import { compileKernels, type KernelCode } from "../../runtime/cuda/code.ts";
import { type Nvrtc, nvrtc } from "../../runtime/nvrtc.ts";

export async function foundNvrtc(): Promise<Nvrtc | null> {
  try {
    return await nvrtc();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    console.log(`skipped: ${error.message.split("\n")[0] ?? ""}; ${error.help}`);
    return null;
  }
}
/** The code of one kernel for sm_80, not cached. */
export const compiledAlone = async (
  kernel: PlanKernel,
  nvrtc: Pick<Nvrtc, "compile">,
): Promise<KernelCode | undefined> => {
  const plan = { kernels: [kernel], header: backends.cuda.header() };
  const compiler = { ...nvrtc, version: "1" };
  return (await compileKernels(plan, { architecture: "sm_80", compiler, cache: null, jobs: 1 }))[0];
};
