// Makes nodes, and makes each only once: equal is identical.
import type { Span } from "../syntax/ast.ts";
import type { Type } from "../types/type.ts";
import { show } from "../types/size.ts";
import type { Node, Op, Value } from "./node.ts";

export class GraphBuilder {
  private readonly known = new Map<string, Node>();
  private next = 0;
  /** The span that nodes made now come from. */
  where: Span | null = null;

  /** The node of `op` on `args`; the one that exists, if it does. `infer` throws TypeMismatch where types do not fit. */
  add<A>(op: Op<A>, args: readonly Value[], attrs: A): Node<A> {
    const key = `${op.name}(${args.map((a) => `${a.node.id}.${a.index}`).join()})${text(attrs)}`;
    const old = this.known.get(key);
    if (old) return old as Node<A>;
    const types = op.infer(args.map((a) => a.type), attrs);
    const node: Node<A> & { results: Value[] } = { id: this.next++, op, args, attrs, results: [], where: this.where };
    types.forEach((type: Type, index) => {
      node.results.push({ node: node as Node, index, type });
    });
    this.known.set(key, node as Node);
    return node;
  }
}
/** Attributes are plain data; sizes print in normal form. */
const text = (attrs: unknown): string =>
  JSON.stringify(attrs, (_, value: unknown) =>
    typeof value === "number" && !Number.isFinite(value) ? String(value) : isSize(value) ? show(value) : value,
  );
const isSize = (x: unknown): x is Exclude<import("../types/size.ts").Size, number> =>
  typeof x === "object" && x !== null && "terms" in x;

/** Thrown by `infer`: what does not fit, in the words of types; the checker adds the span and the remedy. */
export class TypeMismatch extends Error {}
