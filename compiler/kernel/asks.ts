// Which part of the next row each loop over a row asks for.
import { address, dependsOn, isNum } from "./expr.ts";
import type { Ahead, Kernel, Load, Stmt, StmtOf } from "./ir.ts";
import { loads } from "./passes.ts";

/** As many loops, and parts of a row, as runtime/device/vector.hpp's `next_part` knows: sixteenths, of whole lines. */
const most = 9;
const parts = 16 * 16;

/**
 * The folds of a row that are made from the caches may ask for some of the next one, too, so that memory never has nothing to do. Where all of
 * them read the same; bits do not depend on it.
 */
export function asks(k: Kernel): Kernel {
  const last = k.body.find((s) => s.s === "par" && s.ahead !== undefined) as StmtOf<"par"> | undefined;
  const ahead = last?.ahead ?? 0;
  const folds = k.body.filter((s) => s.s === "fold" && isNum(s.extent) && s.extent.value === ahead);
  if (!last || folds.some((s) => moving(k, s) !== moving(k, last))) return k;
  const loops: readonly Stmt[] = [...folds, last];
  if (folds.length === 0 || loops.length > most || ahead % parts !== 0) return k;
  const asked = new Map(loops.map((s, index): [Stmt, Ahead] => [s, { ahead, loop: { index, of: loops.length } }]));
  return { ...k, body: k.body.map((s) => ({ ...s, ...asked.get(s) })) };
}
/** Names of what a loop reads at other places in each task. */
function moving({ grid }: Kernel, s: Stmt): string {
  const moves = ({ from, at }: Load): boolean =>
    from.kind === "buffer" && grid.some(({ v }) => dependsOn(address(from, at), v));
  const names = new Set(
    loads([s])
      .filter(moves)
      .map(({ from }) => from.name),
  );
  return [...names].toSorted().join();
}
