import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Lexer } from "chevrotain";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { codes } from "../../compiler/codes.ts";
import type { Diagnostic } from "../../compiler/diagnostic.ts";
import { ProgramError } from "../../compiler/program-error.ts";
import { plain, render } from "../../compiler/render.ts";
import type { Expr, Span } from "../../compiler/syntax/ast.ts";
import { parse } from "../../compiler/syntax/parse.ts";
import { print } from "../../compiler/syntax/print.ts";
import { type Hole, moe } from "../../compiler/syntax/template.ts";
import { MoeParser } from "../../grammar/parser.ts";
import { reservedWords, tokens } from "../../grammar/tokens.ts";
import { withCpuTime } from "../cpu-time.ts";
import { full } from "../full.ts";
import { golden } from "../golden.ts";
import { project } from "../project.ts";
import { faulty } from "./faulty.ts";
import { programs as generated } from "./generate.ts";
import { mutants } from "./mutate.ts";

const test = suite("syntax");

test("the grammar is valid: nothing is ambiguous, no token is hidden by another", () => {
  assert.instance(new MoeParser(true), MoeParser);
  assert.equal(new Lexer(tokens).lexerDefinitionErrors, []);
});

const folder = join(project, "stdlib");
const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".moe"));
const programs = files.map((name) => ({ name, text: readFileSync(join(folder, name), "utf8") }));
const shown = (text: string, width = 100): string =>
  render(parse({ name: "model.moe", text }).diagnostics, { color: false, width, limit: 100 });

/** A tree without its spans. */
function bare(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(bare);
  if (typeof node !== "object" || node === null) return node;
  const kept = Object.entries(node).filter(([key]) => !/span$/i.test(key));
  return Object.fromEntries(kept.map(([key, value]) => [key, bare(value)]));
}
function expression(text: string): Expr {
  const { program, diagnostics } = parse({ name: "x", text: `layer A() = ${text}` });
  assert.equal(diagnostics, [], text);
  const [alias] = program.declarations;
  if (alias?.kind !== "alias") throw new Error(`no expression: ${text}`);
  return alias.value;
}

test("all of the library parses", () => {
  assert.ok(programs.length > 10);
  for (const program of programs) assert.is(shown(program.text), "", program.name);
});

test("all of them together parse in less than 250 ms", () => {
  const times = Array.from(
    { length: 5 },
    () => withCpuTime(() => programs.forEach((program) => parse(program))).seconds,
  );
  assert.ok(Math.min(...times) < 0.25, `${times.join(", ")} s`);
});

test("a printed program parses to the same tree: the library", () => {
  for (const program of programs) {
    const tree = parse(program).program;
    const again = parse({ name: program.name, text: print(tree) });
    assert.equal(again.diagnostics, [], program.name);
    assert.equal(bare(again.program), bare(tree), program.name);
    assert.is(print(again.program), print(tree));
  }
});

test("a printed program parses to the same tree: generated trees", () => {
  fc.assert(
    fc.property(generated, (tree) => {
      const text = print(tree);
      const again = parse({ name: "generated.moe", text });
      assert.equal(again.diagnostics, [], text);
      assert.equal(bare(again.program), bare(tree), text);
    }),
    { seed: 1, numRuns: 300 },
  );
});

test("the printer's form", () => {
  const texts = ["test/programs/bodies.moe", "examples/gpt-moe.moe", "stdlib/optim.moe"].map((name) => ({
    name,
    text: readFileSync(join(project, name), "utf8"),
  }));
  golden("syntax/printed.moe", texts.map((program) => print(parse(program).program)).join("\n"));
});

/** An expression with all its parentheses. */
function grouped(e: Expr): string {
  switch (e.kind) {
    case "number":
      return String(e.value);
    case "name":
      return e.name;
    case "unary":
      return `(${e.op}${grouped(e.value)})`;
    case "binary":
      return `(${grouped(e.left)} ${e.op} ${grouped(e.right)})`;
    case "call":
      return `${grouped(e.callee)}()`;
    case "member":
      return `${grouped(e.object)}.${e.name.name}`;
    default:
      return e.kind;
  }
}
for (const [text, meaning] of [
  ["a + b - c", "((a + b) - c)"],
  ["a - b * c", "(a - (b * c))"],
  ["a * b / c % d @ e", "((((a * b) / c) % d) @ e)"],
  ["-x ** 2", "(-(x ** 2))"],
  ["2 ** -1", "(2 ** (-1))"],
  ["2 ** 3 ** 2", "(2 ** (3 ** 2))"],
  ["2 ** -x ** 2 * 3", "((2 ** (-(x ** 2))) * 3)"],
  ["-a * b", "((-a) * b)"],
  ["- -a", "(-(-a))"],
  ["!a && b || c", "(((!a) && b) || c)"],
  ["a || b && c == d", "(a || (b && (c == d)))"],
  ["a + 1 < b * 2", "((a + 1) < (b * 2))"],
  ["(a < b) == c", "((a < b) == c)"],
  ["a < b && b < c", "((a < b) && (b < c))"],
  ["-f().x ** 2", "(-(f().x ** 2))"],
  ["a - -b", "(a - (-b))"],
] as const) {
  test(`${text} is ${meaning}`, () => assert.is(grouped(expression(text)), meaning));
}

test("spans are those of the text, operators and parentheses included", () => {
  const text = "layer A() = f(x, axis: (a + b))";
  const { program } = parse({ name: "x", text });
  const [alias] = program.declarations;
  if (alias?.kind !== "alias" || alias.value.kind !== "call") throw new Error("no call");
  const cut = (span: { start: number; end: number }): string => text.slice(span.start, span.end);
  const [, named] = alias.value.args;
  if (named?.value.kind !== "binary") throw new Error("no sum");
  assert.is(cut(alias.span), text);
  assert.is(cut(alias.value.span), "f(x, axis: (a + b))");
  assert.is(cut(named.span), "axis: (a + b)");
  assert.is(cut(named.value.span), "(a + b)");
  assert.is(cut(named.value.opSpan), "+");
});

test("contextual words are names, and any word may follow a dot or name an argument", () => {
  const text = `layer A(step, gate: float[N] -> float[N]) {
    experts: gate  loss: gate  state: gate  param(x: float[N]) -> float[N] { return x }
    update(loss: float[N], metric: float[N]) -> float[N] {
      let update = loss.new + x.loss.if  loss loss = update(loss: loss, in: metric, model: 1)
      loss = metric  update state = param  state state: f32 = param  optimize loss.model, state with none
      return loss, from
    }
  }`;
  const { program, diagnostics } = parse({ name: "x", text });
  assert.equal(diagnostics, []);
  const [layer] = program.declarations;
  if (layer?.kind !== "layer") throw new Error("no layer");
  assert.equal(
    layer.body.map((member) => member.kind),
    ["sublayer", "sublayer", "sublayer", "method", "method"],
  );
  const update = layer.body.at(-1);
  if (update?.kind !== "method") throw new Error("no method");
  assert.equal(
    update.body.map((statement) => statement.kind),
    ["let", "loss", "set", "update", "state", "optimize", "return"],
  );
});

test("a declaration's doc is the lines directly above it", () => {
  const text = "// far\n\n// one\n//\n//  two \nfn f() -> f32 { return 1 } // beside\nfn g() -> f32 { return 1 }";
  assert.equal(
    parse({ name: "x", text }).program.declarations.map((declaration) => declaration.doc),
    ["one\n\n two", ""],
  );
});

for (const [name, text] of Object.entries(faulty)) {
  test(`errors: ${name}`, () => golden(`syntax/${name}.txt`, shown(text)));
}
test("every code of the syntax has a golden", () => {
  const found = Object.values(faulty).flatMap((text) => parse({ name: "x", text }).diagnostics.map(({ code }) => code));
  const known = Object.keys(codes).filter((code) => code.startsWith("E01") && code !== "E0113"); // holes.txt has it
  assert.equal([...new Set(found)].toSorted(), known);
});
test("every example of the language reference parses", () => {
  const text = readFileSync(join(project, "grammar/GRAMMAR.md"), "utf8");
  const blocks = [...text.matchAll(/^```moe\n(.*?)^```$/gms)].map((match) => match[1] ?? "");
  assert.ok(blocks.length >= 6);
  for (const block of blocks) assert.is(shown(block), "");
});
test("errors are drawn with carets, in colours, up to a limit, and as data", () => {
  const line = "    return x @ weight + bias";
  const source = { name: "examples/gpt-moe.moe", text: `${"\n".repeat(30)}${line}\n` };
  const part = (word: string): Span => {
    const start = 30 + line.indexOf(word);
    return { source, start, end: start + word.length };
  };
  const diagnostic: Diagnostic = {
    code: "E0101",
    message: "`@` needs the last axis of the left side to equal the first of the right",
    labels: [
      { span: part("@"), text: "" },
      { span: part("x"), text: "" },
      { span: part("weight"), text: "float[H, Out]; on the left float[...S, In]" },
    ],
    notes: ["In is the last axis of `x`, declared at line 27; H is the first axis of `weight`"],
    help: "did you mean `weight: float[In, Out]`?",
  };
  golden("syntax/drawn.txt", render([diagnostic], { color: false, width: 120 }));
  assert.ok(render([diagnostic], { color: true, width: 120 }).includes("\u001b[31m^"));
  assert.match(
    render([diagnostic, diagnostic, diagnostic], { color: false, width: 120, limit: 1 }),
    /\nand 2 more errors\n$/,
  );
  assert.equal(plain(diagnostic), {
    code: "E0101",
    message: diagnostic.message,
    file: source.name,
    line: 31,
    column: 14,
    endLine: 31,
    endColumn: 15,
    length: 1,
    notes: diagnostic.notes,
    help: diagnostic.help,
  });
});
test("a line too long is cut around the caret, not around what else is marked", () => {
  const source = { name: "a.moe", text: `declared ${"- ".repeat(60)}wrong ${"- ".repeat(60)}` };
  const span = (word: string): Span => {
    const start = source.text.indexOf(word);
    return { source, start, end: start + word.length };
  };
  const labels: Diagnostic["labels"] = [
    { span: span("wrong"), text: "here" },
    { span: span("declared"), text: "there" },
  ];
  const [, , , shown = "", carets = ""] = render([{ code: "E0101", message: "", labels, notes: [], help: "" }], {
    color: false,
    width: 60,
  }).split("\n");
  const at = shown.indexOf("wrong");
  assert.ok(at > 0, shown);
  assert.is(carets.indexOf("^^^^^ here"), at);
});
test("code in backticks stays in one line, unless it is longer than a line", () => {
  const [code, long] = ["`moec train model.moe --set D=8`", `\`${"word ".repeat(14)}end\``];
  const span = { source: { name: "a.moe", text: "x" }, start: 0, end: 1 };
  const wide = (help: string): string[] =>
    render([{ code: "E0101", message: "", labels: [{ span, text: "" }], notes: [], help }], { color: false, width: 60 })
      .split("\n")
      .slice(5, -1);
  for (let before = 1; before < 60; before++) {
    const lines = wide(`${"a ".repeat(before)}(${code}), or more than ${code} has`);
    assert.is(lines.filter((line) => line.includes(code)).length, 2, lines.join("\n"));
    assert.ok(
      lines.every((line) => line.length <= 60),
      lines.join("\n"),
    );
  }
  assert.ok(wide(long).length > 1 && wide(long).every((line) => line.length <= 60));
});
test("labels over several lines, files and columns", () => {
  const source = { name: "a.moe", text: "one two three\n\tfour\n\n\n\u65e5\u672c x end\nlast\n" };
  const other = { name: "b.moe", text: "elsewhere" };
  const span = (word: string, of = source): Span => ({
    source: of,
    start: of.text.indexOf(word),
    end: of.text.indexOf(word) + word.length,
  });
  const diagnostic: Diagnostic = {
    code: "E0101",
    message: "all of it",
    labels: [
      { span: span("four"), text: "after a tab" },
      { span: span("one"), text: "first" },
      { span: span("two"), text: "second" },
      { span: span("three\n\tfour"), text: "over the line's end" },
      { span: span("x"), text: "after wide letters" },
      { span: span("elsewhere", other), text: "in another file" },
    ],
    notes: ["a note"],
    help: "a help that is longer than the line is wide, and so goes on below, under its own beginning and not at the left",
  };
  golden("syntax/labels.txt", render([diagnostic], { color: false, width: 60 }));
});
test("the editor's grammar knows every reserved word and builds", () => {
  const text = readFileSync(join(project, "grammar/moe.tmLanguage.json"), "utf8");
  const patterns = [...text.matchAll(/"match": (".*?[^\\]")/g)].map((found) => new RegExp(JSON.parse(found[1] ?? "")));
  for (const { PATTERN: word, name } of reservedWords) {
    assert.ok(typeof word === "string" && patterns.some((pattern) => pattern.exec(`${word} x`)?.[0] === word), name);
  }
});
for (const [text, declared, lost] of [
  ["layer A(D) {\n  a: = 3\n  b: B(D)\n}", ["C"], ["A"]],
  ["layer A(D) {\n  b: B(D)\n  f(x: f32) { let y = }\n}", ["A", "C"], []],
  ["fn f(x: f32) -> f32 { let y = }", ["f", "C"], []],
  ["fn f(x: f32) -> f32 { return (x }", ["C"], ["f"]],
  ['import { a, b from "std/nn"', ["C"], ["a", "b"]],
  ['imprt { a, "b" } from "std/nn"', ["C"], ["imprt", "a", "b"]],
  ["class A: b c", ["C"], ["class", "A"]],
] as const)
  test(`an error leaves the other declarations, and its own if it is in a body: ${text}`, () => {
    const parsed = parse({ name: "x", text: `${text}\nlayer C(D) { }` });
    assert.equal(
      parsed.program.declarations.map((d) => d.name.name),
      declared,
    );
    assert.equal([...parsed.lost], lost);
  });

test("mutated programs: a tree or diagnostics, soon, and never a throw", () => {
  let faults = 0;
  const count = full ? 2000 : 500;
  const short = programs.filter(({ text }) => text.length < 10_000); // the others take longer, and say no more
  for (const text of mutants(short, count)) {
    const { result, seconds } = withCpuTime(() => {
      const parsed = parse({ name: "mutant.moe", text });
      return { ...parsed, drawn: render(parsed.diagnostics, { color: false, width: 100 }) };
    });
    const { program, diagnostics, drawn } = result;
    assert.ok(seconds < 2, `${seconds} s for ${text.slice(0, 2000)}`);
    assert.not.match(drawn, /NaN|undefined/);
    if (diagnostics.length > 0) faults++;
    else assert.equal(bare(parse({ name: "printed.moe", text: print(program) }).program), bare(program), text);
  }
  assert.ok(faults > count / 2, `only ${faults} of the mutants were faulty`);
});
test("100 kB of one mistake take less than 2 s", () => {
  const pieces = [
    "(",
    ")",
    "{",
    "}",
    "( {} ",
    "fn ; ",
    "fn f( ",
    "if a { ",
    "x.",
    '"',
    "/* ",
    "} layer A(D) { a = ",
    "layer A() { b\n}\n",
    "// x\n",
  ];
  const heads = ["", "layer A(D) {\n", "fn f(x: f32) -> f32 { return "];
  for (const [i, piece] of pieces.entries()) {
    for (const head of full ? heads : [heads[i % 3] ?? ""]) {
      const { seconds } = withCpuTime(() => {
        const { diagnostics } = parse({ name: "long.moe", text: head + piece.repeat(1e5 / piece.length) });
        render(diagnostics, { color: false, width: 100 });
      });
      assert.ok(seconds < 2, `${head}${piece}: ${seconds} s`);
    }
  }
});
/** fast-check's own strings of any letters first make a table of all of them, which takes seconds. */
const anyText = fc
  .array(fc.integer({ min: 0, max: 0x10ffff }), { maxLength: 200 })
  .map((letters) => String.fromCodePoint(...letters));
test("any text at all", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      render(parse({ name: "any", text }).diagnostics, { color: true, width: 40 });
    }),
    { seed: 2, numRuns: 500 },
  );
});

test("a template is a program with the holes' values in it", () => {
  const { Ffn } = moe<"Ffn">`layer Ffn(D, H = ${4 * 256}, on = ${true}) { w: Linear(D, H) }`;
  const { Two } = moe<"Two">`
    layer Two(D) {
      a: ${Ffn}(D)
      forward(x: ${"f32"}[D]) -> f32[D] { return ${"f32"}(a(x)) }
    }`;
  assert.is(Ffn.name, "Ffn");
  assert.is(print(Ffn.program), "layer Ffn(D, H = 1024, on = true) {\n  w: Linear(D, H)\n}\n");
  assert.is(Two.program.holes[0], Ffn);
  const [layer] = Two.program.declarations;
  if (layer?.kind !== "layer") throw new Error("no layer");
  const { source, start, end } = layer.span;
  assert.match(source.name, /syntax\.test\.ts$/);
  assert.match(source.text.slice(start, end), /^layer Two\(D\) \{\n {6}a: \$\{Ffn\}\(D\)[^]*\}$/);
});
test("a template's errors point into the file that holds it", () => {
  const line = position(new Error("here"));
  try {
    void moe`
      layer Bad(D, H = ${Number.NaN}) {
        w: ${"f32"}
        forward(x: ${1}[D]) -> f32[D] { return ${"f32"} }
        x
      }`;
    assert.unreachable();
  } catch (error) {
    if (!(error instanceof ProgramError)) throw error;
    const found = error.diagnostics.map(plain);
    assert.equal(
      found.map(({ code, line: at, column }) => [code, at - line, column]),
      [
        ["E0113", 3, 24],
        ["E0113", 4, 12],
        ["E0113", 5, 20],
        ["E0113", 5, 48],
        ["E0101", 6, 9],
      ],
    );
    assert.ok(found.every(({ file }) => file.endsWith("syntax.test.ts")));
  }
});
const position = (here: Error): number => Number(/syntax\.test\.ts:(\d+)/.exec(here.stack ?? "")?.[1]);
test("a name that the template lacks is an error that names those it has", () => {
  const handles = moe`layer A(D) { }`;
  assert.throws(() => handles["B"], /declares no `B`/);
  assert.equal(Object.keys(handles), ["A"]);
});
/** The errors of a template whose text is in no file. */
function templateErrors(strings: readonly string[], ...holes: readonly Hole[]): string {
  try {
    moe(Object.assign([...strings], { raw: strings }), ...holes);
  } catch (error) {
    if (error instanceof ProgramError) return render(error.diagnostics, { color: false, width: 80 });
    throw error;
  }
  throw new Error("no errors");
}
test("a template whose text is in no file still has spans", () => {
  golden("syntax/template-alone.txt", templateErrors(["layer A(D) { a: ", " = 3 }"], 1));
});
test("what a hole cannot hold", () => {
  golden("syntax/holes.txt", templateErrors(["layer A(D = ", ") { a: ", " }"], Number.NaN, "f32"));
});

test.run();
