// Evaluates types as written, in a scope where their names have values.
import type { Expr, TypeExpr } from "../syntax/ast.ts";
import { atom, type Size, sizeOf as sizeOfAtom, spreadAtom } from "../types/size.ts";
import { type Type, type } from "../types/type.ts";
import { absorb, didYouMean, fail } from "./errors.ts";
import { toSize } from "./numbers.ts";
import { number, type Scope, type Val } from "./values.ts";
import type { World } from "./world.ts";

export function typeOf(w: World, t: TypeExpr, scope: Scope): Type {
  const lead = t.spread ? spreadAxes(t.spread.name, t, scope) : [];
  return type(w.resolve(t.dtype, scope), [...lead, ...t.axes.map((e) => axisOf(w, e, scope))]);
}
/** A number that is unknown while checking cannot be an axis: each use would be a different size. */
function axisOf(w: World, e: Expr, scope: Scope): Size {
  const name = bareName(e);
  const v = name === null || isCapital(name) ? null : (scope.get(name) ?? number(null, true));
  if (name === null || v?.kind !== "number" || v.value !== null) return sizeOf(w, e, scope);
  return fail("E0211", `\`${name}\` is not a size`, e.span, {
    help: `sizes begin with a capital: \`${capitalised(name)}\``,
  });
}
export function sizeOf(w: World, e: Expr, scope: Scope): Size {
  const v = w.evaluate(e, scope);
  return v.kind === "error" ? absorb() : toSize(w, v, e.span);
}
export function spreadAxes(name: string, at: { readonly span: TypeExpr["span"] }, scope: Scope): readonly Size[] {
  const v = scope.get(name);
  if (v?.kind === "spread") return v.axes;
  if (v?.kind === "error") return absorb();
  return fail("E0301", `\`...${name}\` stands for no axes here`, at.span, {
    help: didYouMean(name, scope.all(), `give an argument the type \`float[...${name}]\``),
  });
}
/** The name that an expression consists of, which a type can bind; null for any other expression. */
export const bareName = (e: Expr): string | null => (e.kind === "name" ? e.name : null);
/** Names of sizes begin with a capital. */
export const isCapital = (name: string): boolean => /^[A-Z]/.test(name);
/** The name that a value would have as a size. */
export const capitalised = (name: string): string => `${name.slice(0, 1).toUpperCase()}${name.slice(1)}`;
export const isBound = (scope: Scope, name: string): boolean => {
  const kind = scope.get(name)?.kind;
  return kind === "number" || kind === "spread" || kind === "error";
};
export const anyAxes = (name: string): Val => ({ kind: "spread", name, axes: [sizeOfAtom(spreadAtom(name))] });
/** Binds each unbound name that stands alone in a type to a new symbol. */
export function declareNames(t: TypeExpr, scope: Scope): void {
  if (t.spread && !isBound(scope, t.spread.name)) scope.set(t.spread.name, anyAxes(t.spread.name));
  for (const e of t.axes) {
    const name = bareName(e);
    if (name !== null && isCapital(name) && !isBound(scope, name))
      scope.set(name, number(sizeOfAtom(atom(name)), true));
  }
}
/** The names that stand alone in a type, its spread included. */
export const namesIn = (t: TypeExpr): string[] => [
  ...(t.spread ? [t.spread.name] : []),
  ...t.axes.flatMap((e) => bareName(e) ?? []),
];
