// Which part of a store a worker has, and where that stands in the whole.
import { product } from "../../compiler/types/numbers.ts";
import type { StoreInfo } from "../executable/executable.ts";

type Sharded = Pick<StoreInfo, "shape" | "shards">;
/** The part of a tensor that begins at `start` and has this shape. */
interface Box {
  readonly start: readonly number[];
  readonly shape: readonly number[];
}
/** The part of worker `rank`. */
export function boxOf({ shape, shards = [] }: Sharded, rank: number): Box {
  return shards.reduce<Box>(
    (box, { axis, parts, stride }) => {
      const n = (box.shape[axis] ?? 0) / parts;
      const first = (box.start[axis] ?? 0) + n * (Math.floor(rank / stride) % parts);
      return { start: box.start.with(axis, first), shape: box.shape.with(axis, n) };
    },
    { start: shape.map(() => 0), shape },
  );
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
export function runsOf(whole: readonly number[], { start, shape }: Box): Run[] {
  const last = whole.findLastIndex((n, axis) => shape[axis] !== n);
  const axis = Math.max(last, 0);
  const unit = product(whole.slice(axis + 1));
  const length = (shape[axis] ?? 1) * unit;
  const count = product(shape.slice(0, axis));
  return Array.from({ length: count }, (_, i) => ({
    from: i * length,
    at: placeOfRun(i) + (start[axis] ?? 0) * unit,
    length,
  }));

  function placeOfRun(i: number): number {
    let [rest, place, step] = [i, 0, product(whole.slice(axis))];
    for (let a = axis - 1; a >= 0; a--) {
      const n = shape[a] ?? 1;
      place += ((rest % n) + (start[a] ?? 0)) * step;
      [rest, step] = [Math.floor(rest / n), step * (whole[a] ?? 1)];
    }
    return place;
  }
}
