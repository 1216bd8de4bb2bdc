// A `take` of consecutive positions, computed by arithmetic on `range`, becomes a slice. Its gradient is then a padded slice, not a sum into
// places.
import type { Value } from "../graph/node.ts";
import * as b from "../ops/build.ts";
import { dims, dtypeOf } from "../types/type.ts";
import { matchOp, splatOf } from "./pattern.ts";
import type { Rule } from "./rule.ts";

/** The first element of an index, if it goes up by 1 along `axis` and is constant along all other axes; else null. */
export function runStart(v: Value, axis: number): number | null {
  const shape = dims(v.type);
  if (matchOp(v, "iota")) return axis === 0 ? 0 : null;
  const sum = matchOp(v, "binary");
  if (sum && (sum.attrs.fn === "add" || sum.attrs.fn === "sub")) return ofSum(sum.attrs.fn, sum.args, axis);
  const wide = matchOp(v, "broadcast");
  if (wide) return inside(wide.args[0], wide.attrs.axes.indexOf(axis));
  const same = matchOp(v, "reshape");
  const from = same?.args[0];
  if (!from || shape.some((n, i) => n !== 1 && i !== axis)) return null;
  return inside(
    from,
    dims(from.type).findIndex((n) => n === shape[axis]),
  );
}
const inside = (v: Value | undefined, axis: number): number | null => (v && axis >= 0 ? runStart(v, axis) : null);
function ofSum(fn: "add" | "sub", args: readonly Value[], axis: number): number | null {
  const [x, y] = args;
  const added = y ? splatOf(y) : null;
  const start = inside(x, axis);
  if (start !== null && added !== null) return fn === "add" ? start + added : start - added;
  const first = x ? splatOf(x) : null;
  const then = first === null || fn === "sub" ? null : inside(y, axis);
  return first === null || then === null ? null : first + then;
}

/** Positions outside of the axis give 0, so zeros are put around the slice. */
export const takeOfRun: Rule = {
  name: "take(x, range + c) = a slice of x between zeros",
  root: "gather",
  apply(v, g) {
    const node = matchOp(v, "gather");
    const [x, index] = node?.args ?? [];
    if (!node || !x || !index) return null;
    const { axis, batch } = node.attrs;
    const start = dims(index.type).length === batch + 1 ? runStart(index, batch) : null;
    const [size, picks] = [dims(x.type)[axis] ?? 0, dims(index.type)[batch] ?? 0];
    if (start === null || picks === 0) return null;
    const [from, to] = [Math.min(Math.max(start, 0), size), Math.min(Math.max(start + picks, 0), size)];
    if (from >= to) return b.fill(g, 0, dtypeOf(v.type), dims(v.type));
    const taken = to - from === size ? x : b.slice(g, x, axis, from, to - from);
    const before = from - start;
    return b.pad(g, taken, axis, before, picks - before - (to - from));
  },
  examples(g) {
    const x = b.param(g, "x", { dtype: "f32", shape: [2, 5, 3] });
    const run = (n: number, start: number): Value => b.add(g, b.iota(g, n), start);
    const shared = b.broadcast(g, run(4, -2), [2, 4], [1]);
    return [
      ...[run(1, 1), run(2, 0), run(3, -7)].map((index) => b.take(g, x, index, 0)),
      b.take(g, x, shared, 1),
      b.take(g, x, b.reshape(g, b.sub(g, b.iota(g, 9), 3), [1, 9]), 1),
    ];
  },
};
