import { suite } from "uvu";
import * as assert from "uvu/assert";
import { gradients } from "../../compiler/gradients/differentiate.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { NdArray, Value } from "../../compiler/graph/node.ts";
import { storeOf, topological } from "../../compiler/graph/walk.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { threefry } from "../../compiler/ops/random.ts";
import { binaries, unaries } from "../../compiler/ops/scalar.ts";
import { isFloat } from "../../compiler/types/dtype.ts";
import { count, dims, dtypeOf } from "../../compiler/types/type.ts";
import { distance, filled, printValues, samples, storesOf } from "../graphs.ts";

const test = suite("ops");

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

const undifferentiated = new Set(["detach", "attention_backward", "from_fp4"]);
test("every gradient against finite differences", () => {
  for (const { name, node, g } of samples()) {
    const floats = node.results.filter((r) => isFloat(r.type.dtype));
    if (!undifferentiated.has(node.op.name)) checkGradients(name, floats, g);
  }
});
test("gradients of compositions", () => {
  const g = new GraphBuilder(ops);
  const f32 = (name: string, shape: number[]) => b.param(g, name, { dtype: "f32", shape });
  const [x, w, mask] = [f32("x", [3, 5]), f32("w", [5, 4]), b.param(g, "mask", { dtype: "bool", shape: [3, 4] })];
  const logits = b.matmul(g, x, w);
  const masked = b.softmax(g, logits, -1, mask);
  const index = b.param(g, "index", { dtype: "i32", shape: [3, 1] });
  const places = b.rem(g, b.abs(g, b.param(g, "places", { dtype: "i32", shape: [2, 5] })), 4);
  const attrs = { axis: 2, batch: 1, mode: "set", size: 4 } as const;
  const put = b.make1(g, "scatter", [f32("to", [2, 3, 4]), places, f32("rows", [2, 3, 5])], attrs);
  const cases = {
    softmax: b.mul(g, b.softmax(g, logits), logits),
    "masked softmax": b.mul(g, masked, logits),
    logsumexp: b.sub(g, b.logsumexp(g, logits), b.squeeze(g, b.take(g, logits, index, -1), -1)),
    "batched matmul": b.matmul(g, f32("a", [2, 1, 3, 5]), f32("b", [3, 5, 2])),
    "vector times matrix": b.matmul(g, f32("v", [5]), w),
    "one value read twice": b.mul(g, b.add(g, x, x), x),
    sorted: b.sort(g, x)[0],
    mean: b.mul(g, b.sub(g, x, b.mean(g, x, [-1], true)), b.exp(g, x)),
    "rows put behind an axis that the index lacks, two of them in one place": put,
  };
  for (const [name, value] of Object.entries(cases)) checkGradients(name, [value], g);
});

test("the gradient of x to the 0 is 0, also where x is 0, as in PyTorch", () => {
  const g = new GraphBuilder(ops);
  const [x, y] = [b.param(g, "x", { dtype: "f32", shape: [4] }), b.param(g, "y", { dtype: "f32", shape: [4] })];
  const stores = new Map([
    ["x", { dtype: "f32" as const, shape: [4], data: Float64Array.of(0, 0, 0, 2) }],
    ["y", { dtype: "f32" as const, shape: [4], data: Float64Array.of(0, 1, 2, 0) }],
  ]);
  const z = b.pow(g, x, y);
  const [dx, dy] = interpret(gradients(g, [z], [x, y], [b.broadcastTo(g, b.constant(g, 1, "f32"), [4])]), stores);
  assert.equal([...(dx?.data ?? [])], [0, 1, 0, 0]);
  assert.equal([...(dy?.data ?? [])], [0, 0, 0, Math.fround(Math.LN2)]);
});

const array = (...data: number[]): NdArray => ({ dtype: "f32", shape: [data.length], data: Float64Array.from(data) });
test("of two equal numbers the first gets the gradient of the larger, or the smaller", () => {
  const g = new GraphBuilder(ops);
  const [x, y] = [b.param(g, "x", { dtype: "f32", shape: [3] }), b.param(g, "y", { dtype: "f32", shape: [3] })];
  const stores = new Map([
    ["x", array(1, 2, 3)],
    ["y", array(1, 3, 2)],
  ]);
  for (const [z, expected] of [
    [b.maximum(g, x, y), [1, 0, 1]],
    [b.minimum(g, x, y), [1, 1, 0]],
  ] as const) {
    const [dx, dy] = interpret(gradients(g, [z], [x, y], [b.like(g, z, 1)]), stores);
    assert.equal([...(dx?.data ?? [])], expected);
    assert.equal(
      [...(dy?.data ?? [])],
      expected.map((n) => 1 - n),
    );
  }
});

test("of several largest, or smallest, each gets an equal share of the gradient", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", { dtype: "f32", shape: [4] });
  for (const [fold, expected] of [
    [b.max, [0, 0.5, 0.5, 0]],
    [b.min, [0.5, 0, 0, 0.5]],
  ] as const) {
    const [dx] = interpret(gradients(g, [fold(g, x, [0])], [x]), new Map([["x", array(1, 3, 3, 1)]]));
    assert.equal([...(dx?.data ?? [])], expected);
  }
});

/** Central differences of sum(result * seed) along each element of each float store. */
function checkGradients(name: string, results: readonly Value[], g: GraphBuilder): void {
  const stores = storesOf(results);
  const wrt = topological(results).flatMap((n) =>
    storeOf(n) === null ? [] : n.results.filter((r) => isFloat(r.type.dtype)),
  );
  const seeds = results.map((r, i) => b.param(g, `seed ${i} of ${name}`, r.type));
  for (const s of seeds) stores.set(nameOf(s), filled(nameOf(s), dtypeOf(s.type), dims(s.type)));
  const found = interpret(gradients(g, results, wrt, seeds), stores, { exact: true });
  const sums = results.map((r, i) => b.sum(g, b.mul(g, r, seeds[i] ?? 1)));
  const total = (): number =>
    interpret(sums, stores, { exact: true }).reduce((sum, x) => sum + (x.data[0] ?? Number.NaN), 0);
  wrt.forEach((value, i) => {
    const { data } = stores.get(nameOf(value)) as NdArray;
    data.forEach((x, j) => {
      const expected = slope(data, j, x, total);
      const exact = found[i]?.data[j] ?? Number.NaN;
      const close = Math.abs(exact - expected) <= 1e-6 * Math.max(1, Math.abs(exact));
      assert.ok(close, `${name}, ${nameOf(value)} at ${j}: ${exact} but ${expected}`);
    });
  });
}
const nameOf = (v: Value): string => storeOf(v.node) ?? "";
function slope(data: Float64Array, j: number, x: number, total: () => number): number {
  const h = 1e-5 * Math.max(1, Math.abs(x));
  data[j] = x + h;
  const up = total();
  data[j] = x - h;
  const down = total();
  data[j] = x;
  return (up - down) / (2 * h);
}

test("scalar functions at the edges", () => {
  const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
  const least = -(2 ** 31);
  assert.is(binaries.rem.eval(-7, 3, "i32"), 2);
  assert.is(binaries.rem.eval(7, -3, "f32"), -2);
  assert.is(binaries.rem.eval(7, 0, "i32"), 0);
  assert.is(binaries.idiv.eval(-7, 2, "i32"), -4);
  assert.is(binaries.idiv.eval(5, 0, "i32"), 0);
  assert.is(binaries.idiv.eval(least, -1, "i32"), least);
  assert.is(binaries.mul.eval(65536, 65537, "i32"), 65536);
  assert.is(binaries.add.eval(2 ** 31 - 1, 1, "i32"), least);
  assert.is(unaries.neg.eval(least, "i32"), least);
  assert.equal(
    [0.5, 1.5, -0.5, 2.5].map((x) => unaries.round.eval(x, "f32")),
    [0, 2, -0, 2],
  );
  assert.ok(Number.isNaN(unaries.erf.eval(nan, "f64")));
  assert.is(unaries.erf.eval(-inf, "f64"), -1);
  assert.ok(Math.abs(unaries.erf.eval(0.5, "f64") - 0.5204998778130465) < 1e-15);
  assert.ok(Math.abs(1 - unaries.erf.eval(4, "f64") - 1.541725790028e-8) < 1e-15);
  assert.is(unaries.unit.eval(-1, "i32"), 1 - 2 ** -24);
});
test("casts saturate, wrap and round", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", { dtype: "f32", shape: [5] });
  const stores = new Map([
    ["x", { dtype: "f32" as const, shape: [5], data: Float64Array.of(-1.9, 3e9, -3e9, Number.NaN, 1.00390625) }],
  ]);
  const [whole, short] = interpret([b.cast(g, x, "i32"), b.cast(g, x, "bf16")], stores);
  assert.equal([...(whole?.data ?? [])], [-1, 2 ** 31 - 1, -(2 ** 31), 0, 1]);
  assert.is(short?.data[4], 1); // halfway between 1 and 1.0078125: to the even one
});
test("of no elements: the ends of what numbers there are", () => {
  const g = new GraphBuilder(ops);
  const ends = (["f32", "i32"] as const).flatMap((dtype) => {
    const none = b.param(g, dtype, { dtype, shape: [0] });
    const stores = new Map([[dtype, { dtype, shape: [0], data: new Float64Array() }]]);
    return interpret([b.sum(g, none), b.max(g, none, [0]), b.min(g, none, [0])], stores).map(({ data }) => data[0]);
  });
  assert.equal(ends, [0, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, 0, -(2 ** 31), 2 ** 31 - 1]);
});
test("threefry agrees with the published vectors", () => {
  assert.is(threefry(0, 0, 0, 0) >>> 0, 0x6b200159);
  assert.is(threefry(-1, -1, -1, -1) >>> 0, 0x1cb996fc);
  assert.is(threefry(0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3) >>> 0, 0xc4923a9c);
});
test("random rows are numbered by `base`, whatever their place", () => {
  const g = new GraphBuilder(ops);
  const [key, base] = [
    b.param(g, "key", { dtype: "i32", shape: [2] }),
    b.param(g, "base", { dtype: "i32", shape: [3] }),
  ];
  const stores = new Map([
    ["key", filled("key", "i32", [2])],
    ["base", { dtype: "i32" as const, shape: [3], data: Float64Array.of(4, 0, 2) }],
  ]);
  const [all, some] = interpret([b.random(g, key, 5, [6, 3]), b.random(g, key, 5, [3], base)], stores);
  const rows = [4, 0, 2].flatMap((r) => [...(all?.data.subarray(3 * r, 3 * r + 3) ?? [])]);
  assert.is(distance(rows, some?.data ?? []), 0);
});
test("the gradient of a transposed operand is made as that lies, so that nothing reads it turned", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const product = b.dot(g, b.swap(g, p("u", 5, 3)), b.swap(g, p("w", 4, 5)));
  const turned = product.node.op.vjp(product.node, [p("dz", 3, 4)], g);
  const shapes = turned.map((v) => v?.node.op.name === "transpose" && v.node.args[0]?.type.shape);
  assert.equal(shapes, [
    [5, 3],
    [4, 5],
  ]);
});
test.run();
