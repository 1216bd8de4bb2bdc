// Launches that release more memory than they take go as early as they can, above all weight gradients: a product of what the backward of a layer is
// given, and of what its forward kept, is made before the backward comes to the layer in front of it. Both need no memory after that.
import { sum } from "../types/numbers.ts";
import type { DependenceGraph } from "./dependences.ts";
import { isSmall } from "./plan.ts";
import {
  buffersOfArg,
  isRead,
  type Key,
  memoryKey,
  type Sequence,
  type VirtualArg,
  type VirtualBuffer,
  type VirtualLaunch,
} from "./sequence.ts";

/** A topological order, close to that of `edges`, in which a launch follows the one before the last reader of what it releases. */
export function releaseEarly(sequence: Sequence, edges: DependenceGraph): readonly number[] {
  const order = new ReleaseOrder(sequence, edges);
  for (const at of edges.topologicalOrder()) order.run(at);
  return order.done;
}

class ReleaseOrder {
  readonly #launches: readonly VirtualLaunch[];
  readonly #edges: DependenceGraph;
  readonly #executed = new Set<number>();
  /** How many launches each launch still waits for. */
  readonly #waiting: number[];
  /** For each temporary that the entry does not hand on: the launches that will still read it. */
  readonly #readers = new Map<Key, Set<number>>();
  /** Stores' new contents; they take the place of the old ones. */
  readonly #assigned: ReadonlySet<Key>;

  constructor({ launches, results, assigns }: Sequence, edges: DependenceGraph) {
    [this.#launches, this.#edges] = [launches, edges];
    this.#assigned = new Set(assigns.map(({ from }) => memoryKey(from)));
    this.#waiting = launches.map(() => 0);
    for (const [, to] of edges.all()) this.#waiting[to] = (this.#waiting[to] ?? 0) + 1;
    for (const [at, launch] of launches.entries())
      for (const key of launch.args.flatMap(readsOf).map(memoryKey))
        this.#readers.set(key, (this.#readers.get(key) ?? new Set<number>()).add(at));
    for (const { buffer } of results) this.#readers.delete(memoryKey(buffer));
    for (const key of this.#assigned) this.#readers.delete(key);
  }
  get done(): readonly number[] {
    return [...this.#executed];
  }
  /** Executes a launch, if that is not done yet, and after it those that now release memory: of its operands first, then of its results. */
  run(first: number): void {
    const next = [first];
    for (let at = next.pop(); at !== undefined; at = next.pop()) {
      if (this.#executed.has(at) || (at !== first && !this.#releases(at))) continue;
      this.#execute(at);
      next.push(...this.#lastReaders(at).toReversed());
    }
  }
  #execute(at: number): void {
    this.#executed.add(at);
    for (const to of this.#edges.from(at)) this.#waiting[to] = (this.#waiting[to] ?? 0) - 1;
    for (const readers of this.#touched(at)) readers.delete(at);
  }
  /** What will still read each buffer that the launch reads or writes. */
  #touched(at: number): Set<number>[] {
    return (this.#launches[at]?.args ?? [])
      .flatMap(buffersOfArg)
      .flatMap((buffer) => this.#readers.get(memoryKey(buffer)) ?? []);
  }
  #lastReaders(at: number): number[] {
    return this.#touched(at).flatMap((readers) => (readers.size === 1 ? [...readers] : []));
  }
  /** Whether the launch may go next, and the bytes that only it still reads are more than those that it writes. */
  #releases(at: number): boolean {
    const launch = this.#launches[at];
    if (!launch || this.#waiting[at] !== 0 || isSmall(launch)) return false;
    const released = new Map<Key, number>();
    let taken = 0;
    for (const arg of launch.args) {
      if (!isRead(arg) && !this.#assigned.has(memoryKey(arg.buffer))) taken += arg.buffer.bytes;
      for (const buffer of readsOf(arg))
        if (this.#readers.get(memoryKey(buffer))?.size === 1) released.set(memoryKey(buffer), buffer.bytes);
    }
    return sum(released.values()) > taken;
  }
}
/** The temporaries that a launch reads through this argument. */
const readsOf = (arg: VirtualArg): VirtualBuffer[] =>
  buffersOfArg(arg).filter((b) => b.store === null && (b === arg.base || isRead(arg)));
