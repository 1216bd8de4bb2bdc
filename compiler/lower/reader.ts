// Makes the expression of a value's element: recurses through elementwise ops and views, which are computed inline, down to the buffers that the
// kernel reads.
import { Bug } from "../diagnostic.ts";
import type { Node, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import type { KernelBuilder } from "../kernel/builder.ts";
import { num, scalarOf } from "../kernel/expr.ts";
import type { Expr } from "../kernel/ir.ts";
import { show } from "../kernel/print.ts";
import { dims, dtypeOf } from "../types/type.ts";

/** What a kernel knows about values. */
interface Sources {
  /** The element of a value that is in memory or in a tile; null if it must be computed. */
  element(v: Value, at: readonly Expr[]): Expr | null;
  /** Whether a value is used more than once, so that its element is bound to a variable. */
  hasManyUses(v: Value): boolean;
  /**
   * The group offsets of a ragged contraction: all rows that the kernel reads lie in these groups, so a gather by this routing needs no bounds check.
   * Else null.
   */
  readonly offsets: Value | null;
}
/** How one element of a result is computed from elements of the arguments, by the op's name. */
export type ElementRules = Readonly<Partial<Record<string, (r: Reader, node: Node, at: readonly Expr[]) => Expr>>>;
/** Makes elements of values for one kernel. An element that was made in a scope that is still open is used again. */
export class Reader {
  readonly k: KernelBuilder;
  readonly #elements: ElementRules;
  readonly offsets: Value | null;
  readonly #sources: Sources;

  constructor(k: KernelBuilder, elements: ElementRules, sources: Sources) {
    this.k = k;
    this.#elements = elements;
    this.#sources = sources;
    this.offsets = sources.offsets;
  }
  element(v: Value, at: readonly Expr[]): Expr {
    // a tensor without elements has no valid index: the loop that asks never runs
    if (shapeOf(v).includes(0)) return num(0, scalarOf(dtypeOf(v.type)));
    const key = keyOf(v, at);
    const known = this.k.recall(key);
    if (known) return known;
    const loaded = this.#sources.element(v, at);
    const x = this.#bindShared(loaded ? "t" : `t_${nameOf(v.node)}`, v, loaded ?? this.#computed(v, at));
    this.k.remember(key, x);
    return x;
  }
  /** The same, bound to a variable, which later elements that are made of it read: for a value that is stored. */
  bound(v: Value, at: readonly Expr[]): Expr {
    const x = this.element(v, at);
    if (x.e === "num" || x.e === "var") return x;
    const made = this.k.letHere(`t_${nameOf(v.node)}`, x);
    this.k.remember(keyOf(v, at), made);
    return made;
  }
  #computed(v: Value, at: readonly Expr[]): Expr {
    const make = this.#elements[v.node.op.name];
    if (!make) throw new Bug(`${v.node.op.name} is read before it is computed`);
    return make(this, v.node, at);
  }
  /** Binds x to a variable if it is shared, or if it does not change in the innermost scope (then the `let` goes outside). */
  #bindShared(name: string, v: Value, x: Expr): Expr {
    if (x.e === "num" || x.e === "var" || isIndexVariable(x) || v.node.op.lower === "view") return x;
    return this.#sources.hasManyUses(v) || this.k.depthOf(x) < this.k.depth ? this.k.let(name, x) : x;
  }
}
/** A loop's or a task's variable as a value: under another name nothing would be known of it. */
const isIndexVariable = (x: Expr): boolean => x.e === "op" && x.op === "value" && x.args[0]?.e === "var";
const keyOf = (v: Value, at: readonly Expr[]): string => `${v.node.id}.${v.index}[${at.map(show).join()}]`;
/** The op's or the function's name, for readers of the text; nothing of the program is in it. */
export const nameOf = ({ op, attrs }: Node): string =>
  ((attrs as { readonly fn?: string }).fn ?? op.name).replace(/\W/g, "");
/** `operand`: argument i of a node. `result`: its result i. */
export const operand = ({ args }: Pick<Node, "args">, i = 0): Value => item(args, i);
export const result = ({ results }: Pick<Node, "results">, i = 0): Value => item(results, i);
export const shapeOf = (v: Value): readonly number[] => dims(v.type);
