// How kernels index what they read: maps the axes of the element being computed (the root) to the axes of each value that goes into it.
import type { Node } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { dims } from "../types/type.ts";

/** For each axis of a value, the axis of the root that gives its index; null if the index is computed in another way. */
export type AccessPattern = readonly (number | null)[];
/** Whether a value is read at exactly the root's own element, its axes being the root's leading ones. */
export const isPrefix = (p: AccessPattern, shape: readonly number[]): boolean =>
  p.every((a, i) => a === i || shape[i] === 1);

/** The pattern at which argument `arg` of a node is read, if its result is read at `p`. */
export function argPattern(node: Node, arg: number, p: AccessPattern): AccessPattern {
  const shape = node.args[arg]?.type.shape ?? [];
  const at = (i: number): number | null => p[i] ?? null;
  switch (node.op.name) {
    case "reshape":
      return reshapePattern(p, node.results[0] ? dims(node.results[0].type) : [], shape as readonly number[]);
    case "transpose": {
      const { perm } = node.attrs as OpAttrs["transpose"];
      return perm.map((_, i) => at(perm.indexOf(i)));
    }
    case "broadcast":
      return (node.attrs as OpAttrs["broadcast"]).axes.map(at);
    case "slice":
    case "concat": {
      const { axis } = node.attrs as OpAttrs["concat"];
      return p.map((a, i) => (i === axis ? null : a));
    }
    case "reduce": {
      const { axes } = node.attrs as OpAttrs["reduce"];
      let kept = 0;
      return shape.map((_, i) => (axes.includes(i) ? null : at(kept++)));
    }
    case "gather": {
      const { axis, batch } = node.attrs as OpAttrs["gather"];
      const many = (node.args[1]?.type.shape.length ?? batch) - batch;
      if (arg === 1) return [...p.slice(0, batch), ...p.slice(axis, axis + many)];
      return [...p.slice(0, axis), null, ...p.slice(axis + many)];
    }
    case "dispatch":
    case "combine":
      return arg === 0 ? [null, ...p.slice(1)] : p.slice(0, 1);
    case "from_fp4":
      return p.map((a, i) => (i === p.length - 2 ? null : a));
    case "after":
      return arg === 0 ? p : shape.map(() => null);
    case "random":
      return arg === 0 ? [null] : p.slice(0, shape.length);
    default:
      return p.length === shape.length ? p : shape.map(() => null);
  }
}
/** Axes that a reshape neither splits nor joins keep their index; the others become null. */
function reshapePattern(p: AccessPattern, from: readonly number[], to: readonly number[]): AccessPattern {
  const result: (number | null)[] = to.map(() => null);
  let [i, j, m, n] = [0, 0, 1, 1];
  while (i < from.length && j < to.length) {
    if (m === n && from[i] === to[j]) {
      result[j++] = p[i++] ?? null;
      continue;
    }
    if (m <= n) m *= from[i++] ?? 1;
    else n *= to[j++] ?? 1;
    if (m === n) [m, n] = [1, 1];
  }
  return result;
}
