// Makes nodes, and makes each only once: equal is identical.
import { Bug } from "../diagnostic.ts";
import { once } from "../once.ts";
import type { Span } from "../syntax/ast.ts";
import { Sym } from "../types/size.ts";
import type { Builder, Node, Op, Value } from "./node.ts";

/** Thrown by `infer`: what does not fit, in the words of types; the checker adds the span and the remedy. */
export class TypeMismatch extends Error {}

export class GraphBuilder implements Builder {
  private readonly known = new Map<string, Node>();
  private readonly ops = new Map<string, Op>();
  private next = 0;
  /** The span that nodes made now come from. */
  where: Span | null = null;

  /** `ops`: the records that rules may make nodes of by name (ops/list.ts). */
  constructor(ops: readonly Op[]) {
    for (const op of ops) this.ops.set(op.name, op);
  }

  op(name: string): Op {
    const found = this.ops.get(name);
    if (!found) throw new Bug(`no op is called ${name}`);
    return found;
  }

  /** The node of `op` on `args`; the one that exists, if it does. `infer` throws TypeMismatch where types do not fit. */
  add<A>(op: Op<A>, args: readonly Value[], attrs: A): Node<A> {
    const key = `${op.name}(${args.map((a) => `${a.node.id}.${a.index}`).join()})${attrsKey(attrs)}`;
    const old = this.known.get(key);
    if (old) return old as Node<A>;
    const types = op.infer(
      args.map((a) => a.type),
      attrs,
    );
    const results: Value[] = [];
    const node: Node<A> = { id: this.next++, op, args, attrs, results, where: this.where };
    types.forEach((type, index) => results.push({ node, index, type }));
    this.known.set(key, node);
    return node;
  }
}

/** Attributes as text, the same exactly where they mean the same. They are never changed, so each object is written once. */
const attrsKey = (attrs: unknown): string =>
  typeof attrs !== "object" || attrs === null ? JSON.stringify(attrs) : keyOf(attrs);
const keyOf = once((attrs: object): string => JSON.stringify(attrs, (_, value: unknown) => written(value)));
/** Sizes by their atoms; -0, NaN and infinities as what they are. */
function written(value: unknown): unknown {
  if (value instanceof Sym)
    return { size: value.terms.map((t) => [t.num, t.den, t.powers.map(([a, e]) => [a.id, e])]) };
  if (Object.is(value, -0)) return { number: "-0" };
  return typeof value === "number" && !Number.isFinite(value) ? { number: String(value) } : value;
}
