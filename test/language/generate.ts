// Generators (fast-check) of random syntax trees with every kind of node, as the parser would make them.
import fc, { type Arbitrary } from "fast-check";
import type {
  ArrowType,
  BinaryOp,
  Declaration,
  Expr,
  HeaderParam,
  IndexItem,
  MemberOrIf,
  Method,
  Name,
  Program,
  Selector,
  Span,
  Spread,
  Stmt,
  TypeExpr,
} from "../../compiler/syntax/ast.ts";
import { precedence } from "../../compiler/syntax/precedence.ts";

const span: Span = { source: { name: "generated", text: "" }, start: 0, end: 0 };
const word = fc.constantFrom(
  "a",
  "B",
  "x1",
  "loss",
  "metric",
  "state",
  "param",
  "update",
  "optimize",
  "from",
  "step",
  "_y",
);
const anyWord = fc.oneof(word, fc.constantFrom("new", "if", "in", "layer", "model", "true", "with"));
const toName = (name: string): Name => ({ name, span });
const name = word.map(toName);
const few = <T>(item: Arbitrary<T>, minLength = 0): Arbitrary<T[]> => fc.array(item, { minLength, maxLength: 3 });
const node = <K extends string, T>(
  kind: K,
  rest: { [P in keyof T]: Arbitrary<T[P]> },
): Arbitrary<{ kind: K; span: Span } & T> =>
  fc.record(rest as never).map((fields) => ({ kind, span, ...(fields as T) }));
const perhaps = <T>(item: Arbitrary<T>): Arbitrary<T | null> => fc.option(item);

const { expr } = fc.letrec<{ expr: Expr; index: IndexItem }>((tie) => ({
  index: fc.oneof(
    tie("expr"),
    node("slice", { from: perhaps(tie("expr")), to: perhaps(tie("expr")) }),
    node("ellipsis", {}),
    node("new", {}),
  ),
  expr: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    node("number", { value: fc.oneof(fc.nat(5000), fc.constantFrom(0.5, 1e-6, 1e21, 1.5e300, 123456.25)) }),
    node("name", { name: word }),
    node("bool", { value: fc.boolean() }),
    node("unary", { op: fc.constantFrom("-", "!"), value: tie("expr") }),
    node("binary", {
      op: fc.constantFrom(...(Object.keys(precedence) as BinaryOp[])),
      left: tie("expr"),
      right: tie("expr"),
      opSpan: fc.constant(span),
    }),
    call(tie("expr"), tie("expr")),
    node("member", { object: tie("expr"), name: anyWord.map(toName) }),
    node("index", { object: tie("expr"), items: few(tie("index"), 1) }),
    node("list", { items: few(fc.oneof(tie("expr"), spread())) }),
  ),
}));
function spread(): Arbitrary<Spread> {
  return node("spread", { name });
}
/** Positional arguments come before named ones. */
function call(callee: Arbitrary<Expr>, value: Arbitrary<Expr>): Arbitrary<Expr & { kind: "call" }> {
  const given = few(value).map((values) => values.map((v) => ({ name: null, value: v, span })));
  const named = few(fc.record({ name: anyWord.map(toName), value, span: fc.constant(span) }));
  return node("call", { callee, args: fc.tuple(given, named).map(([a, b]) => [...a, ...b]) });
}

const dtype = fc.constantFrom("f32", "f64", "bf16", "i32", "bool", "float");
const tensor: Arbitrary<TypeExpr> = node("tensor", { dtype, spread: perhaps(name), axes: few(expr) });
const arrow: Arbitrary<ArrowType> = node("arrow", {
  params: few(tensor, 1),
  result: few(tensor, 1),
  array: perhaps(expr),
});
const header: Arbitrary<HeaderParam[]> = few(
  fc.record({
    name,
    spread: fc.boolean(),
    type: perhaps(fc.oneof(tensor, arrow)),
    default: perhaps(expr),
    span: fc.constant(span),
  }),
);
const state = node("state", { name, type: tensor, init: expr });
const selector: Arbitrary<Selector> = fc
  .tuple(word, few(anyWord))
  .map(([first, rest]) => ({ path: [first, ...rest].map(toName), span }));
const pattern = few(fc.oneof(name, fc.constant(null)), 1);

const { stmt } = fc.letrec<{ stmt: Stmt }>((tie) => ({
  stmt: fc.oneof(
    { maxDepth: 3, depthSize: "small" },
    node("set", { name, value: expr }),
    node("return", { values: few(expr, 1) }),
    fc.tuple(pattern, perhaps(tensor), expr).map(([names, type, value]) => {
      return { kind: "let" as const, names, type: names.length > 1 ? null : type, value, span };
    }),
    fc
      .tuple(fc.constantFrom("loss", "metric", "update"), name, expr)
      .map(([kind, n, value]) => ({ kind, name: n, value, span })),
    state,
    node("optimize", { selectors: few(selector), with: perhaps(expr) }),
    node("expr", { value: call(node("name", { name: word }), expr) }),
    node("if", { cond: expr, then: few(tie("stmt")), else: few(tie("stmt")) }),
    node("for", {
      name,
      index: perhaps(name),
      over: fc.oneof(expr, node("range", { from: expr, to: expr })),
      body: few(tie("stmt")),
    }),
  ),
}));
const method: Arbitrary<Method> = node("method", { name, params: header, result: few(tensor), body: few(stmt) });
const { member } = fc.letrec<{ member: MemberOrIf }>((tie) => ({
  member: fc.oneof(
    { maxDepth: 2, depthSize: "small" },
    node("param", { name, type: tensor, init: expr }),
    state,
    node("sublayer", { name, value: expr }),
    method,
    node("if", { cond: expr, then: few(tie("member")), else: few(tie("member")) }),
  ),
}));
const doc = fc.constantFrom("", "one line", "two\n\nparts");
const declared = { name, header, doc };
const declaration: Arbitrary<Declaration> = fc.oneof(
  node("layer", { ...declared, body: few(member) }),
  node("model", { ...declared, body: few(member) }),
  node("alias", { ...declared, of: fc.constantFrom("layer", "model"), value: expr, body: few(member) }),
  node("fn", { ...declared, result: few(tensor, 1), body: few(stmt) }),
  node("optimizer", { ...declared, methods: few(method) }),
);
const imported = fc.record({
  names: few(name, 1),
  from: fc.constantFrom("std/nn", "./other"),
  fromSpan: fc.constant(span),
  span: fc.constant(span),
});
export const programs: Arbitrary<Program> = fc.record({
  imports: few(imported),
  declarations: few(declaration),
  span: fc.constant(span),
});
