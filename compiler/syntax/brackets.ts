// Brackets are matched before anything is parsed: a missing one is reported where it was opened, not where the grammar
// gives up, and is put in (a superfluous one left out) so that the rest of the declaration can be parsed.
import { createTokenInstance, type IToken, type TokenType, tokenMatcher } from "chevrotain";
import { Binary, RCurly, RPar, RSquare } from "../../grammar/tokens.ts";
import { Bug } from "../diagnostic.ts";
import { deepest, endOf, type Text, TooDeep } from "./text.ts";

const pairs: ReadonlyMap<string, { closer: string; type: TokenType }> = new Map([
  ["(", { closer: ")", type: RPar }],
  ["[", { closer: "]", type: RSquare }],
  ["{", { closer: "}", type: RCurly }],
]);
const openerOf = new Map([...pairs].map(([opener, { closer }]) => [closer, opener]));
export const isCloser = (token: IToken): boolean => openerOf.has(token.image);
export const isOpener = (token: IToken): boolean => pairs.has(token.image);
/** Whether a token is the first on its line. */
export const leads = (tokens: readonly IToken[], i: number): boolean =>
  tokens[i]?.startLine !== tokens[i - 1]?.endLine || i === 0;

export interface Balanced {
  readonly tokens: IToken[];
  /** Ranges of offsets where a further error would only follow from a bracket's. */
  readonly quiet: readonly (readonly [start: number, end: number])[];
}

interface Fault {
  readonly token: IToken;
  /** What stands where the missing closing bracket should be; undefined at the end. Null: `token` closes nothing. */
  readonly instead: IToken | undefined | null;
  /** The index before which the closing bracket is put. */
  readonly at: number;
}

export function balance(text: Text, tokens: readonly IToken[]): Balanced {
  const plain = match(text, tokens, false);
  const braces = plain.some((fault) => fault.token.image === "{");
  const indented = braces ? match(text, tokens, true) : [];
  const faults = indented.length > 0 ? indented : plain;
  for (const fault of faults) report(text, fault);
  return { tokens: mended(tokens, faults), quiet: faults.map((fault) => quietRange(text, tokens, fault)) };
}

/** `byIndent`: a `}` that leads its line further left than the line of its `{` is taken to close an outer one. */
function match(text: Text, tokens: readonly IToken[], byIndent: boolean): Fault[] {
  const open: { token: IToken; index: number; indent: number }[] = [];
  const faults: Fault[] = [];
  let indent = 0;
  for (const [index, token] of tokens.entries()) {
    const first = leads(tokens, index);
    if (first) indent = token.startColumn ?? 0;
    if (isOpener(token)) {
      open.push({ token, index, indent });
      if (open.length > deepest) throw new TooDeep(text.at(token));
    }
    if (!isCloser(token)) continue;
    const depth = open.findLastIndex(
      (o) => o.token.image === openerOf.get(token.image) && !(byIndent && first && indent < o.indent),
    );
    if (depth < 0) faults.push({ token, instead: null, at: index });
    else for (const o of open.splice(depth).slice(1).toReversed()) faults.push(unclosed(tokens, o, index));
  }
  return [...faults, ...open.toReversed().map((o) => unclosed(tokens, o, tokens.length))];
}
/** A brace is closed where another closing bracket stands, any other bracket where its line ends and does not go on. */
function unclosed(tokens: readonly IToken[], open: { token: IToken; index: number }, end: number): Fault {
  let at = end;
  if (open.token.image !== "{") {
    at = open.index + 1;
    while (at < end && !(leads(tokens, at) && !goesOn(tokens[at - 1]))) at++;
  }
  return { token: open.token, instead: tokens[end], at };
}

/** Whether a line that ends with this token is not yet complete. */
const goesOn = (last: IToken | undefined): boolean =>
  last !== undefined && (isOpener(last) || last.image === "," || tokenMatcher(last, Binary));

function report(text: Text, { token, instead }: Fault): void {
  const label = { span: text.at(token), text: "" };
  if (instead === null) {
    const opener = openerOf.get(token.image) ?? "";
    text.error(
      "E0104",
      `\`${token.image}\` closes nothing`,
      [{ ...label, text: `no \`${opener}\` is open here` }],
      `remove it, or add the \`${opener}\` that it should close`,
    );
    return;
  }
  const closer = pairs.get(token.image)?.closer ?? "";
  const here = instead ? [{ span: text.at(instead), text: `\`${closer}\` is missing before this` }] : [];
  text.error(
    "E0103",
    `\`${token.image}\` is not closed`,
    [{ ...label, text: "opened here" }, ...here],
    `add the missing \`${closer}\``,
  );
}

function mended(tokens: readonly IToken[], faults: readonly Fault[]): IToken[] {
  const stray = new Set(faults.filter((fault) => fault.instead === null).map((fault) => fault.token));
  const added = faults.filter((fault) => fault.instead !== null);
  const before = (i: number): IToken[] =>
    added.filter((fault) => fault.at === i).map((fault) => closing(fault.token, tokens[i - 1] ?? fault.token));
  return faults.length === 0
    ? [...tokens]
    : [...tokens.flatMap((token, i) => [...before(i), ...(stray.has(token) ? [] : [token])]), ...before(tokens.length)];
}
/** A token without a width, behind `after`. */
function closing(opener: IToken, after: IToken): IToken {
  const pair = pairs.get(opener.image);
  if (!pair) throw new Bug(`${opener.image} opens nothing`);
  const [offset, line, column] = [endOf(after), after.endLine ?? 1, (after.endColumn ?? 0) + 1];
  return createTokenInstance(pair.type, pair.closer, offset, offset - 1, line, line, column, column - 1);
}

function quietRange(text: Text, tokens: readonly IToken[], { token, instead, at }: Fault): readonly [number, number] {
  if (instead === null || token.image === "{") return [instead?.startOffset ?? token.startOffset, text.text.length];
  return [token.startOffset, tokens[at - 1]?.endOffset ?? text.text.length];
}
