// Attention masks as programs write them, by arithmetic on positions, and graphs of attention with each of them.
import * as assert from "uvu/assert";
import { gradients } from "../compiler/gradients/differentiate.ts";
import { GraphBuilder } from "../compiler/graph/builder.ts";
import { interpret } from "../compiler/graph/interpret.ts";
import type { Graph, NdArray, Value } from "../compiler/graph/node.ts";
import { valuesOf } from "../compiler/graph/walk.ts";
import type { Clause } from "../compiler/ops/attrs.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import { simplify } from "../compiler/rewrite/simplify.ts";
import { findAttention } from "../compiler/transform/attention.ts";
import type { DType } from "../compiler/types/dtype.ts";
import { distance, ndarray, storesOf } from "./graphs.ts";

/** The positions of queries (i32[B, T, 1]) and keys (i32[B, 1, U]); `given` makes a parameter with one element for each query, key or sequence. */
export interface Sides {
  readonly g: GraphBuilder;
  readonly q: Value;
  readonly k: Value;
  readonly given: (name: string, of: "query" | "key" | "sequence", dtype?: DType) => Value;
}
const causal = ({ g, q, k }: Sides): Value => b.le(g, k, q);
const near = ({ g, q, k }: Sides, width: number): Value => b.lt(g, b.sub(g, q, k), width);
const apart = (g: GraphBuilder, x: Value, y: Value, most: number): Value => b.le(g, b.abs(g, b.sub(g, x, y)), most);
const all = (g: GraphBuilder, ...list: readonly Value[]): Value => list.reduce((x, y) => b.and(g, x, y));

export const masks: Readonly<Record<string, (s: Sides) => Value>> = {
  documents: (s) => all(s.g, b.eq(s.g, b.idiv(s.g, s.q, 21), b.idiv(s.g, s.k, 21)), causal(s)),
  "documents in any order": (s) => all(s.g, b.eq(s.g, s.given("doc", "query"), s.given("kind", "key")), causal(s)),
  "rows and columns": ({ g, q, k }) =>
    all(g, apart(g, b.idiv(g, q, 9), b.idiv(g, k, 9), 1), apart(g, b.rem(g, q, 9), b.rem(g, k, 9), 2)),
  "valid keys": (s) => all(s.g, s.given("valid", "key", "bool"), causal(s)),
  dilation: (s) => all(s.g, b.eq(s.g, b.rem(s.g, s.q, 3), b.rem(s.g, s.k, 3)), causal(s)),
  "first keys and a window": (s) => all(s.g, causal(s), b.or(s.g, near(s, 7), b.lt(s.g, s.k, 4))),
  "a prefix": (s) => b.or(s.g, causal(s), b.lt(s.g, s.k, 11)),
  "a prefix of each sequence": (s) => b.or(s.g, causal(s), b.lt(s.g, s.k, s.given("long", "sequence"))),
  "global tokens": ({ g, q, k }) => b.or(g, b.or(g, apart(g, q, k, 3), b.lt(g, q, 2)), b.lt(g, k, 2)),
  "others only": ({ g, q, k }) => b.ne(g, q, k),
  "not after, nor far": (s) => b.not(s.g, b.or(s.g, b.gt(s.g, s.k, s.q), b.not(s.g, near(s, 5)))),
  "one thing or another": (s) => b.where(s.g, b.lt(s.g, s.q, 9), causal(s), near(s, 3)),
  "from where a document begins": (s) => all(s.g, b.ge(s.g, s.k, b.sub(s.g, s.q, b.rem(s.g, s.q, 21))), causal(s)),
  "from a place of each query": (s) =>
    all(s.g, b.ge(s.g, s.k, b.maximum(s.g, b.mul(s.g, s.given("since", "query"), 11), 0)), causal(s)),
  "by what is no place": (s) => all(s.g, b.lt(s.g, s.given("score", "key", "f32"), 0.5), causal(s)),
};

/** More masks for testing how masks are recognised; for kernels they are like some of `masks`. */
export const readings: typeof masks = {
  "less than a difference": (s) => b.le(s.g, s.k, b.sub(s.g, s.q, s.given("doc", "query"))),
  "a difference less than a number": (s) => b.le(s.g, b.sub(s.g, b.sub(s.g, s.k, s.q), s.given("doc", "query")), 0),
  "more than a fraction": (s) => b.gt(s.g, b.cast(s.g, b.sub(s.g, s.q, s.k), "f32"), 2.5),
  "near another place": ({ g, q, k }) => apart(g, b.add(g, q, 2), k, 4),
  "the higher of two": (s) => b.ge(s.g, b.maximum(s.g, s.q, b.sub(s.g, s.k, 5)), 9),
  "the lower of two": (s) => b.le(s.g, b.minimum(s.g, s.q, b.sub(s.g, s.k, 5)), 9),
  "half as far": (s) => b.le(s.g, b.add(s.g, s.k, s.k), b.add(s.g, s.q, 9)),
  "neither one thing nor another": (s) => b.not(s.g, b.where(s.g, b.lt(s.g, s.q, 9), causal(s), near(s, 3))),
  "not from some places before": (s) => all(s.g, b.not(s.g, b.ge(s.g, b.sub(s.g, s.q, s.k), 3)), causal(s)),
  "with keys first": ({ g, q, k }) =>
    b.transpose(g, b.le(g, b.transpose(g, k, [2, 0, 1]), b.transpose(g, q, [2, 0, 1])), [1, 2, 0]),
  "keys that are not valid": (s) => all(s.g, b.not(s.g, s.given("valid", "key", "bool")), causal(s)),
};

/** The bounds of a mask on pair `pair` of positions: no key after the query, and either one of the first 4 keys or at most 6 before the query. */
export const firstAndNear = (pair: number): readonly Clause[] => [
  { at: 1, seen: -1, plus: 0, pair },
  { any: [[{ at: -1, seen: 1, plus: 6, pair }], [{ at: 0, seen: -1, plus: 3, pair }]] },
];
/** Softmax weights with an attention sink, computed as by `attend_sunk` of stdlib. */
export function besideSink(g: GraphBuilder, seen: Value, sink: Value): Value {
  const top = b.detach(g, b.maximum(g, b.max(g, seen, [-1], true), sink));
  const e = b.exp(g, b.sub(g, seen, top));
  return b.div(g, e, b.add(g, b.sum(g, e, [-1], true), b.exp(g, b.sub(g, sink, top))));
}
export interface Masked {
  readonly shape: Readonly<Record<"B" | "G" | "R" | "T" | "U" | "A" | "C", number>>;
  readonly dtype: DType;
  readonly scale: number;
  /** Whether each head has an attention sink. */
  readonly sunk?: boolean;
  /** If given, scores are `cap * tanh(score / cap)`. */
  readonly cap?: number | undefined;
}
/** softmax(q k^T * scale, where: mask) v with its gradients: once as written, and once with the op `attention` found in it. */
export function masked(
  mask: string,
  { shape, dtype, scale, sunk = false, cap }: Masked,
): readonly [written: Graph, found: Graph] {
  const g = new GraphBuilder(ops);
  const { B, G, R, T, U, A, C } = shape;
  const p = (name: string, ...axes: readonly number[]): Value => b.param(g, name, { dtype, shape: axes });
  const [q, k, v] = [p("q", B, G, R, T, A), p("k", B, G, U, A), p("v", B, G, U, C)];
  const axes = { query: [B, T, 1], key: [B, 1, U], sequence: [B, 1, 1] } as const;
  const given: Sides["given"] = (name, of, as = "i32") =>
    b.reshape(g, b.param(g, name, { dtype: as, shape: axes[of].filter((n, i) => i === 0 || n > 1) }), axes[of]);
  const places = (n: number, of: "query" | "key"): Value =>
    b.reshape(g, b.broadcastTo(g, b.iota(g, n), [B, n]), axes[of]);
  const allowed = (masks[mask] ?? readings[mask])?.({ g, q: places(T, "query"), k: places(U, "key"), given });
  if (!allowed) throw new Error(`no mask ${mask}`);
  const scaled = b.mul(g, b.cast(g, b.matmul(g, q, b.expand(g, b.swap(g, k), 2)), "f32"), scale);
  const scores = cap === undefined ? scaled : b.mul(g, b.tanh(g, b.div(g, scaled, cap)), cap);
  const open = b.expand(g, b.expand(g, allowed, 1), 1);
  const sink = b.param(g, "sink", { dtype: "f32", shape: [G, R] });
  const weights = sunk
    ? besideSink(g, b.where(g, open, scores, Number.NEGATIVE_INFINITY), b.expand(g, b.expand(g, sink, 2), 2))
    : b.softmax(g, scores, -1, open);
  const out = b.matmul(g, b.cast(g, weights, dtype), b.expand(g, v, 2));
  const plain = simplify(g, { name: "masked", results: [{ role: "output", name: "0", value: out }] });
  const seed = p("seed", B, G, R, T, C);
  return [plain, findAttention(g, plain)].map((graph) => {
    const [y] = valuesOf(graph) as [Value];
    const results = [y, ...gradients(g, [y], [q, k, v, ...(sunk ? [sink] : [])], [seed])];
    const named = results.map((value, i) => ({ role: "output", name: String(i), value }) as const);
    return simplify(g, { name: "masked", results: named }, true);
  }) as [Graph, Graph];
}
/** Stores for a masked graph in which scores are up to some 30 `times` as large as the scale. */
export function enormous(graph: Graph, times: number): Map<string, NdArray> {
  const stores = storesOf(valuesOf(graph));
  for (const name of ["q", "k"]) {
    const { dtype, shape, data } = stores.get(name) as NdArray;
    stores.set(
      name,
      ndarray(
        dtype,
        shape,
        data.map((x) => x * Math.sqrt(times)),
      ),
    );
  }
  return stores;
}
/** Fails if what kernels gave for `enormous` scores is not as the interpreter has it, up to rounding of bf16. */
export function compareEnormous(what: string, graph: Graph, times: number, got: readonly Float64Array[] = []): void {
  const given = Math.sqrt(times); // gradients of q and k are sums of numbers as large as k and q
  interpret(valuesOf(graph), enormous(graph, times), { exact: true }).forEach(({ data }, r) => {
    const most = Math.max(r === 1 || r === 2 ? given : 0, ...data.map(Math.abs));
    const off = distance(data, got[r] ?? []);
    assert.ok(off <= most * 2 ** -6, `${what}, ${times} times, result ${r}: off by ${off} of ${most}`);
  });
}
