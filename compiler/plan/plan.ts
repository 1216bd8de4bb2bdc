// What runs: a flat, printable list of launches over one arena, with every byte known before anything runs.
import type { Group, Result, Store } from "../graph/node.ts";
import type { DType } from "../types/dtype.ts";

/** Where element [.., r, c] lies. rows: r * pitch + c, in elements. panels: blocks of `width` columns, each one [rows][width]. */
export type Layout =
  | { readonly kind: "rows"; readonly pitch: number }
  | { readonly kind: "panels"; readonly width: number };

/** A region of the arena. `offset` in bytes, a multiple of its target's `Grain`; buffers of one entry whose lives do not meet may share bytes. */
export interface PlanBuffer {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly layout: Layout;
  readonly offset: number;
  readonly bytes: number;
  /** Of the end of another buffer: which one. */
  readonly of?: number;
}
/** Of a kernel whose tasks are dealt to blocks of threads: `shared` in bytes; `wide`: its addresses need 64 bits. */
export interface LaunchShape {
  readonly threads: number;
  readonly shared: number;
  readonly wide: boolean;
  /** A block for each task, which the GPU deals, for tasks are of different lengths; else blocks that run at once share them. */
  readonly each?: boolean;
}
/** A tensor map: of which argument, and the box of it, along its axes, that one copy takes. Rows of a box of 64 bf16 are swizzled by 128 bytes. */
export interface BoxOf {
  readonly arg: number;
  readonly box: readonly number[];
}
/**
 * The same function by another text, for an architecture that has what it uses: its arguments are those of the kernel, then its tensor maps.
 * It is chosen where it agrees with the kernel at its first use. `writes`: the arguments that it writes.
 */
export interface Variant {
  readonly name: string;
  readonly text: string;
  readonly launch: LaunchShape;
  readonly maps: readonly BoxOf[];
  readonly writes: readonly number[];
}
/** The text of one kernel: a function `name(void* const* args, ix begin, ix end, f32* scratch)`. Equal texts are one kernel. */
export interface PlanKernel {
  readonly name: string;
  readonly text: string;
  /** The program's lines that it serves, `file:line`. */
  readonly origins: readonly string[];
  /** Floats that one thread needs for packed operands. */
  readonly scratch: number;
  /** Of the CUDA target. */
  readonly launch?: LaunchShape;
  /** For sm_90a. */
  readonly variant?: Variant;
  /** Of a contraction: its shape, and how it is cut. */
  readonly schedule?:
    | { readonly shape: string; readonly choice: Readonly<Record<string, number | boolean>> }
    | undefined;
}
/** What one step reads and writes: `args` index Plan.buffers. */
interface Work {
  readonly args: readonly number[];
  readonly flops: number;
  readonly bytes: number;
  /** Of a train entry: what it belongs to. */
  readonly phase: Phase;
}
/** Runs tasks 0 .. tasks of a kernel. */
interface Launch extends Work {
  readonly kernel: number;
  readonly tasks: number;
}
/**
 * What all workers do together, as the op of that name (ops/together.ts) says it with these attributes. `dtype`: of what is moved. `rows`: of the
 * operand of an exchange; `length`: of its result.
 */
export interface Together extends Partial<Group> {
  readonly name: "all_gather" | "all_reduce" | "all_to_all" | "exchange";
  readonly dtype: DType;
  readonly fn?: "sum" | "max" | "min";
  readonly back?: boolean;
  readonly rows?: number;
  readonly length?: number;
}
/** `args`: what is read, then what is written. Each lies without gaps, in rows, but for operand and result of an all_reduce, which lie alike. */
interface Collective extends Work {
  readonly together: Together;
}
/**
 * What one thread of the host does in a microsecond or two: to share it among several, and to hand them what it reads, takes about as long. Of what
 * counts no bytes nothing is known.
 */
export const isSmall = ({ tasks, flops, bytes }: Pick<Launch, "tasks" | "flops" | "bytes">): boolean =>
  tasks === 1 || (bytes > 0 && bytes <= 32768 && flops <= 16384);
export type Phase = "forward" | "backward" | "update";
/** Copies are of whole buffers, where an assignment cannot be made in place. */
export type Step =
  | { readonly kind: "launch"; readonly launch: Launch }
  | { readonly kind: "collective"; readonly collective: Collective }
  | { readonly kind: "copy"; readonly from: number; readonly to: number };
/** What a step does, unless it copies. */
export const workOf = (step: Step): Work | null =>
  step.kind === "launch" ? step.launch : step.kind === "collective" ? step.collective : null;
/** The buffers that a step names. */
export const buffersOf = (step: Step): readonly number[] =>
  step.kind === "copy" ? [step.from, step.to] : (workOf(step)?.args ?? []);

export interface PlanStore {
  readonly name: string;
  readonly role: Store["role"];
  readonly saved: boolean;
  readonly stack: number;
  /** As of a `Store`. */
  readonly split?: number;
  readonly buffer: number;
}
export interface PlanResult {
  readonly role: Exclude<Result["role"], "store">;
  readonly name: string;
  readonly buffer: number;
}
export interface Entry {
  readonly name: string;
  readonly inputs: readonly string[];
  readonly results: readonly PlanResult[];
  readonly steps: readonly Step[];
}
/** Bytes by what they hold; `activations`: what the forward keeps for the backward, in the train entry (else the temporaries). */
export interface Bytes {
  readonly parameters: number;
  /** Copies of parameters in another dtype. */
  readonly prepared: number;
  readonly gradients: number;
  readonly optimizer: number;
  readonly states: number;
  readonly activations: number;
  readonly arena: number;
}
export interface Plan {
  readonly target: string;
  readonly buffers: readonly PlanBuffer[];
  readonly kernels: readonly PlanKernel[];
  readonly stores: readonly PlanStore[];
  readonly entries: readonly Entry[];
  /** Text put before every kernel: the device header. */
  readonly header: string;
  readonly bytes: Bytes;
}
