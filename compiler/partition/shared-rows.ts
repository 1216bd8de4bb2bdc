// How rows that several choices share move between workers (the deduplicated dispatch of DeepEP): once to each owner of experts that these choices
// name, where each choice finds its row; and back one sum for each such owner.
import type { Builder, Group, Node, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { getOrMake } from "../memoize.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { expectedOwners } from "../ops/collectives.ts";
import { bytesOf, type DType } from "../types/dtype.ts";
import { fromTo, product } from "../types/numbers.ts";
import { count, dims, dtypeOf, type Type } from "../types/type.ts";
import { rankOffset } from "./mesh.ts";
import type { Routings } from "./routings.ts";

/** The routing of each row to the owners of its choices' experts, for which the first of the row's choices at that owner stands. */
interface ToOwners {
  readonly local: b.Route;
  /** i32[workers, owners + 1]: all workers' offsets. */
  readonly offsets: Value;
  /** i32[capacity of choices], at the owner: the place of each sorted choice's row among the rows that the owner got. */
  readonly rowOfChoice: Value;
  /** i32[capacity of rows, choices of a row], at the owner: the places of a row's sorted choices, -1 for those at other owners. */
  readonly choicesOfRow: Value;
}
export class SharedRows {
  readonly #g: Builder;
  readonly #routings: Routings;
  readonly #least: number;
  readonly #known = new Map<Node, Map<number, ToOwners>>();

  /** `least`: fewer bytes saved in an exchange are not worth a message more. */
  constructor(g: Builder, routings: Routings, least = 256 * 1024) {
    [this.#g, this.#routings, this.#least] = [g, routings, least];
  }
  /**
   * Whether it saves enough to send such rows together for the `shared` choices of each, which `by` sorted, if they name owners evenly. What tells owners
   * which choices are of which row is subtracted.
   */
  isWorthSending(by: Node, shared: number, rows: Type): boolean {
    return this.#saved(by, shared, rows) > this.#least;
  }
  /** The same of sums, for which owners read all their rows and write one for each that they have room for, as fast as an eighth of that moves. */
  isWorthSumming(by: Node, shared: number, rows: Type): boolean {
    const touched = (this.#routings.ownChoices(by) + this.#room(by, shared)) * bytesOfRow(rows);
    return this.#saved(by, shared, rows) - touched / 8 > this.#least;
  }
  #saved(by: Node, shared: number, rows: Type): number {
    if (shared === 1 || shared > mostShared) return -Infinity;
    const { workers } = this.#routings.owners(by);
    const distinct = expectedOwners(workers, shared);
    const saved = (shared - distinct) * bytesOfRow(rows) - bytesOf.i32 * shared * (1 + distinct);
    return (this.#routings.ownChoices(by) / shared) * saved * (1 - 1 / workers);
  }
  /** The sorted rows of its own experts' choices on each worker, from one row for each choice, equal for the `shared` choices of a row. */
  send(rows: Value, by: Node, shared: number): Value {
    const { local, offsets, rowOfChoice } = this.#of(by, shared);
    return b.take(this.#g, this.#exchange(b.dispatch(this.#g, rows, local), by, shared, offsets, false), rowOfChoice);
  }
  /** The sum over the `shared` choices of each row on this worker, from sorted rows at the owners of their experts. An owner's sum moves as a `dtype`. */
  sumBack(rows: Value, by: Node, shared: number, dtype: DType): Value {
    const { local, offsets, choicesOfRow } = this.#of(by, shared);
    const own = b.cast(this.#g, b.sum(this.#g, b.take(this.#g, rows, choicesOfRow), [1]), dtype);
    const back = b.combine(this.#g, this.#exchange(own, by, shared, offsets, true), local);
    const [choices = 0, ...row] = dims(back.type);
    const all = b.cast(this.#g, b.reshape(this.#g, back, [choices / shared, shared, ...row]), dtypeOf(rows.type));
    return b.sum(this.#g, all, [1]);
  }
  #of(by: Node, shared: number): ToOwners {
    const ofNode = getOrMake(this.#known, by, () => new Map());
    return getOrMake(ofNode, shared, () => this.#make(by, shared));
  }
  #make(by: Node, shared: number): ToOwners {
    const [g, routings] = [this.#g, this.#routings];
    const { inverse, order } = routings.localRouting(by);
    const [n, index] = [routings.ownChoices(by), item(order.node.args, 0)];
    const owner = b.idiv(g, index, routings.ownGroups(by)); // of a choice of no expert none, as its index
    const { first, same } = firstAlike(g, owner, shared);
    const local = b.route(g, b.where(g, b.eq(g, first, b.iota(g, n)), owner, -1), routings.owners(by).workers);
    const offsets = routings.gatherOffsets(local.offsets);
    const row = b.add(g, b.take(g, local.inverse, first), b.take(g, this.#shift(offsets, by), owner));
    const rowOfChoice = routings.exchange(b.dispatch(g, row, routings.localRouting(by)), by, false);
    const place = b.add(g, inverse, b.take(g, this.#shift(routings.allOffsets(by), by), index));
    const places = b.broadcast(g, b.reshape(g, place, [n / shared, shared]), dims(same.type), [0, 2]);
    const slots = b.dispatch(g, b.reshape(g, b.where(g, same, places, -1), [n, shared]), local);
    const choicesOfRow = this.#exchange(slots, by, shared, offsets, false);
    return { local, offsets, rowOfChoice, choicesOfRow };
  }
  /** For how many rows an owner has room: it gets each row of its group once at most, and no more rows than choices. */
  #room(by: Node, shared: number): number {
    const { workers } = this.#routings.owners(by);
    return Math.min((workers * this.#routings.ownChoices(by)) / shared, this.#routings.capacity(by));
  }
  #exchange(rows: Value, by: Node, shared: number, offsets: Value, back: boolean): Value {
    const length = back ? this.#routings.ownChoices(by) : this.#room(by, shared);
    return b.make1(this.#g, "exchange", [rows, offsets], {
      ...this.#routings.owners(by),
      back,
      length,
      shared,
    });
  }
  /** i32[groups]: what leads from the place of a row of each group on this worker to its place at the group's owner; `offsets` are of all workers. */
  #shift(offsets: Value, by: Node): Value {
    const [g, routings] = [this.#g, this.#routings];
    const group: Group = routings.owners(by);
    const { workers } = group;
    const rows = routings.ofGroup(offsets, group);
    const n = item(dims(rows.type), 1) - 1;
    const [starts, ends] = [0, 1].map((from) => b.slice(g, rows, 1, from, n)) as [Value, Value];
    const [member, own] = [
      b.broadcast(g, b.iota(g, workers), [workers, n], [0]),
      rankOffset(g, group, 1, [workers, n]),
    ];
    const others = b.where(g, b.lt(g, member, own), ends, b.where(g, b.eq(g, member, own), 0, starts));
    const [all, before] = [starts, others].map((x) => b.reshape(g, b.sum(g, x, [0]), [workers, n / workers]));
    return b.reshape(g, b.sub(g, before as Value, b.slice(g, all as Value, 1, 0, 1)), [n]);
  }
}
/** Each choice is compared with all that share its row, and their places move with it: more of them cost more than they save. */
const mostShared = 64;
const bytesOfRow = (rows: Type): number => (count(rows) / item(dims(rows), 0)) * bytesOf[dtypeOf(rows)];
/** Of each run of `n` numbers: i32, the position of the first number that equals each; bool[runs, n, n], which are equal. */
function firstAlike(g: Builder, x: Value, n: number): { first: Value; same: Value } {
  const all = count(x.type);
  const shape = [all / n, n, n];
  const [own, other] = [1, 2].map((axis) => b.broadcast(g, b.reshape(g, x, [all / n, n]), shape, [0, axis])) as [
    Value,
    Value,
  ];
  const same = b.eq(g, own, other);
  const at = b.broadcast(g, b.reshape(g, b.iota(g, all), [all / n, n]), shape, [0, 2]);
  return { first: b.reshape(g, b.min(g, b.where(g, same, at, all), [2]), [all]), same };
}

/** How many consecutive choices have the same row at least, since a broadcast repeats it for them. */
export function copiesOfRow(rows: Value): number {
  const from = rows.node.op.name === "reshape" ? item(rows.node.args, 0) : rows;
  if (from.node.op.name !== "broadcast") return 1;
  const [shape, choices, { axes }] = [
    dims(from.type),
    item(dims(rows.type), 0),
    from.node.attrs as OpAttrs["broadcast"],
  ];
  const last = (leadingAxes(shape, choices) ?? 0) - 1;
  return axes.includes(last) ? 1 : (shape[last] ?? 1);
}
/** How many leading axes of a shape have `n` elements; null: no number of them. */
export function leadingAxes(shape: readonly number[], n: number): number | null {
  const found = fromTo(1, shape.length + 1).find((lead) => product(shape.slice(0, lead)) === n);
  return found ?? null;
}
