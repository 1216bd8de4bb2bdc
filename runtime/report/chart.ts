// SVG charts for the report: lines over steps, and heat maps of expert load. Colours are the page's CSS variables, so that both light and dark themes
// work.
import { escaped, formatNumber, jsonInScript } from "./html.ts";
import { png } from "./png.ts";
import { type Line, type LoadGrid, type Point, smoothed, thinned } from "./series.ts";

export interface StyledLine {
  readonly line: Line;
  /** A CSS colour. */
  readonly color: string;
  /** Also draws its points: for lines of few values. */
  readonly dots?: boolean;
}
export interface ChartOptions {
  readonly title: string;
  /** A sentence under the title: what is measured, in which unit, what is good. */
  readonly note: string;
  readonly lines: readonly StyledLine[];
  /** A horizontal reference line. */
  readonly mark?: { readonly name: string; readonly value: number } | undefined;
  /** Draws smoothed lines, over the unsmoothed values in a faint colour. */
  readonly smooth?: boolean;
  readonly wide?: boolean;
  /** Whether the vertical axis includes 0. */
  readonly zero?: boolean;
}
const most = 400;
const margin = { left: 46, right: 12, top: 10, bottom: 24 };

interface PlotArea {
  readonly width: number;
  readonly height: number;
  readonly x: (step: number) => number;
  readonly y: (value: number) => number;
  readonly steps: readonly number[];
  readonly values: readonly number[];
}
export function chart(options: ChartOptions): string {
  const { title, note, lines, mark, smooth = false, wide = false } = options;
  const space = spaceOf(options);
  const shown = lines.map((d) => ({ ...d, line: thinned(d.line, most) }));
  const reach = Math.ceil(greatest(shown.filter((d) => !d.dots).map((d) => d.line.points.length)) / 60);
  const bold = smooth && reach > 1 ? shown.map((d) => (d.dots ? d : { ...d, line: smoothed(d.line, reach) })) : shown;
  const faint = smooth && reach > 1 ? shown.filter((d) => !d.dots).map((d) => path(d, space, "faint")) : [];
  const data = lines.map((d, i) => ({
    name: d.line.name,
    color: d.color,
    points: bold[i]?.line.points.map(pair) ?? [],
  }));
  return `<figure class="chart${wide ? " wide" : ""}">
<figcaption><h3>${escaped(title)}</h3><p>${escaped(note)}</p></figcaption>
<div class="plot"><svg viewBox="0 0 ${space.width} ${space.height}" role="img" aria-label="${escaped(`${title}: ${summary(lines)}`)}">
${axes(space)}
${[...faint, ...bold.map((d) => (d.dots ? dots(d, space) : path(d, space, "line")))].join("\n")}
${mark ? reference(mark, space) : ""}
<line class="cross" y1="${margin.top}" y2="${space.height - margin.bottom}" visibility="hidden"/>
</svg><output></output></div>
${lines.length > 1 ? legend(lines) : ""}
<script type="application/json">${jsonInScript({ from: space.steps[0], to: space.steps.at(-1), left: margin.left, right: space.width - margin.right, width: space.width, lines: data })}</script>
</figure>`;
}
const pair = ({ step, value }: Point): [number, number] => [step, Number(value.toPrecision(5))];
const summary = (lines: readonly StyledLine[]): string =>
  lines
    .slice(0, 6)
    .map(
      ({ line }) =>
        `${line.name} from ${formatNumber(line.points[0]?.value ?? Number.NaN)} to ${formatNumber(line.points.at(-1)?.value ?? Number.NaN)}`,
    )
    .join("; ");

function spaceOf({ lines, mark, wide = false, zero = false }: ChartOptions): PlotArea {
  const [width, height] = wide ? [960, 300] : [470, 220];
  const points = lines.flatMap((d) => d.line.points);
  const all = [...points.map((p) => p.value), ...(mark ? [mark.value] : []), ...(zero ? [0] : [])];
  const values = ticks(least(all), greatest(all), 5);
  const steps = points.map((p) => p.step);
  const [from, to] = [least(steps), Math.max(least(steps) + 1, greatest(steps))];
  const [low, high] = [values[0] ?? 0, values.at(-1) ?? 1];
  return {
    width,
    height,
    x: (step) => margin.left + ((step - from) / (to - from)) * (width - margin.left - margin.right),
    y: (value) => height - margin.bottom - ((value - low) / (high - low)) * (height - margin.top - margin.bottom),
    steps: [from, ...ticks(from, to, wide ? 8 : 4).filter((s) => s > from && s < to && Number.isInteger(s)), to],
    values,
  };
}
const least = (all: readonly number[]): number => all.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
const greatest = (all: readonly number[]): number => all.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
/** Round numbers, about `count` of them, that cover a range. */
export function ticks(low: number, high: number, count: number): number[] {
  const range = high - low || Math.abs(high) || 1;
  const raw = range / count;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = size * ([1, 2, 5, 10].find((m) => m * size >= raw) ?? 10);
  const [from, to] = [
    Math.floor(low / step + 1e-9),
    Math.max(Math.ceil(high / step - 1e-9), Math.floor(low / step + 1e-9) + 1),
  ];
  return Array.from({ length: to - from + 1 }, (_, i) => Number(((from + i) * step).toPrecision(12)));
}

const at = (n: number): string => n.toFixed(1);
function axes({ width, height, x, y, steps, values }: PlotArea): string {
  const rows = values.map(
    (v) =>
      `<line class="grid" x1="${margin.left}" x2="${width - margin.right}" y1="${at(y(v))}" y2="${at(y(v))}"/><text x="${margin.left - 6}" y="${at(y(v) + 4)}" text-anchor="end">${formatNumber(v)}</text>`,
  );
  const last = x(steps.at(-1) ?? 0);
  const columns = steps
    .filter((s, i) => i === steps.length - 1 || last - x(s) > 44)
    .map((s, i, kept) => {
      const anchor = i === kept.length - 1 ? "end" : "middle";
      return `<text x="${at(x(s))}" y="${height - 6}" text-anchor="${anchor}">${s}</text>`;
    });
  return [...rows, ...columns].join("");
}
const path = ({ line, color }: StyledLine, { x, y }: PlotArea, kind: string): string =>
  `<polyline class="${kind}" style="stroke:${color}" points="${line.points.map((p) => `${at(x(p.step))},${at(y(p.value))}`).join(" ")}"/>`;
const dots = ({ line, color }: StyledLine, space: PlotArea): string =>
  [
    path({ line, color }, space, "line thin"),
    ...line.points.map(
      (p) => `<circle style="fill:${color}" cx="${at(space.x(p.step))}" cy="${at(space.y(p.value))}" r="4"/>`,
    ),
  ].join("");
const reference = (mark: { readonly name: string; readonly value: number }, { width, y }: PlotArea): string =>
  `<line class="mark" x1="${margin.left}" x2="${width - margin.right}" y1="${at(y(mark.value))}" y2="${at(y(mark.value))}"/><text class="marked" x="${width - margin.right - 4}" y="${at(y(mark.value) - 6)}" text-anchor="end">${escaped(`${mark.name} ${formatNumber(mark.value)}`)}</text>`;
/** The names of all lines, or, if there are more than eight, of the first and the last, whose colours the others are between. */
function legend(lines: readonly StyledLine[]): string {
  const item = ({ line, color }: StyledLine): string =>
    `<li><i style="background:${color}"></i>${escaped(line.name)}</li>`;
  const [first, last] = [lines[0], lines.at(-1)];
  if (lines.length <= 8 || !first || !last) return `<ul class="legend">${lines.map(item).join("")}</ul>`;
  return `<ul class="legend">${item(first)}<li>to</li>${item(last)}</ul>`;
}

/**
 * A heat map of one layer's expert load: red above an even share, blue below, transparent where it is even; opaque at twice the share and at zero.
 */
export function heatMap({ layer, experts, columns, shares, from, to }: LoadGrid): string {
  const pixels = new Uint8Array(4 * experts * columns);
  const bytes = new Uint8Array(experts * columns);
  for (const [i, share] of shares.entries()) {
    const [color, strength] = share >= 1 ? [over, share - 1] : [under, 1 - share];
    if (Number.isFinite(share)) pixels.set([...color, Math.round(255 * Math.min(1, strength))], 4 * i);
    bytes[i] = Number.isFinite(share) ? Math.min(254, Math.round(share * scale)) : 255;
  }
  const image = png(columns, experts, pixels).toString("base64");
  const data = { from, to, experts, columns, scale, shares: Buffer.from(bytes).toString("base64") };
  return `<figure class="heat">
<figcaption><h3>${escaped(layer)}</h3></figcaption>
<div class="rows"><span>0</span><span>${experts - 1}</span></div>
<div class="plot"><img src="data:image/png;base64,${image}" alt="${escaped(`load of ${experts} experts of ${layer} over steps ${from} to ${to}`)}" style="--experts:${experts}"><output></output></div>
<div class="steps"><span>step ${from}</span><span>${to}</span></div>
<script type="application/json">${jsonInScript(data)}</script>
</figure>`;
}
const [over, under] = [
  [217, 72, 15],
  [28, 110, 214],
] as const;
/** Shares are multiplied by this and stored as bytes, for the text that is shown under the pointer. */
const scale = 40;
