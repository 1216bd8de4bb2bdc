// The mesh of workers. Rank r stands at r % T of the tensor axis, whose workers share matrices, and at floor(r / T) of the data axis, whose workers share
// the batch and the experts. Where C of them share sequences, it stands at floor(r / T) % C of the data axis, whose workers share tokens and experts, and at
// floor(r / (T C)) of the replica axis, whose workers share the batch.
import type { Builder, Group, MeshAxis, Value } from "../graph/node.ts";
import { runtimeInputs } from "../graph/node.ts";
import * as b from "../ops/build.ts";
import { type Even, equalPieces, groupsOf, piecesOfAxis } from "../ops/sharding.ts";
import { dims, type } from "../types/type.ts";

/** How workers share a program. All but `workers` is of several only. */
export interface Sharing {
  /** The number of processes that share the batch, the experts and matrices. Graphs and stores are those of one. */
  readonly workers: number;
  /** How many consecutive workers share the matrices outside experts, a divisor of their number. Default: 1, each has all. */
  readonly tensorParallel?: number | undefined;
  /** How many consecutive workers, or groups that share matrices, share the tokens of each sequence, a divisor of their number. Default: 1, each has whole sequences. */
  readonly contextParallel?: number | undefined;
  /** Over how many of them, or of the groups that share matrices, experts are spread at most, a divisor of their number. Default: over all. */
  readonly expertParallel?: number | undefined;
  /** How many rows one worker's experts have memory for, in multiples of an equal share of its group's rows. Default: all rows. */
  readonly room?: number | undefined;
  /** Each keeps a part of the optimizer's state, and of sums of gradients, of parameters that all of them have. Default: false. */
  readonly shardOptimizer?: boolean | undefined;
  /** Each keeps a part of matrices outside experts, too, which are gathered where they are read. Default: false. */
  readonly shardParameters?: boolean | undefined;
  /** How many experts of each array, those with the most rows of a step, each computes for its own rows. Default: none. */
  readonly shadow?: number | undefined;
}
export const tensorAxis = ({ workers, tensorParallel = 1 }: Sharing): MeshAxis => ({
  all: workers,
  count: tensorParallel,
  stride: 1,
});
export const dataAxis = ({ workers, tensorParallel = 1, contextParallel = 1 }: Sharing): MeshAxis => ({
  all: workers,
  count: contextParallel > 1 ? contextParallel : workers / tensorParallel,
  stride: tensorParallel,
  ...(contextParallel > 1 ? { tokens: true } : {}),
});
export const replicaAxis = ({ workers, tensorParallel = 1, contextParallel = 1 }: Sharing): MeshAxis => ({
  all: workers,
  count: contextParallel > 1 ? workers / tensorParallel / contextParallel : 1,
  stride: tensorParallel * contextParallel,
});
/** Groups of `n` neighbours along an axis, or of those `stride` apart. */
export const groupAlong = ({ all, stride: unit }: MeshAxis, n: number, stride = 1): Group =>
  groupsOf(all, n, stride * unit);
/** Whether a group's workers stand at the same place of an axis. */
export const isOfOtherAxis = ({ count, stride: unit }: MeshAxis, { workers, stride = 1 }: Group): boolean =>
  workers * stride <= unit || stride >= unit * count;
/** The group of the workers of both: of each worker of a group `a`, those of its group `b`; null: their ranks have no one stride. */
export function jointGroup({ all }: MeshAxis, a: Group, b: Group): Group | null {
  const [low, high] = (a.stride ?? 1) < (b.stride ?? 1) ? [a, b] : [b, a];
  const stride = low.stride ?? 1;
  return high.stride === low.workers * stride ? groupsOf(all, low.workers * high.workers, stride) : null;
}

/** This worker's index in its group times `n`, broadcast to a shape. */
export function rankOffset(
  g: Builder,
  { workers, groups, stride = 1 }: Group,
  n: number,
  shape: readonly number[],
): Value {
  const rank = b.param(g, runtimeInputs.rank, type("i32", []));
  const place = stride === 1 ? rank : b.idiv(g, rank, stride);
  return b.broadcast(g, b.mul(g, groups === undefined ? place : b.rem(g, place, workers), n), shape, []);
}
/** What leads from `places` of this worker's part of an axis, of length `n` in all, to the same in the whole. */
export function shiftOfPart(g: Builder, axis: MeshAxis, n: number, sharding: Even, places: Value): Value {
  const { parts, pieces } = sharding;
  const group = groupAlong(axis, parts);
  const equal = equalPieces(sharding);
  if (equal !== null && equal > 1) {
    const own = n / parts / equal;
    const before = b.mul(g, b.idiv(g, places, own), own * (parts - 1));
    return b.add(g, before, rankOffset(g, group, own, dims(places.type)));
  }
  const [first, ...more] = piecesOfAxis(n, pieces).map(({ start, length }) => ({
    from: start / parts,
    by: b.add(g, rankOffset(g, group, length / parts, dims(places.type)), start - start / parts),
  }));
  return more.reduce((before, { from, by }) => b.where(g, b.ge(g, places, from), by, before), first?.by ?? places);
}
