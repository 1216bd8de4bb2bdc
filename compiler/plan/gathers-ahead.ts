// Gathers of what stores hold (parameters of which each worker has a part) overlap with computing: they begin before the launch that reads them, while
// launches before that compute.
import type { DependenceGraph } from "./dependences.ts";
import { isKernel, isRead, type VirtualLaunch } from "./sequence.ts";

/** Gathers of stores, or of copies that wait for other launches, with the launches that make these copies. */
export function gathersOfStores(
  launches: readonly VirtualLaunch[],
  edges: DependenceGraph,
): ReadonlyMap<number, readonly number[]> {
  const before = edges.reversed();
  const found = new Map<number, readonly number[]>();
  for (const [at, { kernel }] of launches.entries()) {
    if (isKernel(kernel) || kernel.name !== "all_gather") continue;
    const copies = [...(before[at] ?? [])];
    if (copies.every((from) => isCopy(launches[from]))) found.set(at, copies);
  }
  return found;
}
/** Whether a launch makes one buffer, of nothing but stores, one of which is as large, without a product. */
function isCopy(launch: VirtualLaunch | undefined): boolean {
  const [made, ...more] = launch?.args.filter((arg) => !isRead(arg)) ?? [];
  const isOne = made !== undefined && more.length === 0 && made.access === "write";
  if (!launch || !isOne || !isKernel(launch.kernel) || launch.kernel.schedule) return false;
  const stores = launch.args.filter(isRead).map(({ buffer }) => buffer);
  return stores.every(({ store }) => store !== null) && stores.some(({ bytes }) => bytes === made.buffer.bytes);
}

interface Gather {
  readonly at: number;
  /** The launches that make what it moves. */
  readonly copies: readonly number[];
  readonly bytes: number;
  /** Where the last launch that it needs stands among the others, and the first that must come after it or a copy; the number of others: none must. */
  readonly ready: number;
  readonly read: number;
}
/** The most bytes that gathers fill which begin before the launch that reads them is next, or one alone may fill more. */
const mostAhead = 4 * 1024 * 1024;
/** The given order, but that gathers, in the order of their first readers, begin before launches that do not read them. */
export function gathersAhead(
  launches: readonly VirtualLaunch[],
  edges: DependenceGraph,
  order: readonly number[],
  gathers: ReadonlyMap<number, readonly number[]>,
): readonly number[] {
  const moved = new Set([...gathers].flatMap(([at, copies]) => [at, ...copies]));
  const others = order.filter((at) => !moved.has(at));
  const waiting = inOrderOfReaders(launches, edges, others, gathers);
  const made = new Set<number>();
  let ahead: readonly Gather[] = [];
  for (const [i, other] of others.entries()) {
    ahead = ahead.filter(({ read }) => read > i);
    for (let [next] = waiting; next && next.ready < i; [next] = waiting) {
      const bytes = ahead.reduce((all, gather) => all + gather.bytes, next.bytes);
      if (next.read > i && ahead.length > 0 && bytes > mostAhead) break;
      for (const at of [...next.copies, next.at]) made.add(at);
      if (next.read > i) ahead = [...ahead, next];
      waiting.shift();
    }
    made.add(other);
  }
  for (const { at, copies } of waiting) for (const rest of [...copies, at]) made.add(rest);
  return [...made];
}
function inOrderOfReaders(
  launches: readonly VirtualLaunch[],
  edges: DependenceGraph,
  others: readonly number[],
  gathers: ReadonlyMap<number, readonly number[]>,
): Gather[] {
  const place = new Map(others.map((at, i) => [at, i]));
  const before = edges.reversed();
  const found = [...gathers].map(([at, copies]) => ({
    at,
    copies,
    bytes: bytesMade(launches[at]),
    ready: Math.max(
      -1,
      ...[at, ...copies].flatMap((to) => [...(before[to] ?? [])].map((from) => place.get(from) ?? -1)),
    ),
    read: Math.min(
      others.length,
      ...[at, ...copies].flatMap((from) => [...edges.from(from)].map((to) => place.get(to) ?? others.length)),
    ),
  }));
  return found.toSorted((a, b) => a.read - b.read);
}
const bytesMade = (launch: VirtualLaunch | undefined): number =>
  (launch?.args ?? []).reduce((all, arg) => all + (isRead(arg) ? 0 : arg.buffer.bytes), 0);
