// Which collectives overlap with computing, and the order in which they do. They are `beside`: they go to a second queue, which does them one after
// another, each after all launches that stand before it, while the first queue goes on until it needs what they make (in-flight.ts).
import type { DependenceGraph } from "./dependences.ts";
import { exchangesEarly } from "./exchange-order.ts";
import { gathersAhead, gathersOfStores } from "./gathers-ahead.ts";
import { bytesHeld, tooMany } from "./in-flight.ts";
import { microsecondsOf } from "./plan.ts";
import { isCollective, isExchange, isKernel, isRead, type VirtualLaunch } from "./sequence.ts";

/**
 * The launches that are beside: exchanges, and collectives of whose results no product of forward or backward is made, sums of gradients above all.
 * Gathers of what stores hold are, too. `kernels`: where there are several streams, so are kernels that add up what an all_to_all brought; exchanges are not
 * there, as the host must know what they move, nor are gathers of stores.
 */
export function launchesBeside(
  launches: readonly VirtualLaunch[],
  edges: DependenceGraph,
  kernels: boolean,
): Set<number> {
  const beside = new Set<number>();
  if (!launches.some(isCollective)) return beside;
  const urgent = urgentLaunches(launches, edges);
  for (const [at, { kernel }] of launches.entries())
    if (!isKernel(kernel) && (kernel.name === "exchange" ? !kernels : !urgent.has(at))) beside.add(at);
  if (!kernels) return new Set([...beside, ...gathersOfStores(launches, edges).keys()]);
  for (const at of addingUp(launches, beside)) if ([...edges.from(at)].some((to) => beside.has(to))) beside.add(at);
  return beside;
}
/** The kernels that read nothing but what an all_to_all that is beside brought. */
function addingUp(launches: readonly VirtualLaunch[], beside: ReadonlySet<number>): readonly number[] {
  const brought = new Set(
    launches.flatMap(({ kernel, args }, at) =>
      beside.has(at) && kernel.name === "all_to_all" ? args.filter((a) => !isRead(a)).map((a) => a.buffer) : [],
    ),
  );
  return [...launches.entries()].flatMap(([at, { kernel, args }]) => {
    const read = args.filter((arg) => isRead(arg) || arg.base);
    const adds = isKernel(kernel) && read.length > 0 && read.every(({ base, buffer }) => !base && brought.has(buffer));
    return adds ? [at] : [];
  });
}
/** Launches that a product of forward or backward, or an exchange, depends on. */
function urgentLaunches(launches: readonly VirtualLaunch[], edges: DependenceGraph): ReadonlySet<number> {
  const urgent = new Set<number>();
  for (const at of edges.topologicalOrder().toReversed())
    if ([...edges.from(at)].some((to) => urgent.has(to) || isWork(launches[to]))) urgent.add(at);
  return urgent;
}
const isWork = (launch: VirtualLaunch | undefined): boolean =>
  launch !== undefined &&
  (isKernel(launch.kernel) ? launch.kernel.schedule !== undefined && launch.phase !== "update" : isExchange(launch));

/**
 * The given order, but that what is beside, and what only leads to it (weight gradients), goes as soon as it is ready, and what depends on it late: once it
 * is awaited anyway, or at the end. Exchanges go early, too (exchange-order.ts), and so do gathers of stores (gathers-ahead.ts).
 */
export function overlapped(
  launches: readonly VirtualLaunch[],
  edges: DependenceGraph,
  order: readonly number[],
  beside: ReadonlySet<number>,
): readonly number[] {
  const gathers = new Map([...gathersOfStores(launches, edges)].filter(([at]) => beside.has(at)));
  const exchanges = [...beside].filter((at) => isExchange(launches[at]));
  const sums = new Set([...beside].filter((at) => !gathers.has(at) && !isExchange(launches[at])));
  const gathered = gathersAhead(launches, edges, order, gathers);
  const made = sums.size === 0 ? gathered : new OverlapOrder(launches, edges, gathered, sums, beside).run();
  return exchanges.length === 0 ? made : exchangesEarly(launches, edges, made, beside);
}

class OverlapOrder {
  readonly #launches: readonly VirtualLaunch[];
  readonly #edges: DependenceGraph;
  readonly #order: readonly number[];
  /** What is beside but for exchanges and gathers of stores; these keep their order among all others. */
  readonly #beside: ReadonlySet<number>;
  readonly #exchanges: ReadonlySet<number>;
  /** What depends on what is beside; and what only leads to it. */
  readonly #late: ReadonlySet<number>;
  readonly #eager: ReadonlySet<number>;
  /** All other launches, in the given order, and how many of them are done. */
  readonly #main: readonly number[];
  #mainDone = 0;
  readonly #done = new Set<number>();
  /** For each launch: how many that it depends on are not done, and how many of those that are beside may still be in flight. */
  readonly #waiting: number[];
  readonly #flying: number[];
  /** What depends on something beside directly. */
  readonly #following = new Set<number>();
  /** What is late, and was passed or adds up what an all_to_all brought, which releases memory. */
  readonly #deferred: Set<number>;
  /** What is beside and ready, and is begun after the next collective. */
  readonly #ready = new Set<number>();
  readonly #inFlight: number[] = [];
  /** The bytes that each launch holds in flight. */
  readonly #held: readonly number[];

  constructor(
    launches: readonly VirtualLaunch[],
    edges: DependenceGraph,
    order: readonly number[],
    beside: ReadonlySet<number>,
    all: ReadonlySet<number>,
  ) {
    [this.#launches, this.#edges, this.#order, this.#beside] = [launches, edges, order, beside];
    this.#exchanges = new Set([...all].filter((at) => !beside.has(at)));
    [this.#waiting, this.#flying] = [launches.map(() => 0), launches.map(() => 0)];
    this.#held = launches.map((launch, at) => (beside.has(at) ? bytesHeld(launch) : 0));
    for (const [from, to] of edges.all()) {
      add(this.#waiting, to, 1);
      if (all.has(from)) add(this.#flying, to, 1);
      if (beside.has(from)) this.#following.add(to);
    }
    const [late, eager, urgent] = [new Set<number>(), new Set<number>(), urgentLaunches(launches, edges)];
    for (const at of order)
      if (beside.has(at) || late.has(at)) for (const to of edges.from(at)) if (!beside.has(to)) late.add(to);
    for (const at of order.toReversed())
      if (!beside.has(at) && !late.has(at) && !urgent.has(at))
        if ([...edges.from(at)].some((to) => beside.has(to) || eager.has(to))) eager.add(at);
    [this.#late, this.#eager] = [late, eager];
    this.#deferred = new Set(addingUp(launches, beside));
    this.#main = order.filter((at) => !beside.has(at) && !late.has(at) && !eager.has(at));
  }

  run(): readonly number[] {
    for (const at of this.#order) {
      if (this.#late.has(at)) this.#deferred.add(at);
      this.#execute(this.#ifNext([at]));
    }
    this.#execute(this.#begunNext());
    for (const at of this.#order) this.#execute([at]);
    return [...this.#done];
  }
  /** Whether a launch may go where the order comes to it, or to the last that it depends on. */
  #isNext(at: number): boolean {
    if (this.#done.has(at) || this.#waiting[at] !== 0) return false;
    return !this.#late.has(at) || (this.#deferred.has(at) && this.#flying[at] === 0);
  }
  /** Those of these that may go; what is beside may be postponed instead. */
  #ifNext(of: readonly number[]): readonly number[] {
    const may = of.filter((at) => this.#isNext(at));
    const postponed = may.filter((at) => this.#beside.has(at) && this.#isPostponed(at));
    for (const at of postponed) this.#ready.add(at);
    return may.filter((at) => !this.#ready.has(at));
  }
  #begunNext(): readonly number[] {
    const begun = [...this.#ready];
    this.#ready.clear();
    return begun;
  }
  /** Executes launches, and after each those that may go then. */
  #execute(first: readonly number[]): void {
    const next = first.toReversed();
    for (let at = next.pop(); at !== undefined; at = next.pop()) {
      if (this.#done.has(at)) continue;
      const after = [...this.#markDone(at), ...this.#edges.from(at)].filter((to) => !this.#isMain(to));
      const begun = this.#isBarrier(at) || this.#exchanges.has(at) ? this.#begunNext() : [];
      next.push(...[...begun, ...this.#ifNext(after)].toReversed());
    }
  }
  /** Returns what depends on what has landed. */
  #markDone(at: number): number[] {
    this.#done.add(at);
    if (this.#main[this.#mainDone] === at) this.#mainDone++;
    for (const to of this.#edges.from(at)) add(this.#waiting, to, -1);
    if (this.#beside.has(at) || this.#exchanges.has(at)) this.#inFlight.push(at);
    const landed = this.#inFlight.splice(0, this.#landed(at));
    const after = landed.flatMap((from) => [...this.#edges.from(from)]);
    for (const to of after) add(this.#flying, to, -1);
    return after;
  }
  /** How many of those in flight are awaited at a launch, as `awaitedBefore` has it. */
  #landed(at: number): number {
    if (this.#isBarrier(at)) return this.#inFlight.length;
    if (this.#isMain(at)) return this.#inFlight.findLastIndex((flying) => this.#edges.has(flying, at)) + 1;
    return this.#beside.has(at) ? tooMany(this.#inFlight.map((flying) => this.#held[flying] ?? 0)) : 0;
  }
  #isMain(at: number): boolean {
    return !this.#beside.has(at) && !this.#late.has(at) && !this.#eager.has(at);
  }
  /** A collective of the first queue, before which all in flight is awaited. */
  #isBarrier(at: number): boolean {
    return !this.#beside.has(at) && !this.#exchanges.has(at) && isCollective(this.#launches[at]);
  }
  /** Whether it is better begun after the next collective, as there is more to compute from there to the one after it than there is before. */
  #isPostponed(at: number): boolean {
    if (this.#following.has(at)) return false;
    const [now, then] = this.#stretches();
    return then !== undefined && then > now;
  }
  /** About how long is computed until the next collective of the first queue, and from there to the one after it, if there is a next. */
  #stretches(): readonly [now: number, then?: number] {
    const stretches = [0];
    for (const at of this.#main.slice(this.#mainDone)) {
      const launch = this.#launches[at];
      if (launch && isCollective(launch)) stretches.push(0);
      if (stretches.length > 2) break;
      if (launch && !isCollective(launch)) stretches.push((stretches.pop() ?? 0) + microsecondsOf(launch));
    }
    const [now = 0, then] = stretches;
    return then === undefined ? [now] : [now, then];
  }
}
function add(counts: number[], at: number, n: number): void {
  counts[at] = (counts[at] ?? 0) + n;
}
