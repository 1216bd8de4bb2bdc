// Helpers for the op records: type checks, conversion of sizes to numbers, counts of operations, and inputs for samples.
import { TypeMismatch } from "../graph/builder.ts";
import type { Builder, NdArray, Node, Op, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { type DType, isFloat } from "../types/dtype.ts";
import { product } from "../types/numbers.ts";
import { equal, equalAll, type Size } from "../types/size.ts";
import { count, showType, type Type, type } from "../types/type.ts";
import type { OpAttrs, OpName } from "./attrs.ts";

/** Checks the type of the record of the op `name`, with the attributes of that op. */
export const define = <N extends OpName>(record: Op<OpAttrs[N]> & { readonly name: N }): Op<OpAttrs[N]> => record;

/** Throws a TypeMismatch if `fits` is false. */
export function need(fits: boolean, message: () => string): asserts fits {
  if (!fits) throw new TypeMismatch(message());
}
export const one = <T>(list: readonly T[]): T => item(list, 0);
export const two = <T>(list: readonly T[]): [T, T] => [item(list, 0), item(list, 1)];
export const three = <T>(list: readonly T[]): [T, T, T] => [item(list, 0), item(list, 1), item(list, 2)];

export function needSame(what: string, a: Type, b: Type): void {
  need(a.dtype === b.dtype, () => `${what} needs one dtype, not ${showType(a)} and ${showType(b)}`);
  need(equalAll(a.shape, b.shape), () => `${what} needs equal shapes, not ${showType(a)} and ${showType(b)}`);
}
export function needIndex(what: string, t: Type): void {
  need(t.dtype === "i32", () => `${what} needs an index of i32, not ${showType(t)}`);
}
export function needFloat(what: string, t: Type): void {
  need(isFloat(t.dtype), () => `${what} needs floats, not ${showType(t)}`);
}
export function needVector(what: string, t: Type, size: Size): void {
  need(
    t.dtype === "i32" && t.shape.length === 1 && equal(one(t.shape), size),
    () => `${what} needs ${showType(type("i32", [size]))}, not ${showType(t)}`,
  );
}
export function needAxis(what: string, axis: number, t: Type): Size {
  need(
    Number.isInteger(axis) && axis >= 0 && axis < t.shape.length,
    () => `${what} has no axis ${axis}: ${showType(t)}`,
  );
  return item(t.shape, axis);
}

/** The number of a size; throws while it is still symbolic (before elaboration). */
export function number(size: Size): number {
  need(typeof size === "number", () => "a size is not known yet");
  return size;
}
export const numbers = (shape: readonly Size[]): number[] => shape.map(number);
/** [before, n, after]: the product of the sizes before an axis, its own size, and the product of those after it. */
export function splitAtAxis(shape: readonly number[], axis: number): [before: number, n: number, after: number] {
  return [product(shape.slice(0, axis)), item(shape, axis), product(shape.slice(axis + 1))];
}
export const at = (a: NdArray, i: number): number => a.data[i] ?? Number.NaN;

/** A `flops` function: `each` operations per element of the first result. */
export const flopsPerElement =
  (each: number) =>
  (node: Node): number =>
    each * resultCount(node);
/** The number of elements of the first result. */
export const resultCount = (node: Node): number => count(one(node.results).type);
export const noFlops = (): number => 0;

/** An input of a sample. The tests fill each store with numbers: floats without ties, i32 in -8 .. 8, or bools. */
export function sample(g: Builder, dtype: DType, shape: readonly number[], name = "x"): Value {
  return one(
    g.add(g.op("param"), [], { store: `${name}:${dtype}[${shape.join()}]`, type: type(dtype, shape) }).results,
  );
}
