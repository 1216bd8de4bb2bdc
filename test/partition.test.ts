// The graphs of several workers, run by them together in the interpreter, against one graph of the whole: every op's samples with arguments cut
// along any axis, and training steps of whole programs.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadFile } from "../compiler/check/index.ts";
import type { Loaded } from "../compiler/check/modules.ts";
import { interpret, interpretTogether } from "../compiler/graph/interpret.ts";
import { type Graph, hidden, type NdArray, type Placement, type Store } from "../compiler/graph/node.ts";
import { valuesOf } from "../compiler/graph/walk.ts";
import { cutAt, isCut, whole } from "../compiler/ops/across.ts";
import { silent } from "../compiler/pass.ts";
import { type BuildRequest, toGraphs } from "../compiler/pipeline.ts";
import { partition, placeOf } from "../compiler/transform/partition.ts";
import { product } from "../compiler/types/numbers.ts";
import { dims } from "../compiler/types/type.ts";
import { filled, samples, storesOf } from "./graphs.ts";

const test = suite("partition");

/** Worker `w`'s part of an array. */
function partOf(x: NdArray, place: Placement, w: number, workers: number): NdArray {
  if (!isCut(place)) return x;
  const [n, after] = [(x.shape[place.axis] ?? 0) / workers, product(x.shape.slice(place.axis + 1))];
  const shape = x.shape.with(place.axis, n);
  const data = Array.from({ length: product(shape) }, (_, i) => {
    const [outer, inner] = [Math.floor(i / (n * after)), i % (n * after)];
    return x.data[outer * n * workers * after + w * n * after + inner] ?? Number.NaN;
  });
  return { ...x, shape, data: Float64Array.from(data) };
}
const rankOf = (w: number): NdArray => ({ dtype: "i32", shape: [], data: Float64Array.of(w) });
/** What each worker has in its stores. */
const shared = (
  stores: ReadonlyMap<string, NdArray>,
  places: (store: string) => Placement,
  workers: number,
): Map<string, NdArray>[] =>
  Array.from({ length: workers }, (_, w) => {
    const own = [...stores].map(([name, x]): [string, NdArray] => [name, partOf(x, places(name), w, workers)]);
    return new Map([...own, [hidden.rank, rankOf(w)]]);
  });
function requireEqual(what: string, found: NdArray | undefined, wanted: NdArray): void {
  assert.equal(found?.shape, wanted.shape, what);
  const most = wanted.data.reduce((m, x) => (Number.isFinite(x) ? Math.max(m, Math.abs(x)) : m), 1e-6);
  wanted.data.forEach((x, i) => {
    const y = found?.data[i] ?? Number.NaN;
    assert.ok(Object.is(x, y) || Math.abs(x - y) <= 1e-9 * most, `${what} [${i}]: ${y}, not ${x}`);
  });
}

test("every op, its arguments cut along any axis", () => {
  let cut = 0;
  for (const { name, node, g } of samples()) {
    const stores = storesOf(node.results);
    const wanted = interpret(node.results, stores, { exact: true });
    const graph: Graph = { name, results: node.results.map((value, i) => ({ role: "output", name: `${i}`, value })) };
    for (const workers of [2, 3, 5, 7, 23])
      for (const axis of [0, 1, 2, 3]) {
        const places = (store: string): Placement => {
          const n = stores.get(store)?.shape[axis] ?? 0;
          return n > 0 && n % workers === 0 ? cutAt(axis) : whole;
        };
        if (![...stores.keys()].some((s) => isCut(places(s)))) continue;
        cut++;
        const each = interpretTogether(
          valuesOf(partition(g, graph, workers, places)),
          shared(stores, places, workers),
          { exact: true },
        );
        for (const own of each)
          wanted.forEach((x, i) => requireEqual(`${name} by ${workers}, axis ${axis}`, own[i], x));
      }
  }
  assert.ok(cut > 300, `${cut} samples were cut`);
});

interface Program {
  readonly name: string;
  readonly program: Loaded;
  readonly request: Omit<BuildRequest, "precision">;
  readonly workers: readonly number[];
}
const training = (sizes: Record<string, number>): BuildRequest["entries"] => [
  { method: "train", name: "train", sizes },
  { method: "train", name: "evaluate", sizes },
];
const example = new URL("../examples/gpt-moe.moe", import.meta.url).pathname;
const small = { L: 1, D: 12, H: 8, Heads: 2, E: 6, V: 30, Context: 16 };
const programs: Program[] = [
  {
    name: "gpt-moe",
    program: loadFile(example),
    request: { sizes: small, entries: training({ B: 6, T: 5 }) },
    workers: [2, 3, 6],
  },
  {
    name: "gpt-moe, accumulated",
    program: loadFile(example),
    request: { sizes: small, accumulate: 2, entries: training({ B: 2, T: 5 }) },
    workers: [2],
  },
];

/** The numbers of each store of the whole; whole numbers are among few. */
function numbersOf(stores: readonly Store[]): Map<string, NdArray> {
  return new Map(
    stores.map((s) => {
      const x = filled(s.name, s.type.dtype === "float" ? "f32" : s.type.dtype, dims(s.type));
      const data = s.name.endsWith(".v")
        ? x.data.map((y) => y * y)
        : x.dtype === "i32"
          ? x.data.map((y) => Math.abs(y))
          : x.data;
      return [s.name, { ...x, data }];
    }),
  );
}
function compare({ name, program, request }: Program, workers: number): void {
  const asked: BuildRequest = { ...request, precision: "f32" };
  const [alone, each] = [toGraphs(program, asked, silent()), toGraphs(program, { ...asked, workers }, silent())];
  const numbers = numbersOf(alone.stores);
  const known = new Map(alone.stores.map((s) => [s.name, placeOf(s, workers)]));
  const places = (store: string): Placement => known.get(store) ?? whole;
  const own = shared(numbers, places, workers);
  for (const graph of each.graphs) {
    const one = alone.graphs.find((g) => g.name === graph.name);
    if (!one) throw new Error(`${graph.name} is not there alone`);
    const wanted = interpret(valuesOf(one), numbers, { exact: true });
    const found = interpretTogether(valuesOf(graph), own, { exact: true });
    one.results.forEach((r, i) => {
      const place = r.role === "store" ? places(r.name) : whole;
      const [at, x] = [graph.results.findIndex((q) => q.role === r.role && q.name === r.name), wanted[i] as NdArray];
      found.forEach((values, w) => {
        requireEqual(
          `${name} by ${workers}: ${graph.name}, ${r.role} ${r.name} of ${w}`,
          values[at],
          partOf(x, place, w, workers),
        );
      });
    });
  }
}
for (const p of programs) for (const workers of p.workers) test(`${p.name} by ${workers}`, () => compare(p, workers));
test.run();
