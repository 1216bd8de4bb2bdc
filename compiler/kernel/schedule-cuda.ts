// Schedules of the CUDA target, where tuning measured none: tiles that warps can hold and that shared memory has room for.
import { ceil } from "./expr.ts";
import type { Choices, Contraction, Schedule } from "./schedule.ts";

/**
 * Tensor cores want 128 columns and rows, 64 x 64 a warp, so that each fragment serves four products; what has fewer, and FMA, takes a
 * smaller tile. Two right operands share the columns, for each has an accumulator.
 */
function contraction({ m, n, operands, short }: Contraction): Schedule {
  const large = short && m >= 128 && n >= 128 && operands <= 2;
  const most = large ? 128 / operands : operands > 2 ? 32 : 64;
  const bn = n > 32 ? most : Math.min(most, ceil(Math.max(n, 1), 16));
  const bm = large ? 128 : m > 32 ? 64 : m > 16 ? 32 : 16;
  return { bm, bn, bk: 32, mc: bm, ragged: true, stream: false };
}
/** Six operands, of 4 bytes, lie in shared memory at once in the backward. */
function attention(width: number): { readonly rows: number; readonly block: number } {
  const side = width <= 64 ? 64 : width <= 128 ? 32 : 16;
  return { rows: side, block: side };
}
export const cudaChoices: Choices = { contraction, attention };
