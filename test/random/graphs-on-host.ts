// Checks random graphs on the host against the interpreter: all in one plan, with different numbers of threads and with two sets of schedules.
import * as assert from "uvu/assert";
import { type Graph, type NdArray, type Store, unstackedStore } from "../../compiler/graph/node.ts";
import { valuesOf } from "../../compiler/graph/walk.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toPlan } from "../../compiler/pipeline.ts";
import { isFloat } from "../../compiler/types/dtype.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import type { Outcome } from "../../runtime/executable/executable.ts";
import { hostBackend } from "../../runtime/host/backend.ts";
import { hostExecutable } from "../../runtime/host/executable.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { type Expected, expected, mismatches, type Stores } from "./compare.ts";
import { choicesOf, type HostMode, withIsa } from "./host-modes.ts";

const cache = temporaryFolder();

/** A graph and the values of its stores. */
export interface Given {
  readonly graph: Graph;
  readonly stores: Stores;
}
/** `of` is called with each graph and the function that checks it. */
export async function checkGraphs(
  all: readonly Given[],
  way: Omit<HostMode, "precision">,
  of: (graph: Graph, run: () => void) => void,
): Promise<void> {
  const outcomes = await withIsa(way.isa, () => outcomesOf(all, way));
  for (const [i, { graph, stores }] of all.entries())
    of(graph, () => {
      const [first, ...others] = outcomes.map((each) => each[i] ?? []);
      same(expected(valuesOf(graph), stores), first ?? []);
      const exactly = first?.map((want) => ({ want, slack: want.map(() => 0) })) ?? [];
      for (const [n, other] of others.entries()) same(exactly, other, `, of run ${n + 1} as of the first`);
    });
}
type Results = readonly Float64Array[];
async function outcomesOf(all: readonly Given[], way: Omit<HostMode, "precision">): Promise<Results[][]> {
  const backend = await hostBackend();
  const graphs = all.map(({ graph }) => graph);
  const stores = all.flatMap((one) => [...one.stores].map(([name, x]) => storeFor(name, x)));
  const outcomes: Results[][] = [];
  for (const choices of choicesOf(backend.choices, way)) {
    const plan = toPlan({ graphs, stores }, silentObserver(), undefined, undefined, { ...backend, choices });
    for (const threads of way.threads) {
      const shares = outcomes.length % 2 === 0; // the other runs leave small launches to one thread, as programs do
      const executable = await hostExecutable(plan, { threads, cache: new KernelCache(cache), poison: true, shares });
      for (const one of all)
        for (const [name, x] of one.stores) executable.write(name, fromNumbers(x.dtype, x.shape, x.data));
      const each: Results[] = [];
      for (const graph of graphs)
        each.push(resultsOf(graph, await executable.run(graph.name, new Map(), { seed: 0, call: 0, step: 0 })));
      outcomes.push(each);
      executable.close();
    }
  }
  return outcomes;
}
/** Matrices are parameters, so that they are stored in panels where they are read so. */
export const storeFor = (name: string, { dtype, shape }: NdArray): Store =>
  unstackedStore(
    name,
    shape.length > 1 && (isFloat(dtype) || dtype === "i8") ? "parameter" : "state",
    { dtype, shape },
    true,
  );
/** A run's results in the order of the graph's. */
function resultsOf(graph: Graph, { outputs, gradients }: Outcome): Float64Array[] {
  const rest = outputs.values();
  return graph.results.map(({ role, name }) => {
    const tensor = role === "gradient" ? gradients.get(name) : rest.next().value;
    return tensor ? numbers(tensor) : new Float64Array();
  });
}
/** Throws if a result is not as expected. */
export function same(want: readonly Expected[], got: Results, how = ""): void {
  want.forEach((w, r) => {
    const off = mismatches(w, got[r] ?? []);
    assert.ok(off.length === 0, `result ${r}: ${off.length} elements are off${how}: ${off.slice(0, 3).join("; ")}`);
  });
}
