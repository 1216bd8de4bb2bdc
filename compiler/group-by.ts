/** The items of each key, in their order; keys are in the order of their first items. (`Map.groupBy`, which Node 20 lacks.) */
export function groupBy<T, K>(list: Iterable<T>, keyOf: (x: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const x of list) {
    const key = keyOf(x);
    const group = groups.get(key);
    if (group) group.push(x);
    else groups.set(key, [x]);
  }
  return groups;
}
