// Cuts a large head with its cross-entropy into pieces of rows, so that neither the logits nor the probabilities of a vocabulary are ever whole in
// memory. A piece computes the rows of a huge `dot` and everything row by row down to something smaller: numbers of a row, the gradient of its
// input, and sums over rows, which are added piece after piece, in order. `after` makes a piece wait for all results of the one before, so all
// pieces use the same memory; no product is computed twice.
import type { Builder, Graph, Node } from "../../graph/node.ts";
import { nodesOf } from "../../graph/walk.ts";
import { dims } from "../../types/type.ts";
import { computeInPieces } from "./head-pieces.ts";
import { Head } from "./head-rows.ts";

/**
 * A piece has at most this many elements, but at least so many rows: each reads and writes all sums over rows, among them the gradient of the
 * vocabulary's weight.
 */
const [maxElements, minRows] = [1 << 26, 1024];

/** The graph with each head whose product has more than `limit` elements cut into pieces of at most that many. */
export function cutHeads(g: Builder, graph: Graph, limit?: number): Graph {
  for (let cut = graph; ; ) {
    const huge = nodesOf(cut).filter((n) => isHuge(n, limit));
    const head = Head.find(cut, huge);
    if (!head) return cut;
    cut = computeInPieces(g, cut, head, rowsPerPiece(head.columns, limit));
  }
}
function isHuge({ op, results }: Node, limit?: number): boolean {
  const [rows = 0, columns = 0, ...more] = results[0] ? dims(results[0].type) : [];
  return op.name === "dot" && more.length === 0 && columns > 0 && rows > rowsPerPiece(columns, limit);
}
/** The most rows of `columns` elements that a piece has; at least 1. */
const rowsPerPiece = (columns: number, limit = Math.max(maxElements, minRows * columns)): number =>
  Math.max(1, Math.floor(limit / columns));
