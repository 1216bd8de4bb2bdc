// Kernels of the CUDA target on the emulator, checked for races, bounds and initialisation: every op's samples against its definition, then
// whole layers against the interpreter. MOEC_TEST=full runs all ways; else each sample runs in one, in turn.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, NdArray, Value } from "../../compiler/graph/node.ts";
import { item } from "../../compiler/item.ts";
import type { OpAttrs } from "../../compiler/ops/attrs.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import { backends } from "../../compiler/targets.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import type { Type } from "../../compiler/types/type.ts";
import { full } from "../full.ts";
import { bf16Samples, codeSamples, ndarray, type Sample, samples, storesOf } from "../graphs.ts";
import { bounds, compare, elementsOf, graphOf, kernelsOf, valuesOf } from "../host/compare.ts";
import { choiceRounds, copySums, fp4Layer, layers, manyGroups, rowSums } from "../layers.ts";
import { firstAndNear, masked, masks } from "../masks.ts";
import { storeOf } from "../sequences.ts";
import {
  type EmulationMode,
  emulationModes,
  loweredForCuda,
  modulesOf,
  type Outcome,
  type Run,
  runEmulated,
} from "./sequence.ts";

const test = suite("emulator-ops");

/** Gives each run's outcome to `check`; throws of all that went wrong, not only of the first. */
async function inAllWays<R extends Run>(runs: readonly R[], check: (run: R, outcome: Outcome) => void): Promise<void> {
  const modules = await modulesOf(kernelsOf(runs.map((r) => r.sequence)));
  const wrong: string[] = [];
  for (const [w, way] of emulationModes.entries()) {
    const chosen = runs.filter((_, i) => full || i % emulationModes.length === w);
    const outcomes = await runEmulated(chosen, modules, way);
    chosen.forEach((run, i) => {
      const said = failure(run, way, outcomes[i] ?? { results: [], findings: "did not run" }, check);
      if (said) wrong.push(said);
    });
  }
  assert.is(wrong.join("\n"), "");
}
function failure<R extends Run>(
  run: R,
  way: EmulationMode,
  outcome: Outcome,
  check: (r: R, o: Outcome) => void,
): string | null {
  const where = `${run.name} (${way.words}, ${way.grid} blocks)`;
  if (outcome.findings !== "") return `${where}: ${outcome.findings.trim()}`;
  try {
    check(run, outcome);
    return null;
  } catch (error) {
    return `${where}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/**
 * In f32 and in bf16, where tensor cores and the unit for special functions take it. Of the tile ops each sample is in one of both, in turn, unless all
 * is asked for.
 */
const isRun = ({ node: { op } }: Sample, i: number, dtype: 0 | 1): boolean =>
  full || (op.lower === "tile" ? i % 2 === dtype : dtype === 0 || op.name === "unary");
const opRuns = [
  ...samples().filter((s, i) => isRun(s, i, 0)),
  ...bf16Samples().filter((s, i) => isRun(s, i, 1)),
  ...codeSamples(),
]
  .filter(({ node }) => node.op.name !== "const" && node.results.every((v) => v.type.dtype !== "f64"))
  .map((s) => ({ ...s, sequence: loweredForCuda(graphOf(s.node.results)), stores: storesOf(s.node.results) }));
test("every op against its definition", () =>
  inAllWays(opRuns, ({ node, stores }, { results }) => {
    const bound = bounds(node, stores);
    interpret(node.results, stores, { exact: true }).forEach((want, r) => {
      for (let i = 0; i < elementsOf(node, stores, r); i++) {
        const [x, y] = [want.data[i] ?? Number.NaN, results[r]?.[i] ?? Number.NaN];
        if (!(x === y || Math.abs(x - y) <= bound(x, r, i))) throw new Error(`result ${r}[${i}] is ${y}, not ${x}`);
      }
    });
  }));

/** Most rows are of the last of 33 groups; the scheduler of tiles looks at 32 together. */
function lastGroup(): Graph {
  const g = new GraphBuilder(ops);
  const { offsets } = b.route(g, b.minimum(g, b.mul(g, b.iota(g, 9), 11), 32), 33);
  const [x, w] = [
    b.param(g, "x", { dtype: "f32", shape: [9, 8] }),
    b.param(g, "w", { dtype: "f32", shape: [33, 8, 8] }),
  ];
  return graphOf([b.raggedDot(g, x, w, offsets)]);
}
const others = {
  "many groups": manyGroups(70, 50257),
  "the last group": lastGroup(),
  "rounds that hand on choices": choiceRounds([3, 23], [4, 3], 12),
};
const layerRuns = Object.entries({ ...layers, ...others }).map(([name, graph]) => ({
  name,
  graph,
  sequence: loweredForCuda(graph),
  stores: storesOf(valuesOf(graph)),
}));
test("layers against the interpreter", () =>
  inAllWays(layerRuns, ({ name, graph }, { results }) => compare(name, graph, results)));
const fp4Runs = [fp4Layer(5, 320, 96, "bf16"), fp4Layer(70, 160, 200, "bf16"), fp4Layer(40, 96, 67, "bf16")].map(
  (graph, i) => ({
    name: `codes of 4 bits ${i}`,
    graph,
    sequence: loweredForCuda(graph),
    stores: storesOf(valuesOf(graph)),
  }),
);
test("products of bf16 by codes of 4 bits, which are rounded to bf16", () =>
  inAllWays(fp4Runs, ({ name, graph }, { results }) => compare(name, graph, results, 2e-2)));
/**
 * Long enough for blocks that are seen whole, in part, and not at all. Positions in any order lie in memory; 152 of them are whole copies of
 * 16 bytes, so that they are lines beside the operands, and so are the sums.
 */
function longAttention(dtype: DType, T: number, inOrder: boolean): Graph {
  const g = new GraphBuilder(ops);
  const A = 16;
  const p = (name: string, ...shape: readonly number[]): Value => b.param(g, name, { dtype, shape });
  const given = b.param(g, "at", { dtype: "i32", shape: [1, T] });
  const at = inOrder ? b.reshape(g, b.iota(g, T), [1, T]) : given;
  const args = [p("q", 1, 1, 2, T, A), p("k", 1, 1, T, A), p("v", 1, 1, T, A), at, at];
  return withGradients(g, args, causal, p("dout", 1, 1, 2, T, A));
}
function withGradients(g: GraphBuilder, args: readonly Value[], attrs: OpAttrs["attention"], seed: Value): Graph {
  const [out, sums] = b.make(g, "attention", args, attrs).results as [Value, Value];
  const delta = b.param(g, "delta", sums.type);
  return graphOf([out, sums, ...b.make(g, "attention_backward", [...args, sums, delta, seed], attrs).results]);
}
const causal: OpAttrs["attention"] = { scale: 0.5, bounds: [{ at: 1, seen: -1, plus: 0, pair: 0 }] };
const longRuns = (["f32", "bf16"] as const).flatMap((dtype) => [
  longRun(dtype, 150, true),
  longRun(dtype, 152, true),
  longRun(dtype, 152, false),
]);
function longRun(dtype: DType, T: number, inOrder: boolean): Run & { readonly graph: Graph } {
  const graph = longAttention(dtype, T, inOrder);
  const name = `${dtype} of ${T}${inOrder ? "" : ", in any order"}`;
  return { name, graph, sequence: loweredForCuda(graph), stores: storesOf(valuesOf(graph)) };
}
/** Scores that are all far below the zeros that an accumulator holds beyond the last key. They are exact in f32, as their weights must be. */
function farBelowZero(): Run & { readonly graph: Graph } {
  const whole = longAttention("f32", 150, true);
  const graph = { ...whole, results: whole.results.slice(0, 2) };
  const stores = storesOf(valuesOf(graph));
  const changed = (name: string, of: (x: number) => number): readonly [string, NdArray] => {
    const a = stores.get(name) as NdArray;
    return [name, { ...a, data: a.data.map(of) }];
  };
  const [q, k] = [changed("q", () => 4), changed("k", (x) => Math.round(8 * x) / 8 - 8)];
  return { name: "f32, far below zero", graph, sequence: loweredForCuda(graph), stores: new Map([...stores, q, k]) };
}
/** In f32 or bf16, as the name begins. */
function near({ name, graph, stores }: Run & { readonly graph: Graph }, { results }: Outcome): void {
  interpret(valuesOf(graph), stores, { exact: true }).forEach((want, r) => {
    const most = Math.max(...want.data.map(Math.abs));
    const off = Math.max(...Array.from(want.data, (x, i) => Math.abs(x - (results[r]?.[i] ?? Number.NaN))));
    assert.ok(off < most * (name.startsWith("bf16") ? 2 ** -6 : 2e-6), `result ${r}: off by ${off} of ${most}`);
  });
}
/** Keys and values that are the first columns of the same rows, the values more of them. */
function nestedColumns(dtype: DType): Run & { readonly graph: Graph } {
  const g = new GraphBuilder(ops);
  const [T, A, C] = [70, 18, 20];
  const rows = b.param(g, "rows", { dtype, shape: [1, 1, T, C] });
  const at = b.reshape(g, b.iota(g, T), [1, T]);
  const q = b.param(g, "q", { dtype, shape: [1, 1, 2, T, A] });
  const graph = graphOf(b.make(g, "attention", [q, b.slice(g, rows, 3, 0, A), rows, at, at], causal).results);
  return {
    name: `${dtype}, nested columns`,
    graph,
    sequence: loweredForCuda(graph),
    stores: storesOf(valuesOf(graph)),
  };
}
/** Beside a product of 168 columns a number for each 24, of which lanes beyond the last column have none; `ofSome`: read in some rows alone. */
function numberForColumns(dtype: DType, ofSome = false): Run & { readonly graph: Graph } {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: readonly number[]): Value => b.param(g, name, { dtype, shape });
  const each = b.reshape(g, b.broadcast(g, p("b", 7), [7, 24], [0]), [168]);
  const y = b.add(g, b.matmul(g, p("x", 20, 64), p("w", 64, 168)), p("z", 20, 168));
  const wide = b.broadcast(g, each, [20, 168], [1]);
  const some = (): Value => b.broadcast(g, b.gt(g, p("row", 20), 0), [20, 168], [0]);
  const more = (): Value => b.where(g, some(), b.mul(g, wide, p("u", 20, 168)), 0);
  const graph = graphOf([ofSome ? b.add(g, y, more()) : b.mul(g, y, wide)]);
  const name = `${dtype}, a number for 24 columns${ofSome ? " of some rows" : ""}`;
  return { name, graph, sequence: loweredForCuda(graph), stores: storesOf(valuesOf(graph)) };
}
/** The last query that sees a key is half a group of lanes; the other half sees none, and its sum is -Infinity. */
function oddQueries(): Run & { readonly graph: Graph } {
  const g = new GraphBuilder(ops);
  const [T, U] = [13, 2];
  const p = (name: string, ...shape: readonly number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const [q, k, v, seed] = [p("q", 1, 1, 1, T, 8), p("k", 1, 1, U, 8), p("v", 1, 1, U, 8), p("dout", 1, 1, 1, T, 8)];
  const [at, seen] = [b.broadcast(g, b.iota(g, T), [1, T], [1]), b.param(g, "seen", { dtype: "i32", shape: [1, U] })];
  const attrs = { scale: 1, bounds: [{ at: -1, seen: 1, plus: 3, pair: 0 }] };
  const whole = withGradients(g, [q, k, v, at, seen], attrs, seed);
  const graph = { ...whole, results: whole.results.toSpliced(1, 1) };
  const places = { dtype: "i32", shape: [1, U], data: Float64Array.of(0, 1) } as const;
  const stores = new Map<string, NdArray>([...storesOf(valuesOf(graph)), ["seen", places]]);
  return { name: "f32, odd queries", graph, sequence: loweredForCuda(graph), stores };
}
test("an epilogue reads nothing beyond the last column", () =>
  inAllWays([numberForColumns("f32"), numberForColumns("f32", true), numberForColumns("bf16")], near));
test("attention over many blocks, in f32 and in bf16", () =>
  inAllWays([...longRuns, farBelowZero(), nestedColumns("f32"), nestedColumns("bf16"), oddQueries()], near));
const maskRuns = Object.keys(masks).map((mask, i): Run & { readonly graph: Graph } => {
  const shape = { B: 1, G: 1, R: 1, T: 200, U: 200, A: 16, C: 16 };
  const dtype = i % 2 === 0 ? "f32" : "bf16";
  const cap = i % 8 < 4 ? 0.9 : undefined;
  const [, graph] = masked(mask, { shape, dtype, scale: i % 3 === 0 ? -0.4 : 0.4, sunk: i % 4 < 2, cap });
  return { name: `${dtype}, ${mask}`, graph, sequence: loweredForCuda(graph), stores: storesOf(valuesOf(graph)) };
});
test("attention under every kind of mask", () => inAllWays(maskRuns, near));
/** Queries at the ends of i32, which see all keys before them, or those of a window: an index has 32 bits here. */
const atEnds = [
  causal.bounds,
  [...causal.bounds, { at: -1, seen: 1, plus: 9, pair: 0 }],
  [{ at: -1, seen: 1, plus: 3, pair: 0 }],
].map((bounds, i): Run & { readonly graph: Graph } => {
  const g = new GraphBuilder(ops);
  const p = (name: string, n: number): Value => b.param(g, name, { dtype: "f32", shape: [1, 1, n, 16] });
  const at = b.param(g, "at", { dtype: "i32", shape: [1, 4] });
  const args = [
    b.reshape(g, p("q", 8), [1, 1, 2, 4, 16]),
    p("k", 90),
    p("v", 90),
    at,
    b.reshape(g, b.iota(g, 90), [1, 90]),
  ];
  const graph = graphOf(b.make(g, "attention", args, { scale: 0.5, bounds }).results);
  const ends = {
    dtype: "i32",
    shape: [1, 4],
    data: Float64Array.of(2 ** 31 - 1, -(2 ** 31), 40, 2 ** 31 - 8),
  } as const;
  const stores = new Map<string, NdArray>([...storesOf(valuesOf(graph)), ["at", ends]]);
  return { name: `f32, ends of i32, ${i}`, graph, sequence: loweredForCuda(graph), stores };
});
test("queries at the ends of i32", () => inAllWays(atEnds, near));
/** Three queries over 700 keys: one sees none, one those of the first piece, one those of both. Or they see the first 104 and those near, beside sinks. */
function overPast(dtype: DType, [first, apart] = [-400, 400], bounds = causal.bounds): Run & { readonly graph: Graph } {
  const g = new GraphBuilder(ops);
  const [T, U, A] = [3, 700, 24];
  const p = (name: string, ...shape: readonly number[]): Value => b.param(g, name, { dtype, shape });
  const at = b.reshape(g, b.add(g, b.mul(g, b.iota(g, T), apart), first), [1, T]);
  const seen = b.reshape(g, b.sub(g, b.iota(g, U), 100), [1, U]);
  const sink = bounds === causal.bounds ? [] : [b.param(g, "sink", { dtype: "f32", shape: [1, 2, 2] })];
  const args = [p("q", 1, 2, 2, T, A), p("k", 1, 2, U, A), p("v", 1, 2, U, A), at, seen, ...sink];
  const graph = graphOf(b.make(g, "attention", args, { ...causal, bounds }).results);
  return { name: dtype, graph, sequence: loweredForCuda(graph), stores: storesOf(valuesOf(graph)) };
}
/** Name and tasks of each kernel that is attention. */
const attentions = ({ sequence }: Run): (readonly [string, number])[] =>
  sequence.launches.flatMap(({ kernel, tasks }) => {
    const [, name] = /^(attention_\w+)_[0-9a-f]+$/.exec(kernel.name) ?? [];
    return name ? [[name, tasks] as const] : [];
  });
test("few queries over a long past: pieces of the keys are joined", () => {
  const runs = [overPast("f32"), overPast("bf16")];
  const wanted = [
    ["attention_pieces", 20],
    ["attention_join", 12],
  ];
  assert.equal(runs.map(attentions), [wanted, wanted]);
  return inAllWays(runs, near);
});
test("what lies between the first keys and a window is not read", () => {
  const past = (["f32", "bf16"] as const).map((dtype) => overPast(dtype, [590, 2], firstAndNear(0)));
  const whole = new Map(past.map((run) => [run.graph, run.stores]));
  const lost = past.map((run) => {
    const changed = [...run.stores].map(([name, x]): [string, NdArray] => {
      const between = (i: number): boolean =>
        ["k", "v"].includes(name) && i % (700 * 24) >= 128 * 24 && i % (700 * 24) < 640 * 24;
      return [name, { ...x, data: x.data.map((y, i) => (between(i) ? Number.NaN : y)) }];
    });
    return { ...run, stores: new Map(changed) };
  });
  return inAllWays(lost, (run, outcome) => near({ ...run, stores: whole.get(run.graph) ?? run.stores }, outcome));
});

/** Products in pieces of 24 steps of the depth, which leave some; rows of odd length between them. */
function inPieces(dtype: DType, depth: number): Run & { readonly graph: Graph } {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype, shape });
  const h = b.dot(g, b.swap(g, p("x", 2, depth, 17)), p("w", 2, depth, 67));
  const graph = graphOf([b.dot(g, h, b.swap(g, p("v", 2, 33, 67)))]);
  const choices = { ...backends.cuda.choices, splitK: () => 24 };
  const sequence = loweredForCuda(graph, { ...backends.cuda, choices });
  return { name: `${dtype} of depth ${depth}`, graph, sequence, stores: storesOf(valuesOf(graph)) };
}
const pieces = (["f32", "bf16"] as const).flatMap((dtype) => [inPieces(dtype, 48), inPieces(dtype, 53)]);
test("what a scatter puts rows into is copied as a whole, so its rows lie one after another", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, dtype: DType, ...shape: number[]): Value => b.param(g, name, { dtype, shape });
  const [x, index, rows] = [b.exp(g, p("x", "bf16", 9, 65)), p("index", "i32", 4), p("rows", "bf16", 4, 65)];
  const graph = graphOf([b.put(g, x, index, rows), b.sum(g, x, [1])]);
  const sequence = loweredForCuda(graph);
  const given = sequence.launches.flatMap((l) => l.args.map((a) => a.buffer)).filter((v) => v.store !== null);
  const inputs = given.map((v) => storeOf(v, "input"));
  const { buffers } = planMemory([sequence], inputs, { target: "cuda", header: "" });
  for (const { layout } of buffers) assert.not.equal(layout, { kind: "rows", pitch: 72 });
});
test("products in pieces of their depth, of temporaries whose rows begin at 16 bytes", () => {
  for (const { name, sequence } of pieces) {
    const made = sequence.launches.flatMap((l) => l.args.map((a) => a.buffer)).filter((v) => v.shape.at(-1) === 67);
    assert.ok(
      made.some((v) => v.layout.kind === "rows" && v.layout.pitch > 67),
      name,
    );
  }
  return inAllWays(pieces, near);
});

/** Rows of a temporary that begin at 16 bytes, gathered into a product whose depth ends within a copy of 16 bytes, and into one along the rows of groups. */
function gathered(dtype: DType, D: number): Run & { readonly graph: Graph } {
  const g = new GraphBuilder(ops);
  const [N, H, E] = [75, 24, 5];
  const p = (name: string, ...shape: number[]): Value => b.param(g, name, { dtype, shape });
  const index = b.param(g, "index", { dtype: "i32", shape: [2 * N] });
  const by = b.route(g, b.rem(g, b.abs(g, index), E), E);
  const rows = (name: string): Value => {
    const h = b.matmul(g, p(`${name}.left`, N, 8), p(`${name}.right`, 8, D));
    return b.dispatch(g, b.reshape(g, b.broadcast(g, h, [N, 2, D], [0, 2]), [2 * N, D]), by);
  };
  const [x, y] = [rows("x"), rows("y")];
  const dot = (name: string): Value => b.raggedDot(g, x, p(name, E, D, H), by.offsets);
  const graph = graphOf([b.mul(g, dot("gate"), b.sigmoid(g, dot("up"))), b.raggedOuter(g, x, y, by.offsets)]);
  return { name: `${dtype}, ${D} wide`, graph, sequence: loweredForCuda(graph), stores: storesOf(valuesOf(graph)) };
}
test("rows that are gathered, beyond the last of which others lie", () => {
  const runs = (["f32", "bf16"] as const).map((dtype) => gathered(dtype, 150));
  for (const { sequence } of runs) {
    const texts = kernelsOf([sequence]).map((k) => k.text);
    assert.ok(texts.some((text) => /left\.bind\(mn, .*\[m \+ i\]/.test(text) && text.includes("right1")));
    assert.ok(texts.some((text) => /left\.gather\([^]*right\.gather\(/.test(text)));
  }
  return inAllWays(runs, near);
});
test("rows that are gathered more than 32 at a time, whose indices each lane has several of", () => {
  const runs = (["f32", "bf16"] as const).map((dtype) => gathered(dtype, 24));
  for (const { sequence } of runs) {
    const outer = kernelsOf([sequence]).find(({ text }) => text.includes("left.gather("));
    assert.match(outer?.text ?? "", /SharedTile<\w+, (64|128), \d+, [^>]*> left\(/);
  }
  return inAllWays(runs, near);
});
test("bf16 by f32 is multiplied without rounding the f32", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, dtype: DType, ...shape: number[]): Value => b.param(g, name, { dtype, shape });
  const graph = graphOf([b.matmul(g, p("x", "bf16", 20, 40), p("w", "f32", 40, 72))]);
  const sequence = loweredForCuda(graph);
  const { text } = item(kernelsOf([sequence]), 0);
  assert.ok(text.includes("SharedTile<bf16, ") && text.includes("SharedTile<f32, "), text);
  return inAllWays([{ name: "f32", graph, sequence, stores: storesOf(valuesOf(graph)) }], near);
});

/** A graph of one input. */
function ofOne(name: string, type: Type, make: (g: GraphBuilder, x: Value) => Value): Run & { readonly graph: Graph } {
  const g = new GraphBuilder(ops);
  const graph = graphOf([make(g, b.param(g, "x", type))]);
  return { name, graph, sequence: loweredForCuda(graph), stores: storesOf(valuesOf(graph)) };
}
test("what warps told one another is read by all before they tell the next: folds of several rows, a scan longer than a block", () => {
  const folds = ofOne("sums", { dtype: "f32", shape: [13, 600] }, (g, x) => b.sum(g, x, [1]));
  const scan = ofOne("places", { dtype: "i32", shape: [300] }, (g, x) => b.route(g, x, 600).offsets);
  const running = (["f32", "i32"] as const).map((dtype) =>
    ofOne(`running sums, ${dtype}`, { dtype, shape: [7, 1100] }, (g, x) => b.cumsum(g, x)),
  );
  return inAllWays([folds, scan, ...running], near);
});

const sums = (["f32", "bf16"] as const).flatMap((dtype) =>
  (["whole", "in pairs", "across", "one a row"] as const).map((lies) => {
    const graph = rowSums(dtype, lies);
    return { name: `${dtype} ${lies}`, graph, sequence: loweredForCuda(graph), stores: storesOf(valuesOf(graph)) };
  }),
);

test("rows that the epilogue of a product adds up", () => {
  for (const { name, sequence } of sums) assert.match(item(kernelsOf([sequence]), 0).text, "st_partial_sum(", name);
  return inAllWays(sums, near);
});
test("an element's copies that the epilogue of a product adds up", () =>
  inAllWays(
    (["f32", "bf16"] as const).map((dtype) => {
      const graph = copySums(dtype);
      return { name: `${dtype} copies`, graph, sequence: loweredForCuda(graph), stores: storesOf(valuesOf(graph)) };
    }),
    near,
  ));
test("rows whose computed indices are out of range load nothing, while other rows of their warp exchange columns", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, dtype: DType, ...shape: number[]): Value => b.param(g, name, { dtype, shape });
  const [M, K, N] = [70, 40, 72];
  const index = b.mul(g, p("index", "i32", M), p("sign", "i32", M));
  const [scale, shift] = ["scale", "shift"].map((name) => b.take(g, p(name, "bf16", 5, N), index)) as [Value, Value];
  const x = b.matmul(g, p("x", "bf16", M, K), p("w", "bf16", K, N));
  const graph = graphOf([b.add(g, b.mul(g, x, scale), shift)]);
  const sequence = loweredForCuda(graph);
  assert.match(item(kernelsOf([sequence]), 0).text, /each<8, .*\n(.*\n)*.* \? ld\(v, /);
  const ints = (of: (i: number) => number): NdArray =>
    ndarray(
      "i32",
      [M],
      Array.from({ length: M }, (_, i) => of(i)),
    );
  const given = [
    ["index", ints((i) => (i % 8) - 1)],
    ["sign", ints((i) => (i % 3 === 0 ? -1 : 1))],
  ] as const;
  const stores = new Map<string, NdArray>([...storesOf(valuesOf(graph)), ...given]);
  return inAllWays(
    emulationModes.map(() => ({ name: "bf16", graph, sequence, stores })),
    near,
  );
});
test.run();
