// Kernels that make each element, or each row, by itself: chains of points and views, with the folds of their rows.
import type { Value } from "../graph/node.ts";
import type { Region } from "../transform/regions.ts";
import type { Block } from "./build.ts";
import type { Draft } from "./draft.ts";
import { add, item, num, product, unflatten } from "./expr.ts";
import type { Expr } from "./ir.ts";
import { shapeOf } from "./read.ts";

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
  columns(d, inner, region.depth === null, (at) => {
    const values = wide.map((v) => reader.element(v, [...row, ...at]));
    const named =
      wide.length === 1 ? values : values.map((x) => (x.e === "num" || x.e === "var" ? x : d.k.letHere("value", x)));
    wide.forEach((v, i) => d.k.store(d.output(v), [...row, ...at], item(named, i)));
  });
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
/** Walks the axes `inner`: the last spread over lanes, those before it by loops, or all together where the last is short. */
function columns(d: Draft, inner: readonly number[], cut: boolean, f: (at: readonly Expr[]) => void): void {
  const last = item(inner, inner.length - 1);
  const flat = last < short || inner.length === 1 || cut;
  const width = flat ? product(inner) : last;
  const lanes = (outer: readonly Expr[]): void => {
    const c: Block = cut && width > block ? d.k.task("c", width, block) : { at: num(0), n: num(width) };
    d.k.par(c.n, (j) => f([...outer, ...unflatten(add(c.at, j), flat ? inner : [last])]));
  };
  const loop = (axis: number, outer: readonly Expr[]): void => {
    if (flat || axis === inner.length - 1) return lanes(outer);
    d.k.for("i", num(0), num(item(inner, axis)), 1, (b) => loop(axis + 1, [...outer, b.at]));
  };
  loop(0, []);
}
