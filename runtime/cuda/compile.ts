// A program to CUDA code, with or without a GPU here: text, PTX and machine code, and what each kernel uses.
import { type Loaded, loadFile } from "../../compiler/check/index.ts";
import { sanitised, shown } from "../../compiler/emit/unit.ts";
import type { Elaborated } from "../../compiler/graph/node.ts";
import type { Kernel } from "../../compiler/kernel/ir.ts";
import { type Observer, timed } from "../../compiler/pass.ts";
import { requireRight, toGraphs, toPlan } from "../../compiler/pipeline.ts";
import type { Plan, PlanKernel } from "../../compiler/plan/plan.ts";
import { cudaBackend } from "../../compiler/targets.ts";
import {
  type CompileReport,
  type CompileRequest,
  figuresOf,
  followed,
  formsOf,
  type Form as SharedForm,
} from "../compile.ts";
import { Debugger } from "../debug.ts";
import { KernelCache } from "../host/cache.ts";
import { cores } from "../host/machine.ts";
import { nvrtc } from "../nvrtc.ts";
import { occupancy, requireArchitecture } from "./architecture.ts";
import { compileKernels, type KernelCode } from "./code.ts";
import { disassembled, nvdisasm } from "./sass.ts";
import { compileVariants, type VariantKernel, variantHeader, variantsFor } from "./variants.ts";

export type CudaForm = Exclude<SharedForm, "cpp"> | "cu" | "ptx" | "cubin" | "sass";
interface CudaRequest extends Omit<CompileRequest, "target" | "emit"> {
  /** `sm_90a` */
  readonly architecture: string;
  readonly emit: CudaForm | null;
}
/** `shared` and `spills` in bytes, the dynamic shared memory with the static; `occupancy` from 0 to 1. */
export interface CudaKernel {
  readonly name: string;
  readonly lines: readonly string[];
  readonly threads: number;
  readonly registers: number;
  readonly shared: number;
  readonly spills: number;
  readonly occupancy: number | null;
  readonly seconds: number;
}
export interface CudaReport extends Omit<CompileReport, "kernels" | "forms"> {
  readonly kernels: readonly CudaKernel[] | CompileReport["kernels"];
  /** Of the form that was asked for, by name. */
  readonly files: Readonly<Record<string, string | Uint8Array>>;
}

/** Text and plans need no NVRTC; for all else it throws a Problem where there is none. */
export async function compileCuda(request: CudaRequest): Promise<CudaReport> {
  const start = performance.now();
  const disassembler = request.emit === "sass" ? nvdisasm() : null; // or it is missed only after all is compiled
  const observer = new Debugger({ printAfter: request.printAfter ?? [], watch: request.watch ?? {} });
  const loaded = timed("parse", observer, () => loadFile(request.path));
  timed("check", observer, () => requireRight(loaded));
  const kernels: Kernel[] = [];
  const { program, plan } = followed(() => planOf(loaded, request, observer, kernels));
  const variants = variantsFor(plan, request.architecture);
  const code = isText(request.emit) ? null : await codeFor(plan, variants, request.architecture);
  const cubins = code?.map((c) => c.cubin) ?? [];
  const sass = disassembler === null ? [] : await disassembled(cubins, disassembler);
  observer.timings.set("total", (performance.now() - start) / 1000);
  const { kernels: plain, ...figures } = figuresOf(program, plan);
  return {
    ...figures,
    kernels: code
      ? [...plan.kernels, ...variants].map((k, i) => told(k, code[i] as KernelCode, request.architecture))
      : plain,
    timings: Object.fromEntries(observer.timings),
    files: filesOf(request.emit, { plan, variants, code, sass }, () =>
      formsOf([request.emit as SharedForm], loaded, program, kernels, plan),
    ),
  };
}
function planOf(
  loaded: Loaded,
  request: CudaRequest,
  observer: Observer,
  kernels: Kernel[],
): { readonly program: Elaborated; readonly plan: Plan } {
  const program = toGraphs(loaded, request, observer);
  const add = (k: Kernel): unknown => kernels.push(k);
  return { program, plan: toPlan(program, observer, add, request.schedules, cudaBackend(request.tf32)) };
}
const isText = (form: CudaForm | null): boolean =>
  form !== null && form !== "ptx" && form !== "cubin" && form !== "sass";

/** Of the plan's kernels, then of the variants. */
async function codeFor(
  plan: Plan,
  variants: readonly VariantKernel[],
  architecture: string,
): Promise<readonly KernelCode[]> {
  const compiler = await nvrtc();
  requireArchitecture(architecture, compiler.architectures);
  const tools = { architecture, compiler, cache: new KernelCache(), jobs: cores() };
  const own = await compileKernels(plan, tools);
  return [...own, ...(await compileVariants({ ...plan, kernels: variants }, tools))];
}
function told({ name, origins, launch }: PlanKernel, code: KernelCode, architecture: string): CudaKernel {
  const threads = launch?.threads ?? 0;
  const use = { threads, registers: code.registers, shared: code.shared + (launch?.shared ?? 0) };
  return {
    name,
    lines: origins,
    ...use,
    spills: code.spills,
    occupancy: occupancy(use, architecture),
    seconds: code.seconds,
  };
}
interface Made {
  readonly plan: Plan;
  readonly variants: readonly VariantKernel[];
  readonly code: readonly KernelCode[] | null;
  readonly sass: readonly string[];
}
function filesOf(
  form: CudaForm | null,
  { plan, variants, code, sass }: Made,
  others: () => NonNullable<CompileReport["forms"]>,
): CudaReport["files"] {
  const each = (ending: string, f: (k: PlanKernel, i: number) => string | Uint8Array): CudaReport["files"] =>
    Object.fromEntries([...plan.kernels, ...variants].map((k, i) => [`${k.name}.${ending}`, f(k, i)]));
  switch (form) {
    case null:
      return {};
    case "cu":
      return { "device.cuh": variants.length > 0 ? variantHeader(plan.header) : plan.header, ...each("cu", shown) };
    case "ptx":
      return each("ptx", (_, i) => code?.[i]?.ptx ?? "");
    case "cubin":
      return each("cubin", (_, i) => code?.[i]?.cubin ?? "");
    case "sass":
      return each("sass", (k, i) => [...k.origins.map((o) => `// ${sanitised(o)}`), sass[i] ?? ""].join("\n"));
    default:
      return others()[form] ?? {};
  }
}
