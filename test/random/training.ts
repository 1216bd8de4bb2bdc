// Two training steps of a random program: its graphs, their inputs, and the expected results with what rounding may change.
import { load } from "../../compiler/check/index.ts";
import { requireValid } from "../../compiler/check/valid.ts";
import { updateEntryName } from "../../compiler/gradients/accumulate.ts";
import { type Graph, type NdArray, type Store } from "../../compiler/graph/node.ts";
import { valuesOf } from "../../compiler/graph/walk.ts";
import { item } from "../../compiler/item.ts";
import type { Sharing } from "../../compiler/partition/mesh.ts";
import { type Observer, silentObserver } from "../../compiler/pass.ts";
import { type Limits, toGraphs } from "../../compiler/pipeline.ts";
import type { Precision } from "../../compiler/types/dtype.ts";
import { count, dims, dtypeOf } from "../../compiler/types/type.ts";
import { hiddenInput, type RunContext } from "../../runtime/executable/executable.ts";
import { numbers } from "../../runtime/tensor.ts";
import { filled } from "../graphs.ts";
import { type Expected, expected, mismatches, type Rounding, type Stores } from "./compare.ts";
import type { RandomProgram } from "./programs.ts";

export interface Training {
  readonly program: RandomProgram;
  /** `init`, the graph that makes bf16 copies if there is one, then all batches and updates in order. */
  readonly graphs: readonly Graph[];
  /** `starts`: how many graphs precede the first step. `saved`: how many precede the point at which it can be resumed from a checkpoint. */
  readonly starts: number;
  readonly saved: number;
  readonly stores: readonly Store[];
}
/** Two steps, each with as many batches as the program accumulates; an evaluation, if there is one, is between them. */
export function trainingOf(
  program: RandomProgram,
  precision: Precision,
  limits: Limits = {},
  {
    observer = silentObserver(),
    sharing = { workers: 1 },
  }: { readonly observer?: Observer; readonly sharing?: Sharing } = {},
): Training {
  const { name, accumulate = 1, evaluates = false, recompute = false, weights } = program;
  const loaded = load({ name: `${program.seed}.moe`, text: program.text });
  requireValid(loaded);
  const train = `${name}.train`;
  const entries = [train, ...(evaluates ? ["evaluate"] : [])].map((entry) => ({
    method: "train",
    name: entry,
    sizes: {},
  }));
  const { sizes } = program;
  const request = {
    declaration: "Program",
    sizes,
    precision,
    entries,
    accumulate,
    recompute,
    weights,
    limits,
    ...sharing,
  };
  const { graphs, stores } = toGraphs(loaded, request, observer);
  const named = (name: string): Graph[] => graphs.filter((graph) => graph.name === name);
  const starts = graphs
    .filter((graph) => graph.name.startsWith("init"))
    .map((graph) => ({ ...graph, name: `${name}.${graph.name.replace(":", ".")}` }));
  const step = [...Array.from({ length: accumulate }, () => named(train)).flat(), ...named(updateEntryName(train))];
  const before = [...starts, ...step, ...named("evaluate")];
  return { program, graphs: [...before, ...step], starts: starts.length, saved: before.length, stores };
}

/** Values for an input: tokens in range, some of them -1; positions; small floats. */
export function given(name: string, { dtype, shape }: Pick<NdArray, "dtype" | "shape">): NdArray {
  const { data } = filled(name, dtype, shape);
  return { dtype, shape, data: dtype === "i32" ? data.map((x) => Math.max(-1, x)) : data.map((x) => x / 2) };
}
export const zero = ({ type }: Store): NdArray => ({
  dtype: dtypeOf(type),
  shape: dims(type),
  data: new Float64Array(count(type)),
});
/** The inputs of a graph, its hidden ones included. */
export function inputsOf({ name }: Graph, stores: readonly Store[], call: number): Map<string, NdArray> {
  const own = stores.filter((s) => s.role === "input" && s.name.startsWith(`${name}/`));
  const others = stores.flatMap((s): [string, NdArray][] => {
    const value = hiddenInput(s.name, contextOf(call));
    return value ? [[s.name, { ...value, data: numbers(value) }]] : [];
  });
  return new Map<string, NdArray>([...own.map((s) => [s.name, given(s.name, zero(s))] as const), ...others]);
}
export const seed = 7;
/** Batches count differently, and some not at all. */
export const contextOf = (call: number): RunContext => ({ seed, call, step: call, weight: (call * 2) % 5 });

/** The expected results of a graph for given stores. */
export function expectedOf(graph: Graph, held: Stores, rounding: Partial<Rounding> = {}): Expected[] {
  const sums = graph.results.map(({ name }) => (name.includes("/gradient/") ? held.get(name) : undefined));
  return decided(graph, expected(valuesOf(graph), held, { ...rounding, steep: true }, sums));
}
/**
 * The first step of some optimizers goes by the sign of a mean gradient. Where rounding decides that sign, the parameter, its bf16 copy and the mean
 * square are undecided too.
 */
function decided(graph: Graph, want: readonly Expected[]): Expected[] {
  const of = new Map(graph.results.map(({ name }, r) => [name, want[r] as Expected]));
  return graph.results.map(({ name }, r) => {
    const w = want[r] as Expected;
    const parameter = name.replace(/ as bf16$|(\.adam)?\.v$/, "");
    const mean = of.get(`${parameter}.m`) ?? of.get(`${parameter}.adam.m`);
    const open = (i: number): boolean => mean !== undefined && !(Math.abs(mean.want[i] ?? 0) > (mean.slack[i] ?? 0));
    const slack = w.slack.map((s, i) => (open(i) && mean?.want[i] !== 0 ? Number.NaN : s));
    const surer = (): Expected => item(decided(graph, want.map(surest)), r);
    return { want: w.want, slack, ...(w.surer ? { surer } : {}) };
  });
}
const surest = (e: Expected): Expected => e.surer?.() ?? e;
/** A line for each wrong result; "" if all are right. */
export function differences(graph: Graph, want: readonly Expected[], got: readonly Float64Array[]): string {
  const off = want.flatMap((w, r) => {
    const found = mismatches(w, got[r] ?? []);
    const { role, name } = graph.results[r] as Graph["results"][number];
    return found.length > 0
      ? [`${role} ${name}: ${found.length} elements are off: ${found.slice(0, 2).join("; ")}`]
      : [];
  });
  return off.slice(0, 4).join("\n");
}
