// The pass that applies the rules of algebra.
import type { Builder, Graph } from "../graph/node.ts";
import { valuesOf, withValues } from "../graph/walk.ts";
import { afterGradients, algebra } from "../rewrite/algebra.ts";
import { type RewriteOptions, rewrite } from "../rewrite/rule.ts";

/** The graph with every rule applied; `final`: gradients are taken, so that `detach` goes too. What no result needs is gone. */
export function simplify(g: Builder, graph: Graph, final = false, options?: RewriteOptions): Graph {
  const rules = final ? [...algebra, ...afterGradients] : algebra;
  return withValues(graph, rewrite(g, valuesOf(graph), rules, options));
}
