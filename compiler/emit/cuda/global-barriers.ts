// CUDA: barriers for global memory, where a thread stores what other threads of the block load later in the task.
import type { Kernel, Stmt } from "../../kernel/ir.ts";
import { loads, stores } from "../../kernel/passes.ts";

/** The kernel with a barrier after each store (or run of stores) to a buffer that it also loads from. */
export function insertGlobalBarriers(k: Kernel): Kernel {
  const loaded = new Set(loads(k.body).map((x) => x.from));
  const changes = (s: Stmt): boolean => stores([s]).some(({ to }) => to.kind === "buffer" && loaded.has(to));
  const inside = (list: readonly Stmt[]): Stmt[] =>
    list.flatMap((s, i): Stmt[] => {
      if (s.s === "for" || s.s === "if") return [{ ...s, body: inside(s.body) }];
      const next = list[i + 1];
      const last = changes(s) && !(s.s === "store" && next?.s === "store" && changes(next));
      return last && next?.s !== "sync" ? [s, { s: "sync" }] : [s];
    });
  return { ...k, body: inside(k.body) };
}
