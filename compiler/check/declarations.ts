// Checks each declaration once, with symbols for everything that its header may be given.
import type { Diagnostic } from "../diagnostic.ts";
import type * as ast from "../syntax/ast.ts";
import { type } from "../types/type.ts";
import { checkAdditions } from "./additions.ts";
import { declareSymbols } from "./bind.ts";
import { type Choice, isTrue } from "./choices.ts";
import { declaredTwice, diagnostic, duplicates, textOf } from "./errors.ts";
import { moduleScope, newFrame } from "./frames.ts";
import { resolveAlias } from "./headers.ts";
import { conditionOf, makeInstance } from "./layers.ts";
import { optimizerScope } from "./optimizer.ts";
import { allMembers } from "./origin.ts";
import { checkChoices } from "./runs.ts";
import { abstractStorage } from "./storage.ts";
import { conform } from "./tensor.ts";
import { typeOf } from "./types.ts";
import { type Declared, errorVal, type Instance, type Scope } from "./values.ts";
import type { World } from "./world.ts";

export const checkDeclaration = (w: World, decl: Declared): void => checkChoices(w, () => checkOnce(w, decl));
function checkOnce(w: World, decl: Declared): void {
  const { ast, module } = decl;
  checkNames(w, ast.header);
  switch (ast.kind) {
    case "fn": {
      const frame = newFrame(w, { role: "function", body: ast, site: "", result: ast.result });
      return checkBody(w, ast, ast.header, moduleScope(w, module).within(frame));
    }
    case "layer":
    case "model":
      return checkLayer(w, { ast, module });
    case "alias":
      return checkAlias(w, { ast, module });
    case "optimizer":
      return checkOptimizer(w, { ast, module });
  }
}
const checkNames = (w: World, header: readonly ast.HeaderParam[]): void =>
  void w.diagnostics.push(...duplicates(header.map((h) => h.name)));
function headerScope(w: World, { ast, module }: Declared): Scope {
  const header = moduleScope(w, module).within(newFrame(w, { role: "header", body: ast, site: "" }));
  declareSymbols(w, ast.header, header);
  return header;
}
function checkBody(w: World, body: ast.Method | ast.Fn, params: readonly ast.HeaderParam[], scope: Scope): void {
  declareSymbols(w, params, scope);
  const returns = w.execute(body.body, scope.inner());
  if (returns || body.result.length === 0) return;
  const message = `\`${body.name.name}\` may end without its result`;
  w.diagnostics.push(
    diagnostic("E0309", message, body.name.span, {
      also: body.result.slice(0, 1).map((t) => ({ span: t.span, text: "declared here" })),
      help: "end each way through it with `return`",
    }),
  );
}

function checkLayer(w: World, decl: Declared<ast.Layer>): void {
  const header = headerScope(w, decl);
  checkMembers(w, decl.ast.body, header, abstractLayer(w, decl, header));
}
function checkAlias(w: World, decl: Declared<ast.Alias>): void {
  const header = headerScope(w, decl);
  const v = w.guard(() => resolveAlias(w, decl.ast, header), errorVal);
  if (v.kind !== "maker" || v.make.of.kind !== "layer" || decl.ast.body.length === 0) return;
  const instance = makeInstance(w, v.make, "", abstractStorage(w));
  checkMembers(w, decl.ast.body, header, instance);
  checkAdditions(w, v.make.of.maker, instance);
}
/** An instance of a layer whose header values are all symbolic. */
export function abstractLayer(w: World, decl: Declared<ast.Layer>, header: Scope = headerScope(w, decl)): Instance {
  return makeInstance(
    w,
    { of: { kind: "layer", maker: { parts: [{ ast: decl.ast, header }], at: decl.ast.name.span } }, arrows: [] },
    "",
    abstractStorage(w),
  );
}
/** Where the members of one declaration are checked. */
interface Place {
  readonly header: Scope;
  readonly instance: Instance;
  /** The names that several members have. */
  readonly shared: ReadonlySet<string>;
  /** The choices of the branches around. */
  readonly within: readonly Choice[];
}
function checkMembers(w: World, body: readonly ast.MemberOrIf[], header: Scope, instance: Instance): void {
  const names = allMembers(body).map((m) => m.name.name);
  const shared = new Set(names.filter((name, i) => names.indexOf(name) < i));
  checkBranch(w, body, { header, instance, shared, within: [] }, new Map());
}
/** `seen`: the members declared so far; each branch of an `if` gets a copy, as the other one may declare the same names. */
function checkBranch(w: World, body: readonly ast.MemberOrIf[], place: Place, seen: Map<string, ast.Name>): void {
  for (const m of body) {
    if (m.kind === "if") {
      for (const { body, within } of branchesOf(w, m, place)) checkBranch(w, body, { ...place, within }, new Map(seen));
      continue;
    }
    const old = seen.get(m.name.name);
    if (old) w.diagnostics.push(declaredTwice(m.name, old));
    seen.set(m.name.name, m.name);
    checkMember(w, m, place);
  }
}
interface Branch extends Pick<Place, "within"> {
  readonly body: readonly ast.MemberOrIf[];
}
/** The branches to check: both, or that which this run assumes, if others have the names of its members. */
function branchesOf(
  w: World,
  m: Extract<ast.MemberOrIf, { kind: "if" }>,
  { header, shared, within }: Place,
): readonly Branch[] {
  const condition = w.guard(() => conditionOf(w, m.cond, header), null);
  const chooses = allMembers([m]).some(({ name }) => shared.has(name.name));
  if (condition === null || typeof condition === "boolean" || !chooses)
    return [m.then, m.else].map((body) => ({ body, within }));
  const choice = { condition, question: isTrue(m.cond.span) };
  const holds = w.choices.choose(choice, within);
  return [{ body: holds ? m.then : m.else, within: [...within, { ...choice, holds }] }];
}
function checkMember(w: World, m: ast.Member, { header, instance }: Place): void {
  if (m.kind === "method") {
    checkNames(w, m.params);
    const frame = newFrame(w, { role: "layer", instance, body: m, site: "", result: m.result });
    return checkBody(w, m, m.params, instance.scope.within(frame));
  }
  w.guard(() => {
    if (m.kind === "sublayer") {
      instance.members.get(m.name.name)?.();
      return;
    }
    const want = typeOf(w, m.type, header);
    const declared = { what: `\`${m.name.name}\``, span: m.type.span, text: textOf(m.type.span) };
    conform(w, w.evaluate(m.init, header, want), want, declared, m.init.span);
  });
}

function checkOptimizer(w: World, decl: Declared<ast.Optimizer>): void {
  const home = optimizerScope({ kind: "optimizer", decl, header: headerScope(w, decl) });
  if (!decl.ast.methods.some((m) => m.name.name === "apply"))
    w.diagnostics.push(
      diagnostic("E0502", `\`${decl.ast.name.name}\` has no \`apply\``, decl.ast.name.span, {
        help: "write `apply(param: f32[...S], grad: f32[...S]) { update param = ... }`",
      }),
    );
  for (const method of decl.ast.methods) {
    checkNames(w, method.params);
    const scope = home.within(newFrame(w, { role: "optimizer", body: method, site: "", result: method.result }));
    if (method.name.name === "apply") checkApply(w, method, scope);
    else checkBody(w, method, method.params, scope);
  }
}
/** In `apply` the first parameter is the trained parameter, which `update` can set. */
function checkApply(w: World, method: ast.Method, scope: Scope): void {
  const [param, grad] = method.params;
  if (param?.type?.kind !== "tensor" || grad?.type?.kind !== "tensor" || method.params.length !== 2)
    return void w.diagnostics.push(
      diagnostic("E0502", "`apply` takes a parameter and its gradient", method.name.span, {
        help: "write `apply(param: f32[...S], grad: f32[...S])`",
      }),
    );
  declareSymbols(w, method.params, scope);
  const { type: written } = param;
  w.guard(() => {
    const t = typeOf(w, written, scope);
    const slot = { type: type(t.dtype, t.shape), read: () => w.placeholder(t), write: () => undefined };
    scope.set(param.name.name, { kind: "slot", slot, dtype: t.dtype, name: param.name.name, state: false });
  });
  w.execute(method.body, scope.inner());
}

/** Recursion among functions and layers: one diagnostic for each cycle. `calls`: from each body to the bodies that it calls, and where. */
export function findRecursion(calls: World["calls"]): Diagnostic[] {
  const found: Diagnostic[] = [];
  const state = new Map<object, "open" | "done">();
  const visit = (node: object): void => {
    state.set(node, "open");
    for (const [to, at] of calls.get(node) ?? []) {
      if (state.get(to) === "open")
        found.push(
          diagnostic("E0308", `\`${textOf(at).split("\n")[0] ?? ""}\` leads back to itself`, at, {
            help: "functions and layers never contain themselves: use `for`, or an array of layers",
          }),
        );
      else if (!state.has(to)) visit(to);
    }
    state.set(node, "done");
  };
  for (const node of calls.keys()) if (!state.has(node)) visit(node);
  return found;
}
