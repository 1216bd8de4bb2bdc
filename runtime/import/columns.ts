// Columns of matrices: some of them, and matrices that stand side by side in one.
import { item } from "../../compiler/item.ts";
import { sameShape, sum } from "../../compiler/types/numbers.ts";
import type { Tensor } from "../executable/executable.ts";
import { computed, derivedColumns, type StoredTensor, type StoredTensors } from "../storage/stored-tensor.ts";
import { convert, zeros } from "../tensor.ts";

/** The `run` elements from `first` on of every `group`, `width` in all. */
export interface Places {
  readonly first: number;
  readonly run: number;
  readonly group: number;
  readonly width: number;
}
export function strided(t: Tensor, places: Places): Tensor {
  const { width } = places;
  if (width === t.shape.at(-1)) return t;
  const part = zeros(t.dtype, [...t.shape.slice(0, -1), width]);
  forPlaces(part.data.length, places, (of, from) => {
    part.data[of] = t.data[from] ?? 0;
  });
  return part;
}
/** The inverse of `strided`. */
export function putStrided(part: Tensor, whole: Tensor, places: Places): void {
  forPlaces(part.data.length, places, (of, to) => {
    whole.data[to] = part.data[of] ?? 0;
  });
}
/** Calls `f` with the place of each of `count` elements in a part, and in the whole. */
function forPlaces(count: number, { first, run, group }: Places, f: (ofPart: number, ofWhole: number) => void): void {
  for (let to = 0, at = first; to < count; to += run, at += group) for (let j = 0; j < run; j++) f(to + j, at + j);
}

/** The name of one of several that stand side by side in ours, with its place (`Family.names`). */
const placed = /^(.*) (\d+)$/;
export const isBeside = (ours: unknown): boolean => typeof ours === "string" && placed.test(ours);
/** Those that stand side by side, in their order, by the name of what they are together. */
function besides(tensors: StoredTensors): Map<string, StoredTensor[]> {
  const all = new Map<string, StoredTensor[]>();
  const inOrder = [...tensors].flatMap(([name, t]) => {
    const [, whole = "", place] = placed.exec(name) ?? [];
    return place === undefined ? [] : [{ whole, place: Number(place), t }];
  });
  for (const { whole, t } of inOrder.toSorted((a, b) => a.place - b.place))
    all.set(whole, [...(all.get(whole) ?? []), t]);
  return all;
}
const columnsOf = ({ shape }: Pick<StoredTensor, "shape">): number => shape.at(-1) ?? 0;
/** Where each begins, and how wide they are together. */
const placesOf = (parts: readonly StoredTensor[]): Places[] =>
  parts.map((t, i) => {
    const width = columnsOf(t);
    return { first: sum(parts.slice(0, i).map(columnsOf)), run: width, group: sum(parts.map(columnsOf)), width };
  });
/** With one tensor for those that stand side by side; they stay apart, and so are nothing of ours, where their rows are not as many. */
export function joined(tensors: StoredTensors): Map<string, StoredTensor> {
  const all = new Map([...tensors].filter(([name]) => !isBeside(name)));
  for (const [whole, parts] of besides(tensors)) {
    const { dtype, shape } = item(parts, 0);
    const rows = shape.slice(0, -1);
    if (!parts.every((t) => sameShape(t.shape.slice(0, -1), rows))) continue;
    const read = (index: readonly number[] = []): Tensor => {
      const one = zeros(dtype, [...rows.slice(index.length), sum(parts.map(columnsOf))]);
      for (const [i, places] of placesOf(parts).entries())
        putStrided(convert(item(parts, i).read(index), dtype), one, places);
      return one;
    };
    all.set(whole, computed(dtype, [...rows, sum(parts.map(columnsOf))], read));
  }
  return all;
}
/** The inverse of `joined`: with those apart that are so in `like`, as wide as they are there. */
export function parted(tensors: StoredTensors, like: StoredTensors): StoredTensors {
  const all = new Map(tensors);
  for (const [whole, parts] of besides(like)) {
    const t = all.get(whole);
    if (!t || columnsOf(t) !== sum(parts.map(columnsOf))) continue;
    all.delete(whole);
    for (const [i, places] of placesOf(parts).entries())
      all.set(
        `${whole} ${i}`,
        derivedColumns(t, places.width, (x) => strided(x, places)),
      );
  }
  return all;
}
