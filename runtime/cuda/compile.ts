// `moec compile --target cuda:ARCH`: compiles a program to CUDA C++, PTX and machine code, and reports what each kernel uses. Needs no GPU.
import { originsOf, readableKernel } from "../../compiler/emit/unit.ts";
import type { Kernel } from "../../compiler/kernel/ir.ts";
import type { Plan, PlanKernel } from "../../compiler/plan/plan.ts";
import { cudaBackend } from "../../compiler/targets.ts";
import { KernelCache } from "../cache/kernels.ts";
import { buildPlan, type CompileReport, type CompileRequest, parseFile, prepareRequest, reportOf } from "../compile.ts";
import { formOf, type Form as SharedForm } from "../forms.ts";
import { cores } from "../machine.ts";
import { nvrtc } from "../nvrtc.ts";
import { occupancy, requireArchitecture } from "./architecture.ts";
import { compileKernels, type KernelCode } from "./code.ts";
import { disassemble, nvdisasm } from "./sass.ts";
import { compileVariants, type VariantKernel, variantHeader, variantsFor } from "./variants.ts";

export type CudaForm = Exclude<SharedForm, "cpp"> | "cu" | "ptx" | "cubin" | "sass";
interface CudaRequest extends Omit<CompileRequest, "target"> {
  /** Such as `sm_90a`. */
  readonly architecture: string;
  readonly emit: CudaForm | null;
}
/** `shared` (static and dynamic) and `spills` are in bytes; `occupancy` is from 0 to 1, null for an unknown architecture. */
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
export interface CudaReport extends Omit<CompileReport, "kernels"> {
  readonly kernels: readonly CudaKernel[] | CompileReport["kernels"];
  /** The files of the form asked for (`emit`), by name. */
  readonly files: Readonly<Record<string, string | Uint8Array>>;
}

/** Compiles a program. NVRTC is needed unless the form is a text form (`cu`, a plan, a graph); without it, throws Problem. */
export async function compileCuda(given: CudaRequest): Promise<CudaReport> {
  const start = performance.now();
  const disassembler = given.emit === "sass" ? nvdisasm() : null; // looked for first, so that a missing one is reported before all is compiled
  const { request, observer } = await prepareRequest({ ...given, target: "cuda" });
  const loaded = parseFile(given.path)(observer);
  const kernels: Kernel[] = [];
  const made = buildPlan(loaded, request, observer, cudaBackend(request.tf32), { onKernel: (k) => kernels.push(k) });
  const { program, plan } = made;
  observer.showPlan(plan);
  const variants = variantsFor(plan, given.architecture);
  const code = isText(given.emit) ? null : await codeFor(plan, variants, given.architecture);
  const cubins = code?.map((c) => c.cubin) ?? [];
  const sass = disassembler === null ? [] : await disassemble(cubins, disassembler);
  const report = reportOf(made.figures, observer, start);
  return {
    ...report,
    kernels: code
      ? [...plan.kernels, ...variants].map((k, i) => kernelReport(k, code[i] as KernelCode, given.architecture))
      : report.kernels,
    files: filesOf(given.emit, { plan, variants, code, sass }, (form) => formOf(form, loaded, program, kernels, plan)),
  };
}
const isText = (form: CudaForm | null): boolean =>
  form !== null && form !== "ptx" && form !== "cubin" && form !== "sass";

/** Code of the plan's kernels, followed by that of the variants. */
async function codeFor(
  plan: Plan,
  variants: readonly VariantKernel[],
  architecture: string,
): Promise<readonly KernelCode[]> {
  const compiler = await nvrtc();
  requireArchitecture(architecture, compiler);
  const tools = { architecture, compiler, cache: new KernelCache(), jobs: cores() };
  const own = await compileKernels(plan, tools);
  return [...own, ...(await compileVariants({ ...plan, kernels: variants }, tools))];
}
function kernelReport({ name, origins, launch }: PlanKernel, code: KernelCode, architecture: string): CudaKernel {
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
interface Coded {
  readonly plan: Plan;
  readonly variants: readonly VariantKernel[];
  readonly code: readonly KernelCode[] | null;
  readonly sass: readonly string[];
}
function filesOf(
  form: CudaForm | null,
  { plan, variants, code, sass }: Coded,
  other: (form: SharedForm) => CudaReport["files"],
): CudaReport["files"] {
  const each = (ending: string, f: (k: PlanKernel, i: number) => string | Uint8Array): CudaReport["files"] =>
    Object.fromEntries([...plan.kernels, ...variants].map((k, i) => [`${k.name}.${ending}`, f(k, i)]));
  switch (form) {
    case null:
      return {};
    case "cu":
      return {
        "device.cuh": variants.length > 0 ? variantHeader(plan.header) : plan.header,
        ...each("cu", (k) => readableKernel(k, plan)),
      };
    case "ptx":
      return each("ptx", (_, i) => code?.[i]?.ptx ?? "");
    case "cubin":
      return each("cubin", (_, i) => code?.[i]?.cubin ?? "");
    case "sass":
      return each("sass", (k, i) => [...originsOf(k), sass[i] ?? ""].join("\n"));
    default:
      return other(form);
  }
}
