// Decides which parameters and states the workers of the tensor axis share, and along which axis (Megatron: Shoeybi et al. 2019, arXiv 1909.08053). A
// matrix is shared by columns where what it multiplies is whole, an embedding by its vocabulary. The `shard` of ops' records says what follows: heads, hidden
// units, biases, keys and values are in parts, and the next matrix is shared by rows, so that its product is a sum over workers. Where slices cut what a
// matrix makes (queries, keys and values of one), each worker has its part of every slice. A matrix of which that would make all have to gather something
// is left whole.
import type {
  AxisSharding,
  Graph,
  MeshAxis,
  Node,
  OpSharding,
  Placement,
  Store,
  Value,
  Workers,
} from "../graph/node.ts";
import { nodesOf, storeOf } from "../graph/walk.ts";
import { item } from "../item.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { number } from "../ops/common.ts";
import {
  evenOf,
  evenParts,
  evenSharding,
  evenUnit,
  isSharded,
  onePiece,
  partial,
  piecesOfAxis,
  replicated,
  reshapedAxis,
  type Sharded,
  satisfies,
  sharded,
} from "../ops/sharding.ts";
import { piecesOf } from "../ops/view.ts";
import { isFloat } from "../types/dtype.ts";
import { fromTo, gcd, sameShape, sum } from "../types/numbers.ts";
import { count, dims } from "../types/type.ts";
import { groupAlong } from "./mesh.ts";

type Places = ReadonlyMap<string, Sharded>;
type Pieces = ReadonlyMap<string, readonly number[]>;
/** How each shared store is shared, by name. `graphs`: the entries before gradients, which decide together. */
export function tensorAxes(graphs: readonly Graph[], stores: readonly Store[], axis: MeshAxis): Places {
  const rejected = new Set<string>();
  const nodes = graphs.map(nodesOf);
  let [places, pieces]: [Places, Pieces] = [new Map(), new Map()];
  for (;;) {
    const walk = new Walk(stores, axis, { places, pieces, rejected });
    graphs.forEach((graph, i) => walk.visit(item(nodes, i), graph));
    const isAnew = walk.rejected.size + walk.pieces.size > 0;
    if (!isAnew && walk.places.size === places.size) return places;
    places = isAnew ? new Map() : walk.places;
    pieces = new Map([...pieces, ...walk.pieces]);
    if (walk.pieces.size > 0) continue; // what was rejected may have been for want of them
    for (const store of walk.rejected) rejected.add(store);
  }
}
/** What earlier walks decided, in which pieces stores are, and what they rejected. */
interface Decided {
  readonly places: Places;
  readonly pieces: Pieces;
  readonly rejected: ReadonlySet<string>;
}
/** A gather is worth its message if it moves an eighth of a matrix at most, of one that takes longer to read. */
const [gatheredShare, leastMatrix] = [8, 2 ** 18];

interface Known {
  readonly place: Placement;
  /** The stores whose sharding it has. */
  readonly from: ReadonlySet<string>;
  /** Which part of these stores' axis its own is, so that they can be cut where it is; null: none. */
  readonly part: PartOfAxis | null;
  /** Of what a matrix shared by rows made: the stores that gave this matrix its parts. Without them it would be shared by columns. */
  readonly summed: ReadonlySet<string>;
}
/** How long what is before it, itself and what is after it are, relative to one another. */
type PartOfAxis = readonly [before: number, own: number, after: number];
const none: ReadonlySet<string> = new Set();
const allOfAxis: PartOfAxis = [0, 1, 0];
const whole: Known = { place: replicated, from: none, part: allOfAxis, summed: none };

/** One pass over the entries, with what was decided and rejected so far. */
class Walk {
  readonly places: Map<string, Sharded>;
  /** Of stores that must be cut where they are not. */
  readonly pieces = new Map<string, readonly number[]>();
  readonly rejected = new Set<string>();
  readonly #stores: ReadonlyMap<string, Store>;
  readonly #parts: number;
  readonly #decided: Decided;
  readonly #workers: Workers;
  readonly #known = new Map<Value, Known>();
  /** What a parameter or a state is below of: all else, made of numbers and inputs, has no gradient. */
  readonly #ofStores = new Set<Node>();

  constructor(stores: readonly Store[], axis: MeshAxis, decided: Decided) {
    this.places = new Map(decided.places);
    this.#stores = new Map(stores.map((s) => [s.name, s]));
    [this.#parts, this.#decided] = [axis.count, decided];
    this.#workers = {
      count: axis.count,
      group: (n, stride) => groupAlong(axis, n, stride),
      routing: () => null,
      length: (n) => n / axis.count,
      unit: unitOf,
    };
  }
  visit(nodes: readonly Node[], { results }: Graph): void {
    for (const node of nodes) this.#visit(node);
    for (const { role, name, value } of results) {
      const { place } = this.#of(value);
      if (!isSharded(place)) continue;
      if (role !== "store") this.#gather(value);
      else if (!this.#decide(name, place)) this.#reject(this.#of(value).from);
    }
  }
  #of(v: Value): Known {
    return this.#known.get(v) ?? whole;
  }
  #inPieces(axis: number, pieces?: readonly number[]): Sharded {
    return sharded(axis, evenSharding(this.#parts, pieces));
  }
  #visit(node: Node): void {
    const store = storeOf(node);
    const role = this.#stores.get(store ?? "")?.role ?? "input";
    if (role !== "input" || node.args.some((a) => this.#ofStores.has(a.node))) this.#ofStores.add(node);
    if (store !== null) return this.#leaf(node, store);
    if (node.op.name === "dot") this.#shareColumns(node);
    if (node.op.name === "gather") this.#shareVocabulary(node);
    if (this.#isGatherOfPart(node)) return;
    const places = node.args.map((a) => this.#of(a).place);
    const rule = node.op.shard?.(node, places, this.#workers) ?? null;
    if (this.#cut(node, rule)) return;
    const fits = rule?.args.every((p, i) => this.#fits(item(node.args, i), p));
    const made = fits ? rule : null;
    const isReached = node.args.map((a, i) => this.#convert(node, a, made?.args[i] ?? replicated)).every(Boolean);
    // What was rejected will be whole: parts of it here would reject what follows too.
    node.results.forEach((r, i) => this.#set(r, (isReached && made?.results[i]) || replicated));
  }
  #set(r: Value, place: Placement): void {
    const { op, args } = r.node;
    const given = args.map((a) => this.#of(a));
    const isSame = op.lower === "view" || op.lower === "point" || op.name === "scan";
    const isSum = op.name === "dot" && place.kind === "partial";
    const from = isSharded(place) ? unionOf(given.map((a) => a.from)) : none;
    const summed = isSum ? item(given, 0).from : isSame ? unionOf(given.map((a) => a.summed)) : none;
    const [part = allOfAxis, ...others] = given.flatMap((a) => (a.from.size > 0 ? [partOfResult(r.node, a)] : []));
    const isOne = others.every((other) => part && other && sameShape(part, other));
    this.#known.set(r, { place, from, part: isOne ? part : null, summed });
  }
  #leaf(node: Node, store: string): void {
    const place = this.places.get(store);
    for (const r of node.results) this.#known.set(r, place ? { ...whole, place, from: new Set([store]) } : whole);
  }
  #fits(v: Value, place: Placement): boolean {
    return !isSharded(place) || (dims(v.type)[place.axis] ?? 0) % unitOf(place.sharding) === 0;
  }
  /** Whether stores must be cut where they are not: at the ends of a slice, or as what they meet is. The walk goes on as if they were. */
  #cut(node: Node, rule: OpSharding | null): boolean {
    const met = node.args.flatMap((v, i) => this.#meeting(node, v, rule?.args[i]));
    const all = met.flatMap(({ own, wanted }) => [own, wanted]).reduce(commonPieces, onePiece);
    const short = met.filter(({ own }) => !sameShape(own, all));
    if (short.length === 0 || !short.every(({ v }) => this.#canCut(v, all))) return false;
    for (const { from, part } of short.map(({ v }) => this.#of(v)))
      for (const store of [...from].map((name) => this.#sharing(name)))
        this.pieces.set(store, commonPieces(this.#piecesOf(store), piecesAround(part, all)));
    node.results.forEach((r, i) => {
      const place = rule?.results[i] ?? sharded((node.attrs as OpAttrs["slice"]).axis, evenSharding(this.#parts));
      const isCut = rule !== null && isSharded(place);
      this.#set(r, isCut ? sharded(place.axis, evenSharding(this.#parts, all)) : place);
    });
    return true;
  }
  /** The pieces of an argument's axis that is in parts, and those that the op would have it in: it is a slice, or the rule says so. */
  #meeting(node: Node, v: Value, to: Placement | undefined): Meeting[] {
    const { place } = this.#of(v);
    if (!isSharded(place)) return [];
    const [own, isCut] = [evenOf(place).pieces ?? onePiece, isCutAlong(node, place)];
    if (to) {
      const isMet = isSharded(to) && to.axis === place.axis && !isCut; // operands that are joined have pieces of their own
      return isMet ? [{ v, own, wanted: evenOf(to).pieces ?? onePiece }] : [];
    }
    if (node.op.name !== "slice" || !isCut) return [];
    const cuts = cutsOf(node);
    return cuts[1] > 0 ? [{ v, own, wanted: cuts.filter((n) => n > 0) }] : [];
  }
  #canCut(v: Value, pieces: readonly number[]): boolean {
    const { place, from, part } = this.#of(v);
    const isNew = (store: string): boolean => {
      const wanted = commonPieces(this.#piecesOf(store), piecesAround(part, pieces));
      return !sameShape(wanted, this.#decided.pieces.get(store) ?? onePiece);
    };
    const fits = isSharded(place) && this.#fits(v, this.#inPieces(place.axis, pieces));
    return fits && part !== null && [...from].some((name) => isNew(this.#sharing(name)));
  }
  #piecesOf(store: string): readonly number[] {
    return this.pieces.get(store) ?? this.#decided.pieces.get(store) ?? onePiece;
  }
  /** Whether an op gets what it needs of an argument: a part of what all have must be free, and a whole of what is in parts worth it. */
  #convert(node: Node, v: Value, to: Placement): boolean {
    const { place, summed } = this.#of(v);
    if (isSharded(place) && !satisfies(place, to)) return this.#gather(v, node.args);
    if (!isSharded(to) || isSharded(place) || this.#isFree(v, to)) return true;
    const others = node.args.map((a) => this.#of(a).from);
    const isInPartsNext = summed.size > 0 && this.#isInPartsNext(node, to, summed, others);
    for (const from of isInPartsNext ? [summed] : others) this.#reject(from);
    return isInPartsNext;
  }
  /**
   * Whether the matrix that made a sum over workers is to be shared by columns, and so what gave it its parts (`summed`) whole: where heads, or features of a
   * bottleneck that is smaller than what it is multiplied with, meet those in parts.
   */
  #isInPartsNext(
    node: Node,
    to: Sharded,
    summed: ReadonlySet<string>,
    others: readonly ReadonlySet<string>[],
  ): boolean {
    const isOfHeads =
      node.op.name === "attention" || (node.op.name === "dot" && to.axis < dims(item(node.args, 0).type).length - 2);
    const isScaled = node.op.name === "binary" && (node.attrs as OpAttrs["binary"]).fn === "mul";
    const isLess = this.#mostElements(summed) < Math.max(...others.map((from) => this.#mostElements(from)));
    return isOfHeads || (isScaled && isLess) || [...summed].every((name) => this.#isRejected(name));
  }
  /** Whether it is worth its message. If not, and it meets another of `args` in parts, the smaller matrix is left whole. */
  #gather(v: Value, args: readonly Value[] = []): boolean {
    const { from } = this.#of(v);
    const size = this.#mostElements(from);
    const isWorthwhile = size >= leastMatrix && count(v.type) * gatheredShare <= size;
    if (isWorthwhile) return true;
    const others = args.map((a) => this.#of(a).from).filter((of) => of.size > 0);
    this.#reject(others.reduce((least, of) => (this.#mostElements(of) < this.#mostElements(least) ? of : least), from));
    return false;
  }
  /** Of the largest of these that is a parameter: how large a state is depends on the batch. */
  #mostElements(stores: ReadonlySet<string>): number {
    const found = [...stores].flatMap((name) => this.#stores.get(name) ?? []);
    return Math.max(0, ...found.map((s) => (s.role === "parameter" ? count(s.type) : 0)));
  }
  #reject(from: ReadonlySet<string>): void {
    for (const name of from) this.rejected.add(this.#sharing(name));
  }
  #isRejected(name: string): boolean {
    return this.rejected.has(this.#sharing(name));
  }
  #sharing(name: string): string {
    return sharingKey(name, this.places.get(name)?.axis);
  }
  /** Shares a store; false: it cannot be shared so. */
  #decide(name: string, { axis, sharding }: Sharded): boolean {
    const [place, known, store] = [sharded(axis, sharding), this.places.get(name), this.#stores.get(name)];
    if (known || !store) return known !== undefined && satisfies(known, place);
    const n = dims(store.type)[axis] ?? 0;
    const isShared = store.role === "parameter" || store.role === "state";
    if (!isShared || store.stack > 0 || n === 0 || n % unitOf(sharding) !== 0) return false;
    if (this.#decided.rejected.has(sharingKey(name, axis))) return false;
    this.places.set(name, place);
    return true;
  }
  /** The store of which `v` is a view, and which of its axes that of `v` is; null: it is no view of a store. */
  #axisOf(v: Value, axis: number): readonly [store: string, axis: number] | null {
    const store = storeOf(v.node);
    if (store !== null) return [store, axis];
    const [x] = v.node.args;
    const own = x && v.node.args.length === 1 ? operandAxis(v, axis, this.#parts) : null;
    return x && own !== null && own !== "any" ? this.#axisOf(x, own) : null;
  }
  /** A product of what is whole: if the matrix is that of a parameter, it is shared by the products that it is of (heads), else by its columns. */
  #shareColumns({ args: [x, matrix] }: Node): void {
    if (!x || !matrix || isSharded(this.#of(x).place) || isSharded(this.#of(matrix).place)) return;
    const columns = dims(matrix.type).length - 1;
    [...fromTo(0, columns - 1), columns].some((axis) => this.#share(matrix, axis));
  }
  /** What is looked up in a whole parameter. */
  #shareVocabulary({ args: [table], attrs }: Node): void {
    const { axis, batch } = attrs as OpAttrs["gather"];
    if (table && batch === 0 && !isSharded(this.#of(table).place) && dims(table.type).length > 1)
      this.#share(table, axis);
  }
  #share(v: Value, axis: number): boolean {
    const [store, own] = this.#axisOf(v, axis) ?? [];
    if (store === undefined || own === undefined || !isFloat(v.type.dtype)) return false;
    const isMatrix = this.#stores.get(store)?.role === "parameter";
    const isShared =
      isMatrix && this.#decide(store, this.#inPieces(own, this.#decided.pieces.get(sharingKey(store, own))));
    if (isShared) this.#refresh(v);
    return isShared;
  }
  #refresh(v: Value): void {
    for (const a of v.node.args) this.#refresh(a);
    this.#visit(v.node);
  }
  /** A gather along an axis that is in parts is a sum of what the parts give. */
  #isGatherOfPart({ op, args: [table, index], attrs, results }: Node): boolean {
    if (op.name !== "gather" || !table || !index) return false;
    const { place } = this.#of(table);
    if (!isSharded(place) || evenParts(place, (attrs as OpAttrs["gather"]).axis) === null) return false;
    for (const r of results) this.#known.set(r, { ...whole, place: partial("sum", place.sharding, this.#workers) });
    return true;
  }
  /**
   * Whether each worker makes its part of `v` by itself, and no gradient of it must be gathered: of numbers, and of parameters that are then shared too.
   * `seen`: what was found to be, along which axes; without it, values that are read twice would be searched exponentially often.
   */
  #isFree(v: Value, to: Sharded, seen: Set<string> = new Set()): boolean {
    const key = `${v.node.id} ${v.index} ${to.axis}`;
    if (seen.has(key)) return true; // the first that is not ends the search
    seen.add(key);
    if (isSharded(this.#of(v).place)) return satisfies(this.#of(v).place, to);
    if (!isFloat(v.type.dtype) || !this.#ofStores.has(v.node)) return true;
    const store = storeOf(v.node);
    if (store !== null) return this.#decide(store, to);
    if (v.node.op.name === "concat") return this.#isFreeConcat(v, to, seen);
    const own = operandAxis(v, to.axis, unitOf(to.sharding));
    if (typeof own !== "number") return own === "any";
    return v.node.args.every((a) => this.#isFree(a, sharded(own, to.sharding), seen));
  }
  /** Operands that are joined along the axis have the pieces of it that they fill. */
  #isFreeConcat({ node, type }: Value, { axis, sharding }: Sharded, seen: Set<string>): boolean {
    const isAlong = (node.attrs as OpAttrs["concat"]).axis === axis;
    const pieces = piecesOfAxis(item(dims(type), axis), evenOf(sharded(axis, sharding)).pieces);
    return piecesOf(node as Node<OpAttrs["concat"]>).every(({ value, from, to }) => {
      const own = pieces.flatMap((p) => (p.start >= from && p.start + p.length <= to ? [p.length] : []));
      if (!isAlong) return this.#isFree(value, sharded(axis, sharding), seen);
      return sum(own) === to - from && this.#isFree(value, this.#inPieces(axis, own), seen);
    });
  }
}
/** Of an argument: the pieces that it is in, and those that an op would have it in. */
interface Meeting {
  readonly v: Value;
  readonly own: readonly number[];
  readonly wanted: readonly number[];
}
const unitOf = (sharding: AxisSharding): number => evenUnit(evenOf(sharded(0, sharding)));
/** Whether an op cuts, or joins, the axis that is in parts. */
const isCutAlong = ({ op, attrs }: Node, place: Placement): boolean =>
  (op.name === "slice" || op.name === "concat") && isSharded(place) && (attrs as OpAttrs["slice"]).axis === place.axis;
/** How long what is before a slice, itself and what is after it are. */
function cutsOf({ args, attrs }: Node): PartOfAxis {
  const { axis, start, size } = attrs as OpAttrs["slice"];
  const [from, length] = [number(start), number(size)];
  return [from, length, item(dims(item(args, 0).type), axis) - from - length];
}
/** Which part of the stores' axis that of a result is, given that of an argument. */
function partOfResult(node: Node, { place, part }: Known): PartOfAxis | null {
  if (part === null || !isCutAlong(node, place)) return part;
  if (node.op.name === "concat") return null;
  const [before, own, after] = part;
  const [first, size, last] = cutsOf(node);
  const n = first + size + last;
  const all = [before * n + own * first, own * size, own * last + after * n] as const;
  const unit = all.reduce(gcd);
  return [all[0] / unit, all[1] / unit, all[2] / unit];
}
/** Where the stores' axis is cut, if this part of it is in these pieces. */
function piecesAround(part: PartOfAxis | null, pieces: readonly number[]): readonly number[] {
  const [before, own, after] = part ?? allOfAxis;
  const all = [before * sum(pieces), ...pieces.map((n) => own * n), after * sum(pieces)];
  return all.filter((n) => n > 0);
}
/** The pieces of an axis that is cut where either is. */
function commonPieces(p: readonly number[], q: readonly number[]): readonly number[] {
  const n = sum(p) * sum(q);
  const starts = [p, q].flatMap((pieces) => piecesOfAxis(n, pieces).map(({ start }) => start));
  const cuts = [...new Set([...starts, n])].toSorted((a, b) => a - b);
  return (
    evenSharding(
      1,
      cuts.slice(1).map((to, i) => to - item(cuts, i)),
    ).pieces ?? onePiece
  );
}
const sharingKey = (store: string, axis: number | undefined): string => `${store} ${axis}`;
function unionOf(sets: readonly ReadonlySet<string>[]): ReadonlySet<string> {
  const [first = none, second = none] = sets.filter((s) => s.size > 0);
  return second.size === 0 ? first : new Set(sets.flatMap((s) => [...s]));
}
/** The axis of the operands that is axis `axis` of `v`, whose length `unit` divides; "any": it has none, and repeats. null: none of theirs. */
export function operandAxis({ node, type }: Value, axis: number, unit: number): number | "any" | null {
  switch (node.op.name) {
    case "broadcast": {
      const own = (node.attrs as OpAttrs["broadcast"]).axes.indexOf(axis);
      return own < 0 ? "any" : own;
    }
    case "transpose":
      return item((node.attrs as OpAttrs["transpose"]).perm, axis);
    case "reshape":
      return reshapedAxis(dims(type), dims(item(node.args, 0).type), axis, unit);
    case "scan":
    case "slice":
      return (node.attrs as OpAttrs["slice"]).axis === axis ? null : axis;
    default:
      return node.op.lower === "point" ? axis : null;
  }
}
