// Rows in turn: one is stored, around the caches, in the loop that makes a fold of another, so that memory is never idle.
import type { Value } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { dtypeOf } from "../types/type.ts";
import { type Block, plus } from "./build.ts";
import type { Draft } from "./draft.ts";
import { add, call, item, least, load, num, product, unflatten } from "./expr.ts";
import type { Expr } from "./ir.ts";
import { foldsOf, keptOf } from "./kept.ts";
import { shapeOf } from "./read.ts";

/** Rows that one task takes in turn, where there are tasks enough. */
const most = 32;
const inTurn = (rows: number): number => Math.min(most, Math.floor(rows / 128));

/** Writes the rows of one axis of a result in turn; false where they cannot be, or are few. */
export function rowsInTurn(d: Draft, out: Value, outer: readonly number[], n: number): boolean {
  const count = inTurn(product(outer));
  if (count <= 1) return false;
  const rows = (): Block => d.k.task("r", product(outer), count);
  return storedLate(d, out, outer, n, rows) || foldedEarly(d, out, outer, n, rows);
}
/**
 * Each result is stored while the next row's kept values are made, which take its place.
 * False where nothing is kept, or what is folded is more than that.
 */
function storedLate(d: Draft, out: Value, outer: readonly number[], n: number, rows: () => Block): boolean {
  const depth = outer.length;
  const kept = keptOf(d, out, depth);
  const [fold, ...more] = kept ? foldsOf(d, out, kept, depth) : [];
  if (!kept || !fold || more.length > 0) return false;
  const { fn } = fold.node.attrs as OpAttrs["reduce"];
  const task = rows();
  const [local, folded] = [d.k.local("kept", [n]), d.k.local("folded", [1])];
  const reader = d.reader();
  /** Stores an element of the row before i, whose fold is `value`. */
  const finish = (i: Expr, value: Expr): ((j: Expr) => void) => {
    const at = unflatten(plus(task, add(i, num(-1))), outer);
    const read = d.reader(
      new Map<Value, (x: readonly Expr[]) => Expr>([
        [kept, (x) => load(local, item(x, depth))],
        [fold, () => value],
      ]),
    );
    return (j) => d.k.store(d.output(out), [...at, j], read.element(out, [...at, j]), true);
  };
  const before = (): Expr => d.k.letHere("before", load(folded, num(0)));
  d.k.for("i", num(0), task.n, 1, ({ at: i }) => {
    const at = unflatten(plus(task, i), outer);
    const store = finish(i, before());
    const value = (j: Expr): Expr => {
      d.k.if(call("gt", "bool", i, num(0)), () => store(j));
      const made = d.k.letHere("made", reader.element(kept, [...at, j]));
      d.k.store(local, [j], made);
      return made;
    };
    d.k.store(folded, [num(0)], d.k.fold(fn, fn, "f32", num(n), value, n));
  });
  d.k.par(num(n), finish(task.n, before()));
  return true;
}
/** The only fold of a row, if that is one of all its elements, is made while the row before is stored: once more than needed, of the row after the task's. */
function foldedEarly(d: Draft, out: Value, outer: readonly number[], n: number, rows: () => Block): boolean {
  const depth = outer.length;
  const [fold, ...more] = foldsOf(d, out, null, depth);
  const x = fold?.node.args[0];
  if (!fold || !x || more.length > 0 || dtypeOf(fold.type) !== "f32") return false;
  if (shapeOf(x).join() !== shapeOf(out).join() || shapeOf(fold).length !== depth) return false;
  const { fn } = fold.node.attrs as OpAttrs["reduce"];
  const task = rows();
  const folded = d.k.local("folded", [1]);
  /** Keeps the fold of a row; `then` runs beside each element, which is asked for `ahead`. */
  const make = (row: Expr, then: (j: Expr) => void, ahead: number): void => {
    const at = unflatten(row, outer);
    const reader = d.reader();
    const value = (j: Expr): Expr => {
      then(j);
      return reader.element(x, [...at, j]);
    };
    d.k.store(folded, [num(0)], d.k.fold(fn, fn, "f32", num(n), value, ahead));
  };
  make(task.at, () => {}, 0);
  d.k.for("i", num(0), task.n, 1, ({ at: i }) => {
    const row = plus(task, i);
    const at = unflatten(row, outer);
    const value = d.k.letHere("own", load(folded, num(0)));
    const read = d.reader(new Map([[fold, () => value]]));
    const next = d.k.let("next", least(add(row, num(1)), num(product(outer) - 1)));
    make(next, (j) => d.k.store(d.output(out), [...at, j], read.element(out, [...at, j]), true), n);
  });
  return true;
}
