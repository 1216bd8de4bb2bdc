// Grows a random graph step by step: sizes and ops from a seed, operands from the values made so far. A value that contains NaN, infinities or huge
// numbers is dropped.
import { roundAll } from "../../compiler/graph/array.ts";
import { GraphBuilder, TypeMismatch } from "../../compiler/graph/builder.ts";
import type { Mapped, NdArray, Routing, Value } from "../../compiler/graph/node.ts";
import { rebuild, storeOf, topological } from "../../compiler/graph/walk.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { type DType, isFloat } from "../../compiler/types/dtype.ts";
import { count, dims, dtypeOf } from "../../compiler/types/type.ts";
import { filled, generator } from "../graphs.ts";

/** Sizes around the widths of vectors and of tiles. */
const sizes = [1, 1, 2, 2, 3, 3, 4, 5, 7, 8, 13, 16, 17, 31, 33, 64, 65] as const;
const most = 5000;
const huge = 1e4;
export type Shape = readonly number[];
const product = (shape: Shape): number => shape.reduce((p, q) => p * q, 1);

export class Draw {
  /** A random number in [0, 1). */
  readonly next: () => number;
  constructor(seed: string) {
    this.next = generator(seed);
    for (let i = 0; i < 8; i++) this.next();
  }
  below = (n: number): number => Math.floor(this.next() * n);
  chance = (p: number): boolean => this.next() < p;
  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
  size = (): number => this.of(sizes);
  shape(rank = this.below(4)): number[] {
    const shape = Array.from({ length: rank }, this.size);
    while (product(shape) > most) shape[this.below(rank)] = 1 + this.below(3);
    return shape;
  }
  dtype = (): DType => this.of(["f32", "f32", "f32", "f32", "bf16", "i32", "bool"] as const);
  order(n: number): number[] {
    const left = [...Array(n).keys()];
    return Array.from({ length: n }, () => left.splice(this.below(left.length), 1)).flat();
  }
}

/** The body of an expert for one row, and what its leaves are inside a routed call `experts[index](...)`. */
export interface Mixture {
  readonly body: Value;
  readonly bind: ReadonlyMap<Value, Mapped>;
  readonly by: Routing;
  readonly mapped: Mapped;
}
/** Ops whose rows beyond the last group are undefined. */
const byRoutes = new Set(["ragged_dot", "ragged_outer", "ragged_sum", "route", "dispatch", "combine"]);

export type Step = (r: RandomGraphBuilder) => readonly Value[];

/** The graph so far, and how it grows. */
export class RandomGraphBuilder {
  readonly g: GraphBuilder;
  readonly draw: Draw;
  readonly pool: Value[] = [];
  readonly #arrays = new Map<Value, NdArray>();
  readonly name: string;
  readonly mixtures: Mixture[] = [];
  /** Whether it is the body of an expert. */
  readonly routed: boolean;
  readonly #steps: readonly Step[];
  #params = 0;
  constructor(name: string, draw: Draw, list: readonly Step[], g = new GraphBuilder(ops), routed = false) {
    this.#steps = list;
    this.routed = routed;
    this.name = name;
    this.draw = draw;
    this.g = g;
  }
  param(dtype: DType, shape: Shape): Value {
    return b.param(this.g, `${this.name}.${this.#params++}`, { dtype, shape });
  }
  /** A value of this type: an existing one, a new store, a constant, or another value cast and sliced or repeated to fit. */
  value(dtype: DType, shape: Shape): Value {
    const { draw, pool, g } = this;
    const fits = pool.filter((v) => v.type.dtype === dtype && dims(v.type).join() === shape.join());
    if (fits.length > 0 && draw.chance(0.7)) return draw.of(fits);
    if (pool.length === 0 || draw.chance(0.35)) return this.param(dtype, shape);
    if (draw.chance(0.05)) return b.fill(g, draw.of([0, 1, dtype === "bool" ? 1 : -2]), dtype, shape);
    return this.fitted(draw.of(pool), dtype, shape);
  }
  fitted(from: Value, dtype: DType, shape: Shape): Value {
    const { draw, g } = this;
    const small = from.type.dtype === "i32" && isFloat(dtype) ? b.rem(g, from, 1000) : from;
    let x = b.cast(g, small, dtype);
    const own = dims(x.type);
    if (own.length <= shape.length && own.every((n, i) => n === 1 || n === shape[shape.length - own.length + i]))
      return b.broadcastTo(g, x, shape);
    if (own.length === shape.length && own.every((n, i) => n >= (shape[i] ?? 0)) && draw.chance(0.7)) {
      shape.forEach((n, i) => (x = b.slice(g, x, i, draw.below((own[i] ?? 0) - n + 1), n)));
      return x;
    }
    const [has, wants] = [product(own), product(shape)];
    if (has === 0) return this.param(dtype, shape);
    const flat = b.reshape(g, x, [has]);
    if (has >= wants) return b.reshape(g, b.slice(g, flat, 0, draw.below(has - wants + 1), wants), shape);
    const more = has * 4 >= wants ? b.concat(g, Array(Math.ceil(wants / has)).fill(flat), 0) : null;
    return more
      ? b.reshape(g, b.slice(g, more, 0, 0, wants), shape)
      : b.broadcastTo(g, b.slice(g, flat, 0, 0, 1), shape);
  }
  any(wanted: (v: Value) => boolean = () => true): Value {
    const fits = this.pool.filter(wanted);
    return fits.length > 0 ? this.draw.of(fits.slice(-6)) : this.param("f32", this.draw.shape(1 + this.draw.below(3)));
  }
  float = (): Value => this.any((v) => isFloat(v.type.dtype));
  /** A value with at least one axis, and one of its axes. */
  valueAndAxis(wanted: (v: Value) => boolean = () => true): [Value, number] {
    const x = this.any((v) => v.type.shape.length > 0 && wanted(v));
    return [x, this.draw.below(x.type.shape.length)];
  }
  /** Indices (i32) for an axis of n elements, some of them out of range. */
  index = (shape: Shape, n: number): Value => b.sub(this.g, b.rem(this.g, this.value("i32", shape), n + 2), 1);
  numbers(v: Value): NdArray {
    for (const node of topological([v])) {
      if (node.results.every((r) => this.#arrays.has(r))) continue;
      const store = storeOf(node);
      const args = node.args.map((a) => this.#arrays.get(a) as NdArray);
      const types = node.results.map((r) => r.type);
      const made =
        store === null
          ? node.op.eval(args, node.attrs, types)
          : types.map((t) => filled(store, dtypeOf(t), dims(t)).data);
      node.results.forEach((r, i) => {
        const dtype = dtypeOf(r.type);
        this.#arrays.set(r, { dtype, shape: dims(r.type), data: roundAll(dtype, made[i] ?? []) });
      });
    }
    return this.#arrays.get(v) as NdArray;
  }
  keep(made: readonly Value[]): void {
    for (const v of made)
      if (
        !this.pool.includes(v) &&
        count(v.type) <= 4 * most &&
        this.numbers(v).data.every((x) => Math.abs(x) < huge || v.type.dtype === "i32")
      )
        this.pool.push(v);
  }
  step(): void {
    try {
      this.keep(this.draw.chance(0.15) ? this.sample() : this.draw.of(this.#steps)(this));
    } catch (error) {
      if (!(error instanceof TypeMismatch)) throw error;
    }
  }
  /** A sample of some op, with existing values in place of its parameters. */
  sample(): readonly Value[] {
    const { g, draw } = this;
    const node = draw.of(
      draw.of(ops.filter((op) => !byRoutes.has(op.name) && op.lower !== "collective")).samples(new GraphBuilder(ops)),
    );
    return rebuild(g, node.results, ({ op, results, attrs, args }, now) => {
      const [x] = results;
      const leaf = op.name === "param" && x ? [this.value(dtypeOf(x.type), dims(x.type))] : null;
      return leaf ?? g.add(op, args.length === 0 ? [] : now, attrs).results;
    });
  }
}
