// Finds values of a row that are worth caching in a local buffer: expensive to compute, and read both by a reduction over the row and by the result,
// like the exponentials of a softmax.
import type { Value } from "../../graph/node.ts";
import { KernelBuilder } from "../../kernel/builder.ts";
import { num, sameAll, scalarOf } from "../../kernel/expr.ts";
import type { Expr } from "../../kernel/ir.ts";
import type { OpAttrs } from "../../ops/attrs.ts";
import { product } from "../../types/numbers.ts";
import { dims, dtypeOf } from "../../types/type.ts";
import type { Draft } from "../draft.ts";
import { elementRules } from "../elements.ts";
import { Reader, shapeOf } from "../reader.ts";

/** The value to cache in a kernel of `out` in which a task walks the axes from `depth` on; null if there is none. */
export const cachedValueOf = (d: Draft, out: Value, depth: number): Value | null =>
  [...pointwiseInputs(d, out)].find(
    (v) =>
      isExpensive(v) && reductionsOf(d, out, v, depth).length > 0 && readsOwnIndexOnly(d, out, new Map([[v, depth]])),
  ) ?? null;
const isExpensive = ({ node, type }: Value): boolean =>
  node.op.name === "unary" && dtypeOf(type) === "f32" && node.op.flops(node) >= 10 * product(dims(type));
/** The values that the kernel computes inline, through elementwise ops, to make the element of `out` at the same index. */
function pointwiseInputs(d: Draft, out: Value, found = new Set<Value>()): Set<Value> {
  if (out.node.op.lower !== "point") return found;
  for (const a of out.node.args)
    if (d.inlines(a) && !found.has(a) && shapeOf(a).join() === shapeOf(out).join()) pointwiseInputs(d, a, found.add(a));
  return found;
}
/** The reductions, of x or of any value if x is null, over axes from `depth` on that the kernel computes inline to make `out`. */
export function reductionsOf(d: Draft, out: Value, x: Value | null, depth: number, seen = new Set<Value>()): Value[] {
  seen.add(out);
  const { op, args, attrs } = out.node;
  const isOne = op.name === "reduce" && (x === null || args[0] === x);
  const own = isOne && (attrs as OpAttrs["reduce"]).axes.every((axis) => axis >= depth) ? [out] : [];
  if (isOne && x !== null) return own;
  return [...own, ...args.flatMap((a) => (!seen.has(a) && d.inlines(a) ? reductionsOf(d, a, x, depth, seen) : []))];
}
/** Whether an element of x reads the `known` values at its own index only. The number of each says how many leading axes are compared. */
export function readsOwnIndexOnly(d: Draft, x: Value, known: ReadonlyMap<Value, number>): boolean {
  const k = new KernelBuilder("what an element reads");
  const at = shapeOf(x).map((n) => (n === 1 ? num(0) : k.variable("i", "index", 0, n - 1)));
  let own = true;
  const element = (v: Value, read: readonly Expr[]): Expr | null => {
    const axes = known.get(v);
    if (axes === undefined && d.inlines(v)) return null;
    if (axes !== undefined) own &&= sameAll(read.slice(0, axes), at.slice(0, axes));
    return k.variable("t", scalarOf(dtypeOf(v.type)));
  };
  new Reader(k, elementRules, { element, hasManyUses: () => false, offsets: null }).element(x, at);
  return own;
}
