// Shared by tests of graphs: every op's samples, and values for stores.
import { roundAll } from "../compiler/graph/array.ts";
import { GraphBuilder, TypeMismatch } from "../compiler/graph/builder.ts";
import type { NdArray, Node, Value } from "../compiler/graph/node.ts";
import { printGraph } from "../compiler/graph/print.ts";
import { rebuild, storeOf, topological } from "../compiler/graph/walk.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import { type DType, isFloat } from "../compiler/types/dtype.ts";
import { fnv1a, product } from "../compiler/types/numbers.ts";
import { dims, dtypeOf, type Type } from "../compiler/types/type.ts";
import { lcg } from "../runtime/measure/lcg.ts";

/** Makes an array, its data rounded to the dtype. */
export const ndarray = (dtype: DType, shape: readonly number[], data: ArrayLike<number>): NdArray => ({
  dtype,
  shape,
  data: roundAll(dtype, data),
});
/** The graph of some values, as text. */
export const printValues = (values: readonly Value[]): string =>
  printGraph({ name: "values", results: values.map((value, i) => ({ name: `${i}`, role: "output", value })) });

export interface Sample {
  readonly name: string;
  readonly node: Node;
  readonly g: GraphBuilder;
}
/** All ops' samples; those of one op share a builder. */
export const samples = (): Sample[] =>
  ops.flatMap((op) => {
    const g = new GraphBuilder(ops);
    return op.samples(g).map((node, i) => ({ name: `${op.name} ${i}`, node, g }));
  });

/** The samples with f32 replaced by bf16, for ops that accept it. */
export const bf16Samples = (): Sample[] =>
  samples().flatMap(({ name, node }) => {
    const g = new GraphBuilder(ops);
    try {
      const [result] = rebuild(g, node.results, (n, args) => {
        if (n.args.length > 0 || dtypeOf((n.results[0] as Value).type) !== "f32") return null;
        const { type, dtype, ...attrs } = n.attrs as { type?: Type; dtype?: DType };
        const short = {
          ...attrs,
          ...(type ? { type: { ...type, dtype: "bf16" } } : {}),
          ...(dtype ? { dtype: "bf16" } : {}),
        };
        return g.add(n.op, args, short).results;
      });
      const made = result?.node ?? node;
      const isShort = [...made.args, ...made.results].some((v) => v.type.dtype === "bf16");
      return isShort && made !== node ? [{ name: `${name} of bf16`, node: made, g }] : [];
    } catch (error) {
      if (error instanceof TypeMismatch) return [];
      throw error;
    }
  });

/** Products of codes of 8 bits and of 4, in each order that an operand may have in memory; rows of codes that are looked up; what is made codes. */
export function codeSamples(): Sample[] {
  const g = new GraphBuilder(ops);
  const x = (...shape: number[]): Value => b.param(g, `x ${shape.join()}`, { dtype: "f32", shape });
  const bf16 = (...shape: number[]): Value => b.param(g, `short ${shape.join()}`, { dtype: "bf16", shape });
  const short = (...shape: number[]): Value => b.cast(g, bf16(...shape), "f32");
  const codes = (...shape: number[]): Value =>
    b.cast(g, b.param(g, `codes ${shape.join()}`, { dtype: "i8", shape }), "f32");
  const fp4 = (...shape: number[]): Value => {
    const [lead, [k = 0, n = 0]] = [shape.slice(0, -2), shape.slice(-2)];
    const part = (name: string, dtype: DType, rows: number): Value =>
      b.param(g, `${name} ${shape.join()}`, { dtype, shape: [...lead, rows, n] });
    return b.fromFp4(g, part("fp4", "i8", k / 2), part("scales", "bf16", k / 32));
  };
  const { offsets } = b.route(g, b.param(g, "index", { dtype: "i32", shape: [23] }), 6);
  const tokens = b.param(g, "tokens", { dtype: "i32", shape: [7] });
  const made = {
    rows: b.dot(g, x(3, 70), codes(70, 37)),
    "rows of 40": b.dot(g, x(3, 70), codes(70, 40)),
    "many rows": b.dot(g, x(41, 33), codes(33, 80)),
    turned: b.dot(g, x(5, 150), b.swap(g, codes(29, 150))),
    "turned, many rows": b.dot(g, x(31, 90), b.swap(g, codes(40, 90))),
    groups: b.raggedDot(g, x(23, 19), codes(6, 19, 64), offsets),
    "bf16, deep": b.dot(g, short(3, 420), codes(420, 80)),
    "bf16, turned": b.dot(g, short(20, 288), b.swap(g, codes(70, 288))),
    "bf16, some rows": b.dot(g, short(40, 600), codes(600, 80)),
    "bf16, many rows": b.dot(g, short(130, 170), codes(170, 144)),
    "many rows, left turned": b.dot(g, b.swap(g, x(75, 140)), codes(75, 128)),
    "looked up": b.take(g, codes(11, 45), tokens),
    "looked up by four": b.take(g, codes(11, 48), tokens),
    "fp4, rows": b.dot(g, x(3, 96), fp4(96, 37)),
    "fp4, a group": b.dot(g, x(1, 32), fp4(32, 1)),
    "fp4, many rows": b.dot(g, x(41, 64), fp4(64, 80)),
    "fp4, turned": b.dot(g, x(5, 80), b.swap(g, fp4(64, 80))),
    "fp4, turned, many rows": b.dot(g, x(31, 90), b.swap(g, fp4(32, 90))),
    "fp4, a slice turned": b.dot(g, x(7, 32), b.slice(g, b.swap(g, fp4(96, 32)), 1, 40, 48)),
    "fp4, in pieces": b.dot(g, x(2, 4, 48), b.reshape(g, fp4(96, 37), [2, 48, 37])),
    "fp4, groups": b.raggedDot(g, x(23, 64), fp4(6, 64, 32), offsets),
    "fp4, groups turned": b.raggedDot(g, x(23, 48), b.swap(g, fp4(6, 32, 48)), offsets),
    "fp4, bf16": b.dot(g, bf16(3, 160), b.cast(g, fp4(160, 48), "bf16")),
    "fp4, bf16, many rows": b.dot(g, bf16(130, 64), b.cast(g, fp4(64, 144), "bf16")),
    "fp4, bf16, turned": b.dot(g, bf16(20, 144), b.swap(g, b.cast(g, fp4(64, 144), "bf16"))),
    made: b.cast(g, b.mul(g, x(5, 35), 60), "i8"),
  };
  return Object.entries(made).map(([name, { node }]) => ({ name: `codes, ${name}`, node, g }));
}
/** Values for every store that `values` depend on; they depend only on the store's name and type. */
export function storesOf(values: readonly Value[]): Map<string, NdArray> {
  const stores = new Map<string, NdArray>();
  for (const node of topological(values)) {
    const store = storeOf(node);
    const [result] = node.results;
    if (store !== null && result) stores.set(store, filled(store, dtypeOf(result.type), dims(result.type)));
  }
  return stores;
}
/** Random elements: floats in [-2, 2) without ties, integers from -8 to 8, codes from -127 to 127, booleans. */
export function filled(name: string, dtype: DType, shape: readonly number[]): NdArray {
  const random = generator(name);
  const next: Record<"float" | "i32" | "bool" | "i8", () => number> = {
    float: () => Math.fround(4 * random() - 2),
    i32: () => Math.floor(17 * random()) - 8,
    bool: () => Number(random() < 0.5),
    i8: () => Math.floor(255 * random()) - 127,
  };
  const draw = next[isFloat(dtype) ? "float" : (dtype as "i32" | "bool" | "i8")];
  return ndarray(dtype, shape, Array.from({ length: product(shape) }, draw));
}
export function generator(seed: string): () => number {
  const next = lcg(fnv1a(seed));
  return () => Math.floor(2 ** 28 * next()) / 2 ** 28; // its lowest bits have short periods
}
/** The sub-array x[i]. */
export function entry(x: NdArray, i: number): NdArray {
  const shape = x.shape.slice(1);
  const n = product(shape);
  return { dtype: x.dtype, shape, data: x.data.slice(i * n, (i + 1) * n) };
}
/** The largest absolute difference; infinite for NaN, unless both are NaN. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  const each = Array.from({ length: a.length }, (_, i) => Math.abs((a[i] ?? Number.NaN) - (b[i] ?? Number.NaN)));
  return each.reduce(
    (m, d, i) => (Object.is(a[i], b[i]) ? m : Number.isNaN(d) ? Number.POSITIVE_INFINITY : Math.max(m, d)),
    0,
  );
}
