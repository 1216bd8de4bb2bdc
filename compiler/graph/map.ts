// Maps a body that was elaborated for one row (or one layer) to all rows of a routing (or all layers of a stack), by the `mapped` of each op.
import { Bug } from "../diagnostic.ts";
import type { Builder, Mapped, Node, Value } from "./node.ts";
import { topological } from "./walk.ts";

/** `bind`: the values of the body that vary by row or by layer, and what they become. Whatever does not depend on them is reused as it is. */
export function mapGraph(results: readonly Value[], bind: ReadonlyMap<Value, Mapped>, g: Builder): Mapped[] {
  const known = new Map(bind);
  const of = (value: Value): Mapped => known.get(value) ?? { kind: "uniform", value };
  // Nodes older than every bound value cannot depend on one; for an optimizer step, these are all of the forward and backward pass.
  const oldest = Math.min(...[...bind.keys()].map((leaf) => leaf.node.id));
  for (const node of topological(results, undefined, oldest)) {
    if (node.args.every((a) => !known.has(a))) continue;
    g.span = node.span;
    const made = mapNode(node, node.args.map(of), g);
    node.results.forEach((r, i) => {
      const m = made[i];
      if (!m) throw new Bug(`${node.op.name} does not say what its result ${i} becomes`);
      if (!bind.has(r)) known.set(r, m);
    });
  }
  g.span = null;
  return results.map(of);
}
function mapNode(node: Node, args: readonly Mapped[], g: Builder): readonly Mapped[] {
  if (args.some((m) => m.kind !== "uniform")) return node.op.mapped(args, node.attrs, g, node);
  const values = args.map((m) => m.value);
  return g.add(node.op, values, node.attrs).results.map((value) => ({ kind: "uniform", value }));
}
