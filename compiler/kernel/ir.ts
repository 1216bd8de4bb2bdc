// The kernel IR: one block's work on tiles. Threads, lanes, registers, shared memory and barriers are implicit; every collective
// statement is DEFINED by its sequential meaning, written beside it. All sizes are static, except loop bounds read from a buffer of
// offsets. Nothing here knows a target: a target's device header gives the words their meaning.

import type { Layout } from "../plan/plan.ts";
import type { DType } from "../types/dtype.ts";

/** What an expression is. `index`: whole numbers that address buffers. A bf16 element is an f32 once loaded. */
export type Scalar = "index" | "i32" | "f32" | "bool";

export interface Buffer {
  readonly kind: "buffer";
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly layout: Layout;
}
/**
 * operand: feeds an mma. acc: f32 [rows, cols]. row: one f32 a row of an acc. shared: i32 scratch of the whole block. line: [1, cols] of a
 * buffer, staged for points to read, where a target copies what they read.
 */
export interface Tile {
  readonly kind: "tile";
  readonly role: "operand" | "acc" | "row" | "shared" | "line";
  readonly name: string;
  readonly shape: readonly number[];
  /** Of a line. */
  readonly type?: Scalar;
  /** Of an operand, where products are not of f32 one by one. */
  readonly form?: Form;
}
/**
 * For units that multiply tiles of bf16: numbers of bf16 (term), or of f32 as the sum of three such terms. words: numbers of bf16, two steps of the
 * depth as one.
 */
export type Form = "term" | "terms" | "words";
/** lo <= value <= hi, and a multiple of `mult`: index arithmetic folds with these. */
export interface Var {
  readonly e: "var";
  readonly name: string;
  readonly type: Scalar;
  readonly lo: number;
  readonly hi: number;
  readonly mult: number;
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
/** `op`: index arithmetic (`+ - * / % min max`), a point function of compiler/ops by its name, or a conversion. */
export interface Op {
  readonly e: "op";
  readonly op: string;
  readonly type: Scalar;
  readonly args: readonly Expr[];
}
export type Expr = Num | Var | Load | Op;
export type Combine = "sum" | "max" | "min";

/** Blocks of a range: v = from, from + step, ..; n = min(step, to - v). Of a loop's, `by` from `at` on, both whole steps, may be left out. */
export interface Axis {
  readonly v: Var;
  readonly n: Expr;
  readonly from: Expr;
  readonly to: Expr;
  readonly step: number;
  readonly jump?: { readonly at: Expr; readonly by: Expr };
}
type Body = readonly Stmt[];

/** What a target may ask for early. */
export interface Ahead {
  /** Elements from what is read to what the next task reads there. */
  readonly ahead?: number;
  /** Not all of it: the target decides which part each of so many loops over it asks for. */
  readonly loop?: Readonly<Record<"index" | "of", number>>;
}
export type Stmt =
  | { readonly s: "let"; readonly v: Var; readonly value: Expr }
  /** For each block, in order. */
  | { readonly s: "for"; readonly axis: Axis; readonly body: Body }
  | { readonly s: "if"; readonly cond: Expr; readonly body: Body }
  /** An acc, row or shared tile, filled; or an acc that lies in memory from `at` on, as it is there. */
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
  /** acc[n][i, j] += sum over k, in order: a[i, k] * b[n][k, j]. valid: of i and of k. transposed: a is an acc, read as a[k, i]. */
  | {
      readonly s: "mma";
      readonly a: Tile;
      readonly b: readonly Tile[];
      readonly acc: readonly Tile[];
      readonly valid: readonly [Expr, Expr];
      readonly transposed?: true;
    }
  /** For every valid element of an acc, or of a row. */
  | {
      readonly s: "each";
      readonly over: Tile;
      readonly vs: readonly Var[];
      readonly valid: readonly Expr[];
      readonly body: Body;
    }
  /** For v < extent, in any order. */
  | ({ readonly s: "par"; readonly v: Var; readonly extent: Expr; readonly body: Body } & Ahead)
  /** into = value(0) op value(1) op .. over v < extent. The order is a target's, but fixed by the extent. The body runs once for each v. */
  | ({
      readonly s: "fold";
      readonly into: Var;
      readonly op: Combine;
      readonly v: Var;
      readonly extent: Expr;
      readonly body: Body;
      readonly value: Expr;
    } & Ahead)
  /** Two folds of one extent, neither of which reads what the other makes, the second no sum: a target may make them in one loop, in an order of its own. */
  | { readonly s: "both"; readonly body: Body }
  /** The same for each row i of an acc, over its columns. */
  | {
      readonly s: "foldrows";
      readonly into: Tile;
      readonly op: Combine;
      readonly over: Tile;
      readonly vs: readonly [Var, Var];
      readonly extent: Expr;
      readonly body: Body;
      readonly value: Expr;
    }
  /** For v < extent, in order: sum = value(0) + .. + value(v - 1), and value(v) is known; then body. */
  | {
      readonly s: "scan";
      readonly v: Var;
      readonly extent: Expr;
      readonly value: Expr;
      readonly sum: Var;
      readonly body: Body;
    }
  /** For v < extent, in order: rank = counts[key]++, then body. */
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
   * stream: around the caches, where whole vectors begin at multiples of their length. run: under `each`, the sum of the value over each run
   * of so many columns, in an order that is a target's, but fixed.
   */
  | {
      readonly s: "store";
      readonly to: Buffer | Tile;
      readonly at: readonly Expr[];
      readonly value: Expr;
      readonly stream: boolean;
      readonly run?: number;
    }
  /** What was stored before is seen by all after it. Between parts of a kernel; all others are written by the sync pass. */
  | { readonly s: "sync" };

export type StmtOf<S extends Stmt["s"]> = Extract<Stmt, { readonly s: S }>;

/** Tasks are the product of the grid's axes, last fastest. A task is independent of every other. */
export interface Kernel {
  readonly name: string;
  readonly doc: string;
  readonly params: readonly Buffer[];
  /** Memory of each task's own, of f32 or i32. */
  readonly locals: readonly Buffer[];
  readonly grid: readonly Axis[];
  readonly body: Body;
}
