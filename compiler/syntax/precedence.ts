import type { BinaryOp } from "./ast.ts";

/** How tightly each operator binds; `**` binds tighter than a unary sign on its left and is right-associative. */
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
/** `-` and `!`. */
export const unaryPrecedence = 6;
/** Comparisons do not chain. */
export const comparison = 3;
export const isBinary = (op: string): op is BinaryOp => op in precedence;
