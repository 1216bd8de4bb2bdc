// Error recovery. After an error, the statement that contains it is removed and the declaration is parsed again, so that each further error is the
// first one of another statement and not a consequence.
import type { IRecognitionException, IToken } from "chevrotain";
import type { DeclarationCstNode } from "../../grammar/cst.ts";
import { parser } from "../../grammar/parser.ts";
import { Import, LCurly, LPar, reservedWords } from "../../grammar/tokens.ts";
import { Bug } from "../diagnostic.ts";
import { closingToken, continuesLine, isCloser, isFirstOnLine, isOpener, syntheticToken } from "./brackets.ts";

/** An error of the grammar: the token found (undefined: the end), all tokens before it, and whether a statement should begin there (`leading`). */
export interface GrammarError {
  readonly message: string;
  readonly token: IToken | undefined;
  readonly before: readonly IToken[];
  readonly leading: boolean;
}
const maxErrors = 20;

/** Parses one declaration; `cst` is null if nothing is left of it. `stray`: how many superfluous `}` it had. */
export function parseDeclaration(
  all: IToken[],
  stray: number,
): { cst: DeclarationCstNode | null; errors: GrammarError[] } {
  const errors: GrammarError[] = [];
  let tokens = all;
  let braces = stray;
  while (errors.length < maxErrors) {
    const reader = parser();
    reader.input = tokens;
    const cst = reader.declaration() as DeclarationCstNode;
    const [error] = reader.errors;
    if (!error) return { cst, errors };
    const i = tokens.indexOf(error.token);
    const leading = isAtStatementStart(error);
    const found = { message: error.message, token: tokens[i], before: i < 0 ? tokens : tokens.slice(0, i), leading };
    // unexpected tokens after a declaration are only reported if the declaration itself had no error
    if (error.name === "NotAllInputParsedException") return { cst, errors: errors.length > 0 ? errors : [found] };
    errors.push(found);
    if (braces-- > 0 && i > 0 && error.message.startsWith("expected `{`") && all[0]?.tokenType !== Import) {
      tokens = withBraces(tokens, i);
      continue;
    }
    const rest = withoutStatement(tokens, i < 0 ? tokens.length : i, leading);
    if (!rest) break;
    tokens = rest;
  }
  return { cst: null, errors };
}
/** Inserts the `{` that a block lacks, and puts back the `}` at the end that seemed superfluous without it. */
function withBraces(tokens: readonly IToken[], i: number): IToken[] {
  const before = tokens[i - 1];
  const last = tokens.at(-1);
  if (!before || !last) throw new Bug("a declaration without tokens");
  const open = syntheticToken(LCurly, "{", before);
  return [...tokens.slice(0, i), open, ...tokens.slice(i), closingToken(open, last)];
}
/** Whether the error is at a position where a statement should begin; else the token is inside or directly after the faulty statement. */
const isAtStatementStart = (error: IRecognitionException): boolean =>
  ["declaration", "statement", "member", "block", "body"].includes(error.context.ruleStack.at(-1) ?? "");

/** The tokens without the statement, member or header around token `i`; null if there is none to remove. */
function withoutStatement(tokens: readonly IToken[], i: number, leading: boolean): IToken[] | null {
  const open = openBefore(tokens, i);
  const brace = open.findLast((o) => tokens[o]?.tokenType === LCurly);
  if (tokens[0]?.tokenType === Import) return null;
  if (brace === undefined) {
    const header = open[0];
    return header === undefined || tokens[header]?.tokenType !== LPar
      ? null
      : without(tokens, header + 1, closed(tokens, header));
  }
  const end = closed(tokens, brace);
  const starts = statementStarts(tokens, brace, end);
  const last = leading ? i : i - 1;
  const from = starts.findLast((s) => s <= last) ?? brace + 1;
  const to = starts.find((s) => s > Math.max(from, last)) ?? end;
  return to > from ? without(tokens, from, to) : null;
}
const without = (tokens: readonly IToken[], from: number, to: number): IToken[] | null =>
  to > from ? [...tokens.slice(0, from), ...tokens.slice(to)] : null;

/** The indices of the brackets that are open at token `i`. */
function openBefore(tokens: readonly IToken[], i: number): number[] {
  const open: number[] = [];
  for (const [k, token] of tokens.slice(0, i).entries()) {
    if (isOpener(token)) open.push(k);
    else if (isCloser(token)) open.pop();
  }
  return open;
}
function closed(tokens: readonly IToken[], open: number): number {
  let depth = 0;
  for (let k = open; k < tokens.length; k++) {
    const token = tokens[k];
    if (token && isOpener(token)) depth++;
    else if (token && isCloser(token) && --depth === 0) return k;
  }
  return tokens.length;
}
/** Where the statements of a block begin, judged by line breaks and keywords. */
function statementStarts(tokens: readonly IToken[], brace: number, end: number): number[] {
  const starts: number[] = [];
  let depth = 0;
  for (let k = brace + 1; k < end; k++) {
    const token = tokens[k];
    if (!token) break;
    if (isCloser(token)) depth--;
    else if (depth === 0 && startsStatement(tokens, k)) starts.push(k);
    if (isOpener(token)) depth++;
  }
  return starts;
}
const startsStatement = (tokens: readonly IToken[], k: number): boolean => {
  const token = tokens[k];
  const worded = token !== undefined && reservedWords.includes(token.tokenType);
  return isFirstOnLine(tokens, k) && (worded || tokens[k - 1]?.image === "{" || !continuesLine(tokens[k - 1]));
};
