// Tasks of a kernel: how many, and which blocks of its axes each is.
import { isNum } from "../kernel/expr.ts";
import type { Axis, Kernel } from "../kernel/ir.ts";

export const blocksOf = (a: Axis): number =>
  isNum(a.to) && isNum(a.from) ? Math.ceil((a.to.value - a.from.value) / a.step) : Number.NaN;
/** The place in the grid of the axis whose ends the axis before it decides; -1 if there is none. */
export const raggedOf = (k: Kernel): number => k.grid.findIndex((a) => !isNum(a.to));
/** At most, where groups decide: each ends with a block that may not be full. */
export function tasksOf(k: Kernel): number {
  const at = raggedOf(k);
  const count = (axes: readonly Axis[]): number => axes.reduce((n, a) => n * blocksOf(a), 1);
  const [group, rows] = [k.grid[at - 1], k.grid[at]];
  if (!group || !rows) return count(k.grid);
  return (Math.ceil((rows.v.hi + 1) / rows.step) + blocksOf(group)) * count(k.grid.slice(at + 1));
}

/** Task number t to the grid's axes, last fastest. */
export function decode(grid: readonly Axis[], t: string): string[] {
  let below = 1;
  return grid
    .toReversed()
    .map((a, d) => {
      const [count, last] = [blocksOf(a), d === grid.length - 1];
      const q = below === 1 ? t : `${t} / ${below}`;
      const i = last ? q : count === 1 ? "0" : `${q} % ${count}`;
      below *= count;
      const at = `${a.v.name} = ${i === "0" || a.step === 1 ? i : `${i} * ${a.step}`}`;
      return a.n.e === "var" && isNum(a.to)
        ? `${at}, ${a.n.name} = ix_min(${a.step}, ${a.to.value} - ${a.v.name})`
        : at;
    })
    .toReversed();
}
