// Trains random programs with CUDA kernels on the emulator, which checks every access, and compares with the interpreter: each graph runs on what the
// interpreter computed before. Also checks random graphs.
import * as assert from "uvu/assert";
import type { Graph } from "../../compiler/graph/node.ts";
import { valuesOf } from "../../compiler/graph/walk.ts";
import type { Contraction, Schedule } from "../../compiler/kernel/schedule.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import { type Backend, backends, cudaBackend } from "../../compiler/targets.ts";
import type { Precision } from "../../compiler/types/dtype.ts";
import {
  byVariants,
  type EmulationMode,
  emulationModes,
  loweredForCuda,
  modulesOf,
  type Outcome,
  type Run,
  runEmulated,
} from "../emulator/sequence.ts";
import { kernelsOf } from "../host/compare.ts";
import { type Expected, expected } from "./compare.ts";
import type { Given } from "./graphs-on-host.ts";
import type { RandomProgram } from "./programs.ts";
import { Draw } from "./random-graph.ts";
import { differences, expectedOf, inputsOf, trainingOf, zero } from "./training.ts";

export const kernels = ["mma", "tf32", "wgmma"] as const;
export type Kernels = (typeof kernels)[number];
export interface Emulation {
  readonly kernels: Kernels;
  readonly ways: readonly EmulationMode[];
  /** The seed for choosing tiles as if products had other sizes; null: their own. */
  readonly tiles: string | null;
}
export const emulations = (of: Kernels): Emulation => ({ kernels: of, ways: emulationModes, tiles: null });
export function drawnEmulation(seed: string, precision: Precision): Emulation {
  const draw = new Draw(`${seed}, emulated`);
  const order = draw.of(["", " order=reverse", ` order=random seed=${draw.below(1000)}`]);
  const words = `check${order}${draw.chance(0.5) ? " lazy" : ""}`;
  return {
    kernels: draw.of(precision === "bf16" ? (["mma", "wgmma"] as const) : (["mma", "tf32"] as const)),
    ways: [{ words, grid: 1 + draw.below(6) }],
    tiles: draw.chance(0.7) ? `${seed}, its tiles` : null,
  };
}
/** The schedule of variants for products of any size: the usual choice gives random products none, because they are too small. */
const small: Schedule = { bm: 128, bn: 128, bk: 64, mc: 128, rowBlockPerTask: true, stream: false };
function backendOf({ kernels, tiles }: Emulation): Backend {
  const own = cudaBackend(kernels === "tf32");
  const draw = tiles === null ? null : new Draw(tiles);
  const other = (c: Contraction): Contraction =>
    draw ? { ...c, m: draw.of([c.m, 8, 20, 40, 200]), n: draw.of([c.n, 16, 40, 200]) } : c;
  const hopper = ({ operands, isBf16 }: Contraction): Schedule | null => {
    if (!isBf16 || operands > 2) return null;
    return operands === 1 && draw?.chance(0.4) === true ? { ...small, bn: 256 } : small;
  };
  return {
    ...own,
    choices: {
      ...own.choices,
      contraction: (c) => own.choices.contraction(other(c)),
      attention: {
        ...own.choices.attention,
        tile: (shape) => {
          const factor = draw?.of([1, 1, 4, 16]) ?? 1;
          const wider = { ...shape, keys: shape.keys * factor, values: shape.values * factor };
          return own.choices.attention.tile(wider) ?? own.choices.attention.tile(shape);
        },
      },
    },
    variants: { ...backends.cuda.variants, ...(kernels === "wgmma" ? { choice: hopper } : {}) },
  };
}

interface Step<T> extends Run {
  readonly of: T;
  readonly graph: Graph;
  readonly want: readonly Expected[];
}
type Of<T> = (one: T, run: () => unknown) => Promise<void>;
/** `of` is called with each program and a function that concerns it. */
export async function checkOnEmulator(
  all: readonly RandomProgram[],
  precision: Precision,
  emulation: Emulation,
  of: Of<RandomProgram>,
): Promise<void> {
  const steps: Step<RandomProgram>[] = [];
  for (const program of all) await of(program, () => steps.push(...stepsOf(program, precision, emulation)));
  await checkSteps(steps, emulation, of);
}
/** `said`: a graph with the same results from which the expected values are computed; default: the graph itself. */
export async function checkGraphsOnEmulator(
  all: readonly (Given & { readonly said?: Graph })[],
  emulation: Emulation,
  of: Of<Graph>,
): Promise<void> {
  const steps = all.map(({ graph, stores, said = graph }): Step<Graph> => {
    const want = expected(valuesOf(said), stores, { tf32: emulation.kernels === "tf32" });
    return { name: graph.name, of: graph, graph, sequence: sequenceOf(graph, emulation), stores, rest: 0xff, want };
  });
  await checkSteps(steps, emulation, of);
}
async function checkSteps<T>(steps: readonly Step<T>[], emulation: Emulation, of: Of<T>): Promise<void> {
  const modules = await modulesOf(kernelsOf(steps.map((s) => s.sequence)), 100, backendOf(emulation).header());
  for (const way of emulation.ways) {
    const outcomes = await runEmulated(steps, modules, way);
    for (const [i, step] of steps.entries())
      await of(step.of, () => check(step, outcomes[i] ?? { results: [], findings: "did not run" }, way));
  }
}
function stepsOf(program: RandomProgram, precision: Precision, emulation: Emulation): Step<RandomProgram>[] {
  const { graphs, stores } = trainingOf(program, precision);
  const sequences = new Map([...new Set(graphs)].map((graph) => [graph, sequenceOf(graph, emulation)]));
  // here each buffer has its own memory; that of a plan, where they share it, is verified as it is made
  planMemory([...sequences.values()], stores, { target: "cuda", header: "", grain: backends.cuda.grain });
  const held = new Map(stores.map((s) => [s.name, zero(s)]));
  return graphs.map((graph, call): Step<RandomProgram> => {
    for (const [name, x] of inputsOf(graph, stores, call)) held.set(name, x);
    const given = new Map(held);
    const want = expectedOf(graph, given, { tf32: emulation.kernels === "tf32" });
    graph.results.forEach(({ role, name }, r) => {
      const before = held.get(name);
      if (role === "store" && before) held.set(name, { ...before, data: want[r]?.want ?? before.data });
    });
    const sequence = sequences.get(graph) ?? sequenceOf(graph, emulation);
    return { name: `${program.seed} ${call}`, of: program, graph, sequence, stores: given, rest: 0xff, want };
  });
}
function sequenceOf(graph: Graph, emulation: Emulation): Run["sequence"] {
  const sequence = loweredForCuda(graph, backendOf(emulation));
  return emulation.kernels === "wgmma" ? byVariants(sequence) : sequence;
}
function check<T>({ name, graph, sequence, want }: Step<T>, { results, findings }: Outcome, way: EmulationMode): void {
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
