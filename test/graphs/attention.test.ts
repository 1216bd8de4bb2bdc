// The composition that stdlib writes becomes one op, with the same values and gradients; what is not attention stays as it is.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { gradients } from "../../compiler/gradients/differentiate.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, NdArray, Value } from "../../compiler/graph/node.ts";
import { nodesOf, valuesOf } from "../../compiler/graph/walk.ts";
import { allBounds } from "../../compiler/ops/attention.ts";
import type { Bound, OpAttrs } from "../../compiler/ops/attrs.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { simplify } from "../../compiler/rewrite/simplify.ts";
import { findAttention } from "../../compiler/transform/attention.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { dims } from "../../compiler/types/type.ts";
import { distance, filled, storesOf } from "../graphs.ts";
import { besideSink, masked, masks, readings } from "../masks.ts";

const test = suite("attention");

interface Shape {
  readonly B: number;
  readonly heads: number;
  readonly groups: number;
  readonly T: number;
  readonly U: number;
  readonly A: number;
  readonly C: number;
}
interface Case {
  readonly shape: Shape;
  /** Past: keys have positions of their own; else those of the queries, or 0 .. T if there are none. */
  readonly positions: "past" | "given" | "range";
  readonly window: number | null;
  readonly bias: boolean;
  /** Whether a factor stands before the product, and the bias before both. Default: behind. */
  readonly before?: true;
  /** `before`: what stands before the query, not the query itself. */
  readonly mask: "causal" | "before" | "all" | "true";
}
interface Attend {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly bias: Value | null;
  readonly out: Value;
}
/** stdlib's `attend` and `causal`, as the checker elaborates them. */
function attend(g: GraphBuilder, { shape: { B, heads, groups, T, U, A, C }, ...c }: Case): Attend {
  const at = (name: string, shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const positions = (name: string, n: number): Value =>
    c.positions === "range"
      ? b.broadcastTo(g, b.iota(g, n), [B, n])
      : b.param(g, name, { dtype: "i32", shape: [B, n] });
  const [q, k, v] = [at("q", [B, heads, T, A]), at("k", [B, groups, U, A]), at("v", [B, groups, U, C])];
  const query = positions("at", T);
  const seen = c.positions === "past" ? b.broadcastTo(g, b.iota(g, U), [B, U]) : positions("at", U);
  const five = b.reshape(g, q, [B, groups, heads / groups, T, A]);
  const product = b.matmul(g, five, b.expand(g, b.swap(g, k), 2));
  const scale = 1 / Math.sqrt(A);
  const scaled = c.before ? b.div(g, b.mul(g, 3 * scale, product), 3) : b.mul(g, product, scale);
  const bias = c.bias ? at("bias", [B, heads, T, U]) : null;
  const added = bias ?? b.broadcastTo(g, b.constant(g, 0, "f32"), [B, heads, T, U]);
  const other = b.reshape(g, added, dims(product.type));
  const score = c.before ? b.add(g, other, scaled) : b.add(g, scaled, other);
  const p = b.softmax(g, score, -1, maskOf(g, c, query, seen));
  return { q, k, v, bias, out: b.reshape(g, b.matmul(g, p, b.expand(g, v, 2)), [B, heads, T, C]) };
}
function maskOf(g: GraphBuilder, c: Omit<Case, "shape">, at: Value, seen: Value): Value | undefined {
  if (c.mask === "all") return undefined;
  if (c.mask === "true") return b.broadcastTo(g, b.constant(g, 1, "bool"), [1]);
  const [q, k] = [b.expand(g, at, 2), b.expand(g, seen, 1)];
  if (c.mask === "before") return b.expand(g, b.expand(g, b.and(g, b.gt(g, k, -1), b.gt(g, q, k)), 1), 1);
  const near = b.lt(g, b.sub(g, q, k), c.window ?? Number.POSITIVE_INFINITY);
  const causal = b.and(g, b.and(g, b.ge(g, k, 0), b.le(g, k, q)), near);
  return b.expand(g, b.expand(g, causal, 1), 1);
}

function check(c: Case): void {
  const g = new GraphBuilder(ops);
  const { q, k, v, bias, out } = attend(g, c);
  const plain = simplify(g, { name: "attend", results: [{ role: "output", name: "0", value: out }] });
  const found = findAttention(g, plain);
  assert.ok(isOne(found));
  const stores = storesOf(valuesOf(plain));
  const { B, T } = c.shape;
  stores.set("at", {
    dtype: "i32",
    shape: [B, T],
    data: Float64Array.from({ length: B * T }, (_, i) =>
      i % T === T - 1 && T > 2 ? -1 : (i % T) + (c.positions === "past" ? 1 : 0),
    ),
  });
  const seed = b.param(g, "seed", out.type);
  stores.set("seed", filled("seed", "f32", dims(out.type)));
  const wrt = [q, k, v, ...(bias ? [bias] : [])];
  const [before, after] = [plain, found].map((graph) => {
    const [value] = valuesOf(graph) as [Value];
    return simplify(
      g,
      {
        name: "step",
        results: [value, ...gradients(g, [value], wrt, [seed])].map((x, i) => ({
          role: "output",
          name: String(i),
          value: x,
        })),
      },
      true,
    );
  }) as [Graph, Graph];
  const [one, two] = [before, after].map((graph) => interpret(valuesOf(graph), stores, { exact: true })) as [
    NdArray[],
    NdArray[],
  ];
  one.forEach((x, i) => assert.ok(distance(x.data, two[i]?.data ?? []) < 1e-12, `result ${i} of ${JSON.stringify(c)}`));
  if (!c.bias) noBuffers(after, c.shape);
}
const isOne = (graph: Graph): boolean => nodesOf(graph).some((n) => n.op.name === "attention");
/** No scores are computed outside of the ops. */
function noBuffers(graph: Graph, { T, U }: Pick<Shape, "T" | "U">): void {
  for (const node of nodesOf(graph))
    for (const { type } of node.results)
      assert.not(type.shape.length > 2 && dims(type).slice(-2).join() === `${T},${U}`, node.op.name);
}

const usual: Case = {
  shape: { B: 2, heads: 4, groups: 2, T: 5, U: 5, A: 3, C: 4 },
  positions: "range",
  window: null,
  bias: false,
  mask: "causal",
};
const cases: Record<string, Case> = {
  causal: usual,
  "positions given": { ...usual, positions: "given" },
  "positions given, one sequence": { ...usual, positions: "given", shape: { ...usual.shape, B: 1 } },
  "a window": { ...usual, window: 2 },
  "a window of a fraction": { ...usual, window: 2.5 },
  "a past": { ...usual, positions: "past", shape: { ...usual.shape, U: 7 } },
  "one query, one sequence, a past": { ...usual, positions: "past", shape: { ...usual.shape, T: 1, U: 7, B: 1 } },
  "heads of their own": { ...usual, shape: { ...usual.shape, groups: 4 } },
  "one group": { ...usual, shape: { ...usual.shape, groups: 1 } },
  "a bias": { ...usual, bias: true, positions: "given" },
  "a bias, and a factor, before the product": { ...usual, bias: true, positions: "given", before: true },
  "keys before the query": { ...usual, mask: "before", positions: "given" },
  "no mask": { ...usual, mask: "all" },
  "a mask that is all true": { ...usual, mask: "true" },
};
for (const [name, c] of Object.entries(cases)) test(name, () => check(c));

for (const [i, mask] of Object.keys({ ...masks, ...readings }).entries())
  test(`${mask}: the same values and gradients`, () => {
    const shape = { B: 2, G: 1, R: 2, T: 23, U: 26, A: 3, C: 2 };
    const [written, found] = masked(mask, {
      shape,
      dtype: "f32",
      scale: -0.5,
      sunk: i % 2 === 0,
      cap: [undefined, 0.7, -2][i % 3],
    });
    noBuffers(found, shape);
    for (const { at, seen } of boundsOf(found)) assert.ok(Math.abs(at) <= 1 && Math.abs(seen) <= 1);
    const stores = storesOf(valuesOf(written));
    const [one, two] = [written, found].map((graph) => interpret(valuesOf(graph), stores, { exact: true }));
    one?.forEach((x, i) => assert.ok(distance(x.data, two?.[i]?.data ?? []) < 1e-12, `result ${i}`));
  });
const boundsOf = (graph: Graph): Bound[] =>
  nodesOf(graph).flatMap(({ op, attrs }) =>
    op.name === "attention" ? allBounds((attrs as OpAttrs["attention"]).bounds) : [],
  );
test("a comparison in a conjunction is a bound, not an alternative of one", () => {
  const shape = { B: 1, G: 1, R: 1, T: 5, U: 5, A: 3, C: 2 };
  const [, found] = masked("not after, nor far", { shape, dtype: "f32", scale: 1, sunk: false, cap: undefined });
  const [node] = nodesOf(found).filter(({ op }) => op.name === "attention");
  assert.ok(node);
  assert.ok((node.attrs as OpAttrs["attention"]).bounds.every((clause) => !("any" in clause)));
});
/** Whether one head of 5 queries and keys of some width, and values of another, stays the composition. */
function stays(of: (g: GraphBuilder, q: Value, k: Value) => Value, width = 3, values = 3): boolean {
  const g = new GraphBuilder(ops);
  const mask = of(g, b.expand(g, b.iota(g, 5), 1), b.expand(g, b.iota(g, 5), 0));
  const p = (name: string, n: number): Value => b.param(g, name, { dtype: "f32", shape: [2, 5, n] });
  const scores = b.matmul(g, p("q", width), b.swap(g, p("k", width)));
  const out = b.matmul(g, b.softmax(g, scores, -1, mask), p("v", values));
  return !isOne(findAttention(g, simplify(g, { name: "stays", results: [{ role: "output", name: "0", value: out }] })));
}
const others = (g: GraphBuilder, q: Value, k: Value, most: number): Value =>
  [...Array(most).keys()].map((n) => b.ne(g, b.sub(g, q, k), n)).reduce((x, y) => b.and(g, x, y));
test("capped scores with a bias, or a quotient by scores, stay the composition, and a cap of 0 or infinity is none", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const found = (scores: Value): boolean => {
    const value = b.matmul(g, b.softmax(g, scores, -1), p("v", 2, 5, 3));
    return isOne(findAttention(g, simplify(g, { name: "capped", results: [{ role: "output", name: "0", value }] })));
  };
  const bent = b.tanh(g, b.matmul(g, p("q", 2, 5, 3), b.swap(g, p("k", 2, 5, 3))));
  assert.ok(found(bent));
  assert.not(found(b.add(g, b.mul(g, bent, 3), p("bias", 2, 5, 5))));
  for (const cap of [0, Number.POSITIVE_INFINITY]) assert.not(found(b.mul(g, bent, cap)));
  assert.not(found(b.div(g, 2, bent.node.args[0] as Value)));
  const args = [p("q", 1, 1, 1, 5, 3), p("k", 1, 1, 5, 3), p("v", 1, 1, 5, 3)];
  assert.throws(() => b.make(g, "attention", args, { scale: 1, cap: 0, bounds: [] }), /a cap above 0, not 0/);
  const biased = [...args, p("bias", 1, 1, 1, 5, 5)];
  assert.throws(() => b.make(g, "attention", biased, { scale: 1, cap: 2, bounds: [] }), /no bias beside a cap/);
});
const within = (g: GraphBuilder, q: Value, k: Value, most: number): Value =>
  b.lt(g, b.cast(g, b.sub(g, q, k), "f32"), most);
/** Pairs of query and key that are equal in each of `n` numbers, after a condition on a key and one on the query of another pair. */
function alike(g: GraphBuilder, n: number): Value {
  const of = (name: string, i: number, axis: number): Value =>
    b.expand(g, b.param(g, `${name} ${i}`, { dtype: "i32", shape: [5] }), axis);
  const equal = Array.from({ length: n }, (_, i) => b.eq(g, of("query", i, 1), of("key", i, 0)));
  return [b.ge(g, of("key", 1, 0), 0), b.ge(g, of("query", 0, 1), 0), ...equal].reduce((x, y) => b.and(g, x, y));
}
test("a mask of more bounds or positions than are worth it, or of products of positions, stays the composition", () => {
  assert.equal([stays((g) => alike(g, 6)), stays((g) => alike(g, 7))], [false, true]);
  assert.not(stays((g, q, k) => others(g, q, k, 8)));
  assert.ok(stays((g, q, k) => others(g, q, k, 9)));
  assert.ok(stays((g, q, k) => b.lt(g, b.mul(g, q, k), 7)));
  assert.ok(stays((g, q, k) => b.lt(g, b.sub(g, q, k), 2 ** 30)));
  assert.not(stays((g, q, k) => within(g, q, k, 2 ** 24)));
  assert.ok(stays((g, q, k) => within(g, q, k, 2 ** 25))); // f32 has not all whole numbers here
  assert.ok(stays((g, q, k) => b.ge(g, b.cast(g, q, "f32"), b.cast(g, k, "f32"))));
  assert.ok(stays((g, q, k) => b.ne(g, b.cast(g, b.sub(g, q, k), "bf16"), 256))); // which 257 is too
  assert.ok(
    stays((g, q) => b.ge(g, q, b.expand(g, b.swap(g, b.param(g, "turned", { dtype: "i32", shape: [5, 2] })), 1))),
  );
});

test("values that each head of a group has, but all groups alike, stay the composition", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const scores = b.matmul(g, p("q", 2, 3, 4, 5, 3), b.swap(g, b.expand(g, p("k", 2, 3, 5, 3), 2)));
  const found = (...v: Parameters<typeof b.broadcast>): boolean => {
    const value = b.matmul(g, b.softmax(g, scores, -1), b.broadcast(...v));
    return isOne(findAttention(g, simplify(g, { name: "heads", results: [{ role: "output", name: "0", value }] })));
  };
  const shape = [2, 3, 4, 5, 3];
  assert.ok(found(g, p("v", 2, 3, 5, 3), shape, [0, 1, 3, 4]));
  assert.ok(found(g, p("w", 5, 3), shape, [3, 4]));
  assert.not(found(g, p("u", 2, 4, 5, 3), shape, [0, 2, 3, 4]));
});
/** Whether attention of keys and values of these dtypes, `n` of them, becomes one op. */
function foundOf(keys: DType, values: DType, n = 5): boolean {
  const g = new GraphBuilder(ops);
  const p = (name: string, dtype: DType, rows: number): Value => b.param(g, name, { dtype, shape: [2, rows, 3] });
  const scores = b.cast(g, b.matmul(g, p("q", keys, 5), b.swap(g, p("k", keys, n))), "f32");
  const value = b.matmul(g, b.cast(g, b.softmax(g, scores, -1), values), p("v", values, n));
  return isOne(findAttention(g, simplify(g, { name: "dtypes", results: [{ role: "output", name: "0", value }] })));
}
test("values of another dtype than keys, and no keys, stay the composition", () => {
  assert.equal([foundOf("bf16", "bf16"), foundOf("f32", "bf16"), foundOf("bf16", "f32")], [true, false, false]);
  assert.equal([foundOf("f32", "f32"), foundOf("f32", "f32", 0)], [true, false]);
});
test("hidden scores that are finite, and a sink for each query, stay the composition", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const scores = b.matmul(g, p("q", 2, 3, 4, 5, 3), b.swap(g, b.expand(g, p("k", 2, 3, 5, 3), 2)));
  const found = (weights: Value): boolean => {
    const value = b.matmul(g, weights, b.expand(g, p("v", 2, 3, 5, 3), 2));
    return isOne(findAttention(g, simplify(g, { name: "stays", results: [{ role: "output", name: "0", value }] })));
  };
  const mask = b.le(g, b.expand(g, b.iota(g, 5), 0), b.expand(g, b.iota(g, 5), 1));
  const hidden = (by: number): boolean => found(b.softmax(g, b.where(g, mask, scores, by), -1));
  assert.equal([Number.NEGATIVE_INFINITY, -1e9].map(hidden), [true, false]);
  const sunk = (...shape: number[]): boolean => found(besideSink(g, scores, p("sink", ...shape)));
  assert.equal([sunk(3, 4, 1, 1), sunk(3, 4, 5, 1)], [true, false]);
});
const wideStays = (width: number, values: number): boolean => stays((g, q, k) => b.le(g, k, q), width, values);
test("one head that is wide stays the composition", () =>
  assert.equal([wideStays(128, 128), wideStays(129, 128), wideStays(128, 129)], [false, true, true]));
/** x + x, and the same of that, forty times. */
const doubled = (g: GraphBuilder, x: Value): Value =>
  Array.from({ length: 40 }).reduce<Value>((y) => b.add(g, y, y), x);
test("positions that double over and over are read in no time", () => {
  assert.not(stays((g, q, k) => b.le(g, k, doubled(g, q))));
});

/** As a tutorial writes it: softmax(where(mask, q k^T / sqrt(A), -inf)) v, of heads side by side or of one alone. */
function byHand(g: GraphBuilder, shape: readonly number[], at: Value, seen = b.le): Graph {
  const [q, k, v] = ["q", "k", "v"].map((name) => b.param(g, name, { dtype: "f32", shape })) as [Value, Value, Value];
  const score = b.div(g, b.matmul(g, q, b.swap(g, k)), Math.sqrt(shape.at(-1) ?? 1));
  const mask = seen(g, b.expand(g, at, 0), b.expand(g, at, 1));
  const p = b.softmax(g, b.where(g, mask, score, Number.NEGATIVE_INFINITY), -1);
  return simplify(g, { name: "hand", results: [{ role: "output", name: "0", value: b.matmul(g, p, v) }] });
}
const sumIsNone: typeof b.le = (g, x, y) => b.ge(g, b.add(g, x, y), 0);
for (const shape of [
  [2, 4, 5, 3],
  [2, 5, 3],
])
  test(`by hand, [${shape.join()}]`, () => {
    const g = new GraphBuilder(ops);
    const plain = byHand(g, shape, b.iota(g, 5));
    const found = findAttention(g, plain);
    assert.ok(isOne(found));
    const stores = storesOf(valuesOf(plain));
    const [one, two] = [plain, found].map((graph) => interpret(valuesOf(graph), stores, { exact: true })[0]);
    assert.ok(distance(one?.data ?? [], two?.data ?? []) < 1e-12);
    // A row that sees nothing is NaN here, and zeros in attention: any row that does not see itself may be one.
    const given = b.param(g, "at", { dtype: "i32", shape: [5] });
    assert.ok(isOne(findAttention(g, byHand(g, shape, given))));
    assert.ok(isOne(findAttention(g, byHand(g, shape, b.iota(g, 5), sumIsNone))));
    for (const seen of [b.lt, sumIsNone]) assert.not(isOne(findAttention(g, byHand(g, shape, given, seen))));
  });
test.run();
