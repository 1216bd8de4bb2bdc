// Programs by several workers, run together in the interpreter, against one worker.
import type { Loaded } from "../../compiler/check/index.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, NdArray, Store } from "../../compiler/graph/node.ts";
import { valuesOf } from "../../compiler/graph/walk.ts";
import type { Sharing } from "../../compiler/partition/mesh.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { type BuildRequest, toGraphs } from "../../compiler/pipeline.ts";
import { dims, dtypeOf } from "../../compiler/types/type.ts";
import { filled } from "../graphs.ts";
import { interpretOnWorkers, placementsOf, requireEqual, squared, wholeOf } from "../on-workers.ts";

interface Asked extends Sharing {
  readonly program: Loaded;
  readonly request: Omit<BuildRequest, "precision" | keyof Sharing>;
}
/** What one worker alone computes. */
function computed(program: Loaded, request: Asked["request"]): Alone {
  const { graphs, stores } = toGraphs(program, { ...request, precision: "f32", workers: 1 }, silentObserver());
  const held = numbersOf(stores);
  return { graphs, stores, held, results: graphs.map((g) => interpret(valuesOf(g), held, { exact: true })) };
}
interface Alone {
  readonly graphs: readonly Graph[];
  readonly stores: readonly Store[];
  readonly held: ReadonlyMap<string, NdArray>;
  readonly results: readonly (readonly NdArray[])[];
}
const known = new Map<Loaded, Map<string, Alone>>();
/** The same, computed once for all ways to share it: `limits` are of what several send. */
function aloneOf(program: Loaded, request: Asked["request"]): Alone {
  const ofProgram = known.get(program) ?? new Map<string, Alone>();
  const key = JSON.stringify({ ...request, limits: null });
  const found = ofProgram.get(key) ?? computed(program, request);
  known.set(program, ofProgram.set(key, found));
  return found;
}
/** Each graph of each worker against that of one alone. */
export function compare({ program, request, ...sharing }: Asked): void {
  const { workers } = sharing;
  const { graphs, held, results } = aloneOf(program, request);
  const each = toGraphs(program, { ...request, precision: "f32", ...sharing }, silentObserver());
  const places = placementsOf(each.stores);
  for (const [g, graph] of graphs.entries()) {
    const wanted = results[g] ?? [];
    const found = interpretOnWorkers(each.graphs[g] as Graph, held, places, workers);
    for (const w of found.keys())
      graph.results.forEach((r, i) => {
        const all = found.map((own) => own[i] as NdArray);
        const what = `${graph.name}, ${r.role} ${r.name} of worker ${w}`;
        requireEqual(what, wholeOf(all, r, places, w), wanted[i] as NdArray);
      });
  }
}
/** What stores hold. Second moments are not negative. */
export function numbersOf(stores: readonly Store[]): Map<string, NdArray> {
  return new Map(
    stores.map(({ name, role, type }) => {
      const x = filled(name, dtypeOf(type), dims(type));
      return [name, name.endsWith(".v") || role === "input" ? squared(x) : x];
    }),
  );
}
export function shown(sharing: Sharing): string {
  const { workers, tensorParallel, contextParallel, expertParallel, shardOptimizer, shardParameters, shadow } = sharing;
  const more = [
    ...(tensorParallel === undefined ? [] : [`${tensorParallel} of which share matrices`]),
    ...(contextParallel === undefined ? [] : [`${contextParallel} of which share tokens`]),
    ...(expertParallel === undefined ? [] : [`experts over ${expertParallel}`]),
    ...(shardOptimizer ? ["the optimizer sharded"] : []),
    ...(shardParameters ? ["parameters divided"] : []),
    ...(shadow === undefined ? [] : [`${shadow} shadowed`]),
  ];
  return [`${workers}`, ...more].join(", ");
}
