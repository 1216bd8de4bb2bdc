// Rewrites the graph to what there are kernels for: sums into places become a routing and a ragged sum, long reductions are cut by
// their shape alone, so that no schedule and no number of threads changes a bit.
import { Problem } from "../diagnostic.ts";
import { GraphBuilder } from "../graph/builder.ts";
import type { Graph, Node, Value } from "../graph/node.ts";
import { rebuild, valuesOf, withValues } from "../graph/walk.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { ops } from "../ops/list.ts";
import { fewPicks, isFold } from "../transform/regions.ts";
import { dims, dtypeOf } from "../types/type.ts";
import { item, product } from "./expr.ts";

export function expand(graph: Graph): Graph {
  const g = new GraphBuilder(ops);
  const values = rebuild(g, valuesOf(graph), (node, args) => {
    if (node.results.some((v) => v.type.dtype === "f64"))
      throw new Problem("the host target computes in f32, and this program asks for f64", "use `--target reference`");
    return rewritten(g, node, args);
  });
  return withValues(graph, values);
}
function rewritten(g: GraphBuilder, node: Node, args: readonly Value[]): readonly Value[] | null {
  if (node.op.name === "scatter") return scatterAdd(g, node.attrs as OpAttrs["scatter"], args);
  if (node.op.name === "reduce") return cut(g, node, node.attrs as OpAttrs["reduce"], item(args, 0));
  return null;
}

/** Rows sorted by where they go, and summed group by group. */
function scatterAdd(g: GraphBuilder, attrs: OpAttrs["scatter"], args: readonly Value[]): readonly Value[] | null {
  const { axis, batch, mode } = attrs;
  if (mode === "set" || fewPicks(attrs, args)) return null;
  const size = Number(attrs.size);
  const [index, rows] = [item(args, 0), item(args, 1)];
  const shape = dims(rows.type);
  const picks = dims(index.type).slice(batch);
  const [front, middle] = [shape.slice(0, batch), shape.slice(batch, axis)];
  const back = shape.slice(axis + picks.length);
  const [groups, many] = [product(front), product(picks)];
  const flat = b.reshape(g, index, [groups, many]);
  const inside = b.and(g, b.ge(g, flat, 0), b.lt(g, flat, size));
  if (dtypeOf(rows.type) === "i32")
    return [
      counted(g, b.reshape(g, rows, [groups, product(middle), many, product(back)]), flat, size, [
        ...front,
        ...middle,
        size,
        ...back,
      ]),
    ];
  const start = b.mul(g, b.reshape(g, b.iota(g, groups), [groups, 1]), size);
  const by = b.route(g, b.reshape(g, b.where(g, inside, b.add(g, flat, start), -1), [groups * many]), groups * size);
  const lined = b.transpose(g, b.reshape(g, rows, [groups, product(middle), many, product(back)]), [0, 2, 1, 3]);
  const sums = b.raggedSum(
    g,
    b.dispatch(g, b.reshape(g, lined, [groups * many, product(middle) * product(back)]), by),
    by.offsets,
  );
  const ordered = b.transpose(g, b.reshape(g, sums, [groups, size, product(middle), product(back)]), [0, 2, 1, 3]);
  return [b.reshape(g, ordered, [...front, ...middle, size, ...back])];
}
/** Whole numbers: each place sums the rows that are meant for it. rows [G, L, I, R], index [G, I]. */
function counted(g: GraphBuilder, rows: Value, index: Value, size: number, shape: readonly number[]): Value {
  const [groups = 1, middle = 1, many = 1, back = 1] = dims(rows.type);
  const all = [groups, middle, size, back, many];
  const here = b.eq(g, b.broadcast(g, index, all, [0, 4]), b.broadcast(g, b.iota(g, size), all, [2]));
  const wide = b.broadcast(g, b.transpose(g, rows, [0, 1, 3, 2]), all, [0, 1, 3, 4]);
  return b.reshape(g, b.sum(g, b.where(g, here, wide, 0), [4]), shape);
}

/** A fold of more elements than this is cut; so is a reduction over more rows. */
const longFold = 1 << 14;
const manyRows = 64;
function cut(g: GraphBuilder, node: Node, { fn, axes }: OpAttrs["reduce"], x: Value): readonly Value[] | null {
  const shape = dims(x.type);
  const total = product(axes.map((a) => item(shape, a)));
  if (isFold(node)) {
    if (total <= longFold) return null;
    const last = item(axes, axes.length - 1);
    if (axes.length > 1 && item(shape, last) >= 64) return [...cutTwice(g, fn, x, [last], axes.slice(0, -1))];
    const n = total;
    const lead = shape.slice(0, shape.length - axes.length);
    const piece = divisor(n);
    if (piece === 1) return null;
    return [...cutTwice(g, fn, b.reshape(g, x, [...lead, n / piece, piece]), [lead.length + 1], [lead.length])];
  }
  const [first] = axes;
  if (axes.length !== 1 || first === undefined || item(shape, first) <= manyRows) return null;
  const piece = divisor(item(shape, first));
  if (piece === 1) return null;
  const split = b.reshape(g, x, [
    ...shape.slice(0, first),
    item(shape, first) / piece,
    piece,
    ...shape.slice(first + 1),
  ]);
  return [...cutTwice(g, fn, split, [first + 1], [first])];
}
function cutTwice(
  g: GraphBuilder,
  fn: OpAttrs["reduce"]["fn"],
  x: Value,
  first: readonly number[],
  then: readonly number[],
): Value[] {
  return [b.make1(g, "reduce", [b.make1(g, "reduce", [x], { fn, axes: first })], { fn, axes: then })];
}
/** The largest divisor of n that is at most its square root's next power of two. */
function divisor(n: number): number {
  for (let d = Math.min(n, 2 ** Math.ceil(Math.log2(Math.sqrt(n)))); d > 1; d--) if (n % d === 0) return d;
  return 1;
}
