// A product that is only read transposed: which are made the other way round, and what they give.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../compiler/graph/builder.ts";
import { interpret } from "../compiler/graph/interpret.ts";
import type { Value } from "../compiler/graph/node.ts";
import { topological, valuesOf } from "../compiler/graph/walk.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import { turnProducts } from "../compiler/transform/turn.ts";
import { dims } from "../compiler/types/type.ts";
import { distance, storesOf } from "./graphs.ts";
import { graphOf } from "./host/compare.ts";

const test = suite("turn");
type Read = (g: GraphBuilder, product: Value, left: Value) => readonly Value[];

/** Whether x^T y [3, 4] of five rows, read so, is made as y^T x; its values are the same. */
function isTurned(read: Read, plain = false): boolean {
  const g = new GraphBuilder(ops);
  const p = (name: string, shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const left = plain ? p("x", [3, 5]) : b.swap(g, p("x", [5, 3]));
  const graph = graphOf(read(g, b.dot(g, left, p("y", [5, 4])), p("w", [4, 3])));
  const after = turnProducts(g, graph);
  const stores = storesOf(valuesOf(graph));
  const [want, got] = [graph, after].map((x) => interpret(valuesOf(x), stores, { exact: true }));
  want?.forEach((x, i) => assert.ok(distance(x.data, got?.[i]?.data ?? []) < 1e-12, String(i)));
  return topological(valuesOf(after)).some(
    (n) => n.op.name === "dot" && n.results.some((v) => dims(v.type).join() === "4,3"),
  );
}
test("read transposed only", () => {
  assert.ok(isTurned((g, x, w) => [b.add(g, b.swap(g, x), w)]));
  assert.ok(isTurned((g, x) => [b.swap(g, x)]));
});
test("stays: read both ways, read by a product, and no gradient of a weight", () => {
  assert.not(isTurned((g, x, w) => [b.add(g, b.swap(g, x), w), b.mul(g, x, 2)]));
  assert.not(isTurned((g, x) => [x, b.swap(g, x)]));
  assert.not(isTurned((g, x, w) => [b.dot(g, b.swap(g, x), b.swap(g, w))]));
  assert.not(isTurned((g, x, w) => [b.add(g, b.swap(g, x), w)], true));
});
test.run();
