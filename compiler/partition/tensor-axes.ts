// Decides which parameters and states the workers of the tensor axis share, and along which axis (Megatron: Shoeybi et al. 2019, arXiv 1909.08053). A
// matrix is shared by columns where what it multiplies is whole, an embedding by its vocabulary. The `shard` of ops' records says what follows: heads, hidden
// units, biases, keys and values are in parts, and the next matrix is shared by rows, so that its product is a sum over workers. A matrix of which that
// would make all have to gather something is left whole.
import type { Graph, MeshAxis, Node, Placement, Store, Value, Workers } from "../graph/node.ts";
import { nodesOf, storeOf } from "../graph/walk.ts";
import { item } from "../item.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { evenSharding, isSharded, partial, replicated, reshapedAxis, satisfies, sharded } from "../ops/sharding.ts";
import { isFloat } from "../types/dtype.ts";
import { fromTo } from "../types/numbers.ts";
import { count, dims } from "../types/type.ts";
import { groupAlong } from "./mesh.ts";

/** The axis along which each shared store is, by name. `graphs`: the entries before gradients, which decide together. */
export function tensorAxes(
  graphs: readonly Graph[],
  stores: readonly Store[],
  axis: MeshAxis,
): ReadonlyMap<string, number> {
  const rejected = new Set<string>();
  const nodes = graphs.map(nodesOf);
  let axes: ReadonlyMap<string, number> = new Map();
  for (;;) {
    const walk = new Walk(stores, axis, axes, rejected);
    graphs.forEach((graph, i) => walk.visit(item(nodes, i), graph));
    if (walk.rejected.size > 0) axes = new Map();
    else if (walk.axes.size === axes.size) return axes;
    else axes = walk.axes;
    for (const store of walk.rejected) rejected.add(store);
  }
}
/** A gather is worth its message if it moves an eighth of a matrix at most, of one that takes longer to read. */
const [gatheredShare, leastMatrix] = [8, 2 ** 18];

interface Known {
  readonly place: Placement;
  /** The stores whose sharding it has. */
  readonly from: ReadonlySet<string>;
  /** Of what a matrix shared by rows made: the stores that gave this matrix its parts. Without them it would be shared by columns. */
  readonly summed: ReadonlySet<string>;
}
const none: ReadonlySet<string> = new Set();
const whole: Known = { place: replicated, from: none, summed: none };

/** One pass over the entries, with what was decided and rejected so far. */
class Walk {
  readonly axes: Map<string, number>;
  readonly rejected = new Set<string>();
  readonly #stores: ReadonlyMap<string, Store>;
  readonly #parts: number;
  readonly #excluded: ReadonlySet<string>;
  readonly #workers: Workers;
  readonly #known = new Map<Value, Known>();

  constructor(
    stores: readonly Store[],
    axis: MeshAxis,
    axes: ReadonlyMap<string, number>,
    excluded: ReadonlySet<string>,
  ) {
    this.axes = new Map(axes);
    this.#stores = new Map(stores.map((s) => [s.name, s]));
    [this.#parts, this.#excluded] = [axis.count, excluded];
    this.#workers = {
      count: axis.count,
      group: (n, stride) => groupAlong(axis, n, stride),
      routing: () => null,
      length: (n) => n / axis.count,
      unit: () => axis.count,
      inPieces: false,
    };
  }
  visit(nodes: readonly Node[], { results }: Graph): void {
    for (const node of nodes) this.#visit(node);
    for (const { role, name, value } of results) {
      const { place } = this.#of(value);
      if (!isSharded(place)) continue;
      if (role !== "store") this.#gather(value);
      else if (!this.#decide(name, place.axis)) this.#reject(this.#of(value).from);
    }
  }
  #of(v: Value): Known {
    return this.#known.get(v) ?? whole;
  }
  #even(axis: number): Placement {
    return sharded(axis, evenSharding(this.#parts));
  }
  #visit(node: Node): void {
    const store = storeOf(node);
    if (store !== null) return this.#leaf(node, store);
    if (node.op.name === "dot") this.#shareColumns(node);
    if (node.op.name === "gather") this.#shareVocabulary(node);
    if (this.#isGatherOfPart(node)) return;
    const places = node.args.map((a) => this.#of(a).place);
    const rule = node.op.shard?.(node, places, this.#workers) ?? null;
    const fits = rule?.args.every((p, i) => this.#fits(item(node.args, i), p));
    const made = fits ? rule : null;
    const isReached = node.args.map((a, i) => this.#convert(node, a, made?.args[i] ?? replicated)).every(Boolean);
    // What was rejected will be whole: parts of it here would reject what follows too.
    node.results.forEach((r, i) => this.#set(r, (isReached && made?.results[i]) || replicated));
  }
  #set(r: Value, place: Placement): void {
    const { op, args } = r.node;
    const given = args.map((a) => this.#of(a));
    const isSame = op.lower === "view" || op.lower === "point";
    const isSum = op.name === "dot" && place.kind === "partial";
    const from = isSharded(place) ? unionOf(given.map((a) => a.from)) : none;
    const summed = isSum ? item(given, 0).from : isSame ? unionOf(given.map((a) => a.summed)) : none;
    this.#known.set(r, { place, from, summed });
  }
  #leaf(node: Node, store: string): void {
    const axis = this.axes.get(store);
    for (const r of node.results)
      this.#known.set(
        r,
        axis === undefined ? whole : { place: this.#even(axis), from: new Set([store]), summed: none },
      );
  }
  #fits(v: Value, place: Placement): boolean {
    return !isSharded(place) || (dims(v.type)[place.axis] ?? 0) % this.#parts === 0;
  }
  /** Whether an op gets what it needs of an argument: a part of what all have must be free, and a whole of what is in parts worth it. */
  #convert(node: Node, v: Value, to: Placement): boolean {
    const { place, summed } = this.#of(v);
    if (isSharded(place) && !satisfies(place, to)) return this.#gather(v);
    if (!isSharded(to) || isSharded(place) || this.#isFree(v, to.axis)) return true;
    const isOfHeads = node.op.name === "attention" || (node.op.name === "dot" && to.axis < dims(v.type).length - 2);
    const isInPartsNext = summed.size > 0 && (isOfHeads || [...summed].every((name) => this.#isRejected(name)));
    for (const from of isInPartsNext ? [summed] : node.args.map((a) => this.#of(a).from)) this.#reject(from);
    return isInPartsNext;
  }
  /** Whether it is worth its message. */
  #gather(v: Value): boolean {
    const { from } = this.#of(v);
    const size = Math.max(0, ...[...from].map((name) => count(this.#stores.get(name)?.type ?? v.type)));
    const isWorthwhile = size >= leastMatrix && count(v.type) * gatheredShare <= size;
    if (!isWorthwhile) this.#reject(from);
    return isWorthwhile;
  }
  #reject(from: ReadonlySet<string>): void {
    for (const name of from) this.rejected.add(this.#sharing(name));
  }
  #isRejected(name: string): boolean {
    return this.rejected.has(this.#sharing(name));
  }
  #sharing(name: string): string {
    return sharingKey(name, this.axes.get(name));
  }
  /** Shares a store along an axis; false: it cannot be. */
  #decide(name: string, axis: number): boolean {
    const known = this.axes.get(name);
    const store = this.#stores.get(name);
    if (known !== undefined || !store) return known === axis;
    const n = dims(store.type)[axis] ?? 0;
    const isShared = store.role === "parameter" || store.role === "state";
    if (!isShared || store.stack > 0 || n === 0 || n % this.#parts !== 0) return false;
    if (this.#excluded.has(sharingKey(name, axis))) return false;
    this.axes.set(name, axis);
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
    const found = this.#axisOf(v, axis);
    const isMatrix = found && this.#stores.get(found[0])?.role === "parameter" && isFloat(v.type.dtype);
    const isShared = isMatrix && this.#decide(...found);
    if (isShared) this.#refresh(v);
    return isShared ?? false;
  }
  #refresh(v: Value): void {
    for (const a of v.node.args) this.#refresh(a);
    this.#visit(v.node);
  }
  /** A gather along an axis that is in parts is a sum of what the parts give. */
  #isGatherOfPart({ op, args: [table, index], attrs, results }: Node): boolean {
    if (op.name !== "gather" || !table || !index) return false;
    const { place } = this.#of(table);
    if (!isSharded(place) || place.axis !== (attrs as OpAttrs["gather"]).axis) return false;
    for (const r of results)
      this.#known.set(r, { place: partial("sum", place.sharding, this.#workers), from: none, summed: none });
    return true;
  }
  /**
   * Whether each worker makes its part of `v` by itself, and no gradient of it must be gathered: of numbers, and of parameters that are then shared too.
   * `seen`: what was found to be, along which axes; without it, values that are read twice would be searched exponentially often.
   */
  #isFree(v: Value, axis: number, seen: Set<string> = new Set()): boolean {
    const key = `${v.node.id} ${v.index} ${axis}`;
    if (seen.has(key)) return true; // the first that is not ends the search
    seen.add(key);
    if (isSharded(this.#of(v).place)) return satisfies(this.#of(v).place, this.#even(axis));
    if (!isFloat(v.type.dtype)) return true;
    const store = storeOf(v.node);
    if (store !== null) return this.#stores.get(store)?.role === "input" || this.#decide(store, axis);
    if (v.node.args.length === 0 || v.node.op.name === "random") return true;
    const own = operandAxis(v, axis, this.#parts);
    return own === "any" || (own !== null && v.node.args.every((a) => this.#isFree(a, own, seen)));
  }
}
const sharingKey = (store: string, axis: number | undefined): string => `${store} ${axis}`;
function unionOf(sets: readonly ReadonlySet<string>[]): ReadonlySet<string> {
  const [first = none, second = none] = sets.filter((s) => s.size > 0);
  return second.size === 0 ? first : new Set(sets.flatMap((s) => [...s]));
}
/** The axis of the operands that is axis `axis` of `v`, in as many parts; "any": it has none, and repeats. null: none of theirs. */
export function operandAxis({ node, type }: Value, axis: number, parts: number): number | "any" | null {
  switch (node.op.name) {
    case "broadcast": {
      const own = (node.attrs as OpAttrs["broadcast"]).axes.indexOf(axis);
      return own < 0 ? "any" : own;
    }
    case "transpose":
      return item((node.attrs as OpAttrs["transpose"]).perm, axis);
    case "reshape":
      return reshapedAxis(dims(type), dims(item(node.args, 0).type), axis, parts);
    case "slice":
      return (node.attrs as OpAttrs["slice"]).axis === axis ? null : axis;
    default:
      return node.op.lower === "point" ? axis : null;
  }
}
