// Random programs trained by kernels of the CUDA target on the emulator, which checks every access, against the interpreter: each graph on what the
// interpreter has made of the ones before.
import * as assert from "uvu/assert";
import type { Graph } from "../../compiler/graph/node.ts";
import type { Schedule } from "../../compiler/kernel/schedule.ts";
import { type Backend, backends, cudaBackend } from "../../compiler/targets.ts";
import type { Precision } from "../../compiler/types/dtype.ts";
import {
  byVariants,
  loweredForCuda,
  modulesOf,
  type Outcome,
  type Run,
  runEmulated,
  type Way,
} from "../emulator/sequence.ts";
import { kernelsOf } from "../host/compare.ts";
import type { Expected } from "./compare.ts";
import type { RandomProgram } from "./programs.ts";
import { differences, inputsOf, meantOf, trainingOf, zero } from "./training.ts";

export type Kernels = "mma" | "tf32" | "wgmma";
/** Of any size: those of random programs would be too small for any. */
const small: Schedule = { bm: 128, bn: 128, bk: 64, mc: 128, ragged: true, stream: false };
const wgmma: Backend = {
  ...backends.cuda,
  variants: { ...backends.cuda.variants, choice: ({ short, operands }) => (short && operands <= 2 ? small : null) },
};
const backendOf: Readonly<Record<Kernels, Backend>> = { mma: backends.cuda, tf32: cudaBackend(true), wgmma };

interface Step extends Run {
  readonly program: RandomProgram;
  readonly graph: Graph;
  readonly want: readonly Expected[];
}
export async function checkOnEmulator(
  all: readonly RandomProgram[],
  precision: Precision,
  kernels: Kernels,
  ways: readonly Way[],
  of: (program: RandomProgram, run: () => unknown) => Promise<void>,
): Promise<void> {
  const steps: Step[] = [];
  for (const program of all) await of(program, () => steps.push(...stepsOf(program, precision, kernels)));
  const modules = await modulesOf(kernelsOf(steps.map((s) => s.sequence)), 100, backendOf[kernels].header());
  for (const way of ways) {
    const outcomes = await runEmulated(steps, modules, way);
    for (const [i, step] of steps.entries())
      await of(step.program, () => check(step, outcomes[i] ?? { results: [], findings: "did not run" }, way));
  }
}
function stepsOf(program: RandomProgram, precision: Precision, kernels: Kernels): Step[] {
  const { graphs, stores } = trainingOf(program, precision);
  const sequences = new Map([...new Set(graphs)].map((graph) => [graph, sequenceOf(graph, kernels)]));
  const held = new Map(stores.map((s) => [s.name, zero(s)]));
  return graphs.map((graph, call): Step => {
    for (const [name, x] of inputsOf(graph, stores, call)) held.set(name, x);
    const given = new Map(held);
    const want = meantOf(graph, given, { tf32: kernels === "tf32" });
    graph.results.forEach(({ role, name }, r) => {
      const before = held.get(name);
      if (role === "store" && before) held.set(name, { ...before, data: want[r]?.want ?? before.data });
    });
    const sequence = sequences.get(graph) ?? sequenceOf(graph, kernels);
    return {
      name: `${program.seed} ${call}`,
      program,
      graph,
      sequence,
      stores: given,
      rest: 0xff,
      want,
    };
  });
}
function sequenceOf(graph: Graph, kernels: Kernels): Run["sequence"] {
  const sequence = loweredForCuda(graph, backendOf[kernels]);
  return kernels === "wgmma" ? byVariants(sequence) : sequence;
}
function check({ name, graph, sequence, want }: Step, { results, findings }: Outcome, way: Way): void {
  const how = `${name}, ${graph.name} (${way.words}, ${way.grid} blocks)`;
  assert.ok(findings === "", `${how}: ${findings}`);
  const names = [
    ...sequence.results.map((r) => `${r.role} ${r.name}`),
    ...sequence.assigns.map((a) => `store ${a.store}`),
  ];
  const of = new Map(names.map((n, i) => [n, results[i] ?? new Float64Array()]));
  const got = graph.results.map((r) => of.get(`${r.role} ${r.name}`) ?? new Float64Array());
  const off = differences(graph, want, got);
  assert.ok(off === "", `${how}: ${off}`);
}
