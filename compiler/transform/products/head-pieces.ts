// Rebuilds the head that `head-rows.ts` found once for each piece of its rows; see `head.ts`.
import type { Builder, Graph, Node, Value } from "../../graph/node.ts";
import { rebuildGraph } from "../../graph/walk.ts";
import { item } from "../../item.ts";
import type { OpAttrs } from "../../ops/attrs.ts";
import * as b from "../../ops/build.ts";
import { splatOf } from "../../rewrite/pattern.ts";
import { count, dims, dtypeOf } from "../../types/type.ts";
import { type Head, pointwise } from "./head-rows.ts";

/** A contiguous run of the head's rows, from row `start` on. */
interface Piece {
  readonly start: number;
  readonly rows: number;
  /** The results of the piece before: they must be computed before this one begins, so that all pieces can use the same memory. */
  readonly waitsFor: readonly Value[];
  readonly made: Map<Value, Value>;
}
/** The graph with the head computed in pieces of at most `most` rows. */
export function computeInPieces(g: Builder, graph: Graph, head: Head, most: number): Graph {
  const whole = new Pieces(g, head).replacements(cuts(head.rows, most));
  return rebuildGraph(g, graph, ({ results: [only] }) => {
    const found = only && whole.get(only);
    return found ? [found] : null;
  });
}
/** Cuts the rows evenly if a divisor of their count lies between half of the largest piece and all of it; else the last piece is shorter. */
function cuts(rows: number, most: number): Pick<Piece, "start" | "rows">[] {
  let each = most;
  while (2 * each > most && rows % each !== 0) each--;
  if (rows % each !== 0) each = most;
  return Array.from({ length: Math.ceil(rows / each) }, (_, i) => ({
    start: i * each,
    rows: Math.min(each, rows - i * each),
  }));
}
class Pieces {
  readonly #g: Builder;
  readonly #head: Head;

  constructor(g: Builder, head: Head) {
    this.#g = g;
    this.#head = head;
  }
  /** Computes all pieces, and gives the replacement of each sum and exit of the head. */
  replacements(cuts: readonly Pick<Piece, "start" | "rows">[]): ReadonlyMap<Value, Value> {
    const { sums, exits } = this.#head;
    let waitsFor: readonly Value[] = [];
    let totals: readonly Value[] = [];
    const parts: Value[][] = [];
    for (const cut of cuts) {
      const piece: Piece = { ...cut, waitsFor, made: new Map() };
      const own = exits.map((v) => this.#of(v, piece));
      const added = sums.map((n) => this.#partialSum(n, piece));
      totals = added.map((x, i) => (totals[i] ? b.add(this.#g, totals[i], x) : x));
      waitsFor = [...totals, ...own];
      parts.push(own);
    }
    const total = (n: Node, i: number): [Value, Value] => {
      const y = item(n.results, 0);
      return [y, b.cast(this.#g, item(totals, i), dtypeOf(y.type))];
    };
    const exit = (v: Value, i: number): [Value, Value] => [
      v,
      this.#joined(
        v,
        parts.map((own) => item(own, i)),
      ),
    ];
    return new Map([...sums.map(total), ...exits.map(exit)]);
  }
  #joined(v: Value, parts: readonly Value[]): Value {
    return b.reshape(this.#g, b.after(this.#g, b.concat(this.#g, parts, 0), []), dims(v.type));
  }
  /** A piece's contribution to a sum over the rows; bf16 is widened to f32, in which the pieces are added. */
  #partialSum(node: Node, piece: Piece): Value {
    const g = this.#g;
    g.span = node.span;
    const [x, y] = node.args as [Value, Value];
    if (node.op.name === "reduce") return wide(g, b.make1(g, "reduce", [this.#of(x, piece)], { fn: "sum", axes: [0] }));
    const left = b.transpose(g, this.#of(item(x.node.args, 0), piece), [1, 0]);
    return wide(g, b.dot(g, left, this.#of(y, piece)));
  }
  /** The rows of `v` that belong to the piece, as one leading axis. */
  #of(v: Value, piece: Piece): Value {
    const known = piece.made.get(v);
    if (known) return known;
    const g = this.#g;
    const outer = g.span;
    g.span = v.node.span;
    const made = this.#slicedOf(v, piece) ?? this.#recompute(v, piece);
    g.span = outer;
    piece.made.set(v, made);
    return made;
  }
  /** Slices `v` if it is independent of the product and small enough to be whole in memory; fills in a constant. Null: each piece computes it. */
  #slicedOf(v: Value, piece: Piece): Value | null {
    const [g, head] = [this.#g, this.#head];
    const k = head.lead(v);
    if (head.dependsOnProduct(v) || k === null) return null;
    const rest = dims(v.type).slice(k);
    const value = splatOf(v);
    if (value !== null) return b.fill(g, value, dtypeOf(v.type), [piece.rows, ...rest]);
    // One number a row is cheaper to compute again, from what the piece reads anyway, such as its targets.
    const simple = count(v.type) === head.rows && (pointwise.has(v.node.op.name) || v.node.op.name === "reshape");
    return head.isWide(v) || simple || v.node.op.name === "broadcast" ? null : this.#slicePiece(v, piece);
  }
  #slicePiece(v: Value, { start, rows, waitsFor }: Piece): Value {
    const [g, head] = [this.#g, this.#head];
    const rest = dims(v.type).slice(head.lead(v) ?? 1);
    return b.after(g, b.slice(g, b.reshape(g, v, [head.rows, ...rest]), 0, start, rows), waitsFor);
  }
  #recompute(v: Value, piece: Piece): Value {
    const [g, head] = [this.#g, this.#head];
    const { args, attrs, op } = v.node;
    const x = item(args, 0);
    switch (op.name) {
      case "broadcast":
        return this.#repeated(v, x, (attrs as OpAttrs["broadcast"]).axes, piece);
      case "reshape":
        return b.reshape(g, this.#of(x, piece), [piece.rows, ...dims(v.type).slice(head.lead(v) ?? 0)]);
      case "reduce": {
        const { fn, axes } = attrs as OpAttrs["reduce"];
        return b.make1(g, "reduce", [this.#of(x, piece)], { fn, axes: shiftAxes(axes, head.lead(x) ?? 1) });
      }
      case "gather": {
        const { axis, batch } = attrs as OpAttrs["gather"];
        const from = (head.lead(x) ?? 1) - 1;
        const index = this.#of(item(args, 1), piece);
        return b.make1(g, "gather", [this.#of(x, piece), index], { axis: axis - from, batch: batch - from });
      }
      case "dot":
        return b.dot(g, this.#of(x, piece), item(args, 1));
      default: {
        const own = args.map((a) => this.#of(a, piece));
        return item(g.add(op, own, attrs).results, 0);
      }
    }
  }
  #repeated(v: Value, x: Value, axes: readonly number[], piece: Piece): Value {
    const g = this.#g;
    const k = this.#head.lead(v) ?? 0;
    const shape = [piece.rows, ...dims(v.type).slice(k)];
    if (axes.every((a) => a >= k)) return b.broadcast(g, x, shape, shiftAxes(axes, k));
    const own = axes.filter((a) => a < k);
    if (own.length === k) return b.broadcast(g, this.#of(x, piece), shape, [0, ...shiftAxes(axes.slice(k), k)]);
    // `x` lacks some of the row axes: it is broadcast over those before it is cut.
    const rest = dims(x.type).slice(own.length);
    const rows = b.broadcast(g, x, [...dims(v.type).slice(0, k), ...rest], [...own, ...rest.map((_, i) => k + i)]);
    return b.broadcast(g, this.#slicePiece(rows, piece), shape, [0, ...shiftAxes(axes.slice(own.length), k)]);
  }
}
/** Renumbers axes behind the `rows` row axes, which become one. */
const shiftAxes = (axes: readonly number[], rows: number): number[] => axes.map((a) => a - rows + 1);
const wide = (g: Builder, x: Value): Value => (dtypeOf(x.type) === "bf16" ? b.cast(g, x, "f32") : x);
