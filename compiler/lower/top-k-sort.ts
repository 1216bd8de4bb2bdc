// top_k with a large k: a radix sort of each row by digits of 8 bits, the lowest first; a task sorts a row.
import type { Node } from "../graph/node.ts";
import { item } from "../item.ts";
import { asIndex, asValue, call, i32, load, num, unflatten } from "../kernel/expr.ts";
import type { Expr } from "../kernel/ir.ts";
import type { VirtualBuffer } from "../plan/sequence.ts";
import { product } from "../types/numbers.ts";
import type { Draft } from "./draft.ts";
import { operand, result, shapeOf } from "./reader.ts";

const bits = 8;
export const sortPasses = 32 / bits;
/** One pass. `before`: the order from the pass before, null for the first. `after`: where the new order goes, null for the last. */
export interface SortPass {
  readonly number: number;
  readonly before: VirtualBuffer | null;
  readonly after: VirtualBuffer | null;
}

/** The shape of a buffer for an order. */
export const sortedShape = (node: Node): readonly number[] => shapeOf(operand(node));
/**
 * One of `sortPasses` counting sorts of rows [.., n] by the next 8 bits of the keys; the last writes the k largest and their indices, both [.., k].
 */
export function sortPass(d: Draft, node: Node, { number, before, after }: SortPass): void {
  const x = operand(node);
  const shape = shapeOf(x);
  const [n, k] = [item(shape, shape.length - 1), item(shapeOf(result(node)), shape.length - 1)];
  const row = unflatten(d.k.task("r", product(shape.slice(0, -1))).at, shape.slice(0, -1));
  const reader = d.reader({ withoutLets: true });
  const order = before && d.param("before", before, "read");
  const element = (i: Expr): Expr => (order ? asIndex(load(order, ...row, i)) : i);
  const value = (i: Expr): Expr => reader.element(x, [...row, element(i)]);
  const key = (i: Expr): Expr =>
    asIndex(call("digit", "i32", call("falling", "i32", value(i)), i32(bits * number), i32(2 ** bits - 1)));
  const counts = d.k.tile("shared", "counts", [2 ** bits]);
  d.k.tally(num(n), counts, key, () => undefined);
  const places = d.k.tile("shared", "places", [2 ** bits]);
  d.k.scan(
    num(2 ** bits),
    (e) => load(counts, e),
    (e, sum) => d.k.store(places, [e], sum),
  );
  d.k.tally(num(n), places, key, (i, rank) => {
    if (after) return d.k.store(d.param("after", after, "write"), [...row, rank], asValue(element(i)));
    d.k.if(call("lt", "bool", rank, num(k)), () => {
      d.k.store(d.output(result(node), "values"), [...row, rank], value(i));
      d.k.store(d.output(result(node, 1), "index"), [...row, rank], asValue(element(i)));
    });
  });
}
