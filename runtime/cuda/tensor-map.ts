// Tensor maps: what the driver is told of a buffer, so that TMA can copy boxes of it.
import { Bug } from "../../compiler/diagnostic.ts";
import type { BoxOf, Layout } from "../../compiler/plan/plan.ts";

/** Of bf16, as cuTensorMapEncodeTiled takes it: the innermost axis first, strides in bytes of all axes but that one. */
export interface TensorMap {
  /** Of the kernel's arguments. */
  readonly arg: number;
  readonly dims: readonly number[];
  readonly strides: readonly number[];
  readonly box: readonly number[];
}
export function tensorMap(
  { shape, layout }: { readonly shape: readonly number[]; readonly layout: Layout },
  { arg, box }: BoxOf,
): TensorMap {
  if (layout.kind !== "rows" || shape.length !== box.length)
    throw new Bug("a box of a buffer that is no tensor of rows");
  const dims = shape.toReversed();
  const strides: number[] = [];
  for (let d = 1; d < dims.length; d++)
    strides.push(d === 1 ? layout.pitch * 2 : (strides[d - 2] ?? 0) * (dims[d - 1] ?? 0));
  return { arg, dims, strides, box: box.toReversed() };
}
