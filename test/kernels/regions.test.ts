// Where kernels begin and end, in a time that goes with the length of the graph.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { load } from "../../compiler/check/index.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { type Graph, unstackedStore, type Value } from "../../compiler/graph/node.ts";
import { hostChoices } from "../../compiler/kernel/schedule.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toGraphs, toPlan } from "../../compiler/pipeline.ts";
import { argPattern } from "../../compiler/regions/access-pattern.ts";
import { fuse } from "../../compiler/regions/fuse.ts";
import { dims, type } from "../../compiler/types/type.ts";
import { sinkhornLayer } from "../layers.ts";

const test = suite("regions");
const regionsOf = (graph: Graph): ReturnType<typeof fuse> => fuse(graph, hostChoices.regions);
/** A sort after the other, and of each two results that one kernel makes. */
function sorts(n: number): Graph {
  const g = new GraphBuilder(ops);
  const values: Value[] = [];
  for (let i = 0, x = b.param(g, "x", type("f32", [64, 8])); i < n; i++) {
    [x] = b.sort(g, x);
    const y = b.exp(g, x);
    values.push(y, b.mul(g, y, x));
  }
  return { name: "sorts", results: values.map((value, i) => ({ role: "output", name: `${i}`, value })) };
}
/** How often a set is gone through, which is what a search for a way back does. */
function walks(work: () => void): number {
  const plain = Set.prototype[Symbol.iterator];
  let count = 0;
  const put = (value: typeof plain): boolean =>
    Reflect.defineProperty(Set.prototype, Symbol.iterator, { value, configurable: true, writable: true });
  put(function (this: Set<unknown>) {
    count++;
    return plain.call(this);
  });
  work();
  put(plain);
  return count;
}
const walksOf = (n: number): number => walks(() => assert.is(regionsOf(sorts(n)).length, 2 * n + 1));

test("a way back is looked for among what is as young as the group, not through all that was before", () =>
  assert.is(walksOf(200) - walksOf(100), walksOf(300) - walksOf(200)));
/** Steps of a recurrence, each of which reads its own slice of one tensor. */
function recurrence(n: number): Graph {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", type("f32", [n * 16, 8]));
  let h = b.param(g, "h", type("f32", [16, 8]));
  for (let t = 0; t < n; t++) [h] = b.sort(g, b.exp(g, b.add(g, h, b.slice(g, x, 0, t * 16, 16))));
  return { name: "recurrence", results: [{ role: "output", name: "h", value: h }] };
}
test("what a part depends on is found once, not for each of the groups that it might join", () => {
  const [few = 0, some = 0, many = 0] = [100, 200, 300].map((n) =>
    walks(() => assert.is(regionsOf(recurrence(n)).length, 2 * n + 1)),
  );
  assert.is(many - some, some - few);
});
test("what depends on a group that then joins with a reader of another one comes after that one, and is not read there", () => {
  const g = new GraphBuilder(ops);
  const matrix = (name: string): Value => b.param(g, name, type("f32", [64, 64]));
  const [first, second] = [b.dot(g, matrix("x"), matrix("w")), b.dot(g, matrix("y"), matrix("u"))];
  const third = b.dot(g, first, matrix("v"));
  const sum = b.add(g, second, first); // joins first, so that third needs second too
  const values = [third, sum, b.mul(g, third, second)];
  const results = values.map((value, i) => ({ role: "output" as const, name: `${i}`, value }));
  const outputs = regionsOf({ name: "joined", results }).map((region) => region.outputs);
  assert.equal(outputs, [[second], [first, sum], [third, values[2]]]);
});
test("a fold is not made again for each element of what reads it along another axis, of equal length", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", type("f32", [64, 64]));
  const rows = b.sum(g, b.exp(g, x), [1]);
  const value = b.mul(g, x, b.broadcast(g, rows, [64, 64], [1]));
  const graph: Graph = { name: "square", results: [{ role: "output", name: "0", value }] };
  assert.is(regionsOf(graph).length, 2);
});
/** Of a matrix of each row: what its kernels of lanes write. */
const lanesOf = (matrix: readonly [number, number], rounds: number): (readonly number[])[] =>
  regionsOf(sinkhornLayer([2, 5], matrix, rounds))
    .filter(({ kind }) => kind === "lanes")
    .flatMap(({ outputs }) => outputs.map((v) => dims(v.type)));
test("sums over few numbers, one of another, are a kernel each way, which keeps nothing between", () => {
  const ways = [
    [2, 5, 4, 4],
    [2, 5, 4, 4],
  ];
  assert.equal([lanesOf([4, 4], 3), lanesOf([4, 4], 80), lanesOf([4, 5], 3)], [ways, ways, []]);
  assert.equal(lanesOf([4, 4], 90), [], "its backward would keep too much, if not its forward");
});
/** Values each of which is made of the one before: less the sum of its row, times the `i`th of others. */
function centred(g: GraphBuilder, x: Value, factors: readonly (Value | number)[]): [Value, ...Value[]] {
  const all: [Value, ...Value[]] = [x];
  for (const by of factors) {
    const last = all.at(-1) ?? x;
    all.push(b.mul(g, b.sub(g, last, b.sum(g, last, [1], true)), by));
  }
  return all;
}
/** How many values each kernel of lanes writes, of a graph that makes an output and gradients. */
const writtenByLanes = (output: Value | undefined, ...grads: readonly (Value | undefined)[]): number[] => {
  const results = [output, ...grads].flatMap((value, i) =>
    value ? [{ role: i === 0 ? ("output" as const) : ("gradient" as const), name: `${i}`, value }] : [],
  );
  return regionsOf({ name: "lanes", results }).flatMap(({ kind, outputs }) =>
    kind === "lanes" ? [outputs.length] : [],
  );
};
test("a backward of lanes makes again what it reads much of, unless that is itself made of what was made again", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", type("f32", [40, 4]));
  const seed = b.param(g, "seed", type("f32", [40, 4]));
  const forward = centred(g, b.exp(g, x), Array(8).fill(0.5));
  const backward = centred(g, seed, forward.slice(-6));
  const [sorted] = b.sort(g, backward.at(-1) ?? seed);
  const values = [7, 1, 1]; // those that the last kernel reads, and what is sorted
  assert.equal(writtenByLanes(forward.at(-1), centred(g, sorted, backward.slice(1)).at(-1)), values);
});
test("what mixes rows is no part of a kernel of lanes", () => {
  const g = new GraphBuilder(ops);
  const steps = Array.from({ length: 9 });
  const turned = steps.reduce<Value>(
    (y) => b.swap(g, b.sub(g, y, b.sum(g, y, [1], true))),
    b.param(g, "x", type("f32", [5, 5])),
  );
  assert.equal(writtenByLanes(turned), []);
});
/** How many kernels a graph has that gives these values. */
const kernelsOf = (...values: readonly Value[]): number =>
  regionsOf({ name: "few", results: values.map((value, i) => ({ role: "output", name: `${i}`, value })) }).length;
test("what reads a product at other elements than its own does not follow in its kernel", () => {
  const g = new GraphBuilder(ops);
  const matrix = (name: string): Value => b.param(g, name, type("f32", [64, 64]));
  const y = b.dot(g, matrix("x"), matrix("w"));
  assert.equal([kernelsOf(b.exp(g, y)), kernelsOf(b.add(g, y, b.swap(g, y)))], [1, 2]);
});
test("a product of which only the rounded one is read is written rounded, and scaled as it is; else what is read of it", () => {
  const g = new GraphBuilder(ops);
  const matrix = (name: string): Value => b.param(g, name, type("bf16", [64, 64]));
  const product = (name: string): Value =>
    b.dot(g, b.cast(g, matrix(`${name}.x`), "f32"), b.cast(g, matrix(name), "f32"));
  const scales = b.broadcast(g, b.param(g, "scales", type("f32", [64])), [64, 64], [1]);
  const y = product("y");
  const scaled = b.mul(g, y, scales);
  const short = b.cast(g, scaled, "bf16");
  const sum = b.cast(g, b.add(g, b.cast(g, short, "f32"), product("z")), "bf16");
  const isWritten = (v: Value, ...more: readonly Value[]): boolean => {
    const results = [sum, ...more].map((value, i) => ({ role: "output" as const, name: `${i}`, value }));
    return regionsOf({ name: "rounded", results }).some(({ outputs }) => outputs.includes(v));
  };
  const others = [[], [b.max(g, y, [0])], [b.max(g, scaled, [0])]];
  assert.equal(
    others.map((more) => [isWritten(short, ...more), isWritten(y, ...more)]),
    [
      [true, false],
      [false, true],
      [false, true],
    ],
  );
});
test("one kernel puts rows into several tensors at one index, unless one of these is what another begins as, or is made of", () => {
  const g = new GraphBuilder(ops);
  const [x, y, r, s] = ["x", "y", "r", "s"].map((name) => b.param(g, name, type("f32", [40, 8]))) as [
    Value,
    Value,
    Value,
    Value,
  ];
  const by = b.route(g, b.param(g, "index", type("i32", [40])), 40);
  const at = by.order;
  const cases = {
    apart: [b.put(g, x, at, r), b.put(g, y, at, s)],
    "one after the other": [b.put(g, b.put(g, x, at, r), at, s)],
    "twice into one": [b.put(g, x, at, r), b.put(g, x, at, s)],
    swapped: [b.put(g, x, at, y), b.put(g, y, at, x)],
    "at two indices of one routing": [b.put(g, x, at, r), b.put(g, y, by.inverse, r)],
  };
  const own = kernelsOf(at); // those of the routing
  const found = Object.entries(cases).map(([name, values]) => [name, kernelsOf(...values) - own]);
  assert.equal(Object.fromEntries(found), {
    apart: 1,
    "one after the other": 2,
    "twice into one": 2,
    swapped: 2,
    "at two indices of one routing": 2,
  });
});
test("what reads rows of a routing follows in a product of that routing alone: another's does not write all of its rows", () => {
  const g = new GraphBuilder(ops);
  const route = (name: string) => b.route(g, b.param(g, name, type("i32", [40])), 4).offsets;
  const product = (name: string, offsets: Value): Value =>
    b.raggedDot(g, b.param(g, name, type("f32", [40, 8])), b.param(g, "w", type("f32", [4, 8, 8])), offsets);
  const kindBeside = (offsets: Value): string | undefined => {
    const [v, y] = [product("x", route("first")), product("y", offsets)];
    const late = b.mul(g, v, b.sort(g, b.exp(g, v))[0]); // not after the product that it reads
    const results = [b.add(g, v, y), late].map((value, i) => ({ role: "output" as const, name: `${i}`, value }));
    return regionsOf({ name: "two", results }).find(({ outputs }) => outputs.includes(late))?.kind;
  };
  assert.equal([route("first"), route("second")].map(kindBeside), ["tile", "rows"]);
});
test("an axis of a reshape has the index of one before it only if all before both are as many", () => {
  const g = new GraphBuilder(ops);
  for (const [from, to, expected] of [
    [
      [6, 4],
      [4, 6],
      [null, null],
    ],
    [
      [2, 3, 4],
      [2, 12],
      [0, null, null],
    ],
    [
      [2, 3, 5, 4],
      [6, 5, 4],
      [null, null, 1, 2],
    ],
  ] as const) {
    const { node } = b.reshape(g, b.param(g, "x", type("f32", from)), to);
    const own = to.map((_, i) => i);
    assert.equal(argPattern(node, 0, own), expected);
  }
});
test("where the index of a result leads in its arguments: null where it is moved, or looked up", () => {
  const g = new GraphBuilder(ops);
  const [x, rows, index] = [
    b.param(g, "x", type("f32", [2, 6])),
    b.param(g, "rows", type("f32", [8, 6])),
    b.param(g, "index", type("i32", [3, 4])),
  ];
  const by = b.route(g, b.param(g, "by", type("i32", [8])), 4);
  const cases: readonly (readonly [Value, ...(readonly (number | null)[])[]])[] = [
    [b.slice(g, x, 1, 2, 3), [0, null]],
    [b.concat(g, [x, rows], 0), [null, 1], [null, 1]],
    [b.transpose(g, x, [1, 0]), [1, 0]],
    [b.broadcast(g, x, [5, 2, 4, 6], [1, 3]), [1, 3]],
    [b.sum(g, b.exp(g, x), [0]), [null, 0]],
    [b.make1(g, "gather", [x, index], { axis: 1, batch: 0 }), [0, null], [1, 2]],
    [b.take(g, x, b.param(g, "picks", type("i32", [2, 3])), 1), [0, null], [0, 1]],
    [b.take(g, rows, index, 0), [null, 2], [0, 1]],
    [b.dispatch(g, rows, by), [null, 1], [0], [0]],
    [b.after(g, x, [rows]), [0, 1], [null, null]],
    [b.add(g, x, x), [0, 1], [0, 1]],
  ];
  for (const [{ node, type: made }, ...expected] of cases) {
    const own = made.shape.map((_, i) => i);
    assert.equal(
      node.args.map((_, i) => argPattern(node, i, own)),
      expected,
      node.op.name,
    );
  }
});
test("a sum of a product and of its transpose is not made where the product is", () => {
  const g = new GraphBuilder(ops);
  const matrix = (name: string): Value => b.param(g, name, type("f32", [64, 64]));
  const y = b.dot(g, matrix("x"), matrix("w"));
  const sumOf = (value: Value): number => {
    const results = [{ role: "output" as const, name: "0", value: b.sum(g, value, [1]) }];
    return regionsOf({ name: "summed", results }).length;
  };
  assert.equal([sumOf(b.exp(g, y)), sumOf(b.add(g, b.swap(g, y), y))], [1, 2]);
});
test("where one group has all columns its sum is made once for a row of them, not for each", () => {
  const g = new GraphBuilder(ops);
  const depthOf = (groups: number): unknown[] => {
    const x = b.reshape(g, b.exp(g, b.param(g, "x", type("f32", [64, 32]))), [64, groups, 32 / groups]);
    const scaled = b.mul(g, x, b.broadcast(g, b.sum(g, x, [2]), [64, groups, 32 / groups], [0, 1]));
    const value = b.mul(g, b.reshape(g, scaled, [64, 32]), b.param(g, "y", type("f32", [64, 32])));
    return regionsOf({ name: "grouped", results: [{ role: "output", name: "0", value }] }).map(({ depth }) => depth);
  };
  assert.equal([depthOf(1), depthOf(4)], [[1], [2, null]]);
});
test("one kernel has its reductions over the same axes", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", type("f32", [64, 8, 16]));
  const scaled = (v: Value, axes: readonly number[]): Value => {
    const kept = [0, 1, 2].filter((a) => !axes.includes(a));
    return b.mul(g, v, b.broadcast(g, b.sum(g, x, axes), [64, 8, 16], kept));
  };
  const [rows, all] = [scaled(x, [2]), scaled(x, [1, 2])];
  assert.equal([kernelsOf(rows), kernelsOf(rows, all), kernelsOf(scaled(rows, [1, 2]))], [1, 2, 2]);
});
test("what waits holds up no other; what it is made of is in memory, though it waits for that too", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", type("f32", [64, 64]));
  assert.is(kernelsOf(b.exp(g, x), b.after(g, x, [b.dot(g, x, x)])), 3);
  const v = b.exp(g, x);
  const values = [b.tanh(g, v), b.after(g, b.swap(g, v), [v])];
  const results = values.map((value, i) => ({ role: "output" as const, name: `${i}`, value }));
  assert.ok(regionsOf({ name: "waiting", results }).some(({ outputs }) => outputs.includes(v)));
});
/** How many kernels `readers` tensors have that are multiplied by the sum of `terms` numbers, or of as many vectors, one element a row. */
function scaledBy(terms: number, readers: number, rows: readonly number[] = []): number {
  const g = new GraphBuilder(ops);
  const scale = Array.from({ length: terms }, (_, i) => b.param(g, `s${i}`, type("f32", rows))).reduce((x, y) =>
    b.add(g, x, y),
  );
  const results = Array.from({ length: readers }, (_, i) => {
    const shape = [64, 8 + i];
    const factor = b.broadcast(g, scale, shape, [...rows.keys()]);
    const value = b.mul(g, b.param(g, `x${i}`, type("f32", shape)), factor);
    return { role: "output" as const, name: `${i}`, value };
  });
  return regionsOf({ name: "scaled", results }).length;
}
test("one number that many kernels read is computed once, unless it costs little; what is computed once a row is not stored", () =>
  assert.equal([scaledBy(30, 10), scaledBy(30, 1), scaledBy(2, 3), scaledBy(30, 10, [64])], [11, 1, 3, 10]));
/** Kernels of a product with a matrix of one column each, of matrices that lie between one another. */
function between(matrices: number, size: number): number {
  const g = new GraphBuilder(ops);
  const x = b.transpose(g, b.param(g, "x", type("f32", [size, size, matrices])), [2, 0, 1]);
  const value = b.dot(g, x, b.param(g, "y", type("f32", [matrices, size, 1])));
  return regionsOf({ name: "between", results: [{ role: "output", name: "0", value }] }).length;
}
test("large matrices that lie between one another are copied before a product reads them", () =>
  assert.equal([between(64, 128), between(16, 256), between(64, 64)], [2, 1, 1]));
/** A running sum by doubling, as a scan is written in whole tensors: each step reads the one before it at two places. */
function doubling(rounds: number, read: (g: GraphBuilder, x: Value, round: number) => Value): Graph {
  const g = new GraphBuilder(ops);
  let h = b.param(g, "h", type("f32", [4, 40, 6]));
  const p = b.sigmoid(g, b.param(g, "p", type("f32", [4, 40, 6])));
  for (let i = 0; i < rounds; i++) h = b.add(g, h, b.mul(g, p, read(g, h, i)));
  return { name: "doubling", results: [{ role: "output", name: "0", value: h }] };
}
const back = (g: GraphBuilder, x: Value, i: number): Value =>
  b.take(g, x, b.reshape(g, b.sub(g, b.iota(g, 40), 2 ** i), [1, 40]), 1);
/** As the gradient of `back` is made where few are picked. */
const compared = (g: GraphBuilder, x: Value, i: number): Value => {
  const whole = [4, 40, 40, 6];
  const pick = b.broadcast(g, b.sub(g, b.iota(g, 40), 2 ** i), whole, [2]);
  const here = b.eq(g, pick, b.broadcast(g, b.iota(g, 40), whole, [1]));
  return b.sum(g, b.where(g, here, b.broadcast(g, x, whole, [0, 2, 3]), 0), [2]);
};
function length(graph: Graph): number {
  const stores = ["h", "p"].map((name) => unstackedStore(name, "state", type("f32", [4, 40, 6])));
  return toPlan({ stores, graphs: [graph] }, silentObserver()).kernels.reduce((n, { text }) => n + text.length, 0);
}

test("kernels of what reads itself at two places grow with its steps, not with two to their number", () => {
  for (const read of [back, compared]) assert.ok(length(doubling(12, read)) < 4 * length(doubling(6, read)), read.name);
});
test("turning 40 times is planned, though 2 to their number ways lead to an element", () => {
  const g = new GraphBuilder(ops);
  let x = b.param(g, "h", type("f32", [97]));
  for (let i = 0; i < 40; i++) x = b.concat(g, [b.slice(g, x, 0, 5, 92), b.slice(g, x, 0, 0, 5)], 0);
  const stores = [unstackedStore("h", "state", type("f32", [97]))];
  const graph: Graph = { name: "turned", results: [{ role: "output", name: "0", value: x }] };
  assert.ok(toPlan({ stores, graphs: [graph] }, silentObserver()).kernels.length > 0);
});
const scheduled = load({
  name: "scheduled.moe",
  text: `
    import { AdamW } from "std/optim"
    import { warmup_cosine } from "std/schedule"
    model Scheduled(D = 8, Steps = 10) {
      param w: float[D, D] = 0.1
      param b: float[D] = 0
      train(x: f32[B, D]) {
        let keep = minimum(1, step / Steps)
        loss fit = mean((keep * sigmoid(keep * (x @ w)) + b - x) ** 2)
        optimize b with AdamW(lr: warmup_cosine(0.01, 2, Steps), decay: 0)
        optimize with AdamW(lr: warmup_cosine(0.02, 2, Steps))
      }
    }`,
});
function trainKernels(Steps: number): string[] {
  const request = {
    sizes: { Steps },
    precision: "f32",
    entries: [{ method: "train", name: "train", sizes: { B: 4 } }],
  } as const;
  return toPlan(toGraphs(scheduled, request, silentObserver()), silentObserver()).kernels.map((k) => k.name);
}
test("another number of steps compiles two kernels again: of the forward's and the optimizer's numbers that follow from the step alone", () => {
  const known = trainKernels(10);
  assert.is(trainKernels(20).filter((name) => !known.includes(name)).length, 2);
});
test.run();
