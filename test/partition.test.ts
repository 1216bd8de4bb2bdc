// The graphs of several workers, run by them together in the interpreter, against one graph of the whole: every op's samples with arguments cut
// along any axis, and training steps of whole programs.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadFile } from "../compiler/check/index.ts";
import { interpret } from "../compiler/graph/interpret.ts";
import type { Graph, NdArray, Placement, Store } from "../compiler/graph/node.ts";
import { valuesOf } from "../compiler/graph/walk.ts";
import { cutAt, isCut, whole } from "../compiler/ops/across.ts";
import { silent } from "../compiler/pass.ts";
import { toGraphs } from "../compiler/pipeline.ts";
import { partition } from "../compiler/transform/partition.ts";
import { dims, dtypeOf } from "../compiler/types/type.ts";
import { filled, samples, storesOf } from "./graphs.ts";
import { placesOf, together, wholeOf } from "./together.ts";

const test = suite("partition");

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
        const each = together(partition(g, graph, workers, places), stores, places, workers);
        for (const own of each)
          wanted.forEach((x, i) => requireEqual(`${name} by ${workers}, axis ${axis}`, own[i], x));
      }
  }
  assert.ok(cut > 300, `${cut} samples were cut`);
});

const example = loadFile(new URL("../examples/gpt-moe.moe", import.meta.url).pathname);
const sizes = { L: 1, D: 12, H: 8, Heads: 2, E: 6, V: 30, Context: 16 };
/** Squares are not negative, and tokens are tokens. */
function numbersOf(stores: readonly Store[]): Map<string, NdArray> {
  const of = (s: Store): NdArray => filled(s.name, dtypeOf(s.type), dims(s.type));
  return new Map(stores.map((s) => [s.name, s.name.endsWith(".v") || s.role === "input" ? squared(of(s)) : of(s)]));
}
const squared = (x: NdArray): NdArray => ({ ...x, data: x.data.map((y) => (x.dtype === "i32" ? Math.abs(y) : y * y)) });
for (const { workers, B, accumulate } of [
  { workers: 2, B: 6, accumulate: 1 },
  { workers: 3, B: 6, accumulate: 1 },
  { workers: 6, B: 6, accumulate: 1 },
  { workers: 2, B: 2, accumulate: 2 },
  { workers: 4, B: 4, accumulate: 1 }, // experts stay whole
  { workers: 3, B: 2, accumulate: 1 }, // the batch stays whole
])
  test(`a step of the demo by ${workers}, ${B} rows, ${accumulate} times`, () => {
    const of = { sizes: { B, T: 5 }, method: "train" };
    const entries = ["train", "evaluate"].map((name) => ({ ...of, name }));
    const asked = { sizes, entries, accumulate, precision: "f32" } as const;
    const [alone, each] = [1, workers].map((n) => toGraphs(example, { ...asked, workers: n }, silent()));
    const held = numbersOf(alone?.stores ?? []);
    const places = placesOf(alone?.stores ?? [], workers);
    for (const [g, graph] of (alone?.graphs ?? []).entries()) {
      const wanted = interpret(valuesOf(graph), held, { exact: true });
      const found = together(each?.graphs[g] as Graph, held, places, workers);
      for (const w of found.keys())
        graph.results.forEach((r, i) => {
          const own = wholeOf(
            found.map((x) => x[i] as NdArray),
            r,
            places,
            w,
          );
          requireEqual(`${graph.name}, ${r.role} ${r.name} of worker ${w}`, own, wanted[i] as NdArray);
        });
    }
  });
test.run();
