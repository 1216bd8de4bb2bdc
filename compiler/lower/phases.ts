// Which phase of a training step the nodes of a graph belong to, and which of them come after sums of gradients.
import type { Graph, Node, Store } from "../graph/node.ts";
import { forwardNodes, nodesOf, storeOf } from "../graph/walk.ts";
import type { Phase } from "../plan/plan.ts";

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

/**
 * Sums of gradients, as `launchesBeside` of plan/overlap.ts finds them, and all nodes that depend on them. Those are to come late, so no kernel makes values
 * of both kinds.
 */
export function lateNodes(graph: Graph, phases: ReadonlyMap<Node, Phase>): ReadonlySet<Node> {
  const nodes = nodesOf(graph);
  const urgent = new Set<Node>();
  for (const node of nodes.toReversed())
    if (urgent.has(node) || isWork(node, phases.get(node))) for (const { node: of } of node.args) urgent.add(of);
  const late = new Set<Node>();
  for (const node of nodes) {
    const begins = node.op.lower === "collective" && node.op.name !== "exchange" && !urgent.has(node);
    if (begins || node.args.some((arg) => late.has(arg.node))) late.add(node);
  }
  return late;
}
const isWork = ({ op }: Node, phase: Phase | undefined): boolean =>
  op.name === "exchange" || (op.lower === "tile" && phase !== "update");
