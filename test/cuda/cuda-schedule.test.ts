// How the CUDA target cuts products, points and folds, so that no multiprocessor is idle, and where rows of weights begin.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import { type Graph, type Quantised, type Store, unstackedStore, type Value } from "../../compiler/graph/node.ts";
import { valuesOf } from "../../compiler/graph/walk.ts";
import type { Contraction } from "../../compiler/kernel/schedule.ts";
import { cudaChoices, multiprocessors } from "../../compiler/kernel/schedule-cuda.ts";
import { hopperChoice } from "../../compiler/kernel/schedule-hopper.ts";
import { lower } from "../../compiler/lower/lower.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import type { Layout } from "../../compiler/plan/plan.ts";
import { isRead, type VirtualBuffer } from "../../compiler/plan/sequence.ts";
import { backends } from "../../compiler/targets.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { emulationModes, loweredForCuda, modulesOf, runEmulated } from "../emulator/sequence.ts";
import { distance, storesOf } from "../graphs.ts";
import { graphOf, kernelsOf } from "../host/compare.ts";
import { kernelOf } from "../sequences.ts";

const test = suite("cuda-schedule");
const parameter = (g: GraphBuilder, name: string, shape: readonly number[], dtype: DType = "f32"): Value =>
  b.param(g, name, { dtype, shape });

/** A product of bf16. */
function of(m: number, n: number, k: number): Contraction {
  return { op: "dot", m, n, k, groups: 1, operands: 1, pairs: 1, isBf16: true, isLeftTransposed: false };
}
test("a product whose tiles would leave multiprocessors idle is cut along its depth, and takes narrow tiles", () => {
  const piece = (m: number, n: number, k: number): number => cudaChoices.splitK(of(m, n, k));
  assert.is(piece(8192, 8192, 8192), 8192);
  assert.is(piece(1024, 1024, 512), 512);
  for (const [m, n, k] of [
    [1024, 1024, 16384],
    [1024, 768, 50257],
  ] as const) {
    const cut = piece(m, n, k);
    assert.is(cut % 64, 0);
    assert.ok((m / 128) * (n / 128) * Math.floor(k / cut) >= multiprocessors, `${k} in pieces of ${cut}`);
  }
  const few = 100352 / piece(64, 64, 100352);
  assert.ok(few > 64 && few <= 128 && few % 1 === 0, `a convolution's weight gradient has ${few} pieces`);
  assert.is(piece(1, 768, 768), 768);
  assert.equal([hopperChoice(of(8192, 8192, 512))?.bn, hopperChoice(of(1024, 1024, 512))?.bn], [256, 128]);
});
/** Rows, columns and depth of a tile. */
function tileOf(c: Contraction): readonly number[] {
  const { bm, bn, bk } = cudaChoices.contraction(c);
  return [bm, bn, bk];
}
/** Of a kernel that makes each element by itself. */
function tasksOfPoints(shape: readonly number[]): readonly number[] {
  const g = new GraphBuilder(ops);
  return lower(graphOf([b.exp(g, parameter(g, "x", shape))]), backends.cuda).launches.map((l) => l.tasks);
}
/** Of a kernel that folds 4,096 rows of so many. */
function tasksOfFolds(n: number): readonly number[] {
  const g = new GraphBuilder(ops);
  const sum = b.sum(g, b.exp(g, parameter(g, "x", [4096, n])), [1]);
  return lower(graphOf([sum]), backends.cuda).launches.map((l) => l.tasks);
}
const ofCodes = (m: number, codes: "f32" | "bf16", more: Partial<Contraction> = {}): readonly number[] =>
  tileOf({ ...of(m, 1024, 2048), isBf16: false, codes, ...more });
test("of codes a block of few rows takes 64 bytes of columns, and tensor cores take as many rows as of bf16", () => {
  for (const codes of ["f32", "bf16"] as const) {
    assert.equal(ofCodes(1, codes), [16, 64, 128]);
    assert.equal(ofCodes(1, codes, { operands: 2 }), [16, 64, 64]);
    assert.equal(ofCodes(1, codes, { pairs: 2 }), [16, 64, 32]);
  }
  assert.equal(ofCodes(512, "bf16"), [128, 128, 32]);
  assert.equal(ofCodes(512, "f32"), [128, 64, 32]);
});
test("of few rows a block takes few columns and deep stages, of few points few points", () => {
  assert.equal(tileOf(of(1, 768, 768)), [16, 32, 128]);
  assert.equal(tileOf({ ...of(1, 128, 1536), isBf16: false }), [16, 16, 128]);
  assert.equal(tileOf({ ...of(64, 768, 768), operands: 2 }), [64, 32, 64]);
  assert.equal(tileOf(of(64, 50257, 768)), [64, 64, 32]);
  assert.equal([[32768], [1 << 21], [64, 4096]].map(tasksOfPoints), [[128], [512], [512]]);
  assert.equal(
    [
      [65536, 32],
      [1024, 66],
    ].map(tasksOfPoints),
    [[512], [1024]],
    "short rows of whole vectors",
  );
  assert.equal([16, 32].map(tasksOfFolds), [[16], [4096]], "a thread folds a short row alone");
});
/** x minus its mean, along the last axis. */
function centred(g: GraphBuilder, x: Value): Value {
  const shape = x.type.shape as number[];
  const mean = b.mul(g, b.sum(g, x, [shape.length - 1]), 1 / (shape.at(-1) ?? 1));
  return b.sub(g, x, b.broadcast(g, mean, shape, [...shape.keys()].slice(0, -1)));
}
const tasksOf = (values: readonly Value[]): readonly number[] =>
  lower(graphOf(values), backends.cuda).launches.map((l) => l.tasks);
test("few long rows are many tasks; few short ones are one launch with what follows their folds, or shares little", () => {
  const g = new GraphBuilder(ops);
  const [long, many] = [parameter(g, "long", [16, 151936]), parameter(g, "many", [132, 8192])];
  assert.ok(tasksOf([centred(g, long)]).every((tasks) => tasks > multiprocessors || tasks === 16));
  assert.ok((tasksOf([centred(g, long)]).at(-1) ?? 0) > 2 * multiprocessors);
  assert.equal(tasksOf([centred(g, many)]), [132]);
  const [x, y] = [parameter(g, "x", [1, 768]), parameter(g, "y", [1, 768])];
  const sum = b.add(g, x, y);
  assert.equal(tasksOf([sum, centred(g, sum)]), [1]);
  const turned = (v: Value, by: Value): Value => b.mul(g, v, b.broadcast(g, by, [12, 1, 64], [2]));
  const [q, k, at] = [parameter(g, "q", [12, 1, 64]), parameter(g, "k", [12, 1, 64]), parameter(g, "at", [64])];
  assert.is(tasksOf([turned(q, at), turned(k, at)]).length, 1);
});
/** What a mixture chooses for one token, from its scores; and its rows of three products, two of which are put into stores. */
function oneToken(): Graph {
  const g = new GraphBuilder(ops);
  const x = parameter(g, "x", [1, 32]);
  const [values, index] = b.topK(g, b.softmax(g, b.matmul(g, x, parameter(g, "gate", [32, 6]))), 2);
  const weights = b.div(g, values, b.broadcast(g, b.sum(g, values, [1]), [1, 2], [0]));
  const { order, offsets, inverse, expert } = b.route(g, b.reshape(g, index, [2]), 6);
  const made = ["a", "b", "c"].map((name) => b.matmul(g, x, parameter(g, name, [32, 24])));
  const at = b.broadcast(g, parameter(g, "at", [1], "i32"), [3, 1], [1]);
  const put = (name: string, row: Value | undefined): Value =>
    b.make1(g, "scatter", [parameter(g, name, [3, 9, 8]), at, b.reshape(g, row as Value, [3, 1, 8])], {
      axis: 1,
      batch: 1,
      mode: "set",
      size: 9,
    });
  const stored = [put("keys", made[1]), put("values", made[2])];
  return graphOf([weights, order, offsets, inverse, expert, b.tanh(g, made[0] as Value), ...stored]);
}
test("for one token, what is one task each is one kernel; so are three products of it, and rows that are put alike", async () => {
  const graph = oneToken();
  const sequence = loweredForCuda(graph);
  const kinds = sequence.launches.map(({ kernel }) => kernel.name.replace(/_[0-9a-f]{8}$/, ""));
  assert.equal(kinds.toSorted(), ["div_top_k_route", "dot", "dot", "put"]);
  for (const l of sequence.launches) assert.not.match(kernelOf(l).text, /__syncthreads\(\);\s+__syncthreads/);
  const stores = storesOf(valuesOf(graph));
  const modules = await modulesOf(kernelsOf([sequence]));
  for (const way of emulationModes) {
    const [got] = await runEmulated([{ name: way.words, sequence, stores }], modules, way);
    assert.is(got?.findings, "");
    for (const [i, want] of interpret(valuesOf(graph), stores).entries())
      assert.ok(distance(want.data, got?.results[i] ?? []) < 1e-4, `${way.words}: ${i}`);
  }
});
const puts = (values: readonly Value[]): number =>
  lower(graphOf(values), backends.cuda).launches.filter((l) => l.kernel.name.startsWith("put")).length;
test("rows are not put together where one reads what the other writes over, or both write over the same", () => {
  const g = new GraphBuilder(ops);
  const at = b.broadcast(g, parameter(g, "at", [1], "i32"), [3, 1], [1]);
  const [x, y, row] = [parameter(g, "x", [3, 9, 8]), parameter(g, "y", [3, 9, 8]), parameter(g, "row", [3, 1, 8])];
  const put = (to: Value, rows: Value): Value =>
    b.make1(g, "scatter", [to, at, rows], { axis: 1, batch: 1, mode: "set", size: 9 });
  assert.is(puts([put(x, row), put(y, row)]), 1);
  assert.is(puts([put(x, row), put(y, b.slice(g, x, 1, 4, 1))]), 2);
  assert.is(puts([put(x, row), put(x, b.slice(g, y, 1, 4, 1))]), 2);
  assert.is(puts([put(put(x, row), b.slice(g, y, 1, 4, 1)), put(y, row)]), 2);
});
test("a kernel that wrote what a loop reads step by step reads it by the name that it wrote it by", () => {
  const g = new GraphBuilder(ops);
  const x = b.tanh(g, parameter(g, "x", [64, 4]));
  const steps = Array.from({ length: 32 }, (_, t) => b.slice(g, x, 0, t, 1));
  const last = steps.reduce((h, step) => b.softmax(g, b.add(g, h, step)), parameter(g, "h", [1, 4]));
  const { launches } = lower(graphOf([last, x, b.sum(g, x, [0, 1])]), backends.cuda);
  const readers = launches.map(({ args }) => args.filter((a) => a.buffer.name.startsWith("tanh")).map((a) => a.access));
  assert.equal(readers[0], ["write"]);
});
test("parts of a kernel take no more shared memory together than every GPU has", () => {
  const g = new GraphBuilder(ops);
  const routed = Array.from({ length: 9 }, (_, i) => b.route(g, parameter(g, `choices${i}`, [64], "i32"), 4000).order);
  const { launches } = lower(graphOf(routed), backends.cuda);
  const shared = launches.map((l) => kernelOf(l).launch?.shared ?? 0);
  assert.ok(launches.length > 1 && Math.max(...shared) <= 99 * 1024, shared.join());
});
test("kernels of one task wait for others of their kind until one reads what they make", () => {
  const g = new GraphBuilder(ops);
  const products = ["a", "b", "c"].map((name) =>
    b.matmul(g, parameter(g, name, [96, 32]), parameter(g, "w", [32, 64])),
  );
  const norms = products.map((x) => b.sum(g, b.mul(g, x, x), [0, 1]));
  const total = norms.reduce((sum, x) => b.add(g, sum, x));
  const scaled = b.mul(g, parameter(g, "z", [512, 640]), b.broadcast(g, total, [512, 640], []));
  const { launches } = lower(graphOf([scaled, ...products]), backends.cuda);
  const at = launches.findIndex((l) => l.tasks === 1);
  const written = new Set(launches[at]?.args.flatMap((x) => (x.access === "write" ? [x.buffer] : [])));
  const places = launches.flatMap((l, i) => (l.args.some((x) => written.has(x.buffer)) ? [i] : []));
  assert.is(launches.filter((l) => l.tasks === 1).length, 1);
  assert.ok(places.length > 1 && places.every((i) => i >= at), places.join());
});
test("a put into the result of a waiting part comes after it, and parts that read the put after that", () => {
  const g = new GraphBuilder(ops);
  const base = b.tanh(g, parameter(g, "x", [64]));
  const attrs = { axis: 0, batch: 0, mode: "set", size: 64 } as const;
  const put = b.make1(g, "scatter", [base, parameter(g, "at", [2], "i32"), parameter(g, "row", [2])], attrs);
  const { launches } = lower(graphOf([b.exp(g, put), base]), backends.cuda);
  assert.is(launches.length, 3);
  const made = new Set<VirtualBuffer>();
  for (const { args } of launches) {
    const read = args.flatMap((x) => (isRead(x) ? [x.buffer] : (x.base ?? [])));
    assert.equal(
      read.flatMap((x) => (x.store !== null || made.has(x) ? [] : [x.name])),
      [],
    );
    for (const x of args) if (!isRead(x)) made.add(x.buffer);
  }
});
test("parts of a kernel use no more than 24 buffers together, and are of one phase", () => {
  const g = new GraphBuilder(ops);
  const x = (i: number): Value => parameter(g, `x${i}`, [8]);
  const sums = Array.from({ length: 8 }, (_, i) =>
    [0, 1, 2, 3].reduce((s, j) => b.mul(g, s, x(5 * i + j)), x(5 * i + 4)),
  );
  const loss = b.sum(g, b.mul(g, x(50), x(50)), [0]);
  const results: Graph["results"] = [
    { role: "loss", name: "square", value: loss },
    ...sums.map((v, i) => ({ role: "store" as const, name: `x${5 * i + 4}`, value: b.tanh(g, v) })),
  ];
  const { launches } = lower({ name: "train", results }, backends.cuda);
  const args = launches.map((l) => l.args.length);
  assert.is(args[0], 2, "the loss is alone in its phase");
  assert.ok(args.length > 2 && args.length < 6 && Math.max(...args) <= 24, args.join());
});
/** How many kernels make so many sums of a number and a parameter of a shape. */
function launchesOfSums(count: number, shape: readonly number[]): number {
  const g = new GraphBuilder(ops);
  const y = b.broadcast(g, parameter(g, "y", [1]), shape, [1]);
  return tasksOf(Array.from({ length: count }, (_, i) => b.add(g, parameter(g, `x${i}`, shape), y))).length;
}
test("up to twelve results of up to 2^20 elements that read the same are made together", () => {
  assert.is(launchesOfSums(12, [1 << 20, 1]), 1);
  assert.is(launchesOfSums(13, [1 << 20, 1]), 2);
  assert.is(launchesOfSums(2, [1 << 21, 1]), 2);
});
test("copies of twelve results in bf16 are made where the results are", () => {
  const g = new GraphBuilder(ops);
  const y = parameter(g, "y", [70, 64]);
  const sums = Array.from({ length: 12 }, (_, i) => b.add(g, parameter(g, `x${i}`, [70, 64]), y));
  assert.is(tasksOf([...sums, ...sums.map((x) => b.cast(g, x, "bf16"))]).length, 1);
});
test("rows of prepared weights, and of codes, begin at 16 bytes, those of other weights lie one after another", () => {
  const g = new GraphBuilder(ops);
  const x = parameter(g, "x", [130, 136], "bf16");
  const layoutAs = (role: Store["role"], quantised?: Quantised): Layout | undefined => {
    const w = parameter(g, "w", [136, 203], quantised ? "i8" : "bf16");
    const graph = graphOf([b.dot(g, b.cast(g, x, "f32"), b.cast(g, w, "f32"))]);
    const store = { ...unstackedStore("w", role, w.type), ...(quantised && { quantised }) };
    const { launches } = lower(graph, { ...backends.cuda, stores: [store] });
    return launches.flatMap((l) => l.args.map((a) => a.buffer)).find((v) => v.store === "w")?.layout;
  };
  assert.equal(
    [
      layoutAs("prepared"),
      layoutAs("parameter"),
      layoutAs("parameter", { code: "int8", dtype: "bf16", axes: [0], scales: "w scales" }),
    ],
    [
      { kind: "rows", pitch: 208 },
      { kind: "rows", pitch: 203 },
      { kind: "rows", pitch: 208 },
    ],
  );
});
test.run();
