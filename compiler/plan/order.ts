// Reorders launches so that assignments and updates can be done in place: launches that read the old contents go first. It also gathers small
// launches into runs.
import { isRead, memoryKey } from "./liveness.ts";
import { isSmall } from "./plan.ts";
import type { Sequence, VirtualBuffer } from "./sequence.ts";

type Key = VirtualBuffer | string;

/** The same launches, as close to the given order as possible, with every dependence kept, and each wish for in-place writing that makes no cycle. */
export function orderLaunches(sequence: Sequence): Sequence {
  const [writers, readers] = uses(sequence);
  const edges = dependenceGraph(sequence.launches.length, [writers, readers]);
  const wishes = [...overwrites(sequence, writers)].flatMap(({ old, by }) =>
    (readers.get(old) ?? []).filter((user) => user !== by).map((user) => ({ user, by })),
  );
  for (const { user, by } of wishes) if (user < by) edges.add(user, by);
  for (const { user, by } of wishes) if (user > by && !edges.reaches(by, user)) edges.add(user, by);
  const small = sequence.launches.map(isSmall);
  return { ...sequence, launches: gatherSmall(edges, small).flatMap((i) => sequence.launches[i] ?? []) };
}
/**
 * On the host one thread executes a run of small launches while the others wait at its end. So a single larger launch between two such runs moves
 * before the first, if it does not depend on it, and the runs become one.
 */
function gatherSmall(edges: DependenceGraph, small: readonly boolean[]): readonly number[] {
  const given = edges.topologicalOrder();
  const order: number[] = [];
  for (const [i, at] of given.entries()) {
    const run = order.slice(order.findLastIndex((before) => !small[before]) + 1);
    const between = run.length > 0 && !small[at] && small[given[i + 1] ?? -1];
    const moves = between && !run.some((before) => edges.has(before, at));
    order.splice(moves ? order.length - run.length : order.length, 0, at);
  }
  return order;
}

/** The data dependences: an edge from each launch that writes a buffer to each that reads it. */
export const dependences = (sequence: Sequence): DependenceGraph =>
  dependenceGraph(sequence.launches.length, uses(sequence));
function dependenceGraph(launches: number, [writers, readers]: Uses): DependenceGraph {
  const edges = new DependenceGraph(launches);
  for (const [key, users] of readers) {
    for (const writer of writers.get(key) ?? []) for (const user of users) edges.add(writer, user);
  }
  return edges;
}
type Uses = readonly [writers: Map<Key, number[]>, readers: Map<Key, number[]>];
/** The launches that write each buffer, and those that read it (as an argument, or as the base of an update). */
function uses(sequence: Sequence): Uses {
  const writers = new Map<Key, number[]>();
  const readers = new Map<Key, number[]>();
  const note = (to: Map<Key, number[]>, buffer: VirtualBuffer, at: number): void => {
    const key = memoryKey(buffer);
    to.set(key, [...(to.get(key) ?? []), at]);
  };
  for (const [at, { args }] of sequence.launches.entries()) {
    for (const arg of args) {
      note(isRead(arg) ? readers : writers, arg.buffer, at);
      if (arg.base !== undefined) note(readers, arg.base, at);
    }
  }
  return [writers, readers];
}
/** Launches `by` whose result is to take the place of what buffer `old` holds: assignments and updates. */
function* overwrites(
  sequence: Sequence,
  writers: ReadonlyMap<Key, readonly number[]>,
): Generator<{ readonly old: Key; readonly by: number }> {
  for (const { store, from } of sequence.assigns) {
    for (const by of writers.get(memoryKey(from)) ?? []) yield { old: store, by };
  }
  for (const [by, { args }] of sequence.launches.entries()) {
    for (const { base } of args) if (base !== undefined) yield { old: memoryKey(base), by };
  }
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
  has(from: number, to: number): boolean {
    return this.#after[from]?.has(to) ?? false;
  }
  /** Whether a path leads from one to the other. */
  reaches(from: number, to: number): boolean {
    const seen = new Set([from]);
    for (const at of seen) for (const next of this.#after[at] ?? []) seen.add(next);
    return seen.has(to);
  }
  /** A topological order that stays close to the numbering. */
  topologicalOrder(): readonly number[] {
    const order: number[] = [];
    const before = this.#after.map(() => new Set<number>());
    for (const [from, to] of this.all()) before[to]?.add(from);
    const done = new Set<number>();
    const visit = (at: number): void => {
      if (done.has(at)) return;
      done.add(at);
      for (const first of [...(before[at] ?? [])].toSorted((a, b) => a - b)) visit(first);
      order.push(at);
    };
    for (const at of before.keys()) visit(at);
    return order;
  }
}
