// Converts types: `float[...S, D]`, `(A, B) -> C`, `((A) -> B)[L]`.
import type { TensorCstNode, TensorsCstNode, TypeCstNode, TypesCstNode, TypeTermCstNode } from "../../grammar/cst.ts";
import type { ArrowType, Expr, Span, Spread, TypeExpr } from "./ast.ts";
import { badHole, holeAt, isDType, join, readExpression, readItem } from "./expressions.ts";
import { dtypeHelp } from "./help.ts";
import { onlyChild, type Text } from "./text.ts";

export function readTensor(text: Text, node: TensorCstNode): TypeExpr {
  const items = (node.children.axes?.[0]?.children.item ?? []).map((item) => readItem(text, item));
  const [first, ...rest] = items;
  const spread = first?.kind === "spread" ? first.name : null;
  const axes = (spread ? rest : items).filter((item) => isAxis(text, item));
  return { kind: "tensor", dtype: readDType(text, node), spread, axes, span: text.nodeSpan(node) };
}
function isAxis(text: Text, item: Expr | Spread): item is Expr {
  if (item.kind !== "spread") return true;
  text.error(
    "E0108",
    `\`...${item.name.name}\` is not the first axis`,
    [{ span: item.span, text: "only the first axis may be a spread" }],
    "a spread stands for any leading axes: `float[...S, D]`",
  );
  return false;
}
function readDType(text: Text, node: TensorCstNode): TypeExpr["dtype"] {
  const { Name, Hole } = node.children;
  const hole = Hole?.[0];
  if (hole) {
    const given = holeAt(text, hole).hole;
    if (isDType(given)) return given;
    badHole(text, hole, 'a dtype ("f32", "f64", "bf16", "i32", "bool" or "float")');
    return "float";
  }
  const token = onlyChild(Name);
  if (isDType(token.image)) return token.image;
  text.error(
    "E0106",
    `there is no dtype \`${token.image}\``,
    [{ span: text.tokenSpan(token), text: "not a dtype" }],
    dtypeHelp(token.image),
  );
  return "float";
}
export function readTensors(text: Text, node: TensorsCstNode | undefined): TypeExpr[] {
  return (node?.children.tensor ?? []).map((tensor) => readTensor(text, tensor));
}

/** The type of a header item: a tensor type or an arrow type. */
export function readType(text: Text, node: TypeCstNode): TypeExpr | ArrowType {
  const [term, result] = [onlyChild(node.children.typeTerm), node.children.result?.[0]];
  if (result) {
    const [params, results] = [readTerm(text, term), readTerm(text, result)];
    return { kind: "arrow", params, result: results, array: null, span: text.nodeSpan(node) };
  }
  const { tensor, types } = term.children;
  return tensor?.[0] ? readTensor(text, tensor[0]) : readParenthesised(text, onlyChild(types));
}
/** `(A -> B)[L]`, or a type in parentheses. */
function readParenthesised(text: Text, node: TypesCstNode): TypeExpr | ArrowType {
  const { type, expression } = node.children;
  const inner = readType(text, onlyChild(type));
  const span = text.nodeSpan(node);
  const array = expression?.[0] ? readExpression(text, expression[0]) : null;
  if (type.length > 1) misplaced(text, span, "several types need an arrow after them: `(A, B) -> C`");
  if (inner.kind === "arrow") return { ...inner, array: array ?? inner.array, span };
  if (array) misplaced(text, join(inner.span, array.span), "an array has an arrow type: `(A -> B)[L]`");
  return inner;
}
/** One side of an arrow: a list of tensor types. */
function readTerm(text: Text, node: TypeTermCstNode): TypeExpr[] {
  const { tensor, types } = node.children;
  if (tensor?.[0]) return [readTensor(text, tensor[0])];
  const { type, expression } = onlyChild(types).children;
  if (expression?.[0]) misplaced(text, text.nodeSpan(expression[0]), "an array of layers cannot be passed or returned");
  return type.flatMap((inner) => {
    const read = readType(text, inner);
    if (read.kind === "tensor") return [read];
    misplaced(text, read.span, "the sides of an arrow are types of tensors");
    return [];
  });
}
function misplaced(text: Text, span: Span, what: string): void {
  text.error(
    "E0109",
    "this is not a type that can stand here",
    [{ span, text: what }],
    "a header knows `float[N]`, `A -> B`, `(A, B) -> (C, D)` and `(A -> B)[L]`",
  );
}
