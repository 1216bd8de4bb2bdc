/** A block needed from `first` to `last`, both included. */
export interface Block {
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
}
interface Placed {
  readonly block: Block;
  readonly offset: number;
  readonly end: number;
}
/** How memory is dealt, in bytes: what every block begins at a multiple of, and a gap that follows large ones. */
export interface Grain {
  readonly begin: number;
  readonly gap: number;
}
/**
 * Lines. With a gap blocks of whole pages do not all begin alike: a load waits for the stores just before it whose addresses have the same last 12
 * bits (on Zen 4 that is 10 to 80% of a softmax).
 */
export const hostGrain: Grain = { begin: 64, gap: 25 * 64 };
/** Two lines, of which a row of a box, or what a warp reads together, then takes no more than it must. */
export const cudaGrain: Grain = { begin: 256, gap: 0 };
/** What a block takes. */
export const align = (bytes: number, { begin, gap }: Grain = hostGrain): number =>
  Math.ceil(bytes / begin) * begin + (bytes >= 2 ** 20 ? gap : 0);

/**
 * Offsets such that blocks alive at once do not meet. Greedy by size, into the smallest gap that fits (Pisarchyk and Lee, 2020,
 * "Efficient memory management for deep neural net inference"): within 2% of the most bytes alive at once on training steps.
 */
export function place(
  blocks: readonly Block[],
  grain: Grain = hostGrain,
): {
  readonly offsets: ReadonlyMap<Block, number>;
  readonly bytes: number;
} {
  const placed: Placed[] = [];
  const offsets = new Map<Block, number>();
  let bytes = 0;
  for (const block of blocks.toSorted((a, b) => b.bytes - a.bytes || a.first - b.first)) {
    const offset = bestGap(placed, block, grain);
    const end = offset + align(block.bytes, grain);
    offsets.set(block, offset);
    bytes = Math.max(bytes, end);
    if (end > offset) insert(placed, { block, offset, end });
  }
  return { offsets, bytes };
}
function bestGap(placed: readonly Placed[], block: Block, grain: Grain): number {
  let free = 0;
  let best = -1;
  let slack = Number.POSITIVE_INFINITY;
  for (const { block: other, offset, end } of placed) {
    if (other.last < block.first || block.last < other.first) continue;
    const left = offset - free - align(block.bytes, grain);
    if (left >= 0 && left < slack) [best, slack] = [free, left];
    free = Math.max(free, end);
  }
  return best < 0 ? free : best;
}
/** Keeps `placed` in order of offset. */
function insert(placed: Placed[], block: Placed): void {
  let i = placed.length;
  while (i > 0 && (placed[i - 1]?.offset ?? 0) > block.offset) i--;
  placed.splice(i, 0, block);
}
