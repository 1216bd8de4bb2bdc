// Tensors that stay in their file or their store until they are needed, so that a model is not in memory twice.
import type { DType } from "../../compiler/types/dtype.ts";
import type { Tensor } from "../executable.ts";
import { part } from "../tensor.ts";

export interface StoredTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Its elements, read anew with each call; with an index of its first axes, those of that part. */
  read(index?: readonly number[]): Tensor;
}
export type StoredTensors = ReadonlyMap<string, StoredTensor>;

export const inMemory = (t: Tensor): StoredTensor => ({
  dtype: t.dtype,
  shape: t.shape,
  read: (index = []) => (index.length === 0 ? t : part(t, index)),
});
export const allInMemory = (tensors: ReadonlyMap<string, Tensor>): StoredTensors =>
  new Map([...tensors].map(([name, t]) => [name, inMemory(t)]));
export const readAll = (tensors: StoredTensors): Map<string, Tensor> =>
  new Map([...tensors].map(([name, t]) => [name, t.read()]));

/** What `of` makes of a tensor when it is read. `of` maps the last two axes, so a part of the others is mapped alone. */
export const derived = (t: StoredTensor, shape: readonly number[], of: (t: Tensor) => Tensor): StoredTensor => ({
  dtype: t.dtype,
  shape,
  read: (index = []) => (index.length <= shape.length - 2 ? of(t.read(index)) : part(of(t.read()), index)),
});
