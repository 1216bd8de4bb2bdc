// Chooses which stores lie in panels, the order in which a matmul's register tile reads its right operand: weights of contractions, and everything
// that is updated element by element with them (gradients, optimizer state). All else lies in rows.
import type { Builder, Graph, Node, Store, Value } from "../graph/node.ts";
import { nodesOf, storeOf, valuesOf } from "../graph/walk.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { isRightOperand } from "../ops/pairs.ts";
import { dims } from "../types/type.ts";

/** The panel width of each store; stores that are not in the map lie in rows. */
export type StorePanels = ReadonlyMap<string, number>;

/**
 * Chooses the panels of the stores of a program; a store lies in panels in all of its graphs or in none. `width`: the columns of a register tile of
 * the target.
 */
export function choosePanels(graphs: readonly Graph[], stores: readonly Store[], width: number): StorePanels {
  const classes = new LayoutClasses(graphs);
  const refused = new Set(stores.filter((s) => !fitsPanels(s, width)).map((s) => classes.classOf(s.name)));
  const chosen = stores.filter(
    ({ name }) => !refused.has(classes.classOf(name)) && classes.wantsPanels(classes.classOf(name)),
  );
  return new Map(chosen.map((s) => [s.name, width]));
}
/**
 * Whether a store can lie in panels: its columns are a multiple of the width, as panels have no padding. (A single row is the same in both layouts.)
 */
function fitsPanels({ role, type }: Store, width: number): boolean {
  const [rows = 1, columns = 0] = dims(type).slice(-2);
  return role !== "input" && type.shape.length > 1 && rows > 1 && columns > 0 && columns % width === 0;
}
/** The panel width of a value of one graph, or null for rows: the layout of the stores that it is made from, or assigned to, element by element. */
export type ValuePanels = (v: Value) => number | null;
export function panelWidthsIn(graph: Graph, stores: StorePanels): ValuePanels {
  if (stores.size === 0) return () => null;
  const classes = new LayoutClasses([graph]);
  const widths = new Map([...stores].map(([name, width]) => [classes.classOf(name), width]));
  const becomes = new Map(
    graph.results.flatMap((r) => (r.role === "store" && isGenerated(r.value) ? [[r.value, stores.get(r.name)]] : [])),
  );
  return (v) => widths.get(classes.classOf(v)) ?? becomes.get(v) ?? null;
}

/** If stores of different layouts are assigned one value that is not in memory (the zeros that they begin with), makes a value for each layout. */
export function splitByLayout(g: Builder, graph: Graph, stores: StorePanels): Graph {
  const first = new Map<Value, number | undefined>();
  const results = graph.results.map((r) => {
    if (r.role !== "store" || !isGenerated(r.value)) return r;
    const width = stores.get(r.name);
    if (!first.has(r.value)) first.set(r.value, width);
    return first.get(r.value) === width ? r : { ...r, value: b.detach(g, r.value) };
  });
  return { ...graph, results };
}

/** Classes (union-find) of stores and values that share a layout, as element [.., r, c] of one is made from elements [.., r, c] of others. */
class LayoutClasses {
  readonly #parents = new Map<Value | string, Value | string>();
  readonly #weights: Value[] = [];
  readonly #refused: Value[] = [];

  constructor(graphs: readonly Graph[]) {
    for (const graph of graphs) this.#addGraph(graph);
  }
  classOf(member: Value | string): Value | string {
    let top = member;
    for (let up = this.#parents.get(top); up !== undefined; up = this.#parents.get(top)) top = up;
    if (top !== member) this.#parents.set(member, top);
    return top;
  }
  /** Whether some contraction reads a value of the class as a weight, and none must lie in rows. */
  wantsPanels(layoutClass: Value | string): boolean {
    const among = (list: readonly Value[]): boolean => list.some((v) => this.classOf(v) === layoutClass);
    return among(this.#weights) && !among(this.#refused);
  }
  #join(a: Value | string, b: Value | string): void {
    const [x, y] = [this.classOf(a), this.classOf(b)];
    if (x !== y) this.#parents.set(x, y);
  }
  #addGraph(graph: Graph): void {
    const nodes = nodesOf(graph);
    const uses = usesIn(nodes, new Set(valuesOf(graph)));
    const stored = graph.results.filter((r) => r.role === "store" && !isGenerated(r.value));
    const held = new Set([...stored.map((r) => r.value), ...nodes.filter((n) => storeOf(n)).flatMap((n) => n.results)]);
    // a scatter begins with its base, which it reads otherwise, so its result lies in rows too
    const isInRows = (v: Value): boolean =>
      sameLayoutValues(v, uses).some(
        (x) => x.node.op.name === "scatter" || (uses.get(x) ?? []).some((u) => u.use === "other"),
      );
    const isHeld = (v: Value): boolean => sameLayoutValues(v, uses).some((x) => held.has(x));
    // these do not join the class of what they are made from: a value that is in no store may have another layout
    const isSeparate = (v: Value): boolean =>
      v.type.shape.length < 2 || isGenerated(v) || isMovedByCollective(v) || (isInRows(v) && !isHeld(v));
    for (const { name, value } of stored) this.#join(value, name);
    for (const v of nodes.flatMap((n) => n.results).filter((x) => !isSeparate(x))) {
      const store = storeOf(v.node);
      if (store !== null) this.#join(v, store);
      if (isInRows(v)) this.#refused.push(v);
      for (const { use, user } of uses.get(v) ?? []) {
        if (use === "weight") this.#weights.push(v);
        if (use === "same") for (const result of user.results) if (!isSeparate(result)) this.#join(v, result);
      }
    }
  }
}
/** Computed inline from nothing in memory (constants, iota): it has no layout of its own and may serve many stores. */
const isGenerated = ({ node }: Value): boolean =>
  node.op.name !== "param" && (node.op.lower === "leaf" || (node.op.lower === "view" && node.args.every(isGenerated)));

/**
 * How a node reads an argument. same: to make element [.., r, c] of its result it reads element [.., r, c]. weight: as the right operand of a
 * contraction. any: the order does not matter, or it is read only through views whose readers are contractions. other: in an order that panels do not
 * suit.
 */
interface Use {
  readonly use: "same" | "weight" | "any" | "other";
  readonly user: Node;
}
function usesIn(nodes: readonly Node[], results: ReadonlySet<Value>): ReadonlyMap<Value, readonly Use[]> {
  const uses = new Map<Value, Use[]>(nodes.flatMap((n) => n.results.map((v) => [v, []])));
  // readers are visited first: how a view's argument is used depends on how the view is
  for (const user of nodes.toReversed()) user.args.forEach((a, i) => uses.get(a)?.push({ use: use(user, i), user }));
  return uses;

  function use(by: Node, i: number): Use["use"] {
    const [a, result] = [by.args[i], by.results[0]];
    if (!a || !result) return "other";
    if (by.op.name === "after" && i > 0) return "any"; // it is only waited for
    switch (by.op.lower) {
      case "point":
        if (by.op.name === "from_fp4") return matrixUse(result); // a panel of codes, and of scales, is one of the numbers
        return dims(a.type).join() === dims(result.type).join() ? "same" : "other";
      case "view":
        return ofView(by, a, result);
      case "collective":
        return by.op.name === "all_reduce" ? "same" : "other";
      case "reduce":
        return by.op.name === "reduce" && reducesMatrix(by, a) ? "any" : "other";
      default:
        if (i === 0 && isOfSummedMatrices(by, a)) return matrixUse(result);
        return (by.op.name === "dot" || by.op.name === "ragged_dot") && isRightOperand(by, i) ? "weight" : "other";
    }
  }
  function ofView(view: Node, a: Value, result: Value): Use["use"] {
    const read = uses.get(result) ?? [];
    if (keepsMatrices(view, a, result)) return matrixUse(result);
    return !results.has(result) && read.every(allowsPanels) ? "any" : "other";
  }
  /** A gather of matrices that workers sum before or after it: what shadowed experts have of a stack, and its gradient. */
  function isOfSummedMatrices(by: Node, a: Value): boolean {
    if (by.op.name !== "gather" || (by.attrs as OpAttrs["gather"]).axis >= a.type.shape.length - 2) return false;
    return isAllReduce(a.node) || by.results.some((v) => (uses.get(v) ?? []).some(({ user }) => isAllReduce(user)));
  }
  function matrixUse(result: Value): Use["use"] {
    return (uses.get(result) ?? []).some((u) => u.use === "other") ? "other" : "same";
  }
  function allowsPanels({ use, user }: Use): boolean {
    if (use === "weight") return true;
    if (user.op.lower !== "view") return false;
    return use === "any" || (use === "same" && user.results.every((v) => (uses.get(v) ?? []).every(allowsPanels)));
  }
}
const isAllReduce = ({ op }: Node): boolean => op.name === "all_reduce";
/** A result of a collective that moves rows: these lie in rows. (An all_reduce adds element by element in any layout.) */
const isMovedByCollective = ({ node }: Value): boolean =>
  node.op.lower === "collective" && node.op.name !== "all_reduce";
/** A value, and all that always has its layout: the operand and the result of an all_reduce. */
function sameLayoutValues(v: Value, uses: ReadonlyMap<Value, readonly Use[]>): readonly Value[] {
  const added = v.node.op.name === "all_reduce" ? v.node.args : [];
  const sums = (uses.get(v) ?? []).flatMap(({ user }) => (user.op.name === "all_reduce" ? user.results : []));
  return [...added, v, ...sums];
}
/** Whether a reduction is over all rows and columns. */
function reducesMatrix(node: Node, a: Value): boolean {
  const { axes } = node.attrs as OpAttrs["reduce"];
  const rank = a.type.shape.length;
  return axes.includes(rank - 1) && axes.includes(rank - 2);
}
/** Whether a view keeps the last two axes, rows and columns, as they are. */
function keepsMatrices(node: Node, a: Value, result: Value): boolean {
  const [rank, from, to] = [result.type.shape.length, dims(a.type), dims(result.type)];
  if (from.length < 2 || rank < 2 || from.slice(-2).join() !== to.slice(-2).join()) return false;
  switch (node.op.name) {
    case "transpose":
      return (node.attrs as OpAttrs["transpose"]).perm.slice(-2).join() === [rank - 2, rank - 1].join();
    case "broadcast":
      return (node.attrs as OpAttrs["broadcast"]).axes.slice(-2).join() === [rank - 2, rank - 1].join();
    case "slice":
    case "concat":
      return (node.attrs as OpAttrs["concat"]).axis < rank - 2;
    default:
      return node.op.name === "reshape";
  }
}
