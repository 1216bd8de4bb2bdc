// What to show for the word or expression at a position: types with the sizes that an error would name, signatures, documentation.
import { builtinCalled, builtins } from "../../compiler/check/builtins/list.ts";
import { textOf } from "../../compiler/check/errors.ts";
import { distinct } from "../../compiler/check/makers.ts";
import { type Callable, kindText, type Makeable, resultList, type Val } from "../../compiler/check/values.ts";
import type * as ast from "../../compiler/syntax/ast.ts";
import { show } from "../../compiler/types/size.ts";
import { showType } from "../../compiler/types/type.ts";
import { type Analysis, pathAt } from "./analysis.ts";
import { type Definition, definitionOf, forwardIn, is, isDeclaration } from "./names.ts";
import { keywords, wordAt } from "./words.ts";

/** Lines of the language, and what they mean in words. */
export interface Described {
  readonly code: readonly string[];
  readonly doc: string;
}
interface Hover extends Described {
  readonly span: ast.Span;
}
const coded = (...code: readonly string[]): Described => ({ code, doc: "" });

export function hoverAt(analysis: Analysis, offset: number): Hover | null {
  const path = pathAt(analysis.loaded.main.program, offset);
  const [parent, node] = [path.at(-2), path.at(-1)];
  if (!node) return null;
  const e = is(parent, "member") && node === parent.name ? parent : node;
  const value = analysis.values.get(e as ast.Expr);
  const definition = definitionOf(analysis, path, offset);
  if (definition) return { ...describeAll(definition, value, analysis), span: node.span };
  if (value) return { ...describeExpression(textOf(e.span), value), span: e.span };
  return hoverWord(analysis, offset, path.length > 1);
}
/** A keyword; where there is no tree (`parsed` false), a name too. */
function hoverWord(analysis: Analysis, offset: number, parsed: boolean): Hover | null {
  const found = wordAt(analysis.loaded.main.program.span.source, offset);
  if (!found) return null;
  const { word, span } = found;
  const keyword = Object.hasOwn(keywords, word) ? keywords[word] : undefined;
  if (keyword) return { code: [keyword.code], doc: keyword.doc, span };
  if (parsed) return null;
  const declared = analysis.loaded.main.names.get(word);
  if (declared) return { ...describeBody(declared.ast), span };
  return builtins.has(word) ? { ...describeBuiltin(word), span } : null;
}
/** The value that a declaration without a type gives a name. */
function givenValue({ name, by }: Definition, { values }: Analysis): Val | undefined {
  if (is(by, "sublayer")) return values.get(by.value);
  const given = is(by, "let") && !by.type ? values.get(by.value) : undefined;
  return given && is(by, "let") ? resultList(given)[by.names.findIndex((one) => one?.name === name.name)] : undefined;
}

/** A declaration's signature, or a name with its type, and what its value is; of a member that branches of an `if` declare, as each does. */
function describeAll(definition: Definition, value: Val | undefined, analysis: Analysis): Described {
  const { code, doc } = describeDefinition(definition, value ?? givenValue(definition, analysis));
  const others = (definition.others ?? []).map((one) => describeDefinition(one, givenValue(one, analysis)));
  return { code: [...code, ...others.flatMap((one) => one.code)], doc };
}
export function describeDefinition({ name, by }: Definition, value: Val | undefined): Described {
  if (isDeclaration(by) || is(by, "method")) return describeBody(by);
  if (is(by, "tensor")) return coded(`${name.name}: a size`);
  const written = writtenText(name.name, by);
  const typed = value && (!("spread" in by) || value.kind === "tensor") ? withType(name.name, value) : null;
  if (typed !== null) return coded(typed);
  const { code, doc } = value && !("spread" in by) ? describeValue(value) : coded();
  return { code: [written, ...code], doc };
}
function writtenText(name: string, by: Definition["by"]): string {
  if (is(by, "for")) return `for ${name} in ${textOf(by.over.span)}`;
  return is(by, "let") && by.type ? `${name}: ${textOf(by.type.span)}` : firstLine(textOf(by.span));
}
function describeExpression(text: string, value: Val): Described {
  const typed = withType(text.length > 60 || text.includes("\n") ? "" : text, value);
  return typed === null ? describeValue(value) : coded(typed);
}
const firstLine = (text: string): string => text.split("\n")[0] ?? "";

/** `x: float[N, D]`, `H = 4 * D`; null for layers and functions. */
function withType(name: string, v: Val): string | null {
  switch (v.kind) {
    case "tensor":
      return `${name}: ${showType(v.value.type)}`;
    case "number":
      if (v.value === null) return `${name}: a number known when compiling`;
      return show(v.value) === name ? name : `${name} = ${show(v.value)}`;
    case "bool":
      return v.value === null ? `${name}: a boolean known when compiling` : `${name} = ${v.value}`;
    case "spread":
      return `...${v.name} = [${v.axes.map(show).join(", ")}]`;
    case "tuple":
      return `${name}: (${v.items.map((item) => withType("", item)?.replace(/^: /, "") ?? kindText[item.kind]).join(", ")})`;
    default:
      return null;
  }
}
function describeValue(v: Val): Described {
  switch (v.kind) {
    case "fn":
      return describeCallable(v.fn);
    case "declaration":
    case "optimizer":
      return describeBody(v.decl.ast);
    case "maker":
      return describeMakeable(v.make);
    case "layer":
      return describeMakeable(v.layer.make);
    case "layers":
      return describeFirst(v.layers.kinds.map(({ make }) => make));
    case "makers":
      return describeFirst(distinct(v.makers));
    default:
      return coded(kindText[v.kind]);
  }
}
const describeFirst = ([first]: readonly Makeable[]): Described => (first ? describeMakeable(first) : coded());
function describeMakeable(make: Makeable): Described {
  const { of } = make;
  if (of.kind === "fn") return describeCallable(of.fn);
  if (of.kind === "abstract") return coded(textOf(of.abstract.arrow.span));
  const { code, doc } = describeBody(of.maker.parts.at(-1)?.ast ?? of.maker.parts[0].ast);
  const forward = forwardIn(make);
  return { code: forward ? [...code, `  ${signature(forward)}`] : code, doc };
}
function describeCallable(fn: Callable): Described {
  switch (fn.kind) {
    case "declared":
      return describeBody(fn.decl.ast);
    case "builtin":
      return describeBuiltin(fn.name);
    case "method":
    case "helper":
      return describeBody(fn.method);
    case "abstract":
      return coded(`${fn.abstract.name}: ${textOf(fn.abstract.arrow.span)}`);
    case "through":
      return describeCallable(fn.fn);
  }
}
export function describeBuiltin(name: string): Described {
  const { signature, doc } = builtinCalled(name);
  return { code: [signature], doc };
}
const describeBody = (node: ast.Declaration | ast.Method): Described => ({
  code: [signature(node)],
  doc: node.kind === "method" ? "" : node.doc,
});
/** The text of a declaration up to its body. */
function signature(node: ast.Declaration | ast.Method): string {
  const { source, start } = node.span;
  if (node.kind === "alias") return source.text.slice(start, node.value.span.end);
  const params = node.kind === "method" ? node.params : node.header;
  const results = "result" in node ? node.result : [];
  const { span } = results.at(-1) ?? params.at(-1) ?? node.name;
  return source.text.slice(start, source.text.indexOf("{", span.end)).trimEnd();
}
