// The answers to an editor's questions about an open text.
import {
  type CompletionItem,
  CompletionItemKind,
  type DocumentSymbol,
  type Hover,
  type Location,
  type MarkupContent,
  MarkupKind,
  SymbolKind,
  type TextEdit,
} from "vscode-languageserver/node";
import { ProgramError } from "../../compiler/program-error.ts";
import type { Declaration, Member, Source } from "../../compiler/syntax/ast.ts";
import { format } from "../../compiler/syntax/format.ts";
import { pathAt } from "./analysis.ts";
import { type Completion, completionsAt } from "./completion.ts";
import { type Described, hoverAt } from "./hover.ts";
import { definitionOf, writtenMembers } from "./names.ts";
import { declarationByText } from "./words.ts";
import { rangeOf, type Workspace } from "./workspace.ts";

const markdown = ({ code, doc }: Described): MarkupContent => ({
  kind: MarkupKind.Markdown,
  value: `\`\`\`moe\n${code.join("\n")}\n\`\`\`\n${doc}`.trimEnd(),
});

export function hover(workspace: Workspace, source: Source, offset: number): Hover | null {
  const found = hoverAt(workspace.analysisOf(source), offset);
  return found && { contents: markdown(found), range: rangeOf(found.span) };
}

/** Where a name is declared: several places, if branches of an `if` declare it. */
export function definition(workspace: Workspace, source: Source, offset: number): Location | Location[] | null {
  const analysis = workspace.analysisOf(source);
  const path = pathAt(analysis.loaded.main.program, offset);
  const found = definitionOf(analysis, path, offset);
  if (found?.others?.length) return [found, ...found.others].map(({ name }) => workspace.locationOf(name.span));
  if (found) return workspace.locationOf(found.name.span);
  const node = path.at(-1);
  const module =
    node && "fromSpan" in node && node.fromSpan.start <= offset ? workspace.resolve(node.from, source) : null;
  if (module) return workspace.locationOf({ source: module, start: 0, end: 0 });
  const byText = declarationByText(analysis, offset, path.length > 1);
  return byText && workspace.locationOf(byText);
}

/** What an outline and what completion calls each kind of node. */
const kinds: Readonly<Record<(Declaration | Member)["kind"], readonly [SymbolKind, CompletionItemKind]>> = {
  layer: [SymbolKind.Class, CompletionItemKind.Class],
  model: [SymbolKind.Class, CompletionItemKind.Class],
  alias: [SymbolKind.Class, CompletionItemKind.Class],
  optimizer: [SymbolKind.Class, CompletionItemKind.Class],
  fn: [SymbolKind.Function, CompletionItemKind.Function],
  method: [SymbolKind.Method, CompletionItemKind.Method],
  param: [SymbolKind.Field, CompletionItemKind.Field],
  state: [SymbolKind.Field, CompletionItemKind.Field],
  sublayer: [SymbolKind.Property, CompletionItemKind.Property],
};
const symbolOf = ({ name, span, kind }: Declaration | Member): DocumentSymbol => ({
  name: name.name,
  kind: kinds[kind][0],
  range: rangeOf(span),
  selectionRange: rangeOf(name.span),
});
export const symbols = (workspace: Workspace, source: Source): DocumentSymbol[] =>
  workspace.analysisOf(source).loaded.main.program.declarations.map((node) => ({
    ...symbolOf(node),
    children: writtenMembers(node).map(symbolOf),
  }));

/** A single edit of what differs, so that cursors elsewhere stay; none for a text with errors of syntax, which are shown already. */
export function formatting(_: Workspace, source: Source): TextEdit[] {
  const { name, text } = source;
  const formatted = formattedAs(name, text);
  if (formatted === null || formatted === text) return [];
  const longest = Math.min(text.length, formatted.length);
  let [start, end] = [0, 0];
  while (start < longest && text[start] === formatted[start]) start++;
  while (end < longest - start && text.at(-1 - end) === formatted.at(-1 - end)) end++;
  const range = rangeOf({ source, start, end: text.length - end });
  return [{ range, newText: formatted.slice(start, formatted.length - end) }];
}
/** With the line ends that the text has. */
function formattedAs(name: string, text: string): string | null {
  try {
    const formatted = format(name, text);
    return text.includes("\r\n") ? formatted.replaceAll("\n", "\r\n") : formatted;
  } catch (error) {
    if (error instanceof ProgramError) return null;
    throw error;
  }
}

export function completion(workspace: Workspace, source: Source, offset: number): CompletionItem[] {
  return completionsAt(source, workspace.resolve, offset).map((found) => ({
    label: found.label,
    kind: completionKind(found),
    detail: found.code[0] ?? "",
    documentation: { kind: MarkupKind.Markdown, value: found.doc },
  }));
}
const completionKind = ({ by }: Completion): CompletionItemKind => {
  if (by === null) return CompletionItemKind.Function;
  return "kind" in by && by.kind in kinds ? kinds[by.kind as keyof typeof kinds][1] : CompletionItemKind.Variable;
};
