// Recognises softmax(q k^T * scale + bias, where: mask) v, as stdlib's `attend` writes it, and makes it one op. Before differentiation.
// So it does where scores are capped, cap * tanh(q k^T * scale / cap), without a bias.
// A mask that is not made of bounds on positions stays the composition.
import type { Builder, Graph, Value } from "../graph/node.ts";
import { valuesOf, withValues } from "../graph/walk.ts";
import * as b from "../ops/build.ts";
import { nth } from "../ops/common.ts";
import { algebra } from "../rewrite/algebra.ts";
import { madeBy, splatOf } from "../rewrite/pattern.ts";
import { type RewriteOptions, type Rule, rewrite } from "../rewrite/rule.ts";
import { dims, dtypeOf } from "../types/type.ts";
import { type Axes, along, below, type Mask, maskOf, seesItself } from "./mask.ts";

/** [B, G, R, M, N] that is the same for all R: [B, G, M, N]. */
function shared(g: Builder, v: Value): Value | null {
  const [B = 0, G = 0, R = 0, M = 0, N = 0] = dims(v.type);
  if (R === 1) return b.reshape(g, v, [B, G, M, N]);
  const node = madeBy(v, "broadcast");
  const [from] = node?.args ?? [];
  if (!node || !from || node.attrs.axes.includes(2)) return null;
  const axes = node.attrs.axes.map((a) => (a > 2 ? a - 1 : a));
  return b.broadcast(g, from, [B, G, M, N], axes);
}
const throughCast = (v: Value): Value => (v.node.op.name === "cast" ? nth(v.node.args, 0) : v);

interface Soft {
  readonly scores: Value;
  readonly mask: Value | null;
  /** What takes part in each row beside the scores, with an axis of 1 in place of theirs. */
  readonly sink: Value | null;
  /** Of a row that sees nothing it makes zeros, as attention does; if not, NaN. */
  readonly guarded: boolean;
}
/** The scores behind a softmax over the last axis, and its mask. Making the softmax of them again must give the same value. */
function softmaxOf(g: Builder, p: Value): Soft | null {
  const top = madeBy(p, "binary");
  const e = top?.attrs.fn === "div" ? madeBy(nth(top.args, 0), "unary") : null;
  const shifted = e?.attrs.fn === "exp" ? madeBy(nth(e.args, 0), "binary") : null;
  if (shifted?.attrs.fn !== "sub") return null;
  const seen = nth(shifted.args, 0);
  const select = madeBy(seen, "select");
  const masked = select && splatOf(nth(select.args, 2)) === Number.NEGATIVE_INFINITY;
  const found = masked ? { scores: nth(select.args, 1), mask: nth(select.args, 0) } : { scores: seen, mask: null };
  const sink = sinkOf(nth(p.node.args, 1));
  const beyond = new Set([found.scores, found.mask ?? found.scores, sink ?? found.scores].map((v) => v.node));
  // of a mask that is all true, what guards rows that see nothing is left
  const masks = found.mask ? [found.mask] : [undefined, b.fill(g, 1, "bool", dims(found.scores.type))];
  const made = sink
    ? [besideSink(g, seen, sink)]
    : [...masks.map((mask) => b.softmax(g, found.scores, -1, mask)), b.softmax(g, seen, -1)];
  const which = rewrite(g, made, algebra, { beyond }).indexOf(p);
  return which < 0 ? null : { ...found, sink, guarded: which < masks.length };
}
/** A softmax in which a sink takes part, as stdlib's `attend_sunk` writes it. */
function besideSink(g: Builder, seen: Value, sink: Value): Value {
  const top = b.detach(g, b.maximum(g, b.max(g, seen, [-1], true), sink));
  const e = b.exp(g, b.sub(g, seen, top));
  return b.div(g, e, b.add(g, b.sum(g, e, [-1], true), b.exp(g, b.sub(g, sink, top))));
}
/** The sink in what such a softmax divides by: sum(e) + exp(sink - top). */
function sinkOf(total: Value): Value | null {
  const sum = madeBy(below(total, [])[0], "binary");
  if (sum?.attrs.fn !== "add") return null;
  const [power] = sum.args.flatMap((x) => {
    const inner = madeBy(x, "unary");
    return inner?.attrs.fn === "exp" ? [nth(inner.args, 0)] : [];
  });
  const shifted = power && madeBy(power, "binary");
  return shifted?.attrs.fn === "sub" ? nth(shifted.args, 0) : null;
}
interface Parts {
  readonly product: Value;
  readonly scale: number;
  readonly cap?: number;
}
/** scores = f32(product) * scale + bias, or what a cap makes of f32(product) * scale. */
function partsOf(scores: Value): (Parts & { readonly bias: Value | null }) | null {
  const sum = madeBy(scores, "binary");
  const sides = sum?.attrs.fn === "add" ? [[0, 1] as const, [1, 0] as const] : [];
  for (const [i, j] of sides) {
    const inner = sum && scaledProduct(nth(sum.args, i));
    if (inner) return { ...inner, bias: nth(sum.args, j) };
  }
  const whole = scaledProduct(scores) ?? cappedProduct(scores);
  return whole && { ...whole, bias: null };
}
function scaledProduct(v: Value): Parts | null {
  const { of, scale } = scaled(v);
  const product = throughCast(of);
  return product.node.op.name === "dot" ? { product, scale } : null;
}
/** c * tanh(product * m): tanh is odd, so that the sign of c may be that of m. */
function cappedProduct(v: Value): Parts | null {
  const { of, scale: c } = scaled(v);
  const bent = madeBy(of, "unary");
  const inner = bent?.attrs.fn === "tanh" && c !== 0 && Number.isFinite(c) ? scaledProduct(nth(bent.args, 0)) : null;
  return inner && { product: inner.product, scale: inner.scale * c, cap: Math.abs(c) };
}
/** v = of * scale, where it is a value times or by numbers. */
function scaled(v: Value, scale = 1): { of: Value; scale: number } {
  const times = madeBy(v, "binary");
  if (times?.attrs.fn !== "mul" && times?.attrs.fn !== "div") return { of: v, scale };
  const [x, y] = [nth(times.args, 0), nth(times.args, 1)];
  const [left, right] = [splatOf(x), splatOf(y)];
  if (right !== null) return scaled(x, times.attrs.fn === "div" ? scale / right : scale * right);
  return left === null || times.attrs.fn === "div" ? { of: v, scale } : scaled(y, scale * left);
}

/** Heads that share no keys have rank 4, one head alone has rank 3: they are groups of one. */
const withHeads = (g: Builder, v: Value): Value => {
  const rank = dims(v.type).length;
  return rank === 3 ? b.expand(g, b.expand(g, v, 1), 2) : rank === 4 ? b.expand(g, v, 2) : v;
};
const axesOf: Readonly<Record<number, Axes>> = {
  3: ["b", "t", "u"],
  4: ["b", "g", "t", "u"],
  5: ["b", "g", "r", "t", "u"],
};
/** One head without an axis of heads may be as wide as the model; wider than this, no target is better off. */
const widestAlone = 128;

function recognise(v: Value, g: Builder): Value | null {
  const dot = madeBy(v, "dot");
  const rank = dims(v.type).length;
  const axes = axesOf[rank];
  if (!dot || !axes || dims(v.type).includes(0)) return null;
  const soft = softmaxOf(g, throughCast(nth(dot.args, 0)));
  const parts = soft && partsOf(soft.scores);
  if (!soft || !parts) return null;
  const [q, turned] = parts.product.node.args.map((x) => withHeads(g, x)) as [Value, Value];
  const [keys, values] = [shared(g, turned), shared(g, withHeads(g, nth(dot.args, 1)))];
  const shape = dims(withHeads(g, soft.scores).type);
  if (rank === 3 && Math.max(...[q, v].map((x) => dims(x.type).at(-1) ?? 0)) > widestAlone) return null;
  const mask: Mask | null = soft.mask ? maskOf(g, shape, soft.mask, axes) : { pairs: [], bounds: [] };
  if (!keys || !values || !mask || (!soft.guarded && !seesItself(mask))) return null;
  const bias = parts.bias ? [withHeads(g, parts.bias)] : [];
  const [B, G, R] = shape as [number, number, number];
  const sink = soft.sink && along(g, ...below(soft.sink, axes), { b: B, g: G, r: R });
  if (soft.sink && !sink) return null;
  const places = mask.pairs.flatMap(({ at, seen }) => [at, seen]);
  const out = b.make1(g, "attention", [q, b.swap(g, keys), values, ...places, ...bias, ...(sink ? [sink] : [])], {
    scale: parts.scale,
    ...(parts.cap === undefined ? {} : { cap: parts.cap }),
    bounds: mask.bounds,
  });
  return b.reshape(g, b.cast(g, out, dtypeOf(v.type)), dims(v.type));
}

const attentionRule: Rule = {
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
/** On a simplified graph. */
export const findAttention = (g: Builder, graph: Graph, options?: RewriteOptions): Graph =>
  withValues(graph, rewrite(g, valuesOf(graph), [...algebra, attentionRule], options));
