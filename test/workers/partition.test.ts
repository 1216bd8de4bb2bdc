// The graphs of several workers, run by them together in the interpreter, against one graph of the whole: every op's samples with arguments cut
// along any axis, and graphs of routed rows.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadFile } from "../../compiler/check/index.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret, interpretWorkers } from "../../compiler/graph/interpret.ts";
import {
  type Graph,
  type NdArray,
  type Placement,
  type ReduceName,
  type Store,
  unstackedStore,
  type Value,
} from "../../compiler/graph/node.ts";
import { nodesOf, valuesOf } from "../../compiler/graph/walk.ts";
import { cudaChoices } from "../../compiler/kernel/schedule-cuda.ts";
import { legalize } from "../../compiler/lower/legalize.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { evenSharding, isSharded, replicated, sharded } from "../../compiler/ops/sharding.ts";
import { partition } from "../../compiler/partition/partition.ts";
import { partCount } from "../../compiler/partition/store-placement.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { type BuildRequest, toGraphs, toPlan } from "../../compiler/pipeline.ts";
import { backends } from "../../compiler/targets.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { sum } from "../../compiler/types/numbers.ts";
import { count, dims, type } from "../../compiler/types/type.ts";
import { filled, samples, storesOf } from "../graphs.ts";
import { everyRow, interpretOnWorkers, requireEqual, squared, wholeOf } from "../on-workers.ts";

const test = suite("partition");

/** The demo's training by two workers, on rows of T tokens. */
const training = (T: number): BuildRequest => ({
  sizes: { D: 8, H: 8, L: 1, Heads: 2, E: 4, V: 16, Context: 4, B: 2, T, Steps: 1 },
  precision: "f32",
  entries: [{ name: "train", method: "train", sizes: {} }],
  workers: 2,
});
test("whether parameters fit is asked of what one worker has of them", () => {
  let held: readonly (readonly Store[])[] = [];
  toGraphs(loadFile("examples/gpt-moe.moe"), training(4), silentObserver(), (...stores) => void (held = stores));
  const [own = [], whole = []] = held.map((stores) => stores.filter((s) => s.role === "parameter" && s.stack > 0));
  assert.ok(own.length > 0 && own.every((s) => partCount(s) === 2 && dims(s.type)[0] === 2));
  assert.equal(
    whole.map((s) => [s.name, partCount(s), dims(s.type)[0]]),
    own.map((s) => [s.name, 1, 4]),
  );
});
test("workers share a batch of no tokens", () => {
  const { graphs } = toGraphs(loadFile("examples/gpt-moe.moe"), training(0), silentObserver());
  assert.is(graphs.length, 2);
});
/** Into as many parts as there are workers, or as each group has. */
interface Cut {
  readonly workers: number;
  readonly parts?: readonly number[];
  readonly pieces?: readonly number[];
}
const cuts: readonly Cut[] = [
  ...[2, 3, 5, 7, 23].map((workers) => ({ workers })),
  { workers: 4, parts: [2] },
  { workers: 4, parts: [4, 2] },
  { workers: 6, parts: [2, 3] },
  { workers: 2, pieces: [1, 1] },
  { workers: 2, pieces: [1, 1, 1] },
  { workers: 2, pieces: [1, 2] },
  { workers: 3, pieces: [1, 1] },
];
test("every op, its arguments cut along any axis, in one piece or in several", () => {
  const cut = { whole: 0, pieces: 0 };
  for (const { name, node, g } of samples()) {
    const stores = storesOf(node.results);
    const wanted = interpret(node.results, stores, { exact: true });
    const graph: Graph = { name, results: node.results.map((value, i) => ({ role: "output", name: `${i}`, value })) };
    for (const { workers, parts = [workers], pieces = [1] } of cuts)
      for (const axis of [0, 1, 2, 3]) {
        const places = (store: string): Placement => {
          const n = stores.get(store)?.shape[axis] ?? 0;
          const among = parts[[...stores.keys()].indexOf(store) % parts.length] ?? 1;
          return n > 0 && n % (among * sum(pieces)) === 0 ? sharded(axis, evenSharding(among, pieces)) : replicated;
        };
        if (![...stores.keys()].some((s) => isSharded(places(s)))) continue;
        cut[pieces.length === 1 ? "whole" : "pieces"]++;
        const each = interpretOnWorkers(partition(g, graph, { workers }, places), stores, places, workers);
        for (const own of each)
          wanted.forEach((x, i) =>
            requireEqual(`${name} by ${workers} (${parts.join()}), axis ${axis} in ${pieces.join(":")}`, own[i], x),
          );
      }
  }
  assert.ok(cut.whole > 300 && cut.pieces > 100, `${JSON.stringify(cut)} samples were cut`);
});

test("a table of each expert that rows look into: their own part of it, any other one, and one of as many as experts", () => {
  const g = new GraphBuilder(ops);
  const param = (name: string, dtype: DType, shape: readonly number[]): Value => b.param(g, name, type(dtype, shape));
  const [x, w, tables] = [param("x", "f32", [8, 3]), param("w", "f32", [4, 3, 3]), param("tables", "f32", [8, 3])];
  const [index, other] = [param("index", "i32", [8]), param("other", "i32", [8])];
  const by = b.route(g, index, 4);
  const product = b.raggedDot(g, b.dispatch(g, x, by), w, by.offsets);
  const [own, any] = [by.expert, b.dispatch(g, other, by)];
  const part = (each: number): Value =>
    b.where(g, b.ge(g, own, 0), b.add(g, b.mul(g, own, each), b.rem(g, b.maximum(g, any, 0), 2)), -1);
  const values = [part(2), part(3), b.add(g, part(2), 1), any, own].map((at) =>
    b.combine(g, b.mul(g, product, b.take(g, tables, at)), by),
  );
  const held = new Map([...storesOf(values), ["index", squared(filled("index", "i32", [8]))]]);
  const graph: Graph = { name: "tables", results: values.map((value, i) => ({ role: "output", name: `${i}`, value })) };
  const wanted = interpret(values, held, { exact: true });
  for (const owners of [4, 2]) {
    const places = (store: string): Placement =>
      sharded(0, evenSharding(store === "w" || store === "tables" ? owners : 4));
    for (const own of interpretOnWorkers(partition(g, graph, { workers: 4 }, places), held, places, 4))
      wanted.forEach((want, i) => requireEqual(`index ${i}, ${owners} owners`, own[i], want));
  }
});

test("one routing whose rows meet arrays spread over all workers and over some of them, and what these learn", () => {
  const g = new GraphBuilder(ops);
  const param = (name: string, dtype: DType, shape: readonly number[]): Value => b.param(g, name, type(dtype, shape));
  const [x, index] = [param("x", "f32", [8, 3]), param("index", "i32", [8])];
  const by = b.route(g, index, 4);
  const rows = b.dispatch(g, x, by);
  const product = (name: string): Value => b.raggedDot(g, rows, param(name, "f32", [4, 3, 3]), by.offsets);
  const second = b.where(g, b.ge(g, by.expert, 0), b.add(g, b.mul(g, by.expert, 2), 1), -1);
  const vectors = b.add(
    g,
    b.take(g, param("bias", "f32", [4, 3]), by.expert),
    b.take(g, param("pairs", "f32", [8, 3]), second),
  );
  const made = b.mul(g, b.mul(g, product("w"), product("v")), vectors);
  const learned = b.raggedOuter(g, rows, made, by.offsets);
  const output = { role: "output", name: "y", value: b.combine(g, made, by) } as const;
  const stores = ["w", "v"].map((name) => ({ role: "store", name, value: learned }) as const);
  const sums = { role: "store", name: "bias", value: b.raggedSum(g, made, by.offsets) } as const;
  const graph: Graph = { name: "two arrays", results: [output, ...stores, sums] };
  const held = new Map([...storesOf(valuesOf(graph)), ["index", squared(filled("index", "i32", [8]))]]);
  const wanted = interpret(valuesOf(graph), held, { exact: true });
  for (const [w, v, bias, pairs] of [
    [4, 2, 4, 2],
    [2, 4, 1, 2],
    [4, 1, 2, 4],
    [1, 2, 4, 1],
  ] as const)
    for (const room of [undefined, 3.9]) {
      const among = new Map(Object.entries({ w, v, bias, pairs }));
      const places = (store: string): Placement => {
        const n = among.get(store) ?? 4;
        return n === 1 ? replicated : sharded(0, evenSharding(n));
      };
      const found = interpretOnWorkers(partition(g, graph, { workers: 4, room }, places), held, places, 4);
      for (const worker of found.keys())
        graph.results.forEach((r, i) => {
          const all = found.map((own) => own[i] as NdArray);
          const what = `${r.name} of worker ${worker}, over ${w}, ${v}, ${bias} and ${pairs}`;
          requireEqual(what, wholeOf(all, r, places, worker), wanted[i] as NdArray);
        });
    }
});

test("what all have is made in parts where it is added to parts; parts one after the other", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", type("f32", [4, 6]));
  const noise = b.random(g, b.param(g, "key", type("i32", [2])), 7, [4, 6]);
  const column = b.broadcast(g, b.param(g, "column", type("i32", [4])), [4, 6], [0]);
  const [, distinct] = b.topK(g, b.param(g, "keys", type("f32", [4])), 2);
  const putInto = (base: Value): Value => b.put(g, base, distinct, b.param(g, "rows", type("f32", [2, 6])));
  const made = [
    noise,
    b.random(g, b.param(g, "key", type("i32", [2])), 7, [6], b.param(g, "numbers", type("i32", [4]))),
    b.after(g, noise, [b.sum(g, noise, [0, 1])]),
    b.reshape(g, b.iota(g, 24), [4, 6]),
    b.transpose(g, b.reshape(g, b.iota(g, 24), [6, 4]), [1, 0]),
    putInto(b.like(g, x, 0)),
    putInto(b.like(g, x, 2)),
  ];
  const sums = [...made, column].map((whole) => b.add(g, x, b.cast(g, whole, "f32")));
  const values = [...sums, ...[0, 1].map((axis) => b.concat(g, [x, b.slice(g, x, axis, 2, 2)], axis))];
  const held = storesOf(values);
  const wanted = interpret(values, held, { exact: true });
  const graph: Graph = { name: "parts", results: values.map((value, i) => ({ role: "output", name: `${i}`, value })) };
  for (const axis of [0, 1]) {
    const places = (store: string): Placement => (store === "x" ? sharded(axis, evenSharding(2)) : replicated);
    for (const own of interpretOnWorkers(partition(g, graph, { workers: 2 }, places), held, places, 2))
      wanted.forEach((want, i) => requireEqual(`number ${i}, axis ${axis}`, own[i], want));
  }
});

const builder = new GraphBuilder(ops);
/** How many numbers each worker has in the end that came from several, by op; and each that they make is right. */
function movedBy(value: Value, places: (store: string) => Placement, workers = 2): Record<string, number> {
  const held = new Map([...storesOf([value])].map(([name, x]) => [name, name === "index" ? squared(x) : x]));
  const graph: Graph = { name: "moved", results: [{ role: "output", name: "y", value }] };
  const made = partition(builder, graph, { workers }, places);
  const [wanted] = interpret([value], held, { exact: true });
  for (const [own] of interpretOnWorkers(made, held, places, workers)) requireEqual("a value", own, wanted as NdArray);
  const moved: Record<string, number> = {};
  for (const { op, results } of nodesOf(made))
    if (op.lower === "collective")
      moved[op.name] = (moved[op.name] ?? 0) + results.reduce((n, r) => n + count(r.type), 0);
  return moved;
}
test("a product in parts moves the smaller of what is cut otherwise; rows go to vectors of experts that are many", () => {
  for (const [rows, columns] of [
    [4, 50],
    [40, 2],
  ] as const) {
    const x = b.param(builder, `x${rows}`, type("f32", [2, rows, 3]));
    const w = b.param(builder, `w${rows}`, type("f32", [2, 3, columns]));
    const moved = movedBy(b.dot(builder, x, w), (store) => sharded(store.startsWith("x") ? 1 : 0, evenSharding(2)));
    const whole = 2 * rows * columns; // the result
    assert.equal(moved, { all_gather: whole + 2 * 3 * Math.min(rows, columns) });
  }
  for (const [choices, experts] of [
    [4, 8],
    [40, 2],
  ] as const) {
    const by = b.route(builder, b.param(builder, "index", type("i32", [choices])), experts);
    const x = b.dispatch(builder, b.param(builder, "x", type("f32", [choices, 3])), by);
    const vectors = b.param(builder, "vectors", type("f32", [experts, 3]));
    const moved = movedBy(b.combine(builder, b.mul(builder, x, b.take(builder, vectors, by.expert)), by), () =>
      sharded(0, evenSharding(2)),
    );
    const result = choices * 3;
    if (experts > choices)
      assert.equal(moved["exchange"], choices * 3 + (choices / 2) * 3 + choices); // there, back, and whose each is
    else assert.equal(moved, { all_gather: result + experts * 3 });
  }
});
test("an elementwise op of rows that were all exchanged before is done where they are", () => {
  const by = b.route(builder, b.param(builder, "index", type("i32", [8])), 4);
  const param = (name: string, shape: readonly number[]): Value => b.param(builder, name, type("f32", shape));
  const [x, score] = [param("rows of x", [8, 3]), param("scores", [8])].map((v) => b.dispatch(builder, v, by));
  if (!x || !score) throw new Error("two are moved");
  const factor = b.broadcast(builder, score, [8, 3], [0]);
  const product = b.raggedDot(builder, x, param("matrices", [4, 3, 3]), by.offsets);
  const result = b.sum(builder, b.combine(builder, b.mul(builder, product, factor), by), [0]);
  const sums = b.raggedSum(builder, b.sub(builder, b.mul(builder, x, factor), 1), by.offsets);
  const moved = movedBy(b.add(builder, result, b.sum(builder, sums, [0])), () => sharded(0, evenSharding(2)));
  assert.is(moved["exchange"], 8 * 3 + 8 + 4 * 3); // x and the scores there, the products back
});
test("a long chain of values that are each read twice is exchanged once; it is not searched once for each path", () => {
  const by = b.route(builder, b.param(builder, "index", type("i32", [8])), 4);
  const param = (name: string, shape: readonly number[]): Value => b.param(builder, name, type("f32", shape));
  let x = b.dispatch(builder, param("rows of x", [8, 3]), by);
  for (let i = 0; i < 60; i++) x = b.mul(builder, x, b.add(builder, x, 1)); // 2^60 paths: without a memory this never ends
  const product = b.raggedDot(builder, x, param("matrices", [4, 3, 3]), by.offsets);
  const result = b.sum(builder, b.combine(builder, product, by), [0]);
  const moved = movedBy(result, () => sharded(0, evenSharding(2)));
  assert.is(moved["exchange"], 8 * 3 + 4 * 3); // the last of the chain there, the products back
});

const allSharded = (): Placement => sharded(0, evenSharding(2));
const allButIndex = (store: string): Placement => (store === "index" ? replicated : sharded(0, evenSharding(2)));
test("rows in parts that all know the groups of are summed where they are, and each worker gets its part of the sums; not of more groups than rows", () => {
  for (const [groups, moved] of [
    [8, { all_to_all: 8 * 3, all_gather: 8 * 3 }], // the sums; the result
    [40, { all_gather: 16 * 3 + 40 * 3 }], // the rows; the result
  ] as const) {
    const param = (name: string, shape: readonly number[]): Value => b.param(builder, name, type("f32", shape));
    const by = b.route(builder, b.param(builder, "index", type("i32", [16])), groups);
    const sums = b.raggedSum(builder, b.dispatch(builder, param("x", [16, 3]), by), by.offsets);
    const wide = b.reshape(builder, sums, [groups, 1, 3]);
    const value = b.add(builder, wide, param("z", [groups, 1, 3]));
    assert.equal(movedBy(value, allButIndex), moved);
  }
});

test("a maximum that is needed in parts; a sum and its reshape, both needed whole, are summed once", () => {
  const x = b.param(builder, "x", type("f32", [4, 6]));
  const z = b.param(builder, "z", type("f32", [6]));
  const most = b.max(builder, x, [0]);
  assert.equal(movedBy(b.add(builder, most, z), allSharded), { all_to_all: 6, all_gather: 6 });
  const total = b.sum(builder, x, [0]);
  const both = b.add(
    builder,
    b.sum(builder, b.mul(builder, total, total), [0]),
    b.sum(builder, b.reshape(builder, total, [3, 2]), [0, 1]),
  );
  assert.equal(movedBy(both, allSharded), { all_reduce: 6 });
});
test("what each pair of four workers has the terms of, where all four need parts of the sum", () => {
  const x = b.param(builder, "x", type("f32", [4, 8]));
  const z = b.param(builder, "z", type("f32", [8]));
  const moved = movedBy(
    b.add(builder, b.sum(builder, x, [0]), z),
    (store) => sharded(0, evenSharding(store === "x" ? 2 : 4)),
    4,
  );
  assert.equal(moved, { all_reduce: 8, all_gather: 8 });
});
test("sums of groups by choices that a table of another length is read by", () => {
  const index = b.param(builder, "index", type("i32", [8]));
  const param = (name: string, shape: readonly number[]): Value => b.param(builder, name, type("f32", shape));
  const by = b.route(builder, index, 3);
  const sums = b.raggedSum(builder, b.dispatch(builder, param("x", [8, 3]), by), by.offsets);
  const looked = b.take(builder, param("tables", [4, 3]), index);
  movedBy(b.add(builder, b.sum(builder, sums, [0]), b.sum(builder, looked, [0])), (store) =>
    store === "tables" ? sharded(0, evenSharding(2)) : replicated,
  );
});
const secondAxis = (store: string): Placement => (store === "x" ? replicated : sharded(1, evenSharding(2)));
test("rows are put at places of which each worker has some, along the second of two axes", () => {
  const [x, rows] = [b.param(builder, "x", type("f32", [6])), b.param(builder, "rows", type("f32", [3, 2]))];
  const value = b.put(builder, x, b.param(builder, "index", type("i32", [3, 2])), rows);
  assert.equal(movedBy(value, secondAxis), { all_gather: 2 * 6 });
});
const inQuarters = (): Placement => sharded(0, evenSharding(4));
test("room for a part of a row is room for it", () => {
  const param = (name: string, dtype: DType, shape: readonly number[]): Value =>
    b.param(builder, name, type(dtype, shape));
  const by = b.route(builder, param("index", "i32", [8]), 4);
  const rows = b.dispatch(builder, param("x", "f32", [8, 3]), by);
  const value = b.combine(builder, b.raggedDot(builder, rows, param("w", "f32", [4, 3, 3]), by.offsets), by);
  const held = storesOf([value]).set("index", { dtype: "i32", shape: [8], data: new Float64Array(8) }); // all to the first
  const graph: Graph = { name: "room", results: [{ role: "output", name: "y", value }] };
  const made = partition(builder, graph, { workers: 4, room: 3.6 }, inQuarters); // for 7.2 of 8 rows
  const [wanted] = interpret([value], held, { exact: true });
  for (const [own] of interpretOnWorkers(made, held, inQuarters, 4)) requireEqual("a row", own, wanted as NdArray);
});
test("workers that all sort all choices: what each of its own rows' numbers and flags are", () => {
  const by = b.route(builder, b.param(builder, "index", type("i32", [8])), 4);
  const param = (name: string, shape: readonly number[]): Value => b.param(builder, name, type("f32", shape));
  const rows = b.dispatch(builder, param("x", [8, 3]), by);
  const product = b.raggedDot(builder, rows, param("w", [4, 3, 3]), by.offsets);
  const numbers = [by.order, by.expert].map((v) => b.broadcast(builder, b.cast(builder, v, "f32"), [8, 3], [0]));
  for (const v of [...numbers.map((n) => b.mul(builder, product, n)), b.gt(builder, product, 0)])
    movedBy(b.combine(builder, v, by), (store) => (store === "w" ? sharded(0, evenSharding(2)) : replicated));
});
test("rows of a mixture in an expert that take up two axes: what goes along one of these alone is done of all rows", () => {
  const param = (name: string, dtype: DType, shape: readonly number[]): Value =>
    b.param(builder, name, type(dtype, shape));
  const outer = b.route(builder, param("index", "i32", [8]), 4);
  const twice = (v: Value): Value =>
    b.reshape(
      builder,
      b.broadcast(
        builder,
        v,
        [8, 2, ...dims(v.type).slice(1)],
        [
          0,
          ...dims(v.type)
            .slice(1)
            .map((_, i) => i + 2),
        ],
      ),
      [16, ...dims(v.type).slice(1)],
    );
  const two = b.dispatch(builder, param("place", "i32", [8, 2]), outer);
  const place = b.rem(builder, b.maximum(builder, b.reshape(builder, two, [16]), 0), 3);
  const expert = twice(outer.expert);
  const at = b.add(builder, b.mul(builder, expert, 3), place);
  const inner = b.route(builder, b.where(builder, b.ge(builder, expert, 0), at, -1), 12);
  const x = b.dispatch(builder, twice(b.dispatch(builder, param("x", "f32", [8, 3]), outer)), inner);
  const own = b.raggedDot(builder, x, param("w", "f32", [12, 3, 3]), inner.offsets);
  const wide = b.reshape(builder, own, [8, 2, 3]);
  const beside = b.broadcast(builder, param("beside", "f32", [8, 3]), [8, 2, 3], [0, 2]);
  const back = (v: Value): Value => b.combine(builder, b.reshape(builder, v, [16, 3]), inner);
  const values = [
    b.mul(builder, wide, beside),
    b.add(builder, b.broadcast(builder, b.sum(builder, wide, [1]), [8, 2, 3], [0, 2]), wide),
    b.transpose(builder, b.transpose(builder, wide, [1, 0, 2]), [1, 0, 2]),
    b.mul(builder, b.reshape(builder, b.transpose(builder, wide, [0, 2, 1]), [8, 2, 3]), wide),
    b.sum(builder, b.mul(builder, wide, beside), [2], true),
    b.mul(builder, own, b.broadcast(builder, b.cast(builder, inner.expert, "f32"), [16, 3], [0])),
  ].map((v) => (dims(v.type).at(-1) === 3 ? back(v) : v));
  const held = new Map([...storesOf(values)].map(([name, y]) => [name, name === "index" ? everyRow(y) : y]));
  const graph: Graph = {
    name: "two axes",
    results: values.map((value, i) => ({ role: "output", name: `${i}`, value })),
  };
  const wanted = interpret(values, held, { exact: true });
  for (const owners of [4, 2, 1]) {
    const places = (store: string): Placement =>
      store === "w" && owners === 1 ? replicated : sharded(0, evenSharding(store === "w" ? owners : 4));
    for (const own of interpretOnWorkers(partition(builder, graph, { workers: 4 }, places), held, places, 4))
      wanted.forEach((want, i) => requireEqual(`number ${i}, ${owners} owners`, own[i], want));
  }
});

/** Numbers of workers: a NaN of one of them, and numbers near the ends of i32 and of bf16. */
function ofWorker(w: number, stores: ReadonlyMap<string, NdArray>): Map<string, NdArray> {
  const own = (name: string, x: NdArray): NdArray => {
    const data = filled(`${name} of ${w}`, x.dtype, x.shape).data.map((n) => (x.dtype === "i32" ? n * 2 ** 27 : n));
    if (x.dtype !== "i32" && w === 1) data[data.length >> 1] = Number.NaN;
    return { ...x, data };
  };
  return new Map([...stores].map(([name, x]) => [name, own(name, x)]));
}
const shownOf = (all: readonly NdArray[][] = []): string[][] => all.map((own) => own.map((x) => x.data.join()));
test("what only moves bytes, and kernels that add up in the order of workers, give what an all_reduce is", () => {
  const shapes = [[], [1], [3], [1, 1], [4099], [67, 64], [2, 3, 1031]];
  let turned = 0;
  for (const workers of [2, 3, 4])
    for (const dtype of ["f32", "bf16", "i32"] as const) {
      const sums = shapes.flatMap((shape) => {
        const x = b.param(builder, `${dtype} ${shape.join()}`, type(dtype, shape));
        const reduced = (v: Value, fn: ReduceName): Value => b.make1(builder, "all_reduce", [v], { fn, workers });
        const fns = (["sum", "max", "min"] as const).map((fn) => reduced(b.add(builder, x, x), fn));
        return shape.length === 2 ? [...fns, reduced(b.swap(builder, x), "sum")] : fns;
      });
      const results = sums.map((value, i) => ({ role: "output" as const, name: `${i}`, value }));
      const { graph } = legalize({ name: "sums", results }, cudaChoices);
      const nodes = nodesOf(graph);
      assert.not(nodes.some((n) => n.op.name === "all_reduce"));
      turned += nodes.filter((n) => n.op.name === "all_to_all").length;
      const stores = Array.from({ length: workers }, (_, w) => ofWorker(w, storesOf(sums)));
      const [wanted, found] = [sums, valuesOf(graph)].map((v) => interpretWorkers(v, stores));
      assert.equal(shownOf(found), shownOf(wanted), `${workers} workers, ${dtype}`);
    }
  assert.ok(turned > 30, `${turned} are added up in parts`);
});
test("what CUDA moves is read under its reshapes, without gaps; of stores with longer rows it is a copy", () => {
  const param = (name: string, dtype: DType, shape: readonly number[]): Value =>
    b.param(builder, name, type(dtype, shape));
  const reduced = (x: Value): Value => b.make1(builder, "all_reduce", [x], { fn: "sum", workers: 2 });
  const gathered = (x: Value): Value => b.make1(builder, "all_gather", [x], { workers: 2 });
  const [x, bias] = [param("x", "f32", [70, 99]), param("bias", "f32", [70])];
  const total = b.sum(builder, b.mul(builder, bias, bias), [0]);
  const values = [
    b.add(builder, reduced(b.dot(builder, b.swap(builder, x), x)), 1), // 99 x 99, in parts of 4901
    b.add(builder, reduced(b.dot(builder, x, b.swap(builder, x))), 1), // 70 x 70
    b.add(builder, reduced(total), 1),
    b.add(builder, gathered(b.reshape(builder, param("copy", "bf16", [2, 3, 65]), [6, 65])), 1),
    b.add(builder, gathered(b.reshape(builder, param("even", "bf16", [2, 3, 64]), [6, 64])), 1),
  ];
  const graphs = [{ name: "e", results: values.map((value, i) => ({ role: "output" as const, name: `${i}`, value })) }];
  const stores = [...storesOf(values)].map(([name, t]) =>
    unstackedStore(name, name === "copy" || name === "even" ? "prepared" : "parameter", t),
  );
  const plan = toPlan({ graphs, stores }, silentObserver(), undefined, undefined, backends.cuda);
  const steps = plan.entries.flatMap((entry) =>
    entry.steps.map((step) =>
      step.kind === "launch"
        ? (plan.kernels[step.launch.kernel]?.name.replace(/_\w{8}$/, "") ?? "?")
        : step.kind === "collective"
          ? step.collective.op.name
          : step.kind,
    ),
  );
  const adds = Array.from({ length: 5 }, () => "add");
  // both sums by parts are moved at once, beside the last sum and the copy, and all that is gathered
  const moved = ["all_to_all", "sum", "sum", "sum", "detach", "wait", "all_gather"];
  assert.equal(steps, ["dot", "concat", "dot", ...moved, ...adds]);
});
test.run();
