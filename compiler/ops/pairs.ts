// A contraction sums the products of one or more pairs of operands: `dot(a, b, a2, b2, ..)`, `ragged_dot(x, w, offsets, x2, w2, ..)`.
import type { Node, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { dims } from "../types/type.ts";

export type OperandPair<T = Value> = readonly [left: T, right: T];

/** Groups arguments two by two. */
export function operandPairs<T>(args: readonly T[]): OperandPair<T>[] {
  return Array.from({ length: Math.ceil(args.length / 2) }, (_, p) => [item(args, 2 * p), item(args, 2 * p + 1)]);
}
/** Groups the arguments of a ragged_dot, whose third argument is the offsets. */
export const raggedOperandPairs = <T>(args: readonly T[]): OperandPair<T>[] => operandPairs(args.toSpliced(2, 1));

/** The operands of a dot or a ragged_dot, pair by pair, in the order in which they are summed. */
export const pairsOf = ({ op, args }: Node): OperandPair[] =>
  op.name === "ragged_dot" ? raggedOperandPairs(args) : operandPairs(args);
/** How many products are added up for one element of the result. */
export const depthOf = (node: Node): number => pairsOf(node).reduce((sum, [x]) => sum + (dims(x.type).at(-1) ?? 1), 0);
/** Whether an argument of a contraction is a right operand. */
export const isRightOperand = (node: Node, arg: number): boolean =>
  node.op.name === "ragged_dot" ? arg === 1 || (arg > 2 && arg % 2 === 0) : arg % 2 === 1;
/** Whether an operand is codes of 8 bits, seen through views and casts; `isSeen`: of which of these. */
export function isOfCodes(v: Value, isSeen: (view: Value) => boolean = () => true): boolean {
  const { op, args } = v.node;
  const [below] = op.lower === "view" || op.name === "cast" ? args : [];
  return below && args.length === 1 && isSeen(v) ? isOfCodes(below, isSeen) : v.type.dtype === "i8";
}
/** Whether a node gives the numbers of codes of 4 bits, or views or casts these: no kernel but one that multiplies by them reads them. */
export function isOfFp4({ op, args }: Node): boolean {
  const [below, ...more] = op.lower === "view" || op.name === "cast" || op.name === "detach" ? args : [];
  return op.name === "from_fp4" || (below !== undefined && more.length === 0 && isOfFp4(below.node));
}
/** The tensor in memory below single-argument views. Several slices of one tensor count as one operand of a kernel. */
export function viewBase(v: Value): Value {
  const { op, args } = v.node;
  return op.lower === "view" && args.length === 1 ? viewBase(item(args, 0)) : v;
}
