/** Aligns rows of text in columns, separated by two spaces; columns with numbers are aligned right. */
export function table(rows: readonly (readonly string[])[]): string {
  const columns = Array.from({ length: Math.max(0, ...rows.map((row) => row.length)) }, (_, i) =>
    rows.map((row) => row[i] ?? ""),
  );
  const widths = columns.map((cells) => Math.max(...cells.map((cell) => cell.length)));
  const right = columns.map((cells) => cells.some((cell) => /^[\d.]+( |$)/.test(cell)));
  const padded = (cell: string, i: number): string =>
    right[i] ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0);
  return rows.map((row) => row.map(padded).join("  ").trimEnd()).join("\n");
}
