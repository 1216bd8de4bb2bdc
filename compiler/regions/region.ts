// A region is the part of a graph that one kernel computes. Also here: which nodes always end a region, whatever reads them.
import { type Node, runtimeInputs, type Value } from "../graph/node.ts";
import { storeOf } from "../graph/walk.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { isOfFp4 } from "../ops/pairs.ts";
import type { Element } from "../types/dtype.ts";
import { count } from "../types/type.ts";

export interface Region {
  /**
   * tile: contractions, with pointwise ops on their accumulators as an epilogue. rows: elementwise results, or rows with reductions over them.
   * lanes: a chain of reductions over rows of few numbers (lanes.ts). algorithm: one node that has a kernel of its own. collective: a step of all
   * workers, without a kernel.
   */
  readonly kind: "tile" | "rows" | "lanes" | "algorithm" | "collective";
  /** The contractions or algorithm nodes; for `rows` and `lanes`, the nodes of the outputs. */
  readonly nodes: readonly Node[];
  /** What is written to memory. */
  readonly outputs: readonly Value[];
  /** How many leading axes of the outputs the tasks iterate over, because the other axes are reduced over inside; null: none are. */
  readonly depth: number | null;
  /** Only of `lanes`: how many rows there are, each of which a lane makes; else 0. */
  readonly rows: number;
  /** Whether it is part of the backward or the update. Then its kernel recomputes the values in `recomputed`, which the forward does not store. */
  readonly isBackward: boolean;
  readonly recomputed: ReadonlySet<Value>;
}

/** Products of matrices whose operands are read as they lie in memory. */
export const contractions: ReadonlySet<string> = new Set(["dot", "ragged_dot"]);
/** Ops that move rows by an index: a consumer of any kind computes them as it loads its operand. */
export const rowMoves: ReadonlySet<string> = new Set(["gather", "dispatch", "combine"]);

/** About as many pieces, or slices that read one tensor, mean a long unrolled loop whose steps each write, or read, their own. */
export const manySteps = 16;

/** Reductions over at most this many elements are expanded inline. One over the last axes must also cost at most `fewOperations` an element. */
const fewElements = 8;
const fewOperations = 8;
/** What a value is a reshape of. */
export function reshapeBase(v: Value): Value {
  const [from] = v.node.op.name === "reshape" ? v.node.args : [];
  return from ? reshapeBase(from) : v;
}
/**
 * Whether a node costs nothing when its result is loaded as an operand, so that it needs no buffer: a `detach`, a cast from bf16 or i8 to f32, or codes of
 * 4 bits that are read, in bf16 too.
 */
export const isFree = (node: Node): boolean => isOfFp4(node) || node.op.name === "detach" || isWidening(node);
const isWidening = ({ op, args, results }: Node): boolean =>
  op.name === "cast" && isNarrow(args[0]?.type.dtype) && results[0]?.type.dtype === "f32";
const isNarrow = (dtype: Element | undefined): boolean => dtype === "bf16" || dtype === "i8";

/** Whether the axes are the last ones: the reduction is then a fold over each row. */
export const areLastAxes = (axes: readonly number[], rank: number): boolean =>
  axes.every((_, i) => axes.includes(rank - 1 - i));
export const isRowFold = (node: Node): boolean =>
  node.op.name === "reduce" &&
  areLastAxes((node.attrs as OpAttrs["reduce"]).axes, node.args[0]?.type.shape.length ?? 0);
/** Whether a reduction is so small that it is computed where it is read, once for each element that reads it. */
export function isInlinedReduction(node: Node): boolean {
  const [x, y] = [node.args[0], node.results[0]];
  if (node.op.name !== "reduce" || !x || !y || count(y.type) === 0) return false;
  const { axes } = node.attrs as OpAttrs["reduce"];
  const few = count(x.type) <= fewElements * count(y.type);
  return few && (!areLastAxes(axes, x.type.shape.length) || operations(x) <= fewOperations);
}
/** A reduction over rows that the consuming kernel computes once per row. */
export const isRowReduction = (node: Node): boolean => isRowFold(node) && !isInlinedReduction(node);
/** Cost of computing one element with pointwise ops alone; moving an element costs nothing. */
function operations(v: Value): number {
  const { node } = v;
  const { lower } = node.op;
  if (lower !== "point" && lower !== "view") return 0;
  const own = lower === "point" ? node.op.flops(node) / Math.max(1, count(v.type)) : 0;
  return own + node.args.reduce((sum, a) => sum + (sum > fewOperations ? 0 : operations(a)), 0);
}
/** The numbers that follow from the training step alone (a learning rate), and the step; `nodes` are in topological order. */
export function scalarsOfStep(nodes: readonly Node[]): Set<Node> {
  const found = new Set(nodes.filter((node) => storeOf(node) === runtimeInputs.step));
  for (const node of nodes) {
    const isScalar = node.results.every((v) => v.type.shape.length === 0);
    const known = node.args.filter((a) => a.node.op.name !== "const");
    if (isScalar && known.length > 0 && known.every((a) => found.has(a.node))) found.add(node);
  }
  return found;
}
/** A concat of the results of many steps: each piece is written directly to its place in memory. */
export const isLongConcat = ({ op, args }: Node): boolean => op.name === "concat" && args.length > manySteps;
/** Whether a node always ends a region, so that its results are in memory. */
export function isAnchor(node: Node): boolean {
  const { lower, name } = node.op;
  if (isLongConcat(node) || lower === "collective") return true;
  if (lower === "tile" || (lower === "algorithm" && !rowMoves.has(name))) return true;
  return lower === "reduce" && !isRowFold(node) && !isInlinedReduction(node);
}
