// Random programs trained on the host, all in one plan, against the interpreter: each run on what the ones before have left, so that nothing adds up.
import * as assert from "uvu/assert";
import { load } from "../../compiler/check/index.ts";
import { type Graph, hidden, type NdArray, type Store } from "../../compiler/graph/node.ts";
import { valuesOf } from "../../compiler/graph/walk.ts";
import { silent } from "../../compiler/pass.ts";
import { requireRight, toGraphs, toPlan } from "../../compiler/pipeline.ts";
import type { Precision } from "../../compiler/types/dtype.ts";
import { type Executable, type Outcome, storeOfInput, type Tensor } from "../../runtime/executable.ts";
import { hostBackend } from "../../runtime/host/backend.ts";
import { KernelCache } from "../../runtime/host/cache.ts";
import { hostExecutable } from "../../runtime/host/executable.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";
import { folder } from "../folder.ts";
import { filled } from "../graphs.ts";
import { type Expected, expected, wrong } from "./compare.ts";
import type { RandomProgram } from "./programs.ts";

const cache = folder();
const array = (t: Tensor): NdArray => ({ dtype: t.dtype, shape: t.shape, data: numbers(t) });
/** Tokens that fit, some that are none; positions; small floats. */
export function given(name: string, { dtype, shape }: Pick<Tensor, "dtype" | "shape">): Tensor {
  const { data } = filled(name, dtype, shape);
  const scaled = dtype === "i32" ? data.map((x) => Math.max(-1, x)) : data.map((x) => x / 2);
  return fromNumbers(dtype, shape, scaled);
}

interface Built {
  readonly program: RandomProgram;
  /** `init`, what makes copies in bf16 if there are any, and the training step. */
  readonly graphs: readonly Graph[];
  readonly stores: readonly Store[];
}
function built(program: RandomProgram, precision: Precision): Built {
  const { name } = program;
  const loaded = load({ name: `${program.seed}.moe`, text: program.text });
  requireRight(loaded);
  const entries = [{ method: "train", name: `${name}.train`, sizes: {} }];
  const request = { declaration: "Program", sizes: program.sizes, precision, entries };
  const { graphs, stores } = toGraphs(loaded, request, silent());
  const [init, train, ...copies] = graphs.map((graph) =>
    graph.name.startsWith("init") ? { ...graph, name: `${name}.${graph.name.replace(":", ".")}` } : graph,
  );
  return { program, graphs: [init, ...copies, train, train].filter((graph) => graph !== undefined), stores };
}
/** All programs in one plan. Each graph is run on what the ones before have left, and compared with the interpreter on just that. */
export async function checkOnHost(
  all: readonly RandomProgram[],
  precision: Precision,
  of: (program: RandomProgram, run: () => unknown) => Promise<void>,
): Promise<void> {
  const list: Built[] = [];
  for (const program of all) await of(program, () => list.push(built(program, precision)));
  const stores = [...new Map(list.flatMap((b) => b.stores.map((s) => [s.name, s] as const))).values()];
  const graphs = [...new Set(list.flatMap((b) => b.graphs))];
  const plan = toPlan({ graphs, stores }, silent(), undefined, undefined, await hostBackend());
  const executable = await hostExecutable(plan, { cache: new KernelCache(cache), poison: true });
  for (const { program, graphs } of list)
    await of(program, async () => {
      for (const [call, graph] of graphs.entries()) await checkRun(executable, graph, { seed: 7, call, step: call });
    });
  executable.close();
}
async function checkRun(executable: Executable, graph: Graph, at: Parameters<Executable["run"]>[2]): Promise<void> {
  const inputs = new Map(
    executable.stores
      .filter((s) => s.name.startsWith(`${graph.name}/`))
      .map((s) => [s.name.slice(graph.name.length + 1), given(s.name, s)]),
  );
  const held = new Map(executable.stores.map((s) => [s.name, array(executable.read(s.name))]));
  for (const [name, t] of inputs) held.set(storeOfInput(graph.name, name), array(t));
  held.set(hidden.key, { dtype: "i32", shape: [2], data: Float64Array.of(at.seed, at.call) });
  held.set(hidden.step, { dtype: "i32", shape: [], data: Float64Array.of(at.step) });
  const want = decided(graph, expected(valuesOf(graph), held, false, true));
  const got = resultsOf(graph, executable, await executable.run(graph.name, inputs, at));
  const off = want.flatMap((w, r) => {
    const found = wrong(w, got[r] ?? []);
    const { role, name } = graph.results[r] as Graph["results"][number];
    return found.length > 0
      ? [`${role} ${name}: ${found.length} elements are off: ${found.slice(0, 2).join("; ")}`]
      : [];
  });
  assert.ok(off.length === 0, `call ${at.call}, ${graph.name}: ${off.slice(0, 4).join("\n")}`);
}
/** A first step goes by the sign of a mean gradient; where rounding decides that, it decides the parameter, its copy in bf16, and the mean square. */
function decided(graph: Graph, want: readonly Expected[]): Expected[] {
  const of = new Map(graph.results.map(({ name }, r) => [name, want[r] as Expected]));
  return graph.results.map(({ name }, r) => {
    const w = want[r] as Expected;
    const mean = of.get(`${name.replace(/ as bf16$|\.v$/, "")}.m`);
    const open = (i: number): boolean => mean !== undefined && !(Math.abs(mean.want[i] ?? 0) > (mean.slack[i] ?? 0));
    return { ...w, slack: w.slack.map((s, i) => (open(i) && mean?.want[i] !== 0 ? Number.NaN : s)) };
  });
}
/** In the order of the graph's results. */
function resultsOf(graph: Graph, executable: Executable, { losses, metrics }: Outcome): Float64Array[] {
  return graph.results.map(({ role, name }) => {
    if (role === "loss") return Float64Array.of(losses.get(name) ?? Number.NaN);
    const metric = metrics.get(name);
    return numbers(role === "metric" && metric ? metric : executable.read(name));
  });
}
