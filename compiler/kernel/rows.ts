// Kernels that make each element, or each row, by itself: chains of points and views, with the folds of their rows.
import type { Value } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import type { Region } from "../transform/region.ts";
import { dims, dtypeOf } from "../types/type.ts";
import type { Block } from "./build.ts";
import type { Draft } from "./draft.ts";
import { add, item, load, mul, num, product, unflatten } from "./expr.ts";
import type { Expr } from "./ir.ts";
import { type Reader, shapeOf } from "./read.ts";
import { seams } from "./seams.ts";

/** Elements of a row that one task makes, and how few make a row too short to be one. */
const block = 4096;
const short = 16;

export function rows(d: Draft, region: Region): void {
  const full = widest(region.outputs);
  const { layout } = d.bufferOf(full);
  if (layout.kind === "panels" && region.depth === null) return panels(d, region, layout.width);
  const space = shapeOf(full);
  const depth = region.depth ?? leading(space);
  const inner = space.slice(depth);
  const row = unflatten(task(d, product(space.slice(0, depth))), space.slice(0, depth));
  const reader = d.reader();
  for (const v of region.outputs)
    if (shapeOf(v).length < space.length || inner.length === 0) d.k.store(d.output(v), row, reader.element(v, row));
  const wide = region.outputs.filter((v) => shapeOf(v).length === space.length && inner.length > 0);
  if (wide.length === 0) return;
  const cut = region.depth === null;
  const walk: Walk = { inner, cut, seams: seams(d, wide), ahead: cut ? 0 : product(inner) };
  const read = (wide.length === 1 && keeping(d, item(wide, 0), row, walk)) || reader;
  columns(d, walk, (at) => make(d, read, wide, [...row, ...at], (v) => passes(d, v, walk)));
}
/** Elements of panels in the order of memory: [.., panel, row, column of the panel]. */
function panels(d: Draft, { outputs }: Region, width: number): void {
  const shape = shapeOf(item(outputs, 0));
  const [rows, count] = [item(shape, shape.length - 2), item(shape, shape.length - 1) / width];
  const space = [...shape.slice(0, -2), count, rows, width];
  const depth = space.length - (rows * width < block ? 3 : 2);
  const outer = unflatten(task(d, product(space.slice(0, depth))), space.slice(0, depth));
  const reader = d.reader();
  columns(d, { inner: space.slice(depth), cut: true, seams: [], ahead: 0 }, (inner) => {
    const at = [...outer, ...inner];
    const [p, r, c] = at.slice(-3) as [Expr, Expr, Expr];
    make(d, reader, outputs, [...at.slice(0, -3), r, add(mul(p, num(width)), c)], () => false);
  });
}
/** Stores an element of each value. */
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
  list.forEach((v, i) => d.k.store(d.output(v), at, item(named, i), stream(v)));
}
/** Keeps what is dear, and read by a fold and by the result: a softmax's powers of e. */
function keeping(d: Draft, out: Value, row: readonly Expr[], walk: Walk): Reader | null {
  if (walk.cut || product(walk.inner) > (d.choices.kept ?? 0)) return null;
  const kept = [...points(d, out)].find((v) => isDear(v) && folds(d, out, v, row.length));
  if (!kept) return null;
  const local = d.k.local("kept", walk.inner);
  const reader = d.reader();
  columns(d, walk, (at) => d.k.store(local, at, reader.element(kept, [...row, ...at])));
  return d.reader(new Map([[kept, (at: readonly Expr[]) => load(local, ...at.slice(row.length))]]));
}
/** Whether a result goes around the caches: it is large, and, its rows being read more than once, lies over none of its operands. */
const passes = (d: Draft, v: Value, { cut, inner, seams: places }: Walk): boolean =>
  !cut &&
  places.length === 0 &&
  item(inner, inner.length - 1) % 16 === 0 &&
  dtypeOf(v.type) === "f32" &&
  product(shapeOf(v)) > (d.choices.inCaches ?? Infinity);
const isDear = ({ node, type }: Value): boolean =>
  node.op.name === "unary" && dtypeOf(type) === "f32" && node.op.cost(node).flops >= 10 * product(dims(type));
/** Values that a kernel computes to make the element of a result at the same index. */
function points(d: Draft, out: Value, found = new Set<Value>()): Set<Value> {
  if (out.node.op.lower !== "point") return found;
  for (const a of out.node.args)
    if (d.inlines(a) && !found.has(a) && shapeOf(a).join() === shapeOf(out).join()) points(d, a, found.add(a));
  return found;
}
/** Whether a fold of x, over axes from `depth` on, is computed to make a result. */
function folds(d: Draft, out: Value, x: Value, depth: number, seen = new Set<Value>()): boolean {
  seen.add(out);
  if (out.node.op.name === "reduce" && out.node.args[0] === x)
    return (out.node.attrs as OpAttrs["reduce"]).axes.every((axis) => axis >= depth);
  return out.node.args.some((a) => !seen.has(a) && d.inlines(a) && folds(d, a, x, depth, seen));
}
const task = (d: Draft, extent: number): Expr => (extent === 1 ? num(0) : d.k.task("r", extent).at);
const widest = (list: readonly Value[]): Value =>
  list.reduce((a, b) => (shapeOf(b).length > shapeOf(a).length ? b : a));

/** How many axes tasks walk where nothing says so: all but the last, and short last axes together. */
function leading(space: readonly number[]): number {
  let depth = Math.max(0, space.length - 1);
  while (depth > 0 && product(space.slice(depth)) < short) depth--;
  return depth;
}
interface Walk {
  /** The axes that a task walks. */
  readonly inner: readonly number[];
  /** Tasks may divide them. */
  readonly cut: boolean;
  /** Stretches of the last axis that are walked apart. */
  readonly seams: readonly number[];
  /** See `par`: a row that is read more than once is in the caches when its task begins. */
  readonly ahead: number;
}
/** The last axis spread over lanes, those before it by loops, or all together where the last is short. */
function columns(d: Draft, { inner, cut, seams: places, ahead }: Walk, f: (at: readonly Expr[]) => void): void {
  const last = item(inner, inner.length - 1);
  const flat = inner.length === 1 || last < short || cut;
  const width = flat ? product(inner) : last;
  const edges = inner.length > 1 && flat ? [0, width] : [0, ...places, width];
  const lanes = (outer: readonly Expr[]): void => {
    const stretch = (b: Block): void =>
      d.k.par(b.n, (j) => f([...outer, ...unflatten(add(b.at, j), flat ? inner : [last])]), "j", ahead);
    if (cut && width > block && edges.length === 2) return stretch(d.k.task("c", width, block));
    edges.slice(1).forEach((end, i) => stretch({ at: num(item(edges, i)), n: num(end - item(edges, i)) }));
  };
  const loop = (axis: number, outer: readonly Expr[]): void => {
    if (flat || axis === inner.length - 1) return lanes(outer);
    d.k.for("i", num(0), num(item(inner, axis)), 1, (b) => loop(axis + 1, [...outer, b.at]));
  };
  loop(0, []);
}
