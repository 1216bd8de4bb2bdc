// Finds the boundaries of a result: the places on its last axis where another piece of a concat begins. Kernels use one loop for each stretch between
// boundaries, so no element needs to test which piece it is in.
import type { Node, Value } from "../../graph/node.ts";
import { item } from "../../item.ts";
import type { OpAttrs } from "../../ops/attrs.ts";
import { number } from "../../ops/common.ts";
import { piecesOf } from "../../ops/view.ts";
import type { Draft } from "../draft.ts";
import { result, shapeOf } from "../reader.ts";

/** The boundaries in order, without 0 and the end. */
export function concatBoundaries(d: Draft, outputs: readonly Value[]): number[] {
  const found = new Set<number>();
  const seen = new Map<Value, Set<number>>();
  const visit = (v: Value, shift: number): void => {
    const known = seen.get(v) ?? new Set<number>();
    if (known.has(shift)) return;
    seen.set(v, known.add(shift));
    if (v.node.op.name === "concat") for (const s of pieceEnds(v.node)) found.add(s + shift);
    for (const [a, by] of lastAxisSources(v.node)) if (d.inlines(a)) visit(a, shift + by);
  };
  for (const v of outputs) visit(v, 0);
  const last = outputs[0] ? (shapeOf(outputs[0]).at(-1) ?? 1) : 1;
  return [...found].filter((s) => s > 0 && s < last).toSorted((a, b) => a - b);
}
const lastOf = (v: Value): number => v.type.shape.length - 1;
const isLast = (node: Node): boolean => (node.attrs as OpAttrs["concat"]).axis === lastOf(result(node));

/** Where the pieces of a concat along the last axis end; empty for a concat along another axis. */
const pieceEnds = (node: Node): number[] =>
  isLast(node) ? piecesOf(node as Node<OpAttrs["concat"]>).map(({ to }) => to) : [];
/** The arguments whose last axis is (a part of) the result's, each with its offset there. */
function lastAxisSources(node: Node): (readonly [Value, number])[] {
  const [x, y] = [node.args[0], node.results[0]];
  if (!x || !y) return [];
  const keeps = (yes: boolean, shift = 0): (readonly [Value, number])[] => (yes ? [[x, shift]] : []);
  switch (node.op.name) {
    case "concat": {
      const before = [0, ...pieceEnds(node)];
      return node.args.map((v, i) => [v, isLast(node) ? item(before, i) : 0]);
    }
    case "slice": {
      const { axis, start } = node.attrs as OpAttrs["slice"];
      return keeps(true, axis === lastOf(x) ? -number(start) : 0);
    }
    case "transpose":
      return keeps((node.attrs as OpAttrs["transpose"]).perm.at(-1) === lastOf(x));
    case "broadcast":
      return keeps((node.attrs as OpAttrs["broadcast"]).axes.at(-1) === lastOf(y));
    case "reshape":
      return keeps(shapeOf(x).at(-1) === shapeOf(y).at(-1));
    default:
      return node.op.lower === "point"
        ? node.args.filter((v) => v.type.shape.length === y.type.shape.length).map((v) => [v, 0])
        : [];
  }
}
