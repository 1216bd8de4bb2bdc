// Turns a run's log into lines over steps and grids of expert load, for the charts.
import { groupBy } from "../../compiler/group-by.ts";
import { sum } from "../../compiler/types/numbers.ts";
import { flat, type LoggedStep } from "./log.ts";

export interface Line {
  readonly name: string;
  readonly points: readonly Point[];
}
export interface Point {
  readonly step: number;
  readonly value: number;
}
/** The load of a layer's experts over time: `shares[expert * columns + column]`, where 1 is an even share, and NaN is unknown. */
export interface LoadGrid {
  readonly layer: string;
  readonly experts: number;
  readonly columns: number;
  readonly shares: Float64Array;
  /** The first and the last step that the grid covers. */
  readonly from: number;
  readonly to: number;
}

const finite = (points: readonly Point[]): Point[] => points.filter((p) => Number.isFinite(p.value));
export const line = (name: string, steps: readonly LoggedStep[], of: (s: LoggedStep) => number | undefined): Line => ({
  name,
  points: finite(steps.map((s) => ({ step: s.step, value: of(s) ?? Number.NaN }))),
});
/** One line for each loss name. */
export const lossLines = (steps: readonly LoggedStep[]): Line[] =>
  [...new Set(steps.flatMap((s) => Object.keys(s.losses)))].map((name) => line(name, steps, (s) => s.losses[name]));

/** Groups the paths of metrics by their last name: `blocks.0.gate.entropy` is in group `entropy`. */
function pathsByName(steps: readonly LoggedStep[]): Map<string, string[]> {
  const paths = new Set(steps.flatMap((s) => Object.keys(s.metrics ?? {})));
  return groupBy(paths, (path) => path.slice(path.lastIndexOf(".") + 1));
}
const layerOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("."))) || path;

/** Scalar metrics, grouped by their last name, with one line for each layer. */
export function metricLines(steps: readonly LoggedStep[]): { readonly name: string; readonly lines: Line[] }[] {
  return [...pathsByName(steps)].flatMap(([name, paths]) => {
    const lines = paths.map((path) => {
      const of = (s: LoggedStep): number | undefined => {
        const value = s.metrics?.[path];
        return typeof value === "number" ? value : undefined;
      };
      return line(layerOf(path), steps, of);
    });
    const known = lines.filter((l) => l.points.length > 0);
    return known.length === 0 ? [] : [{ name, lines: known }];
  });
}
/** The load of each layer's busiest expert, divided by the mean load. */
export const imbalanceLines = (steps: readonly LoggedStep[]): Line[] =>
  loadPaths(steps).map((path) =>
    line(layerOf(path), steps, (s) => {
      const load = loadOf(s, path);
      return (Math.max(...load) * load.length) / sum(load);
    }),
  );
const loadPaths = (steps: readonly LoggedStep[]): string[] => pathsByName(steps).get("load") ?? [];
function loadOf(s: LoggedStep, path: string): number[] {
  const load = s.metrics?.[path];
  return load === undefined || typeof load === "number" ? [] : flat(load);
}

/** The load of each layer, averaged over at most `most` intervals of steps. */
export function loadGrids(steps: readonly LoggedStep[], most: number): LoadGrid[] {
  return loadPaths(steps).map((path) => {
    const known = steps.map((s) => ({ step: s.step, load: loadOf(s, path) })).filter((s) => s.load.length > 0);
    const experts = known.reduce((most, s) => Math.max(most, s.load.length), 0); // a call cannot take an argument for each of many steps
    const columns = Math.min(most, known.length);
    const shares = new Float64Array(experts * columns).fill(Number.NaN);
    for (let c = 0; c < columns; c++) {
      const part = known.slice(
        Math.floor((c * known.length) / columns),
        Math.floor(((c + 1) * known.length) / columns),
      );
      const sums = Array.from({ length: experts }, (_, e) => part.reduce((sum, s) => sum + (s.load[e] ?? 0), 0));
      const mean = sum(sums) / experts;
      for (const [e, sum] of sums.entries()) shares[e * columns + c] = sum / mean;
    }
    return { layer: layerOf(path), experts, columns, shares, from: known[0]?.step ?? 1, to: known.at(-1)?.step ?? 1 };
  });
}

/** Reduces a line to at most `most` points, each the mean of an interval. */
export function thinned({ name, points }: Line, most: number): Line {
  if (points.length <= most) return { name, points };
  const parts = Array.from({ length: most }, (_, i) =>
    points.slice(Math.floor((i * points.length) / most), Math.floor(((i + 1) * points.length) / most)),
  );
  return {
    name,
    points: parts.map((part) => ({ step: Math.round(mean(part, (p) => p.step)), value: mean(part, (p) => p.value) })),
  };
}
const mean = (part: readonly Point[], of: (p: Point) => number): number =>
  part.reduce((sum, p) => sum + of(p), 0) / part.length;
/** A moving average over the `reach` points on either side of each point. */
export function smoothed({ name, points }: Line, reach: number): Line {
  const sums = [0];
  for (const p of points) sums.push((sums.at(-1) ?? 0) + p.value);
  const around = (i: number): number => {
    const [from, to] = [Math.max(0, i - reach), Math.min(points.length, i + reach + 1)];
    return ((sums[to] ?? 0) - (sums[from] ?? 0)) / (to - from);
  };
  return { name, points: points.map((p, i) => ({ step: p.step, value: around(i) })) };
}
export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
