// Elaboration: numbers for sizes, one graph for each entry, the stores they share, and how those begin.
import { Problem, ProgramError } from "../diagnostic.ts";
import { GraphBuilder, TypeMismatch } from "../graph/builder.ts";
import { mapGraph } from "../graph/map.ts";
import type { Graph, Mapped, Result, Store, Value } from "../graph/node.ts";
import * as b from "../ops/build.ts";
import { ops } from "../ops/list.ts";
import type * as ast from "../syntax/ast.ts";
import { dims, type Type, type } from "../types/type.ts";
import { didYouMean, Failure, fail, textOf } from "./errors.ts";
import { evaluator } from "./evaluator.ts";
import { moduleScope, newFrame } from "./frames.ts";
import { headerOf } from "./headers.ts";
import { makeAll, makeInstance, memberOf } from "./layers.ts";
import type { Loaded } from "./modules.ts";
import { selects } from "./optimize.ts";
import { optimizerStep, type Trained } from "./optimizer.ts";
import { findDeclaration, findMethod, layerBehind, methodsOf } from "./signatures.ts";
import { type Registered, Stores } from "./storage.ts";
import { conform } from "./tensor.ts";
import { bareName, isCapital, namesIn, typeOf } from "./types.ts";
import {
  type Callable,
  type Declared,
  type Instance,
  number,
  resultList,
  type Scope,
  tensor,
  type Val,
} from "./values.ts";
import { type Given, type Options, type Precision, type Reported, World } from "./world.ts";

export interface EntryRequest {
  /** Unique: names the graph, and its inputs, `NAME/tokens`. */
  readonly name: string;
  /** A method; `train` and `generate` are special, `evaluate` is `train` without training. For a function, its name or "forward". */
  readonly method: string;
  readonly sizes: Sizes;
  /** Arguments with defaults that are given all the same. */
  readonly inputs?: readonly string[];
}
/** By name; `...S` takes a list. */
export type Sizes = Readonly<Record<string, number | boolean | readonly number[]>>;
export interface Request {
  /** The file's only model, if not given. */
  readonly declaration?: string;
  /** For the header; what it does not have serves the entries. */
  readonly sizes: Sizes;
  readonly precision: Precision;
  readonly entries: readonly EntryRequest[];
}
/** One entry in numbers. */
export interface ElaboratedEntry {
  readonly name: string;
  readonly method: string;
  /** Of a `train`, without gradients and optimizer: see `training`. */
  readonly graph: Graph;
  readonly inputs: readonly { readonly name: string; readonly store: Store }[];
  readonly losses: readonly Reported[];
  /** The names of the losses that `train` itself states. */
  readonly stated: readonly string[];
  /** null: not a `train`. */
  readonly training: Training | null;
}
export interface Training {
  /** The sum of all losses: what is differentiated. */
  readonly total: Value;
  /** What is trained: each store with the value to differentiate by. */
  readonly trainable: readonly { readonly store: Store; readonly value: Value }[];
  /** The optimizer's step: new parameters and states, from the gradients by store. */
  update(grads: ReadonlyMap<string, Value>): Result[];
}
export interface Elaboration {
  readonly g: GraphBuilder;
  readonly entries: readonly ElaboratedEntry[];
  /** All stores so far: call it after `update`, which makes the optimizer's. */
  stores(): Store[];
  /** Each parameter's and state's initial value, as "store" results. After `update`, too. */
  init(): Graph;
}

/** Throws ProgramError for what is wrong in the program, Problem for what is wrong in the request. */
export function elaborate(loaded: Loaded, request: Request): Elaboration {
  const shared: Shared = { loaded, request, g: new GraphBuilder(ops), stores: new Stores(), inputs: [] };
  const entries = request.entries.map((entry) => reported(() => new Entry(shared, entry).elaborated()));
  return {
    g: shared.g,
    entries,
    stores: () => [...[...shared.stores.all.values()].map((r) => r.store), ...shared.inputs],
    init: () => reported(() => initGraph(shared)),
  };
}
interface Shared {
  readonly loaded: Loaded;
  readonly request: Request;
  readonly g: GraphBuilder;
  readonly stores: Stores;
  readonly inputs: Store[];
}
function reported<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof Failure && error.diagnostic) throw new ProgramError([error.diagnostic]);
    throw error;
  }
}
function optionsOf({ request, g }: Shared, flags: { training: boolean; generating: boolean }): Options {
  const { precision } = request;
  const f32 = precision === "f64" ? "f64" : "f32";
  const trains = request.entries.some((e) => e.method === "train");
  return { checking: false, working: precision, f32, master: trains ? f32 : precision, g, ...flags };
}

class Entry {
  private readonly shared: Shared;
  private readonly entry: EntryRequest;
  private readonly w: World;
  private readonly decl: Declared;
  private readonly names = new Set<string>();

  constructor(shared: Shared, entry: EntryRequest) {
    [this.shared, this.entry] = [shared, entry];
    this.decl = findDeclaration(shared.loaded, shared.request.declaration);
    this.w = new World(
      optionsOf(shared, { training: entry.method === "train", generating: entry.method === "generate" }),
      evaluator,
    );
    this.w.localState = (stmt, t, scope) => this.localState(stmt, t, scope);
    shared.stores.current.clear();
  }

  elaborated(): ElaboratedEntry {
    const { w, entry, decl, shared } = this;
    const callable = decl.ast.kind === "fn" ? this.functionEntry(decl as Declared<ast.Fn>) : this.methodEntry();
    this.checkNames();
    const inputs: { name: string; store: Store }[] = [];
    const given = callable.params.flatMap((p) => this.given(p, callable.scope, inputs));
    const value = typed(() => w.call(callable.fn, given, newFrame(w, { role: "header", site: "" }), callable.at));
    const outputs = resultList(value).map(
      (v, i): Result => ({ role: "output", name: String(i), value: v.kind === "tensor" ? v.value : lost() }),
    );
    const states = [...shared.stores.current].map(([name, v]): Result => ({ role: "store", name, value: v }));
    const results = [...outputs, ...sums(w), ...metrics(w), ...states];
    const stated = [...new Set(w.effects.losses.filter((l) => l.path === "").map((l) => l.name))];
    return {
      name: entry.name,
      method: entry.method,
      graph: { name: entry.name, results },
      inputs,
      losses: w.effects.losses,
      stated,
      training: entry.method === "train" ? this.training(callable.at) : null,
    };
  }
  private functionEntry(decl: Declared<ast.Fn>) {
    const scope = moduleScope(this.w, decl.module).inner();
    this.bindSizes(decl.ast.header, scope);
    const fn: Callable = { kind: "declared", decl };
    return { fn, params: decl.ast.header, scope, at: decl.ast.name.span };
  }
  private methodEntry() {
    const { w, entry, decl, shared } = this;
    if (decl.ast.kind === "optimizer")
      return fail(
        "E0406",
        `\`${decl.ast.name.name}\` is an optimizer, which is not compiled by itself`,
        decl.ast.name.span,
        {
          help: "name a model, a layer or a function that is",
        },
      );
    const name = entry.method === "evaluate" ? "train" : entry.method;
    const method = findMethod(decl, name);
    const at = decl.ast.name.span;
    const made = headerOf(w, decl, this.header(decl), moduleScope(w, decl.module), at);
    if (made.kind !== "maker") return lost();
    const instance: Instance = makeInstance(w, made.make, "", shared.stores.root(w));
    makeAll(instance);
    const v = memberOf(instance, { name, span: method.name.span });
    if (v.kind !== "fn") return lost();
    const scope = instance.scope.inner();
    this.bindSizes(method.params, scope);
    return { fn: v.fn, params: method.params, scope, at: method.name.span };
  }

  /** The header's values that are given. */
  private header(decl: Declared): Given[] {
    for (const p of decl.ast.header) this.names.add(p.name.name);
    for (const p of decl.ast.header) {
      const given = this.size(p.name.name) !== undefined;
      if (!given && !p.default)
        fail(
          "E0407",
          `\`${decl.ast.name.name}\` needs \`${p.name.name}\``,
          p.span,
          p.type
            ? {
                help: `only a layer can give \`${p.name.name}\`: declare \`model M(...) = ${decl.ast.name.name}(...)\``,
              }
            : { help: `give it: --set ${p.name.name}=VALUE, or a default: \`${p.name.name} = 8\`` },
        );
      if (given && p.type)
        throw new Problem(
          `${p.name.name} is a layer, which cannot be set from outside`,
          `declare a model that fills it in: model M(...) = ${decl.ast.name.name}(...)`,
        );
    }
    return decl.ast.header.flatMap((p): Given[] => {
      const v = this.size(p.name.name);
      return v === undefined ? [] : [{ name: p.name, value: known(p.name.name, v), span: p.span }];
    });
  }
  private size(name: string): number | boolean | readonly number[] | undefined {
    const { entry, shared } = this;
    return Object.hasOwn(entry.sizes, name)
      ? entry.sizes[name]
      : Object.hasOwn(shared.request.sizes, name)
        ? shared.request.sizes[name]
        : undefined;
  }
  /** Names of the entry's types, from the sizes given. */
  private bindSizes(params: readonly ast.HeaderParam[], scope: Scope): void {
    for (const p of params) {
      if (p.type?.kind !== "tensor" || this.byDefault(p)) continue;
      const { spread } = p.type;
      const names = [
        ...(spread ? [spread] : []),
        ...p.type.axes.flatMap((e) => (bareName(e) === null ? [] : [{ name: textOf(e.span), span: e.span }])),
      ];
      for (const { name, span } of names) {
        this.names.add(name);
        if (scope.get(name) && !scope.has(name) && scope.get(name)?.kind !== "declaration") continue;
        const v = this.size(name);
        if (v === undefined)
          fail("E0408", `the entry \`${this.entry.method}\` needs the size \`${name}\``, span, {
            help: `give it by name, as \`${name}: 128\`, --set ${name}=128, or inputs that say it`,
          });
        scope.set(
          name,
          Array.isArray(v) || name === spread?.name
            ? { kind: "spread", name, axes: Array.isArray(v) ? v : [Number(v)] }
            : known(name, v),
        );
      }
    }
  }
  private byDefault(p: ast.HeaderParam): boolean {
    return p.default !== null && !this.entry.inputs?.includes(p.name.name);
  }
  private given(p: ast.HeaderParam, scope: Scope, inputs: { name: string; store: Store }[]): Given[] {
    const { w, entry, shared } = this;
    const name = p.name.name;
    this.names.add(name);
    if (p.type?.kind !== "tensor") {
      const v = this.size(name);
      if (v !== undefined && !p.type) return [{ name: p.name, value: known(name, v), span: p.span }];
      if (!p.default && !scope.get(name))
        fail("E0407", `\`${this.decl.ast.name.name}\` needs \`${name}\``, p.span, {
          help: `give it: --set ${name}=VALUE`,
        });
      return [];
    }
    if (this.byDefault(p)) return [];
    const t = typeOf(w, p.type, scope);
    const store: Store = {
      name: `${entry.name}/${name}`,
      role: "input",
      type: t,
      stack: 0,
      saved: false,
      where: p.span,
    };
    shared.inputs.push(store);
    inputs.push({ name, store });
    return [{ name: p.name, value: tensor(b.param(w.g, store.name, t)), span: p.span }];
  }
  /** A size that nothing has is a slip of the pen. */
  private checkNames(): void {
    const layer = layerBehind(this.decl);
    const used = new Set(this.names);
    for (const m of layer ? methodsOf(layer.ast) : [])
      for (const p of m.params) if (p.type?.kind === "tensor") for (const n of namesIn(p.type)) used.add(n);
    const { ast } = this.decl;
    if (ast.kind === "fn") for (const p of ast.header) used.add(p.name.name);
    for (const name of [...Object.keys(this.shared.request.sizes), ...Object.keys(this.entry.sizes)])
      if (!used.has(name))
        throw new Problem(
          `${ast.name.name} has no size or value ${name}`,
          didYouMean(name, used, `it has ${[...used].join(", ")}`),
        );
  }

  /** A method's own state: one for each entry, all lengths of `generate` together. */
  private localState(stmt: ast.State, t: Type, scope: Scope) {
    const { w, entry, shared } = this;
    const path = scope.frame.instance?.path ?? "";
    const name = [entry.method, path === "" ? stmt.name.name : `${path}.${stmt.name.name}`].join("/");
    const old = shared.stores.all.get(name);
    if (old && dims(old.type).join() !== dims(t).join())
      fail(
        "E0408",
        `the state \`${stmt.name.name}\` has the shape [${dims(t).join(", ")}] here and [${dims(old.type).join(", ")}] elsewhere in \`${entry.method}\``,
        stmt.span,
        { help: "all lengths of an entry share its states: give them the same B" },
      );
    const store: Store = { name, role: "state", type: t, stack: 0, saved: entry.method === "train", where: stmt.span };
    if (!old) shared.stores.all.set(name, { store, type: t, init: stmt.init, scope, owner: [] });
    return shared.stores.slot(w, name, t);
  }

  private training(at: ast.Span): Training {
    const { w, shared } = this;
    const [first, ...more] = w.effects.losses.map((l) => l.value);
    if (!first) return fail("E0412", "`train` has no loss", at, { help: "state one: `loss language = ...`" });
    if (w.lines.length === 0)
      return fail("E0412", "`train` has no optimizer", at, { help: "end it with `optimize with AdamW(lr: 1e-3)`" });
    const trained = trainedBy(w, [...shared.stores.all.values()]);
    const used = new Set(trained.map((t) => t.at));
    return {
      total: more.reduce((x, y) => b.add(w.g, x, y), first),
      trainable: [...used].map(({ store }) => ({ store, value: b.param(w.g, store.name, store.type) })),
      update: (grads) => reported(() => optimizerStep(w, shared.stores, trained, grads)),
    };
  }
}
function known(name: string, v: number | boolean | readonly number[]): Val {
  if (typeof v === "boolean") return { kind: "bool", value: v };
  if (typeof v === "number") {
    if (isCapital(name) && (!Number.isInteger(v) || v < 0))
      throw new Problem(`${name} is a size, and ${v} is not`, `give a whole number: --set ${name}=8`);
    return number(v, isCapital(name));
  }
  return { kind: "list", items: v.map((n) => number(n, true)) };
}
function lost(): never {
  throw new Problem("the entry has a result that is not a tensor", "return tensors");
}
/** What the ops refuse, the checker has let pass: the text says where. */
function typed<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof TypeMismatch)
      throw new Problem(`sizes do not fit: ${error.message}`, "check the sizes that are given", { cause: error });
    throw error;
  }
}
/** Losses of one name are added up over the layers. */
function sums(w: World): Result[] {
  const byName = new Map<string, Value>();
  for (const { name, value } of w.effects.losses) {
    const old = byName.get(name);
    byName.set(name, old ? b.add(w.g, old, value) : value);
  }
  return [...byName].map(([name, value]) => ({ role: "loss", name, value }));
}
/** Of a metric reported twice in a step, the last. */
function metrics(w: World): Result[] {
  const byName = new Map(
    w.effects.metrics.map(({ path, name, value }) => [path === "" ? name : `${path}.${name}`, value]),
  );
  return [...byName].map(([name, value]) => ({ role: "metric", name, value }));
}

/** The first line that fits a parameter says how it is trained. */
function trainedBy(w: World, stores: readonly Registered[]): Trained[] {
  const parameters = stores.filter((r) => r.store.role === "parameter");
  for (const line of w.lines)
    for (const s of line.selectors)
      if (!parameters.some((p) => selects(s, p.owner)))
        fail("E0501", `\`${textOf(s.span)}\` selects no parameter`, s.span, {
          help: didYouMean(
            textOf(s.span),
            parameters.map((p) => p.store.name),
            "write a member's path, `blocks.feed`, or a layer's name, `RmsNorm`",
          ),
        });
  return parameters.flatMap((at): Trained[] => {
    const line = w.lines.find((l) => l.selectors.length === 0 || l.selectors.some((s) => selects(s, at.owner)));
    return line?.optimizer ? [{ at, optimizer: line.optimizer, where: line.where }] : [];
  });
}

function initGraph(shared: Shared): Graph {
  const w = new World(optionsOf(shared, { training: false, generating: false }), evaluator);
  const results = [...shared.stores.all.values()].map(
    (r): Result => ({ role: "store", name: r.store.name, value: initial(w, r) }),
  );
  return { name: "init", results };
}
/** How a store begins: each copy of a stack by itself. */
function initial(w: World, { store, type: t, init, scope }: Registered): Value {
  const n = dims(store.type)
    .slice(0, store.stack)
    .reduce((p, q) => p * q, 1);
  const base = w.placeholder(type("i32", []));
  const lane = store.stack > 0 ? ({ kind: "each", base } as const) : null;
  const from = scope.within(newFrame(w, { role: "header", body: scope.frame.body, site: store.name, lane }));
  from.frame.float = scope.frame.float;
  const declared = { what: `\`${store.name}\``, span: init.span, text: textOf(init.span) };
  const value = conform(w, w.evaluate(init, from, t), t, declared, init.span, true);
  if (store.stack === 0) return value;
  const each: Mapped = { kind: "each", value: b.iota(w.g, n), over: n };
  const [m] = mapGraph([value], new Map([[base, each]]), w.g);
  if (!m) return lost();
  return m.kind === "plain" ? b.broadcastTo(w.g, m.value, dims(store.type)) : b.reshape(w.g, m.value, dims(store.type));
}
