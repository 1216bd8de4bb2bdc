// The attributes of every op, by its name. What they mean is in the op's record.
import type { Group, ReduceName } from "../graph/node.ts";
import type { Element } from "../types/dtype.ts";
import type { Size } from "../types/size.ts";
import type { Type } from "../types/type.ts";

/** Elementwise functions; ops/scalar.ts defines them. */
export type UnaryName =
  | "neg"
  | "not"
  | "exp"
  | "expm1"
  | "log"
  | "log1p"
  | "sqrt"
  | "rsqrt"
  | "sin"
  | "cos"
  | "tanh"
  | "sigmoid"
  | "erf"
  | "abs"
  | "sign"
  | "floor"
  | "ceil"
  | "round"
  | "unit";
export type BinaryName =
  | "add"
  | "sub"
  | "mul"
  | "div"
  | "idiv"
  | "rem"
  | "pow"
  | "max"
  | "min"
  | "eq"
  | "ne"
  | "lt"
  | "le"
  | "gt"
  | "ge"
  | "and"
  | "or";

type Shape = readonly Size[];
type None = Readonly<Record<string, never>>;

/**
 * A linear condition of a mask: it holds where `at * position of the query + seen * position of the key + plus >= 0`. `at` and `seen` are -1, 0 or 1.
 * `pair`: which pair of position arguments of the op is meant.
 */
export interface Bound {
  readonly at: number;
  readonly seen: number;
  readonly plus: number;
  readonly pair: number;
}
/** A bound, or a disjunction (`any`) of conjunctions: it holds where all clauses of at least one list do. */
export type Clause = Bound | { readonly any: readonly (readonly Clause[])[] };
export interface Attention {
  readonly scale: number;
  /** If given, above 0: scores become `cap * tanh(score / cap)`. */
  readonly cap?: number;
  /** The mask: a query attends to a key only where all of these hold. */
  readonly bounds: readonly Clause[];
}

export interface OpAttrs {
  // leaf
  readonly param: { readonly store: string; readonly type: Type };
  readonly const: { readonly value: number; readonly dtype: Element };
  readonly iota: { readonly size: Size };
  // point
  readonly unary: { readonly fn: UnaryName };
  readonly binary: { readonly fn: BinaryName };
  readonly select: None;
  readonly cast: { readonly dtype: Element };
  readonly detach: None;
  readonly after: None;
  readonly from_fp4: None;
  readonly random: { readonly place: number; readonly shape: Shape };
  // view
  readonly reshape: { readonly shape: Shape };
  readonly transpose: { readonly perm: readonly number[] };
  readonly broadcast: { readonly shape: Shape; readonly axes: readonly number[] };
  readonly slice: { readonly axis: number; readonly start: Size; readonly size: Size };
  readonly concat: { readonly axis: number };
  // reduce
  readonly reduce: { readonly fn: ReduceName; readonly axes: readonly number[] };
  readonly scan: { readonly axis: number; readonly exclusive: boolean; readonly reverse: boolean };
  // tile
  readonly dot: None;
  readonly ragged_dot: { readonly unit: number };
  readonly ragged_outer: { readonly unit: number };
  readonly ragged_sum: { readonly unit: number };
  readonly attention: Attention;
  readonly attention_backward: Attention;
  // algorithm
  readonly route: { readonly groups: Size };
  readonly dispatch: None;
  readonly combine: None;
  readonly gather: { readonly axis: number; readonly batch: number };
  readonly scatter: {
    readonly axis: number;
    readonly batch: number;
    readonly mode: "set" | "add";
    readonly size: Size;
  };
  readonly top_k: { readonly k: Size };
  readonly cutoff: None;
  // collective
  readonly all_gather: Group;
  readonly all_reduce: Group & { readonly fn: ReduceName };
  readonly all_to_all: Group;
  readonly whole: None;
  /** `back`: from the owners to where rows came from. `length`: rows of the result. `shared`: of how many choices a row moves once to or from each owner; default 1. */
  readonly exchange: Group & { readonly back: boolean; readonly length: number; readonly shared?: number };
}
export type OpName = keyof OpAttrs;
export const none: None = {};
