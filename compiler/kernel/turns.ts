// Rows in turn: a task stores one row (non-temporally) in the same loop that computes a reduction over another, so that memory is never idle.
import type { Value } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { product } from "../types/numbers.ts";
import { dtypeOf } from "../types/type.ts";
import { type Block, plus } from "./build.ts";
import type { Draft, Element } from "./draft.ts";
import { add, call, item, least, load, num, unflatten } from "./expr.ts";
import type { Buffer, Combine, Expr } from "./ir.ts";
import { foldsOf, keptOf, readsOwn } from "./kept.ts";
import { shapeOf } from "./read.ts";

/** The most rows that a task takes in turn; fewer if there would be too few tasks. */
const most = 32;
const inTurn = (rows: number): number => Math.min(most, Math.floor(rows / 128));

/** Writes the kernel of `out` with its rows taken in turn; false if that is not possible, or if there are too few rows. */
export function rowsInTurn(d: Draft, out: Value, outer: readonly number[], n: number): boolean {
  const count = inTurn(product(outer));
  if (count <= 1) return false;
  const turns = (): Turns => new Turns(d, out, outer, n, count);
  return storedLate(d, out, outer.length, turns) || foldedEarly(d, out, outer.length, turns);
}
/** The only reduction that is needed to make a row: over that row of x, which has the same shape. */
interface RowFold {
  readonly value: Value;
  /** What is reduced. */
  readonly x: Value;
  readonly fn: Combine;
}
function onlyFold(d: Draft, of: Value, depth: number): RowFold | null {
  const [value, ...more] = foldsOf(d, of, null, depth);
  const x = value?.node.args[0];
  if (!value || !x || more.length > 0 || dtypeOf(value.type) !== "f32") return null;
  if (shapeOf(x).join() !== shapeOf(of).join() || shapeOf(value).length !== depth) return null;
  if (!readsOwn(d, of, new Map([[value, depth]]))) return null;
  return { value, x, fn: (value.node.attrs as OpAttrs["reduce"]).fn };
}
/** The rows of one task, with helpers to store and to reduce one of them. */
class Turns {
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
    const next = least(add(plus(this.#rows, i), num(1)), num(product(this.#outer) - 1));
    return unflatten(this.d.k.let("next", next), this.#outer);
  }
  /** Gives a function that stores element j of a row. `known`: values that it reads from registers or local buffers. */
  store(at: readonly Expr[], known: ReadonlyMap<Value, Element>): (j: Expr) => void {
    const read = this.d.reader({ own: known });
    const store = this.d.stores(this.#out);
    return (j) => store([...at, j], read.element(this.#out, [...at, j]), true);
  }
  /** The reduction over a row. `beside` runs with each element; `ahead` is the prefetch distance. */
  fold({ x, fn }: RowFold, at: readonly Expr[], ahead: number, beside: (j: Expr) => void = () => {}): Expr {
    const reader = this.d.reader();
    const value = (j: Expr): Expr => {
      beside(j);
      return reader.element(x, [...at, j]);
    };
    return this.d.k.fold(fn, fn, "f32", num(this.n), value, ahead);
  }
}
const first = num(0);
const one = (d: Draft, name: string): Buffer => d.k.local(name, [1]);

/** A row of a value kept in a local buffer, and the reduction over it; these two make the result. */
interface KeptRow {
  readonly kept: Value;
  readonly fold: Value;
  readonly fn: Combine;
}
/** The kept row of `out`. Null if nothing is kept, if other reductions are needed too, or if an element of `out` reads either at another index. */
function keptRow(d: Draft, out: Value, depth: number): KeptRow | null {
  const kept = keptOf(d, out, depth);
  const [fold, ...more] = kept ? foldsOf(d, out, kept, depth) : [];
  if (!kept || !fold || more.length > 0) return null;
  if (foldsOf(d, out, null, depth, new Set([kept, fold])).length > 0) return null;
  const own: [Value, number][] = [
    [kept, depth + 1],
    [fold, depth],
  ];
  return readsOwn(d, out, new Map(own)) ? { kept, fold, fn: (fold.node.attrs as OpAttrs["reduce"]).fn } : null;
}
/**
 * Each row's result is stored while the next row's kept values, which replace it in the local buffer, are computed. A max or min that the kept values
 * need is computed one row earlier still.
 */
function storedLate(d: Draft, out: Value, depth: number, turns: () => Turns): boolean {
  const row = keptRow(d, out, depth);
  if (!row) return false;
  const { kept, fold, fn } = row;
  const t = turns();
  const [local, folded] = [d.k.local("kept", [t.n]), one(d, "folded")];
  const top = topOf(t, kept, depth);
  /** Gives a function that stores an element of the row before row i. */
  const finish = (i: Expr): ((j: Expr) => void) => {
    const value = d.k.letHere("before", load(folded, first));
    const own = new Map<Value, Element>([[fold, () => value]]).set(kept, (x) => load(local, item(x, depth)));
    return t.store(t.at(add(i, num(-1))), own);
  };
  t.each((i) => {
    const at = t.at(i);
    const store = finish(i);
    const reader = d.reader({ own: top.known() });
    const value = (j: Expr): Expr => {
      d.k.if(call("gt", "bool", i, first), () => store(j));
      const made = d.k.letHere("made", reader.element(kept, [...at, j]));
      d.k.store(local, [j], made);
      return made;
    };
    const next = top.beside(i, () => d.k.fold(fn, fn, "f32", num(t.n), value, t.n));
    d.k.store(folded, [first], next);
  });
  d.k.par(num(t.n), finish(t.count));
  return true;
}
interface Top {
  /** The reduction of the current row, if there is one. */
  known(): ReadonlyMap<Value, () => Expr>;
  /** Runs f, a reduction of row i, together with this reduction of the next row. */
  beside(i: Expr, f: () => Expr): Expr;
}
/** The max or min that the kept values need, if there is one. Not a sum: `both` would change its order, and so its bits. */
function topOf(t: Turns, kept: Value, depth: number): Top {
  const { k } = t.d;
  const fold = onlyFold(t.d, kept, depth);
  if (!fold || fold.fn === "sum") return { known: () => new Map(), beside: (_, f) => f() };
  const top = one(t.d, "top");
  k.store(top, [first], t.fold(fold, t.at(first), 0));
  return {
    known: () => {
      const own = k.letHere("own", load(top, first));
      return new Map([[fold.value, () => own]]);
    },
    beside: (i, f) => {
      const next = t.after(i);
      const [made, found] = k.both(f, () => t.fold(fold, next, t.n));
      k.store(top, [first], found);
      return made;
    },
  };
}
/** The only reduction of a row is computed while the row before it is stored. The last round's is for the row after the task's and is not used. */
function foldedEarly(d: Draft, out: Value, depth: number, turns: () => Turns): boolean {
  const fold = onlyFold(d, out, depth);
  if (!fold) return false;
  const t = turns();
  const folded = one(d, "folded");
  d.k.store(folded, [first], t.fold(fold, t.at(first), 0));
  t.each((i) => {
    const value = d.k.letHere("own", load(folded, first));
    const store = t.store(t.at(i), new Map([[fold.value, () => value]]));
    d.k.store(folded, [first], t.fold(fold, t.after(i), t.n, store));
  });
  return true;
}
