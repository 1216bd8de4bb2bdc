// How a kernel uses a buffer that it reads: whether the memory planner may write a result over it.
import type { VirtualArg } from "../plan/sequence.ts";
import { leaves, sameAll } from "./expr.ts";
import type { Buffer, Expr, Kernel, Load, Stmt, StmtOf } from "./ir.ts";
import { exprs, walk } from "./passes.ts";

/** Pointwise: element i is read only to make element i of the results of its shape and layout, before they are written. */
export function accessOf(k: Kernel, b: Buffer): VirtualArg["access"] {
  const statements: Stmt[] = [];
  walk(k.body, (s) => statements.push(s));
  const targets = statements.filter((s) => s.s === "store").filter((s) => alike(s, b));
  const first = statements.findIndex((s) => s.s === "store" && alike(s, b));
  const loads = statements.map((s) => exprs(s).flatMap((x) => loadsOf(x, b)));
  const late = loads.slice(first + 1).some((list) => list.length > 0);
  const matched = loads.flat().every((x) => targets.every((s) => sameAll(x.at, s.at)));
  return first >= 0 && matched && !late ? "pointwise" : "read";
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
