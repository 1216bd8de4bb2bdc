// Where kernels begin and end, in a time that goes with the length of the graph.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../compiler/graph/builder.ts";
import type { Graph, Value } from "../compiler/graph/node.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import { fuse } from "../compiler/transform/regions.ts";
import { type } from "../compiler/types/type.ts";

const test = suite("regions");
/** A sort after the other, and of each two results that one kernel makes. */
function sorts(n: number): Graph {
  const g = new GraphBuilder(ops);
  const values: Value[] = [];
  for (let i = 0, x = b.param(g, "x", type("f32", [64, 8])); i < n; i++) {
    [x] = b.sort(g, x);
    const y = b.exp(g, x);
    values.push(y, b.mul(g, y, x));
  }
  return { name: "sorts", results: values.map((value, i) => ({ role: "output", name: `${i}`, value })) };
}
/** How often a set is gone through, which is what a search for a way back does. */
function walks(work: () => void): number {
  const plain = Set.prototype[Symbol.iterator];
  let count = 0;
  const put = (value: typeof plain): boolean =>
    Reflect.defineProperty(Set.prototype, Symbol.iterator, { value, configurable: true, writable: true });
  put(function (this: Set<unknown>) {
    count++;
    return plain.call(this);
  });
  work();
  put(plain);
  return count;
}
const walksOf = (n: number): number => walks(() => assert.is(fuse(sorts(n)).length, 2 * n + 1));

test("a way back is looked for among what is as young as the group, not through all that was before", () =>
  assert.is(walksOf(200) - walksOf(100), walksOf(300) - walksOf(200)));
test.run();
