// Kernels for rows that are too short for lanes along them: each lane takes a row. A block of rows is transposed into columns, computed down them,
// and transposed back.
import type { Node, Value } from "../../graph/node.ts";
import { item } from "../../item.ts";
import { type Block, KernelBuilder, plus } from "../../kernel/builder.ts";
import { dependsOn, flatten, load, num, same, scalarOf, unflatten } from "../../kernel/expr.ts";
import type { Buffer, Expr } from "../../kernel/ir.ts";
import { rowMoves } from "../../regions/region.ts";
import { product } from "../../types/numbers.ts";
import { dtypeOf } from "../../types/type.ts";
import type { Draft } from "../draft.ts";
import { elementRules } from "../elements.ts";
import { Reader, result, shapeOf } from "../reader.ts";
import { cachedValueOf } from "./row-cache.ts";

/** Rows per task; a single vector of them where there are few. */
export const [maxRows, minRows] = [64, 16];
/** Adds a grid axis over `count` rows, in blocks of rows that have a lane each. */
export const addLaneRows = (d: Draft, count: number): Block =>
  d.k.task("r", count, count < 8 * maxRows ? minRows : maxRows);
/** Visits the elements of a block of rows in memory order; f reads or writes the transposed copy. */
export function visitRowMajor({ k }: Draft, rows: Block, n: number, f: (i: Expr, j: Expr) => void): void {
  k.for("i", num(0), rows.n, 1, ({ at: i }) => {
    for (let j = 0; j < n; j++) f(i, num(j));
  });
}

/**
 * Writes the kernel of results whose rows have n elements; false if rows are long, or read something that does not fit this form. Few rows take it
 * too, with most lanes idle, so that a row has the same bits alone and among many.
 */
export function shortRows(d: Draft, outputs: readonly Value[], outer: readonly number[], n: number): boolean {
  const count = product(outer);
  const isWide = (v: Value): boolean => shapeOf(v).length > outer.length;
  const wide = outputs.filter(isWide);
  const { shortRow } = d.choices.rows;
  if (
    shortRow === 0 ||
    n > shortRow ||
    count === 0 ||
    outer.length === 0 ||
    wide.some((v) => dtypeOf(v.type) === "bool")
  )
    return false;
  const cached = wide.flatMap((v) => cachedValueOf(d, v, outer.length) ?? []);
  const made = [...new Set([...cached, ...wide])];
  const read = ownRowReads(d, outputs, made, outer);
  if (!read) return false;
  const rows = addLaneRows(d, count);
  const block = new TransposedRows(d, rows, outer);
  for (const v of read) block.load(v);
  d.k.par(rows.n, (i) => {
    for (const v of made) block.compute(v, i);
    const row = unflatten(plus(rows, i), outer);
    for (const v of outputs) if (!isWide(v)) d.writerOf(v)(row, block.reader(i).element(v, row));
  });
  for (const v of wide) block.storeRows(v);
  return true;
}
/** Values of a block of rows, transposed: a local buffer [element, row] for each. */
class TransposedRows {
  readonly #d: Draft;
  readonly #rows: Block;
  readonly #outer: readonly number[];
  readonly #columns = new Map<Value, Buffer>();

  constructor(d: Draft, rows: Block, outer: readonly number[]) {
    this.#d = d;
    this.#rows = rows;
    this.#outer = outer;
  }
  #of(v: Value): Buffer {
    const n = item(shapeOf(v), shapeOf(v).length - 1);
    const known =
      this.#columns.get(v) ?? this.#d.k.local("columns", [n, maxRows], dtypeOf(v.type) === "i32" ? "i32" : "f32", true);
    this.#columns.set(v, known);
    return known;
  }
  /** The leading indices of row i in v, which may have other leading axes than the outputs. */
  #row(i: Expr, v: Value): Expr[] {
    return unflatten(plus(this.#rows, i), shapeOf(v).slice(0, -1));
  }
  #visit(v: Value, f: (i: Expr, j: Expr) => void): void {
    visitRowMajor(this.#d, this.#rows, item(shapeOf(v), shapeOf(v).length - 1), f);
  }
  load(v: Value): void {
    const [from, to] = [this.#d.input(v), this.#of(v)];
    this.#visit(v, (i, j) => this.#d.k.store(to, [j, i], load(from, ...this.#row(i, v), j)));
  }
  storeRows(v: Value): void {
    const [from, store] = [this.#of(v), this.#d.writerOf(v)];
    this.#visit(v, (i, j) => store([...this.#row(i, v), j], load(from, j, i)));
  }
  /** A reader for row i that reads values which are in columns from there. */
  reader(i: Expr): Reader {
    const own = ([v, b]: [Value, Buffer]) => [v, (at: readonly Expr[]) => load(b, item(at, at.length - 1), i)] as const;
    return this.#d.reader({ locals: new Map([...this.#columns].map(own)) });
  }
  compute(v: Value, i: Expr): void {
    const [read, n] = [this.reader(i), item(shapeOf(v), this.#outer.length)];
    const to = this.#of(v);
    const row = unflatten(plus(this.#rows, i), this.#outer);
    this.#d.k.for("j", num(0), num(n), 1, ({ at: j }) => this.#d.k.store(to, [j, i], read.element(v, [...row, j])));
  }
}
/**
 * The values of which a row reads its own, short row. Null if it also reads, depending on the row, anything else: a long row, another row, a gather.
 */
function ownRowReads(
  d: Draft,
  outputs: readonly Value[],
  made: readonly Value[],
  outer: readonly number[],
): ReadonlySet<Value> | null {
  const count = product(outer);
  const k = new KernelBuilder("what a row reads");
  const row = k.variable("r", "index", 0, count - 1);
  const found = new Set<Value>();
  const elsewhere = new Set<Value>();
  const others = new Set<Value>();
  const refused = (_: Reader, node: Node): Expr => {
    for (const v of node.results) others.add(v);
    return num(0, scalarOf(dtypeOf(result(node).type)));
  };
  // of one row, whose number is 0, what has no axis of rows is not its own: a key of random numbers, which all lanes share
  const isOwn = (places: readonly Expr[], shape: readonly number[]): boolean =>
    count === 1 ? shape.length > 0 && product(shape) === 1 : same(flatten(places, shape), row);
  const element = (v: Value, at: readonly Expr[]): Expr | null => {
    const lead = shapeOf(v).slice(0, -1);
    if (!isOwn(at.slice(0, -1), lead)) elsewhere.add(v);
    if (d.inlines(v)) return null;
    const n = shapeOf(v).at(-1) ?? Infinity; // a scalar is no row
    const isShort = n <= d.choices.rows.shortRow && dtypeOf(v.type) !== "bool";
    if (isShort && isOwn(at.slice(0, -1), lead)) found.add(v);
    else if (!isOwn(at, shapeOf(v)) && at.some((x) => dependsOn(x, row))) others.add(v);
    return k.variable("t", scalarOf(dtypeOf(v.type)));
  };
  const moved = Object.fromEntries([...rowMoves].map((name) => [name, refused]));
  const reader = new Reader(k, { ...elementRules, ...moved }, { element, hasManyUses: () => false, offsets: null });
  const j = (v: Value): Expr => k.variable("j", "index", 0, item(shapeOf(v), outer.length) - 1);
  for (const v of outputs)
    reader.element(v, [...unflatten(row, outer), ...(shapeOf(v).length > outer.length ? [j(v)] : [])]);
  return others.size > 0 || [...found, ...made].some((v) => elsewhere.has(v)) ? null : found;
}
