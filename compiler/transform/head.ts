// A large head and its cross-entropy, rows by rows: neither logits nor probabilities of a vocabulary stand whole. The rows of a huge
// `dot` are cut into pieces, with all that is computed of each row before something smaller comes out: numbers of a row, the gradient of
// its input, and sums over rows, which are added piece after piece, in order. A piece begins when all results of the one before it are
// made (`after`), so all pieces use the same memory, and no product is computed twice.
import type { Builder, Graph, Node, Value } from "../graph/node.ts";
import { rebuild, topological, valuesOf, withValues } from "../graph/walk.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { nth } from "../ops/common.ts";
import { splatOf } from "../rewrite/pattern.ts";
import { isFloat } from "../types/dtype.ts";
import { count, dims, dtypeOf } from "../types/type.ts";

/** Elements of a product that may stand whole. */
const most = 1 << 26;

/** The graph with heads of more than `limit` elements in pieces of at most so many. */
export function cutHeads(g: Builder, graph: Graph, limit = most): Graph {
  let cut = graph;
  const tried = new Set<Node>();
  for (;;) {
    const node = topological(valuesOf(cut)).find((n) => isHuge(n, limit) && !tried.has(n));
    if (!node) return cut;
    tried.add(node);
    const head = Head.of(cut, node);
    if (head) cut = withValues(cut, new Pieces(g, head, limit).rewritten(cut));
  }
}
/** How many rows of a product of so many columns are at most `limit` elements. */
const rowsOf = (columns: number, limit: number): number => Math.max(1, Math.floor(limit / columns));
function isHuge({ op, results }: Node, limit: number): boolean {
  const [rows = 0, columns = 0, ...more] = results[0] ? dims(results[0].type) : [];
  return op.name === "dot" && more.length === 0 && columns > 0 && rows > rowsOf(columns, limit);
}

/** Made element by element: a piece does it again. */
const pointwise: ReadonlySet<string> = new Set(["unary", "binary", "select", "cast", "detach"]);

/** What depends on a product and belongs to its rows; what leaves them. */
class Head {
  readonly logits: Value;
  readonly rows: number;
  /** Sums over all rows: their nodes. */
  readonly sums: readonly Node[];
  /** Numbers of each row that others read. */
  readonly exits: readonly Value[];
  private readonly depends = new Set<Node>();
  private readonly inside = new Set<Node>();

  /** Null where something reads the product otherwise than row by row, or nothing folds its rows. */
  static of(graph: Graph, node: Node): Head | null {
    const head = new Head(graph, node);
    const folds = [...head.inside].some((n) => n.op.name === "reduce" && n.args.some((a) => head.holds(a)));
    return folds && head.fits(graph) ? head : null;
  }
  private constructor(graph: Graph, node: Node) {
    this.logits = nth(node.results, 0);
    this.rows = nth(dims(this.logits.type), 0);
    const nodes = topological(valuesOf(graph));
    const local = new Set<Node>([node]);
    this.depends.add(node);
    for (const n of nodes) {
      const from = n.args.filter((a) => this.depends.has(a.node));
      if (from.length === 0) continue;
      this.depends.add(n);
      if (from.every((a) => local.has(a.node)) && this.isLocal(n, local)) local.add(n);
    }
    const leads = new Set<Node>();
    for (const n of nodes.toReversed())
      if (local.has(n) && (n.results.some((v) => this.isWide(v)) || leads.has(n)))
        for (const m of [n, ...n.args.map((a) => a.node)]) if (local.has(m)) leads.add(m);
    for (const n of nodes)
      if (local.has(n) && (leads.has(n) || n.args.some((a) => local.has(a.node) && this.isWide(a)))) this.inside.add(n);
    const users = nodes.filter((n) => !this.inside.has(n));
    this.sums = users.filter((n) => this.isSum(n));
    const outside = [
      ...valuesOf(graph),
      ...users.filter((n) => !this.sums.includes(n) && !this.isTurned(n)).flatMap((n) => n.args),
    ];
    this.exits = [...new Set(outside.filter((v) => this.inside.has(v.node)))];
  }
  private fits(graph: Graph): boolean {
    const turned = [...this.depends].filter((n) => this.isTurned(n));
    const results = new Set(valuesOf(graph).map((v) => v.node));
    const users = topological(valuesOf(graph)).filter((n) => n.args.some((a) => turned.includes(a.node)));
    const rights = (n: Node): readonly Value[] =>
      n.op.name === "dot" && this.inside.has(n) ? n.args.slice(0, 1) : n.args;
    const others = [...this.inside, ...this.sums]
      .flatMap(rights)
      .map((v) => (this.isSumOperand(v) ? nth(v.node.args, 0) : v))
      .filter((v) => !this.dependent(v));
    return (
      others.every((v) => this.makes(v)) &&
      !this.exits.some((v) => this.isWide(v)) &&
      !turned.some((n) => results.has(n)) &&
      users.every((n) => this.sums.includes(n))
    );
  }
  /** Whether a value is one of the rows', or made from them. */
  holds(v: Value): boolean {
    return this.inside.has(v.node);
  }
  dependent(v: Value): boolean {
    return this.depends.has(v.node);
  }
  isWide(v: Value): boolean {
    return 2 * count(v.type) >= count(this.logits.type);
  }
  /** How many axes are those of the rows; null if none are. */
  lead(v: Value): number | null {
    let n = 1;
    for (const [i, size] of dims(v.type).entries()) {
      n *= size;
      if (n === this.rows) return i + 1;
    }
    return null;
  }
  /** Whether row r of the result is made from rows r of those operands that are in `local`. */
  private isLocal(node: Node, local: ReadonlySet<Node>): boolean {
    const result = nth(node.results, 0);
    const k = this.lead(result);
    const x = node.args[0];
    const of = x && this.lead(x);
    if (k === null || !x || node.results.length > 1) return false;
    switch (node.op.name) {
      case "reshape":
        return of !== null;
      case "broadcast":
        return of === k && (node.attrs as OpAttrs["broadcast"]).axes.every((a, i) => (i < k ? a === i : a >= k));
      case "reduce":
        return of !== null && of !== undefined && (node.attrs as OpAttrs["reduce"]).axes.every((a) => a >= of);
      case "gather": {
        const { axis, batch } = node.attrs as OpAttrs["gather"];
        return of !== null && of !== undefined && batch >= of && axis >= of;
      }
      case "dot":
        return k === 1 && of === 1 && dims(result.type).length === 2 && !local.has(nth(node.args, 1).node);
      default:
        return pointwise.has(node.op.name);
    }
  }
  private isSumOperand({ node }: Value): boolean {
    return node.op.name === "transpose" && this.sums.some((n) => n.args[0]?.node === node);
  }
  /** Whether a piece's rows of what does not depend on the product can be taken, or made again. */
  private makes(v: Value): boolean {
    const k = this.lead(v);
    if (k === null) return false;
    const { op, args } = v.node;
    if (splatOf(v) !== null || op.name === "broadcast" || !this.isWide(v)) return true;
    if (op.name === "reshape") return args.every((a) => this.makes(a));
    return pointwise.has(op.name) && args.every((a) => this.makes(a));
  }
  /** A matrix of the rows, its axes exchanged. */
  isTurned(node: Node): boolean {
    const [x] = node.args;
    return node.op.name === "transpose" && x !== undefined && this.holds(x) && dims(x.type).length === 2;
  }
  private isSum(node: Node): boolean {
    const held = node.args.filter((a) => this.holds(a) || this.isTurned(a.node));
    if (held.length === 0 || !isFloat(dtypeOf(nth(node.results, 0).type))) return false;
    const [x, y] = node.args;
    if (node.op.name === "reduce" && x && this.isWide(x)) {
      const { fn, axes } = node.attrs as OpAttrs["reduce"];
      return fn === "sum" && this.lead(x) === axes.length && axes.every((a, i) => a === i);
    }
    if (node.op.name !== "dot" || !x || !y || dims(x.type).length !== 2) return false;
    const left = x.node.op.name === "transpose" ? nth(x.node.args, 0) : null;
    return left !== null && this.lead(left) === 1 && this.lead(y) === 1 && (this.holds(left) || this.holds(y));
  }
}

/** Part of the rows. */
interface Piece {
  readonly at: number;
  readonly rows: number;
  /** What is made before it begins. */
  readonly first: readonly Value[];
  readonly made: Map<Value, Value>;
}
class Pieces {
  private readonly g: Builder;
  private readonly head: Head;
  private readonly limit: number;

  constructor(g: Builder, head: Head, limit: number) {
    this.g = g;
    this.head = head;
    this.limit = limit;
  }
  /** The graph's values, made from pieces. */
  rewritten(graph: Graph): Value[] {
    const { sums, exits } = this.head;
    let first: readonly Value[] = [];
    let totals: readonly Value[] = [];
    const parts: Value[][] = [];
    for (const { at, rows } of this.cuts()) {
      const piece: Piece = { at, rows, first, made: new Map() };
      parts.push(exits.map((v) => this.of(v, piece)));
      const added = sums.map((n) => this.partOf(n, piece));
      totals = added.map((x, i) => (totals[i] ? b.add(this.g, totals[i], x) : x));
      first = [...totals, ...(parts.at(-1) ?? [])];
    }
    const whole = new Map<Value, Value>();
    sums.forEach((n, i) =>
      whole.set(nth(n.results, 0), b.cast(this.g, nth(totals, i), dtypeOf(nth(n.results, 0).type))),
    );
    exits.forEach((v, i) =>
      whole.set(
        v,
        this.joined(
          v,
          parts.map((p) => nth(p, i)),
        ),
      ),
    );
    return rebuild(this.g, valuesOf(graph), ({ results }) => {
      const [only] = results;
      const found = only && whole.get(only);
      return found ? [found] : null;
    });
  }
  private joined(v: Value, parts: readonly Value[]): Value {
    return b.reshape(this.g, b.after(this.g, b.concat(this.g, parts, 0), []), dims(v.type));
  }
  /** Equal pieces, where up to twice as many make them so. */
  private cuts(): { readonly at: number; readonly rows: number }[] {
    const { rows, logits } = this.head;
    const most = rowsOf(nth(dims(logits.type), 1), this.limit);
    let each = most;
    while (2 * each > most && rows % each !== 0) each--;
    if (rows % each !== 0) each = most;
    return Array.from({ length: Math.ceil(rows / each) }, (_, i) => ({
      at: i * each,
      rows: Math.min(each, rows - i * each),
    }));
  }
  /** A sum's share of a piece, in what sums are added in. */
  private partOf(node: Node, piece: Piece): Value {
    const { g } = this;
    g.where = node.where;
    const [x, y] = node.args as [Value, Value];
    if (node.op.name === "reduce") return wide(g, b.make1(g, "reduce", [this.of(x, piece)], { fn: "sum", axes: [0] }));
    const left = b.transpose(g, this.of(nth(x.node.args, 0), piece), [1, 0]);
    return wide(g, b.dot(g, left, this.of(y, piece)));
  }
  /** The piece's rows of a value, the axes of the rows being one. */
  private of(v: Value, piece: Piece): Value {
    const known = piece.made.get(v);
    if (known) return known;
    const { g } = this;
    const where = g.where;
    g.where = v.node.where;
    const made = this.slicedOf(v, piece) ?? this.again(v, piece);
    g.where = where;
    piece.made.set(v, made);
    return made;
  }
  /** Of what does not depend on the product and is small, or the same everywhere. */
  private slicedOf(v: Value, piece: Piece): Value | null {
    const { g, head } = this;
    const k = head.lead(v);
    if (head.dependent(v) || k === null) return null;
    const rest = dims(v.type).slice(k);
    const value = splatOf(v);
    if (value !== null) return b.fill(g, value, dtypeOf(v.type), [piece.rows, ...rest]);
    // One number a row is made again from what a piece has anyway, such as its targets.
    const simple = count(v.type) === head.rows && (pointwise.has(v.node.op.name) || v.node.op.name === "reshape");
    return head.isWide(v) || simple || v.node.op.name === "broadcast" ? null : this.cut(v, piece);
  }
  private cut(v: Value, { at, rows, first }: Piece): Value {
    const { g, head } = this;
    const rest = dims(v.type).slice(head.lead(v) ?? 1);
    return b.after(g, b.slice(g, b.reshape(g, v, [head.rows, ...rest]), 0, at, rows), first);
  }
  private again(v: Value, piece: Piece): Value {
    const { g, head } = this;
    const { args, attrs, op } = v.node;
    const k = head.lead(v) ?? 0;
    const shape = [piece.rows, ...dims(v.type).slice(k)];
    const x = nth(args, 0);
    switch (op.name) {
      case "broadcast": {
        const { axes } = attrs as OpAttrs["broadcast"];
        if (axes.every((a) => a >= k)) return b.broadcast(g, x, shape, later(axes, k));
        const own = axes.filter((a) => a < k);
        if (own.length === k) return b.broadcast(g, this.of(x, piece), shape, [0, ...later(axes.slice(k), k)]);
        // Fewer axes than those of the rows: repeated over these first.
        const rest = dims(x.type).slice(own.length);
        const rows = b.broadcast(g, x, [...dims(v.type).slice(0, k), ...rest], [...own, ...rest.map((_, i) => k + i)]);
        return b.broadcast(g, this.cut(rows, piece), shape, [0, ...later(axes.slice(own.length), k)]);
      }
      case "reshape":
        return b.reshape(g, this.of(x, piece), shape);
      case "reduce": {
        const { fn, axes } = attrs as OpAttrs["reduce"];
        return b.make1(g, "reduce", [this.of(x, piece)], { fn, axes: later(axes, head.lead(x) ?? 1) });
      }
      case "gather": {
        const { axis, batch } = attrs as OpAttrs["gather"];
        const from = (head.lead(x) ?? 1) - 1;
        const index = this.of(nth(args, 1), piece);
        return b.make1(g, "gather", [this.of(x, piece), index], { axis: axis - from, batch: batch - from });
      }
      case "dot":
        return b.dot(g, this.of(x, piece), nth(args, 1));
      default:
        return nth(
          g.add(
            op,
            args.map((a) => this.of(a, piece)),
            attrs,
          ).results,
          0,
        );
    }
  }
}
/** Axes behind those of the rows, which become one. */
const later = (axes: readonly number[], rows: number): number[] => axes.map((a) => a - rows + 1);
const wide = (g: Builder, x: Value): Value => (dtypeOf(x.type) === "bf16" ? b.cast(g, x, "f32") : x);
