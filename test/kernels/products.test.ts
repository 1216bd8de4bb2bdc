// Random products by every form of operands, cut as a target cuts them and at random: the interpreter's values, and the same bits. MOEC_TEST=full
// takes other products each time; what fails says with which MOEC_SEED it does so again.
import { readFileSync } from "node:fs";
import { env } from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Graph, Value } from "../../compiler/graph/node.ts";
import { printGraph } from "../../compiler/graph/print.ts";
import { type Choices, type Contraction, hostChoicesOf, tasksOf } from "../../compiler/kernel/schedule.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { pairProducts } from "../../compiler/transform/products/pairs.ts";
import { full } from "../full.ts";
import { storesOf } from "../graphs.ts";
import { compare, graphOf, kernelsOf, lowered, valuesOf, widths } from "../host/compare.ts";
import { hasBf16Dot, hasTileVectors, inWords, splitAll, tileFlags, wordFlags } from "../host/forms.ts";
import { compiled, runSequence } from "../host/run.ts";
import { groupScales } from "../layers.ts";
import { expected, mismatches } from "../random/compare.ts";
import { drawnSchedules, type Products, randomProducts } from "../random/products.ts";
import { kernelOf } from "../sequences.ts";

const test = suite("products");
const base = env["MOEC_SEED"] ?? (full ? String(Date.now()) : "moec");
if (full) console.log(`random products of MOEC_SEED=${base}`);
const seeds = Array.from({ length: full ? 96 : 6 }, (_, i) => `${base}/${i}`);

interface Way {
  readonly choices: Choices;
  readonly flags: readonly string[];
}
const forms: Readonly<Record<string, Way>> = {
  "of f32": { choices: hostChoicesOf(64), flags: [] },
  ...(hasBf16Dot ? { "of words": { choices: inWords, flags: wordFlags } } : {}),
  ...(hasTileVectors ? { "of terms": { choices: splitAll, flags: tileFlags } } : {}),
};
for (const [form, { choices, flags }] of Object.entries(forms))
  test(`random products ${form}, cut in two ways`, () => {
    const all = seeds.map((seed) => {
      const products = randomProducts(seed);
      const ways = [choices, drawnSchedules(choices, seed)];
      return { seed, products, sequences: ways.map((way) => lowered(products.graph, way, products.panels)) };
    });
    const lib = compiled(kernelsOf(all.flatMap((p) => p.sequences)), [...flags, "-Og"]);
    for (const { seed, products, sequences } of all) {
      const results = sequences.map((s) => runSequence(s, products.stores, 2, lib));
      assert.is(differences(products, results), "", `MOEC_SEED=${base}, ${seed}\n${printGraph(products.graph)}`);
    }
  });
test("a block that is wider than the panels of one of its operands", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const sum = b.add(g, b.matmul(g, p("x", 7, 33), p("v", 33, 64)), b.matmul(g, p("y", 7, 40), p("w", 40, 64)));
  const graph = pairProducts(g, graphOf([b.tanh(g, sum)]));
  const own = hostChoicesOf(64);
  const wide: Choices = { ...own, contraction: (c) => ({ ...own.contraction(c), bn: 128 }) };
  const sequence = lowered(graph, wide, new Map([["w", 64]]));
  compare("sum", graph, runSequence(sequence, storesOf(valuesOf(graph)), 1, compiled(kernelsOf([sequence]), ["-Og"])));
});
test("the first columns of a weight in panels, turned: no more of their last panel is copied", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const graphs = [21, 40, 104].map((k) =>
    graphOf([b.matmul(g, p(`x${k}`, 61, k), b.swap(g, b.slice(g, p("w", 130, 128), 1, 0, k)))]),
  );
  const sequences = graphs.map((graph) => lowered(graph, hostChoicesOf(64), new Map([["w", 64]])));
  const lib = compiled(kernelsOf(sequences), ["-Og"]);
  sequences.forEach((s, i) => {
    const graph = graphs[i] as Graph;
    compare("product", graph, runSequence(s, storesOf(valuesOf(graph)), 1, lib));
  });
});
test("what is packed once for all rounds of rows needs no test that there is one", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const [kernel] = kernelsOf([lowered(graphOf([b.matmul(g, p("x", 500, 64), p("w", 64, 40))]), hostChoicesOf(64))]);
  assert.match(kernel?.text ?? "", /pack_columns[^]*for \(ix m = mc, m_end = mc \+ mcn;/);
  assert.not.match(kernel?.text ?? "", /\bif \(/);
});
test("tasks of other columns take the rows that one packed; those of other rows, matrices or groups pack theirs", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.cast(g, b.param(g, name, { dtype: "bf16", shape }), "f32");
  const by = b.route(g, b.rem(g, b.iota(g, 90), 3), 3);
  const graphs = [
    b.matmul(g, p("x", 3, 108, 40), p("w", 3, 40, 200)),
    b.matmul(g, p("few", 16, 520), p("v", 520, 200)),
    b.raggedDot(g, b.dispatch(g, p("rows", 90, 20), by), p("experts", 3, 20, 200), by.offsets),
    b.raggedOuter(g, p("of", 90, 20), p("given", 90, 200), by.offsets),
  ].map((y) => graphOf([y]));
  const own = hostChoicesOf(64);
  const low: Choices = { ...own, contraction: (c) => ({ ...own.contraction(c), bm: 36, mc: 36 }) };
  const sequences = graphs.map((graph) => lowered(graph, low));
  const kernels = kernelsOf(sequences);
  const copies = kernels.flatMap(({ text }) => text.match(/left_packed\[[^\]]*\](?=\.)/g) ?? []);
  assert.equal(copies.toSorted(), [...Array.from({ length: 3 }, () => "left_packed[0]"), "left_packed[k / 256]"]);
  const lib = compiled(kernels, ["-Og"]);
  sequences.forEach((s, i) => {
    const graph = graphs[i] as Graph;
    for (const threads of [1, 2]) compare("product", graph, runSequence(s, storesOf(valuesOf(graph)), threads, lib));
  });
});
test("a tile knows the group of its rows, so that their scales are found without an index; those of another place's group are not", () => {
  for (const unit of [1, 3])
    for (const [whose, count] of [
      ["own", 1],
      ["before", 2],
    ] as const) {
      const { launches } = lowered(groupScales("bf16", unit, whose));
      const product = launches.find((l) => kernelOf(l).name.startsWith("ragged_dot"));
      const indices = product?.args.filter(({ buffer }) => buffer.dtype === "i32");
      assert.is(indices?.length, count, `${whose}, ${unit} rows: ${product && kernelOf(product).text}`);
    }
});
/** Columns of a block of a weight's gradient that has n. */
const blocksOf = (n: number, panel: number): number =>
  hostChoicesOf(panel).contraction({
    op: "dot",
    m: 3000,
    n,
    k: 300,
    groups: 1,
    operands: 1,
    pairs: 1,
    isBf16: false,
    isLeftTransposed: true,
  }).bn;
test("a weight's gradient has no narrow last block, and products only of columns that are there", () => {
  assert.equal(
    [64, 256, 300, 384, 512, 770, 1000].map((n) => blocksOf(n, 64)),
    [64, 256, 320, 192, 256, 320, 256],
  );
  assert.equal(
    [128, 140, 300].map((n) => blocksOf(n, 16)),
    [128, 144, 112],
  );
  const graphs = [70, 300, 330].map((n) => {
    const g = new GraphBuilder(ops);
    const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
    return graphOf([b.dot(g, b.swap(g, p("x", 300, 9)), p("y", 300, n))]);
  });
  const sequences = graphs.map((graph) => lowered(graph, hostChoicesOf(64)));
  const lib = compiled(kernelsOf(sequences), ["-Og"]);
  sequences.forEach((s, i) => {
    const graph = graphs[i] as Graph;
    compare("gradient", graph, runSequence(s, storesOf(valuesOf(graph)), 1, lib));
  });
});
/** The demo's: a dense product and its gradient, and those of its experts. */
const shapes: readonly Contraction[] = [
  { op: "dot", m: 2048, n: 128, k: 128, isLeftTransposed: false, groups: 1 },
  { op: "dot", m: 512, n: 512, k: 2048, isLeftTransposed: true, groups: 1 },
  { op: "ragged_dot", m: 4096, n: 128, k: 512, isLeftTransposed: false, groups: 8 },
  { op: "ragged_outer", m: 128, n: 256, k: 4096, isLeftTransposed: true, groups: 8 },
].map((c) => ({ ...c, operands: 1, pairs: 1, isBf16: false }) as const) as readonly Contraction[];
test("many threads have tasks enough, of which none is small", () => {
  for (const c of shapes)
    for (const threads of [4, 16, 64]) {
      const s = hostChoicesOf(64, null, threads).contraction(c);
      const tasks = tasksOf(c, s);
      assert.ok(tasks >= threads, `${threads} threads, ${c.op}: ${JSON.stringify(s)}`);
      const rows = c.op === "ragged_dot" ? c.m / c.groups / (s.parts ?? 1) : s.bm;
      assert.ok(rows >= 24 && s.bn >= 64, `${threads} threads, ${c.op}: ${JSON.stringify(s)}`);
    }
  const [, gradient] = shapes as [Contraction, Contraction];
  const [two, sixteen] = [2, 16].map((threads) => hostChoicesOf(64, null, threads).contraction(gradient));
  assert.equal(two, hostChoicesOf(64).contraction(gradient));
  assert.ok(sixteen && two && sixteen.bm * sixteen.bn < two.bm * two.bn);
});
test("few rows take two operands side by side, in whole rounds of steps and in part of one, and up to three rows a third in the same kernel", () => {
  const sequences = [1, 2, 3, 4].flatMap((rows) =>
    [
      ["v", "w"],
      ["u", "v", "w"],
    ].map((weights) => {
      const g = new GraphBuilder(ops);
      const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
      const x = p("x", rows, 519);
      const products = weights.map((w) => b.matmul(g, x, p(w, 519, 128)));
      const graph = graphOf(products.map((y) => b.mul(g, y, y)));
      const sequence = lowered(graph, hostChoicesOf(64), new Map(weights.map((w) => [w, 64])));
      assert.is(sequence.launches.length, weights.length > 2 && rows > 3 ? 2 : 1);
      return { graph, sequence };
    }),
  );
  const kernels = kernelsOf(sequences.map((s) => s.sequence));
  assert.match(readFileSync(compiled(kernels, ["-S", "-Og"]), "utf8"), /micro_kernel_pair/);
  const lib = compiled(kernels, ["-Og"]);
  for (const { graph, sequence } of sequences)
    compare("side by side", graph, runSequence(sequence, storesOf(valuesOf(graph)), 2, lib));
});
test("few rows read a matrix of few columns in place: right at every vector width, and the bits that they have among many", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const products = [1, 5, 8, 15].flatMap((n) =>
    [1, 6, 7, 18].map((m) => {
      const [x, w] = [p(`x${m}`, m, 37), p(`w${n}`, 37, n)];
      return [b.matmul(g, x, w), b.matmul(g, b.concat(g, [x, p("more", 20, 37)], 0), w)];
    }),
  );
  const graph = graphOf(products.flat());
  const sequence = lowered(graph);
  const kernels = kernelsOf([sequence]);
  const [narrow, packed] = [/ in_place_narrow</, / pack_columns</].map((way) =>
    kernels.filter((k) => way.test(k.text)),
  );
  assert.ok(narrow?.length && packed?.length);
  for (const flags of widths) {
    const got = runSequence(sequence, storesOf(valuesOf(graph)), 2, compiled(kernels, [...flags, "-Og"]));
    compare(flags.join(), graph, got);
    for (let i = 0; i < got.length; i += 2) assert.equal(got[i], got[i + 1]?.slice(0, got[i]?.length), `product ${i}`);
  }
});
function differences({ graph, stores }: Products, [own = [], drawn]: Float64Array[][]): string {
  const off = expected(valuesOf(graph), stores).flatMap((want, r) => mismatches(want, own[r] ?? []));
  const same = own.every((x, r) => x.every((e, i) => Object.is(e, drawn?.[r]?.[i])));
  return [...off.slice(0, 3), ...(same ? [] : ["other bits where it is cut in another way"])].join("; ");
}
test.run();
