// Where the stores of a program are that several workers share: which of them are sharded, and into how many parts.
import { isRuntimeInput, type Placement, type Store } from "../graph/node.ts";
import { evenSharding, isSharded, replicated, sharded } from "../ops/sharding.ts";
import { gcd } from "../types/numbers.ts";
import { dims, dtypeOf, type } from "../types/type.ts";
import type { Sharing } from "./routings.ts";

/** How many rows the entries' inputs have. */
export const batchesOf = (stores: readonly Store[]): ReadonlySet<number> =>
  new Set(stores.filter(isBatch).flatMap(({ type }) => dims(type).slice(0, 1)));
const isBatch = ({ name, role }: Store): boolean => role === "input" && !isRuntimeInput(name);
/**
 * Into how many parts a store is sharded along its first axis. An input (a batch) is sharded among all workers, and so are states that an entry keeps
 * for the rows of one of the `batches`, as keys and values are in generation, and with `shardOptimizer` the optimizer's state of what is no stack. A
 * stack of experts, their gradients and optimizer state are sharded among as many workers as divide both the number of experts and `expertParallel`.
 * All else is replicated (1).
 */
function shardCount(
  store: Store,
  { workers, expertParallel = workers, shardOptimizer }: Sharing,
  batches: ReadonlySet<number>,
): number {
  const { role, saved, stack, type } = store;
  const [first = 0] = dims(type);
  if (first === 0) return 1;
  const hasRows = isBatch(store) || (role === "state" && !saved && batches.has(first));
  if (hasRows) return first % workers === 0 ? workers : 1;
  if (stack > 0) return gcd(first, expertParallel);
  return shardOptimizer && role === "optimizer" && first % workers === 0 ? workers : 1;
}
/** The placement of a store. `batches`: see `batchesOf`. */
export function placementOf(store: Store, sharing: Sharing, batches: ReadonlySet<number>): Placement {
  const parts = shardCount(store, sharing, batches);
  return parts > 1 ? sharded(0, evenSharding(parts)) : replicated;
}
/** The store as one worker has it. */
export function shardOf(store: Store, sharing: Sharing, batches: ReadonlySet<number>): Store {
  const place = placementOf(store, sharing, batches);
  if (!isSharded(place) || place.sharding.kind !== "even") return store;
  const { parts } = place.sharding;
  const [first = 0, ...rest] = dims(store.type);
  return { ...store, split: parts, type: type(dtypeOf(store.type), [first / parts, ...rest]) };
}
