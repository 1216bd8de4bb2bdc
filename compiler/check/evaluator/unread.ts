// A variable that hides another of its body, and that nothing reads before its block ends: `for block in blocks { let x = block(x) }`.
import type * as ast from "../../syntax/ast.ts";
import { nodesIn } from "../../syntax/nodes.ts";
import { diagnostic, Failure } from "../errors.ts";
import type { Num, Scope } from "../values.ts";

/** Throws Failure if the `let` at this place of a block was meant to change the variable around it. */
export function requireRead(block: readonly ast.Stmt[], place: number, scope: Scope): void {
  const stmt = block[place];
  if (stmt?.kind !== "let") return;
  const unread = stmt.names.find(
    (name) => name && hidesVariable(name.name, scope) && !reads(block.slice(place + 1), name.name),
  );
  if (!unread) return;
  const { name, span } = unread;
  throw new Failure(
    diagnostic("E0316", `nothing reads this \`${name}\` before its block ends`, span, {
      notes: [`it is another variable than the \`${name}\` around the block, which stays as it is`],
      help: setHelp(name, stmt.names.length > 1),
    }),
  );
}
const setHelp = (name: string, isOneOfMany: boolean): string =>
  isOneOfMany
    ? `to change that one, give this another name, and then write \`${name} = ...\``
    : `to change that one, write \`${name} = ...\` without \`let\``;
/**
 * Whether a variable of the same body, outside of this block, has the name. What is made of sizes is none, for a loop's counter is that too. Around the body
 * itself are its arguments, which nothing could read afterwards.
 */
function hidesVariable(name: string, { frame, parent }: Scope): boolean {
  if (parent?.parent?.frame !== frame || parent.holder(name)?.frame !== frame) return false;
  const hidden = parent.get(name);
  return hidden?.kind === "tensor" || (hidden?.kind === "number" && !isSym(hidden.value));
}
const isSym = (value: Num): boolean => typeof value === "object" && value !== null;
const reads = (statements: readonly ast.Stmt[], name: string): boolean =>
  nodesIn(statements).some((node) => node.kind === "name" && node.name === name);
