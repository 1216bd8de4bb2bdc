// What the checker knows of one text, and the nodes of its syntax tree around a position.
import { trainingErrors } from "../../compiler/check/entry/trainable.ts";
import { check, type Loaded, load, type Resolve } from "../../compiler/check/index.ts";
import { isLibrary } from "../../compiler/check/library.ts";
import type { Val } from "../../compiler/check/values.ts";
import type { Diagnostic } from "../../compiler/diagnostic.ts";
import type * as ast from "../../compiler/syntax/ast.ts";

/** Parsed at once; checked when something is asked of it: for an expression's value its own declaration, for errors all. */
export class Analysis {
  readonly loaded: Loaded;
  /** The value of each expression of the text. */
  readonly values = {
    get: (e: ast.Expr): Val | undefined => {
      this.#checkAround(e);
      return this.#values.get(e);
    },
  };
  readonly #values = new Map<ast.Expr, Val>();
  readonly #checked = new Set<ast.Declaration>();
  /** Null: not all is checked yet. */
  #types: readonly Diagnostic[] | null = null;
  readonly #training: Diagnostic[] = [];
  /** What is left of the training steps; null: nothing. To elaborate them takes many times as long as the rest. */
  #pending: Iterator<readonly Diagnostic[], void> | null = null;

  constructor(source: ast.Source, resolve: Resolve) {
    this.loaded = load(source, resolve);
  }
  #checkAround({ span: { source, start } }: ast.Expr): void {
    if (this.#types || isLibrary(source)) return;
    const module = this.loaded.modules.find(({ program }) => program.span.source === source);
    const around = module?.program.declarations.find(({ span }) => span.start <= start && start < span.end);
    if (!around || this.#checked.has(around)) return;
    this.#checked.add(around); // also if it fails
    check(this.loaded, (e, value) => this.#note(e, value), around);
  }
  /** Of the values that members under different conditions give an expression, the first. */
  #note(e: ast.Expr, value: Val): void {
    if (this.#values.get(e)?.kind !== undefined && this.#values.get(e)?.kind !== "error") return;
    this.#values.set(e, value);
  }
  #checkTypes(): readonly Diagnostic[] {
    if (this.#types) return this.#types;
    this.#types = []; // and stays so if it fails
    this.#types = check(this.loaded, (e, value) => this.#note(e, value));
    if (this.#types.length === 0) this.#pending = trainingErrors(this.loaded);
    return this.#types;
  }
  get incomplete(): boolean {
    this.#checkTypes();
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
  /** Of all declarations, and of the training steps elaborated so far. */
  get diagnostics(): readonly Diagnostic[] {
    return [...this.#checkTypes(), ...this.#training];
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
