// Every CUDA kernel compiles with the real NVRTC for three architectures, without spills or warnings; what it uses and costs is a golden.
// Contractions of aligned shapes always; the examples and all samples of all ops with MOEC_TEST=full.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadFile } from "../../compiler/check/index.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Graph, NdArray, Value } from "../../compiler/graph/node.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { type BuildRequest, toGraphs } from "../../compiler/pipeline.ts";
import type { PlanKernel } from "../../compiler/plan/plan.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { product } from "../../compiler/types/numbers.ts";
import { generateEntries } from "../../runtime/generation/generate-entries.ts";
import { type EntryOptions, entryRequest } from "../../runtime/measure/measured-entry.ts";
import type { Run } from "../emulator/sequence.ts";
import { full } from "../full.ts";
import { golden } from "../golden.ts";
import { generator, ndarray, samples, storesOf } from "../graphs.ts";
import { graphOf, valuesOf } from "../host/compare.ts";
import { layers } from "../layers.ts";
import { project } from "../project.ts";
import { architectures, shownTable, sourceOf, tableOf, tableOfVariants } from "./cuda-table.ts";
import { foundNvrtc } from "./nvrtc.ts";

const test = suite("cuda-table");
const compiler = await foundNvrtc();

/** A bias and GELU of x w, x w^T and x^T y: rows and columns in all orders. */
function dense(dtype: DType, m: number, n: number, k: number): Graph {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype, shape });
  const biased = b.add(g, b.matmul(g, p("x", m, k), p("w", k, n)), b.broadcast(g, p("bias", n), [m, n], [1]));
  const products = [
    b.mul(g, biased, b.sigmoid(g, biased)),
    b.matmul(g, p("x", m, k), b.swap(g, p("v", n, k))),
    b.matmul(g, b.swap(g, p("x", m, k)), p("y", m, n)),
  ];
  return graphOf(products);
}
/** Of a few long rows, and of many. */
function cutoffs(rows: number): Graph {
  const g = new GraphBuilder(ops);
  const [x, amount] = [[rows, 50257], [rows]].map((shape, i) => b.param(g, `x${i}`, { dtype: "f32", shape }));
  return graphOf(x && amount ? [b.cutoff(g, x, b.like(g, x, 1), amount)] : []);
}
/** x w and x w^T, where w is codes: of few rows and of many. */
function ofCodes(dtype: DType, m: number, n: number, k: number): Graph {
  const g = new GraphBuilder(ops);
  const x = b.cast(g, b.param(g, "x", { dtype, shape: [m, k] }), "f32");
  const [w, v] = [
    [k, n],
    [n, k],
  ].map((shape, i) => b.cast(g, b.param(g, `codes${i}`, { dtype: "i8", shape }), "f32")) as [Value, Value];
  return graphOf([b.dot(g, x, w), b.dot(g, x, b.swap(g, v))].map((y) => b.cast(g, y, dtype)));
}
/** The same of codes of 4 bits. */
function ofFp4(dtype: DType, m: number, n: number, k: number): Graph {
  const g = new GraphBuilder(ops);
  const p = (name: string, as: DType, ...shape: number[]): Value => b.param(g, name, { dtype: as, shape });
  const w = b.cast(g, b.fromFp4(g, p("codes", "i8", k / 2, n), p("codes scales", "bf16", k / 32, n)), dtype);
  return graphOf([b.dot(g, p("x", dtype, m, k), w), b.dot(g, p("y", dtype, m, n), b.swap(g, w))]);
}
const example = (file: string): string => join(project, `examples/${file}`);
/** The graphs of a program, with numbers for what they read. */
function programOf(file: string, request: Omit<BuildRequest, "precision">, precision: "f32" | "bf16"): Run[] {
  const { graphs } = toGraphs(loadFile(example(file)), { ...request, precision }, silentObserver());
  const name = [file.replace(".moe", ""), ...(request.weights ? [request.weights] : []), precision].join(" ");
  return graphs.map((graph) => sourceOf(`${name} ${graph.name}`, graph, texts(graph)));
}
/** As `storesOf`, but whole numbers are bytes of text. */
function texts(graph: Graph): Map<string, NdArray> {
  const stores = storesOf(valuesOf(graph));
  for (const [name, { dtype, shape }] of stores) {
    const random = generator(name);
    const data = Array.from({ length: product(shape) }, () => Math.floor(128 * random()));
    if (dtype === "i32") stores.set(name, ndarray(dtype, shape, data));
  }
  return stores;
}
const layer = {
  sizes: { N: 192, D: 256, H: 128, E: 4, K: 2 },
  declaration: "Layer",
  entries: [{ method: "forward", name: "forward", sizes: {}, gradients: true }],
};
const contractions = (): Run[] => [
  sourceOf("dense f32", dense("f32", 128, 128, 128)),
  sourceOf("dense bf16", dense("bf16", 256, 256, 128)),
  ...programOf("one-layer.moe", layer, "f32"),
  ...programOf("one-layer.moe", layer, "bf16"),
  ...(["f32", "bf16"] as const).flatMap((dtype) =>
    [3, 40, 192].flatMap((m) => [
      sourceOf(`codes, ${dtype}, ${m} rows`, ofCodes(dtype, m, 128, 192)),
      sourceOf(`codes of 4 bits, ${dtype}, ${m} rows`, ofFp4(dtype, m, 128, 192)),
    ]),
  ),
];
const demo = (): Omit<BuildRequest, "precision"> => {
  const program = loadFile(example("gpt-moe.moe"));
  const request = entryRequest(program, { batch: 2, length: 64, set: { L: 1 } });
  return { ...request, entries: [...request.entries, ...generateEntries(program, request.declaration ?? "")] };
};
/** The training step of an example; `weights`: how matrices are kept that it does not train. */
function training(file: string, sizes: EntryOptions, precision: "f32" | "bf16", weights?: "int8"): Run[] {
  return programOf(file, { ...entryRequest(loadFile(example(file)), sizes), weights }, precision);
}
const adapters = (L: number): EntryOptions => ({ batch: 1, length: 64, set: { L } });
const everything = (): Run[] => [
  ...contractions(),
  ...programOf("gpt-moe.moe", demo(), "f32"),
  ...programOf("gpt-moe.moe", demo(), "bf16"),
  ...(["f32", "bf16"] as const).flatMap((precision) => [
    ...training("lora.moe", adapters(1), precision),
    ...training("lora.moe", adapters(2), precision, "int8"),
    ...training("vision-moe.moe", { set: { L: 2, B: 2 } }, precision),
  ]),
  ...samples()
    .filter(({ node }) => node.op.name !== "const" && node.results.every((v) => v.type.dtype !== "f64"))
    .map(({ name, node }) => sourceOf(name, graphOf(node.results))),
  sourceOf("cutoff of a long row", cutoffs(1)),
  sourceOf("cutoff of long rows", cutoffs(132)),
  ...Object.entries(layers).map(([name, graph]) => sourceOf(name, graph)),
];

if (compiler) {
  test("contractions: no bank conflicts, whole sectors", async () => {
    const options = {
      architectures: ["sm_80"],
      only: (k: PlanKernel) => /\b(mma|mma_pipeline|mma_pipeline_of_codes|mma_left_terms)</.test(k.text),
    };
    const sources = contractions();
    const rows = await tableOf(sources, compiler, options);
    const variants = await tableOfVariants(sources, compiler);
    golden("cuda-contractions.txt", [shownTable(rows, options), variants].join("\n"));
    for (const { label, conflicts, sectors } of rows) {
      assert.is(conflicts, 1, label);
      assert.ok(sectors <= 1.05, `${label}: ${sectors}`);
    }
  });
  if (full)
    test("every kernel of the examples and of every op", async () => {
      const options = { architectures, only: () => true };
      const sources = everything();
      const rows = shownTable(await tableOf(sources, compiler, options), options);
      golden("cuda-kernels.txt", [rows, await tableOfVariants(sources, compiler)].join("\n"));
    });
}
test.run();
