// Finds where a name's type is declared, for notes in errors.
import type * as ast from "../syntax/ast.ts";
import { locationText } from "./errors.ts";
import type { Scope } from "./values.ts";

/** The text ", declared at FILE:LINE" if `e` is an argument, parameter or state with a written type; else "". */
export function originOf(e: ast.Expr, scope: Scope): string {
  if (e.kind !== "name") return "";
  const { body, instance } = scope.frame;
  const make = instance?.make.of;
  const params = body && "params" in body ? body.params : body?.kind === "fn" ? body.header : [];
  const members = make?.kind === "layer" ? allMembers(make.maker.decl.ast.body) : [];
  const found = [...params, ...members].find((m) => m.name.name === e.name);
  return found ? `, declared at ${locationText(found.span)}` : "";
}
/** All members of a layer, those under an `if` too. */
export const allMembers = (body: readonly ast.MemberOrIf[]): ast.Member[] =>
  body.flatMap((m) => (m.kind === "if" ? [...allMembers(m.then), ...allMembers(m.else)] : [m]));
