// Rewrites every sum into places (`scatter` of mode `add`), without atomics: rows that a routing has already sorted are summed by group, few picks
// are compared with a range, those of a top_k are put in their places, affine indices are summed along diagonals (`diagonals.ts`), and everything
// else is routed and summed by group. Counts of equal indices become lengths of groups.
import type { Builder, Graph, Value } from "../../graph/node.ts";
import { item } from "../../item.ts";
import * as b from "../../ops/build.ts";
import { number } from "../../ops/common.ts";
import { hasDistinctRows } from "../../ops/gather.ts";
import { inversePermutation } from "../../ops/view.ts";
import { matchOp } from "../../rewrite/pattern.ts";
import { type Rule, rewriteGraph } from "../../rewrite/rule.ts";
import { isFloat } from "../../types/dtype.ts";
import { fromTo, product } from "../../types/numbers.ts";
import { dims, dtypeOf, type Type } from "../../types/type.ts";
import { diagonals } from "./diagonals.ts";
import { isAxisAfterBatch, pickShape, type ScatterAdd, scatterAddRule } from "./scatter-add.ts";

/** Up to this many picks per batch row are found by comparing. */
const maxCompared = 32;
/** The same where each place gets at most one, so that rows need only be put there. */
const maxComparedDistinct = 8;

/** Brings axes between the batch axes and the scattered one behind it, as the other rules need it (`isAxisAfterBatch`). */
const moveAxisAfterBatch = scatterAddRule(
  "axes between the batch's and the scattered one go behind",
  (s) => !isAxisAfterBatch(s),
  (g, { index, rows, attrs: { axis, batch, size } }) => {
    const rank = dims(rows.type).length;
    const picked = dims(index.type).length - batch;
    const perm = [
      ...fromTo(0, batch),
      ...fromTo(axis, axis + picked),
      ...fromTo(batch, axis),
      ...fromTo(axis + picked, rank),
    ];
    const sum = b.make1(g, "scatter", [index, b.transpose(g, rows, perm)], { axis: batch, batch, mode: "add", size });
    const back = [...fromTo(0, batch), axis, ...fromTo(batch, axis), ...fromTo(axis + 1, rank - picked + 1)];
    return b.transpose(g, sum, inversePermutation(back));
  },
  (g) =>
    [[3], [3, 5]].map((between) => {
      const x = param(g, `x ${between.join()}`, "f32", [2, ...between, 7, 2]);
      const attrs = { axis: 1 + between.length, batch: 1, mode: "add", size: 4 } as const;
      return b.make1(g, "scatter", [param(g, "index", "i32", [2, 7]), x], attrs);
    }),
);
const sortedScatter = scatterAddRule(
  "scatter(rows, expert of a routing) = ragged_sum(rows)",
  ({ index, attrs }) => routedGroups(index) !== null && attrs.axis === 0 && number(attrs.size) === routedGroups(index),
  (g, { index, rows }) => sumGroups(g, rows, item(index.node.results, 1)),
  (g) =>
    (["f32", "i32"] as const).map((t) =>
      b.scatter(g, param(g, `x ${t}`, t, [9, 2]), b.route(g, param(g, "index", "i32", [9]), 4).expert, 4),
    ),
);
/** The sum of each group's rows. `ragged_sum` kernels add floats only; integers, which wrap, take the difference of two running sums. */
function sumGroups(g: Builder, rows: Value, offsets: Value): Value {
  if (isFloat(rows.type.dtype)) return b.raggedSum(g, rows, offsets);
  const groups = item(dims(offsets.type), 0) - 1;
  const running = b.cumsum(g, rows, 0);
  const upTo = (first: number): Value => b.take(g, running, b.sub(g, b.slice(g, offsets, 0, first, groups), 1));
  return b.sub(g, upTo(1), upTo(0));
}
/** The number of groups if the index is `route(..).expert`, so that rows are already sorted by it; else null. */
const routedGroups = (index: Value): number | null =>
  index.index === 3 ? number(matchOp(index, "route")?.attrs.groups ?? -1) : null;

const isCompared = (s: ScatterAdd): boolean =>
  s.attrs.batch > 0 && product(pickShape(s)) <= (isDistinct(s) ? maxComparedDistinct : maxCompared);
const comparedScatter = scatterAddRule(
  "scatter of few = sum(where(iota == index, rows, 0))",
  (s) => isAxisAfterBatch(s) && isCompared(s),
  (g, s) => {
    const { index, rows, attrs } = s;
    const n = product(pickShape(s));
    const batch = dims(index.type).slice(0, attrs.batch);
    const rest = dims(rows.type).slice(attrs.batch + pickShape(s).length);
    const whole = [...batch, number(attrs.size), n, ...rest];
    const axes = [...batch.keys()];
    const [place, pick] = [attrs.batch, attrs.batch + 1];
    const which = b.broadcast(g, b.reshape(g, index, [...batch, n]), whole.slice(0, pick + 1), [...axes, pick]);
    const here = b.eq(g, which, b.broadcast(g, b.iota(g, number(attrs.size)), whole.slice(0, pick + 1), [place]));
    const value = b.broadcast(g, b.reshape(g, rows, [...batch, n, ...rest]), whole, [
      ...axes,
      pick,
      ...rest.map((_, i) => pick + 1 + i),
    ]);
    return b.sum(g, b.where(g, b.broadcast(g, here, whole, [...axes, place, pick]), value, 0), [pick]);
  },
  (g) => [
    b.scatter(g, param(g, "x", "f32", [2, 3, 4]), param(g, "index", "i32", [2, 3]), 5, 1),
    b.scatter(g, param(g, "x", "f32", [2, 3, 1]), param(g, "index", "i32", [2, 3, 1]), 5, 2),
  ],
);
const distinctScatter = scatterAddRule(
  "scatter(rows, index of a top_k) = zeros with rows put in",
  (s) => isAxisAfterBatch(s) && isDistinct(s) && !isCompared(s),
  (g, { index, rows, attrs }) => {
    const picked = dims(index.type).length - attrs.batch;
    const shape = dims(rows.type).toSpliced(attrs.axis, picked, number(attrs.size));
    return b.make1(g, "scatter", [b.fill(g, 0, dtypeOf(rows.type), shape), index, rows], { ...attrs, mode: "set" });
  },
  (g) => {
    const [, index] = b.topK(g, param(g, "scores", "f32", [2, 300]), 40);
    return [
      b.scatter(g, param(g, "x", "f32", [2, 40]), index, 300, 1),
      b.scatter(g, param(g, "rows", "f32", [2, 40, 3]), index, 300, 1),
    ];
  },
);
const isDistinct = ({ index, attrs }: ScatterAdd): boolean => hasDistinctRows(index, attrs.batch);
const routedScatter = scatterAddRule(
  "scatter(rows, index) = ragged_sum(dispatch(rows, route(index)))",
  (s) => isAxisAfterBatch(s) && routedGroups(s.index) === null && !isDistinct(s) && !isCompared(s),
  (g, s) => {
    const { index, rows, attrs } = s;
    const batch = dims(index.type).slice(0, attrs.batch);
    const [groups, n, size] = [product(batch), product(pickShape(s)), number(attrs.size)];
    const rest = dims(rows.type).slice(attrs.batch + pickShape(s).length);
    const by = b.route(g, flattenIndex(g, b.reshape(g, index, [groups, n]), size), groups * size);
    const sorted = b.dispatch(g, b.reshape(g, rows, [groups * n, ...rest]), by);
    return b.reshape(g, sumGroups(g, sorted, by.offsets), [...batch, size, ...rest]);
  },
  (g) => [
    b.scatter(g, param(g, "x", "f32", [3, 4, 2]), param(g, "index", "i32", [3, 4]), 5),
    b.scatter(g, param(g, "x", "f32", [2, 40, 3]), param(g, "index", "i32", [2, 40]), 6, 1),
    b.scatter(g, param(g, "whole", "i32", [2, 40, 3]), param(g, "index", "i32", [2, 40]), 6, 1),
  ],
);
/** Below any of these limits comparing beats the launches of a routing: comparisons in all, choices in all, and choices per count. */
const manyComparisons = 1 << 15;
const manyChoices = 512;
const choicesOfEach = 16;
/** Counts of each index value, written as a sum of comparisons with a range. */
const histogram: Rule = {
  name: "sum(index == range(N)) = how long the groups of route(index, N) are",
  root: "reduce",
  apply(v, g) {
    const found = matchHistogram(v);
    if (!found) return null;
    const { index, size, batch } = found;
    const groups = product(batch);
    const flat = flattenIndex(g, b.reshape(g, index, [groups, product(dims(index.type)) / groups]), size);
    const { offsets } = b.route(g, flat, groups * size);
    const lengths = b.sub(g, b.slice(g, offsets, 0, 1, groups * size), b.slice(g, offsets, 0, 0, groups * size));
    return b.reshape(g, b.cast(g, lengths, dtypeOf(v.type)), [...batch, size]);
  },
  examples: (g) =>
    (["f32", "i32"] as const).flatMap((t) => {
      const [index, shape] = [param(g, "index", "i32", [3, 400]), [3, 400, 300]];
      const is = (range: number): Value =>
        b.eq(g, b.broadcast(g, index, shape, [0, 1]), b.broadcast(g, b.iota(g, range), shape, [2]));
      return [[0, 1], [1]].map((axes) => b.sum(g, b.cast(g, is(300), t), axes));
    }),
};
interface HistogramMatch {
  readonly index: Value;
  readonly size: number;
  /** Leading axes of the index that are not summed over. */
  readonly batch: readonly number[];
}
/** Matches sum(cast(index == range)), with index and range broadcast against each other; null for anything else, and below the limits above. */
function matchHistogram(v: Value): HistogramMatch | null {
  const sum = matchOp(v, "reduce");
  const is = sum?.attrs.fn === "sum" ? matchOp(matchOp(item(sum.args, 0), "cast")?.args[0] ?? v, "binary") : null;
  const [x, y] = is?.attrs.fn === "eq" ? is.args.map((a) => matchOp(a, "broadcast")) : [];
  const [each, range] = y && isRange(y.args) ? [x, y] : [y, x];
  if (!sum || !each || !range || !isRange(range.args)) return null;
  const [index, { axes }] = [item(each.args, 0), sum.attrs];
  const [shape, size] = [dims(index.type), item(dims(item(range.args, 0).type), 0)];
  const batch = shape.slice(0, shape.length - axes.length);
  if (product(shape.slice(batch.length)) < choicesOfEach) return null;
  if (product(shape) < manyChoices || product(shape) * size < manyComparisons) return null;
  const inOrder = each.attrs.axes.every((a, i) => a === i) && range.attrs.axes.join() === String(shape.length);
  return inOrder && axes.every((a, i) => a === batch.length + i) ? { index, size, batch } : null;
}
const isRange = ([x]: readonly Value[]): boolean => x?.node.op.name === "iota";
/** Flattens a batch of indices into one index over the places of all batch rows; -1 if out of range. */
function flattenIndex(g: Builder, index: Value, size: number): Value {
  const [groups = 0, n = 0] = dims(index.type);
  if (groups === 1) return b.reshape(g, index, [n]);
  const row = b.broadcast(g, b.iota(g, groups), [groups, n], [0]);
  const inside = b.and(g, b.ge(g, index, 0), b.lt(g, index, size));
  return b.reshape(g, b.where(g, inside, b.add(g, b.mul(g, row, size), index), -1), [groups * n]);
}
const param = (g: Builder, store: string, dtype: Type["dtype"], shape: readonly number[]): Value =>
  b.param(g, store, { dtype, shape });

export const scatterRules: readonly Rule[] = [
  moveAxisAfterBatch,
  sortedScatter,
  comparedScatter,
  distinctScatter,
  diagonals,
  routedScatter,
  histogram,
];
/** Run after differentiation; afterwards no `scatter` of mode `add` is left. */
export const expandScatters = (g: Builder, graph: Graph): Graph => rewriteGraph(g, graph, scatterRules);
