// A large head and its cross-entropy, rows by rows: neither logits nor probabilities of a vocabulary stand whole. The rows of a huge
// `dot` are cut into pieces, with all that is computed of each row before something smaller comes out: numbers of a row, the gradient of
// its input, and sums over rows, which are added piece after piece, in order. A piece begins when all results of the one before it are
// made (`after`), so all pieces use the same memory, and no product is computed twice.
import type { Builder, Graph, Node } from "../graph/node.ts";
import { nodesOf, withValues } from "../graph/walk.ts";
import { dims } from "../types/type.ts";
import { inPieces, rowsOf } from "./head-pieces.ts";
import { Head } from "./head-rows.ts";

/** Elements of a product that may stand whole. */
const most = 1 << 26;

/** The graph with heads of more than `limit` elements in pieces of at most so many. */
export function cutHeads(g: Builder, graph: Graph, limit = most): Graph {
  let cut = graph;
  const tried = new Set<Node>();
  for (;;) {
    const node = nodesOf(cut).find((n) => isHuge(n, limit) && !tried.has(n));
    if (!node) return cut;
    tried.add(node);
    const head = Head.of(cut, node);
    if (head) cut = withValues(cut, inPieces(g, cut, head, limit));
  }
}
function isHuge({ op, results }: Node, limit: number): boolean {
  const [rows = 0, columns = 0, ...more] = results[0] ? dims(results[0].type) : [];
  return op.name === "dot" && more.length === 0 && columns > 0 && rows > rowsOf(columns, limit);
}
