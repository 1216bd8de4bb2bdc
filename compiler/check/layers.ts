// Instantiates layers: makes their members on demand, binds parameters to stores, and builds arrays of layers.
import { Problem } from "../diagnostic.ts";
import { groupBy } from "../group-by.ts";
import type * as ast from "../syntax/ast.ts";
import { type Size, show } from "../types/size.ts";
import { type } from "../types/type.ts";
import { type Choice, isTrue } from "./choices.ts";
import { type Condition, condition } from "./conditions.ts";
import { absorb, type DiagnosticText, declaredTwice, didYouMean, Failure, fail, textOf } from "./errors.ts";
import { newFrame } from "./frames.ts";
import { distinct, lengthOf, toMakeable } from "./makers.ts";
import { calledFrom, whenOf } from "./numbers.ts";
import { allMembers, bodyOf } from "./origin.ts";
import { isStack } from "./stacks.ts";
import { abstractStorage, joinedStorage, mapSlots, sliceSlot, stacked, withOwner, withPrefix } from "./storage.ts";
import { typeOf } from "./types.ts";
import {
  type Callable,
  errorVal,
  type Instance,
  type Instances,
  kindText,
  type Makeable,
  type Makers,
  type Run,
  Scope,
  type Storage,
  type Val,
} from "./values.ts";
import type { World } from "./world.ts";

export function makeInstance(w: World, make: Makeable, path: string, storage: Storage): Instance {
  if (make.of.kind !== "layer")
    return { path, make, members: new Map(), scope: new Scope(newFrame(w, { role: "header", site: path }), null) };
  const { parts } = make.of.maker;
  const scopes = parts.map(({ header }) => new Scope(header.frame, header));
  const members = new Map<string, () => Val>();
  const instance: Instance = { path, make, members, scope: scopes.at(-1) ?? absorb() };
  const place = withOwner(
    storage,
    parts.map((part) => part.ast.name.name),
  );
  for (const [i, part] of parts.entries()) {
    const home = { instance, header: part.header, scope: scopes[i] ?? absorb(), storage: place };
    const active = activeMembers(w, part.ast.body, part.header);
    for (const [name, declared] of groupBy(active, ({ member }) => member.name.name)) {
      const value = lazy(() => memberAmong(w, declared, home));
      members.set(name, value);
      // what a later part replaces is replaced for the methods of earlier ones, too; what it adds, they do not see
      for (const scope of scopes.slice(i)) scope.set(name, () => (members.get(name) ?? value)());
    }
  }
  return instance;
}
function lazy<T>(make: () => T): () => T {
  let made: { readonly value: T } | null = null;
  return () => (made ??= { value: make() }).value;
}
/** A member, and the conditions, known to elaboration alone, under which it exists. */
interface ActiveMember {
  readonly member: ast.Member;
  readonly under: readonly Choice[];
}
/** The members that exist under this header. While checking, if a condition is not known, the members of both branches. */
function activeMembers(w: World, body: readonly ast.MemberOrIf[], header: Scope): ActiveMember[] {
  return body.flatMap((m): ActiveMember[] => {
    if (m.kind !== "if") return [{ member: m, under: [] }];
    const known = w.guard(() => conditionOf(w, m.cond, header), null);
    const branch = (holds: boolean): ActiveMember[] => {
      if (known === !holds) return [];
      const inside = activeMembers(w, holds ? m.then : m.else, header);
      if (known === null || typeof known === "boolean") return inside;
      const outer = { condition: known, holds, question: isTrue(m.cond.span) };
      return inside.map(({ member, under }) => ({ member, under: [outer, ...under] }));
    };
    return [...branch(true), ...branch(false)];
  });
}
const bothHold = "the conditions of both hold here: write `else`, or conditions that exclude one another";
/** The value of a name that one or several members have, each under other conditions: while checking, of that which this run has chosen. */
function memberAmong(w: World, declared: readonly ActiveMember[], home: Home): Val {
  const [first, second] = declared;
  if (!first) return absorb();
  if (!second) return makeMember(w, first.member, home);
  if (!w.checking) throw new Failure(declaredTwice(second.member.name, first.member.name, bothHold));
  if (declared.some(({ under }) => under.length === 0)) return errorVal; // it is declared twice
  const chosen = declared.find(({ under }) =>
    under.every((branch, i) => w.choices.choose(branch, under.slice(0, i)) === branch.holds),
  );
  return chosen ? makeMember(w, chosen.member, home) : errorVal;
}
/** The condition of an `if`: whether it holds, or what it is, if only elaboration knows. */
export function conditionOf(w: World, e: ast.Expr, scope: Scope): boolean | Condition {
  const v = w.evaluate(e, scope);
  if (v.kind === "bool" && v.value !== null) return v.value;
  if (v.kind === "bool" || (v.kind === "number" && v.loose)) return whenOf(v) ?? condition(`at ${e.span.start}`);
  if (v.kind === "error") return absorb();
  if (v.kind === "tensor")
    return fail("E0213", "`if` takes what is known when compiling, and a tensor is not", e.span, {
      notes: calledFrom(w),
      help: "use `where(condition, a, b)`, which chooses for each element",
    });
  return fail("E0213", `\`if\` takes a boolean, not ${kindText[v.kind]}`, e.span, { help: "compare: `x > 0`" });
}

/** Where the members of one part of a layer are made. */
interface Home {
  readonly instance: Instance;
  readonly header: Scope;
  /** What the part's methods see. */
  readonly scope: Scope;
  readonly storage: Storage;
}
function makeMember(w: World, m: ast.Member, { instance, header, scope, storage }: Home): Val {
  w.countStep();
  switch (m.kind) {
    case "method":
      return { kind: "fn", fn: { kind: "method", instance, scope, method: m } };
    case "param":
    case "state":
      return makeSlot(w, header, m, storage);
    case "sublayer": {
      requireNoCall(w, m.value, header);
      const v = w.evaluate(m.value, header);
      const path = instance.path === "" ? m.name.name : `${instance.path}.${m.name.name}`;
      if (v.kind === "makers") {
        const stack = w.options.stacks.has(m) || isStack(bodyOf(instance.make), m.name.name);
        const layers = makeArray(w, v.makers, path, withPrefix(storage, m.name.name), { member: m, stack });
        return { kind: "layers", layers };
      }
      return {
        kind: "layer",
        layer: makeInstance(w, toMakeable(v, null, m.value.span), path, withPrefix(storage, m.name.name)),
        others: [],
      };
    }
  }
}
/** Reports a function call as a member, such as `drop: dropout(0.1)`, which would be a layer in other libraries. */
function requireNoCall(w: World, e: ast.Expr, header: Scope): void {
  if (e.kind === "call" && w.evaluate(e.callee, header).kind === "fn")
    fail("E0307", `a member is a layer, and \`${textOf(e.callee.span)}\` is a function`, e.span, {
      help: `call it in a method: \`${textOf(e.callee.span)}(x, ...)\``,
    });
}
function makeSlot(w: World, header: Scope, m: ast.Param | ast.State, storage: Storage): Val {
  const read = typeOf(w, m.type, header);
  const stored = m.type.dtype === "float" && m.kind === "param" ? w.options.parameterDType : read.dtype;
  const role = m.kind === "param" ? "parameter" : "state";
  const slot = storage(m.name.name, {
    role,
    type: type(stored, read.shape),
    read: read.dtype,
    stack: [],
    init: m.init,
    scope: header,
    owner: [],
    span: m.span,
  });
  return { kind: "slot", slot, dtype: m.type.dtype, name: m.name.name, state: m.kind === "state" };
}

/** A stack has one store per parameter, however many copies; other layers are instantiated one by one. */
const [mostStacked, mostLayers] = [2 ** 20, 10000];
function requireAtMost(most: number, path: string, length: Size): void {
  if (Number(length) > most) throw new Problem(`${path} has ${show(length)} layers`, `give it at most ${most}`);
}
/** `stack`: whether the array is known to be one, if its layers are equal. */
interface ArrayMember {
  readonly member: ast.Member;
  readonly stack: boolean;
}
function makeArray(
  w: World,
  makers: Makers,
  path: string,
  storage: Storage,
  { member, stack }: ArrayMember,
): Instances {
  if (w.checking) return abstractArray(w, makers, path);
  requireAtMost(mostStacked, path, lengthOf(makers));
  const list = flat(makers);
  const runs = runsOf(list);
  const [only, ...more] = runs;
  const equal = only !== undefined && more.length === 0 && only.make.of.kind === "layer";
  if (!equal) requireAtMost(mostLayers, path, list.length);
  // one that is too long for anything else is stored as a stack before a call tells that it is one
  const whole = equal && (stack || list.length > mostLayers) ? stacked(storage, list.length) : null;
  const element = (i: number): Storage =>
    whole ? mapSlots(whole, (all) => sliceSlot(w, all, i)) : withPrefix(storage, String(i));
  const each = whole ? [] : list.map((_, i) => element(i));
  const at = (i: number): Instance => {
    if (!stack) requireAtMost(mostLayers, path, list.length);
    return makeInstance(w, list[i] ?? absorb(), `${path}.${i}`, element(i));
  };
  return {
    length: list.length,
    kinds: [],
    stack: whole !== null,
    unstacked: equal && !stack ? member : null,
    at,
    kindOf: () => null,
    stored: () => (whole && only ? [makeInstance(w, only.make, `${path}.*`, whole)] : list.map((_, i) => at(i))),
    runs: runs.map(({ make, start, count }): Run => {
      const all = whole ?? joinedStorage(w, each.slice(start, start + count));
      return { start, count, make: (through) => makeInstance(w, make, `${path}.*`, mapSlots(all, through)) };
    }),
  };
}
function abstractArray(w: World, makers: Makers, path: string): Instances {
  const kinds = distinct(makers).map((make) => makeInstance(w, make, path, abstractStorage(w)));
  const runs = kinds.map((one): Run => ({ start: 0, count: 1, make: () => one }));
  return {
    length: lengthOf(makers),
    kinds,
    stack: false,
    unstacked: null,
    at: () => kinds[0] ?? absorb(),
    kindOf: (i) => {
      const make = leading(makers)[i];
      return (make && kinds[distinct(makers).indexOf(make)]) ?? null;
    },
    stored: () => kinds,
    runs,
  };
}
/** The layers with which an array begins whatever its lengths are, which may be 0. */
function leading({ items }: Makers): Makeable[] {
  const all: Makeable[] = [];
  for (const item of items) {
    if ("items" in item && item.times === 0) continue;
    if ("items" in item && typeof item.times !== "number") break;
    const inner = "items" in item ? leading(item) : [item];
    all.push(...inner);
    if ("items" in item && lengthOf(item) !== inner.length) break;
  }
  return all;
}
/** While checking, an element of an array, which may be any of its different layers, or is layer `i`, if that is known. Null: the array has none. */
export function anyOf(layers: Instances, i: number | null): Val | null {
  const exact = i === null ? null : layers.kindOf(i);
  const layer = exact ?? layers.kinds[0];
  const others = layers.kinds.filter((kind) => kind !== layer);
  return layer ? { kind: "layer", layer, others, isKnown: exact !== null } : null;
}
/** While checking, which of the layers that a value can be it is in this run. */
export function oneOf(w: World, v: Extract<Val, { kind: "layer" }>, at: ast.Span): Instance {
  const { layer, others, isKnown = false } = v;
  const isChosen = ({ path, make: { of } }: Instance, k: number): boolean => {
    const answer = of.kind === "layer" ? `\`${textOf(of.maker.at)}\`` : `layer ${k}`;
    return w.choices.choose({ condition: condition(`${path} is ${k}, ${answer}`), question: { at, answer } });
  };
  return isKnown ? layer : ([layer, ...others].find((one, k) => k === others.length || isChosen(one, k)) ?? layer);
}
/** All layers of an array in order; repeated ones are the same object. */
function flat(m: Makers): Makeable[] {
  const once = m.items.flatMap((item) => ("items" in item ? flat(item) : [item]));
  const all: Makeable[] = [];
  for (let i = 0; i < Number(m.times); i++) all.push(...once);
  return all;
}
/** Groups consecutive equal layers. */
function runsOf(list: readonly Makeable[]): { make: Makeable; start: number; count: number }[] {
  const runs: { make: Makeable; start: number; count: number }[] = [];
  list.forEach((make, start) => {
    const last = runs.at(-1);
    if (last?.make === make) last.count++;
    else runs.push({ make, start, count: 1 });
  });
  return runs;
}
/** Instantiates all members, recursively, so that all stores are registered. */
export function registerAll(instance: Instance): void {
  for (const member of instance.members.values()) {
    const v = member();
    if (v.kind === "layer") registerAll(v.layer);
    else if (v.kind === "layers") for (const layer of v.layers.stored()) registerAll(layer);
  }
}

/** The value of a member of an instance. */
export function memberOf(instance: Instance, name: ast.Name): Val {
  const found = instance.members.get(name.name);
  if (found) return found();
  if (instance.make.of.kind !== "layer")
    return fail(
      "E0313",
      `of this layer only its \`forward\` is known: it is what the header says, ${arrowText(instance.make)}`,
      name.span,
      { help: "call it: `layer(x)`" },
    );
  const { ast } = instance.make.of.maker.parts[0];
  const words = notHere(instance.make, name.name) ?? {
    also: [{ span: ast.name.span, text: "declared here" }],
    help: didYouMean(name.name, instance.members.keys(), `it has ${[...instance.members.keys()].join(", ") || "none"}`),
  };
  return fail("E0313", `\`${ast.name.name}\` has no member \`${name.name}\``, name.span, words);
}
/** What is said of a name that a layer has as a member elsewhere only; null if it has no such member. */
export function notHere(make: Makeable, name: string): DiagnosticText | null {
  const declared = allMembers(bodyOf(make)).find((m) => m.name.name === name);
  if (!declared) return null;
  return {
    also: [{ span: declared.name.span, text: "declared under an `if` that does not hold here" }],
    help: "ask the same condition before using it",
  };
}
const arrowText = (make: Makeable): string =>
  make.of.kind === "abstract" ? textOf(make.of.abstract.arrow.span) : "a function";
export const hasMember = (body: readonly ast.MemberOrIf[], name: string): boolean =>
  allMembers(body).some((m) => m.name.name === name);

/** What a call `layer(x)` calls: `forward`, through the arrow types that the layer was passed for. */
export function forwardOf(instance: Instance, at: ast.Span): Callable {
  const { of, arrows } = instance.make;
  const inner = innerForward(instance, at, of);
  return arrows.reduceRight<Callable>((fn, arrow) => ({ kind: "through", arrow, fn }), inner);
}
function innerForward(instance: Instance, at: ast.Span, of: Makeable["of"]): Callable {
  if (of.kind === "fn") return of.fn;
  if (of.kind === "abstract") return { kind: "abstract", abstract: of.abstract };
  const v = instance.members.get("forward")?.();
  if (v?.kind === "fn") return v.fn;
  if (v?.kind === "error") return absorb();
  const { name } = of.maker.parts[0].ast;
  return fail("E0307", `\`${name.name}\` has no \`forward\`, so it cannot be called by itself`, at, {
    also: [{ span: name.span, text: "declared here" }],
    help: `call one of its methods: ${[...instance.members.keys()].join(", ")}`,
  });
}
