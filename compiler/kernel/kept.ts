// What is dear to make, and read by a fold of its row and by the result, is kept beside the row: a softmax's powers of e.
import type { Value } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { product } from "../types/numbers.ts";
import { dims, dtypeOf } from "../types/type.ts";
import { Builder } from "./build.ts";
import type { Draft } from "./draft.ts";
import { elements } from "./elements.ts";
import { num, sameAll, scalarOf } from "./expr.ts";
import type { Expr } from "./ir.ts";
import { Reader, shapeOf } from "./read.ts";

/** What to keep of a result whose tasks walk the axes from `depth` on. */
export const keptOf = (d: Draft, out: Value, depth: number): Value | null =>
  [...points(d, out)].find(
    (v) => isDear(v) && foldsOf(d, out, v, depth).length > 0 && readsOwn(d, out, new Map([[v, depth]])),
  ) ?? null;
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
/** Whether an element of x reads these values at its own index only, as far as so many of each one's axes. */
export function readsOwn(d: Draft, x: Value, known: ReadonlyMap<Value, number>): boolean {
  const k = new Builder("what an element reads");
  const at = shapeOf(x).map((n) => (n === 1 ? num(0) : k.variable("i", "index", 0, n - 1)));
  let own = true;
  const element = (v: Value, read: readonly Expr[]): Expr | null => {
    const axes = known.get(v);
    if (axes === undefined && d.inlines(v)) return null;
    if (axes !== undefined) own &&= sameAll(read.slice(0, axes), at.slice(0, axes));
    return k.variable("t", scalarOf(dtypeOf(v.type)));
  };
  new Reader(k, elements, { element, shared: () => false, offsets: null }).element(x, at);
  return own;
}
