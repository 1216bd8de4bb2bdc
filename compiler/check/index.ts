// The checker and elaboration. There is one evaluator with two modes: checking runs it with symbols for sizes, elaboration with numbers.
import type { Diagnostic } from "../diagnostic.ts";
import type { Declaration, Expr, Span } from "../syntax/ast.ts";
import { checkDeclaration, findRecursion } from "./declarations.ts";
import { checkTraining } from "./entry/trainable.ts";
import { evaluator } from "./evaluator/evaluator.ts";
import type { Loaded } from "./modules.ts";
import type { Val } from "./values.ts";
import { checkingOptions, World } from "./world.ts";

export type { Precision } from "../types/dtype.ts";
export { builtins } from "./builtins/list.ts";
export * from "./entry/elaborate.ts";
export * from "./entry/entry-signature.ts";
export { type Loaded, load, loadFile, loadTemplate, type Resolve, resolveFile } from "./modules.ts";
export { type Path, pathsOf } from "./paths.ts";

/** What an editor asks the checker: the value of each expression, as its own declaration sees it. */
type OnValue = (e: Expr, value: Val) => void;

/**
 * All errors of a program, in source order, without duplicates. Modules of the standard library are not checked; a test does that. `only`: the one
 * declaration to check.
 */
export function check(loaded: Loaded, onValue?: OnValue, only?: Declaration): Diagnostic[] {
  const w = new World(checkingOptions(), evaluator);
  const own = loaded.modules.filter((m) => m === loaded.main || !m.name.startsWith("std/"));
  for (const module of own)
    for (const decl of module.names.values()) {
      if (decl?.module !== module || (only && decl.ast !== only)) continue;
      // a layer's members are evaluated for those who use it, too, with the sizes that they give it
      if (onValue) w.onValue = (e, value) => isWithin(decl.ast.span, e.span) && onValue(e, value);
      checkDeclaration(w, decl);
    }
  const found = [...findRecursion(w.calls), ...w.diagnostics];
  return inOrder([...loaded.diagnostics, ...found.filter((d) => !isConsequence(loaded, d.labels[0].span))]);
}
/** The same, and if there are none, what elaboration would find in the models' training steps whatever the sizes of their batches. */
export function checkAll(loaded: Loaded): Diagnostic[] {
  const found = check(loaded);
  return found.length > 0 ? found : inOrder(checkTraining(loaded));
}
const isConsequence = ({ faulty }: Loaded, { source, start }: Span): boolean =>
  faulty.some((f) => isWithin(f, { source, start, end: start + 1 }));
const isWithin = (outer: Span, { source, start, end }: Span): boolean =>
  outer.source === source && outer.start <= start && end <= outer.end;
/** One place of the library may be wrong for several models: the notes say from where it is called. */
const key = ({ code, labels: [{ span }], notes }: Diagnostic): string =>
  [code, span.source.name, span.start, ...notes].join("\n");
function inOrder(list: readonly Diagnostic[]): Diagnostic[] {
  const once = [...new Map(list.map((d) => [key(d), d])).values()];
  const sources = [...new Set(once.map((d) => d.labels[0].span.source))];
  return once.toSorted((a, b) => {
    const [s, t] = [a.labels[0].span, b.labels[0].span];
    return sources.indexOf(s.source) - sources.indexOf(t.source) || s.start - t.start;
  });
}
