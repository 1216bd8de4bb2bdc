// Shared by tests of graphs: every op's samples, and values for stores.
import { ndarray } from "../compiler/graph/array.ts";
import { GraphBuilder, TypeMismatch } from "../compiler/graph/builder.ts";
import type { NdArray, Node, Value } from "../compiler/graph/node.ts";
import { rebuild, storeOf, topological } from "../compiler/graph/walk.ts";
import { ops } from "../compiler/ops/list.ts";
import { type DType, isFloat } from "../compiler/types/dtype.ts";
import { fnv1a, product } from "../compiler/types/numbers.ts";
import { dims, dtypeOf, type Type } from "../compiler/types/type.ts";
import { lcg } from "../runtime/measure/lcg.ts";

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
/** Random elements: floats in [-2, 2) without ties, integers from -8 to 8, booleans. */
export function filled(name: string, dtype: DType, shape: readonly number[]): NdArray {
  const random = generator(name);
  const next: Record<"float" | "i32" | "bool", () => number> = {
    float: () => Math.fround(4 * random() - 2),
    i32: () => Math.floor(17 * random()) - 8,
    bool: () => Number(random() < 0.5),
  };
  const draw = next[isFloat(dtype) ? "float" : (dtype as "i32" | "bool")];
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
