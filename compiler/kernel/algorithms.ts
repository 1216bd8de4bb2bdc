// Kernels of two ops that are neither elementwise nor contractions: `scan` (prefix sums) and `scatter` (replaced rows).
import type { Node } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { splitAtAxis } from "../ops/common.ts";
import { product } from "../types/numbers.ts";
import { dtypeOf } from "../types/type.ts";
import type { Draft } from "./draft.ts";
import { asIndex, call, item, num, sub, unflatten, within } from "./expr.ts";
import type { Expr } from "./ir.ts";
import { operand, result, shapeOf } from "./reader.ts";

/**
 * Prefix sums along an axis. A task has one place of the axes before it, a lane one place of the axes after it; if there is only one, and the target
 * says so, all threads of the task share its sums.
 */
export function scan(d: Draft, node: Node): void {
  const { axis, exclusive, reverse } = node.attrs as OpAttrs["scan"];
  const x = operand(node);
  const shape = shapeOf(x);
  const [before, n, after] = splitAtAxis(shape, axis);
  const row = unflatten(d.k.task("r", before).at, shape.slice(0, axis));
  const reader = d.reader({ withoutLets: true });
  const out = d.output(result(node));
  const along = (j: Expr): void => {
    const at = (i: Expr): Expr[] => [...row, reverse ? sub(num(n - 1), i) : i, ...unflatten(j, shape.slice(axis + 1))];
    const value = (i: Expr): Expr => reader.element(x, at(i));
    const type = dtypeOf(x.type) === "i32" ? "i32" : "f32";
    d.k.scan(num(n), value, (i, sum) => d.k.store(out, at(i), exclusive ? sum : call("add", type, sum, value(i))));
  };
  if (after === 1 && d.choices.scans) along(num(0));
  else d.k.par(num(after), along);
}

/**
 * y[.., index[i], ..] = rows[.., i, ..] for each i in order, where y begins as a copy of the base. `nodes` have the same shapes and index: one kernel
 * does all.
 */
export function scatterSet(d: Draft, nodes: readonly Node[]): void {
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
