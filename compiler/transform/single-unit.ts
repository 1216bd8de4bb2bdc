// Experts with a single hidden unit have matrices of one column or one row, which fill no register tile. Their products become rows times vectors,
// each row with its expert's vector.
import type { Builder, Graph, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import * as b from "../ops/build.ts";
import { matchOp } from "../rewrite/pattern.ts";
import { type Rule, rewriteGraph } from "../rewrite/rule.ts";
import { dims, dtypeOf } from "../types/type.ts";

interface SingleUnitProduct {
  readonly x: Value;
  /** The matrices without their axis of size 1: [E, D]. */
  readonly w: Value;
  /** The expert of each row; -1 for rows past the last group. */
  readonly expert: Value;
}
/** A rule for a ragged_dot whose `w` has size 1 along `axis`; [k, n] is the shape of the sample matrices. */
const singleUnitRule = (
  name: string,
  axis: 1 | 2,
  right: (g: Builder, t: SingleUnitProduct) => Value,
  [k, n]: readonly [number, number],
): Rule => ({
  name,
  root: "ragged_dot",
  apply(v, g) {
    const node = matchOp(v, "ragged_dot");
    const [x, w, offsets] = node?.args ?? [];
    const route = offsets?.index === 1 ? offsets.node : null;
    if (!node || !x || !w || node.args.length !== 3 || node.attrs.unit !== 1 || route?.op.name !== "route") return null;
    const shape = dims(w.type);
    if (shape[axis] !== 1) return null;
    const wide = (a: Value): Value => b.cast(g, a, dtypeOf(a.type) === "bf16" ? "f32" : dtypeOf(a.type));
    const rest = shape.filter((_, i) => i !== axis);
    const made = right(g, { x: wide(x), w: wide(b.reshape(g, w, rest)), expert: item(route.results, 3) });
    return b.cast(g, b.reshape(g, made, dims(v.type)), dtypeOf(v.type));
  },
  examples: (g) =>
    (["f32", "bf16"] as const).map((dtype) => {
      const { offsets } = b.route(g, b.param(g, "index", { dtype: "i32", shape: [23] }), 6);
      return b.raggedDot(
        g,
        b.param(g, `x ${dtype}`, { dtype, shape: [23, k] }),
        b.param(g, `w ${dtype}`, { dtype, shape: [6, k, n] }),
        offsets,
      );
    }),
});
/** Puts the long axis of the result last. */
const longAxisLast: Rule = {
  name: "ragged_outer(x, y of one column) = reshape(ragged_outer(y, x))",
  root: "ragged_outer",
  apply(v, g) {
    const node = matchOp(v, "ragged_outer");
    const [x, y, offsets, ...more] = node?.args ?? [];
    const [, k = 0, n = 0] = dims(v.type);
    if (!node || !x || !y || !offsets || more.length > 0 || n !== 1 || k === 1) return null;
    return b.reshape(g, b.raggedOuter(g, y, x, offsets, node.attrs.unit), dims(v.type));
  },
  examples: (g) => [
    b.raggedOuter(
      g,
      b.param(g, "x", { dtype: "f32", shape: [23, 5] }),
      b.param(g, "y", { dtype: "f32", shape: [23, 1] }),
      b.route(g, b.param(g, "index", { dtype: "i32", shape: [23] }), 6).offsets,
    ),
  ],
};
export const singleUnitRules: readonly Rule[] = [
  singleUnitRule(
    "ragged_dot(x, w of one column) = sum(x * w[expert])",
    2,
    (g, { x, w, expert }) => b.sum(g, b.mul(g, x, b.take(g, w, expert)), [1]),
    [5, 1],
  ),
  singleUnitRule(
    "ragged_dot(x, w of one row) = x * w[expert]",
    1,
    (g, { x, w, expert }) => {
      const vector = b.take(g, w, expert);
      return b.mul(g, b.broadcast(g, b.reshape(g, x, [dims(x.type)[0] ?? 0]), dims(vector.type), [0]), vector);
    },
    [1, 5],
  ),
  longAxisLast,
];
export const expandSingleUnit = (g: Builder, graph: Graph): Graph => rewriteGraph(g, graph, singleUnitRules);
