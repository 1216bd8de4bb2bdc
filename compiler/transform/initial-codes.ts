// What `init` assigns in place of a parameter that is kept as codes and scales (`runtime/codes.ts`).
import type { GraphBuilder } from "../graph/builder.ts";
import {
  dtypeOfScales,
  fp4Group,
  fp4PerByte,
  fp4Sizes,
  largestCode,
  shapeOfCodes,
  shapeOfScales,
} from "../graph/codes.ts";
import type { Quantised, Result, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import * as b from "../ops/build.ts";
import { dims } from "../types/type.ts";

/** The codes and scales of a parameter's result of `init`; any other result as it is. A column of zeros has scale 0. */
export function assignments(g: GraphBuilder, result: Result, by: Quantised | undefined): Result[] {
  if (!by || result.role !== "store") return [result];
  const x = b.cast(g, result.value, "f32");
  if (by.code === "fp4") return fp4Assignments(g, { ...result, value: x }, by);
  const scales = b.cast(g, b.cast(g, b.div(g, b.max(g, b.abs(g, x), by.axes, true), largestCode), "bf16"), "f32");
  const each = b.broadcastTo(g, scales, dims(x.type));
  const codes = b.where(g, b.eq(g, each, 0), 0, b.div(g, x, each));
  return [
    { ...result, value: b.cast(g, codes, "i8") },
    { role: "store", name: by.scales, value: scales },
  ];
}
/** The same of 4 bits. The largest of a group becomes the largest code. */
function fp4Assignments(g: GraphBuilder, result: Result, by: Quantised): Result[] {
  const shape = dims(result.value.type);
  const depth = shape.length - 2;
  const groups = shape.toSpliced(depth, 1, item(shape, depth) / fp4Group, fp4Group);
  const x = b.reshape(g, result.value, groups);
  const scales = b.cast(g, b.div(g, b.max(g, b.abs(g, x), [depth + 1], true), item(fp4Sizes, 7)), dtypeOfScales.fp4);
  const each = b.broadcastTo(g, b.cast(g, scales, "f32"), groups);
  const codes = fp4Codes(g, b.where(g, b.eq(g, each, 0), 0, b.div(g, x, each)));
  const pairs = b.reshape(g, codes, shape.toSpliced(depth, 1, item(shape, depth) / fp4PerByte, fp4PerByte));
  const [low, high] = [0, 1].map((i) => b.slice(g, pairs, depth + 1, i, 1)) as [Value, Value];
  const signed = b.where(g, b.ge(g, high, 8), b.sub(g, high, 16), high); // the highest bit is that of a byte's sign
  const bytes = b.reshape(g, b.add(g, low, b.mul(g, signed, 16)), shapeOfCodes(shape, by));
  return [
    { ...result, value: b.cast(g, bytes, "i8") },
    { role: "store", name: by.scales, value: b.reshape(g, scales, shapeOfScales(shape, by)) },
  ];
}
/** The codes of numbers, i32 from 0 to 15: the nearest, of two the even one. Beyond the largest there is none. */
function fp4Codes(g: GraphBuilder, x: Value): Value {
  const size = b.abs(g, x);
  const steps = fp4Sizes.slice(1).map((high, i) => {
    const middle = (item(fp4Sizes, i) + high) / 2;
    return b.cast(g, i % 2 === 0 ? b.gt(g, size, middle) : b.ge(g, size, middle), "i32");
  });
  const sign = b.mul(g, b.cast(g, b.lt(g, x, 0), "i32"), 8);
  return b.add(g, sign, b.addAll(g, steps));
}
