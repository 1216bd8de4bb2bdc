// Attention's kernels of the host against the interpreter: blocks of queries and of keys, masks, few queries.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { emitHost } from "../../compiler/emit/unit.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { NdArray, Value } from "../../compiler/graph/node.ts";
import { item } from "../../compiler/item.ts";
import { type Choices, hostChoices } from "../../compiler/kernel/schedule.ts";
import { lower } from "../../compiler/lower/lower.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { full } from "../full.ts";
import { distance, ndarray, storesOf } from "../graphs.ts";
import { compare, compareOps, graphOf, kernelsOf, lowered, opSamples, valuesOf } from "../host/compare.ts";
import { x64 } from "../host/machine.ts";
import { compiled, runSequence, runSequences } from "../host/run.ts";
import { gptStep } from "../layers.ts";
import { compareEnormous, enormous, firstAndNear, masked, masks } from "../masks.ts";

const test = suite("attention-kernels");

const transposed = { queries: 16, heads: 1, maxGradients: 1 << 20 };
const attention = { ...hostChoices.attention, transposed, fewQueries: 0, tile: () => ({ rows: 4, block: 16 }) };
const small: Choices = { ...hostChoices, attention };
/** Every query is one of few. */
const few: Choices = {
  ...hostChoices,
  attention: { ...attention, transposed: { ...transposed, heads: 99 }, fewQueries: 99 },
};
test("attention over several blocks of queries and of keys, its scores transposed", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const positions = (n: number, start: number): Value => b.broadcastTo(g, b.sub(g, b.iota(g, n), start), [2, n]);
  const [q, k, v] = [p("q", 2, 2, 2, 37, 5), p("k", 2, 2, 53, 5), p("v", 2, 2, 53, 6)];
  const args = [q, k, v, positions(37, -9), positions(53, 2)];
  const attrs = { scale: 2, bounds: [{ at: 1, seen: -1, plus: 0, pair: 0 }] };
  const { results } = b.make(g, "attention", args, attrs);
  const flows = [p("delta", 2, 2, 2, 37), p("dout", 2, 2, 2, 37, 6)];
  const back = b.make(g, "attention_backward", [...args, results[1] as Value, ...flows], attrs);
  const graph = graphOf([...results, ...back.results]);
  const sequence = lower(graph, { emit: emitHost, choices: small });
  const names = kernelsOf([sequence]).map((x) => x.name);
  for (const kind of ["transposed", "heads"])
    assert.ok(
      names.some((name) => name.startsWith(`attention_${kind}`)),
      kind,
    );
  const stores = storesOf(valuesOf(graph));
  const [got = [], other] = [1, 3].map((threads) => runSequence(sequence, stores, threads));
  assert.equal(other, got);
  compare("attention", graph, got);
});
test("attention under every kind of mask, in one block and in many, of queries and of keys", () => {
  const shape = { B: 2, G: 1, R: 2, T: 83, U: 90, A: 5, C: 6 };
  const ways = [small, few];
  const inTurn = Object.keys(masks).map((mask, i) => [mask, i % 2] as const);
  const all = [...inTurn, ["first keys and a window", 0], ["global tokens", 1]] as const;
  const runs = all.map(([mask, way], i) => {
    const cap = i % 4 < 2 ? 0.9 : undefined;
    const [, graph] = masked(mask, { shape, dtype: "f32", scale: way === 0 ? 0.7 : -0.7, sunk: i % 3 === 0, cap });
    return { mask, graph, sequence: lower(graph, { emit: emitHost, choices: ways[way] ?? small }) };
  });
  const lib = compiled(kernelsOf(runs.map((x) => x.sequence)), ["-Og"]);
  const given = runs.map(({ graph, sequence }) => ({ sequence, stores: storesOf(valuesOf(graph)) }));
  const [one = [], three] = [1, 3].map((threads) => runSequences(given, threads, lib));
  for (const [i, { mask, graph }] of runs.entries()) {
    assert.equal(three?.[i], one[i], mask);
    compare(mask, graph, one[i] ?? []);
  }
});
test("where scores are far above a cap its slope keeps its digits", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const ones = (name: string, ...shape: number[]): Value => b.add(g, b.mul(g, p(name, ...shape), 0.05), 1);
  const args = [ones("q", 1, 1, 1, 37, 8), ones("k", 1, 1, 53, 8), p("v", 1, 1, 53, 6)];
  const attrs = { scale: 0.25, cap: 0.3, bounds: [] }; // a score is 6.7 times the cap, the slope 6e-6
  const { results } = b.make(g, "attention", args, attrs);
  const flows = [p("delta", 1, 1, 1, 37), p("dout", 1, 1, 1, 37, 6)];
  const back = b.make(g, "attention_backward", [...args, results[1] as Value, ...flows], attrs).results.slice(0, 2);
  const stores = storesOf(back);
  const wants = interpret(back, stores, { exact: true });
  for (const choices of [small, few])
    runSequence(lower(graphOf(back), { emit: emitHost, choices }), stores, 1).forEach((got, r) => {
      const want = item(wants, r).data;
      assert.ok(distance(want, got) < 1e-4 * Math.max(...want.map(Math.abs)), `${r}`);
    });
});
test("a bias that lies turned is copied before it is read, block by block", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const biased = (bias: Value): (string | null)[] => {
    const whole = b.broadcastTo(g, b.reshape(g, bias, [3, 1, 40, 50]), [2, 3, 1, 40, 50]);
    const args = [p("q", 2, 3, 1, 40, 5), p("k", 2, 3, 50, 5), p("v", 2, 3, 50, 6), whole];
    const { results } = b.make(g, "attention", args, { scale: 1, bounds: [] });
    const { launches } = lowered(graphOf([results[0] as Value]));
    const reads = launches.find(({ kernel }) => kernel.name.startsWith("attention"))?.args ?? [];
    return reads.map((a) => a.buffer.store).filter((name) => name?.includes("bias") ?? false);
  };
  assert.equal(biased(b.transpose(g, p("turned bias", 40, 50, 3), [2, 0, 1])), []);
  assert.equal(biased(b.transpose(g, p("bias", 40, 3, 50), [1, 0, 2])), ["bias"]);
});
test("positions at the ends of i32 are compared as the whole numbers that they are", () => {
  const g = new GraphBuilder(ops);
  const [T, U] = [10, 40];
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const [q, k, v] = [p("q", 1, 1, 1, T, 2), p("k", 1, 1, U, 2), p("v", 1, 1, U, 2)];
  const given = (name: string, n: number): Value => b.param(g, name, { dtype: "i32", shape: [1, n] });
  const seen = [given("seen", U), b.reshape(g, b.iota(g, U), [1, U])];
  const sides = [-1, 0, 1].flatMap((at) => [-1, 0, 1].map((key) => [at, key] as const)).filter(([x, y]) => x || y);
  const bounds = sides.flatMap(([at, key]) => [-3, -1, 2].map((plus) => ({ at, seen: key, plus, pair: 0 })));
  const made = [
    ...bounds,
    { at: 0, seen: 1, plus: -(2 ** 31), pair: 0 },
    { at: 0, seen: -1, plus: -(2 ** 31), pair: 0 },
  ];
  // places of keys that are given, or known: for each bound in turn
  const inTurn = made.flatMap((bound, i) =>
    seen.filter((_, s) => full || i % 2 === s).map((keys) => ({ bound, keys })),
  );
  const results = inTurn.map(({ bound, keys }) =>
    b.make1(g, "attention", [q, k, v, given("at", T), keys], { scale: 1, bounds: [bound] }),
  );
  const ends = [0, 1, 2, 3].flatMap((n) => [-(2 ** 31) + n, 2 ** 31 - 1 - n]);
  const stores = new Map(storesOf(results));
  for (const [name, n] of [
    ["at", T],
    ["seen", U],
  ] as const)
    stores.set(
      name,
      ndarray("i32", [1, n], [...ends, ...Array.from({ length: n - ends.length }, (_, i) => 3 * i - 2)]),
    );
  const got = runSequence(lower(graphOf(results), { emit: emitHost, choices: small }), stores, 1);
  interpret(results, stores, { exact: true }).forEach((want, r) =>
    assert.ok(distance(want.data, got[r] ?? []) < 1e-4, JSON.stringify(inTurn[r]?.bound)),
  );
});
test("places that begin as a count does, and go on otherwise, are no count", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const [q, k, v] = [p("q", 1, 1, 1, 5, 2), p("k", 1, 1, 40, 2), p("v", 1, 1, 40, 2)];
  const at = b.param(g, "at", { dtype: "i32", shape: [1, 5] });
  const halves = b.reshape(g, b.broadcast(g, b.iota(g, 2), [2, 20], [0]), [1, 40]);
  const attrs = { scale: 1, bounds: [{ at: 1, seen: -1, plus: 0, pair: 0 }] };
  const result = b.make1(g, "attention", [q, k, v, at, halves], attrs);
  const stores = new Map([...storesOf([result]), ["at", ndarray("i32", [1, 5], [1, 1, 1, 1, 1])] as const]);
  const [got = []] = runSequence(lower(graphOf([result]), { emit: emitHost, choices: small }), stores, 1);
  const [want] = interpret([result], stores, { exact: true });
  assert.ok(distance(want?.data ?? [], got) < 1e-4);
});
const withoutNaN = (list: readonly number[]): number[] => list.map((x) => (Number.isNaN(x) ? 0 : x));
test("a query with a NaN attends to NaN, as long as it sees a key, and changes no other", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const at = (n: number): Value => b.reshape(g, b.iota(g, n), [1, n]);
  const args = [p("q", 1, 1, 1, 20, 5), p("k", 1, 1, 40, 5), p("v", 1, 1, 40, 6), at(20), at(40)];
  const bounds = [{ at: 1, seen: -1, plus: -1, pair: 0 }] as const; // the first query sees no key
  const { results } = b.make(g, "attention", args, { scale: 2, bounds });
  const stores = storesOf(results);
  const { data } = stores.get("q") as NdArray;
  [data[0], data[7 * 5 + 3]] = [Number.NaN, Number.NaN];
  const want = interpret(results, stores, { exact: true }).map((x) => [...x.data]);
  assert.equal(
    want[1]?.map(Number.isNaN),
    Array.from({ length: 20 }, (_, i) => i === 7),
  ); // of the sums
  for (const choices of [small, few]) {
    const got = runSequence(lower(graphOf(results), { emit: emitHost, choices }), stores, 2);
    for (const [r, list] of want.entries()) {
      const own = [...(got[r] ?? [])];
      assert.equal(own.map(Number.isNaN), list.map(Number.isNaN), `result ${r}`);
      assert.ok(distance(withoutNaN(list), withoutNaN(own)) < 1e-4, `result ${r}`);
    }
  }
});
test("scores so large that their rounding is: bf16 attends to the largest, and learns from it, as in the interpreter", () => {
  const shape = { B: 1, G: 2, R: 2, T: 37, U: 53, A: 16, C: 16 };
  const runs = [{ scale: (2 / 3) ** 0.5, sunk: true }, { scale: 0.25 }].flatMap((of) => {
    const [, graph] = masked("valid keys", { shape, dtype: "bf16", ...of });
    return [hostChoices, small, few].map((choices) => ({ graph, sequence: lower(graph, { emit: emitHost, choices }) }));
  });
  const lib = compiled(kernelsOf(runs.map((x) => x.sequence)), ["-Og"]);
  for (const times of [1e8, 1e10, 1e30]) {
    const given = runs.map(({ graph, sequence }) => ({ sequence, stores: enormous(graph, times) }));
    for (const [i, got] of runSequences(given, 2, lib).entries())
      compareEnormous(`run ${i}`, item(runs, i).graph, times, got);
  }
});
test("what lies between the first keys and a window is not read, forward and backward", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const [q, k, v] = [p("q", 1, 1, 1, 4, 5), p("k", 1, 1, 90, 5), p("v", 1, 1, 90, 6)];
  const results = [80, 0].flatMap((start) => {
    const args = [q, k, v, b.reshape(g, b.add(g, b.iota(g, 4), start), [1, 4]), b.reshape(g, b.iota(g, 90), [1, 90])];
    const attrs = { scale: 2, bounds: firstAndNear(0) };
    const [out, sums] = b.make(g, "attention", args, attrs).results as [Value, Value];
    const back = [...args, sums, p("delta", 1, 1, 1, 4), p("dout", 1, 1, 1, 4, 6)];
    return [out, sums, ...b.make(g, "attention_backward", back, attrs).results];
  });
  const graph = graphOf(results);
  const stores = storesOf(results);
  const want = interpret(results, stores, { exact: true });
  const lost = new Map(stores);
  for (const [name, width] of [
    ["k", 5],
    ["v", 6],
  ] as const) {
    const { data, ...array } = stores.get(name) as NdArray;
    lost.set(name, { ...array, data: data.map((x, i) => (i >= 16 * width && i < 64 * width ? Number.NaN : x)) });
  }
  for (const choices of [small, few]) {
    const got = runSequence(lower(graph, { emit: emitHost, choices }), lost, 2);
    want.forEach((x, r) => assert.ok(distance(x.data, got[r] ?? []) < 1e-4, `result ${r}`));
  }
});
test("few rows: attention up to the last key that is seen, experts of which most have none", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const seen = b.broadcastTo(g, b.iota(g, 150), [3, 150]);
  const attended = (T: number, places: Value): readonly Value[] => {
    const operands = [p(`q${T}`, 3, 2, 2, T, 20), p("k", 3, 2, 150, 20), p("v", 3, 2, 150, 24), places, seen];
    return b.make(g, "attention", operands, { scale: 2, bounds: [{ at: 1, seen: -1, plus: 0, pair: 0 }] }).results;
  };
  const places = (T: number): Value =>
    b.add(g, b.reshape(g, b.mul(g, b.iota(g, 3), 70), [3, 1]), b.broadcastTo(g, b.iota(g, T), [3, T]));
  const { offsets } = b.route(g, b.param(g, "chosen", { dtype: "i32", shape: [3] }), 5);
  const graph = graphOf([
    ...attended(1, places(1)),
    ...attended(6, places(6)),
    b.raggedDot(g, p("x", 3, 70), p("w", 5, 70, 200), offsets),
  ]);
  const stores = new Map([...storesOf(valuesOf(graph)), ["chosen", ndarray("i32", [3], [4, 1, 4])]]);
  const [got = [], other] = [1, 3].map((threads) => runSequence(lowered(graph), stores, threads));
  assert.equal(other, got);
  interpret(valuesOf(graph), stores, { exact: true }).forEach((want, r) =>
    assert.ok(distance(want.data, got[r] ?? []) < 1e-4, `result ${r}`),
  );
});
test("a query that sees no key, or none in the first block, in bf16, by scales with which that rounded to infinity", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "bf16", shape });
  const places = b.reshape(g, b.sub(g, b.mul(g, b.iota(g, 3), 90), 1), [1, 3]);
  const args = [p("q", 1, 1, 1, 3, 16), p("k", 1, 1, 150, 16), p("v", 1, 1, 150, 16), places];
  const bounds = [
    { at: 1, seen: -1, plus: 0, pair: 0 },
    { at: -1, seen: 1, plus: 20, pair: 0 },
  ];
  const results = [1 / Math.sqrt(27), 0.697, 1.7, 10].map(
    (scale) =>
      b.make(g, "attention", [...args, b.reshape(g, b.iota(g, 150), [1, 150])], { scale, bounds }).results[0] as Value,
  );
  const graph = graphOf(results);
  compare("scales", graph, runSequence(lowered(graph), storesOf(valuesOf(graph)), 1), 2 ** -5);
});
test("a query alone has the bits that it has among few, and asks for the keys and values of the next head", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const seen = b.broadcastTo(g, b.iota(g, 100), [2, 100]);
  const queries = p("q", 2, 3, 1, 8, 32);
  const attended = (T: number): Value => {
    const q = b.slice(g, queries, 3, 0, T);
    const places = b.add(g, b.broadcastTo(g, b.iota(g, T), [2, T]), 70);
    const operands = [q, p("k", 2, 3, 100, 32), p("v", 2, 3, 100, 64), places, seen];
    return b.make(g, "attention", operands, { scale: 0.25, bounds: [{ at: 1, seen: -1, plus: 0, pair: 0 }] })
      .results[0] as Value;
  };
  const results = [8, 1, 3, 6].map(attended);
  const graph = graphOf(results);
  const sequence = lowered(graph);
  const kernels = kernelsOf([sequence]);
  for (const operand of ["k_major<32>", "in_place<64>"])
    assert.ok(kernels.some(({ text }) => text.split("\n").some((l) => l.includes(operand) && l.includes("(h + 1)"))));
  const stores = storesOf(valuesOf(graph));
  for (const flags of x64 ? [[], ["-mno-avx512f"], ["-mno-avx"]] : [[]]) {
    const [all = [], ...some] = runSequence(sequence, stores, 2, compiled(kernels, [...flags, "-Og"]));
    interpret(valuesOf(graph), stores, { exact: true }).forEach((want, r) =>
      assert.ok(distance(want.data, (r === 0 ? all : some[r - 1]) ?? []) < 1e-4, `result ${r}`),
    );
    for (const [i, T] of [1, 3, 6].entries())
      for (let h = 0; h < 6; h++) {
        const among = all.slice(h * 8 * 64, (h * 8 + T) * 64);
        assert.equal(some[i]?.slice(h * T * 64, (h + 1) * T * 64), among, `${T} of 8 queries, head ${h}`);
      }
  }
});
/** The backward is two kernels. */
const two: Choices = { ...small, attention: { ...attention, transposed: { ...transposed, heads: 99 } } };
test("attention with its scores transposed, and its backward by heads or in two kernels", () => {
  const samples = opSamples().filter(({ node }) => node.op.name.startsWith("attention"));
  const all = [small, two].flatMap((choices) =>
    samples
      .filter(({ node }) => choices === small || node.op.name === "attention_backward")
      .map((s) => ({ ...s, sequence: lower(graphOf(s.node.results), { emit: emitHost, choices }) })),
  );
  const kernels = kernelsOf(all.map((s) => s.sequence));
  const kinds = new Set(kernels.map((k) => /^attention_[a-z]+/.exec(k.name)?.[0]));
  for (const kind of ["transposed", "heads", "queries", "keys"]) assert.ok(kinds.has(`attention_${kind}`), kind);
  compareOps(all, compiled(kernels, ["-Og"]));
});
test("the gradient of a bias is 0 wherever the mask hides blocks of keys, and is not written if nothing reads it", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const iota = (n: number): Value => b.broadcastTo(g, b.iota(g, n), [2, n]);
  const args = [p("q", 2, 1, 2, 37, 5), p("k", 2, 1, 53, 5), p("v", 2, 1, 53, 6), iota(37), iota(53)];
  const before = { at: 1, seen: -1, plus: 0, pair: 0 };
  const attrs = { scale: 2, bounds: [before, { at: -1, seen: 1, plus: 9, pair: 0 }] };
  const bias = p("bias", 2, 1, 2, 37, 53);
  const { results } = b.make(g, "attention", [...args, bias], attrs);
  const flows = [results[1] as Value, p("delta", 2, 1, 2, 37), p("dout", 2, 1, 2, 37, 6)];
  const back = b.make(g, "attention_backward", [...args, ...flows, bias], attrs).results;
  for (const [choices, kernel] of [
    [small, "attention_heads"],
    [two, "attention_queries"],
  ] as const)
    for (const wanted of [back, back.slice(0, 3)]) {
      const graph = graphOf(wanted);
      const sequence = lower(graph, { emit: emitHost, choices });
      const found = kernelsOf([sequence]).find((x) => x.name.startsWith(kernel));
      assert.is(found?.text.includes("dbias"), wanted === back, kernel);
      const [got = [], other] = [1, 3].map((threads) => runSequence(sequence, storesOf(valuesOf(graph)), threads));
      assert.equal(other, got);
      compare(kernel, graph, got);
    }
});
test("attention keeps nothing of T x T", () => {
  const [B, T, heads] = [2, 40, 2];
  const { launches } = lowered(gptStep({ V: 17, B, T, D: 8, H: 12, L: 1, heads, E: 4, K: 2 }));
  const largest = Math.max(...launches.flatMap((l) => l.args.map((a) => a.buffer.shape.reduce((x, y) => x * y, 1))));
  assert.ok(largest < B * heads * T * T, String(largest));
});
test.run();
