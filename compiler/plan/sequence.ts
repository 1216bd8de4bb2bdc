// A lowered graph before memory is planned: launches over virtual buffers, in an order that respects every dependence.
import { Bug } from "../diagnostic.ts";
import type { DType } from "../types/dtype.ts";
import type { Layout, Phase, PlanKernel, PlanResult, Together } from "./plan.ts";

/** Identity is the object. `store`: it is that store's memory (what `param` reads). */
export interface VirtualBuffer {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly layout: Layout;
  readonly bytes: number;
  readonly store: string | null;
}
/**
 * read: the whole buffer may be read at any time of the launch. pointwise: element i is read only by the task that writes element i of any of the
 * written buffers of the same shape and layout, before it writes it, so both may be the same memory. write: every valid element is written.
 * update: some elements are written, the others keep what `base` (an argument's buffer, not otherwise read) holds: same memory, or a copy first.
 * part: some elements are written, all others by other launches. `with`: pointwise, and so only with that buffer of those written. `shift`: the kernel is given the buffer from so many bytes on, and reads or writes
 * no element past its end.
 */
export interface VirtualArg {
  readonly buffer: VirtualBuffer;
  readonly access: "read" | "pointwise" | "write" | "update" | "part";
  readonly base?: VirtualBuffer;
  readonly with?: VirtualBuffer;
  readonly shift?: number;
}
/** Whether an argument that is read pointwise may be where `to`, which the same launch writes, is. */
export const isOver = ({ access, with: other }: VirtualArg, to: VirtualBuffer): boolean =>
  access === "pointwise" && (other ?? to) === to;
export interface VirtualLaunch {
  readonly kernel: PlanKernel | Together;
  readonly args: readonly VirtualArg[];
  readonly tasks: number;
  readonly flops: number;
  readonly bytes: number;
  /** "forward" or "backward" of a train entry, for the report of what is kept between them. */
  readonly phase: Phase;
}
export const isKernel = (k: PlanKernel | Together): k is PlanKernel => "text" in k;
/** Of a launch that is none of what workers do together. */
export function kernelOf({ kernel }: Pick<VirtualLaunch, "kernel">): PlanKernel {
  if (!isKernel(kernel)) throw new Bug(`${kernel.name} has no kernel`);
  return kernel;
}
/** After all launches, store `store` holds what `from` holds: in place where every reader of the store has run before, else by a copy. */
export interface Assign {
  readonly store: string;
  readonly from: VirtualBuffer;
}
export interface Sequence {
  readonly entry: string;
  readonly launches: readonly VirtualLaunch[];
  readonly assigns: readonly Assign[];
  readonly results: readonly (Pick<PlanResult, "role" | "name"> & { readonly buffer: VirtualBuffer })[];
}
