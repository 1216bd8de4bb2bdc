// Makes a run's report, one self-contained HTML page: it fetches nothing, and its only script shows values under the pointer.
import { pluralize } from "../../compiler/pluralize.ts";
import { showBytes } from "../../compiler/show-bytes.ts";
import { sum } from "../../compiler/types/numbers.ts";
import { type ChartOptions, chart, heatMap, type StyledLine } from "./chart.ts";
import { escaped, formatNumber } from "./html.ts";
import type { LoggedRun, RunRecord } from "./log.ts";
import { script, style } from "./page-assets.ts";
import { imbalanceLines, type Line, line, loadGrids, lossLines, median, metricLines } from "./series.ts";

export function reportPage(run: RunRecord): string {
  const { config, folder, steps } = run;
  const unit = run.about.bigram === undefined ? "token" : "byte";
  const last = steps.at(-1)?.step ?? 0;
  const status = last >= config.steps ? pluralize(last, "step") : `step ${last} of ${config.steps}`;
  const { B, T, ...sizes } = config.sizes;
  const { files } = config.data;
  const about = [
    folder,
    status,
    `${pluralize(Number(B), "row")} of ${pluralize(Number(T), unit)} a step`,
    `seed ${config.seed}`,
    ...(files.length > 8 ? [pluralize(files.length, "file")] : files),
  ];
  const set = Object.entries(sizes).map(([name, value]) => `${name} = ${value}`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>${escaped(`${config.model}: ${folder}`)}</title>
<style>${style}</style>
</head>
<body>
<header><h1>${escaped(config.model)}</h1><p>${[...about, ...set].map((text) => `<span>${escaped(text)}</span>`).join("")}</p></header>
${tiles(run)}
<main>
${sections(run)
  .filter(({ parts }) => parts.length > 0)
  .map(({ title, parts }) => `<section><h2>${title}</h2>${parts.join("\n")}</section>`)
  .join("\n")}
</main>
<script>${script}</script>
</body>
</html>
`;
}
interface Section {
  readonly title: string;
  readonly parts: readonly string[];
}
const sections = (run: RunRecord): Section[] => [
  { title: "Loss", parts: lossCharts(run) },
  { title: "Expert load", parts: loadCharts(run) },
  { title: "Other metrics", parts: otherCharts(run) },
  { title: "Speed and memory", parts: [...speedChart(run), ...memory(run)] },
];

function tiles({ about, config, steps }: RunRecord): string {
  const held = steps.findLast((s) => s.held_out !== undefined)?.held_out;
  const recent = steps.slice(-50).map((s) => s.loss);
  const tokens = Number(config.sizes["B"]) * Number(config.sizes["T"]) * (steps.at(-1)?.step ?? 0);
  const speed = median(steps.flatMap((s) => s.tokens_per_second ?? []));
  const all: [name: string, value: string, more: string][] = [
    ...(held === undefined
      ? []
      : [["held-out loss", held.toFixed(3), measured(about)] satisfies [string, string, string]]),
    ["training loss", (sum(recent) / recent.length).toFixed(3), `mean of the last ${pluralize(recent.length, "step")}`],
    ["tokens", formatNumber(tokens), Number.isNaN(speed) ? "" : `${formatNumber(speed)} a second`],
    ...(about.parameters === undefined
      ? []
      : [["parameters", formatNumber(about.parameters), sizesOf(about)] satisfies [string, string, string]]),
  ];
  return `<div class="tiles">${all.map(([name, value, more]) => `<div><span>${name}</span><b>${value}</b><small>${escaped(more)}</small></div>`).join("")}</div>`;
}
function measured({ measure, bigram }: LoggedRun): string {
  if (measure?.unit === undefined) return measure ? measure.losses.join(" + ") || "all losses" : "";
  return bigram === undefined ? measure.unit : `${measure.unit}; bigram ${bigram.toFixed(3)}`;
}
function sizesOf({ parameters, trained = parameters, plan }: LoggedRun): string {
  const total = plan?.["arena"];
  const learned = trained === undefined || trained === parameters ? [] : [`${formatNumber(trained)} are trained`];
  return [...learned, ...(total === undefined ? [] : [`${showBytes(total)} of memory`])].join(", ");
}

const accent = "var(--accent)";
const second = "var(--second)";
/** Lines of the layers, coloured from light to dark with depth. */
const byDepth = (lines: readonly Line[]): StyledLine[] =>
  lines.map((l, i) => ({
    line: l,
    color:
      lines.length === 1
        ? accent
        : `color-mix(in oklab, var(--deep) ${Math.round((100 * i) / Math.max(1, lines.length - 1))}%, var(--shallow))`,
  }));

function lossCharts({ about, steps }: RunRecord): string[] {
  const held = line("held out", steps, (s) => s.held_out);
  const unit = about.measure?.unit;
  const all = lossLines(steps);
  const total: StyledLine[] = [{ line: line("training, sum of all losses", steps, (s) => s.loss), color: accent }];
  const main: ChartOptions = {
    title: "Training and held-out loss",
    note: `${unit === undefined ? "" : `In ${unit}. `}Bold is the mean of the steps around; the held-out loss is of text that is not trained on.`,
    lines: [...total, ...(held.points.length > 0 ? [{ line: held, color: second, dots: true }] : [])],
    mark: about.bigram === undefined || unit === undefined ? undefined : { name: "bigram", value: about.bigram },
    smooth: true,
    wide: true,
  };
  const parts = all.length < 2 ? [] : all;
  return [
    ...(total[0]?.line.points.length ? [chart(main)] : []),
    ...parts
      .filter((l) => l.points.length > 0)
      .map((l) =>
        chart({
          title: l.name,
          note: "This part of the loss, summed over layers.",
          lines: [{ line: l, color: accent }],
          smooth: true,
        }),
      ),
  ];
}
const columns = 240;
function loadCharts({ steps }: RunRecord): string[] {
  const grids = loadGrids(steps, columns);
  if (grids.length === 0) return [];
  const key = `<p class="key">A row is an expert, a column a stretch of steps. <i class="under"></i>no tokens <i class="even"></i>an even share <i class="over"></i>twice that or more</p>`;
  return [
    key,
    `<div class="heats${grids.length > 8 ? " many" : ""}">${grids.map(heatMap).join("\n")}</div>`,
    chart({
      title: "Largest expert",
      note: "Its tokens over the mean, for each layer. 1 is an even load.",
      lines: byDepth(imbalanceLines(steps)),
      smooth: true,
    }),
    ...routing.flatMap((known) => metric(steps, known)),
  ];
}
interface Known {
  readonly name: string;
  readonly title: string;
  readonly note: string;
}
const routing: readonly Known[] = [
  {
    name: "entropy",
    title: "Entropy",
    note: "Of the gate's probabilities, in nats, for each layer. 0 is sure of one expert.",
  },
  {
    name: "dropped",
    title: "Dropped tokens",
    note: "Choices over capacity that no expert took, in a step, for each layer.",
  },
];
const metric = (steps: RunRecord["steps"], { name, title, note }: Known): string[] =>
  metricLines(steps)
    .filter((m) => m.name === name)
    .map((m) => chart({ title, note, lines: byDepth(m.lines), smooth: true, zero: name === "dropped" }));
const otherCharts = ({ steps }: RunRecord): string[] =>
  metricLines(steps)
    .filter((m) => !routing.some((r) => r.name === m.name))
    .map((m) => chart({ title: m.name, note: "A metric of the model.", lines: byDepth(m.lines), smooth: true }));

function speedChart({ steps }: RunRecord): string[] {
  const speed = line("tokens a second", steps, (s) => s.tokens_per_second);
  if (speed.points.length === 0) return [];
  const note = "Over the last 20 steps, without evaluating and saving.";
  return [chart({ title: "Tokens a second", note, lines: [{ line: speed, color: accent }], zero: true })];
}
function memory({ about: { plan } }: RunRecord): string[] {
  const parts = Object.entries(plan ?? {}).filter(([name, n]) => name !== "arena" && n > 0);
  const most = Math.max(...parts.map(([, n]) => n));
  const note =
    plan?.["arena"] === undefined
      ? "Bytes by what they hold."
      : `Bytes by what they hold; ${showBytes(plan["arena"])} in all, for buffers whose live ranges do not overlap share memory.`;
  const rows = parts.map(
    ([name, n]) =>
      `<tr><th>${escaped(name)}</th><td class="bar"><i style="width:${((100 * n) / most).toFixed(1)}%"></i></td><td>${showBytes(n)}</td></tr>`,
  );
  if (parts.length === 0) return [];
  return [
    `<figure class="chart"><figcaption><h3>Memory</h3><p>${note}</p></figcaption><table class="bars">${rows.join("")}</table></figure>`,
  ];
}
