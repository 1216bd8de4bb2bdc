// The backward pass of a mixture: equal in value, and without what must not be kept.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { gradients } from "../../compiler/gradients/differentiate.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import { mapGraph } from "../../compiler/graph/map.ts";
import type { Graph, Mapped, Routing, Value } from "../../compiler/graph/node.ts";
import { printGraph } from "../../compiler/graph/print.ts";
import { verifyGraph } from "../../compiler/graph/verify.ts";
import { forwardNodes, nodesOf, storeOf, topological, valuesOf } from "../../compiler/graph/walk.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { simplify } from "../../compiler/rewrite/simplify.ts";
import { routedBackward, rowFactors } from "../../compiler/transform/routed.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { dims, dtypeOf } from "../../compiler/types/type.ts";
import { golden } from "../golden.ts";
import { distance, storesOf } from "../graphs.ts";
import { gptStep } from "../layers.ts";

const test = suite("routed");
const [N, D, H, E] = [11, 6, 4, 5];

interface Moe {
  readonly g: GraphBuilder;
  readonly graph: Graph;
}
interface Variant {
  readonly dtype: DType;
  readonly biased: boolean;
  /** Choices of each token. */
  readonly K: number;
  /** How many equal layers stand in each run of the array. */
  readonly runs: readonly number[];
}
const usual: Variant = { dtype: "f32", biased: false, K: 2, runs: [E] };

/** LANGUAGE.md's MoE of SwiGlu experts as the checker elaborates it, with the gradients of all operands. */
function moe({ dtype, biased, K, runs }: Variant): Moe {
  const g = new GraphBuilder(ops);
  const at = (name: string, shape: number[], t: DType = dtype): Value => b.param(g, name, { dtype: t, shape });
  const [x, gate] = [at("x", [N, D]), at("gate", [D, E], "f32")];
  const [top, index] = b.topK(g, b.softmax(g, b.matmul(g, x, gate)), K);
  const score = b.div(g, top, b.sum(g, top, [-1], true));
  const flat = b.reshape(g, index, [N * K]);
  const choices = b.reshape(g, b.broadcast(g, x, [N, K, D], [0, 2]), [N * K, D]);
  const parts = runs.map((count, i) => {
    const start = runs.slice(0, i).reduce((p, q) => p + q, 0);
    const own = b.and(g, b.ge(g, flat, start), b.lt(g, flat, start + count));
    const inRun = count === E ? flat : b.where(g, own, b.sub(g, flat, start), -1);
    const names = ["gate", "up", "down", "bias"].map((name) => `w.${name}${i === 0 ? "" : i}`);
    const shapes = [
      [count, D, H],
      [count, D, H],
      [count, H, D],
      [count, D],
    ];
    const weights = names.map((name, k) => at(name, shapes[k] ?? []));
    return { rows: experts(g, choices, inRun, weights, biased), weights };
  });
  const rows = parts.map((p) => p.rows).reduce((p, q) => b.add(g, p, q));
  const out = b.cast(g, b.sum(g, b.mul(g, b.expand(g, score, 2), b.reshape(g, rows, [N, K, D])), [1]), dtype);
  const loss = b.sum(g, b.mul(g, b.cast(g, out, "f32"), at("seed", [N, D], "f32")));
  const wrt = [x, gate, ...parts.flatMap((p) => p.weights)];
  const results = gradients(g, [loss], wrt).map((value, i) => ({
    role: "gradient" as const,
    name: storeOf(wrt[i]?.node ?? value.node) ?? "",
    value,
  }));
  const graph: Graph = { name: "moe", results: [{ role: "loss", name: "l", value: loss }, ...results] };
  return { g, graph: simplify(g, graph, true) };
}
/** A routed call of a run of equal experts. */
function experts(g: GraphBuilder, x: Value, index: Value, weights: readonly Value[], biased: boolean): Value {
  const [groups, size] = [dims(weights[0]?.type ?? x.type)[0] ?? 0, dims(index.type)[0] ?? 0];
  const by: Routing = { ...b.route(g, index, groups), groups, rows: size };
  const bind = new Map<Value, Mapped>();
  const inside = (m: Mapped): Value => {
    const one = b.param(g, `?${m.value.node.id}`, { dtype: dtypeOf(m.value.type), shape: dims(m.value.type).slice(1) });
    bind.set(one, m);
    return one;
  };
  const row = inside({ kind: "rows", value: b.dispatch(g, x, by), by });
  const each = weights.map((value) => inside({ kind: "each", value, over: groups }));
  const [gate, up, down, bias] = each as [Value, Value, Value, Value];
  const half = b.matmul(g, row, gate);
  const y = b.matmul(g, b.mul(g, b.mul(g, half, b.sigmoid(g, half)), b.matmul(g, row, up)), down);
  const [mapped] = mapGraph([biased ? b.add(g, y, bias) : y], bind, g) as [Mapped];
  return b.combine(g, mapped.value, by);
}

const variants: Record<string, Variant> = {
  "two choices": usual,
  "one choice": { ...usual, K: 1 },
  "with a bias": { ...usual, biased: true },
  "in bf16": { ...usual, dtype: "bf16" },
  "in bf16, with a bias, one choice": { ...usual, dtype: "bf16", biased: true, K: 1 },
  "two runs of different layers": { ...usual, runs: [2, 3], biased: true },
};
test("a sum over a part of a product's columns is none over its other side", () => {
  const g = new GraphBuilder(ops);
  const at = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const { offsets } = b.route(g, b.param(g, "index", { dtype: "i32", shape: [12] }), 4);
  const [x, w] = [at("x", 12, 6), at("w", 4, 3, 6)];
  const product = b.raggedDot(g, at("a", 12, 3), w, offsets);
  const parts = (v: Value): Value => b.reshape(g, v, [12, 2, 3]);
  const values = [b.sum(g, b.mul(g, parts(x), parts(product)), [2]), b.raggedDot(g, x, b.swap(g, w), offsets)];
  const graph: Graph = { name: "parts", results: values.map((value, i) => ({ role: "output", name: `${i}`, value })) };
  const stores = storesOf(values);
  const [before, after] = [graph, routedBackward(g, graph)].map((of) => interpret(valuesOf(of), stores));
  assert.equal(after, before);
});
test("nor is a sum down a column, or of a difference; and a sum has no factor, nor has half of its rows", () => {
  const g = new GraphBuilder(ops);
  const at = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const [by, byTwos] = [12, 6].map((n) => b.route(g, b.param(g, `i${n}`, { dtype: "i32", shape: [n] }), 4)) as [
    b.Route,
    b.Route,
  ];
  const [x, w] = [at("x", 12, 6), at("w", 4, 3, 6)];
  const product = b.raggedDot(g, at("a", 12, 3), w, by.offsets);
  const shifted = b.add(g, b.broadcast(g, at("s", 6, 2), [6, 2, 3], [0, 1]), at("y", 6, 2, 3));
  const scaled = b.mul(g, b.broadcast(g, at("t", 6), [6, 2, 3], [0]), at("y", 6, 2, 3));
  const values = [
    b.sum(g, b.mul(g, x, product), [0]),
    b.sum(g, b.mul(g, x, b.sub(g, product, at("z", 12, 6))), [1]),
    b.raggedDot(g, x, b.swap(g, w), by.offsets),
    b.raggedDot(g, b.dispatch(g, b.reshape(g, shifted, [12, 3]), by), w, by.offsets),
    b.raggedDot(g, b.dispatch(g, b.reshape(g, scaled, [6, 6]), byTwos), at("v", 4, 6, 5), byTwos.offsets),
  ];
  const graph: Graph = { name: "others", results: values.map((value, i) => ({ role: "output", name: `${i}`, value })) };
  const stores = storesOf(values);
  const [before, after] = [graph, routedBackward(g, graph)].map((of) => interpret(valuesOf(of), stores));
  before?.forEach((want, i) => assert.ok(distance(want.data, after?.[i]?.data ?? []) < 1e-5, `${i}`));
});
for (const [name, v] of Object.entries(variants))
  test(`the same gradients without the product of the last matmul: ${name}`, () => {
    const { g, graph } = moe(v);
    const better = routedBackward(g, graph);
    verifyGraph(better, "routedBackward");
    const stores = storesOf(valuesOf(graph));
    const [before, after] = [graph, better].map((x) => interpret(valuesOf(x), stores, { exact: true }));
    before?.forEach((x, i) => assert.ok(distance(x.data, after?.[i]?.data ?? []) < 1e-10, graph.results[i]?.name));
    // gate, up, and the gradients of three matmuls' rows; before, the product of the third too
    assert.is(times(graph, "ragged_dot"), 6 * v.runs.length);
    assert.is(times(better, "ragged_dot"), 5 * v.runs.length);
    assert.is(times(better, "ragged_outer"), 3 * v.runs.length);
  });
/** How often the gradients need an op. */
const times = (graph: Graph, op: string): number =>
  topological(valuesOf(graph).slice(1)).filter((n) => n.op.name === op).length;

test("in every layer of a step the experts' results are the forward's alone", () => {
  const graph = gptStep({ B: 1, T: 5, V: 7, D: 8, heads: 2, H: 6, E: 3, K: 2, L: 3 });
  const forward = forwardNodes(graph);
  const source = (v: Value): Value => (v.node.op.lower === "view" ? source(v.node.args[0] ?? v) : v);
  const reads = nodesOf(graph).flatMap((by) =>
    by.op.lower === "view" ? [] : by.args.map((a) => ({ by, of: source(a).node })),
  );
  const combined = reads.filter(({ of }) => of.op.name === "combine" && forward.has(of));
  assert.is(combined.filter(({ by }) => forward.has(by)).length, 3);
  assert.is(combined.filter(({ by }) => !forward.has(by)).length, 0);
});

test("as text", () => {
  const { g, graph } = moe(usual);
  golden("moe-backward.txt", printGraph(routedBackward(g, graph)));
  const again = moe(usual);
  assert.is(printGraph(routedBackward(again.g, again.graph)), printGraph(routedBackward(g, graph)));
});
for (const r of rowFactors)
  test(r.name, () => {
    const g = new GraphBuilder(ops);
    for (const left of r.examples(g)) {
      const right = r.apply(left, g);
      if (!right) throw new Error("does not match its example");
      const [before, after] = interpret([left, right], storesOf([left]), { exact: true });
      assert.ok(distance(before?.data ?? [], after?.data ?? [0]) < 1e-12);
    }
  });
test.run();
