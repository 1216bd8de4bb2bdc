// Sums over the choices of each row of what experts give (a mixture's combination): owners of experts add up theirs first, so that one sum for each
// owner is moved instead of each choice's row.
import type { Builder, Node, Placement, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { isSharded, localShape, samePlacement, sharded } from "../ops/sharding.ts";
import { perRow } from "../transform/routed.ts";
import { isFloat } from "../types/dtype.ts";
import { product } from "../types/numbers.ts";
import { dims, dtypeOf, type Type } from "../types/type.ts";
import type { Partitioned, Placed } from "./placed.ts";
import type { Resharder } from "./reshard.ts";
import type { Routings } from "./routings.ts";
import { leadingAxes, type SharedRows } from "./shared-rows.ts";

/** What moves rows and sums between workers. */
interface Moves {
  readonly routings: Routings;
  readonly resharder: Resharder;
  readonly sharedRows: SharedRows;
}
export class ChoiceSums {
  readonly #g: Builder;
  readonly #values: Partitioned;
  readonly #routings: Routings;
  readonly #resharder: Resharder;
  readonly #sharedRows: SharedRows;
  readonly #exchanged: ReadonlyMap<Node, number>;

  /** `exchanged`: the routings whose rows are sent to the owners of their experts. */
  constructor(g: Builder, values: Partitioned, exchanged: ReadonlyMap<Node, number>, moves: Moves) {
    [this.#g, this.#values, this.#exchanged] = [g, values, exchanged];
    [this.#routings, this.#resharder, this.#sharedRows] = [moves.routings, moves.resharder, moves.sharedRows];
  }
  /** A sum over the choices of each row that owners of experts begin; null: it is none, or it is not worthwhile. */
  make(node: Node): Placed | null {
    const found = sumOverChoices(this.#g, node, {
      isOwn: (v) => this.#values.isOwn(v),
      isSent: (by) => this.#exchanged.has(by) || this.#sharesWhole(by),
    });
    if (!found) return null;
    const sorted = sharded(0, { kind: "rows", by: found.by, owned: this.#exchanged.has(found.by) });
    if (!samePlacement(this.#values.of(found.sent).place, sorted)) return null;
    const type = item(node.results, 0).type;
    const sum = this.#sharesWhole(found.by) ? this.#ofOwn(type, found, sorted) : this.#sentBack(type, found, sorted);
    return sum && found.rest ? this.#plus(sum, found.rest, node) : sum;
  }
  /** Adds the sum of what else `node` adds up. */
  #plus({ value, place }: Placed, rest: Value, { op, attrs }: Node): Placed {
    const more = item(this.#g.add(op, [rest], attrs).results, 0);
    const known = this.#values.placed(more);
    if (samePlacement(known.place, place)) return { value: b.add(this.#g, value, known.value), place };
    const to = place.kind === "partial" ? place.of : place;
    const own = this.#resharder.convert(value, place, to);
    return { value: b.add(this.#g, own, this.#values.convertTo(more, to)), place: to };
  }
  /** Whether all workers have the rows, and each sorts some of them. */
  #sharesWhole(by: Node): boolean {
    return this.#routings.has(by) && this.#routings.info(by).choices.kind === "replicated";
  }
  /** All workers have the rows: each adds up what those that it sorts give, so that these sums alone are reduced. */
  #ofOwn(type: Type, { by, rows, shared }: SumOverChoices, sorted: Placement): Placed {
    this.#values.placed(rows);
    const own = b.combine(this.#g, this.#values.convertTo(rows, sorted), this.#routings.localRouting(by));
    const [choices = 0, ...row] = dims(own.type);
    const sum = b.sum(this.#g, b.reshape(this.#g, own, [choices / shared, shared, ...row]), [1]);
    return { value: b.reshape(this.#g, sum, dims(type)), place: this.#routings.info(by).combined };
  }
  /** The owners of a row's experts send back one row each. */
  #sentBack(type: Type, { by, rows, sent, shared }: SumOverChoices, owned: Placement): Placed | null {
    const place = this.#routings.info(by).combined;
    const isWorthwhile = this.#sharedRows.isWorthSumming(by, shared, sent.type);
    if (!isWorthwhile || !isSharded(place) || item(dims(type), 0) % this.#values.unit(place.sharding) !== 0)
      return null;
    this.#values.placed(rows);
    const sum = this.#sharedRows.sumBack(this.#values.convertTo(rows, owned), by, shared, dtypeOf(sent.type));
    return { value: b.reshape(this.#g, sum, localShape(dims(type), place, this.#values)), place };
  }
}
/**
 * Sorted rows of which something is the combination, plus the `rest` (null: nothing), as the rows of shadowed experts are. `sent`: the sorted rows that
 * `rows` is made from.
 */
interface SortedForm {
  readonly by: Node;
  readonly rows: Value;
  readonly sent: Value;
  readonly rest: Value | null;
}
/** What the search for one asks. */
interface Asked {
  /** Whether nothing else needs a value. */
  readonly isOwn: (v: Value) => boolean;
  /** Whether rows that a routing sorted are sent to their experts' owners. */
  readonly isSent: (by: Node) => boolean;
}
/** A sum over the `shared` choices of each row. */
interface SumOverChoices extends SortedForm {
  readonly shared: number;
}
/** What a node adds up that is such a sum. null: the node is none. */
function sumOverChoices(g: Builder, { op, args, attrs }: Node, asked: Asked): SumOverChoices | null {
  if (op.name !== "reduce") return null;
  const [{ fn, axes }, x] = [attrs as OpAttrs["reduce"], item(args, 0)];
  const [axis = 0] = axes;
  if (fn !== "sum" || axes.length !== 1 || axis === 0) return null;
  const found = sortedForm(g, x, axis + 1, asked);
  return found && { ...found, shared: item(dims(x.type), axis) };
}
/**
 * The sorted rows of which v is the combination, the first `lead` axes of v being the choices; also below casts, times a number for each choice, and plus
 * something else. null: it is none, or something else needs what is combined.
 */
function sortedForm(g: Builder, v: Value, lead: number, asked: Asked): SortedForm | null {
  const { node } = v;
  const [x, y] = node.args;
  if (!x || !asked.isOwn(v)) return null;
  switch (node.op.name) {
    case "combine":
      return y && lead === 1 && y.node.op.name === "route" && asked.isSent(y.node)
        ? { by: y.node, rows: x, sent: x, rest: null }
        : null;
    case "cast": {
      const cast = (all: Value): Value => b.cast(g, all, dtypeOf(v.type));
      const found = sortedForm(g, x, lead, asked);
      const isCut = isFloat(dtypeOf(x.type)) && !isFloat(dtypeOf(v.type)); // of a sum, not of each term
      return found?.rest && isCut ? null : mapForm(found, cast, cast);
    }
    case "reshape": {
      const [shape, choices] = [dims(v.type), product(dims(v.type).slice(0, lead))];
      const inner = leadingAxes(dims(x.type), choices);
      return mapForm(
        inner === null ? null : sortedForm(g, x, inner, asked),
        (rows) => b.reshape(g, rows, [choices, ...shape.slice(lead)]),
        (rest) => b.reshape(g, rest, shape),
      );
    }
    case "binary":
      return y ? ofBinary(g, (node.attrs as OpAttrs["binary"]).fn, [x, y], lead, asked) : null;
    default:
      return null;
  }
}
const mapForm = (
  found: SortedForm | null,
  ofRows: (rows: Value) => Value,
  ofRest: (rest: Value) => Value,
): SortedForm | null => found && { ...found, rows: ofRows(found.rows), rest: found.rest && ofRest(found.rest) };
function ofBinary(
  g: Builder,
  fn: OpAttrs["binary"]["fn"],
  [x, y]: readonly [Value, Value],
  lead: number,
  asked: Asked,
): SortedForm | null {
  if (fn === "mul") return scaled(g, x, y, lead, asked) ?? scaled(g, y, x, lead, asked);
  if (fn !== "add") return null;
  const plus = (found: SortedForm | null, more: Value): SortedForm | null =>
    found && { ...found, rest: found.rest ? b.add(g, found.rest, more) : more };
  return plus(sortedForm(g, x, lead, asked), y) ?? plus(sortedForm(g, y, lead, asked), x);
}
/** The same of rows times a factor for each choice. */
function scaled(g: Builder, rows: Value, factor: Value, lead: number, asked: Asked): SortedForm | null {
  const numbers = perRow(g, factor, lead);
  const found = numbers && sortedForm(g, rows, lead, asked);
  if (!found) return null;
  const [order, , inverse] = found.by.results as [Value, Value, Value];
  const own = b.dispatch(g, b.reshape(g, numbers, dims(order.type)), { order, inverse });
  const times = (all: Value): Value => b.mul(g, all, b.broadcast(g, own, dims(all.type), [0]));
  return mapForm(found, times, (rest) => b.mul(g, rest, factor));
}
