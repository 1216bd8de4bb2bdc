// Translation units: the device headers followed by kernels, for each target.
import type { Kernel } from "../kernel/ir.ts";
import type { Emitted } from "../kernel/lower.ts";
import type { PlanKernel, Variant } from "../plan/plan.ts";
import { cuda, cudaTf32 } from "./cuda.ts";
import { device } from "./device.ts";
import { host } from "./host.ts";
import { lined } from "./lines.ts";
import { settled } from "./settle.ts";
import { families, familyText, type Source } from "./shared.ts";
import { emit } from "./text.ts";

export const emitHost = (k: Kernel): Emitted => emit(k, host);
export const emitCuda = (k: Kernel): Emitted => emit(lined(settled(k)), cuda);
export const emitCudaTf32 = (k: Kernel): Emitted => emit(lined(settled(k)), cudaTf32);

/** The header of host kernels. */
export const hostHeader = (): string =>
  ["vector", "math", "operands", "tile", "staging", "words", "split", "fold"]
    .map((name) => device(`${name}.hpp`))
    .join("\n");

/** The header of CUDA kernels. */
export const cudaHeader = (): string =>
  ["prelude.cuh", "vector.cuh", "math.hpp", "lift.cuh", "tile.cuh", "staged.cuh", "mma.cuh", "contract.cuh"]
    .map((name) => device(name))
    .join("\n");

/** The header of CUDA kernels with `--tf32`. */
export const tf32Header = (): string => ["#define TF32", cudaHeader(), device("tf32.cuh")].join("\n");

/** What follows the header in a variant for sm_90a. */
export const hopperHeader = (): string => ["sm90.cuh", "wgmma.cuh"].map((name) => device(name)).join("\n");

/** CPU features that a unit may have been compiled for, by the compilers' names; runtime/native/program.cpp checks the CPU before it loads a unit. */
const needs = [
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
const stated = [
  'extern "C" const char moec_needs[] = ""',
  ...needs.flatMap((name) => [`#if ${macros(name)}`, `" ${name}"`, "#endif"]),
  ";",
].join("\n");

/** A unit of the host. It holds many kernels, so that these share the compile time of the header. */
export const unit = (header: string, kernels: readonly Source[]): string =>
  [header, stated, ...families(kernels).map(familyText)].join("\n");

/** A unit of one CUDA kernel. */
export const cudaUnit = (header: string, kernel: Pick<PlanKernel, "launch" | "text">): string =>
  [...(kernel.launch?.wide ? ["#define WIDE_INDEX"] : []), header, kernel.text].join("\n");
export const variantUnit = (header: string, variant: Variant): string =>
  cudaUnit([header, hopperHeader()].join("\n"), variant);

/** A kernel's text for people: first the lines of the program that it comes from. */
export const shown = (k: PlanKernel): string => [...k.origins.map((o) => `// ${sanitised(o)}`), k.text].join("\n");
/** Replaces characters of a program's names that could end a comment or a line. */
export const sanitised = (text: string): string => text.replace(/[^\w.:/ -]/g, "_");
