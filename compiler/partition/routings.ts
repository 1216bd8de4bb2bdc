// What partition.ts knows of routings where each worker sorts only its own choices: how rows are exchanged with the experts' owners and, for ops
// that need it, one routing of all workers' choices.
import { Bug } from "../diagnostic.ts";
import type { AxisSharding, Builder, Group, LocalRouting, MeshAxis, Node, Placement, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import * as b from "../ops/build.ts";
import { type Even, evenSharding, groupsOf, onePiece, replicated, sharded } from "../ops/sharding.ts";
import { sum } from "../types/numbers.ts";
import { dims } from "../types/type.ts";
import { groupCount } from "./expert-index.ts";
import { groupAlong, rankOffset, shiftOfPart } from "./mesh.ts";

export type Rows = Extract<AxisSharding, { kind: "rows" }>;
interface Known {
  readonly local: b.Route;
  /** How the choices are shared that each worker sorts; among all workers, if others do not say so. */
  readonly sharding?: Even;
  /** Of a mixture inside an expert: how the rows of the outer mixture are sharded, whose choices are sorted. */
  readonly outer: Rows | null;
  /** Whether all workers have all choices, of which each sorts those of its own experts, or by turns where all have these. */
  readonly whole: boolean;
  /** Makes the index of all workers' choices. */
  readonly index: () => Value;
}
/** Keyed by the `route` node in the whole program's graph. */
export class Routings {
  readonly #g: Builder;
  readonly #axis: MeshAxis;
  readonly #room: number | undefined;
  readonly #ownerCounts: ReadonlyMap<Node, number>;
  readonly #known = new Map<Node, Known>();

  /** `ownerCounts`: the routings whose rows are sent to their experts' owners, each with the number of workers that share the experts. */
  constructor(g: Builder, axis: MeshAxis, ownerCounts: ReadonlyMap<Node, number>, room?: number) {
    [this.#g, this.#axis, this.#ownerCounts, this.#room] = [g, axis, ownerCounts, room];
  }
  add(by: Node, local: readonly Value[], sharding: Even, index: () => Value): void {
    this.#known.set(by, { local: routeOf(local), sharding, outer: null, whole: false, index });
  }
  /** Adds a routing of choices that all workers have. Each sorts those of the experts that it owns, and nothing is sent. */
  addWhole(by: Node, index: Value): readonly Value[] {
    const groups = this.ownGroups(by);
    const own = b.sub(this.#g, index, rankOffset(this.#g, this.owners(by), groups, dims(index.type)));
    const { results } = b.make(this.#g, "route", [own], { groups }); // leaves out those of other experts
    this.#known.set(by, { local: routeOf(results), outer: null, whole: true, index: () => index });
    return results;
  }
  /**
   * The same of choices of experts that all workers have: they take runs of choices by turns. A run is of several rows, since first choices may be of other
   * experts than second ones.
   */
  addTurns(by: Node, index: Value): readonly Value[] {
    const [g, shape, { count }] = [this.#g, dims(index.type), this.#axis];
    const run = Math.min(64, Math.ceil(item(shape, 0) / (8 * count)));
    const turn = b.rem(g, b.idiv(g, b.iota(g, item(shape, 0)), run), count);
    const own = b.where(g, b.eq(g, turn, rankOffset(g, this.#allWorkers, 1, shape)), index, -1);
    const { results } = b.make(g, "route", [own], { groups: groupCount(by) });
    this.#known.set(by, { local: routeOf(results), outer: null, whole: true, index: () => index });
    return results;
  }
  /** Adds a routing of choices of rows that are sharded as `outer`. Each worker sorts those of its rows, whose experts it owns if it owns those of its rows. */
  addInner(by: Node, own: Value, outer: Rows, index: () => Value): readonly Value[] {
    const groups = groupCount(by) / (outer.owned ? this.owners(outer.by).workers : 1);
    const { results } = b.make(this.#g, "route", [outer.owned ? this.#relative(own, outer.by, groups) : own], {
      groups,
    });
    this.#known.set(by, { local: routeOf(results), outer, whole: false, index });
    return results;
  }
  /** Choices as numbers of the worker's own `groups`; -1 in padding rows of the outer mixture, which may hold anything. */
  #relative(index: Value, outer: Node, groups: number): Value {
    const valid = this.valid(outer, true);
    const [n = 0, rows = 0] = [index, valid].map((v) => item(dims(v.type), 0));
    const mask = b.reshape(this.#g, b.broadcast(this.#g, valid, [rows, n / rows], [0]), [n]);
    return b.where(this.#g, mask, b.sub(this.#g, index, rankOffset(this.#g, this.owners(outer), groups, [n])), -1);
  }
  /** How a routing is done that has been added. */
  info(by: Node): LocalRouting {
    const { outer, whole, sharding = evenSharding(this.#axis.count) } = this.#of(by);
    const owners = this.#ownerCounts.get(this.#outermost(by)) ?? null;
    const among = this.#of(this.#outermost(by)).whole ? this.owners(by).workers : this.#axis.count;
    if (whole)
      return { choices: replicated, combined: this.#ofOwnExperts(by), owners, atOwners: owners !== null, among };
    const choices = sharded(0, outer ?? sharding);
    return { choices, combined: choices, owners, atOwners: outer?.owned ?? false, among };
  }
  /** The placement of a sum over all experts, to which each worker adds what is of its own. */
  #ofOwnExperts(by: Node): Placement {
    return { kind: "partial", fn: "sum", group: this.owners(by), of: replicated };
  }
  /** The length on one worker of an axis of rows, sorted by `by`, that has length `n` in all. */
  length(n: number, { by, owned }: Rows): number {
    const outermost = this.#outermost(by);
    return (n / this.choices(outermost)) * (owned ? this.capacity(outermost) : this.ownChoices(outermost));
  }
  /** What divides the length of each axis of rows that `by` sorted. */
  unit(by: Node): number {
    return this.choices(this.#outermost(by));
  }
  #outermost(by: Node): Node {
    const outer = this.#known.get(by)?.outer;
    return outer ? this.#outermost(outer.by) : by;
  }
  has(by: Node): boolean {
    return this.#known.has(by);
  }
  localRouting(by: Node): b.Route {
    return this.#of(by).local;
  }
  globalRouting(by: Node): b.Route {
    return b.route(this.#g, this.#of(by).index(), groupCount(by));
  }
  choices(by: Node): number {
    return item(dims(item(by.args, 0).type), 0);
  }
  /** How many choices one worker sorts. */
  ownChoices(by: Node): number {
    const { outer = null, whole = false } = this.#known.get(by) ?? {};
    if (outer) return this.length(this.choices(by), outer);
    return whole ? this.choices(by) : this.choices(by) / this.#axis.count;
  }
  /** How many of these, at multiples of as many, follow one another among all choices. */
  ownRun(by: Node): number {
    return this.ownChoices(by) / sum(this.#known.get(by)?.sharding?.pieces ?? onePiece);
  }
  /** How many choices of all workers in its group an owner has memory for. */
  capacity(by: Node): number {
    const workers = this.#known.get(by)?.whole ? 1 : this.owners(by).workers;
    return Math.min(workers * this.ownChoices(by), Math.ceil(this.ownChoices(by) * (this.#room ?? workers)));
  }
  exchange(rows: Value, by: Node, back: boolean): Value {
    const length = back ? this.ownChoices(by) : this.capacity(by);
    return b.make1(this.#g, "exchange", [rows, this.allOffsets(by)], { ...this.owners(by), back, length });
  }
  valid(by: Node, owned: boolean): Value {
    if (!owned || this.info(by).atOwners) return b.ge(this.#g, this.localRouting(by).order, 0);
    const [n, own] = [this.capacity(by), this.ownGroups(by)];
    const last = b.broadcast(this.#g, b.slice(this.#g, this.ownedOffsets(by), 0, own, 1), [n, 1], [1]);
    return b.lt(this.#g, b.iota(this.#g, n), b.reshape(this.#g, last, [n]));
  }
  /** i32[own groups + 1]: the offsets of the groups that this worker owns, in the rows that it receives. */
  ownedOffsets(by: Node): Value {
    const own = this.ownGroups(by);
    const all = this.#groupOffsets(by, this.owners(by));
    const first = rankOffset(this.#g, this.owners(by), own, [own + 1]);
    const ends = b.take(this.#g, all, b.add(this.#g, b.iota(this.#g, own + 1), first));
    return b.sub(this.#g, ends, b.take(this.#g, all, first));
  }
  /** Result `i` of the routing for this worker's sorted rows, with choices numbered globally; null: this result has no entry for each row. */
  localResult(by: Node, i: number): Value | null {
    const { outer, whole, local } = this.#of(by);
    const own = this.ownChoices(by);
    const numbered = (x: Value, first: Value): Value =>
      b.where(this.#g, b.ge(this.#g, local.order, 0), b.add(this.#g, x, first), -1);
    if (i === 3 && !outer?.owned && !(whole && this.#ownerCounts.has(by))) return local.expert;
    if (i === 3) return numbered(local.expert, rankOffset(this.#g, this.owners(by), this.ownGroups(by), [own]));
    if (i !== 0 || outer) return null;
    if (whole) return local.order;
    const { sharding = evenSharding(this.#axis.count) } = this.#of(by);
    return numbered(local.order, shiftOfPart(this.#g, this.#axis, this.choices(by), sharding, local.order));
  }
  /** Result `i` of the routing of all workers' choices. */
  globalResult(by: Node, i: number): Value {
    const { order, offsets, inverse, expert } = this.globalRouting(by);
    const { outer, whole } = this.#of(by);
    return item([order, outer || whole ? offsets : this.#groupOffsets(by, this.#allWorkers), inverse, expert], i);
  }
  /** The placement of a routing's result as other ops see it: rows where there is one entry for each sorted row, else replicated. */
  resultPlacement({ index }: Value, by: Node): Placement {
    return index === 0 || index === 3 ? sharded(0, { kind: "rows", by, owned: this.info(by).atOwners }) : replicated;
  }
  allOffsets(by: Node): Value {
    return this.gatherOffsets(this.localRouting(by).offsets);
  }
  /** i32[workers, groups + 1]: the offsets of all workers of the mesh, by rank, so that all of them find out that one lacks room. */
  gatherOffsets(own: Value): Value {
    const { all } = this.#axis;
    return b.make1(this.#g, "all_gather", [b.reshape(this.#g, own, [1, ...dims(own.type)])], groupsOf(all, all));
  }
  /** What the workers of this worker's `group` have of `all` workers' rows. */
  ofGroup(all: Value, group: Group): Value {
    const [g, { workers, groups, stride = 1 }, ranks] = [this.#g, group, this.#axis.all];
    if (groups === undefined) return all;
    const rank = rankOffset(g, groupsOf(ranks, ranks), 1, [workers]);
    const first = b.sub(g, rank, rankOffset(g, group, stride, [workers]));
    return b.take(g, all, b.add(g, b.mul(g, b.iota(g, workers), stride), first));
  }
  /** The offsets of all choices of this worker's `group`, sorted together: the sum of its workers' offsets. */
  #groupOffsets(by: Node, group: Group): Value {
    return b.sum(this.#g, this.ofGroup(this.allOffsets(by), group), [0]);
  }
  get #allWorkers(): Group {
    return groupAlong(this.#axis, this.#axis.count);
  }
  /** The workers of a group, over which the experts are sharded. */
  owners(by: Node): Group {
    return groupAlong(this.#axis, this.#ownerCounts.get(this.#outermost(by)) ?? this.#axis.count);
  }
  ownGroups(by: Node): number {
    return groupCount(by) / this.owners(by).workers;
  }
  #of(by: Node): Known {
    const known = this.#known.get(by);
    if (!known) throw new Bug(`${by.op.name} ${by.id} is no routing of each worker's own choices`);
    return known;
  }
}
const routeOf = ([order, offsets, inverse, expert]: readonly Value[]): b.Route => {
  if (!order || !offsets || !inverse || !expert) throw new Bug("a routing has four results");
  return { order, offsets, inverse, expert };
};
