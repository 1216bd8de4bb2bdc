// The pass that applies the rules of algebra.
import type { Builder, Graph } from "../graph/node.ts";
import { algebra, finalAlgebra } from "./algebra.ts";
import { type RewriteOptions, rewriteGraph } from "./rule.ts";

/** Applies the rules to a fixed point. `final`: after differentiation, when `detach` can be dropped too. */
export const simplify = (g: Builder, graph: Graph, final = false, options?: RewriteOptions): Graph =>
  rewriteGraph(g, graph, final ? finalAlgebra : algebra, options);
