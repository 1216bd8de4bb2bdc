// Splits a file into declarations, which are parsed separately, so that an error in one does not affect the next.
import type { IToken } from "chevrotain";
import {
  Comma,
  Dot,
  declarationWords,
  Fn,
  From,
  Import,
  LCurly,
  LPar,
  Name,
  reservedWords,
  Str,
} from "../../grammar/tokens.ts";
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
/** The names that faulty text may declare: the first one, those with a header, and all of an import, in quotes too. */
export function namesDeclared(tokens: readonly IToken[]): string[] {
  const imports = mayImport(tokens);
  return tokens.flatMap(({ tokenType, image }, i) => {
    if (imports && tokenType === Str) return /^"(\w+)"$/.exec(image)?.[1] ?? [];
    return tokenType === Name && (imports || i <= 1 || mayHaveHeader(tokens, i)) ? [image] : [];
  });
}
/** The modules that faulty text may import: paths in quotes, and those of the library without. */
export function modulesImported(tokens: readonly IToken[]): string[] {
  if (!mayImport(tokens)) return [];
  const text = tokens.map((t) => t.image).join(" ");
  const library = [...text.matchAll(/\bstd(?: [/.] \w+)+/g)].map(([path]) => path.replaceAll(/ [/.] /g, "/"));
  return [...library, ...[...text.matchAll(/"([^"]*)"/g)].map(([, path = ""]) => path)];
}
/** Whether text is an import, or begins like no declaration and has what an import has. */
function mayImport(tokens: readonly IToken[]): boolean {
  const [first] = tokens;
  if (first?.tokenType === Import) return true;
  if (first === undefined || declarationWords.includes(first.tokenType)) return false;
  return tokens.some(({ tokenType, image }) => tokenType === From || tokenType === Str || image === "std");
}
/** Whether a `(` follows, and the name is not within an expression, as `N` is in `float[N (`. */
function mayHaveHeader(tokens: readonly IToken[], i: number): boolean {
  const [before, after] = [tokens[i - 1], tokens[i + 1]];
  const within = continuesLine(before) || (before !== undefined && expressionWords.includes(before.tokenType));
  return after?.tokenType === LPar && !within;
}
/** Keywords before an expression. */
const expressionWords = reservedWords.filter((word) => !declarationWords.includes(word));
