// Shared by tests of sequences: the kernels of launches, and hand-written ones over virtual buffers.
import { type Store, unstackedStore } from "../compiler/graph/node.ts";
import type { Layout, PlanKernel } from "../compiler/plan/plan.ts";
import { isKernel, type VirtualArg, type VirtualBuffer, type VirtualLaunch } from "../compiler/plan/sequence.ts";
import { bytesOf, type DType } from "../compiler/types/dtype.ts";

/** The kernel of a launch that is not a collective. */
export function kernelOf({ kernel }: Pick<VirtualLaunch, "kernel">): PlanKernel {
  if (!isKernel(kernel)) throw new Error(`${kernel.name} has no kernel`);
  return kernel;
}

interface Form {
  readonly dtype?: DType;
  readonly layout?: Layout;
}
export function buffer(name: string, shape: readonly number[], { dtype = "f32", layout }: Form = {}): VirtualBuffer {
  const cols = shape.at(-1) ?? 1;
  const used = layout ?? { kind: "rows", pitch: Math.ceil(cols / 16) * 16 };
  const pitch = used.kind === "rows" ? used.pitch : Math.ceil(cols / used.width) * used.width;
  const bytes = shape.slice(0, -1).reduce((a, b) => a * b, pitch) * bytesOf[dtype];
  return { name, dtype, shape, layout: used, bytes, store: null };
}
export const ofStore = (buffer: VirtualBuffer): VirtualBuffer => ({ ...buffer, store: buffer.name });
export const storeOf = ({ name, dtype, shape }: VirtualBuffer, role: Store["role"] = "parameter"): Store =>
  unstackedStore(name, role, { dtype, shape }, true);

export const read = (buffer: VirtualBuffer): VirtualArg => ({ buffer, access: "read" });
export const pointwise = (buffer: VirtualBuffer): VirtualArg => ({ buffer, access: "pointwise" });
export const write = (buffer: VirtualBuffer): VirtualArg => ({ buffer, access: "write" });
export const part = (buffer: VirtualBuffer): VirtualArg => ({ buffer, access: "part" });
export const update = (buffer: VirtualBuffer, base: VirtualBuffer): VirtualArg => ({ buffer, access: "update", base });

/** A launch whose kernel runs `body` for each task `t`; its arguments are the f32 pointers `a`, `b`, `c`, ... */
export function launch(name: string, body: string, args: readonly VirtualArg[], tasks = 1): VirtualLaunch {
  const pointers = args.map((_, i) => `  f32* ${"abcdefgh"[i] ?? "?"} = (f32*)args[${i}];`);
  const text = [
    `extern "C" void ${name}(void* const* args, ix begin, ix end, f32* scratch) {`,
    ...pointers,
    `  for (ix t = begin; t < end; t++) { ${body} }`,
    "}",
  ];
  const kernel = { name, text: text.join("\n"), origins: [], scratch: 64 };
  return { kernel, args, tasks, flops: 0, bytes: 0, phase: "forward" };
}
export const header = "#define NOINLINE static\ntypedef long ix; typedef float f32; typedef int i32;\n";
