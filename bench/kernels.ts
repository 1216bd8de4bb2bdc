// Where the time of a case goes, launch by launch.
import { table } from "../cli/output.ts";
import type { Launch, PlanBuffer } from "../compiler/plan/plan.ts";
import type { Subject } from "./subject.ts";

/** Slowest first. A launch's share is of the ceiling that it is nearer to; `bytes` count whole buffers. */
export function kernelTable(subject: Subject, gflops: number, gbytes: number): string {
  const total = subject.steps.reduce((a, b) => a + b, 0);
  const rows = [...subject.steps].map((seconds, i) => ({
    seconds: Math.max(seconds, 1e-9),
    step: subject.entry.steps[i],
  }));
  const lines = rows
    .toSorted((a, b) => b.seconds - a.seconds)
    .map(({ seconds, step }) => {
      const time = [(seconds * 1e3).toFixed(3), percent(seconds / total)];
      if (step?.kind !== "launch") return [...time, "", "", "", "", "", "copy", ""];
      const { launch } = step;
      const [flops, bytes] = [(launch.flops / seconds) * 1e-9, (launch.bytes / seconds) * 1e-9];
      const share = percent(Math.max(flops / gflops, bytes / gbytes));
      const name = subject.plan.kernels[launch.kernel]?.name ?? "";
      return [
        ...time,
        flops.toFixed(1),
        bytes.toFixed(1),
        share,
        String(launch.tasks),
        launch.phase,
        name,
        operands(subject, launch),
      ];
    });
  const head = ["ms", "of all", "GFLOP/s", "GB/s", "share", "tasks", "phase", "kernel", "operands"];
  const ceilings = `ceilings ${gflops.toFixed(0)} GFLOP/s, ${gbytes.toFixed(0)} GB/s; all ${(total * 1e3).toFixed(2)} ms`;
  return `${ceilings}\n${table([head, ...lines])}`;
}
const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;
const operands = ({ plan }: Subject, { args }: Launch): string =>
  args
    .map((a) => plan.buffers[a])
    .map((b) => (b ? shown(b) : ""))
    .join(" ");
const shown = ({ name, shape }: PlanBuffer): string => `${name}[${shape.join(",")}]`;
