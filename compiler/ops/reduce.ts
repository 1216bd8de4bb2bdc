// The ops `reduce` (sum, max or min over axes) and `scan` (running sums along an axis).
import { Bug } from "../diagnostic.ts";
import { readStrided, strides } from "../graph/array.ts";
import type { ReduceName } from "../graph/node.ts";
import { item } from "../item.ts";
import { product } from "../types/numbers.ts";
import { count, dims, dtypeOf, showType, type } from "../types/type.ts";
import * as b from "./build.ts";
import { define, flopsPerElement, need, needAxis, one, sample, splitAtAxis } from "./common.ts";
import { mapLeading, shiftAxes } from "./mapped.ts";
import { isSharded, partial, sharded, shardedForSum, shardPointwise } from "./sharding.ts";

interface Fold {
  /** What a fold begins with, and the result of none. */
  readonly start: number;
  /** The same of integers: the ends of their range stand for the infinities. */
  readonly wholeStart: number;
  readonly step: (x: number, y: number) => number;
  /** The result is one of the numbers, and no other if some occur again. */
  readonly picks: boolean;
}
const smallest = -(2 ** 31);
const folds: Readonly<Record<ReduceName, Fold>> = {
  sum: { start: 0, wholeStart: 0, step: (x, y) => x + y, picks: false },
  max: { start: Number.NEGATIVE_INFINITY, wholeStart: smallest, step: Math.max, picks: true },
  min: { start: Number.POSITIVE_INFINITY, wholeStart: -1 - smallest, step: Math.min, picks: true },
};
export const foldOf = (fn: ReduceName): Fold => folds[fn];

export const reduce = define<"reduce">({
  name: "reduce",
  doc: "sum, max or min over `axes`, which go; of no elements: 0, the least and the largest number. i32 sums wrap",
  lower: "reduce",
  infer(args, { fn, axes }) {
    const x = one(args);
    need(x.dtype !== "bool", () => `${fn} has no meaning for ${showType(x)}`);
    for (const a of axes) needAxis(fn, a, x);
    return [
      type(
        x.dtype,
        x.shape.filter((_, i) => !axes.includes(i)),
      ),
    ];
  },
  eval(args, { fn, axes }) {
    const x = one(args);
    const order = [...x.shape.keys()].toSorted((p, q) => Number(axes.includes(p)) - Number(axes.includes(q)));
    const steps = strides(x.shape);
    const shape = order.map((a) => item(x.shape, a));
    const rows = readStrided(
      x.data,
      shape,
      order.map((a) => item(steps, a)),
    );
    const size = axes.reduce((n, a) => n * item(x.shape, a), 1);
    const kept = product(shape.slice(0, shape.length - axes.length));
    const start = x.dtype === "i32" ? folds[fn].wholeStart : folds[fn].start;
    return [
      Float64Array.from({ length: kept }, (_, i) =>
        rows.subarray(i * size, (i + 1) * size).reduce((p, q) => folds[fn].step(p, q), start),
      ),
    ];
  },
  vjp({ args, results, attrs: { fn, axes } }, [dy], g) {
    if (!dy) return [null];
    const x = one(args);
    const shape = dims(x.type);
    const kept = [...shape.keys()].filter((i) => !axes.includes(i));
    const wide = (v: typeof dy) => b.broadcast(g, v, shape, kept);
    if (fn === "sum") return [wide(dy)];
    if (!folds[fn].picks) throw new Bug(`no gradient is known for reduce_${fn}`);
    const best = b.eq(g, x, wide(one(results)));
    const share = b.div(g, dy, b.cast(g, b.sum(g, best, axes), dtypeOf(dy.type)));
    return [b.where(g, best, wide(share), 0)];
  },
  shard({ attrs: { fn, axes } }, [p], workers) {
    if (!p || !isSharded(p)) return null;
    const { axis, sharding } = p;
    if (!axes.includes(axis))
      return { args: [p], results: [sharded(axis - axes.filter((a) => a < axis).length, sharding)] };
    // Padding rows can be made zero, which leaves a sum as it is, but not a max or min.
    return fn === "sum" || sharding.kind === "even"
      ? { args: [shardedForSum(axis, sharding)], results: [partial(fn, sharding, workers)] }
      : null;
  },
  mapped: mapLeading("reduce", ({ fn, axes }) => ({ fn, axes: shiftAxes(axes) })),
  flops: ({ args }) => count(one(args).type),
  samples: (g) =>
    (Object.keys(folds) as ReduceName[]).flatMap((fn) =>
      [
        { shape: [5, 7], axes: [1] },
        { shape: [3, 4, 2], axes: [0, 2] },
        { shape: [6], axes: [0] },
      ].flatMap(({ shape, axes }) =>
        (["f32", "i32"] as const).map((t) => b.make(g, "reduce", [sample(g, t, shape)], { fn, axes })),
      ),
    ),
  displayName: (attrs) => `reduce_${attrs.fn}`,
  showAttrs: (attrs) => `axes=[${attrs.axes.join(", ")}]`,
});

export const scan = define<"scan">({
  name: "scan",
  doc: "running sums along an axis, each with its own element unless `exclusive`, from the end if `reverse`",
  lower: "reduce",
  infer(args, { axis }) {
    const x = one(args);
    needAxis("cumsum", axis, x);
    need(x.dtype !== "bool", () => `cumsum has no meaning for ${showType(x)}`);
    return [x];
  },
  eval(args, { axis, exclusive, reverse }) {
    const x = one(args);
    const [before, n, after] = splitAtAxis(x.shape, axis);
    const out = new Float64Array(x.data.length);
    for (let i = 0; i < before * after; i++) {
      const first = Math.floor(i / after) * n * after + (i % after);
      let total = 0;
      for (let j = 0; j < n; j++) {
        const place = first + (reverse ? n - 1 - j : j) * after;
        const next = total + (x.data[place] ?? 0);
        out[place] = exclusive ? total : next;
        total = next;
      }
    }
    return [out];
  },
  vjp: ({ attrs }, [dy], g) => [dy ? b.make1(g, "scan", [dy], { ...attrs, reverse: !attrs.reverse }) : null],
  shard: (node, [p]) => (p && isSharded(p) && p.axis !== node.attrs.axis ? shardPointwise(node, [p]) : null),
  mapped: mapLeading("scan", (attrs) => ({ ...attrs, axis: attrs.axis + 1 })),
  flops: flopsPerElement(1),
  samples: (g) =>
    [false, true].flatMap((exclusive) =>
      [false, true].flatMap((reverse) => [
        b.make(g, "scan", [sample(g, "f32", [3, 5, 2])], { axis: 1, exclusive, reverse }),
        b.make(g, "scan", [sample(g, "f32", [2, 67])], { axis: 1, exclusive, reverse }),
      ]),
    ),
});
