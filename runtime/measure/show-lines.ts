import { groupBy } from "../../compiler/group-by.ts";

/** A program's lines as a table shows them: `std/nn:12, 15-17 model.moe:3`. Files are in the order of their first line. */
export function showLines(lines: readonly string[]): string {
  const files = groupBy(lines, (line) => line.slice(0, line.lastIndexOf(":")));
  return [...files].map(([file, own]) => `${file}:${ranges(own.map(numberOf)).join(", ")}`).join(" ");
}
const numberOf = (line: string): number => Number(line.slice(line.lastIndexOf(":") + 1));
/** `12`, `15-17` for 17, 12, 16 and 15. */
function ranges(numbers: readonly number[]): string[] {
  const sorted = [...new Set(numbers)].toSorted((a, b) => a - b);
  const starts = sorted.filter((n) => !sorted.includes(n - 1));
  const ends = sorted.filter((n) => !sorted.includes(n + 1));
  return starts.map((start, i) => (start === ends[i] ? String(start) : `${start}-${ends[i]}`));
}
