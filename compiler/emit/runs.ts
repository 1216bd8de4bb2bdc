// Finds runs of consecutive statements that a target may write as one.
import type { Stmt, StmtOf, Tile } from "../kernel/ir.ts";

export const isStage = (s: Stmt): s is StmtOf<"stage"> => s.s === "stage";
/** The consecutive stages from `at` on. */
export function stagesFrom(list: readonly Stmt[], at: number): StmtOf<"stage">[] {
  const run: StmtOf<"stage">[] = [];
  for (let s = list[at]; s && isStage(s); s = list[at + run.length]) run.push(s);
  return run;
}
/** The consecutive products into the same accumulators from `at` on. */
export function productsFrom(list: readonly Stmt[], at: number): StmtOf<"mma">[] {
  const run: StmtOf<"mma">[] = [];
  for (let s = list[at]; s?.s === "mma" && sameAll(s.acc, run[0]?.acc ?? s.acc); s = list[at + run.length]) run.push(s);
  return run;
}
/** The consecutive loops from `at` on that each do one product, into the same accumulators. */
export function loopsFrom(list: readonly Stmt[], at: number): StmtOf<"for">[] {
  const run: StmtOf<"for">[] = [];
  for (let s = list[at]; s?.s === "for"; s = list[at + run.length]) {
    const [acc, first] = [productIn(s)?.acc, productIn(run[0] ?? s)?.acc];
    if (!acc || !first || !sameAll(acc, first)) break;
    run.push(s);
  }
  return run;
}
/** The product of a loop that does nothing but stage operands and multiply once; else null. */
function productIn({ body }: StmtOf<"for">): StmtOf<"mma"> | null {
  const [mma, ...more] = body.filter((t) => t.s !== "stage");
  return mma?.s === "mma" && more.length === 0 ? mma : null;
}
const sameAll = (a: readonly Tile[], b: readonly Tile[]): boolean =>
  a.length === b.length && a.every((t, n) => t === b[n]);
/** The first statement that may use an accumulator. */
export const firstUse = (list: readonly Stmt[]): Stmt | undefined =>
  list.find((t) => t.s !== "tile" && t.s !== "stage" && t.s !== "let");
