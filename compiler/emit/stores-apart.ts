// A fold that also stores, such as a row's sum while the row before is stored: what it stores, and what it folds.
import { subexpressions } from "../kernel/expr.ts";
import type { Expr, Stmt, StmtOf } from "../kernel/ir.ts";
import { loads, ownExpressions } from "../kernel/passes.ts";

export interface StoresApart {
  readonly stored: readonly Stmt[];
  readonly folded: readonly Stmt[];
}
/** Null if nothing is stored, if what is folded reads it, or if there is more than lets and stores. */
export function storesApart({ body, value }: StmtOf<"fold">): StoresApart | null {
  const stores = body.filter((s) => s.s === "store");
  const [stored, folded] = [neededBy(body, stores.flatMap(ownExpressions)), neededBy(body, [value])];
  const written = new Set(stores.map(({ to }) => to));
  const reads = [...loads(folded), ...subexpressions(value).filter((x) => x.e === "load")];
  const others = body.some((s) => s.s !== "let" && s.s !== "store");
  if (stores.length === 0 || others || reads.some(({ from }) => written.has(from))) return null;
  return { stored: body.filter((s) => s.s === "store" || stored.includes(s)), folded };
}
/** The lets that these expressions read. */
function neededBy(body: readonly Stmt[], wanted: readonly Expr[]): readonly Stmt[] {
  const read = new Set(wanted.flatMap(subexpressions));
  return body
    .filter((s) => s.s === "let")
    .toReversed()
    .filter(({ v, value }) => {
      if (!read.has(v)) return false;
      for (const x of subexpressions(value)) read.add(x);
      return true;
    })
    .toReversed();
}
