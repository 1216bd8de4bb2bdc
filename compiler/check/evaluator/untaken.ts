// A call that stands alone, whose result nothing takes, although it changes nothing: `relu(x)`, `norm(x)`.
import { memoize } from "../../memoize.ts";
import type * as ast from "../../syntax/ast.ts";
import { nodesIn } from "../../syntax/nodes.ts";
import { fail, quoted } from "../errors.ts";
import type { Instance, Scope, Val } from "../values.ts";
import type { World } from "../world.ts";

/** Runs the statement; fails if it does nothing. */
export function runCall(w: World, { value }: { readonly value: ast.Expr }, scope: Scope): void {
  const result = w.evaluate(value, scope);
  if (result.kind === "error" || result.kind === "none" || value.kind !== "call" || !w.checking) return;
  const what = changesNothing(w.evaluate(value.callee, scope));
  if (what === null) return void w.useful.add(value);
  fail("E0317", `nothing takes the result of this ${what}`, value.span, {
    notes: [
      what === "function"
        ? "a function changes nothing: neither its arguments nor the model"
        : "it states no loss, metric or state, so the call changes nothing: neither its arguments nor the model",
    ],
    help: `name it, \`let y = ${quoted(value.span, "f(x)")}\`, or assign it, \`x = ...\``,
  });
}
/** What is called, if a call of it certainly has no effect; else null. */
function changesNothing(callee: Val): "function" | "layer" | null {
  if (callee.kind === "picked") return callee.index ? "layer" : null;
  if (callee.kind === "layer") return mayHaveEffects(callee) ? null : "layer";
  if (callee.kind !== "fn") return null;
  const { fn } = callee;
  if (fn.kind === "builtin" || (fn.kind === "declared" && !takesLayers(fn.decl.ast.header))) return "function";
  return fn.kind === "method" && !instanceMay(fn.instance) ? "layer" : null;
}
/** Whether a member has an effect, or calls what may have one. */
function mayHaveEffects(v: Val): boolean {
  switch (v.kind) {
    case "error":
      return true;
    case "fn":
      return v.fn.kind !== "method" || takesLayers(v.fn.method.params) || states(v.fn.method);
    case "layer":
      return [v.layer, ...v.others].some(instanceMay);
    case "layers":
      return v.layers.kinds.some(instanceMay);
    default:
      return false;
  }
}
const instanceMay = ({ make, members }: Instance): boolean =>
  make.of.kind !== "layer" || [...members.values()].some((member) => mayHaveEffects(member()));
/** A layer that is given may have effects, wherever it is called. */
const takesLayers = (params: readonly ast.HeaderParam[]): boolean => params.some(({ type }) => type?.kind === "arrow");
const effects: ReadonlySet<unknown> = new Set(["loss", "metric", "update", "state"]);
const states = memoize(({ body }: ast.Method): boolean => nodesIn(body).some((node) => effects.has(node.kind)));
