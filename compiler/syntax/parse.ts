// Text to syntax tree. Never throws, whatever the text: what is wrong with it is in `diagnostics`.
import type { IToken } from "chevrotain";
import { Hole, lexer } from "../../grammar/tokens.ts";
import type { Code } from "../codes.ts";
import type { Diagnostic } from "../diagnostic.ts";
import type { Declaration, Import, Program, Source } from "./ast.ts";
import { type Balanced, balance } from "./brackets.ts";
import { readDeclaration } from "./declarations.ts";
import { helpFor, signHelp } from "./help.ts";
import { type Found, parseDeclaration, split } from "./recover.ts";
import { deepest, endOf, Text, TooDeep } from "./text.ts";

export interface Parsed {
  readonly program: Program;
  readonly diagnostics: readonly Diagnostic[];
}

/** Parses a file. With errors, `program` holds what could be understood. */
export function parse(source: Source): Parsed {
  return parseText(new Text(source.text, [], (start, end) => ({ source, start, end })));
}

/** Parses a text that may have holes. */
export function parseText(text: Text): Parsed {
  const { tokens, comments } = lex(text);
  const parts = split(tokens).flatMap((part) => readPart(text, part, comments));
  const program = {
    imports: parts.filter((part) => "from" in part),
    declarations: parts.filter((part) => "kind" in part),
    span: text.span(0, text.text.length),
  };
  return { program, diagnostics: text.diagnostics.toSorted((a, b) => a.labels[0].span.start - b.labels[0].span.start) };
}

/** A comment that has a line for itself, by its line. */
type Comments = ReadonlyMap<number, string>;

function lex(text: Text): { tokens: IToken[]; comments: Comments } {
  const { tokens, groups, errors } = lexer.tokenize(text.text);
  for (const { offset, length } of errors) unknown(text, offset, length);
  for (const comment of groups["foreign"] ?? []) blockComment(text, comment);
  const holes = tokens.filter(
    (token) => token.tokenType === Hole && Number(token.image.slice(1, -1)) >= text.holes.length,
  );
  for (const token of holes) unknown(text, token.startOffset, token.image.length);
  const comments = new Map<number, string>();
  for (const { image, startLine, startOffset } of groups["comments"] ?? []) {
    const line = text.text.slice(text.text.lastIndexOf("\n", startOffset - 1) + 1, startOffset);
    if (startOffset === 0 || line.trim() === "")
      comments.set(startLine ?? 0, image.slice(2).replace(/^ /, "").trimEnd());
  }
  return { tokens, comments };
}
function unknown(text: Text, offset: number, length: number): void {
  const sign = String.fromCodePoint(text.text.codePointAt(offset) ?? 0);
  const end = offset + Math.max(length, sign.length);
  const shown = /[\p{C}\p{Z}]/u.test(sign) ? `U+${(sign.codePointAt(0) ?? 0).toString(16).toUpperCase()}` : sign;
  const label = { span: text.span(offset, end), text: "not a part of the language" };
  text.error(
    "E0102",
    sign === '"' ? "a text that does not end on its line" : `what is \`${shown}\`?`,
    [label],
    signHelp(sign),
  );
}
function blockComment(text: Text, token: IToken): void {
  const label = { span: text.span(token.startOffset, token.startOffset + 2), text: "not a comment here" };
  text.error("E0102", "there are no block comments", [label], "begin every line of the comment with `//`");
}

function readPart(text: Text, tokens: IToken[], comments: Comments): (Declaration | Import)[] {
  try {
    const balanced = balance(text, tokens);
    const { cst, errors } = parseDeclaration(balanced.tokens);
    for (const error of errors) if (!isQuiet(text, error, balanced)) report(text, error);
    return cst ? [readDeclaration(text, cst, docAbove(comments, tokens[0]?.startLine ?? 1))] : [];
  } catch (error) {
    if (!(error instanceof TooDeep)) throw error;
    const label = { span: error.span, text: `more than ${deepest} levels` };
    text.error("E0107", "nested too deeply", [label], "give parts of it names with `let`, or make functions of them");
    return [];
  }
}
function docAbove(comments: Comments, line: number): string {
  const lines: string[] = [];
  for (let at = line - 1; ; at--) {
    const comment = comments.get(at);
    if (comment === undefined) return lines.join("\n");
    lines.unshift(comment);
  }
}

/** Whether an error only follows from one that is known: a bracket's, or an unknown character on the same line. */
function isQuiet(text: Text, { token, before }: Found, { quiet }: Balanced): boolean {
  const at = token?.startOffset ?? text.text.length;
  if (quiet.some(([start, end]) => at >= start && at <= end)) return true;
  const from = text.text.lastIndexOf("\n", (before ?? token)?.startOffset ?? at);
  const span = text.span(Math.max(from, 0), at);
  const lexical: readonly Code[] = ["E0102", "E0111"];
  return text.diagnostics.some(({ code, labels: [{ span: known }] }) => {
    return lexical.includes(code) && known.start >= span.start && known.start <= span.end;
  });
}
function report(text: Text, { message, token, before, leading }: Found): void {
  const wanted = message.replace(/, found .*$/s, "");
  const end = before ? endOf(before) : 0;
  const behind = text.span(Math.max(0, end - 1), end);
  const help = helpFor(wanted, token, before);
  if (!token) return text.error("E0101", message, [{ span: behind, text: `${wanted} after this` }], help);
  const acrossLines = !leading && before !== undefined && before.endLine !== token.startLine;
  const after = acrossLines ? [{ span: behind, text: "after this" }] : [];
  text.error("E0101", message, [{ span: text.at(token), text: wanted }, ...after], help);
}
