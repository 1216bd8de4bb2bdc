// Calling functions and methods. Checking instantiates the signature only; elaborating inlines the body.
import type * as ast from "../syntax/ast.ts";
import { atom, sizeOf as sizeOfAtom } from "../types/size.ts";
import type { Type } from "../types/type.ts";
import { builtinCalled } from "./builtins/list.ts";
import { absorb, fail, textOf } from "./errors.ts";
import { moduleScope, newFrame, siteOf } from "./frames.ts";
import { calledFrom } from "./numbers.ts";
import { bindArguments, type Signature } from "./signature.ts";
import { bareName, isBound, typeOf } from "./types.ts";
import { fitAll } from "./unify.ts";
import {
  type Abstract,
  type Callable,
  type Frame,
  number,
  resultList,
  results,
  Scope,
  tensor,
  type Val,
} from "./values.ts";
import type { Given, World } from "./world.ts";

export function call(
  w: World,
  fn: Callable,
  given: readonly Given[],
  from: Frame,
  at: ast.Span,
  want: Type | null,
): Val {
  if (given.some((g) => g.value.kind === "error")) absorb();
  switch (fn.kind) {
    case "builtin":
      return builtinCalled(fn.name).call({ w, frame: from, at, want, site: siteOf(from, at) }, given);
    case "declared": {
      const { ast } = fn.decl;
      const frame = newFrame(w, {
        role: "function",
        body: ast,
        site: siteOf(from, at),
        lane: from.lane,
        result: ast.result,
      });
      return enter(
        w,
        { name: ast.name.name, params: ast.header, result: ast.result },
        ast,
        moduleScope(w, fn.decl.module).within(frame),
        given,
        from,
        at,
        want,
      );
    }
    case "method": {
      const { instance, method } = fn;
      const frame = newFrame(w, {
        role: "layer",
        instance,
        body: method,
        site: siteOf(from, at),
        lane: from.lane,
        result: method.result,
      });
      return enter(w, signatureOf(method), method, instance.scope.within(frame), given, from, at, want);
    }
    case "helper": {
      const { method } = fn;
      const frame = newFrame(w, {
        role: "optimizer",
        body: method,
        site: siteOf(from, at),
        lane: from.lane,
        result: method.result,
      });
      return enter(w, signatureOf(method), method, fn.scope.within(frame), given, from, at, want);
    }
    case "abstract":
      return callAbstract(w, fn.abstract, given, at);
    case "through":
      return callThrough(w, fn.arrow, fn.fn, given, from, at);
  }
}
export const signatureOf = (m: ast.Method): Signature => ({ name: m.name.name, params: m.params, result: m.result });

function enter(
  w: World,
  sig: Signature,
  body: ast.Method | ast.Fn,
  scope: Scope,
  given: readonly Given[],
  from: Frame,
  at: ast.Span,
  want: Type | null,
): Val {
  if (w.checking && from.body) w.recordCall(from.body, body, at);
  const signatureOnly = w.checking && !from.lane;
  if (!signatureOnly) enterBody(w, body, at, sig.name);
  bindArguments(w, sig, scope, given, at, want);
  if (signatureOnly) return promised(w, sig.result, scope);
  w.execute(body.body, scope.inner());
  w.stack.pop();
  return scope.frame.returned ?? (w.checking ? promised(w, sig.result, scope) : { kind: "none" });
}
function enterBody(w: World, body: object, at: ast.Span, name: string): void {
  if (w.stack.length > 200)
    fail("E0308", `\`${name}\` calls itself`, at, {
      help: "functions and layers never call themselves: use `for`",
      notes: calledFrom(w),
    });
  w.stack.push({ body, at, name });
}
/** The results that a signature promises; a size that only they name is a new one at each call. */
function promised(w: World, list: readonly ast.TypeExpr[], scope: Scope): Val {
  for (const t of list)
    for (const e of t.axes) {
      const name = bareName(e);
      if (name !== null && !isBound(scope, name)) scope.set(name, number(sizeOfAtom(atom(name)), true));
    }
  return results(list.map((t) => tensor(w.placeholder(typeOf(w, t, scope)))));
}

function fitArrow(w: World, arrow: Abstract, given: readonly Given[], scope: Scope, at: ast.Span): Given[] {
  const { params } = arrow.arrow;
  if (given.length !== params.length || given.some((g) => g.name !== null))
    fail("E0305", `\`${arrow.name}\` takes ${params.length} arguments in order: ${textOf(arrow.arrow.span)}`, at, {
      also: [{ span: arrow.arrow.span, text: "declared here" }],
      help: "give as many as its type says, without names",
    });
  const fits = params.map((type, i) => ({
    type,
    value: given[i]?.value ?? absorb(),
    what: `argument ${i} of \`${arrow.name}\``,
    span: given[i]?.span ?? at,
  }));
  return fitAll(w, fits, scope, w.options.working).map((value, i) => ({
    name: null,
    value: tensor(value),
    span: given[i]?.span ?? at,
  }));
}
const arrowScope = (w: World, arrow: Abstract): Scope =>
  new Scope(newFrame(w, { role: "header", site: "" }), arrow.scope);

/** A layer or function of which only the arrow is known. */
function callAbstract(w: World, abstract: Abstract, given: readonly Given[], at: ast.Span): Val {
  const scope = arrowScope(w, abstract);
  fitArrow(w, abstract, given, scope, at);
  return promised(w, abstract.arrow.result, scope);
}
/** What is passed for an arrow sees the arrow's dtypes, so that it computes as it was checked. */
function callThrough(w: World, arrow: Abstract, fn: Callable, given: readonly Given[], from: Frame, at: ast.Span): Val {
  const scope = arrowScope(w, arrow);
  const fitted = fitArrow(w, arrow, given, scope, at);
  const values = resultList(call(w, fn, fitted, from, at, null));
  const fits = arrow.arrow.result.map((type, i) => ({
    type,
    value: values[i] ?? absorb(),
    what: `result ${i} of \`${arrow.name}\``,
    span: at,
  }));
  return results(fitAll(w, fits, scope, null).map(tensor));
}
