// Every rule against its own left side, on numbers; the engine; and what a whole graph becomes.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../compiler/graph/builder.ts";
import { interpret } from "../compiler/graph/interpret.ts";
import type { Value } from "../compiler/graph/node.ts";
import { printValues } from "../compiler/graph/print.ts";
import { topological } from "../compiler/graph/walk.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import { afterGradients, algebra } from "../compiler/rewrite/algebra.ts";
import { any, binary } from "../compiler/rewrite/pattern.ts";
import { type Rule, rewrite, rule } from "../compiler/rewrite/rule.ts";
import { scatters } from "../compiler/transform/scatter.ts";
import { distance, storesOf } from "./graphs.ts";

const test = suite("rewrite");

for (const r of [...algebra, ...afterGradients]) test(r.name, () => checkRule(r));
for (const r of scatters) test(r.name, () => checkRule(r, Number.POSITIVE_INFINITY));

/** `factor`: how much more than the left side the right side may compute. */
function checkRule(r: Rule, factor = 1): void {
  const g = new GraphBuilder(ops);
  for (const left of r.examples(g)) {
    const right = r.apply(left, g);
    if (!right || right === left) throw new Error(`does not match its example:\n${printValues([left])}`);
    assert.ok(cost(right) <= factor * cost(left), `makes more:\n${printValues([left, right])}`);
    const [before, after] = interpret([left, right], storesOf([left]));
    assert.equal(after?.shape, before?.shape);
    assert.is(after?.dtype, before?.dtype);
    assert.ok(distance(before?.data ?? [], after?.data ?? [0]) < 1e-6, printValues([left, right]));
  }
}
/** Elements computed. */
const cost = (v: Value): number =>
  topological([v]).reduce((sum, n) => sum + (n.op.lower === "leaf" ? 0 : n.op.cost(n).flops), 0);

test("rules are applied until none fits", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", { dtype: "f32", shape: [3, 5] });
  const zero = b.mul(g, b.sub(g, b.like(g, x, 2), 2), 7);
  const long = b.add(g, b.transpose(g, b.transpose(g, b.mul(g, x, b.exp(g, zero)), [1, 0]), [1, 0]), zero);
  assert.is(rewrite(g, [long], algebra)[0], x);
});
test("rules that take turns are named", () => {
  const g = new GraphBuilder(ops);
  const [x, y] = [b.param(g, "x", { dtype: "f32", shape: [] }), b.param(g, "y", { dtype: "f32", shape: [] })];
  const turn = rule("x - y = y - x", binary("sub", any("x"), any("y")), ({ x, y }, g) => b.sub(g, y, x));
  assert.throws(() => rewrite(g, [b.sub(g, x, y)], [...algebra, turn]), /x - y = y - x/);
});
test.run();
