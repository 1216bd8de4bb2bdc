// Products of bf16 two steps of the depth at a time (AVX512-BF16).
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, Value } from "../../compiler/graph/node.ts";
import { type Choices, hostChoicesOf } from "../../compiler/kernel/schedule.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { pairProducts } from "../../compiler/transform/products/pairs.ts";
import { bf16ProductsOf } from "../../runtime/host/backend.ts";
import { isBf16DotSlow } from "../../runtime/host/toolchain.ts";
import { distance, storesOf } from "../graphs.ts";
import { chosenSamples, compare, compareByCompilers, graphOf, kernelsOf, lowered, valuesOf } from "../host/compare.ts";
import { hasBf16Dot, inWords, splitAll, wordFlags, wordsCut } from "../host/forms.ts";
import { compiled, runSequence } from "../host/run.ts";
import { moeLayer } from "../layers.ts";
import { enormous, masked } from "../masks.ts";

const test = suite("words");
const p = (g: GraphBuilder, name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "bf16", shape });
/** Rows about a register tile's six, depths even and odd, columns about vectors and strips. */
const sizes = [
  [1, 1, 1],
  [1, 64, 64],
  [5, 2, 16],
  [6, 31, 17],
  [7, 33, 48],
  [13, 127, 80],
  [29, 300, 65],
  [50, 1030, 130],
] as const;
/** x w, x w^T and x^T w, as they are summed: in f32. */
function products(): Graph {
  const g = new GraphBuilder(ops);
  const wide = (x: Value, y: Value): Value => b.matmul(g, b.cast(g, x, "f32"), b.cast(g, y, "f32"));
  return graphOf(
    sizes.flatMap(([m, k, n]) => {
      const [x, y, w] = [p(g, `x${m}.${k}`, m, k), p(g, `y${m}.${k}`, m, k), p(g, `w${m}.${k}`, k, n)];
      const [turned, outer] = [p(g, `wT${m}.${k}`, n, k), p(g, `xT${m}.${k}`, k, m)];
      return [wide(x, w), wide(y, b.swap(g, turned)), wide(b.swap(g, outer), w)];
    }),
  );
}
/** Attention of 37 queries to 53 keys, causal, and its gradients. */
function attended(width: number, biased = false): Graph {
  const g = new GraphBuilder(ops);
  const positions = (n: number, start: number): Value => b.broadcastTo(g, b.sub(g, b.iota(g, n), start), [2, n]);
  const [q, k, v] = [p(g, "q", 2, 2, 2, 37, width), p(g, "k", 2, 2, 53, width), p(g, "v", 2, 2, 53, width)];
  const args = [q, k, v, positions(37, -9), positions(53, 2)];
  const attrs = { scale: 0.5, bounds: [{ at: 1, seen: -1, plus: 0, pair: 0 }] };
  const bias = biased ? [b.param(g, "bias", { dtype: "f32", shape: [2, 2, 2, 37, 53] })] : [];
  const { results } = b.make(g, "attention", [...args, ...bias], attrs);
  const flows = [b.param(g, "delta", { dtype: "f32", shape: [2, 2, 2, 37] }), p(g, "dout", 2, 2, 2, 37, width)];
  const back = b.make(g, "attention_backward", [...args, results[1] as Value, ...flows, ...bias], attrs);
  return graphOf([...results, ...back.results]);
}
const text = (graph: Graph, choices: Choices): string =>
  kernelsOf([lowered(graph, choices)])
    .map((k) => k.text)
    .join("\n");
function run(graph: Graph, choices: Choices, threads = 2, stores = storesOf(valuesOf(graph))): Float64Array[] {
  const sequence = lowered(graph, choices);
  return runSequence(sequence, stores, threads, compiled(kernelsOf([sequence]), ["-Og"]));
}
test("only where the CPU adds two products, and has no tiles for them", () => {
  assert.is(bf16ProductsOf({ features: ["AVX512F", "AVX512BF16"] }), "words");
  assert.is(bf16ProductsOf({ features: ["AVX512F", "AVX512BF16", "AMX_BF16"] }), "tiles");
  assert.is(bf16ProductsOf({ features: ["AVX512F", "AVX512BW"] }), null);
  assert.is(bf16ProductsOf({ features: ["AVX2", "AVX512BF16"] }), null);
  assert.not.match(text(products(), hostChoicesOf(64)), /words/);
});
test("a CPU that multiplies words slower than it does FMAs is not asked for them", () => {
  const intel = ["AVX512F", "AVX512BF16"];
  assert.ok(isBf16DotSlow(intel));
  assert.not(isBf16DotSlow([...intel, "SSE4A"]), "AMD");
  assert.not(isBf16DotSlow([...intel, "AMX_BF16"]), "tiles");
  assert.not(isBf16DotSlow(["AVX512F"]));
});
test("operands are words where they lie, or are copied to words", () => {
  const all = text(products(), inWords);
  const made = [
    "in_words",
    "pack_word_micro_panels",
    "pack_word_columns",
    "k_major<",
    "pack_transposed",
    "pack_word_rows",
    "by_words",
  ];
  for (const word of made) assert.ok(all.includes(word), word);
  const g = new GraphBuilder(ops);
  const mixed = graphOf([
    b.matmul(g, b.cast(g, p(g, "x", 9, 8), "f32"), b.param(g, "w", { dtype: "f32", shape: [8, 9] })),
  ]);
  assert.not.match(text(mixed, inWords), /words/, "an operand of f32 stays so");
});
if (!hasBf16Dot) console.log(" words: this CPU has no AVX512-BF16, so kernels for it are compiled but not run");
const flags = ["-Og", ...wordFlags];
test("what lies in memory in f32 stays so, whatever it was joined of", () => {
  const g = new GraphBuilder(ops);
  const wide = (name: string, ...shape: number[]): Value => b.cast(g, p(g, name, ...shape), "f32");
  const f32 = b.param(g, "z", { dtype: "f32", shape: [3, 64] });
  const graph = graphOf([
    b.matmul(g, b.concat(g, [wide("x", 3, 64), f32], 0), wide("w", 64, 20)),
    b.matmul(g, b.concat(g, [wide("x", 3, 64), b.cast(g, b.tanh(g, p(g, "y", 3, 64)), "f32")], 0), wide("v", 64, 20)),
    b.matmul(g, p(g, "u", 3, 64), b.broadcastTo(g, b.constant(g, 0.3, "bf16"), [64, 20])),
  ]);
  assert.not.match(text(graph, inWords), /words|word_/);
  assert.not.match(text(graph, splitAll), /<1>/);
});
test("every op that is lowered by them against its definition", () => {
  compareByCompilers(chosenSamples(inWords), flags, hasBf16Dot);
});
if (hasBf16Dot) {
  test("products of any size, cut in two ways to the same bits", () => {
    const got = run(products(), inWords);
    compare("products", products(), got, 1e-6);
    assert.equal(run(products(), wordsCut), got);
  });
  test("a mixture and its gradients, the same bits with any number of threads", () => {
    const graph = moeLayer(67, 64, 128, 5, 2, "bf16");
    const results = graph.results.filter((r) => r.role !== "loss");
    const got = run({ ...graph, results }, inWords, 1);
    compare("mixture", { ...graph, results }, got, 2 ** -6);
    assert.equal(run({ ...graph, results }, inWords, 3), got);
  });
  test("products that one accumulator sums, of odd depths", () => {
    const g = new GraphBuilder(ops);
    const sum = b.add(
      g,
      b.matmul(g, p(g, "x", 23, 33), p(g, "v", 33, 70)),
      b.matmul(g, p(g, "y", 23, 7), p(g, "w", 7, 70)),
    );
    const graph = pairProducts(g, graphOf([b.tanh(g, sum)]));
    assert.match(text(graph, inWords), /plus\(rhs\(/);
    compare("sums", graph, run(graph, inWords), 2 ** -7);
  });
  test("attention and its gradients, of heads of even and odd widths, the same bits with any number of threads", () => {
    const transposed = { queries: 16, heads: 1, maxGradients: 1 << 20 };
    const attention = { ...inWords.attention, transposed, fewQueries: 0, tile: () => ({ rows: 4, block: 16 }) };
    const choices: Choices = { ...inWords, attention };
    for (const [width, texts, biased] of [
      [5, /const auto keys = pack_word_rows/, false],
      [6, /in_words\(keys_rows\)/, false],
      [32, /in_words\(values_rows\)/, false],
      [5, /const auto q = pack_word_rows/, true],
      [32, /in_words\(q_rows\)/, true],
    ] as const) {
      const graph = attended(width, biased);
      assert.match(text(graph, choices), texts);
      const got = run(graph, choices, 1);
      compare(`width ${width}`, graph, got, 2 ** -6);
      assert.equal(run(graph, choices, 3), got);
    }
  });
  test("scores so large that their rounding is, which the forward alone sums by words: no weight is above 1", () => {
    const shape = { B: 1, G: 2, R: 2, T: 37, U: 53, A: 16, C: 16 };
    const [, graph] = masked("documents", { shape, dtype: "bf16", scale: 0.7 });
    const stores = enormous(graph, 1e8);
    const [out = [], , , dv = []] = run(graph, inWords, 2, stores);
    const [wanted] = interpret(valuesOf(graph), stores, { exact: true });
    assert.ok(distance(wanted?.data ?? [], out) < 2 ** -6);
    const most = [...(stores.get("seed")?.data ?? [])].reduce((sum, x) => sum + Math.abs(x), 0);
    dv.forEach((x, i) => assert.ok(Math.abs(x) < most, `gradient ${i} is ${x}`));
  });
  test("what an odd depth lacks is zero on both sides, whatever lies there", () => {
    const g = new GraphBuilder(ops);
    const [x, w] = [p(g, "x", 7, 34), p(g, "w", 33, 64)];
    const graph = graphOf([b.matmul(g, b.slice(g, x, 1, 0, 33), w)]);
    const stores = storesOf(valuesOf(graph));
    const [left, right] = ["x", "w"].map((name) => stores.get(name)?.data ?? new Float64Array());
    for (let i = 0; i < 7; i++) left?.set([1, Number.NaN], i * 34 + 32);
    right?.set([Infinity], 32 * 64 + 5);
    const [y = []] = run(graph, inWords, 1, stores);
    y.forEach((v, i) => assert.ok(i % 64 === 5 ? v === Infinity : Number.isFinite(v), `element ${i} is ${v}`));
  });
  test("what is no number stays so, and only there", () => {
    const g = new GraphBuilder(ops);
    const graph = graphOf([b.matmul(g, p(g, "x", 7, 33), p(g, "w", 33, 20))]);
    const stores = storesOf(valuesOf(graph));
    const x = stores.get("x");
    if (x) {
      x.data[33] = Number.NaN;
      x.data[98] = Infinity;
    }
    const [y = []] = run(graph, inWords, 1, stores);
    y.forEach((v, i) => assert.is(Number.isFinite(v), ![1, 2].includes(Math.floor(i / 20)), `element ${i}`));
  });
}
test.run();
