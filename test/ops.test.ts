import { suite } from "uvu";
import * as assert from "uvu/assert";
import { elements } from "../compiler/graph/array.ts";
import { GraphBuilder } from "../compiler/graph/builder.ts";
import { interpret } from "../compiler/graph/interpret.ts";
import type { NdArray, Node, Value } from "../compiler/graph/node.ts";
import { printValues } from "../compiler/graph/print.ts";
import { storeOf, topological } from "../compiler/graph/walk.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import { gradients } from "../compiler/transform/differentiate.ts";
import { isFloat } from "../compiler/types/dtype.ts";
import { count, dims, dtypeOf } from "../compiler/types/type.ts";

const test = suite("ops");

/** Numbers for every store that the values read: floats without ties, i32 in -8 .. 8, bools; the same for the same name. */
function storesOf(values: readonly Value[]): Map<string, NdArray> {
  const stores = new Map<string, NdArray>();
  for (const node of topological(values)) {
    const store = storeOf(node);
    const [result] = node.results;
    if (store !== null && result) stores.set(store, filled(store, result));
  }
  return stores;
}
function filled(name: string, value: Value): NdArray {
  const random = generator(name);
  const [dtype, shape] = [dtypeOf(value.type), dims(value.type)];
  const next = isFloat(dtype)
    ? () => Math.fround(4 * random() - 2)
    : dtype === "i32"
      ? () => Math.floor(17 * random()) - 8
      : () => Number(random() < 0.5);
  return { dtype, shape, data: Float64Array.from({ length: elements(shape) }, next) };
}
function generator(seed: string): () => number {
  let state = new TextEncoder().encode(seed).reduce((h, c) => Math.imul(h ^ c, 0x01000193), 0x811c9dc5) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 4) / 2 ** 28;
  };
}
const samples = (): { name: string; node: Node; g: GraphBuilder }[] =>
  ops.flatMap((op) => {
    const g = new GraphBuilder(ops);
    return op.samples(g).map((node, i) => ({ name: `${op.name} ${i}`, node, g }));
  });

test("eval gives what infer says", () => {
  for (const { name, node } of samples()) {
    const arrays = interpret(node.results, storesOf(node.results));
    arrays.forEach((a, i) => {
      assert.is(a.data.length, count((node.results[i] as Value).type), name);
      if (node.op.name !== "const")
        assert.not(
          a.data.some((x) => Number.isNaN(x)),
          `${name} gives NaN:\n${printValues(node.results)}`,
        );
    });
  }
});

test("every gradient against finite differences", () => {
  for (const { name, node, g } of samples())
    if (node.op.name !== "detach")
      checkGradients(
        name,
        node.results.filter((r) => isFloat(r.type.dtype)),
        g,
      );
});

/** Central differences of sum(result * weights) along each element of each float store. */
function checkGradients(name: string, results: readonly Value[], g: GraphBuilder): void {
  const stores = storesOf(results);
  const params = topological(results).filter((n) => storeOf(n) !== null && isFloat((n.results[0] as Value).type.dtype));
  const wrt = params.map((n) => n.results[0] as Value);
  const seeds = results.map((r, i) => b.param(g, `seed${i}`, r.type));
  seeds.forEach((s, i) => stores.set(`seed${i}`, filled(`seed${i}`, s)));
  const found = interpret(gradients(g, results, wrt, seeds), stores, { exact: true });
  const total = (): number => {
    const values = interpret([...results, ...seeds], stores, { exact: true });
    return results.reduce(
      (sum, _, i) =>
        sum +
        (values[i] as NdArray).data.reduce(
          (s, x, j) => s + x * ((values[results.length + i] as NdArray).data[j] ?? 0),
          0,
        ),
      0,
    );
  };
  params.forEach((node, i) => {
    const { data } = stores.get(storeOf(node) as string) as NdArray;
    data.forEach((x, j) => {
      const h = 1e-5 * Math.max(1, Math.abs(x));
      data[j] = x + h;
      const up = total();
      data[j] = x - h;
      const difference = (up - total()) / (2 * h);
      data[j] = x;
      const exact = found[i]?.data[j] ?? Number.NaN;
      assert.ok(
        Math.abs(exact - difference) <= 1e-6 * Math.max(1, Math.abs(exact)),
        `${name}, ${storeOf(node)} at ${j}: ${exact} but ${difference}`,
      );
    });
  });
}
test.run();
