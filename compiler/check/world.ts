// One run of the evaluator: checking a program, or elaborating one entry of it.
import { Bug, type Diagnostic, Problem } from "../diagnostic.ts";
import { GraphBuilder } from "../graph/builder.ts";
import type { Value } from "../graph/node.ts";
import { make1 } from "../ops/build.ts";
import { ops } from "../ops/list.ts";
import type { Expr, Name, Selector, Span, State, Stmt } from "../syntax/ast.ts";
import { isFloat } from "../types/dtype.ts";
import type { Atom, Size } from "../types/size.ts";
import { sameType, showType, type Type } from "../types/type.ts";
import { Failure, fail } from "./errors.ts";
import {
  type Callable,
  type Declared,
  type Element,
  type Frame,
  type Module,
  type Scope,
  type Slot,
  type Val,
} from "./values.ts";

export interface Reported {
  readonly path: string;
  readonly name: string;
  readonly value: Value;
}
/** What a world's entry sets besides its results, and where it is kept. */
interface Effects {
  readonly losses: Reported[];
  readonly metrics: Reported[];
}

export interface Options {
  readonly checking: boolean;
  /** `float` outside of any signature. */
  readonly working: Element;
  /** What `f32` means: f64 where all floats are. */
  readonly f32: Element;
  /** How a `float` parameter is stored. */
  readonly master: Element;
  readonly training: boolean | null;
  readonly generating: boolean | null;
  readonly g: GraphBuilder;
}
export const checkingOptions = (): Options => ({
  checking: true,
  working: "float",
  f32: "f32",
  master: "float",
  training: null,
  generating: null,
  g: new GraphBuilder(ops),
});

/** `optimize SELECTORS with OPTIMIZER`; `optimizer` null: frozen. */
export interface OptimizeLine {
  readonly selectors: readonly Selector[];
  readonly optimizer: Extract<Val, { kind: "optimizer" }> | null;
  readonly where: Span;
}
/** An argument of a call. */
export interface Given {
  readonly name: Name | null;
  readonly value: Val;
  readonly span: Span;
}
/** The parts of the evaluator that call each other; given to the world, so that none imports another in a circle. */
export interface Evaluator {
  evaluate(w: World, e: Expr, scope: Scope, want: Type | null): Val;
  call(w: World, fn: Callable, given: readonly Given[], from: Frame, at: Span, want: Type | null): Val;
  execute(w: World, body: readonly Stmt[], scope: Scope): boolean;
}

const mostDone = 250_000;

export class World {
  readonly options: Options;
  readonly g: GraphBuilder;
  readonly checking: boolean;
  readonly diagnostics: Diagnostic[] = [];
  readonly effects: Effects = { losses: [], metrics: [] };
  /** Checking: who calls whom, to find recursion. */
  readonly calls = new Map<object, Map<object, Span>>();
  /** Elaborating: the calls that led here, outermost first. */
  readonly stack: { readonly body: object; readonly at: Span; readonly name: string }[] = [];
  readonly scopes = new Map<Module, Scope>();
  /** Checking: what a header's sizes are by default, where that is made of others. */
  readonly usual = new Map<Atom, Size>();
  /** Elaborating: what `optimize` says, in order. */
  readonly lines: OptimizeLine[] = [];
  /** Checking: by the shape of a routed call's result, what to do if it does not fit. See rows.ts. */
  readonly whole = new WeakMap<readonly Size[], string>();
  /** Headers being filled in, one inside the other. */
  depth = 0;
  /** Elaborating an optimizer: the sum of `s` over all trained parameters. */
  total: (s: Value, at: Span) => Value = (_, at) =>
    fail("E0504", "`total` stands in optimizers only", at, { help: "use `sum`" });
  private fresh = 0;
  private done = 0;
  private readonly parts: Evaluator;
  /** Elaborating: where a method's own states are. Set for each entry. */
  localState: (stmt: State, type: Type, scope: Scope) => Slot = () => {
    throw new Bug("no entry is being elaborated");
  };

  constructor(options: Options, parts: Evaluator) {
    this.options = options;
    this.parts = parts;
    this.g = options.g;
    this.checking = options.checking;
  }
  /** Told of each statement and member: elaborating, loops, calls and layers inside one another may multiply a short text to what never ends. */
  carryOut(): void {
    if (this.checking || ++this.done <= mostDone) return;
    throw new Problem(
      `the program is too large: written out it has more than ${mostDone} statements and members`,
      "give its loops fewer turns, its layers fewer layers inside, and its functions fewer calls of one another",
    );
  }
  recordCall(from: object, to: object, at: Span): void {
    const known = this.calls.get(from) ?? new Map<object, Span>();
    this.calls.set(from, known);
    if (!known.has(to)) known.set(to, at);
  }
  /** A value of which only the type is known. */
  placeholder(type: Type): Value {
    return make1(this.g, "param", [], { store: `?${this.fresh++}`, type });
  }
  /** What a hole of a template holds; `scope` says whose. */
  hole(index: number, scope: Scope): Declared | null {
    const root = scope.root();
    const module = [...this.scopes].find(([, known]) => known === root)?.[0];
    return module?.holes.get(index) ?? null;
  }
  /** A value of the type that the checker's rule gives: only that while checking, made by `build` while elaborating. */
  made(type: Type, build: () => Value): Value {
    if (this.checking) return this.placeholder(type);
    const value = build();
    if (!sameType(value.type, type))
      throw new Bug(`the checker says ${showType(type)}, ${value.node.op.name} is ${showType(value.type)}`);
    return value;
  }
  /** Reports what `run` throws and goes on with `otherwise`; elaborating, the first error ends all. */
  guard<T>(run: () => T, otherwise: T): T {
    if (!this.checking) return run();
    try {
      return run();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      if (error.diagnostic) this.diagnostics.push(error.diagnostic);
      return otherwise;
    }
  }
  /** The value of an expression; `want` is the type that it is declared to have. */
  evaluate(e: Expr, scope: Scope, want: Type | null = null): Val {
    return this.parts.evaluate(this, e, scope, want);
  }
  call(fn: Callable, given: readonly Given[], from: Frame, at: Span, want: Type | null = null): Val {
    return this.parts.call(this, fn, given, from, at, want);
  }
  /** Runs statements; whether all ways through them return. */
  execute(body: readonly Stmt[], scope: Scope): boolean {
    return this.parts.execute(this, body, scope);
  }
  resolve(t: Element, scope: Scope): Element {
    return t === "float" ? scope.frame.float : t === "f32" ? this.options.f32 : t;
  }
}

const widths: Readonly<Record<Element, number>> = { bool: 0, i32: 1, bf16: 2, float: 3, f32: 4, f64: 5 };
/** The wider side; integers and booleans become the float they meet. */
export const wider = (a: Element, b: Element): Element => (widths[a] >= widths[b] ? a : b);
export const floating = (t: Element): boolean => isFloat(t);
