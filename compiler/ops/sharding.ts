// Helpers for the `shard` rules of ops, which say how workers compute an op on shards: the rules that most ops share, and comparisons of placements.
import { Bug } from "../diagnostic.ts";
import type { AxisSharding, Group, Node, OpSharding, Placement, ReduceName, Workers } from "../graph/node.ts";
import { item } from "../item.ts";
import { gcd, product, sum } from "../types/numbers.ts";
import { dims } from "../types/type.ts";

export type Even = Extract<AxisSharding, { kind: "even" }>;
export type Sharded = Extract<Placement, { kind: "sharded" }>;
export const replicated: Placement = { kind: "replicated" };
/** `pieces`: how long the pieces of the axis are, relative to one another; one piece is the whole axis. */
export function evenSharding(parts: number, pieces: readonly number[] = onePiece): Even {
  const unit = pieces.reduce(gcd);
  return { kind: "even", parts, ...(pieces.length === 1 ? {} : { pieces: pieces.map((n) => n / unit) }) };
}
export const onePiece: readonly number[] = [1];
/** What divides the length of an axis that is sharded so. */
export const evenUnit = ({ parts, pieces = onePiece }: Even): number => parts * sum(pieces);
/** The lengths of the pieces of an axis of length `n`, each with its start. */
export function piecesOfAxis(n: number, pieces: readonly number[] = onePiece): AxisPiece[] {
  const unit = n / sum(pieces);
  let end = 0;
  return pieces.map((size) => {
    const start = end;
    end += size * unit;
    return { start, length: size * unit };
  });
}
/** How many equal pieces an axis is of; null: they differ. */
export const equalPieces = ({ pieces = onePiece }: Pick<Even, "pieces">): number | null =>
  pieces.every((n) => n === pieces[0]) ? pieces.length : null;
interface AxisPiece {
  readonly start: number;
  readonly length: number;
}
export const sharded = (axis: number, sharding: AxisSharding): Sharded => ({ kind: "sharded", axis, sharding });
/** `count` workers in groups of `n`, the ranks of a group with a stride of `stride`. */
export const groupsOf = (count: number, n: number, stride = 1): Group => ({
  workers: n,
  ...(n === count ? {} : { groups: count / n }),
  ...(stride === 1 || n === 1 ? {} : { stride }),
});
export const isSharded = (p: Placement): p is Sharded => p.kind === "sharded";
/** Into how many equal parts, one after another, a value is divided, along `axis` if that is given; null: into none. */
export const evenParts = (p: Placement, axis?: number): number | null =>
  isSharded(p) && p.sharding.kind === "even" && !p.sharding.pieces && (axis ?? p.axis) === p.axis
    ? p.sharding.parts
    : null;
/** How a value that is sharded evenly is. */
export function evenOf(p: Placement): Even {
  if (!isSharded(p) || p.sharding.kind !== "even") throw new Bug("it is not sharded evenly");
  return p.sharding;
}
/** A sharding along an axis that will be summed over: padding rows must be zero. */
export const shardedForSum = (axis: number, sharding: AxisSharding): Placement => ({
  ...sharded(axis, sharding),
  zeroPadded: true,
});

/** The placement of a reduction over an axis that is sharded so. Workers that have all of the axis among them make a group. */
export const partial = (fn: ReduceName, sharding: AxisSharding, workers: Workers): Placement => ({
  kind: "partial",
  fn,
  group: workers.group(among(sharding, workers)),
  of: replicated,
});
const among = (sharding: AxisSharding, workers: Workers): number =>
  sharding.kind === "even" ? sharding.parts : (workers.routing(sharding.by)?.among ?? workers.count);

export const samePlacement = (p: Placement, q: Placement): boolean => placementKey(p) === placementKey(q);
export function placementKey(p: Placement): string {
  switch (p.kind) {
    case "replicated":
      return "replicated";
    case "partial":
      return `partial ${p.fn} ${p.group.workers} ${p.group.stride ?? 1} ${placementKey(p.of)}`;
    case "routing":
      return `routing ${p.by.id} ${p.owned}`;
    case "sharded":
      return `sharded ${p.axis} ${shardingKey(p.sharding)} ${p.zeroPadded ?? false}`;
  }
}
const shardingKey = (sharding: AxisSharding): string =>
  sharding.kind === "even"
    ? `even ${sharding.parts} ${(sharding.pieces ?? onePiece).join(":")}`
    : `rows ${sharding.by.id} ${sharding.owned}`;

/** Whether a worker that has a value placed as `p` has what `q` asks for, without communication; `zeroPadded` does not count. */
export function satisfies(p: Placement, q: Placement): boolean {
  if (p.kind !== "sharded" || q.kind !== "sharded") return p.kind === "replicated";
  return p.axis === q.axis && shardingKey(p.sharding) === shardingKey(q.sharding);
}
/**
 * The sharding of an argument that the others are converted to: rows at their experts' owners, else other rows, else even with most parts. There is none for
 * rows of two routings: what is padding of one are rows of the other.
 */
export function leadSharding(args: readonly Placement[]): Sharded | undefined {
  const rank = ({ sharding }: Sharded): number =>
    sharding.kind === "even" ? 2 + 1 / sharding.parts : sharding.owned ? 0 : 1;
  const found = args.filter(isSharded).toSorted((p, q) => rank(p) - rank(q));
  const routings = new Set(found.map(({ sharding }) => (sharding.kind === "rows" ? sharding.by : null)));
  routings.delete(null);
  return routings.size > 1 ? undefined : found[0];
}
/** The rule of elementwise ops: all arguments and results have the same axes, and are sharded alike. */
export function shardPointwise<A>(
  { results, args: values }: Node<A>,
  args: readonly Placement[],
): OpSharding<A> | null {
  const lead = leadSharding(args);
  return lead
    ? {
        args: values.map(() => sharded(lead.axis, lead.sharding)),
        results: results.map(() => sharded(lead.axis, lead.sharding)),
      }
    : null;
}
/** The rule of ops that work on each row along the last axis: any other axis may be sharded. Rows of the arguments may differ in length. */
export function shardRowwise<A>(node: Node<A>, args: readonly Placement[]): OpSharding<A> | null {
  const lead = leadSharding(args);
  const last = dims(item(node.args, 0).type).length - 1;
  return lead && lead.axis < last ? shardPointwise(node, [sharded(lead.axis, lead.sharding)]) : null;
}
/** The shape of one worker's shard. */
export const localShape = (shape: readonly number[], { axis, sharding }: Sharded, workers: Workers): number[] =>
  shape.with(axis, workers.length(item(shape, axis), sharding));

/**
 * The axis of the shape `to`, a reshape of `from`, that is sharded if `axis` of `from` is; null: no axis of `to` has the same parts. `unit`: what divides
 * the length of an axis that is sharded so.
 */
export function reshapedAxis(
  from: readonly number[],
  to: readonly number[],
  axis: number,
  unit: number,
): number | null {
  const before = product(from.slice(0, axis));
  const found = to.findIndex(
    (n, i) => product(to.slice(0, i)) === before && n > 0 && n % unit === 0 && item(from, axis) % unit === 0,
  );
  return found < 0 ? null : found;
}
/**
 * The placement of the shape `to`, a reshape of `from`, of which `place` is that of `from`: along the axis with the same parts or, with `joinsAxes`, along one that joins
 * the axes before it (each of their places is then a piece), or along one of an axis that such pieces make up. null: no axis of `to` has the same parts.
 */
export function reshapedPlace(
  from: readonly number[],
  to: readonly number[],
  { axis, sharding }: Sharded,
  unit: number,
  joinsAxes = false,
): Sharded | null {
  const same = reshapedAxis(from, to, axis, unit);
  if (same !== null) return sharded(same, sharding);
  if (!joinsAxes || sharding.kind !== "even" || item(from, axis) % unit !== 0) return null;
  const before = product(from.slice(0, axis));
  for (const [i, n] of to.entries()) {
    const own = inPieces(sharding, before, product(to.slice(0, i)));
    if (own && n > 0 && n % evenUnit(own) === 0) return sharded(i, own);
  }
  return null;
}
/** How an axis that has `before` places before it is sharded once it has `after`; null: it is not in as many equal groups of pieces. */
function inPieces({ parts, pieces = onePiece }: Even, before: number, after: number): Even | null {
  if (after === 0 || before === 0 || after === before) return null;
  if (before % after === 0) return evenSharding(parts, Array.from({ length: before / after }, () => pieces).flat());
  const own = (pieces.length * before) / after;
  const isRepeated = after % before === 0 && Number.isInteger(own) && pieces.every((n, i) => n === pieces[i % own]);
  return isRepeated ? evenSharding(parts, pieces.slice(0, own)) : null;
}
