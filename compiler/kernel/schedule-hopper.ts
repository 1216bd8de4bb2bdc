// Schedules of the kernels for sm_90a: two warpgroups hold 64 rows each of an accumulator, so 256 columns are 128 registers of a thread.
import type { Contraction, Schedule } from "./schedule.ts";

/** Null where mma.sync does it as well: operands that are not bf16, few rows or columns, a depth of one stage. Two right operands share the columns. */
export function hopperChoice({ m, n, k, operands, short }: Contraction): Schedule | null {
  if (!short || operands > 2 || m < 128 || n < 128 || k < 128) return null;
  const wide = operands === 1 && (n % 256 === 0 || n > 1024);
  return { bm: 128, bn: wide ? 256 : 128, bk: 64, mc: 128, ragged: true, stream: false };
}
