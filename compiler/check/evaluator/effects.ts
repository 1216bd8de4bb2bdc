// Statements with side effects: `loss`, `metric`, `state`, `update`.
import type * as ast from "../../syntax/ast.ts";
import { showType, type } from "../../types/type.ts";
import { absorb, didYouMean, fail, textOf } from "../errors.ts";
import { calledFrom } from "../numbers.ts";
import { isMerged } from "../origin.ts";
import { castTo, conform, convert, toDefaultTensor } from "../tensor.ts";
import { typeOf } from "../types.ts";
import { errorVal, type Scope, type Val } from "../values.ts";
import type { World } from "../world.ts";
import { innerNameHelp } from "./inner-names.ts";

type Of<K extends ast.Stmt["kind"]> = Extract<ast.Stmt, { kind: K }>;
const homes = { function: "a function", optimizer: "an optimizer", header: "a header", layer: "a layer" } as const;

/** Thrown if a body that is elaborated once for a whole stack has side effects; it is then elaborated layer by layer instead. */
export class EffectInStack extends Error {}

function allowEffect(w: World, scope: Scope, what: string, at: ast.Span): void {
  const { role, lane, instance } = scope.frame;
  if (role !== "layer" || !instance)
    fail("E0402", `${what} stands in layers, not in ${homes[role]}`, at, {
      help: "move it to the method of a layer that calls this",
    });
  refuseInMerged(what, at, scope);
  if (lane?.kind === "routed")
    fail("E0403", `${what} cannot stand in a layer called by \`experts[index](x)\``, at, {
      notes: ["such a layer sees one row, and there is no batch there", ...calledFrom(w)],
      help: "move it out of the routed layer, for instance to its gate; a gate inside of an expert states none: `SoftmaxGate`",
    });
  if (lane?.kind === "each") throw new EffectInStack();
}
function refuseInMerged(what: string, at: ast.Span, { frame }: Scope): void {
  if (isMerged(frame.body))
    fail("E0402", `${what} does not stand in \`merged\``, at, {
      help: "it only says what the layer's parameters and states become: `update weight = ...`",
    });
}

export function runLoss(w: World, stmt: Of<"loss" | "metric" | "update">, scope: Scope): void {
  allowEffect(w, scope, "`loss`", stmt.span);
  const v = w.evaluate(stmt.value, scope);
  if (v.kind === "error") return absorb();
  const want = type(w.options.f32, []);
  const x = toDefaultTensor(w, v, stmt.value.span);
  if (x.type.shape.length > 0)
    fail("E0405", `a loss is a single number, not ${showType(x.type)}`, stmt.value.span, {
      notes: calledFrom(w),
      help: "take its `mean(...)` or `sum(...)`",
    });
  const value = convert(w, v, want, { what: "a loss", span: stmt.name.span, text: "f32" }, stmt.value.span);
  w.effects.losses.push({ path: scope.frame.instance?.path ?? "", name: stmt.name.name, value });
}
export function runMetric(w: World, stmt: Of<"loss" | "metric" | "update">, scope: Scope): void {
  allowEffect(w, scope, "`metric`", stmt.span);
  const v = w.evaluate(stmt.value, scope);
  if (v.kind === "error") return absorb();
  w.effects.metrics.push({
    path: scope.frame.instance?.path ?? "",
    name: stmt.name.name,
    value: toDefaultTensor(w, v, stmt.value.span),
  });
}

/** A state declared in a method: one for each entry or, in an optimizer, for each parameter. */
export function runState(w: World, stmt: ast.State, scope: Scope): void {
  const { role, lane } = scope.frame;
  scope.set(stmt.name.name, errorVal); // if it fails, its uses are not reported too
  if (role === "function" || role === "header")
    fail("E0402", `\`state\` stands in layers and optimizers, not in ${homes[role]}`, stmt.span, {
      help: "move it to a layer",
    });
  refuseInMerged("`state`", stmt.span, scope);
  if (lane?.kind === "routed")
    fail("E0403", "`state` cannot stand in a layer called by `experts[index](x)`", stmt.span, {
      help: "move it out of the routed layer",
    });
  if (lane?.kind === "each" && role === "layer") throw new EffectInStack();
  const t = typeOf(w, stmt.type, scope);
  const declared = { what: `\`${stmt.name.name}\``, span: stmt.type.span, text: textOf(stmt.type.span) };
  if (w.checking) conform(w, w.evaluate(stmt.init, scope, t), t, declared, stmt.init.span);
  w.equalCalls?.end();
  const slot = w.checking
    ? { type: t, read: () => w.placeholder(t), write: () => undefined }
    : w.localState(stmt, t, scope);
  scope.set(stmt.name.name, { kind: "slot", slot, dtype: t.dtype, name: stmt.name.name, state: true });
}

function notStateHelp(target: Val, name: string, { frame: { role, body } }: Scope): string {
  if (target.kind === "slot")
    return "parameters change in the optimizer, and in a layer's `merged()`, which has no arguments and no results";
  if (role === "optimizer" && body?.kind === "method" && body.params.some((p) => p.name.name === name))
    return `only \`apply\` changes a parameter: return what \`${name}\` is to become, and \`update\` it there`;
  return `write \`${name} = ...\` for a variable, or declare \`state ${name}: ...\``;
}
export function runUpdate(w: World, stmt: Of<"loss" | "metric" | "update">, scope: Scope): void {
  const name = stmt.name.name;
  const target = scope.get(name);
  if (target?.kind === "error") return;
  if (target === undefined)
    return fail("E0301", `no state is called \`${name}\``, stmt.name.span, {
      help: innerNameHelp(name, scope.frame) ?? didYouMean(name, scope.all(), `declare it: \`state ${name}: f32 = 0\``),
    });
  const merging = isMerged(scope.frame.body);
  if (target.kind !== "slot" || !(target.state || merging || scope.frame.role === "optimizer"))
    return fail("E0404", `\`${name}\` is not a state`, stmt.name.span, {
      help: notStateHelp(target, name, scope),
    });
  if (scope.frame.role === "function")
    return fail("E0402", "`update` stands in layers and optimizers, not in a function", stmt.span, {
      help: "move it to a layer",
    });
  if (scope.frame.role === "layer" && !merging) allowEffect(w, scope, "`update`", stmt.span);
  const t = target.slot.type;
  const declared = { what: `\`${name}\``, span: stmt.name.span, text: showType(t), exact: true };
  const value = conform(w, w.evaluate(stmt.value, scope), t, declared, stmt.value.span);
  w.equalCalls?.wrote(value);
  target.slot.write(value, stmt.span);
}
/** The current value of a parameter or state, in its declared dtype. */
export function readSlot(w: World, v: Extract<Val, { kind: "slot" }>, scope: Scope): Val {
  return { kind: "tensor", value: castTo(w, v.slot.read(), w.resolve(v.dtype, scope)) };
}
