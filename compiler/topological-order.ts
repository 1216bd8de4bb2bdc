/** The items, and all that they need, each after what it needs and otherwise in the given order. Chains of needs may be of any length. */
export function topologicalOrder<T>(items: Iterable<T>, needs: (item: T) => Iterable<T>): T[] {
  const order: T[] = [];
  const seen = new Set<T>();
  const path: { readonly item: T; readonly needs: Iterator<T> }[] = [];
  const enter = (item: T): void => {
    if (seen.has(item)) return;
    seen.add(item);
    path.push({ item, needs: needs(item)[Symbol.iterator]() });
  };
  for (const first of items) {
    enter(first);
    for (let last = path.at(-1); last; last = path.at(-1)) {
      const next = last.needs.next();
      if (!next.done) enter(next.value);
      else {
        order.push(last.item);
        path.pop();
      }
    }
  }
  return order;
}
