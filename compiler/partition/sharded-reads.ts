// What a graph reads of stores of which each worker has a part: found before it is partitioned, by the ops of the whole program's graph.
import type { Node, Placement, Value } from "../graph/node.ts";
import { storeOf } from "../graph/walk.ts";
import { item } from "../item.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { evenParts, isSharded, replicated } from "../ops/sharding.ts";
import { dims } from "../types/type.ts";
import { groupCount, outermostRouting } from "./expert-index.ts";

type StorePlacement = (store: string) => Placement;

/**
 * The routings by which ops multiply rows by their experts' matrices, or gather a vector of its expert for each row, where these experts are sharded, each
 * with the number of parts. Of a mixture inside an expert, the outermost mixture's: its rows are exchanged, with all that is done to them. For a
 * gather alone that is worth it only if the table is large. `workers`: how many there are along the axis.
 */
export const exchangedRoutings = (
  nodes: readonly Node[],
  placeOf: StorePlacement,
  workers: number,
): Map<Node, number> => new Map(nodes.flatMap((node) => exchangedRouting(node, placeOf, workers)));
function exchangedRouting({ op, args }: Node, placeOf: StorePlacement, workers: number): (readonly [Node, number])[] {
  if (op.name !== "ragged_dot" && op.name !== "gather") return [];
  const isProduct = op.name === "ragged_dot";
  const [experts, { node: by, index }] = isProduct ? [item(args, 1), item(args, 2)] : [item(args, 0), item(args, 1)];
  if (by.op.name !== "route" || index !== (isProduct ? 1 : 3)) return [];
  const groups = item(dims(experts.type), 0);
  const isWorthwhile = isProduct || groups * workers >= item(dims(item(by.args, 0).type), 0);
  const parts = evenParts(placeOfView(experts, placeOf)) ?? 1;
  const outermost = outermostRouting(by);
  return isWorthwhile && parts > 1 && groupCount(outermost) % parts === 0 ? [[outermost, parts]] : [];
}

/** The routings whose rows are multiplied by what is gathered of experts of which each worker has some: by shadowed ones. */
export const shadowedRoutings = (nodes: readonly Node[], placeOf: StorePlacement): ReadonlySet<Node> =>
  new Set(nodes.flatMap((node) => shadowedRouting(node, placeOf)));
function shadowedRouting({ op, args }: Node, placeOf: StorePlacement): Node[] {
  if (op.name !== "ragged_dot") return [];
  const [{ node: experts }, { node: by }] = [withoutCast(item(args, 1)), item(args, 2)];
  const isShadowed = experts.op.name === "gather" && by.op.name === "route";
  return isShadowed && evenParts(placeOfView(item(experts.args, 0), placeOf), 0) !== null ? [by] : [];
}
const withoutCast = (v: Value): Value => (v.node.op.name === "cast" ? item(v.node.args, 0) : v);

/** A table of which each worker has some rows: how many there are in all, and in how many parts. */
export interface SharedTable {
  readonly rows: number;
  readonly parts: number;
}
/** By index, under its reshapes, the shared table that is looked up by it. */
export const lookups = (nodes: readonly Node[], placeOf: StorePlacement): ReadonlyMap<Value, SharedTable> =>
  new Map(nodes.flatMap((node) => lookup(node, placeOf)));
function lookup({ op, args, attrs }: Node, placeOf: StorePlacement): [Value, SharedTable][] {
  if (op.name !== "gather") return [];
  const { axis, batch } = attrs as OpAttrs["gather"];
  if (axis !== 0 || batch !== 0) return [];
  const [table, index] = [item(args, 0), item(args, 1)];
  const parts = evenParts(placeOfView(table, placeOf), 0);
  return parts === null ? [] : [[withoutReshapes(index), { rows: item(dims(table.type), 0), parts }]];
}
export const withoutReshapes = (v: Value): Value =>
  v.node.op.name === "reshape" ? withoutReshapes(item(v.node.args, 0)) : v;

/**
 * The values that elementwise ops bring together with sharded stores, and what elementwise ops make these of: of an optimizer's state, the gradients. Each
 * with the axis along which the store is sharded. `nodes` are in topological order.
 */
export function metByShards(nodes: readonly Node[], placeOf: StorePlacement): ReadonlyMap<Value, number> {
  const [ofShards, found] = [new Map<Value, number>(), new Map<Value, number>()];
  const axisOf = (v: Value): number | undefined => {
    const place = placeOf(storeOf(v.node) ?? "");
    return ofShards.get(v) ?? (isSharded(place) ? place.axis : undefined);
  };
  const note = (values: readonly Value[], axis: number): void => {
    for (const v of values) if (v.type.shape.length > 0 && !found.has(v)) found.set(v, axis);
  };
  for (const { op, args, results } of nodes) {
    const axis = op.lower === "point" ? args.map(axisOf).find((at) => at !== undefined) : undefined;
    if (axis === undefined) continue;
    for (const v of results) ofShards.set(v, axis);
    note(args, axis);
  }
  for (const [{ node }, axis] of found) if (node.op.lower === "point") note(node.args, axis);
  return found;
}

/** The placement of the store that `v` is a view of, or a cast or detached copy. */
function placeOfView(v: Value, placeOf: StorePlacement): Placement {
  const store = storeOfView(v);
  return store === null ? replicated : placeOf(store);
}
/** The name of the store that a value is a view of, or a cast or detached copy; null: it is none. */
export function storeOfView({ node }: Value): string | null {
  const isView = node.op.lower === "view" || node.op.name === "cast" || node.op.name === "detach";
  return isView && node.args.length === 1 ? storeOfView(item(node.args, 0)) : storeOf(node);
}
