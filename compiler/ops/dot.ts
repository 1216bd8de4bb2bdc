// The op `dot`: batched matrix products, and sums of several of them.
import type { Builder, Mapped, NdArray, Node, OpSharding, Placement, Routing, Value, Workers } from "../graph/node.ts";
import { item } from "../item.ts";
import { product } from "../types/numbers.ts";
import { equal, equalAll } from "../types/size.ts";
import { count, dims, dtypeOf, showType, type Type, type } from "../types/type.ts";
import { none } from "./attrs.ts";
import * as b from "./build.ts";
import { at, define, need, needFloat, needSame, one, resultCount, sample } from "./common.ts";
import { dependsOnStore, inSpace, lift, maskPadding, type Space, spaceOf } from "./mapped.ts";
import { depthOf, operandPairs } from "./pairs.ts";
import { isSharded, partial, replicated, type Sharded, satisfies, sharded, shardedForSum } from "./sharding.ts";

export const dot = define<"dot">({
  name: "dot",
  doc: "(a [...B, M, K], b [...B, K, N], and any more pairs) -> [...B, M, N]: the sum of a @ b over the pairs, summed in f32 or wider",
  lower: "tile",
  infer(args) {
    const products = operandPairs(args).map(([a, c]) => productOf(a, c));
    for (const y of products) needSame("a sum of products", one(products), y);
    return [one(products)];
  },
  eval(args) {
    const [a, c] = one(operandPairs(args));
    const rows = product(a.shape.slice(0, -1));
    const out = new Float64Array(rows * (c.shape.at(-1) ?? 1));
    for (const [x, y] of operandPairs(args)) addProduct(out, x, y, a.shape.at(-2) ?? 1);
    return [out];
  },
  vjp({ args }, [dz], g) {
    if (!dz) return args.map(() => null);
    const turned = b.swap(g, dz);
    return operandPairs(args).flatMap(([x, y]) => [
      b.isTransposed(x) ? b.swap(g, b.dot(g, y, turned)) : b.dot(g, dz, b.swap(g, y)),
      b.isTransposed(y) ? b.swap(g, b.dot(g, turned, x)) : b.dot(g, b.swap(g, x), dz),
    ]);
  },
  shard: leastMovedSharding,
  mapped(args, _, g) {
    const space = spaceOf(args);
    const products = operandPairs(args).map(([x, y]) => mappedDot(g, x, y, space));
    return [inSpace(space, b.addAll(g, products))];
  },
  flops: (node) => 2 * resultCount(node) * depthOf(node),
  samples: (g) =>
    [
      { a: [3, 7], b: [7, 5] },
      { a: [2, 1, 4], b: [2, 4, 3] },
      { a: [4, 0], b: [0, 2] },
      { a: [1, 17], b: [17, 1] },
    ]
      .map((s) => b.make(g, "dot", [sample(g, "f32", s.a, "a"), sample(g, "f32", s.b, "b")], none))
      .concat(
        [
          [1, 7],
          [33, 40],
          [40, 48, 72],
          [16, 33, 5],
          [0, 5],
        ].map((depths) => sumOfProducts(g, depths)),
      ),
});
/** For samples: a dot that sums products with these depths (lengths of the contracted axis). */
function sumOfProducts(g: Builder, depths: readonly number[]): Node {
  const args = depths.flatMap((k, i) => [sample(g, "f32", [5, k], `a${i}`), sample(g, "f32", [k, 6], `b${i}`)]);
  return b.make(g, "dot", args, none);
}
interface ProductSharding {
  readonly args: readonly [Placement, Placement];
  readonly result: Placement;
}
/**
 * The placements of both operands and of the product where operand `side` (0: left, 1: right) is sharded so: along the batch, the rows, the columns,
 * or the depth, where the product is a partial sum.
 */
function productSharding({ axis, sharding }: Sharded, side: 0 | 1, rank: number, workers: Workers): ProductSharding {
  const [rows, last] = [rank - 2, rank - 1];
  if (axis < rows) return { args: [sharded(axis, sharding), sharded(axis, sharding)], result: sharded(axis, sharding) };
  const isDepth = side === 0 ? axis === last : axis === rows;
  if (isDepth)
    return {
      args: [shardedForSum(last, sharding), shardedForSum(rows, sharding)],
      result: partial("sum", sharding, workers),
    };
  return {
    args: side === 0 ? [sharded(axis, sharding), replicated] : [replicated, sharded(axis, sharding)],
    result: sharded(axis, sharding),
  };
}
/** Each operand that is sharded suggests one way; this is the one that moves the fewest elements between workers. */
function leastMovedSharding(node: Node, args: readonly Placement[], workers: Workers): OpSharding<typeof none> | null {
  const [rank, made] = [dims(one(node.args).type).length, count(one(node.results).type)];
  const ways = args.flatMap((p, i) => (isSharded(p) ? [productSharding(p, i % 2 === 0 ? 0 : 1, rank, workers)] : []));
  const moved = ({ args: to, result }: ProductSharding): number =>
    node.args.reduce(
      (n, { type }, i) => n + (satisfies(item(args, i), item(to, i % 2)) ? 0 : count(type)),
      result.kind === "partial" ? made : 0,
    );
  const [least] = ways.toSorted((p, q) => moved(p) - moved(q));
  return least ? { args: args.map((_, i) => item(least.args, i % 2)), results: [least.result] } : null;
}
function productOf(a: Type, c: Type): Type {
  needFloat("`@`", a);
  const [rank, k] = [a.shape.length, a.shape.at(-1)];
  const fits =
    rank >= 2 && c.shape.length === rank && a.dtype === c.dtype && equalAll(a.shape.slice(0, -2), c.shape.slice(0, -2));
  need(
    fits && equal(k ?? 0, item(c.shape, rank - 2)),
    () => `\`@\` needs [...B, M, K] and [...B, K, N] of one dtype, not ${showType(a)} and ${showType(c)}`,
  );
  return type(a.dtype, a.shape.with(rank - 1, item(c.shape, rank - 1)));
}
/** out += a @ c for each matrix of the batch; those of `a` have m rows. */
function addProduct(out: Float64Array, a: NdArray, c: NdArray, m: number): void {
  const [k, n] = [a.shape.at(-1) ?? 1, c.shape.at(-1) ?? 1];
  for (let row = 0; row * n < out.length; row++) {
    const right = Math.floor(row / m) * k * n;
    for (let i = 0; i < k; i++) accumulate(out, row * n, at(a, row * k + i), c.data, right + i * n, n);
  }
}
/** out[place + i] += factor * from[start + i] for i < n. */
export function accumulate(
  out: Float64Array,
  place: number,
  factor: number,
  from: Float64Array,
  start: number,
  n: number,
): void {
  for (let j = 0; j < n; j++) out[place + j] = (out[place + j] ?? 0) + factor * (from[start + j] ?? 0);
}

function mappedDot(g: Builder, x: Mapped, y: Mapped, space: Space): Value {
  if (y.kind === "uniform") return matmulUniform(g, lift(g, x, space), y.value, space);
  if (x.kind === "uniform") return b.swap(g, matmulUniform(g, b.swap(g, lift(g, y, space)), b.swap(g, x.value), space));
  const [left, right] = [x, y].map((m) => dims(m.value.type).length);
  if (left === 3 && right === 3 && space.kind === "rows" && !space.by.outer) {
    if (x.kind === "rows" && y.kind === "each") return matmulPerGroup(g, x.value, y.value, space.by.offsets);
    if (x.kind === "each" && y.kind === "rows")
      return b.swap(g, matmulPerGroup(g, b.swap(g, y.value), b.swap(g, x.value), space.by.offsets));
  }
  const isOuter = space.kind === "rows" && space.by.outer && !(y.kind === "rows" && y.by === space.by);
  if (isOuter) return matmulPerOuter(g, x, y, space.by);
  return b.dot(g, lift(g, x, space), lift(g, y, space));
}
/** Rows [R, ...B, m, K] of a nested mixture times matrices [E, ...B, K, N], one for each outer expert; each of the batch B is its own product. */
function matmulPerOuter(g: Builder, x: Mapped, y: Mapped, by: Routing): Value {
  const shape = dims(x.value.type);
  if (shape.length === 3) return timesOuterMatrix(g, x, y, by);
  const [n, batch, last] = [item(shape, 0), shape.slice(1, -2), item(dims(y.value.type), shape.length - 1)];
  const products = product(batch);
  const part = (m: Mapped, i: number): Mapped => {
    const [first = 0, ...own] = dims(m.value.type);
    const flat = b.reshape(g, m.value, [first, products, ...own.slice(-2)]);
    return { ...m, value: b.squeeze(g, b.slice(g, flat, 1, i, 1), 1) };
  };
  const none = b.fill(g, 0, dtypeOf(x.value.type), [n, 0, item(shape, shape.length - 2), last]);
  const parts = Array.from({ length: products }, (_, i) => {
    const made = timesOuterMatrix(g, part(x, i), part(y, i), by);
    return b.reshape(g, made, [n, 1, ...dims(made.type).slice(1)]);
  });
  return b.reshape(g, b.concat(g, [none, ...parts], 1), [...shape.slice(0, -1), last]);
}
/** The same without a batch. An outer expert's inner groups are adjacent, so a ragged_dot over outer groups does it. */
function timesOuterMatrix(g: Builder, x: Mapped, y: Mapped, by: Routing): Value {
  const [groups, all] = [by.groups, item(dims(by.offsets.type), 0) - 1];
  const [n = 0, m = 0, k = 0] = dims(x.value.type);
  const fits = x.kind === "rows" && x.by === by && y.kind === "each" && y.over === groups && all % groups === 0;
  need(
    fits && (n * m) % by.rows === 0,
    () => "what a mixture inside an expert takes for all its choices must be the same for all outer experts",
  );
  const firsts = b.reshape(g, b.slice(g, by.offsets, 0, 0, all), [groups, all / groups]);
  const starts = b.squeeze(g, b.slice(g, firsts, 1, 0, 1), 1);
  const offsets = b.concat(g, [starts, b.slice(g, by.offsets, 0, all, 1)], 0);
  const product = b.raggedDot(g, b.reshape(g, x.value, [n * m, k]), y.value, offsets, (n * m) / by.rows);
  return b.reshape(g, product, [n, m, item(dims(product.type), 1)]);
}
/** All rows of a space times one matrix `w`. If `w` is trained, padding rows are masked (`maskPadding`), so that its gradient leaves them out. */
function matmulUniform(g: Builder, rows: Value, w: Value, space: Space): Value {
  if (!dependsOnStore(w.node)) return matmulFlat(g, rows, w);
  return maskPadding(g, matmulFlat(g, maskPadding(g, rows, space), w), space);
}
/** rows [R, ...B, m, K] @ w [...B, K, N], as one product with R * m rows for each matrix of B. */
function matmulFlat(g: Builder, rows: Value, w: Value): Value {
  const shape = dims(rows.type);
  const batch = shape.length - 3;
  const [n, m, k] = [item(shape, 0), item(shape, batch + 1), item(shape, batch + 2)];
  const inner = shape.slice(1, batch + 1);
  const perm = [...inner.map((_, i) => i + 1), 0, batch + 1, batch + 2];
  const flat = b.reshape(g, b.transpose(g, rows, perm), [...inner, n * m, k]);
  const out = b.reshape(g, b.dot(g, flat, w), [...inner, n, m, item(dims(w.type), batch + 1)]);
  return b.transpose(g, out, [batch, ...inner.map((_, i) => i), batch + 1, batch + 2]);
}
/** rows [R, m, K] @ w [E, K, N]: each group of rows times its own matrix. */
function matmulPerGroup(g: Builder, rows: Value, w: Value, offsets: Value): Value {
  const [n = 0, m = 0, k = 0] = dims(rows.type);
  const out = b.raggedDot(g, b.reshape(g, rows, [n * m, k]), w, offsets, m);
  return b.reshape(g, out, [n, m, item(dims(w.type), 2)]);
}
