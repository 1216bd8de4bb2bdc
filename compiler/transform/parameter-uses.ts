// How graphs read a parameter that may be kept as codes: along which of its axes a product, or a look-up, takes it, through any views.
import type { Graph, Node, Value } from "../graph/node.ts";
import { forwardNodes, nodesOf, readersOf, storeOf, valuesOf } from "../graph/walk.ts";
import { item } from "../item.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { isRightOperand } from "../ops/pairs.ts";
import { isFloat } from "../types/dtype.ts";
import { fromTo } from "../types/numbers.ts";
import { dims, dtypeOf } from "../types/type.ts";

/** How a product (or look-up) reads a parameter: along which of its axes its depth moves (that of a row), and along which its columns. */
export interface Use {
  readonly depth: readonly number[];
  readonly columns: readonly number[];
  readonly isForward: boolean;
}
/** The axes that a column has for all these uses; none: there are no such axes; null: there is no use. */
export function axesOfColumn(uses: readonly (Use | null)[]): readonly number[] | null {
  const [first] = uses; // of the forward, which comes first
  if (first === undefined) return null;
  if (first === null) return [];
  const axes = first.depth;
  const isScaledAfter = (u: Use): boolean => String(u.depth) === String(axes);
  const isScaledBefore = (u: Use): boolean =>
    !u.isForward && isAmong(u.columns, axes) && !u.depth.some((a) => axes.includes(a));
  return uses.every((u) => u !== null && (isScaledAfter(u) || isScaledBefore(u))) ? axes : [];
}
/** How a graph reads each store; null: in another way. */
export function* usesIn(graph: Graph): Generator<[store: string, use: Use | null]> {
  const nodes = nodesOf(graph);
  const forward = forwardNodes(graph);
  const readers = readersOf(nodes);
  const results = new Set(valuesOf(graph));
  const routers = routersOf(nodes);
  function* usesOf(view: View): Generator<Use | null> {
    if (results.has(view.value)) yield null;
    for (const by of readers.get(view.value) ?? []) {
      const through = viewBy(by, view);
      const use = routers.has(by) ? null : useBy(by, view);
      if (through) yield* usesOf(through);
      else yield use && { ...use, isForward: forward.has(by) };
    }
  }
  for (const node of nodes) {
    const store = storeOf(node);
    for (const use of store === null ? [] : usesOf(wholeOf(item(node.results, 0)))) yield [store ?? "", use];
  }
}
/** The products by whose columns experts are chosen: rounded, they would choose others. */
function routersOf(nodes: readonly Node[]): ReadonlySet<Node> {
  const seen = new Set<Node>();
  const visit = (node: Node): void => {
    if (seen.has(node)) return;
    seen.add(node);
    if (!isProduct(node)) for (const a of node.args) visit(a.node);
  };
  for (const { op, args } of nodes) if (op.name === "route") visit(item(args, 0).node);
  return new Set([...seen].filter(isProduct));
}
/** With weights of each group too, as the gates of mixtures in experts have. */
export const isProduct = ({ op }: Node): boolean => op.name === "dot" || op.name === "ragged_dot";

/** A view of a parameter: for each of its axes, the axes of the parameter along which it moves. */
interface View {
  readonly value: Value;
  readonly along: readonly (readonly number[])[];
}
export const wholeOf = (value: Value): View => ({ value, along: dims(value.type).map((_, i) => [i]) });
/** What a node makes of a view, if it only views it or widens its numbers; else null. */
export function viewBy(node: Node, { value, along }: View): View | null {
  const made = item(node.results, 0);
  const moved = (to: readonly (readonly number[])[]): View => ({ value: made, along: to });
  switch (node.op.name) {
    case "cast":
      return isFloat(dtypeOf(made.type)) ? moved(along) : null;
    case "detach":
    case "slice":
      return moved(along);
    case "transpose":
      return moved((node.attrs as OpAttrs["transpose"]).perm.map((a) => item(along, a)));
    case "broadcast": {
      const { axes } = node.attrs as OpAttrs["broadcast"];
      return moved(dims(made.type).map((_, i) => along[axes.indexOf(i)] ?? []));
    }
    case "reshape":
      return moved(reshaped(along, dims(value.type), dims(made.type)));
    default:
      return null;
  }
}
/** A view of a parameter through all that views it. */
export function viewOf(value: Value): View {
  const [below] = value.node.args;
  return (below && viewBy(value.node, viewOf(below))) ?? wholeOf(value);
}
/** Along which axes the axes of a reshape move: those that axes are joined to, or cut from, move along all of these. */
function reshaped(
  along: View["along"],
  from: readonly number[],
  to: readonly number[],
): readonly (readonly number[])[] {
  if (to.includes(0)) return to.map(() => []); // no element moves
  const made: (readonly number[])[] = [];
  let i = 0;
  for (let j = 0; j < to.length; ) {
    const [first, start] = [i, j];
    let [m, n] = [from[i++] ?? 1, item(to, j++)];
    while (m !== n) {
      if (m < n) m *= item(from, i++);
      else n *= item(to, j++);
    }
    const moving = fromTo(first, Math.min(i, from.length)).filter((a) => from[a] !== 1);
    const group = [...new Set(moving.flatMap((a) => item(along, a)))];
    made.push(...fromTo(start, j).map((a) => (item(to, a) === 1 ? [] : group)));
  }
  return made;
}
/** How `node` reads a view of a parameter, if it may be codes and scales; else null. */
function useBy(node: Node, { value, along }: View): Omit<Use, "isForward"> | null {
  const rank = along.length;
  const args = [...node.args.keys()].filter((i) => node.args[i] === value);
  const columns = along.at(-1) ?? [];
  const read = (depth: readonly number[] | null): Omit<Use, "isForward"> | null => depth && { depth, columns };
  if (isProduct(node) && args.every((i) => isRightOperand(node, i))) return read(onlyAlong(along, rank - 2));
  const isTable = node.op.name === "gather" && args.join() === "0";
  return isTable && (node.attrs as OpAttrs["gather"]).axis < rank - 1 ? read(onlyAlong(along, rank - 1)) : null;
}
/** The axes of the parameter along which this one moves, if there are some, in a row, and no other axis moves along them; else null. */
function onlyAlong(along: View["along"], axis: number): readonly number[] | null {
  const own = item(along, axis).toSorted((x, y) => x - y);
  const isApart = along.every((a, i) => i === axis || !a.some((x) => own.includes(x)));
  const inRow = own.every((a, i) => a === item(own, 0) + i);
  return own.length > 0 && isApart && inRow ? own : null;
}
/** Whether an axis moves along these axes alone, and along some. */
export const isAmong = (along: readonly number[], axes: readonly number[]): boolean =>
  along.length > 0 && along.every((a) => axes.includes(a));
