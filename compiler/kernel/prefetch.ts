// A pass on kernels that spreads the prefetches of the next row over all loops that read the current one.
import { address, dependsOn, isNum } from "./expr.ts";
import type { Kernel, Load, Prefetch, Stmt, StmtOf } from "./ir.ts";
import { loads } from "./passes.ts";

/** The most loops among which `prefetch_share` (runtime/device/memory.hpp) can divide a row, by sixteenths that are whole cache lines (16 floats). */
const maxLoops = 9;
const rowMultiple = 16 * 16;

/**
 * Where a task reads its row in several loops, all but the first find it in the caches, while memory is idle. So each loop prefetches its share of
 * the next row, `prefetchDistance` elements away. Only where all of them read the same buffers. Results do not depend on it.
 */
export function addPrefetches(k: Kernel): Kernel {
  const last = k.body.find((s) => s.s === "par" && s.prefetchDistance !== undefined) as StmtOf<"par"> | undefined;
  const prefetchDistance = last?.prefetchDistance ?? 0;
  const folds = k.body.filter(isFold).filter((s) => isNum(s.extent) && s.extent.value === prefetchDistance);
  if (!last || folds.some((s) => taskDependentBuffers(k, s) !== taskDependentBuffers(k, last))) return k;
  const loops: readonly Stmt[] = [...folds, last].flatMap((s) => Array.from({ length: count(s) }, () => s));
  if (folds.length === 0 || loops.length > maxLoops || prefetchDistance % rowMultiple !== 0) return k;
  const prefetches = new Map(
    [...folds, last].map((s): [Stmt, Prefetch] => [
      s,
      { prefetchDistance, loop: { index: loops.indexOf(s), count: count(s), of: loops.length } },
    ]),
  );
  return { ...k, body: k.body.map((s) => ({ ...s, ...prefetches.get(s) })) };
}
const isFold = (s: Stmt): s is StmtOf<"fold" | "moments"> => s.s === "fold" || s.s === "moments";
/** How many loops over the row a statement stands for. */
const count = (s: Stmt): number => (s.s === "moments" ? 2 : 1);
/** The names of the buffers that a loop reads at addresses which depend on the task, joined for comparison. */
function taskDependentBuffers({ grid }: Kernel, s: Stmt): string {
  const moves = ({ from, at }: Load): boolean =>
    from.kind === "buffer" && grid.some(({ v }) => dependsOn(address(from, at), v));
  const names = new Set(
    loads([s])
      .filter(moves)
      .map(({ from }) => from.name),
  );
  return [...names].toSorted().join();
}
