// Formats text and numbers for HTML and SVG; names from a run are escaped, so that they cannot become markup.
export const escaped = (text: string): string =>
  text.replaceAll(/[&<>"']/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[c] ?? c);
/** JSON that is safe inside a script element. */
export const jsonInScript = (value: unknown): string => JSON.stringify(value).replaceAll("<", "\\u003c");

/** About four significant digits: `1234.5`, `0.0123`, `12.3k`. */
export function formatNumber(x: number): string {
  if (!Number.isFinite(x)) return String(x);
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size < 1e-3) return x.toExponential(1);
  if (size < 1e4) return String(Number(x.toPrecision(4)));
  const unit = Math.min(4, Math.floor(Math.log10(size) / 3));
  return `${Number((x / 1000 ** unit).toPrecision(3))}${["", "k", "M", "G", "T"][unit] ?? ""}`;
}
