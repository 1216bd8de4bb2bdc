// Compares tensors bit by bit.
import assert from "node:assert/strict";
import type { Tensor } from "../runtime/index.ts";
import type { StoredTensor } from "../runtime/storage/stored-tensor.ts";
import { convert } from "../runtime/tensor.ts";

/** Bits are equal, but those of NaN, which torch has several of. */
export function assertBits(got: ReadonlyMap<string, StoredTensor>, expected: ReadonlyMap<string, Tensor>): void {
  assert.deepEqual([...got.keys()].toSorted(), [...expected.keys()].toSorted());
  for (const [name, t] of expected) assert.deepEqual(bits(got.get(name)?.read()), bits(t), name);
}
export function bits(t: Tensor | undefined): unknown {
  assert.ok(t);
  const { data } = convert(t, "f32");
  assert.ok(data instanceof Float32Array);
  const words = new Uint32Array(data.buffer).map((word, i) => (Number.isNaN(data[i]) ? 0x7fc00000 : word));
  return { dtype: t.dtype, shape: t.shape, words };
}
