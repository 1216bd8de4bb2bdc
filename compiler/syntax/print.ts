// Prints a syntax tree as formatted text; `parse(print(program))` gives `program` again, up to spans.
import type {
  Arg,
  ArrowType,
  Declaration,
  Expr,
  HeaderParam,
  Import,
  IndexItem,
  MemberOrIf,
  Program,
  Range,
  Spread,
  Stmt,
  TypeExpr,
} from "./ast.ts";
import { comparison, precedence, unaryPrecedence } from "./precedence.ts";
import { block, type Doc, list, multiline, prettyPrint } from "./pretty-print.ts";

export function print(program: Program): string {
  const imports = program.imports.map(printImport).join("");
  return [...(imports === "" ? [] : [imports]), ...program.declarations.map(printDeclaration)].join("\n");
}
const printImport = ({ names, from }: Import): string =>
  `import { ${names.map((name) => name.name).join(", ")} } from "${from}"\n`;
function printDeclaration(d: Declaration): string {
  const lines = d.doc === "" ? [] : d.doc.split("\n");
  const doc = lines.map((line) => `${`// ${line}`.trimEnd()}\n`).join("");
  return `${doc}${prettyPrint(declaration(d))}\n`;
}
function declaration(d: Declaration): Doc {
  const head = (word: string): Doc => [`${word} ${d.name.name}`, header(d.header)];
  switch (d.kind) {
    case "alias":
      return [head(d.of), " = ", expr(d.value), d.body.length === 0 ? "" : [" ", members(d.body)]];
    case "fn":
      return [head("fn"), result(d.result), " ", block(d.body.map(stmt))];
    case "optimizer":
      return [head("optimizer"), " ", members(d.methods)];
    case "layer":
    case "model":
      return [head(d.kind), " ", members(d.body)];
  }
}
const header = (params: readonly HeaderParam[]): Doc => list("(", params.map(param), ")");
const param = (p: HeaderParam): Doc => [
  p.spread ? `...${p.name.name}` : p.name.name,
  p.type ? [": ", type(p.type)] : "",
  p.default ? [" = ", expr(p.default)] : "",
];

/** Prints members on separate lines, with an empty line before each method that does not follow another. */
function members(all: readonly MemberOrIf[]): Doc {
  const lines = all.flatMap((m, i) => {
    const gap = m.kind === "method" && i > 0 && all[i - 1]?.kind !== "method";
    return gap ? ["", multiline(member(m))] : [multiline(member(m))];
  });
  return block(lines);
}
function member(m: MemberOrIf): Doc {
  switch (m.kind) {
    case "param":
    case "state":
      return [`${m.kind} ${m.name.name}: `, type(m.type), " = ", expr(m.init)];
    case "sublayer":
      return [`${m.name.name}: `, expr(m.value)];
    case "method":
      return [m.name.name, header(m.params), result(m.result), " ", block(m.body.map(stmt))];
    case "if": {
      const [only] = m.else;
      const other = m.else.length === 1 && only?.kind === "if" ? member(only) : members(m.else);
      return ["if ", expr(m.cond), " ", members(m.then), m.else.length === 0 ? "" : [" else ", other]];
    }
  }
}

function stmt(s: Stmt): Doc {
  switch (s.kind) {
    case "let": {
      const names = s.names.map((name) => name?.name ?? "_").join(", ");
      return [
        `let ${s.names.length > 1 ? `(${names})` : names}`,
        s.type ? [": ", type(s.type)] : "",
        " = ",
        expr(s.value),
      ];
    }
    case "set":
      return [`${s.name.name} = `, expr(s.value)];
    case "return":
      return ["return ", commas(s.values.map((value) => expr(value)))];
    case "if":
      return branch(s);
    case "for":
      return multiline([
        `for ${s.name.name}${s.index ? `, ${s.index.name}` : ""} in `,
        range(s.over),
        " ",
        block(s.body.map(stmt)),
      ]);
    case "loss":
    case "metric":
    case "update":
      return [`${s.kind} ${s.name.name} = `, expr(s.value)];
    case "state":
      return member(s);
    case "optimize": {
      const selectors = s.selectors.map((selector) => selector.path.map((name) => name.name).join(".")).join(", ");
      return [`optimize ${selectors}${selectors === "" ? "" : " "}with `, s.with ? expr(s.with) : "none"];
    }
    case "expr":
      return expr(s.value);
  }
}
function branch(s: Stmt & { kind: "if" }): Doc {
  const [only] = s.else;
  const other = s.else.length === 1 && only?.kind === "if" ? branch(only) : block(s.else.map(stmt));
  return multiline(["if ", expr(s.cond), " ", block(s.then.map(stmt)), s.else.length === 0 ? "" : [" else ", other]]);
}
const range = (over: Expr | Range): Doc => (over.kind === "range" ? [expr(over.from), ":", expr(over.to)] : expr(over));

const commas = (docs: readonly Doc[]): Doc => docs.flatMap((doc, i) => (i === 0 ? [doc] : [", ", doc]));
function result(types: readonly TypeExpr[]): Doc {
  return types.length === 0 ? "" : [" -> ", sides(types)];
}
const sides = (types: readonly TypeExpr[]): Doc => {
  const [only] = types;
  return types.length === 1 && only ? type(only) : list("(", types.map(type), ")");
};
function type(t: TypeExpr | ArrowType): Doc {
  if (t.kind === "arrow") {
    const arrow: Doc = [sides(t.params), " -> ", sides(t.result)];
    return t.array ? ["(", arrow, ")[", expr(t.array), "]"] : arrow;
  }
  const axes = [...(t.spread ? [`...${t.spread.name}`] : []), ...t.axes.map((axis) => expr(axis))];
  return axes.length === 0 ? t.dtype : [t.dtype, list("[", axes, "]")];
}

/** The precedence of operands of calls, indexing and member access. */
const postfix = 8;
/** Prints an expression; in parentheses if it binds less tightly than `floor`. */
function expr(e: Expr, floor = 0): Doc {
  const [doc, binds] = bound(e);
  return binds < floor ? ["(", doc, ")"] : doc;
}
function bound(e: Expr): [Doc, number] {
  switch (e.kind) {
    case "number":
      return [number(e.value), e.value < 0 ? unaryPrecedence : postfix];
    case "bool":
      return [String(e.value), postfix];
    case "name":
      return [e.name, postfix];
    case "hole":
      return [`\${${e.index}}`, postfix];
    case "unary":
      return [[e.op, expr(e.value, unaryPrecedence)], unaryPrecedence];
    case "binary":
      return [binary(e), precedence[e.op]];
    case "call":
      return [[expr(e.callee, postfix), list("(", e.args.map(arg), ")")], postfix];
    case "member":
      return [[expr(e.object, postfix), `.${e.name.name}`], postfix];
    case "index":
      return [[expr(e.object, postfix), list("[", e.items.map(indexItem), "]")], postfix];
    case "list":
      return [list("[", e.items.map(item), "]"), postfix];
  }
}
/** Prints a number, in exponential form if that is shorter: `1e-6` rather than `0.000001`. */
function number(value: number): string {
  const [plain, short] = [String(value), value.toExponential().replace("+", "")];
  return short.length < plain.length - 1 ? short : plain;
}
function binary(e: Expr & { kind: "binary" }): Doc {
  const binds = precedence[e.op];
  const [left, right] =
    e.op === "**" ? [postfix, unaryPrecedence] : [binds === comparison ? binds + 1 : binds, binds + 1];
  return [expr(e.left, left), ` ${e.op} `, expr(e.right, right)];
}
const arg = (a: Arg): Doc => [a.name ? `${a.name.name}: ` : "", expr(a.value)];
const item = (i: Expr | Spread): Doc => (i.kind === "spread" ? `...${i.name.name}` : expr(i));
function indexItem(i: IndexItem): Doc {
  switch (i.kind) {
    case "ellipsis":
      return "...";
    case "new":
      return "new";
    case "slice":
      return [i.from ? expr(i.from) : "", ":", i.to ? expr(i.to) : ""];
    default:
      return expr(i);
  }
}
