// How a kernel reads a buffer: this decides whether the memory planner may put a result of the kernel in the same memory.
import { sameLayout } from "../plan/alias.ts";
import type { VirtualArg } from "../plan/sequence.ts";
import { sameAll, subexpressions } from "./expr.ts";
import type { Buffer, Kernel, Load, StmtOf } from "./ir.ts";
import { ownExpressions, statements } from "./passes.ts";

/** "pointwise" if element i of b is read only to make element i of results with b's dtype, shape and layout, and before those are stored. */
export function accessOf(k: Kernel, b: Buffer): VirtualArg["access"] {
  const all = statements(k.body);
  const targets = all.filter((s) => s.s === "store").filter((s) => targetMatches(s, b));
  const [target] = targets;
  if (!target) return "read";
  const first = all.indexOf(target);
  const loads = all.map(
    (s) =>
      ownExpressions(s)
        .flatMap(subexpressions)
        .filter((x) => x.e === "load" && x.from === b) as Load[],
  );
  const late = loads.slice(first + 1).some((list) => list.length > 0);
  const matched = loads.flat().every((x) => targets.every((s) => sameAll(x.at, s.at)));
  return matched && !late ? "pointwise" : "read";
}
const targetMatches = (s: StmtOf<"store">, b: Buffer): boolean =>
  s.to.kind === "buffer" &&
  s.to.dtype === b.dtype &&
  s.to.shape.join() === b.shape.join() &&
  sameLayout(s.to.layout, b.layout);
