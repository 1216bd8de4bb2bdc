// Random graphs of long unrolled loops: steps read slices, build on the step before, and leave pieces of a whole tensor; and ops that read the whole.
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Value } from "../../compiler/graph/node.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { dims } from "../../compiler/types/type.ts";
import { graphOf } from "../host/compare.ts";
import type { RandomGraph } from "./graphs.ts";
import { Draw } from "./random-graph.ts";

/** Draws a loop. Values of one step are [batch, columns]; tensors of all steps have an axis of steps at any position. */
class Loop {
  readonly g = new GraphBuilder(ops);
  readonly draw: Draw;
  readonly batch: number;
  readonly columns: number;
  readonly steps: number;
  /** The position of the axis of steps in what is read (`from`) and in what is made (`to`). */
  readonly from: number;
  readonly to: number;
  /** The results of earlier loops. */
  readonly whole: Value[] = [];
  readonly #name: string;
  #params = 0;
  constructor(seed: string) {
    this.#name = seed;
    this.draw = new Draw(seed);
    this.batch = this.draw.of([1, 2, 3, 33]);
    this.columns = this.draw.of(this.batch > 3 ? [1, 3, 6] : [1, 3, 6, 8, 16, 17, 33]);
    this.steps = this.draw.of([16, 17, 18, 20, 33]);
    [this.from, this.to] = [this.draw.of([0, 1, 1, 1, 2]), this.draw.of([0, 1, 1, 1, 2])];
  }
  param(dtype: DType, shape: readonly number[]): Value {
    return b.param(this.g, `${this.#name}.${this.#params++}`, { dtype, shape });
  }
  one = (): number[] => [this.batch, this.columns];
  all = (axis: number, n = this.steps): number[] => this.one().toSpliced(axis, 0, n);
  /** A step's value as a piece: cast, and with the axis of steps. */
  piece(h: Value, dtype: DType): Value {
    const { g, to } = this;
    const isWhole = dtype === "i32" || dtype === "bool";
    return b.expand(g, b.cast(g, isWhole ? b.floor(g, b.mul(g, h, 3)) : h, dtype), to);
  }
  /** The slice of step t. */
  read(x: Value, axis: number, t: number): Value {
    return b.cast(this.g, b.squeeze(this.g, b.slice(this.g, x, axis, t, 1), axis), "f32");
  }
  /** n elements of an axis backwards from `start`, by arithmetic on indices. */
  back(x: Value, axis: number, n: number, start: number): Value {
    const index = b.sub(this.g, start, b.iota(this.g, n));
    return b.take(this.g, x, b.broadcast(this.g, index, [...dims(x.type).slice(0, axis), n], [axis]), axis);
  }
}
/** What the steps read: a store, pointwise functions of it, a product, or a transpose. */
function source(l: Loop): Value {
  const { g, draw } = l;
  const shape = l.all(l.from, l.steps + draw.of([0, 0, 1, 5]));
  const [x, kind] = [l.param(draw.of(["f32", "f32", "f32", "bf16", "i32"] as const), shape), draw.below(5)];
  if (kind === 0) return b.tanh(g, b.cast(g, x, "f32"));
  if (kind === 1) return b.matmul(g, b.cast(g, x, "f32"), l.param("f32", [shape[2] ?? 1, shape[2] ?? 1]));
  if (kind > 2) return x;
  const perm = draw.order(3);
  const storedShape = perm.map((_, i) => shape[perm.indexOf(i)] ?? 1);
  return b.transpose(g, l.param("f32", storedShape), perm);
}

type Act = (l: Loop, x: Value, h: Value) => Value;
/** What a step computes from what it reads (x) and the result of the step before (h). */
const acts: readonly Act[] = [
  ({ g }, x, h) => b.add(g, b.mul(g, h, 0.5), x),
  ({ g }, x, h) => b.mul(g, b.sigmoid(g, x), b.tanh(g, h)),
  ({ g }, x, h) => b.maximum(g, b.sub(g, h, 0.1), x),
  ({ g }, x, h) => b.tanh(g, b.sub(g, x, b.broadcast(g, b.sum(g, h, [1]), dims(x.type), [0]))),
  ({ g }, x, h) => b.add(g, x, b.softmax(g, h)),
  ({ g }, x, h) => b.tanh(g, b.add(g, x, b.broadcast(g, b.mean(g, h, [0]), dims(x.type), [1]))),
  ({ g, columns }, x, h) => b.concat(g, [b.slice(g, h, 1, 1, columns - 1), b.slice(g, x, 1, 0, 1)], 1),
  ({ g }, x, h) => b.where(g, b.gt(g, x, 0), h, b.exp(g, b.minimum(g, x, 0))),
];
/** The values of all steps, in the order of the steps or reversed. */
function made(l: Loop): Value[] {
  const { g, draw, steps } = l;
  const sources = Array.from({ length: 1 + draw.below(2) }, () => source(l));
  const list = Array.from({ length: 1 + draw.below(3) }, () => draw.of(acts));
  const weight = draw.chance(0.4) ? l.param("f32", [l.columns, l.columns]) : null;
  const [backwards, recurrent, folded] = [draw.chance(0.25), draw.chance(0.8), draw.chance(0.2)];
  let h = draw.chance(0.5) ? b.fill(g, 0, "f32", l.one()) : l.param("f32", l.one());
  const found: Value[] = [];
  for (let i = 0; i < steps; i++) {
    const t = backwards ? steps - 1 - i : i;
    const x = beside(l, l.read(sources[i % sources.length] as Value, l.from, t), t, folded);
    h = list.reduce((y, act) => act(l, x, y), recurrent || i === 0 ? h : x);
    if (weight) h = b.mul(g, b.matmul(g, h, weight), 0.2);
    h = b.mul(g, h, 0.75);
    found.push(h);
  }
  return backwards && draw.chance(0.5) ? found.toReversed() : found;
}
/** Sometimes adds something from the result of an earlier loop: one of its steps, or its mean. */
function beside(l: Loop, x: Value, t: number, folded: boolean): Value {
  const { g, draw, to } = l;
  const [whole] = l.whole;
  if (!whole || draw.chance(0.5)) return x;
  if (!folded) return b.add(g, x, l.read(whole, to, t % (dims(whole.type)[to] ?? 1)));
  return b.add(g, x, b.broadcast(g, b.mean(g, b.cast(g, whole, "f32"), [0, 1, 2]), l.one(), []));
}

/** Concatenates the steps, sometimes with pieces that no step makes. */
function joined(l: Loop, list: readonly Value[], dtype: DType): Value {
  const { g, draw, to } = l;
  const like = (n: number): number[] => l.all(to, n);
  const others: readonly ((x: Value) => Value[])[] = [
    () => [b.fill(g, draw.of([0, 1]), dtype, like(1))],
    (x) => [x, x],
    (x) => [b.fill(g, 0, dtype, like(0)), x],
    () => [l.param(dtype, like(1))],
    (x) => [b.broadcastTo(g, x, like(2))],
    () => [l.piece(draw.of(list), dtype)],
    () => [b.slice(g, l.param(dtype, like(40)), to, draw.below(38), 2)],
  ];
  const odd = draw.chance(0.4);
  const pieces = list.map((h) => l.piece(h, dtype));
  return b.concat(
    g,
    pieces.flatMap((x) => (odd && draw.chance(0.7) ? draw.of(others)(x) : [x])),
    to,
  );
}
/** Puts the steps into one tensor by `put`, in any order, sometimes twice at the same place. */
function written(l: Loop, list: readonly Value[], dtype: DType): Value {
  const { g, draw, to } = l;
  const shape = l.all(to, l.steps + draw.of([0, 0, 3]));
  const n = shape[to] ?? 1;
  let x = draw.chance(0.6) ? b.fill(g, draw.of([0, 0, 1]), dtype, shape) : l.param(dtype, shape);
  const [shuffled, repeats, between] = [draw.chance(0.3), draw.chance(0.2), draw.chance(0.1)];
  const late: Value[] = [];
  for (const i of shuffled ? draw.order(list.length) : list.keys()) {
    const size = draw.chance(0.1) ? 2 : 1;
    const rows = b.broadcastTo(g, l.piece(list[i] as Value, dtype), shape.with(to, size));
    // the last one may lie partly outside the axis
    const start = repeats && draw.chance(0.2) ? draw.below(n) : i;
    const index = b.broadcast(g, b.add(g, b.iota(g, size), start), [...shape.slice(0, to), size], [to]);
    x = b.put(g, x, index, rows, to);
    if (between && i % 9 === 4 && dtype !== "bool") late.push(x);
  }
  return late.reduce((p, q) => b.add(g, p, q), x);
}
/** The sum of what each step contributes at its own place, with zeros elsewhere, sometimes on top of a store. */
function sent(l: Loop, list: readonly Value[]): Value {
  const { g, draw, to } = l;
  const shape = l.all(to, l.steps + 2);
  const [n, wide] = [l.steps + 2, draw.chance(0.4) ? 2 : 1];
  const gap = (size: number): Value[] => (size > 0 ? [b.fill(g, 0, "f32", shape.with(to, size))] : []);
  const terms = list.map((h, i) => {
    const start = draw.chance(0.1) ? draw.below(n - wide) : i;
    const rows = b.broadcastTo(g, b.expand(g, h, to), shape.with(to, wide));
    return b.concat(g, [...gap(start), rows, ...gap(n - wide - start)], to);
  });
  return [...(draw.chance(0.4) ? [l.param("f32", shape)] : []), ...terms].reduce((p, q) => b.add(g, p, q));
}

const size = (x: Value, axis: number): number => dims(x.type)[axis] ?? 1;
/** Ops that read the whole tensor. */
const readers: readonly ((l: Loop, x: Value) => Value)[] = [
  (_, x) => x,
  ({ g }, x) => b.tanh(g, x),
  ({ g, to }, x) => b.sum(g, x, [to]),
  ({ g, to }, x) => b.max(g, x, [to]),
  ({ g, to }, x) => b.cumsum(g, x, to),
  ({ g }, x) => b.softmax(g, x),
  ({ g }, x) => b.transpose(g, x, [2, 0, 1]),
  (l, x) => b.matmul(l.g, x, l.param("f32", [size(x, 2), 9])),
  (l, x) => b.matmul(l.g, l.param("f32", [size(x, 0), 5, size(x, 1)]), x),
  (l, x) => {
    const rows = size(x, 0) * size(x, 1);
    return b.matmul(l.g, l.param("f32", [7, rows]), b.reshape(l.g, x, [rows, size(x, 2)]));
  },
  (l, x) => l.back(x, l.to, size(x, l.to), size(x, l.to) - 1 + l.draw.of([0, 3])),
  (l, x) => l.back(x, 0, 4, 3),
  ({ g, to }, x) => b.concat(g, [x, b.mul(g, x, 2)], to),
  ({ g, to }, x) => b.concat(g, [b.slice(g, x, to, 1, size(x, to) - 1), b.slice(g, x, to, 0, 1)], to),
  ({ g, to }, x) => b.concat(g, Array<Value>(18).fill(x), to),
  ({ g, to }, x) => {
    const pieces = Array.from({ length: 20 }, (_, i) => b.slice(g, x, to, (i * 5) % size(x, to), 1));
    return b.concat(g, pieces, to === 0 ? 1 : to - 1);
  },
];
/** Draws one or two loops, of which the second may read the first's result. The results are functions of wholes, wholes, and single steps. */
export function randomLoop(seed: string): Pick<RandomGraph, "g" | "graph"> {
  const l = new Loop(seed);
  const { draw, g } = l;
  const results: Value[] = [];
  for (let loops = draw.of([1, 1, 2]); loops > 0; loops--) {
    const list = made(l);
    const dtype = draw.of(["f32", "f32", "f32", "f32", "bf16", "i32", "bool"] as const);
    const whole = draw.of([joined, joined, written, written, sent])(l, list, dtype);
    l.whole.push(whole);
    const x = b.cast(g, whole, "f32");
    for (let i = draw.of([1, 1, 2]); i > 0; i--)
      results.push(draw.of(readers)(l, draw.chance(0.5) ? x : b.mul(g, x, 0.5)));
    if (draw.chance(0.3)) results.push(whole);
    if (draw.chance(0.2)) results.push(draw.of(list));
    if (draw.chance(0.2)) results.push(b.reshape(g, draw.of(list), [l.batch * l.columns]));
  }
  return { g, graph: { ...graphOf([...new Set(results)]), name: seed } };
}
