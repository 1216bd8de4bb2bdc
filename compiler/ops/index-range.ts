// What the elements of an integer tensor can index: which values its indices may take.
import type { Elaborated, Node, Value } from "../graph/node.ts";
import { storeOf, topological, valuesOf } from "../graph/walk.ts";
import { count, type Type } from "../types/type.ts";
import type { BinaryName, OpAttrs, OpName } from "./attrs.ts";

const is = <K extends OpName>(name: K, node: Node): node is Node<OpAttrs[K]> => node.op.name === name;

/** For each integer input that is used as an index: how many values from 0 on it may have (for token numbers, the vocabulary). */
export function indexBounds({ stores, graphs }: Elaborated): Record<string, number> {
  const inputs = new Set(stores.filter((s) => s.role === "input").map((s) => s.name));
  const least = new Map<string, number>();
  for (const node of topological(graphs.flatMap(valuesOf))) {
    const chosen = node.op.indexes?.(node);
    if (!chosen) continue;
    const table = node.args.find((arg) => arg !== chosen.index);
    for (const [{ node: source }, plus] of sourcesOf(chosen.index, table ? isKept(table, inputs) : false)) {
      const store = storeOf(source);
      if (store !== null && inputs.has(store))
        least.set(store, Math.min(Math.max(0, chosen.length - plus), least.get(store) ?? Infinity));
    }
  }
  return Object.fromEntries(least);
}

/**
 * The longest axis any position of which may be among the elements of `index` (as of a `top_k`), and the node that gave them. What a `where` keeps by a
 * condition that tests the choice, `index < E`, may be dropped on purpose; by another (a mask of padding, a place in an expert's queue) it is not.
 */
export function indexRangeOf(index: Value): { readonly length: number; readonly node: Node } | null {
  const found = new Set([index]);
  const conditions = new Set<Value>();
  for (const { node } of found) {
    const [condition, ...kept] = node.op.name === "select" ? node.args : [];
    if (condition) conditions.add(condition);
    for (const arg of [...copiedArgs(node), ...kept]) found.add(arg);
  }
  let most: ReturnType<typeof indexRangeOf> = null;
  for (const choice of found) {
    const length = choice.node.op.indexRange?.(choice.node, choice.index) ?? 0;
    if (length > (most?.length ?? 0) && !isTested(choice, conditions)) most = { length, node: choice.node };
  }
  return most;
}
/**
 * Whether a condition looks at the choice itself, or at a table's entry for it. What was counted or sorted before (the queues of a capacity) tells of
 * all choices together, not whether this one is a layer.
 */
function isTested(choice: Value, conditions: ReadonlySet<Value>): boolean {
  const seen = new Set(conditions);
  for (const value of seen) {
    const { op, args } = value.node;
    const [table, ...rest] = args;
    const followed =
      op.name === "gather" && table
        ? topological([table]).includes(choice.node)
          ? [table]
          : [table, ...rest]
        : op.lower === "point" || op.lower === "view" || op.name === "reduce"
          ? args
          : [];
    for (const arg of followed) seen.add(arg);
  }
  return seen.has(choice);
}

/** The least and the largest element that an index has for certain. */
interface Reach {
  readonly least: number;
  readonly most: number;
}
/** The reach of an index that is made of positions (`range`) and numbers: 1 to 8 of `range(8) + 1`. Null: not known, or it has no elements. */
export const reachOf = (index: Value): Reach | null => reachIn(index, new Map());
/** The same; `known`: what was found before, so that what is read twice is looked at once. A chain of more than `mostNodes` is not followed. */
function reachIn(value: Value, known: Map<Value, Reach | null>): Reach | null {
  const before = known.get(value);
  if (before !== undefined || known.size > mostNodes) return before ?? null;
  known.set(value, null);
  const found = count(value.type) === 0 ? null : reachOfNode(value.node, (arg) => reachIn(arg, known));
  known.set(value, found);
  return found;
}
const mostNodes = 1000;
const fromTo = (least: number, most: number): Reach => ({ least, most });
function reachOfNode(node: Node, reach: (arg: Value) => Reach | null): Reach | null {
  const [x, by] = node.args;
  if (is("iota", node)) return fromTo(0, Number(node.attrs.size) - 1);
  if (is("const", node)) return fromTo(node.attrs.value, node.attrs.value);
  if (!x) return null;
  if (is("slice", node)) {
    const { start, size } = node.attrs;
    return is("iota", x.node) ? fromTo(Number(start), Number(start) + Number(size) - 1) : null;
  }
  if (node.op.name === "concat") {
    const known = node.args.map(reach).filter((r) => r !== null);
    if (known.length === 0) return null;
    return fromTo(Math.min(...known.map((r) => r.least)), Math.max(...known.map((r) => r.most)));
  }
  if (node.op.lower === "view" || node.op.name === "cast") return reach(x);
  if (!is("binary", node) || !by) return null;
  const [a, c] = [reach(x), reach(by)];
  return a && c && areIndependent(x, by) ? combined(node.attrs.fn, a, c) : null;
}
/** Of two operands whose elements meet in all pairs, by a function that is monotonic in each; of others null. */
function combined(fn: BinaryName, x: Reach, y: Reach): Reach | null {
  if (fn === "add") return fromTo(x.least + y.least, x.most + y.most);
  if (fn === "sub") return fromTo(x.least - y.most, x.most - y.least);
  if (fn === "max") return fromTo(Math.max(x.least, y.least), Math.max(x.most, y.most));
  if (fn === "min") return fromTo(Math.min(x.least, y.least), Math.min(x.most, y.most));
  if (fn === "mul") {
    const ends = [x.least, x.most].flatMap((a) => [a * y.least, a * y.most]);
    return fromTo(Math.min(...ends), Math.max(...ends));
  }
  const isPositive = fn === "idiv" && y.least === y.most && y.least > 0;
  return isPositive ? fromTo(Math.floor(x.least / y.least), Math.floor(x.most / y.least)) : null;
}
/** Whether two operands of a point vary along different axes, so that each element of one meets each of the other. */
function areIndependent(x: Value, y: Value): boolean {
  const axes = variedAxes(x);
  return ![...variedAxes(y)].some((axis) => axes.has(axis));
}
/** The axes along which a value may vary. */
function variedAxes(value: Value): Set<number> {
  const seen = new Set([value]);
  const axes = new Set<number>();
  for (const { node, type } of seen) {
    const [x] = node.args;
    if (node.op.lower === "point") for (const arg of node.args) seen.add(arg);
    else if (is("broadcast", node) && x) for (const i of longAxes(x.type)) axes.add(node.attrs.axes[i] ?? i);
    else for (const i of longAxes(type)) axes.add(i);
  }
  return axes;
}
const longAxes = ({ shape }: Type): number[] => shape.flatMap((n, i) => (n === 1 ? [] : [i]));
/** Whether every element of `index` is known to be a position in an axis of this `length`. */
export function isWithin({ node, index: result }: Value, length: number): boolean {
  const among = node.op.indexRange?.(node, result) ?? null;
  if (among !== null) return among <= length;
  const from = copiedArgs(node);
  return from.length > 0 && from.every((arg) => isWithin(arg, length));
}
/** Whether a tensor is a store that outlives the call (a learned table, a cache), where rows past the end are never meant. */
const isKept = ({ node }: Value, inputs: ReadonlySet<string>): boolean => {
  const store = storeOf(node);
  return store === null ? copiedArgs(node).some((arg) => isKept(arg, inputs)) : !inputs.has(store);
};
/** The index, and all values whose elements are among its own, each with 0; where `shifted`, those too that are so once a constant is added, with that. */
function sourcesOf(index: Value, shifted: boolean): Map<Value, number> {
  const found = new Map([[index, 0]]);
  for (const [{ node }, plus] of found)
    for (const [arg, more] of shifted ? shiftedArgs(node) : unshifted(node))
      found.set(arg, Math.max(plus + more, found.get(arg) ?? -Infinity));
  return found;
}
const unshifted = (node: Node): (readonly [Value, number])[] => copiedArgs(node).map((arg) => [arg, 0]);
/** As `copiedArgs`, and those to which the node adds a constant. */
function shiftedArgs(node: Node): (readonly [Value, number])[] {
  const [x, by] = node.args;
  if (!is("binary", node) || !x || !by) return unshifted(node);
  const { fn } = node.attrs;
  const [left, right] = [constantOf(x), constantOf(by)];
  if (fn === "add" && right !== null) return [[x, right]];
  if (fn === "add" && left !== null) return [[by, left]];
  if (fn === "sub" && right !== null) return [[x, -right]];
  return fn === "max"
    ? [
        [x, 0],
        [by, 0],
      ]
    : [];
}
/** Whether a value is made of parameters and numbers alone: a table, whose rows are no data. `isParameter`: of a store's name. */
export const isTable = (x: Value, isParameter: (store: string) => boolean): boolean =>
  topological([x]).every((node) => isParameter(storeOf(node) ?? "") || storeOf(node) === null);
/** The number that all elements of a value are, if it is one that the program states. */
function constantOf({ node }: Value): number | null {
  if (is("const", node)) return node.attrs.value;
  const [x] = node.args;
  return x && node.args.length === 1 && (node.op.lower === "view" || node.op.name === "cast") ? constantOf(x) : null;
}
/** The arguments whose elements a node passes on unchanged; arithmetic and `where` give numbers of another range. */
const copiedArgs = ({ op, args }: Node): readonly Value[] =>
  op.lower === "view" ? args : copiesFirst.has(op.name) ? args.slice(0, 1) : [];
const copiesFirst: ReadonlySet<string> = new Set(["cast", "detach", "gather"]);
