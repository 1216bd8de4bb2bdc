// The state shared by the functions that convert one text: how offsets map to spans, the holes, and the errors found.
import type { CstNode, IToken } from "chevrotain";
import type { Code } from "../codes.ts";
import { Bug, type Diagnostic, type Label } from "../diagnostic.ts";
import type { Name, Span } from "./ast.ts";
import type { Hole } from "./hole.ts";

/** The deepest nesting of brackets, blocks and operators together. It bounds the recursion of all stages that walk the tree. */
export const maxDepth = 200;

export class Text {
  readonly text: string;
  readonly holes: readonly Hole[];
  /** The span for two offsets into `text`, in the file that the text comes from. */
  readonly span: (start: number, end: number) => Span;
  readonly diagnostics: Diagnostic[] = [];
  /** The lines with characters that the language does not have; syntax errors there are consequences, and not reported. */
  readonly invalidLines = new Set<number>();
  #depth = 0;

  constructor(text: string, holes: readonly Hole[], span: (start: number, end: number) => Span) {
    this.text = text;
    this.holes = holes;
    this.span = span;
  }

  isInvalidLine(offset: number): boolean {
    return this.invalidLines.has(this.text.slice(0, offset).split("\n").length);
  }
  tokenSpan(token: IToken): Span {
    return this.span(token.startOffset, endOf(token));
  }
  nodeSpan(node: CstNode): Span {
    return this.span(node.location?.startOffset ?? 0, (node.location?.endOffset ?? -1) + 1);
  }
  name(token: IToken): Name {
    return { name: token.image, span: this.tokenSpan(token) };
  }
  error(code: Code, message: string, labels: readonly [Label, ...Label[]], help: string): void {
    this.diagnostics.push({ code, message, labels, notes: [], help });
  }

  /** Runs `make`, which converts something `levels` deeper in the tree; throws TooDeep beyond the limit. */
  within<T>(levels: number, span: Span, make: () => T): T {
    this.#depth += levels;
    try {
      if (this.#depth > maxDepth) throw new TooDeep(span);
      return make();
    } finally {
      this.#depth -= levels;
    }
  }
}

/** Thrown to abandon a declaration that is nested too deeply; `parse` reports it. */
export class TooDeep extends Error {
  readonly span: Span;
  constructor(span: Span) {
    super("nested too deeply");
    this.span = span;
  }
}

export const endOf = (token: IToken): number => (token.endOffset ?? token.startOffset) + 1;
/** The only child of a kind, which the grammar guarantees to exist. */
export function onlyChild<T>(children: readonly T[] | undefined): T {
  const [child] = children ?? [];
  if (child === undefined) throw new Bug("the syntax tree lacks a child that the grammar promises");
  return child;
}
