// Reorders launches so that assignments and updates can be done in place: launches that read the old contents go first. Launches that release memory
// go early (release.ts), small ones are gathered into runs, and collectives overlap with what does not need them (overlap.ts).
import { type DependenceGraph, dependenceGraph, uses } from "./dependences.ts";
import { besideIfUseful } from "./in-flight.ts";
import { launchesBeside, overlapped } from "./overlap.ts";
import { isSmall } from "./plan.ts";
import { releaseEarly } from "./release.ts";
import { type Key, memoryKey, type Sequence, type VirtualLaunch } from "./sequence.ts";

/**
 * The same launches, as close to the given order as possible, with every dependence kept, and each wish for in-place writing that makes no cycle.
 * `kernelsBeside`: the target has several streams, so kernels may overlap too. `leastOverlapped`: see `besideIfUseful`.
 */
export function orderLaunches(sequence: Sequence, kernelsBeside: boolean, leastOverlapped?: number): Sequence {
  const [writers, readers] = uses(sequence);
  const edges = dependenceGraph(sequence.launches.length, [writers, readers]);
  const wishes = [...overwrites(sequence, writers)].flatMap(({ old, by }) =>
    (readers.get(old) ?? []).filter(({ at }) => at !== by).map(({ at }) => ({ user: at, by })),
  );
  for (const { user, by } of wishes) if (user < by) edges.add(user, by);
  for (const { user, by } of wishes) if (user > by && !edges.reaches(by, user)) edges.add(user, by);
  const small = sequence.launches.map(isSmall);
  const beside = launchesBeside(sequence.launches, edges, kernelsBeside);
  const gathered = gatherSmall(releaseEarly(sequence, edges), edges, small);
  const order = overlapped(sequence.launches, edges, gathered, beside);
  const made = besideIfUseful(inOrder(sequence, order, beside), leastOverlapped);
  return made.launches.some((launch) => launch.beside) ? made : inOrder(sequence, gathered, new Set());
}
/** Those that are `beside` are marked. */
const inOrder = (sequence: Sequence, order: readonly number[], beside: ReadonlySet<number>): Sequence => {
  const marked = (launch: VirtualLaunch, at: number): VirtualLaunch =>
    beside.has(at) ? { ...launch, beside: true } : launch;
  return {
    ...sequence,
    launches: order.flatMap((at) => sequence.launches.slice(at, at + 1).map((launch) => marked(launch, at))),
  };
};
/**
 * On the host one thread executes a run of small launches while the others wait at its end. So a single larger launch between two such runs moves
 * before the first, if it does not depend on it, and the runs become one.
 */
function gatherSmall(given: readonly number[], edges: DependenceGraph, small: readonly boolean[]): readonly number[] {
  const order: number[] = [];
  for (const [i, at] of given.entries()) {
    const run = order.slice(order.findLastIndex((before) => !small[before]) + 1);
    const between = run.length > 0 && !small[at] && small[given[i + 1] ?? -1];
    const moves = between && !run.some((before) => edges.has(before, at));
    order.splice(moves ? order.length - run.length : order.length, 0, at);
  }
  return order;
}

/** Launches `by` whose result is to take the place of what buffer `old` holds: assignments and updates. */
function* overwrites(
  sequence: Sequence,
  writers: ReturnType<typeof uses>[0],
): Generator<{ readonly old: Key; readonly by: number }> {
  for (const { store, from } of sequence.assigns) {
    for (const { at } of writers.get(memoryKey(from)) ?? []) yield { old: store, by: at };
  }
  for (const [by, { args }] of sequence.launches.entries()) {
    for (const { base } of args) if (base !== undefined) yield { old: memoryKey(base), by };
  }
}
