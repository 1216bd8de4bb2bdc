// Recognises softmax(q k^T * scale + bias, where: mask) v, as stdlib's `attend` writes it, and replaces it by one `attention` op. Runs before
// differentiation.
// Scores capped by cap * tanh(q k^T * scale / cap) are recognised too, but not together with a bias.
// If the mask cannot be expressed as bounds on positions, or values have another dtype than keys, the composition stays as it is.
import type { Builder, Graph, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import * as b from "../ops/build.ts";
import { algebra } from "../rewrite/algebra.ts";
import { matchOp, splatOf } from "../rewrite/pattern.ts";
import { type Rule, rewrite, rewriteGraph } from "../rewrite/rule.ts";
import { dims, dtypeOf } from "../types/type.ts";
import { type Axes, alignAxes, attendsToItself, type Mask, maskOf, stripViews } from "./mask.ts";

/** A [B, G, R, M, N] tensor that does not vary along R, as [B, G, M, N]; null if it may vary. */
function withoutHeadAxis(g: Builder, v: Value): Value | null {
  const [B = 0, G = 0, R = 0, M = 0, N = 0] = dims(v.type);
  if (R === 1) return b.reshape(g, v, [B, G, M, N]);
  const node = matchOp(v, "broadcast");
  const [from] = node?.args ?? [];
  if (!node || !from || node.attrs.axes.includes(2)) return null;
  const axes = node.attrs.axes.map((a) => (a > 2 ? a - 1 : a));
  return b.broadcast(g, from, [B, G, M, N], axes);
}
const throughCast = (v: Value): Value => (v.node.op.name === "cast" ? item(v.node.args, 0) : v);

interface Softmax {
  readonly scores: Value;
  readonly mask: Value | null;
  /** An extra logit for each row, which takes part in the softmax denominator only (attention sink); its last axis has size 1. */
  readonly sink: Value | null;
  /** True if a row whose keys are all masked gives zeros, as `attention` does; false if it gives NaN. */
  readonly guarded: boolean;
}
/** The scores, mask and sink of a softmax over the last axis. To be sure, the softmax is built from them again, and must give `p` itself. */
function softmaxOf(g: Builder, p: Value): Softmax | null {
  const top = matchOp(p, "binary");
  const e = top?.attrs.fn === "div" ? matchOp(item(top.args, 0), "unary") : null;
  const shifted = e?.attrs.fn === "exp" ? matchOp(item(e.args, 0), "binary") : null;
  if (shifted?.attrs.fn !== "sub") return null;
  const seen = item(shifted.args, 0);
  const select = matchOp(seen, "select");
  const masked = select && splatOf(item(select.args, 2)) === Number.NEGATIVE_INFINITY;
  const found = masked ? { scores: item(select.args, 1), mask: item(select.args, 0) } : { scores: seen, mask: null };
  const sink = sinkOf(item(p.node.args, 1));
  const frozen = new Set([found.scores, found.mask ?? found.scores, sink ?? found.scores].map((v) => v.node));
  // if the mask was all true, simplification has removed it, but not the guard for rows that see nothing
  const masks = found.mask ? [found.mask] : [undefined, b.fill(g, 1, "bool", dims(found.scores.type))];
  const made = sink
    ? [softmaxWithSink(g, seen, sink)]
    : [...masks.map((mask) => b.softmax(g, found.scores, -1, mask)), b.softmax(g, seen, -1)];
  const which = rewrite(g, made, algebra, { frozen }).indexOf(p);
  return which < 0 ? null : { ...found, sink, guarded: which < masks.length };
}
/** A softmax with a sink, as stdlib's `attend_sunk` writes it. */
function softmaxWithSink(g: Builder, seen: Value, sink: Value): Value {
  const top = b.detach(g, b.maximum(g, b.max(g, seen, [-1], true), sink));
  const e = b.exp(g, b.sub(g, seen, top));
  return b.div(g, e, b.add(g, b.sum(g, e, [-1], true), b.exp(g, b.sub(g, sink, top))));
}
/** Finds the sink in the denominator of such a softmax, sum(e) + exp(sink - top). */
function sinkOf(total: Value): Value | null {
  const sum = matchOp(stripViews(total, [])[0], "binary");
  if (sum?.attrs.fn !== "add") return null;
  const [power] = sum.args.flatMap((x) => {
    const inner = matchOp(x, "unary");
    return inner?.attrs.fn === "exp" ? [item(inner.args, 0)] : [];
  });
  const shifted = power && matchOp(power, "binary");
  return shifted?.attrs.fn === "sub" ? item(shifted.args, 0) : null;
}
interface ScaledScores {
  readonly product: Value;
  readonly scale: number;
  readonly cap?: number;
}
/** Splits scores into f32(product) * scale + bias, or cap * tanh(f32(product) * scale / cap). */
function scoresOf(scores: Value): (ScaledScores & { readonly bias: Value | null }) | null {
  const sum = matchOp(scores, "binary");
  const sides = sum?.attrs.fn === "add" ? [[0, 1] as const, [1, 0] as const] : [];
  for (const [i, j] of sides) {
    const inner = sum && scaledProduct(item(sum.args, i));
    if (inner) return { ...inner, bias: item(sum.args, j) };
  }
  const whole = scaledProduct(scores) ?? cappedProduct(scores);
  return whole && { ...whole, bias: null };
}
function scaledProduct(v: Value): ScaledScores | null {
  const { of, scale } = scaled(v);
  const product = throughCast(of);
  return product.node.op.name === "dot" ? { product, scale } : null;
}
/** Matches c * tanh(product * m). As tanh is odd, a negative c is moved into m: the cap becomes |c|, the scale m * c. */
function cappedProduct(v: Value): ScaledScores | null {
  const { of, scale: c } = scaled(v);
  const bent = matchOp(of, "unary");
  const inner = bent?.attrs.fn === "tanh" && c !== 0 && Number.isFinite(c) ? scaledProduct(item(bent.args, 0)) : null;
  return inner && { product: inner.product, scale: inner.scale * c, cap: Math.abs(c) };
}
/** Peels multiplications and divisions by constants: v = of * scale. */
function scaled(v: Value, scale = 1): { of: Value; scale: number } {
  const times = matchOp(v, "binary");
  if (times?.attrs.fn !== "mul" && times?.attrs.fn !== "div") return { of: v, scale };
  const [x, y] = [item(times.args, 0), item(times.args, 1)];
  const [left, right] = [splatOf(x), splatOf(y)];
  if (right !== null) return scaled(x, times.attrs.fn === "div" ? scale / right : scale * right);
  return left === null || times.attrs.fn === "div" ? { of: v, scale } : scaled(y, scale * left);
}

/** Brings a value to rank 5, [batch, group, head, row, column]: rank 4 has one head per group, rank 3 a single head. */
const withHeads = (g: Builder, v: Value): Value => {
  const rank = dims(v.type).length;
  return rank === 3 ? b.expand(g, b.expand(g, v, 1), 2) : rank === 4 ? b.expand(g, v, 2) : v;
};
const axesOf: Readonly<Record<number, Axes>> = {
  3: ["b", "t", "u"],
  4: ["b", "g", "t", "u"],
  5: ["b", "g", "r", "t", "u"],
};
/** The widest q or v of rank 3 (one head, no head axis) that becomes an `attention` op: above that, no target gains by it. */
const maxSingleHeadWidth = 128;

function recognise(v: Value, g: Builder): Value | null {
  const dot = matchOp(v, "dot");
  const rank = dims(v.type).length;
  const axes = axesOf[rank];
  if (!dot || !axes || dot.args.some((x) => dims(x.type).includes(0))) return null;
  const soft = softmaxOf(g, throughCast(item(dot.args, 0)));
  const parts = soft && scoresOf(soft.scores);
  if (!soft || !parts) return null;
  const [q, turned] = parts.product.node.args.map((x) => withHeads(g, x)) as [Value, Value];
  if (dtypeOf(q.type) !== dtypeOf(v.type)) return null;
  const [keys, values] = [withoutHeadAxis(g, turned), withoutHeadAxis(g, withHeads(g, item(dot.args, 1)))];
  const shape = dims(withHeads(g, soft.scores).type);
  if (rank === 3 && Math.max(...[q, v].map((x) => dims(x.type).at(-1) ?? 0)) > maxSingleHeadWidth) return null;
  const mask: Mask | null = soft.mask ? maskOf(g, shape, soft.mask, axes) : { pairs: [], bounds: [] };
  if (!keys || !values || !mask || (!soft.guarded && !attendsToItself(mask))) return null;
  const bias = parts.bias ? [withHeads(g, parts.bias)] : [];
  const [B, G, R] = shape as [number, number, number];
  const sink = soft.sink && alignAxes(g, ...stripViews(soft.sink, axes), { b: B, g: G, r: R });
  if (soft.sink && !sink) return null;
  const places = mask.pairs.flatMap(({ at, seen }) => [at, seen]);
  const out = b.make1(g, "attention", [q, b.swap(g, keys), values, ...places, ...bias, ...(sink ? [sink] : [])], {
    scale: parts.scale,
    ...(parts.cap === undefined ? {} : { cap: parts.cap }),
    bounds: mask.bounds,
  });
  return b.reshape(g, out, dims(v.type));
}

export const attentionRule: Rule = {
  name: "softmax(q k^T * scale + bias, where: bounds) v = attention(q, k, v)",
  root: "dot",
  apply: recognise,
  examples(g) {
    const [q, k, v] = ["q", "k", "v"].map((name) => b.param(g, name, { dtype: "f32", shape: [2, 1, 3, 4] })) as [
      Value,
      Value,
      Value,
    ];
    const scores = b.mul(g, b.dot(g, q, b.swap(g, k)), 0.5);
    return rewrite(g, [b.dot(g, b.softmax(g, scores), v)], algebra);
  },
};
/** Expects a simplified graph. */
export const findAttention = (g: Builder, graph: Graph): Graph => rewriteGraph(g, graph, [...algebra, attentionRule]);
