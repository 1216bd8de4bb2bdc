// Splits a text into tokens and comments, and reports characters that the language does not have.
import type { IToken } from "chevrotain";
import { Hole, lexer } from "../../grammar/tokens.ts";
import { signHelp } from "./help.ts";
import type { Text } from "./text.ts";

export interface Lexed {
  readonly tokens: IToken[];
  /** Comments that have a line to themselves, by line number. */
  readonly comments: ReadonlyMap<number, string>;
}

export function lex(text: Text): Lexed {
  const { tokens, groups, errors } = lexer().tokenize(withoutDivisions(text));
  for (const { offset, length } of errors) unknown(text, offset, length);
  const blocks = groups["foreign"] ?? [];
  for (const comment of blocks) blockComment(text, comment);
  const holes = tokens.filter((token) => token.tokenType === Hole && holeIndex(token) >= text.holes.length);
  for (const token of holes) unknown(text, token.startOffset, token.image.length);
  const odd = [...errors.map(({ line }) => line), ...[...blocks, ...holes].map(({ startLine }) => startLine)];
  for (const line of odd) text.invalidLines.add(line ?? 0);
  return { tokens, comments: lineComments(text, groups["comments"] ?? []) };
}
/**
 * In Python, `//` divides: `[N, D // 2]`. Here it would silently begin a comment that hides the rest and the closing brackets. So a comment after
 * an operand that consists of a number only, or of a name or number followed by a closing bracket, is reported, and read as `/`.
 */
const division = /\/\/(?<=[\w)\]][^\S\n]*\/\/)(?=[^\S\n]*(?:\d[\d.]*[^\S\n]*$|\w+[^\S\n]*[)\]}]))/gm;
function withoutDivisions(text: Text): string {
  return text.text.replace(division, (sign, offset: number) => {
    if (text.text.slice(text.text.lastIndexOf("\n", offset) + 1, offset).includes("//")) return sign;
    const label = { span: text.span(offset, offset + 2), text: "begins a comment, to the end of the line" };
    text.error(
      "E0102",
      "`//` does not divide",
      [label],
      "sizes and numbers are divided by `/`, tensors of `i32` by `div(a, b)`; a comment has a line of its own",
    );
    return "/ ";
  });
}
export const holeIndex = (token: IToken): number => Number(token.image.slice(1, -1));

function lineComments(text: Text, comments: readonly IToken[]): Map<number, string> {
  const lines = new Map<number, string>();
  for (const { image, startLine, startOffset } of comments) {
    const start = startOffset === 0 ? 0 : text.text.lastIndexOf("\n", startOffset - 1) + 1;
    const alone = text.text.slice(start, startOffset).trim() === "";
    if (alone) lines.set(startLine ?? 0, image.slice(2).replace(/^ /, "").trimEnd());
  }
  return lines;
}
/** The comment lines directly above a line. */
export function docAbove({ comments }: Lexed, line: number): string {
  const lines: string[] = [];
  for (let at = line - 1; comments.has(at); at--) lines.push(comments.get(at) ?? "");
  return lines.toReversed().join("\n");
}

function unknown(text: Text, offset: number, length: number): void {
  const sign = String.fromCodePoint(text.text.codePointAt(offset) ?? 0);
  const shown = /[\p{C}\p{Z}]/u.test(sign) ? `U+${(sign.codePointAt(0) ?? 0).toString(16).toUpperCase()}` : sign;
  const message = sign === '"' ? "a text that does not end on its line" : `what is \`${shown}\`?`;
  const span = text.span(offset, offset + Math.max(length, sign.length));
  text.error("E0102", message, [{ span, text: "not a part of the language" }], signHelp(sign));
}
function blockComment(text: Text, token: IToken): void {
  const label = { span: text.span(token.startOffset, token.startOffset + 2), text: "not a comment here" };
  text.error("E0102", "there are no block comments", [label], "begin every line of the comment with `//`");
}
