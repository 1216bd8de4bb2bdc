// A part of a graph that becomes one kernel, and which nodes end one whatever reads them.
import type { Node, Value } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { count } from "../types/type.ts";

export interface Region {
  /**
   * tile: contractions, and points of their accumulators. rows: elements, or rows with their folds. algorithm: one node in its own way. together: one
   * that all workers make, without a kernel.
   */
  readonly kind: "tile" | "rows" | "algorithm" | "together";
  /** The contractions, or the algorithm; of rows, the nodes of the outputs. */
  readonly nodes: readonly Node[];
  /** What goes to memory. */
  readonly outputs: readonly Value[];
  /** How many leading axes of the outputs' space the tasks walk, because a reduction over the others is inside; null: as it suits. */
  readonly depth: number | null;
  /** Of the backward or the update; such kernels compute `again` what the forward did not keep. */
  readonly late: boolean;
  readonly again: ReadonlySet<Value>;
}

/** Rows moved by an index: read in the consumer's load, whatever consumes it. */
export const carries: ReadonlySet<string> = new Set(["gather", "dispatch", "combine"]);

/** What has so many pieces, or is read in so many, is the work of a long loop: each step writes, or reads, its own. */
export const manySteps = 16;

/** Reductions over so few elements are written out, like points, unless an element takes so many operations to make. */
const fewElements = 8;
const fewOperations = 8;
/** What it is another shape of. */
export function under(v: Value): Value {
  const [from] = v.node.op.name === "reshape" ? v.node.args : [];
  return from ? under(from) : v;
}
/** Costs nothing where an operand is loaded, so that no buffer is made for it: a cast that loses nothing, and a mere other name. */
export const isFree = ({ op, args, results }: Node): boolean =>
  op.name === "detach" || (op.name === "cast" && args[0]?.type.dtype === "bf16" && results[0]?.type.dtype === "f32");

/** A reduction over the last axes is a fold of a row. */
export const isFold = (axes: readonly number[], rank: number): boolean =>
  axes.every((_, i) => axes.includes(rank - 1 - i));
export const folds = (node: Node): boolean =>
  node.op.name === "reduce" && isFold((node.attrs as OpAttrs["reduce"]).axes, node.args[0]?.type.shape.length ?? 0);
/** Written out where it is read, once for each element that reads it. */
export function isWrittenOut(node: Node): boolean {
  const [x, y] = [node.args[0], node.results[0]];
  if (node.op.name !== "reduce" || !x || !y || count(y.type) === 0) return false;
  const { axes } = node.attrs as OpAttrs["reduce"];
  const few = count(x.type) <= fewElements * count(y.type);
  return few && (!isFold(axes, x.type.shape.length) || operations(x) <= fewOperations);
}
/** Made once for each row of the kernel that reads it. */
export const foldsRows = (node: Node): boolean => folds(node) && !isWrittenOut(node);
/** To make an element by points alone; what is no more than moved costs nothing. */
function operations(v: Value): number {
  const { node } = v;
  const { lower } = node.op;
  if (lower !== "point" && lower !== "view") return 0;
  const own = lower === "point" ? node.op.flops(node) / Math.max(1, count(v.type)) : 0;
  return own + node.args.reduce((sum, a) => sum + (sum > fewOperations ? 0 : operations(a)), 0);
}
/** A concat of what many steps make: each piece is written to its place in memory. */
export const isInSteps = ({ op, args }: Node): boolean => op.name === "concat" && args.length > manySteps;
/** Ends a region always: its results are in memory. */
export function isAnchor(node: Node): boolean {
  const { lower, name } = node.op;
  if (isInSteps(node) || lower === "together") return true;
  if (lower === "tile" || (lower === "algorithm" && !carries.has(name))) return true;
  return lower === "reduce" && !folds(node) && !isWrittenOut(node);
}
