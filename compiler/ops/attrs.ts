// Every op with its attributes: the contract between the checker, the passes and the kernels. Meanings are in the records.
import type { Group } from "../graph/node.ts";
import type { DType } from "../types/dtype.ts";
import type { Size } from "../types/size.ts";
import type { Type } from "../types/type.ts";

/** Functions of one element; their rows are in scalar.ts. */
export type UnaryName =
  | "neg"
  | "not"
  | "exp"
  | "log"
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

/** Holds where `at * position of the query + seen * position of the key + plus >= 0`, in that pair of positions. `at` and `seen` are -1, 0 or 1. */
export interface Bound {
  readonly at: number;
  readonly seen: number;
  readonly plus: number;
  readonly pair: number;
}
/** A bound, or lists of which one at least holds. A list holds where all in it do. */
export type Clause = Bound | { readonly any: readonly (readonly Clause[])[] };
export interface Attention {
  readonly scale: number;
  /** Scores become `cap tanh(score / cap)`: above 0. */
  readonly cap?: number;
  /** All of them hold, or the key is not seen. */
  readonly bounds: readonly Clause[];
}

export interface OpAttrs {
  // leaf
  readonly param: { readonly store: string; readonly type: Type };
  readonly const: { readonly value: number; readonly dtype: DType | "float" };
  readonly iota: { readonly size: Size };
  // point
  readonly unary: { readonly fn: UnaryName };
  readonly binary: { readonly fn: BinaryName };
  readonly select: None;
  readonly cast: { readonly dtype: DType | "float" };
  readonly detach: None;
  readonly after: None;
  readonly random: { readonly place: number; readonly shape: Shape };
  // view
  readonly reshape: { readonly shape: Shape };
  readonly transpose: { readonly perm: readonly number[] };
  readonly broadcast: { readonly shape: Shape; readonly axes: readonly number[] };
  readonly slice: { readonly axis: number; readonly start: Size; readonly size: Size };
  readonly concat: { readonly axis: number };
  // reduce
  readonly reduce: { readonly fn: "sum" | "max" | "min"; readonly axes: readonly number[] };
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
  // together
  readonly all_gather: Group;
  readonly all_reduce: Group & { readonly fn: "sum" | "max" | "min" };
  readonly all_to_all: Group;
  /** `length`: rows of what it gives. */
  readonly exchange: Group & { readonly back: boolean; readonly length: number };
}
export type OpName = keyof OpAttrs;
export const none: None = {};
