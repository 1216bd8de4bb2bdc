// Builds the optimizer step. Each parameter is updated by the first `apply` that fits its type; for a stack, `apply` is elaborated for one copy and
// mapped over all.
import { Bug } from "../diagnostic.ts";
import { mapGraph } from "../graph/map.ts";
import type { Mapped, Result, Store, Value } from "../graph/node.ts";
import { rebuild, topological } from "../graph/walk.ts";
import { item } from "../item.ts";
import * as b from "../ops/build.ts";
import type * as ast from "../syntax/ast.ts";
import { product } from "../types/numbers.ts";
import { dims, dtypeOf, showType, type Type, type } from "../types/type.ts";
import { absorb, Failure, fail } from "./errors.ts";
import { newFrame } from "./frames.ts";
import type { RegisteredStore, Stores } from "./storage.ts";
import { castTo } from "./tensor.ts";
import { bindNames } from "./unify.ts";
import { type Lane, Scope, type Slot, tensor } from "./values.ts";
import type { OptimizeLine, World } from "./world.ts";

type Optimizer = NonNullable<OptimizeLine["optimizer"]>;
export interface TrainedParameter {
  readonly at: RegisteredStore;
  readonly optimizer: Optimizer;
  readonly span: ast.Span;
}

/** The names that an optimizer's methods see: its header values, and each other. */
export function optimizerScope(optimizer: Optimizer): Scope {
  const scope = new Scope(optimizer.header.frame, optimizer.header);
  for (const method of optimizer.decl.ast.methods)
    if (method.name.name !== "apply")
      scope.set(method.name.name, { kind: "fn", fn: { kind: "helper", scope, method } });
  return scope;
}

/** The new contents of all trained parameters and of the optimizer states. */
export function optimizerStep(
  w: World,
  stores: Stores,
  trained: readonly TrainedParameter[],
  grads: ReadonlyMap<string, Value>,
): Result[] {
  const { totals, finished, borrowed } = collectTotals(w, stores, trained, grads);
  const results = trained.flatMap((t) => {
    w.total = inPlaces((_, place, at) => totals.get(place) ?? bugAt(at));
    return finished.get(t)?.() ?? new ParameterStep(w, stores, t, grads).results();
  });
  for (const state of borrowed) if (!stores.all.has(state.name)) failState(state);
  return results;
}
const bugAt = (at: ast.Span): never => {
  throw new Bug(`a total was not collected at ${at.start}`);
};
/**
 * `World.total` for one run of an `apply`. `place` tells apart what stands at one location of the text and is reached several times, in a loop or in a
 * function that is called twice: the first one of each parameter is a term of the first total, and so on.
 */
function inPlaces(total: (s: Value, place: string, at: ast.Span) => Value): World["total"] {
  const reached = new Map<string, number>();
  return (s, at) => {
    const location = `${at.source.name}:${at.start}`;
    const before = reached.get(location) ?? 0;
    reached.set(location, before + 1);
    return total(s, `${location} ${before}`, at);
  };
}

/** The terms of one `total(...)` that is reached, by parameter. */
interface Total {
  readonly terms: Map<RegisteredStore, Value>;
  readonly optimizer: Optimizer;
  /** The `apply` that contains the `total`, or calls the method that does. */
  readonly method: ast.Method;
  readonly at: ast.Span;
}
interface Collected {
  /** By place; see `inPlaces`. */
  readonly totals: ReadonlyMap<string, Value>;
  /** The results of the parameters whose `apply` reaches no total. */
  readonly finished: ReadonlyMap<TrainedParameter, () => Result[]>;
  readonly borrowed: readonly BorrowedState[];
}
/** A state that the term of a parameter is made of whose own `apply` does not reach the total, and may not have that state. */
interface BorrowedState {
  readonly name: string;
  readonly of: TrainedParameter;
  readonly total: Total;
}
/**
 * The value of each `total(...)`: the sum of its terms over all trained parameters. For a parameter whose own `apply` does not reach it, the term
 * is computed by the `apply` in which the total occurs.
 */
function collectTotals(
  w: World,
  stores: Stores,
  trained: readonly TrainedParameter[],
  grads: ReadonlyMap<string, Value>,
): Collected {
  const totals = new Map<string, Total>();
  const standsFor = new Map<Value, Total>();
  const finished = new Map<TrainedParameter, () => Result[]>();
  const borrowed: BorrowedState[] = [];
  const collect = (t: TrainedParameter, first: Total | null): void => {
    const step = new ParameterStep(w, stores, first ? { ...t, optimizer: first.optimizer } : t, grads);
    const method = first ? (step.fitting(first.method) ?? failNoTerm(t, first)) : step.chosen();
    const reached = new Set<Total>();
    w.total = inPlaces((s, place, at) => {
      const total = totals.get(place) ?? { terms: new Map(), optimizer: t.optimizer, method, at };
      totals.set(place, total);
      reached.add(total);
      if (first === null || total === first) total.terms.set(t.at, step.sumOverCopies(s));
      const stand = w.placeholder(type(w.options.f32, []));
      standsFor.set(stand, total);
      return stand;
    });
    const param = step.run(method);
    const term = first?.terms.get(t.at);
    if (first && term) for (const name of step.statesIn(term)) borrowed.push({ name, of: t, total: first });
    if (reached.size === 0) finished.set(t, () => step.results(param));
  };
  for (const t of trained) collect(t, null);
  for (const total of totals.values())
    for (const t of trained) {
      if (!total.terms.has(t.at)) collect(t, total);
      if (!total.terms.has(t.at)) failNoTerm(t, total);
    }
  const sumOf = sums(w, standsFor);
  return { totals: new Map([...totals].map(([place, total]) => [place, sumOf(total)])), finished, borrowed };
}
/** Sums the terms of a total. In them, `standsFor` says what stands for which other total, whose sum takes its place. */
function sums(w: World, standsFor: ReadonlyMap<Value, Total>): (total: Total) => Value {
  const known = new Map<Total, Value | null>();
  const [oldest] = standsFor.keys();
  const sumOf = (total: Total): Value => {
    const made = known.get(total);
    if (made === null) failCircular(total);
    if (made) return made;
    known.set(total, null);
    const sum = [...total.terms.values()].reduce((x, y) => b.add(w.g, x, y));
    const nodes = topological([sum], undefined, oldest?.node.id);
    const replaced = rebuild(
      w.g,
      [sum],
      ({ results }) => {
        const of = standsFor.get(item(results, 0));
        return of ? [sumOf(of)] : null;
      },
      nodes,
    );
    const whole = item(replaced, 0);
    known.set(total, whole);
    return whole;
  };
  return sumOf;
}
function failCircular({ at }: Total): never {
  fail("E0504", "this `total` is needed for its own terms: two parameters reach it and another in opposite order", at, {
    help: "let every `apply` take its totals in the same order",
  });
}
function failState({ name, of: { at, span }, total }: BorrowedState): never {
  fail(
    "E0504",
    `this \`total\` sums over all trained parameters, and \`${at.store.name}\` has no state \`${name}\``,
    total.at,
    {
      also: [{ span, text: "trained here" }],
      help: "let it sum what is made of `param` and `grad` alone, or let one optimizer train all",
    },
  );
}
function failNoTerm({ at, span }: TrainedParameter, total: Total): never {
  fail(
    "E0504",
    `\`total\` sums over all trained parameters, and the rule that it stands in does not fit \`${at.store.name}\`: ${showType(at.type)}`,
    total.at,
    {
      also: [{ span, text: "trained here" }],
      help: "let it stand in an `apply` that fits every parameter: `apply(param: f32[...S], grad: f32[...S])`",
    },
  );
}

/** The optimizer step of one parameter. Its states become stores when `results` is called; for a stack it is elaborated for one copy. */
class ParameterStep {
  readonly #w: World;
  readonly #stores: Stores;
  readonly #trained: TrainedParameter;
  readonly #grad: Value;
  /** The number of copies in the stack; null: it is no stack. */
  readonly #copies: number | null;
  readonly #stack: readonly number[];
  /** Each copy of a stack draws random numbers of its own. */
  readonly #lane: Lane | null;
  readonly #bind = new Map<Value, Mapped>();
  readonly #states = new Map<string, { slot: Slot; made: RegisteredStore }>();

  constructor(w: World, stores: Stores, trained: TrainedParameter, grads: ReadonlyMap<string, Value>) {
    const { store } = trained.at;
    [this.#w, this.#stores, this.#trained] = [w, stores, trained];
    this.#stack = dims(store.type).slice(0, store.stack);
    this.#copies = store.stack === 0 ? null : product(this.#stack);
    this.#lane = this.#copies === null ? null : this.#laneOf(this.#copies);
    this.#grad = grads.get(store.name) ?? b.fill(w.g, 0, dtypeOf(store.type), dims(store.type));
  }
  /** `param`: the parameter's new value, which `run` returned. */
  results(param = this.run(this.chosen())): Result[] {
    const { store } = this.#trained.at;
    const states = [...this.#states].map(([name, { slot, made }]) => ({
      name,
      value: slot.read(),
      full: made.store.type,
    }));
    for (const [name, { made }] of this.#states) this.#stores.all.set(name, made);
    const all = [{ name: store.name, value: castTo(this.#w, param, store.type.dtype), full: store.type }, ...states];
    return all.map(({ name, value, full }) => ({ role: "store", name, value: this.#withStackAxes(value, full) }));
  }
  #laneOf(over: number): Lane {
    const base = this.#w.placeholder(type("i32", []));
    this.#bind.set(base, { kind: "each", value: b.iota(this.#w.g, over), over });
    return { kind: "each", base, bind: this.#bind };
  }
  /** Runs an `apply`; returns the parameter's new value. */
  run(method: ast.Method): Value {
    const [w, trained] = [this.#w, this.#trained];
    const f32 = w.options.f32;
    const { store } = trained.at;
    const param = variable(castTo(w, this.#copy(b.param(w.g, store.name, store.type)), f32));
    const grad = castTo(w, this.#copy(this.#grad), f32);
    const scope = this.#scopeOf(method);
    bindTypes(w, method, [param.read(), grad], scope);
    const [first, second] = method.params;
    if (first)
      scope.set(first.name.name, { kind: "slot", slot: param, dtype: f32, name: first.name.name, state: false });
    if (second) scope.set(second.name.name, tensor(grad));
    w.localState = (stmt, t, from) => this.#state(stmt, t, from);
    w.execute(method.body, scope.inner());
    return param.read();
  }
  /** The states, met in `run`, that a value depends on. */
  statesIn(v: Value): string[] {
    const leaves = [...this.#states].map(([name, { made }]) => b.param(this.#w.g, name, made.store.type).node);
    const read = new Set(topological([v], undefined, Math.min(...leaves.map((leaf) => leaf.id))));
    return [...this.#states.keys()].filter((_, i) => read.has(item(leaves, i)));
  }
  /** The sum of `s` over all copies. */
  sumOverCopies(s: Value): Value {
    if (this.#copies === null) return s;
    const [m] = mapGraph([s], this.#bind, this.#w.g);
    if (!m) return absorb();
    return m.kind === "uniform" ? b.mul(this.#w.g, m.value, this.#copies) : b.sum(this.#w.g, m.value);
  }
  /** `first` if it fits this parameter, else the first `apply` that does. */
  fitting(first: ast.Method | null): ast.Method | undefined {
    const { optimizer, at } = this.#trained;
    const all = optimizer.decl.ast.methods.filter((m) => m.name.name === "apply");
    return (first ? [first, ...all] : all).find((m) => fits(this.#w, m, at.type, this.#scopeOf(m)));
  }
  /** The first `apply` that fits; an error if none does. */
  chosen(): ast.Method {
    const { optimizer, at } = this.#trained;
    const found = this.fitting(null);
    if (found) return found;
    return fail(
      "E0502",
      `no \`apply\` of \`${optimizer.decl.ast.name.name}\` fits \`${at.store.name}\`: ${showType(at.type)}`,
      this.#trained.span,
      {
        also: [{ span: at.store.span ?? this.#trained.span, text: "the parameter" }],
        help: "write an `apply` for it, or give it to another optimizer: `optimize NAME with ...`",
      },
    );
  }
  #scopeOf(body: ast.Method): Scope {
    const { optimizer, at } = this.#trained;
    return optimizerScope(optimizer).within(
      newFrame(this.#w, { role: "optimizer", body, site: at.store.name, lane: this.#lane }),
    );
  }
  /** A state of this parameter's optimizer; it holds all copies of a stack. */
  #state(stmt: ast.State, t: Type, scope: Scope): Slot {
    const method = scope.frame.body?.name.name ?? "apply";
    const { store } = this.#trained.at;
    const name = `${store.name}.${method === "apply" ? "" : `${method}.`}${stmt.name.name}`;
    const known = this.#states.get(name);
    if (known) return known.slot;
    const full = type(t.dtype, [...this.#stack, ...t.shape]);
    const slot = variable(this.#copy(b.param(this.#w.g, name, full)));
    const { name: of, stack } = store;
    const own: Store = { name, role: "optimizer", type: full, stack, saved: true, of, span: stmt.span };
    this.#states.set(name, { slot, made: { store: own, type: t, init: stmt.init, scope, owner: [] } });
    return slot;
  }
  /** One copy of a stacked value, as a leaf that `bind` maps to all copies. */
  #copy(all: Value): Value {
    if (this.#copies === null) return all;
    const shape = dims(all.type).slice(this.#stack.length);
    const value = b.reshape(this.#w.g, all, [this.#copies, ...shape]);
    const leaf = this.#w.placeholder(type(all.type.dtype, shape));
    this.#bind.set(leaf, { kind: "each", value, over: this.#copies });
    return leaf;
  }
  /** The value for all copies, with the stack's axes. */
  #withStackAxes(value: Value, full: Type): Value {
    if (this.#copies === null) return value;
    const [m] = mapGraph([value], this.#bind, this.#w.g);
    if (!m) return absorb();
    return m.kind === "uniform"
      ? b.broadcastTo(this.#w.g, m.value, dims(full))
      : b.reshape(this.#w.g, m.value, dims(full));
  }
}
function variable(first: Value): Slot {
  let value = first;
  return { type: first.type, read: () => value, write: (next) => void (value = next) };
}
function bindTypes(w: World, method: ast.Method, given: readonly Value[], scope: Scope): void {
  given.forEach((value, i) => {
    const p = method.params[i];
    if (p?.type?.kind !== "tensor") return;
    bindNames(w, { type: p.type, value: tensor(value), what: p.name.name, span: p.span }, value.type.shape, scope);
  });
}
function fits(w: World, method: ast.Method, t: Type, scope: Scope): boolean {
  try {
    const any = w.placeholder(t);
    bindTypes(w, method, [any, any], scope);
    return true;
  } catch (error) {
    if (error instanceof Failure) return false;
    throw error;
  }
}
