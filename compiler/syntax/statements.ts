// Converts statements: the bodies of functions and methods.
import type {
  BlockCstNode,
  BranchCstNode,
  ExpressionCstNode,
  LettingCstNode,
  LoopCstNode,
  OptimizeCstNode,
  ReportCstNode,
  SelectorCstNode,
  StatementCstNode,
  VariableCstNode,
} from "../../grammar/cst.ts";
import type { Param, Pattern, Selector, State, Stmt } from "./ast.ts";
import { join, readExpression } from "./expressions.ts";
import { foreignHelp } from "./help.ts";
import { onlyChild, type Text } from "./text.ts";
import { readTensor } from "./types.ts";

export function readBlock(text: Text, node: BlockCstNode): Stmt[] {
  return text.within(1, text.nodeSpan(node), () =>
    (node.children.statement ?? []).map((statement) => readStatement(text, statement)),
  );
}

function readStatement(text: Text, node: StatementCstNode): Stmt {
  const { letting, returning, branch, loop, variable, report, optimize, setting, expression } = node.children;
  const span = text.nodeSpan(node);
  if (letting?.[0]) return readLet(text, letting[0]);
  if (branch?.[0]) return readBranch(text, branch[0]);
  if (loop?.[0]) return readLoop(text, loop[0]);
  if (variable?.[0]) return readState(text, variable[0]);
  if (report?.[0]) return readReport(text, report[0]);
  if (optimize?.[0]) return readOptimize(text, optimize[0]);
  if (returning?.[0]) {
    return { kind: "return", values: returning[0].children.expression.map((e) => readExpression(text, e)), span };
  }
  if (setting?.[0]) {
    const { Name, expression } = setting[0].children;
    return { kind: "set", name: text.name(onlyChild(Name)), value: readExpression(text, onlyChild(expression)), span };
  }
  return readEffect(text, onlyChild(expression));
}

function readLet(text: Text, node: LettingCstNode): Stmt {
  const { Name, pattern, tensor, expression } = node.children;
  const tokens = pattern?.[0] ? pattern[0].children.name.map((n) => onlyChild(n.children.Name)) : [onlyChild(Name)];
  const names = tokens.map((token): Pattern => (token.image === "_" ? null : text.name(token)));
  const type = tensor?.[0] ? readTensor(text, tensor[0]) : null;
  if (type && names.length > 1) {
    text.error(
      "E0101",
      "a type after several names",
      [{ span: type.span, text: "of which of the names is this the type?" }],
      "leave the type out, or give one of the names its type in a `let` of its own",
    );
  }
  return { kind: "let", names, type, value: readExpression(text, onlyChild(expression)), span: text.nodeSpan(node) };
}

function readBranch(text: Text, node: BranchCstNode): Stmt {
  const { expression, block, branch } = node.children;
  const other = node.children.else?.[0];
  const span = text.nodeSpan(node);
  return text.within(1, span, () => ({
    kind: "if",
    cond: readExpression(text, onlyChild(expression)),
    then: readBlock(text, onlyChild(block)),
    else: other ? readBlock(text, other) : (branch ?? []).map((b) => readBranch(text, b)),
    span,
  }));
}

function readLoop(text: Text, node: LoopCstNode): Stmt {
  const { Name, index, expression, to, block } = node.children;
  const from = readExpression(text, onlyChild(expression));
  const end = to?.[0] ? readExpression(text, to[0]) : null;
  return {
    kind: "for",
    name: text.name(onlyChild(Name)),
    index: index?.[0] ? text.name(index[0]) : null,
    over: end ? { kind: "range", from, to: end, span: join(from.span, end.span) } : from,
    body: readBlock(text, onlyChild(block)),
    span: text.nodeSpan(node),
  };
}

export function readVariable(text: Text, node: VariableCstNode): Param | State {
  const { State, Name, tensor, expression } = node.children;
  return {
    kind: State ? "state" : "param",
    name: text.name(onlyChild(Name)),
    type: readTensor(text, onlyChild(tensor)),
    init: readExpression(text, onlyChild(expression)),
    span: text.nodeSpan(node),
  };
}
function readState(text: Text, node: VariableCstNode): State {
  const { Param } = node.children;
  if (Param?.[0]) {
    text.error(
      "E0101",
      "a `param` in a method",
      [{ span: text.tokenSpan(Param[0]), text: "parameters are members of a layer" }],
      "move it out of the method, or make a `state`, which lives in a method",
    );
  }
  return { ...readVariable(text, node), kind: "state" };
}

function readReport(text: Text, node: ReportCstNode): Stmt {
  const { Loss, Metric, Name, expression } = node.children;
  return {
    kind: Loss ? "loss" : Metric ? "metric" : "update",
    name: text.name(onlyChild(Name)),
    value: readExpression(text, onlyChild(expression)),
    span: text.nodeSpan(node),
  };
}

function readOptimize(text: Text, node: OptimizeCstNode): Stmt {
  const value = readExpression(text, onlyChild(node.children.expression));
  return {
    kind: "optimize",
    selectors: (node.children.selector ?? []).map((selector) => readSelector(text, selector)),
    with: value.kind === "name" && value.name === "none" ? null : value,
    span: text.nodeSpan(node),
  };
}
function readSelector(text: Text, node: SelectorCstNode): Selector {
  const { Name, Word = [] } = node.children;
  return { path: [onlyChild(Name), ...Word].map((token) => text.name(token)), span: text.nodeSpan(node) };
}

/** Converts an expression used as a statement, which must be a call, as nothing else has an effect. */
function readEffect(text: Text, node: ExpressionCstNode): Stmt {
  const value = readExpression(text, node);
  if (value.kind !== "call" && !text.isInvalidLine(node.location?.startOffset ?? 0)) {
    const { source, start } = value.span;
    const before = /\w+(?=\s*$)/.exec(source.text.slice(0, start))?.[0] ?? "";
    const help = (value.kind === "name" ? foreignHelp(value.name) : null) ?? foreignHelp(before);
    text.error(
      "E0110",
      "this statement does nothing",
      [{ span: value.span, text: "only a call can be a statement" }],
      help ?? "write `let x = ...` to make a variable, `x = ...` to set one, or `return ...`",
    );
  }
  return { kind: "expr", value, span: text.nodeSpan(node) };
}
