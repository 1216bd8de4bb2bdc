// Concats of many pieces, from unrolled loops: the kernel that makes a piece writes it straight to its place. Pieces that no such kernel makes are
// copied there.
import type { Graph, Node, Value } from "../graph/node.ts";
import { nodesOf, readersOf, valuesOf } from "../graph/walk.ts";
import { groupBy } from "../group-by.ts";
import { item } from "../item.ts";
import { add, num, unflatten } from "../kernel/expr.ts";
import type { Expr } from "../kernel/ir.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { number } from "../ops/common.ts";
import { piecesOf } from "../ops/view.ts";
import { isLongConcat, manySteps, type Region, reshapeBase } from "../regions/region.ts";
import { product } from "../types/numbers.ts";
import type { ConcatSlot, Draft } from "./draft.ts";
import { reshapeIndex } from "./elements.ts";
import { shapeOf } from "./reader.ts";

/** The piece of a concat that begins at `start` of its axis. */
export interface ConcatPiece {
  readonly concat: Value;
  readonly piece: Value;
  readonly start: number;
}
export interface InPlacePieces {
  /** The values that are written in place by the kernels that make them, each with the pieces that are reshapes of it. */
  readonly pieces: ReadonlyMap<Value, readonly ConcatPiece[]>;
  /** Those of `pieces` that nothing else reads, so that they need no buffer of their own. */
  readonly unbuffered: ReadonlySet<Value>;
}
/** The pieces of a concat, in order. */
export const concatPiecesOf = (concat: Value): ConcatPiece[] =>
  piecesOf(concat.node as Node<OpAttrs["concat"]>).map(({ value, from }) => ({ concat, piece: value, start: from }));
const baseOf = ({ piece }: ConcatPiece): Value => reshapeBase(piece);
/** Finds the values that regions can write straight into concats. */
export function findInPlacePieces(graph: Graph, regions: readonly Region[]): InPlacePieces {
  const writers = regions.filter((r) => r.kind !== "algorithm");
  const written = new Set(writers.flatMap((r) => r.outputs.filter((v) => r.kind === "rows" || hasFullRank(v, r))));
  const nodes = nodesOf(graph);
  const steps = nodes.filter(isLongConcat).flatMap((n) => concatPiecesOf(item(n.results, 0)));
  const pieces = groupBy(
    steps.filter((step) => written.has(baseOf(step))),
    baseOf,
  );
  const readers = readersOf(nodes);
  const results = new Set(valuesOf(graph));
  const elsewhere = (v: Value): boolean =>
    results.has(v) ||
    (readers.get(v) ?? []).some((n) => !isLongConcat(n) && (n.op.name !== "reshape" || n.results.some(elsewhere)));
  return { pieces, unbuffered: new Set([...pieces.keys()].filter((v) => !elsewhere(v))) };
}
/** Whether v has the rank of the region's nodes. (A row sum does not: the epilogue writes only partial sums, so v is not written there.) */
const hasFullRank = (v: Value, { nodes }: Region): boolean =>
  nodes.some((n) => n.results.some((r) => shapeOf(r).length === shapeOf(v).length));

/** The values that steps of a loop, or pieces of rows that wait for one another, read slice by slice: slices of one axis, in all no more than it. */
export function slicedValues(nodes: readonly Node[]): ReadonlySet<Value> {
  const all = nodes.filter(({ op }) => op.name === "slice") as Node<OpAttrs["slice"]>[];
  const slices = groupBy(all, ({ args, attrs }) => {
    const { node, index } = item(args, 0);
    return `${node.id} ${index} ${attrs.axis}`;
  });
  const waiting = new Set<Node>(nodes.flatMap((n) => (n.op.name === "after" ? item(n.args, 0).node : [])));
  const areSteps = (list: readonly Node<OpAttrs["slice"]>[]): boolean => {
    const [{ args, attrs }] = list as [Node<OpAttrs["slice"]>];
    const taken = list.reduce((sum, s) => sum + number(s.attrs.size), 0);
    const isLoop = list.length >= manySteps || list.some((s) => waiting.has(s));
    return isLoop && taken <= item(shapeOf(item(args, 0)), attrs.axis);
  };
  return new Set([...slices.values()].filter(areSteps).map((list) => reshapeBase(item(item(list, 0).args, 0))));
}

/** Maps an index of v, which is a piece up to its shape, to an index of the concat. */
export const concatIndex =
  ({ concat, piece, start }: ConcatPiece, v: Value) =>
  (at: readonly Expr[]): readonly Expr[] => {
    const { axis } = concat.node.attrs as OpAttrs["concat"];
    const there = reshapeIndex(at, shapeOf(v), shapeOf(piece));
    return there.with(axis, add(item(there, axis), num(start)));
  };
/** Writes a kernel that copies a piece to its place, or computes it there. */
export function writePiece(d: Draft, { concat, piece }: ConcatPiece, slot: ConcatSlot): void {
  const { axis } = concat.node.attrs as OpAttrs["concat"];
  const shape = shapeOf(piece);
  const [outer, inner] = [shape.slice(0, axis), shape.slice(axis)];
  const row = unflatten(d.k.task("r", product(outer)).at, outer);
  const reader = d.reader();
  d.k.par(num(product(inner)), (j) => {
    const at = [...row, ...unflatten(j, inner)];
    d.storeInConcat(slot, at, reader.element(piece, at));
  });
}
