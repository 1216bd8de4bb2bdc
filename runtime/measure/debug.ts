// What MOEC_DEBUG prints on stderr. Each level includes those below: 1 passes and their times, 2 times and rates of each kernel in the last run of
// each entry, 3 schedules, 4 generated source, 5 every form after every pass, 6 every use of a rewrite rule.
import { Problem } from "../../compiler/diagnostic.ts";
import { readableKernel } from "../../compiler/emit/unit.ts";
import type { Observer, PassEvent } from "../../compiler/pass.ts";
import type { Entry, Plan, PlanKernel } from "../../compiler/plan/plan.ts";
import { measureLimits } from "../host/ceiling.ts";
import type { HostOptions } from "../host/executable.ts";
import type { StepTimes } from "../native.ts";
import { kernelTable, kernelTimes, unknownLimits } from "./kernel-times.ts";

export const debugLevel = (): number => Number(process.env["MOEC_DEBUG"] ?? 0) || 0;

/** Callbacks of tools (`moec profile`) that watch passes and runs, whatever the level. */
export interface Watch {
  readonly after?: (ran: PassEvent) => void;
  readonly profile?: HostOptions["profile"];
}
interface DebugOptions {
  /** The value of MOEC_DEBUG. */
  readonly level?: number;
  /** Passes whose results are printed at any level. */
  readonly printAfter?: readonly string[];
  readonly watch?: Watch;
  readonly write?: (text: string) => void;
}
/** Observes compiling, and prints what the level asks for as it happens. */
export class Debugger implements Observer {
  readonly timings = new Map<string, number>();
  readonly onRewrite?: (rule: string, text: () => string) => void;
  readonly #level: number;
  readonly #write: (text: string) => void;
  readonly #printAfter: ReadonlySet<string>;
  readonly #watch: Watch;
  /** Names of the passes that produced a form to print. */
  readonly #passes = new Set<string>();
  #last = "";

  constructor({ level = debugLevel(), printAfter = [], watch = {}, write = toStderr }: DebugOptions = {}) {
    this.#level = level;
    this.#write = write;
    this.#printAfter = new Set(printAfter);
    this.#watch = watch;
    if (level >= 6) this.onRewrite = (rule, text) => write(`rule ${rule}: ${text()}\n`);
  }
  onPass(ran: PassEvent): void {
    const { pass, seconds, text } = ran;
    this.#watch.after?.(ran);
    if (this.#level >= 1 && pass !== "verify") this.#write(`${pass.padEnd(13)} ${(seconds * 1000).toFixed(1)} ms\n`);
    if (!text) return;
    this.#passes.add(pass);
    const wanted = this.#printAfter.has(pass);
    if (this.#level < 5 && !wanted) return;
    const now = text();
    const same = now === this.#last && !wanted;
    this.#write(`after ${pass}${same ? " (unchanged)\n" : `\n${now.trimEnd()}\n`}`);
    this.#last = now;
  }
  /** Prints the plan's schedules and source. Throws Problem if a pass of `printAfter` never ran. */
  showPlan(plan: Plan | null): void {
    for (const kernel of plan?.kernels ?? []) {
      if (this.#level >= 3 && kernel.schedule) this.#write(`${showSchedule(kernel)}\n`);
      if (this.#level >= 4) this.#write(`${readableKernel(kernel).trimEnd()}\n`);
    }
    for (const pass of this.#printAfter)
      if (!this.#passes.has(pass))
        throw new Problem(`no pass ${pass} ran`, `those that ran are ${[...this.#passes].join(", ")}`);
  }
  /** Options for loading an executable, with which its kernels' times are collected, and printed when it closes. */
  async profileOptions(plan: Plan, threads: number): Promise<Pick<HostOptions, "profile" | "closed">> {
    const { profile } = this.#watch;
    if (this.#level < 2) return profile ? { profile } : {};
    const limits = plan.target === "host" ? await measureLimits(threads) : unknownLimits;
    const last = new Map<Entry, StepTimes>();
    return {
      profile: (entry, times) => {
        last.set(entry, times);
        profile?.(entry, times);
      },
      closed: () => {
        for (const [entry, times] of last) {
          const rows = kernelTimes(plan, entry, inSeconds(times), limits);
          this.#write(`entry ${entry.name}, last run: ${kernelTable(rows, limits, "lines")}\n`);
        }
      },
    };
  }
}
const toStderr = (text: string): void => void process.stderr.write(text);
export const inSeconds = ({ wall, busy }: StepTimes): StepTimes => ({
  wall: wall.map((t) => t * 1e-9),
  busy: busy.map((t) => t * 1e-9),
});
function showSchedule({ name, schedule }: PlanKernel): string {
  const choice = Object.entries(schedule?.choice ?? {}).map(([key, value]) => `${key} ${value}`);
  return `schedule ${name}: ${schedule?.shape}: ${choice.join(", ")}`;
}
