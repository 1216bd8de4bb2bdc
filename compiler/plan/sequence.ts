// A lowered graph before memory is planned: launches over virtual buffers, in an order that respects every dependence.
import type { DType } from "../types/dtype.ts";
import type { CollectiveOp, Layout, Phase, PlanKernel, PlanResult } from "./plan.ts";

/** A buffer without an address yet; its identity is the object. `store`: the store whose memory it is, which `param` reads; null: a temporary. */
export interface VirtualBuffer {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly layout: Layout;
  readonly bytes: number;
  readonly store: string | null;
}
/**
 * An argument of a launch, and how it is accessed:
 * read: any element may be read at any time.
 * pointwise: element i is read only by the task that writes element i of an output of the same shape and layout, and before it is written, so the
 * two may share memory. With `aliasedOutput`, this holds for that output only.
 * write: every valid element is written.
 * update: some elements are written, the others keep the value that they have in `base`, so it must be the same memory, or be copied first.
 * part: some elements are written, and other launches write the rest.
 * `byteOffset`: the kernel is given the address this many bytes into the buffer.
 */
export interface VirtualArg {
  readonly buffer: VirtualBuffer;
  readonly access: "read" | "pointwise" | "write" | "update" | "part";
  readonly base?: VirtualBuffer;
  readonly aliasedOutput?: VirtualBuffer;
  readonly byteOffset?: number;
  /** Of the rows of the buffer only those of some groups. */
  readonly groups?: Groups;
}
/** Groups from one to before another, of those into which rows fall by `offsets`. */
export interface Groups {
  readonly from: number;
  readonly to: number;
  readonly offsets: Key;
  /** The axis of the rows. */
  readonly axis: number;
}
/** Whether two arguments of the same buffer may use the same rows. */
export const meet = ({ groups: a }: Pick<VirtualArg, "groups">, { groups: b }: Pick<VirtualArg, "groups">): boolean =>
  !a || !b || a.offsets !== b.offsets || a.axis !== b.axis || (a.from < b.to && b.from < a.to);
export const isRead = (arg: VirtualArg): boolean => arg.access === "read" || arg.access === "pointwise";
/** What identifies a buffer's memory: the buffer object, or the name of its store, as all buffers of a store are the same memory. */
export type Key = VirtualBuffer | string;
export const memoryKey = (buffer: VirtualBuffer): Key => buffer.store ?? buffer;
/** The buffers that an argument names: its own, and the base of an update. */
export const buffersOfArg = ({ buffer, base }: VirtualArg): readonly VirtualBuffer[] =>
  base ? [buffer, base] : [buffer];
/** Whether this argument may share memory with the output `to` of the same launch. */
export const canAlias = ({ access, aliasedOutput: other }: VirtualArg, to: VirtualBuffer): boolean =>
  access === "pointwise" && (other ?? to) === to;
export interface VirtualLaunch {
  readonly kernel: PlanKernel | CollectiveOp;
  readonly args: readonly VirtualArg[];
  readonly tasks: number;
  /** The number of its first task, if not 0. */
  readonly first?: number;
  /**
   * If its tasks are those of one group of rows after another: how many groups there are, where they begin, and the axis of the rows in each argument of which
   * a task uses those of its group alone.
   */
  readonly byGroup?: {
    readonly groups: number;
    readonly offsets: VirtualBuffer;
    readonly rows: readonly (number | null)[];
  };
  readonly flops: number;
  readonly bytes: number;
  /** The phase of a train entry that it belongs to; the report of bytes counts what is kept from one phase to another. */
  readonly phase: Phase;
  /** It overlaps with the launches after it (overlap.ts). */
  readonly beside?: true;
}
export const isKernel = (k: PlanKernel | CollectiveOp): k is PlanKernel => "text" in k;
export const isCollective = (launch: Pick<VirtualLaunch, "kernel"> | undefined): boolean =>
  launch !== undefined && !isKernel(launch.kernel);
export const isExchange = (launch: Pick<VirtualLaunch, "kernel"> | undefined): boolean =>
  launch !== undefined && !isKernel(launch.kernel) && launch.kernel.name === "exchange";
/** After all launches, store `store` must hold the contents of `from`: in place if all readers of the store have run by then, else by a copy. */
export interface Assign {
  readonly store: string;
  readonly from: VirtualBuffer;
}
/** One entry as launches in topological order, before memory is planned. */
export interface Sequence {
  readonly entry: string;
  readonly launches: readonly VirtualLaunch[];
  readonly assigns: readonly Assign[];
  readonly results: readonly (Pick<PlanResult, "role" | "name"> & { readonly buffer: VirtualBuffer })[];
}
