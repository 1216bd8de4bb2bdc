// Makes, from the graph of the whole program, the graph that each of several workers runs on its shard of the batch and of the experts. The `shard`
// of each op's record says how the op is done on shards; reshard.ts and routings.ts put collectives where a value is needed elsewhere. What no record
// shards is replicated.
import { Bug } from "../diagnostic.ts";
import {
  type AxisSharding,
  type Builder,
  type Graph,
  type Group,
  type LocalRouting,
  type MeshAxis,
  type Node,
  type OpSharding,
  type Placement,
  type Value,
} from "../graph/node.ts";
import { nodesOf, storeOf, useCounts, valuesOf, withValues } from "../graph/walk.ts";
import { item } from "../item.ts";
import { getOrMake } from "../memoize.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import {
  evenOf,
  evenSharding,
  evenUnit,
  isSharded,
  localShape,
  placementKey,
  replicated,
  reshapedAxis,
  type Sharded,
  samePlacement,
  sharded,
} from "../ops/sharding.ts";
import { fromTo, gcd, sameShape } from "../types/numbers.ts";
import { dims, dtypeOf, type Type, type } from "../types/type.ts";
import { ChoiceSums } from "./choice-sums.ts";
import { groupCount, outerRouting, sortedBy } from "./expert-index.ts";
import { Gathers } from "./gathers.ts";
import { dataAxis, groupAlong, type Sharing } from "./mesh.ts";
import { neededWhole } from "./needed-whole.ts";
import type { Partitioned, Placed } from "./placed.ts";
import { needsExchange, Resharder, rowAxes } from "./reshard.ts";
import { Routings, type Rows } from "./routings.ts";
import {
  exchangedRoutings,
  lookups,
  metByShards,
  type SharedTable,
  shadowedRoutings,
  withoutReshapes,
} from "./sharded-reads.ts";
import { copiesOfRow, SharedRows } from "./shared-rows.ts";

interface PartitionOptions extends Sharing {
  /** The axis along which the graph is shared; collectives that are in the graph are of the other. Default: the data axis. */
  readonly axis?: MeshAxis;
  /** See `SharedRows`. */
  readonly leastSaved?: number | undefined;
}
/** One worker's graph. `storePlacement`: the placement of each store along the mesh's axis, by name. */
export function partition(
  g: Builder,
  graph: Graph,
  options: PartitionOptions,
  storePlacement: (store: string) => Placement,
): Graph {
  const partitioner = new Partition(g, graph, options, storePlacement);
  const values = graph.results.map(({ role, name, value }) =>
    partitioner.convertTo(value, role === "store" ? storePlacement(name) : replicated),
  );
  g.span = null;
  return withValues(graph, values);
}

/** Whether workers of another axis of the mesh add up terms; terms of this axis' workers may be added up after that. */
const isSum = ({ op, attrs }: Node): boolean =>
  op.name === "all_reduce" && (attrs as OpAttrs["all_reduce"]).fn === "sum";
/** What a conversion found of each value by placement: without it, values that are read twice would be searched exponentially often. */
type Found = Map<string, Value | null>;
class Partition implements Partitioned {
  readonly count: number;
  readonly joinsAxes: boolean;
  readonly #g: Builder;
  readonly #axis: MeshAxis;
  readonly #storePlacement: (store: string) => Placement;
  readonly #routings: Routings;
  readonly #resharder: Resharder;
  readonly #sharedRows: SharedRows;
  readonly #gathers: Gathers;
  readonly #choiceSums: ChoiceSums;
  readonly #uses: ReadonlyMap<Value, number>;
  readonly #known = new Map<Value, Placed>();
  readonly #made = new Map<Value, Map<string, Value>>();
  /** The routing that sorted the rows of a value. */
  readonly #sorted = new Map<Value, Node>();
  readonly #exchanged: Map<Node, number>;
  readonly #lookups: ReadonlyMap<Value, SharedTable>;
  readonly #shadowed: ReadonlySet<Node>;
  readonly #neededWhole: ReadonlySet<Value>;
  /** Values of which each worker needs a shard alone, along this axis: gradients of parameters whose optimizer's state is sharded. */
  readonly #scattered: ReadonlyMap<Value, number>;

  constructor(g: Builder, graph: Graph, options: PartitionOptions, storePlacement: (store: string) => Placement) {
    const { axis = dataAxis(options), room, shardOptimizer, shardParameters, leastSaved } = options;
    [this.#g, this.#axis, this.count, this.#storePlacement] = [g, axis, axis.count, storePlacement];
    this.joinsAxes = axis.tokens ?? false;
    const nodes = nodesOf(graph);
    this.#exchanged = exchangedRoutings(nodes, storePlacement, axis.count);
    this.#neededWhole = neededWhole(nodes, axis.count);
    this.#lookups = lookups(nodes, storePlacement);
    this.#shadowed = shadowedRoutings(nodes, storePlacement);
    const routings = new Routings(g, axis, this.#exchanged, room);
    const resharder = new Resharder(g, axis, routings);
    const sharedRows = new SharedRows(g, routings, leastSaved);
    [this.#routings, this.#resharder, this.#sharedRows] = [routings, resharder, sharedRows];
    this.#gathers = new Gathers(g, axis, this);
    this.#choiceSums = new ChoiceSums(g, this, this.#exchanged, { routings, resharder, sharedRows });
    this.#uses = useCounts(valuesOf(graph), nodes);
    this.#scattered = shardOptimizer || shardParameters ? metByShards(nodes, storePlacement) : new Map();
    for (const node of nodes) this.#visit(node);
  }

  routing(route: Node): LocalRouting | null {
    return this.#routings.has(route) ? this.#routings.info(route) : null;
  }
  group(n: number, stride?: number): Group {
    return groupAlong(this.#axis, n, stride);
  }
  length(n: number, sharding: AxisSharding): number {
    return sharding.kind === "even" ? n / sharding.parts : this.#routings.length(n, sharding);
  }
  unit(sharding: AxisSharding): number {
    return sharding.kind === "even" ? evenUnit(sharding) : this.#routings.unit(sharding.by);
  }
  /** Whether one node alone needs it, as is so of what is made here. */
  isOwn(v: Value): boolean {
    return (this.#uses.get(v) ?? 1) === 1;
  }
  /** The new graph's value for `v`, converted to this placement if it has another. Conversions are cached. */
  convertTo(v: Value, place: Placement): Value {
    const known = this.of(v);
    if (samePlacement(known.place, place)) return known.value;
    const made = getOrMake(this.#made, v, () => new Map());
    return getOrMake(made, placementKey(place), () => this.#convert(v, known, place));
  }
  #convert(v: Value, { value, place: from }: Placed, place: Placement): Value {
    if (from.kind === "routing") return this.#convertRoutingResult(v, from.by, place);
    return (
      this.#sendShared(v, from, place) ??
      this.#rebroadcast(v, from, place) ??
      this.#reshapeExchanged(v, from, place) ??
      this.#recompute(v, from, place, new Map()) ??
      this.#resharder.convert(value, from, place)
    );
  }
  /** Recomputes an elementwise op in `place` if its operands are all available there, instead of exchanging its result; else null. */
  #recompute({ node, index }: Value, from: Placement, place: Placement, found: Found): Value | null {
    if (!isSharded(from) || !isSharded(place) || !needsExchange(from, place) || node.op.lower !== "point") return null;
    if (node.op.name === "random" || node.op.name === "after") return null;
    const to = sharded(place.axis, place.sharding);
    const own: Value[] = [];
    for (const a of node.args) {
      const value = this.#available(a, to, found);
      if (value === null) return null;
      own.push(value);
    }
    return this.#resharder.convert(item(this.#g.add(node.op, own, node.attrs).results, index), to, place);
  }
  /** `v` in a placement that it has, that it was converted to before, or that it can be recomputed in; else null. */
  #available(v: Value, place: Sharded, found: Found): Value | null {
    const { value, place: from } = this.of(v);
    if (samePlacement(from, place)) return value;
    if (from.kind === "routing") return isSharded(this.ruleInput(v)) ? this.convertTo(v, place) : null; // a number for each row
    const key = `${v.node.id} ${v.index} ${placementKey(place)}`;
    const known = this.#made.get(v)?.get(placementKey(place)) ?? found.get(key);
    if (known !== undefined) return known;
    const isBroadcast = v.node.op.name === "broadcast";
    const own = isBroadcast ? this.#broadcastAvailable(v, place, found) : this.#recompute(v, from, place, found);
    found.set(key, own);
    return own;
  }
  #broadcastAvailable({ node, type }: Value, place: Sharded, found: Found): Value | null {
    const { axes } = node.attrs as OpAttrs["broadcast"];
    const [x, axis] = [item(node.args, 0), axes.indexOf(place.axis)];
    const own = axis < 0 ? this.convertTo(x, replicated) : this.#available(x, sharded(axis, place.sharding), found);
    return own && b.broadcast(this.#g, own, localShape(dims(type), place, this), axes);
  }
  /** Rows that several choices share, sent once to each owner of experts that they name; null: they are none, or it is not worthwhile. */
  #sendShared({ node, type }: Value, from: Placement, place: Placement): Value | null {
    const [rows, order] = node.args;
    if (node.op.name !== "dispatch" || !rows || !order || !isSharded(from) || !isSharded(place)) return null;
    const { sharding } = place;
    const shared = gcd(copiesOfRow(rows), this.#routings.ownRun(order.node)); // the last may be another worker's
    const isSent = needsExchange(from, place) && sharding.kind === "rows" && sharding.owned;
    if (!isSent || sharding.by !== order.node || !this.#sharedRows.isWorthSending(order.node, shared, type))
      return null;
    const own = this.convertTo(rows, this.#routings.info(order.node).choices);
    return this.#resharder.convert(this.#sharedRows.send(own, order.node, shared), sharded(0, sharding), place);
  }
  /** Of a value that was made for the graph since. */
  placed(v: Value): Placed {
    if (!this.#known.has(v)) {
      for (const a of v.node.args) this.placed(a);
      this.#visit(v.node);
    }
    return this.of(v);
  }
  /** A sharded broadcast is made anew from its operand, which is smaller to move; null: it is no sharded broadcast. */
  #rebroadcast({ node, type }: Value, from: Placement, place: Placement): Value | null {
    if (node.op.name !== "broadcast" || !isSharded(from)) return null;
    const { axes } = node.attrs as OpAttrs["broadcast"];
    if (!isSharded(place))
      return b.broadcast(this.#g, this.convertTo(item(node.args, 0), replicated), dims(type), axes);
    if (place.axis !== from.axis || !this.#hasRows(axes, type, place)) return null;
    const own = this.convertTo(item(node.args, 0), { ...place, axis: axes.indexOf(place.axis) });
    return b.broadcast(this.#g, own, localShape(dims(type), place, this), axes);
  }
  /** A reshape of exchanged rows is made anew from its operand, of which less may have to be moved; null: it is none. */
  #reshapeExchanged({ node, type }: Value, from: Placement, place: Placement): Value | null {
    if (node.op.name !== "reshape" || !isSharded(from) || !isSharded(place) || !needsExchange(from, place)) return null;
    const x = item(node.args, 0);
    const axis = reshapedAxis(dims(type), dims(x.type), place.axis, this.unit(place.sharding));
    if (axis === null) return null;
    return b.reshape(this.#g, this.convertTo(x, { ...place, axis }), localShape(dims(type), place, this));
  }
  /** Whether all axes of a broadcast along which it is sharded are its operand's. */
  #hasRows(axes: readonly number[], type: Type, { axis, sharding }: Sharded): boolean {
    const count = sharding.kind === "even" ? 1 : rowAxes(dims(type), axis, this.#routings.choices(sharding.by));
    return fromTo(axis, axis + count).every((a) => axes.includes(a));
  }
  of(v: Value): Placed {
    const known = this.#known.get(v);
    if (!known) throw new Bug(`${v.node.op.name} has no place among workers`);
    return known;
  }
  #visit(node: Node): void {
    this.#g.span = node.span;
    const store = storeOf(node);
    if (store !== null) return this.#leaf(node, store);
    if (node.op.name === "whole") return this.#set(node, [this.#whole(node)], [replicated]);
    const gathered = this.#gathers.make(node);
    if (gathered) return this.#set(node, [gathered.value], [gathered.place]);
    const sum = this.#choiceSums.make(node);
    if (sum) return this.#set(node, [sum.value], [sum.place]);
    const outer = this.#outerRows(node);
    if (outer) return this.#innerRouting(node, outer);
    const [x] = node.args;
    const known = x && this.of(x);
    if (node.op.name === "reshape" && known?.place.kind === "partial" && known.place.of.kind === "replicated")
      return this.#set(node, [b.reshape(this.#g, known.value, dims(item(node.results, 0).type))], [known.place]);
    if (known?.place.kind === "partial" && known.place.fn === "sum" && isSum(node))
      return this.#set(node, [item(this.#g.add(node.op, [known.value], node.attrs).results, 0)], [known.place]);
    this.#shareSorting(node);
    this.#scatterSums(node);
    const rule = this.#rule(node);
    const args = node.args.map((a, i) => this.convertTo(a, rule ? item(rule.args, i) : replicated));
    const { results } = this.#g.add(node.op, args, rule?.attrs ?? node.attrs);
    if (rule?.results[0]?.kind === "routing")
      this.#routings.add(node, results, evenOf(item(rule.args, 0)), () =>
        this.convertTo(item(node.args, 0), replicated),
      );
    this.#set(node, results, rule ? rule.results : node.results.map(() => replicated));
    if (rule) this.#scatterAsGathered(node, rule);
    for (const r of node.results) this.#gatherNeeded(r);
  }
  /** Terms, on all workers, of the gradient of an argument that was gathered for the node (keys, values) become shards, as it was. */
  #scatterAsGathered({ args, results }: Node, rule: OpSharding): void {
    for (const [i, r] of results.entries()) {
      const [a, own] = [args[i], this.of(r)];
      const to = a && this.ruleInput(a);
      if (!to || rule.args[i]?.kind !== "replicated" || !sameShape(dims(a.type), dims(r.type))) continue;
      if (!this.#resharder.isScattered(own.place, to)) continue;
      this.#known.set(r, { value: this.#resharder.convert(own.value, own.place, to), place: to });
    }
  }
  #whole({ args }: Node): Value {
    const [{ value, place }, ...first] = args.map((a) => this.of(a)) as [Placed, ...Placed[]];
    const own =
      first.length === 0
        ? value
        : b.after(
            this.#g,
            value,
            first.map((v) => v.value),
          );
    return this.#resharder.convert(own, place, replicated);
  }
  #gatherNeeded(v: Value): void {
    const { place } = this.of(v);
    if (!this.#neededWhole.has(v) || !isSharded(place) || place.axis !== dims(v.type).length - 1) return;
    this.#known.set(v, { value: this.convertTo(v, replicated), place: replicated });
  }
  /** Of a `route` inside an expert: the sharding of the rows whose choices each worker sorts itself; else null. */
  #outerRows(node: Node): Rows | null {
    const outer = node.op.name === "route" ? outerRouting(node) : null;
    if (!outer || !this.#routings.has(outer)) return null;
    const rows: Rows = { kind: "rows", by: outer, owned: this.#routings.info(outer).owners !== null };
    return this.#fits(item(node.args, 0), sharded(0, rows)) ? rows : null;
  }
  #innerRouting(node: Node, outer: Rows): void {
    const index = item(node.args, 0);
    const own = this.convertTo(index, sharded(0, outer));
    const results = this.#routings.addInner(node, own, outer, () => this.convertTo(index, replicated));
    this.#setRouting(node, results, outer.owned);
  }
  /** If `node` sorts rows by choices that all workers sort alike so far, these may share them out from now on. */
  #shareSorting({ op, args }: Node): void {
    const [rows, order] = args;
    if (op.name !== "dispatch" || !rows || order?.node.op.name !== "route" || this.#routings.has(order.node)) return;
    this.#sortOwnRows(rows, order.node);
    this.#sortForOwnRows(order.node);
    this.#sortForOwnExperts(order.node);
    this.#sortByTurns(order.node);
  }
  /**
   * If the rows are sharded, but all workers know all choices (experts that choose their rows), each sorts those of its own rows from now on. Not if
   * there are more groups than rows, since a sum for each group would then be more to move than the rows.
   */
  #sortOwnRows(rows: Value, by: Node): void {
    const [index, place] = [item(by.args, 0), this.ruleInput(rows)];
    if (!isSharded(place) || place.axis !== 0 || place.sharding.kind !== "even") return;
    if (groupCount(by) > this.#routings.choices(by) || place.sharding.parts !== this.count) return;
    const { results } = b.make(this.#g, "route", [this.convertTo(index, place)], by.attrs as OpAttrs["route"]);
    this.#routings.add(by, results, place.sharding, () => this.convertTo(index, replicated));
    this.#setRouting(by, results, false);
  }
  /** The gradient of a table of which each worker has some rows: each sorts what was looked up in its own. */
  #sortForOwnRows(by: Node): void {
    const index = item(by.args, 0);
    const { rows, parts } = this.#lookups.get(withoutReshapes(index)) ?? { rows: 0, parts: 1 };
    const isShared = parts > 1 && rows === groupCount(by) && this.of(index).place.kind === "replicated";
    if (isShared) this.#exchanged.set(by, parts);
  }
  /** Else all workers need all rows, and know all choices: each sorts those of the experts that it owns from now on. */
  #sortForOwnExperts(by: Node): void {
    if (!this.#exchanged.has(by) || this.#routings.has(by)) return;
    this.#setRouting(by, this.#routings.addWhole(by, this.convertTo(item(by.args, 0), replicated)), true);
  }
  /** Of shadowed experts all workers have the parameters: they share out the rows. */
  #sortByTurns(by: Node): void {
    if (!this.#shadowed.has(by) || this.#routings.has(by)) return;
    this.#setRouting(by, this.#routings.addTurns(by, this.convertTo(item(by.args, 0), replicated)), false);
  }
  /** From now on each worker has these results of a routing, which all may have done alike before. */
  #setRouting(by: Node, results: readonly Value[], owned: boolean): void {
    for (const r of by.results) this.#made.delete(r);
    this.#set(
      by,
      results,
      results.map(() => ({ kind: "routing", by, owned })),
    );
  }
  /** Partial sums that the node does not take as they are become shards, where these are needed alone. */
  #scatterSums(node: Node): void {
    for (const [i, a] of node.args.entries()) {
      const [{ value, place }, axis] = [this.of(a), this.#scattered.get(a)];
      if (axis === undefined) continue;
      const to = sharded(axis, evenSharding(this.count));
      if (!this.#resharder.isScattered(place, to) || !this.#fits(a, to)) continue;
      if (this.#rule(node)?.args[i]?.kind === "partial") continue;
      this.#known.set(a, { value: this.#resharder.convert(value, place, to), place: to });
    }
  }
  /** What the record's `shard` says; null also if an axis cannot be sharded as it wants. */
  #rule(node: Node): OpSharding | null {
    const seen = node.args.map((a) => this.ruleInput(a));
    const rule = node.op.shard?.(node, seen, this) ?? null;
    const fits = rule?.args.every(
      (place, i) =>
        this.#fits(item(node.args, i), place) &&
        this.#hasOrder(item(node.args, i), place) &&
        this.#keepsRows(node, rule, i),
    );
    return fits ? rule : null;
  }
  /** Whether rows that all workers have are not sorted by another routing: what is padding of one are rows of the other. */
  #hasOrder(v: Value, place: Placement): boolean {
    const by = this.#sorted.get(v);
    const isOther = isSharded(place) && place.sharding.kind === "rows" && by !== undefined && by !== place.sharding.by;
    return !isOther || this.of(v).place.kind !== "replicated";
  }
  #fits({ type }: Value, place: Placement): boolean {
    if (place.kind !== "sharded") return true;
    const n = item(dims(type), place.axis);
    return n > 0 && n % this.unit(place.sharding) === 0;
  }
  /**
   * Whether argument `i` that is sharded along rows, which take up several axes, has them side by side in the results too, or in none. An axis goes where the
   * record's `shard` says that its parts would go.
   */
  #keepsRows(node: Node, { args, results }: OpSharding, i: number): boolean {
    const [place, { type }] = [item(args, i), item(node.args, i)];
    if (!isSharded(place) || place.sharding.kind !== "rows") return true;
    if (node.op.lower === "point" || node.op.name === "reshape") return true;
    const count = rowAxes(dims(type), place.axis, this.#routings.choices(place.sharding.by));
    return fromTo(1, count).every((more) => {
      const seen = args.map((_, j) => (i === j ? sharded(place.axis + more, evenSharding(1)) : replicated));
      const found = node.op.shard?.(node, seen, this)?.results ?? [];
      return results.every((to, r) => {
        const at = found[r];
        return isSharded(to) ? at !== undefined && isSharded(at) && at.axis === to.axis + more : at?.kind === "partial";
      });
    });
  }
  #set(node: Node, values: readonly Value[], places: readonly Placement[]): void {
    node.results.forEach((r, i) => this.#known.set(r, { value: item(values, i), place: item(places, i) }));
    const by = sortedBy(node, (v) => this.#sorted.get(v));
    if (by) for (const r of node.results) this.#sorted.set(r, by);
  }
  #leaf(node: Node, store: string): void {
    const own = item(node.results, 0);
    const place = this.#storePlacement(store);
    const shape = dims(own.type);
    const local = isSharded(place) ? localShape(shape, place, this) : shape;
    this.#set(node, [b.param(this.#g, store, type(dtypeOf(own.type), local))], [place]);
  }
  /** A value's placement as rules see it: results of routings are sharded rows or replicated, partial sums of a shard are that shard. */
  ruleInput(v: Value): Placement {
    const { place } = this.of(v);
    if (place.kind === "partial" && isSharded(place.of)) return place.of;
    return place.kind === "routing" ? this.#routings.resultPlacement(v, place.by) : place;
  }
  /** Result `v` of the routing `by`, which each worker does for its own choices, brought to `place`. */
  #convertRoutingResult(v: Value, by: Node, place: Placement): Value {
    if (place.kind === "routing") return this.#routings.ownedOffsets(by);
    const rows =
      place.kind === "sharded" && place.axis === 0 && place.sharding.kind === "rows" && place.sharding.by === by;
    const sorted = rows ? this.#routings.localResult(by, v.index) : null;
    if (!sorted) return this.#resharder.convert(this.#routings.globalResult(by, v.index), replicated, place);
    return this.#resharder.convert(sorted, this.#routings.resultPlacement(v, by), place);
  }
}
