/** The value of a key; a map that lacks it gets what `make` gives. (`Map.getOrInsertComputed`, which Node 20 lacks.) */
export function getOrMake<K, V extends object | null>(map: Map<K, V>, key: K, make: () => NoInfer<V>): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}
/** Memoizes a function of one object; results live as long as the object does. */
export function memoize<K extends object, V>(f: (of: K) => V): (of: K) => V {
  const known = new WeakMap<K, { readonly made: V }>();
  return (of) => {
    const found = known.get(of) ?? { made: f(of) };
    known.set(of, found);
    return found.made;
  };
}
