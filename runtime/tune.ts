// Measures schedules of a program's contractions and keeps the winners. All contractions try a candidate each in one run of the whole
// entry, so each is timed among its neighbours, with the caches as they leave them.
import { createHash } from "node:crypto";
import { Bug, Problem } from "../compiler/diagnostic.ts";
import { type Axis, axes as allAxes, contractionOf, variants } from "../compiler/kernel/candidates.ts";
import type { Contraction, Schedule } from "../compiler/kernel/schedule.ts";
import { panelOf } from "./host/backend.ts";
import { cores } from "./host/machine.ts";
import { ScheduleCache, type Schedules } from "./host/schedules.ts";
import { toolchain } from "./host/toolchain.ts";
import type { StepTimes } from "./native.ts";
import { bytesOfTensor } from "./tensor.ts";
import { openTrial, type Trial, type TrialOptions } from "./trial.ts";

export interface TuneOptions extends Omit<TrialOptions, "after" | "schedules" | "target" | "tf32"> {
  /** Runs of each candidate, the best of which counts: 5. */
  readonly runs?: number | undefined;
  /** Where winners are kept; null: nowhere. Default: the cache of this machine. */
  readonly cache?: ScheduleCache | null | undefined;
  /** What is varied; default: all. */
  readonly axes?: readonly Axis[];
  /** Told after each round: a run of the entry with a candidate for each contraction. */
  readonly round?: (axis: Axis, done: number, of: number) => void;
}
/** What was found for one shape; times are those of all its launches in one run, in seconds. */
interface TunedShape {
  readonly shape: string;
  readonly before: Schedule;
  readonly after: Schedule;
  readonly secondsBefore: number;
  readonly secondsAfter: number;
}
export interface Tuned {
  readonly entry: string;
  /** Those that have a winner, the largest gain first. */
  readonly shapes: readonly TunedShape[];
  /** How many contractions there are, and how many schedules were measured. */
  readonly contractions: number;
  readonly measured: number;
  /** The whole entry, before and with the winners, measured in turns. */
  readonly secondsBefore: number;
  readonly secondsAfter: number;
}
/** A gain below this may be noise, and changes nothing. */
const worthwhile = 0.97;

export async function tune({ runs = 5, cache, axes = allAxes, round, ...options }: TuneOptions): Promise<Tuned> {
  const { threads = cores() } = options;
  const tools = await toolchain();
  const kept = cache === undefined ? new ScheduleCache(tools, threads) : cache;
  const known: Schedules = kept?.read() ?? new Map();
  const measure = new Measure({ ...options, threads }, runs);
  const base = await measure.with(known);
  const tries = [...base.choices].map(([shape, before]): Try => {
    const contraction = contractionOf(shape);
    if (!contraction) throw new Bug(`\`${shape}\` is no contraction`);
    const first = base.seconds.get(shape) ?? Number.NaN;
    return { shape, contraction, before, best: before, first, seconds: first };
  });
  if (tries.length === 0)
    throw new Problem(`${base.entry} has no matrix product`, "tune an entry that has one, or the model's `train`");
  let measured = 0;
  for (const axis of axes) {
    const others = new Map(tries.map((t) => [t, variants(t.contraction, t.best, axis, panelOf(tools))]));
    const rounds = Math.max(...[...others.values()].map((list) => list.length));
    for (let i = 0; i < rounds; i++) {
      const now = new Map([...known, ...tries.map((t): [string, Schedule] => [t.shape, others.get(t)?.[i] ?? t.best])]);
      const { seconds } = await measure.with(now);
      for (const [t, list] of others) better(t, list[i], seconds.get(t.shape) ?? Number.NaN);
      round?.(axis, i + 1, rounds);
    }
    measured += [...others.values()].reduce((sum, list) => sum + list.length, 0);
  }
  return { ...(await decide(measure, tries, known, kept)), entry: base.entry, measured };
}
interface Try {
  readonly shape: string;
  readonly contraction: Contraction;
  readonly before: Schedule;
  best: Schedule;
  /** Of `before`, as measured first, and of `best`. */
  readonly first: number;
  seconds: number;
}
function better(t: Try, schedule: Schedule | undefined, seconds: number): void {
  if (!schedule || !(seconds < t.seconds)) return;
  t.best = schedule;
  t.seconds = seconds;
}

/** The winners against what was there before, in turns: what does not win again is dropped, and the rest is kept. */
async function decide(
  measure: Measure,
  tries: readonly Try[],
  known: Schedules,
  cache: ScheduleCache | null,
): Promise<Omit<Tuned, "entry" | "measured">> {
  const won = tries.filter((t) => t.best !== t.before && t.seconds < worthwhile * t.first);
  const chosen = new Map([...known, ...won.map((t): [string, Schedule] => [t.shape, t.best])]);
  const turns = { before: new Best(), after: new Best() };
  for (let turn = 0; turn < 2; turn++) {
    turns.before.see(await measure.with(known));
    turns.after.see(await measure.with(chosen));
  }
  const shapes = won
    .map((t) => ({
      shape: t.shape,
      before: t.before,
      after: t.best,
      secondsBefore: turns.before.of(t.shape),
      secondsAfter: turns.after.of(t.shape),
    }))
    .filter((s) => s.secondsAfter < worthwhile * s.secondsBefore)
    .toSorted((a, b) => b.secondsBefore - b.secondsAfter - (a.secondsBefore - a.secondsAfter));
  if (shapes.length > 0) cache?.add(new Map(shapes.map((s) => [s.shape, s.after])));
  return {
    shapes,
    contractions: tries.length,
    secondsBefore: turns.before.total,
    secondsAfter: turns.after.total,
  };
}
class Best {
  total = Number.POSITIVE_INFINITY;
  readonly #seconds = new Map<string, number>();
  see({ total, seconds }: Measured): void {
    this.total = Math.min(this.total, total);
    for (const [shape, s] of seconds) this.#seconds.set(shape, Math.min(s, this.#seconds.get(shape) ?? s));
  }
  of(shape: string): number {
    return this.#seconds.get(shape) ?? Number.NaN;
  }
}

interface Measured {
  readonly entry: string;
  /** Of each shape: its schedule, and the least seconds that its launches took together in a run. */
  readonly choices: ReadonlyMap<string, Schedule>;
  readonly seconds: ReadonlyMap<string, number>;
  readonly total: number;
}
/** Runs the entry with given schedules, and sees to it that results keep their bits. */
class Measure {
  readonly #options: TrialOptions;
  readonly #runs: number;
  #bits: string | null = null;
  constructor(options: TrialOptions, runs: number) {
    this.#options = options;
    this.#runs = runs;
  }
  async with(schedules: Schedules): Promise<Measured> {
    const trial = await openTrial({ ...this.#options, schedules });
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
      this.#same(bits.digest("hex"), schedules);
      return summed(trial, all);
    } finally {
      trial.close();
    }
  }
  #same(bits: string, schedules: Schedules): void {
    this.#bits ??= bits;
    if (bits !== this.#bits)
      throw new Bug(`a schedule changed a result; it is one of ${JSON.stringify([...schedules])}`);
  }
}
function summed({ plan, entry }: Trial, runs: readonly StepTimes[]): Measured {
  const shapes = entry.steps.map((s) => (s.kind === "launch" ? plan.kernels[s.launch.kernel]?.schedule : undefined));
  const choices = new Map<string, Schedule>();
  for (const s of shapes) if (s) choices.set(s.shape, { ...(s.choice as unknown as Schedule) });
  const least = (of: (step: number) => boolean): number =>
    Math.min(...runs.map(({ wall }) => wall.reduce((sum, t, i) => (of(i) ? sum + t : sum), 0)));
  const seconds = new Map([...choices.keys()].map((shape) => [shape, least((i) => shapes[i]?.shape === shape)]));
  return { entry: entry.name, choices, seconds, total: least(() => true) };
}
