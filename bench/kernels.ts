// Where the time of a case goes, launch by launch.
import { table } from "../cli/output.ts";
import type { Launch, PlanBuffer } from "../compiler/plan/plan.ts";
import type { Subject } from "./subject.ts";

export interface Limits {
  readonly threads: number;
  readonly gflops: number;
  readonly gbytes: number;
}
/**
 * Those that use most time first. Rates are those of cores at work: what another program took, and what a thread waited for another's
 * last task, is in `ms` and not in them; `busy` is the share of all cores' time that the kernel had. `share` is of the ceiling that is
 * nearer. Bytes count whole buffers.
 */
export function kernelTable(subject: Subject, limits: Limits): string {
  const { steps } = subject.entry;
  const seconds = [...subject.busy].map((t) => Math.max(t, 1e-9) / limits.threads);
  const total = seconds.reduce((a, b) => a + b, 0);
  const order = [...steps.keys()].toSorted((a, b) => (seconds[b] ?? 0) - (seconds[a] ?? 0));
  const lines = order.map((i) => {
    const [time = Number.NaN, wall = Number.NaN, step] = [seconds[i], subject.wall[i], steps[i]];
    const times = [ms(wall), percent(Math.min(1, time / wall)), percent(time / total)];
    return [
      ...times,
      ...(step?.kind === "launch" ? columns(subject, step.launch, time, limits) : ["", "", "", "", "", "copy"]),
    ];
  });
  const head = ["ms", "busy", "of all", "GFLOP/s", "GB/s", "share", "tasks", "phase", "kernel", "operands"];
  const { gflops, gbytes } = limits;
  return `ceilings ${gflops.toFixed(0)} GFLOP/s, ${gbytes.toFixed(0)} GB/s; cores at work ${ms(total)} ms\n${table([head, ...lines])}`;
}
function columns({ plan }: Subject, launch: Launch, time: number, { gflops, gbytes }: Limits): string[] {
  const [flops, bytes] = [(launch.flops / time) * 1e-9, (launch.bytes / time) * 1e-9];
  const share = percent(Math.max(flops / gflops, bytes / gbytes));
  const operands = launch.args.map((a) => plan.buffers[a]).map((b) => (b ? shown(b) : ""));
  const name = plan.kernels[launch.kernel]?.name ?? "";
  return [flops.toFixed(1), bytes.toFixed(1), share, String(launch.tasks), launch.phase, name, operands.join(" ")];
}
const ms = (seconds: number): string => (seconds * 1e3).toFixed(3);
const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;
const shown = ({ name, shape }: PlanBuffer): string => `${name}[${shape.join(",")}]`;
