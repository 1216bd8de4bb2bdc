// Translation units: the device headers followed by kernels, for each target.
import type { Kernel } from "../kernel/ir.ts";
import type { Emitted } from "../lower/lower.ts";
import type { Plan, PlanKernel } from "../plan/plan.ts";
import { cuda, cudaTf32 } from "./cuda/cuda.ts";
import { insertGlobalBarriers } from "./cuda/global-barriers.ts";
import { withoutKnownFolds } from "./cuda/known-folds.ts";
import { stageLines } from "./cuda/lines.ts";
import { device } from "./device.ts";
import { emit } from "./emitter.ts";
import { families, familyText, type Source } from "./families.ts";
import { host } from "./host/host.ts";
import { named } from "./names.ts";

export const emitHost = (k: Kernel): Emitted => emit(named(k), host);
const prepared = (k: Kernel): Kernel => stageLines(insertGlobalBarriers(withoutKnownFolds(named(k))));
export const emitCuda = (k: Kernel): Emitted => emit(prepared(k), cuda);
export const emitCudaTf32 = (k: Kernel): Emitted => emit(prepared(k), cudaTf32);

/** The header of host kernels. */
export const hostHeader = (): string =>
  ["vector", "memory", "math", "operands", "fp4", "tile", "staging", "words", "split", "fold"]
    .map((name) => device(`${name}.hpp`))
    .join("\n");

/** The header of CUDA kernels. */
export const cudaHeader = (): string =>
  [
    "prelude.cuh",
    "vector.cuh",
    "math.hpp",
    "lift.cuh",
    "tile.cuh",
    "staged.cuh",
    "mma.cuh",
    "contract.cuh",
    "codes.cuh",
  ]
    .map((name) => device(name))
    .join("\n");

/** The header of CUDA kernels with `--tf32`. */
export const tf32Header = (): string => ["#define TF32", cudaHeader(), device("tf32.cuh")].join("\n");

/** What follows the header in a variant for sm_90a. */
export const hopperHeader = (): string => ["sm90.cuh", "wgmma.cuh"].map((name) => device(name)).join("\n");

/** CPU features that a unit may have been compiled for, by the compilers' names; runtime/native/program.cpp checks the CPU before it loads a unit. */
const cpuFeatures = [
  "avx",
  "avx2",
  "fma",
  "bmi",
  "bmi2",
  "avx512f",
  "avx512vl",
  "avx512bw",
  "avx512dq",
  "avx512bf16",
  "amx-tile",
  "amx-bf16",
];
/** clang++ 14 writes AMX-TILE as AMXTILE. */
const macros = (name: string): string =>
  ["_", ""].map((dash) => `defined(__${name.toUpperCase().replace("-", dash)}__)`).join(" || ");
const neededFeatures = [
  'extern "C" const char moec_needs[] = ""',
  ...cpuFeatures.flatMap((name) => [`#if ${macros(name)}`, `" ${name}"`, "#endif"]),
  ";",
].join("\n");

/** A unit of the host. It holds many kernels, so that these share the compile time of the header. */
export const hostUnit = (header: string, kernels: readonly Source[]): string =>
  [header, neededFeatures, ...families(kernels).map(familyText)].join("\n");

/** A unit of one CUDA kernel. */
export const cudaUnit = (header: string, kernel: Pick<PlanKernel, "launch" | "text">): string =>
  [...(kernel.launch?.wide ? ["#define WIDE_INDEX"] : []), header, kernel.text].join("\n");

/** A kernel's text for people, after comments: the program's lines that it comes from, and its parameters, with the stores that the plan passes. */
export function readableKernel(k: PlanKernel, plan?: Plan): string {
  const passed = plan ? storesPassed(k.name, plan) : [];
  const params = (k.params ?? []).map((text, i) => `// ${text}${listed([...(passed[i] ?? [])])}`);
  return [...originsOf(k), ...params, k.text].join("\n");
}
export const originsOf = ({ origins }: PlanKernel): string[] =>
  origins.length === 0 ? [] : [`// ${origins.map(sanitised).join(", ")}`];
/** For each argument of a kernel, the stores that its launches pass. */
function storesPassed(kernel: string, { kernels, stores, entries }: Plan): Set<string>[] {
  const names = new Map(stores.map(({ buffer, name }) => [buffer, name]));
  const isNamed = (k?: PlanKernel): boolean => k?.name === kernel || k?.variant?.name === kernel;
  const passed: Set<string>[] = [];
  for (const step of entries.flatMap(({ steps }) => steps)) {
    if (step.kind !== "launch" || !isNamed(kernels[step.launch.kernel])) continue;
    step.launch.args.forEach((b, i) => {
      const name = names.get(b);
      if (name !== undefined) (passed[i] ??= new Set()).add(name);
    });
  }
  return passed;
}
const listed = ([first, ...more]: readonly string[]): string =>
  first === undefined ? "" : ` (${sanitised(first)}${more.length === 0 ? "" : ` and ${more.length} more`})`;
/** Replaces characters of a program's names that could end a comment or a line. */
const sanitised = (text: string): string => text.replace(/[^\w.:*/ -]/g, "_");
