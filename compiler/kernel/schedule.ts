// Schedules: how a contraction is cut, as data. No schedule changes a bit of the result: the depth of one element is always summed in
// order.
import { ceil } from "./expr.ts";
import type { Form } from "./ir.ts";

export interface Schedule {
  /** Rows and columns of an accumulator, and how deep a piece of the contraction is. */
  readonly bm: number;
  readonly bn: number;
  readonly bk: number;
  /** Rows that one task walks. */
  readonly mc: number;
  /** A task takes one block of rows, of a ragged contraction not all that its group has; `mc` is `bm`. */
  readonly ragged?: boolean;
  /** Tasks go from group to group of a ragged_dot, then to the next columns: threads share evenly what few rows choose. */
  readonly across?: boolean;
  /** Tasks among which the rows of a group of a ragged_dot are divided; one if not given. */
  readonly parts?: number;
  /** The result is larger than the caches. */
  readonly stream: boolean;
}
/** [m, n] of depth k in each of `groups`, of one left operand and `operands` right ones, by the kernel of that op. `k`: of all `pairs` together. */
export interface Contraction {
  readonly op: "dot" | "ragged_dot" | "ragged_outer";
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly groups: number;
  readonly operands: number;
  /** Pairs of operands that one accumulator sums. */
  readonly pairs: number;
  /** All operands are of 16 bits. */
  readonly short: boolean;
  /** The left operand lies with its depth first, as a weight gradient's does. */
  readonly outer: boolean;
}
/** `ragged_dot 4096 x 256 x 128, 8 groups, 2 operands`: what measured schedules are kept by. */
export const contractionKey = ({ op, m, n, k, groups, operands, pairs, short, outer }: Contraction): string =>
  [
    `${op} ${m} x ${n} x ${k}`,
    ...(groups > 1 ? [`${groups} groups`] : []),
    ...(operands > 1 ? [`${operands} operands`] : []),
    ...(pairs > 1 ? [`${pairs} pairs`] : []),
    ...(short ? ["bf16"] : []),
    ...(outer && op === "dot" ? ["outer"] : []),
  ].join(", ");
export interface AttentionTile {
  readonly rows: number;
  readonly block: number;
  /** Of keys, those up to the last that is seen, rounded up to so many; to a block if not given. */
  readonly round?: number;
  /** Gradients of keys and of values are made one after the other: registers do not hold both. */
  readonly apart?: boolean;
}
/** What a target chooses where nothing was measured. */
export interface Choices {
  /** Kernels are given buffers from the step on that they read or write, where that begins at a multiple of so many bytes. */
  readonly steps: number;
  contraction(c: Contraction): Schedule;
  /** Steps of its depth that tasks of their own make of a product of one pair of operands, all of them or less; the pieces are added. */
  piece(c: Contraction): number;
  /** Queries and keys that attention takes at a time, for the wider of a key and a value, the bytes of a number and the queries; null if it is too wide. */
  attention(width: number, bytes: number, backward: boolean, queries: number): AttentionTile | null;
  /** Pieces of so many keys that attention of so many tasks takes apart; 1 if not given. */
  keyPieces?(tasks: number, keys: number): number;
  /** Pieces of each of so many long rows that tasks search apart; 1 if not given. */
  rowPieces?(rows: number, columns: number): number;
  /** The same, for the largest alone. */
  readonly searchPieces?: (rows: number, columns: number) => number;
  /** How operands are staged where products are not of f32 one by one. */
  form?(c: Contraction): Form | null;
  /** Columns of a register tile, and so of a panel of a weight; weights lie in rows if not given. */
  readonly panel?: number;
  /**
   * Attention with its scores transposed: queries taken at a time, how few do without; and its backward as one kernel, where there are so
   * many heads, and dk and dv of one have at most so many floats.
   */
  readonly transposed?: Readonly<Record<"queries" | "few" | "heads" | "kept", number>>;
  /** Columns whose values the epilogue of a contraction may add up; a kernel after it adds these sums. */
  readonly sums?: number;
  /** Whether it may add up rows that are chosen elsewhere; it does if not given. */
  readonly gathers?: boolean;
  /** Products of one left operand with so many parts of one tensor are one kernel; of two if not given. */
  readonly parts?: number;
  /** Whether so many rows are tasks enough to make folds of them where they are read, of so many elements in all; as the host if not given. */
  readonly foldsInside?: (rows: number, elements: number) => boolean;
  /** Elements of a row that one task makes, however few the rows are; as the host if not given. */
  readonly rowOfFew?: number;
  /** What makes so few elements, of something that it shares, is made with others; nothing is if not given. */
  readonly small?: number;
  /** Contractions of the same so many rows that are one kernel; two if not given. */
  readonly operands?: (rows: number) => number;
  /** From one row to the next of temporaries and prepared stores, in elements of so many bytes; the columns if not given. */
  readonly pitch?: (columns: number, bytes: number) => number;
  /** Kernels of one task that follow one another are parts of one, up to so many, and bytes of shared memory; each is one of its own if not given. */
  readonly chain?: { readonly parts: number; readonly shared: number };
  /** Elements that a task makes of so many that are made one by one; a block of the kernel's own if not given. */
  readonly points?: (elements: number) => number;
  /** Rows of fewer points that one task makes together; 16 if not given. */
  readonly together?: number;
  /** Elements that a thread folds alone; if not given, all of a task fold them together. */
  readonly alone?: number;
  /** Elements of a row that a task may keep beside it. */
  readonly kept?: number;
  /** Rows of so many elements and fewer have a lane each. */
  readonly shortRow?: number;
  /** Rows and columns that a task makes of a result that reads an operand down its columns; of fewer elements than `least`, or if not given, a row. */
  readonly square?: { readonly side: number; readonly least: number };
  /** Workers do nothing together but move bytes: what they add up is moved, and then added by kernels. */
  readonly movesOnly?: boolean;
  /** Elements of a result that a later kernel may still find in the caches. */
  readonly inCaches?: number;
}
/** A vector, or two tiles of an mma, which four lanes hold: no schedule has fewer in one place. */
export const sums = 16;
const inCaches = 1 << 22;
/** Tasks enough for a few threads. */
const tasks = 32;
export const hostChoices: Choices = {
  contraction: (c) => contraction(c, 16, tasks),
  piece: pieceOfFew,
  attention: (_width, _bytes, backward, queries) =>
    backward ? { rows: 48, block: 64 } : { rows: Math.min(48, queries), block: 64, round: 16 },
  transposed: { queries: 64, few: 8, heads: tasks, kept: 1 << 20 },
  kept: 1 << 16,
  shortRow: 15,
  square: { side: 64, least: 1 << 16 },
  inCaches,
  sums,
  gathers: false,
  parts: 12,
  steps: 1,
};
/** Instructions beside FMAs: they multiply tiles of bf16 (AMX), or add two products of bf16 to a sum of f32 (AVX512-BF16). */
export type Products = "tiles" | "words";
/** Results so few that their tasks are, too. */
const isFew = ({ groups, m, n }: Contraction): boolean => groups * m * n <= 1 << 15;
/** Of few results of a long depth the most equal pieces, up to 16, of at least 256 each. */
function pieceOfFew(c: Contraction): number {
  if (!isFew(c) || c.k < 1024) return c.k;
  for (let p = Math.min(16, Math.floor(c.k / 256)); p > 1; p--) if (c.k % p === 0) return c.k / p;
  return c.k;
}
/** Of instruction sets whose register tile has so many columns, for so many threads. */
export const hostChoicesOf = (panel: number, products: Products | null = null, threads = 2): Choices => {
  const wanted = Math.max(tasks, 4 * threads);
  const choice = (c: Contraction): Schedule =>
    products === "tiles" && splits(c)
      ? splitContraction(c, wanted)
      : shared(c, contraction(c, panel, wanted), threads, panel);
  return {
    ...hostChoices,
    panel,
    contraction: choice,
    ...(products ? { form: (c) => formOf(c, products) } : {}),
  };
};
/** Threads for which schedules are made where there are so many: not for each number others. */
export const crowd = (threads: number): number => 2 ** Math.ceil(Math.log2(Math.max(threads, 2)));
function formOf(c: Contraction, products: Products): Form | null {
  if (products === "words") return c.short ? "words" : null;
  if (!splits(c)) return null;
  return c.short ? "term" : "terms";
}
/** To make the terms of a matrix pays if enough rows, columns or steps of the depth share them. */
function splits({ op, m, n, k, groups }: Contraction): boolean {
  const [rows, depth] = [op === "ragged_dot" ? m / groups : m, op === "ragged_outer" ? k / groups : k];
  return rows >= 32 && depth >= 32 && n >= 16;
}
/** What is summed at once is cut alike by every schedule: the depth of a tile, of 16 x 32, or of a word. */
export function fitting(s: Schedule, form: Form | null): Schedule {
  if (form === null) return s;
  if (form === "words") return { ...s, bk: ceil(s.bk, 2) };
  const bm = ceil(s.bm, 32);
  return { ...s, bm, bk: ceil(s.bk, 32), mc: ceil(s.mc, bm) };
}
/** Whether rows of so many columns begin at multiples of a vector, and so may be stored around the caches. */
export const wholeVectors = (columns: number): boolean => columns % 16 === 0;
/**
 * A task makes the terms of its rows, so it takes as many columns as leave tasks for all threads; with its depth whole it holds no more of them than
 * a strip. Else, and where the depth is what is ragged, accumulators are whole, and stay in L2 with the terms.
 */
function splitContraction({ op, m, n, k, groups, operands }: Contraction, most: number): Schedule {
  const outer = op === "ragged_outer";
  const whole = !outer && k <= 2048;
  const bm = op === "ragged_dot" ? 128 : evenly(m, outer ? 256 : 128, 32);
  const taken = groups * (op === "ragged_dot" ? 1 : Math.ceil(m / bm));
  const flops = 2 * m * n * k * operands * (op === "dot" ? groups : 1);
  const wanted = Math.min(most, Math.max(16, Math.floor(flops / smallest)));
  const widest = whole ? n : evenly(n, outer ? 768 : 1024, 64);
  const least = Math.max(whole ? 64 : 256, ceil(n / Math.ceil(wanted / taken), 64));
  const size = (op === "ragged_dot" ? 1 : groups) * m * n;
  return {
    bm,
    bn: Math.min(ceil(n, 16), ceil(widest, 16), least),
    bk: whole ? ceil(k, 32) : outer ? 256 : 512,
    mc: bm,
    stream: size > inCaches && wholeVectors(n),
  };
}
/** FLOPs of a task of split products, a tenth of a millisecond: to make them smaller costs more than it shares. */
const smallest = 1 << 26;
/** n in parts of at most so many, multiples of a unit. */
const evenly = (n: number, most: number, unit: number): number => ceil(n / Math.ceil(n / most), unit);
/**
 * A ragged_dot takes its depth whole and few columns, so that the accumulator stays in L1, as long as a strip of a register tile's columns fits in
 * L2 with the rows. Deeper ones go by pieces for all rows of a group; what a dot then reads for each block of rows it reads again, so a task takes
 * one block, which stays in L2 from column to column. A weight gradient copies both operands, so its blocks are wide. `panel`: columns of a register
 * tile; where its rows are whole lines, what is written for the optimizer alone goes around the caches.
 */
function contraction({ op, m, n, k, groups, operands, outer }: Contraction, panel: number, tasks: number): Schedule {
  const [whole, wide] = [op === "ragged_dot" && k <= 768, panel > 16];
  const deep = !wide || outer ? 256 : operands > 1 ? 512 : 1024;
  const [rows, bk] = whole ? [192, 768] : outer || k > 512 ? [192, deep] : [48, 512];
  const most = outer ? (wide ? 256 : 128) : whole ? Math.max(32, panel) : 64;
  // A last block of few columns costs a copy of all rows of its own: wider blocks, or even ones.
  const bn =
    outer && n > most
      ? evenly(n, n % most > panel ? most : most + panel, panel)
      : Math.min(most, ceil(Math.max(n, 1), 16));
  const columns = groups * Math.ceil(n / bn);
  const wanted = Math.ceil(tasks / Math.max(1, columns));
  const blocks = Math.max(1, Math.ceil(m / rows), outer ? Math.min(wanted, Math.ceil(m / 144)) : 1);
  const cuts = k > 512 ? blocks : Math.min(wanted, blocks);
  const bm = op === "ragged_dot" ? rows : ceil(Math.ceil(m / blocks), 6);
  const size = (op === "ragged_dot" ? 1 : groups) * m * n;
  const stream = (op !== "ragged_outer" || wide) && size > inCaches && wholeVectors(n);
  const across = op === "ragged_dot" && m <= groups;
  return { bm, bn, bk, mc: ceil(Math.ceil(m / cuts), bm), ...(across ? { across } : {}), stream };
}

/** How many tasks a schedule makes of a contraction. */
export const tasksOf = ({ op, m, n, groups }: Contraction, { bm, bn, mc, parts = 1 }: Schedule): number =>
  groups * Math.ceil(n / bn) * (op === "ragged_dot" ? parts : Math.ceil(m / (op === "dot" ? mc : bm)));
/**
 * Where tasks are fewer than four a thread: smaller blocks, or more tasks for the rows of a group, as the slowest thread is then done soonest. A task's
 * time is that of its products and of what it reads, or copies, for them. Groups are of any size, so a thread may begin a whole task last.
 */
function shared(c: Contraction, s: Schedule, threads: number, panel: number): Schedule {
  if (s.across || tasksOf(c, s) >= 4 * threads) return s;
  const slowest = (x: Schedule): number => {
    const rounds = tasksOf(c, x) / threads;
    const rows = c.op === "ragged_dot" ? c.m / c.groups / (x.parts ?? 1) : c.op === "dot" ? x.mc : x.bm;
    return (
      (c.op === "dot" ? Math.ceil(rounds) : rounds + 1) * (rows * x.bn + (c.outer ? copied : read) * (rows + x.bn))
    );
  };
  return finer(c, s, panel).reduce((best, x) => (slowest(x) < slowest(best) ? x : best), s);
}
/** Multiply-adds in the time of one element that a task copies for its products, or only reads. */
const [copied, read] = [8, 4];
function finer(c: Contraction, s: Schedule, panel: number): Schedule[] {
  if (c.op === "ragged_dot")
    return [2, 4, 8, 16].filter((parts) => c.m / c.groups / parts >= 24).map((parts) => ({ ...s, parts }));
  const rows = [1, 2, 4, 8].map((n) => ceil(s.bm / n, 6)).filter((bm) => bm >= 24);
  const columns = [1, 2, 4].map((n) => ceil(s.bn / n, panel)).filter((bn) => bn <= s.bn);
  return rows.flatMap((bm) => columns.map((bn) => ({ ...s, bm, bn, mc: bm })));
}
