// Which part of the next row each loop over a row asks for.
import { address, dependsOn, isNum } from "./expr.ts";
import type { Ahead, Buffer, Kernel, Stmt, StmtOf } from "./ir.ts";
import { walkExprs } from "./passes.ts";

const parts = 16;
const line = 16;

/**
 * The folds of a row that are made from the caches ask for some of the next one, too, so that memory never has nothing to do: a sixteenth each,
 * for they take about so long beside the loop that writes. Where all of them read the same; bits do not depend on it.
 */
export function spread(k: Kernel): Kernel {
  const last = k.body.find((s) => s.s === "par" && s.ahead !== undefined) as StmtOf<"par"> | undefined;
  const n = last?.ahead ?? 0;
  const folds = k.body.filter((s) => s.s === "fold" && isNum(s.extent) && s.extent.value === n);
  if (!last || folds.some((s) => moving(k, s) !== moving(k, last))) return k;
  if (folds.length === 0 || folds.length > parts / 2 || n % (parts * line) !== 0) return k;
  const asked = new Map<Stmt, Ahead>(folds.map((s, i) => [s, of(n, i, 1)]));
  asked.set(last, of(n, folds.length, parts - folds.length));
  return { ...k, body: k.body.map((s) => ({ ...s, ...asked.get(s) })) };
}
const of = (ahead: number, from: number, count: number): Ahead => ({ ahead, part: { from, count, of: parts } });
/** Names of what a loop reads at other places in each task. */
function moving({ grid }: Kernel, s: Stmt): string {
  const found = new Set<Buffer>();
  walkExprs([s], (x) => {
    if (x.e !== "load" || x.from.kind !== "buffer") return;
    const at = address(x.from, x.at);
    if (grid.some(({ v }) => dependsOn(at, v))) found.add(x.from);
  });
  return [...found]
    .map(({ name }) => name)
    .toSorted()
    .join();
}
