// A large head in pieces of rows: the same numbers as whole, and memory for one piece.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { load } from "../../compiler/check/modules.ts";
import { requireValid } from "../../compiler/check/valid.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, Value } from "../../compiler/graph/node.ts";
import { nodesOf, valuesOf } from "../../compiler/graph/walk.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toGraphs, toPlan } from "../../compiler/pipeline.ts";
import type { Plan } from "../../compiler/plan/plan.ts";
import { type Backend, backends } from "../../compiler/targets.ts";
import { cutHeads } from "../../compiler/transform/products/head.ts";
import { distance, storesOf } from "../graphs.ts";
import { lowered } from "../host/compare.ts";
import { runSequence } from "../host/run.ts";
import { headLayer } from "../layers.ts";
import { small } from "../training-runs.ts";

const test = suite("head");
const [T, D, V] = [12, 5, 37];
/** Logits of rows of `width` numbers. */
const products = (graph: Graph, width: number): Value[] =>
  nodesOf(graph)
    .flatMap((n) => (n.op.name === "dot" ? n.results : []))
    .filter((v) => v.type.shape[1] === V && v.type.shape[0] !== width);

for (const [rows, most, pieces] of [
  [12, 9, 3],
  [19, 9, 5],
  [4, 3, 4], // so few that the gradient of the weight is as large as the logits
] as const)
  test(`2 x ${rows} rows in ${pieces} pieces give what they give whole`, () => {
    const [whole, cut] = [headLayer([2, rows], D, V), headLayer([2, rows], D, V, most * V)];
    const stores = storesOf(valuesOf(whole));
    const [want, got] = [whole, cut].map((graph) => interpret(valuesOf(graph), stores, { exact: true }));
    want?.forEach((w, i) => assert.ok(distance(w.data, got?.[i]?.data ?? []) < 1e-12, `result ${i}`));
    const logits = products(cut, D);
    assert.is(logits.length, pieces, "each piece multiplies once, backward too");
    assert.ok(logits.every((v) => Number(v.type.shape[0]) <= most));
  });

for (const [rows, most] of [
  [48, 12],
  [67, 9],
] as const)
  test(`in bf16, on the host, 2 x ${rows} rows in pieces of ${most}: the whole's loss and gradients to bf16's rounding`, () => {
    const [whole, cut] = [headLayer([2, rows], 16, V, Infinity, "bf16"), headLayer([2, rows], 16, V, most * V, "bf16")];
    assert.is(products(cut, 16).length, Math.ceil((2 * rows) / most));
    const stores = storesOf(valuesOf(whole));
    const [want = [], got = []] = [whole, cut].map((graph) => runSequence(lowered(graph), stores));
    want.forEach((w, i) => {
      const scale = Math.max(...w.map(Math.abs));
      const off = Math.max(...w.map((x, j) => Math.abs(x - (got[i]?.[j] ?? Number.NaN))));
      const few = whole.results[i]?.role === "gradient" ? 2 ** -7 : 2 ** -10;
      assert.ok(scale > 1e-3 && off <= few * scale, `${whole.results[i]?.role} ${i}: off by ${off / scale}`);
    });
  });

/** A head over x, and what is made of its logits. */
function of(make: (g: GraphBuilder, logits: Value) => readonly Value[]): { g: GraphBuilder; graph: Graph } {
  const g = new GraphBuilder(ops);
  const [x, w] = [b.param(g, "x", { dtype: "f32", shape: [T, D] }), b.param(g, "w", { dtype: "f32", shape: [D, V] })];
  const results = make(g, b.dot(g, x, w));
  return { g, graph: { name: "head", results: results.map((value) => ({ role: "output", name: "y", value })) } };
}
const same = (x: Graph, y: Graph): boolean => valuesOf(x).every((v, i) => v === valuesOf(y)[i]);
test("logits that are wanted whole, or read across rows, stay", () => {
  const wanted: readonly ((g: GraphBuilder, logits: Value) => readonly Value[])[] = [
    (g, logits) => [logits, b.logsumexp(g, logits)],
    (g, logits) => [b.logsumexp(g, b.softmax(g, logits, 0))],
    (g, logits) => [b.logsumexp(g, b.mul(g, logits, b.sum(g, logits)))],
    (g, logits) => [b.exp(g, logits)],
    (g, logits) => [b.logsumexp(g, logits), b.max(g, logits, [0])],
    (g, logits) => [b.logsumexp(g, logits), b.swap(g, logits)],
    (g, logits) => [b.logsumexp(g, logits), b.exp(g, b.swap(g, logits))],
    (g, logits) => [b.logsumexp(g, b.take(g, logits, b.param(g, "columns", { dtype: "i32", shape: [T] }), 1))],
  ];
  for (const make of wanted) {
    const { g, graph } = of(make);
    assert.ok(same(cutHeads(g, graph, 100), graph));
  }
  const { g, graph } = of((g, logits) => [b.logsumexp(g, logits)]);
  assert.not.ok(same(cutHeads(g, graph, 100), graph));
});

function planned(precision: "f32" | "bf16", backend: Backend, T = 1024): Plan {
  const loaded = load({ name: "small.moe", text: small(50257, 64) });
  requireValid(loaded);
  const entries = [{ method: "train", name: "train", sizes: { B: 8, T } }];
  return toPlan(
    toGraphs(loaded, { sizes: {}, precision, entries }, silentObserver()),
    silentObserver(),
    undefined,
    undefined,
    backend,
  );
}
const stepsOf = (entries: Plan["entries"]): number => entries.reduce((n, e) => n + e.steps.length, 0);
for (const [precision, backend] of [
  ["f32", backends.host],
  ["f32", backends.cuda],
  ["bf16", backends.cuda],
] as const)
  test(`a vocabulary's logits and probabilities never stand whole: ${backend.name}, ${precision}`, () => {
    const { buffers, bytes, entries, kernels } = planned(precision, backend);
    const whole = 8 * 1024 * 50257;
    const largest = Math.max(...buffers.map((x) => x.shape.reduce((p, q) => p * q, 1)));
    assert.ok(largest <= whole / 6, `${largest} elements of ${whole}`);
    assert.ok(bytes.arena < 4 * (whole / 4), `an arena of ${bytes.arena} bytes`);
    assert.ok(bytes.activations < 4 * (whole / 6), `${bytes.activations} bytes of activations`);
    const twice = planned(precision, backend, 2048);
    assert.ok(stepsOf(twice.entries) > stepsOf(entries) + 6 * 4, "more pieces");
    assert.is(twice.kernels.length, kernels.length, "pieces share their kernels");
  });

test.run();
