// Kernels of the host against the interpreter, in exact arithmetic; memory that nothing wrote is NaN, and ends at a guard page.
import { readFileSync } from "node:fs";
import { env } from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { emitHost, readableKernel } from "../../compiler/emit/unit.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, Value } from "../../compiler/graph/node.ts";
import { add, clampBetween, range, variable } from "../../compiler/kernel/expr.ts";
import type { Kernel } from "../../compiler/kernel/ir.ts";
import { print } from "../../compiler/kernel/print.ts";
import { hostChoices } from "../../compiler/kernel/schedule.ts";
import { lower } from "../../compiler/lower/lower.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { type Sequence, type VirtualBuffer } from "../../compiler/plan/sequence.ts";
import { expandScatters } from "../../compiler/transform/scatters/scatter.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { dims } from "../../compiler/types/type.ts";
import { golden } from "../golden.ts";
import { distance, generator, ndarray, storesOf } from "../graphs.ts";
import {
  compare,
  compareOps,
  compareWidths,
  graphOf,
  kernelsOf,
  lowered,
  opSamples,
  samplesInTurn,
  valuesOf,
  widthsInTurn,
} from "../host/compare.ts";
import { hasFeature } from "../host/machine.ts";
import { compiled, runSequence, runSequences } from "../host/run.ts";
import { layers, moeLayer } from "../layers.ts";
import { buffer, kernelOf, launch, write } from "../sequences.ts";

const test = suite("kernels");

test("every op against its definition", () => {
  const all = samplesInTurn(opSamples(), 0, 4); // sets.test.ts has all, optimised less
  compareOps(all, compiled(kernelsOf(all.map((s) => s.sequence))));
});

test("layers against the interpreter, the same bits with any number of threads", () => {
  const all = Object.entries(layers).map(([name, graph]) => ({ name, graph, sequence: lowered(graph) }));
  const lib = compiled(kernelsOf(all.map((s) => s.sequence)));
  const runs = all.map(({ graph, sequence }) => ({ sequence, stores: storesOf(valuesOf(graph)) }));
  const results = [1, 2, 3].map((threads) => runSequences(runs, threads, lib));
  for (const [i, { name, graph }] of all.entries()) {
    const [got = [], ...others] = results.map((each) => each[i]);
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
    ...b.topK(g, p("whole", [3, 77], "i32"), 40),
    b.sum(g, p("tall", [20011, 3]), [0]),
    b.sum(g, p("all", [64, 33, 40])),
    b.max(g, p("line", [40000])),
    b.sum(g, p("none", [0, 5]), [0]),
    b.matmul(g, p("left", [3, 0]), p("right", [0, 4])),
    b.sum(g, b.tanh(g, b.matmul(g, p("few", [6, 5]), p("without", [5, 0]))), [1]),
    b.matmul(g, p("deep", [2, 5, 2048]), p("below", [2, 2048, 7])),
    b.matmul(g, b.swap(g, p("column", [2049, 3])), p("prime", [2049, 5])),
    b.exp(g, p("flat", [70000])),
  ]);
  compare("large", graph, runSequence(lowered(graph), storesOf(valuesOf(graph))));
});
test("offsets of many groups where no choice is made, all are none, or all are in the first or last", () => {
  const g = new GraphBuilder(ops);
  const offsetsOf = (choices: number, group: number): Value =>
    b.route(g, b.add(g, b.rem(g, b.iota(g, choices), 1), group), 5000).offsets;
  const graph = graphOf([offsetsOf(0, 0), ...[-1, 0, 4999, 5000].map((group) => offsetsOf(130, group))]);
  compare("offsets", graph, runSequence(lowered(graph), storesOf(valuesOf(graph))));
});
test("the sum of a group's rows clears as many columns as there are, in whole vectors, up to 256", () => {
  const g = new GraphBuilder(ops);
  const columns = (n: number): string | undefined => {
    const rows = b.param(g, `rows${n}`, { dtype: "f32", shape: [70, n] });
    const sums = b.scatter(g, rows, b.param(g, "index", { dtype: "i32", shape: [70] }), 5000);
    const text = kernelsOf([lowered(graphOf([sums]))]).map((k) => k.text);
    return text.join("").match(/Acc<1, (\d+)>/)?.[1];
  };
  assert.equal([1, 32, 40, 700].map(columns), ["16", "32", "48", "256"]);
});
test("nothing is written of an empty result that one kernel makes with a sum", () => {
  const g = new GraphBuilder(ops);
  const [few, none] = [[17], [0, 0, 16]].map((shape, i) => b.param(g, String(i), { dtype: "f32", shape }));
  if (!few || !none) throw new Error("two stores");
  const sum = b.sum(g, few);
  const graph = graphOf([sum, b.mul(g, none, b.broadcastTo(g, sum, [0, 0, 16]))]);
  const kernels: Kernel[] = [];
  lower(graph, { emit: emitHost, onKernel: (k) => kernels.push(k) });
  assert.equal(
    kernels.map((k) => print(k).match(/\[.*\] =/g)?.length),
    [1],
  );
});
test("a number that rows are put into is written once and read nowhere", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, shape: readonly number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const [rows, [, index]] = [p("rows", [3, 40]), b.topK(g, p("x", [3, 301]), 40)];
  const three = b.broadcastTo(g, b.constant(g, 3, "f32"), [3, 301]);
  const graph = graphOf([b.mul(g, b.put(g, three, index, rows, 1), three)]);
  const sequence = lowered(graph);
  const read = sequence.launches.flatMap(({ args }) => args.filter((a) => a.access !== "write"));
  assert.not.ok(read.some(({ buffer }) => buffer.name.startsWith("broadcast")));
  compare("put", graph, runSequence(sequence, storesOf(valuesOf(graph))));
});
test("rows that a top_k's index places are put there, if they are many, and of one row of indices", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, shape: readonly number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const summed = (k: number, axis: number): readonly string[] => {
    const [, index] = b.topK(g, p("x", [3, 301]), k);
    const graph = expandScatters(g, graphOf([b.scatter(g, p(`rows${k}`, [3, k]), index, 301, axis)]));
    const sequence = lowered(graph);
    compare("placed", graph, runSequence(sequence, storesOf(valuesOf(graph))));
    return sequence.launches.map(({ kernel }) => kernel.name.replace(/_[0-9a-f]+$/, ""));
  };
  assert.ok(summed(9, 1).includes("put"));
  assert.not.ok(summed(8, 1).includes("put"));
  assert.not.ok(summed(40, 0).includes("put")); // three rows may choose the same place
});
test("two signs, bools beside numbers, sums of integers into places, slices of nothing", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, shape: readonly number[], dtype: DType = "f32"): Value => b.param(g, name, { dtype, shape });
  const [x, c, is] = [p("x", [5, 19]), p("c", [5, 19], "bool"), p("is", [5, 19], "bool")];
  const [index, whole] = [p("index", [70], "i32"), p("whole", [70, 19], "i32")];
  const yes = b.broadcastTo(g, b.constant(g, 1, "bool"), [5, 19]);
  const nothing = b.slice(g, p("line", [3]), 0, 3, 0);
  const graph = graphOf([
    b.neg(g, b.concat(g, [b.neg(g, x), x], 0)),
    b.cast(g, b.where(g, c, is, yes), "f32"),
    b.cast(g, b.where(g, c, yes, is), "i32"),
    b.cast(g, b.take(g, is, b.slice(g, index, 0, 0, 9)), "f32"),
    b.cast(g, b.concat(g, [yes, is], 1), "i32"),
    b.sum(g, b.reshape(g, nothing, [2, 0]), [1]),
    b.matmul(g, b.reshape(g, nothing, [4, 0]), p("below", [0, 19])),
    ...valuesOf(expandScatters(g, graphOf([b.scatter(g, whole, index, 5)]))),
  ]);
  compare("edges", graph, runSequence(lowered(graph), storesOf(valuesOf(graph))));
});
test("numbers are counted by a routing that places nothing", () => {
  const g = new GraphBuilder(ops);
  const index = b.param(g, "index", { dtype: "i32", shape: [600, 2] });
  test("few numbers of each row are counted by comparing them", () => {
    const g = new GraphBuilder(ops);
    const index = b.param(g, "index", { dtype: "i32", shape: [4096, 4] });
    const shape = [4096, 4, 8];
    const each = b.eq(g, b.broadcast(g, index, shape, [0, 1]), b.broadcast(g, b.iota(g, 8), shape, [2]));
    const { launches } = lowered(graphOf([b.sum(g, b.cast(g, each, "f32"), [1])]));
    assert.is(launches.length, 1);
  });
  const counted = (index: Value, kernels: readonly string[]): void => {
    const shape = [...dims(index.type), 60];
    const each = b.eq(g, b.broadcast(g, index, shape, [0, 1]), b.broadcast(g, b.iota(g, 60), shape, [2]));
    const graph = graphOf([b.sum(g, b.cast(g, each, "f32"), [0, 1])]);
    const sequence = lowered(graph);
    const kinds = sequence.launches.map(({ kernel }) => kernel.name.replace(/_[0-9a-f]+$/, ""));
    assert.equal(kinds, kernels);
    compare("counts", graph, runSequence(sequence, storesOf(valuesOf(graph))));
  };
  counted(index, ["route", "cast"]);
  counted(b.param(g, "more", { dtype: "i32", shape: [1200, 2] }), ["route_count", "route_scan", "cast"]);
});
const vocabulary = 50257;
test("a vocabulary's routing and the gradient of its table", () => {
  const g = new GraphBuilder(ops);
  const index = b.param(g, "tokens", { dtype: "i32", shape: [2500] });
  const rows = b.param(g, "rows", { dtype: "f32", shape: [2500, 2] });
  const { order, offsets, inverse, expert } = b.route(g, index, vocabulary);
  const graph = graphOf([order, offsets, inverse, expert, b.scatter(g, rows, index, vocabulary)]);
  const sequence = lowered(graph);
  const tables = kernelsOf([sequence]).map((k) => k.scratch);
  assert.ok(Math.max(...tables) <= 4097, `a table of ${Math.max(...tables)}`);
  // Words of a text: few are many; the first and the last; some outside, or none.
  const draw = generator("tokens");
  const words = Array.from({ length: 2500 }, (_, i) =>
    i % 41 === 0 ? -1 - i : i % 43 === 0 ? vocabulary + i : Math.floor(vocabulary * draw() ** 4),
  );
  const inside = words.map((word) => Math.min(Math.max(word, 0), vocabulary - 1));
  for (const list of [words, inside]) {
    const tokens = ndarray("i32", [2500], [0, vocabulary - 1, ...list].slice(0, 2500));
    const stores = new Map([...storesOf(valuesOf(graph)), ["tokens", tokens]]);
    const got = [1, 3].map((threads) => runSequence(sequence, stores, threads));
    assert.equal(got[0], got[1]);
    interpret(valuesOf(graph), stores, { exact: true }).forEach((want, r) => {
      assert.ok(distance(want.data, got[0]?.[r] ?? []) < (r < 4 ? 1e-9 : 1e-4), `result ${r}`);
    });
  }
});
test("a sort of what is not ordered", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", { dtype: "f32", shape: [2, 50] });
  const graph = graphOf(b.topK(g, x, 50));
  const odd = [NaN, -0, 0, Infinity, -Infinity, 1e-40, -1e-40, 3.5, 3.5, -7];
  const numbers = Array.from({ length: 100 }, (_, i) => odd[(i * 7) % odd.length] ?? 0);
  const stores = new Map([["x", ndarray("f32", [2, 50], numbers.map(Math.fround))]]);
  const got = runSequence(lowered(graph), stores);
  interpret(valuesOf(graph), stores).forEach((want, r) =>
    assert.is(distance(want.data, got[r] ?? []), 0, `result ${r}`),
  );
});
test("few rows by a matrix that lies along its depth: right, and the bits that they have among many", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, shape: readonly number[], dtype: DType = "f32"): Value => b.param(g, name, { dtype, shape });
  const cases = [1, 2, 5, 6].flatMap((m) =>
    [
      [1, 3],
      [16, 16],
      [37, 21],
      [100, 128],
      [70, 530],
    ].map(([n = 0, k = 0]) => ({ m, n, k })),
  );
  const all = (["f32", "bf16"] as const).flatMap((dtype) =>
    cases.map(({ m, n, k }) => {
      const rows = p(`x${m}x${k} ${dtype}`, [m, k]);
      const right = b.swap(g, b.cast(g, p(`w${n}x${k} ${dtype}`, [n, k], dtype), "f32"));
      return [b.matmul(g, rows, right), b.matmul(g, b.concat(g, [rows, p(`y${k} ${dtype}`, [9, k])], 0), right)];
    }),
  );
  for (const { flags, some } of widthsInTurn(all)) {
    const graph = graphOf(some.flat());
    const sequence = lowered(graph);
    const kernels = kernelsOf([sequence]);
    assert.ok(kernels.some(({ text }) => text.includes(" k_major<")));
    const got = runSequence(sequence, storesOf(some.flat()), 2, compiled(kernels, [...flags, "-Og"]));
    compare(flags.join(), graph, got);
    for (let i = 0; i < got.length; i += 2) assert.equal(got[i], got[i + 1]?.slice(0, got[i]?.length), `product ${i}`);
  }
});
test("register tiles of several rows load a vector of the right operand once, not for each row", () => {
  if (!hasFeature("avx2")) return;
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const products = [2, 3, 4, 5].map((rows) => b.matmul(g, p(`x${rows}`, rows, 64), p("w", 64, 64)));
  const kernels = kernelsOf([lowered(graphOf(products))]);
  for (const flags of [["-S"], ["-S", "-mno-avx512f"]]) {
    const assembly = readFileSync(compiled(kernels, flags), "utf8");
    const tiles = [...assembly.matchAll(/^_Z12micro_kernelILi([2-5])E.*:\n([^]*?)^\s*\.size/gm)];
    assert.equal(new Set(tiles.map(([, rows]) => rows)).size, 4);
    for (const [, rows, body = ""] of tiles)
      assert.equal(body.match(/vfmadd\w+\s+[^,]*\([^,]*,/g), null, `${rows} rows ${flags.join(" ")}`);
  }
});
test("a choice that goes nowhere adds zeros in the kernel of another routing", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, shape: readonly number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const by = b.route(g, b.rem(g, b.iota(g, 12), 3), 3);
  const some = b.route(g, b.sub(g, b.rem(g, b.iota(g, 12), 3), 1), 2);
  const added = b.combine(
    g,
    b.raggedDot(g, b.dispatch(g, p("z", [12, 7]), some), p("v", [2, 7, 5]), some.offsets),
    some,
  );
  const of = b.raggedDot(g, b.dispatch(g, p("x", [12, 7]), by), p("w", [3, 7, 5]), by.offsets);
  const graph = graphOf([b.add(g, of, b.dispatch(g, added, by))]);
  const sequence = lowered(graph);
  compare("two routings", graph, runSequence(sequence, storesOf(valuesOf(graph)), 2));
});
test("narrower vectors", () => {
  if (process.arch !== "x64") return;
  for (const [flag, names] of [
    ["-mno-avx512f", ["layer norm", "attention"]],
    ["-mno-avx", ["layer norm", "mixture of experts"]],
  ] as const) {
    const all = names.map((name) => ({ name, graph: layers[name] as Graph, sequence: lowered(layers[name] as Graph) }));
    const lib = compiled(kernelsOf(all.map((s) => s.sequence)), [flag, "-Og"]);
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
test("no element asks which piece of a concat it is from, a part of one neither", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, width: number): Value => b.param(g, name, { dtype: "f32", shape: [40, width] });
  const joined = b.slice(g, b.concat(g, [p("x", 30), p("y", 50)], 1), 1, 11, 60);
  const kernels: Kernel[] = [];
  const sequence = lower(graphOf([b.mul(g, joined, 2)]), { emit: emitHost, onKernel: (k) => kernels.push(k) });
  assert.is(sequence.launches.length, 1);
  assert.not.match(kernels.map(print).join(""), /select/);
});
/** Sums of columns over a concat of heads' parts side by side: the gradient of a convolution's weights. */
function columnSums(...widths: readonly number[]): Value {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: readonly number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const part = (width: number, i: number): Value => {
    const heads = b.slice(g, p(`x${i}`, 40, 2, width / 2 + 5), 2, 5, width / 2);
    return b.reshape(g, heads, [40, width]);
  };
  const all = b.concat(g, widths.map(part), 1);
  return b.sum(g, b.mul(g, all, p("y", ...dims(all.type).map(Number))), [0]);
}
test("a block of columns asks once which part of a concat it is of, where blocks end with parts", () => {
  const widths = [
    [64, 64, 128],
    [64, 32, 96],
    [16, 48],
    [2, 6, 4],
    [32, 30, 2, 64],
    [64, 192, 10],
  ];
  const graphs = widths.map((each) => graphOf([columnSums(...each)]));
  const sequences = graphs.map((graph) => lowered(graph));
  compareWidths("sums over a concat", graphs, sequences);
  const whole = kernelsOf(sequences.slice(0, 1))
    .map(({ text }) => text)
    .join("");
  assert.match(whole, /c < 64/);
  assert.not.match(whole, /(?:min|max)\(c \+ j|c \+ j < /);
});
test("what is read of a part of a concat is limited to the part, also where a block is not of it", () => {
  for (const block of [1, 4, 16])
    for (const [from, to] of [
      [64, 128],
      [0, 48],
      [20, 52],
    ] as const) {
      const i = add(variable("c", "index", 0, 255 - (255 % block), block), variable("j", "index", 0, block - 1));
      const [lowest, highest] = range(clampBetween(i, from, to));
      assert.ok(lowest >= 0 && highest < to - from, `${from}:${to} in blocks of ${block}: ${lowest} to ${highest}`);
    }
});
/** What the first kernel writes of y = x w z and its rows' sums, where `second` is wanted too. */
function writtenWith(second: (g: GraphBuilder, y: Value, sum: Value) => Value): string[] {
  const g = new GraphBuilder(ops);
  const p = (name: string, shape: readonly number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const y = b.mul(g, b.dot(g, p("x", [64, 32]), p("w", [32, 64])), p("z", [64, 64]));
  const sum = b.sum(g, y, [-1]);
  const [first] = lowered(graphOf([sum, second(g, y, sum)])).launches;
  return first?.args.flatMap((a) => (a.access === "write" ? [a.buffer.name.split(".")[0] ?? ""] : [])) ?? [];
}
test("an epilogue adds up a row only where what it adds up need not be in memory", () => {
  assert.equal(
    writtenWith((g, y) => b.sub(g, y, 1)),
    ["sums", "sub"],
  );
  assert.equal(
    writtenWith((g, y, sum) => b.sub(g, y, b.expand(g, sum, 1))),
    ["dot"],
  );
});
/** Of a product to which the sum of so many chosen rows is added. */
function launchesWith(chosen: number, gathers: boolean): number {
  const g = new GraphBuilder(ops);
  const p = (name: string, dtype: DType, ...shape: number[]): Value => b.param(g, name, { dtype, shape });
  const rows = b.sum(g, b.take(g, p("table", "f32", 96, 32), p("index", "i32", 40, chosen)), [1]);
  const graph = graphOf([b.add(g, b.matmul(g, p("x", "f32", 40, 16), p("w", "f32", 16, 32)), rows)]);
  const choices = { ...hostChoices, regions: { ...hostChoices.regions, gathers } };
  return lower(graph, { emit: emitHost, choices }).launches.length;
}
test("rows that are chosen elsewhere are added up after a contraction, one of them in its epilogue", () => {
  assert.equal([launchesWith(3, false), launchesWith(1, false), launchesWith(3, true)], [2, 1, 1]);
});
test("sums of whole tensors that are added up are kernels of their own, alike ones one", () => {
  const g = new GraphBuilder(ops);
  const squares = ["x", "y", "z", "w"].map((name) => {
    const x = b.param(g, name, { dtype: "f32", shape: [500] });
    return b.sum(g, b.mul(g, x, x));
  });
  const graph = graphOf([squares.reduce((x, y) => b.add(g, x, y))]);
  const sequence = lowered(graph);
  assert.is(sequence.launches.length, 3, "two sums are made where all are added");
  assert.is(kernelsOf([sequence]).length, 2);
  compare("squares", graph, runSequence(sequence, storesOf(valuesOf(graph)), 2));
});
test("the gradient of a weight is cut as one, in pieces of the depth too", () => {
  for (const depth of [64, 8192]) {
    const g = new GraphBuilder(ops);
    const [x, y] = [32, 48].map((n) => b.param(g, `x${n}`, { dtype: "f32", shape: [depth, n] })) as [Value, Value];
    const shapes = kernelsOf([lowered(graphOf([b.matmul(g, b.swap(g, x), y)]))]).flatMap(
      (k) => k.schedule?.shape ?? [],
    );
    assert.is(shapes.length, 1);
    assert.match(shapes[0] ?? "", "outer");
    assert.is(shapes[0]?.includes("groups"), depth > 64);
  }
});
test("kernels and their text", () => {
  const kernels: Kernel[] = [];
  const sequence = lower(moeLayer(64, 32, 48, 4, 2), { emit: emitHost, onKernel: (k) => kernels.push(k) });
  golden("moe-kernels.txt", kernels.map(print).join("\n"));
  golden(
    "moe-kernels.cpp",
    kernelsOf([sequence])
      .map((k) => readableKernel(k))
      .join("\n"),
  );
});
test("what a kernel touches outside of its memory is seen", () => {
  const y = buffer("y", [16]);
  const bodies = {
    before: "((char*)a)[-1] = 0;",
    after: "((char*)a)[64] = 0;",
    beyondScratch: "((char*)scratch)[256] = 0;",
    ...((env["MOEC_SANITIZER"] ?? "").includes("address")
      ? { onStack: 'volatile char own[8] = {}; ix i = 8; asm volatile("" : "+r"(i)); a[0] = own[i];' }
      : {}),
  };
  const launches = Object.entries(bodies).map(([name, body]) => launch(name, body, [write(y)]));
  const lib = compiled(launches.map(kernelOf), ["-Og"]);
  for (const one of launches) {
    const sequence: Sequence = { entry: "", launches: [one], assigns: [], results: [] };
    assert.throws(() => runSequence(sequence, new Map(), 1, lib), new RegExp(`\\b${one.kernel.name}\\b`));
  }
});

test.run();
