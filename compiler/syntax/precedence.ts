import type { BinaryOp } from "./ast.ts";

/** How tightly operators bind. `**` is right-associative, and binds tighter than a unary sign before it. */
export const precedence: Readonly<Record<BinaryOp, number>> = {
  "||": 1,
  "&&": 2,
  "==": 3,
  "!=": 3,
  "<": 3,
  "<=": 3,
  ">": 3,
  ">=": 3,
  "+": 4,
  "-": 4,
  "*": 5,
  "/": 5,
  "%": 5,
  "@": 5,
  "**": 7,
};
/** The precedence of unary `-` and `!`. */
export const unaryPrecedence = 6;
/** The precedence of comparisons, which cannot be chained. */
export const comparison = 3;
export const isBinary = (op: string): op is BinaryOp => op in precedence;
