// Turns the measured times of an entry's steps into rates, shares of the machine's ceilings, and a table.
import { Bug } from "../../compiler/diagnostic.ts";
import { type Entry, isBeside, type Phase, type Plan, type Step } from "../../compiler/plan/plan.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { showLines } from "./show-lines.ts";
import { table } from "./table.ts";

/** The machine's ceilings with this many threads: GFLOP/s of f32 multiply-adds, GB/s of memory. */
export interface Limits {
  readonly threads: number;
  readonly gflops: number;
  readonly gbytes: number;
}
/** For a GPU: its ceilings are not measured, and each launch has all of it. */
export const unknownLimits: Limits = { threads: 1, gflops: Infinity, gbytes: Infinity };
export interface KernelTime {
  readonly kernel: string;
  readonly phase: Phase | "copy";
  readonly tasks: number;
  /** Wall time. */
  readonly seconds: number;
  /**
   * The cores' time in it, divided evenly among them: how long it would take if no core waited for another's last task. For a collective, and a wait
   * for one: the wall time.
   */
  readonly busySeconds: number;
  /** `bytes` is an upper bound: of rows that are chosen by index, as many as can be chosen. Rates are over `busySeconds`. */
  readonly flops: number;
  readonly bytes: number;
  readonly gflops: number;
  readonly gbytes: number;
  /** The larger of the two rates' shares of their ceilings; 0 if the ceilings are unknown. Above 1 see `aboveCeilingNote`. */
  readonly share: number;
  /** The program's lines that it computes, and its buffers with their shapes. */
  readonly lines: readonly string[];
  readonly operands: readonly string[];
}

/** In the order of the entry's steps. `wall` and `busy`: seconds of each step, elapsed and summed over all cores. */
export const kernelTimes = (
  plan: Plan,
  entry: Entry,
  { wall, busy }: { readonly wall: Float64Array; readonly busy: Float64Array },
  limits: Limits,
): readonly KernelTime[] =>
  entry.steps.map((step, i) => {
    const isMoved = step.kind === "collective" || step.kind === "wait";
    const used = isMoved ? (wall[i] ?? 0) : (busy[i] ?? 0) / limits.threads;
    const busySeconds = Math.max(used, 1e-9 / limits.threads);
    const { flops, bytes, ...known } = stepInfo(plan, entry.steps, step);
    const [gflops, gbytes] = [(flops / busySeconds) * 1e-9, (bytes / busySeconds) * 1e-9];
    const share = Math.max(gflops / limits.gflops, gbytes / limits.gbytes);
    return { ...known, flops, bytes, seconds: wall[i] ?? 0, busySeconds, gflops, gbytes, share };
  });
type Described = Pick<KernelTime, "kernel" | "phase" | "tasks" | "flops" | "bytes" | "lines" | "operands">;
/** What is beside is begun at once, and its time is that of who waits for it; its work is none of theirs, since it is done meanwhile. */
function stepInfo(plan: Plan, steps: readonly Step[], step: Step): Described {
  if (step.kind === "wait") {
    const awaited = steps[step.step];
    if (awaited?.kind !== "launch" && awaited?.kind !== "collective")
      throw new Bug(`step ${step.step} is awaited, and is not beside`);
    return { ...workInfo(plan, awaited), kernel: `wait for ${workInfo(plan, awaited).kernel}`, flops: 0, bytes: 0 };
  }
  if (step.kind !== "copy") return { ...workInfo(plan, step), ...(isBeside(step) ? { flops: 0, bytes: 0 } : {}) };
  const bytes = 2 * (plan.buffers[step.to]?.bytes ?? 0);
  const operands = [step.from, step.to].map((i) => shown(plan, i));
  return { kernel: "copy", phase: "copy", tasks: 0, flops: 0, bytes, lines: [], operands };
}
const shown = (plan: Plan, i: number): string => `${plan.buffers[i]?.name}[${plan.buffers[i]?.shape.join(",")}]`;
function workInfo(plan: Plan, step: Extract<Step, { readonly kind: "launch" | "collective" }>): Described {
  const { phase, flops, bytes, args } = step.kind === "launch" ? step.launch : step.collective;
  const known = { phase, flops, bytes, operands: args.map((i) => shown(plan, i)) };
  if (step.kind === "collective") return { ...known, kernel: step.collective.op.name, tasks: 1, lines: [] };
  const { name = "", origins = [] } = plan.kernels[step.launch.kernel] ?? {};
  return { ...known, kernel: name, tasks: step.launch.tasks, lines: origins };
}

/** A table sorted by time, longest first; `last` chooses what its last column shows. */
export function kernelTable(times: readonly KernelTime[], limits: Limits, last: "lines" | "operands"): string {
  const total = times.reduce((sum, t) => sum + t.busySeconds, 0);
  const { gflops, gbytes, threads } = limits;
  const known = Object.entries({ "GFLOP/s": gflops, "GB/s": gbytes })
    .filter(([, most]) => Number.isFinite(most))
    .map(([unit, most]) => `${most.toFixed(0)} ${unit}`);
  const rows = times
    .toSorted((a, b) => b.busySeconds - a.busySeconds)
    .map((t) => [
      ms(t.seconds),
      percent(Math.min(1, t.busySeconds / t.seconds)),
      percent(t.busySeconds / total),
      t.gflops.toFixed(1),
      t.gbytes.toFixed(1),
      known.length > 0 ? percent(t.share) : "-",
      String(t.tasks),
      t.phase,
      t.kernel,
      last === "lines" ? showLines(t.lines) : t.operands.join(" "),
    ]);
  const head = ["ms", "busy", "of all", "GFLOP/s", "GB/s", "share", "tasks", "phase", "kernel", last];
  const ceilings =
    known.length > 0
      ? `ceilings ${known.join(", ")} on ${pluralize(threads, "thread")}`
      : "times between events of the GPU";
  const beyond = known.length > 0 && times.some((t) => t.share > 1) ? `\n${aboveCeilingNote}` : "";
  return `${ceilings}; cores at work ${ms(total)} ms\n${table([head, ...rows])}${beyond}`;
}
const aboveCeilingNote =
  "above 100 %: read from the processor's caches, or less than is counted: attention passes over positions that are not seen, and rows may choose the same expert; or bf16, of which processors with AVX512-BF16 or AMX make more products than of f32";
const ms = (seconds: number): string => (seconds * 1e3).toFixed(3);
const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;
