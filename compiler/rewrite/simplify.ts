// The pass that applies the rules of algebra.
import type { Builder, Graph } from "../graph/node.ts";
import { algebra, finalAlgebra } from "./algebra.ts";
import { type RewriteObserver, rewriteGraph } from "./rule.ts";

/** Applies the rules to a fixed point. `final`: after differentiation, when `detach` can be dropped too. */
export const simplify = (g: Builder, graph: Graph, final = false, observer?: RewriteObserver): Graph =>
  rewriteGraph(g, graph, final ? finalAlgebra : algebra, observer);
