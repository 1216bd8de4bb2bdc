// Gather, scatter and top-k. An index out of range means none: gather gives 0, scatter writes nothing.
import type { Builder, Mapped, NdArray, Node, Placement, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { product } from "../types/numbers.ts";
import { equalAll, type Size, show } from "../types/size.ts";
import { count, dims, showType, type } from "../types/type.ts";
import type { OpAttrs } from "./attrs.ts";
import * as b from "./build.ts";
import {
  at,
  define,
  need,
  needAxis,
  needIndex,
  noFlops,
  number,
  one,
  resultCount,
  sample,
  three,
  two,
} from "./common.ts";
import { inSpace, lift, mapLeading, mapPointwise, spaceOf } from "./mapped.ts";
import { isSharded, leadSharding, replicated, sharded, shardRowwise } from "./sharding.ts";

/** Calls `visit` for each element of the rows, with the place, in a tensor of that shape, that it belongs to, or -1 if its index is out of range. */
function forEachIndexed(
  index: NdArray,
  shape: readonly number[],
  { axis, batch }: OpAttrs["gather"],
  visit: (row: number, place: number) => void,
): void {
  const [groups, each] = [product(shape.slice(0, batch)), product(shape.slice(batch, axis))];
  const [size, inner] = [item(shape, axis), sizeAfter(shape, axis)];
  const picks = product(index.shape.slice(batch));
  let row = 0;
  for (let o = 0; o < groups * each; o++) {
    for (let i = 0; i < picks; i++) {
      const pick = at(index, Math.floor(o / each) * picks + i);
      const inside = pick >= 0 && pick < size;
      for (let r = 0; r < inner; r++) visit(row++, inside ? (o * size + pick) * inner + r : -1);
    }
  }
}
const sizeAfter = (shape: readonly number[], axis: number): number => product(shape.slice(axis + 1));

export const gather = define<"gather">({
  name: "gather",
  doc: "(x [...B, ...L, N, ...R], index i32[...B, ...I]) -> [...B, ...L, ...I, ...R]: along `axis`, with `batch` axes B in common; 0 outside",
  lower: "algorithm",
  infer(args, { axis, batch }) {
    const [x, index] = two(args);
    needIndex("take", index);
    needAxis("take", axis, x);
    need(
      batch <= axis && equalAll(x.shape.slice(0, batch), index.shape.slice(0, batch)),
      () => `take needs the first ${batch} axes of ${showType(x)} and ${showType(index)} to be equal`,
    );
    return [type(x.dtype, [...x.shape.slice(0, axis), ...index.shape.slice(batch), ...x.shape.slice(axis + 1)])];
  },
  eval(args, attrs, types) {
    const [x, index] = two(args);
    const out = new Float64Array(count(one(types)));
    forEachIndexed(index, x.shape, attrs, (row, place) => {
      out[row] = place < 0 ? 0 : at(x, place);
    });
    return [out];
  },
  vjp({ args, attrs: { axis, batch } }, [dy], g) {
    const [x, index] = two(args);
    return [
      dy ? b.make1(g, "scatter", [index, dy], { axis, batch, mode: "add", size: item(x.type.shape, axis) }) : null,
      null,
    ];
  },
  mapped: (args, attrs, g) => mappedGather(g, ...two(args), attrs),
  shard: shardGather,
  indexes: ({ args, attrs: { axis } }) => ({ index: item(args, 1), length: item(dims(item(args, 0).type), axis) }),
  flops: noFlops,
  reads: (node, i) => (i === 0 ? resultCount(node) : count(item(node.args, i).type)),
  samples: (g) => [
    b.take(g, sample(g, "f32", [6, 3]), sample(g, "i32", [4, 2], "index")).node,
    b.take(g, sample(g, "f32", [3, 5]), sample(g, "i32", [3, 2], "index"), 1).node,
    b.make(g, "gather", [sample(g, "f32", [2, 3, 5, 2]), sample(g, "i32", [2, 7], "index")], { axis: 2, batch: 1 }),
    b.take(g, sample(g, "f32", [0, 3]), sample(g, "i32", [4], "index")).node,
  ],
});

/** How workers can share a gather: sharded along a common batch axis, along the picks, or along an axis that is not indexed. */
function shardGather(
  { args, attrs: { axis, batch } }: Node<OpAttrs["gather"]>,
  [p = replicated, q = replicated]: readonly Placement[],
): { args: Placement[]; results: Placement[] } | null {
  const more = dims(item(args, 1).type).length - batch;
  if (isSharded(q) && q.axis >= batch)
    return { args: [replicated, q], results: [sharded(axis + q.axis - batch, q.sharding)] };
  const at = [p, q].find((c) => isSharded(c) && c.axis < batch) ?? p;
  if (!isSharded(at) || at.axis === axis) return null;
  const results = [sharded(at.axis < axis ? at.axis : at.axis + more - 1, at.sharding)];
  return { args: [at, at.axis < batch ? at : replicated], results };
}

/** The same of a scatter: along a common batch axis, or along an axis of the rows that is not indexed. */
function shardScatter(
  { args, attrs: { axis, batch, mode } }: Node<OpAttrs["scatter"]>,
  places: readonly Placement[],
): { args: Placement[]; results: Placement[] } | null {
  const at = mode === "add" ? 0 : 1;
  const more = dims(item(args, at).type).length - batch - 1;
  const lead = leadSharding(
    places.map((p, i) => {
      if (!isSharded(p) || i < at || p.axis < (i === at ? batch : axis)) return p;
      return i > at && p.axis > axis + more ? { ...p, axis: p.axis - more } : replicated; // along the picks it is of no use
    }),
  );
  if (!lead || lead.axis === axis) return null;
  const to = sharded(lead.axis, lead.sharding);
  const index = to.axis < batch ? to : replicated;
  const rows = to.axis < axis ? to : sharded(to.axis + more, to.sharding);
  return { args: mode === "add" ? [index, rows] : [to, index, rows], results: [to] };
}

function mappedGather(g: Builder, x: Mapped, index: Mapped, attrs: OpAttrs["gather"]): Mapped[] {
  const { axis, batch } = attrs;
  const space = spaceOf([x, index]);
  if (x.kind === "uniform" && axis === 0) return [inSpace(space, b.take(g, x.value, index.value))];
  if (x.kind === "each" && index.kind === "rows" && axis === 0)
    return [inSpace(space, gatherPerGroup(g, x.value, index))];
  const [from, which] = [lift(g, x, space), lift(g, index, space)];
  return [inSpace(space, b.make1(g, "gather", [from, which], { axis: axis + 1, batch: batch + 1 }))];
}
/** Each group's rows look up a table of their own: the tables are joined to one, indexed by `group * N + index`. */
function gatherPerGroup(g: Builder, tables: Value, index: Mapped & { kind: "rows" }): Value {
  const [groups = 0, n = 0, ...rest] = dims(tables.type);
  const shape = dims(index.value.type);
  const { by } = index;
  const counts = shape.map((_, i) => product(shape.slice(0, i + 1)));
  // the rows of a nested routing take up several leading axes
  const front = shape.slice(0, counts.indexOf(by.rows) + 1);
  const group = b.broadcast(g, b.reshape(g, by.expert, front), shape, [...front.keys()]);
  const inside = b.and(g, b.ge(g, group, 0), b.and(g, b.ge(g, index.value, 0), b.lt(g, index.value, n)));
  return b.take(
    g,
    b.reshape(g, tables, [groups * n, ...rest]),
    b.where(g, inside, b.add(g, b.mul(g, group, n), index.value), -1),
  );
}

export const scatter = define<"scatter">({
  name: "scatter",
  doc:
    "add: (index i32[...B, ...I], rows [...B, ...L, ...I, ...R]) -> [...B, ...L, size, ...R]: rows summed where they belong, in order; " +
    "set: (base [...B, ...L, size, ...R], index, rows): base with rows replaced, of two the later. None writes nothing",
  lower: "algorithm",
  infer(args, { axis, batch, mode, size }) {
    const [index, rows] = mode === "add" ? two(args) : [item(args, 1), item(args, 2)];
    needIndex("scatter", index);
    const picks: readonly Size[] = index.shape.slice(batch);
    const [front, back] = [rows.shape.slice(0, axis), rows.shape.slice(axis + picks.length)];
    const fits =
      batch <= axis &&
      equalAll(rows.shape.slice(axis, axis + picks.length), picks) &&
      equalAll(front.slice(0, batch), index.shape.slice(0, batch));
    need(fits, () => `the index ${showType(index)} does not fit the rows ${showType(rows)}`);
    need(mode === "set" || rows.dtype !== "bool", () => `${showType(rows)} has no sum`);
    const result = type(rows.dtype, [...front, size, ...back]);
    if (mode === "set")
      need(
        equalAll(one(args).shape, result.shape) && one(args).dtype === rows.dtype,
        () => `rows ${showType(rows)} do not fit ${showType(one(args))}`,
      );
    return [result];
  },
  eval(args, attrs, types) {
    const { mode } = attrs;
    const [index, rows] = mode === "add" ? two(args) : [item(args, 1), item(args, 2)];
    const out = mode === "add" ? new Float64Array(count(one(types))) : one(args).data.slice();
    forEachIndexed(index, dims(one(types)), attrs, (row, place) => {
      if (place >= 0) out[place] = at(rows, row) + (mode === "add" ? (out[place] ?? 0) : 0);
    });
    return [out];
  },
  vjp: (node, [dy], g) => (dy ? scatterVjp(node, dy, g) : node.args.map(() => null)),
  mapped: mapLeading("scatter", (attrs) => ({ ...attrs, axis: attrs.axis + 1, batch: attrs.batch + 1 })),
  shard: shardScatter,
  // rows of `add` that belong nowhere are left out of a sum; those of `set`, as of a cache, were to be kept
  indexes: ({ args, attrs: { mode, size } }) =>
    mode === "set" ? { index: item(args, 1), length: number(size) } : null,
  flops: ({ args, attrs }) => (attrs.mode === "add" ? count(item(args, 1).type) : 0),
  samples: (g) => {
    const [x, rows, index] = [
      sample(g, "f32", [6, 3]),
      sample(g, "f32", [4, 2, 3], "rows"),
      sample(g, "i32", [4, 2], "index"),
    ];
    const twice = sample(g, "i32", [2, 7], "index"); // of seven places of four some occur twice
    return [
      b.put(g, x, index, rows),
      b.scatter(g, sample(g, "f32", [2, 7, 3]), sample(g, "i32", [2, 7], "index"), 5, 1),
      b.scatter(g, sample(g, "f32", [9]), sample(g, "i32", [9], "index"), 4),
      b.put(g, sample(g, "i32", [2, 4]), b.rem(g, b.abs(g, twice), 4), sample(g, "i32", [2, 7], "rows"), 1),
      b.make1(g, "scatter", [index, b.reshape(g, rows, [3, 4, 2])], { axis: 1, batch: 0, mode: "add", size: 6 }),
      b.put(g, sample(g, "f32", [2, 9], "to"), b.topK(g, sample(g, "f32", [2, 9]), 5)[1], sample(g, "f32", [2, 5]), 1),
    ].map((v) => v.node);
  },
  showAttrs: (a) => `${a.mode} axis ${a.axis} batch ${a.batch}`,
});

function scatterVjp({ args, attrs }: Node<OpAttrs["scatter"]>, dy: Value, g: Builder): (Value | null)[] {
  const { axis, batch, mode } = attrs;
  if (mode === "add") return [null, b.make1(g, "gather", [dy, one(args)], { axis, batch })];
  const [, index, rows] = three(args);
  const zeros = b.like(g, rows, 0);
  const picked = b.make1(g, "gather", [dy, index], { axis, batch });
  return [
    b.make1(g, "scatter", [dy, index, zeros], attrs),
    null,
    b.where(g, isLastWrite(g, index, rows, attrs), picked, 0),
  ];
}
/** For each row, whether no later row replaced it: the row numbers are scattered too, and a row that stayed finds its own number at its place. */
function isLastWrite(g: Builder, index: Value, rows: Value, { batch, axis, size }: OpAttrs["scatter"]): Value {
  const shape = dims(index.type);
  const numbers = b.reshape(g, b.iota(g, count(index.type)), shape);
  const none = b.fill(g, -1, "i32", [...shape.slice(0, batch), number(size)]);
  const written = b.make1(g, "scatter", [none, index, numbers], { axis: batch, batch, mode: "set", size });
  const last = b.eq(g, b.make1(g, "gather", [written, index], { axis: batch, batch }), numbers);
  const at = [...Array(batch).keys(), ...shape.slice(batch).map((_, i) => axis + i)];
  return b.broadcast(g, last, dims(rows.type), at);
}

export const top_k = define<"top_k">({
  name: "top_k",
  doc: "(x [..., N]) -> values [..., k], index i32[..., k]: the k largest of the last axis, largest first, of equals the first first, NaN last",
  lower: "algorithm",
  infer(args, { k }) {
    const x = one(args);
    const axis = x.shape.length - 1;
    const n = needAxis("top_k", axis, x);
    need(
      typeof k !== "number" || typeof n !== "number" || (k >= 0 && k <= n),
      () => `top_k cannot take ${show(k)} of ${showType(x)}`,
    );
    need(x.dtype !== "bool", () => `top_k has no meaning for ${showType(x)}`);
    const shape = x.shape.with(axis, k);
    return [type(x.dtype, shape), type("i32", shape)];
  },
  eval(args, attrs) {
    const x = one(args);
    const [n, k] = [x.shape.at(-1) ?? 1, number(attrs.k)];
    const rows = Array.from({ length: n === 0 ? 0 : x.data.length / n }, (_, i) =>
      argsortDescending(x.data.subarray(i * n, i * n + n)).slice(0, k),
    );
    return [
      Float64Array.from(rows.flatMap((row, i) => row.map((j) => at(x, i * n + j)))),
      Float64Array.from(rows.flat()),
    ];
  },
  vjp({ args, results }, [dy], g) {
    const axis = one(args).type.shape.length - 1;
    return [
      dy
        ? b.make1(g, "scatter", [item(results, 1), dy], {
            axis,
            batch: axis,
            mode: "add",
            size: item(one(args).type.shape, axis),
          })
        : null,
    ];
  },
  mapped: mapPointwise("top_k"),
  shard: shardRowwise,
  indexRange: ({ args }, i) => (i === 1 ? (dims(one(args).type).at(-1) ?? null) : null),
  flops: ({ args, attrs }) => 10 * count(one(args).type) * Math.min(number(attrs.k), maxReductions),
  samples: (g) =>
    [
      b.topK(g, sample(g, "f32", [5, 7]), 3),
      b.topK(g, sample(g, "i32", [3, 6]), 6),
      b.topK(g, sample(g, "f32", [4]), 1),
    ].map(([v]) => v.node),
});
/** Whether the indices of each batch row differ from one another, as those of a top_k do. */
export const hasDistinctRows = (index: Value, batch: number): boolean =>
  index.node.op.name === "top_k" && index.index === 1 && dims(index.type).length === batch + 1;
/** `top_k` finds up to this many by a reduction each; for more, the row is sorted. */
const maxReductions = 32;
/** Indices in order of decreasing value, equal ones by index, NaN last. */
function argsortDescending(row: Float64Array): number[] {
  const key = (i: number): number => row[i] ?? Number.NaN;
  return [...row.keys()].toSorted((i, j) => {
    const [x, y] = [key(i), key(j)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y));
    return y > x ? 1 : y < x ? -1 : i - j;
  });
}
