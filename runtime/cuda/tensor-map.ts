// Tensor maps: how the driver is told the shape and strides of a buffer, so that TMA can copy boxes of it.
import { Bug } from "../../compiler/diagnostic.ts";
import type { Layout, TensorMapBox } from "../../compiler/plan/plan.ts";

/** A map of bf16 elements with the arguments of cuTensorMapEncodeTiled: innermost axis first; `strides` in bytes, of all axes but the innermost. */
export interface TensorMap {
  /** Index of the kernel's argument. */
  readonly arg: number;
  readonly dims: readonly number[];
  readonly strides: readonly number[];
  readonly box: readonly number[];
}
/** `shift`: offset in bytes, a multiple of 16, at which the argument begins in its buffer; the map describes the tensor from there on. */
export function tensorMap(
  { shape, layout }: { readonly shape: readonly number[]; readonly layout: Layout },
  { arg, box }: TensorMapBox,
  shift = 0,
): TensorMap {
  if (layout.kind !== "rows" || shape.length !== box.length)
    throw new Bug("a box of a buffer that is no tensor of rows");
  const [columns = 0, ...rows] = shape.toReversed();
  if (shift % 16 !== 0) throw new Bug("a box of a buffer from an address that is no multiple of 16");
  let [stride, before] = [layout.pitch * 2, Math.floor(shift / (layout.pitch * 2))];
  const [dims, strides] = [[columns - (shift % stride) / 2], [] as number[]];
  for (const size of rows) {
    strides.push(stride);
    dims.push(size - (before % size));
    before = Math.floor(before / size);
    stride *= size;
  }
  return { arg, dims, strides, box: box.toReversed() };
}
