// Reverse-mode differentiation. Every rule is in an op's record; here only the order and the sums.
import { Bug } from "../diagnostic.ts";
import type { Builder, Graph, Node, Value } from "../graph/node.ts";
import { rebuild, topological, valuesOf, withValues } from "../graph/walk.ts";
import * as b from "../ops/build.ts";
import { isFloat } from "../types/dtype.ts";
import { sameType, showType } from "../types/type.ts";

/**
 * The gradients of the sum of `losses`, each times its seed (1 if not given), in the values `wrt`, of their types; zeros where nothing
 * flows. Contributions to one value are added in the reverse order of the nodes that read it, always.
 */
export function gradients(
  g: Builder,
  losses: readonly Value[],
  wrt: readonly Value[],
  seeds?: readonly Value[],
): Value[] {
  const order = topological(losses);
  const active = reaching(order, wrt);
  const found = new Map<Value, Value>();
  const add = (to: Value, grad: Value): void => {
    if (!sameType(to.type, grad.type)) throw new Bug(`the gradient of ${showType(to.type)} is ${showType(grad.type)}`);
    const old = found.get(to);
    found.set(to, old ? b.add(g, old, grad) : grad);
  };
  losses.forEach((loss, i) => {
    if (isFloat(loss.type.dtype)) add(loss, seeds?.[i] ?? b.like(g, loss, 1));
  });
  for (const node of order.toReversed()) {
    if (!active.has(node)) continue;
    g.where = node.where;
    propagate(node, found, active, g, add);
  }
  g.where = null;
  return wrt.map((v) => found.get(v) ?? b.like(g, v, 0));
}
/** The pass: `gradient` nodes become the graphs that compute them. Those of the same losses are made in one sweep. */
export function differentiate(g: Builder, graph: Graph): Graph {
  const values = valuesOf(graph);
  const made = new Map<Node, Value>();
  for (const nodes of bySweep(topological(values).filter((n) => n.op.name === "gradient"))) {
    const losses = nodes[0]?.args.slice(1) ?? [];
    gradients(
      g,
      losses,
      nodes.flatMap((n) => n.args.slice(0, 1)),
    ).forEach((grad, i) => {
      const node = nodes[i];
      if (node) made.set(node, grad);
    });
  }
  const replaced = rebuild(g, values, (node) => {
    const grad = made.get(node);
    return grad ? [grad] : null;
  });
  return withValues(graph, replaced);
}
function bySweep(asked: readonly Node[]): Iterable<Node[]> {
  const sweeps = new Map<string, Node[]>();
  for (const node of asked) {
    const losses = node.args
      .slice(1)
      .map((v) => `${v.node.id}.${v.index}`)
      .join();
    sweeps.set(losses, [...(sweeps.get(losses) ?? []), node]);
  }
  return sweeps.values();
}

type Add = (to: Value, grad: Value) => void;

function propagate(
  node: Node,
  found: ReadonlyMap<Value, Value>,
  active: ReadonlySet<Node>,
  g: Builder,
  add: Add,
): void {
  const grads = node.results.map((r) => found.get(r) ?? null);
  if (grads.every((x) => x === null)) return;
  node.op.vjp(node, grads, g).forEach((grad, i) => {
    const to = node.args[i];
    if (grad && to && active.has(to.node) && isFloat(to.type.dtype)) add(to, grad);
  });
}
/** The nodes through which something of `wrt` reaches a later one. */
function reaching(order: readonly Node[], wrt: readonly Value[]): Set<Node> {
  const active = new Set(wrt.map((v) => v.node));
  for (const node of order) if (node.args.some((a) => active.has(a.node))) active.add(node);
  return active;
}
