// Routings of each worker's own choices: sorted there, exchanged, and, where something else asks, as one routing of all workers' choices.
import { Bug } from "../diagnostic.ts";
import type { Builder, Group, Node, Placement, Value } from "../graph/node.ts";
import { groupsOf } from "../ops/across.ts";
import * as b from "../ops/build.ts";
import { nth } from "../ops/common.ts";
import { dims } from "../types/type.ts";
import { ranked } from "./parts.ts";

/** How workers share a batch, and experts. */
export interface Sharing {
  readonly workers: number;
  /** Over how many of them experts are spread at most; if not given, over all. */
  readonly expertParallel?: number | undefined;
  /** For how many equal shares of a group's rows the experts of one have room; if not given, for all. */
  readonly room?: number | undefined;
}

interface Known {
  readonly local: b.Route;
  /** All workers' choices. */
  readonly index: () => Value;
}
/** By the routing's node in the graph of one worker. */
export class Routings {
  private readonly g: Builder;
  private readonly sharing: Sharing;
  private readonly among: ReadonlyMap<Node, number>;
  private readonly known = new Map<Node, Known>();

  /** `among`: to how many of each group of workers rows go, of those routings whose rows go to the owners of their groups. */
  constructor(g: Builder, sharing: Sharing, among: ReadonlyMap<Node, number>) {
    [this.g, this.sharing, this.among] = [g, sharing, among];
  }
  add(by: Node, local: readonly Value[], index: () => Value): void {
    this.known.set(by, { local: routeOf(local), index });
  }
  has(by: Node): boolean {
    return this.known.has(by);
  }
  local(by: Node): b.Route {
    return this.of(by).local;
  }
  all(by: Node): b.Route {
    return b.route(this.g, this.of(by).index(), this.groups(by));
  }
  choices(by: Node): number {
    return nth(dims(nth(by.args, 0).type), 0);
  }
  /** How many of them are a worker's own. */
  own(by: Node): number {
    return this.choices(by) / this.sharing.workers;
  }
  /** For how many choices of its group's workers a worker has room that are of the groups that it owns. */
  room(by: Node): number {
    const { workers } = this.owners(by);
    return Math.min(workers * this.own(by), Math.ceil(this.own(by) * (this.sharing.room ?? workers)));
  }
  exchange(rows: Value, by: Node, back: boolean): Value {
    const length = back ? this.own(by) : this.room(by);
    return b.make1(this.g, "exchange", [rows, this.ends(by)], { ...this.owners(by), back, length });
  }
  valid(by: Node, owned: boolean): Value {
    if (!owned) return b.ge(this.g, this.local(by).order, 0);
    const [n, own] = [this.room(by), this.ownGroups(by)];
    const last = b.broadcast(this.g, b.slice(this.g, this.offsets(by), 0, own, 1), [n, 1], [1]);
    return b.lt(this.g, b.iota(this.g, n), b.reshape(this.g, last, [n]));
  }
  /** i32[own groups + 1]: where the rows of each group that a worker owns begin and end there. */
  offsets(by: Node): Value {
    const own = this.ownGroups(by);
    const all = this.together(by, this.owners(by));
    const first = ranked(this.g, this.owners(by), own, [own + 1]);
    const ends = b.take(this.g, all, b.add(this.g, b.iota(this.g, own + 1), first));
    return b.sub(this.g, ends, b.take(this.g, all, first));
  }
  /** Result `i` of the routing as rows of it, where they are sorted; null: it is no such thing. */
  rows(by: Node, i: number): Value | null {
    const { order, expert } = this.local(by);
    if (i === 3) return expert;
    if (i !== 0) return null;
    const own = this.own(by);
    return b.where(this.g, b.ge(this.g, order, 0), b.add(this.g, order, ranked(this.g, this.everyone, own, [own])), -1);
  }
  /** Result `i` of one routing of all choices. */
  result(by: Node, i: number): Value {
    const { order, inverse, expert } = this.all(by);
    return nth([order, this.together(by, this.everyone), inverse, expert], i);
  }
  /** i32[workers, groups + 1]: all workers' offsets, so that all find alike where one has too little room. */
  private ends(by: Node): Value {
    const { offsets } = this.local(by);
    const row = b.reshape(this.g, offsets, [1, this.groups(by) + 1]);
    return b.make1(this.g, "all_gather", [row], this.everyone);
  }
  /** The offsets of all choices of such a group of workers: what comes before a group of rows comes before it on one of them. */
  private together(by: Node, among: Group): Value {
    const { workers, groups } = among;
    if (groups === undefined) return b.sum(this.g, this.ends(by), [0]);
    const [rank, own] = [ranked(this.g, this.everyone, 1, [workers]), ranked(this.g, among, 1, [workers])];
    const first = b.sub(this.g, rank, own);
    return b.sum(this.g, b.take(this.g, this.ends(by), b.add(this.g, b.iota(this.g, workers), first)), [0]);
  }
  private get everyone(): Group {
    return groupsOf(this.sharing.workers, this.sharing.workers);
  }
  private owners(by: Node): Group {
    const { workers } = this.sharing;
    return groupsOf(workers, this.among.get(by) ?? workers);
  }
  private ownGroups(by: Node): number {
    return this.groups(by) / this.owners(by).workers;
  }
  private groups(by: Node): number {
    return (by.attrs as { readonly groups: number }).groups;
  }
  private of(by: Node): Known {
    const known = this.known.get(by);
    if (!known) throw new Bug(`${by.op.name} ${by.id} is no routing of each worker's own choices`);
    return known;
  }
}
const routeOf = ([order, offsets, inverse, expert]: readonly Value[]): b.Route => {
  if (!order || !offsets || !inverse || !expert) throw new Bug("a routing has four results");
  return { order, offsets, inverse, expert };
};
/** What an op that knows nothing of routings sees in a result of one. */
export function seenAs({ index }: Value, by: Node): Placement {
  if (index === 0 || index === 3) return { kind: "cut", axis: 0, cut: { kind: "rows", by, owned: false } };
  return { kind: "whole" };
}
