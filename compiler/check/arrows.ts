// Checks layers and functions that are passed as arguments against the arrow type of the parameter.
import { locationText } from "../diagnostic.ts";
import { pluralize } from "../pluralize.ts";
import type { Span, TypeExpr } from "../syntax/ast.ts";
import { Failure, fail, textOf } from "./errors.ts";
import { checkRoutedBody } from "./evaluator/probe.ts";
import { newFrame } from "./frames.ts";
import { forwardOf, makeInstance } from "./layers.ts";
import { distinct } from "./makers.ts";
import { isLayer } from "./origin.ts";
import { firstArguments } from "./rows.ts";
import { isRoutedParam } from "./stacks.ts";
import { abstractStorage } from "./storage.ts";
import { declareNames, typeOf } from "./types.ts";
import { declaredResults, unifyAll } from "./unify.ts";
import { type ArrowParam, type Instance, type Makeable, resultList, Scope, tensor, type Val } from "./values.ts";
import type { Call, CallArgument, World } from "./world.ts";

/** While checking, calls the argument with placeholders of the arrow's parameter types, and compares its results with the arrow's result types. */
export function checkArrow(w: World, v: Val, arrow: ArrowParam, at: Span): Val {
  if (!w.checking) return v;
  const makes = v.kind === "maker" ? [v.make] : v.kind === "makers" ? distinct(v.makers) : [];
  for (const make of makes) {
    try {
      checkCall(w, { ...make, arrows: make.arrows.filter((a) => a !== arrow) }, arrow, at);
    } catch (error) {
      if (error instanceof Failure && error.diagnostic && error.diagnostic.code !== "E0401")
        doesNotFit(arrow, at, error.diagnostic);
      throw error;
    }
  }
  return v;
}
/**
 * What is passed to an arrow parameter of a function or method: of a layer that is made, its `forward`. While checking, an element of an array may be
 * any of its different layers.
 */
export const passed = (v: Val, at: Span): readonly [Val, ...Val[]] =>
  v.kind === "layer" ? [asFunction(v.layer, at), ...v.others.map((other) => asFunction(other, at))] : [v];
const asFunction = (layer: Instance, at: Span): Val => ({ kind: "fn", fn: forwardOf(layer, at) });
function doesNotFit(arrow: ArrowParam, at: Span, why: NonNullable<Failure["diagnostic"]>): never {
  fail("E0401", `\`${textOf(at)}\` is not what \`${arrow.name}\` takes: ${textOf(arrow.arrow.span)}`, at, {
    also: [{ span: arrow.arrow.span, text: `what \`${arrow.name}\` takes` }],
    notes: [why.message, ...why.notes],
    help: `give a layer or function whose \`forward\` is \`${textOf(arrow.arrow.span)}\`, with the sizes of ${locationText(at)}`,
  });
}
/**
 * Throws a Failure if the call does not check or its results do not fit. If the layer that declares the arrow routes to it, the call is also tried
 * as a routed one (`checkRoutedBody`).
 */
function checkCall(w: World, make: Makeable, { arrow, scope: home, name }: ArrowParam, at: Span): void {
  const scope = new Scope(newFrame(w, { role: "header", site: "" }), home);
  for (const t of arrow.params) declareNames(t, scope);
  const argumentsOf = (types: readonly TypeExpr[]): CallArgument[] =>
    types.map((t) => ({ name: null, value: tensor(w.placeholder(typeOf(w, t, scope))), span: at }));
  const call: Call = { given: argumentsOf(arrow.params), from: scope.frame, at, want: null };
  const fn = forwardOf(makeInstance(w, make, "", abstractStorage(w)), at);
  const { body } = home.frame;
  if (isLayer(body) && isRoutedParam(body.body, name))
    checkRoutedBody(w, fn, { ...call, given: argumentsOf(arrow.params.map((t) => ({ ...t, spread: null }))) });
  const values = resultList(w.call(fn, { ...call, given: firstArguments(fn, call.given) }));
  if (values.length !== arrow.result.length)
    fail("E0206", `it has ${pluralize(values.length, "result")}, not ${arrow.result.length}`, at, { help: "" });
  unifyAll(w, declaredResults(arrow.result, values, name, at), scope, null);
}
