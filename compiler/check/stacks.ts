// Decides which arrays of layers are stored as stacks, one tensor for each parameter: those that a call picks layers of by a tensor, or all at once.
// The syntax of the layer's own methods tells most of them before anything is evaluated; elaboration begins anew if it meets another.
import { getOrMake, memoize } from "../memoize.ts";
import type * as ast from "../syntax/ast.ts";
import { nodesIn } from "../syntax/nodes.ts";
import { allMembers } from "./origin.ts";

/** Thrown where layers are picked from an array that is not yet known to be a stack; elaboration then begins anew, knowing it. */
export class FoundStack extends Error {
  readonly member: ast.Member;
  constructor(member: ast.Member) {
    super(`\`${member.name.name}\` is a stack`);
    this.member = member;
  }
}
/** Calls `run` with the members found to be stacks so far, until it finds no other. */
export function withStacks<T>(run: (found: ReadonlySet<ast.Member>) => T): T {
  const found = new Set<ast.Member>();
  for (;;)
    try {
      return run(found);
    } catch (error) {
      if (!(error instanceof FoundStack)) throw error;
      found.add(error.member);
    }
}
/** Whether a method calls the member `name` as `name[index](...)` or `name[:](...)`. */
export const isStack = (body: readonly ast.MemberOrIf[], name: string): boolean =>
  allMembers(body).some((m) => m.kind === "method" && indicesOf(m)(name).length > 0);
/** Whether a layer passed under the header name `param` is called as `name[index](...)`. */
export function isRoutedParam(body: readonly ast.MemberOrIf[], param: string): boolean {
  const members = allMembers(body);
  const made = members.filter((m) => m.kind === "sublayer" && nameIn(m.value) === param);
  const methods = members.filter((m) => m.kind === "method");
  return made.some(
    (m) =>
      m.kind === "sublayer" && methods.some((f) => indicesOf(f)(m.name.name).some((item) => item.kind !== "slice")),
  );
}
/** The name `expert` in `expert` or `expert[E]`. */
const nameIn = (e: ast.Expr): string | null =>
  e.kind === "index" ? nameIn(e.object) : e.kind === "name" ? e.name : null;

/** The index items of calls such as `name[index](...)` in a method, other than plain numbers and loop counters. */
const indicesOf = memoize(({ body }: ast.Method) => {
  const known = new Map<string, ast.IndexItem[]>();
  return (name: string) => getOrMake(known, name, () => layerIndices(body, aliasesOf(body, name), new Set()));
});
/** A member's name, and those that the statements give to it: `let e = experts`. */
function aliasesOf(body: readonly ast.Stmt[], name: string): ReadonlySet<string> {
  const names = new Set([name]);
  for (const node of nodesIn(body) as ast.Stmt[])
    if (node.kind === "let" && node.value.kind === "name" && names.has(node.value.name))
      for (const given of node.names) if (given) names.add(given.name);
  return names;
}
function layerIndices(node: unknown, names: ReadonlySet<string>, counters: ReadonlySet<string>): ast.IndexItem[] {
  if (Array.isArray(node)) return node.flatMap((item) => layerIndices(item, names, counters));
  if (typeof node !== "object" || node === null) return [];
  const stmt = node as { kind?: string; over?: { kind?: string }; name?: ast.Name; index?: ast.Name | null };
  const known = stmt.kind === "for" ? new Set([...counters, ...loopNumbers(stmt)]) : counters;
  const own = pickedBy(node as ast.Expr, names, known);
  return [
    ...own,
    ...Object.entries(node).flatMap(([key, value]) => (key === "span" ? [] : layerIndices(value, names, known))),
  ];
}
/** The variables of a loop that are numbers. */
const loopNumbers = (s: { over?: { kind?: string }; name?: ast.Name; index?: ast.Name | null }): string[] =>
  [s.over?.kind === "range" ? s.name?.name : undefined, s.index?.name].filter((n) => n !== undefined);

function pickedBy(e: ast.Expr, names: ReadonlySet<string>, counters: ReadonlySet<string>): ast.IndexItem[] {
  if (e.kind !== "call" || e.callee.kind !== "index") return [];
  const { object, items } = e.callee;
  if (object.kind !== "name" || !names.has(object.name)) return [];
  return items.filter((item) => item.kind !== "number" && !(item.kind === "name" && counters.has(item.name)));
}
