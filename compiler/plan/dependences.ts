// Which launches of a sequence must come after which: a graph of dependences through buffers.
import { topologicalOrder } from "../topological-order.ts";
import { isRead, type Key, meet, memoryKey, type Sequence, type VirtualArg, type VirtualBuffer } from "./sequence.ts";

/** The data dependences: an edge from each launch that writes a buffer to each that reads it. */
export const dependences = (sequence: Sequence): DependenceGraph =>
  dependenceGraph(sequence.launches.length, uses(sequence));
export function dependenceGraph(launches: number, [writers, readers]: Uses): DependenceGraph {
  const edges = new DependenceGraph(launches);
  for (const [key, users] of readers) {
    for (const writer of writers.get(key) ?? [])
      for (const user of users) if (meet(writer, user)) edges.add(writer.at, user.at);
  }
  return edges;
}
interface Use extends Pick<VirtualArg, "groups"> {
  readonly at: number;
}
type Uses = readonly [writers: Map<Key, Use[]>, readers: Map<Key, Use[]>];
/** The launches that write each buffer, and those that read it (as an argument, or as the base of an update). */
export function uses(sequence: Sequence): Uses {
  const writers = new Map<Key, Use[]>();
  const readers = new Map<Key, Use[]>();
  for (const [at, { args }] of sequence.launches.entries()) {
    for (const arg of args) {
      note(isRead(arg) ? readers : writers, arg.buffer, { at, ...(arg.groups ? { groups: arg.groups } : {}) });
      if (arg.base !== undefined) note(readers, arg.base, { at });
    }
  }
  return [writers, readers];
}
function note(to: Map<Key, Use[]>, buffer: VirtualBuffer, use: Use): void {
  const key = memoryKey(buffer);
  to.set(key, [...(to.get(key) ?? []), use]);
}
/** A directed graph whose nodes are the numbers of launches. */
export class DependenceGraph {
  readonly #after: readonly Set<number>[];

  constructor(count: number) {
    this.#after = Array.from({ length: count }, () => new Set<number>());
  }
  add(from: number, to: number): void {
    if (from !== to) this.#after[from]?.add(to);
  }
  *all(): Generator<readonly [from: number, to: number]> {
    for (const [from, after] of this.#after.entries()) for (const to of after) yield [from, to];
  }
  from(at: number): ReadonlySet<number> {
    return this.#after[at] ?? new Set();
  }
  has(from: number, to: number): boolean {
    return this.#after[from]?.has(to) ?? false;
  }
  /** Whether a path leads from one to the other. */
  reaches(from: number, to: number): boolean {
    const seen = new Set([from]);
    for (const at of seen) for (const next of this.#after[at] ?? []) seen.add(next);
    return seen.has(to);
  }
  /** For each launch those that it depends on. */
  reversed(): readonly ReadonlySet<number>[] {
    const before = this.#after.map(() => new Set<number>());
    for (const [from, to] of this.all()) before[to]?.add(from);
    return before;
  }
  /** A topological order that stays close to the numbering. */
  topologicalOrder(): readonly number[] {
    const before = this.reversed();
    return topologicalOrder(before.keys(), (at) => [...(before[at] ?? [])].toSorted((a, b) => a - b));
  }
}
