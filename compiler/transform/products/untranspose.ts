// A reduction over a transposed tensor, which would read memory column by column, becomes a reduction over another axis of the tensor as stored. A
// gather by ranges of something much smaller (a Toeplitz matrix) that is then transposed picks in the order in which the result is read.
import type { Builder, Graph, Value } from "../../graph/node.ts";
import { item } from "../../item.ts";
import { getOrMake } from "../../memoize.ts";
import * as b from "../../ops/build.ts";
import { affineOf } from "../../rewrite/affine.ts";
import { matchOp } from "../../rewrite/pattern.ts";
import { type Rule, rewriteGraph } from "../../rewrite/rule.ts";
import { fromTo } from "../../types/numbers.ts";
import { count, dims } from "../../types/type.ts";

/** Tensors with fewer elements stay in the caches, whatever the order of access. */
const minElements = 1 << 16;
/** The most pointwise nodes to look through between the reduction and the transpose. */
const maxNodes = 64;

/** The permutation of a transpose that v is computed from by pointwise ops, if it moves the last axis; else null. */
function transposeBelow(v: Value, seen: Set<Value>): readonly number[] | null {
  if (seen.has(v) || seen.size > maxNodes) return null;
  seen.add(v);
  const perm = matchOp(v, "transpose")?.attrs.perm;
  if (perm) return perm.at(-1) === perm.length - 1 ? null : perm;
  if (v.node.op.lower !== "point") return null;
  for (const a of v.node.args) {
    const found = transposeBelow(a, seen);
    if (found) return found;
  }
  return null;
}
type Known = Map<Value, Value | null>;
/** The x with v = transpose(x, perm), built by the same pointwise ops on untransposed operands; null if some operand is not transposed so. */
function untransposed(g: Builder, v: Value, perm: readonly number[], known: Known): Value | null {
  return getOrMake(known, v, () => (known.size > maxNodes ? null : untransposeOp(g, v, perm, known)));
}
function untransposeOp(g: Builder, v: Value, perm: readonly number[], known: Known): Value | null {
  const { op, args, attrs } = v.node;
  const transpose = matchOp(v, "transpose");
  if (transpose) return transpose.attrs.perm.join() === perm.join() ? item(args, 0) : null;
  const broadcast = matchOp(v, "broadcast");
  if (broadcast) return untransposeBroadcast(g, item(args, 0), broadcast.attrs.axes, dims(v.type), perm);
  const shape = dims(v.type).join();
  if (op.lower !== "point" || args.length === 0 || args.some((a) => dims(a.type).join() !== shape)) return null;
  const made = args.map((a) => untransposed(g, a, perm, known));
  return made.every((a) => a !== null) ? item(g.add(op, made, attrs).results, 0) : null;
}
/** The untransposed form of a broadcast. */
function untransposeBroadcast(
  g: Builder,
  x: Value,
  axes: readonly number[],
  shape: readonly number[],
  perm: readonly number[],
) {
  const places = axes.map((a) => item(perm, a));
  const order = [...places.keys()].toSorted((i, j) => item(places, i) - item(places, j));
  const whole = shape.map((_, a) => item(shape, perm.indexOf(a)));
  return b.broadcast(
    g,
    b.transpose(g, x, order),
    whole,
    order.map((i) => item(places, i)),
  );
}
export const untransposeReduce = (smallest: number): Rule => ({
  name: "reduce(points of transpose(x)) = reduce(points of x)",
  root: "reduce",
  apply(v, g) {
    const node = matchOp(v, "reduce");
    const [x] = node?.args ?? [];
    if (!node || !x || count(x.type) < smallest) return null;
    const { fn, axes } = node.attrs;
    const rank = x.type.shape.length;
    const perm = axes.includes(rank - 1) ? transposeBelow(x, new Set()) : null;
    const from = perm && untransposed(g, x, perm, new Map());
    if (!perm || !from) return null;
    const places = [...perm.keys()].filter((i) => !axes.includes(i)).map((i) => item(perm, i));
    const kept = places.toSorted((i, j) => i - j);
    const folded = axes.map((a) => item(perm, a)).toSorted((i, j) => i - j);
    return b.transpose(
      g,
      b.make1(g, "reduce", [from], { fn, axes: folded }),
      places.map((i) => kept.indexOf(i)),
    );
  },
  examples: (g) => {
    const x = b.param(g, "x", { dtype: "f32", shape: [3, 5, 4] });
    const turned = b.transpose(g, x, [2, 0, 1]);
    const top = b.max(g, turned, [2], true);
    const side = b.broadcast(g, b.param(g, "side", { dtype: "f32", shape: [3, 5] }), [4, 3, 5], [1, 2]);
    return [
      b.sum(g, b.exp(g, b.sub(g, turned, top)), [2]),
      b.sum(g, b.mul(g, turned, side), [1, 2]),
      b.max(g, b.transpose(g, x, [1, 2, 0]), [2]),
      b.sum(g, b.where(g, b.gt(g, turned, 0), b.transpose(g, b.tanh(g, x), [2, 0, 1]), side), [0, 2]),
    ];
  },
});
/** The gather must pick at least this many times as many elements as its source has. */
const manyTimes = 8;
/** A transposed gather by affine indices, such as a Toeplitz matrix for each column of x: the axes that follow the picked one move in front. */
export const untransposeGather = (smallest: number): Rule => ({
  name: "transpose(take(x, ranges)) = take(transpose(x), ranges)",
  root: "transpose",
  apply(v, g) {
    const perm = matchOp(v, "transpose")?.attrs.perm;
    const take = matchOp(v.node.args[0] ?? v, "gather");
    const [x, index] = take?.args ?? [];
    if (!perm || !take || !x || !index || take.attrs.batch > 0 || count(v.type) < smallest) return null;
    if (count(v.type) < manyTimes * count(x.type) || !affineOf(index)) return null;
    const [axis, many] = [take.attrs.axis, index.type.shape.length];
    const isPick = (a: number): boolean => a >= axis && a < axis + many;
    const lead = perm.length - many;
    if (axis === lead || !perm.slice(lead).every(isPick)) return null;
    const order = [...perm.slice(0, lead).map((a) => (a < axis ? a : a + 1 - many)), axis];
    const turned = b.transpose(
      g,
      index,
      perm.slice(lead).map((a) => a - axis),
    );
    const places = b.broadcast(g, turned, dims(v.type), fromTo(lead, perm.length));
    return b.make1(g, "gather", [b.after(g, b.transpose(g, x, order), []), places], { axis: lead, batch: lead });
  },
  examples: (g) => {
    const range = (axis: number): Value => b.broadcast(g, b.iota(g, 9), [9, 9], [axis]);
    const far = b.sub(g, range(0), range(1));
    const taken = b.make1(g, "gather", [b.param(g, "x", { dtype: "f32", shape: [2, 3, 3] }), far], {
      axis: 1,
      batch: 0,
    });
    return [
      [0, 3, 1, 2],
      [3, 0, 2, 1],
    ].map((perm) => b.transpose(g, taken, perm));
  },
});
/** `smallest`: how many elements a reduction, or the result of a gather, must have. */
export const untranspose = (g: Builder, graph: Graph, smallest = minElements): Graph =>
  rewriteGraph(g, graph, [untransposeReduce(smallest), untransposeGather(smallest)]);
