// Where a matrix is broadcast over a batch and each product has few columns, or few rows, those of the whole batch are multiplied at once: the matrix is
// read once, and its gradient becomes one product too.
import type { Builder, Graph, Value } from "../../graph/node.ts";
import { item } from "../../item.ts";
import * as b from "../../ops/build.ts";
import { matchOp } from "../../rewrite/pattern.ts";
import { type Rule, rewriteGraph } from "../../rewrite/rule.ts";
import { fromTo, product } from "../../types/numbers.ts";
import { count, dims } from "../../types/type.ts";

/** Matrices with fewer elements stay in the caches, and are left alone. */
const minElements = 1 << 16;
/** Products of at most `few` columns, or rows, do not fill a register tile. The matrix must have at least `many` rows, or columns. */
const [few, many] = [8, 16];
/** The matrix that is broadcast over a batch of `lead` axes, which come first; null if `wide` is none, or one of fewer elements. */
function sharedBy(wide: Value | undefined, smallest: number): { readonly matrix: Value; readonly lead: number } | null {
  const broadcast = wide && matchOp(wide, "broadcast");
  const [matrix] = broadcast?.args ?? [];
  if (!broadcast || !matrix || count(matrix.type) < smallest) return null;
  const lead = dims(wide.type).length - dims(matrix.type).length;
  return lead > 0 && broadcast.attrs.axes.every((a, i) => a === lead + i) ? { matrix, lead } : null;
}
/** `smallest`: how many elements a matrix must have for the rewrite. */
export const sharedMatrixRule = (smallest: number): Rule => ({
  name: "dot(broadcast(x), y of few columns) = dot(x, columns of y), turned",
  root: "dot",
  apply(v, g) {
    const node = matchOp(v, "dot");
    const [wide, y, ...more] = node?.args ?? [];
    const found = sharedBy(wide, smallest);
    if (!found || !y || more.length > 0) return null;
    const { matrix: x, lead } = found;
    const [shape, from] = [dims(y.type), dims(x.type)];
    const [rank, n] = [shape.length, item(shape, shape.length - 1)];
    if (from.length < 2 || n > few || item(from, from.length - 2) < many) return null;
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
/** The same of rows, as those of each head that writes one token of several texts (DeepSeek's latent attention). */
export const sharedRightRule = (smallest: number): Rule => ({
  name: "dot(x of few rows, broadcast(y)) = dot(rows of x, y), turned",
  root: "dot",
  apply(v, g) {
    const node = matchOp(v, "dot");
    const [x, wide, ...more] = node?.args ?? [];
    const found = sharedBy(wide, smallest);
    if (!found || !x || more.length > 0) return null;
    const { matrix: y, lead } = found;
    const [shape, from] = [dims(x.type), dims(y.type)];
    const [rank, m] = [shape.length, item(shape, shape.length - 2)];
    if (from.length < 3 || m > few || item(from, from.length - 1) < many) return null;
    const [batch, groups] = [shape.slice(0, lead), from.slice(0, -2)];
    if (product(batch) === 1) return null;
    const rows = b.transpose(g, x, [...fromTo(lead, rank - 2), ...fromTo(0, lead), rank - 2, rank - 1]);
    const side = b.reshape(g, rows, [...groups, product(batch) * m, item(shape, rank - 1)]);
    const made = b.reshape(g, b.dot(g, side, y), [...groups, ...batch, m, item(from, from.length - 1)]);
    return b.transpose(g, made, [...fromTo(groups.length, rank - 2), ...fromTo(0, groups.length), rank - 2, rank - 1]);
  },
  examples: (g) =>
    [3, 1].map((m) => {
      const x = b.param(g, `x ${m}`, { dtype: "f32", shape: [3, 2, 4, m, 20] });
      const y = b.param(g, `y ${m}`, { dtype: "f32", shape: [4, 20, 40] });
      return b.dot(g, x, b.broadcastTo(g, y, [3, 2, 4, 20, 40]));
    }),
});
export const shareMatrices = (g: Builder, graph: Graph): Graph =>
  rewriteGraph(g, graph, [sharedMatrixRule(minElements), sharedRightRule(minElements)]);
