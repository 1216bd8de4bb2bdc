// Elementwise ops: each element of the result depends on one element of each operand.
import type { Builder, Placement, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { type DType, isFloat } from "../types/dtype.ts";
import { dtypeOf, showType, type } from "../types/type.ts";
import { type BinaryName, none, type UnaryName } from "./attrs.ts";
import * as b from "./build.ts";
import {
  at,
  define,
  flopsPerElement,
  need,
  needSame,
  noFlops,
  one,
  resultCount,
  sample,
  three,
  two,
} from "./common.ts";
import { mapPointwise } from "./mapped.ts";
import { isOfFp4 } from "./pairs.ts";
import { binaries, unaries } from "./scalar.ts";
import * as sharding from "./sharding.ts";

export const unary = define<"unary">({
  name: "unary",
  doc: "fn of each element",
  lower: "point",
  infer([x], { fn }) {
    need(x !== undefined, () => `${fn} needs an operand`);
    const result = unaries[fn].resultDType(x.dtype);
    need(result !== null, () => `${fn} has no meaning for ${showType(x)}`);
    return [type(result, x.shape)];
  },
  eval(args, { fn }) {
    const x = one(args);
    const f = unaries[fn].eval;
    return [x.data.map((e) => f(e, x.dtype))];
  },
  vjp: ({ args, results, attrs }, [dy], g) => [dy ? unaries[attrs.fn].vjp(g, dy, one(args), one(results)) : null],
  mapped: mapPointwise("unary"),
  shard: sharding.shardPointwise,
  flops: (node) => unaries[node.attrs.fn].flops * resultCount(node),
  samples: (g) => (Object.keys(unaries) as UnaryName[]).flatMap((fn) => unarySamples(g, fn).map((v) => v.node)),
  displayName: (attrs) => attrs.fn,
});
function unarySamples(g: Builder, fn: UnaryName): Value[] {
  const dtypes = (["f32", "bf16", "i32", "bool"] as const).filter((t) => unaries[fn].resultDType(t) !== null);
  return dtypes.map((t) => {
    const x = sample(g, t, [3, 7]);
    return b.unary(g, fn, unaries[fn].positive ? b.add(g, b.mul(g, x, x), 0.01) : x);
  });
}

export const binary = define<"binary">({
  name: "binary",
  doc: "fn of two elements, of equal shapes and dtypes",
  lower: "point",
  infer(args, { fn }) {
    const [x, y] = two(args);
    needSame(fn, x, y);
    const result = binaries[fn].resultDType(x.dtype);
    need(result !== null, () => `${fn} has no meaning for ${showType(x)}`);
    return [type(result, x.shape)];
  },
  eval(args, { fn }) {
    const [x, y] = two(args);
    const f = binaries[fn].eval;
    return [x.data.map((e, i) => f(e, at(y, i), x.dtype))];
  },
  vjp({ args, results, attrs }, [dz], g) {
    const [x, y] = two(args);
    return dz ? binaries[attrs.fn].vjp(g, dz, x, y, one(results)) : [null, null];
  },
  mapped: mapPointwise("binary"),
  shard: (node, args) =>
    adds(node.attrs.fn) && args.every((p) => isSum(p) && sharding.samePlacement(p, item(args, 0)))
      ? { args, results: args.slice(0, 1) }
      : sharding.shardPointwise(node, args),
  flops: (node) => binaries[node.attrs.fn].flops * resultCount(node),
  samples: (g) => (Object.keys(binaries) as BinaryName[]).flatMap((fn) => binarySamples(g, fn).map((v) => v.node)),
  displayName: (attrs) => attrs.fn,
});
const adds = (fn: BinaryName): boolean => fn === "add" || fn === "sub";
const isSum = (p: Placement): boolean => p.kind === "partial" && p.fn === "sum";
function binarySamples(g: Builder, fn: BinaryName): Value[] {
  const dtypes = (["f32", "i32", "bool"] as const).filter((t) => binaries[fn].resultDType(t) !== null);
  return dtypes.map((t) => {
    const [x, y] = [sample(g, t, [5, 3], "x"), sample(g, t, [5, 3], "y")];
    return b.binary(g, fn, fn === "pow" ? b.add(g, b.abs(g, x), 0.5) : x, y);
  });
}

export const select = define<"select">({
  name: "select",
  doc: "(cond bool, a, b): a where cond, else b",
  lower: "point",
  infer(args) {
    const [cond, x, y] = three(args);
    need(cond.dtype === "bool", () => `where needs a condition of bool, not ${showType(cond)}`);
    needSame("where", x, y);
    needSame("where", type("bool", x.shape), cond);
    return [x];
  },
  eval(args) {
    const [cond, x, y] = three(args);
    return [x.data.map((e, i) => (at(cond, i) === 0 ? at(y, i) : e))];
  },
  vjp: ({ args }, [dz], g) =>
    dz ? [null, b.where(g, one(args), dz, 0), b.where(g, one(args), 0, dz)] : [null, null, null],
  mapped: mapPointwise("select"),
  shard: sharding.shardPointwise,
  flops: flopsPerElement(1),
  samples: (g) =>
    (["f32", "i32", "bool"] as const).map(
      (t) => b.where(g, sample(g, "bool", [4, 3], "c"), sample(g, t, [4, 3], "a"), sample(g, t, [4, 3], "b")).node,
    ),
});

/** The conversion of `cast`. To i32: truncated and saturating, NaN gives 0. To bool: whether it is not zero. To a float or i8: the nearest. */
function converted(x: number, from: DType, to: DType): number {
  if (to === "bool") return Number(x !== 0);
  if (to !== "i32" || !isFloat(from)) return x;
  return Number.isNaN(x) ? 0 : Math.trunc(Math.min(Math.max(x, -(2 ** 31)), 2 ** 31 - 1));
}
export const cast = define<"cast">({
  name: "cast",
  doc: "x as `dtype`: floats to i32 towards zero, saturating, NaN to 0; to bool: x != 0; to a float or i8: the nearest, ties to even, i8 saturating",
  lower: "point",
  infer: (args, { dtype }) => [type(dtype, one(args).shape)],
  eval(args, _, types) {
    const x = one(args);
    return [x.data.map((e) => converted(e, x.dtype, dtypeOf(one(types))))];
  },
  vjp({ args }, [dy = null], g) {
    return [dy && b.make1(g, "cast", [dy], { dtype: dtypeOf(one(args).type) })];
  },
  mapped: mapPointwise("cast"),
  shard: sharding.shardPointwise,
  flops: (node) => (one(node.args).type.dtype === "i8" || isOfFp4(node) ? 0 : resultCount(node)), // kernels load codes as numbers
  samples: (g) =>
    (["f32", "bf16", "i32", "bool"] as const).flatMap((from) =>
      (["f32", "bf16", "i32", "bool"] as const)
        .filter((to) => to !== from)
        .map((to) => b.cast(g, sample(g, from, [11]), to).node),
    ),
  showAttrs: (attrs) => attrs.dtype,
});

export const detach = define<"detach">({
  name: "detach",
  doc: "x, through which no gradient flows",
  lower: "point",
  infer: (args) => [one(args)],
  eval: (args) => [one(args).data],
  vjp: () => [null],
  mapped: mapPointwise("detach"),
  shard: sharding.shardPointwise,
  flops: noFlops,
  samples: (g) => [b.make(g, "detach", [sample(g, "f32", [4])], none)],
});

export const after = define<"after">({
  name: "after",
  doc: "(x, ...first) -> x in memory of its own, made when all of `first` are: an order that lets memory be used again",
  lower: "point",
  infer: (args) => [one(args)],
  eval: (args) => [one(args).data],
  vjp: ({ args }, [dy = null]) => args.map((_, i) => (i === 0 ? dy : null)),
  mapped: mapPointwise("after"),
  shard: (_, args) => ({ args, results: args.slice(0, 1) }),
  flops: noFlops,
  samples: (g) => {
    const [x, y] = [sample(g, "f32", [5, 3]), sample(g, "f32", [7], "y")];
    return [b.after(g, b.exp(g, x), [b.sum(g, y)]).node];
  },
});
