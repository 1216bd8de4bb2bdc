// Schedules: how a contraction is cut, as data. No schedule changes a bit of the result: the depth of one element is always summed in
// order.
import { ceil } from "./expr.ts";

export interface Schedule {
  /** Rows and columns of an accumulator, and how deep a piece of the contraction is. */
  readonly bm: number;
  readonly bn: number;
  readonly bk: number;
  /** Rows that one task walks. */
  readonly mc: number;
  /** The result is larger than the caches. */
  readonly stream: boolean;
}
/** `width`: of an accumulator's columns in all, for the right operands that share it. */
export function contraction(m: number, n: number, groups: number, operands = 1): Schedule {
  const bn = Math.min(operands === 1 ? 64 : 32, ceil(Math.max(n, 1), 16));
  const columns = groups * Math.ceil(n / bn);
  const cuts = Math.min(Math.ceil(tasks / Math.max(1, columns)), Math.ceil(m / 48));
  return { bm: 48, bn, bk: 1024, mc: ceil(Math.ceil(m / Math.max(1, cuts)), 48), stream: false };
}
/** Tasks enough for the threads of one machine. */
const tasks = 32;
