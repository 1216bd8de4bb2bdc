// A row's sum and the sum of squares about its mean, in one loop.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Value } from "../../compiler/graph/node.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { storesOf } from "../graphs.ts";
import { compareWidths, graphOf, kernelsOf, lowered } from "../host/compare.ts";
import { compiled, runSequence } from "../host/run.ts";

const test = suite("moments");
const rows = (g: GraphBuilder, n: number, dtype: "f32" | "bf16" = "f32"): Value =>
  b.cast(g, b.param(g, `x${n}`, { dtype, shape: [3, n] }), "f32");
/** The mean and the variance of each row. */
function statistics(g: GraphBuilder, x: Value): readonly [Value, Value] {
  const mean = b.mean(g, x, [1], true);
  const y = b.sub(g, x, mean);
  return [mean, b.mean(g, b.mul(g, y, y), [1], true)];
}
const textOf = (...results: Value[]): string =>
  kernelsOf([lowered(graphOf(results))])
    .map(({ text }) => text)
    .join("\n");

test("rows of any length, far from 0", () => {
  const g = new GraphBuilder(ops);
  const far = (n: number): Value => b.add(g, rows(g, n), 1000);
  const lengths = [1, 17, 64, 129, 256, 257, 511, 512, 513, 600, 767, 768, 1003];
  const graphs = [...lengths.map(far), b.mul(g, rows(g, 777, "bf16"), 3)].map((x) => graphOf([...statistics(g, x)]));
  const sequences = graphs.map((graph) => lowered(graph));
  assert.match(kernelsOf(sequences.slice(-1))[0]?.text ?? "", /moments<LANES>\(777, /);
  compareWidths("moments", graphs, sequences);
});
test("a row with an infinity, or with numbers whose squares overflow, has no variance; the others have theirs", () => {
  const g = new GraphBuilder(ops);
  const values = [...statistics(g, rows(g, 600))];
  const sequence = lowered(graphOf(values));
  const lib = compiled(kernelsOf([sequence]), ["-Og"]);
  for (const at of [0, 100, 500, 599]) {
    const stores = storesOf(values);
    const data = stores.get("x600")?.data ?? [];
    data[at] = Number.POSITIVE_INFINITY;
    data[1201] = 3e38;
    const [mean, variance] = runSequence(sequence, stores, 1, lib);
    assert.equal([mean?.[0], Number.isFinite(variance?.[0])], [Number.POSITIVE_INFINITY, false], `at ${at}`);
    assert.ok((variance?.[1] ?? Number.NaN) < 10);
    assert.is(variance?.[2], Number.POSITIVE_INFINITY);
  }
});
test("numbers whose squares can just be summed: no other sum of the merged blocks overflows", () => {
  const g = new GraphBuilder(ops);
  const values = [...statistics(g, rows(g, 600))];
  const stores = storesOf(values);
  const data = stores.get("x600")?.data ?? [];
  data.forEach((_, i) => (data[i] = i % 600 === 64 ? 1.7e19 : 0));
  const [, variance] = runSequence(lowered(graphOf(values)), stores);
  for (const found of variance ?? []) assert.ok(Math.abs(found / (1.7e19 ** 2 / 600) - 1) < 0.01, `${found}`);
});
test("squares about a mean that have a mean and squares of their own", () => {
  const g = new GraphBuilder(ops);
  const spread = (x: Value): Value => {
    const y = b.sub(g, x, b.mean(g, x, [1], true));
    return b.mul(g, y, y);
  };
  const graph = graphOf([b.mean(g, spread(spread(rows(g, 600))), [1])]);
  compareWidths("squares of squares", [graph], [lowered(graph)]);
});
test("only squares about the mean of the same numbers, of few lines", () => {
  const g = new GraphBuilder(ops);
  const [x, z] = [rows(g, 512), b.param(g, "z", { dtype: "f32", shape: [3, 512] })];
  const mean = b.mean(g, x, [1], true);
  const about = (of: Value, centre: Value): Value => {
    const y = b.sub(g, of, centre);
    return b.sum(g, b.mul(g, y, y), [1], true);
  };
  const long = Array.from({ length: 9 }).reduce((y: Value) => b.exp(g, y), x);
  const cases = {
    same: about(x, mean),
    "another row": about(z, mean),
    "not its mean": about(x, b.sum(g, x, [1], true)),
    "its largest": about(x, b.max(g, x, [1], true)),
    long: about(long, b.mean(g, long, [1], true)),
    "no square": b.sum(g, b.mul(g, b.sub(g, x, mean), x), [1], true),
  };
  assert.equal(
    Object.entries(cases).flatMap(([name, y]) => (textOf(y).includes("moments<") ? [name] : [])),
    ["same"],
  );
});
test("it prefetches as the two loops would that it replaces", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", { dtype: "f32", shape: [130, 256] });
  const [mean, variance] = statistics(g, x);
  const text = textOf(b.mul(g, b.sub(g, x, mean), variance));
  assert.equal(
    [...text.matchAll(/(?:prefetch_share\(256, \w+|forth<LANES>\(256, task), (\d+, \d+(?:, \d+)?)/g)].map((m) => m[1]),
    ["0, 3, 2", "2, 3"],
  );
});

test.run();
