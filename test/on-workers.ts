// Several workers in the interpreter: what each has of what one alone would have.
import * as assert from "uvu/assert";
import { interpretWorkers } from "../compiler/graph/interpret.ts";
import { type Graph, type NdArray, type Placement, runtimeInputs, type Store } from "../compiler/graph/node.ts";
import { valuesOf } from "../compiler/graph/walk.ts";
import { isSharded } from "../compiler/ops/sharding.ts";
import { product } from "../compiler/types/numbers.ts";

type Shards = NonNullable<Store["shards"]>;
/** How stores are shared, by name: along one axis of all workers, or as `Store.shards` says. */
type Placements = (store: string) => Placement | Shards;

/** The placement of each store, given the stores as one worker has them. */
export function placementsOf(stores: readonly Store[]): Placements {
  const known = new Map(stores.map((s) => [s.name, s.shards ?? []]));
  return (store) => known.get(store) ?? [];
}
function shardsOf(place: Placement | Shards): Shards {
  if ("length" in place) return place;
  if (!isSharded(place) || place.sharding.kind !== "even") return [];
  const { parts, pieces } = place.sharding;
  return [{ axis: place.axis, parts, stride: 1, ...(pieces && { pieces }) }];
}
/** Worker `w`'s part of an array. */
const partOf = (x: NdArray, place: Placement | Shards, w: number): NdArray =>
  shardsOf(place).reduce((part, of) => cut(part, of, Math.floor(w / of.stride) % of.parts), x);
function cut(x: NdArray, { axis, parts, pieces = [1] }: Shards[number], part: number): NdArray {
  const [n, after] = [x.shape[axis] ?? 0, product(x.shape.slice(axis + 1))];
  const unit = n / pieces.reduce((all, size) => all + size);
  const isOwn = (at: number): boolean => {
    let [place, piece] = [at, 0];
    while (place >= (pieces[piece] ?? 1) * unit) place -= (pieces[piece++] ?? 1) * unit;
    return Math.floor((place * parts) / ((pieces[piece] ?? 1) * unit)) === part;
  };
  const data = x.data.filter((_, i) => isOwn(Math.floor(i / after) % n));
  return { ...x, shape: x.shape.with(axis, n / parts), data };
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
/** A result of worker `w`; of a store that they share the parts of all, its own as it has it. */
export function wholeOf(
  each: readonly NdArray[],
  { role, name }: Graph["results"][number],
  places: Placements,
  w: number,
): NdArray {
  const own = each[w] as NdArray;
  const shards = role === "store" ? shardsOf(places(name)) : [];
  const shape = shards.reduce((all, { axis, parts }) => all.with(axis, (all[axis] ?? 0) * parts), own.shape);
  const size = product(shape);
  const index = { dtype: own.dtype, shape, data: Float64Array.from({ length: size }, (_, i) => i) };
  const data = new Float64Array(size).fill(Number.NaN);
  for (const worker of [...each.keys(), w])
    partOf(index, shards, worker).data.forEach((at, i) => (data[at] = each[worker]?.data[i] ?? Number.NaN));
  return { ...own, shape, data };
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
/** Choices of which none is no expert: what rows hold that belong to none is not defined. */
export const everyRow = (x: NdArray): NdArray => ({ ...x, data: x.data.map((y) => Math.abs(y) % 4) });
