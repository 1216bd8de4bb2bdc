// The pass that applies the rules of algebra.
import type { Builder, Graph } from "../graph/node.ts";
import { algebra, finalAlgebra } from "../rewrite/algebra.ts";
import { type RewriteOptions, rewriteGraph } from "../rewrite/rule.ts";

/** The graph with every rule applied; `final`: gradients are taken, so that `detach` goes too. */
export const simplify = (g: Builder, graph: Graph, final = false, options?: RewriteOptions): Graph =>
  rewriteGraph(g, graph, final ? finalAlgebra : algebra, options);
