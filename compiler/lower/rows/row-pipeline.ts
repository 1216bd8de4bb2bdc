// Pipelined rows: a task stores one row (non-temporally) in the same loop that computes a reduction over another, so that memory is never idle.
import type { ReduceName, Value } from "../../graph/node.ts";
import { item } from "../../item.ts";
import { type Block, plus } from "../../kernel/builder.ts";
import { add, call, load, min, num, unflatten } from "../../kernel/expr.ts";
import type { Buffer, Expr } from "../../kernel/ir.ts";
import type { OpAttrs } from "../../ops/attrs.ts";
import { foldOf } from "../../ops/reduce.ts";
import { product } from "../../types/numbers.ts";
import { dtypeOf } from "../../types/type.ts";
import type { Draft, Element } from "../draft.ts";
import { shapeOf } from "../reader.ts";
import { cachedValueOf, readsOwnIndexOnly, reductionsOf } from "./row-cache.ts";

/** The most rows of a task; fewer if there would be too few tasks. */
const maxRowsPerTask = 32;
const rowsPerTask = (rows: number): number => Math.min(maxRowsPerTask, Math.floor(rows / 128));

/** Writes the kernel of `out` with its rows pipelined; false if that is not possible, or if there are too few rows. */
export function pipelinedRows(d: Draft, out: Value, outer: readonly number[], n: number): boolean {
  const count = rowsPerTask(product(outer));
  if (count <= 1) return false;
  const makePipeline = (): RowPipeline => new RowPipeline(d, out, outer, n, count);
  return storeLate(d, out, outer.length, makePipeline) || reduceEarly(d, out, outer.length, makePipeline);
}
/** The only reduction that is needed to make a row: over that row of x, which has the same shape. */
interface RowReduction {
  readonly value: Value;
  /** What is reduced. */
  readonly x: Value;
  readonly fn: ReduceName;
}
function onlyReduction(d: Draft, of: Value, depth: number): RowReduction | null {
  const [value, ...more] = reductionsOf(d, of, null, depth);
  const x = value?.node.args[0];
  if (!value || !x || more.length > 0 || dtypeOf(value.type) !== "f32") return null;
  if (shapeOf(x).join() !== shapeOf(of).join() || shapeOf(value).length !== depth) return null;
  if (!readsOwnIndexOnly(d, of, new Map([[value, depth]]))) return null;
  return { value, x, fn: (value.node.attrs as OpAttrs["reduce"]).fn };
}
/** The rows of one task, with helpers to store and to reduce one of them. */
class RowPipeline {
  readonly d: Draft;
  /** Elements of a row. */
  readonly n: number;
  readonly count: Expr;
  readonly #out: Value;
  readonly #outer: readonly number[];
  readonly #rows: Block;

  constructor(d: Draft, out: Value, outer: readonly number[], n: number, count: number) {
    this.d = d;
    this.n = n;
    this.#out = out;
    this.#outer = outer;
    this.#rows = d.k.task("r", product(outer), count);
    this.count = this.#rows.n;
  }
  each(f: (i: Expr) => void): void {
    this.d.k.for("i", num(0), this.count, 1, ({ at }) => f(at));
  }
  /** The index of the i-th row. */
  at(i: Expr): readonly Expr[] {
    return unflatten(plus(this.#rows, i), this.#outer);
  }
  /** The index of the row after it, or of the tensor's last row if there is none. */
  after(i: Expr): readonly Expr[] {
    const next = min(add(plus(this.#rows, i), num(1)), num(product(this.#outer) - 1));
    return unflatten(this.d.k.let("next", next), this.#outer);
  }
  /** Returns a function that stores element j of a row. `known`: values that it reads from registers or local buffers. */
  store(at: readonly Expr[], known: ReadonlyMap<Value, Element>): (j: Expr) => void {
    const read = this.d.reader({ locals: known });
    const store = this.d.writerOf(this.#out);
    return (j) => store([...at, j], read.element(this.#out, [...at, j]), true);
  }
  /** The reduction over a row. `alongside` runs with each element. */
  fold(
    { x, fn }: RowReduction,
    at: readonly Expr[],
    prefetchDistance: number,
    alongside: (j: Expr) => void = () => {},
  ): Expr {
    const reader = this.d.reader();
    const value = (j: Expr): Expr => {
      alongside(j);
      return reader.element(x, [...at, j]);
    };
    return this.d.k.fold(fn, fn, "f32", num(this.n), value, prefetchDistance);
  }
}
const zero = num(0);
const scalarLocal = (d: Draft, name: string): Buffer => d.k.local(name, [1]);

/** A row of a value cached in a local buffer, and the reduction over it; these two make the result. */
interface CachedRow {
  readonly cached: Value;
  readonly fold: Value;
  readonly fn: ReduceName;
}
/** The cached row of `out`. Null if none is, if other reductions are needed too, or if an element of `out` reads either at another index. */
function cachedRowOf(d: Draft, out: Value, depth: number): CachedRow | null {
  const cached = cachedValueOf(d, out, depth);
  const [fold, ...more] = cached ? reductionsOf(d, out, cached, depth) : [];
  if (!cached || !fold || more.length > 0) return null;
  if (reductionsOf(d, out, null, depth, new Set([cached, fold])).length > 0) return null;
  const own: [Value, number][] = [
    [cached, depth + 1],
    [fold, depth],
  ];
  return readsOwnIndexOnly(d, out, new Map(own))
    ? { cached, fold, fn: (fold.node.attrs as OpAttrs["reduce"]).fn }
    : null;
}
/**
 * Each row's result is stored while the next row's cached values, which replace it in the local buffer, are computed. A max or min that the cached
 * values need is computed one row earlier still.
 */
function storeLate(d: Draft, out: Value, depth: number, makePipeline: () => RowPipeline): boolean {
  const row = cachedRowOf(d, out, depth);
  if (!row) return false;
  const { cached, fold, fn } = row;
  const t = makePipeline();
  const [local, folded] = [d.k.local("kept", [t.n]), scalarLocal(d, "folded")];
  const top = rowExtremeOf(t, cached, depth);
  /** Returns a function that stores an element of the row before row i. */
  const finish = (i: Expr): ((j: Expr) => void) => {
    const value = d.k.letHere("before", load(folded, zero));
    const own = new Map<Value, Element>([[fold, () => value]]).set(cached, (x) => load(local, item(x, depth)));
    return t.store(t.at(add(i, num(-1))), own);
  };
  t.each((i) => {
    const at = t.at(i);
    const store = finish(i);
    const reader = d.reader({ locals: top.known() });
    const value = (j: Expr): Expr => {
      d.k.if(call("gt", "bool", i, zero), () => store(j));
      const made = d.k.letHere("made", reader.element(cached, [...at, j]));
      d.k.store(local, [j], made);
      return made;
    };
    const next = top.runAlongside(i, () => d.k.fold(fn, fn, "f32", num(t.n), value, t.n));
    d.k.store(folded, [zero], next);
  });
  d.k.par(num(t.n), finish(t.count));
  return true;
}
interface RowExtreme {
  /** The reduction of the current row, if there is one. */
  known(): ReadonlyMap<Value, () => Expr>;
  /** Runs f, a reduction of row i, together with this reduction of the next row. */
  runAlongside(i: Expr, f: () => Expr): Expr;
}
/** The max or min that the cached values need, if there is one. Not a sum: `both` would change its order, and so its bits. */
function rowExtremeOf(t: RowPipeline, cached: Value, depth: number): RowExtreme {
  const { k } = t.d;
  const fold = onlyReduction(t.d, cached, depth);
  if (!fold || !foldOf(fold.fn).picks) return { known: () => new Map(), runAlongside: (_, f) => f() };
  const top = scalarLocal(t.d, "top");
  k.store(top, [zero], t.fold(fold, t.at(zero), 0));
  return {
    known: () => {
      const own = k.letHere("own", load(top, zero));
      return new Map([[fold.value, () => own]]);
    },
    runAlongside: (i, f) => {
      const next = t.after(i);
      const [made, found] = k.both(f, () => t.fold(fold, next, t.n));
      k.store(top, [zero], found);
      return made;
    },
  };
}
/** The only reduction of a row is computed while the row before it is stored. The last round's is for the row after the task's and is not used. */
function reduceEarly(d: Draft, out: Value, depth: number, makePipeline: () => RowPipeline): boolean {
  const fold = onlyReduction(d, out, depth);
  if (!fold) return false;
  const t = makePipeline();
  const folded = scalarLocal(d, "folded");
  d.k.store(folded, [zero], t.fold(fold, t.at(zero), 0));
  t.each((i) => {
    const value = d.k.letHere("own", load(folded, zero));
    const store = t.store(t.at(i), new Map([[fold.value, () => value]]));
    d.k.store(folded, [zero], t.fold(fold, t.after(i), t.n, store));
  });
  return true;
}
