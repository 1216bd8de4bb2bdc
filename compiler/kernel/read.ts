// Element of a value at an index: walks down through points and views to the buffers that the kernel reads.
import { Bug } from "../diagnostic.ts";
import type { Node, Value } from "../graph/node.ts";
import { dims, dtypeOf } from "../types/type.ts";
import type { Builder } from "./build.ts";
import { item, num, scalarOf } from "./expr.ts";
import type { Expr } from "./ir.ts";
import { show } from "./print.ts";

/** What a kernel knows about values: which are in memory, and which are wanted by more than one of its expressions. */
interface Sources {
  /** The element of a value that the kernel does not compute itself, or null. */
  element(v: Value, at: readonly Expr[]): Expr | null;
  /** Used more than once: its element gets a name. */
  shared(v: Value): boolean;
  /** Of the groups in which all rows lie that the kernel reads: the order of that routing needs no guard. */
  readonly offsets: Value | null;
}
/** How one element of an op's result is made from elements of its arguments, by the op's name. */
export type Elements = Readonly<
  Partial<Record<string, (r: Reader, node: Node, at: readonly Expr[], result: number) => Expr>>
>;
/** Makes elements of values for one kernel; what was made in a scope that is still open is made once. */
export class Reader {
  readonly k: Builder;
  private readonly elements: Elements;
  readonly offsets: Value | null;
  private readonly sources: Sources;

  constructor(k: Builder, elements: Elements, sources: Sources) {
    this.k = k;
    this.elements = elements;
    this.sources = sources;
    this.offsets = sources.offsets;
  }
  element(v: Value, at: readonly Expr[]): Expr {
    // of a tensor without elements no index is one: the loop that asks has no rounds
    if (shapeOf(v).includes(0)) return num(0, scalarOf(dtypeOf(v.type)));
    const key = `${v.node.id}.${v.index}[${at.map(show).join()}]`;
    const known = this.k.recall(key);
    if (known) return known;
    const loaded = this.sources.element(v, at);
    const x = this.named(loaded ? "t" : `t_${nameOf(v.node)}`, v, loaded ?? this.computed(v, at));
    this.k.remember(key, x);
    return x;
  }
  private computed(v: Value, at: readonly Expr[]): Expr {
    const make = this.elements[v.node.op.name];
    if (!make) throw new Bug(`${v.node.op.name} is read before it is computed`);
    return make(this, v.node, at, v.index);
  }
  /** A name for what is used again, and for what need not be computed for every lane. */
  private named(name: string, v: Value, x: Expr): Expr {
    if (x.e === "num" || x.e === "var" || v.node.op.lower === "view") return x;
    return this.sources.shared(v) || this.k.depthOf(x) < this.k.depth ? this.k.let(name, x) : x;
  }
}
/** A name from moec's own words, for readers of the text. */
export const nameOf = ({ op, attrs }: Node): string =>
  ((attrs as { readonly fn?: string }).fn ?? op.name).replace(/\W/g, "");
/** Argument `i` of a node, and its result `i`. */
export const operand = ({ args }: Pick<Node, "args">, i = 0): Value => item(args, i);
export const result = ({ results }: Pick<Node, "results">, i = 0): Value => item(results, i);
export const shapeOf = (v: Value): readonly number[] => dims(v.type);
