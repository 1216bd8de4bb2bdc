// Products of which all columns are soon needed, because an op orders them (logits that are sampled from, scores of a gate). They are
// gathered as they are made: one message, where a softmax of parts would send its largest and its sum first, and each op that follows its own result.
import type { Node, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { dims } from "../types/type.ts";
import { storeOfView } from "./sharded-reads.ts";
import { operandAxis } from "./tensor-axes.ts";

/** The products, with their biases, of which all columns are needed. `parts`: how many workers share an axis. */
export function neededWhole(nodes: readonly Node[], parts: number): ReadonlySet<Value> {
  const seen = new Map<Value, Set<number>>();
  const visit = (v: Value, axis: number): void => {
    const axes = seen.get(v) ?? new Set();
    if (axes.has(axis)) return;
    seen.set(v, axes.add(axis));
    const own = isProduct(v) ? null : operandAxis(v, axis, parts);
    if (typeof own === "number") for (const a of v.node.args) if (own < dims(a.type).length) visit(a, own);
  };
  for (const { op, args } of nodes) {
    if (op.name !== "top_k" && op.name !== "cutoff") continue;
    visit(item(args, 0), lastAxis(item(args, 0)));
  }
  return new Set([...seen].flatMap(([v, axes]) => (isProduct(v) && axes.has(lastAxis(v)) ? [v] : [])));
}
const lastAxis = ({ type }: Value): number => dims(type).length - 1;
/** Of a product and a parameter (its bias, which is in the same parts) the sum counts. */
function isProduct({ node: { op, args } }: Value): boolean {
  const isWithParameter = op.lower === "point" && args.some((a) => storeOfView(a) !== null);
  return op.name === "dot" || (isWithParameter && args.some((a) => isProduct(ofReshapesAndCasts(a))));
}
function ofReshapesAndCasts(v: Value): Value {
  const { op, args } = v.node;
  return op.name === "reshape" || op.name === "cast" ? ofReshapesAndCasts(item(args, 0)) : v;
}
