// Schedules of the sm_90a variants (emit/cuda/hopper.ts): two warpgroups hold 64 rows of an accumulator each, so 256 columns take 128 registers of a
// thread.
import type { Contraction, Schedule } from "./schedule.ts";
import { multiprocessors } from "./schedule-cuda.ts";

/**
 * Null where mma.sync is as good, few rows or columns, or a depth of less than two stages, and for operands that are not bf16: TMA copies what it is
 * given, so codes of 8 bits would not be widened on their way to wgmma. Two right operands share the
 * columns. Wide tiles are halved where they are fewer than the multiprocessors (`places`).
 */
export function hopperChoice(c: Contraction, places = multiprocessors): Schedule | null {
  const { op, groups, m, n, k, operands, isBf16 } = c;
  if (!isBf16 || operands > 2 || m < 128 || n < 128 || k < 128) return null;
  const tiles = (op === "ragged_dot" ? 1 : groups) * Math.ceil(m / 128) * Math.ceil(n / 256);
  const wide = operands === 1 && tiles >= places && (n % 256 === 0 || n > 1024);
  return { bm: 128, bn: wide ? 256 : 128, bk: 64, mc: 128, rowBlockPerTask: true, stream: false };
}
