// Calls of functions and methods. Checking only instantiates the callee's signature; elaboration inlines its body.
import type { Value } from "../../graph/node.ts";
import { pluralize } from "../../pluralize.ts";
import type * as ast from "../../syntax/ast.ts";
import { isFloat } from "../../types/dtype.ts";
import { atom, sizeOf as sizeOfAtom } from "../../types/size.ts";
import { dtypeOf } from "../../types/type.ts";
import { bindArguments, type Signature } from "../bind.ts";
import { builtinCalled } from "../builtins/list.ts";
import { absorb, fail, textOf } from "../errors.ts";
import { moduleScope, newFrame, siteOf } from "../frames.ts";
import { calledFrom, numberOfCall } from "../numbers.ts";
import { isMerged } from "../origin.ts";
import { firstArguments } from "../rows.ts";
import { bareName, isBound, typeOf } from "../types.ts";
import { declaredResults, unifyAll } from "../unify.ts";
import {
  type ArrowParam,
  type Callable,
  type Instance,
  number,
  resultList,
  results,
  Scope,
  tensor,
  type Val,
} from "../values.ts";
import type { Call, CallArgument, World } from "../world.ts";

export function call(w: World, fn: Callable, c: Call): Val {
  if (c.given.some((g) => g.value.kind === "error")) absorb();
  switch (fn.kind) {
    case "builtin":
      return numberOfCall(builtinCalled(fn.name).call({ ...c, w, site: siteOf(c.from, c.at) }), fn.name, c.given);
    case "declared":
    case "helper":
      return callBody(w, bodyOf(w, fn, c), c);
    case "method":
      if (w.checking) requireNotMerged(fn.method, c.at);
      return callMethod(w, fn, c);
    case "abstract":
      return callAbstract(w, fn.abstract, c);
    case "through":
      return callThrough(w, fn.arrow, fn.fn, c);
  }
}

function callMethod(w: World, fn: Extract<Callable, { kind: "method" }>, c: Call): Val {
  const run = (): Val => noteBoundaries(w, fn.instance, c.given, () => callBody(w, bodyOf(w, fn, c), c));
  return w.equalCalls ? w.equalCalls.call(fn, c, run) : run();
}
function requireNotMerged(method: ast.Method, at: ast.Span): void {
  if (isMerged(method))
    fail("E0307", "`merged` is not called by the program: `moec merge` calls it", at, {
      also: [{ span: method.name.span, text: "declared here" }],
      help: "compute what both need in another method, and call that",
    });
}
/** Makes the call; if it is elaborated, and of a layer of an outermost array, notes what enters and leaves it (`layerBoundaries`). */
function noteBoundaries(w: World, { path }: Instance, given: readonly CallArgument[], run: () => Val): Val {
  if (w.checking || w.insideLayerCall || !/^(?:[a-z_]\w*\.)+\d+$/i.test(path)) return run();
  w.layerBoundaries.push(floatsOf(given.map((g) => g.value)));
  w.insideLayerCall = true;
  const result = run();
  w.insideLayerCall = false;
  w.layerBoundaries.push(floatsOf(resultList(result)));
  return result;
}
const floatsOf = (values: readonly Val[]): Value[] =>
  values.flatMap((v) => (v.kind === "tensor" && isFloat(dtypeOf(v.value.type)) ? [v.value] : []));

/** A callee's body: its signature, and the scope in which its parameters are bound. */
interface Body {
  readonly signature: Signature;
  readonly ast: ast.Method | ast.Fn;
  readonly scope: Scope;
}
function bodyOf(w: World, fn: Extract<Callable, { kind: "declared" | "method" | "helper" }>, { from, at }: Call): Body {
  const inside = { site: siteOf(from, at), lane: from.lane };
  if (fn.kind === "declared") {
    const { ast, module } = fn.decl;
    const frame = newFrame(w, { ...inside, role: "function", body: ast, result: ast.result });
    const signature = { name: ast.name.name, params: ast.header, result: ast.result };
    return { signature, ast, scope: moduleScope(w, module).within(frame) };
  }
  const { method } = fn;
  const signature = { name: method.name.name, params: method.params, result: method.result };
  const own = fn.kind === "method" ? { role: "layer" as const, instance: fn.instance } : { role: "optimizer" as const };
  const frame = newFrame(w, { ...inside, ...own, body: method, result: method.result });
  return { signature, ast: method, scope: fn.scope.within(frame) };
}
function callBody(w: World, { signature, ast, scope }: Body, c: Call): Val {
  const { from, at } = c;
  const signatureOnly = w.checking && !from.lane;
  // inside a routed body, calls go through arrows, where a layer may lead to another one of its kind without recursion
  if (signatureOnly && from.body) w.recordCall(from.body, ast, at);
  if (!signatureOnly) pushCall(w, ast, at, signature.name);
  bindArguments(w, signature, scope, c);
  if (signatureOnly) return placeholderResults(w, signature.result, scope);
  w.execute(ast.body, scope.inner());
  w.stack.pop();
  return scope.frame.returned ?? (w.checking ? placeholderResults(w, signature.result, scope) : { kind: "none" });
}
function pushCall(w: World, body: object, at: ast.Span, name: string): void {
  if (w.stack.length > 200)
    fail(
      "E0308",
      `\`${name}\` ${w.stack.some((s) => s.body === body) ? "calls itself" : "is called 200 calls deep"}`,
      at,
      {
        help: "functions and layers never call themselves, nor lie more than 200 deep in others: use `for`",
        notes: calledFrom(w),
      },
    );
  w.stack.push({ body, at, name });
}
/** Placeholders for the results that a signature promises. A size that only the result names is a new unknown at each call. */
function placeholderResults(w: World, list: readonly ast.TypeExpr[], scope: Scope): Val {
  for (const t of list)
    for (const e of t.axes) {
      const name = bareName(e);
      if (name !== null && !isBound(scope, name)) scope.set(name, number(sizeOfAtom(atom(name)), true));
    }
  return results(list.map((t) => tensor(w.placeholder(typeOf(w, t, scope)))));
}

function bindArrowArguments(w: World, arrow: ArrowParam, { given, at }: Call, scope: Scope): CallArgument[] {
  const { params } = arrow.arrow;
  if (given.length !== params.length || given.some((g) => g.name !== null))
    fail(
      "E0305",
      `\`${arrow.name}\` takes ${pluralize(params.length, "argument")} in order: ${textOf(arrow.arrow.span)}`,
      at,
      {
        also: [{ span: arrow.arrow.span, text: "declared here" }],
        help: "give as many as its type says, without names",
      },
    );
  const fits = params.map((type, i) => ({
    type,
    value: given[i]?.value ?? absorb(),
    what: `argument ${i} of \`${arrow.name}\``,
    span: given[i]?.span ?? at,
  }));
  return unifyAll(w, fits, scope, w.options.floatDType).map((value, i) => ({
    name: null,
    value: tensor(value),
    span: given[i]?.span ?? at,
  }));
}
const arrowScope = (w: World, arrow: ArrowParam): Scope =>
  new Scope(newFrame(w, { role: "header", site: "" }), arrow.scope);

/** Calls a layer or function of which only the arrow type is known. */
function callAbstract(w: World, abstract: ArrowParam, c: Call): Val {
  const scope = arrowScope(w, abstract);
  bindArrowArguments(w, abstract, c, scope);
  return placeholderResults(w, abstract.arrow.result, scope);
}
/** Calls what was passed for an arrow. Arguments and results are converted to the arrow's dtypes, with which it was checked. */
function callThrough(w: World, arrow: ArrowParam, fn: Callable, c: Call): Val {
  const scope = arrowScope(w, arrow);
  const given = firstArguments(fn, bindArrowArguments(w, arrow, c, scope));
  const values = resultList(call(w, fn, { ...c, given, want: null }));
  const fits = declaredResults(arrow.arrow.result, values, arrow.name, c.at);
  return results(unifyAll(w, fits, scope, null).map(tensor));
}
