// Makes, from the graph of the whole program, the graph that each of several workers runs on its part of the batch and of the experts. The `across` of
// each op's record says how the op is done on parts; parts.ts and routings.ts put collectives where a value is needed elsewhere. What no record can do
// on parts, every worker does whole.
import { Bug } from "../diagnostic.ts";
import {
  type Across,
  type Builder,
  type Cut,
  type Graph,
  isHidden,
  type Node,
  type Placement,
  type Store,
  type Value,
  type Workers,
} from "../graph/node.ts";
import { nodesOf, storeOf, withValues } from "../graph/walk.ts";
import { type CutAt, cutAt, even, groupsOf, isCut, keyOf, localShape, same, whole } from "../ops/across.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { nth } from "../ops/common.ts";
import { dims, dtypeOf, type } from "../types/type.ts";
import { isMoved, Parts, ranked } from "./parts.ts";
import { Routings, type Sharing, seenAs } from "./routings.ts";

/**
 * Into how many parts a store is cut along its first axis. An input (a batch) is cut among all workers. A stack of experts, their gradients and
 * optimizer state are cut among as many workers as divide both the number of experts and `expertParallel`. Everything else is whole (1).
 */
function partsOf({ name, role, stack, type }: Store, { workers, expertParallel = workers }: Sharing): number {
  const [first = 0] = dims(type);
  if (first === 0) return 1;
  if (role === "input") return !isHidden(name) && first % workers === 0 ? workers : 1;
  return stack > 0 ? commonDivisor(first, expertParallel) : 1;
}
/** The placement of a store. */
export function placeOf(store: Store, sharing: Sharing): Placement {
  const parts = partsOf(store, sharing);
  return parts > 1 ? cutAt(0, even(parts)) : whole;
}
/** The store as one worker has it. */
export function partOf(store: Store, sharing: Sharing): Store {
  const place = placeOf(store, sharing);
  if (!isCut(place) || place.cut.kind !== "even") return store;
  const { among } = place.cut;
  const [first = 0, ...rest] = dims(store.type);
  return { ...store, split: among, type: type(dtypeOf(store.type), [first / among, ...rest]) };
}
const commonDivisor = (a: number, b: number): number => (b === 0 ? a : commonDivisor(b, a % b));

/** One worker's graph. `places`: the placement of each store, by name. */
export function partition(g: Builder, graph: Graph, sharing: Sharing, places: (store: string) => Placement): Graph {
  const partition = new Partition(g, graph, sharing, places);
  const values = graph.results.map(({ role, name, value }) =>
    partition.as(value, role === "store" ? places(name) : whole),
  );
  g.where = null;
  return withValues(graph, values);
}

interface Known {
  readonly value: Value;
  readonly place: Placement;
}
class Partition implements Workers {
  readonly count: number;
  private readonly g: Builder;
  private readonly places: (store: string) => Placement;
  private readonly routings: Routings;
  private readonly parts: Parts;
  private readonly known = new Map<Value, Known>();
  private readonly made = new Map<Value, Map<string, Value>>();
  private readonly exchanged: ReadonlyMap<Node, number>;

  constructor(g: Builder, graph: Graph, sharing: Sharing, places: (store: string) => Placement) {
    [this.g, this.count, this.places] = [g, sharing.workers, places];
    const nodes = nodesOf(graph);
    this.exchanged = new Map(nodes.flatMap((node) => this.ofExperts(node)));
    this.routings = new Routings(g, sharing, this.exchanged);
    this.parts = new Parts(g, this.count, this.routings);
    for (const node of nodes) this.visit(node);
  }

  isLocal(route: Node): boolean {
    return this.routings.has(route);
  }
  owners(route: Node): number | null {
    return this.exchanged.get(route) ?? null;
  }
  length(n: number, cut: Cut): number {
    if (cut.kind === "even") return n / cut.among;
    if (!cut.owned) return n / this.count;
    return (n / this.routings.choices(cut.by)) * this.routings.room(cut.by);
  }
  /** The new graph's value for `v`, converted to this placement if it has another. Conversions are kept for the next that asks. */
  as(v: Value, place: Placement): Value {
    const known = this.of(v);
    if (same(known.place, place)) return known.value;
    const made = this.made.get(v) ?? new Map<string, Value>();
    this.made.set(v, made);
    const found = made.get(keyOf(place)) ?? this.brought(v, known, place);
    made.set(keyOf(place), found);
    return found;
  }
  private brought(v: Value, { value, place: from }: Known, place: Placement): Value {
    if (from.kind === "routing") return this.routed(v, from.by, place);
    return this.stretched(v, from, place) ?? this.redone(v, from, place) ?? this.parts.convert(value, from, place);
  }
  /** An elementwise op whose operands are all there already is done there again, instead of exchanging its result; null: it is none, or not all are. */
  private redone({ node, index }: Value, from: Placement, place: Placement): Value | null {
    if (!isCut(from) || !isCut(place) || !isMoved(from, place) || node.op.lower !== "point") return null;
    if (node.op.name === "random" || node.op.name === "after") return null;
    const to = cutAt(place.axis, place.cut);
    const own = node.args.map((a) => this.there(a, to)).filter((v) => v !== null);
    if (own.length < node.args.length) return null;
    return this.parts.convert(nth(this.g.add(node.op, own, node.attrs).results, index), to, place);
  }
  /** `v` in a placement that it has, or that it was converted to before; null: it was not. */
  private there(v: Value, place: CutAt): Value | null {
    const { value, place: from } = this.of(v);
    if (same(from, place)) return value;
    const { op, args, attrs, results } = v.node;
    if (op.name !== "broadcast") return this.made.get(v)?.get(keyOf(place)) ?? this.redone(v, from, place);
    const { axes } = attrs as OpAttrs["broadcast"];
    const axis = axes.indexOf(place.axis);
    const own = axis < 0 ? this.as(nth(args, 0), whole) : this.there(nth(args, 0), cutAt(axis, place.cut));
    return own && b.broadcast(this.g, own, localShape(dims(nth(results, 0).type), place, this), axes);
  }
  /** A cut broadcast is made anew from its operand, which is smaller to move; null: it is no cut broadcast. */
  private stretched({ node, type }: Value, from: Placement, place: Placement): Value | null {
    if (node.op.name !== "broadcast" || !isCut(from)) return null;
    const { axes } = node.attrs as OpAttrs["broadcast"];
    if (!isCut(place)) return b.broadcast(this.g, this.as(nth(node.args, 0), whole), dims(type), axes);
    if (place.axis !== from.axis) return null;
    const own = this.as(nth(node.args, 0), { ...place, axis: axes.indexOf(place.axis) });
    return b.broadcast(this.g, own, localShape(dims(type), place, this), axes);
  }
  private of(v: Value): Known {
    const known = this.known.get(v);
    if (!known) throw new Bug(`${v.node.op.name} has no place among workers`);
    return known;
  }
  /**
   * The route node by which `op` multiplies rows by their experts' matrices, or gathers a vector of its expert for each row, if these experts are cut
   * among workers; with the number of parts. Rows of such routings are exchanged. For a gather alone that is worth it only if the table is large.
   */
  private ofExperts({ op, args }: Node): (readonly [Node, number])[] {
    if (op.name !== "ragged_dot" && op.name !== "gather") return [];
    const isProduct = op.name === "ragged_dot";
    const [experts, { node: by, index }] = isProduct ? [nth(args, 1), nth(args, 2)] : [nth(args, 0), nth(args, 1)];
    if (by.op.name !== "route" || index !== (isProduct ? 1 : 3)) return [];
    const groups = nth(dims(experts.type), 0);
    const isWorth = isProduct || groups * this.count >= nth(dims(nth(by.args, 0).type), 0);
    const store = storeUnder(experts);
    const place = store === null ? whole : this.places(store);
    const among = isCut(place) && place.cut.kind === "even" ? place.cut.among : 1;
    return isWorth && among > 1 && groups % among === 0 ? [[by, among]] : [];
  }
  private visit(node: Node): void {
    this.g.where = node.where;
    const store = storeOf(node);
    if (store !== null) return this.leaf(node, store);
    const table = this.ownTable(node);
    if (table) return this.set(node, [table.value], [table.place]);
    const rule = this.rule(node);
    const args = node.args.map((a, i) => this.as(a, rule ? nth(rule.args, i) : whole));
    const { results } = this.g.add(node.op, args, rule?.attrs ?? node.attrs);
    if (rule?.results[0]?.kind === "routing") this.routings.add(node, results, () => this.as(nth(node.args, 0), whole));
    this.set(node, results, rule ? rule.results : node.results.map(() => whole));
  }
  /** What the record's `across` says; null also if an axis that it wants cut has a length that cannot be. */
  private rule(node: Node): Across | null {
    const seen = node.args.map((a) => this.seen(a));
    const rule = node.op.across?.(node, seen, this) ?? null;
    return rule?.args.every((place, i) => this.fits(nth(node.args, i), place)) ? rule : null;
  }
  private fits({ type }: Value, place: Placement): boolean {
    if (place.kind !== "cut") return true;
    const n = nth(dims(type), place.axis);
    return n > 0 && n % (place.cut.kind === "even" ? place.cut.among : this.routings.choices(place.cut.by)) === 0;
  }
  private set(node: Node, values: readonly Value[], places: readonly Placement[]): void {
    node.results.forEach((r, i) => this.known.set(r, { value: nth(values, i), place: nth(places, i) }));
  }
  private leaf(node: Node, store: string): void {
    const own = nth(node.results, 0);
    const place = this.places(store);
    const shape = dims(own.type);
    const local = isCut(place) ? localShape(shape, place, this) : shape;
    this.set(node, [b.param(this.g, store, type(dtypeOf(own.type), local))], [place]);
  }
  /** A value's placement as rules see it: results of routings are rows or whole, and a sum still to be added up among copies of a part is that part. */
  private seen(v: Value): Placement {
    const { place } = this.of(v);
    if (place.kind === "partial" && isCut(place.of)) return place.of;
    return place.kind === "routing" ? seenAs(v, place.by) : place;
  }
  /** Result `v` of the routing `by`, which each worker does for its own choices, brought to `place`. */
  private routed(v: Value, by: Node, place: Placement): Value {
    if (place.kind === "routing") return this.routings.offsets(by);
    const rows = place.kind === "cut" && place.axis === 0 && place.cut.kind === "rows" && place.cut.by === by;
    const sorted = rows ? this.routings.rows(by, v.index) : null;
    if (!sorted) return this.parts.convert(this.routings.result(by, v.index), whole, place);
    return this.parts.convert(sorted, seenAs(v, by), place);
  }
  /** A gather from a table of all experts, by rows whose index is their expert: done at the expert's owner, whose own part of the table suffices. */
  private ownTable({ op, args, attrs }: Node): Known | null {
    if (op.name !== "gather") return null;
    const { axis, batch } = attrs as OpAttrs["gather"];
    const [table, index] = [nth(args, 0), nth(args, 1)];
    const place = this.seen(table);
    const rows = this.seen(index);
    const n = nth(dims(table.type), axis);
    if (batch !== 0 || !isCut(place) || place.axis !== axis || place.cut.kind !== "even") return null;
    if (!isCut(rows) || rows.cut.kind !== "rows" || this.owners(rows.cut.by) !== place.cut.among) return null;
    if (!saysExpert(index, rows.cut.by, n)) return null;
    const to = cutAt(rows.axis, { ...rows.cut, owned: true });
    const own = this.as(index, to);
    const first = ranked(this.g, groupsOf(this.count, place.cut.among), n / place.cut.among, dims(own.type));
    const value = b.make1(this.g, "gather", [this.of(table).value, b.sub(this.g, own, first)], { axis, batch });
    return { value, place: cutAt(axis + to.axis, to.cut) };
  }
}
/** The name of the store that a matrix is a view of, or a cast or detached copy; null: it is none. */
function storeUnder({ node }: Value): string | null {
  const isView = node.op.lower === "view" || node.op.name === "cast" || node.op.name === "detach";
  return isView && node.args.length === 1 ? storeUnder(nth(node.args, 0)) : storeOf(node);
}
/** Whether an index into a table of `n` rows is always within the part of the row's own expert: it is the expert itself, or expert * part + place. */
function saysExpert(index: Value, by: Node, n: number): boolean {
  const { op, args } = index.node;
  const { groups } = by.attrs as { readonly groups: number };
  const isExpert = (v: Value): boolean =>
    (v.node === by && v.index === 3) ||
    (v.node.op.lower === "view" && v.node.args.length === 1 && isExpert(nth(v.node.args, 0)));
  if (isExpert(index)) return n === groups;
  const [, place] = args;
  if (op.name !== "select" || !place || !isBinary(place, "add")) return false;
  return place.node.args.some(
    (v) => isBinary(v, "mul") && v.node.args.some(isExpert) && v.node.args.some((w) => isFilled(w, n / groups)),
  );
}
const isBinary = ({ node }: Value, fn: string): boolean =>
  node.op.name === "binary" && (node.attrs as OpAttrs["binary"]).fn === fn;
const isFilled = ({ node }: Value, value: number): boolean =>
  node.op.name === "broadcast"
    ? isFilled(nth(node.args, 0), value)
    : node.op.name === "const" && (node.attrs as OpAttrs["const"]).value === value;
