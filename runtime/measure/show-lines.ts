/** A program's lines as a table shows them: `std/nn:12, 15-17 model.moe:3`. Files are in the order of their first line. */
export function showLines(lines: readonly string[]): string {
  const files = new Map<string, number[]>();
  for (const line of lines) {
    const colon = line.lastIndexOf(":");
    const file = line.slice(0, colon);
    files.set(file, [...(files.get(file) ?? []), Number(line.slice(colon + 1))]);
  }
  return [...files].map(([file, numbers]) => `${file}:${ranges(numbers).join(", ")}`).join(" ");
}
/** `12`, `15-17` for 17, 12, 16 and 15. */
function ranges(numbers: readonly number[]): string[] {
  const sorted = [...new Set(numbers)].toSorted((a, b) => a - b);
  const starts = sorted.filter((n) => !sorted.includes(n - 1));
  const ends = sorted.filter((n) => !sorted.includes(n + 1));
  return starts.map((start, i) => (start === ends[i] ? String(start) : `${start}-${ends[i]}`));
}
