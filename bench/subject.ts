// A case compiled and loaded as training runs it, timed launch by launch inside the addon.
import { fileURLToPath } from "node:url";
import { loadFile } from "../compiler/check/modules.ts";
import { type Elaborated, type Graph, hidden, type Store } from "../compiler/graph/node.ts";
import { silent } from "../compiler/pass.ts";
import { requireRight, toGraphs, toPlan } from "../compiler/pipeline.ts";
import type { Entry, Phase, Plan } from "../compiler/plan/plan.ts";
import { type HostExecutable, hostExecutable } from "../runtime/host/executable.ts";
import type { Case, Pass } from "./cases.ts";
import { fill } from "./fill.ts";

const program = fileURLToPath(new URL("layers.moe", import.meta.url));
const at = { seed: 0, call: 0, step: 0 };

/** Least seconds so far of each step of the entry, of its forward and of all of it. */
export class Subject {
  readonly plan: Plan;
  readonly entry: Entry;
  readonly steps: Float64Array;
  readonly best: Record<Pass, number> = { forward: Infinity, step: Infinity };
  readonly #executable: HostExecutable;

  private constructor(plan: Plan, entry: Entry, executable: HostExecutable, steps: Float64Array) {
    this.plan = plan;
    this.entry = entry;
    this.#executable = executable;
    this.steps = steps;
  }
  /** Compiles, fills the stores with random numbers, and runs once, so that memory is there. */
  static async open(c: Case, threads: number): Promise<Subject> {
    const plan = planOf(c);
    const [entry] = plan.entries;
    if (!entry) throw new Error(`${c.declaration} has no entry`);
    const last = { run: (_: Float64Array): void => undefined };
    const executable = await hostExecutable(plan, { threads, profile: (_, times) => last.run(times) });
    fill(executable);
    const subject = new Subject(plan, entry, executable, new Float64Array(entry.steps.length).fill(Infinity));
    await subject.#run();
    last.run = (times) => subject.#seen(c, times);
    return subject;
  }
  async sample(): Promise<void> {
    await this.#run();
  }
  close(): void {
    this.#executable.close();
  }
  async #run(): Promise<void> {
    await this.#executable.run(this.entry.name, new Map(), at);
  }
  #seen(c: Case, nanoseconds: Float64Array): void {
    const sum = (counts: (p: Phase | null) => boolean): number =>
      nanoseconds.reduce((total, t, i) => (counts(this.phase(i)) ? total + t * 1e-9 : total), 0);
    nanoseconds.forEach((t, i) => (this.steps[i] = Math.min(this.steps[i] ?? Infinity, t * 1e-9)));
    const forward = sum((p) => p === "forward");
    this.best.forward = Math.min(this.best.forward, forward);
    this.best.step = Math.min(
      this.best.step,
      sum((p) => c.method !== "train" || p !== "forward"),
    );
  }
  /** Null: of a copy. */
  phase(step: number): Phase | null {
    const s = this.entry.steps[step];
    return s?.kind === "launch" ? s.launch.phase : null;
  }
}

function planOf(c: Case): Plan {
  const loaded = loadFile(program);
  requireRight(loaded);
  const gradients = c.work.step !== undefined && c.method !== "train";
  const entries = [{ method: c.method, name: c.method, sizes: c.own, gradients }];
  const all = toGraphs(loaded, { declaration: c.declaration, sizes: c.header, precision: "f32", entries }, silent());
  return toPlan(resident(all, c.method), silent());
}
/** The entry alone, its inputs and gradients in stores: nothing large crosses to JavaScript. */
function resident({ stores, graphs }: Elaborated, name: string): Elaborated {
  const added: Store[] = [];
  const kept = graphs
    .filter((g) => g.name === name)
    .map(
      (graph): Graph => ({
        ...graph,
        results: graph.results.map((r) => {
          if (r.role !== "gradient") return r;
          const store = `gradient.${r.name}`;
          added.push({ name: store, role: "state", type: r.value.type, stack: 0, saved: false, where: null });
          return { role: "store", name: store, value: r.value };
        }),
      }),
    );
  const own = stores.map((s): Store => (s.role === "input" && !isHidden(s.name) ? { ...s, role: "state" } : s));
  return { stores: [...own, ...added], graphs: kept };
}
const isHidden = (name: string): boolean => name === hidden.key || name === hidden.step;
