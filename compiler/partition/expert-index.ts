// Recognises an index that stays with each row's own expert: into a table with a part for each expert, or of a mixture inside an expert, whose own
// experts are such parts.
import type { Node, Value } from "../graph/node.ts";
import { memoize } from "../memoize.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { splatOf } from "../rewrite/pattern.ts";

/** The number of each sorted row's expert in the routing `by` or, if `groups` is less than the number of experts, of its run of equally many experts. */
interface ExpertOf {
  readonly by: Node;
  readonly groups: number;
}
function expertOf(v: Value): ExpertOf | null {
  const { node, index } = v;
  if (node.op.name === "route") return index === 3 ? { by: node, groups: groupCount(node) } : null;
  const viewed = viewedBy(v);
  if (viewed) return expertOf(viewed);
  const [of, by] = node.args;
  const [expert, run] = isBinary(v, "idiv") && of && by ? [expertOf(of), splatOf(by)] : [null, null];
  return expert && run && expert.groups % run === 0 ? { ...expert, groups: expert.groups / run } : null;
}
/** The routing that sorted the rows, if each row's index into a table of `n` places is its expert, or in the part of its expert; else null. */
export function routingOfIndex(v: Value, n: number): Node | null {
  const expert = expertOf(v);
  if (expert) return expert.groups === n ? expert.by : null;
  const viewed = viewedBy(v);
  if (viewed) return routingOfIndex(viewed, n);
  const [, place] = v.node.args;
  if (v.node.op.name !== "select" || !place || !isBinary(place, "add")) return null;
  for (const start of place.node.args) {
    const own = expertOf(start);
    const found = own?.groups === n ? own : factorOf(start, n);
    if (found) return found.by;
  }
  return null;
}
/** The expert in a product `expert * (n / number of experts)`. */
function factorOf(v: Value, n: number): ExpertOf | null {
  const [x, y] = v.node.args;
  if (!isBinary(v, "mul") || !x || !y) return null;
  for (const [expert, each] of [
    [expertOf(x), splatOf(y)],
    [expertOf(y), splatOf(x)],
  ] as const)
    if (expert && each === n / expert.groups) return expert;
  return null;
}
/** The routing of the mixture in whose expert this one is; null: it is in none. */
export const outerRouting: (route: Node) => Node | null = memoize((route) => {
  const [index] = route.args;
  return index ? routingOfIndex(index, groupCount(route)) : null;
});
/** The outermost of such mixtures, perhaps the given one itself. */
export function outermostRouting(route: Node): Node {
  const outer = outerRouting(route);
  return outer ? outermostRouting(outer) : route;
}
/** The routing that sorted the rows of what a node makes, given that of its arguments; undefined: none did. */
export function sortedBy(node: Node, of: (v: Value) => Node | undefined): Node | undefined {
  const { op, args } = node;
  const by = { dispatch: args[1], ragged_dot: args[2], gather: args[1] }[op.name]?.node;
  if (by) return by.op.name === "route" ? by : undefined;
  return op.lower === "point" || op.lower === "view" ? args.flatMap((a) => of(a) ?? [])[0] : undefined;
}
export const groupCount = (route: Node): number => (route.attrs as { readonly groups: number }).groups;

/** The operand of a view in which the rows are as before, along the first axis; else null. */
function viewedBy({ node }: Value): Value | null {
  const [of = null] = node.args;
  const keepsRows =
    node.op.name === "reshape" || (node.op.name === "broadcast" && (node.attrs as OpAttrs["broadcast"]).axes[0] === 0);
  return keepsRows ? of : null;
}
const isBinary = ({ node }: Value, fn: string): boolean =>
  node.op.name === "binary" && (node.attrs as OpAttrs["binary"]).fn === fn;
