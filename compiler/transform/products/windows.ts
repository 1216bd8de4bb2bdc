// What a convolution's taps send back is a sum of products, each shifted by rows and padded with zeros. A shift of rows commutes with a product, so
// the operand is shifted instead: all products then read windows of one padded tensor, and their sum can be one contraction. The taps' weight
// gradients are transposed so that they share their left operand.
import type { Builder, Graph, Node, Value } from "../../graph/node.ts";
import { nodesOf, rebuildGraph, topological, useCounts, valuesOf } from "../../graph/walk.ts";
import { groupBy } from "../../group-by.ts";
import { item } from "../../item.ts";
import * as b from "../../ops/build.ts";
import { number } from "../../ops/common.ts";
import { viewBase } from "../../ops/pairs.ts";
import { piecesOf } from "../../ops/view.ts";
import { matchOp, splatOf } from "../../rewrite/pattern.ts";
import { product } from "../../types/numbers.ts";
import { dims } from "../../types/type.ts";

/** A window of a tensor with zeros around it: along each axis, where it begins (may be negative) and its size. */
interface Window {
  readonly from: readonly number[];
  readonly size: readonly number[];
}
/** A term of a sum: v seen through `window`. If v is a product, `product` has its rows x (axes of the window, then columns) and its matrix w. */
interface Term {
  readonly v: Value;
  readonly window: Window;
  readonly product: { readonly x: Value; readonly w: Value } | null;
}
/** How many times as many rows the shifted product may have as the original: the added ones are all zeros. */
const maxGrowth = 1.2;
/** Limits of the search: terms of one sum, and nodes it looks through. */
const [mostTerms, mostNodes] = [64, 512];

const rowsOf = (shape: readonly number[]): number => product(shape.slice(0, -1));
const isWhole = ({ from, size }: Window, shape: readonly number[]): boolean =>
  from.every((n, i) => n === 0 && size[i] === shape[i]);

/** The graph with both rewrites: shifted products become products of shifted operands, and gradients of the matrices share a left operand. */
export const shiftOperands = (g: Builder, graph: Graph): Graph => transposeGradients(g, shiftProducts(g, graph));
function shiftProducts(g: Builder, graph: Graph): Graph {
  const sums = sumsIn(valuesOf(graph));
  if (sums.size === 0) return graph;
  return rebuildGraph(g, graph, (node, _, now) => {
    const terms = sums.get(node);
    return terms ? [sumTerms(g, terms, now)] : null;
  });
}
const keyOf = ({ node, index }: Value): string => `${node.id}.${index}`;
/** Whether a node multiplies a transposed operand, perhaps a window of a tensor, by another tensor. */
function isWindowGradient({ op, args: [x, y, ...more] }: Node): boolean {
  if (op.name !== "dot" || !x || !y || more.length > 0 || !b.isTransposed(x)) return false;
  return viewBase(x) !== y;
}
/**
 * Weight gradients of several windows of one tensor share their right operand. Transposed, they share the left one, which is copied once for all;
 * the windows are then read in place.
 */
function transposeGradients(g: Builder, graph: Graph): Graph {
  const gradients = nodesOf(graph).filter(isWindowGradient);
  const shared = groupBy(gradients, ({ args: [x, y] }) => `${keyOf(viewBase(x as Value))} ${keyOf(y as Value)}`);
  const several = new Set([...shared.values()].filter((list) => list.length > 1).flat());
  return rebuildGraph(g, graph, (node, [x, y]) =>
    several.has(node) && x && y ? [b.swap(g, b.dot(g, b.swap(g, y), b.swap(g, x)))] : null,
  );
}
/** For each sum, by its last node: its terms, found through slices and concats with zeros. */
function sumsIn(results: readonly Value[]): Map<Node, readonly Term[]> {
  const nodes = topological(results);
  const uses = useCounts(results, nodes);
  const found = new Map<Node, readonly Term[]>();
  const inner = new Set<Node>();
  for (const node of nodes.toReversed()) {
    if (inner.has(node) || !/^(binary|slice|concat)$/.test(node.op.name)) continue;
    const v = item(node.results, 0);
    const sum = new Sum((x) => x === v || uses.get(x) === 1);
    sum.collect(v, { from: dims(v.type).map(() => 0), size: dims(v.type) });
    const rows = rowsOf(dims(v.type));
    const isWorthwhile = sum.terms.every((t) => !t.product || rows <= maxGrowth * rowsOf(dims(t.v.type)));
    // with too much padding the whole is left alone, but a sum inside it may still pay
    if (shiftsSeveral(sum.terms) && !isWorthwhile) continue;
    for (const n of sum.nodes) inner.add(n);
    if (shiftsSeveral(sum.terms)) found.set(node, sum.terms);
  }
  return found;
}
const shiftsSeveral = (terms: readonly Term[]): boolean =>
  terms.filter((t) => t.product && !isWhole(t.window, dims(t.v.type))).length > 1;
class Sum {
  readonly terms: Term[] = [];
  readonly nodes: Node[] = [];
  readonly #isOwn: (v: Value) => boolean;
  constructor(isOwn: (v: Value) => boolean) {
    this.#isOwn = isOwn;
  }
  /** Adds what is seen of v through `window` to the terms. */
  collect(v: Value, window: Window): void {
    const ends = this.terms.length >= mostTerms || this.nodes.length >= mostNodes || !this.#isOwn(v);
    const inside = ends ? null : this.#within(v, window);
    if (inside === null) this.terms.push({ v, window, product: productOf(v, this.#isOwn) });
    else this.nodes.push(v.node);
    for (const [x, w] of inside ?? []) this.collect(x, w);
  }
  /** What v is computed from, each with its window; null if v is a term itself. */
  #within(v: Value, { from, size }: Window): (readonly [Value, Window])[] | null {
    const { node } = v;
    const last = dims(v.type).length - 1;
    const [sum, slice, concat] = [matchOp(v, "binary"), matchOp(v, "slice"), matchOp(v, "concat")];
    if (sum?.attrs.fn === "add") return node.args.map((x) => [x, { from, size }] as const);
    const at = (axis: number, by: number): Window => ({ from: from.with(axis, item(from, axis) + by), size });
    if (slice && slice.attrs.axis < last) {
      const { axis, start } = slice.attrs;
      const isInside = item(from, axis) >= 0 && item(from, axis) + item(size, axis) <= item(dims(v.type), axis);
      return isInside ? [[item(slice.args, 0), at(axis, number(start))]] : null;
    }
    if (!concat || concat.attrs.axis >= last) return null;
    const pieces = piecesOf(concat).filter(({ value }) => splatOf(value) !== 0);
    return pieces.length === 1 ? pieces.map((p) => [p.value, at(concat.attrs.axis, -p.from)] as const) : null;
  }
}
/** The rows and the matrix of a product, possibly under a reshape of the rows; null if something else reads it. */
function productOf(v: Value, isOwn: (v: Value) => boolean): Term["product"] {
  const from = matchOp(v, "reshape")?.args[0] ?? v;
  const [x, w, ...more] = matchOp(from, "dot")?.args ?? [];
  if (!isOwn(v) || !isOwn(from) || !x || !w || more.length > 0 || dims(from.type).length !== 2) return null;
  return dims(v.type).length > 1 && dims(v.type).at(-1) === item(dims(w.type), 1) ? { x, w } : null;
}

/** `now`: maps a value of the old graph to its replacement. */
function sumTerms(g: Builder, terms: readonly Term[], now: (v: Value) => Value): Value {
  const seen = new Map<Term, Value>();
  for (const group of groupBy(terms, operandKey).values()) {
    const windows = group.map((t) => t.window);
    const views = sliceWindows(g, operandOf(g, item(group, 0), now), windows);
    for (const [i, t] of group.entries()) seen.set(t, item(views, i));
  }
  const termOf = (t: Term): Value => {
    const x = seen.get(t) as Value;
    return t.product ? b.matmul(g, x, now(t.product.w)) : x;
  };
  return b.addAll(g, terms.map(termOf));
}
/** A key of the tensor that a term reads. */
const operandKey = ({ product, v }: Term): string =>
  `${keyOf(product?.x ?? v)} ${product ? dims(v.type).slice(0, -1).join() : ""}`;
/** The operand of a term, its rows having their axes back. */
function operandOf(g: Builder, { v, product }: Term, now: (v: Value) => Value): Value {
  if (!product) return now(v);
  const shape = [...dims(v.type).slice(0, -1), item(dims(product.x.type), 1)];
  const x = now(product.x);
  return b.reshape(g, matchOp(x, "reshape")?.args[0] ?? x, shape);
}
/** All windows of x, sliced from one zero-padded tensor. */
function sliceWindows(g: Builder, x: Value, windows: readonly Window[]): Value[] {
  const rows = dims(x.type).slice(0, -1);
  const before = rows.map((_, a) => Math.max(0, ...windows.map(({ from }) => -item(from, a))));
  const after = rows.map((n, a) => Math.max(0, ...windows.map(({ from, size }) => item(from, a) + item(size, a) - n)));
  const whole = rows.reduce((v, _, a) => b.pad(g, v, a, item(before, a), item(after, a)), x);
  return windows.map(({ from, size }) =>
    rows.reduce((v, _, a) => b.slice(g, v, a, item(from, a) + item(before, a), item(size, a)), whole),
  );
}
