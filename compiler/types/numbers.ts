// Integer helpers, for shapes and positions.

/** The number of elements of a shape. */
export const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
export const gcd = (a: number, b: number): number => (b === 0 ? Math.abs(a) : gcd(b, a % b));
/** The list from, from + 1, .. to - 1. */
export const fromTo = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);
