// Converts the parse trees of declarations and members (CST) to the syntax tree (AST).
import type {
  BodyCstNode,
  DeclarationCstNode,
  EntryCstNode,
  FnCstNode,
  HeaderCstNode,
  ImportingCstNode,
  LayerCstNode,
  MemberCstNode,
  MemberIfCstNode,
  MethodCstNode,
  OptimizerCstNode,
} from "../../grammar/cst.ts";
import type {
  Alias,
  Declaration,
  Fn,
  HeaderParam,
  Import,
  Layer,
  MemberIf,
  MemberOrIf,
  Method,
  Optimizer,
} from "./ast.ts";
import { readExpression } from "./expressions.ts";
import { readBlock, readVariable } from "./statements.ts";
import { onlyChild, type Text } from "./text.ts";
import { readTensors, readType } from "./types.ts";

export function readDeclaration(text: Text, node: DeclarationCstNode, doc: string): Declaration | Import {
  const { importing, layer, fn, optimizer } = node.children;
  if (importing?.[0]) return readImport(text, importing[0]);
  if (layer?.[0]) return readLayer(text, layer[0], doc);
  if (fn?.[0]) return readFn(text, fn[0], doc);
  return readOptimizer(text, onlyChild(optimizer), doc);
}

function readImport(text: Text, node: ImportingCstNode): Import {
  const { names, Str } = node.children;
  const from = onlyChild(Str);
  return {
    names: onlyChild(names).children.name.map((name) => text.name(onlyChild(name.children.Name))),
    from: from.image.slice(1, -1),
    fromSpan: text.tokenSpan(from),
    span: text.nodeSpan(node),
  };
}

function readLayer(text: Text, node: LayerCstNode, doc: string): Layer | Alias {
  const { Model, Name, header, expression, body } = node.children;
  const kind = Model ? "model" : "layer";
  const declared = {
    name: text.name(onlyChild(Name)),
    header: readHeader(text, onlyChild(header)),
    doc,
    span: text.nodeSpan(node),
  };
  const value = expression?.[0] ? readExpression(text, expression[0]) : null;
  const members = body?.[0] ? readBody(text, body[0]) : [];
  return value ? { kind: "alias", of: kind, ...declared, value, body: members } : { kind, ...declared, body: members };
}

function readFn(text: Text, node: FnCstNode, doc: string): Fn {
  const { Name, header, tensors, block } = node.children;
  return {
    kind: "fn",
    name: text.name(onlyChild(Name)),
    header: readHeader(text, onlyChild(header)),
    doc,
    result: readTensors(text, onlyChild(tensors)),
    body: readBlock(text, onlyChild(block)),
    span: text.nodeSpan(node),
  };
}

function readOptimizer(text: Text, node: OptimizerCstNode, doc: string): Optimizer {
  const { Name, header, body } = node.children;
  const methods = readBody(text, onlyChild(body)).filter((member) => isMethod(text, member));
  return {
    kind: "optimizer",
    name: text.name(onlyChild(Name)),
    header: readHeader(text, onlyChild(header)),
    doc,
    methods,
    span: text.nodeSpan(node),
  };
}
function isMethod(text: Text, member: MemberOrIf): member is Method {
  if (member.kind === "method") return true;
  text.error(
    "E0101",
    "an optimizer has methods only",
    [{ span: member.span, text: "not a method" }],
    "what a parameter's step remembers is a `state` inside of `apply`",
  );
  return false;
}

function readHeader(text: Text, node: HeaderCstNode): HeaderParam[] {
  return (node.children.entry ?? []).map((entry) => readEntry(text, entry));
}
function readEntry(text: Text, node: EntryCstNode): HeaderParam {
  const { Dots, Name, type, expression } = node.children;
  return {
    name: text.name(onlyChild(Name)),
    spread: Dots !== undefined,
    type: type?.[0] ? readType(text, type[0]) : null,
    default: expression?.[0] ? readExpression(text, expression[0]) : null,
    span: text.nodeSpan(node),
  };
}

function readBody(text: Text, node: BodyCstNode): MemberOrIf[] {
  return text.within(1, text.nodeSpan(node), () =>
    (node.children.member ?? []).map((member) => readMember(text, member)),
  );
}
function readMember(text: Text, node: MemberCstNode): MemberOrIf {
  const { memberIf, method, sublayer, variable } = node.children;
  if (memberIf?.[0]) return readMemberIf(text, memberIf[0]);
  if (method?.[0]) return readMethod(text, method[0]);
  if (variable?.[0]) return readVariable(text, variable[0]);
  const { Name, expression } = onlyChild(sublayer).children;
  return {
    kind: "sublayer",
    name: text.name(onlyChild(Name)),
    value: readExpression(text, onlyChild(expression)),
    span: text.nodeSpan(node),
  };
}
function readMemberIf(text: Text, node: MemberIfCstNode): MemberIf {
  const { expression, body, memberIf } = node.children;
  const other = node.children.else?.[0];
  const span = text.nodeSpan(node);
  return text.within(1, span, () => ({
    kind: "if",
    cond: readExpression(text, onlyChild(expression)),
    then: readBody(text, onlyChild(body)),
    else: other ? readBody(text, other) : (memberIf ?? []).map((inner) => readMemberIf(text, inner)),
    span,
  }));
}
function readMethod(text: Text, node: MethodCstNode): Method {
  const { Name, header, tensors, block } = node.children;
  return {
    kind: "method",
    name: text.name(onlyChild(Name)),
    params: readHeader(text, onlyChild(header)),
    result: readTensors(text, tensors?.[0]),
    body: readBlock(text, onlyChild(block)),
    span: text.nodeSpan(node),
  };
}
