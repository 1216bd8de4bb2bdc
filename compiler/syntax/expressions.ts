// Converts expressions: the grammar gives a flat list of operands and operators, precedence makes a tree of it.
import type { IToken } from "chevrotain";
import type {
  ArgCstNode,
  ArgsCstNode,
  ExpressionCstNode,
  IndexItemCstNode,
  ItemCstNode,
  OperandCstNode,
  PostfixCstNode,
  PrimaryCstNode,
} from "../../grammar/cst.ts";
import { Bug } from "../diagnostic.ts";
import { dtypes } from "../types/dtype.ts";
import type { Arg, BinaryOp, Expr, IndexItem, Span, Spread, TypeExpr } from "./ast.ts";
import type { Hole } from "./hole.ts";
import { holeIndex } from "./lex.ts";
import { comparison, isBinary, precedence } from "./precedence.ts";
import { endOf, onlyChild, type Text } from "./text.ts";

export const join = (a: Span, b: Span): Span => ({ source: a.source, start: a.start, end: b.end });

/** Converts one expression. Every operator counts as a level of nesting, as it may make the tree one level deeper. */
export function readExpression(text: Text, node: ExpressionCstNode): Expr {
  const { operand, Binary = [] } = node.children;
  const prefixes = operand.reduce(
    (n, o) => n + (o.children.Prefix?.length ?? 0) + (o.children.postfix?.length ?? 0),
    0,
  );
  return text.within(1 + Binary.length + prefixes, text.nodeSpan(node), () =>
    new Operators(text, operand, Binary).read(0),
  );
}

/** Precedence climbing over the operands and operators of one expression. */
class Operators {
  readonly #text: Text;
  readonly #operands: readonly OperandCstNode[];
  readonly #operators: readonly IToken[];
  #next = 0;

  constructor(text: Text, operands: readonly OperandCstNode[], operators: readonly IToken[]) {
    this.#text = text;
    this.#operands = operands;
    this.#operators = operators;
  }

  /** Reads operators that bind at least as tightly as `floor`. */
  read(floor: number): Expr {
    let left = this.#operand();
    let compared: IToken | null = null;
    for (;;) {
      const token = this.#operators[this.#next];
      if (!token) return left;
      const op = operatorOf(token);
      if (precedence[op] < floor) return left;
      if (precedence[op] === comparison) {
        if (compared) this.#chain(compared, token);
        compared = token;
      } else compared = null;
      this.#next++;
      left = this.#binary(left, op, token, this.read(precedence[op] + 1));
    }
  }

  /** Reads `- ! operand ** operand`: the power binds tighter than the signs before it. */
  #operand(): Expr {
    const node = this.#operands[this.#next];
    if (!node) throw new Bug("the syntax tree has more operators than operands");
    const base = readPostfixed(this.#text, node);
    const token = this.#operators[this.#next];
    const value = token?.image === "**" ? this.#power(base, token) : base;
    return (node.children.Prefix ?? []).reduceRight<Expr>((inner, sign) => {
      const op = sign.image === "-" ? "-" : "!";
      return { kind: "unary", op, value: inner, span: join(this.#text.tokenSpan(sign), inner.span) };
    }, value);
  }
  #power(base: Expr, token: IToken): Expr {
    this.#next++;
    return this.#binary(base, "**", token, this.#operand());
  }
  #binary(left: Expr, op: BinaryOp, token: IToken, right: Expr): Expr {
    return { kind: "binary", op, left, right, opSpan: this.#text.tokenSpan(token), span: join(left.span, right.span) };
  }
  #chain(first: IToken, second: IToken): void {
    this.#text.error(
      "E0105",
      "comparisons do not chain",
      [
        { span: this.#text.tokenSpan(second), text: "a second comparison" },
        { span: this.#text.tokenSpan(first), text: "the first one" },
      ],
      /^[=!]=$/.test(first.image) || /^[=!]=$/.test(second.image)
        ? "put one of them in brackets: `(a < b) == c`"
        : "compare twice and join the two with `&&`: `a < b && b < c`",
    );
  }
}
function operatorOf(token: IToken): BinaryOp {
  if (!isBinary(token.image)) throw new Bug(`no precedence for ${token.image}`);
  return token.image;
}

function readPostfixed(text: Text, node: OperandCstNode): Expr {
  return (node.children.postfix ?? []).reduce<Expr>(
    (object, postfix) => readPostfix(text, object, postfix),
    readPrimary(text, onlyChild(node.children.primary), node.children.postfix?.[0]?.children.args !== undefined),
  );
}
function readPostfix(text: Text, object: Expr, node: PostfixCstNode): Expr {
  const { args, index, Word } = node.children;
  const span = join(object.span, text.nodeSpan(node));
  if (args?.[0]) return { kind: "call", callee: object, args: readArgs(text, args[0]), span };
  if (index?.[0]) {
    const items = index[0].children.indexItem.map((item) => readIndexItem(text, item));
    return { kind: "index", object, items, span };
  }
  return { kind: "member", object, name: text.name(onlyChild(Word)), span };
}
function readArgs(text: Text, node: ArgsCstNode): Arg[] {
  const args = (node.children.arg ?? []).map((arg) => readArg(text, arg));
  const named = args.findIndex((arg) => arg.name);
  const late = named < 0 ? undefined : args.slice(named).find((arg) => !arg.name);
  if (late) {
    text.error(
      "E0112",
      "an argument given in order stands after one given by name",
      [{ span: late.span, text: "give this one by name too, or move it forward" }],
      "arguments in order come first: `f(x, axis: 1)`",
    );
  }
  return args;
}
function readArg(text: Text, node: ArgCstNode): Arg {
  const { Word, expression } = node.children;
  return {
    name: Word?.[0] ? text.name(Word[0]) : null,
    value: readExpression(text, onlyChild(expression)),
    span: text.nodeSpan(node),
  };
}
function readIndexItem(text: Text, node: IndexItemCstNode): IndexItem {
  const { Dots, New, Colon, from, to } = node.children;
  const span = text.nodeSpan(node);
  if (Dots) return { kind: "ellipsis", span };
  if (New) return { kind: "new", span };
  const start = from?.[0] ? readExpression(text, from[0]) : null;
  if (start && !Colon) return start;
  return { kind: "slice", from: start, to: to?.[0] ? readExpression(text, to[0]) : null, span };
}

function readPrimary(text: Text, node: PrimaryCstNode, called: boolean): Expr {
  const { Num, True, False, Name, Hole, expression, list } = node.children;
  const span = text.nodeSpan(node);
  if (Num?.[0]) return { kind: "number", value: readNumber(text, Num[0]), span };
  if (True ?? False) return { kind: "bool", value: True !== undefined, span };
  if (Name?.[0]) return { kind: "name", name: Name[0].image, span };
  if (Hole?.[0]) return readHole(text, Hole[0], called);
  if (expression?.[0]) return { ...readExpression(text, expression[0]), span };
  const items = (onlyChild(list).children.item ?? []).map((item) => readItem(text, item));
  return { kind: "list", items, span };
}
export function readItem(text: Text, node: ItemCstNode): Expr | Spread {
  const { Name, expression } = node.children;
  if (expression?.[0]) return readExpression(text, expression[0]);
  return { kind: "spread", name: text.name(onlyChild(Name)), span: text.nodeSpan(node) };
}

function readNumber(text: Text, token: IToken): number {
  const value = /^\d+(\.\d+)?([eE][+-]?\d+)?$/.test(token.image) ? Number(token.image) : Number.NaN;
  if (Number.isFinite(value)) return value;
  const [what, help] = Number.isNaN(value)
    ? ["is not a number", "numbers are written `1`, `0.5`, `2e-3`; a name cannot begin with a digit"]
    : ["is too large", "write `inf` for infinity"];
  text.error("E0111", `\`${token.image}\` ${what}`, [{ span: text.tokenSpan(token), text: what }], help);
  return 1; // any size can be divided by 1, so no further errors follow
}

/** The index and value of a hole. The value is undefined if the text contains a hole character of its own, which is an error. */
export function holeAt(text: Text, token: IToken): { index: number; hole: Hole | undefined } {
  const index = holeIndex(token);
  return { index, hole: text.holes[index] };
}
function readHole(text: Text, token: IToken, called: boolean): Expr {
  const { index, hole } = holeAt(text, token);
  const span = text.tokenSpan(token);
  if (typeof hole === "number" && !Number.isNaN(hole)) return { kind: "number", value: hole, span };
  if (typeof hole === "boolean") return { kind: "bool", value: hole, span };
  if (typeof hole === "object" && isHandle(hole)) return { kind: "hole", index, span };
  if (called && isDType(hole)) return { kind: "name", name: hole, span };
  badHole(text, token, "a number, a boolean or a declaration made by another `moe` template");
  return { kind: "number", value: 0, span };
}
/** Plain JavaScript may call templates too, so the type of a hole is not guaranteed. */
const isHandle = (hole: object | null): boolean => hole !== null && "name" in hole && "program" in hole;
export const isDType = (name: unknown): name is TypeExpr["dtype"] =>
  name === "float" || dtypes.some((dtype) => dtype === name);
function shownHole(hole: unknown): string {
  if (typeof hole === "string") return JSON.stringify(hole);
  if (typeof hole === "object" && hole !== null) return "an object";
  return typeof hole === "function" ? "a function" : String(hole);
}
export function badHole(text: Text, token: IToken, wanted: string): void {
  const { hole } = holeAt(text, token);
  const given = shownHole(hole);
  const label = { span: text.span(token.startOffset, endOf(token)), text: `this is ${given}` };
  const help =
    "templates take numbers, booleans, dtypes and what other `moe` templates declare; compute anything else in TypeScript";
  text.error("E0113", `a hole here holds ${wanted}`, [label], help);
}
