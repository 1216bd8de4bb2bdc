// Helpers for integers: shapes, positions, hashes.

/** The number of elements of a shape. */
export const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
/** Added up in order. */
export function sum(all: Iterable<number>): number {
  let total = 0;
  for (const x of all) total += x;
  return total;
}
export const gcd = (a: number, b: number): number => (b === 0 ? Math.abs(a) : gcd(b, a % b));
/** The list from, from + 1, .. to - 1. */
export const fromTo = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);
/** The remainder with the sign of the divisor; 0 if that is 0. */
export function remainder(x: number, y: number): number {
  if (y === 0) return 0;
  const r = x % y;
  return r !== 0 && r < 0 !== y < 0 ? r + y : r;
}
/** The FNV-1a hash of a text, in 32 bits. */
export function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
/** Whether two lists of numbers are equal: shapes, indices. */
export const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((n, i) => n === b[i]);
