// Places blocks of memory in the arena, by size and by the launches that use them.

/** A block of memory that is in use from launch `first` to launch `last`, both inclusive. */
interface MemoryBlock {
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
}
/** A block with its offset; `end` includes alignment and gap. */
interface Placed {
  readonly block: MemoryBlock;
  readonly offset: number;
  readonly end: number;
}
/** Granularity of placement in bytes: `alignment`: the alignment of every block; `gap`: unused bytes after each block of 1 MiB or more. */
export interface Grain {
  readonly alignment: number;
  readonly gap: number;
}
/**
 * Aligned to cache lines. The gap keeps large blocks from having equal addresses modulo the page size: a load waits for recent stores whose
 * addresses have the same last 12 bits (4K aliasing; on Zen 4 that is 10 to 80% of a softmax).
 */
export const hostGrain: Grain = { alignment: 64, gap: 25 * 64 };
/** Aligned to 256 bytes, two cache lines of 128, so that a row of a TMA box, or what a warp reads together, touches no more lines than it must. */
export const cudaGrain: Grain = { alignment: 256, gap: 0 };
/** The bytes that a block takes up, alignment and gap included. */
export const placedBytes = (bytes: number, { alignment, gap }: Grain = hostGrain): number =>
  Math.ceil(bytes / alignment) * alignment + (bytes >= 2 ** 20 ? gap : 0);

/**
 * Offsets such that blocks alive at the same time do not overlap. Greedy by decreasing size, into the smallest gap that fits (Pisarchyk and Lee,
 * 2020, "Efficient memory management for deep neural net inference"): within 2% of the peak of live bytes on training steps.
 */
export function place(
  blocks: readonly MemoryBlock[],
  grain: Grain = hostGrain,
): {
  readonly offsets: ReadonlyMap<MemoryBlock, number>;
  readonly bytes: number;
} {
  const placed: Placed[] = [];
  const offsets = new Map<MemoryBlock, number>();
  let bytes = 0;
  for (const block of blocks.toSorted((a, b) => b.bytes - a.bytes || a.first - b.first)) {
    const offset = bestFit(placed, block, grain);
    const end = offset + placedBytes(block.bytes, grain);
    offsets.set(block, offset);
    bytes = Math.max(bytes, end);
    if (end > offset) insert(placed, { block, offset, end });
  }
  return { offsets, bytes };
}
/** The smallest free gap, among blocks alive at the same time, that the block fits in; else the end. `placed` is sorted by offset. */
function bestFit(placed: readonly Placed[], block: MemoryBlock, grain: Grain): number {
  let free = 0;
  let best = -1;
  let slack = Number.POSITIVE_INFINITY;
  for (const { block: other, offset, end } of placed) {
    if (other.last < block.first || block.last < other.first) continue;
    const left = offset - free - placedBytes(block.bytes, grain);
    if (left >= 0 && left < slack) [best, slack] = [free, left];
    free = Math.max(free, end);
  }
  return best < 0 ? free : best;
}
/** Inserts by offset. */
function insert(placed: Placed[], block: Placed): void {
  let i = placed.length;
  while (i > 0 && (placed[i - 1]?.offset ?? 0) > block.offset) i--;
  placed.splice(i, 0, block);
}
