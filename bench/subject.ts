// A case compiled and loaded as for training, which is timed launch by launch inside the addon.
import { fileURLToPath } from "node:url";
import { loadFile } from "../compiler/check/modules.ts";
import { requireValid } from "../compiler/check/valid.ts";
import { GraphBuilder } from "../compiler/graph/builder.ts";
import {
  type Elaborated,
  type Graph,
  isRuntimeInput,
  type Store,
  unstackedStore,
  type Value,
} from "../compiler/graph/node.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import { silentObserver } from "../compiler/pass.ts";
import { toGraphs, toPlan } from "../compiler/pipeline.ts";
import { type Entry, type Phase, type Plan, workOf } from "../compiler/plan/plan.ts";
import { cudaBackend } from "../compiler/targets.ts";
import { cudaExecutable } from "../runtime/cuda/executable.ts";
import type { PlanExecutable } from "../runtime/executable/plan-executable.ts";
import { hostBackend } from "../runtime/host/backend.ts";
import { hostExecutable } from "../runtime/host/executable.ts";
import type { StepTimes } from "../runtime/native.ts";
import type { Case, Pass } from "./cases.ts";
import { fill } from "./fill.ts";

const program = fileURLToPath(new URL("layers.moe", import.meta.url));
const at = { seed: 0, call: 0, step: 0 };

/** The working type of `float`; `tf32`: whether a GPU multiplies f32 on tensor cores. */
export interface Arithmetic {
  readonly precision: "f32" | "bf16";
  readonly tf32?: boolean;
}
/** Where a case runs: on the host with so many threads, or on a GPU. */
export type BenchTarget = Arithmetic &
  ({ readonly target: "host"; readonly threads: number } | { readonly target: "cuda" });

/** A case that can be run repeatedly. All times are in seconds, the least of all runs so far. */
export class Subject {
  readonly plan: Plan;
  readonly entry: Entry;
  /** For each step of the entry: elapsed time, and the sum of all cores' time in it. */
  readonly wall: Float64Array;
  readonly busy: Float64Array;
  readonly best: Record<Pass, number> = { forward: Infinity, step: Infinity };
  readonly #counts: Record<Pass, (step: number) => boolean>;
  readonly #executable: PlanExecutable;

  private constructor(c: Case, plan: Plan, entry: Entry, executable: PlanExecutable) {
    const phases = entry.steps.map((s): Phase | null => workOf(s)?.phase ?? null);
    const forward = (step: number): boolean => phases[step] === "forward";
    this.#counts = { forward, step: (step) => c.method !== "train" || c.countsForward === true || !forward(step) };
    this.plan = plan;
    this.entry = entry;
    this.#executable = executable;
    this.wall = new Float64Array(entry.steps.length).fill(Infinity);
    this.busy = this.wall.slice();
  }
  /** Compiles the case, fills its stores with random numbers, and runs it once, so that all memory is mapped. */
  static async open(c: Case, on: BenchTarget): Promise<Subject> {
    const plan = await planOf(c, on);
    const [entry] = plan.entries;
    if (!entry) throw new Error(`${c.declaration} has no entry`);
    const last: { see?: (times: StepTimes) => void } = {};
    const profile = (_: Entry, times: StepTimes): void => last.see?.(times);
    const executable =
      on.target === "cuda"
        ? await cudaExecutable(plan, { profile })
        : await hostExecutable(plan, { threads: on.threads, profile });
    fill(executable);
    const subject = new Subject(c, plan, entry, executable);
    await subject.sample();
    last.see = (times) => subject.#record(times);
    return subject;
  }
  async sample(): Promise<void> {
    await this.#executable.run(this.entry.name, new Map(), at);
  }
  close(): void {
    this.#executable.close();
  }
  /** Seconds of a pass as if no core ever waited: the cores' time in its kernels, divided evenly. */
  busySeconds(pass: Pass, threads: number): number {
    return this.#sum(pass, this.busy) / threads;
  }
  #record({ wall, busy }: StepTimes): void {
    least(this.wall, wall);
    least(this.busy, busy);
    for (const pass of ["forward", "step"] as const)
      this.best[pass] = Math.min(this.best[pass], this.#sum(pass, wall) * 1e-9);
  }
  #sum(pass: Pass, times: Float64Array): number {
    return times.reduce((total, t, i) => (this.#counts[pass](i) ? total + t : total), 0);
  }
}
const least = (best: Float64Array, nanoseconds: Float64Array): void =>
  nanoseconds.forEach((t, i) => (best[i] = Math.min(best[i] ?? Infinity, t * 1e-9)));

async function planOf(c: Case, { target, precision, tf32 }: BenchTarget): Promise<Plan> {
  const loaded = loadFile(c.program ?? program);
  requireValid(loaded);
  const gradients = c.work.step !== undefined && c.method !== "train";
  const entries = [{ method: c.method, name: c.method, sizes: c.entrySizes, gradients }];
  const all = toGraphs(
    loaded,
    { declaration: c.declaration, sizes: c.headerSizes, precision, entries },
    silentObserver(),
  );
  const backend = target === "cuda" ? cudaBackend(tf32) : await hostBackend();
  return withoutResults(toPlan(resident(all, c.method), silentObserver(), undefined, undefined, backend));
}
/**
 * Removes the entries' results, so that none is copied to JavaScript: after a result of 128 MB the garbage collector works on all cores while the
 * next run is timed.
 */
const withoutResults = (plan: Plan): Plan => ({ ...plan, entries: plan.entries.map((e) => ({ ...e, results: [] })) });
/**
 * Keeps only the entry, with its inputs and gradients as stores, so that nothing large is passed to JavaScript. Gradients get the layout in which a
 * training's optimizer reads them.
 */
function resident({ stores, graphs }: Elaborated, name: string): Elaborated {
  const added: Store[] = [];
  const own = stores.map((s): Store => (s.role === "input" && !isRuntimeInput(s.name) ? { ...s, role: "state" } : s));
  const kept = graphs
    .filter((g) => g.name === name)
    .map((g) => ({ ...g, results: g.results.map((r) => stored(r, added)) }));
  const trained = own.filter(({ name: of }) => added.some((s) => s.name === gradientOf(of)));
  return { stores: [...own, ...added], graphs: trained.length > 0 ? [...kept, updated(trained)] : kept };
}
/** A graph that is never run: because of it, stores get the same layouts as in a plan for training. */
function updated(parameters: readonly Store[]): Graph {
  const g = new GraphBuilder(ops);
  const step = ({ name, type }: Store): Value => b.sub(g, b.param(g, name, type), b.param(g, gradientOf(name), type));
  return { name: "update", results: parameters.map((p) => ({ role: "store", name: p.name, value: step(p) })) };
}
const gradientOf = (parameter: string): string => `gradient.${parameter}`;
function stored(result: Graph["results"][number], added: Store[]): Graph["results"][number] {
  if (result.role !== "gradient") return result;
  const name = gradientOf(result.name);
  added.push(unstackedStore(name, "state", result.value.type));
  return { role: "store", name, value: result.value };
}
