// Formats a program in the one style (GRAMMAR.md, Style): lines break where the author breaks them, and white space follows from the tokens.
// The tokens say almost all; for the rest (is `-` a sign, does `(` call) each token has a role, read from the grammar's tree. It works on tokens
// because a syntax tree has no comments, parentheses or line breaks; print.ts, for trees without a text, breaks lines itself in the same style.
import type { CstNode, IToken, TokenType } from "chevrotain";
import { Arrow, Colon, Comma, Dot, Dots, Else, For, If, LCurly, lexer, RCurly } from "../../grammar/tokens.ts";
import { Bug } from "../diagnostic.ts";
import { ProgramError } from "../program-error.ts";
import { requireString } from "../require-string.ts";
import { isCloser, isOpener } from "./brackets.ts";
import { parse } from "./parse.ts";
import { parseDeclaration } from "./recover.ts";
import { splitDeclarations } from "./split.ts";
import { endOf } from "./text.ts";

/** Formats a text, which errors call `name`; throws ProgramError if it has errors of syntax. Only white space changes. */
export function format(name: string, text: string): string {
  requireString("the text", text, "a name for errors and the text: format(name, text)");
  const { diagnostics } = parse({ name, text });
  if (diagnostics.length > 0) throw new ProgramError(diagnostics);
  const items = itemsOf(text);
  const formatted = write(items);
  if (parse({ name, text: formatted }).diagnostics.length > 0 || !sameContent(items, itemsOf(formatted)))
    throw new Bug(`formatting ${name} would change more than white space`);
  return formatted;
}

/**
 * What a token is, where its kind does not say it. start: the first token of a declaration, member or statement; prefix: a sign; slice: the colon
 * of `a:b`; postfix: a bracket that belongs to what is before it; group: the parenthesis of an expression; names: the brace of an import.
 */
type Role = "start" | "prefix" | "slice" | "postfix" | "group" | "names";
/** The roles of the tokens of a grammar's rule, by token. */
const roles: Readonly<Record<string, Readonly<Record<string, Role>>>> = {
  operand: { Prefix: "prefix" },
  indexItem: { Colon: "slice" },
  loop: { Colon: "slice" },
  args: { LPar: "postfix" },
  header: { LPar: "postfix" },
  index: { LSquare: "postfix" },
  axes: { LSquare: "postfix" },
  types: { LSquare: "postfix" },
  primary: { LPar: "group" },
  names: { LCurly: "names" },
};
const starting: ReadonlySet<string> = new Set(["declaration", "member", "statement"]);

function markRoles(node: CstNode, found: Map<number, Role>): void {
  if (starting.has(node.name)) found.set(node.location?.startOffset ?? 0, "start");
  for (const [key, children] of Object.entries(node.children))
    for (const child of children) {
      const role = roles[node.name]?.[key];
      if ("children" in child) markRoles(child, found);
      else if (role !== undefined) found.set(child.startOffset, role);
    }
}

/** A token or a comment. */
interface Item {
  readonly token: IToken;
  readonly text: string;
  readonly comment: boolean;
  readonly role: Role | undefined;
  /** How many line breaks are before it. */
  readonly breaks: number;
}
/** The tokens and comments of a text without errors of syntax. */
function itemsOf(source: string): Item[] {
  const { tokens, groups } = lexer().tokenize(source);
  const found = new Map<number, Role>();
  for (const part of splitDeclarations(tokens)) {
    const { cst } = parseDeclaration(part, 0);
    if (cst) markRoles(cst, found);
  }
  const all = [...tokens, ...(groups["comments"] ?? [])].toSorted((a, b) => a.startOffset - b.startOffset);
  let end = 0;
  return all.map((token) => {
    const breaks = source.slice(end, token.startOffset).split("\n").length - 1;
    end = endOf(token);
    const text = token.image.trimEnd();
    return { token, text, comment: text.startsWith("//"), role: found.get(token.startOffset), breaks };
  });
}
const sameContent = (a: readonly Item[], b: readonly Item[]): boolean =>
  a.length === b.length && a.every(({ text, role }, i) => text === b[i]?.text && role === b[i].role);

const isBlock = ({ token, role }: Item): boolean => token.tokenType === LCurly && role !== "names";
const isEmptyPair = (a: Item, b: Item): boolean => isOpener(a.token) && isCloser(b.token);

/** The braces of what extends over several lines. */
function brokenBraces(items: readonly Item[]): ReadonlySet<Item> {
  const broken = new Set<Item>();
  const open: { item: Item; at: number }[] = [];
  let breaks = 0;
  for (const item of items) {
    breaks += item.breaks;
    if (item.token.tokenType === LCurly) open.push({ item, at: breaks });
    if (item.token.tokenType !== RCurly) continue;
    const from = open.pop();
    if (from && from.at < breaks) broken.add(from.item).add(item);
  }
  return broken;
}

/** The items with the line breaks they get: the author's, at most one blank line, and those that a block over several lines lacks. */
function withLineBreaks(items: readonly Item[]): Item[] {
  const broken = brokenBraces(items);
  const blocks = [true];
  return items.map((item, i) => {
    const before = items[i - 1];
    if (item.token.tokenType === RCurly) blocks.pop();
    const separate = item.role === "start" && blocks.at(-1) === true;
    if (item.token.tokenType === LCurly) blocks.push(broken.has(item));
    const edge = before && (isOpener(before.token) ? before : isCloser(item.token) ? item : undefined);
    const least = before?.comment || separate || (edge && broken.has(edge) && !item.comment) ? 1 : 0;
    const joined = !before || (!before.comment && isJoined(before, item));
    return { ...item, breaks: joined ? 0 : Math.min(edge ? 1 : 2, Math.max(least, item.breaks)) };
  });
}
/** Whether an item stays on the line of the one before: an empty pair, an opening brace, `else`, and the `if` after it. */
const isJoined = (a: Item, b: Item): boolean =>
  isEmptyPair(a, b) ||
  [LCurly, Else].includes(b.token.tokenType) ||
  (a.token.tokenType === Else && b.token.tokenType === If);

/** Whether a space is between two items of a line. */
function isSpaced(a: Item, b: Item): boolean {
  const [left, right] = [a.token.tokenType, b.token.tokenType];
  if (b.comment) return true;
  if (left === Comma) return !isCloser(b.token);
  if (left === LCurly || right === RCurly) return !isEmptyPair(a, b);
  if (isOpener(a.token) || a.role === "prefix" || a.role === "slice" || left === Dot || left === Dots) return false;
  return !(isCloser(b.token) || right === Comma || right === Colon || right === Dot || b.role === "postfix");
}

interface Bracket {
  readonly item: Item;
  /** The indentation of the line, or of the statement, that it stands in: that of its closing bracket. */
  readonly outer: number;
  /** The indentation of lines inside; undefined until the first item shows whether they are aligned with it. */
  inner: number | undefined;
  /** The statement around it. */
  readonly statement: Statement;
}
interface Statement {
  readonly indent: number;
  /** Whether a block follows, from which its further lines are told apart by indenting them twice. */
  readonly head: boolean;
}
const step = 2;
const top: Statement = { indent: 0, head: false };

/** Writes items one by one. Its state is where it stands: the text so far, the brackets open, the statement. */
class Writer {
  text = "";
  #brackets: Bracket[] = [];
  #statement = top;
  /** The item before, and the token. */
  #before: Item | undefined;
  #last: IToken | undefined;
  /** The indentation of the current line, and where it begins in the text. */
  #indent = 0;
  #line = 0;

  /** `next`: the first token from the item on. */
  write(item: Item, next: Item | undefined): void {
    if (item.breaks > 0) this.#breakLine(item.breaks, this.#indentOf(item, next));
    else if (this.#before && isSpaced(this.#before, item)) this.text += " ";
    if (!item.comment) this.#enter(item);
    this.text += item.text;
    this.#before = item;
  }
  #breakLine(breaks: number, indent: number): void {
    this.text += "\n".repeat(breaks);
    this.#line = this.text.length;
    this.#indent = indent;
    this.text += " ".repeat(indent);
  }
  #enter(item: Item): void {
    const bracket = this.#brackets.at(-1);
    if (bracket) bracket.inner ??= item.breaks > 0 ? bracket.outer + step : this.text.length - this.#line;
    if (isCloser(item.token)) this.#statement = this.#brackets.pop()?.statement ?? top;
    if (item.role === "start") this.#statement = { indent: this.#indent, head: heads.includes(item.token.tokenType) };
    if (isOpener(item.token)) this.#open(item);
    this.#last = item.token;
  }
  #open(item: Item): void {
    const outer = isBlock(item) ? this.#statement.indent : this.#indent;
    const inner = isBlock(item) ? outer + step : undefined;
    this.#brackets.push({ item, outer, inner, statement: this.#statement });
  }
  /** The indentation of a line that begins with an item; a comment has that of the line below it. */
  #indentOf(item: Item, next: Item | undefined): number {
    const bracket = this.#brackets.at(-1);
    const inside = bracket ? (bracket.inner ?? bracket.outer + step) : 0;
    if (!next || next.role === "start") return inside;
    if (bracket && isCloser(next.token)) return item.comment ? inside : bracket.outer;
    if (bracket && !isBlock(bracket.item)) {
      const whole = this.#last === bracket.item.token || this.#last?.tokenType === Comma;
      return whole || bracket.item.role === "group" ? inside : inside + step;
    }
    const { indent, head } = this.#statement;
    if (next.token.tokenType === LCurly || next.token.tokenType === Else) return indent;
    return indent + (head || next.token.tokenType === Arrow ? 2 * step : step);
  }
}
/** Keywords of statements whose block follows an expression. */
const heads: readonly TokenType[] = [If, For];

function write(items: readonly Item[]): string {
  const writer = new Writer();
  const tokens = items.filter(({ comment }) => !comment);
  let written = 0;
  for (const item of withLineBreaks(items)) {
    writer.write(item, tokens[written]);
    if (!item.comment) written++;
  }
  return items.length === 0 ? "" : `${writer.text}\n`;
}
