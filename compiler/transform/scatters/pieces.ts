// Long unrolled loops write or read one slice per step. A chain of `put`s, or a sum of gradients of slices (mostly zeros), becomes one concat of
// its pieces.
import type { Builder, Graph, Node, Value } from "../../graph/node.ts";
import { rebuildGraph, topological, useCounts, valuesOf } from "../../graph/walk.ts";
import { item } from "../../item.ts";
import type { OpAttrs } from "../../ops/attrs.ts";
import * as b from "../../ops/build.ts";
import { type Piece, piecesOf } from "../../ops/view.ts";
import { manySteps } from "../../regions/region.ts";
import { matchOp, splatOf } from "../../rewrite/pattern.ts";
import { runStart } from "../../rewrite/runs.ts";
import { dims, dtypeOf } from "../../types/type.ts";

/** A chain, read from its last node: `links` are its nodes, from the last to the first. */
interface Chain {
  readonly axis: number;
  readonly links: readonly Node[];
  /** In the order in which they are written, or added up. */
  readonly pieces: readonly Piece[];
  /** For `put`s: the tensor that they write into. For a sum: the terms without zeros along the axis, which are added whole. */
  readonly under: readonly Value[];
}
type Find = (end: Node, isInner: (v: Value) => boolean) => Chain | null;

/** The graph with long chains replaced by concats. Time and number of nodes are linear in the length of the chain. */
export function joinPieces(g: Builder, graph: Graph): Graph {
  const chains = chainsIn(valuesOf(graph));
  if (chains.size === 0) return graph;
  const inner = new Set([...chains.values()].flatMap(({ links }) => links.slice(1)));
  return rebuildGraph(g, graph, (node, _, now) => {
    if (inner.has(node)) return node.results; // nothing reads it any more
    const chain = chains.get(node);
    return chain ? [joined(g, node, chain, now)] : null;
  });
}
/** The chains that are worth replacing, by their last node. */
function chainsIn(results: readonly Value[]): Map<Node, Chain> {
  const nodes = topological(results);
  const uses = useCounts(results, nodes);
  const found = new Map<Node, Chain>();
  const seen = new Set<Node>();
  for (const node of nodes.toReversed()) {
    const find = finders[node.op.name];
    if (!find || seen.has(node)) continue;
    const chain = find(node, (v) => uses.get(v) === 1);
    for (const link of chain?.links ?? []) seen.add(link);
    if (chain && isWorthJoining(chain, item(node.results, 0))) found.set(node, chain);
  }
  return found;
}
/**
 * Whether there are many pieces that barely overlap. What they are written over, or added to, must also be constant, or be covered by half at least:
 * writing few places of a tensor in place is better.
 */
function isWorthJoining({ axis, pieces, under }: Chain, whole: Value): boolean {
  if (pieces.length < manySteps) return false;
  const size = axisLength(whole, axis);
  const { over } = segmentsOf(pieces, size);
  const covered = pieces.reduce((n, { from, to }) => n + to - from, 0);
  const isWritten = under.every((v) => splatOf(v) !== null) || 2 * covered >= size;
  return isWritten && over.reduce((n, list) => n + list.length, 0) <= 2 * pieces.length;
}
const axisLength = (v: Value, axis: number): number => item(dims(v.type), axis);

/** `put` after `put`, each to consecutive places that are known at compile time. */
const putChain: Find = (end, isInner) => {
  const last = putPiece(end);
  if (!last) return null;
  const [links, pieces]: [Node[], Piece[]] = [[end], [last.piece]];
  let under = item(end.args, 0);
  for (let next = putPiece(under.node); next?.axis === last.axis && isInner(under); next = putPiece(under.node)) {
    links.push(under.node);
    pieces.push(next.piece);
    under = item(under.node.args, 0);
  }
  return { axis: last.axis, links, pieces: pieces.toReversed(), under: [under] };
};
function putPiece(node: Node): { readonly axis: number; readonly piece: Piece } | null {
  const { mode, axis, batch } = node.attrs as OpAttrs["scatter"];
  if (node.op.name !== "scatter" || mode !== "set") return null;
  const [under, index, rows] = [item(node.args, 0), item(node.args, 1), item(node.args, 2)];
  const from = dims(index.type).length === batch + 1 ? runStart(index, batch) : null;
  if (from === null) return null;
  const to = from + axisLength(index, batch);
  return from >= 0 && to > from && to <= axisLength(under, axis) ? { axis, piece: { from, to, value: rows } } : null;
}

/** Sums whose terms are mostly zero along one axis: concats with zeros, the gradients of slices. The median of the terms' axes decides. */
const sumChain: Find = (end, isInner) => {
  if (!isSum(end)) return null;
  const [links, terms]: [Node[], Value[]] = [[], []];
  const waiting = [end];
  for (let node = waiting.pop(); node; node = waiting.pop()) {
    links.push(node);
    const [x, y] = [item(node.args, 0), item(node.args, 1)];
    // such sums nest to the left, so terms are collected from last to first
    for (const v of [y, x]) if (!(isSum(v.node) && isInner(v))) terms.push(v);
    for (const v of [x, y]) if (isSum(v.node) && isInner(v)) waiting.push(v.node);
  }
  const ordered = terms.toReversed();
  const axes = ordered.map(zeroPaddedAxis).filter((axis) => axis !== null);
  const axis = axes.toSorted((p, q) => p - q)[axes.length >> 1] ?? 0;
  const gapped = ordered.filter((v) => zeroPaddedAxis(v) === axis);
  const pieces = gapped.flatMap(nonZeroPieces);
  return { axis, links, pieces, under: ordered.filter((v) => zeroPaddedAxis(v) !== axis) };
};
const isSum = ({ op, attrs }: Node): boolean => op.name === "binary" && (attrs as OpAttrs["binary"]).fn === "add";
const isZero = (v: Value): boolean => splatOf(v) === 0;
/** The axis of a concat that has a constant zero piece; null for anything else. */
function zeroPaddedAxis(v: Value): number | null {
  const node = matchOp(v, "concat");
  return node?.args.some(isZero) ? node.attrs.axis : null;
}
function nonZeroPieces(v: Value): Piece[] {
  const node = matchOp(v, "concat");
  return node ? piecesOf(node).filter(({ value, from, to }) => !isZero(value) && to > from) : [];
}
const finders: Readonly<Partial<Record<string, Find>>> = { scatter: putChain, binary: sumChain };

/** Splits an axis at all ends of pieces: the ends, and which pieces cover each segment between two of them. */
function segmentsOf(
  all: readonly Piece[],
  size: number,
): { readonly ends: readonly number[]; readonly over: readonly Piece[][] } {
  const ends = [...new Set([0, size, ...all.flatMap((p) => [p.from, p.to])])].toSorted((p, q) => p - q);
  const at = new Map(ends.map((end, i) => [end, i]));
  const over = ends.slice(1).map((): Piece[] => []);
  for (const p of all) for (let i = at.get(p.from) ?? 0; i < (at.get(p.to) ?? 0); i++) over[i]?.push(p);
  return { ends, over };
}
function joined(g: Builder, end: Node, { axis, pieces, under }: Chain, now: (v: Value) => Value): Value {
  const whole = item(end.results, 0);
  const { ends, over } = segmentsOf(pieces, axisLength(whole, axis));
  const part = (v: Value, start: number, from: number, to: number): Value =>
    b.slice(g, now(v), axis, from - start, to - from);
  const sum = isSum(end);
  const list = over.map((covering, i) => {
    const [from, to] = [item(ends, i), item(ends, i + 1)];
    const here = covering.map((p) => part(p.value, p.from, from, to));
    if (sum && here.length === 0) return b.fill(g, 0, dtypeOf(whole.type), dims(whole.type).with(axis, to - from));
    if (sum) return b.addAll(g, here);
    return here.at(-1) ?? part(item(under, 0), 0, from, to);
  });
  const made = b.concat(g, list, axis);
  return sum ? b.addAll(g, [...under.map(now), made]) : made;
}
