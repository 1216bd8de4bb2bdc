// Kernels of the host against the interpreter, in exact arithmetic; memory that nothing wrote is NaN, and ends at a guard page.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { emitHost, shown } from "../compiler/emit/unit.ts";
import { GraphBuilder } from "../compiler/graph/builder.ts";
import { interpret } from "../compiler/graph/interpret.ts";
import type { Graph, NdArray, Node, Value } from "../compiler/graph/node.ts";
import type { Kernel } from "../compiler/kernel/ir.ts";
import { lower } from "../compiler/kernel/lower.ts";
import { print } from "../compiler/kernel/print.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import type { PlanKernel } from "../compiler/plan/plan.ts";
import type { Sequence, VirtualBuffer } from "../compiler/plan/sequence.ts";
import type { DType } from "../compiler/types/dtype.ts";
import { count, dims } from "../compiler/types/type.ts";
import { golden } from "./golden.ts";
import { samples, storesOf } from "./graphs.ts";
import { compiled, runSequence } from "./host/run.ts";
import { adamw, attentionLayer, crossEntropy, gptStep, moeLayer, normLayer, softmaxLayer } from "./layers.ts";

const test = suite("kernels");

const graphOf = (values: readonly Value[]): Graph => ({
  name: "test",
  results: values.map((value, i) => ({ role: "output", name: String(i), value })),
});
const lowered = (graph: Graph): Sequence => lower(graph, { emit: emitHost });
const kernelsOf = (list: readonly Sequence[]): PlanKernel[] => [
  ...new Map(list.flatMap((s) => s.launches.map((l) => [l.kernel.name, l.kernel]))).values(),
];

/** How many elements of an ragged result there are: rows of no group are nothing. */
function elementsOf(node: Node, stores: ReadonlyMap<string, NdArray>, r: number): number {
  const result = node.results[r] as Value;
  if (node.op.name !== "ragged_dot") return count(result.type);
  const [offsets] = interpret([node.args[2] as Value], stores);
  return (offsets?.data.at(-1) ?? 0) * (node.attrs as { unit: number }).unit * (dims(result.type)[1] ?? 1);
}
/** Numbers added up for one element of a sum. */
function depthOf({ op, args, results }: Node): number {
  const [x, y] = [args[0] as Value, results[0] as Value];
  if (op.name === "dot" || op.name === "ragged_dot") return dims(x.type).at(-1) ?? 1;
  if (op.name === "reduce") return count(x.type) / Math.max(1, count(y.type));
  return dims(x.type)[op.name === "scan" ? 1 : 0] ?? 1;
}
const sums = new Set(["dot", "ragged_dot", "ragged_outer", "ragged_sum", "reduce", "scan"]);
const epsilon = 2 ** -23;
/** What an element may be off: of sums 2 eps sqrt(K) of the sum of magnitudes; of points 4 units in the last place. */
function bounds(node: Node, stores: ReadonlyMap<string, NdArray>): (x: number, r: number, i: number) => number {
  const narrow = [...node.results, ...node.args].some((v) => v.type.dtype === "bf16");
  if (node.op.name.startsWith("attention")) return () => 2e-6;
  if (!sums.has(node.op.name)) return (x) => (narrow ? 2 ** -8 : 4 * epsilon) * Math.abs(x);
  const magnitudes = new Map(
    [...stores].map(([name, a]) => [name, a.dtype === "i32" ? a : { ...a, data: a.data.map(Math.abs) }]),
  );
  const scale = interpret(node.results, magnitudes, { exact: true });
  return (_, r, i) => 2 * epsilon * Math.sqrt(depthOf(node)) * Math.abs(scale[r]?.data[i] ?? 0);
}
test("every op against its definition", () => {
  const all = samples()
    .filter(({ node }) => node.op.name !== "const" && node.results.every((v) => v.type.dtype !== "f64"))
    .map((s) => ({ ...s, sequence: lowered(graphOf(s.node.results)) }));
  const lib = compiled(kernelsOf(all.map((s) => s.sequence)));
  for (const { name, node, sequence } of all) {
    const stores = storesOf(node.results);
    const want = interpret(node.results, stores, { exact: true });
    const got = runSequence(sequence, stores, 2, lib);
    const bound = bounds(node, stores);
    want.forEach((w, r) => {
      for (let i = 0; i < elementsOf(node, stores, r); i++) {
        const [x, y] = [w.data[i] ?? Number.NaN, got[r]?.[i] ?? Number.NaN];
        assert.ok(x === y || Math.abs(x - y) <= bound(x, r, i), `${name} result ${r}[${i}]: ${y}, not ${x}`);
      }
    });
  }
});

const layers: Readonly<Record<string, Graph>> = {
  softmax: softmaxLayer(13, 37),
  "softmax of one": softmaxLayer(1, 1),
  "rms norm": normLayer([3, 5, 32], false),
  "layer norm": normLayer([130, 17], true),
  "cross entropy": crossEntropy(67, 19),
  attention: attentionLayer(2, 11, 3, 8),
  "mixture of experts": moeLayer(67, 24, 19, 5, 2),
  "mixture of many experts": moeLayer(5, 8, 8, 40, 3),
  adamw: adamw([9, 33]),
  "a step of a model": gptStep({ V: 17, B: 2, T: 7, D: 8, H: 12, L: 1, heads: 2, E: 4, K: 2 }),
};
const valuesOf = ({ results }: Graph): Value[] =>
  [...results.filter((r) => r.role !== "store"), ...results.filter((r) => r.role === "store")].map((r) => r.value);

function compare(name: string, graph: Graph, got: readonly Float64Array[]): void {
  const values = valuesOf(graph);
  interpret(values, storesOf(values), { exact: true }).forEach((want, r) => {
    const scale = Math.max(1e-3, ...want.data.map(Math.abs));
    const errors = [...want.data].map((x, i) => Math.abs(x - (got[r]?.[i] ?? Number.NaN)) / scale);
    assert.ok(
      errors.every((e) => e < 2e-5),
      `${name}, result ${r}: off by ${Math.max(...errors)}`,
    );
  });
}
test("layers against the interpreter, the same bits with any number of threads", () => {
  const all = Object.entries(layers).map(([name, graph]) => ({ name, graph, sequence: lowered(graph) }));
  const lib = compiled(kernelsOf(all.map((s) => s.sequence)));
  for (const { name, graph, sequence } of all) {
    const stores = storesOf(valuesOf(graph));
    const [got = [], ...others] = [1, 2, 3].map((threads) => runSequence(sequence, stores, threads, lib));
    for (const other of others) assert.equal(other, got, name);
    compare(name, graph, got);
  }
});
test("routings of many groups, long sorts and sums, empty tensors", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, shape: readonly number[], dtype: DType = "f32"): Value => b.param(g, name, { dtype, shape });
  const index = b.rem(g, b.mul(g, p("index", [3000], "i32"), b.iota(g, 3000)), 6000);
  const { order, offsets, inverse, expert } = b.route(g, index, 5000);
  const graph = graphOf([
    order,
    offsets,
    inverse,
    expert,
    b.scatter(g, p("rows", [3000, 3]), index, 5000),
    ...b.sort(g, p("long", [2, 301])),
    b.topK(g, p("long", [2, 301]), 5)[1],
    b.sum(g, p("tall", [20011, 3]), [0]),
    b.sum(g, p("all", [64, 33, 40])),
    b.max(g, p("line", [40000])),
    b.sum(g, p("none", [0, 5]), [0]),
    b.matmul(g, p("left", [3, 0]), p("right", [0, 4])),
    b.matmul(g, p("deep", [2, 5, 2048]), p("below", [2, 2048, 7])),
    b.matmul(g, b.swap(g, p("column", [2049, 3])), p("prime", [2049, 5])),
    b.exp(g, p("flat", [70000])),
  ]);
  compare("large", graph, runSequence(lowered(graph), storesOf(valuesOf(graph))));
});
test("narrower vectors", () => {
  const names = ["layer norm", "attention", "mixture of experts"];
  const all = names.map((name) => ({ name, graph: layers[name] as Graph, sequence: lowered(layers[name] as Graph) }));
  if (process.arch !== "x64") return;
  for (const flag of ["-mno-avx512f", "-mno-avx"]) {
    const lib = compiled(kernelsOf(all.map((s) => s.sequence)), [flag, "-O1"]);
    for (const { name, graph, sequence } of all)
      compare(`${name} ${flag}`, graph, runSequence(sequence, storesOf(valuesOf(graph)), 2, lib));
  }
});

/** What the forward writes and a later phase reads. */
function kept({ launches }: Sequence): VirtualBuffer[] {
  const written = (phase: (p: string) => boolean, access: (a: string) => boolean): Set<VirtualBuffer> =>
    new Set(
      launches.flatMap((l) => (phase(l.phase) ? l.args.filter((a) => access(a.access)).map((a) => a.buffer) : [])),
    );
  const later = written(
    (p) => p !== "forward",
    (a) => a === "read" || a === "pointwise",
  );
  return [
    ...written(
      (p) => p === "forward",
      (a) => a === "write",
    ),
  ].filter((x) => later.has(x));
}
test("a mixture keeps its input, the two halves of the hidden layer, and the routing", () => {
  const [N, H, K] = [67, 19, 2];
  const large = kept(lowered(moeLayer(N, 24, H, 5, K))).filter((x) => x.shape.reduce((a, c) => a * c, 1) > N * 5 * K);
  assert.equal(
    large.map((x) => x.shape),
    [
      [N * K, H],
      [N * K, H],
    ],
  );
});
test("attention keeps nothing of T x T", () => {
  const [B, T, heads] = [2, 40, 2];
  const { launches } = lowered(gptStep({ V: 17, B, T, D: 8, H: 12, L: 1, heads, E: 4, K: 2 }));
  const largest = Math.max(...launches.flatMap((l) => l.args.map((a) => a.buffer.shape.reduce((x, y) => x * y, 1))));
  assert.ok(largest < B * heads * T * T, String(largest));
});
test("kernels and their text", () => {
  const kernels: Kernel[] = [];
  const sequence = lower(moeLayer(64, 32, 48, 4, 2), { emit: emitHost, seen: (k) => kernels.push(k) });
  golden("moe-kernels.txt", kernels.map(print).join("\n"));
  golden("moe-kernels.cpp", kernelsOf([sequence]).map(shown).join("\n"));
});

test.run();
