// The order in which exchanges of rows overlap with computing: each begins as early as it can, and what does not need it is computed until it is awaited.
import type { DependenceGraph } from "./dependences.ts";
import { isCollective, isExchange, type VirtualLaunch } from "./sequence.ts";

/**
 * The given order, but that of the launches before an exchange those that it needs go first, the others once something must wait for an exchange.
 * `beside`: what is only begun where it stands.
 */
export function exchangesEarly(
  launches: readonly VirtualLaunch[],
  edges: DependenceGraph,
  order: readonly number[],
  beside: ReadonlySet<number>,
): readonly number[] {
  const isBegun = (at: number): boolean => beside.has(at) && isExchange(launches[at]);
  const made = new ExchangeOrder(edges, (at) => isCollective(launches[at]) && !beside.has(at));
  for (const at of order) {
    if (isBegun(at)) made.begin(at);
    else made.add(at);
  }
  return made.finish();
}

class ExchangeOrder {
  readonly #before: readonly ReadonlySet<number>[];
  readonly #edges: DependenceGraph;
  readonly #awaitsAll: (at: number) => boolean;
  /** In the order in which they are made. */
  readonly #made = new Set<number>();
  /** What is not made yet, in the given order. */
  #pending: number[] = [];
  #inFlight: readonly number[] = [];

  /** `awaitsAll`: whether a launch waits for all that is in flight, as collectives of the first queue do. */
  constructor(edges: DependenceGraph, awaitsAll: (at: number) => boolean) {
    [this.#edges, this.#before, this.#awaitsAll] = [edges, edges.reversed(), awaitsAll];
  }
  add(at: number): void {
    this.#pending.push(at);
  }
  begin(exchange: number): void {
    const needed = new Set([exchange]);
    for (const at of needed) for (const from of this.#before[at] ?? []) if (!this.#made.has(from)) needed.add(from);
    this.#make((at) => needed.has(at));
    this.#made.add(exchange);
    this.#inFlight = [...this.#inFlight, exchange];
  }
  finish(): readonly number[] {
    this.#make(() => true);
    return [...this.#made];
  }
  /** Makes what is needed. If some of it must wait for an exchange, all that need not goes before. */
  #make(isNeeded: (at: number) => boolean): void {
    const waiting = new Set<number>();
    for (const at of this.#pending)
      if (this.#awaited(at) > 0 || [...(this.#before[at] ?? [])].some((from) => waiting.has(from))) waiting.add(at);
    this.#take((at) => isNeeded(at) && !waiting.has(at));
    if (!this.#pending.some(isNeeded)) return;
    this.#take((at) => !waiting.has(at));
    const awaited = Math.max(...this.#pending.filter(isNeeded).map((at) => this.#awaited(at)));
    this.#take(isNeeded);
    this.#inFlight = this.#inFlight.slice(awaited);
  }
  #take(which: (at: number) => boolean): void {
    for (const at of this.#pending) if (which(at)) this.#made.add(at);
    this.#pending = this.#pending.filter((at) => !which(at));
  }
  /** How many of the exchanges in flight a launch waits for: up to the last that it needs. */
  #awaited(at: number): number {
    if (this.#awaitsAll(at)) return this.#inFlight.length;
    return this.#inFlight.findLastIndex((flying) => this.#edges.has(flying, at)) + 1;
  }
}
