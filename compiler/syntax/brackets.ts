// Matches brackets before parsing. A missing closing bracket is reported where its bracket was opened rather than where the grammar fails, and is
// inserted (a superfluous one is removed), so that the rest of the declaration can be parsed.
import { createTokenInstance, type IToken, type TokenType, tokenMatcher } from "chevrotain";
import { Binary, RCurly, RPar, RSquare } from "../../grammar/tokens.ts";
import { Bug } from "../diagnostic.ts";
import { endOf, maxDepth, type Text, TooDeep } from "./text.ts";

const pairs: ReadonlyMap<string, { closer: string; type: TokenType }> = new Map([
  ["(", { closer: ")", type: RPar }],
  ["[", { closer: "]", type: RSquare }],
  ["{", { closer: "}", type: RCurly }],
]);
const openerOf = new Map([...pairs].map(([opener, { closer }]) => [closer, opener]));
export const isCloser = (token: IToken): boolean => openerOf.has(token.image);
export const isOpener = (token: IToken): boolean => pairs.has(token.image);
/** Whether a token is the first one on its line. */
export const isFirstOnLine = (tokens: readonly IToken[], i: number): boolean =>
  tokens[i]?.startLine !== tokens[i - 1]?.endLine || i === 0;

/** A bracket without a partner. */
export interface Fault {
  readonly token: IToken;
  /** For a missing bracket: the token found in its place; undefined: the end of the text. null: `token` is a bracket that closes nothing. */
  readonly found: IToken | undefined | null;
  /** The index of the token before which the closing bracket is inserted. */
  readonly at: number;
}
interface Balanced {
  readonly tokens: IToken[];
  readonly faults: readonly Fault[];
}

/** Finds unmatched brackets, and gives the tokens with them mended. */
export function balance(text: Text, tokens: readonly IToken[]): Balanced {
  const plain = match(text, tokens, false);
  const braces = plain.some((fault) => fault.token.image === "{");
  const indented = braces ? match(text, tokens, true) : [];
  const faults = indented.length > 0 ? indented : plain;
  return { tokens: repair(tokens, faults), faults };
}

interface Open {
  readonly token: IToken;
  readonly index: number;
  readonly indent: number;
}
/** Finds unmatched brackets. `byIndent`: a `}` at the start of a line, further left than the line of its `{`, is taken to close an outer `{`. */
function match(text: Text, tokens: readonly IToken[], byIndent: boolean): Fault[] {
  const open: Open[] = [];
  const faults: Fault[] = [];
  const missing = (from: number, index: number): void => {
    for (const o of open.splice(from).toReversed()) faults.push(unclosed(tokens, o, index));
  };
  let indent = 0;
  const chains = new Chains();
  for (const [index, token] of tokens.entries()) {
    const first = isFirstOnLine(tokens, index);
    const column = token.startColumn ?? 0;
    if (first && startsLine(tokens, index, open.at(-1))) indent = column;
    // `{` never occurs inside `( )` or `[ ]`, so those must have been left open
    if (token.image === "{") missing(open.findLastIndex((o) => o.token.image === "{") + 1, index);
    if (isOpener(token)) {
      open.push({ token, index, indent });
    }
    if (open.length + chains.length(tokens, index, open.length) > maxDepth) throw new TooDeep(text.tokenSpan(token));
    if (!isCloser(token)) continue;
    const opener = openerOf.get(token.image);
    const mate = open.findLastIndex((o) => o.token.image === opener && !(byIndent && first && column < o.indent));
    if (mate < 0) faults.push({ token, found: null, at: index });
    else missing(mate + 1, index);
    if (mate >= 0) open.pop();
  }
  missing(0, tokens.length);
  return faults;
}
/** Counts `else if` chains: each nests inside the `else` of the one before, so they add to the depth. */
class Chains {
  /** The length of the current chain, by the number of open brackets around it. */
  readonly #lengths: number[] = [];
  /** The total length of all chains that are open at a token. */
  length(tokens: readonly IToken[], index: number, open: number): number {
    this.#lengths.length = open + 1;
    if (tokens[index]?.image === "if")
      this.#lengths[open] = tokens[index - 1]?.image === "else" ? (this.#lengths[open] ?? 0) + 1 : 0;
    return this.#lengths.reduce((sum, n) => sum + n, 0);
  }
}
/** Whether a line begins a statement or member of a block, rather than continuing a header or an expression. */
const startsLine = (tokens: readonly IToken[], i: number, open: Open | undefined): boolean =>
  (open === undefined || open.token.image === "{") &&
  tokens[i]?.image !== "->" &&
  (i === 0 || tokens[i - 1]?.image === "{" || !continuesLine(tokens[i - 1]));
/** Where to insert the missing bracket: a `}` before the token at which it was missed; others at the end of their line and its continuations. */
function unclosed(tokens: readonly IToken[], open: Open, end: number): Fault {
  let at = end;
  if (open.token.image !== "{") {
    at = open.index + 1;
    while (at < end && !(isFirstOnLine(tokens, at) && !continuesLine(tokens[at - 1]))) at++;
  }
  return { token: open.token, found: tokens[end], at };
}

/** Whether a line that ends with this token continues on the next one. */
export const continuesLine = (last: IToken | undefined): boolean =>
  last !== undefined && (isOpener(last) || [",", ":", "="].includes(last.image) || tokenMatcher(last, Binary));

export function reportFault(text: Text, { token, found }: Fault): void {
  const label = { span: text.tokenSpan(token), text: "" };
  if (found === null) {
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
  const here = found ? [{ span: text.tokenSpan(found), text: `\`${closer}\` is missing before this` }] : [];
  text.error(
    "E0103",
    `\`${token.image}\` is not closed`,
    [{ ...label, text: "opened here" }, ...here],
    `add the missing \`${closer}\``,
  );
}

/** The tokens without superfluous brackets, and with missing ones inserted. */
function repair(tokens: readonly IToken[], faults: readonly Fault[]): IToken[] {
  if (faults.length === 0) return [...tokens];
  const stray = new Set<IToken>();
  const added = new Map<number, IToken[]>();
  for (const { token, found, at } of faults) {
    if (found === null) stray.add(token);
    else added.set(at, [...(added.get(at) ?? []), closingToken(token, tokens[at - 1] ?? token)]);
  }
  const all = tokens.flatMap((token, i) => [...(added.get(i) ?? []), ...(stray.has(token) ? [] : [token])]);
  return [...all, ...(added.get(tokens.length) ?? [])];
}
/** A closing bracket for `opener`, of zero width, placed after the token `after`. */
export function closingToken(opener: IToken, after: IToken): IToken {
  const pair = pairs.get(opener.image);
  if (!pair) throw new Bug(`${opener.image} opens nothing`);
  return syntheticToken(pair.type, pair.closer, after);
}
export function syntheticToken(type: TokenType, image: string, after: IToken): IToken {
  const [offset, line, column] = [endOf(after), after.endLine ?? 1, (after.endColumn ?? 0) + 1];
  return createTokenInstance(type, image, offset, offset - 1, line, line, column, column - 1);
}

/** Whether an error at `offset` would probably be a consequence of this fault, and should not be reported. */
export function isConsequence(
  text: Text,
  tokens: readonly IToken[],
  { token, found, at }: Fault,
  offset: number,
): boolean {
  const lineStart = text.text.lastIndexOf("\n", token.startOffset) + 1;
  if (token.image === "{" || token.image === "}") return offset >= token.startOffset;
  if (found === null) return offset >= lineStart && offset <= token.startOffset;
  return offset >= token.startOffset && offset <= (tokens[at]?.startOffset ?? text.text.length);
}
