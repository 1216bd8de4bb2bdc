// Default schedules of the CUDA target: tiles that fit into the registers of the warps and into shared memory.
import { roundUp } from "./expr.ts";
import {
  type AttentionShape,
  type AttentionTile,
  type Choices,
  type Contraction,
  type Pieces,
  partialSumColumns,
  type QueryTasks,
  type Schedule,
} from "./schedule.ts";

/** Multiprocessors of an H100. */
export const multiprocessors = 132;
/** Whether left operands are bf16, and tensor cores multiply. Codes of 8 bits are multiplied as bf16. */
const isShort = ({ isBf16, codes }: Contraction): boolean => isBf16 || codes === "bf16";
/** The bytes of an element of the right operands, which are most of what is read where rows are few. */
const rightBytes = ({ isBf16, codes, fp4 }: Contraction): number => (codes || fp4 ? 1 : isBf16 ? 2 : 4);
/**
 * Tensor cores want tiles of 128 x 128, 64 x 64 for each warp, so that each fragment is used in four products. Smaller results, and FMA, take smaller
 * tiles. So does tf32 (half the columns and depth): its lanes load numbers down the depth one by one, and the addresses take registers. Two right
 * operands share the columns, since each has an accumulator.
 */
function contraction(c: Contraction, tf32: boolean): Schedule {
  const { m, n, operands, pairs, codes } = c;
  const tensor = isShort(c) || codes !== undefined;
  const large = (tensor || tf32) && m >= 128 && n >= 128 && operands <= 2;
  const most = large ? (isShort(c) ? 128 : 64) / operands : operands > 2 ? 32 : 64;
  const bn = n > 32 ? most : Math.min(most, roundUp(Math.max(n, 1), 16));
  const bm = large ? 128 : m > 32 ? 64 : m > 16 ? 32 : 16;
  const bk = codes && pairs === 1 && m <= 64 ? 64 : large && !tensor ? 16 : 32;
  const s = { bm, bn, bk, mc: bm, rowBlockPerTask: true, stream: false };
  return m > (tensor ? 64 : 32) || tilesOf(c, s) >= multiprocessors ? s : { ...s, ...narrow(c, s) };
}
/**
 * With few tiles of few rows, reading the operands takes the time, and each block has few loads in flight: narrow tiles (64 bytes of columns) make
 * more blocks, and deeper stages load more at once. Not of many pairs, which may have stages of their own, nor of several of codes: one may be staged whole,
 * beside the stages of another.
 */
function narrow(c: Contraction, { bm, bn }: Schedule): Pick<Schedule, "bn" | "bk"> {
  if (c.fp4 && !c.isBf16) return { bn: Math.min(bn, 64), bk: c.operands > 1 ? 32 : 64 }; // beside numbers of f32 that codes become
  const bk = c.codes && c.pairs > 1 ? 32 : bm > 32 || c.operands > 1 || c.pairs > 2 ? 64 : 128;
  return { bn: Math.min(bn, 64 / rightBytes(c)), bk };
}
const tilesOf = ({ op, groups, m, n }: Contraction, { bm, bn }: Schedule): number =>
  (op === "ragged_dot" ? 1 : groups) * Math.ceil(m / bm) * Math.ceil(n / bn);
/**
 * A cost model of one GPU. FLOPs per second of a multiprocessor on tensor cores and by FMA; bytes per second of memory, and of the loads of one
 * block; seconds of a launch, and of one addition in a chain.
 */
const gpu = { tensor: 6.7e12, fma: 0.3e12, memory: 2.9e12, block: 3e10, launch: 3e-6, addition: 7.5e-8 };
/** Left operands of f32 are multiplied by codes as the sum of so many bf16. */
const terms = 3;
/** The fraction of a multiprocessor's FLOPs that one block reaches alone; two on a multiprocessor hide each other's latency. */
const singleBlockRate = 0.87;
/**
 * Split K: a result of few tiles, such as a dense layer's weight gradient, leaves multiprocessors idle. Cutting the depth into pieces (of whole
 * stages) gives more tiles, whose f32 results go through memory to be added. Returns the depth of a piece with the least estimated time. A remainder
 * of the depth is expensive: a launch of its own, with few tiles.
 */
function splitK(c: Contraction, tf32: boolean): number {
  const few = c.m <= 64;
  const seconds = (depth: number): number => {
    const count = Math.floor(c.k / depth);
    const s = contraction({ ...c, groups: c.groups * count, k: depth }, tf32);
    const [tasks, width] = [tilesOf(c, s) * count, rightBytes(c)];
    const fastest = isShort(c) ? gpu.tensor : c.codes ? gpu.tensor / terms : tf32 ? gpu.tensor : gpu.fma;
    const rate = fastest * (tasks <= multiprocessors ? singleBlockRate : 1);
    const products = (Math.ceil(tasks / multiprocessors) * 2 * s.bm * s.bn * depth) / rate;
    const asked = ((Math.min(c.m, s.bm) + s.bn) * Math.ceil(tasks / (2 * multiprocessors))) / gpu.block;
    const reads = !few ? 0 : depth * width * Math.max(asked, (s.bn * tasks) / gpu.memory);
    const launches = depth === c.k ? 0 : c.k % depth === 0 ? 1 : 4;
    const sums = launches > 0 ? (8 * Math.min(c.m, s.bm) * s.bn * tasks) / gpu.memory + count * gpu.addition : 0;
    return Math.max(products, reads) + sums + launches * gpu.launch;
  };
  const most = few ? Math.min(128, Math.floor(c.k / 256)) : Math.min(16, Math.floor(c.k / 512));
  const depths = Array.from({ length: Math.max(0, most - 1) }, (_, i) => Math.floor(c.k / (i + 2) / 64) * 64);
  return depths.reduce((best, depth) => (seconds(depth) < seconds(best) ? depth : best), c.k);
}
/** Bytes of shared memory that a block may have on every supported architecture (sm_86 and sm_120 have the least). */
const blockSharedBytes = 99 * 1024;
/** The longest row of an operand that one warp copies: each thread copies the same 16 bytes of every row. */
export const warpRowBytes = 32 * 16;
type ScoreTile = readonly [rows: number, columns: number];
/** Tiles of scores, the largest first. */
const manyRowTiles: readonly ScoreTile[] = [
  [128, 64],
  [64, 64],
  [32, 32],
  [16, 16],
];
/** Up to 32 queries take a warp for each 16. They wait for keys, so as many keys as fit are loaded together. */
const fewRowTiles = (queries: number): readonly ScoreTile[] =>
  [64, 32, 16].map((columns) => [queries <= 16 ? 16 : 32, columns]);
/** The columns that a row of shared memory takes. */
const sharedColumns = (width: number): number => 2 ** Math.ceil(Math.log2(Math.max(width, 16)));
/**
 * Shared memory holds two stages of each operand in the loop: five tiles in the forward, six in the backward; in f32 also an accumulator that is used
 * as an operand. Where registers allow, a warp has two rows of fragments, so that each fragment of keys and values is used in four products.
 */
function attention(shape: AttentionShape): AttentionTile | null {
  const { bytes, backward, queries } = shape;
  const width = Math.max(shape.keys, shape.values);
  const cols = sharedColumns(width);
  if (cols * bytes > warpRowBytes) return backward ? null : wideAttention(shape);
  const few = !backward && queries <= 32 && width <= 128;
  const tiles = few ? fewRowTiles(queries) : manyRowTiles;
  const most = backward ? mostRowsBackward(width) : mostRows(width, bytes, queries);
  const sharedBytes = ([rows, block]: ScoreTile): number =>
    bytes * (backward ? 6 * rows * cols : (rows + 4 * block) * cols) + (bytes === 4 ? rows * block * bytes : 0);
  const tile = tiles.find((t) => t[0] <= most && sharedBytes(t) <= blockSharedBytes);
  return tile ? { rows: tile[0], block: tile[1], separatePasses: backward && width > 128 } : null;
}
const mostRowsBackward = (width: number): number => (width <= 64 ? 64 : width <= 128 ? 32 : 16);
const mostRows = (width: number, bytes: number, queries: number): number =>
  width <= 64 && bytes === 2 && queries > 64 ? 128 : width <= 128 ? 64 : 16;
/**
 * Wider heads, as of latent attention: four warps share the columns of the sums, and each computes all scores of 16 queries. Keys are staged in two
 * parts, so that values that are the first of them take no memory of their own.
 */
function wideAttention({ keys, values, nested, bytes }: AttentionShape): AttentionTile | null {
  const depth = 2 ** Math.floor(Math.log2(keys));
  const columns = depth + (keys > depth ? sharedColumns(keys - depth) : 0);
  // a power of two, so that the first of a warp's columns does not change how shared memory is swizzled
  const sums = sharedColumns(Math.max(values, 64));
  const own = nested && values === depth ? 0 : sums;
  const copies = bytes === 4 ? 4 : 0;
  const sharedBytes = (block: number): number =>
    bytes * (16 * columns + 2 * block * (columns + own) + copies * 16 * block);
  const block = [32, 16].find((n) => sharedBytes(n) <= blockSharedBytes);
  return block === undefined ? null : { rows: 16, block, wide: { depth, columns: sums } };
}
/**
 * Few queries over many keys make few tasks: split 512 keys and more, which take longer than another launch, into as many pieces as fill the
 * multiprocessors. The keys and values of a piece are more bytes than its sums, which that launch joins.
 */
function keyPieces({ texts, heads, blocks, keys, rows }: QueryTasks): Pieces | null {
  const tasks = texts * heads * blocks;
  if (tasks >= multiprocessors || keys < 512) return null;
  const count = Math.min(32, Math.floor(keys / Math.min(256, 4 * rows)), Math.ceil((2 * multiprocessors) / tasks));
  return { count, run: null };
}
/** Pieces of 4096 elements of few long rows (the `cutoff` op); at most 16, as each block of the next round adds up the sums of all of them. */
const cutoffPieces = (rows: number, columns: number): number =>
  rows >= multiprocessors ? 1 : Math.min(16, Math.ceil(columns / 4096));
/** Pieces of at least 2048 elements of few long rows, as many as fill the multiprocessors; one launch combines their results. */
const topKPieces = (rows: number, columns: number): number =>
  rows >= multiprocessors
    ? 1
    : Math.max(1, Math.min(Math.floor((2 * multiprocessors) / rows), Math.floor(columns / 2048)));
/** A block that walks 32768 elements takes about as long as a launch. */
const foldsInside = (rows: number, elements: number): boolean => rows >= multiprocessors || elements <= rows << 15;
/** The bytes of an asynchronous copy, and their alignment; TMA needs the same. */
const copyBytes = 16;
/** The padded length of a row: long rows are aligned so that they can be copied in chunks, and by TMA. */
const pitch = (columns: number, bytes: number): number =>
  columns < 64 ? columns : roundUp(columns, copyBytes / bytes);
/**
 * Elements per task of elementwise kernels: enough blocks for two on each multiprocessor, but at least a group of four for each thread of two warps.
 */
const elementsPerTask = (elements: number): number =>
  Math.min(4096, Math.max(256, 2 ** Math.floor(Math.log2(elements / (2 * multiprocessors)))));
const choicesOf = (tf32: boolean): Choices => ({
  regions: {
    foldsInside,
    outputs: { alike: 12, made: 24 },
    rowOfFew: 1 << 13,
    small: 1 << 20,
    operands: (rows) => (rows <= 64 ? 3 : 2),
    parts: null,
    sums: partialSumColumns,
    gathers: true,
  },
  attention: { tile: attention, keyPieces, fewQueries: 32, transposed: null },
  rows: {
    elementsPerTask,
    shortestRow: 128,
    shortRow: 0,
    mergesSums: false,
    cutsRows: null,
    maxThreadReduction: 16,
    sharedScans: true,
    groupSumColumns: () => 256,
    maxCachedRow: 0,
    cacheElements: Infinity,
    transposeTile: null,
    cutoffPieces,
    topKPieces,
  },
  contraction: (c) => contraction(c, tf32),
  splitK: (c) => splitK(c, tf32),
  form: () => null,
  panel: null,
  pitch,
  pointerAlignment: copyBytes,
  chain: { parts: 8, buffers: 24, shared: blockSharedBytes },
  movesOnly: true,
});
export const cudaChoices = choicesOf(false);
export const cudaTf32Choices = choicesOf(true);
