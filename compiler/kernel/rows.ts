// Kernels that make each element, or each row, by itself: chains of points and views, with the folds of their rows.
import type { Value } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import type { Region } from "../transform/region.ts";
import { dims, dtypeOf } from "../types/type.ts";
import type { Block } from "./build.ts";
import type { Draft } from "./draft.ts";
import { add, item, load, num, product, unflatten } from "./expr.ts";
import type { Expr } from "./ir.ts";
import { type Reader, shapeOf } from "./read.ts";
import { seams } from "./seams.ts";

/** Elements of a row that one task makes, and how few make a row too short to be one. */
const block = 4096;
const short = 16;

export function rows(d: Draft, region: Region): void {
  const full = widest(region.outputs);
  const space = shapeOf(full);
  const depth = region.depth ?? leading(space);
  const inner = space.slice(depth);
  const row = unflatten(task(d, product(space.slice(0, depth))), space.slice(0, depth));
  const reader = d.reader();
  for (const v of region.outputs)
    if (shapeOf(v).length < space.length || inner.length === 0) d.k.store(d.output(v), row, reader.element(v, row));
  const wide = region.outputs.filter((v) => shapeOf(v).length === space.length && inner.length > 0);
  if (wide.length === 0) return;
  const walk: Walk = { inner, cut: region.depth === null, seams: seams(d, wide) };
  const read = d.choices.keeps && wide.length === 1 ? (keeping(d, item(wide, 0), row, walk) ?? reader) : reader;
  columns(d, walk, (at) => {
    const values = wide.map((v) => read.element(v, [...row, ...at]));
    const named =
      wide.length === 1 ? values : values.map((x) => (x.e === "num" || x.e === "var" ? x : d.k.letHere("value", x)));
    wide.forEach((v, i) =>
      d.k.store(d.output(v), [...row, ...at], item(named, i), read === reader && passes(d, v, walk)),
    );
  });
}
/** Writes what is dear, and read by a fold of all that a task walks and by the result, to the result's place, where both find it: a softmax's powers of e. */
function keeping(d: Draft, out: Value, row: readonly Expr[], walk: Walk): Reader | null {
  const kept = [...points(d, out)].find((v) => isDear(v) && folds(d, out, v, walk.inner.length));
  if (!kept || walk.cut || dtypeOf(out.type) !== "f32") return null;
  const y = d.param("y", d.bufferOf(out), "write", null, true);
  const reader = d.reader();
  columns(d, walk, (at) => d.k.store(y, [...row, ...at], reader.element(kept, [...row, ...at])));
  return d.reader(new Map([[kept, (at: readonly Expr[]) => load(y, ...at)]]));
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
/** Whether a fold of the last axes of x is computed to make a result. A fold of fewer would find results among what it folds. */
function folds(d: Draft, out: Value, x: Value, last: number, seen = new Set<Value>()): boolean {
  seen.add(out);
  if (out.node.op.name === "reduce" && out.node.args[0] === x) {
    const { axes } = out.node.attrs as OpAttrs["reduce"];
    return shapeOf(x).every((_, axis) => axis < shapeOf(x).length - last || axes.includes(axis));
  }
  return out.node.args.some((a) => !seen.has(a) && d.inlines(a) && folds(d, a, x, last, seen));
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
}
/** The last axis spread over lanes, those before it by loops, or all together where the last is short. */
function columns(d: Draft, { inner, cut, seams: places }: Walk, f: (at: readonly Expr[]) => void): void {
  const last = item(inner, inner.length - 1);
  const flat = inner.length === 1 || last < short || cut;
  const width = flat ? product(inner) : last;
  const edges = inner.length > 1 && flat ? [0, width] : [0, ...places, width];
  const lanes = (outer: readonly Expr[]): void => {
    const stretch = (b: Block): void =>
      d.k.par(b.n, (j) => f([...outer, ...unflatten(add(b.at, j), flat ? inner : [last])]));
    if (cut && width > block && edges.length === 2) return stretch(d.k.task("c", width, block));
    edges.slice(1).forEach((end, i) => stretch({ at: num(item(edges, i)), n: num(end - item(edges, i)) }));
  };
  const loop = (axis: number, outer: readonly Expr[]): void => {
    if (flat || axis === inner.length - 1) return lanes(outer);
    d.k.for("i", num(0), num(item(inner, axis)), 1, (b) => loop(axis + 1, [...outer, b.at]));
  };
  loop(0, []);
}
