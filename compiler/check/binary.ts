// Unary and binary operators: on compile-time numbers, on tensors, and on one of each.
import type { Value } from "../graph/node.ts";
import type { BinaryName } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { binaries } from "../ops/scalar.ts";
import type * as ast from "../syntax/ast.ts";
import { type Element, isFloat, wider } from "../types/dtype.ts";
import { equal, isSpread, product, type Size, show } from "../types/size.ts";
import { showType, type Type, type } from "../types/type.ts";
import { fail, quoted, textOf } from "./errors.ts";
import { calledFrom, isKnown, knownBinary, knownUnary } from "./numbers.ts";
import { originOf } from "./origin.ts";
import { broadcastTo, castTo, commonShape, elementOf, toDefaultTensor, toTensor, whySizesDiffer } from "./tensor.ts";
import { kindText, number, type Scope, tensor, type Val } from "./values.ts";
import type { World } from "./world.ts";

const fns: Readonly<Record<Exclude<ast.BinaryOp, "@">, BinaryName>> = {
  "+": "add",
  "-": "sub",
  "*": "mul",
  "/": "div",
  "%": "rem",
  "**": "pow",
  "==": "eq",
  "!=": "ne",
  "<": "lt",
  "<=": "le",
  ">": "gt",
  ">=": "ge",
  "&&": "and",
  "||": "or",
};
type Binary = Extract<ast.Expr, { kind: "binary" }>;
type Unary = Extract<ast.Expr, { kind: "unary" }>;
/** A spread `S` used as a number is the product of its axes. */
export const spreadToNumber = (v: Val): Val => (v.kind === "spread" ? number(product(v.axes), true) : v);

export function binaryOf(w: World, e: Binary, a: Val, c: Val, scope: Scope): Val {
  const [x, y] = [spreadToNumber(a), spreadToNumber(c)];
  w.g.span = e.span;
  if (e.op === "@") return matmul(w, e, x, y, scope);
  if (isKnown(x) && isKnown(y)) return knownBinary(e.op, x, y, e.opSpan);
  const left = { value: x, span: e.left.span, origin: () => originOf(e.left, scope) };
  const right = { value: y, span: e.right.span, origin: () => originOf(e.right, scope) };
  return tensor(elementwise(w, fns[e.op], { what: `\`${e.op}\``, left, right, at: e.opSpan }));
}
export interface Operand {
  readonly value: Val;
  readonly span: ast.Span;
  /** Where the operand was declared, for notes in errors; see origin.ts. */
  readonly origin?: () => string;
}

/** Two operands of an elementwise operation, which errors call `what`. */
interface Operands {
  readonly what: string;
  readonly left: Operand;
  readonly right: Operand;
  readonly at: ast.Span;
}

/** An elementwise operation: both sides are converted to one dtype and broadcast to one shape. */
export function elementwise(w: World, fn: BinaryName, of: Operands): Value {
  const dtype = operandType(w, fn, of);
  const [x, y] = promoteOperands(w, of, dtype);
  return w.make(type(binaries[fn].resultDType(dtype) ?? dtype, x.type.shape), () => b.binary(w.g, fn, x, y));
}
/** Both sides as tensors of `dtype`, broadcast to one shape. */
export function promoteOperands(w: World, { what, left, right, at }: Operands, dtype: Element): [Value, Value] {
  const as = (o: Operand): Value => castTo(w, toTensor(w, o.value, o.span, dtype), dtype);
  const [x, y] = [as(left), as(right)];
  const shape = commonShape(w, what, { ...left, type: x.type }, { ...right, type: y.type }, at);
  return [broadcastTo(w, x, shape), broadcastTo(w, y, shape)];
}
/** The dtype that both sides are promoted to. */
export function commonElement(w: World, left: Operand, right: Operand): Element {
  const [a, c] = [left.value, right.value].map((v) => (v.kind === "tensor" ? v.value.type.dtype : null));
  return wider(elementOf(w, left.value, c ?? null), elementOf(w, right.value, a ?? null));
}
function operandType(w: World, fn: BinaryName, { what, left, right, at }: Operands): Element {
  for (const { value, span } of [left, right])
    if (value.kind !== "tensor" && !isKnown(value)) toDefaultTensor(w, value, span);
  const common = commonElement(w, left, right);
  if (fn === "and" || fn === "or") {
    const wrong = [left, right].find(
      (o) => elementOf(w, o.value, null) !== "bool" && !(o.value.kind === "number" && o.value.loose),
    );
    if (wrong)
      fail("E0201", `${what} needs booleans, not ${typeText(wrong.value)}`, at, {
        also: [{ span: wrong.span, text: typeText(wrong.value) }],
        help: `compare it: \`${quoted(wrong.span)} != 0\``,
      });
    return "bool";
  }
  return ([common, "i32"] as const).find((t) => binaries[fn].resultDType(t) !== null) ?? w.options.f32;
}
const typeText = (v: Val): string => (v.kind === "tensor" ? showType(v.value.type) : kindText[v.kind]);

export function unaryOf(w: World, operand: Val, e: Unary): Val {
  const v = spreadToNumber(operand);
  if (isKnown(v)) return knownUnary(e.op, v, e.span);
  const x = toDefaultTensor(w, v, e.span);
  if (e.op === "!" && x.type.dtype !== "bool")
    fail("E0201", `\`!\` needs booleans, not ${showType(x.type)}`, e.span, {
      help: `compare it: \`${quoted(e.value.span)} == 0\``,
    });
  const from = e.op === "-" && x.type.dtype === "bool" ? castTo(w, x, "i32") : x;
  return tensor(w.make(from.type, () => (e.op === "-" ? b.neg(w.g, from) : b.not(w.g, from))));
}

function matmul(w: World, e: Binary, left: Val, right: Val, scope: Scope): Val {
  for (const [v, span] of [
    [left, e.left.span],
    [right, e.right.span],
  ] as const)
    if (isKnown(v))
      fail("E0203", `\`@\` needs tensors, not ${kindText[v.kind]}`, span, { help: "write `*` for numbers" });
  const [x, y] = [toDefaultTensor(w, left, e.left.span), toDefaultTensor(w, right, e.right.span)];
  const dtype = wider(x.type.dtype, y.type.dtype);
  if (!isFloat(dtype))
    fail("E0203", `\`@\` needs floats, not ${showType(x.type)} and ${showType(y.type)}`, e.opSpan, {
      help: `convert one of them: \`f32(${quoted(e.left.span)})\``,
    });
  const [a, c] = [x.type.shape, y.type.shape];
  const [k, n] = [a.at(-1), c.at(-1)];
  const inner = c.at(-2);
  if (k === undefined || n === undefined || inner === undefined || isSpread(k) || isSpread(inner) || !equal(k, inner))
    return mismatch(w, e, x, y, scope);
  const [p, q] = [castTo(w, x, dtype), castTo(w, y, dtype)];
  const batch = a.length < 2 ? c.slice(0, -2) : commonBatch(w, e, p, q, scope);
  const rows = a.slice(-2, -1);
  return tensor(w.make(type(dtype, [...batch, ...rows, n]), () => b.matmul(w.g, p, q)));
}
const batchOf = ({ type: t }: Value): Type => type(t.dtype, t.shape.slice(0, -2));
function commonBatch(w: World, e: Binary, x: Value, y: Value, scope: Scope) {
  // In `[...S, In] @ [In, Out]` all of S are axes of rows, none of them a batch axis of the right side
  const last = x.type.shape.at(-2);
  if (last !== undefined && isSpread(last))
    return y.type.shape.length === 2 ? x.type.shape.slice(0, -2) : mismatch(w, e, x, y, scope);
  return commonShape(
    w,
    "`@`",
    { type: batchOf(x), span: e.left.span },
    { type: batchOf(y), span: e.right.span },
    e.opSpan,
  );
}
function mismatch(w: World, e: Binary, x: Value, y: Value, scope: Scope): never {
  const [k, inner] = [x.type.shape.at(-1), y.type.shape.at(-2)];
  const [left, right] = [textOf(e.left.span), textOf(e.right.span)];
  const sides =
    k !== undefined && inner !== undefined
      ? [
          `${show(k)} is the last axis of \`${left}\`${originOf(e.left, scope)}`,
          `${show(inner)} is the last axis but one of \`${right}\`${originOf(e.right, scope)}`,
          ...whySizesDiffer(w, k, inner),
        ]
      : [];
  fail("E0203", "`@` needs the last axis of the left side to equal the last axis but one of the right", e.opSpan, {
    also: [
      { span: e.left.span, text: showType(x.type) },
      { span: e.right.span, text: showType(y.type) },
    ],
    notes: [...sides, ...calledFrom(w)],
    help: matmulHelp(left, right, k, y.type),
  });
}
/** The remedy: transpose the right side, or declare it as it is used. */
function matmulHelp(left: string, right: string, k: Size | undefined, y: Type): string {
  if (y.shape.length === 1) return `the right side is a matrix; of a vector take \`sum(${left} * ${right}, axis: -1)\``;
  if (k !== undefined && y.shape.length >= 2 && equal(k, y.shape.at(-1) ?? -1))
    return `turn the right side round: \`${left} @ transpose(${right}, -2, -1)\``;
  if (k !== undefined && !isSpread(k) && y.shape.length === 2 && /^\w+$/.test(right))
    return `did you mean \`${right}: ${showType(type(y.dtype, [k, ...y.shape.slice(1)]))}\`?`;
  return "the right side needs the shape [..., K, N] where the left has [..., M, K]";
}
