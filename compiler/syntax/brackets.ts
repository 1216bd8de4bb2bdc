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

export interface Fault {
  readonly token: IToken;
  /** What stands where the missing closing bracket should be; undefined at the end. Null: `token` closes nothing. */
  readonly instead: IToken | undefined | null;
  /** The index before which the closing bracket is put. */
  readonly at: number;
}
interface Balanced {
  readonly tokens: IToken[];
  readonly faults: readonly Fault[];
}

export function balance(text: Text, tokens: readonly IToken[]): Balanced {
  const plain = match(text, tokens, false);
  const braces = plain.some((fault) => fault.token.image === "{");
  const indented = braces ? match(text, tokens, true) : [];
  const faults = indented.length > 0 ? indented : plain;
  return { tokens: mended(tokens, faults), faults };
}

interface Open {
  readonly token: IToken;
  readonly index: number;
  readonly indent: number;
}
/** `byIndent`: a `}` that leads its line further left than the line of its `{` is taken to close an outer one. */
function match(text: Text, tokens: readonly IToken[], byIndent: boolean): Fault[] {
  const open: Open[] = [];
  const faults: Fault[] = [];
  const missing = (from: number, index: number): void => {
    for (const o of open.splice(from).toReversed()) faults.push(unclosed(tokens, o, index));
  };
  let indent = 0;
  const chains = new Chains();
  for (const [index, token] of tokens.entries()) {
    const first = leads(tokens, index);
    const column = token.startColumn ?? 0;
    if (first && startsLine(tokens, index, open.at(-1))) indent = column;
    // No brace stands inside of `( )` or `[ ]`.
    if (token.image === "{") missing(open.findLastIndex((o) => o.token.image === "{") + 1, index);
    if (isOpener(token)) {
      open.push({ token, index, indent });
    }
    if (open.length + chains.length(tokens, index, open.length) > deepest) throw new TooDeep(text.at(token));
    if (!isCloser(token)) continue;
    const opener = openerOf.get(token.image);
    const mate = open.findLastIndex((o) => o.token.image === opener && !(byIndent && first && column < o.indent));
    if (mate < 0) faults.push({ token, instead: null, at: index });
    else missing(mate + 1, index);
    if (mate >= 0) open.pop();
  }
  missing(0, tokens.length);
  return faults;
}
/** Each `else if` lies in the `else` of the one before. */
class Chains {
  /** By how many brackets are open. */
  readonly #lengths: number[] = [];
  /** Of those that are open at a token, together. */
  length(tokens: readonly IToken[], index: number, open: number): number {
    this.#lengths.length = open + 1;
    if (tokens[index]?.image === "if")
      this.#lengths[open] = tokens[index - 1]?.image === "else" ? (this.#lengths[open] ?? 0) + 1 : 0;
    return this.#lengths.reduce((sum, n) => sum + n, 0);
  }
}
/** Whether a line is one of a block's, and not a header or an expression that goes on. */
const startsLine = (tokens: readonly IToken[], i: number, open: Open | undefined): boolean =>
  (open === undefined || open.token.image === "{") &&
  tokens[i]?.image !== "->" &&
  (i === 0 || tokens[i - 1]?.image === "{" || !goesOn(tokens[i - 1]));
/** A brace is closed where another closing bracket stands, any other bracket where its line ends and does not go on. */
function unclosed(tokens: readonly IToken[], open: Open, end: number): Fault {
  let at = end;
  if (open.token.image !== "{") {
    at = open.index + 1;
    while (at < end && !(leads(tokens, at) && !goesOn(tokens[at - 1]))) at++;
  }
  return { token: open.token, instead: tokens[end], at };
}

/** Whether a line that ends with this token is not yet complete. */
export const goesOn = (last: IToken | undefined): boolean =>
  last !== undefined && (isOpener(last) || [",", ":", "="].includes(last.image) || tokenMatcher(last, Binary));

export function reportFault(text: Text, { token, instead }: Fault): void {
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
  if (faults.length === 0) return [...tokens];
  const stray = new Set<IToken>();
  const added = new Map<number, IToken[]>();
  for (const { token, instead, at } of faults) {
    if (instead === null) stray.add(token);
    else added.set(at, [...(added.get(at) ?? []), closing(token, tokens[at - 1] ?? token)]);
  }
  const all = tokens.flatMap((token, i) => [...(added.get(i) ?? []), ...(stray.has(token) ? [] : [token])]);
  return [...all, ...(added.get(tokens.length) ?? [])];
}
/** The closing bracket for `opener`, without a width, behind `after`. */
export function closing(opener: IToken, after: IToken): IToken {
  const pair = pairs.get(opener.image);
  if (!pair) throw new Bug(`${opener.image} opens nothing`);
  return invented(pair.type, pair.closer, after);
}
export function invented(type: TokenType, image: string, after: IToken): IToken {
  const [offset, line, column] = [endOf(after), after.endLine ?? 1, (after.endColumn ?? 0) + 1];
  return createTokenInstance(type, image, offset, offset - 1, line, line, column, column - 1);
}

/** Where a further error would only follow from this one. */
export function isQuietAt(
  text: Text,
  tokens: readonly IToken[],
  { token, instead, at }: Fault,
  offset: number,
): boolean {
  const lineStart = text.text.lastIndexOf("\n", token.startOffset) + 1;
  if (token.image === "{" || token.image === "}") return offset >= token.startOffset;
  if (instead === null) return offset >= lineStart && offset <= token.startOffset;
  return offset >= token.startOffset && offset <= (tokens[at]?.startOffset ?? text.text.length);
}
