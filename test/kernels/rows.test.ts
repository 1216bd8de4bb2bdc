// Kernels over rows of memory: what they ask for of the next row, and rows in turn, each stored while another is made.
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { storesApart } from "../../compiler/emit/stores-apart.ts";
import { emitHost } from "../../compiler/emit/unit.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Value } from "../../compiler/graph/node.ts";
import { contiguousLayout, KernelBuilder } from "../../compiler/kernel/builder.ts";
import { call, load, num } from "../../compiler/kernel/expr.ts";
import type { Buffer, Expr, StmtOf } from "../../compiler/kernel/ir.ts";
import { type Choices, hostChoices } from "../../compiler/kernel/schedule.ts";
import { isConstantAlong } from "../../compiler/lower/constant-axis.ts";
import { lower } from "../../compiler/lower/lower.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { storesOf } from "../graphs.ts";
import { compare, compareWidths, graphOf, kernelsOf, lowered, valuesOf } from "../host/compare.ts";
import { x64 } from "../host/machine.ts";
import { compiled, runSequence } from "../host/run.ts";
import { normLayer } from "../layers.ts";

const test = suite("rows");
const withCaches = (cacheElements: number): Choices => ({
  ...hostChoices,
  rows: { ...hostChoices.rows, cacheElements },
});

test("a row ahead is asked for of what moves with the row, not of its weights", () => {
  const text = kernelsOf([lowered(normLayer([130, 64], true))])
    .map((k) => k.text)
    .join("");
  assert.match(text, /ld\(v, x3 \+ r \* 64 \+ j, 64\)/);
  assert.match(text, /= t \* ld\(v, x1 \+ j\);/);
  assert.not.match(text, /ld\(v, \w+ \+ j, /);
});
const textOf = (...results: Value[]): string =>
  kernelsOf([lowered(graphOf(results))])
    .map((k) => k.text)
    .join("\n");
test("what several results are made of is computed once: Adam's moments, and a row's number where two tensors are read there", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, dtype: "f32" | "i32", ...shape: number[]): Value => b.param(g, name, { dtype, shape });
  const [w, grad, m, v] = ["w", "grad", "m", "v"].map((name) => p(name, "f32", 9, 33)) as [Value, Value, Value, Value];
  const nextM = b.add(g, b.mul(g, m, 0.9), b.mul(g, grad, 0.1));
  const nextV = b.add(g, b.mul(g, v, 0.95), b.mul(g, b.mul(g, grad, grad), 0.05));
  const next = b.sub(g, w, b.div(g, nextM, b.add(g, b.sqrt(g, nextV), 1e-8)));
  const adam = textOf(nextM, nextV, next);
  for (const factor of ["0.9f", "0.95f"]) assert.is(adam.split(` * ${factor}`).length, 2, adam);

  const index = p("index", "i32", 23);
  const [x, y] = ["x", "y"].map((name) => b.take(g, p(name, "f32", 50, 40), index)) as [Value, Value];
  const both = textOf(b.mul(g, x, y));
  assert.is(both.match(/const ix row\d* = /g)?.length, 1, both);
});
const tasksOf = (y: Value): number[] =>
  lowered(graphOf([y])).launches.map((launch) => ("tasks" in launch ? launch.tasks : 0));
test("columns that add up many elements are several tasks", () => {
  const g = new GraphBuilder(ops);
  const columns = (rows: number): Value => b.sum(g, b.param(g, "x", { dtype: "f32", shape: [rows, 1024] }), [0]);
  assert.equal(
    [2, 32, 64].map((rows) => tasksOf(columns(rows))),
    [[1], [16], [16]],
  );
});
/** What the loops of a result's kernels ask for of the next row. */
const partsOf = (y: Value): (string | undefined)[] =>
  kernelsOf([lowered(graphOf([y]))]).flatMap(({ text }) =>
    [...text.matchAll(/(?:prefetch_share\(256, \w+|forth<LANES>\(256, task), (\d+, \d+(?:, \d+)?)/g)].map((m) => m[1]),
  );
test("each loop over a row asks for a part of the next one, where all read the same", () => {
  const g = new GraphBuilder(ops);
  const [x, z] = ["x", "z"].map((name) => b.param(g, name, { dtype: "f32", shape: [130, 256] })) as [Value, Value];
  const centred = b.sub(g, x, b.expand(g, b.sum(g, x, [1]), 1));
  const scaled = b.mul(g, centred, b.expand(g, b.max(g, centred, [1]), 1));
  assert.equal(partsOf(scaled), ["0, 3", "1, 3", "2, 3"]);
  assert.equal(partsOf(b.mul(g, z, b.expand(g, b.max(g, x, [1]), 1))), []);
});
test("what lies ahead is asked for as often as the machine needs: AMD more than once, but Zen 5 once, into L1", () => {
  if (!x64) return;
  const g = new GraphBuilder(ops);
  const kernels = kernelsOf([lowered(graphOf([b.softmax(g, b.param(g, "x", { dtype: "f32", shape: [130, 64] }))]))]);
  const asks = (level: number, ...flags: string[]): number =>
    readFileSync(compiled(kernels, ["-S", ...flags]), "utf8").split(`prefetcht${level}`).length - 1;
  const avx512 = ["-mavx512f", "-mavx512bw"];
  for (const [flags, times, level] of [
    [[...avx512, "-mno-avxvnni"], 3, 1],
    [[...avx512, "-mavxvnni"], 1, 0],
    [["-mavx2", "-mfma", "-mno-avx512f"], 2, 1],
  ] as const) {
    const once = asks(1, ...flags, "-mno-sse4a");
    assert.ok(once > 0);
    assert.is(asks(level, ...flags, "-msse4a"), times * once);
  }
});
test("what a large result reads down its columns is copied by squares, in the order in which it lies", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, dtype: "f32" | "i32", ...shape: number[]): Value => b.param(g, name, { dtype, shape });
  const [x, y] = [b.transpose(g, p("x", "f32", 270, 2, 130), [2, 1, 0]), p("y", "f32", 130, 2, 270)];
  const graphs = [
    [b.exp(g, x)],
    [b.sub(g, y, b.tanh(g, x)), b.mul(g, x, 2)],
    [b.swap(g, b.swap(g, x))],
    [b.add(g, x, b.broadcastTo(g, b.slice(g, x, 0, 3, 1), [130, 2, 270]))],
    [b.transpose(g, p("i", "i32", 270, 2, 130), [2, 1, 0])],
  ].map(graphOf);
  const sequences = graphs.map((graph) => lowered(graph));
  const squares = sequences.map((s) => kernelsOf([s]).some(({ text }) => text.includes("square")));
  assert.equal(squares, [true, true, true, true, false]);
  const lib = compiled(kernelsOf(sequences), ["-Og"]);
  for (const [i, graph] of graphs.entries()) {
    const s = sequences[i];
    if (s) compare(`square ${i}`, graph, runSequence(s, storesOf(valuesOf(graph)), 2, lib));
  }
});
test("lanes read what lies apart in memory: of each type, to the end of a row, by a fold too", () => {
  const g = new GraphBuilder(ops);
  const turned = (dtype: "f32" | "bf16" | "i32" | "bool"): Value =>
    b.transpose(g, b.param(g, dtype, { dtype, shape: [3, 37, 5] }), [0, 2, 1]);
  const [x, short, whole, truth] = [turned("f32"), turned("bf16"), turned("i32"), turned("bool")];
  const every = b.transpose(g, b.reshape(g, b.iota(g, 185), [37, 5]), [1, 0]);
  const graphs = [
    [b.exp(g, x), b.add(g, b.cast(g, short, "f32"), 1), b.mul(g, whole, 3), b.where(g, truth, x, 2)],
    [b.sum(g, b.mul(g, x, x), [2]), b.sum(g, b.cast(g, short, "f32"), [2])],
    [b.sum(g, whole, [2])],
    [b.mul(g, x, b.cast(g, b.broadcast(g, every, [3, 5, 37], [1, 2]), "f32"))],
  ].map(graphOf);
  const sequences = graphs.map((graph) => lowered(graph));
  const apart = sequences.map((s) => kernelsOf([s]).every(({ text }) => text.includes("ld_strided<5>(v, ")));
  assert.equal(apart, [true, true, true, true]);
  assert.match(
    kernelsOf(sequences)
      .map(({ text }) => text)
      .join(),
    /iota\(v, [^;]*, 5\)/,
  );
  compareWidths("apart", graphs, sequences);
});
test("short rows have a lane each, where what changes with the row is read of the row itself", () => {
  const g = new GraphBuilder(ops);
  const p = (name: string, dtype: "f32" | "bf16" | "i32" | "bool", ...shape: number[]): Value =>
    b.param(g, name, { dtype, shape });
  const [x, y] = [p("x", "f32", 3, 29, 5), p("y", "f32", 600, 9)];
  const along = (v: Value, axis: number): Value => b.broadcast(g, v, [600, 9], [axis]);
  const soft = b.softmax(g, y);
  const two = p("two", "i32", 600, 2);
  const is = (i: number): Value =>
    b.eq(g, along(b.reshape(g, b.slice(g, two, 1, i, 1), [600]), 0), along(b.iota(g, 9), 1));
  const graphs = [
    [soft, b.sum(g, b.mul(g, soft, along(p("weight", "f32", 9), 1)), [1])],
    [b.softmax(g, b.reshape(g, x, [87, 5])), b.softmax(g, b.sin(g, x))],
    [b.softmax(g, b.cast(g, p("short", "bf16", 40, 11), "f32"))],
    [b.softmax(g, b.where(g, is(0), b.where(g, is(1), 1, y), y))],
    [b.softmax(g, b.mul(g, x, b.broadcast(g, p("each", "f32", 3), [3, 29, 5], [0])))],
    [b.softmax(g, b.where(g, p("seen", "bool", 600, 9), y, 0))],
    [b.softmax(g, b.slice(g, y, 0, 0, 15))],
    [b.softmax(g, b.take(g, p("table", "f32", 50, 9), p("index", "i32", 600)))],
    [b.div(g, b.expand(g, b.max(g, p("long", "f32", 600, 70), [1]), 1), 3)],
    [b.softmax(g, b.sub(g, y, b.broadcastTo(g, b.slice(g, y, 0, 3, 1), [600, 9])))],
    [b.mul(g, b.softmax(g, p("one", "f32", 1, 9)), b.broadcast(g, p("number", "f32"), [1, 9], []))],
  ].map(graphOf);
  const sequences = graphs.map((graph) => lowered(graph));
  const short = sequences.map((s) => kernelsOf([s]).every(({ text }) => text.includes("columns")));
  assert.equal(short, [true, true, true, true, false, false, true, false, false, false, true]);
  const lib = compiled(kernelsOf(sequences), ["-Og"]);
  for (const [i, graph] of graphs.entries()) {
    const [s, stores] = [sequences[i], storesOf(valuesOf(graph))];
    if (!s) continue;
    const got = runSequence(s, stores, 2, lib);
    compare(`short rows ${i}`, graph, got);
    assert.equal(runSequence(s, stores, 1, lib), got);
  }
});
/** Values of rows, `lead` of them, begin with the same bits for each of these. */
function sameAlone(
  leads: readonly (readonly number[])[],
  values: (g: GraphBuilder, lead: readonly number[]) => readonly Value[],
): void {
  const [first = [], ...more] = leads.map((lead) => {
    const graph = graphOf(values(new GraphBuilder(ops), lead));
    const sequence = lowered(graph);
    return runSequence(sequence, storesOf(valuesOf(graph)), 2, compiled(kernelsOf([sequence]), ["-Og"]));
  });
  for (const results of more)
    first.forEach((row, i) => assert.equal(results[i]?.slice(0, row.length), row, `result ${i}`));
}
test("a short row has the same bits alone, among few and among many", () =>
  sameAlone(
    [
      [1, 1],
      [1, 3],
      [2, 7],
      [1, 16],
      [4, 33],
    ],
    (g, lead) => {
      const x = b.param(g, "x", { dtype: "f32", shape: [...lead, 9] });
      const soft = b.softmax(g, x);
      const few = ["u", "v", "w", "p", "q", "r"].map((name) => b.param(g, name, { dtype: "f32", shape: [...lead, 3] }));
      const noise = b.uniform(g, b.param(g, "key", { dtype: "i32", shape: [2] }), 7, [...lead, 9]);
      return [
        soft,
        b.softmax(g, b.add(g, x, noise)), // a key is all rows', also of one
        b.sum(g, b.mul(g, soft, b.log(g, soft)), [2]),
        ...few.map((y) => b.div(g, y, b.expand(g, b.sum(g, y, [2]), 2))),
      ];
    },
  ));
test("rows over one number have the same bits, whatever else lanes take together", () => {
  for (const T of [1, 3])
    for (const n of [1, 2, 5, 20]) {
      const leads = [1, 2, 9, 40].map((sequences) => [sequences, T]);
      sameAlone(leads, (g, lead) =>
        ["u", "v", "w", "p", "q", "r"].flatMap((name) => {
          const rows = b.param(g, name, { dtype: "f32", shape: [...lead, n] });
          const each = b.add(g, b.param(g, `${name} each`, { dtype: "f32", shape: lead.slice(0, 1) }), 3.3);
          const whole = b.add(g, b.param(g, `${name} whole`, { dtype: "f32", shape: [] }), 7.7);
          return [b.div(g, rows, b.broadcast(g, each, [...lead, n], [0])), b.div(g, rows, whole)];
        }),
      );
    }
});
test("rows in turn: each is stored while the next one is made", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", { dtype: "f32", shape: [259, 64] });
  const sees = b.le(
    g,
    b.broadcastTo(g, b.iota(g, 64), [7, 37, 64]),
    b.expand(g, b.broadcastTo(g, b.iota(g, 37), [7, 37]), 2),
  );
  const graph = graphOf([
    b.softmax(g, x),
    b.mul(g, b.softmax(g, b.reshape(g, x, [7, 37, 64]), -1, sees), b.reshape(g, b.sin(g, x), [7, 37, 64])),
  ]);
  const sequence = lower(graph, { emit: emitHost, choices: withCaches(64) });
  const [first, ...more] = kernelsOf([sequence]);
  assert.match(first?.text ?? "", /fold_both<Sum, Max, LANES>/);
  assert.is(first?.text.includes("folded") && first.text.includes("st_nontemporal"), true);
  assert.is(more.length, 1);
  const stores = storesOf(valuesOf(graph));
  const [got = [], other] = [1, 3].map((threads) => runSequence(sequence, stores, threads));
  assert.equal(other, got);
  compare("rows in turn", graph, got);
  for (const together of [0, 1]) {
    const lib = compiled(kernelsOf([sequence]), [`-DFUSED_FOLDS=${together}`, "-Og"]);
    assert.equal(runSequence(sequence, stores, 2, lib), got, together ? "two folds in one loop" : "in two loops");
  }
});
test("rows in turn: a sum that powers want is not found a row before, in another order", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", { dtype: "f32", shape: [259, 64] });
  const e = b.exp(g, b.sub(g, x, b.expand(g, b.sum(g, x, [1]), 1)));
  const graph = graphOf([b.div(g, e, b.expand(g, b.sum(g, e, [1]), 1))]);
  const sequence = lower(graph, { emit: emitHost, choices: withCaches(64) });
  const text = kernelsOf([sequence])[0]?.text ?? "";
  assert.match(text, /fold_with_stores<Sum, LANES>[^}]*st_nontemporal\(/);
  assert.not.match(text, /fold_both/);
  compare("powers less a sum", graph, runSequence(sequence, storesOf(valuesOf(graph)), 2));
});
test("rows in turn: two folds are one loop only where the elements of both lie side by side", () => {
  const g = new GraphBuilder(ops);
  const [x, w] = [
    b.param(g, "x", { dtype: "f32", shape: [259, 64] }),
    b.param(g, "w", { dtype: "f32", shape: [64, 259] }),
  ];
  const e = b.exp(g, b.sub(g, x, b.expand(g, b.max(g, b.transpose(g, w, [1, 0]), [1]), 1)));
  const graph = graphOf([b.sub(g, e, b.expand(g, b.sum(g, e, [1]), 1))]);
  const sequence = lower(graph, { emit: emitHost, choices: withCaches(64) });
  compare("columns' largest", graph, runSequence(sequence, storesOf(valuesOf(graph)), 2));
});
const weightOf = (g: GraphBuilder): Value =>
  b.broadcastTo(g, b.param(g, "weight", { dtype: "f32", shape: [64] }), [7, 37, 64]);
test("rows in turn: the only fold of a row is made while the row before is stored", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", { dtype: "f32", shape: [7, 37, 64] });
  const y = b.mul(g, x, b.expand(g, b.max(g, b.mul(g, x, b.sin(g, x)), [2]), 2));
  const graph = graphOf([y]);
  const sequence = lower(graph, { emit: emitHost, choices: withCaches(64) });
  const [first, ...more] = kernelsOf([sequence]);
  assert.match(first?.text ?? "", /ix next = ix_min\(.*, 258\);/);
  assert.match(first?.text ?? "", /store_and_fold<Max, LANES>\(64, 1, i, [^}]*st_nontemporal\(/);
  assert.is(more.length, 0);
  const stores = storesOf(valuesOf(graph));
  const [got = [], other] = [1, 3].map((threads) => runSequence(sequence, stores, threads));
  assert.equal(other, got);
  compare("folds ahead", graph, got);
  const z = b.add(g, x, b.mul(g, b.param(g, "z", { dtype: "f32", shape: [7, 37, 64] }), weightOf(g)));
  const two = lower(graphOf([b.mul(g, z, b.expand(g, b.max(g, z, [2]), 2))]), {
    emit: emitHost,
    choices: withCaches(64),
  });
  assert.match(kernelsOf([two])[0]?.text ?? "", /store_and_fold<Max, LANES>\(64, 2, i, /, "x and z, not the weight");
});
/** A fold of 8 elements of `x` that stores them to `kept`, and what it folds. */
function foldThatStores(value: (x: Buffer, kept: Buffer, j: Expr) => Expr): StmtOf<"fold"> {
  const k = new KernelBuilder("");
  const [x, kept] = [k.param("x", "f32", [8], contiguousLayout([8])), k.local("kept", [8])];
  k.fold("sum", "sum", "f32", num(8), (j) => {
    k.store(kept, [j], k.letHere("read", load(x, j)));
    return value(x, kept, j);
  });
  const [fold] = k.kernel("kernel").body.filter((s) => s.s === "fold");
  if (!fold) throw new Error("no fold");
  return fold;
}
test("what a fold stores is done apart from it, but not if it is folded", () => {
  const apart = storesApart(foldThatStores((x, _, j) => call("mul", "f32", load(x, j), load(x, j))));
  assert.equal([apart?.stored.map(({ s }) => s), apart?.folded], [["let", "store"], []]);
  assert.is(storesApart(foldThatStores((_, kept, j) => load(kept, j))), null);
});
/** Of x, of rows that count by two axes of one size: what an element of a row reads of another row. */
const crossed: Readonly<Record<string, (g: GraphBuilder, x: Value) => Value>> = {
  "the largest": (g, x) => b.sub(g, x, b.expand(g, flipped(g, b.max(g, x, [2])), 2)),
  "the largest, in what is kept": (g, x) =>
    less(g, b.exp(g, b.sub(g, x, b.expand(g, flipped(g, b.max(g, x, [2])), 2)))),
  "the sum of what is kept": (g, x) => {
    const e = b.exp(g, x);
    return b.sub(g, e, b.expand(g, flipped(g, b.sum(g, e, [2])), 2));
  },
  "what is kept": (g, x) => {
    const e = b.exp(g, x);
    return b.mul(g, less(g, e), flipped(g, e));
  },
  "another column of what is kept": (g, x) => {
    const e = b.exp(g, x);
    return b.mul(g, less(g, e), b.broadcastTo(g, b.slice(g, e, 2, 3, 1), [17, 17, 64]));
  },
  "folds besides": (g, x) => b.mul(g, b.softmax(g, x), b.expand(g, b.sum(g, b.sin(g, x), [2]), 2)),
};
const flipped = (g: GraphBuilder, x: Value): Value => b.transpose(g, x, x.type.shape.length === 2 ? [1, 0] : [1, 0, 2]);
const less = (g: GraphBuilder, e: Value): Value => b.sub(g, e, b.expand(g, b.sum(g, e, [2]), 2));
for (const [what, of] of Object.entries(crossed))
  test(`a row that reads of another one: ${what}`, () => {
    const g = new GraphBuilder(ops);
    const graph = graphOf([of(g, b.param(g, "x", { dtype: "f32", shape: [17, 17, 64] }))]);
    for (const cacheElements of [64, Infinity]) {
      const sequence = lower(graph, { emit: emitHost, choices: withCaches(cacheElements) });
      assert.ok(kernelsOf([sequence]).every(({ text }) => !text.includes("fold_lane")));
      compare(what, graph, runSequence(sequence, storesOf(valuesOf(graph)), 2));
    }
  });

test("a value is one number along an axis that a reshape leaves, not along another as long, nor along one of one place", () => {
  const g = new GraphBuilder(ops);
  const v = b.broadcast(g, b.param(g, "v", { dtype: "f32", shape: [2] }), [3, 2], [1]);
  assert.ok(isConstantAlong(b.transpose(g, v, [1, 0]), 1));
  assert.ok(isConstantAlong(b.reshape(g, b.transpose(g, v, [1, 0]), [1, 2, 3]), 2));
  assert.not.ok(isConstantAlong(b.reshape(g, v, [2, 3]), 1));
  assert.not.ok(isConstantAlong(b.broadcastTo(g, b.constant(g, 2, "f32"), [3, 1]), 1));
});

test.run();
