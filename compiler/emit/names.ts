// Short names for the loop variables of emitted text: i, j and k again in each body. In the IR every name of a kernel is unique.
import { boundVariables } from "../kernel/builder.ts";
import { subexpressions } from "../kernel/expr.ts";
import type { Expr, Kernel, Stmt, Var } from "../kernel/ir.ts";
import { mapExpressions, statements } from "../kernel/passes.ts";

type Names = ReadonlyMap<Expr, Var>;

/** The kernel with its bodies' variables renamed. No name hides one of the kernel, or of a body around it. */
export function named(k: Kernel): Kernel {
  const outside = [...k.params, ...k.locals, ...k.grid.flatMap(boundVariables)];
  const taken = new Set([...outside, ...statements(k.body).flatMap(unrenamed)].map((x) => x.name));
  return { ...k, body: renamed(k.body, new Map(), taken) };
}
/** What keeps its name: values, tiles, and the variables of loops. */
function unrenamed(s: Stmt): readonly { readonly name: string }[] {
  if (s.s === "let") return [s.v];
  if (s.s === "for") return boundVariables(s.axis);
  if (s.s === "tile" || s.s === "stage") return [s.tile];
  if (s.s === "fold" || s.s === "foldrows") return [s.into];
  if (s.s === "moments") return [s.sum, s.squares];
  return s.s === "scan" ? [s.sum] : s.s === "tally" ? [s.rank] : [];
}
function boundBy(s: Stmt): readonly Var[] {
  if (s.s === "stage" || s.s === "each" || s.s === "foldrows") return s.vs;
  return s.s === "par" || s.s === "fold" || s.s === "moments" || s.s === "scan" || s.s === "tally" ? [s.v] : [];
}
/** Whether x reads a variable that one of the statements binds. */
export function readsBoundIn(list: readonly Stmt[], x: Expr): boolean {
  const bound = new Set<unknown>(statements(list).flatMap((s) => [...unrenamed(s), ...boundBy(s)]));
  return subexpressions(x).some((y) => bound.has(y));
}
const renamed = (list: readonly Stmt[], outer: Names, taken: ReadonlySet<string>): Stmt[] =>
  list.map((s) => {
    const bound = renamesOf(boundBy(s), taken);
    const names = bound.size > 0 ? new Map([...outer, ...bound]) : outer;
    if (!("body" in s)) return withNames(s, names);
    const own = bound.size > 0 ? new Set([...taken, ...[...bound.values()].map((v) => v.name)]) : taken;
    return { ...withNames(s, names), body: renamed(s.body, names, own) } as Stmt;
  });
/** New variables for those that a body binds. */
function renamesOf(bound: readonly Var[], taken: ReadonlySet<string>): Map<Expr, Var> {
  const names = new Map<Expr, Var>();
  const own = new Set<string>();
  for (const v of bound) {
    const name = free(v.name.replace(/\d+$/, ""), taken, own);
    own.add(name);
    names.set(v, { ...v, name });
  }
  return names;
}
function free(stem: string, ...taken: readonly ReadonlySet<string>[]): string {
  for (let n = 0; ; n++) {
    const name = `${stem}${n || ""}`;
    if (!taken.some((names) => names.has(name))) return name;
  }
}

/** A statement itself, without its body, with other variables. */
function withNames(s: Stmt, names: Names): Stmt {
  const v = (old: Var): Var => names.get(old) ?? old;
  const own = mapExpressions(s, (x) => withVars(x, names));
  if ("vs" in own) return { ...own, vs: own.vs.map(v) } as Stmt;
  return "v" in own ? { ...own, v: v(own.v) } : own;
}
function withVars(x: Expr, names: Names): Expr {
  if (x.e === "var") return names.get(x) ?? x;
  if (x.e === "load") return { ...x, at: x.at.map((y) => withVars(y, names)) };
  return x.e === "op" ? { ...x, args: x.args.map((y) => withVars(y, names)) } : x;
}
