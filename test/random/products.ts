// Random products of matrices in all kinds of layouts, with sizes around those of vectors and tiles. The same seed gives the same
// product.
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { fp4Group, fp4PerByte } from "../../compiler/graph/codes.ts";
import type { Graph, NdArray, Value } from "../../compiler/graph/node.ts";
import {
  type AttentionChoices,
  type Choices,
  type Contraction,
  hasWholeVectors,
  type Schedule,
} from "../../compiler/kernel/schedule.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { pairProducts } from "../../compiler/transform/products/pairs.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { storesOf } from "../graphs.ts";
import { graphOf, valuesOf } from "../host/compare.ts";
import { Draw, type Shape } from "./random-graph.ts";

export interface Products {
  readonly graph: Graph;
  readonly stores: Map<string, NdArray>;
  /** Names of stores to put in panels, with the panels' width (64). */
  readonly panels: ReadonlyMap<string, number>;
  readonly forms: string;
}
const sizes = [
  1, 1, 2, 3, 5, 6, 7, 8, 13, 15, 16, 17, 24, 25, 31, 32, 33, 48, 63, 64, 64, 65, 80, 127, 128, 128, 129,
] as const;
const depths = [...sizes, 192, 257, 300] as const;
/** Of codes of 4 bits, most have whole groups. */
const groupedDepths = [32, 32, 64, 96, 96, 128, 160, 192, 256, 288, 80, 300] as const;
/** And their columns are whole panels. */
const panelColumns = [16, 33, 64, 64, 80, 128, 128, 192] as const;
/** What right operands are: codes of 8 bits, or of 4, or neither. */
export type Rights = "numbers" | "codes" | "fp4";
/** Sizes of groups: none, one, or odd numbers of rows. */
const groupSizes = [0, 0, 1, 1, 2, 3, 5, 7, 16, 17, 33] as const;
const width = 64;

class Maker {
  readonly g = new GraphBuilder(ops);
  readonly draw: Draw;
  readonly given = new Map<string, number[]>();
  readonly panels = new Map<string, number>();
  readonly dtype: DType;
  count = 0;
  readonly used: string[] = [];
  readonly #rights: Rights;
  #isCodes = false;
  constructor(seed: string, rights: Rights) {
    this.draw = new Draw(seed);
    this.#rights = rights;
    this.dtype = this.draw.chance(rights === "numbers" ? 0.85 : 0.5) ? "bf16" : "f32";
  }
  depth(): number {
    return this.draw.of(this.#rights === "fp4" ? groupedDepths : depths);
  }
  columns(): number {
    return this.draw.of(this.#rights === "fp4" ? panelColumns : sizes);
  }
  store(shape: Shape): Value {
    const name = `s${this.count++}`;
    if (this.#isCodes && this.#rights === "codes") return b.param(this.g, name, { dtype: "i8", shape });
    if (this.#isCodes && shape.length > 1 && (shape.at(-2) ?? 0) % fp4Group === 0) return this.#fp4(name, shape);
    const dtype = this.draw.chance(0.94) ? this.dtype : "f32";
    if (shape.length > 1 && (shape.at(-1) ?? 1) % width === 0 && this.draw.chance(0.5)) this.panels.set(name, width);
    return b.param(this.g, name, { dtype, shape });
  }
  #fp4(name: string, shape: Shape): Value {
    const part = (of: string, dtype: DType, perRow: number): Value =>
      b.param(this.g, of, { dtype, shape: shape.with(shape.length - 2, (shape.at(-2) ?? 0) / perRow) });
    return b.fromFp4(this.g, part(name, "i8", fp4PerByte), part(`${name} scales`, "bf16", fp4Group));
  }
  indices(values: number[]): Value {
    const name = `i${this.count++}`;
    this.given.set(name, values);
    return b.param(this.g, name, { dtype: "i32", shape: [values.length] });
  }
  /** A matrix or a stack of matrices in some layout; usually cast to f32. */
  matrix(shape: Shape, depth = 0): Value {
    const names = this.#isCodes ? ["plain", "plain", "turned", "sliced", "head", "flat"] : Object.keys(operandLayouts);
    const name = this.draw.of(depth < 2 ? names : ["plain"]);
    this.used.push(name);
    const x = (operandLayouts[name] as OperandLayout)(this, shape, depth);
    return !this.#isCodes && this.draw.chance(0.7) ? b.cast(this.g, x, "f32") : x;
  }
  /** A right operand; of codes, most are. */
  right(shape: Shape): Value {
    this.#isCodes = this.#rights !== "numbers" && this.draw.chance(0.9);
    const x = this.matrix(shape);
    this.#isCodes = false;
    if (this.#rights === "fp4") return b.cast(this.g, x, this.dtype); // to the dtype that the parameter had
    return x.type.dtype === "i8" ? b.cast(this.g, x, "f32") : x;
  }
}
type OperandLayout = (m: Maker, shape: Shape, depth: number) => Value;
const sized = (shape: Shape, axis: number, n: number): number[] => shape.with(axis, n);
/** The layouts that an operand may have. */
const operandLayouts: Readonly<Record<string, OperandLayout>> = {
  plain: (m, shape) => m.store(shape),
  turned: (m, shape, depth) => {
    const [r = 1, c = 1] = shape.slice(-2);
    return b.swap(m.g, m.matrix([...shape.slice(0, -2), c, r], depth + 1));
  },
  sliced(m, shape, depth) {
    const axis = shape.length - 1 - m.draw.below(Math.min(2, shape.length));
    const [before, after] = [m.draw.of([0, 1, 2, 3, 7, 16, 64]), m.draw.of([0, 1, 2, 5, 64])];
    const n = shape[axis] ?? 1;
    return b.slice(m.g, m.matrix(sized(shape, axis, before + n + after), depth + 1), axis, before, n);
  },
  joined(m, shape, depth) {
    const axis = m.draw.below(shape.length);
    const n = shape[axis] ?? 1;
    const first = m.draw.below(n + 1);
    if (first === 0 || first === n) return m.store(shape);
    const parts = [first, n - first].map((k) => m.matrix(sized(shape, axis, k), depth + 1));
    const dtype = parts.every((p) => p.type.dtype === "bf16") ? "bf16" : "f32";
    return b.concat(
      m.g,
      parts.map((p) => b.cast(m.g, p, dtype)),
      axis,
    );
  },
  /** One of several heads, whose columns are next to each other in each row of a store. */
  head(m, shape) {
    if (shape.length !== 2) return m.store(shape);
    const [r = 1, c = 1] = shape;
    const heads = m.draw.of([2, 3]);
    const split = b.reshape(m.g, m.store([r, heads * c]), [r, heads, c]);
    return b.squeeze(m.g, b.slice(m.g, b.transpose(m.g, split, [1, 0, 2]), 0, m.draw.below(heads), 1), 0);
  },
  /** A part of a flat store, from any position on. */
  flat(m, shape) {
    const n = shape.reduce((p, q) => p * q, 1);
    const before = m.draw.of([0, 1, 2, 3, 5]);
    return b.reshape(m.g, b.slice(m.g, m.store([before + n]), 0, before, n), shape);
  },
  repeated(m, shape) {
    const axis = m.draw.below(shape.length);
    return b.broadcastTo(m.g, m.store(sized(shape, axis, 1)), shape);
  },
  gathered(m, shape) {
    if (shape.length !== 2) return m.store(shape);
    const [r = 1, c = 1] = shape;
    const from = 1 + m.draw.below(20);
    return b.take(m.g, m.store([from, c]), m.indices(Array.from({ length: r }, () => m.draw.below(from))));
  },
  /** Every so many rows or columns, in either order. */
  stepped(m, shape) {
    const axis = shape.length - 1 - m.draw.below(Math.min(2, shape.length));
    const [n, step, before] = [shape[axis] ?? 1, m.draw.of([-3, -2, -1, -1, 2, 3]), m.draw.of([0, 1, 2, 16])];
    const start = step < 0 ? before - step * (n - 1) : before;
    const index = b.add(m.g, b.mul(m.g, b.iota(m.g, n), step), start);
    const x = m.store(sized(shape, axis, before + Math.abs(step) * (n - 1) + 1 + m.draw.below(3)));
    const at = b.broadcastTo(m.g, index, [...shape.slice(0, axis), n]);
    return b.take(m.g, x, at, axis);
  },
  computed: (m, shape) => b.tanh(m.g, m.store(shape)),
  scaled: (m, shape) => b.mul(m.g, m.store(shape), m.store([shape.at(-1) ?? 1])),
};
type Kind = (m: Maker) => Value[];
const kinds: Readonly<Record<string, Kind>> = {
  /** One left operand with up to three right ones. */
  beside(m) {
    const [rows, k, n] = [m.draw.of(sizes), m.depth(), m.columns()];
    const x = m.matrix([rows, k]);
    const each = Array.from({ length: 1 + m.draw.below(3) }, () => b.matmul(m.g, x, m.right([k, n])));
    return [each.reduce((p, q) => b.mul(m.g, p, q))];
  },
  summed(m) {
    const [rows, n] = [m.draw.of(sizes), m.columns()];
    const pair = (): Value => {
      const k = m.depth();
      return b.cast(m.g, b.matmul(m.g, m.matrix([rows, k]), m.right([k, n])), "f32");
    };
    return [b.tanh(m.g, b.add(m.g, b.add(m.g, pair(), pair()), m.draw.chance(0.4) ? pair() : 0.25))];
  },
  stacked(m) {
    const [e, rows, k, n] = [2 + m.draw.below(2), m.draw.of(sizes), m.depth(), m.columns()];
    return [b.matmul(m.g, m.matrix([e, rows, k]), m.right([e, k, n]))];
  },
  heads(m) {
    const [rows, seen, a, heads] = [m.draw.of(sizes), m.draw.of(sizes), m.draw.of(sizes), 2];
    const split = (n: number): Value =>
      b.transpose(m.g, b.reshape(m.g, m.matrix([n, heads * a]), [n, heads, a]), [1, 0, 2]);
    const [q, k, v] = [split(rows), split(seen), split(seen)];
    return [b.matmul(m.g, q, b.swap(m.g, k)), b.matmul(m.g, b.matmul(m.g, q, b.swap(m.g, k)), v)];
  },
  ragged(m) {
    const groups = Array.from({ length: 1 + m.draw.below(5) }, () => m.draw.of(groupSizes));
    const ends = groups.reduce<number[]>((list, n) => [...list, (list.at(-1) ?? 0) + n], [0]);
    const rows = ends.at(-1) ?? 0;
    if (rows === 0) return kinds["ragged"]?.(m) ?? [];
    const [k, n] = [m.depth(), m.columns()];
    const offsets = m.indices(ends);
    const x = m.matrix([rows, k]);
    const same = (list: Value[]): Value[] =>
      list.every((v) => v.type.dtype === "bf16") ? list : list.map((v) => b.cast(m.g, v, "f32"));
    if (m.draw.chance(0.4)) {
      const [p, q] = same([x, m.matrix([rows, n])]) as [Value, Value];
      return [b.raggedOuter(m.g, p, q, offsets)];
    }
    const ws = Array.from({ length: 1 + m.draw.below(2) }, () => m.right([groups.length, k, n]));
    const [left, ...right] = same([x, ...ws]) as [Value, ...Value[]];
    return [right.map((w) => b.raggedDot(m.g, left, w, offsets)).reduce((p, q) => b.mul(m.g, p, q))];
  },
};
export function randomProducts(seed: string, rights: Rights = "numbers"): Products {
  const m = new Maker(seed, rights);
  const kind = m.draw.of(Object.keys(kinds));
  const values = (kinds[kind] as Kind)(m);
  const graph = pairProducts(m.g, graphOf(values));
  const stores = storesOf(valuesOf(graph));
  for (const [name, data] of m.given) {
    const store = stores.get(name);
    if (store) stores.set(name, { ...store, data: Float64Array.from(data) });
  }
  const panels = new Map([...m.panels].filter(([name]) => stores.has(name)));
  return { graph, stores, panels, forms: [kind, ...m.used].join(" ") };
}
/** A random schedule; its block sizes may be odd. */
export function drawnSchedule(draw: Draw, { op, n }: Contraction): Schedule {
  const bm = draw.of([1, 2, 3, 5, 6, 7, 12, 13, 24, 30, 31, 47, 48, 96]);
  return {
    bm,
    bn: draw.of([16, 32, 48, 64, 64, 80, 96, 128, 192]),
    bk: draw.of([1, 2, 3, 5, 17, 32, 33, 64, 65, 96, 127, 128, 512]),
    mc: bm * (1 + draw.below(3)),
    ...(op === "ragged_dot" && draw.chance(0.3) ? { across: true } : {}),
    ...(op === "ragged_dot" && draw.chance(0.4) ? { parts: 1 + draw.below(7) } : {}),
    stream: hasWholeVectors(n) && draw.chance(0.3),
  };
}
/** Choices with random schedules for products and a random number of rows in a task of attention; everything else is as in `choices`. */
export function drawnSchedules(choices: Choices, seed: string): Choices {
  const draw = new Draw(seed);
  const rows = draw.of([1, 5, 16, 48, 64]);
  const tile: AttentionChoices["tile"] = (shape) => {
    const own = choices.attention.tile(shape);
    return own && { ...own, rows };
  };
  return { ...choices, attention: { ...choices.attention, tile }, contraction: (c) => drawnSchedule(draw, c) };
}
