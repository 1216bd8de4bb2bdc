// What can be written at a position: members after a dot, what a module declares in its import, else the names in scope and built-in functions.
import { builtins, type Loaded, type Resolve } from "../../compiler/check/index.ts";
import type * as ast from "../../compiler/syntax/ast.ts";
import { Analysis, pathAt } from "./analysis.ts";
import { type Described, describeBuiltin, describeDefinition } from "./hover.ts";
import { type Definition, declaration, is, membersOfValue, visibleNames } from "./names.ts";

export interface Completion extends Described {
  readonly label: string;
  /** null: a built-in function. */
  readonly by: Definition["by"] | null;
}

/** The text is checked with a letter more, so that a name stands at the position even if nothing is written there yet. */
export function completionsAt({ name, text }: ast.Source, resolve: Resolve, offset: number): Completion[] {
  const source = { name, text: `${text.slice(0, offset)}_${text.slice(offset)}` };
  const analysis = new Analysis(source, resolve);
  const path = pathAt(analysis.loaded.main.program, offset);
  const [parent, node] = [path.at(-2), path.at(-1)];
  if (!node || !parent || !("name" in node) || typeof node.name !== "string") return [];
  if (is(parent, "member") && node === parent.name)
    return membersOfValue(analysis.values.get(parent.object)).map((by) => completionOf({ name: by.name, by }));
  if ("fromSpan" in parent) return declaredIn(analysis.loaded, resolve(parent.from, source)).map(completionOf);
  return [
    ...[...visibleNames(analysis, path, offset).values()].map(completionOf),
    ...[...builtins.keys()].map((label) => ({ label, by: null, ...describeBuiltin(label) })),
  ];
}
const completionOf = (definition: Definition): Completion => ({
  label: definition.name.name,
  by: definition.by,
  ...describeDefinition(definition, undefined),
});
function declaredIn({ modules }: Loaded, source: ast.Source | null): Definition[] {
  const module = modules.find(({ name }) => name === source?.name);
  return [...(module?.names.values() ?? [])].flatMap((declared) =>
    declared?.module === module ? (declaration(declared) ?? []) : [],
  );
}
