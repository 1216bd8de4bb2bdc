// Converts values from one placement among workers to another. partition.ts uses it where an op needs an argument placed otherwise than it is.
import { Bug } from "../diagnostic.ts";
import {
  type AxisSharding,
  type Builder,
  type Group,
  type LocalRouting,
  type MeshAxis,
  type Node,
  type Placement,
  type Value,
} from "../graph/node.ts";
import { item } from "../item.ts";
import { getOrMake } from "../memoize.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { hasDistinctRows } from "../ops/gather.ts";
import {
  type Even,
  equalPieces,
  evenOf,
  evenUnit,
  isSharded,
  piecesOfAxis,
  placementKey,
  replicated,
  reshapedPlace,
  type Sharded,
  samePlacement,
  sharded,
} from "../ops/sharding.ts";
import { inversePermutation } from "../ops/view.ts";
import { splatOf } from "../rewrite/pattern.ts";
import { product } from "../types/numbers.ts";
import { dims, dtypeOf } from "../types/type.ts";
import { groupAlong, isOfOtherAxis, jointGroup, shiftOfPart } from "./mesh.ts";

/** What conversions of sorted rows need to know; routings.ts has it. `by`: the `route` node in the whole program's graph. */
interface RoutingInfo {
  choices(by: Node): number;
  ownChoices(by: Node): number;
  capacity(by: Node): number;
  length(n: number, sharding: Extract<AxisSharding, { kind: "rows" }>): number;
  info(by: Node): LocalRouting;
  /** The routing of this worker's own choices, and one routing of all workers' choices. */
  localRouting(by: Node): b.Route;
  globalRouting(by: Node): b.Route;
  /** Rows sent to the owners of their groups, or, with `back`, returned. */
  exchange(rows: Value, by: Node, back: boolean): Value;
  /** bool: which of the sorted rows, where they were routed or (`owned`) at their groups' owner, are no padding. */
  valid(by: Node, owned: boolean): Value;
}

type PartialPlacement = Extract<Placement, { kind: "partial" }>;
export class Resharder {
  readonly #g: Builder;
  readonly #axis: MeshAxis;
  readonly #routings: RoutingInfo;
  readonly #known = new Map<Value, Map<string, Value>>();

  constructor(g: Builder, axis: MeshAxis, routings: RoutingInfo) {
    this.#g = g;
    this.#axis = axis;
    this.#routings = routings;
  }

  /** Converts `x` from the placement `from` to `to`. */
  convert(x: Value, from: Placement, to: Placement): Value {
    if (samePlacement(from, to)) return x;
    if (to.kind === "sharded" && to.zeroPadded)
      return this.#maskPadding(this.convert(x, from, sharded(to.axis, to.sharding)), to);
    if (from.kind === "partial")
      return this.isScattered(from, to)
        ? this.#reduceScatter(x, from.fn, to.axis, evenOf(to))
        : this.convert(this.#allReduce(x, from), from.of, to);
    if (from.kind === "replicated" && to.kind === "sharded")
      return to.sharding.kind === "even" ? this.shard(x, to.axis, to.sharding) : this.#shardRows(x, to);
    if (from.kind === "sharded" && to.kind === "sharded" && needsExchange(from, to))
      return this.#exchangeRows(x, from, to);
    if (from.kind === "sharded" && to.kind === "replicated")
      return from.sharding.kind === "even"
        ? this.#allGather(x, from.axis, from.sharding)
        : this.#replicateRows(x, from);
    if (from.kind === "sharded") return this.convert(this.convert(x, from, replicated), replicated, to);
    throw new Bug(`no value that is ${from.kind} becomes one that is ${to.kind}`);
  }

  /** This worker's part of a replicated value: recomputed if elementwise ops, views and ranges make it, else gathered from it. */
  shard(x: Value, axis: number, sharding: Even): Value {
    const known = getOrMake(this.#known, x, () => new Map());
    const made = (): Value => this.#recomputeShard(x, axis, sharding) ?? this.#gatherShard(x, axis, sharding);
    return getOrMake(known, placementKey(sharded(axis, sharding)), made);
  }
  #gatherShard(x: Value, axis: number, sharding: Even): Value {
    return b.make1(this.#g, "gather", [x, this.#shardPositions(item(dims(x.type), axis), sharding)], {
      axis,
      batch: 0,
    });
  }
  /** i32[n / parts]: the positions of this worker's part of an axis of length `n`. */
  #shardPositions(n: number, sharding: Even): Value {
    const own = b.iota(this.#g, n / sharding.parts);
    return b.add(this.#g, own, shiftOfPart(this.#g, this.#axis, n, sharding, own));
  }
  #recomputeShard(x: Value, axis: number, sharding: Even): Value | null {
    const { op, args, attrs } = x.node;
    const shape = dims(x.type);
    const local = shape.with(axis, item(shape, axis) / sharding.parts);
    switch (op.name) {
      case "iota":
        return this.#shardPositions(item(shape, 0), sharding);
      case "random":
        return this.#shardRandom(x, local, axis, sharding);
      case "broadcast": {
        const { axes } = attrs as OpAttrs["broadcast"];
        const own = axes.indexOf(axis);
        return b.broadcast(this.#g, own < 0 ? item(args, 0) : this.shard(item(args, 0), own, sharding), local, axes);
      }
      case "transpose": {
        const { perm } = attrs as OpAttrs["transpose"];
        return b.transpose(this.#g, this.shard(item(args, 0), item(perm, axis), sharding), perm);
      }
      case "reshape": {
        const from = item(args, 0);
        const own = reshapedPlace(
          shape,
          dims(from.type),
          sharded(axis, sharding),
          evenUnit(sharding),
          this.#axis.tokens,
        );
        return own && b.reshape(this.#g, this.shard(from, own.axis, evenOf(own)), local);
      }
      case "scatter":
        return this.#shardDistinct(x, axis, sharding);
      case "all_gather":
        return this.#shardBeforeGather(x, axis, sharding);
      default:
        if (op.lower !== "point" || op.name === "after") return null;
        return item(
          this.#withArgs(
            x.node,
            args.map((a) => this.shard(a, axis, sharding)),
          ),
          x.index,
        );
    }
  }
  /** The shard that a worker had before it was gathered; null: that was another. */
  #shardBeforeGather({ node }: Value, axis: number, { parts, pieces }: Even): Value | null {
    const { workers, groups, stride } = node.attrs as OpAttrs["all_gather"];
    const own = groupAlong(this.#axis, parts);
    const isSame = workers === own.workers && groups === own.groups && stride === own.stride;
    if (axis !== 0 || pieces || !isSame) return null;
    const moved = item(node.args, 0);
    return moved.node.op.name === "after" ? item(moved.node.args, 0) : moved;
  }
  /** A shard, of shape `local`, of random numbers: they are drawn for global positions, so they are the same with any number of workers. */
  #shardRandom(x: Value, local: readonly number[], axis: number, sharding: Even): Value {
    const { place } = x.node.attrs as OpAttrs["random"];
    const [key, numbers] = [item(x.node.args, 0), x.node.args[1]];
    const g = this.#g;
    if (numbers && axis === 0) return b.random(g, key, place, local.slice(1), this.shard(numbers, 0, sharding));
    const own = item(local, axis);
    const n = own * sharding.parts;
    const positions = this.#shardPositions(n, sharding);
    if (axis === 0) return b.random(g, key, place, local.slice(1), positions);
    const before = this.#placesBefore(local.slice(0, axis), numbers);
    const shape = [item(dims(before.type), 0), own];
    const first = b.broadcast(g, b.mul(g, before, n), shape, [0]);
    const all = b.reshape(g, b.add(g, first, b.broadcast(g, positions, shape, [1])), [product(shape)]);
    return b.reshape(g, b.random(g, key, place, local.slice(axis + 1), all), local);
  }
  /** i32[product of axes]: the global numbers of the places of axes of random numbers, of which the first has these `numbers` (a shard along another axis of the mesh). */
  #placesBefore(axes: readonly number[], numbers: Value | undefined): Value {
    const g = this.#g;
    if (!numbers) return b.iota(g, product(axes));
    const [rows = 0, each] = [axes[0], product(axes.slice(1))];
    const inner = b.broadcast(g, b.iota(g, each), [rows, each], [1]);
    const outer = b.broadcast(g, b.mul(g, numbers, each), [rows, each], [0]);
    return b.reshape(g, b.add(g, outer, inner), [rows * each]);
  }
  /** Of rows at distinct places among zeros (the gradient of a `take`), those that belong in this worker's part; null: these are others. */
  #shardDistinct({ node, type }: Value, axis: number, sharding: Even): Value | null {
    const [base, index, rows] = node.args as [Value, Value, Value];
    const isOfRows = (node.attrs as OpAttrs["scatter"]).mode === "set" && axis === 0 && hasDistinctRows(index, 0);
    if (!isOfRows || splatOf(base) !== 0) return null;
    const [g, picks] = [this.#g, item(dims(index.type), 0)];
    const own = this.#shardPositions(item(dims(type), 0), sharding);
    const shape = [item(dims(own.type), 0), picks];
    const [place, at, pick] = [own, index, b.iota(g, picks)].map((x, i) => b.broadcast(g, x, shape, [Math.min(i, 1)]));
    const found = b.where(g, b.eq(g, place as Value, at as Value), pick as Value, -1);
    return b.take(g, rows, b.max(g, found, [1]));
  }
  #withArgs(node: Node, args: readonly Value[]): readonly Value[] {
    return this.#g.add(node.op, args, node.attrs).results;
  }
  /** A reshape is done after the sum, so that a value and its reshapes are summed once. Where one worker alone has more than false, bools have sums. */
  #allReduce(x: Value, from: PartialPlacement): Value {
    if (dtypeOf(x.type) === "bool") return b.cast(this.#g, this.#allReduce(b.cast(this.#g, x, "i32"), from), "bool");
    if (x.node.op.name === "reshape")
      return b.reshape(this.#g, this.#allReduce(item(x.node.args, 0), from), dims(x.type));
    const { fn, group } = from;
    const other = this.#sumOfOtherAxis(x, fn);
    const joint = other && jointGroup(this.#axis, other.group, group);
    if (joint) return this.#allReduce(other.of, { ...from, group: joint });
    return b.make1(this.#g, "all_reduce", [x], { fn, ...group });
  }
  /** If workers of another axis of the mesh made `x` as a sum (a max, a min), which may be reshaped: its terms, in the shape of `x`, and those workers. */
  #sumOfOtherAxis({ node, type }: Value, fn: PartialPlacement["fn"]): { of: Value; group: Group } | null {
    if (node.op.name === "reshape") {
      const found = this.#sumOfOtherAxis(item(node.args, 0), fn);
      return found && { ...found, of: b.reshape(this.#g, found.of, dims(type)) };
    }
    if (node.op.name !== "all_reduce") return null;
    const { fn: made, ...group } = node.attrs as OpAttrs["all_reduce"];
    return made === fn && isOfOtherAxis(this.#axis, group) ? { of: item(node.args, 0), group } : null;
  }
  /** Whether terms of all workers are to be added up to a shard for each. */
  isScattered(from: Placement, to: Placement): to is Sharded {
    return (
      isSharded(to) &&
      to.sharding.kind === "even" &&
      to.sharding.parts === this.#axis.count &&
      equalPieces(to.sharding) !== null &&
      from.kind === "partial" &&
      from.of.kind === "replicated" &&
      from.group.workers === this.#axis.count
    );
  }
  /**
   * Each worker gets its part of all workers' terms along `axis`, and reduces it, in the order of workers. What another axis of the mesh sums is summed after
   * that, as parts are smaller.
   */
  #reduceScatter(x: Value, fn: PartialPlacement["fn"], axis: number, sharding: Even): Value {
    const other = this.#sumOfOtherAxis(x, fn);
    if (other) {
      const part = this.#reduceScatter(other.of, fn, axis, sharding);
      return b.make1(this.#g, "all_reduce", [part], { fn, ...other.group });
    }
    return this.#alongFirstAxis(x, axis, (rows) => {
      const [n = 0, ...rest] = dims(rows.type);
      const [pieces, count] = [equalPieces(sharding) ?? 1, this.#axis.count];
      const byPiece = b.reshape(this.#g, rows, [pieces, count, n / pieces / count, ...rest]);
      const parts = b.reshape(this.#g, b.swap(this.#g, byPiece, 0, 1), [count, n / count, ...rest]);
      const own = b.make1(this.#g, "all_to_all", [parts], groupAlong(this.#axis, this.#axis.count));
      return b.make1(this.#g, "reduce", [own], { fn, axes: [0] });
    });
  }
  #allGather(x: Value, axis: number, { parts, pieces }: Even): Value {
    return this.#alongFirstAxis(x, axis, (rows) => {
      const all = b.make1(this.#g, "all_gather", [rows], groupAlong(this.#axis, parts));
      const [n = 0, ...rest] = dims(all.type);
      if (!pieces) return all;
      const equal = equalPieces({ pieces });
      if (equal !== null) {
        const byPiece = b.reshape(this.#g, all, [parts, equal, n / parts / equal, ...rest]);
        return b.reshape(this.#g, b.swap(this.#g, byPiece, 0, 1), dims(all.type));
      }
      const byWorker = b.reshape(this.#g, all, [parts, n / parts, ...rest]);
      const ofAll = piecesOfAxis(n, pieces).map(({ start, length }) =>
        b.reshape(this.#g, b.slice(this.#g, byWorker, 1, start / parts, length / parts), [length, ...rest]),
      );
      return b.concat(this.#g, ofAll, 0);
    });
  }
  /** Applies `f`, which works along the first axis (the first `count` axes), along `axis` (and those after it). */
  #alongFirstAxis(x: Value, axis: number, f: (rows: Value) => Value, count = 1): Value {
    if (axis === 0) return f(x);
    const order = dims(x.type).map((_, i) => i);
    const perm = [...order.slice(axis, axis + count), ...order.slice(0, axis), ...order.slice(axis + count)];
    return b.transpose(this.#g, f(b.transpose(this.#g, x, perm)), inversePermutation(perm));
  }

  /**
   * The same along an axis of rows with one entry of the first axis per choice: a choice may have several rows (`unit`), or several axes together may
   * have its rows.
   */
  #perChoice(x: Value, axis: number, choices: number, f: (rows: Value) => Value): Value {
    if (choices === 0) return x; // no rows are masked or moved
    const count = rowAxes(dims(x.type), axis, choices);
    const perRow = (rows: Value): Value => {
      const [[n, ...front], rest] = [dims(rows.type).slice(0, count), dims(rows.type).slice(count)];
      const unit = product([n ?? 0, ...front]) / choices;
      const made = f(b.reshape(this.#g, rows, [choices, unit, ...rest]));
      return b.reshape(this.#g, made, [(item(dims(made.type), 0) * unit) / product(front), ...front, ...rest]);
    };
    return this.#alongFirstAxis(x, axis, perRow, count);
  }
  #exchangeRows(x: Value, { axis, sharding }: Sharded, to: Sharded): Value {
    if (sharding.kind !== "rows" || to.sharding.kind !== "rows") throw new Bug("only rows are exchanged");
    const { by, owned } = sharding;
    const rows = owned ? this.#routings.capacity(by) : this.#routings.ownChoices(by);
    return this.#perChoice(x, axis, rows, (own) => this.#routings.exchange(own, by, owned));
  }
  #maskPadding(x: Value, { axis, sharding }: Sharded): Value {
    if (sharding.kind !== "rows") return x;
    const valid = this.#routings.valid(sharding.by, sharding.owned);
    return this.#perChoice(x, axis, item(dims(valid.type), 0), (rows) => {
      const mask = b.broadcast(this.#g, valid, dims(rows.type), [0]);
      return dtypeOf(x.type) === "bool" ? b.and(this.#g, mask, rows) : b.where(this.#g, mask, rows, 0);
    });
  }
  #replicateRows(x: Value, from: Sharded): Value {
    if (from.sharding.kind !== "rows") throw new Bug("only rows are of a routing");
    const { by } = from.sharding;
    const { combined, atOwners } = this.#routings.info(by);
    const sorted = this.convert(x, from, sharded(from.axis, { ...from.sharding, owned: atOwners }));
    return this.#perChoice(sorted, from.axis, this.#routings.ownChoices(by), (rows) => {
      const own = b.combine(this.#g, rows, this.#routings.localRouting(by));
      return b.dispatch(this.#g, this.convert(own, combined, replicated), this.#routings.globalRouting(by));
    });
  }
  #shardRows(x: Value, to: Sharded): Value {
    if (to.sharding.kind !== "rows") throw new Bug("only rows are of a routing");
    const { by } = to.sharding;
    const length = this.#routings.length(item(dims(x.type), to.axis), to.sharding);
    const resized = this.#resizeConstant(x, to.axis, length);
    if (resized) return resized;
    const { choices, atOwners } = this.#routings.info(by);
    const sorted = this.#perChoice(x, to.axis, this.#routings.choices(by), (rows) => {
      const all = b.combine(this.#g, rows, this.#routings.globalRouting(by));
      return b.dispatch(this.#g, this.convert(all, replicated, choices), this.#routings.localRouting(by));
    });
    return this.convert(sorted, sharded(to.axis, { ...to.sharding, owned: atOwners }), to);
  }
  /** A value that is constant along `axis`, with another length of that axis; null if it is not known to be constant. */
  #resizeConstant(x: Value, axis: number, length: number): Value | null {
    const { op, args, attrs } = x.node;
    if (op.name === "broadcast") {
      const { axes } = attrs as OpAttrs["broadcast"];
      return axes.includes(axis) ? null : b.broadcast(this.#g, item(args, 0), dims(x.type).with(axis, length), axes);
    }
    if (op.lower !== "point" || op.name === "random" || op.name === "after") return null;
    const own = args.map((a) => this.#resizeConstant(a, axis, length));
    const found = own.filter((v) => v !== null);
    return found.length === args.length ? item(this.#withArgs(x.node, found), x.index) : null;
  }
}
/** How many axes, from `axis` on, have the rows of the choices. */
export function rowAxes(shape: readonly number[], axis: number, choices: number): number {
  let [count, n] = [1, item(shape, axis)];
  while (n % choices !== 0) n *= item(shape, axis + count++);
  return count;
}
/** Whether both are sorted rows of the same routing along the same axis: then an exchange leads from one to the other. */
export const needsExchange = (p: Sharded, q: Sharded): boolean =>
  p.axis === q.axis && p.sharding.kind === "rows" && q.sharding.kind === "rows" && p.sharding.by === q.sharding.by;
