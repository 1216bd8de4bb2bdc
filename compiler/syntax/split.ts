// Splits a file into declarations, which are parsed separately, so that an error in one does not affect the next.
import type { IToken } from "chevrotain";
import { Comma, Dot, declarationWords, Fn, Import, LCurly, LPar, Name, reservedWords } from "../../grammar/tokens.ts";
import { continuesLine, isCloser, isFirstOnLine, isOpener } from "./brackets.ts";
import { foreignHelp } from "./help.ts";

/**
 * Cuts the tokens of a file into declarations. A keyword that begins one, at the start of a line and followed by a name and a header, does so even
 * inside brackets, which are then unclosed.
 */
export function splitDeclarations(tokens: readonly IToken[]): IToken[][] {
  const parts: IToken[][] = [];
  let depth = 0;
  for (const [i, token] of tokens.entries()) {
    if (parts.length === 0 || (beginsDeclaration(tokens, i, depth) && !isMethod(token, parts.at(-1)?.[0], depth))) {
      parts.push([]);
      depth = 0;
    }
    parts.at(-1)?.push(token);
    if (isOpener(token)) depth++;
    else if (isCloser(token)) depth = Math.max(0, depth - 1);
  }
  return parts;
}
/** Whether it is an indented `fn forward(x: ...)` in a layer: an error, but not a new declaration. */
const isMethod = (token: IToken, first: IToken | undefined, depth: number): boolean =>
  depth > 0 && token.tokenType === Fn && (token.startColumn ?? 0) > (first?.startColumn ?? 0);
function beginsDeclaration(tokens: readonly IToken[], i: number, depth: number): boolean {
  const [before, token, name, header] = [tokens[i - 1], tokens[i], tokens[i + 1], tokens[i + 2]];
  // a declaration keyword of another language, such as `class Foo`: an error, but not part of the declaration before it
  if (depth === 0 && token && foreignHelp(token.image) !== null && isFirstOnLine(tokens, i)) return true;
  if (!token || !declarationWords.includes(token.tokenType) || before?.tokenType === Dot || before?.tokenType === Comma)
    return false;
  if (depth === 0) return true;
  const headed =
    token.tokenType === Import ? name?.tokenType === LCurly : name?.tokenType === Name && header?.tokenType === LPar;
  return headed && isFirstOnLine(tokens, i);
}
/** The names that faulty text may declare: the first one, those with a header, and all of an import. */
export function namesDeclared(tokens: readonly IToken[]): string[] {
  const imports = tokens[0]?.tokenType === Import;
  return tokens.flatMap(({ tokenType, image }, i) =>
    tokenType === Name && (imports || i <= 1 || mayHaveHeader(tokens, i)) ? [image] : [],
  );
}
/** Whether a `(` follows, and the name is not within an expression, as `N` is in `float[N (`. */
function mayHaveHeader(tokens: readonly IToken[], i: number): boolean {
  const [before, after] = [tokens[i - 1], tokens[i + 1]];
  const within = continuesLine(before) || (before !== undefined && expressionWords.includes(before.tokenType));
  return after?.tokenType === LPar && !within;
}
/** Keywords before an expression. */
const expressionWords = reservedWords.filter((word) => !declarationWords.includes(word));
