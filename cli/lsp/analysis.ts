// What the checker knows of one text, and the nodes of its syntax tree around a position.

import { trainingErrors } from "../../compiler/check/entry/trainable.ts";
import { check, type Loaded, load, type Resolve } from "../../compiler/check/index.ts";
import type { Val } from "../../compiler/check/values.ts";
import type { Diagnostic } from "../../compiler/diagnostic.ts";
import type * as ast from "../../compiler/syntax/ast.ts";

export class Analysis {
  readonly loaded: Loaded;
  readonly values = new Map<ast.Expr, Val>();
  readonly #types: readonly Diagnostic[];
  readonly #training: Diagnostic[] = [];
  /** What is left of the training steps; null: nothing. To elaborate them takes many times as long as the rest. */
  #pending: Iterator<readonly Diagnostic[], void> | null;

  constructor(source: ast.Source, resolve: Resolve) {
    this.loaded = load(source, resolve);
    this.#types = check(this.loaded, (e, value) => this.values.set(e, value));
    this.#pending = this.#types.length === 0 ? trainingErrors(this.loaded) : null;
  }
  get incomplete(): boolean {
    return this.#pending !== null;
  }
  /** Makes one elaboration of a training step. */
  advance(): void {
    const pending = this.#pending;
    this.#pending = null; // and stays so if it fails
    const next = pending?.next();
    if (!next || next.done) return;
    this.#training.push(...next.value);
    this.#pending = pending;
  }
  get diagnostics(): readonly Diagnostic[] {
    return [...this.#types, ...this.#training];
  }
}

export type Node =
  | ast.Program
  | ast.Import
  | ast.Declaration
  | ast.HeaderParam
  | ast.MemberOrIf
  | ast.TypeExpr
  | ast.ArrowType
  | ast.Stmt
  | ast.Range
  | ast.Selector
  | ast.Expr
  | ast.Spread
  | ast.Arg
  | ast.IndexItem
  | ast.Name;

const isNode = (value: unknown): value is Node => typeof value === "object" && value !== null && "span" in value;
/** The nodes around an offset, outermost first. At the end of a word, that word is meant. */
export function pathAt(node: Node, offset: number): Node[] {
  const around = Object.values(node)
    .flat()
    .filter(isNode)
    .filter(({ span }) => span.start <= offset && offset <= span.end);
  const child = around.find(({ span }) => offset < span.end) ?? around[0];
  return child ? [node, ...pathAt(child, offset)] : [node];
}
