// The kernel IR: what one task of a kernel does, on tiles. Threads, lanes, registers, shared memory and barriers are implicit; every collective
// statement is DEFINED by its sequential meaning, written beside it. All sizes are static, except loop bounds that are read from a buffer of offsets.
// The IR does not depend on a target: each target's device headers implement its statements.
import type { ReduceName } from "../graph/node.ts";
import type { Layout } from "../plan/plan.ts";
import type { DType } from "../types/dtype.ts";

/** The type of an expression. `index`: an integer that addresses buffers. An element of bf16 is an f32 once it is loaded. */
export type Scalar = "index" | "i32" | "f32" | "bool";

export interface Buffer {
  readonly kind: "buffer";
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly layout: Layout;
}
/**
 * operand: an input of an `mma`. acc: an f32 accumulator [rows, cols]. row: one f32 for each row of an acc. shared: i32 scratch memory of the task.
 * line: a [1, cols] piece of a buffer that CUDA copies to shared memory for `each` bodies to read (emit/cuda/lines.ts). own: numbers of each
 * lane of a `par`, which reads and writes its own alone: [n, lanes], in registers, at constant places; [rounds, n, lanes], in memory. Nothing fills it.
 */
export interface Tile {
  readonly kind: "tile";
  readonly role: "operand" | "acc" | "row" | "shared" | "line" | "own";
  readonly name: string;
  readonly shape: readonly number[];
  /** Only for a line and an own: the type of its elements. */
  readonly type?: Scalar;
  /** Only for an operand that is not multiplied as plain f32 numbers. */
  readonly form?: OperandForm;
}
/**
 * How an operand is stored for special multiply instructions. AMX multiplies tiles of bf16: "term" is a bf16 number as it is, "terms" is an f32
 * number as the sum of three bf16 numbers. AVX512-BF16: "words" are pairs of bf16 numbers, two steps of the depth in one 32-bit word.
 */
export type OperandForm = "term" | "terms" | "words";
/** Known facts: lo <= value <= hi, and `divisor` divides the value. Index arithmetic is simplified with them. */
export interface Var {
  readonly e: "var";
  readonly name: string;
  readonly type: Scalar;
  readonly lo: number;
  readonly hi: number;
  readonly divisor: number;
}
export interface Num {
  readonly e: "num";
  readonly value: number;
  readonly type: Scalar;
}
export interface Load {
  readonly e: "load";
  readonly from: Buffer | Tile;
  readonly at: readonly Expr[];
}
/**
 * `op`: index arithmetic (`+ - * / % min max`), an elementwise function of compiler/ops by its name, or a conversion. `several` of f32s is only the value of
 * a sum, which adds up each by itself; `part`, of this sum and an index, is one of them.
 */
export interface Op {
  readonly e: "op";
  readonly op: string;
  readonly type: Scalar;
  readonly args: readonly Expr[];
}
export type Expr = Num | Var | Load | Op;

/**
 * A range cut into blocks: v = from, from + step, ..; n = min(step, to - v) is the length of the block. `skip` (loops only): a loop may skip the `by`
 * elements from `at` on; both are multiples of the step.
 */
export interface Axis {
  readonly v: Var;
  readonly n: Expr;
  readonly from: Expr;
  readonly to: Expr;
  readonly step: number;
  readonly skip?: { readonly at: Expr; readonly by: Expr };
}
type Body = readonly Stmt[];

/** What the loads of a loop over a row prefetch. */
export interface Prefetch {
  /** The distance, in elements, from an element that is read to the one that the next task (or row) reads in its place. */
  readonly prefetchDistance?: number;
  /**
   * This is loop `index` of `of` loops over the same row (`count` of them, from there on); the target divides the prefetching of the next row among
   * them. Not given: this loop prefetches all of it.
   */
  readonly loop?: Readonly<Record<"index" | "count" | "of", number>>;
}
export type Stmt =
  | { readonly s: "let"; readonly v: Var; readonly value: Expr }
  /** The body runs for each block of the range, in order. */
  | { readonly s: "for"; readonly axis: Axis; readonly body: Body }
  | { readonly s: "if"; readonly cond: Expr; readonly body: Body }
  /**
   * Makes an acc, row or shared tile and fills it. With `at`, an acc is a part of a local buffer that begins there, and keeps what the buffer holds.
   */
  | { readonly s: "tile"; readonly tile: Tile; readonly fill: number; readonly at?: Load }
  /** operand[i, j] = i < valid[0] && j < valid[1] ? value : 0 */
  | {
      readonly s: "stage";
      readonly tile: Tile;
      readonly vs: readonly [Var, Var];
      readonly valid: readonly [Expr, Expr];
      readonly body: Body;
      readonly value: Expr;
    }
  /** acc[n][i, j] += sum over k, in order: a[i, k] * b[n][k, j]. valid: how many i and how many k. transposed: a is an acc, read as a[k, i]. */
  | {
      readonly s: "mma";
      readonly a: Tile;
      readonly b: readonly Tile[];
      readonly acc: readonly Tile[];
      readonly valid: readonly [Expr, Expr];
      readonly transposed?: true;
    }
  /** The body runs for every valid element of an acc, or of a row. */
  | {
      readonly s: "each";
      readonly over: Tile;
      readonly vs: readonly Var[];
      readonly valid: readonly Expr[];
      readonly body: Body;
    }
  /** The body runs for each v < extent, in any order. */
  | ({ readonly s: "par"; readonly v: Var; readonly extent: Expr; readonly body: Body } & Prefetch)
  /**
   * A reduction: into = value(0) op value(1) op .. over v < extent. The order is the target's, but depends on the extent alone. The body runs once
   * for each v.
   */
  | ({
      readonly s: "fold";
      readonly into: Var;
      readonly op: ReduceName;
      readonly v: Var;
      readonly extent: Expr;
      readonly body: Body;
      readonly value: Expr;
    } & Prefetch)
  /**
   * Two folds of the same extent, neither of which reads the other's result; the second is a max or a min. A target may run both in one loop, in an
   * order of its own.
   */
  | { readonly s: "both"; readonly body: Body }
  /**
   * Two sums over v < extent: sum = value(0) + value(1) + .., and squares = (value(0) - mean)² + .., where mean = sum / extent. Orders are the target's,
   * but depend on the extent alone. The body, which only has lets, may run twice for each v.
   */
  | ({
      readonly s: "moments";
      readonly sum: Var;
      readonly squares: Var;
      readonly v: Var;
      readonly extent: Expr;
      readonly body: Body;
      readonly value: Expr;
    } & Prefetch)
  /** A fold for each row i of an acc, over its columns j < extent. */
  | {
      readonly s: "foldrows";
      readonly into: Tile;
      readonly op: ReduceName;
      readonly over: Tile;
      readonly vs: readonly [Var, Var];
      readonly extent: Expr;
      readonly body: Body;
      readonly value: Expr;
    }
  /** A prefix sum: for v < extent, in order, the body sees sum = value(0) + .. + value(v - 1); it may read value(v), too. */
  | {
      readonly s: "scan";
      readonly v: Var;
      readonly extent: Expr;
      readonly value: Expr;
      readonly sum: Var;
      readonly body: Body;
    }
  /** For v < extent, in order: rank = counts[key]++, then the body. */
  | {
      readonly s: "tally";
      readonly v: Var;
      readonly extent: Expr;
      readonly counts: Tile;
      readonly key: Expr;
      readonly rank: Var;
      readonly body: Body;
    }
  /**
   * stream: a non-temporal store, which bypasses the caches, where whole vectors are aligned to their length. run: only under `each`: stores the sum
   * of the value over each run of so many columns; the order is the target's, but fixed.
   */
  | {
      readonly s: "store";
      readonly to: Buffer | Tile;
      readonly at: readonly Expr[];
      readonly value: Expr;
      readonly stream: boolean;
      readonly run?: number;
    }
  /**
   * A barrier: every thread of the block sees what was stored before it. Builders write one between a kernel's parts, `insertBarriers` all others.
   */
  | { readonly s: "sync" };

export type StmtOf<S extends Stmt["s"]> = Extract<Stmt, { readonly s: S }>;

/** Tasks are the product of the grid's axes, the last varying fastest. Each task is independent of every other. */
export interface Kernel {
  readonly name: string;
  readonly doc: string;
  readonly params: readonly Buffer[];
  /** Scratch buffers, private to each task. */
  readonly locals: readonly Buffer[];
  readonly grid: readonly Axis[];
  readonly body: Body;
}
