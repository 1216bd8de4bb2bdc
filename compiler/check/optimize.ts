// The statement `optimize SELECTOR, ... with OPTIMIZER`, and which parameters a selector matches.
import type { Diagnostic } from "../diagnostic.ts";
import type * as ast from "../syntax/ast.ts";
import { absorb, diagnostic, didYouMean, fail } from "./errors.ts";
import { type Instance, kindText, type Owner, type Scope } from "./values.ts";
import type { OptimizeLine, World } from "./world.ts";

export function checkOptimize(w: World, stmt: Extract<ast.Stmt, { kind: "optimize" }>, scope: Scope): void {
  const { body, instance, role } = scope.frame;
  if (role !== "layer" || !instance || body?.name.name !== "train")
    return fail("E0411", "`optimize` stands in the method `train` of a model", stmt.span, {
      help: "move it there: it says how the model is trained",
    });
  if (w.checking) for (const s of stmt.selectors) w.guard(() => checkSelector(s, instance, scope));
  w.equalCalls?.end();
  w.optimizeLines.push({ selectors: stmt.selectors, optimizer: optimizerOf(w, stmt.with, scope), span: stmt.span });
}
function optimizerOf(w: World, e: ast.Expr | null, scope: Scope): OptimizeLine["optimizer"] {
  if (!e) return null;
  const v = w.evaluate(e, scope);
  if (v.kind === "error") return absorb();
  if (v.kind === "optimizer") return v;
  const help =
    v.kind === "declaration" && v.decl.ast.kind === "optimizer"
      ? `give its header: \`${v.decl.ast.name.name}()\``
      : "write `optimize with AdamW(lr: 1e-3)`, or `with none` to freeze";
  return fail("E0503", `\`optimize\` takes an optimizer, not ${kindText[v.kind]}`, e.span, { help });
}
/** While checking, a selector can be followed up to a layer that is passed in a header, of which nothing is known yet. */
function checkSelector({ path, span }: ast.Selector, instance: Instance, scope: Scope): void {
  const [first] = path;
  if (!first) return;
  const known = scope.get(first.name);
  if (known?.kind === "error") return absorb();
  const layer = known?.kind === "declaration" && known.decl.ast.kind !== "optimizer";
  if (!instance.members.has(first.name) && !layer)
    fail("E0501", `\`${first.name}\` is no member of this model and no layer`, span, {
      help: didYouMean(first.name, [...instance.members.keys(), ...scope.all()], selectorHelp),
    });
  if (!layer)
    requireMember(
      instance,
      [],
      path.map(({ name }) => name),
      span,
    );
}
export const selectorHelp = "write a member's path, `blocks.feed`, or a layer's name, `RmsNorm`";

/** Throws a Failure if no parameter is at `path` within a layer, which is the one at `before`; layers of several kinds are left to elaboration. */
function requireMember({ make, members }: Instance, before: string[], path: string[], at: ast.Span): void {
  const [name, ...rest] = path;
  if (name === undefined || make.of.kind !== "layer") return;
  const found = members.get(name)?.();
  if (found?.kind === "error") return absorb();
  if (found?.kind === "slot" && rest.length === 0) return;
  const inside = found?.kind === "layer" ? [found.layer] : found?.kind === "layers" ? found.layers.kinds : null;
  const [layer, ...others] = inside ?? [];
  const here = [...before, name];
  if (inside) return layer && others.length === 0 ? requireMember(layer, here, rest, at) : undefined;
  const near = [...members].flatMap(([n, value]) => (value().kind === "fn" ? [] : [[...before, n].join(".")]));
  fail("E0501", `\`${[...before, ...path].join(".")}\` selects no parameter`, at, {
    help: didYouMean(here.join("."), near, selectorHelp),
  });
}

/** The error of a `train` without a loss or without an `optimize`. */
export const nothingToTrain = (lacks: "loss" | "optimizer", at: ast.Span): Diagnostic =>
  diagnostic("E0412", `\`train\` has no ${lacks}`, at, {
    help: lacks === "loss" ? "state one: `loss language = ...`" : "end it with `optimize with AdamW(lr: 1e-3)`",
  });

/** Whether a selector matches a parameter, given the layers that contain it. */
export function selects({ path }: ast.Selector, owner: Owner): boolean {
  const names = path.map((n) => n.name);
  const [first = "", ...rest] = names;
  const [root] = owner;
  return (
    (root !== undefined && begins(root.path, names)) ||
    owner.some((o) => o.names.includes(first) && begins(o.path, rest))
  );
}
/** Whether a path begins with the names; indices of copies are skipped, so `blocks.feed` matches in every block. */
function begins(path: string, names: readonly string[]): boolean {
  const parts = path.split(".").filter((p) => !/^(\d+|\*)$/.test(p));
  return names.length <= parts.length && names.every((n, i) => n === parts[i]);
}
