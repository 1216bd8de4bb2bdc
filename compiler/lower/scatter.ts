// The kernel of `scatter`, which replaces rows.
import type { Node } from "../graph/node.ts";
import { item } from "../item.ts";
import { asIndex, num, unflatten, within } from "../kernel/expr.ts";
import type { Expr } from "../kernel/ir.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { hasDistinctRows } from "../ops/gather.ts";
import { product } from "../types/numbers.ts";
import type { Draft } from "./draft.ts";
import { operand, result, shapeOf } from "./reader.ts";

/**
 * y[.., index[i], ..] = rows[.., i, ..] for each i in order, where y begins as a copy of the base; single elements at distinct places in any
 * order. `nodes` have the same shapes and index: one kernel does all.
 */
export function scatter(d: Draft, nodes: readonly Node[]): void {
  const node = item(nodes, 0);
  const { axis, batch } = node.attrs as OpAttrs["scatter"];
  const index = operand(node, 1);
  const shape = shapeOf(operand(node));
  const picks = shapeOf(index).slice(batch);
  const inner = shape.slice(axis + 1);
  const isScalar = product(inner) === 1;
  const outer = unflatten(d.k.task("r", product(shape.slice(0, axis))).at, shape.slice(0, axis));
  const reader = d.reader({ withoutLets: true, name: "rows" });
  const to = nodes.map((n) => d.param("y", d.bufferOf(result(n)), "update", { base: d.bufferOf(operand(n)) }));
  const put = (i: Expr): void => {
    const pick = unflatten(i, picks);
    const at = d.k.letHere("at", asIndex(reader.element(index, [...outer.slice(0, batch), ...pick])));
    const store = (j: Expr): void => {
      const rest = unflatten(j, inner);
      nodes.forEach((n, k) =>
        d.k.store(item(to, k), [...outer, at, ...rest], reader.element(operand(n, 2), [...outer, ...pick, ...rest])),
      );
    };
    d.k.if(within(at, item(shape, axis)), () => (isScalar ? store(num(0)) : d.k.par(num(product(inner)), store)));
  };
  const count = num(product(picks));
  if (isScalar && hasDistinctRows(index, batch)) d.k.par(count, put, "i");
  else d.k.for("i", num(0), count, 1, (b) => put(b.at));
}
