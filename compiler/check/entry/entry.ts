// Elaborates one entry: calls a method or function once, with its inputs as leaves of the graph.
import { Bug, Problem } from "../../diagnostic.ts";
import { type GraphBuilder, TypeMismatch } from "../../graph/builder.ts";
import { type Graph, type Result, type Store, unstackedStore, type Value } from "../../graph/node.ts";
import * as b from "../../ops/build.ts";
import { ProgramError } from "../../program-error.ts";
import type * as ast from "../../syntax/ast.ts";
import { dims, showType, type Type } from "../../types/type.ts";
import { didYouMean, Failure, fail, textOf } from "../errors.ts";
import { MadeOnce } from "../evaluator/equal-calls.ts";
import { evaluator } from "../evaluator/evaluator.ts";
import { moduleScope, newFrame } from "../frames.ts";
import { fillHeader } from "../headers.ts";
import { makeInstance, memberOf, registerAll } from "../layers.ts";
import type { Loaded } from "../modules.ts";
import { nothingToTrain, selectorHelp, selects } from "../optimize.ts";
import { optimizerStep, type TrainedParameter } from "../optimizer.ts";
import { isLayer, isMerged } from "../origin.ts";
import type { RegisteredStore, Stores } from "../storage.ts";
import { isCapital, typeOf } from "../types.ts";
import { type Callable, type Declared, type Instance, resultList, type Scope, tensor } from "../values.ts";
import { type CallArgument, type OptimizeLine, type Options, type Reported, World } from "../world.ts";
import { findDeclaration, findMethod, methodsCalled } from "./entry-signature.ts";
import { mergeLayers } from "./merge.ts";
import { type EntryRequest, generates, type Request, RequestedValues, trains } from "./request.ts";

/** The result of elaborating one entry. */
export interface ElaboratedEntry {
  readonly name: string;
  readonly method: string;
  /** For a `train` without gradients and optimizer, which `training` adds. */
  readonly graph: Graph;
  readonly inputs: readonly { readonly name: string; readonly store: Store }[];
  readonly losses: readonly Reported[];
  /** null: the entry is not trained. */
  readonly training: Training | null;
}
export interface Training {
  /** The sum of all losses, which is differentiated. */
  readonly total: Value;
  /** The trained stores, each with the value to take the gradient with respect to. */
  readonly trainable: readonly { readonly store: Store; readonly value: Value }[];
  /** The float tensors that enter and leave the calls of layers of an array, in order: `World.layerBoundaries`. */
  readonly boundaries: readonly (readonly Value[])[];
  /** The optimizer step: the new contents of parameters and optimizer states, given the gradients by name of the store. */
  update(grads: ReadonlyMap<string, Value>): Result[];
}
/** What all entries of one program share. */
export interface ElaborationState {
  readonly loaded: Loaded;
  readonly request: Request;
  readonly g: GraphBuilder;
  /** See `Options.stacks`. */
  readonly stacks: ReadonlySet<ast.Member>;
  readonly stores: Stores;
  readonly inputs: Store[];
}
/** Turns a Failure into the ProgramError that callers of elaboration expect. */
export function asProgramErrors<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof Failure && error.diagnostic) throw new ProgramError([error.diagnostic]);
    throw error;
  }
}
/** The options of an entry. If any entry trains, parameters are stored in f32 (`parameterDType`) even where the working precision is narrower. */
export function optionsOf(
  { request, g, stacks }: ElaborationState,
  flags: { training: boolean; generating: boolean },
): Options {
  const { precision } = request;
  const f32 = precision === "f64" ? "f64" : "f32";
  const parameterDType = request.entries.some(trains) ? f32 : precision;
  return { checking: false, floatDType: precision, f32, parameterDType, g, stacks, ...flags };
}

export class EntryElaborator {
  readonly #shared: ElaborationState;
  readonly #entry: EntryRequest;
  readonly #w: World;
  readonly #decl: Declared;
  readonly #requested: RequestedValues;
  readonly #generates: boolean;

  constructor(shared: ElaborationState, entry: EntryRequest) {
    [this.#shared, this.#entry] = [shared, entry];
    this.#decl = findDeclaration(shared.loaded, shared.request.declaration);
    this.#requested = new RequestedValues(this.#decl, shared.request, entry);
    this.#generates = generates(entry, this.#decl);
    this.#w = new World(optionsOf(shared, { training: trains(entry), generating: this.#generates }), evaluator);
    this.#w.localState = (stmt, t, scope) => this.#localState(stmt, t, scope);
    if (shared.request.shadowed && !this.#generates) this.#w.shadow = shared.request.shadowed;
    if (shared.request.checks) this.#w.equalCalls = new MadeOnce(this.#w);
    this.#w.parameter = (name) => shared.stores.parameter(name);
    shared.stores.current.clear();
  }

  elaborate(): ElaboratedEntry {
    const [w, entry, decl] = [this.#w, this.#entry, this.#decl];
    if (isMergeEntry(decl, entry.method)) return this.#merge();
    const callable = decl.ast.kind === "fn" ? this.#functionEntry(decl as Declared<ast.Fn>) : this.#methodEntry();
    this.#requested.checkNames();
    const inputs: { name: string; store: Store }[] = [];
    const given = callable.params.flatMap((p) => this.#given(p, callable.scope, inputs));
    const value = withSizeErrors(() =>
      w.call(callable.fn, { given, from: newFrame(w, { role: "header", site: "" }), at: callable.at, want: null }),
    );
    const outputs = resultList(value).map(
      (v, i): Result => ({ role: "output", name: String(i), value: v.kind === "tensor" ? v.value : failNotTensor() }),
    );
    // nobody asks for the losses and metrics of generated tokens
    const reported = this.#generates ? [] : [...lossResults(w), ...metricResults(w)];
    return {
      name: entry.name,
      method: entry.method,
      graph: { name: entry.name, results: [...outputs, ...reported, ...this.#written()] },
      inputs,
      losses: w.effects.losses,
      training: trains(entry) ? this.#training(callable.at) : null,
    };
  }
  /** The stores' new contents. */
  #written(): Result[] {
    return [...this.#shared.stores.current].map(([name, value]) => ({ role: "store", name, value }));
  }
  /** The entry `merged`: that method of every layer that has it. */
  #merge(): ElaboratedEntry {
    const { name, method } = this.#entry;
    withSizeErrors(() => mergeLayers(this.#w, this.#instance().instance));
    this.#requested.checkNames();
    return { name, method, graph: { name, results: this.#written() }, inputs: [], losses: [], training: null };
  }
  #functionEntry(decl: Declared<ast.Fn>) {
    const scope = moduleScope(this.#w, decl.module).inner();
    this.#requested.bind(decl.ast.header, scope);
    const fn: Callable = { kind: "declared", decl };
    return { fn, params: decl.ast.header, scope, at: decl.ast.name.span };
  }
  /** An instance of the declaration, whose stores are all registered. */
  #instance() {
    const [w, decl, shared] = [this.#w, this.#decl, this.#shared];
    const at = decl.ast.name.span;
    const made = fillHeader(w, decl, this.#requested.header(), moduleScope(w, decl.module), at);
    if (made.kind !== "maker") return failNotTensor();
    const instance: Instance = makeInstance(w, made.make, "", shared.stores.root(w));
    registerAll(instance);
    return { instance, make: made.make };
  }
  #methodEntry() {
    const [w, decl] = [this.#w, this.#decl];
    if (decl.ast.kind === "optimizer")
      return fail(
        "E0406",
        `\`${decl.ast.name.name}\` is an optimizer, which is not compiled by itself`,
        decl.ast.name.span,
        {
          help: "name a model, a layer or a function that is",
        },
      );
    const name = this.#entry.method;
    const { span } = findMethod(decl, name).ast.name;
    const { instance, make } = this.#instance();
    const v = memberOf(instance, { name, span });
    if (v.kind !== "fn" || v.fn.kind !== "method") return failNotTensor();
    const { method } = v.fn;
    const scope = v.fn.scope.inner();
    this.#requested.bind(method.params, scope);
    const header = make.of.kind === "layer" ? make.of.maker.parts.at(-1)?.header : undefined;
    w.headerSizes = (value) =>
      decl.ast.header.map((p) => p.name.name).filter((n) => isCapital(n) && numberIn(header, n) === value);
    return { fn: v.fn, params: method.params, scope, at: method.name.span };
  }

  /** The argument for a parameter: an input if it is a tensor, else a value from the request; none if it is left to its default. */
  #given(p: ast.HeaderParam, scope: Scope, inputs: { name: string; store: Store }[]): CallArgument[] {
    const [w, entry, shared] = [this.#w, this.#entry, this.#shared];
    const name = p.name.name;
    if (p.type?.kind !== "tensor") return this.#requested.value(p, scope);
    if (this.#requested.usesDefault(p)) return [];
    const t = typeOf(w, p.type, scope);
    const store: Store = { ...unstackedStore(`${entry.name}/${name}`, "input", t), span: p.span };
    shared.inputs.push(store);
    inputs.push({ name, store });
    return [{ name: p.name, value: tensor(b.param(w.g, store.name, t)), span: p.span }];
  }

  /** A state declared in a method: one for each method, shared by all its lengths; `encode` and `generate` have theirs in common. */
  #localState(stmt: ast.State, t: Type, scope: Scope) {
    const [w, entry, shared] = [this.#w, this.#entry, this.#shared];
    const path = scope.frame.instance?.path ?? "";
    const name = [
      this.#generates ? "generate" : entry.method,
      path === "" ? stmt.name.name : `${path}.${stmt.name.name}`,
    ].join("/");
    const old = shared.stores.all.get(name);
    if (old && dims(old.type).join() !== dims(t).join())
      fail(
        "E0408",
        `the state \`${stmt.name.name}\` has the shape [${dims(t).join(", ")}] here and [${dims(old.type).join(", ")}] elsewhere in \`${entry.method}\``,
        stmt.span,
        { help: "all lengths of an entry share its states: give them the same B" },
      );
    const store: Store = { ...unstackedStore(name, "state", t, trains(entry)), span: stmt.span };
    if (!old) shared.stores.all.set(name, { store, type: t, init: stmt.init, scope, owner: [] });
    return shared.stores.slot(w, name, t);
  }

  #training(at: ast.Span): Training {
    const [w, shared] = [this.#w, this.#shared];
    const [first, ...more] = w.effects.losses.map((l) => l.value);
    if (!first) throw new Failure(nothingToTrain("loss", at));
    if (w.optimizeLines.length === 0) throw new Failure(nothingToTrain("optimizer", at));
    const trained = assignOptimizers(w, [...shared.stores.all.values()]);
    const used = new Set(trained.map((t) => t.at));
    const stepped = shared.request.checks ? firstOfEqual(trained) : trained;
    return {
      total: more.reduce((x, y) => b.add(w.g, x, y), first),
      trainable: [...used].map(({ store }) => ({ store, value: b.param(w.g, store.name, store.type) })),
      boundaries: w.layerBoundaries,
      update: (grads) => asProgramErrors(() => optimizerStep(w, shared.stores, stepped, grads)),
    };
  }
}
/** Whether the entry is that of `moec merge`, not a method of the same name that takes or gives something. */
const isMergeEntry = (decl: Declared, method: string): boolean =>
  method === "merged" && isLayer(decl.ast) && methodsCalled(decl, method).every((m) => isMerged(m.ast));
function numberIn(scope: Scope | undefined, name: string): unknown {
  const v = scope?.own(name);
  return v?.kind === "number" ? v.value : null;
}
export function failNotTensor(): never {
  throw new Bug("an entry has a result that is no tensor");
}
/** The checker knows only symbols, so numbers that do not fit appear when ops are built: reported as a Problem with sizes. */
function withSizeErrors<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof TypeMismatch)
      throw new Problem(`sizes do not fit: ${error.message}`, "check the sizes that are given", { cause: error });
    throw error;
  }
}
const pathOf = ({ path, name }: Reported): string => (path === "" ? name : `${path}.${name}`);
/** The losses by path and name; a loss stated several times is summed. */
function lossResults(w: World): Result[] {
  const byPath = new Map<string, Value>();
  for (const loss of w.effects.losses) {
    const old = byPath.get(pathOf(loss));
    byPath.set(pathOf(loss), old ? b.add(w.g, old, loss.value) : loss.value);
  }
  return [...byPath].map(([name, value]) => ({ role: "loss", name, value }));
}
/** The metrics by path and name; if one is reported several times in a step, the last value counts. */
function metricResults(w: World): Result[] {
  const byPath = new Map(w.effects.metrics.map((metric) => [pathOf(metric), metric.value]));
  return [...byPath].map(([name, value]) => ({ role: "metric", name, value }));
}

/** Assigns each parameter to the first `optimize` line that selects it; selectors that match nothing are errors. */
function assignOptimizers(w: World, stores: readonly RegisteredStore[]): TrainedParameter[] {
  const parameters = stores.filter((r) => r.store.role === "parameter");
  for (const line of w.optimizeLines)
    for (const s of line.selectors)
      if (!parameters.some((p) => selects(s, p.owner)))
        fail("E0501", `\`${textOf(s.span)}\` selects no parameter`, s.span, {
          help: didYouMean(
            textOf(s.span),
            parameters.map((p) => p.store.name),
            selectorHelp,
          ),
        });
  const taken = parameters.map((at) => ({ at, line: w.optimizeLines.find((l) => fits(l, at)) }));
  requireAllUsed(w.optimizeLines, new Set(taken.map((t) => t.line)));
  return taken.flatMap(({ at, line }): TrainedParameter[] =>
    line?.optimizer ? [{ at, optimizer: line.optimizer, span: line.span }] : [],
  );
}
/** Of the parameters of one type that one line trains, whose steps have the same errors, the first. */
function firstOfEqual(trained: readonly TrainedParameter[]): TrainedParameter[] {
  const lines = [...new Set(trained.map((t) => t.optimizer))];
  const kinds = trained.map(({ at: { store, type }, optimizer }) =>
    [lines.indexOf(optimizer), store.stack, showType(store.type), showType(type)].join("; "),
  );
  return trained.filter((_, i) => kinds.indexOf(kinds[i] ?? "") === i);
}
const fits = (line: OptimizeLine, at: RegisteredStore): boolean =>
  line.selectors.length === 0 || line.selectors.some((s) => selects(s, at.owner));
/** Every line must train something, except for a final one without selectors, for which no parameter may be left. */
function requireAllUsed(lines: readonly OptimizeLine[], used: ReadonlySet<OptimizeLine | undefined>): void {
  const all = lines.findIndex((l) => l.selectors.length === 0);
  const idle = lines.find((l, i) => !used.has(l) && (l.selectors.length > 0 || i !== all));
  if (idle)
    fail("E0505", "no parameter is left for this line: those above take all that it selects", idle.span, {
      help: "the first line that fits a parameter is taken: move this one up, or leave it out",
    });
}
