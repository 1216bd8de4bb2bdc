// What is dear to make, and read by a fold of its row and by the result, is kept beside the row: a softmax's powers of e.
import type { Value } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { dims, dtypeOf } from "../types/type.ts";
import type { Draft } from "./draft.ts";
import { product } from "./expr.ts";
import { shapeOf } from "./read.ts";

/** What to keep of a result whose tasks walk the axes from `depth` on. */
export const keptOf = (d: Draft, out: Value, depth: number): Value | null =>
  [...points(d, out)].find((v) => isDear(v) && foldsOf(d, out, v, depth).length > 0) ?? null;
const isDear = ({ node, type }: Value): boolean =>
  node.op.name === "unary" && dtypeOf(type) === "f32" && node.op.flops(node) >= 10 * product(dims(type));
/** Values that a kernel computes to make the element of a result at the same index. */
function points(d: Draft, out: Value, found = new Set<Value>()): Set<Value> {
  if (out.node.op.lower !== "point") return found;
  for (const a of out.node.args)
    if (d.inlines(a) && !found.has(a) && shapeOf(a).join() === shapeOf(out).join()) points(d, a, found.add(a));
  return found;
}
/** The folds of x, or of anything, over axes from `depth` on, that are computed to make a result. */
export function foldsOf(d: Draft, out: Value, x: Value | null, depth: number, seen = new Set<Value>()): Value[] {
  seen.add(out);
  const { op, args, attrs } = out.node;
  const isOne = op.name === "reduce" && (x === null || args[0] === x);
  const own = isOne && (attrs as OpAttrs["reduce"]).axes.every((axis) => axis >= depth) ? [out] : [];
  if (isOne && x !== null) return own;
  return [...own, ...args.flatMap((a) => (!seen.has(a) && d.inlines(a) ? foldsOf(d, a, x, depth, seen) : []))];
}
