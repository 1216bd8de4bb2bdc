// Reverse-mode differentiation. The gradient of each op is in its record (`vjp`); this file walks the nodes in reverse and adds up contributions.
import { Bug } from "../diagnostic.ts";
import type { Builder, Node, Value } from "../graph/node.ts";
import { topological } from "../graph/walk.ts";
import * as b from "../ops/build.ts";
import { isFloat } from "../types/dtype.ts";
import { sameType, showType } from "../types/type.ts";
import { Segments } from "./rematerialize.ts";

/**
 * The gradients of the sum of `losses[i] * seeds[i]` (a seed is 1 if not given) with respect to the values `wrt`, with their types; zeros for a
 * value that no loss depends on. Contributions to a value are always added in the reverse order of the nodes that read it, so the result is
 * deterministic. `boundaries`: what passes between layers, in order, where the backward is to make each layer again (`Segments`).
 */
export function gradients(
  g: Builder,
  losses: readonly Value[],
  wrt: readonly Value[],
  seeds?: readonly Value[],
  boundaries: readonly (readonly Value[])[] = [],
): Value[] {
  const segments = new Segments(topological(losses), boundaries);
  const { order } = segments;
  const active = dependents(order, wrt);
  const found = new Map<Value, Value>();
  const add = (to: Value, grad: Value): void => {
    if (!sameType(to.type, grad.type)) throw new Bug(`the gradient of ${showType(to.type)} is ${showType(grad.type)}`);
    const old = found.get(to);
    found.set(to, old ? b.add(g, old, grad) : grad);
    segments.note(to, grad);
  };
  losses.forEach((loss, i) => add(loss, seeds?.[i] ?? b.like(g, loss, 1)));
  for (const node of order.toReversed()) {
    if (!active.has(node)) continue;
    const again = segments.inBackward(node, g);
    g.span = node.span;
    const grads = node.results.map((r) => found.get(r) ?? null);
    for (const [to, grad] of argumentGradients(node, again, grads, g)) if (active.has(to.node)) add(to, grad);
  }
  g.span = null;
  return wrt.map((v) => found.get(v) ?? b.like(g, v, 0));
}
/** A node's float arguments, each with its gradient. `again`: the node that these are computed from, `node` itself or what the backward has made again. */
function argumentGradients(
  node: Node,
  again: Node,
  grads: readonly (Value | null)[],
  g: Builder,
): (readonly [Value, Value])[] {
  if (grads.every((x) => x === null)) return [];
  const made = node.op.vjp(again, grads, g);
  return node.args.flatMap((a, i) => {
    const grad = made[i];
    return grad && isFloat(a.type.dtype) ? [[a, grad] as const] : [];
  });
}
/** The nodes that depend on some value of `wrt`. */
function dependents(order: readonly Node[], wrt: readonly Value[]): Set<Node> {
  const active = new Set(wrt.map((v) => v.node));
  for (const node of order) if (node.args.some((a) => active.has(a.node))) active.add(node);
  return active;
}
