// The code generation targets. A backend bundles what differs between host and CUDA: how kernels are printed, the header before them, scheduling
// choices, and memory alignment.
import { cudaAccess } from "./emit/cuda/cuda.ts";
import { emitHopper } from "./emit/cuda/hopper.ts";
import { cudaHeader, emitCuda, emitCudaTf32, emitHost, hostHeader, tf32Header } from "./emit/unit.ts";
import { accessOf } from "./kernel/access.ts";
import { type Choices, hostChoices } from "./kernel/schedule.ts";
import { cudaChoices, cudaTf32Choices } from "./kernel/schedule-cuda.ts";
import { hopperChoice } from "./kernel/schedule-hopper.ts";
import type { LowerOptions } from "./lower/lower.ts";
import { cudaGrain, type Grain, hostGrain } from "./plan/place.ts";

export interface Backend extends Required<Pick<LowerOptions, "emit" | "access">>, Pick<LowerOptions, "variants"> {
  readonly name: "host" | "cuda";
  /** The text that is put before every kernel. */
  readonly header: () => string;
  readonly choices: Choices;
  readonly grain: Grain;
}
export const backends = {
  host: {
    name: "host",
    emit: emitHost,
    header: hostHeader,
    choices: hostChoices,
    access: accessOf,
    grain: hostGrain,
  },
  cuda: {
    name: "cuda",
    emit: emitCuda,
    header: cudaHeader,
    choices: cudaChoices,
    access: cudaAccess,
    grain: cudaGrain,
    variants: { choice: (c) => hopperChoice(c), emit: emitHopper },
  },
} as const satisfies Readonly<Record<string, Backend>>;

const tf32Backend: Backend = {
  ...backends.cuda,
  emit: emitCudaTf32,
  header: tf32Header,
  choices: cudaTf32Choices,
};
/** The CUDA backend. `tf32`: products of f32 run on tensor cores with operands rounded to tf32; else in full f32. */
export const cudaBackend = (tf32 = false): Backend => (tf32 ? tf32Backend : backends.cuda);
