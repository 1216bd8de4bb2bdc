// Kernels of "rows" regions: elementwise ops and views, with reductions over rows inside. A task makes some elements, or a row with its reductions.
import type { Value } from "../../graph/node.ts";
import { item } from "../../item.ts";
import type { Block } from "../../kernel/builder.ts";
import { add, load, mul, num, sameAll, unflatten } from "../../kernel/expr.ts";
import type { Expr } from "../../kernel/ir.ts";
import { type Choices, hasWholeVectors } from "../../kernel/schedule.ts";
import type { OpAttrs } from "../../ops/attrs.ts";
import type { Region } from "../../regions/region.ts";
import { isFloat } from "../../types/dtype.ts";
import { product } from "../../types/numbers.ts";
import { dtypeOf } from "../../types/type.ts";
import type { Draft } from "../draft.ts";
import { operand, type Reader, result, shapeOf } from "../reader.ts";
import { concatBoundaries } from "./concat-boundaries.ts";
import { cachedValueOf, reductionsOf } from "./row-cache.ts";
import { pipelinedRows } from "./row-pipeline.ts";
import { shortRows } from "./short-rows.ts";

/** The elements of a row that one task makes, if not the whole; fewer where each adds up many. */
const elementsPerTask = 4096;
const fewestPerTask = 64;
/** Below how many elements a row is too short to be a task. */
const defaultShortestRow = 16;

/** Writes the kernel of a region in the first form that fits: panels, short rows, pipelined rows, transposed tiles, rows. */
export function rows(d: Draft, region: Region): void {
  const full = highestRank(region.outputs);
  const width = d.panelWidthOf(full);
  if (width !== null && region.depth === null) return writePanels(d, region, width);
  const space = shapeOf(full);
  const given = usesThreadPerElement(d, region, space) ? null : region.depth;
  const depth = given ?? taskAxisCount(space, d.choices);
  const inner = space.slice(depth);
  const cut = given === null;
  if (!cut && inner.length === 1 && shortRows(d, region.outputs, space.slice(0, depth), item(inner, 0))) return;
  if (writePipelined(d, region, space, depth) || writeTransposed(d, region, space, depth)) return;
  const row = unflatten(d.k.task("r", product(space.slice(0, depth))).at, space.slice(0, depth));
  const reader = d.reader();
  for (const v of region.outputs)
    if (shapeOf(v).length < space.length || inner.length === 0) d.writerOf(v)(row, reader.element(v, row));
  const wide = region.outputs.filter((v) => shapeOf(v).length === space.length && inner.length > 0);
  if (wide.length === 0) return;
  const most = d.choices.rows.elementsPerTask?.(product(space)) ?? elementsAddingUp(d, wide);
  const walk: Walk = {
    inner,
    maxElements: cut ? most : null,
    boundaries: concatBoundaries(d, wide),
    prefetchDistance: cut ? 0 : product(inner),
  };
  const read = (wide.length === 1 && cacheRowValue(d, item(wide, 0), row, walk)) || reader;
  walkElements(d, walk, (at) => storeElements(d, read, wide, [...row, ...at], (v) => isStreamed(d, v, walk)));
}
/** The elements that one task makes, given how many each of them reads in its reductions (the sum of a matrix over its rows). */
function elementsAddingUp(d: Draft, outputs: readonly Value[]): number {
  const read = (v: Value): number => reductionsOf(d, v, null, 0).reduce((n, f) => n + reductionLength(f), 1);
  const most = Math.max(...outputs.map(read));
  return Math.max(fewestPerTask, elementsPerTask / 2 ** Math.ceil(Math.log2(most)));
}
/** How many elements a reduction combines into one. */
const reductionLength = ({ node }: Value): number => product(shapeOf(operand(node))) / product(shapeOf(result(node)));
/** Whether (on CUDA) each thread makes whole elements, because their reductions are too short to share among threads. */
function usesThreadPerElement(d: Draft, { outputs, depth }: Region, space: readonly number[]): boolean {
  const { maxThreadReduction } = d.choices.rows;
  const isShort = (v: Value): boolean => {
    const folds = reductionsOf(d, v, null, 0);
    return (
      shapeOf(v).join() === space.join() && folds.reduce((n, f) => n * reductionLength(f), 1) <= maxThreadReduction
    );
  };
  return depth === space.length && depth > 0 && outputs.every(isShort);
}
/** Writes the kernel of a single large result with its rows pipelined (row-pipeline.ts); false if that is not possible. */
function writePipelined(d: Draft, { outputs, depth: given }: Region, space: readonly number[], depth: number): boolean {
  const [out, n = 0] = [item(outputs, 0), space[depth]];
  if (outputs.length > 1 || given === null || depth !== space.length - 1 || n > d.choices.rows.maxCachedRow)
    return false;
  const walk: Walk = { inner: [n], maxElements: null, boundaries: concatBoundaries(d, outputs), prefetchDistance: n };
  return isStreamed(d, out, walk) && pipelinedRows(d, out, space.slice(0, depth), n);
}
/**
 * Writes the kernel of a large result that reads an operand down its columns: a square tile is copied in memory order, then read transposed from the
 * caches. False if that does not apply.
 */
function writeTransposed(
  d: Draft,
  { outputs, depth: given }: Region,
  space: readonly number[],
  depth: number,
): boolean {
  const [found, { transposeTile }] = [transposedOperandOf(d, item(outputs, 0)), d.choices.rows];
  if (given !== null || !found || found.axis >= depth || depth !== space.length - 1) return false;
  if (!transposeTile || product(space) < transposeTile.least || outputs.some((v) => shapeOf(v).join() !== space.join()))
    return false;
  const { x, axis } = found;
  const rest = space.slice(0, depth).map((size, i) => (i === axis ? 1 : size));
  const outer = unflatten(d.k.task("r", product(rest)).at, rest);
  const rows = d.k.task("t", item(space, axis), transposeTile.side);
  const cols = d.k.task("c", item(space, depth), transposeTile.side);
  const at = (i: Expr, j: Expr): Expr[] => [...outer.with(axis, add(rows.at, i)), add(cols.at, j)];
  const copy = d.k.local("square", [transposeTile.side, transposeTile.side]);
  const own = d.reader({ withoutLets: true });
  d.k.for("j", num(0), cols.n, 1, ({ at: j }) =>
    d.k.par(rows.n, (i) => d.k.store(copy, [j, i], own.element(x, at(i, j)))),
  );
  const readerAt = (i: Expr, j: Expr): Reader =>
    d.reader({ locals: new Map([[x, (read) => (sameAll(read, at(i, j)) ? load(copy, j, i) : own.element(x, read))]]) });
  d.k.for("i", num(0), rows.n, 1, ({ at: i }) =>
    d.k.par(cols.n, (j) => storeElements(d, readerAt(i, j), outputs, at(i, j), () => false)),
  );
  return true;
}
interface TransposedOperand {
  readonly x: Value;
  /** The axis of the result along which x is contiguous in memory. */
  readonly axis: number;
}
/** A transposed operand that `v` reads through elementwise ops, or null. */
function transposedOperandOf(d: Draft, v: Value, seen = new Set<Value>()): TransposedOperand | null {
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
    const found = shapeOf(x).join() === shapeOf(v).join() ? transposedOperandOf(d, x, seen) : null;
    if (found) return found;
  }
  return null;
}
/** Writes elements of panels in memory order: [.., panel, row, column of the panel]. */
function writePanels(d: Draft, { outputs }: Region, width: number): void {
  const shape = shapeOf(item(outputs, 0));
  const [rows, count] = [item(shape, shape.length - 2), item(shape, shape.length - 1) / width];
  const space = [...shape.slice(0, -2), count, rows, width];
  const depth = space.length - (rows * width < elementsPerTask ? 3 : 2);
  const outer = unflatten(d.k.task("r", product(space.slice(0, depth))).at, space.slice(0, depth));
  const reader = d.reader();
  walkElements(
    d,
    { inner: space.slice(depth), maxElements: elementsPerTask, boundaries: [], prefetchDistance: 0 },
    (inner) => {
      const at = [...outer, ...inner];
      const [p, r, c] = at.slice(-3) as [Expr, Expr, Expr];
      storeElements(d, reader, outputs, [...at.slice(0, -3), r, add(mul(p, num(width)), c)], () => false);
    },
  );
}
/** Stores the element at `at` of each value. `stream`: which values get non-temporal stores. */
function storeElements(
  d: Draft,
  reader: Reader,
  list: readonly Value[],
  at: readonly Expr[],
  stream: (v: Value) => boolean,
): void {
  const values = list.map((v) => (list.length === 1 ? reader.element(v, at) : reader.bound(v, at)));
  list.forEach((v, i) => d.writerOf(v)(at, item(values, i), stream(v)));
}
/**
 * Caches a value of the row (row-cache.ts) in a local buffer, like a softmax's exponentials; returns the reader that reads it, or null if there is
 * none.
 */
function cacheRowValue(d: Draft, out: Value, row: readonly Expr[], walk: Walk): Reader | null {
  if (walk.maxElements !== null || product(walk.inner) > d.choices.rows.maxCachedRow) return null;
  const cached = cachedValueOf(d, out, row.length);
  if (!cached) return null;
  const local = d.k.local("kept", walk.inner);
  const reader = d.reader();
  walkElements(d, walk, (at) => d.k.store(local, at, reader.element(cached, [...row, ...at])));
  return d.reader({ locals: new Map([[cached, (at: readonly Expr[]) => load(local, ...at.slice(row.length))]]) });
}
/**
 * Whether a result gets non-temporal stores: it is larger than the caches, in f32, and has whole vectors; and a task makes a whole row, which it
 * reads more than once. (Where such a row takes the place of its operand, these stores take about as long as in a place of its own.)
 */
const isStreamed = (d: Draft, v: Value, { maxElements, inner, boundaries }: Walk): boolean =>
  maxElements === null &&
  boundaries.length === 0 &&
  hasWholeVectors(item(inner, inner.length - 1)) &&
  dtypeOf(v.type) === "f32" &&
  product(shapeOf(v)) > d.choices.rows.cacheElements;
const highestRank = (list: readonly Value[]): Value =>
  list.reduce((a, b) => (shapeOf(b).length > shapeOf(a).length ? b : a));

/** How many leading axes are tasks, if no reduction decides it: all but the last; short last axes are taken together. */
function taskAxisCount(space: readonly number[], { rows: { shortestRow } }: Choices): number {
  let depth = Math.max(0, space.length - 1);
  const least = item([...space, 0], depth) % 4 === 0 ? shortestRow : defaultShortestRow;
  while (depth > 0 && product(space.slice(depth)) < least) depth--;
  return depth;
}
interface Walk {
  /** The sizes of the axes that one task covers. */
  readonly inner: readonly number[];
  /** The most elements of them that one task makes; null if a task makes all. */
  readonly maxElements: number | null;
  /** Places on the last axis where the computation changes (concat-boundaries.ts); each stretch between them has a loop of its own. */
  readonly boundaries: readonly number[];
  /** The prefetch distance (`Prefetch`), so that a row that is read more than once is in the caches when its task begins; 0 for none. */
  readonly prefetchDistance: number;
}
/** Walks the inner axes: lanes along the last one and loops over the others, or lanes along all of them where the last is short. */
function walkElements(
  d: Draft,
  { inner, maxElements, boundaries, prefetchDistance }: Walk,
  f: (at: readonly Expr[]) => void,
): void {
  const last = item(inner, inner.length - 1);
  const flat = inner.length === 1 || last < defaultShortestRow || maxElements !== null;
  const width = flat ? product(inner) : last;
  const edges = inner.length > 1 && flat ? [0, width] : [0, ...boundaries, width];
  const lanes = (outer: readonly Expr[]): void => {
    const stretch = (b: Block): void =>
      d.k.par(b.n, (j) => f([...outer, ...unflatten(add(b.at, j), flat ? inner : [last])]), "j", prefetchDistance);
    if (maxElements !== null && width > maxElements && edges.length === 2)
      return stretch(d.k.task("c", width, maxElements));
    edges.slice(1).forEach((end, i) => stretch({ at: num(item(edges, i)), n: num(end - item(edges, i)) }));
  };
  const loop = (axis: number, outer: readonly Expr[]): void => {
    if (flat || axis === inner.length - 1) return lanes(outer);
    d.k.for("i", num(0), num(item(inner, axis)), 1, (b) => loop(axis + 1, [...outer, b.at]));
  };
  loop(0, []);
}
