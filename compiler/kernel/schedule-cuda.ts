// Schedules of the CUDA target, where tuning measured none: tiles that warps can hold and that shared memory has room for.
import { ceil } from "./expr.ts";
import { type AttentionTile, type Choices, type Contraction, type Schedule, sums } from "./schedule.ts";

/** Multiprocessors of an H100. */
export const processors = 132;
/**
 * Tensor cores want 128 columns and rows, 64 x 64 a warp, so that each fragment serves four products; what has fewer, and FMA, takes a
 * smaller tile. So does tf32, half the columns and depth: lanes load numbers that lie down the depth one by one, and their addresses take
 * registers. Two right operands share the columns, for each has an accumulator.
 */
function contraction(c: Contraction, tf32: boolean): Schedule {
  const { m, n, operands, short } = c;
  const large = (short || tf32) && m >= 128 && n >= 128 && operands <= 2;
  const most = large ? (short ? 128 : 64) / operands : operands > 2 ? 32 : 64;
  const bn = n > 32 ? most : Math.min(most, ceil(Math.max(n, 1), 16));
  const bm = large ? 128 : m > 32 ? 64 : m > 16 ? 32 : 16;
  const s = { bm, bn, bk: large && !short ? 16 : 32, mc: bm, ragged: true, stream: false };
  return m > (short ? 64 : 32) || tilesOf(c, s) >= processors ? s : { ...s, ...narrow(c, s) };
}
/**
 * Of few tiles of few rows the time is that of reading operands, and each block asks for little at a time: columns of 64 bytes make more blocks, and deeper
 * stages ask for more.
 */
function narrow({ operands, short }: Contraction, { bm, bn }: Schedule): Pick<Schedule, "bn" | "bk"> {
  return { bn: Math.min(bn, short ? 32 : 16), bk: bm > 32 || operands > 1 ? 64 : 128 };
}
const tilesOf = ({ op, groups, m, n }: Contraction, { bm, bn }: Schedule): number =>
  (op === "ragged_dot" ? 1 : groups) * Math.ceil(m / bm) * Math.ceil(n / bn);
/**
 * Reckoned: FLOPs a second of one of them, on tensor cores or by FMA; bytes a second of memory, and those that a block asks for; seconds of a launch, and
 * of a piece in a chain of additions.
 */
const gpu = { tensor: 6.7e12, fma: 0.3e12, memory: 2.9e12, block: 3e10, launch: 3e-6, addition: 7.5e-8 };
/** Of one block; two hide each other's waits. */
const alone = 0.87;
/**
 * A result of few tiles leaves multiprocessors idle, as weight gradients of dense layers do. In pieces of its depth, of whole stages, there are more
 * tiles, of f32, which go through memory to be added: the pieces that are reckoned to be the quickest. What is left of the depth is a launch of few
 * tiles, and dear.
 */
function piece(c: Contraction, tf32: boolean): number {
  const few = c.m <= 64;
  const seconds = (depth: number): number => {
    const count = Math.floor(c.k / depth);
    const s = contraction({ ...c, groups: c.groups * count, k: depth }, tf32);
    const [tasks, width] = [tilesOf(c, s) * count, c.short ? 2 : 4];
    const rate = (c.short || tf32 ? gpu.tensor : gpu.fma) * (tasks <= processors ? alone : 1);
    const products = (Math.ceil(tasks / processors) * 2 * s.bm * s.bn * depth) / rate;
    const asked = ((Math.min(c.m, s.bm) + s.bn) * Math.ceil(tasks / (2 * processors))) / gpu.block;
    const reads = !few ? 0 : depth * width * Math.max(asked, (s.bn * tasks) / gpu.memory);
    const launches = depth === c.k ? 0 : c.k % depth === 0 ? 1 : 4;
    const sums = launches > 0 ? (8 * Math.min(c.m, s.bm) * s.bn * tasks) / gpu.memory + count * gpu.addition : 0;
    return Math.max(products, reads) + sums + launches * gpu.launch;
  };
  const most = few ? Math.min(128, Math.floor(c.k / 256)) : Math.min(16, Math.floor(c.k / 512));
  const depths = Array.from({ length: Math.max(0, most - 1) }, (_, i) => Math.floor(c.k / (i + 2) / 64) * 64);
  return depths.reduce((best, depth) => (seconds(depth) < seconds(best) ? depth : best), c.k);
}
/** Bytes of shared memory that a block may have on every architecture (sm_86 and sm_120 have the least). */
const room = 99 * 1024;
/** Wider accumulators do not fit a warp's registers. */
const widest = 256;
/** Rows and columns of scores, the largest first; of few rows they are one warp's. */
const manyRows = [
  [128, 64],
  [64, 64],
  [32, 32],
  [16, 16],
] as const;
const fewRows = [
  [16, 64],
  [16, 32],
  [16, 16],
] as const;
/**
 * Of operands in a loop two stages are held: five in the forward, six in the backward; in f32 an accumulator that is one, too. Two rows of fragments a warp, where
 * registers allow, let each fragment of keys and values serve four products.
 */
function attention(width: number, bytes: number, backward: boolean, queries: number): AttentionTile | null {
  if (width > widest) return null;
  const cols = 2 ** Math.ceil(Math.log2(Math.max(width, 16)));
  const few = !backward && queries <= 16 && width <= 128;
  const tiles = few ? fewRows : manyRows;
  const most = backward
    ? width <= 64
      ? 64
      : width <= 128
        ? 32
        : 16
    : width <= 64 && bytes === 2
      ? 128
      : width <= 128
        ? 64
        : 16;
  const held = ([rows, block]: readonly [number, number]): number =>
    bytes * (backward ? 6 * rows * cols : (rows + 4 * block) * cols) + (bytes === 4 ? rows * block * bytes : 0);
  // a row's groups of 16 bytes are no more than the threads of a block, two for each of its rows
  const tile = tiles.find((t) => t[0] <= most && held(t) <= room && (cols * bytes) / 16 <= 2 * t[0]);
  return tile ? { rows: tile[0], block: tile[1], apart: backward && width > 128 } : null;
}
/** A query over a long past is few tasks: as many pieces of 256 keys or more as there are places for. */
function keyPieces(tasks: number, keys: number): number {
  if (tasks >= processors) return 1;
  return Math.max(1, Math.min(32, Math.floor(keys / 256), Math.ceil((2 * processors) / tasks)));
}
/** Blocks that search few long rows: pieces of 4096, at most 16, for all their sums are added up by each block of the next round. */
const rowPieces = (rows: number, columns: number): number =>
  rows >= processors ? 1 : Math.min(16, Math.ceil(columns / 4096));
/** One launch joins what pieces leave: as many of 2048 or more as there are places for. */
const searchPieces = (rows: number, columns: number): number =>
  rows >= processors ? 1 : Math.max(1, Math.min(Math.floor((2 * processors) / rows), Math.floor(columns / 2048)));
/** A block that walks so many elements takes about as long as a launch. */
const foldsInside = (rows: number, elements: number): boolean => rows >= processors || elements <= rows << 15;
/** Bytes that copies and TMA take at once, at multiples of as many. */
const chunk = 16;
/** Long rows begin so that they are copied by chunks, and TMA can take boxes of them. */
const pitch = (columns: number, bytes: number): number => (columns < 64 ? columns : ceil(columns, chunk / bytes));
/** Blocks for all multiprocessors, two for each, of a group of four for each thread of two warps or more. */
const points = (elements: number): number =>
  Math.min(4096, Math.max(256, 2 ** Math.floor(Math.log2(elements / (2 * processors)))));
const choicesOf = (tf32: boolean): Choices => ({
  contraction: (c) => contraction(c, tf32),
  piece: (c) => piece(c, tf32),
  attention,
  keyPieces,
  rowPieces,
  searchPieces,
  foldsInside,
  rowOfFew: 1 << 13,
  small: 1 << 14,
  operands: (rows) => (rows <= 64 ? 3 : 2),
  chain: { parts: 8, shared: room },
  sums,
  pitch,
  steps: chunk,
  points,
  together: 128,
  alone: 16,
  movesOnly: true,
});
export const cudaChoices = choicesOf(false);
export const cudaTf32Choices = choicesOf(true);
