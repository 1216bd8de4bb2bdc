// Decides which arrays of layers are stored as stacks, one tensor for each parameter: those that a method calls by index or all at once.
import type * as ast from "../syntax/ast.ts";
import { allMembers } from "./origin.ts";

/** Whether a method calls the member `name` as `name[index](...)` or `name[:](...)`. */
export const isStack = (body: readonly ast.MemberOrIf[], name: string): boolean =>
  allMembers(body).some((m) => m.kind === "method" && layerIndices(m.body, name, new Set()).length > 0);
/** Whether a layer passed under the header name `param` is called as `name[index](...)`. */
export function isRoutedParam(body: readonly ast.MemberOrIf[], param: string): boolean {
  const members = allMembers(body);
  const made = members.filter((m) => m.kind === "sublayer" && nameIn(m.value) === param);
  const methods = members.filter((m) => m.kind === "method");
  return made.some(
    (m) =>
      m.kind === "sublayer" &&
      methods.some((f) => layerIndices(f.body, m.name.name, new Set()).some((item) => item.kind !== "slice")),
  );
}
/** The name `expert` in `expert` or `expert[E]`. */
const nameIn = (e: ast.Expr): string | null =>
  e.kind === "index" ? nameIn(e.object) : e.kind === "name" ? e.name : null;

/** The index items of calls such as `name[index](...)` in `node`, other than plain numbers and loop counters. */
function layerIndices(node: unknown, name: string, counters: ReadonlySet<string>): ast.IndexItem[] {
  if (Array.isArray(node)) return node.flatMap((item) => layerIndices(item, name, counters));
  if (typeof node !== "object" || node === null) return [];
  const stmt = node as { kind?: string; over?: { kind?: string }; name?: ast.Name; index?: ast.Name | null };
  const known = stmt.kind === "for" ? new Set([...counters, ...loopNumbers(stmt)]) : counters;
  const own = pickedBy(node as ast.Expr, name, known);
  return [
    ...own,
    ...Object.entries(node).flatMap(([key, value]) => (key === "span" ? [] : layerIndices(value, name, known))),
  ];
}
/** The variables of a loop that are numbers. */
const loopNumbers = (s: { over?: { kind?: string }; name?: ast.Name; index?: ast.Name | null }): string[] =>
  [s.over?.kind === "range" ? s.name?.name : undefined, s.index?.name].filter((n) => n !== undefined);

function pickedBy(e: ast.Expr, name: string, counters: ReadonlySet<string>): ast.IndexItem[] {
  if (e.kind !== "call" || e.callee.kind !== "index") return [];
  const { object, items } = e.callee;
  if (object.kind !== "name" || object.name !== name) return [];
  return items.filter((item) => item.kind !== "number" && !(item.kind === "name" && counters.has(item.name)));
}
