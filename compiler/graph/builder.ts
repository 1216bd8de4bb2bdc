// Adds nodes to a graph. Nodes are interned: an equal node is the same object, so common subexpressions exist once.
import { Bug } from "../diagnostic.ts";
import { memoize } from "../memoize.ts";
import type { Span } from "../syntax/ast.ts";
import { Sym } from "../types/size.ts";
import type { Builder, Node, Op, Value } from "./node.ts";

/** Thrown by `infer` if types do not fit; the message speaks of types only. The checker adds the span and the remedy. */
export class TypeMismatch extends Error {}

export class GraphBuilder implements Builder {
  readonly #known = new Map<string, Node>();
  readonly #ops = new Map<string, Op>();
  /** By id. */
  readonly #nodes: Node[] = [];
  /** The source span recorded in the nodes that are added now; null: none. */
  span: Span | null = null;

  /** `ops`: the op records, which can then be found by name. */
  constructor(ops: readonly Op[]) {
    for (const op of ops) this.#ops.set(op.name, op);
  }

  op(name: string): Op {
    const found = this.#ops.get(name);
    if (!found) throw new Bug(`no op is called ${name}`);
    return found;
  }

  /** The node of `op` on `args`, reused if an equal one exists. Throws TypeMismatch if the types do not fit. */
  add<A>(op: Op<A>, args: readonly Value[], attrs: A): Node<A> {
    const key = `${op.name}(${args.map((a) => `${a.node.id}.${a.index}`).join()})${attrsKey(attrs)}`;
    const old = this.#known.get(key);
    if (old) return old as Node<A>;
    const types = op.infer(
      args.map((a) => a.type),
      attrs,
    );
    const results: Value[] = [];
    const node: Node<A> = { id: this.#nodes.length, op, args, attrs, results, span: this.span };
    types.forEach((type, index) => results.push({ node, index, type }));
    this.#known.set(key, node);
    this.#nodes.push(node);
    return node;
  }
  withArgs(node: Node, args: readonly Value[]): Node {
    const isOwn = this.#nodes[node.id] === node && args.every((a, i) => a === node.args[i]);
    return isOwn ? node : this.add(node.op, args, node.attrs);
  }
}

/** A key that is equal for equal attributes. Attributes are immutable, so each object is serialized once. */
const attrsKey = (attrs: unknown): string =>
  typeof attrs !== "object" || attrs === null ? JSON.stringify(attrs) : keyOf(attrs);
const keyOf = memoize((attrs: object): string => JSON.stringify(attrs, (_, value: unknown) => written(value)));
/** Serializes what JSON cannot: sizes by the ids of their atoms, and -0, NaN and infinities. */
function written(value: unknown): unknown {
  if (value instanceof Sym)
    return { size: value.terms.map((t) => [t.num, t.den, t.powers.map(([a, e]) => [a.id, e])]) };
  if (Object.is(value, -0)) return { number: "-0" };
  return typeof value === "number" && !Number.isFinite(value) ? { number: String(value) } : value;
}
