// Trains random programs on the host, all in one plan, with different numbers of threads and two sets of schedules. Each run is compared with the
// interpreter on what the runs before left, so that errors do not accumulate; the last step also runs on an executable that was resumed.
import * as assert from "uvu/assert";
import type { Elaborated, Graph, NdArray } from "../../compiler/graph/node.ts";
import { item } from "../../compiler/item.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toPlan } from "../../compiler/pipeline.ts";
import type { Plan } from "../../compiler/plan/plan.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import type { Executable, Outcome, Tensor } from "../../runtime/executable/executable.ts";
import { inputOfStore } from "../../runtime/executable/executable.ts";
import { hostBackend } from "../../runtime/host/backend.ts";
import { hostExecutable } from "../../runtime/host/executable.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { choicesOf, type HostMode, withIsa } from "./host-modes.ts";
import type { RandomProgram } from "./programs.ts";
import { contextOf, differences, expectedOf, inputsOf, seed, type Training, trainingOf } from "./training.ts";

const cache = temporaryFolder();
const array = (t: Tensor): NdArray => ({ dtype: t.dtype, shape: t.shape, data: numbers(t) });

interface Run {
  readonly how: string;
  readonly executable: Executable;
}
/** Compiles all programs into one plan, runs their graphs in order, and compares each with the interpreter on the same stores. */
export async function checkOnHost(
  all: readonly RandomProgram[],
  way: HostMode,
  of: (program: RandomProgram, run: () => unknown) => Promise<void>,
): Promise<void> {
  const list: Training[] = [];
  for (const program of all) await of(program, () => list.push(trainingOf(program, way.precision, way.limits)));
  const stores = [...new Map(list.flatMap((b) => b.stores.map((s) => [s.name, s] as const))).values()];
  const graphs = [...new Set(list.flatMap((b) => b.graphs))];
  const runs = await withIsa(way.isa, () => runsOf({ graphs, stores }, way));
  for (const training of list)
    await of(training.program, async () => {
      for (const [call, graph] of training.graphs.entries()) {
        if (call === training.saved) await resume(runs, training);
        await checkRun(runs, training, graph, call);
      }
    });
  for (const { executable } of runs) executable.close();
}
/** The executables to compare; the last is to resume from the others' saved stores. */
async function runsOf(elaborated: Elaborated, way: HostMode): Promise<Run[]> {
  const backend = await hostBackend();
  const plans = choicesOf(backend.choices, way).map((choices) =>
    toPlan(elaborated, silentObserver(), undefined, undefined, { ...backend, choices }),
  );
  const runs: Run[] = [];
  const add = async (plan: Plan, threads: number, how: string): Promise<void> => {
    const shares = runs.length % 2 === 0; // the other runs leave small launches to one thread, as programs do
    const executable = await hostExecutable(plan, { threads, cache: new KernelCache(cache), poison: true, shares });
    runs.push({ how: `on ${threads} threads${shares ? "" : ", small launches on one"}${how}`, executable });
  };
  const other = item(plans, plans.length - 1);
  for (const threads of way.threads) await add(item(plans, 0), threads, "");
  if (plans.length > 1) await add(other, item(way.threads, 0), ", by drawn schedules");
  await add(other, item(way.threads, 1), ", resumed");
  return runs;
}
/** Initialises the last executable with another seed, then loads what a checkpoint holds. */
async function resume(runs: readonly Run[], { graphs, starts }: Training): Promise<void> {
  const [from, to] = [item(runs, 0).executable, item(runs, runs.length - 1).executable];
  const [init, ...copies] = graphs.slice(0, starts).map(({ name }) => name);
  await to.run(init ?? "", new Map(), { seed: seed + 1, call: 0, step: 0 });
  const held = from.stores
    .filter((s) => s.saved)
    .flatMap((s) => [s.name, ...(s.quantised ? [s.quantised.scales] : [])]);
  for (const name of held) to.write(name, from.read(name));
  for (const name of copies) await to.run(name, new Map(), { seed, call: 1, step: 1 });
}
async function checkRun(runs: readonly Run[], { stores }: Training, graph: Graph, call: number): Promise<void> {
  const { executable, how } = item(runs, 0);
  const inputs = inputsOf(graph, stores, call);
  const held = new Map(executable.stores.map((s) => [s.name, array(executable.read(s.name))]));
  const want = expectedOf(graph, new Map([...held, ...inputs]));
  const own = [...inputs].filter(([name]) => name.startsWith(`${graph.name}/`));
  const tensors = own.map(
    ([name, x]) => [inputOfStore(graph.name, name), fromNumbers(x.dtype, x.shape, x.data)] as const,
  );
  const all: Float64Array[][] = [];
  for (const e of runs)
    all.push(resultsOf(graph, e.executable, await e.executable.run(graph.name, new Map(tensors), contextOf(call))));
  const off = differences(graph, want, item(all, 0));
  assert.ok(off === "", `call ${call}, ${graph.name}: ${off}`);
  const exactly = item(all, 0).map((x) => ({ want: x, slack: x.map(() => 0) }));
  for (const [i, other] of all.entries()) {
    const apart = differences(graph, exactly, other);
    assert.ok(apart === "", `call ${call}, ${graph.name}, ${item(runs, i).how} as ${how}: ${apart}`);
  }
}
/** A run's results in the order of the graph's. */
function resultsOf(graph: Graph, executable: Executable, { losses, metrics }: Outcome): Float64Array[] {
  return graph.results.map(({ role, name }) => {
    if (role === "loss") return Float64Array.of(losses.get(name) ?? Number.NaN);
    const metric = metrics.get(name);
    return numbers(role === "metric" && metric ? metric : executable.read(name));
  });
}
