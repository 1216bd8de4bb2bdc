// Which part of a store a worker has, and where that stands in the whole.
import { piecesOfAxis } from "../../compiler/ops/sharding.ts";
import { fromTo, product, sum } from "../../compiler/types/numbers.ts";
import type { StoreInfo } from "../executable/executable.ts";

type Sharded = Pick<StoreInfo, "shape" | "shards">;
/** Places of an axis: `length` of them from `start`. */
interface Range {
  readonly start: number;
  readonly length: number;
}
/** The part of a tensor that is at these places of each axis, in order. */
type Part = readonly (readonly Range[])[];
export const shapeOf = (part: Part): number[] => part.map((ranges) => sum(ranges.map((r) => r.length)));

/** The part of worker `rank`. */
export function partOf({ shape, shards = [] }: Sharded, rank: number): Part {
  return shards.reduce<Part>(
    (part, { axis, parts, stride, pieces }) => {
      const [all, at] = [part[axis] ?? [], Math.floor(rank / stride) % parts];
      const own = piecesOfAxis(sum(all.map((r) => r.length)), pieces).flatMap(({ start, length }) =>
        within(all, start + (length / parts) * at, length / parts),
      );
      return part.with(axis, own);
    },
    shape.map((length) => [{ start: 0, length }]),
  );
}
/** Of ranges one after another, the `length` places from the `start`-th on. */
function within(ranges: readonly Range[], start: number, length: number): Range[] {
  let before = 0;
  return ranges.flatMap((r) => {
    const [from, to] = [Math.max(start - before, 0), Math.min(start + length - before, r.length)];
    before += r.length;
    return from < to ? [{ start: r.start + from, length: to - from }] : [];
  });
}
/** Which place of a part's axis is place `at` of the whole; null: it is not in it. */
export function placeIn(ranges: readonly Range[], at: number): number | null {
  let before = 0;
  for (const { start, length } of ranges) {
    if (at >= start && at < start + length) return before + at - start;
    before += length;
  }
  return null;
}
/** The shape of the whole of which a worker has a part of this shape. */
export const wholeShape = ({ shape, shards = [] }: Sharded): readonly number[] =>
  shards.reduce((all, { axis, parts }) => all.with(axis, (all[axis] ?? 0) * parts), shape);

/** A run of neighbours, in elements: `from` in the part, `at` in the whole. */
interface Run {
  readonly from: number;
  readonly at: number;
  readonly length: number;
}
/** The longest runs that make up a part of a tensor of shape `whole`, in row-major order. */
export function runsOf(whole: readonly number[], part: Part): Run[] {
  const last = whole.findLastIndex((n, axis) => shapeOf(part)[axis] !== n);
  const axis = Math.max(last, 0);
  const unit = product(whole.slice(axis + 1));
  const own = (part[axis] ?? [{ start: 0, length: 1 }]).map((r) => ({
    start: r.start * unit,
    length: r.length * unit,
  }));
  const rows = part.slice(0, axis).reduce<readonly number[]>(
    (before, ranges, a) => {
      const places = ranges.flatMap(({ start, length }) => fromTo(start, start + length));
      return before.flatMap((row) => places.map((place) => row * (whole[a] ?? 1) + place));
    },
    [0],
  );
  let from = 0;
  return rows.flatMap((row) =>
    own.map(({ start, length }) => {
      from += length;
      return { from: from - length, at: row * (whole[axis] ?? 1) * unit + start, length };
    }),
  );
}
