/** A linear congruential generator: numbers in [0, 1), always the same for a seed. For measurements and tests. */
export function lcg(seed: number): () => number {
  let state = seed;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}
