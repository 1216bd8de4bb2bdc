// The checker and elaboration. There is one evaluator with two modes: checking runs it with symbols for sizes, elaboration with numbers.
import type { Diagnostic } from "../diagnostic.ts";
import { checkDeclaration, findRecursion } from "./declarations.ts";
import { evaluator } from "./evaluator.ts";
import type { Loaded } from "./modules.ts";
import { checkingOptions, World } from "./world.ts";

export type { Precision } from "../types/dtype.ts";
export { builtins } from "./builtins/list.ts";
export * from "./elaborate.ts";
export * from "./entry-signature.ts";
export { type Loaded, load, loadFile, loadTemplate, type Resolve, resolveFile } from "./modules.ts";
export { type Path, pathsOf } from "./paths.ts";

/** All errors of a program, in source order, without duplicates. Modules of the standard library are not checked; a test does that. */
export function check(loaded: Loaded): Diagnostic[] {
  const w = new World(checkingOptions(), evaluator);
  const own = loaded.modules.filter((m) => m === loaded.main || !m.name.startsWith("std/"));
  for (const module of own)
    for (const decl of module.names.values()) if (decl?.module === module) checkDeclaration(w, decl);
  return inOrder([...loaded.diagnostics, ...absorbed(loaded, [...w.diagnostics, ...findRecursion(w.calls)])]);
}
/** If a file has syntax errors, the parser may have skipped declarations in it: reports of names missing there are dropped. */
function absorbed(loaded: Loaded, found: readonly Diagnostic[]): Diagnostic[] {
  const broken = new Set(
    loaded.diagnostics.filter((d) => d.code.startsWith("E01")).map((d) => d.labels[0].span.source),
  );
  const names = new Set(["E0301", "E0313", "E0309"]);
  return found.filter((d) => !(names.has(d.code) && broken.has(d.labels[0].span.source)));
}
const key = (d: Diagnostic): string => `${d.code}:${d.labels[0].span.source.name}:${d.labels[0].span.start}`;
function inOrder(list: readonly Diagnostic[]): Diagnostic[] {
  const once = [...new Map(list.map((d) => [key(d), d])).values()];
  const sources = [...new Set(once.map((d) => d.labels[0].span.source))];
  return once.toSorted((a, b) => {
    const [s, t] = [a.labels[0].span, b.labels[0].span];
    return sources.indexOf(s.source) - sources.indexOf(t.source) || s.start - t.start;
  });
}
