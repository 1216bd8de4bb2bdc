// NVRTC for tests; without one, null, and a line that says so.
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { cudaUnit } from "../../compiler/emit/unit.ts";
import type { PlanKernel } from "../../compiler/plan/plan.ts";
import { backends } from "../../compiler/targets.ts";
import { compileKernels, type KernelCode, nvrtcOptions, parseResources } from "../../runtime/cuda/code.ts";
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

/**
 * Compiles kernels in one text, which shares the time that the header takes: none spills or is warned of. Of sm_100a, for which blocks were not chosen, what
 * spills is compiled again as the runtime does, alone and for fewer blocks. Returns the PTX.
 */
export async function requireNoSpills(
  kernels: readonly PlanKernel[],
  { header, architecture, nvrtc }: { readonly header: string; readonly architecture: string; readonly nvrtc: Nvrtc },
): Promise<string> {
  const [first, ...rest] = kernels;
  assert.ok(first);
  const text = [cudaUnit(header, first), ...rest.map((k) => k.text)].join("\n");
  const { log, ptx } = await nvrtc.compile({ name: "unit.cu", text, architecture, options: nvrtcOptions });
  const tools = { architecture, compiler: nvrtc, cache: null, jobs: 1 };
  for (const kernel of kernels) {
    const { registers, spills, warnings } = parseResources(kernel.name, log);
    assert.ok(registers > 0, `${kernel.name} is not in the log`);
    assert.equal(warnings, [], `${kernel.name} on ${architecture}`);
    const again = spills > 0 && architecture === "sm_100a";
    for (const code of again ? await compileKernels({ kernels: [kernel], header }, tools) : [{ spills }])
      assert.is(code.spills, 0, `${kernel.name} spills on ${architecture}`);
  }
  return ptx;
}
