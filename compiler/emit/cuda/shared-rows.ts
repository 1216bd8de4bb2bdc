// Short rows: where each element of a `par` is folded from a row that lies together in memory, neighbouring lanes share the row, so that a warp reads
// whole sectors. A lane that read a row alone would touch a sector for each of its numbers.
import { address, dependsOn, isNum, laneStride } from "../../kernel/expr.ts";
import type { Load, Stmt, StmtOf } from "../../kernel/ir.ts";
import { loads, stores } from "../../kernel/passes.ts";
import { memoize } from "../../memoize.ts";
import { canVectorize } from "../lanes.ts";

type Fold = StmtOf<"fold">;
const access = { aligned: true, stridedLoads: false };
const warp = 32;

/** How many neighbouring lanes, a power of two, share each element of a `par`; null if a lane has it alone. */
export const lanesPerRow = memoize((s: StmtOf<"par">): number | null => {
  const folds = s.body.filter((b) => b.s === "fold");
  if (folds.length === 0 || !isShareable(s) || canVectorize(s.v, s.body, 2, access)) return null;
  const counts = folds.flatMap((fold) => lanesOf(fold) ?? []);
  return counts.length === folds.length ? Math.max(...counts) : null;
});
/** Whether lanes that do not store may compute an element too: nothing that is stored is read, and only the folds have bodies. */
function isShareable({ body }: StmtOf<"par">): boolean {
  const written = new Set(stores(body).map(({ to }) => to));
  const simple = body.every((b) => b.s === "let" || b.s === "store" || (b.s === "fold" && b.body.every(isLet)));
  return simple && loads(body).every(({ from }) => from.kind === "buffer" && !written.has(from));
}
const isLet = (s: Stmt): boolean => s.s === "let";
/** A lane for each group of numbers that are loaded at once; null if the row does not lie together, or one lane gains nothing. */
function lanesOf(fold: Fold): number | null {
  const { v, extent, body, into, value } = fold;
  const all: readonly Stmt[] = [...body, { s: "let", v: into, value }];
  const row = loads(all).filter((x) => x.at.some((i) => dependsOn(i, v)));
  if (!isNum(extent) || row.length === 0 || !row.every((x) => addressStride(x, fold) === 1)) return null;
  const width = [4, 2].find((n) => canVectorize(v, all, n, access)) ?? 1;
  const groups = Math.floor(extent.value / width);
  return groups < 2 && width === 1 ? null : Math.min(warp, 2 ** Math.floor(Math.log2(Math.max(1, groups))));
}
const addressStride = ({ from, at }: Load, { v }: Fold): number | null =>
  from.kind === "buffer" ? laneStride(address(from, at), v, 2) : null;
