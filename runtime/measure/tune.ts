// `moec tune`: measures schedules for a program's contractions and keeps the fastest. In each run of the whole entry every contraction tries one
// candidate, so each is timed in its real surroundings, with the caches as its neighbours leave them.
import { createHash } from "node:crypto";
import { Bug, Problem } from "../../compiler/diagnostic.ts";
import {
  tuningAxes as allAxes,
  candidatesOn,
  parseContractionKey,
  type TuningAxis,
} from "../../compiler/kernel/candidates.ts";
import type { Contraction, Schedule } from "../../compiler/kernel/schedule.ts";
import { ScheduleCache, type Schedules } from "../cache/schedules.ts";
import { panelWidth } from "../host/backend.ts";
import { toolchain } from "../host/toolchain.ts";
import { cores } from "../machine.ts";
import type { StepTimes } from "../native.ts";
import { bytesOfTensor } from "../tensor.ts";
import { type MeasuredEntry, type MeasureOptions, openMeasuredEntry } from "./measured-entry.ts";

export interface TuneOptions extends Omit<MeasureOptions, "after" | "schedules" | "target" | "tf32"> {
  /** Runs of each candidate, of which the fastest counts. Default: 5. */
  readonly runs?: number | undefined;
  /** Where to store the fastest schedules; null: nowhere. Default: this machine's cache. */
  readonly cache?: ScheduleCache | null | undefined;
  /** Which parameters of a schedule to vary. Default: all. */
  readonly axes?: readonly TuningAxis[];
  /** Called after each round, in which each contraction has measured one candidate. */
  readonly round?: (axis: TuningAxis, done: number, of: number) => void;
}
/** The result for one shape of contraction; seconds are the total of all its launches in one run. */
interface TunedShape {
  readonly shape: string;
  readonly before: Schedule;
  readonly after: Schedule;
  readonly secondsBefore: number;
  readonly secondsAfter: number;
}
export interface Tuned {
  readonly entry: string;
  /** Shapes for which a better schedule was found, the largest gain first. */
  readonly shapes: readonly TunedShape[];
  /** The number of different contractions, and of schedules measured. */
  readonly contractions: number;
  readonly measured: number;
  /** The whole entry with the old schedules and with the new ones, measured alternately. */
  readonly secondsBefore: number;
  readonly secondsAfter: number;
}
/** A new schedule must take at most this fraction of the old one's time; smaller gains may be noise. */
const requiredRatio = 0.97;

export async function tune({ runs = 5, cache, axes = allAxes, round, ...options }: TuneOptions): Promise<Tuned> {
  const { threads = cores() } = options;
  const tools = await toolchain();
  const scheduleCache = cache === undefined ? new ScheduleCache(tools, threads) : cache;
  const known: Schedules = scheduleCache?.read() ?? new Map();
  const measure = new Measure({ ...options, threads }, runs);
  const base = await measure.with(known);
  const tries = [...base.choices].map(([shape, before]): Candidate => {
    const contraction = parseContractionKey(shape);
    if (!contraction) throw new Bug(`\`${shape}\` is no contraction`);
    const first = base.seconds.get(shape) ?? Number.NaN;
    return { shape, contraction, before, best: before, first, seconds: first };
  });
  if (tries.length === 0)
    throw new Problem(`${base.entry} has no matrix product`, "tune an entry that has one, or the model's `train`");
  let measured = 0;
  for (const axis of axes) {
    const others = new Map(tries.map((t) => [t, candidatesOn(t.contraction, t.best, axis, panelWidth(tools))]));
    const rounds = Math.max(...[...others.values()].map((list) => list.length));
    for (let i = 0; i < rounds; i++) {
      const now = new Map([...known, ...tries.map((t): [string, Schedule] => [t.shape, others.get(t)?.[i] ?? t.best])]);
      const { seconds } = await measure.with(now);
      for (const [t, list] of others) updateBest(t, list[i], seconds.get(t.shape) ?? Number.NaN);
      round?.(axis, i + 1, rounds);
    }
    measured += [...others.values()].reduce((sum, list) => sum + list.length, 0);
  }
  return { ...(await confirmWinners(measure, tries, known, scheduleCache)), entry: base.entry, measured };
}
interface Candidate {
  readonly shape: string;
  readonly contraction: Contraction;
  readonly before: Schedule;
  best: Schedule;
  /** Seconds of `before`, as first measured; `seconds` are those of `best`. */
  readonly first: number;
  seconds: number;
}
function updateBest(t: Candidate, schedule: Schedule | undefined, seconds: number): void {
  if (!schedule || !(seconds < t.seconds)) return;
  t.best = schedule;
  t.seconds = seconds;
}

/** Measures the winners again, alternating with the old schedules; drops those that do not win this time too, and stores the rest. */
async function confirmWinners(
  measure: Measure,
  tries: readonly Candidate[],
  known: Schedules,
  cache: ScheduleCache | null,
): Promise<Omit<Tuned, "entry" | "measured">> {
  const won = tries.filter((t) => t.best !== t.before && t.seconds < requiredRatio * t.first);
  const chosen = new Map([...known, ...won.map((t): [string, Schedule] => [t.shape, t.best])]);
  const best = { before: new Best(), after: new Best() };
  for (let i = 0; i < 2; i++) {
    best.before.add(await measure.with(known));
    best.after.add(await measure.with(chosen));
  }
  const shapes = won
    .map((t) => ({
      shape: t.shape,
      before: t.before,
      after: t.best,
      secondsBefore: best.before.of(t.shape),
      secondsAfter: best.after.of(t.shape),
    }))
    .filter((s) => s.secondsAfter < requiredRatio * s.secondsBefore)
    .toSorted((a, b) => b.secondsBefore - b.secondsAfter - (a.secondsBefore - a.secondsAfter));
  if (shapes.length > 0) cache?.add(new Map(shapes.map((s) => [s.shape, s.after])));
  return {
    shapes,
    contractions: tries.length,
    secondsBefore: best.before.total,
    secondsAfter: best.after.total,
  };
}
class Best {
  total = Number.POSITIVE_INFINITY;
  readonly #seconds = new Map<string, number>();
  add({ total, seconds }: Measured): void {
    this.total = Math.min(this.total, total);
    for (const [shape, s] of seconds) this.#seconds.set(shape, Math.min(s, this.#seconds.get(shape) ?? s));
  }
  of(shape: string): number {
    return this.#seconds.get(shape) ?? Number.NaN;
  }
}

interface Measured {
  readonly entry: string;
  /** For each shape its schedule, and the least total time of its launches in a run. */
  readonly choices: ReadonlyMap<string, Schedule>;
  readonly seconds: ReadonlyMap<string, number>;
  readonly total: number;
}
/** Runs the entry with given schedules. A schedule that changes a bit of the results is a Bug. */
class Measure {
  readonly #options: MeasureOptions;
  readonly #runs: number;
  #bits: string | null = null;
  constructor(options: MeasureOptions, runs: number) {
    this.#options = options;
    this.#runs = runs;
  }
  async with(schedules: Schedules): Promise<Measured> {
    const trial = await openMeasuredEntry({ ...this.#options, schedules });
    try {
      const bits = createHash("sha256");
      const all: StepTimes[] = [];
      for (let i = 0; i <= this.#runs; i++) {
        const { outcome, times } = await trial.run();
        const { outputs, losses, gradients } = outcome;
        for (const loss of losses.values()) bits.update(Float64Array.of(loss));
        for (const t of [...outputs, ...gradients.values()]) bits.update(bytesOfTensor(t));
        if (i > 0) all.push(times);
      }
      for (const t of trial.parameters()) bits.update(bytesOfTensor(t));
      this.#requireSameBits(bits.digest("hex"), schedules);
      return summed(trial, all);
    } finally {
      trial.close();
    }
  }
  #requireSameBits(bits: string, schedules: Schedules): void {
    this.#bits ??= bits;
    if (bits !== this.#bits)
      throw new Bug(`a schedule changed a result; it is one of ${JSON.stringify([...schedules])}`);
  }
}
function summed({ plan, entry }: MeasuredEntry, runs: readonly StepTimes[]): Measured {
  const shapes = entry.steps.map((s) => (s.kind === "launch" ? plan.kernels[s.launch.kernel]?.schedule : undefined));
  const choices = new Map<string, Schedule>();
  for (const s of shapes) if (s) choices.set(s.shape, { ...(s.choice as unknown as Schedule) });
  const least = (of: (step: number) => boolean): number =>
    Math.min(...runs.map(({ wall }) => wall.reduce((sum, t, i) => (of(i) ? sum + t : sum), 0)));
  const seconds = new Map([...choices.keys()].map((shape) => [shape, least((i) => shapes[i]?.shape === shape)]));
  return { entry: entry.name, choices, seconds, total: least(() => true) };
}
