// Where a kernel reads what its results are made of: the axes of an element of one that say which element of the other.
import type { Node } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { dims } from "../types/type.ts";

/** Where a value is read from an element of a root: the root's axis for each of its own, or null for anything else. */
export type Pattern = readonly (number | null)[];
/** Whether a value is read at the element that is made, its leading axes being those of the root. */
export const isPrefix = (p: Pattern, shape: readonly number[]): boolean => p.every((a, i) => a === i || shape[i] === 1);

/** Where argument `arg` of a node is read, when its result is read at `p`. */
export function through(node: Node, arg: number, p: Pattern): Pattern {
  const shape = node.args[arg]?.type.shape ?? [];
  const at = (i: number): number | null => p[i] ?? null;
  switch (node.op.name) {
    case "reshape":
      return regrouped(p, node.results[0] ? dims(node.results[0].type) : [], shape as readonly number[]);
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
    case "after":
      return arg === 0 ? p : shape.map(() => null);
    case "random":
      return arg === 0 ? [null] : p.slice(0, shape.length);
    default:
      return p.length === shape.length ? p : shape.map(() => null);
  }
}
/** Axes that a reshape leaves alone are read as they were. */
function regrouped(p: Pattern, from: readonly number[], to: readonly number[]): Pattern {
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
