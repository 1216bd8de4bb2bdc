// Kernels to machine code by NVRTC, several at once; what was compiled before comes from the cache.
import { Bug } from "../../compiler/diagnostic.ts";
import { cudaUnit } from "../../compiler/emit/unit.ts";
import type { PlanKernel } from "../../compiler/plan/plan.ts";
import { hash, type KernelCache } from "../host/cache.ts";
import { CudaError, type Nvrtc } from "../nvrtc.ts";
import { inParallel } from "../parallel.ts";
import type { ExecuteOptions } from "../plan-executable.ts";
import { requireShared } from "./architecture.ts";

export interface KernelCode {
  readonly ptx: string;
  readonly cubin: Buffer;
  readonly registers: number;
  /** Bytes of shared memory that the text itself declares. */
  readonly shared: number;
  /** Bytes stored for want of registers; 0 where any choice of blocks gives that. */
  readonly spills: number;
  /** What ptxas warns of. */
  readonly warnings: readonly string[];
  /** That it took to compile; 0 from the cache. */
  readonly seconds: number;
}
/** Points round as often as the text says; lambdas run on the device, which NVRTC 12 wants to be told; ptxas tells what each kernel uses. */
export const options: readonly string[] = [
  "--std=c++17",
  "--fmad=false",
  "--device-as-default-execution-space",
  "--diag-suppress=177,550",
  "--ptxas-options=-v",
];

/** What code is made for, and by what. */
export interface Toolkit extends Pick<ExecuteOptions, "compiling"> {
  /** `sm_90a` */
  readonly architecture: string;
  readonly compiler: Pick<Nvrtc, "compile" | "version">;
  /** Where code is kept; null: nowhere. */
  readonly cache: KernelCache | null;
  /** How many kernels compile at once. */
  readonly jobs: number;
}
/** In the order of the kernels. */
export async function compileKernels(
  plan: { readonly kernels: readonly PlanKernel[]; readonly header: string },
  tools: Toolkit,
): Promise<readonly KernelCode[]> {
  const made: KernelCode[] = [];
  const sources = plan.kernels.map((kernel) => sourceOf(kernel, plan.header, tools));
  const missing = sources.filter(({ kept }) => kept === null).length;
  if (missing > 0) tools.compiling?.(missing);
  await inParallel(sources, tools.jobs, async (source, i) => {
    made[i] = await codeOf(source, tools);
  });
  return made;
}
interface Kept {
  readonly ptx: string;
  readonly cubin: string;
  readonly log: string;
}
interface Source {
  readonly kernel: PlanKernel;
  readonly text: string;
  readonly key: string;
  /** From the cache. */
  readonly kept: string | null;
}
function sourceOf(kernel: PlanKernel, header: string, { architecture, compiler, cache }: Toolkit): Source {
  requireShared({ ...kernel, shared: kernel.launch?.shared ?? 0 }, architecture);
  const text = cudaUnit(header, kernel);
  const key = hash([text, ...options, architecture, compiler.version].join("\0"));
  return { kernel, text, key, kept: cache?.findText(key) ?? null };
}
async function codeOf({ kernel, text, key, kept: known }: Source, tools: Toolkit): Promise<KernelCode> {
  const start = performance.now();
  const kept = known === null ? await withoutSpills(kernel, text, tools) : (JSON.parse(known) as Kept);
  const seconds = known === null ? (performance.now() - start) / 1000 : 0;
  if (known === null) tools.cache?.putText(key, JSON.stringify(kept));
  return { ptx: kept.ptx, cubin: Buffer.from(kept.cubin, "base64"), ...used(kernel.name, kept.log), seconds };
}
/**
 * A kernel that spills is compiled again for half as many blocks on a multiprocessor, which leaves each thread twice the registers, down to
 * one block; what spills least is kept, the first of equals.
 */
async function withoutSpills(kernel: PlanKernel, text: string, tools: Toolkit): Promise<Kept> {
  const spills = ({ log }: Kept): number => used(kernel.name, log).spills;
  let best: Kept | null = null;
  for (let halved = 0; halved <= Math.ceil(Math.log2(blocksIn(kernel.text))); halved++) {
    const made = await compiled(kernel, text, tools, halved === 0 ? [] : [`-DHALVED=${halved}`]);
    if (best === null || spills(made) < spills(best)) best = made;
    if (spills(best) === 0) break;
  }
  if (best === null) throw new Bug(`${kernel.name} asks for less than one block`);
  return best;
}
/** Blocks that the text asks ptxas to make room for. */
const blocksIn = (text: string): number => Number(/\bBLOCKS\((\d+)\)\) \w+\(/.exec(text)?.[1] ?? 1);
/** Text that NVRTC refuses is moec's own mistake: the log names the line, and the kernel's origins the program's. */
async function compiled(
  kernel: PlanKernel,
  text: string,
  { architecture, compiler }: Toolkit,
  more: readonly string[],
): Promise<Kept> {
  try {
    const source = { name: `${kernel.name}.cu`, text, architecture, options: [...options, ...more] };
    const { ptx, cubin, log } = await compiler.compile(source);
    return { ptx, cubin: cubin.toString("base64"), log };
  } catch (error) {
    if (!(error instanceof CudaError)) throw error;
    const lines = error.log
      .split("\n")
      .slice(0, 20)
      .map((line) => withText(line, text));
    throw new Bug(
      [`kernel ${kernel.name} of ${kernel.origins.join(", ") || "no line"}: NVRTC refuses it`, ...lines].join("\n"),
    );
  }
}
/** A line of the log, with the line of the text that it is about. */
function withText(line: string, text: string): string {
  const at = Number(/\.cu\((\d+)\): error/.exec(line)?.[1] ?? 0);
  return at === 0 ? line : `${line}\n    ${text.split("\n")[at - 1]?.trim() ?? ""}`;
}
/** What ptxas -v says of one kernel. */
export function used(name: string, log: string): Pick<KernelCode, "registers" | "shared" | "spills" | "warnings"> {
  const own = log.slice(log.indexOf(`entry function '${name}'`));
  const number = (pattern: RegExp): number => Number(pattern.exec(own)?.[1] ?? 0);
  return {
    registers: number(/Used (\d+) registers/),
    shared: number(/(\d+) bytes smem/),
    spills: number(/(\d+) bytes spill stores/),
    warnings: log.split("\n").filter((line) => /\(C7\d+\)|warning/i.test(line)),
  };
}
