// Contractions over rows that are sorted by group (expert). Each sorted place stands for `unit` rows: group e has the rows
// offsets[e] * unit up to offsets[e + 1] * unit. Rows past the last group are padding: never read, and not written by kernels.
import { TypeMismatch } from "../graph/builder.ts";
import type { Builder, Mapped, NdArray, Node, Placement, Value, Workers } from "../graph/node.ts";
import { item } from "../item.ts";
import { product } from "../types/numbers.ts";
import { add, equal, sub } from "../types/size.ts";
import { count, dims, showType, type Type, type } from "../types/type.ts";
import type { OpAttrs } from "./attrs.ts";
import * as b from "./build.ts";
import { at, define, need, needFloat, needSame, one, resultCount, sample, three, two } from "./common.ts";
import { accumulate } from "./dot.ts";
import { inSpace, lift, neverMapped, type Space, spaceOf } from "./mapped.ts";
import { depthOf, isRightOperand, raggedOperandPairs } from "./pairs.ts";
import { evenSharding, partial, replicated, type Sharded, sharded } from "./sharding.ts";

function needOffsets(what: string, t: Type): void {
  need(
    t.dtype === "i32" && t.shape.length === 1,
    () => `${what} needs the offsets of its groups as i32[groups + 1], not ${showType(t)}`,
  );
}
function eachRow(offsets: NdArray, unit: number, visit: (group: number, row: number) => void): void {
  for (let e = 0; e + 1 < offsets.data.length; e++)
    for (let row = at(offsets, e) * unit; row < at(offsets, e + 1) * unit; row++) visit(e, row);
}

export const ragged_dot = define<"ragged_dot">({
  name: "ragged_dot",
  doc: "(x [M * unit, K], w [E, K, N], offsets i32[E + 1], and any more pairs x, w) -> [M * unit, N]: the sum over the pairs of rows of group e times w[e], summed in f32 or wider",
  lower: "tile",
  infer(args) {
    const offsets = item(args, 2);
    needOffsets("ragged_dot", offsets);
    const products = raggedOperandPairs(args).map(([x, w]) => productOf(x, w, offsets));
    for (const y of products) needSame("a sum of products", one(products), y);
    return [one(products)];
  },
  eval(args, { unit }) {
    const [x, w, offsets] = three(args);
    const n = item(w.shape, 2);
    const out = new Float64Array(item(x.shape, 0) * n);
    eachRow(offsets, unit, (e, row) => {
      for (const [y, v] of raggedOperandPairs(args)) {
        const k = item(v.shape, 1);
        for (let i = 0; i < k; i++) accumulate(out, row * n, at(y, row * k + i), v.data, (e * k + i) * n, n);
      }
    });
    return [out];
  },
  vjp({ args, attrs: { unit } }, [dy], g) {
    if (!dy) return args.map(() => null);
    const offsets = item(args, 2);
    const grads = raggedOperandPairs(args).flatMap(([x, w]) => [
      b.raggedDot(g, dy, b.swap(g, w), offsets, unit),
      b.raggedOuter(g, x, dy, offsets, unit),
    ]);
    return [...grads.slice(0, 2), null, ...grads.slice(2)];
  },
  mapped(args, { unit }, g) {
    const space = nestedSpace(args);
    const { value: offsets } = item(args, 2);
    const products = raggedOperandPairs(args).map(([x, w]) =>
      mappedProduct(g, lift(g, x, space), stacked(g, w, space), offsets, unit),
    );
    return [inSpace(space, b.addAll(g, products))];
  },
  shard(node, args, workers) {
    const by = routedBy(node, 2, workers);
    if (!by) return null;
    const pair = [by.rows, by.owners === null ? replicated : sharded(0, evenSharding(by.owners))];
    return { args: [...pair, by.routing, ...args.slice(3).map((_, i) => item(pair, i % 2))], results: [by.rows] };
  },
  flops: (node) => 2 * resultCount(node) * depthOf(node),
  reads: readsOfMatrices,
  samples: (g) => [
    ...ragged(g).map((r) => sumOfProducts(g, [3], r)),
    sumOfProducts(g, [600, 200], item(ragged(g), 1)),
    ...ragged(g).map((r, i) => sumOfProducts(g, item(awkward, i), r)),
  ],
});
/** `reads` of ragged_dot: at most one matrix for each sorted place, that of its group. */
function readsOfMatrices(node: Node<OpAttrs["ragged_dot"]>, i: number): number {
  const own = item(node.args, i).type;
  if (!isRightOperand(node, i)) return count(own);
  const places = item(dims(one(node.args).type), 0) / node.attrs.unit;
  return places * product(dims(own).slice(1));
}
/** Depths K for the samples: several rounds of a kernel's loop, less than one round, both, and one for the sample without rows. */
const awkward: readonly (readonly number[])[] = [
  [33, 40],
  [1, 7],
  [16, 40, 48],
  [3, 2],
];
type Rows = ReturnType<typeof ragged>[number];
/** A ragged_dot with a pair (x, w) for each of these depths. */
function sumOfProducts(g: Builder, depths: readonly number[], { offsets, rows, groups, unit }: Rows): Node {
  const args = depths.flatMap((k, i) => [
    sample(g, "f32", [rows * unit, k], `x${i || ""}`),
    sample(g, "f32", [groups, k, 4], `w${i || ""}`),
  ]);
  return b.make(g, "ragged_dot", args.toSpliced(2, 0, offsets), { unit });
}
function productOf(x: Type, w: Type, offsets: Type): Type {
  needFloat("ragged_dot", x);
  const [rows, k] = x.shape;
  const fits =
    x.shape.length === 2 &&
    w.shape.length === 3 &&
    x.dtype === w.dtype &&
    equal(item(offsets.shape, 0), add(item(w.shape, 0), 1));
  need(
    fits && equal(k ?? 0, item(w.shape, 1)),
    () =>
      `ragged_dot needs x [M, K], w [E, K, N] and E + 1 offsets, not ${showType(x)}, ${showType(w)} and ${showType(offsets)}`,
  );
  return type(x.dtype, [rows ?? 0, item(w.shape, 2)]);
}
/** rows [outer, n, K] times matrices [groups, inner groups, K, N], as one ragged_dot. */
function mappedProduct(g: Builder, rows: Value, matrices: Value, offsets: Value, unit: number): Value {
  const [outer = 0, n = 0, k = 0] = dims(rows.type);
  const [groups = 0, inner = 0, , width = 0] = dims(matrices.type);
  const flat = b.reshape(g, rows, [outer * n, k]);
  const product = b.raggedDot(g, flat, b.reshape(g, matrices, [groups * inner, k, width]), offsets, unit);
  return b.reshape(g, product, [outer, n, width]);
}
/** The space of a nested mixture's rows. Its offsets are of all inner groups of all outer groups: see `nestedRoute` in route.ts. */
function nestedSpace(args: readonly Mapped[]): Space {
  const space = spaceOf(args);
  if (space.kind === "rows" && space.by.outer) return space;
  throw new TypeMismatch("the index of a mixture inside an expert must depend on the expert's row");
}
/** The matrices as [groups, inner groups, K, N], one for each inner group of each outer group. */
function stacked(g: Builder, w: Mapped, space: Space): Value {
  if (w.kind === "each") return w.value;
  if (w.kind === "uniform" && space.kind === "rows") return lift(g, w, { kind: "each", over: space.by.groups });
  throw new TypeMismatch("a mixture inside an expert cannot have parameters that are computed from the row");
}

export const ragged_outer = define<"ragged_outer">({
  name: "ragged_outer",
  doc: "(x [M * unit, K], y [M * unit, N], offsets i32[E + 1]) -> [E, K, N]: x^T y over the rows of each group, summed in f32 or wider",
  lower: "tile",
  infer(args) {
    const [x, y, offsets] = three(args);
    needFloat("ragged_outer", x);
    needOffsets("ragged_outer", offsets);
    const fits =
      x.shape.length === 2 && y.shape.length === 2 && x.dtype === y.dtype && equal(item(x.shape, 0), item(y.shape, 0));
    need(fits, () => `ragged_outer needs x [M, K] and y [M, N] of one dtype, not ${showType(x)} and ${showType(y)}`);
    return [type(x.dtype, [sub(item(offsets.shape, 0), 1), item(x.shape, 1), item(y.shape, 1)])];
  },
  eval(args, { unit }) {
    const [x, y, offsets] = three(args);
    const [k, n] = [item(x.shape, 1), item(y.shape, 1)];
    const out = new Float64Array((offsets.data.length - 1) * k * n);
    eachRow(offsets, unit, (e, row) => {
      for (let i = 0; i < k; i++) accumulate(out, (e * k + i) * n, at(x, row * k + i), y.data, row * n, n);
    });
    return [out];
  },
  vjp({ args, attrs: { unit } }, [dz], g) {
    const [x, y, offsets] = three(args);
    return dz
      ? [b.raggedDot(g, y, b.swap(g, dz), offsets, unit), b.raggedDot(g, x, dz, offsets, unit), null]
      : [null, null, null];
  },
  mapped: neverMapped("ragged_outer"),
  shard: (node, args, workers) => shardGroupSum(node, args.length - 1, workers),
  flops: ({ args }) => 2 * count(one(args).type) * item(dims(item(args, 1).type), 1),
  samples: (g) =>
    ragged(g).map(
      ({ offsets, rows, unit }) =>
        b.raggedOuter(g, sample(g, "f32", [rows * unit, 3]), sample(g, "f32", [rows * unit, 2], "y"), offsets, unit)
          .node,
    ),
});

export const ragged_sum = define<"ragged_sum">({
  name: "ragged_sum",
  doc: "(x [M * unit, ...R], offsets i32[E + 1]) -> [E, ...R]: the sum over the rows of each group, in f32 or wider",
  lower: "reduce",
  infer(args) {
    const [x, offsets] = two(args);
    needFloat("ragged_sum", x);
    needOffsets("ragged_sum", offsets);
    need(x.shape.length > 0, () => `ragged_sum needs rows, not ${showType(x)}`);
    return [type(x.dtype, [sub(item(offsets.shape, 0), 1), ...x.shape.slice(1)])];
  },
  eval(args, { unit }) {
    const [x, offsets] = two(args);
    const n = product(x.shape.slice(1));
    const out = new Float64Array((offsets.data.length - 1) * n);
    eachRow(offsets, unit, (e, row) => accumulate(out, e * n, 1, x.data, row * n, n));
    return [out];
  },
  // The gradient of each row is that of its group: a ragged_dot of ones (K = 1) copies it there.
  vjp({ args, attrs: { unit } }, [dy], g) {
    if (!dy) return [null, null];
    const [x, offsets] = two(args);
    const [rows = 0, ...rest] = dims(x.type);
    const width = product(rest);
    const ones = b.fill(g, 1, "f32", [rows, 1]);
    const flat = b.reshape(g, dy, [item(dims(dy.type), 0), 1, width]);
    return [
      b.reshape(g, b.raggedDot(g, b.make1(g, "cast", [ones], { dtype: x.type.dtype }), flat, offsets, unit), [
        rows,
        ...rest,
      ]),
      null,
    ];
  },
  mapped: neverMapped("ragged_sum"),
  shard: (node, args, workers) => shardGroupSum(node, args.length - 1, workers),
  flops: ({ args }) => count(one(args).type),
  samples: (g) =>
    ragged(g).map(
      ({ offsets, rows, unit }) => b.raggedSum(g, sample(g, "f32", [rows * unit, 2, 3]), offsets, unit).node,
    ),
});
interface RoutedBy {
  readonly rows: Sharded;
  readonly routing: Placement;
  /** Among how many workers the groups are sharded, if rows are at their groups' owners; null: rows are where they were routed. */
  readonly owners: number | null;
  /** Each run of so many workers has all rows. */
  readonly among: number;
}
/** Where the rows are whose offsets are argument `i`; null: the offsets are no result of a `route`, or of one that is replicated. */
function routedBy({ args }: Node, i: number, workers: Workers): RoutedBy | null {
  const { node: by, index } = item(args, i);
  const local = by.op.name === "route" && index === 1 ? workers.routing(by) : null;
  if (!local) return null;
  const { owners, among } = local;
  const owned = owners !== null;
  return { rows: sharded(0, { kind: "rows", by, owned }), routing: { kind: "routing", by, owned }, owners, among };
}
/**
 * `shard` of sums over the rows of each group. Where rows are at their groups' owners, a worker has sums only of its own groups. If its group of workers
 * has not all rows, those of the workers with the same part must still be added up.
 */
function shardGroupSum(
  node: Node,
  offsets: number,
  workers: Workers,
): { args: Placement[]; results: Placement[] } | null {
  const by = routedBy(node, offsets, workers);
  if (!by) return null;
  return {
    args: node.args.map((_, i) => (i === offsets ? by.routing : by.rows)),
    results: [
      by.owners === null ? partial("sum", by.rows.sharding, workers) : partialOverCopies(by.owners, by.among, workers),
    ],
  };
}
function partialOverCopies(owners: number, among: number, workers: Workers): Placement {
  const of = sharded(0, evenSharding(owners));
  return owners === among
    ? of
    : { kind: "partial", fn: "sum", group: workers.group(workers.count / owners, owners), of };
}

/** Cases for samples, with offsets that `route` made: empty groups, padding past the last group, one group, no rows at all. */
function ragged(g: Builder): { offsets: Value; rows: number; groups: number; unit: number }[] {
  const of = (rows: number, groups: number, unit: number) => ({
    offsets: b.route(g, sample(g, "i32", [rows], "index"), groups).offsets,
    rows,
    groups,
    unit,
  });
  return [of(23, 6, 1), of(5, 1, 3), of(7, 40, 2), of(0, 2, 1)];
}
