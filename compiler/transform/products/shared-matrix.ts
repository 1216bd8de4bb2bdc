// Where a matrix is broadcast over a batch and each product has few columns, the columns of the whole batch are multiplied at once: the matrix is
// read once, and its gradient becomes one product too.
import type { Builder, Graph } from "../../graph/node.ts";
import { item } from "../../item.ts";
import * as b from "../../ops/build.ts";
import { matchOp } from "../../rewrite/pattern.ts";
import { type Rule, rewriteGraph } from "../../rewrite/rule.ts";
import { fromTo, product } from "../../types/numbers.ts";
import { count, dims } from "../../types/type.ts";

/** Matrices with fewer elements stay in the caches, and are left alone. */
const minElements = 1 << 16;
/** Products of at most `fewColumns` columns do not fill a register tile. The matrix must have at least `manyRows` rows. */
const [fewColumns, manyRows] = [8, 16];
/** `smallest`: how many elements a matrix must have for the rewrite. */
export const sharedMatrixRule = (smallest: number): Rule => ({
  name: "dot(broadcast(x), y of few columns) = dot(x, columns of y), turned",
  root: "dot",
  apply(v, g) {
    const node = matchOp(v, "dot");
    const [wide, y, ...more] = node?.args ?? [];
    const broadcast = wide && matchOp(wide, "broadcast");
    const [x] = broadcast?.args ?? [];
    if (!broadcast || !x || !y || more.length > 0 || count(x.type) < smallest) return null;
    const [shape, from] = [dims(y.type), dims(x.type)];
    const [rank, n, lead] = [shape.length, item(shape, shape.length - 1), shape.length - from.length];
    const last = broadcast.attrs.axes.every((a, i) => a === lead + i);
    if (lead === 0 || from.length < 2 || !last || n > fewColumns || item(from, from.length - 2) < manyRows) return null;
    const batch = shape.slice(0, lead);
    const columns = b.transpose(g, y, [...fromTo(lead, rank - 1), ...fromTo(0, lead), rank - 1]);
    const side = b.reshape(g, columns, [...from.slice(0, -2), item(from, from.length - 1), product(batch) * n]);
    const made = b.reshape(g, b.dot(g, x, side), [...from.slice(0, -1), ...batch, n]);
    const rows = rank - 1 - lead;
    return b.transpose(g, made, [...fromTo(rows, rank - 1), ...fromTo(0, rows), rank - 1]);
  },
  examples: (g) =>
    [
      [40, 20],
      [2, 40, 20],
    ].map((shape) => {
      const x = b.param(g, `x ${shape.join()}`, { dtype: "f32", shape });
      const y = b.param(g, `y ${shape.join()}`, { dtype: "f32", shape: [3, 2, ...shape.slice(0, -2), 20, 3] });
      return b.dot(g, b.broadcastTo(g, x, [3, 2, ...shape]), y);
    }),
});
export const shareMatrices = (g: Builder, graph: Graph): Graph =>
  rewriteGraph(g, graph, [sharedMatrixRule(minElements)]);
