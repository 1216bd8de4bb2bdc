// `moec profile`: measures where an entry's time goes, as a table and as a trace that Chrome and Perfetto open.
import type { PassEvent } from "../../compiler/pass.ts";
import type { PlanKernel } from "../../compiler/plan/plan.ts";
import { sum } from "../../compiler/types/numbers.ts";
import { measureLimits } from "../host/ceiling.ts";
import type { StepTimes } from "../native.ts";
import { type KernelTime, kernelTimes, type Limits, unknownLimits } from "./kernel-times.ts";
import { type MeasuredEntry, type MeasureOptions, openMeasuredEntry } from "./measured-entry.ts";

interface ProfileOptions extends Omit<MeasureOptions, "after"> {
  /** How many runs are measured, after one warm-up run. Default: 5. */
  readonly runs?: number | undefined;
  /** Bytes that are moved to find memory's rate. Default: more than the caches hold. */
  readonly moved?: number;
}
export interface Profile {
  readonly entry: string;
  /** The time of each run, in order. */
  readonly seconds: readonly number[];
  readonly limits: Limits;
  /** Times of the fastest run's launches, in order. */
  readonly kernels: readonly KernelTime[];
  readonly trace: Trace;
}
/** The trace event format of `chrome://tracing`; times are in microseconds. */
export interface Trace {
  readonly traceEvents: readonly TraceEvent[];
  readonly displayTimeUnit: "ms";
}
interface TraceEvent {
  readonly name: string;
  readonly cat?: string;
  /** X: a slice that begins at `ts` and lasts `dur`. C: a counter. M: the name of a process or track. */
  readonly ph: "X" | "C" | "M";
  readonly ts?: number;
  readonly dur?: number;
  readonly pid: number;
  readonly tid: number;
  readonly args?: Readonly<Record<string, string | number>>;
}
interface Run {
  /** When it began, by performance.now(), in seconds. */
  readonly start: number;
  readonly seconds: number;
  readonly kernels: readonly KernelTime[];
}

export async function profile({ runs: wanted = 5, moved, ...options }: ProfileOptions): Promise<Profile> {
  const passes: PassEvent[] = [];
  const trial = await openMeasuredEntry({ ...options, after: (ran) => void passes.push(ran) });
  try {
    await trial.run();
    const timed: { readonly start: number; readonly times: StepTimes }[] = [];
    for (let i = 0; i < wanted; i++) {
      const start = performance.now() / 1000;
      timed.push({ start, times: (await trial.run()).times });
    }
    const limits = trial.plan.target === "host" ? await measureLimits(trial.threads, moved) : unknownLimits;
    const runs = timed.map(({ start, times }) => runOf(trial, start, times, limits));
    const [quickest] = runs.toSorted((a, b) => a.seconds - b.seconds);
    return {
      entry: trial.entry.name,
      seconds: runs.map((r) => r.seconds),
      limits,
      kernels: quickest?.kernels ?? [],
      trace: traceOf(trial, passes, runs),
    };
  } finally {
    trial.close();
  }
}
const runOf = ({ plan, entry }: MeasuredEntry, start: number, times: StepTimes, limits: Limits): Run => ({
  start,
  seconds: sum(times.wall),
  kernels: kernelTimes(plan, entry, times, limits),
});

const tracks = { compile: 1, run: 2, rates: 3 } as const;
function traceOf({ entry, plan }: MeasuredEntry, passes: readonly PassEvent[], runs: readonly Run[]): Trace {
  const schedules = new Map(plan.kernels.map((k) => [k.name, k.schedule]));
  const traceEvents = [
    named("process_name", "moec", 0),
    named("thread_name", "compile", tracks.compile),
    named("thread_name", `run ${entry.name}`, tracks.run),
    ...passes.map((p) => slice(p.pass, "pass", tracks.compile, p)),
    ...runs.flatMap((run) => runEvents(run, entry.name, schedules)),
  ];
  return { traceEvents, displayTimeUnit: "ms" };
}
const named = (name: string, value: string, tid: number): TraceEvent => ({
  name,
  ph: "M",
  pid: 1,
  tid,
  args: { name: value },
});
const micro = (seconds: number): number => Math.round(seconds * 1e9) / 1e3;
const slice = (
  name: string,
  cat: string,
  tid: number,
  { start, seconds }: Pick<Run, "start" | "seconds">,
  args?: TraceEvent["args"],
): TraceEvent => ({
  name,
  cat,
  ph: "X",
  ts: micro(start),
  dur: micro(seconds),
  pid: 1,
  tid,
  ...(args ? { args } : {}),
});

/** Nested slices for the run, its phases and its launches, and counters of the launches' rates. */
function runEvents(run: Run, entry: string, schedules: ReadonlyMap<string, PlanKernel["schedule"]>): TraceEvent[] {
  const events = [slice(entry, "run", tracks.run, run)];
  let at = run.start;
  for (const { phase, kernels } of phaseRuns(run.kernels)) {
    events.push(slice(phase, "phase", tracks.run, { start: at, seconds: sum(kernels.map((k) => k.seconds)) }));
    for (const k of kernels) {
      events.push(
        slice(k.kernel, "kernel", tracks.run, { start: at, seconds: k.seconds }, details(k, schedules.get(k.kernel))),
        counter("GFLOP/s", at, k.gflops),
        counter("GB/s", at, k.gbytes),
        counter("share of the ceiling", at, k.share),
      );
      at += k.seconds;
    }
  }
  return events;
}
const counter = (name: string, at: number, value: number): TraceEvent => ({
  name,
  ph: "C",
  ts: micro(at),
  pid: 1,
  tid: tracks.rates,
  args: { [name]: Number(value.toPrecision(4)) },
});
/** Consecutive launches of the same phase. */
function phaseRuns(kernels: readonly KernelTime[]): { readonly phase: string; readonly kernels: KernelTime[] }[] {
  const all: { phase: string; kernels: KernelTime[] }[] = [];
  for (const k of kernels) {
    const last = all.at(-1);
    if (last?.phase === k.phase) last.kernels.push(k);
    else all.push({ phase: k.phase, kernels: [k] });
  }
  return all;
}
function details(k: KernelTime, schedule: PlanKernel["schedule"]): Record<string, string | number> {
  const choice = Object.entries(schedule?.choice ?? {}).map(([name, value]) => `${name} ${value}`);
  return {
    "share of the ceiling": Number(k.share.toFixed(3)),
    "GFLOP/s": Number(k.gflops.toFixed(1)),
    "GB/s": Number(k.gbytes.toFixed(1)),
    busy: Number(Math.min(1, k.busySeconds / k.seconds).toFixed(3)),
    lines: k.lines.join(" "),
    operands: k.operands.join(" "),
    ...(schedule ? { contraction: schedule.shape, schedule: choice.join(", ") } : {}),
    flops: k.flops,
    bytes: k.bytes,
    tasks: k.tasks,
  };
}
