// Schedules: how a contraction is cut into tasks and blocks, as data; and `Choices`, all that a target decides about kernels. No schedule changes a
// bit of a result: the sum over the depth is always in order.
import { fp4Group } from "../graph/codes.ts";
import type { FuseOptions } from "../regions/fuse.ts";
import { roundUp } from "./expr.ts";
import type { OperandForm } from "./ir.ts";

export interface Schedule {
  /** Rows and columns of an accumulator, and the depth of a block. */
  readonly bm: number;
  readonly bn: number;
  readonly bk: number;
  /** Rows that one task covers, in blocks of `bm`. */
  readonly mc: number;
  /** A task takes one block of rows (`mc` is `bm`), in a ragged contraction too, instead of all rows of a group. */
  readonly rowBlockPerTask?: boolean;
  /** Tasks of a ragged_dot are ordered by columns, then by group, so that threads share the few groups that few rows choose evenly. */
  readonly across?: boolean;
  /** How many tasks share the rows of a group of a ragged_dot; one if not given. */
  readonly parts?: number;
  /** Use non-temporal stores, as the result is larger than the caches. */
  readonly stream: boolean;
}
/**
 * A product [m, n] of depth k in each of `groups`, with one left and `operands` right operands. `op`: the op whose kernel it is. `k`: the depth of
 * all `pairs` together. (In a ragged_dot m is the rows of all groups.)
 */
export interface Contraction {
  readonly op: "dot" | "ragged_dot" | "ragged_outer";
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly groups: number;
  readonly operands: number;
  /** Pairs of operands whose products are summed in one accumulator. */
  readonly pairs: number;
  /** All operands are bf16. */
  readonly isBf16: boolean;
  /** All right operands are codes of 8 bits: the dtype of the left ones. Absent: they are numbers. */
  readonly codes?: "f32" | "bf16";
  /** Some right operand is codes of 4 bits, whose groups of rows no block of the depth cuts. Absent: none is. */
  readonly fp4?: true;
  /** The left operand lies in memory with its depth as the first axis, as in a weight gradient. */
  readonly isLeftTransposed: boolean;
}
/** The key of measured schedules, such as `ragged_dot 4096 x 256 x 128, 8 groups, 2 operands`. */
export const contractionKey = ({
  op,
  m,
  n,
  k,
  groups,
  operands,
  pairs,
  isBf16,
  codes,
  fp4,
  isLeftTransposed,
}: Contraction): string =>
  [
    `${op} ${m} x ${n} x ${k}`,
    ...(groups > 1 ? [`${groups} groups`] : []),
    ...(operands > 1 ? [`${operands} operands`] : []),
    ...(pairs > 1 ? [`${pairs} pairs`] : []),
    ...(isBf16 ? ["bf16"] : []),
    ...(codes ? [`${codes} by codes`] : []),
    ...(fp4 ? ["fp4"] : []),
    ...(isLeftTransposed && op === "dot" ? ["outer"] : []),
  ].join(", ");
/** What the tile of attention is chosen by. */
export interface AttentionShape {
  /** The widths of a key and of a value. */
  readonly keys: number;
  readonly values: number;
  /** Values are the first elements of the keys. */
  readonly nested: boolean;
  /** The bytes of an element. */
  readonly bytes: number;
  readonly backward: boolean;
  /** Of a task's head or heads. */
  readonly queries: number;
}
export interface AttentionTile {
  readonly rows: number;
  readonly block: number;
  /** For wide heads: the columns of queries and keys that are one operand, and those of the sums; all, and the width of values, if not given. */
  readonly wide?: Readonly<Record<"depth" | "columns", number>>;
  /** The end of the loop over keys, the last visible key, is rounded up to a multiple of this; of `block` if not given. */
  readonly endMultiple?: number;
  /** The gradients of keys and of values are computed in two passes, as registers do not hold both. */
  readonly separatePasses?: boolean;
}
/** The tasks of an attention: `blocks` of up to `rows` rows for each of `heads` heads of `texts` sequences. */
export interface QueryTasks {
  readonly texts: number;
  readonly heads: number;
  /** The queries of a sequence. */
  readonly queries: number;
  readonly blocks: number;
  readonly rows: number;
  readonly keys: number;
}
/** `count` pieces of keys take runs of `run` keys in turn; null: each takes an equal share of those that are visible. */
export interface Pieces {
  readonly count: number;
  readonly run: number | null;
}
/** What a target decides about the kernels of attention. */
export interface AttentionChoices {
  /** The tile; null if heads are too wide. */
  tile(shape: AttentionShape): AttentionTile | null;
  /** The pieces into which the keys of a task are split; null: they are not. */
  keyPieces(tasks: QueryTasks): Pieces | null;
  /** So many queries of a head are few: the heads that share keys are then rows of one task, which reads the keys once. */
  readonly fewQueries: number;
  /**
   * Scores are transposed (attention-host.ts), unless queries are few. queries: of a block. The backward is one kernel if there are at least `heads`
   * heads of keys, and dk and dv of one have at most `maxGradients` elements. null: they never are.
   */
  readonly transposed: Readonly<Record<"queries" | "heads" | "maxGradients", number>> | null;
}
/** What a target decides about the kernels of rows: elementwise results, reductions, `top_k`, scans. */
interface RowChoices {
  /** Elements per task of an elementwise kernel, given the total; null: a constant of the kernel writer. */
  readonly elementsPerTask: ((elements: number) => number) | null;
  /** Rows shorter than this are taken together by one task. */
  readonly shortestRow: number;
  /** The longest rows that get one lane each; 0: none do. */
  readonly shortRow: number;
  /** Whether sums over one row are one loop: of it and of the squares about its mean (`moments`), or of the same function or columns (`several`). */
  readonly mergesSums: boolean;
  /** Loops are cut at the ends of the rows that they walk along, unless groups of so many lanes end there; null: they are not (row-ends.ts). */
  readonly cutsRows: number | null;
  /** The longest reduction that a thread does alone; longer ones are shared by all threads of a task. */
  readonly maxThreadReduction: number;
  /** Whether all threads of a task share the running sum of a row; else a thread computes it alone, in order. */
  readonly sharedScans: boolean;
  /** How many columns of the sum of a group's rows one task adds up, given all. */
  groupSumColumns(columns: number): number;
  /** The most elements of a row that a task may cache in a local buffer. */
  readonly maxCachedRow: number;
  /** The largest result, in elements, that may still be in the caches when a later kernel reads it. */
  readonly cacheElements: number;
  /** The side of the square tile of a result of at least so many elements that reads an operand down its columns; null: it is made row by row. */
  readonly transposeTile: { readonly side: number; readonly least: number } | null;
  /** Into how many pieces each of `rows` rows is split by `cutoff`, and by a `top_k` with k = 1; 1: it is not. */
  cutoffPieces(rows: number, columns: number): number;
  topKPieces(rows: number, columns: number): number;
}
/** What a target decides about regions and kernels. */
export interface Choices {
  readonly regions: FuseOptions;
  readonly attention: AttentionChoices;
  readonly rows: RowChoices;
  contraction(c: Contraction): Schedule;
  /** Split K: the depth of the pieces into which a product of one pair of operands is cut; c.k if it is not. The pieces' results are added. */
  splitK(c: Contraction): number;
  /** The form of the operands if they are not multiplied as plain f32 numbers; null if they are. */
  form(c: Contraction): OperandForm | null;
  /** Columns of a register tile, and so of a weight's panel; null: weights lie in rows. */
  readonly panel: number | null;
  /** The padded length of a row of temporaries, prepared stores and codes, in elements, given the bytes of an element; null: rows are not padded. */
  readonly pitch: ((columns: number, bytes: number) => number) | null;
  /** Where a loop's kernels get pointers to the step they use, these are aligned to so many bytes. */
  readonly pointerAlignment: number;
  /**
   * Kernels of one task become parts of one kernel: up to `parts` of them, that use `buffers` buffers (whose addresses take registers) and `shared` bytes
   * of shared memory. null: none do.
   */
  readonly chain: Readonly<Record<"parts" | "buffers" | "shared", number>> | null;
  /** Collectives only move bytes: sums over workers become a move followed by a reduction kernel (legalize.ts). */
  readonly movesOnly: boolean;
}
/**
 * Columns of a partial sum: one vector on the host, two mma tiles (held by four lanes) on CUDA. Every schedule's accumulator has at least so many.
 */
export const partialSumColumns = 16;
const cacheElements = 1 << 22;
/** A number of tasks that is enough for a few threads. */
const tasks = 32;
const fewQueries = 8;
/** The fewest keys of a run. */
const leastRun = 512;
/** Pieces that follow from the heads and the keys alone: a query has the same bits alone, beside others of its text, and beside other texts. */
function keyPieces({ heads, queries, keys }: QueryTasks): Pieces | null {
  const count = Math.min(Math.ceil(16 / heads), Math.floor(keys / leastRun));
  if (count <= 1 || queries > fewQueries) return null;
  const rounds = Math.floor(keys / (count * leastRun));
  return { count, run: roundUp(keys / (count * rounds), 64) };
}
export const hostChoices: Choices = {
  regions: {
    foldsInside: (rows, elements) => rows >= 16 || elements <= 1 << 14,
    outputs: { alike: 12, made: 12 },
    rowOfFew: 256,
    small: 0,
    operands: (rows) => (rows <= 3 ? 3 : 2), // PAIRED_ROWS of runtime/device/tile.hpp
    parts: 12,
    sums: partialSumColumns,
    gathers: false,
  },
  attention: {
    tile: ({ backward, queries }) =>
      backward ? { rows: 48, block: 64 } : { rows: Math.min(48, queries), block: 64, endMultiple: 16 },
    keyPieces,
    transposed: { queries: 64, heads: tasks, maxGradients: 1 << 20 },
    fewQueries,
  },
  rows: {
    elementsPerTask: null,
    shortestRow: 16,
    shortRow: 15,
    mergesSums: true,
    cutsRows: 16,
    maxThreadReduction: 0,
    sharedScans: false,
    groupSumColumns: (columns) => Math.min(256, roundUp(columns, partialSumColumns)),
    maxCachedRow: 1 << 16,
    cacheElements,
    transposeTile: { side: 64, least: 1 << 16 },
    cutoffPieces: () => 1,
    topKPieces: () => 1,
  },
  contraction: (c) => contraction(c, 16, tasks),
  splitK: splitKOfFew,
  form: () => null,
  panel: null,
  pitch: null,
  pointerAlignment: 1,
  chain: null,
  movesOnly: false,
};
/** Special multiply instructions: "tiles" multiply tiles of bf16 (AMX), "words" add two products of bf16 to an f32 sum (AVX512-BF16). */
export type MultiplyInstructions = "tiles" | "words";
/** Whether the result is so small that there would be few tasks. */
const isFew = ({ groups, m, n }: Contraction): boolean => groups * m * n <= 1 << 15;
/** Split K for small results of a long depth: the most equal pieces, up to 16, of at least 256 each. */
function splitKOfFew(c: Contraction): number {
  if (!isFew(c) || c.k < 1024) return c.k;
  for (let p = Math.min(16, Math.floor(c.k / 256)); p > 1; p--) if (c.k % p === 0) return c.k / p;
  return c.k;
}
/** The host's choices for an instruction set (the columns of its register tile, its special instructions) and a number of threads. */
export const hostChoicesOf = (panel: number, products: MultiplyInstructions | null = null, threads = 2): Choices => {
  const wanted = Math.max(tasks, 4 * threads);
  const choice = (c: Contraction): Schedule =>
    products === "tiles" && usesTerms(c)
      ? termsContraction(c, wanted)
      : balanceTasks(c, contraction(c, panel, wanted), threads, panel);
  return {
    ...hostChoices,
    panel,
    contraction: choice,
    form: (c) => (products ? formOf(c, products) : null),
  };
};
/** The number of threads that schedules are made for: rounded up to a power of two, so that few different ones exist. */
export const scheduledThreads = (threads: number): number => 2 ** Math.ceil(Math.log2(Math.max(threads, 2)));
function formOf(c: Contraction, products: MultiplyInstructions): OperandForm | null {
  if (products === "words") return c.isBf16 || (c.codes === "bf16" && rowsOf(c) > fewRows) ? "words" : null;
  return usesTerms(c) ? termsOf(c) : null;
}
/** The terms of operands: one where bf16 holds them exactly, as it holds codes. */
export const termsOf = ({ isBf16, codes }: Pick<Contraction, "isBf16" | "codes">): OperandForm =>
  isBf16 || codes === "bf16" ? "term" : "terms";
const rowsOf = ({ op, m, groups }: Contraction): number => (op === "ragged_dot" ? m / groups : m);
/** Whether splitting into terms pays: enough rows, columns and depth must share the terms of a matrix. */
function usesTerms(c: Contraction): boolean {
  const depth = c.op === "ragged_outer" ? c.k / c.groups : c.k;
  return rowsOf(c) >= 32 && depth >= 32 && c.n >= 16;
}
/**
 * Rounds blocks up to what one instruction sums at once, a tile of 16 x 32 or a word, so that every schedule sums in the same way; of codes of 4 bits to whole groups,
 * and to whole panels (of `panel` columns), for others are summed without groups.
 */
export function alignBlocks(s: Schedule, form: OperandForm | null, c?: Contraction, panel?: number | null): Schedule {
  if (c?.fp4) {
    const bn = panel ? Math.min(roundUp(s.bn, panel), roundUp(Math.max(c.n, 1), 16)) : s.bn;
    return { ...alignBlocks(s, form), bn, bk: roundUp(s.bk, fp4Group) };
  }
  if (form === null) return s;
  if (form === "words") return { ...s, bk: roundUp(s.bk, 2) };
  const bm = roundUp(s.bm, 32);
  return { ...s, bm, bk: roundUp(s.bk, 32), mc: roundUp(s.mc, bm) };
}
/** Whether rows of so many columns begin at multiples of a vector, which non-temporal stores need. */
export const hasWholeVectors = (columns: number): boolean => columns % 16 === 0;
/**
 * The schedule of a product of terms (AMX). A task makes the terms of its rows, so it takes as many columns as leave enough tasks for all threads.
 * With its depth in one block it holds only a strip of the accumulator at a time. Otherwise (a deep product, or a ragged depth) whole accumulators
 * and the terms stay in L2.
 */
function termsContraction({ op, m, n, k, groups, operands }: Contraction, most: number): Schedule {
  const outer = op === "ragged_outer";
  const whole = !outer && k <= 2048;
  const bm = op === "ragged_dot" ? 128 : evenPart(m, outer ? 256 : 128, 32);
  const taken = groups * (op === "ragged_dot" ? 1 : Math.ceil(m / bm));
  const flops = 2 * m * n * k * operands * (op === "dot" ? groups : 1);
  const wanted = Math.min(most, Math.max(16, Math.floor(flops / minTaskFlops)));
  const widest = whole ? n : evenPart(n, outer ? 768 : 1024, 64);
  const least = Math.max(whole ? 64 : 256, roundUp(n / Math.ceil(wanted / taken), 64));
  const size = (op === "ragged_dot" ? 1 : groups) * m * n;
  return {
    bm,
    bn: Math.min(roundUp(n, 16), roundUp(widest, 16), least),
    bk: whole ? roundUp(k, 32) : outer ? 256 : 512,
    mc: bm,
    stream: size > cacheElements && hasWholeVectors(n),
  };
}
/** The fewest FLOPs of such a task, a tenth of a millisecond: smaller ones cost more than sharing them gains. */
const minTaskFlops = 1 << 26;
/** The length of n's parts if cut evenly into as few as `most` allows, rounded up to `unit`. */
const evenPart = (n: number, most: number, unit: number): number => roundUp(n / Math.ceil(n / most), unit);
/** With at most so many rows weights are read in place (FEW_ROWS in runtime/device/tile.hpp). */
const fewRows = 24;
/**
 * The default schedule on the host. A ragged_dot takes its whole depth and few columns, so that the accumulator stays in L1, as long as a strip of a
 * register tile's columns fits into L2 with the rows. Deeper ones take blocks of the depth for all rows of a group; a dot would read the operand
 * again for each block of rows, so its task takes one block, which stays in L2 from column to column. Few rows of bf16, in several register tiles, take
 * short blocks, as the next block is what they prefetch. A weight gradient copies both operands, so its blocks are wide, and with AVX-512 tall: the accumulator
 * and what is copied fill half of L2, and a strip of the copied rows L1. `panel`: columns of a register tile; if its rows are whole cache lines, weight
 * gradients, which only the optimizer reads, get non-temporal stores.
 */
function contraction(
  { op, m, n, k, groups, operands, isBf16, isLeftTransposed }: Contraction,
  panel: number,
  tasks: number,
): Schedule {
  const [whole, wide] = [op === "ragged_dot" && k <= 768, panel > 16];
  const few = op === "dot" && m > 6 && m <= fewRows && isBf16;
  const tall = isLeftTransposed && wide && m > 192;
  const copied = tall && !isBf16 ? 128 : 256;
  // The head's transpose may be a table in rows, of which each task copies its own block.
  const ofHead = op === "dot" && m > 192 && k > 4096 && !isBf16;
  const deep = few || !wide || isLeftTransposed ? copied : operands > 1 || ofHead ? 512 : 1024;
  const [rows, bk] = whole ? [192, 768] : isLeftTransposed || k > 512 ? [tall ? 258 : 192, deep] : [48, 512];
  const most = isLeftTransposed ? (wide ? 256 : 128) : whole ? Math.max(32, panel) : 64;
  // A narrow last block would copy all rows again for few columns, so blocks are widened or made equal.
  const bn =
    isLeftTransposed && n > most
      ? evenPart(n, n % most > panel ? most : most + panel, panel)
      : Math.min(most, roundUp(Math.max(n, 1), 16));
  const columns = groups * Math.ceil(n / bn);
  const wanted = Math.ceil(tasks / Math.max(1, columns));
  const blocks = Math.max(1, Math.ceil(m / rows), isLeftTransposed && !tall ? Math.min(wanted, Math.ceil(m / 144)) : 1);
  const cuts = k > 512 ? blocks : Math.min(wanted, blocks);
  const bm = op === "ragged_dot" ? rows : roundUp(Math.ceil(m / blocks), 6);
  const size = (op === "ragged_dot" ? 1 : groups) * m * n;
  const stream = (op !== "ragged_outer" || wide) && size > cacheElements && hasWholeVectors(n);
  const across = op === "ragged_dot" && m <= groups;
  return { bm, bn, bk, mc: roundUp(Math.ceil(m / cuts), bm), ...(across ? { across } : {}), stream };
}

/** How many tasks a contraction has under a schedule. */
export const tasksOf = ({ op, m, n, groups }: Contraction, { bm, bn, mc, parts = 1 }: Schedule): number =>
  groups * Math.ceil(n / bn) * (op === "ragged_dot" ? parts : Math.ceil(m / (op === "dot" ? mc : bm)));
/**
 * If there are fewer than four tasks per thread: uses smaller blocks, or more tasks per group, whichever lets the slowest thread finish first. A
 * task's time is estimated from its products and the operands that it reads or copies. Groups may have any size, so a thread may start a whole task
 * last.
 */
function balanceTasks(c: Contraction, s: Schedule, threads: number, panel: number): Schedule {
  if (s.across || tasksOf(c, s) >= 4 * threads) return s;
  const slowest = (x: Schedule): number => {
    const rounds = tasksOf(c, x) / threads;
    const rows = c.op === "ragged_dot" ? c.m / c.groups / (x.parts ?? 1) : c.op === "dot" ? x.mc : x.bm;
    return (
      (c.op === "dot" ? Math.ceil(rounds) : rounds + 1) *
      (rows * x.bn + (c.isLeftTransposed ? copyCost : readCost) * (rows + x.bn))
    );
  };
  return finerSchedules(c, s, panel).reduce((best, x) => (slowest(x) < slowest(best) ? x : best), s);
}
/** The cost of an element that a task copies, or only reads, in multiply-adds. */
const [copyCost, readCost] = [8, 4];
function finerSchedules(c: Contraction, s: Schedule, panel: number): Schedule[] {
  if (c.op === "ragged_dot")
    return [2, 4, 8, 16].filter((parts) => c.m / c.groups / parts >= 24).map((parts) => ({ ...s, parts }));
  const rows = [1, 2, 4, 8].map((n) => roundUp(s.bm / n, 6)).filter((bm) => bm >= 24);
  const columns = [1, 2, 4].map((n) => roundUp(s.bn / n, panel)).filter((bn) => bn <= s.bn);
  return rows.flatMap((bm) => columns.map((bn) => ({ ...s, bm, bn, mc: bm })));
}
