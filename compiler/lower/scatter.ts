// The kernel of `scatter`, which replaces rows.
import type { Node } from "../graph/node.ts";
import { item } from "../item.ts";
import { asIndex, num, unflatten, within } from "../kernel/expr.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { product } from "../types/numbers.ts";
import type { Draft } from "./draft.ts";
import { operand, result, shapeOf } from "./reader.ts";

/**
 * y[.., index[i], ..] = rows[.., i, ..] for each i in order, where y begins as a copy of the base. `nodes` have the same shapes and index: one kernel
 * does all.
 */
export function scatter(d: Draft, nodes: readonly Node[]): void {
  const node = item(nodes, 0);
  const { axis, batch } = node.attrs as OpAttrs["scatter"];
  const index = operand(node, 1);
  const shape = shapeOf(operand(node));
  const picks = shapeOf(index).slice(batch);
  const inner = shape.slice(axis + 1);
  const outer = unflatten(d.k.task("r", product(shape.slice(0, axis))).at, shape.slice(0, axis));
  const reader = d.reader({ withoutLets: true, name: "rows" });
  const to = nodes.map((n) => d.param("y", d.bufferOf(result(n)), "update", d.bufferOf(operand(n))));
  d.k.for("i", num(0), num(product(picks)), 1, (b) => {
    const pick = unflatten(b.at, picks);
    const at = d.k.letHere("at", asIndex(reader.element(index, [...outer.slice(0, batch), ...pick])));
    d.k.if(within(at, item(shape, axis)), () => {
      d.k.par(num(product(inner)), (j) => {
        const rest = unflatten(j, inner);
        nodes.forEach((n, i) =>
          d.k.store(item(to, i), [...outer, at, ...rest], reader.element(operand(n, 2), [...outer, ...pick, ...rest])),
        );
      });
    });
  });
}
