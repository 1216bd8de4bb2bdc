// How a kernel uses a buffer that it reads: whether the memory planner may write a result over it.
import type { VirtualArg } from "../plan/sequence.ts";
import { leaves, sameAll } from "./expr.ts";
import type { Buffer, Expr, Kernel, Load, StmtOf } from "./ir.ts";
import { exprs, walk, walkExprs } from "./passes.ts";

/** Pointwise: element i is read only to make element i of the results of its shape and layout, before they are written. */
export function accessOf(k: Kernel, b: Buffer): VirtualArg["access"] {
  const stores: StmtOf<"store">[] = [];
  let late = false;
  walk(k.body, (s) => {
    const reads = exprs(s).some((x) => loadsOf(x, b).length > 0);
    late ||= reads && stores.some((t) => alike(t, b));
    if (s.s === "store") stores.push(s);
  });
  const targets = stores.filter((s) => alike(s, b));
  const loads: Load[] = [];
  walkExprs(k.body, (x) => {
    if (x.e === "load" && x.from === b) loads.push(x);
  });
  const matched = targets.length > 0 && loads.every((x) => targets.every((s) => sameAll(x.at, s.at)));
  return matched && !late ? "pointwise" : "read";
}
const alike = (s: StmtOf<"store">, b: Buffer): boolean =>
  s.to.kind === "buffer" &&
  s.to.dtype === b.dtype &&
  s.to.shape.join() === b.shape.join() &&
  JSON.stringify(s.to.layout) === JSON.stringify(b.layout);
function loadsOf(x: Expr, b: Buffer): Load[] {
  const found: Load[] = [];
  leaves(x, (y) => {
    if (y.e === "load" && y.from === b) found.push(y);
  });
  return found;
}
