// Which phase of a training step the nodes of a graph belong to.
import type { Graph, Node, Store } from "../graph/node.ts";
import { nodesOf, storeOf } from "../graph/walk.ts";
import type { Phase } from "../plan/plan.ts";
import { forwardNodes } from "../regions/fuse.ts";

/**
 * The phase of each node. forward: what reported results need. update: what needs the optimizer's state. backward: all else; forward instead if
 * nothing is reported and the graph touches no gradients or optimizer state.
 */
export function phasesOf(graph: Graph, stores: readonly Store[]): Map<Node, Phase> {
  const forward = forwardNodes(graph);
  const nodes = nodesOf(graph);
  const of = (...roles: readonly Store["role"][]): Set<string | null> =>
    new Set(stores.filter((s) => roles.includes(s.role)).map((s) => s.name));
  const [optimizer, learned] = [of("optimizer"), of("optimizer", "gradient")];
  const rest = forward.size > 0 || nodes.some((n) => learned.has(storeOf(n))) ? "backward" : "forward";
  const phases = new Map<Node, Phase>();
  for (const node of nodes) {
    const steps = optimizer.has(storeOf(node)) || node.args.some((a) => phases.get(a.node) === "update");
    phases.set(node, forward.has(node) ? "forward" : steps ? "update" : rest);
  }
  return phases;
}
