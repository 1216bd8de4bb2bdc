// Checks by the interpreter that each pass on the graphs of a random training leaves what they compute.
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, NdArray } from "../../compiler/graph/node.ts";
import { valuesOf } from "../../compiler/graph/walk.ts";
import { type Observer, silentObserver } from "../../compiler/pass.ts";
import type { HostMode } from "./host-modes.ts";
import type { RandomProgram } from "./programs.ts";
import { differences, expectedOf, given, inputsOf, type Training, trainingOf, zero } from "./training.ts";

interface Change {
  readonly pass: string;
  readonly from: Graph;
  readonly to: Graph;
}
export function checkPasses(
  program: RandomProgram,
  { precision, limits }: Pick<HostMode, "precision" | "limits">,
): void {
  const changes: Change[] = [];
  const onChange: Observer["onChange"] = (pass, from, to) => {
    if (isGraph(from) && isGraph(to) && from !== to) changes.push({ pass, from, to });
  };
  const training = trainingOf(program, precision, limits, { observer: { ...silentObserver(), onChange } });
  const held = started(training);
  for (const { pass, from, to } of changes) {
    const got = interpret(valuesOf(to), held).map((x) => x.data);
    const off = differences(from, expectedOf(from, held), got);
    if (off !== "") throw new Error(`pass ${pass} on ${from.name}: ${off}`);
  }
}
const isGraph = (x: unknown): x is Graph => typeof x === "object" && x !== null && "results" in x;
/** The values of all stores after the initial graphs have run. */
export function started({ graphs, starts, stores }: Training): Map<string, NdArray> {
  const of = stores.map((s) => [s.name, s.role === "input" ? given(s.name, zero(s)) : zero(s)] as const);
  const held = new Map<string, NdArray>(of);
  for (const graph of graphs.slice(0, starts)) {
    for (const [name, x] of inputsOf(graph, stores, 1)) held.set(name, x);
    const made = interpret(valuesOf(graph), held);
    graph.results.forEach(({ role, name }, r) => {
      const x = made[r];
      if (role === "store" && x) held.set(name, x);
    });
  }
  return held;
}
