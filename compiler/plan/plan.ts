// The plan, the last form of a program: for each entry a flat, printable list of kernel launches over buffers in one arena. All sizes and
// addresses are known before anything runs. The runtime compiles the kernels' texts and executes the steps.
import type { Group, ReduceName, Result, Store } from "../graph/node.ts";
import type { DType } from "../types/dtype.ts";

/** The place of element [.., r, c]. rows: at r * pitch + c, in elements. panels: blocks of `width` columns, each stored as [rows][width]. */
export type Layout =
  | { readonly kind: "rows"; readonly pitch: number }
  | { readonly kind: "panels"; readonly width: number };

/** A region of the arena. `offset` is in bytes, aligned as `Grain` says. Buffers of an entry may share bytes if their live ranges do not overlap. */
export interface PlanBuffer {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly layout: Layout;
  readonly offset: number;
  readonly bytes: number;
  /** Set where this is the end of another buffer: the index of that buffer. */
  readonly of?: number;
}
/** How a CUDA kernel is launched. `threads`: per block. `shared`: bytes of shared memory per block. `wide`: its indices need 64 bits. */
export interface LaunchShape {
  readonly threads: number;
  readonly shared: number;
  readonly wide: boolean;
  /** One block per task, which the hardware schedules, since tasks differ in length. Absent: as many blocks as run at once share the tasks. */
  readonly each?: boolean;
}
/** A TMA tensor map of argument `arg`. One copy takes a `box` of it (elements along each axis). Rows of 64 bf16 use the 128-byte swizzle. */
export interface TensorMapBox {
  readonly arg: number;
  readonly box: readonly number[];
}
/**
 * Another implementation of a kernel, for an architecture with the instructions that it uses. Its arguments are those of the kernel, then its tensor
 * maps. At the first use the runtime compares the results of both, and keeps the variant only if they agree. `writes`: the arguments that it writes.
 */
export interface Variant {
  readonly name: string;
  readonly text: string;
  readonly launch: LaunchShape;
  readonly maps: readonly TensorMapBox[];
  readonly writes: readonly number[];
}
/** A kernel's source: a function `name(void* const* args, ix begin, ix end, f32* scratch)` for tasks begin .. end. Equal texts are one kernel. */
export interface PlanKernel {
  readonly name: string;
  readonly text: string;
  /** Its parameters, as `name: dtype[shape]`. */
  readonly params?: readonly string[];
  /** The lines of the program that it comes from, as `file:line`. */
  readonly origins: readonly string[];
  /** How many floats of scratch memory each thread needs, for packed operands. */
  readonly scratch: number;
  /** On the CUDA target only. */
  readonly launch?: LaunchShape;
  /** The implementation for sm_90a, if there is one. */
  readonly variant?: Variant;
  /** Of a contraction only: its shape, and the tile sizes and other choices that were made for it. */
  readonly schedule?:
    | { readonly shape: string; readonly choice: Readonly<Record<string, number | boolean>> }
    | undefined;
}
/** What one step reads and writes: `args` index Plan.buffers. */
interface Work {
  readonly args: readonly number[];
  readonly flops: number;
  readonly bytes: number;
  /** The part of a train entry that it belongs to. */
  readonly phase: Phase;
}
/** Runs so many tasks of a kernel. */
export interface Launch extends Work {
  readonly kernel: number;
  readonly tasks: number;
  /** The number of the first of them, if not 0. */
  readonly first?: number;
}
/**
 * A collective: the op `name` of ops/collectives.ts with these attributes. `dtype`: of the data. Of an exchange, `rows` is the number of rows of the
 * operand, `length` that of the result, and `back` its direction. It moves the rows of piece `piece` of `pieces`, as equal as can be, of each owner's experts.
 */
export interface CollectiveOp extends Group {
  readonly name: "all_gather" | "all_reduce" | "all_to_all" | "exchange";
  readonly dtype: DType;
  readonly fn?: ReduceName;
  readonly back?: boolean;
  readonly rows?: number;
  readonly length?: number;
  readonly piece?: number;
  readonly pieces?: number;
}
/** `args`: the buffers read, then those written. They are contiguous; those of an all_reduce need only have one layout. */
interface Collective extends Work {
  readonly op: CollectiveOp;
}
/**
 * Whether a launch is so small (a microsecond or two on one thread of the host) that dividing it among threads, and moving its data to their caches,
 * would cost as much as it saves. Where `bytes` is 0 the size is unknown.
 */
export const isSmall = ({ tasks, flops, bytes }: Pick<Launch, "tasks" | "flops" | "bytes">): boolean =>
  tasks === 1 || (bytes > 0 && bytes <= 32768 && flops <= 16384);
/**
 * How many tasks of a launch take some 20 us. A thread of the host takes so many at a time, since between two chunks it waits until its results are
 * stored (0.1 to 0.2 us). One core is reckoned with 150 GFLOP/s, and 20 GB/s from a cache that is shared.
 */
export const grainOf = ({ tasks, flops, bytes }: Pick<Launch, "tasks" | "flops" | "bytes">): number =>
  bytes > 0 ? Math.max(1, Math.floor((20 * tasks) / microsecondsOf({ flops, bytes }))) : 1;
/** About how long a core of the host takes for so much work. */
export const microsecondsOf = ({ flops, bytes }: Pick<Launch, "flops" | "bytes">): number =>
  Math.max(flops / 150e3, bytes / 20e3);
export type Phase = "forward" | "backward" | "update";
/**
 * Steps are done one after another. One that is `beside` is only begun where it stands: a second queue does those, in their order, after all steps before
 * them. wait: until the second queue has done the step of this index, and those beside before it. A copy is of a whole buffer; it is needed where an
 * assignment cannot be made in place.
 */
export type Step =
  | { readonly kind: "launch"; readonly launch: Launch; readonly beside?: true }
  | { readonly kind: "collective"; readonly collective: Collective; readonly beside?: true }
  | { readonly kind: "wait"; readonly step: number }
  | { readonly kind: "copy"; readonly from: number; readonly to: number };
export const isBeside = (step: Step): boolean => "beside" in step && step.beside;
/** The launch or collective of a step; null: it is a copy, or a wait. */
export const workOf = (step: Step): Work | null =>
  step.kind === "launch" ? step.launch : step.kind === "collective" ? step.collective : null;
/** The buffers that a step reads and writes. */
export const buffersOf = (step: Step): readonly number[] =>
  step.kind === "copy" ? [step.from, step.to] : (workOf(step)?.args ?? []);

export interface PlanStore
  extends Pick<Store, "name" | "role" | "saved" | "stack" | "frozen" | "shards" | "quantised"> {
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
/** Bytes by use. `activations`: what the forward pass of the train entry keeps for the backward; without a train entry, the temporaries. */
export interface Bytes {
  readonly parameters: number;
  /** Copies of parameters in another dtype, and the scales of quantised ones. */
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
  /** The device header, which is put before the text of every kernel. */
  readonly header: string;
  readonly bytes: Bytes;
}
