import { Bug } from "./diagnostic.ts";

/** Item `i` of a list, which must exist. */
export function item<T>(list: readonly T[], i: number): T {
  const x = list[i];
  if (x === undefined) throw new Bug(`item ${i} is asked for, of ${list.length}`);
  return x;
}
