// Several workers in the interpreter: what each has of what one alone would have.
import * as assert from "uvu/assert";
import { interpretWorkers } from "../compiler/graph/interpret.ts";
import { type Graph, type NdArray, type Placement, runtimeInputs, type Store } from "../compiler/graph/node.ts";
import { valuesOf } from "../compiler/graph/walk.ts";
import { isSharded, replicated } from "../compiler/ops/sharding.ts";
import type { Sharing } from "../compiler/partition/routings.ts";
import { batchesOf, placementOf } from "../compiler/partition/store-placement.ts";
import { product } from "../compiler/types/numbers.ts";

type Placements = (store: string) => Placement;

/** The placement of each store, by its name. */
export function placementsOf(stores: readonly Store[], sharing: Sharing): Placements {
  const batches = batchesOf(stores);
  const known = new Map(stores.map((s) => [s.name, placementOf(s, sharing, batches)]));
  return (store) => known.get(store) ?? replicated;
}
const partsOf = (place: Placement): number =>
  isSharded(place) && place.sharding.kind === "even" ? place.sharding.parts : 1;
/** Worker `w`'s part of an array. */
export function partOf(x: NdArray, place: Placement, w: number): NdArray {
  const among = partsOf(place);
  if (!isSharded(place)) return x;
  const [n, after] = [(x.shape[place.axis] ?? 0) / among, product(x.shape.slice(place.axis + 1))];
  const shape = x.shape.with(place.axis, n);
  const data = Array.from({ length: product(shape) }, (_, i) => {
    const [outer, inner] = [Math.floor(i / (n * after)), i % (n * after)];
    return x.data[outer * n * among * after + (w % among) * n * after + inner] ?? Number.NaN;
  });
  return { ...x, shape, data: Float64Array.from(data) };
}
/** What all results of a graph are on each worker, nothing rounded, given what the stores of one alone hold. */
export function interpretOnWorkers(
  graph: Graph,
  held: ReadonlyMap<string, NdArray>,
  places: Placements,
  workers: number,
): NdArray[][] {
  const stores = Array.from({ length: workers }, (_, w) => {
    const own = [...held].map(([name, x]): [string, NdArray] => [name, partOf(x, places(name), w)]);
    return new Map([...own, [runtimeInputs.rank, { dtype: "i32" as const, shape: [], data: Float64Array.of(w) }]]);
  });
  return interpretWorkers(valuesOf(graph), stores, { exact: true });
}
/** A result of worker `w`; of a store that they share the parts of all in its run of workers. */
export function wholeOf(
  each: readonly NdArray[],
  { role, name }: Graph["results"][number],
  places: Placements,
  w: number,
): NdArray {
  const own = each[w] as NdArray;
  const place = role === "store" ? places(name) : replicated;
  if (!isSharded(place)) return own;
  if (place.axis !== 0) throw new Error("stores are cut along their first axis");
  const parts = partsOf(place);
  const run = each.slice(w - (w % parts)).slice(0, parts);
  const data = Float64Array.from(run.flatMap((x) => [...x.data]));
  return { ...own, shape: own.shape.with(0, (own.shape[0] ?? 0) * parts), data };
}
/** Of whole numbers, tokens or experts in place of squares, some of them none. */
export function squared(x: NdArray): NdArray {
  return { ...x, data: x.data.map((y) => (x.dtype === "i32" ? (Math.abs(y) % 6) - 1 : y * y)) };
}
/** NaN equals NaN only; else to 1e-9 of the largest number. */
export function requireEqual(what: string, found: NdArray | undefined, wanted: NdArray): void {
  assert.equal(found?.shape, wanted.shape, what);
  const most = wanted.data.reduce((m, x) => (Number.isFinite(x) ? Math.max(m, Math.abs(x)) : m), 1e-6);
  wanted.data.forEach((x, i) => {
    const y = found?.data[i] ?? Number.NaN;
    assert.ok(Object.is(x, y) || Math.abs(x - y) <= 1e-9 * most, `${what} [${i}]: ${y}, not ${x}`);
  });
}
