// Barriers for memory: what one thread of a block stores, others of it may load later in the task.
import type { Buffer, Kernel, Stmt } from "../kernel/ir.ts";
import { walk, walkExprs } from "../kernel/passes.ts";

/** A barrier after each store, or run of stores, to a buffer that the kernel also loads from. */
export function settled(k: Kernel): Kernel {
  const loaded = new Set<Buffer>();
  walkExprs(k.body, (x) => {
    if (x.e === "load" && x.from.kind === "buffer") loaded.add(x.from);
  });
  const stores = (s: Stmt): boolean => {
    let found = false;
    walk([s], (t) => {
      found ||= t.s === "store" && t.to.kind === "buffer" && loaded.has(t.to);
    });
    return found;
  };
  const inside = (list: readonly Stmt[]): Stmt[] =>
    list.flatMap((s, i): Stmt[] => {
      if (s.s === "for" || s.s === "if") return [{ ...s, body: inside(s.body) }];
      const next = list[i + 1];
      const last = stores(s) && !(s.s === "store" && next?.s === "store" && stores(next));
      return last ? [s, { s: "sync" }] : [s];
    });
  return { ...k, body: inside(k.body) };
}
