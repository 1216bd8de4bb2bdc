// The state of one run of the evaluator: checking a program, or elaborating one entry.
import { Bug, type Diagnostic, Problem } from "../diagnostic.ts";
import { GraphBuilder } from "../graph/builder.ts";
import type { Value } from "../graph/node.ts";
import { make1 } from "../ops/build.ts";
import { ops } from "../ops/list.ts";
import type { Declaration, Expr, Member, Name, Selector, Span, State, Stmt } from "../syntax/ast.ts";
import type { Element } from "../types/dtype.ts";
import type { Atom, Size } from "../types/size.ts";
import { sameType, showType, type Type } from "../types/type.ts";
import { Choices } from "./choices.ts";
import { Failure, fail } from "./errors.ts";
import { type Callable, type Declared, type Frame, type Module, type Scope, type Slot, type Val } from "./values.ts";

export interface Reported {
  readonly path: string;
  readonly name: string;
  readonly value: Value;
}
/** What an entry reports besides its results. */
interface Effects {
  readonly losses: Reported[];
  readonly metrics: Reported[];
}

export interface Options {
  readonly checking: boolean;
  /** The dtype of `float` where no signature determines it. */
  readonly floatDType: Element;
  /** The dtype of `f32`: f64 if the precision is f64. */
  readonly f32: Element;
  /** The dtype in which a `float` parameter is stored. */
  readonly parameterDType: Element;
  /** The flags `training` and `generating`; null while checking, when both are possible. */
  readonly training: boolean | null;
  readonly generating: boolean | null;
  readonly g: GraphBuilder;
  /** While elaborating: the arrays of layers that calls were found to pick from, besides those that `isStack` tells. */
  readonly stacks: ReadonlySet<Member>;
}
export const checkingOptions = (): Options => ({
  checking: true,
  floatDType: "float",
  f32: "f32",
  parameterDType: "float",
  training: null,
  generating: null,
  g: new GraphBuilder(ops),
  stacks: new Set(),
});

/** A statement `optimize SELECTORS with OPTIMIZER`. `optimizer` null (`with none`): frozen. */
export interface OptimizeLine {
  readonly selectors: readonly Selector[];
  readonly optimizer: Extract<Val, { kind: "optimizer" }> | null;
  readonly span: Span;
}
/** An argument of a call; `name` null: given by position. */
export interface CallArgument {
  readonly name: Name | null;
  readonly value: Val;
  readonly span: Span;
}
/** A call: its arguments, where it stands, and the type that it is declared to have, if any. */
export interface Call {
  readonly given: readonly CallArgument[];
  readonly from: Frame;
  readonly at: Span;
  readonly want: Type | null;
}
/** The mutually recursive parts of the evaluator. They are passed to World, so that modules need not import each other in a cycle. */
export interface Evaluator {
  evaluate(w: World, e: Expr, scope: Scope, want: Type | null): Val;
  call(w: World, fn: Callable, call: Call): Val;
  execute(w: World, body: readonly Stmt[], scope: Scope): boolean;
}
/** Makes one of several equal calls: `evaluator/equal-calls.ts`. */
export interface EqualCalls {
  /** What `run` gives, which makes the call; if an equal call was made before, values of the types that it gave. */
  call(fn: Extract<Callable, { kind: "method" }>, call: Call, run: () => Val): Val;
  /** A state is given `value`. */
  wrote(value: Value): void;
  /** From now on every call is made: something was done that is the call's own, or a state may hold what errors depend on. */
  end(): void;
}

const maxSteps = 250_000;

export class World {
  readonly options: Options;
  readonly g: GraphBuilder;
  readonly checking: boolean;
  readonly diagnostics: Diagnostic[] = [];
  readonly effects: Effects = { losses: [], metrics: [] };
  /** While checking: which body calls which, to find recursion. */
  readonly calls = new Map<object, Map<object, Span>>();
  /** While elaborating: the calls being inlined, outermost first. */
  readonly stack: { readonly body: object; readonly at: Span; readonly name: string }[] = [];
  readonly scopes = new Map<Module, Scope>();
  /** While checking: the defaults of header sizes, where they are expressions of other sizes. */
  readonly sizeDefaults = new Map<Atom, Size>();
  /** While elaborating: the `optimize` statements, in order. */
  readonly optimizeLines: OptimizeLine[] = [];
  /** While checking: remedies for errors about the shape of a routed call's result, by that shape; see rows.ts. */
  readonly shapeHelp = new WeakMap<readonly Size[], string>();
  /**
   * While elaborating: the float tensors that enter a call of a layer of an array (`blocks[2](x)`) and those that leave it, call after call. Calls
   * inside such a call, and in experts, are not among them.
   */
  readonly layerBoundaries: (readonly Value[])[] = [];
  /** Whether a call of a layer of an array is being elaborated. */
  insideLayerCall = false;
  /** While checking: what this run over a declaration assumes of the conditions that choose among members. */
  choices = new Choices();
  /** While checking a declaration: the calls that stand alone and were found to do something. */
  readonly useful = new Set<Expr>();
  /** While checking: told of the value of each expression, for editors. Set for each declaration. */
  onValue: (e: Expr, value: Val) => void = () => {};
  /** The declarations whose headers are being filled in, one within the other. */
  readonly filling = new Set<Declaration>();
  /** While elaborating an optimizer: the sum of `s` over all trained parameters; set by `optimizerStep`. */
  total: (s: Value, at: Span) => Value = (_, at) =>
    fail("E0504", "`total` stands in optimizers only", at, { help: "use `sum`" });
  /** While elaborating: the parameter that is stored under this name, with where it is declared; null: none is. Set for each entry. */
  parameter: (store: string) => { readonly span: Span | null } | null = () => null;
  /** While elaborating: the sizes in the header of what is compiled that have this value. Set for each entry. */
  headerSizes: (value: number) => readonly string[] = () => [];
  /** While elaborating: how many experts of an array are shadowed, of how many, for so many choices. Set for each entry. */
  shadow: (experts: number, choices: number) => number = () => 0;
  /** While elaborating to find errors only: equal calls are made once. Set for each entry. */
  equalCalls: EqualCalls | null = null;
  #fresh = 0;
  #stepCount = 0;
  readonly #evaluator: Evaluator;
  /** While elaborating: makes or finds the state that a method declares. Set for each entry. */
  localState: (stmt: State, type: Type, scope: Scope) => Slot = () => {
    throw new Bug("no entry is being elaborated");
  };

  constructor(options: Options, evaluator: Evaluator) {
    this.options = options;
    this.#evaluator = evaluator;
    this.g = options.g;
    this.checking = options.checking;
  }
  /** Counts executed statements and members, up to `maxSteps`: nested loops, calls and layers can multiply a short program beyond any limit. */
  countStep(): void {
    if (this.checking || ++this.#stepCount <= maxSteps) return;
    throw new Problem(
      `the program is too large: written out it has more than ${maxSteps} statements and members`,
      "give its loops fewer turns, its layers fewer layers inside, and its functions fewer calls of one another",
    );
  }
  recordCall(from: object, to: object, at: Span): void {
    const known = this.calls.get(from) ?? new Map<object, Span>();
    this.calls.set(from, known);
    if (!known.has(to)) known.set(to, at);
  }
  /** A value of which only the type is known: a leaf with a unique name. */
  placeholder(type: Type): Value {
    return make1(this.g, "param", [], { store: `?${this.#fresh++}`, type });
  }
  /** The declaration in a hole of a template; `scope` determines the template. */
  hole(index: number, scope: Scope): Declared | null {
    const root = scope.root();
    const module = [...this.scopes].find(([, known]) => known === root)?.[0];
    return module?.holes.get(index) ?? null;
  }
  /** While checking, a placeholder of `type`, which the checker's rule gives. While elaborating, what `build` makes, which must have that type. */
  make(type: Type, build: () => Value): Value {
    if (this.checking) return this.placeholder(type);
    const value = build();
    if (!sameType(value.type, type))
      throw new Bug(`the checker says ${showType(type)}, ${value.node.op.name} is ${showType(value.type)}`);
    return value;
  }
  /** While checking, records the error that `run` throws and returns `otherwise`. While elaborating, errors end the run. */
  guard(run: () => void): void;
  guard<T>(run: () => T, otherwise: T): T;
  guard<T>(run: () => T, otherwise?: T): T | undefined {
    if (!this.checking) return run();
    try {
      return run();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      if (error.diagnostic) this.diagnostics.push(error.diagnostic);
      return otherwise;
    }
  }
  /** While checking, runs what may fail: whether it came to its end, and the errors that it found, which are not reported. */
  trial(run: () => unknown): { readonly ended: boolean; readonly errors: readonly Diagnostic[] } {
    const [before, depth] = [this.diagnostics.splice(0), this.stack.length];
    const ended = this.guard(() => {
      run();
      return true;
    }, false);
    this.stack.length = depth;
    const errors = this.diagnostics.splice(0, Number.POSITIVE_INFINITY, ...before);
    return { ended, errors };
  }
  /** The value of an expression; `want`: the type that it is declared to have, if any. */
  evaluate(e: Expr, scope: Scope, want: Type | null = null): Val {
    const value = this.#evaluator.evaluate(this, e, scope, want);
    this.onValue(e, value);
    return value;
  }
  call(fn: Callable, call: Call): Val {
    return this.#evaluator.call(this, fn, call);
  }
  /** Runs statements. Returns whether every path through them ends with `return`. */
  execute(body: readonly Stmt[], scope: Scope): boolean {
    return this.#evaluator.execute(this, body, scope);
  }
  resolve(t: Element, scope: Scope): Element {
    return t === "float" ? scope.frame.float : t === "f32" ? this.options.f32 : t;
  }
}
