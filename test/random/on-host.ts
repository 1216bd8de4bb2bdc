// Random programs trained on the host, all in one plan, on two, one and three threads, against the interpreter: each run on
// what the ones before have left, so that nothing adds up.
import * as assert from "uvu/assert";
import type { Graph, NdArray } from "../../compiler/graph/node.ts";
import { item } from "../../compiler/kernel/expr.ts";
import { silent } from "../../compiler/pass.ts";
import { toPlan } from "../../compiler/pipeline.ts";
import type { Precision } from "../../compiler/types/dtype.ts";
import type { Executable, Outcome, Tensor } from "../../runtime/executable.ts";
import { inputOfStore } from "../../runtime/executable.ts";
import { hostBackend } from "../../runtime/host/backend.ts";
import { KernelCache } from "../../runtime/host/cache.ts";
import { hostExecutable } from "../../runtime/host/executable.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";
import { folder } from "../folder.ts";
import type { RandomProgram } from "./programs.ts";
import { differences, inputsOf, meantOf, seed, type Training, trainingOf } from "./training.ts";

const cache = folder();
const threadCounts = [2, 1, 3];
const array = (t: Tensor): NdArray => ({ dtype: t.dtype, shape: t.shape, data: numbers(t) });

/** All programs in one plan. Each graph is run on what the ones before have left, and compared with the interpreter on just that. */
export async function checkOnHost(
  all: readonly RandomProgram[],
  precision: Precision,
  of: (program: RandomProgram, run: () => unknown) => Promise<void>,
): Promise<void> {
  const list: Training[] = [];
  for (const program of all) await of(program, () => list.push(trainingOf(program, precision)));
  const stores = [...new Map(list.flatMap((b) => b.stores.map((s) => [s.name, s] as const))).values()];
  const graphs = [...new Set(list.flatMap((b) => b.graphs))];
  const plan = toPlan({ graphs, stores }, silent(), undefined, undefined, await hostBackend());
  const executables: Executable[] = [];
  for (const threads of threadCounts)
    executables.push(await hostExecutable(plan, { threads, cache: new KernelCache(cache), poison: true }));
  for (const training of list)
    await of(training.program, async () => {
      for (const [call, graph] of training.graphs.entries()) await checkRun(executables, training, graph, call);
    });
  for (const executable of executables) executable.close();
}
async function checkRun(
  executables: readonly Executable[],
  { stores }: Training,
  graph: Graph,
  call: number,
): Promise<void> {
  const executable = item(executables, 0);
  const inputs = inputsOf(graph, stores, call);
  const held = new Map(executable.stores.map((s) => [s.name, array(executable.read(s.name))]));
  const want = meantOf(graph, new Map([...held, ...inputs]));
  const own = [...inputs].filter(([name]) => name.startsWith(`${graph.name}/`));
  const tensors = own.map(
    ([name, x]) => [inputOfStore(graph.name, name), fromNumbers(x.dtype, x.shape, x.data)] as const,
  );
  const all: Float64Array[][] = [];
  for (const e of executables)
    all.push(resultsOf(graph, e, await e.run(graph.name, new Map(tensors), { seed, call, step: call })));
  const off = differences(graph, want, item(all, 0));
  assert.ok(off === "", `call ${call}, ${graph.name}: ${off}`);
  const exactly = item(all, 0).map((x) => ({ want: x, slack: x.map(() => 0) }));
  for (const [i, other] of all.entries()) {
    const apart = differences(graph, exactly, other);
    assert.ok(
      apart === "",
      `call ${call}, ${graph.name}, on ${threadCounts[i]} threads as on ${threadCounts[0]}: ${apart}`,
    );
  }
}
/** In the order of the graph's results. */
function resultsOf(graph: Graph, executable: Executable, { losses, metrics }: Outcome): Float64Array[] {
  return graph.results.map(({ role, name }) => {
    if (role === "loss") return Float64Array.of(losses.get(name) ?? Number.NaN);
    const metric = metrics.get(name);
    return numbers(role === "metric" && metric ? metric : executable.read(name));
  });
}
