// Turns a sum of products into one contraction of several pairs of operands, `dot(a, b, a2, b2)`: one accumulator and one result instead of one for
// each product.
import type { Builder, Graph, Node, Value } from "../../graph/node.ts";
import { nodesOf, rebuildGraph, useCounts, valuesOf } from "../../graph/walk.ts";
import { item } from "../../item.ts";
import type { OpAttrs } from "../../ops/attrs.ts";
import * as b from "../../ops/build.ts";
import { viewBase } from "../../ops/pairs.ts";
import { matchOp } from "../../rewrite/pattern.ts";
import { dims, sameType, showType } from "../../types/type.ts";

/** Limits of one contraction: distinct tensors, which become arguments of the kernel, and pairs, each of which lengthens its text. */
const [mostOperands, mostPairs] = [8, 16];

/** Replaces each sum of products by one contraction, where the products have no other reader. */
export function pairProducts(g: Builder, graph: Graph): Graph {
  const sums = new Sums(graph);
  return rebuildGraph(g, graph, (node, _, now) => {
    const terms = sums.of(node);
    return terms && [sumTerms(g, terms, now)];
  });
}
/** The addends of a sum, in order; products that one accumulator can add up form one term. */
type Terms = readonly (readonly Value[])[];

class Sums {
  readonly #uses: ReadonlyMap<Value, number>;
  /** Additions that are only part of a larger sum. */
  readonly #inner = new Set<Node>();

  constructor(graph: Graph) {
    const nodes = nodesOf(graph);
    this.#uses = useCounts(valuesOf(graph), nodes);
    for (const { args, results } of nodes.filter(isSum))
      for (const x of args) if (this.#isTerm(x, item(results, 0))) this.#inner.add(x.node);
  }
  /** The terms of an outermost sum; null if the node is not one, or if no two of its products can share an accumulator. */
  of(node: Node): Terms | null {
    if (!isSum(node) || this.#inner.has(node)) return null;
    const terms: Value[][] = [];
    const open = new Map<string, Value[]>();
    for (const v of this.#added(item(node.results, 0))) {
      const key = this.#keyOf(v);
      const term = key === null ? undefined : open.get(key);
      if (term && fits([...term, v])) term.push(v);
      else {
        terms.push([v]);
        if (key !== null) open.set(key, item(terms, terms.length - 1));
      }
    }
    return terms.some((t) => t.length > 1) ? terms : null;
  }
  /** All addends of a nested sum, left to right. */
  #added(sum: Value): Value[] {
    const terms: Value[] = [];
    const waiting = [sum];
    for (let v = waiting.pop(); v; v = waiting.pop()) {
      if (v === sum || this.#inner.has(v.node)) waiting.push(...v.node.args.toReversed());
      else terms.push(v);
    }
    return terms;
  }
  #isTerm(x: Value, of: Value): boolean {
    return isSum(x.node) && this.#isOwn(x) && sameType(x.type, of.type);
  }
  #isOwn(v: Value): boolean {
    return this.#uses.get(v) === 1;
  }
  /** A key that is equal for products that one accumulator can add up; null for anything else, and for a product that has another reader. */
  #keyOf(v: Value): string | null {
    const { op, args, attrs } = v.node;
    const [x, , offsets] = args;
    if (!x || !this.#isOwn(v)) return null;
    if (op.name === "reshape") return this.#keyOf(x);
    if (op.name !== "dot" && op.name !== "ragged_dot") return null;
    const groups = op.name === "dot" ? "" : `${JSON.stringify(attrs)} ${offsets?.node.id}.${offsets?.index}`;
    return `${op.name} ${showType(v.type)} ${groups}`;
  }
}
/** Whether the products stay within the limits of one kernel. */
function fits(products: readonly Value[]): boolean {
  const operands = products.flatMap((v) => product(v).args.slice(0, 2).map(viewBase));
  return products.length <= mostPairs && new Set(operands).size <= mostOperands;
}
const isSum = (node: Node): boolean =>
  node.op.name === "binary" && (node.attrs as OpAttrs["binary"]).fn === "add" && node.args.length === 2;

/** `now`: maps a value of the old graph to its replacement. */
function sumTerms(g: Builder, terms: Terms, now: (v: Value) => Value): Value {
  const merged = terms.map((term) => (term.length === 1 ? now(item(term, 0)) : mergeProducts(g, term, now)));
  return b.addAll(g, merged);
}
function mergeProducts(g: Builder, products: readonly Value[], now: (v: Value) => Value): Value {
  const nodes = products.map((v) => product(v));
  const first = item(nodes, 0);
  const [operands, ...more] = nodes.map((n) => n.args.map(now));
  const args = [...(operands ?? []), ...more.flatMap((x) => x.slice(0, 2))];
  const sum = item(g.add(first.op, args, first.attrs).results, 0);
  return b.reshape(g, sum, dims(item(products, 0).type));
}
/** The contraction below any reshapes. */
const product = (v: Value): Node => {
  const node = matchOp(v, "reshape");
  return node ? product(item(node.args, 0)) : v.node;
};
