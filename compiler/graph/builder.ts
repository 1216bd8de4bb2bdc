// Adds nodes to a graph. Nodes are interned: an equal node is the same object, so common subexpressions exist once.
import { Bug } from "../diagnostic.ts";
import type { Span } from "../syntax/ast.ts";
import { Sym } from "../types/size.ts";
import type { Builder, Node, Op, Value } from "./node.ts";

/** Thrown by `infer` if types do not fit; the message speaks of types only. The checker adds the span and the remedy. */
export class TypeMismatch extends Error {}

export class GraphBuilder implements Builder {
  readonly #known = new Map<string, Node>();
  /** The number of each op with its attributes, by its name and their key. */
  readonly #forms = new Map<string, number>();
  readonly #ops = new Map<string, Op>();
  /** By id. */
  readonly #nodes: Node[] = [];
  /** The form of each node, by its id. */
  readonly #formOf: number[] = [];
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
    const text = `${op.name} ${keyOf(attrs)}`;
    const form = this.#forms.get(text) ?? this.#forms.size;
    this.#forms.set(text, form);
    return this.#intern(op, args, attrs, form);
  }
  withArgs(node: Node, args: readonly Value[]): Node {
    if (this.#nodes[node.id] !== node) return this.add(node.op, args, node.attrs);
    if (args.every((a, i) => a === node.args[i])) return node;
    return this.#intern(node.op, args, node.attrs, this.#formOf[node.id] ?? -1);
  }
  #intern<A>(op: Op<A>, args: readonly Value[], attrs: A, form: number): Node<A> {
    let key = String(form);
    for (const { node, index } of args) key += ` ${node.id}.${index}`;
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
    this.#formOf.push(form);
    return node;
  }
}

/** A key that is equal for equal attributes: as JSON, but with -0, NaN, infinities, and sizes by the ids of their atoms. */
function keyOf(value: unknown): string {
  if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value);
  if (typeof value !== "object" || value === null)
    return typeof value === "string" ? JSON.stringify(value) : String(value);
  if (value instanceof Sym)
    return `size${keyOf(value.terms.map((t) => [t.num, t.den, t.powers.map(([a, e]) => [a.id, e])]))}`;
  if (Array.isArray(value)) return `[${value.map(keyOf).join()}]`;
  let fields = "";
  for (const [name, field] of Object.entries(value)) if (field !== undefined) fields += `${name}:${keyOf(field)},`;
  return `{${fields}}`;
}
