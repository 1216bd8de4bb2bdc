// Reads the results that PyTorch computed (test/peers) and compares with them.
import assert from "node:assert/strict";
import { readSafetensors, type Tensor } from "../runtime/index.ts";
import { convert, numbers } from "../runtime/tensor.ts";

export interface PeerTarget {
  readonly target: "host" | "reference";
  readonly precision: "f32" | "f64";
  /** The largest allowed norm of the difference, relative to the norm. */
  readonly tolerance: number;
}
export const peerTargets: readonly PeerTarget[] = [
  { target: "reference", precision: "f64", tolerance: 1e-10 },
  { target: "host", precision: "f32", tolerance: 1e-5 },
];

/** The tensors of a file, grouped by the part of their names before the first dot. */
export function readCases(path: string): Map<string, Map<string, Tensor>> {
  const all = new Map<string, Map<string, Tensor>>();
  for (const [key, tensor] of readSafetensors(path)) {
    const dot = key.indexOf(".");
    const name = key.slice(0, dot);
    all.set(name, (all.get(name) ?? new Map<string, Tensor>()).set(key.slice(dot + 1), tensor));
  }
  return all;
}
/** The tensors whose names begin with `prefix`, by the rest of their names. */
export const some = (tensors: ReadonlyMap<string, Tensor>, prefix: string): Map<string, Tensor> =>
  new Map([...tensors].flatMap(([k, t]) => (k.startsWith(prefix) ? [[k.slice(prefix.length), t]] : [])));

/** Converts f32 tensors to the working precision. */
export const given = (tensors: ReadonlyMap<string, Tensor>, precision: "f32" | "f64"): Map<string, Tensor> =>
  new Map([...tensors].map(([k, t]) => [k, t.dtype === "f32" ? convert(t, precision) : t]));

const norm = (x: Iterable<number>): number => Math.hypot(...x);
/** Asserts that shapes are equal and that the norm of the difference is at most `tolerance` times the norm. NaN fails. */
export function assertClose(
  name: string,
  got: Tensor | undefined,
  expected: Tensor | undefined,
  tolerance: number,
): void {
  assert.ok(got && expected, `${name} is missing`);
  assert.deepEqual(got.shape, expected.shape, name);
  const wanted = numbers(expected);
  const apart = norm(numbers(got).map((x, i) => x - (wanted[i] ?? Number.NaN)));
  assert.ok(apart <= tolerance * (norm(wanted) + 1e-6), `${name} is ${apart} of ${norm(wanted)} apart`);
}
