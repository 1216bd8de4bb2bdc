// All nodes of a syntax tree, for questions that do not depend on what they are.
import type { Name, Pattern, Span } from "./ast.ts";

export interface AnyNode {
  readonly kind?: unknown;
  readonly span?: Span;
  readonly name?: string | Name;
  readonly names?: readonly Pattern[];
  readonly callee?: AnyNode;
}
/** The nodes of a tree, or of a list of trees, in source order. */
export function nodesIn(tree: unknown): AnyNode[] {
  if (Array.isArray(tree)) return tree.flatMap(nodesIn);
  if (typeof tree !== "object" || tree === null) return [];
  return [tree, ...Object.entries(tree).flatMap(([key, value]) => (key === "span" ? [] : nodesIn(value)))];
}
