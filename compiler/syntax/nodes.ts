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
  const found: AnyNode[] = [];
  const visit = (node: unknown): void => {
    if (typeof node !== "object" || node === null) return;
    if (!Array.isArray(node)) found.push(node);
    for (const [key, value] of Object.entries(node)) if (key !== "span") visit(value);
  };
  visit(tree);
  return found;
}
