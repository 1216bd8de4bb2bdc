// Checks in the interpreter that a random training whose backward makes layers again computes what one computes that keeps them.
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph } from "../../compiler/graph/node.ts";
import { valuesOf } from "../../compiler/graph/walk.ts";
import type { Limits } from "../../compiler/pipeline.ts";
import type { RandomProgram } from "./programs.ts";
import { inputsOf, trainingOf, zero } from "./training.ts";

/** Sums of gradients may be added in another order; infinities and NaN must stand at the same places. */
const tolerance = 1e-10;
/** In f64, whatever the precision: otherwise another order might decide a rounding. */
export function checkRecomputed(program: RandomProgram, limits: Limits | undefined): void {
  const [kept, again] = [false, true].map((recompute) => trainingOf({ ...program, recompute }, "f64", limits));
  if (!kept || !again) throw new Error("two trainings");
  const held = new Map(kept.stores.map((s) => [s.name, zero(s)]));
  for (const [i, graph] of kept.graphs.entries()) {
    for (const [name, x] of inputsOf(graph, kept.stores, i)) held.set(name, x);
    const want = interpret(valuesOf(graph), held);
    const other = again.graphs[i] as Graph;
    const found = interpret(valuesOf(other), held);
    for (const [r, { role, name }] of graph.results.entries()) {
      const [x, y] = [want[r], found[other.results.findIndex((o) => o.role === role && o.name === name)]];
      if (!x || !y) throw new Error(`${graph.name}: no ${name}`);
      const off = apart(x.data, y.data);
      if (off !== "") throw new Error(`${graph.name}, ${role} ${name}: ${off}`);
      if (role === "store") held.set(name, x);
    }
  }
}
function apart(want: Float64Array, found: Float64Array): string {
  const limit = tolerance * want.reduce((most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most), 0);
  const i = want.findIndex((x, j) => !Object.is(x, found[j]) && !(Math.abs(x - (found[j] ?? Number.NaN)) <= limit));
  return i < 0 ? "" : `[${i}] is ${found[i]}, not ${want[i]}`;
}
