// Recognises softmax(q k^T * scale + bias, where: mask) v, as stdlib's `attend` writes it, and makes it one op. Before differentiation.
// A mask that is not a conjunction of bounds on positions stays the composition.
import type { Builder, Graph, Value } from "../graph/node.ts";
import { valuesOf, withValues } from "../graph/walk.ts";
import type { Bound, OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { nth } from "../ops/common.ts";
import { algebra } from "../rewrite/algebra.ts";
import { madeBy, splatOf } from "../rewrite/pattern.ts";
import { type RewriteOptions, type Rule, rewrite } from "../rewrite/rule.ts";
import type { DType } from "../types/dtype.ts";
import { dims, dtypeOf } from "../types/type.ts";

/** Which axis of a score an axis of an expression runs along: sequence, group, head, query, key. null: it has size 1. */
type Axis = "b" | "g" | "r" | "t" | "u" | null;
type Axes = readonly Axis[];

/** A conjunction of bounds, and the positions they speak of; null: there are none in it. */
interface Mask {
  readonly at: Value | null;
  readonly seen: Value | null;
  readonly bounds: readonly Bound[];
}
/** at * [query's position] + seen * [key's position] + plus. */
interface Linear extends Bound {
  readonly query: Value | null;
  readonly key: Value | null;
}

/** The operand and its axes below what only repeats or moves it. */
function below(v: Value, axes: Axes): [Value, Axes] {
  const [from] = v.node.args;
  if (!from) return [v, axes];
  const broadcast = madeBy(v, "broadcast");
  if (broadcast)
    return below(
      from,
      broadcast.attrs.axes.map((a) => axes[a] ?? null),
    );
  const transpose = madeBy(v, "transpose");
  if (transpose)
    return below(
      from,
      dims(from.type).map((_, i) => axes[transpose.attrs.perm.indexOf(i)] ?? null),
    );
  if (v.node.op.name !== "reshape") return [v, axes];
  const kept = axes.filter((_, i) => dims(v.type)[i] !== 1);
  const wide = dims(from.type).filter((n) => n !== 1);
  if (
    wide.join() !==
    dims(v.type)
      .filter((n) => n !== 1)
      .join()
  )
    return [v, axes];
  let next = 0;
  return below(
    from,
    dims(from.type).map((n) => (n === 1 ? null : (kept[next++] ?? null))),
  );
}

class MaskReader {
  private readonly g: Builder;
  private readonly sequences: number;
  private readonly queries: number;
  private readonly keys: number;
  constructor(g: Builder, shape: readonly number[]) {
    this.g = g;
    [this.sequences, this.queries, this.keys] = [nth(shape, 0), nth(shape, 3), nth(shape, 4)];
  }
  /** The bounds of a mask, or null where it says something else. */
  read(v: Value, axes: Axes): Mask | null {
    const [mask, inner] = below(v, axes);
    if (splatOf(mask) === 1) return { at: null, seen: null, bounds: [] };
    const node = madeBy(mask, "binary");
    if (!node) return null;
    const [x, y] = [nth(node.args, 0), nth(node.args, 1)];
    return node.attrs.fn === "and"
      ? joined(this.read(x, inner), this.read(y, inner))
      : this.comparison(node.attrs.fn, x, y, inner);
  }
  private comparison(fn: OpAttrs["binary"]["fn"], x: Value, y: Value, axes: Axes): Mask | null {
    const order = { ge: [x, y, 0], gt: [x, y, -1], le: [y, x, 0], lt: [y, x, -1] } as const;
    if (!(fn in order)) return null;
    const [big, small, strict] = order[fn as keyof typeof order];
    const [more, less] = [
      this.side(big, axes, strict ? Math.ceil : Math.floor),
      this.side(small, axes, strict ? Math.floor : Math.ceil),
    ];
    if (!more || !less || (x.type.dtype !== "i32" && !isConstant(more) && !isConstant(less))) return null;
    // A window without end.
    if (more.plus === Number.POSITIVE_INFINITY) return { at: null, seen: null, bounds: [] };
    const bound = added(more, less, -1);
    if (!bound || !Number.isFinite(bound.plus) || Math.abs(bound.at) > 1 || Math.abs(bound.seen) > 1) return null;
    const { at, seen, plus, query, key } = bound;
    return { at: query, seen: key, bounds: [{ at, seen, plus: plus + strict }] };
  }
  /** One side of a comparison; a fraction that whole numbers are compared with is rounded to the whole number that says the same. */
  private side(v: Value, axes: Axes, round: (x: number) => number): Linear | null {
    const [x, inner] = below(v, axes);
    const number = splatOf(x);
    if (number !== null)
      return Math.abs(number) <= exact[dtypeOf(x.type)] || Math.abs(number) === Number.POSITIVE_INFINITY
        ? constant(round(number))
        : null;
    const whole = madeBy(x, "cast")?.args[0];
    return whole ? this.linear(whole, inner) : this.linear(x, inner);
  }
  private linear(v: Value, axes: Axes): Linear | null {
    const [x, inner] = below(v, axes);
    const number = splatOf(x);
    if (x.type.dtype !== "i32") return null;
    if (number !== null) return constant(number);
    const sum = madeBy(x, "binary");
    if (sum && (sum.attrs.fn === "add" || sum.attrs.fn === "sub")) {
      const [p, q] = [this.linear(nth(sum.args, 0), inner), this.linear(nth(sum.args, 1), inner)];
      if (p && q) return added(p, q, sum.attrs.fn === "add" ? 1 : -1);
    }
    return this.position(x, inner);
  }
  /** An i32 that depends on the sequence and the query, or the sequence and the key. */
  private position(x: Value, axes: Axes): Linear | null {
    const key = axes.includes("u");
    const size = key ? this.keys : this.queries;
    const wanted: Axes = ["b", key ? "u" : "t"];
    const shape = dims(x.type);
    // An axis of size 1 may have lost its name on the way: without them, the same positions are the same value.
    const wide = axes.flatMap((a, i) =>
      a === null || shape[i] === 1 ? [] : [{ place: wanted.indexOf(a), size: nth(shape, i) }],
    );
    const places = wide.map(({ place }) => place);
    if (places.some((p, i) => p < 0 || p <= (places[i - 1] ?? -1))) return null;
    const bare = b.reshape(
      this.g,
      x,
      wide.map((axis) => axis.size),
    );
    const full = b.broadcast(this.g, bare, [this.sequences, size], places);
    return key
      ? { at: 0, seen: 1, plus: 0, query: null, key: full }
      : { at: 1, seen: 0, plus: 0, query: full, key: null };
  }
}
/** Both, where they speak of the same positions. */
function joined(x: Mask | null, y: Mask | null): Mask | null {
  if (!x || !y || !agree(x.at, y.at) || !agree(x.seen, y.seen)) return null;
  return { at: x.at ?? y.at, seen: x.seen ?? y.seen, bounds: [...x.bounds, ...y.bounds] };
}
function added(x: Linear, y: Linear, sign: 1 | -1): Linear | null {
  if (!agree(x.query, y.query) || !agree(x.key, y.key)) return null;
  return {
    at: x.at + sign * y.at,
    seen: x.seen + sign * y.seen,
    plus: x.plus + sign * y.plus,
    query: x.query ?? y.query,
    key: x.key ?? y.key,
  };
}
const agree = (x: Value | null, y: Value | null): boolean => x === null || y === null || x === y;
const constant = (plus: number): Linear => ({ at: 0, seen: 0, plus, query: null, key: null });
const isConstant = ({ query, key }: Linear): boolean => query === null && key === null;
/** Up to here a comparison of rounded whole numbers with a number says what it would say of the whole numbers. */
const exact: Readonly<Record<DType, number>> = { bool: 1, bf16: 2 ** 8, f32: 2 ** 24, f64: 2 ** 53, i32: 2 ** 31 };

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
  const beyond = new Set([found.scores, found.mask ?? found.scores].map((v) => v.node));
  // of a mask that is all true, what guards rows that see nothing is left
  const masks = found.mask ? [found.mask] : [undefined, b.fill(g, 1, "bool", dims(found.scores.type))];
  const made = [...masks.map((mask) => b.softmax(g, found.scores, -1, mask)), b.softmax(g, seen, -1)];
  const which = rewrite(g, made, algebra, { beyond }).indexOf(p);
  return which < 0 ? null : { ...found, guarded: which < masks.length };
}
/** Each row sees its own position at least: both sides count from 0, and every bound holds between equals. */
const seesItself = ({ at, seen, bounds }: Mask): boolean =>
  at !== null &&
  at === seen &&
  below(at, ["b", "t"])[0].node.op.name === "iota" &&
  bounds.every((c) => c.at + c.seen >= 0 && c.plus >= 0);
/** scores = f32(product) * scale + bias. */
function partsOf(scores: Value): { product: Value; scale: number; bias: Value | null } | null {
  const sum = madeBy(scores, "binary");
  const sides = sum?.attrs.fn === "add" ? [[0, 1] as const, [1, 0] as const] : [];
  for (const [i, j] of sides) {
    const inner = sum && scaledProduct(nth(sum.args, i));
    if (inner) return { ...inner, bias: nth(sum.args, j) };
  }
  const whole = scaledProduct(scores);
  return whole && { ...whole, bias: null };
}
function scaledProduct(v: Value): { product: Value; scale: number } | null {
  const { of, scale } = scaled(v) ?? { of: v, scale: 1 };
  const product = throughCast(of);
  return product.node.op.name === "dot" ? { product, scale } : null;
}
/** v = of * scale, where it is a value times or by a number. */
function scaled(v: Value): { of: Value; scale: number } | null {
  const times = madeBy(v, "binary");
  if (times?.attrs.fn !== "mul" && times?.attrs.fn !== "div") return null;
  const [x, y] = [nth(times.args, 0), nth(times.args, 1)];
  const [left, right] = [splatOf(x), splatOf(y)];
  if (right !== null) return { of: x, scale: times.attrs.fn === "div" ? 1 / right : right };
  return left === null || times.attrs.fn === "div" ? null : { of: y, scale: left };
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
  const mask = soft.mask ? new MaskReader(g, shape).read(soft.mask, axes) : { at: null, seen: null, bounds: [] };
  if (!keys || !values || !mask || (!soft.guarded && !seesItself(mask))) return null;
  const none = (n: number): Value => b.fill(g, 0, "i32", [nth(shape, 0), n]);
  const at = mask.at ?? none(nth(shape, 3));
  const seen = mask.seen ?? none(nth(shape, 4));
  const bias = parts.bias ? [withHeads(g, parts.bias)] : [];
  const out = b.make1(g, "attention", [q, b.swap(g, keys), values, at, seen, ...bias], {
    scale: parts.scale,
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
