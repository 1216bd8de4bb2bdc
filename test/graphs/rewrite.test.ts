// Every rule against its own left side, on numbers; the engine; and what a whole graph becomes.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { gradients } from "../../compiler/gradients/differentiate.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { NdArray, Value } from "../../compiler/graph/node.ts";
import { topological } from "../../compiler/graph/walk.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { algebra, finalAlgebra } from "../../compiler/rewrite/algebra.ts";
import { any, binary } from "../../compiler/rewrite/pattern.ts";
import { type Rule, rewrite, rule } from "../../compiler/rewrite/rule.ts";
import { attentionRule } from "../../compiler/transform/attention.ts";
import { sharedMatrixRule, sharedRightRule } from "../../compiler/transform/products/shared-matrix.ts";
import { untransposeGather, untransposeReduce } from "../../compiler/transform/products/untranspose.ts";
import { scatterRules } from "../../compiler/transform/scatters/scatter.ts";
import { singleUnitRules } from "../../compiler/transform/single-unit.ts";
import { dims } from "../../compiler/types/type.ts";
import { distance, generator, printValues, storesOf } from "../graphs.ts";

const test = suite("rewrite");

for (const r of finalAlgebra) test(r.name, () => checkRule(r));
test(untransposeReduce(0).name, () => checkRule(untransposeReduce(0), 1.1));
for (const r of [untransposeGather(0), sharedMatrixRule(0), sharedRightRule(0), attentionRule])
  test(r.name, () => checkRule(r, Number.POSITIVE_INFINITY));
for (const r of [...scatterRules, ...singleUnitRules]) test(r.name, () => checkRule(r, Number.POSITIVE_INFINITY));

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
test("what only resembles the left side of a rule keeps its values", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const [x, low, tall, index] = [
    p("x", 2, 3),
    p("low", 1, 3),
    p("tall", 3, 3),
    b.param(g, "i", { dtype: "i32", shape: [4] }),
  ];
  const nothing = b.param(g, "none", { dtype: "i32", shape: [0] });
  const values = [
    b.max(g, b.broadcast(g, x, [0, 2, 3], [1, 2]), [0]), // -Infinity, of no copies
    b.sum(g, b.broadcast(g, x, [5, 2, 3], [1, 2]), [0, 1]),
    b.cast(g, b.cast(g, b.add(g, b.mul(g, index, 1 << 26), 1), "f32"), "i32"),
    b.cast(g, b.cast(g, x, "bf16"), "f32"),
    b.scatter(g, p("rows", 0, 3), nothing, 4),
    b.lt(g, b.iota(g, 4), 3),
    b.ge(g, b.iota(g, 4), 1),
    b.ge(g, b.neg(g, b.iota(g, 4)), 0),
    b.add(g, b.concat(g, [low, tall], 0), b.concat(g, [tall, low], 0)),
    b.concat(
      g,
      [2, 3, 2].map((n) => b.broadcast(g, b.constant(g, n, "f32"), [n, 2], [])),
      0,
    ),
    b.slice(g, b.concat(g, [x, b.exp(g, x)], 1), 0, 1, 1),
    b.slice(g, b.concat(g, [x, b.exp(g, x)], 1), 1, 1, 3),
    b.slice(g, b.slice(g, x, 0, 1, 1), 1, 1, 2),
    b.sum(g, p("y", 3, 1, 2), [1, 2]),
    b.take(g, x, b.reshape(g, b.broadcast(g, b.iota(g, 3), [3, 2], [0]), [2, 3]), 1), // each place twice
    ...[b.sub(g, 2, b.iota(g, 3)), b.broadcast(g, b.iota(g, 3), [3, 2], [0])].map((index) =>
      b.make1(g, "gather", [x, index], { axis: 1, batch: 0 }),
    ),
  ];
  const stores = storesOf(values);
  const after = interpret(rewrite(g, values, finalAlgebra), stores);
  interpret(values, stores).forEach((want, i) => assert.equal(after[i], want, printValues(values.slice(i, i + 1))));
});
test("so does what only resembles a transposition's, a shared matrix's or a single unit's", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const cube = p("cube", 3, 3, 3);
  const place = (axis: number): Value => b.broadcast(g, b.iota(g, 9), [2, 9, 9], [axis]);
  const far = b.sub(g, place(1), place(2));
  const { offsets } = b.route(g, b.param(g, "index", { dtype: "i32", shape: [4] }), 3);
  const pairs = [p("rows", 4, 5), p("column", 3, 5, 1), offsets, p("more", 4, 5), p("other", 3, 5, 1)];
  const values = [
    b.sum(g, b.add(g, b.transpose(g, cube, [2, 0, 1]), b.transpose(g, cube, [1, 2, 0])), [2]),
    b.transpose(g, b.make1(g, "gather", [p("x", 2, 3, 4, 5), far], { axis: 1, batch: 1 }), [0, 4, 1, 2, 3]),
    b.dot(g, b.broadcast(g, p("wide", 40, 20), [40, 16, 20], [0, 2]), p("few", 40, 20, 3)),
    b.dot(g, p("few rows", 5, 3, 2, 20), b.broadcast(g, p("heads", 5, 20, 16), [5, 3, 20, 16], [0, 2, 3])),
    b.raggedDot(g, p("twice", 8, 5), p("column", 3, 5, 1), offsets, 2),
    b.make1(g, "ragged_dot", pairs, { unit: 1 }),
    b.raggedOuter(g, p("numbers", 4, 1), p("others", 4, 1), offsets),
  ];
  const shared = [sharedMatrixRule(0), sharedRightRule(0)];
  const rules = [untransposeReduce(0), untransposeGather(0), ...shared, ...singleUnitRules];
  const stores = storesOf(values);
  const after = interpret(rewrite(g, values, rules), stores);
  interpret(values, stores).forEach((want, i) => assert.equal(after[i], want, printValues(values.slice(i, i + 1))));
});
test("a batch's rows or columns are multiplied at once if each has few, by a matrix of many columns or rows", () => {
  const g = new GraphBuilder(ops);
  const p = (shape: readonly number[]): Value => b.param(g, shape.join(), { dtype: "f32", shape });
  const wide = (batch: number, shape: readonly number[]): Value => b.broadcastTo(g, p(shape), [batch, ...shape]);
  const isTaken = (r: Rule, v: Value): boolean => r.apply(v, g) !== null;
  const rows = (batch: number, m: number, shape: readonly [number, number, number] | readonly [number, number]) =>
    isTaken(sharedRightRule(0), b.dot(g, p([batch, ...shape.slice(0, -2), m, 20]), wide(batch, shape)));
  assert.equal([rows(3, 8, [4, 20, 16]), rows(2, 1, [4, 20, 16])], [true, true]);
  const far = [rows(3, 9, [4, 20, 16]), rows(3, 8, [4, 20, 15]), rows(1, 8, [4, 20, 16]), rows(3, 8, [20, 16])];
  assert.equal(far, [false, false, false, false]);
  const columns = (n: number, shape: readonly number[]): boolean =>
    isTaken(sharedMatrixRule(0), b.dot(g, wide(3, shape), p([3, ...shape.slice(0, -2), 20, n])));
  assert.equal([columns(8, [16, 20]), columns(9, [16, 20]), columns(8, [15, 20])], [true, false, false]);
});
test("so does what only resembles a histogram", () => {
  const g = new GraphBuilder(ops);
  const [list, table] = [[600], [40, 40]].map((shape) => b.param(g, `i ${shape.join()}`, { dtype: "i32", shape }));
  const meet = (fn: "eq" | "lt", x: Value, shape: readonly number[], axes: readonly number[], at: number): Value => {
    const range = b.broadcast(g, b.iota(g, shape[at] ?? 0), shape, [at]);
    return b.cast(g, b.binary(g, fn, b.broadcast(g, x, shape, axes), range), "i32");
  };
  const values = [
    b.sum(g, meet("eq", list as Value, [7, 600], [1], 1), [0]), // of the same positions
    b.sum(g, meet("eq", table as Value, [40, 40, 300], [0, 1], 2), [0]), // over rows
    b.sum(g, meet("eq", list as Value, [600, 1, 300], [0], 2), [0]),
    b.max(g, meet("eq", list as Value, [600, 300], [0], 1), [0]),
    b.sum(g, meet("lt", list as Value, [600, 300], [0], 1), [0]),
  ];
  const stores = storesOf(values);
  const after = interpret(rewrite(g, values, scatterRules), stores);
  interpret(values, stores).forEach((want, i) => assert.equal(after[i], want, `${i}`));
});
/** Elements computed. */
const cost = (v: Value): number =>
  topological([v]).reduce((sum, n) => sum + (n.op.lower === "leaf" ? 0 : n.op.flops(n)), 0);

test("rules are applied until none fits", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", { dtype: "f32", shape: [3, 5] });
  const zero = b.mul(g, b.sub(g, b.like(g, x, 2), 2), 7);
  const long = b.add(g, b.transpose(g, b.transpose(g, b.mul(g, x, b.exp(g, zero)), [1, 0]), [1, 0]), zero);
  assert.is(rewrite(g, [long], algebra)[0], x);
  const [row, shape] = [b.param(g, "row", { dtype: "f32", shape: [5] }), [3, 5]];
  const turned = b.neg(g, b.broadcast(g, b.neg(g, row), shape, [1])); // what a rule made is an argument of what it gave
  assert.is(rewrite(g, [turned], algebra)[0], b.broadcast(g, row, shape, [1]));
});
test("random graphs keep their values", () => {
  for (let seed = 0; seed < 150; seed++) {
    const g = new GraphBuilder(ops);
    const values = randomGraph(g, `graph ${seed}`);
    const after = rewrite(g, values, finalAlgebra);
    const stores = storesOf(values);
    const [one, two] = [values, after].map((v) => interpret(v, stores)) as [NdArray[], NdArray[]];
    one.forEach((x, i) => {
      const size = x.data.reduce((m, e) => Math.max(m, Math.abs(e)), 1);
      assert.ok(distance(x.data, two[i]?.data ?? []) < 1e-4 * size, `${printValues(values)}\n${printValues(after)}`);
    });
  }
});
/** Twenty nodes on one another: points that meet constants, and views that turn each other around. */
function randomGraph(g: GraphBuilder, seed: string): Value[] {
  const random = generator(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const made: Value[] = ["x", "y"].map((name) => b.param(g, name, { dtype: "f32", shape: [2, 3, 4] }));
  const steps: ((x: Value) => Value)[] = [
    (x) => b.neg(g, x),
    (x) => b.tanh(g, x),
    (x) => b.mul(g, x, pick([0.5, 1, -1, 2])),
    (x) => b.add(g, x, pick([0, 1, -0])),
    (x) => b.sub(g, pick([0, 1]), x),
    (x) => b.where(g, b.gt(g, x, 0), x, pick([x, b.neg(g, x)])),
    (x) =>
      b.transpose(
        g,
        x,
        pick([
          [0, 1, 2],
          [1, 0, 2],
          [2, 0, 1],
          [1, 2, 0],
        ]),
      ),
    (x) =>
      b.reshape(
        g,
        x,
        pick([
          [2, 3, 4],
          [4, 3, 2],
          [1, 6, 4],
          [24, 1, 1],
        ]),
      ),
    (x) => b.concat(g, [b.slice(g, x, 0, 0, 1), b.slice(g, x, 0, 1, (dims(x.type)[0] ?? 1) - 1)], 0),
    (x) => b.broadcastTo(g, b.sum(g, x, [1], true), dims(x.type)),
    (x) => b.cast(g, b.cast(g, x, "f64"), "f32"),
    (x) => {
      const same = made.filter((y) => dims(y.type).join() === dims(x.type).join());
      return b.binary(g, pick(["add", "sub", "mul", "max"] as const), x, pick(same));
    },
  ];
  for (let i = 0; i < 20; i++) made.push(pick(steps)(pick(made.slice(-4))));
  return made.slice(-2);
}
test("what is picked in a row by arithmetic on range is read and sent back by slices", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", { dtype: "f32", shape: [2, 50, 3] });
  const back = b.reshape(g, b.sub(g, b.iota(g, 50), 4), [1, 50]);
  const [y] = rewrite(g, [b.take(g, x, back, 1)], algebra) as [Value];
  for (const v of [y, ...gradients(g, [b.sum(g, y)], [x])])
    assert.not.ok(topological([v]).some(({ op }) => op.name === "gather" || op.name === "scatter"));
});
test("rules that take turns are named", () => {
  const g = new GraphBuilder(ops);
  const [x, y] = [b.param(g, "x", { dtype: "f32", shape: [] }), b.param(g, "y", { dtype: "f32", shape: [] })];
  const turn = rule("x - y = y - x", binary("sub", any("x"), any("y")), ({ x, y }, g) => b.sub(g, y, x));
  assert.throws(() => rewrite(g, [b.sub(g, x, y)], [...algebra, turn]), /x - y = y - x/);
});
test.run();
