// How the CUDA target cuts products, points and folds, so that no multiprocessor is idle, and where rows of weights begin.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../compiler/graph/builder.ts";
import { plainStore, type Store, type Value } from "../compiler/graph/node.ts";
import { lower } from "../compiler/kernel/lower.ts";
import type { Contraction } from "../compiler/kernel/schedule.ts";
import { cudaChoices, processors } from "../compiler/kernel/schedule-cuda.ts";
import { hopperChoice } from "../compiler/kernel/schedule-hopper.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import type { Layout } from "../compiler/plan/plan.ts";
import { backends } from "../compiler/targets.ts";
import type { DType } from "../compiler/types/dtype.ts";
import { graphOf } from "./host/compare.ts";

const test = suite("cuda-schedule");
const parameter = (g: GraphBuilder, name: string, shape: readonly number[], dtype: DType = "f32"): Value =>
  b.param(g, name, { dtype, shape });

/** A product of bf16. */
function of(m: number, n: number, k: number): Contraction {
  return { op: "dot", m, n, k, groups: 1, operands: 1, pairs: 1, short: true, outer: false };
}
test("a product whose tiles would leave multiprocessors idle is cut along its depth, and takes narrow tiles", () => {
  const piece = (m: number, n: number, k: number): number => cudaChoices.piece(of(m, n, k));
  assert.is(piece(8192, 8192, 8192), 8192);
  assert.is(piece(1024, 1024, 512), 512);
  for (const [m, n, k] of [
    [1024, 1024, 16384],
    [1024, 768, 50257],
  ] as const) {
    const cut = piece(m, n, k);
    assert.is(cut % 64, 0);
    assert.ok((m / 128) * (n / 128) * Math.floor(k / cut) >= processors, `${k} in pieces of ${cut}`);
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
test("of few rows a block takes few columns and deep stages, of few points few points", () => {
  assert.equal(tileOf(of(1, 768, 768)), [16, 32, 128]);
  assert.equal(tileOf({ ...of(1, 128, 1536), short: false }), [16, 16, 128]);
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
  assert.ok(tasksOf([centred(g, long)]).every((tasks) => tasks > processors || tasks === 16));
  assert.ok((tasksOf([centred(g, long)]).at(-1) ?? 0) > 2 * processors);
  assert.equal(tasksOf([centred(g, many)]), [132]);
  const [x, y] = [parameter(g, "x", [1, 768]), parameter(g, "y", [1, 768])];
  const sum = b.add(g, x, y);
  assert.equal(tasksOf([sum, centred(g, sum)]), [1]);
  const turned = (v: Value, by: Value): Value => b.mul(g, v, b.broadcast(g, by, [12, 1, 64], [2]));
  const [q, k, at] = [parameter(g, "q", [12, 1, 64]), parameter(g, "k", [12, 1, 64]), parameter(g, "at", [64])];
  assert.is(tasksOf([turned(q, at), turned(k, at)]).length, 1);
});
test("rows of prepared weights begin at 16 bytes, those of weights lie one after another", () => {
  const g = new GraphBuilder(ops);
  const w = parameter(g, "w", [136, 203], "bf16");
  const graph = graphOf([b.matmul(g, parameter(g, "x", [130, 136], "bf16"), w)]);
  const layoutAs = (role: Store["role"]): Layout | undefined => {
    const store = plainStore("w", role, w.type);
    const { launches } = lower(graph, { ...backends.cuda, stores: [store] });
    return launches.flatMap((l) => l.args.map((a) => a.buffer)).find((v) => v.store === "w")?.layout;
  };
  assert.equal(
    [layoutAs("prepared"), layoutAs("parameter")],
    [
      { kind: "rows", pitch: 208 },
      { kind: "rows", pitch: 203 },
    ],
  );
});
test.run();
