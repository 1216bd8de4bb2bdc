// Which values are constant along an axis. It is decided from the graph alone, so that the result's bits do not depend on which kernel reads the
// value, or on its schedule.
import type { Node, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { memoize } from "../memoize.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { product } from "../types/numbers.ts";
import { operand, result, shapeOf } from "./reader.ts";

interface Along {
  readonly v: Value;
  readonly axis: number;
}
const known: (v: Value) => Map<number, boolean> = memoize(() => new Map<number, boolean>());
/** Whether v is constant along an axis; false for an axis of length 1. */
export function isConstantAlong(v: Value, axis: number): boolean {
  const all: Along[] = [{ v, axis }];
  const isConstant = isAllConstant(all);
  for (const at of isConstant ? all : all.slice(0, 1)) known(at.v).set(at.axis, isConstant);
  return isConstant;
}
/** Adds to the list all that it needs. Residuals of many layers make long chains, so this does not recurse. */
function isAllConstant(all: Along[]): boolean {
  const asked = new Map<Value, Set<number>>();
  for (const { v, axis } of all) {
    const axes = asked.get(v) ?? new Set();
    const found = axes.has(axis) || known(v).get(axis);
    asked.set(v, axes.add(axis));
    if (found) continue;
    const needed = found === false || shapeOf(v)[axis] === 1 ? null : neededAlong(v, axis);
    if (!needed) return false;
    all.push(...needed);
  }
  return true;
}
/** What must be constant for v to be constant; null: it is not. */
function neededAlong(v: Value, axis: number): Along[] | null {
  const { op, args, attrs } = v.node;
  const first = (along: number): Along[] => [{ v: item(args, 0), axis: along }];
  if (op.name === "const") return [];
  if (op.lower === "point" && op.name !== "random") return args.length > 0 ? args.map((x) => ({ v: x, axis })) : null;
  if (op.name === "broadcast") {
    const from = (attrs as OpAttrs["broadcast"]).axes.indexOf(axis);
    return from < 0 ? [] : first(from);
  }
  if (op.name === "transpose") return first(item((attrs as OpAttrs["transpose"]).perm, axis));
  if (op.name === "slice") return first(axis);
  const kept = op.name === "reshape" ? keptAxis(v.node, axis) : -1;
  return kept >= 0 ? first(kept) : null;
}
/** The operand's axis that a reshape keeps as it is: one of the same length, with as many elements behind it; -1: none. */
function keptAxis(node: Node, axis: number): number {
  const [from, to] = [shapeOf(operand(node)), shapeOf(result(node))];
  const behind = product(to.slice(axis));
  return from.findLastIndex((n, i) => n === to[axis] && product(from.slice(i)) === behind);
}
