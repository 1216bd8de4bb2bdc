// The graph: immutable, interned nodes. A node points at its op's record; passes ask the record and never name an op.
import type { Span } from "../syntax/ast.ts";
import type { DType } from "../types/dtype.ts";
import type { Type } from "../types/type.ts";

/** One result of a node. Unique: the same result is the same object, so values are compared with `===`. */
export interface Value {
  readonly node: Node;
  readonly index: number;
  readonly type: Type;
}
export interface Node<A = unknown> {
  readonly id: number;
  readonly op: Op<A>;
  readonly args: readonly Value[];
  readonly attrs: A;
  readonly results: readonly Value[];
  /** Where in the program it comes from; the first that made it. */
  readonly where: Span | null;
}

/** Elements in row-major order, as doubles whatever the dtype, always rounded to it. bool is 0 or 1. */
export interface NdArray {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/**
 * What an op's operand is inside `experts[index](...)` and over stacked layers. `each`: has one leading axis of length `over`, one
 * entry for each of the stack. `rows`: has one leading axis of sorted rows, of length `by.rows`, rows past the last group being nothing.
 */
export type Mapped =
  | { readonly kind: "plain"; readonly value: Value }
  | { readonly kind: "each"; readonly value: Value; readonly over: number }
  | { readonly kind: "rows"; readonly value: Value; readonly by: Routing };
/** The results of a `route` node: see ops/route.ts. `groups` experts, `rows` sorted rows. */
export interface Routing {
  readonly order: Value; // i32[rows]: sorted place -> choice, -1 past the end
  readonly offsets: Value; // i32[groups + 1]
  readonly inverse: Value; // i32[rows]: choice -> sorted place, -1 for none
  readonly expert: Value; // i32[rows]: sorted place -> its expert, -1 past the end
  readonly groups: number;
  readonly rows: number;
  /**
   * Of a mixture inside an expert (or a stack), seen from the outside: `order`, `offsets` and `inverse` are those of one routing of all
   * choices of all outer rows, `expert` and `groups` the outer ones. Values have axes [outer.rows, rows / outer.rows, ...] in its order.
   */
  readonly outer?: Outer;
}
/** The space around a nested routing; `by` null: a stack. */
export interface Outer {
  readonly rows: number;
  readonly groups: number;
  readonly expert: Value;
  readonly by: Routing | null;
}

/**
 * Who does something together: all workers, or each group of them by itself. A group is `workers` ranks, each `apart` after the one before (1 if not
 * given); there are `groups` groups (1 if not given), which are all workers.
 */
export interface Group {
  readonly workers: number;
  readonly groups?: number;
  readonly apart?: number;
}
/**
 * How an axis is cut among workers. even: into `among` runs of the same length, of which worker r has run r % among. rows: the sorted rows of a routing,
 * each worker those of its own choices, or (`owned`) those that any worker of its group has of the experts that it owns; past the last are rows of nothing.
 */
export type Cut =
  | { readonly kind: "even"; readonly among: number }
  | { readonly kind: "rows"; readonly by: Node; readonly owned: boolean };
/**
 * What a value is among workers, of whom each has a part. whole: all have all of it. cut: along an axis; `clean`: rows of nothing are zero. partial: those of
 * a group together, by `fn`, are `of`. routing: a result of the route node `by` on a worker's own choices; its offsets, where `owned`, are of the groups that it owns.
 */
export type Placement =
  | { readonly kind: "whole" }
  | { readonly kind: "cut"; readonly axis: number; readonly cut: Cut; readonly clean?: boolean }
  | { readonly kind: "partial"; readonly fn: "sum" | "max" | "min"; readonly among: Group; readonly of: Placement }
  | { readonly kind: "routing"; readonly by: Node; readonly owned: boolean };
/** What records ask about the workers. */
export interface Workers {
  readonly count: number;
  /** Whether a routing is one of each worker's own choices. */
  isLocal(route: Node): boolean;
  /** To how many of each group of workers its rows go, who own parts of its groups; null: they stay. */
  owners(route: Node): number | null;
  /** How long an axis of `n` is that is cut so. */
  length(n: number, cut: Cut): number;
}
/** How an op is done by workers on their parts: what its arguments must be, what its results then are, and attributes that differ. */
export interface Across<A = unknown> {
  readonly args: readonly Placement[];
  readonly results: readonly Placement[];
  readonly attrs?: A;
}

/** What rules make nodes with: a GraphBuilder. */
export interface Builder {
  /** The span that nodes made now come from. */
  where: Span | null;
  /** The record of that name. */
  op(name: string): Op;
  /** The node of `op` on `args`; the one that exists, if it does. Throws TypeMismatch where types do not fit. */
  add<A>(op: Op<A>, args: readonly Value[], attrs: A): Node<A>;
}

/**
 * How a node becomes code. leaf: nothing runs. point: one element from one of each argument. view: an index map. together: no kernel, a step that
 * all workers make at once.
 */
export type Lowering = "leaf" | "point" | "view" | "reduce" | "tile" | "algorithm" | "together";

/** Everything about one operation. Adding an op is one record and one line in ops/list.ts. */
export interface Op<A = unknown> {
  readonly name: string;
  /** One line: the meaning, with shapes. */
  readonly doc: string;
  readonly lower: Lowering;
  /** The results' types from the arguments'; on symbolic sizes too. Throws a Diagnostic's message as TypeMismatch. */
  infer(args: readonly Type[], attrs: A): readonly Type[];
  /** The definition, slow and obvious, in f64; the caller rounds results to their dtypes. */
  eval(args: readonly NdArray[], attrs: A, types: readonly Type[]): readonly Float64Array[];
  /** Of an op that workers do together, its definition: what each of them gets, from what each of them has. */
  together?(
    args: readonly (readonly NdArray[])[],
    attrs: A,
    types: readonly Type[],
  ): readonly (readonly Float64Array[])[];
  /** Gradients of the arguments from those of the results (null: none). */
  vjp(node: Node<A>, grads: readonly (Value | null)[], g: Builder): readonly (Value | null)[];
  /** The same op inside a routed call or over a stack; called only where some argument is not plain. */
  mapped(args: readonly Mapped[], attrs: A, g: Builder, node: Node<A>): readonly Mapped[];
  /** The same op by workers that have parts of its arguments, not all of them whole; null, or absent: it wants them whole. */
  across?(node: Node<A>, args: readonly Placement[], workers: Workers): Across<A> | null;
  /** An argument whose elements choose one of `among` places, or none if they are outside. */
  chooses?(node: Node<A>): { readonly index: Value; readonly among: number };
  /** How long the axis is whose places result `i` holds, each of which may be among them; null: its elements are no places. */
  places?(node: Node<A>, i: number): number | null;
  /** Operations on elements, of all that it makes. */
  flops(node: Node<A>): number;
  /** How many elements of argument `i` are read at most to make all results, one that is read again counted again; absent: each once. */
  reads?(node: Node<A>, i: number): number;
  /** What the generated tests run, on every target and against finite differences: ties and kinks avoided. */
  samples(g: Builder): readonly Node[];
  /** What the printer calls it, where its name says too little: `exp` rather than `unary`. */
  word?(attrs: A): string;
  /** Short text of the attributes for the printer. */
  show?(attrs: A): string;
}

/** What a graph computes, by role and name. `store`: the new contents of that store. */
export interface Result {
  readonly role: "output" | "loss" | "metric" | "store" | "gradient";
  readonly name: string;
  readonly value: Value;
}
export interface Graph {
  readonly name: string;
  readonly results: readonly Result[];
}

/**
 * A named tensor that outlives a call, or that the caller gives. Graphs read one through the leaf op `param` (attrs: its name).
 * `prepared`: a function of a parameter, assigned wherever that is.
 * `stack`: how many leading axes are copies of one declared parameter (an array of layers), each copy a tensor of its own in files:
 * `blocks.0.experts.*.up.weight` has one `*` a stack axis.
 */
export interface Store {
  readonly name: string;
  readonly role: "parameter" | "prepared" | "state" | "optimizer" | "gradient" | "input";
  readonly type: Type;
  readonly stack: number;
  /** Part of the model or of a training checkpoint; false: a cache of one entry, or an input. */
  readonly saved: boolean;
  /** Into how many equal parts along its first axis it is cut: worker r has part r % split, and `type` is that of a part. Absent: each has all of it. */
  readonly split?: number;
  readonly where: Span | null;
}
/** One that no program declares. */
export const plainStore = (name: string, role: Store["role"], type: Type, saved = false): Store => ({
  name,
  role,
  type,
  stack: 0,
  saved,
  where: null,
});
/** Inputs that the runtime gives to every entry that reads them. `$key`: i32[2] = seed, number of the call. `$step`: i32[]. `$rank`: i32[], which worker this is. */
export const hidden = { key: "$key", step: "$step", rank: "$rank" } as const;
/** The same for the random numbers of one place: i32[2] = seed, number of the call ^ place. */
export const hiddenKey = (place: number): string => `${hidden.key}^${place}`;
/** 0 of the key of all places; null: the store is no key. */
export const placeOfKey = (store: string): number | null =>
  store.startsWith(hidden.key) ? Number(store.slice(hidden.key.length + 1)) : null;
export const isHidden = (store: string): boolean => store.startsWith("$");

/** A program in numbers: what the checker hands to the passes. */
export interface Elaborated {
  readonly stores: readonly Store[];
  /** `init`: one "store" result for each parameter and state. Then the entries asked for. */
  readonly graphs: readonly Graph[];
}
