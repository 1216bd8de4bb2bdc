// Which values are constant along an axis. It is decided from the graph alone, so that the result's bits do not depend on which kernel reads the
// value, or on its schedule.
import type { Node, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { memoize } from "../memoize.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { product } from "../types/numbers.ts";
import { operand, result, shapeOf } from "./reader.ts";

const known: (v: Value) => Map<number, boolean> = memoize(() => new Map<number, boolean>());
/** Whether v is constant along an axis; false for an axis of length 1. */
export function isConstantAlong(v: Value, axis: number): boolean {
  const found = known(v).get(axis) ?? (shapeOf(v)[axis] !== 1 && findConstantAlong(v, axis));
  known(v).set(axis, found);
  return found;
}
function findConstantAlong(v: Value, axis: number): boolean {
  const { op, args, attrs } = v.node;
  if (op.name === "const") return true;
  if (op.lower === "point" && op.name !== "random")
    return args.length > 0 && args.every((x) => isConstantAlong(x, axis));
  if (op.name === "broadcast") {
    const from = (attrs as OpAttrs["broadcast"]).axes.indexOf(axis);
    return from < 0 || isConstantAlong(item(args, 0), from);
  }
  if (op.name === "transpose") return isConstantAlong(item(args, 0), item((attrs as OpAttrs["transpose"]).perm, axis));
  if (op.name === "slice") return isConstantAlong(item(args, 0), axis);
  return op.name === "reshape" && throughReshape(v.node, axis);
}
/** For a reshape that keeps the axis as it is: one of the same length, with as many elements behind it, in the operand. */
function throughReshape(node: Node, axis: number): boolean {
  const [from, to] = [shapeOf(operand(node)), shapeOf(result(node))];
  const behind = product(to.slice(axis));
  const same = from.findLastIndex((n, i) => n === to[axis] && product(from.slice(i)) === behind);
  return same >= 0 && isConstantAlong(operand(node), same);
}
