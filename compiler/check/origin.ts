// What a layer's text says of its members, and where a name's type is declared, for notes in errors.
import { locationText } from "../diagnostic.ts";
import type * as ast from "../syntax/ast.ts";
import { isCapital } from "./types.ts";
import type { Frame, Makeable, Scope } from "./values.ts";

/** The text ", declared at FILE:LINE" if `e` is an argument, parameter or state with a written type; else "". */
export function originOf(e: ast.Expr, scope: Scope): string {
  if (e.kind !== "name") return "";
  const { body, instance } = scope.frame;
  const params = body && "params" in body ? body.params : body?.kind === "fn" ? body.header : [];
  const members = instance ? allMembers(bodyOf(instance.make)) : [];
  const found = [...params, ...members].find((m) => m.name.name === e.name);
  return found ? `, declared at ${locationText(found.span)}` : "";
}
/** The lower-case names without a type, which are real numbers (or booleans), of the headers that a body sees. */
export function headerValues({ body, instance }: Frame): string[] {
  const parts = instance?.make.of.kind === "layer" ? instance.make.of.maker.parts : [];
  const own = body === null ? [] : "params" in body ? body.params : body.header;
  return [...own, ...parts.flatMap((part) => part.ast.header)]
    .filter((p) => p.type === null && !isCapital(p.name.name) && !p.spread && p.default?.kind !== "bool")
    .map((p) => p.name.name);
}
/** The members of a layer and of its aliases, as they are written. */
export const bodyOf = ({ of }: Makeable): readonly ast.MemberOrIf[] =>
  of.kind === "layer" ? of.maker.parts.flatMap((part) => part.ast.body) : [];
export const isLayer = (node: Frame["body"]): node is ast.Layer | ast.Alias =>
  node?.kind === "layer" || node?.kind === "model" || node?.kind === "alias";
/** Whether a method says what its layer's parameters are without adapters. It may set them, and only `moec merge` calls it. */
export const isMerged = (body: Frame["body"]): boolean =>
  body?.kind === "method" && body.name.name === "merged" && body.params.length === 0 && body.result.length === 0;
/** All members of a layer, those under an `if` too. */
export const allMembers = (body: readonly ast.MemberOrIf[]): ast.Member[] =>
  body.flatMap((m) => (m.kind === "if" ? [...allMembers(m.then), ...allMembers(m.else)] : [m]));
