// Names that end with a block inside of a body.
import type * as ast from "../../syntax/ast.ts";
import type { Frame } from "../values.ts";

/** The remedy for a name that only a block inside of the body declares; null if none does. */
export function innerNameHelp(name: string, { body }: Frame): string | null {
  if (body?.kind !== "method" && body?.kind !== "fn") return null;
  const kind = declaredInside(body.body, name);
  if (kind === null) return null;
  const instead =
    kind === "state"
      ? "`update` it there, or declare it before"
      : `declare it before, and there write \`${name} = ...\``;
  return `\`${name}\` ends with the block that declares it: ${instead}`;
}
function declaredInside(statements: readonly ast.Stmt[], name: string): "let" | "state" | null {
  for (const statement of statements) {
    const inner = blockOf(statement);
    const found = inner.find((s) => declares(s, name))?.kind ?? declaredInside(inner, name);
    if (found === "let" || found === "state") return found;
  }
  return null;
}
function blockOf(statement: ast.Stmt): readonly ast.Stmt[] {
  if (statement.kind === "if") return [...statement.then, ...statement.else];
  return statement.kind === "for" ? statement.body : [];
}
function declares(statement: ast.Stmt, name: string): boolean {
  if (statement.kind === "let") return statement.names.some((pattern) => pattern?.name === name);
  return statement.kind === "state" && statement.name.name === name;
}
