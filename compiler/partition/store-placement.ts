// Where the stores of a program are that several workers share: which of them are sharded along which axis of the mesh, and into how many parts.
import { isRuntimeInput, type MeshAxis, type Placement, type Store, type StoreShard } from "../graph/node.ts";
import { evenOf, evenSharding, evenUnit, isSharded, replicated, type Sharded, sharded } from "../ops/sharding.ts";
import { gcd, product } from "../types/numbers.ts";
import { dims, dtypeOf, type } from "../types/type.ts";
import { dataAxis, replicaAxis, type Sharing, tensorAxis } from "./mesh.ts";

/** How many rows the entries' inputs have. */
export const batchesOf = (stores: readonly Store[]): ReadonlySet<number> =>
  new Set(stores.filter(isBatch).flatMap(({ type }) => dims(type).slice(0, 1)));
const isBatch = ({ name, role }: Store): boolean => role === "input" && !isRuntimeInput(name);
/** What placements of stores follow from, besides the store: see `batchesOf` and `tensorAxes`. */
export interface PlacedBy extends Sharing {
  readonly batches: ReadonlySet<number>;
  /** How the workers of the tensor axis share parameters and states. */
  readonly tensorAxes: ReadonlyMap<string, Sharded>;
  /** See `Limits`. Default: 16, as fewer are less than a block of queries. */
  readonly leastTokens?: number | undefined;
}
const hasTokens = ({ contextParallel = 1 }: Sharing): boolean => contextParallel > 1;
const hasRows = (store: Store, { batches }: PlacedBy): boolean =>
  isBatch(store) || (store.role === "state" && !store.saved && batches.has(dims(store.type)[0] ?? 0));
const rowShard = ({ type }: Store, count: number): Placement =>
  evenly(0, (dims(type)[0] ?? 0) % count === 0 ? count : 1);
/**
 * The tokens of an input are along the axis after that of its rows. They are in pieces, of each of which a worker has a part (as in Striped Attention, Brandon et
 * al. 2023, arXiv 2311.09431): of p, the last of C workers has 1 + (C - 1) / (p C) of the mean of what a causal mask leaves to do.
 */
function tokenShard(store: Store, count: number, { leastTokens = 16 }: PlacedBy): Placement {
  const [, tokens = 0] = dims(store.type);
  if (!isBatch(store) || tokens === 0 || tokens % count !== 0) return replicated;
  const own = tokens / count;
  const pieces = [8, 4, 2].find((n) => own % n === 0 && own / n >= leastTokens) ?? 1;
  return sharded(
    1,
    evenSharding(
      count,
      Array.from({ length: pieces }, () => 1),
    ),
  );
}
/** How the workers of the replica axis share a store: inputs, and states that are kept for their rows. */
function replicaShard(store: Store, by: PlacedBy): Placement {
  return hasRows(store, by) && (dims(store.type)[0] ?? 0) > 0 ? rowShard(store, replicaAxis(by).count) : replicated;
}
/**
 * How the workers of the data axis share a store. An input (a batch) is sharded among all of them by its rows, and so are states that an entry keeps for
 * the rows of one of the `batches`, as keys and values are in generation. A stack of experts, their gradients and optimizer state are sharded among as
 * many workers as divide both the number of experts and `expertParallel`. Else see `isDivided`; what has no such axis is replicated.
 */
function dataShard(store: Store, by: PlacedBy): Placement {
  const { count } = dataAxis(by);
  const { stack, type } = store;
  const [first = 0] = dims(type);
  if (first === 0) return replicated;
  if (hasRows(store, by)) return hasTokens(by) ? tokenShard(store, count, by) : rowShard(store, count);
  if (stack > 0) return evenly(0, gcd(first, by.expertParallel ?? count));
  const axis = isDivided(store, by) ? dims(type).findIndex((n) => n > 0 && n % count === 0) : -1;
  return axis < 0 ? replicated : evenly(axis, count);
}
/**
 * Whether each worker keeps a part of a store, which is no stack, along the first axis that the workers divide. Vectors of parameters are whole: together they
 * are small, and each would be a message.
 */
function isDivided({ role, type }: Store, { shardOptimizer = false, shardParameters = false }: Sharing): boolean {
  if (role === "parameter") return shardParameters && type.shape.length > 1;
  return (role === "optimizer" || role === "gradient") && (shardOptimizer || shardParameters);
}
/** The names of the stores outside experts, with this role, of which each worker of the data axis has a part by `shardParameters` or `shardOptimizer`. */
export function dividedStores(stores: readonly Store[], by: PlacedBy, role: Store["role"]): ReadonlySet<string> {
  const outside = stores.filter((s) => s.role === role && s.stack === 0 && isDivided(s, by));
  return new Set(outside.filter((s) => isSharded(placementsOf(s, by).data)).map((s) => s.name));
}
/**
 * A stack of experts is sharded along the tensor axis by its experts, as many as divide them; what is of another parameter as that is, if it has the same
 * axis.
 */
function tensorShard({ name, of = name, stack, type }: Store, { tensorAxes, ...sharing }: PlacedBy): Placement {
  const { count } = tensorAxis(sharing);
  const shape = dims(type);
  if (stack > 0) return (shape[0] ?? 0) > 0 ? evenly(0, gcd(shape[0] ?? 1, count)) : replicated;
  const place = tensorAxes.get(of);
  const n = shape[place?.axis ?? 0] ?? 0;
  return place && n > 0 && n % evenUnit(evenOf(place)) === 0 ? place : replicated;
}
const evenly = (axis: number, parts: number): Placement =>
  parts > 1 ? sharded(axis, evenSharding(parts)) : replicated;
export interface Placements {
  readonly tensor: Placement;
  readonly replica: Placement;
  readonly data: Placement;
}
/** The placements of a store along the tensor axis, of what that leaves along the replica axis, and of what that leaves along the data axis. */
export function placementsOf(store: Store, by: PlacedBy): Placements {
  const tensor = tensorShard(store, by);
  const own = partOf(store, tensor, tensorAxis(by));
  return { tensor, replica: replicaShard(own, by), data: dataShard(own, by) };
}
/** The store as one worker has it. */
export function shardOf(store: Store, by: PlacedBy): Store {
  const { tensor, replica, data } = placementsOf(store, by);
  const ofReplica = partOf(partOf(store, tensor, tensorAxis(by)), replica, replicaAxis(by));
  return partOf(ofReplica, data, dataAxis(by));
}
function partOf(store: Store, place: Placement, { stride }: MeshAxis): Store {
  if (!isSharded(place)) return store;
  const [{ axis }, { parts, pieces }, shape] = [place, evenOf(place), dims(store.type)];
  const own = shape.with(axis, (shape[axis] ?? 0) / parts);
  const shard: StoreShard = { axis, parts, stride, ...(pieces && { pieces }) };
  return { ...store, shards: [...(store.shards ?? []), shard], type: type(dtypeOf(store.type), own) };
}
/** How many different parts of a store there are. */
export const partCount = ({ shards = [] }: { readonly shards?: readonly StoreShard[] }): number =>
  product(shards.map(({ parts }) => parts));
