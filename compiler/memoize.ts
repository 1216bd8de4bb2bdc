/** Memoizes a function of one object; results live as long as the object does. */
export function memoize<K extends object, V>(f: (of: K) => V): (of: K) => V {
  const known = new WeakMap<K, { readonly made: V }>();
  return (of) => {
    const found = known.get(of) ?? { made: f(of) };
    known.set(of, found);
    return found.made;
  };
}
