// Statements that stand together and that a target may write as one.
import type { Stmt, StmtOf, Tile } from "../kernel/ir.ts";

/** The stages that stand together from one on. */
export function stagesFrom(list: readonly Stmt[], at: number): StmtOf<"stage">[] {
  const run: StmtOf<"stage">[] = [];
  for (let i = at; list[i]?.s === "stage"; i++) run.push(list[i] as StmtOf<"stage">);
  return run;
}
/** The products of the same accumulators that stand together from one on. */
export function productsFrom(list: readonly Stmt[], at: number): StmtOf<"mma">[] {
  const run: StmtOf<"mma">[] = [];
  for (let s = list[at]; s?.s === "mma" && sameAll(s.acc, run[0]?.acc ?? s.acc); s = list[at + run.length]) run.push(s);
  return run;
}
/** Loops of one product each, of the same accumulators, that stand together from one on. */
export function loopsFrom(list: readonly Stmt[], at: number): StmtOf<"for">[] {
  const run: StmtOf<"for">[] = [];
  for (let s = list[at]; s?.s === "for"; s = list[at + run.length]) {
    const [acc, first] = [productIn(s)?.acc, productIn(run[0] ?? s)?.acc];
    if (!acc || !first || !sameAll(acc, first)) break;
    run.push(s);
  }
  return run;
}
/** What a loop does with its operands, where that is one product and nothing else. */
function productIn({ body }: StmtOf<"for">): StmtOf<"mma"> | null {
  const [mma, ...more] = body.filter((t) => t.s !== "stage");
  return mma?.s === "mma" && more.length === 0 ? mma : null;
}
const sameAll = (a: readonly Tile[], b: readonly Tile[]): boolean =>
  a.length === b.length && a.every((t, n) => t === b[n]);
/** Nothing before it touches an accumulator. */
export const firstUse = (list: readonly Stmt[]): Stmt | undefined =>
  list.find((t) => t.s !== "tile" && t.s !== "stage" && t.s !== "let");
