// The types of the graph, the form between the checker and the kernels. Nodes are immutable and interned. A node refers to the record of its op
// (`Op`), which says everything about the op, so that passes ask the record instead of switching on names.
import type { Span } from "../syntax/ast.ts";
import type { DType, Weights } from "../types/dtype.ts";
import type { Type } from "../types/type.ts";

/** One result of a node. Each result is represented by a single object, so values are compared with `===`. */
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
  /** The place in the program that made it; since equal nodes are one node, the first such place. null: none. */
  readonly span: Span | null;
}

/** A tensor of the reference interpreter. `data` is row-major, and holds doubles that are already rounded to `dtype`; bool is 0 or 1. */
export interface NdArray {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/**
 * An operand of an op when that op is vectorized over the rows of `experts[index](...)` or over a stack of layers (see `Op.mapped`).
 * uniform: the same value for all. each: a leading axis of length `over` has one entry for each expert or layer. rows: a leading axis of length
 * `by.rows` has the rows sorted by expert; those past the last group are padding, and may hold anything.
 */
export type Mapped =
  | { readonly kind: "uniform"; readonly value: Value }
  | { readonly kind: "each"; readonly value: Value; readonly over: number }
  | { readonly kind: "rows"; readonly value: Value; readonly by: Routing };
/**
 * The four results of a `route` node (ops/route.ts), a stable counting sort of `rows` choices by expert. A choice is one entry of the index;
 * its place is where it stands in sorted order. `groups`: the number of experts.
 */
export interface Routing {
  readonly order: Value; // i32[rows]: place -> choice, -1 for padding past the last group
  readonly offsets: Value; // i32[groups + 1]: expert e has the places offsets[e] .. offsets[e + 1]
  readonly inverse: Value; // i32[rows]: choice -> place, -1 where the index names no expert
  readonly expert: Value; // i32[rows]: place -> its expert, -1 for padding
  readonly groups: number;
  readonly rows: number;
  /**
   * Only of a mixture nested in an expert or in a stack. Then `order`, `offsets` and `inverse` sort all choices of all outer rows at once, by
   * (outer, inner) expert, while `expert` and `groups` are of the outer experts. Mapped values have axes [outer.rows, rows / outer.rows, ...],
   * in this sorted order.
   */
  readonly outer?: OuterRouting;
}
/** What contains a nested routing: the rows that `by` sorted or, if `by` is null, the entries of a stack. `expert`: the outer expert of each row. */
export interface OuterRouting {
  readonly rows: number;
  readonly groups: number;
  readonly expert: Value;
  readonly by: Routing | null;
}

/**
 * The workers (processes) that take part in a collective: all of them, or each group separately. A group has `workers` ranks, with a stride of
 * `stride` (default 1). There are `groups` such groups (default 1), and every worker is in exactly one.
 */
export interface Group {
  readonly workers: number;
  readonly groups?: number;
  readonly stride?: number;
}
/** The workers that share a graph along one axis of the mesh: `count` of `all`, whose ranks have this `stride`. */
export interface MeshAxis {
  readonly all: number;
  readonly count: number;
  readonly stride: number;
  /** Whether they share the tokens of each sequence: an axis of all sequences' tokens then has a piece for each sequence. */
  readonly tokens?: boolean;
}
/**
 * How an axis is sharded among workers. even: into `parts` contiguous parts of equal length; worker r of the mesh's axis has part r % parts; with
 * `pieces`, the axis has pieces of these lengths, relative to one another (queries, keys and values of one matrix), and the worker has its part of each, one
 * after another. rows: the axis has the rows that the route node `by` sorted; a worker has those of its own choices or, if `owned`, those that all workers of
 * its group have for the experts that it owns. Places past its last row are padding. Rows of a mixture inside an expert may take up several axes
 * (`Routing.outer`), of which `axis` is the first.
 */
export type AxisSharding =
  | { readonly kind: "even"; readonly parts: number; readonly pieces?: readonly number[] }
  | { readonly kind: "rows"; readonly by: Node; readonly owned: boolean };
/** How `reduce`, `all_reduce` and folds of kernels make one number of several. */
export type ReduceName = "sum" | "max" | "min";
/**
 * How a value is distributed over the workers. replicated: every worker has all of it. sharded: along an axis; `zeroPadded`: padding rows are
 * zero. partial: reducing by `fn` what the workers of each `group` have gives the value, placed as `of`. routing: a result of the route node
 * `by`, which each worker has only of its own choices; `owned` (of offsets): of the experts that the worker owns, in the rows that it got for them.
 */
export type Placement =
  | { readonly kind: "replicated" }
  | { readonly kind: "sharded"; readonly axis: number; readonly sharding: AxisSharding; readonly zeroPadded?: boolean }
  | { readonly kind: "partial"; readonly fn: ReduceName; readonly group: Group; readonly of: Placement }
  | { readonly kind: "routing"; readonly by: Node; readonly owned: boolean };
/** What a record's `shard` may ask about the workers. partition/partition.ts answers. */
export interface Workers {
  readonly count: number;
  /** Whether a reshape may join the axes before one that is shared to it, which makes pieces of it. */
  readonly joinsAxes?: boolean;
  /** Groups of `n` workers, those of a group with a stride of `stride` among the `count`. */
  group(n: number, stride?: number): Group;
  /** How a routing is done in which each worker sorts only its own choices; null: all workers sort all. */
  routing(route: Node): LocalRouting | null;
  /** The length on one worker of an axis that has length `n` in all. */
  length(n: number, sharding: AxisSharding): number;
  /** What divides the length of each axis that is sharded so. */
  unit(sharding: AxisSharding): number;
}
export interface LocalRouting {
  /**
   * Where the choices are: sharded among all workers; in a mixture inside an expert, as the outer mixture's rows are; or replicated, and then each worker
   * sorts those of the experts that it owns or, if none does, some of all.
   */
  readonly choices: Placement;
  /** Where rows are once they stand by choice again: as the choices or, if these are replicated, partial, as each worker has rows of its experts alone. */
  readonly combined: Placement;
  /** Over how many workers of each group the experts are sharded, so that rows are sent to them. null: rows stay where they are. */
  readonly owners: number | null;
  /** Whether the choices are at their experts' owners already, since the outer mixture's rows are. */
  readonly atOwners: boolean;
  /** Each run of so many workers has all rows. */
  readonly among: number;
}
/** How workers do an op on shards: the placements that it needs of its arguments, those of its results, and its attributes if they change. */
export interface OpSharding<A = unknown> {
  readonly args: readonly Placement[];
  readonly results: readonly Placement[];
  readonly attrs?: A;
}

/** What makes nodes, as seen by the records of ops and by passes; graph/builder.ts implements it. */
export interface Builder {
  /** The span that is recorded in nodes made from now on. */
  span: Span | null;
  /** The record of that name. */
  op(name: string): Op;
  /** The node of `op` on `args`: an equal existing one, else a new one. Throws TypeMismatch where types do not fit. */
  add<A>(op: Op<A>, args: readonly Value[], attrs: A): Node<A>;
  /** The same node with other operands; the node itself if they are its own. */
  withArgs(node: Node, args: readonly Value[]): Node;
}

/**
 * How a node becomes code. leaf: nothing runs. point: elementwise. view: index arithmetic only. reduce: a fold or scan. tile: a contraction in
 * register tiles. algorithm: a kernel or a load of its own. collective: a step of all workers, without a kernel.
 */
type Lowering = "leaf" | "point" | "view" | "reduce" | "tile" | "algorithm" | "collective";

/** Everything about one operation. Adding an op is one record and one line in ops/list.ts. */
export interface Op<A = unknown> {
  readonly name: string;
  /** Its meaning in one line, with shapes. */
  readonly doc: string;
  readonly lower: Lowering;
  /** The types of the results; sizes may be symbolic. Throws TypeMismatch, whose message becomes that of a Diagnostic. */
  infer(args: readonly Type[], attrs: A): readonly Type[];
  /** The reference definition, slow and obvious, in f64. The caller rounds results to their dtypes. */
  eval(args: readonly NdArray[], attrs: A, types: readonly Type[]): readonly Float64Array[];
  /** The definition of a collective, in place of `eval`: from the arguments of every worker, the results of every worker. */
  collective?(
    args: readonly (readonly NdArray[])[],
    attrs: A,
    types: readonly Type[],
  ): readonly (readonly Float64Array[])[];
  /** Reverse-mode derivative: gradients of the arguments from those of the results. null: no gradient. */
  vjp(node: Node<A>, grads: readonly (Value | null)[], g: Builder): readonly (Value | null)[];
  /** Its vectorization: the same op inside a routed call or over a stack. Called only where some argument is not uniform. */
  mapped(args: readonly Mapped[], attrs: A, g: Builder, node: Node<A>): readonly Mapped[];
  /** How workers do it on shards; called with the placements that the arguments have. null or absent: all arguments must be replicated. */
  shard?(node: Node<A>, args: readonly Placement[], workers: Workers): OpSharding<A> | null;
  /** Of an op that indexes by an argument: that argument, whose elements in 0 .. length - 1 choose a place; others choose none. null: none of this node does. */
  indexes?(node: Node<A>): { readonly index: Value; readonly length: number } | null;
  /** Where the elements of result `i` are positions along an axis, and any position may occur: the length of that axis; else null. */
  indexRange?(node: Node<A>, i: number): number | null;
  /** Arithmetic operations to compute all results. */
  flops(node: Node<A>): number;
  /** Of a collective: how many bytes a worker sends to others; of rows that go to owners of experts the expected number, if choices are even. */
  sends?(node: Node<A>): number;
  /** An upper bound of the elements of argument `i` that are read in all, repeated reads counted each time; absent: each is read once. */
  reads?(node: Node<A>, i: number): number;
  /** Cases for the generated tests, on every target and against finite differences; they must avoid ties and kinks. */
  samples(g: Builder): readonly Node[];
  /** What the printer calls it in place of `name`: `exp` rather than `unary`. */
  displayName?(attrs: A): string;
  /** The attributes, short, for the printer. */
  showAttrs?(attrs: A): string;
}

/** One named result of a graph. Role `store`: `value` becomes the new contents of the store `name`. */
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
 * A named tensor that outlives a call, or an input that the caller gives. Graphs read it through the leaf op `param`, whose attribute is its name.
 * Role `prepared`: computed from a parameter, and assigned again wherever that is assigned.
 * `stack`: how many leading axes count copies of one declared parameter (an array of layers). Files have a tensor for each copy. The name has one `*`
 * for each such axis: `blocks.0.experts.*.up.weight`.
 */
export interface Store {
  readonly name: string;
  readonly role: "parameter" | "prepared" | "state" | "optimizer" | "gradient" | "input";
  readonly type: Type;
  readonly stack: number;
  /** Written to files, as part of the model or of a training checkpoint. false: an input, or a cache of one entry. */
  readonly saved: boolean;
  /** A parameter that no entry assigns, but `init`. Absent: one may. */
  readonly frozen?: boolean;
  /** How it is sharded; `type` is that of a part. Absent: replicated. */
  readonly shards?: readonly StoreShard[];
  /** Of an optimizer's state, or the sum of gradients: the name of the parameter that it is of. */
  readonly of?: string;
  /** Of a parameter that is kept as codes (`type` is theirs, i8, of `shapeOfCodes`): how. Absent: it is kept as it is. */
  readonly quantised?: Quantised;
  readonly span: Span | null;
}
/** How codes stand for numbers of `dtype`: each is multiplied by the scale that elements along `axes`, which follow one another, have in common (codes.ts). */
export interface Quantised {
  readonly code: Weights;
  readonly dtype: DType;
  readonly axes: readonly number[];
  /** The store of the scales. */
  readonly scales: string;
}
/** A store, or the part of it that an earlier shard left, in equal parts along an axis: rank r has part floor(r / stride) % parts. */
export interface StoreShard {
  readonly axis: number;
  readonly parts: number;
  readonly stride: number;
  /** See `AxisSharding`. Default: the axis is one piece. */
  readonly pieces?: readonly number[];
}
/** A store that the compiler adds: it is in no array of layers, and has no place in the program. */
export const unstackedStore = (name: string, role: Store["role"], type: Type, saved = false): Store => ({
  name,
  role,
  type,
  stack: 0,
  saved,
  span: null,
});
/**
 * Inputs that the runtime itself gives to each entry that reads them. `$key`: i32[2], the seed and the number of the call. `$step`: i32[], training
 * steps done. `$rank`: i32[], this worker's rank. `$weight`: f32[], how much the batch counts among those of its step.
 */
export const runtimeInputs = { key: "$key", step: "$step", rank: "$rank", weight: "$weight" } as const;
/** The key of the random numbers of one place in the program: i32[2], the seed and (number of the call ^ place). */
export const keyInput = (place: number): string => `${runtimeInputs.key}^${place}`;
/** The place that a key's store is for, 0 for `$key` itself; null: the store is no key. */
export const placeOfKeyInput = (store: string): number | null =>
  store.startsWith(runtimeInputs.key) ? Number(store.slice(runtimeInputs.key.length + 1)) : null;
export const isRuntimeInput = (store: string): boolean => store.startsWith("$");

/** A program with all sizes known: what elaboration hands to the passes. */
export interface Elaborated {
  readonly stores: readonly Store[];
  /** First `init`, which has one "store" result for each parameter and state; then the entries asked for. */
  readonly graphs: readonly Graph[];
  /** Where workers have parts of tables only: the entries with whole ones, which say what an index may be. */
  readonly whole?: Pick<Elaborated, "stores" | "graphs">;
  /** The names of trained parameters that no loss depends on. Absent: none. */
  readonly unreached?: readonly string[];
}
