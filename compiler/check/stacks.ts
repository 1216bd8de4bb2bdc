// Which arrays of a layer are kept as one stacked tensor a parameter: those that its methods call routed, or all at once.
import type * as ast from "../syntax/ast.ts";

/** Whether a method of `layer` calls its member `name` as `name[index](...)` or `name[:](...)`. */
export function stacksOf(layer: ast.Layer, name: string): boolean {
  return layer.body.some((m) => "kind" in m && m.kind === "method" && callsRouted(m.body, name, new Set()));
}
function callsRouted(node: unknown, name: string, counters: ReadonlySet<string>): boolean {
  if (Array.isArray(node)) return node.some((item) => callsRouted(item, name, counters));
  if (typeof node !== "object" || node === null) return false;
  const stmt = node as { kind?: string; over?: { kind?: string }; name?: ast.Name; index?: ast.Name | null };
  const known = stmt.kind === "for" ? new Set([...counters, ...loopNumbers(stmt)]) : counters;
  if (isRoutedCall(node as ast.Expr, name, known)) return true;
  return Object.entries(node).some(([key, value]) => key !== "span" && callsRouted(value, name, known));
}
/** The names of a loop that are numbers. */
const loopNumbers = (s: { over?: { kind?: string }; name?: ast.Name; index?: ast.Name | null }): string[] =>
  [s.over?.kind === "range" ? s.name?.name : undefined, s.index?.name].filter((n) => n !== undefined);

function isRoutedCall(e: ast.Expr, name: string, counters: ReadonlySet<string>): boolean {
  if (e.kind !== "call" || e.callee.kind !== "index") return false;
  const { object, items } = e.callee;
  const [item] = items;
  if (object.kind !== "name" || object.name !== name || !item) return false;
  return item.kind !== "number" && !(item.kind === "name" && counters.has(item.name));
}
