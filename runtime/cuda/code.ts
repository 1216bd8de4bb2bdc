// Compiles kernels to machine code by NVRTC, several at once, with a cache.
import { Bug } from "../../compiler/diagnostic.ts";
import { cudaUnit } from "../../compiler/emit/unit.ts";
import type { PlanKernel } from "../../compiler/plan/plan.ts";
import type { KernelCache } from "../cache/kernels.ts";
import type { ExecuteOptions } from "../executable/plan-executable.ts";
import { CudaError, type Nvrtc } from "../nvrtc.ts";
import { inParallel } from "../parallel.ts";
import { sha256 } from "../storage/files.ts";
import { requireSharedMemory } from "./architecture.ts";

export interface KernelCode {
  readonly ptx: string;
  readonly cubin: Buffer;
  readonly registers: number;
  /** Bytes of static shared memory. */
  readonly shared: number;
  /** Bytes of spill stores. 0 if some way of compiling avoids them. */
  readonly spills: number;
  /** Warnings of ptxas. */
  readonly warnings: readonly string[];
  /** Compile time; 0 if it came from the cache. */
  readonly seconds: number;
}
/**
 * No fused multiply-add unless the text asks for it, so that rounding is as written; lambdas run on the device, which NVRTC 12 must be told; `-v`
 * makes ptxas report each kernel's resources.
 */
export const nvrtcOptions: readonly string[] = [
  "--std=c++17",
  "--fmad=false",
  "--device-as-default-execution-space",
  "--diag-suppress=177,550",
  "--ptxas-options=-v",
];

/** What code is compiled for and with. */
export interface Toolkit extends Pick<ExecuteOptions, "onCompile"> {
  /** Such as `sm_90a`. */
  readonly architecture: string;
  readonly compiler: Pick<Nvrtc, "compile" | "version">;
  /** The cache of compiled code; null: none. */
  readonly cache: KernelCache | null;
  /** How many kernels compile at once. */
  readonly jobs: number;
}
/** Code for each kernel of the plan, in order. */
export async function compileKernels(
  plan: { readonly kernels: readonly PlanKernel[]; readonly header: string },
  tools: Toolkit,
): Promise<readonly KernelCode[]> {
  const made: KernelCode[] = [];
  const sources = plan.kernels.map((kernel) => sourceOf(kernel, plan.header, tools));
  const missing = sources.filter(({ cached }) => cached === null).length;
  let compiled = 0;
  if (missing > 0) tools.onCompile?.(0, missing);
  await inParallel(sources, tools.jobs, async (source, i) => {
    made[i] = await codeOf(source, tools);
    if (source.cached === null) tools.onCompile?.(++compiled, missing);
  });
  return made;
}
interface CachedCode {
  readonly ptx: string;
  readonly cubin: string;
  readonly log: string;
}
interface Source {
  readonly kernel: PlanKernel;
  readonly text: string;
  readonly key: string;
  /** The cached code as JSON; null if there is none. */
  readonly cached: string | null;
}
function sourceOf(kernel: PlanKernel, header: string, { architecture, compiler, cache }: Toolkit): Source {
  requireSharedMemory({ ...kernel, shared: kernel.launch?.shared ?? 0 }, architecture);
  const text = cudaUnit(header, kernel);
  const ways = waysOf(kernel.text).flat();
  const key = sha256([text, ...nvrtcOptions, ...ways, architecture, compiler.version].join("\0"));
  return { kernel, text, key, cached: cache?.findText(key) ?? null };
}
async function codeOf({ kernel, text, key, cached: known }: Source, tools: Toolkit): Promise<KernelCode> {
  const start = performance.now();
  const code = known === null ? await withoutSpills(kernel, text, tools) : (JSON.parse(known) as CachedCode);
  const seconds = known === null ? (performance.now() - start) / 1000 : 0;
  if (known === null) tools.cache?.putText(key, JSON.stringify(code));
  return { ptx: code.ptx, cubin: Buffer.from(code.cubin, "base64"), ...parseResources(kernel.name, code.log), seconds };
}
/** The most registers of a thread, on every architecture. */
const mostRegisters = 255;
/** Compiles a kernel; if it spills registers, again in other ways, until one does not. Keeps the first of those that spill least. */
async function withoutSpills(kernel: PlanKernel, text: string, tools: Toolkit): Promise<CachedCode> {
  const uses = ({ log }: CachedCode) => parseResources(kernel.name, log);
  let best: CachedCode | null = null;
  for (const way of waysOf(kernel.text)) {
    const made = await compileOnce(kernel, text, tools, way);
    if (best === null || uses(made).spills < uses(best).spills) best = made;
    if (uses(best).spills === 0 || uses(made).registers === mostRegisters) break;
  }
  if (best === null) throw new Bug(`${kernel.name} is compiled in no way`);
  return best;
}
/**
 * Options, the usual ones first. Half as many blocks per multiprocessor, and so on down to one, give each thread twice the registers; where warps are
 * specialised (wgmma.cuh), the producers get more of the consumers' registers, or epilogues take fewer columns at once.
 */
function waysOf(text: string): string[][] {
  if (text.includes("producer_setmaxnreg()")) return [[], ["-DPRODUCER_REGISTERS=56"], ["-DWIDEST_GROUP=4"]];
  const halvings = Math.ceil(Math.log2(blocksIn(text)));
  return [[], ...Array.from({ length: halvings }, (_, i) => [`-DHALVED=${i + 1}`])];
}
/** Blocks per multiprocessor in the kernel's launch bounds. */
const blocksIn = (text: string): number => Number(/\bMIN_BLOCKS\((\d+)\)\) \w+\(/.exec(text)?.[1] ?? 1);
/**
 * Compiles a text once. If NVRTC rejects it, that is a Bug in moec: its message has the compiler's log, and the lines of the program that the kernel
 * serves.
 */
async function compileOnce(
  kernel: PlanKernel,
  text: string,
  { architecture, compiler }: Toolkit,
  more: readonly string[],
): Promise<CachedCode> {
  try {
    const source = { name: `${kernel.name}.cu`, text, architecture, options: [...nvrtcOptions, ...more] };
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
/** A line of the log, followed by the source line that its error points at. */
function withText(line: string, text: string): string {
  const at = Number(/\.cu\((\d+)\): error/.exec(line)?.[1] ?? 0);
  return at === 0 ? line : `${line}\n    ${text.split("\n")[at - 1]?.trim() ?? ""}`;
}
/** Parses what `ptxas -v` reports for one kernel of a unit; its line names no shared memory if it has none. */
export function parseResources(
  name: string,
  log: string,
): Pick<KernelCode, "registers" | "shared" | "spills" | "warnings"> {
  const [, own = ""] = log.split(`entry function '${name}'`);
  const [about = ""] = own.split("entry function '");
  const number = (pattern: RegExp): number => Number(pattern.exec(about)?.[1] ?? 0);
  return {
    registers: number(/Used (\d+) registers/),
    shared: number(/(\d+) bytes smem/),
    spills: number(/(\d+) bytes spill stores/),
    warnings: log.split("\n").filter((line) => /\(C7\d+\)|warning/i.test(line)),
  };
}
