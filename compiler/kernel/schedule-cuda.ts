// Schedules of the CUDA target, where tuning measured none: tiles that warps can hold and that shared memory has room for.
import { ceil } from "./expr.ts";
import type { Choices, Contraction, Schedule } from "./schedule.ts";

/** Few columns or rows take a smaller tile. Two right operands have an accumulator each. */
function contraction({ m, n, operands }: Contraction): Schedule {
  const most = operands > 2 ? 32 : 64;
  const bn = n > 32 ? most : Math.min(most, ceil(Math.max(n, 1), 16));
  const bm = m > 32 ? 64 : ceil(Math.max(m, 1), 16) > 16 ? 32 : 16;
  return { bm, bn, bk: 32, mc: bm, stream: false };
}
/** Six operands, of 4 bytes, lie in shared memory at once in the backward. */
function attention(width: number): { readonly rows: number; readonly block: number } {
  const side = width <= 64 ? 64 : width <= 128 ? 32 : 16;
  return { rows: side, block: side };
}
export const cudaChoices: Choices = { contraction, attention };
