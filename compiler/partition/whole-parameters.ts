// Parameters of which each worker keeps a part (ZeRO stage 3, Rajbhandari et al. 2020, arXiv 1910.02054): they are made whole where they are read, by one
// gather for each visit of the layer that they are in. Only the optimizer's step reads parts.
import type { Builder, Graph, Node, Value } from "../graph/node.ts";
import { forwardNodes, nodesOf, readersOf, rebuildGraph, storeOf } from "../graph/walk.ts";
import { item } from "../item.ts";
import { getOrMake } from "../memoize.ts";
import * as b from "../ops/build.ts";
import { bytesOf, type DType, isFloat } from "../types/dtype.ts";
import { count, dims, dtypeOf } from "../types/type.ts";

/**
 * The graph in which all but the optimizer's step reads the `divided` parameters, or narrower copies of them, by the op `whole`. `states`: the optimizer's
 * stores that are divided as they are.
 */
export function wholeWhereRead(
  g: Builder,
  graph: Graph,
  divided: ReadonlySet<string>,
  states: ReadonlySet<string>,
): Graph {
  const reads = new Reads(g, graph, divided);
  const ofStep = new Set([...nodesOfStep(graph, new Set([...divided, ...states])), ...summedAlone(graph, divided)]);
  return rebuildGraph(g, graph, (node, args) =>
    reads.isRead(node) || ofStep.has(node) ? null : reads.withWholes(node, args),
  );
}
/** Elementwise ops that make new contents of these stores, with what is elementwise before them and nothing else reads. */
function nodesOfStep(graph: Graph, stores: ReadonlySet<string>): ReadonlySet<Node> {
  const made = new Set(graph.results.flatMap((r) => (r.role === "store" && stores.has(r.name) ? [r.value.node] : [])));
  const readers = readersOf(nodesOf(graph));
  const found = new Set<Node>();
  for (const node of nodesOf(graph).toReversed()) {
    const readBy = node.results.flatMap((v) => readers.get(v) ?? []);
    const isOfStep = (by: Node): boolean => found.has(by) && shapeOf(by) === shapeOf(node);
    if (node.op.lower === "point" && (made.has(node) || (readBy.length > 0 && readBy.every(isOfStep)))) found.add(node);
  }
  return found;
}
/** Elementwise ops of parameters alone that are only summed up. */
function* summedAlone(graph: Graph, divided: ReadonlySet<string>): Generator<Node> {
  const readers = readersOf(nodesOf(graph));
  for (const node of nodesOf(graph)) {
    const isOfParameters = node.op.lower === "point" && node.args.every((a) => divided.has(storeOf(a.node) ?? ""));
    const isSummed = node.results.every((v) => readers.get(v)?.every(({ op }) => op.name === "reduce"));
    if (isOfParameters && isSummed) yield node;
  }
}
const shapeOf = ({ results }: Node): string => dims(item(results, 0).type).join();

class Reads {
  readonly #g: Builder;
  readonly #divided: ReadonlySet<string>;
  readonly #forward: ReadonlySet<Node>;
  readonly #visits = new Visits();
  /** By parameter, dtype and visit. */
  readonly #made = new Map<string, Value>();

  constructor(g: Builder, graph: Graph, divided: ReadonlySet<string>) {
    [this.#g, this.#divided, this.#forward] = [g, divided, forwardNodes(graph)];
  }
  /** Whether a node only gives parameters, as views of them or of their narrower copies. */
  isRead(node: Node): boolean {
    return this.#isView(node, (of) => this.#isParameter(of) || this.#isCopy(of));
  }
  #isParameter(node: Node): boolean {
    return this.#divided.has(storeOf(node) ?? "");
  }
  #isCopy({ op, args, results }: Node): boolean {
    if (op.name !== "cast") return false;
    const [from, to] = [dtypeOf(item(args, 0).type), dtypeOf(item(results, 0).type)];
    const narrows = isFloat(from) && isFloat(to) && bytesOf[to] < bytesOf[from];
    return narrows && this.#isView(item(args, 0).node, (of) => this.#isParameter(of));
  }
  #isView(node: Node, isBase: (node: Node) => boolean): boolean {
    if (isBase(node)) return true;
    return node.op.lower === "view" && node.args.length > 0 && node.args.every((x) => this.#isView(x.node, isBase));
  }
  /** `node`, which reads `args`, with whole parameters. */
  withWholes(node: Node, args: readonly Value[]): readonly Value[] {
    const isRead = (a: Value): boolean => this.isRead(a.node);
    if (!args.some(isRead)) return this.#g.withArgs(node, args).results;
    const operands =
      node.op.lower === "tile"
        ? this.#inMemory(
            node,
            args.filter((a) => !isRead(a)),
          )
        : [];
    return this.#g.withArgs(
      node,
      args.map((a) => (isRead(a) ? this.#whole(a, operands) : a)),
    ).results;
  }
  /** Of a product's operands what is in memory anyway: not views, nor gradients that the product makes less of, as those of a head may be made in pieces. */
  #inMemory(node: Node, operands: readonly Value[]): readonly Value[] {
    const made = count(item(node.results, 0).type);
    return operands.filter((a) => this.#forward.has(node) || count(a.type) <= made).map(underViews);
  }
  /** A view of parameters, or of their copies of `dtype`, as the same view of the whole ones. */
  #whole({ node, index, type }: Value, operands: readonly Value[], dtype: DType = dtypeOf(type)): Value {
    const store = storeOf(node);
    if (store !== null) return this.#gathered(store, item(node.results, 0), dtype, operands);
    const of = node.args.map((x) => this.#whole(x, operands, dtype));
    return node.op.name === "cast" ? item(of, 0) : item(this.#g.add(node.op, of, node.attrs).results, index);
  }
  #gathered(store: string, x: Value, dtype: DType, operands: readonly Value[]): Value {
    const { visit, first } = this.#visits.visit(layerOf(store), operands);
    const made = (): Value => b.whole(this.#g, b.cast(this.#g, x, dtype), first);
    return getOrMake(this.#made, `${store} ${dtype} ${visit}`, made);
  }
}
const underViews = (v: Value): Value =>
  v.node.op.lower === "view" && v.node.args.length === 1 ? underViews(item(v.node.args, 0)) : v;
/** The layer that a parameter is of: the innermost element of an array that it is in; else the layer that declares it. */
function layerOf(store: string): string {
  const names = store.split(".");
  const element = names.findLastIndex((name) => /^\d+$/.test(name));
  return names.slice(0, element < 0 ? -1 : element + 1).join(".");
}

interface Visit {
  /** The how manieth of its layer it is. */
  readonly visit: number;
  /** What is made before its parameters are gathered: they are not kept from the visit before. */
  readonly first: readonly Value[];
}
/**
 * The visits of layers in the order of a graph. A layer's parameters are kept while those of one other layer are read in between (its neighbour, or one that
 * all share); then the visit ends. What is gathered once more waits for the operands of the first product of the visit that began before.
 */
class Visits {
  /** Those that have not ended, the last read at the end. */
  readonly #open = new Map<string, Visit>();
  readonly #count = new Map<string, number>();
  /** Operands of the first product with a parameter in the newest visit that has one. */
  #operands: readonly Value[] = [];
  #isNew = false;

  visit(layer: string, operands: readonly Value[]): Visit {
    const visit = this.#open.get(layer) ?? this.#begin(layer);
    this.#open.delete(layer);
    this.#open.set(layer, visit);
    if (this.#isNew && operands.length > 0) {
      this.#operands = operands;
      this.#isNew = false;
    }
    return visit;
  }
  #begin(layer: string): Visit {
    const visit = (this.#count.get(layer) ?? 0) + 1;
    this.#count.set(layer, visit);
    this.#isNew = true;
    const [oldest] = this.#open.keys();
    if (this.#open.size === mostOpen && oldest !== undefined) this.#open.delete(oldest);
    return { visit, first: visit === 1 ? [] : this.#operands };
  }
}
/** Of so many layers parameters are whole at once. */
const mostOpen = 2;
