// Cuts a large head with its cross-entropy into pieces of rows, so that neither the logits nor the probabilities of a vocabulary are ever whole in
// memory. A piece computes the rows of a huge `dot` and everything row by row down to something smaller: numbers of a row, the gradient of its
// input, and sums over rows, which are added piece after piece, in order. `after` makes a piece wait for all results of the one before, so all
// pieces use the same memory; no product is computed twice.
import type { Builder, Graph, Node } from "../graph/node.ts";
import { nodesOf, withValues } from "../graph/walk.ts";
import { dims } from "../types/type.ts";
import { computeInPieces, rowsPerPiece } from "./head-pieces.ts";
import { Head } from "./head-rows.ts";

/** Products of up to this many elements are left whole. */
const maxElements = 1 << 26;

/** The graph with each head whose product has more than `limit` elements cut into pieces of at most that many. */
export function cutHeads(g: Builder, graph: Graph, limit = maxElements): Graph {
  let cut = graph;
  const tried = new Set<Node>();
  for (;;) {
    const node = nodesOf(cut).find((n) => isHuge(n, limit) && !tried.has(n));
    if (!node) return cut;
    tried.add(node);
    const head = Head.of(cut, node);
    if (head) cut = withValues(cut, computeInPieces(g, cut, head, limit));
  }
}
function isHuge({ op, results }: Node, limit: number): boolean {
  const [rows = 0, columns = 0, ...more] = results[0] ? dims(results[0].type) : [];
  return op.name === "dot" && more.length === 0 && columns > 0 && rows > rowsPerPiece(columns, limit);
}
