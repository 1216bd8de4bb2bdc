// Checks in the interpreter that several workers, each with its part of a random program's training, compute what one computes alone.
import { Problem } from "../../compiler/diagnostic.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, NdArray } from "../../compiler/graph/node.ts";
import { valuesOf } from "../../compiler/graph/walk.ts";
import type { Sharing } from "../../compiler/partition/mesh.ts";
import { interpretOnWorkers, placementsOf, wholeOf } from "../on-workers.ts";
import type { HostMode } from "./host-modes.ts";
import type { RandomProgram } from "./programs.ts";
import { differences, expectedOf, inputsOf, trainingOf, zero } from "./training.ts";

/** What workers do, by themselves where a group of them can share no matrix or no tokens, and without shadows where they share no experts. */
export function sharedBy<T>(sharing: Sharing, make: (sharing: Sharing) => T): T {
  try {
    return make(sharing);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.message.includes("can share no matrix"))
      return sharedBy({ ...sharing, tensorParallel: 1, expertParallel: 1 }, make);
    if (error.message.includes("cannot share the tokens"))
      return sharedBy({ ...sharing, contextParallel: 1, expertParallel: 1 }, make);
    if (error.message.startsWith("no experts can be shadowed"))
      return sharedBy({ ...sharing, shadow: undefined }, make);
    throw error;
  }
}
/** What a store holds; a copy in bf16 what its parameter does, which workers may read in its place. */
const unrounded = (name: string, held: ReadonlyMap<string, NdArray>): NdArray => {
  const own = held.get(name) as NdArray;
  const parameter = held.get(name.replace(/ as bf16$/, "")) as NdArray;
  return { ...own, data: parameter.data };
};
export function checkWorkers(
  program: RandomProgram,
  sharing: Sharing,
  { precision, limits }: Pick<HostMode, "precision" | "limits">,
): void {
  const alone = trainingOf(program, precision, limits);
  const each = sharedBy(sharing, (how) => trainingOf(program, precision, limits, { sharing: how }));
  const places = placementsOf(each.stores);
  const held = new Map(alone.stores.map((s) => [s.name, zero(s)]));
  for (const [i, graph] of alone.graphs.entries()) {
    for (const [name, x] of inputsOf(graph, alone.stores, i)) held.set(name, x);
    const want = expectedOf(graph, held, { exact: true });
    const found = interpretOnWorkers(each.graphs[i] as Graph, held, places, sharing.workers);
    for (const w of found.keys()) {
      const off = differences(
        graph,
        want,
        graph.results.map(
          (r, j) =>
            wholeOf(
              found.map((own) => own[j] as NdArray),
              r,
              places,
              w,
            ).data,
        ),
      );
      if (off !== "") throw new Error(`${graph.name}, worker ${w} of ${sharing.workers}: ${off}`);
    }
    const made = interpret(valuesOf(graph), held);
    graph.results.forEach(({ role, name }, r) => {
      const x = made[r];
      if (role === "store" && x) held.set(name, x);
    });
    for (const name of held.keys()) held.set(name, unrounded(name, held));
  }
}
