// The threshold behind both top-k and nucleus (top-p) sampling: how small an element may be so that it and all larger ones have enough weight
// together.
import type { NdArray } from "../graph/node.ts";
import { item } from "../item.ts";
import { isFloat } from "../types/dtype.ts";
import { equalAll } from "../types/size.ts";
import { count, dims, dtypeOf, showType, type } from "../types/type.ts";
import { none } from "./attrs.ts";
import * as b from "./build.ts";
import { at, define, need, needAxis, needFloat, needSame, one, sample, three } from "./common.ts";
import { mapPointwise } from "./mapped.ts";
import { shardRowwise } from "./sharding.ts";

export const cutoff = define<"cutoff">({
  name: "cutoff",
  doc:
    "(x [..., N], weight [..., N], amount [...]) -> [...]: the largest element t of each row for which the weights of all that are no less come to " +
    "`amount`, and to more than 0; -inf if there is none. NaN is never among them. Weights are not negative",
  lower: "algorithm",
  infer(args) {
    const [x, weight, amount] = three(args);
    const axis = x.shape.length - 1;
    needAxis("cutoff", axis, x);
    needFloat("cutoff", x);
    need(equalAll(weight.shape, x.shape), () => `cutoff needs a weight for each element of ${showType(x)}`);
    need(weight.dtype === "i32" || isFloat(weight.dtype), () => `cutoff does not add up ${showType(weight)}`);
    needSame("cutoff", type(weight.dtype, x.shape.slice(0, axis)), amount);
    return [type(x.dtype, x.shape.slice(0, axis))];
  },
  eval(args) {
    const [x, weight, amount] = three(args);
    const n = item(x.shape, x.shape.length - 1);
    return [amount.data.map((least, r) => cutoffOf(x, weight, least, r * n, n))];
  },
  vjp({ args, results }, [dy], g) {
    if (!dy) return [null, null, null];
    const x = one(args);
    const shape = dims(x.type);
    const axis = shape.length - 1;
    const wide = (v: typeof dy) => b.broadcast(g, v, shape, [...Array(axis).keys()]);
    const chosen = b.eq(g, x, wide(one(results)));
    const equals = b.maximum(g, b.cast(g, b.sum(g, chosen, [axis]), dtypeOf(dy.type)), 1);
    return [b.where(g, chosen, wide(b.div(g, dy, equals)), 0), null, null];
  },
  mapped: mapPointwise("cutoff"),
  shard: shardRowwise,
  flops: ({ args }) => 2 * keyBits * count(one(args).type),
  samples: (g) =>
    [
      { shape: [5, 7], dtype: "f32" },
      { shape: [2, 3, 20], dtype: "i32" },
      { shape: [9], dtype: "f32" },
    ].map(({ shape, dtype }) => {
      const of = (name: string, like: readonly number[]) => {
        const v = sample(g, dtype === "i32" ? "i32" : "f32", like, name);
        return b.mul(g, v, v);
      };
      const args = [sample(g, "f32", shape), of("weight", shape), of("amount", shape.slice(0, -1))];
      return b.make(g, "cutoff", args, none);
    }),
});
/** Bits of a float. The search determines the threshold bit by bit, with one sum over the row for each. */
export const keyBits = 32;

function cutoffOf(x: NdArray, weight: NdArray, amount: number, start: number, n: number): number {
  const places = Array.from({ length: n }, (_, i) => start + i).filter((i) => !Number.isNaN(at(x, i)));
  const falling = places.toSorted((i, j) => Number(at(x, j) > at(x, i)) - Number(at(x, i) > at(x, j)));
  let total = 0;
  for (const i of falling) {
    total += at(weight, i);
    if (total >= amount && total > 0) return at(x, i);
  }
  return Number.NEGATIVE_INFINITY;
}
