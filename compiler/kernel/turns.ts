// Rows in turn: one is stored, around the caches, in the loop that makes a fold of another, so that memory is never idle.
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

/** Rows that one task takes in turn, where there are tasks enough. */
const most = 32;
const inTurn = (rows: number): number => Math.min(most, Math.floor(rows / 128));

/** Writes the rows of one axis of a result in turn; false where they cannot be, or are few. */
export function rowsInTurn(d: Draft, out: Value, outer: readonly number[], n: number): boolean {
  const count = inTurn(product(outer));
  if (count <= 1) return false;
  const turns = (): Turns => new Turns(d, out, outer, n, count);
  return storedLate(d, out, outer.length, turns) || foldedEarly(d, out, outer.length, turns);
}
/** The only fold that is computed to make a value's row, if it is one of as many elements, and of the same row. */
interface RowFold {
  readonly value: Value;
  /** What it folds. */
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
/** The rows of a task, and what is made of each. */
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
  /** That of the row after it, or of the last there is. */
  after(i: Expr): readonly Expr[] {
    const next = least(add(plus(this.#rows, i), num(1)), num(product(this.#outer) - 1));
    return unflatten(this.d.k.let("next", next), this.#outer);
  }
  /** What is stored of a row, element by element. */
  store(at: readonly Expr[], known: ReadonlyMap<Value, Element>): (j: Expr) => void {
    const read = this.d.reader({ own: known });
    const store = this.d.stores(this.#out);
    return (j) => store([...at, j], read.element(this.#out, [...at, j]), true);
  }
  /** The fold of a row; `beside` runs beside each element, which is asked for `ahead`. */
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

/** What is kept beside a row, and the only other thing that makes what is stored of it: a fold of that. */
interface KeptRow {
  readonly kept: Value;
  readonly fold: Value;
  readonly fn: Combine;
}
/** Null where nothing is kept, more is folded, or what is stored reads either at another place. */
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
/** Each result is stored while the next row's kept values are made, which take its place. A largest or smallest that those want is found a row before. */
function storedLate(d: Draft, out: Value, depth: number, turns: () => Turns): boolean {
  const row = keptRow(d, out, depth);
  if (!row) return false;
  const { kept, fold, fn } = row;
  const t = turns();
  const [local, folded] = [d.k.local("kept", [t.n]), one(d, "folded")];
  const top = topOf(t, kept, depth);
  /** Stores an element of the row before i. */
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
  /** The fold of the row that is on. */
  known(): ReadonlyMap<Value, () => Expr>;
  /** Makes the next row's beside another fold of the i-th. */
  beside(i: Expr, f: () => Expr): Expr;
}
/** Of a sum the order, and so the bits, would be another one. */
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
/** The only fold of a row is made while the row before is stored: once more than needed, of the row after the task's. */
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
