import { getOrMake } from "./memoize.ts";

/** The items of each key, in their order; keys are in the order of their first items. (`Map.groupBy`, which Node 20 lacks.) */
export function groupBy<T, K>(list: Iterable<T>, keyOf: (x: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const x of list) getOrMake(groups, keyOf(x), () => []).push(x);
  return groups;
}
