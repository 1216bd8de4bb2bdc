// The kernel of `scan`, prefix sums.
import type { Node } from "../graph/node.ts";
import { call, num, sub, unflatten } from "../kernel/expr.ts";
import type { Expr } from "../kernel/ir.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { splitAtAxis } from "../ops/common.ts";
import { dtypeOf } from "../types/type.ts";
import type { Draft } from "./draft.ts";
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
  if (after === 1 && d.choices.rows.sharedScans) along(num(0));
  else d.k.par(num(after), along);
}
