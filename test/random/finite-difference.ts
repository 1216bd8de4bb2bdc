// Finite differences, to check gradients.

/** The derivative of `total` by element j of `data`; null at a kink, or where the function is too steep. */
export function finiteDifference(data: Float64Array, j: number, total: () => number): number | null {
  const x = data[j] ?? 0;
  const at = (y: number): number => {
    data[j] = y;
    const sum = total();
    data[j] = x;
    return sum;
  };
  const steps = [
    [-1e-5, 1e-5],
    [-1e-6, 0],
    [0, 1e-6],
  ] as const;
  const slopes = steps.map(([left, right]) => (at(x + right) - at(x + left)) / (right - left));
  const [first = Number.NaN] = slopes;
  return slopes.every((s) => Math.abs(s - first) <= 1e-4 * Math.max(1, Math.abs(first))) ? first : null;
}
