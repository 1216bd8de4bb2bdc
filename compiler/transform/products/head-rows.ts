// Finds what is computed row by row from the product of a large head (the logits of a vocabulary), and the smaller values that leave these rows.
// `head-pieces.ts` then computes it piece by piece.
import type { Graph, Node, Value } from "../../graph/node.ts";
import { nodesOf, readersOf, valuesOf } from "../../graph/walk.ts";
import { item } from "../../item.ts";
import type { OpAttrs } from "../../ops/attrs.ts";
import { splatOf } from "../../rewrite/pattern.ts";
import { isFloat } from "../../types/dtype.ts";
import { count, dims, dtypeOf } from "../../types/type.ts";

/** Elementwise ops, which a piece can compute for its own rows. */
export const pointwise: ReadonlySet<string> = new Set(["unary", "binary", "select", "cast", "detach"]);

/** Ops that may reduce a piece's rows, or add a term to a sum over all rows. */
const foldingOps: ReadonlySet<string> = new Set(["reduce", "dot", "transpose"]);

/** A large product, the nodes that are computed row by row from it (`inside`), and what the rest of the graph reads of them (`sums`, `exits`). */
export class Head {
  readonly logits: Value;
  readonly rows: number;
  readonly columns: number;
  /** Nodes that sum over all rows (a `reduce` over the row axes, or a weight gradient): pieces contribute terms, which are added. */
  sums: readonly Node[] = [];
  /** Values with one entry a row that the rest of the graph reads: the pieces' parts are concatenated. */
  exits: readonly Value[] = [];
  readonly #depends = new Set<Node>();
  readonly #inside = new Set<Node>();

  /** The head of the first of these products that has one; null if none has. */
  static find(graph: Graph, products: readonly Node[]): Head | null {
    const nodes = nodesOf(graph);
    const readers = readersOf(nodes);
    const results = new Set(valuesOf(graph));
    for (const product of products) {
      const head = new Head(item(product.results, 0));
      if (!head.#isReadByRows((v) => (results.has(v) ? null : (readers.get(v) ?? [])))) continue;
      head.#collect(graph, nodes);
      if (head.#hasFolds() && head.#fits(graph)) return head;
    }
    return null;
  }
  private constructor(logits: Value) {
    this.logits = logits;
    [this.rows, this.columns] = [item(dims(logits.type), 0), item(dims(logits.type), 1)];
  }
  /** A quick test, which tells most other products: whether what is as large as the product is no result (null) and is read by ops that a piece may have. */
  #isReadByRows(readersOrNull: (v: Value) => readonly Node[] | null): boolean {
    const seen = new Set([this.logits.node]);
    for (const { results } of seen) {
      const wide = results.filter((v) => this.isWide(v));
      const readers = wide.map(readersOrNull);
      for (const list of readers) {
        if (list === null) return false;
        for (const n of list) {
          if (this.#isLocal(n, seen)) seen.add(n);
          else if (!foldingOps.has(n.op.name)) return false;
        }
      }
    }
    return true;
  }
  #collect(graph: Graph, nodes: readonly Node[]): void {
    const local = this.#collectDependents(nodes, this.logits.node);
    const leads = this.#wideNodes(nodes, local);
    const readsWide = (n: Node): boolean => n.args.some((a) => local.has(a.node) && this.isWide(a));
    for (const n of nodes) if (local.has(n) && (leads.has(n) || readsWide(n))) this.#inside.add(n);
    const users = nodes.filter((n) => !this.#inside.has(n));
    this.sums = users.filter((n) => this.#isSum(n));
    const outside = [
      ...valuesOf(graph),
      ...users.filter((n) => !this.sums.includes(n) && !this.isRowTranspose(n)).flatMap((n) => n.args),
    ];
    this.exits = [...new Set(outside.filter((v) => this.#inside.has(v.node)))];
  }
  /** Whether something reduces rows. */
  #hasFolds(): boolean {
    return [...this.#inside].some((n) => n.op.name === "reduce" && n.args.some((a) => this.contains(a)));
  }
  /** Records in `depends` all that depends on the product; returns the nodes whose row r is computed from row r alone. */
  #collectDependents(nodes: readonly Node[], product: Node): ReadonlySet<Node> {
    const local = new Set([product]);
    this.#depends.add(product);
    for (const n of nodes) {
      const from = n.args.filter((a) => this.#depends.has(a.node));
      if (from.length === 0) continue;
      this.#depends.add(n);
      if (from.every((a) => local.has(a.node)) && this.#isLocal(n, local)) local.add(n);
    }
    return local;
  }
  /** The row-local nodes that are as large as the product, and all row-local nodes that these are computed from. */
  #wideNodes(nodes: readonly Node[], local: ReadonlySet<Node>): ReadonlySet<Node> {
    const leads = new Set<Node>();
    for (const n of nodes.toReversed()) {
      if (!local.has(n) || !(leads.has(n) || n.results.some((v) => this.isWide(v)))) continue;
      leads.add(n);
      for (const a of n.args) if (local.has(a.node)) leads.add(a.node);
    }
    return leads;
  }
  #fits(graph: Graph): boolean {
    const turned = [...this.#depends].filter((n) => this.isRowTranspose(n));
    const results = new Set(valuesOf(graph).map((v) => v.node));
    const users = nodesOf(graph).filter((n) => n.args.some((a) => turned.includes(a.node)));
    const rights = (n: Node): readonly Value[] =>
      n.op.name === "dot" && this.#inside.has(n) ? n.args.slice(0, 1) : n.args;
    const others = [...this.#inside, ...this.sums]
      .flatMap(rights)
      .map((v) => (this.#isSumOperand(v) ? item(v.node.args, 0) : v))
      .filter((v) => !this.dependsOnProduct(v));
    return (
      others.every((v) => this.#makes(v)) &&
      !this.exits.some((v) => this.isWide(v)) &&
      !turned.some((n) => results.has(n)) &&
      users.every((n) => this.sums.includes(n))
    );
  }
  /** Whether a value is computed by the pieces, row by row. */
  contains(v: Value): boolean {
    return this.#inside.has(v.node);
  }
  dependsOnProduct(v: Value): boolean {
    return this.#depends.has(v.node);
  }
  isWide(v: Value): boolean {
    return 2 * count(v.type) >= count(this.logits.type);
  }
  /** How many leading axes make up the rows (their sizes multiply to `rows`); null if no prefix of the shape does. */
  lead(v: Value): number | null {
    let n = 1;
    for (const [i, size] of dims(v.type).entries()) {
      n *= size;
      if (n === this.rows) return i + 1;
    }
    return null;
  }
  /** Whether row r of the result depends only on row r of those operands that are in `local`. */
  #isLocal(node: Node, local: ReadonlySet<Node>): boolean {
    const { op, args, attrs, results } = node;
    const [x, result] = [args[0], item(results, 0)];
    const [of, k] = [x ? this.lead(x) : null, this.lead(result)];
    if (of === null || k === null || results.length > 1) return false;
    switch (op.name) {
      case "reshape":
        return true;
      case "broadcast":
        return of === k && (attrs as OpAttrs["broadcast"]).axes.every((a, i) => (i < k ? a === i : a >= k));
      case "reduce":
        return (attrs as OpAttrs["reduce"]).axes.every((a) => a >= of);
      case "gather": {
        const { axis, batch } = attrs as OpAttrs["gather"];
        return batch >= of && axis >= of;
      }
      case "dot":
        return k === 1 && of === 1 && dims(result.type).length === 2 && !local.has(item(args, 1).node);
      default:
        return pointwise.has(op.name);
    }
  }
  #isSumOperand({ node }: Value): boolean {
    return node.op.name === "transpose" && this.sums.some((n) => n.args[0]?.node === node);
  }
  /** Whether a piece can slice, or compute for its own rows, a value that does not depend on the product. */
  #makes(v: Value): boolean {
    const k = this.lead(v);
    if (k === null) return false;
    const { op, args } = v.node;
    if (splatOf(v) !== null || op.name === "broadcast" || !this.isWide(v)) return true;
    if (op.name === "reshape") return args.every((a) => this.#makes(a));
    return pointwise.has(op.name) && args.every((a) => this.#makes(a));
  }
  /** The transpose of a matrix of the rows: the left operand of a weight gradient. */
  isRowTranspose(node: Node): boolean {
    const [x] = node.args;
    return node.op.name === "transpose" && x !== undefined && this.contains(x) && dims(x.type).length === 2;
  }
  #isSum(node: Node): boolean {
    const held = node.args.filter((a) => this.contains(a) || this.isRowTranspose(a.node));
    if (held.length === 0 || !isFloat(dtypeOf(item(node.results, 0).type))) return false;
    const [x, y] = node.args;
    if (node.op.name === "reduce" && x && this.isWide(x)) {
      const { fn, axes } = node.attrs as OpAttrs["reduce"];
      return fn === "sum" && this.lead(x) === axes.length && axes.every((a, i) => a === i);
    }
    if (node.op.name !== "dot" || !x || !y || dims(x.type).length !== 2) return false;
    const left = x.node.op.name === "transpose" ? item(x.node.args, 0) : null;
    return left !== null && this.lead(left) === 1 && this.lead(y) === 1 && (this.contains(left) || this.contains(y));
  }
}
