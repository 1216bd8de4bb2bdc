// How the stores of a program are shared among workers, for the passes that make one worker's graphs.
import type { Elaboration } from "../check/entry/elaborate.ts";
import { Problem } from "../diagnostic.ts";
import { contextParallelFlagText, tensorParallelFlagText } from "../flag-text.ts";
import type { Placement, Store } from "../graph/node.ts";
import { item } from "../item.ts";
import { isSharded, replicated, type Sharded } from "../ops/sharding.ts";
import { dims } from "../types/type.ts";
import { type Sharing, tensorAxis } from "./mesh.ts";
import { batchesOf, type PlacedBy, type Placements, placementsOf, shardOf } from "./store-placement.ts";
import { tensorAxes } from "./tensor-axes.ts";

/** How the program is shared among workers. `stores` gives the stores known so far, with the shapes that they have for one worker alone. */
export interface WorkerSharing extends PlacedBy {
  readonly stores: () => readonly Store[];
}
/** `added`: the stores that the compiler adds, as far as it has. */
export function workerSharingOf(
  {
    workers = 1,
    tensorParallel,
    contextParallel,
    expertParallel,
    room,
    shardOptimizer,
    shardParameters,
    limits,
  }: Partial<Sharing> & { readonly limits?: Pick<PlacedBy, "leastTokens"> | undefined },
  elaborated: Elaboration,
  added: readonly Store[],
): WorkerSharing {
  const sharing = { workers, tensorParallel, contextParallel, expertParallel, room, shardOptimizer, shardParameters };
  const stores = (): readonly Store[] => [...elaborated.stores(), ...added];
  const placedBy = {
    ...sharing,
    batches: batchesOf(stores()),
    tensorAxes: tensorAxesOf(elaborated, sharing),
    leastTokens: limits?.leastTokens,
  };
  requireSharedMatrix(stores(), placedBy);
  requireSharedTokens(stores(), placedBy);
  return { ...placedBy, stores };
}
function tensorAxesOf(elaborated: Elaboration, sharing: Sharing): ReadonlyMap<string, Sharded> {
  const axis = tensorAxis(sharing);
  const graphs = elaborated.entries.map(({ graph }) => graph);
  return axis.count > 1 ? tensorAxes(graphs, elaborated.stores(), axis) : new Map<string, Sharded>();
}
function requireSharedMatrix(stores: readonly Store[], by: PlacedBy): void {
  const { count } = tensorAxis(by);
  if (count === 1 || stores.some((s) => isSharded(placementsOf(s, by).tensor))) return;
  throw new Problem(
    `${count} workers can share no matrix: ${count} divides no heads, hidden units, vocabulary or number of experts`,
    `leave ${tensorParallelFlagText} out, or give a number that divides them`,
  );
}
function requireSharedTokens(stores: readonly Store[], by: PlacedBy): void {
  const { contextParallel = 1 } = by;
  const inputs = stores.filter((s) => s.role === "input" && s.type.shape.length > 1);
  if (contextParallel === 1 || inputs.some((s) => isSharded(placementsOf(s, by).data))) return;
  const lengths = inputs.map(({ name, type }) => `${name.slice(name.indexOf("/") + 1)} has ${item(dims(type), 1)}`);
  const found = [...new Set(lengths)].join(", ");
  throw new Problem(
    `${contextParallel} workers cannot share the tokens of a sequence: ${found === "" ? "no input has tokens" : found}`,
    `leave ${contextParallelFlagText} out, or give sequences whose length ${contextParallel} divides`,
  );
}
/** The stores as one worker has them. */
export const ofOneWorker = (stores: readonly Store[], sharing: WorkerSharing): readonly Store[] =>
  sharing.workers > 1 ? stores.map((s) => shardOf(s, sharing)) : stores;
export const alone: WorkerSharing = { workers: 1, stores: () => [], batches: new Set(), tensorAxes: new Map() };
/** How stores lie along one axis of the mesh. */
export const placementsAlong = (sharing: WorkerSharing, along: keyof Placements): ((store: string) => Placement) => {
  const known = new Map(sharing.stores().map((s) => [s.name, placementsOf(s, sharing)[along]]));
  return (name) => known.get(name) ?? replicated;
};
