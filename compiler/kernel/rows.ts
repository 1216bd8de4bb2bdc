// Kernels of "rows" regions: elementwise ops and views, with reductions over rows inside. A task makes some elements, or a row with its reductions.
import type { Value } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import type { Region } from "../transform/region.ts";
import { isFloat } from "../types/dtype.ts";
import { product } from "../types/numbers.ts";
import { dtypeOf } from "../types/type.ts";
import type { Block } from "./build.ts";
import type { Draft } from "./draft.ts";
import { add, item, load, mul, num, sameAll, unflatten } from "./expr.ts";
import type { Expr } from "./ir.ts";
import { foldsOf, keptOf } from "./kept.ts";
import { operand, type Reader, result, shapeOf } from "./read.ts";
import { type Choices, wholeVectors } from "./schedule.ts";
import { seams } from "./seams.ts";
import { shortRows } from "./short.ts";
import { rowsInTurn } from "./turns.ts";

/** The elements of a row that one task makes, if not the whole; and below how many elements a row is too short to be a task. */
const block = 4096;
const short = 16;

/** Writes the kernel of a region in the first form that fits: panels, short rows, rows in turn, transposed squares, rows. */
export function rows(d: Draft, region: Region): void {
  const full = widest(region.outputs);
  const width = d.panelsOf(full);
  if (width !== null && region.depth === null) return panels(d, region, width);
  const space = shapeOf(full);
  const given = byThreads(d, region, space) ? null : region.depth;
  const depth = given ?? leading(space, d.choices);
  const inner = space.slice(depth);
  const cut = given === null;
  if (!cut && inner.length === 1 && shortRows(d, region.outputs, space.slice(0, depth), item(inner, 0))) return;
  if (turns(d, region, space, depth) || turned(d, region, space, depth)) return;
  const row = unflatten(task(d, product(space.slice(0, depth))), space.slice(0, depth));
  const reader = d.reader();
  for (const v of region.outputs)
    if (shapeOf(v).length < space.length || inner.length === 0) d.stores(v)(row, reader.element(v, row));
  const wide = region.outputs.filter((v) => shapeOf(v).length === space.length && inner.length > 0);
  if (wide.length === 0) return;
  const most = d.choices.points?.(product(space)) ?? block;
  const walk: Walk = { inner, cut: cut ? most : null, seams: seams(d, wide), ahead: cut ? 0 : product(inner) };
  const read = (wide.length === 1 && keeping(d, item(wide, 0), row, walk)) || reader;
  columns(d, walk, (at) => make(d, read, wide, [...row, ...at], (v) => passes(d, v, walk)));
}
/** How many elements a reduction combines into one. */
const folded = ({ node }: Value): number => product(shapeOf(operand(node))) / product(shapeOf(result(node)));
/** Whether (on CUDA) each thread makes whole elements, because their reductions are too short to share among threads. */
function byThreads(d: Draft, { outputs, depth }: Region, space: readonly number[]): boolean {
  const { alone = 0 } = d.choices;
  const isShort = (v: Value): boolean => {
    const folds = foldsOf(d, v, null, 0);
    return shapeOf(v).join() === space.join() && folds.reduce((n, f) => n * folded(f), 1) <= alone;
  };
  return depth === space.length && depth > 0 && outputs.every(isShort);
}
/** Writes the kernel of a single large result with its rows taken in turn (turns.ts); false if that is not possible. */
function turns(d: Draft, { outputs, depth: given }: Region, space: readonly number[], depth: number): boolean {
  const [out, n = 0] = [item(outputs, 0), space[depth]];
  if (outputs.length > 1 || given === null || depth !== space.length - 1 || n > (d.choices.kept ?? 0)) return false;
  const walk: Walk = { inner: [n], cut: null, seams: seams(d, outputs), ahead: n };
  return passes(d, out, walk) && rowsInTurn(d, out, space.slice(0, depth), n);
}
/**
 * Writes the kernel of a large result that reads an operand down its columns: a square of the operand is copied in memory order, then read transposed
 * from the caches. False if that does not apply.
 */
function turned(d: Draft, { outputs, depth: given }: Region, space: readonly number[], depth: number): boolean {
  const [found, { square }] = [downColumns(d, item(outputs, 0)), d.choices];
  if (given !== null || !found || found.axis >= depth || depth !== space.length - 1) return false;
  if (!square || product(space) < square.least || outputs.some((v) => shapeOf(v).join() !== space.join())) return false;
  const { x, axis } = found;
  const rest = space.slice(0, depth).map((size, i) => (i === axis ? 1 : size));
  const outer = unflatten(task(d, product(rest)), rest);
  const rows = d.k.task("t", item(space, axis), square.side);
  const cols = d.k.task("c", item(space, depth), square.side);
  const at = (i: Expr, j: Expr): Expr[] => [...outer.with(axis, add(rows.at, i)), add(cols.at, j)];
  const copy = d.k.local("square", [square.side, square.side]);
  const own = d.reader({ plain: true });
  d.k.for("j", num(0), cols.n, 1, ({ at: j }) =>
    d.k.par(rows.n, (i) => d.k.store(copy, [j, i], own.element(x, at(i, j)))),
  );
  const readerAt = (i: Expr, j: Expr): Reader =>
    d.reader({ own: new Map([[x, (read) => (sameAll(read, at(i, j)) ? load(copy, j, i) : own.element(x, read))]]) });
  d.k.for("i", num(0), rows.n, 1, ({ at: i }) =>
    d.k.par(cols.n, (j) => make(d, readerAt(i, j), outputs, at(i, j), () => false)),
  );
  return true;
}
interface Turned {
  readonly x: Value;
  /** The axis of the result along which x is contiguous in memory. */
  readonly axis: number;
}
/** A transposed operand that `v` reads through elementwise ops, or null. */
function downColumns(d: Draft, v: Value, seen = new Set<Value>()): Turned | null {
  const { op, args, attrs } = v.node;
  if (seen.has(v) || !d.inlines(v)) return null;
  seen.add(v);
  if (op.name === "transpose") {
    const { perm } = attrs as OpAttrs["transpose"];
    const axis = perm.indexOf(perm.length - 1);
    return axis === perm.length - 1 || !isFloat(dtypeOf(v.type)) ? null : { x: v, axis };
  }
  if (op.lower !== "point") return null;
  for (const x of args) {
    const found = shapeOf(x).join() === shapeOf(v).join() ? downColumns(d, x, seen) : null;
    if (found) return found;
  }
  return null;
}
/** Writes elements of panels in memory order: [.., panel, row, column of the panel]. */
function panels(d: Draft, { outputs }: Region, width: number): void {
  const shape = shapeOf(item(outputs, 0));
  const [rows, count] = [item(shape, shape.length - 2), item(shape, shape.length - 1) / width];
  const space = [...shape.slice(0, -2), count, rows, width];
  const depth = space.length - (rows * width < block ? 3 : 2);
  const outer = unflatten(task(d, product(space.slice(0, depth))), space.slice(0, depth));
  const reader = d.reader();
  columns(d, { inner: space.slice(depth), cut: block, seams: [], ahead: 0 }, (inner) => {
    const at = [...outer, ...inner];
    const [p, r, c] = at.slice(-3) as [Expr, Expr, Expr];
    make(d, reader, outputs, [...at.slice(0, -3), r, add(mul(p, num(width)), c)], () => false);
  });
}
/** Stores the element at `at` of each value. `stream`: which values get non-temporal stores. */
function make(
  d: Draft,
  reader: Reader,
  list: readonly Value[],
  at: readonly Expr[],
  stream: (v: Value) => boolean,
): void {
  const values = list.map((v) => reader.element(v, at));
  const named =
    list.length === 1 ? values : values.map((x) => (x.e === "num" || x.e === "var" ? x : d.k.letHere("value", x)));
  list.forEach((v, i) => d.stores(v)(at, item(named, i), stream(v)));
}
/**
 * Keeps a value of the row (keptOf) in a local buffer, like a softmax's exponentials, and gives the reader that reads it there; null if none is kept.
 */
function keeping(d: Draft, out: Value, row: readonly Expr[], walk: Walk): Reader | null {
  if (walk.cut !== null || product(walk.inner) > (d.choices.kept ?? 0)) return null;
  const kept = keptOf(d, out, row.length);
  if (!kept) return null;
  const local = d.k.local("kept", walk.inner);
  const reader = d.reader();
  columns(d, walk, (at) => d.k.store(local, at, reader.element(kept, [...row, ...at])));
  return d.reader({ own: new Map([[kept, (at: readonly Expr[]) => load(local, ...at.slice(row.length))]]) });
}
/**
 * Whether a result gets non-temporal stores: it is larger than the caches, in f32, and has whole vectors; and a task makes a whole row, which it
 * reads more than once, so that it cannot share memory with an operand.
 */
const passes = (d: Draft, v: Value, { cut, inner, seams: places }: Walk): boolean =>
  cut === null &&
  places.length === 0 &&
  wholeVectors(item(inner, inner.length - 1)) &&
  dtypeOf(v.type) === "f32" &&
  product(shapeOf(v)) > (d.choices.inCaches ?? Infinity);
const task = (d: Draft, extent: number): Expr => (extent === 1 ? num(0) : d.k.task("r", extent).at);
const widest = (list: readonly Value[]): Value =>
  list.reduce((a, b) => (shapeOf(b).length > shapeOf(a).length ? b : a));

/** How many leading axes are tasks, if no reduction decides it: all but the last; short last axes are taken together. */
function leading(space: readonly number[], { together = short }: Choices): number {
  let depth = Math.max(0, space.length - 1);
  const least = item([...space, 0], depth) % 4 === 0 ? together : short;
  while (depth > 0 && product(space.slice(depth)) < least) depth--;
  return depth;
}
interface Walk {
  /** The sizes of the axes that one task covers. */
  readonly inner: readonly number[];
  /** The most elements of them that one task makes; null if a task makes all. */
  readonly cut: number | null;
  /** Places on the last axis where the computation changes (seams.ts); each stretch between them has a loop of its own. */
  readonly seams: readonly number[];
  /** The prefetch distance (`Ahead`), so that a row that is read more than once is in the caches when its task begins; 0 for none. */
  readonly ahead: number;
}
/** Walks the inner axes: lanes along the last one and loops over the others, or lanes along all of them where the last is short. */
function columns(d: Draft, { inner, cut, seams: places, ahead }: Walk, f: (at: readonly Expr[]) => void): void {
  const last = item(inner, inner.length - 1);
  const flat = inner.length === 1 || last < short || cut !== null;
  const width = flat ? product(inner) : last;
  const edges = inner.length > 1 && flat ? [0, width] : [0, ...places, width];
  const lanes = (outer: readonly Expr[]): void => {
    const stretch = (b: Block): void =>
      d.k.par(b.n, (j) => f([...outer, ...unflatten(add(b.at, j), flat ? inner : [last])]), "j", ahead);
    if (cut !== null && width > cut && edges.length === 2) return stretch(d.k.task("c", width, cut));
    edges.slice(1).forEach((end, i) => stretch({ at: num(item(edges, i)), n: num(end - item(edges, i)) }));
  };
  const loop = (axis: number, outer: readonly Expr[]): void => {
    if (flat || axis === inner.length - 1) return lanes(outer);
    d.k.for("i", num(0), num(item(inner, axis)), 1, (b) => loop(axis + 1, [...outer, b.at]));
  };
  loop(0, []);
}
