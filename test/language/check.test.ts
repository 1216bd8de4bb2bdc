// The checker: the library passes; each code has a wrong program whose text is a golden; what is right is let pass.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check, elaborate, load, loadTemplate, type Resolve } from "../../compiler/check/index.ts";
import { libraryOf, librarySource } from "../../compiler/check/library.ts";
import { codes } from "../../compiler/codes.ts";
import type { Diagnostic } from "../../compiler/diagnostic.ts";
import { ProgramError } from "../../compiler/program-error.ts";
import { render } from "../../compiler/render.ts";
import type { Source } from "../../compiler/syntax/ast.ts";
import { parse } from "../../compiler/syntax/parse.ts";
import { moe } from "../../compiler/syntax/template.ts";
import { lexer } from "../../grammar/tokens.ts";
import { checkText } from "../../runtime/check.ts";
import { golden } from "../golden.ts";
import { project } from "../project.ts";
import { codesIn, elaborationErrors, errorsIn } from "./checked.ts";

const test = suite("check");
const folder = join(project, "test/programs");
const source = (path: string): Source => ({ name: path, text: readFileSync(join(folder, path), "utf8") });
const shown = (list: readonly Diagnostic[]): string => render(list, { color: false, width: 140, limit: 100 });

for (const file of readdirSync(join(project, "stdlib"), { recursive: true, encoding: "utf8" }))
  if (file.endsWith(".moe"))
    test(`stdlib/${file} has no errors, and is the same when its declarations are parsed one by one`, () => {
      const library = librarySource(`std/${file.slice(0, -4)}`);
      assert.is(shown(check(load(library))), "");
      const { program, declarations } = libraryOf(library);
      assert.equal(program, parse(library).program);
      assert.equal(
        [...declarations].map(([name]) => name),
        program.declarations.map(({ name }) => name.name),
      );
    });

const own = Object.keys(codes).filter((code) => code > "E02");
for (const code of own)
  test(`${code} has a golden`, () => {
    const program = { ...source(`errors/${code}.moe`), name: `errors/${code}.moe` };
    const checked = check(load(program));
    const found = checked.length > 0 ? checked : elaborationErrors(program);
    assert.ok(
      found.some((d) => d.code === code),
      `no ${code} in ${found.map((d) => d.code).join(" ")}`,
    );
    golden(`errors/${code}.txt`, shown(found));
  });

test("a member that branches of an `if` declare is checked as each of them has it", () => {
  const text = source("errors/branches.moe");
  golden("errors/branches.txt", shown(check(load({ ...text, name: "errors/branches.moe" }))));
});
const linear =
  "layer Linear(In, Out) { param w: f32[In, Out] = 0 forward(x: f32[N, In]) -> f32[N, Out] { return x @ w } }";
const gated = (body: string, members = "if wide { up: Linear(D, 2 * H) } else { up: Linear(D, H) }"): string[] =>
  codesIn(
    `${linear} layer A(D, H, wide = true, L = 1, rate) { ${members} forward(x: f32[N, D]) -> f32[N, H] { ${body} } }`,
  );
test("where an `if` asks the condition of such a member, its use is judged by the branch that is meant", () => {
  for (const body of [
    "if wide { return up(x)[:, :H] } return up(x)",
    "if !wide { return up(x) } return up(x)[:, :H]",
    "if L > 2 && wide { return up(x)[:, :H] } else if !wide { return up(x) } return up(x)[:, H:]",
    "let y: f32[N, H] = 0 if wide { y = up(x)[:, :H] } else { y = up(x) } return y",
  ])
    assert.equal(gated(body), [], body);
  assert.equal(gated("if L > 2 { return up(x)[:, :H] } return up(x)"), ["E0204"]);
  assert.equal(gated("if wide { return up(x) } return up(x)"), ["E0204"]);
  assert.equal(gated("if wide || L > 2 { return up(x)[:, H:] } return up(x)"), ["E0204"]);
});
test("a condition is known again if it is negated, turned round, or a part of another", () => {
  const pairs: readonly (readonly [string, string])[] = [
    ["L > 0", "L != 0"],
    ["L > 0", "0 < L"],
    ["L > 0", "L >= 1"],
    ["L > 0", "!(L == 0)"],
    ["L <= 3", "!(L > 3)"],
    ["rate * 2 > 1", "!(rate * 2 <= 1)"],
    ["!(wide || rate > 1)", "!wide && !(1 < rate)"],
    ["maximum(rate, 2) > 3", "maximum(rate, 2) > 3"],
  ];
  for (const [members, body] of pairs) {
    const declared = `if ${members} { up: Linear(D, 2 * H) } else { up: Linear(D, H) }`;
    assert.equal(gated(`if ${body} { return up(x)[:, :H] } return up(x)`, declared), [], `${members}: ${body}`);
    assert.equal(gated(`if ${body} { return up(x) } return up(x)`, declared), ["E0204"], `${members}: ${body}`);
  }
});
const three = (first: string, second: string): string =>
  `if ${first} { up: Linear(D, 2 * H) } else if ${second} { up: Linear(D, 3 * H) } else { up: Linear(D, H) }`;
const two = (when: string): string => `if ${when} { up: Linear(D, 2 * H) } else { up: Linear(D, H) }`;
test("what is assumed of a condition tells others: of the same number, of its parts, and of what it is a part of", () => {
  const cases: readonly (readonly [string, string])[] = [
    [three("rate == 0", "rate == 1"), "if 1 == rate { return up(x)[:, 2 * H:] } if rate == 0 { return up(x)[:, H:] }"],
    [three("rate < 0.5", "rate <= 2"), "if rate > 2 { return up(x) } if rate >= 0.5 { return up(x)[:, 2 * H:] }"],
    [three("wide && L > 2", "wide"), "if !wide { return up(x) } if L > 2 { return up(x)[:, H:] }"],
    [three("!(wide || L > 2)", "L > 2"), "if L > 2 { return up(x)[:, 2 * H:] } if !wide { return up(x)[:, H:] }"],
    [two("L > 4"), "if L >= 5 { return up(x)[:, H:] } if L > 2 { return up(x) }"],
    [two("wide && (L > 2 && rate > 1)"), "if rate > 1 && L > 2 { if wide { return up(x)[:, H:] } return up(x) }"],
    [two("wide && L > 2"), "if !wide { return up(x) } if L <= 2 { return up(x) } else { return up(x)[:, H:] }"],
  ];
  for (const [members, body] of cases)
    assert.equal(gated(`${body} return up(x)[:, :H]`, members), [], `${members}: ${body}`);
  for (const [members, body] of [
    [two("L > 4"), "if L >= 4 { return up(x)[:, H:] } return up(x)[:, :H]"],
    [two("rate > 1"), "if rate >= 1 { return up(x)[:, H:] } return up(x)[:, :H]"],
    [two("wide && L > 2"), "if wide { return up(x)[:, H:] } return up(x)[:, :H]"],
  ] as const)
    assert.equal(gated(body, members), ["E0204"], `${members}: ${body}`);
});
const nested = (a: string, b: string, c: string, d: string): string =>
  `if wide { if L > 2 { ${a} } else { ${b} } } else { if L > 2 { ${c} } else { ${d} } }`;
test("each of the members in nested branches is checked", () => {
  const right = "m(x: f32[H]) -> f32[H] { return x }";
  const wrong = "m(x: f32[H]) -> f32[H] { return y }";
  for (let at = 0; at < 4; at++) {
    const [a = "", b = "", c = "", d = ""] = Array.from({ length: 4 }, (_, i) => (i === at ? wrong : right));
    for (const before of ["", "if L > 2 { n: Linear(D, H) } else { n: Linear(D, H) }"]) {
      const found = gated("return x @ w", `param w: f32[D, H] = 0 ${before} ${nested(a, b, c, d)}`);
      assert.equal(found, ["E0301"], `${at} ${before}`);
    }
  }
});
const independent = (other: string): string =>
  `if wide { param u: f32[1] = 0 } else { param u: f32[D] = 0 } if L > 2 { param v: f32[1] = 0 } else { param v: f32[${other}] = 0 }`;
test("conditions that are independent are denied at once, too", () => {
  const body = "return x[:, :1] * sum(u * v) + x[:, :H]";
  assert.equal(gated(body, independent("D")), []);
  assert.equal(gated(body, independent("H")), ["E0202"]);
});
test("members of an inner layer, whose conditions are those of the outer one", () => {
  const inner = `${linear} layer I(D, H, wide = true) { if wide { up: Linear(D, 2 * H) } else { up: Linear(D, H) } }`;
  const outer = (body: string, given = "both"): string[] =>
    codesIn(
      `${inner} layer A(D, H, both = true) { i: I(D, H, ${given}) forward(x: f32[N, D]) -> f32[N, H] { ${body} } }`,
    );
  assert.equal(outer("if both { return i.up(x)[:, :H] } return i.up(x)"), []);
  assert.equal(outer("return i.up(x)[:, :H]", "true"), []);
  assert.equal(outer("return i.up(x)"), ["E0204"]);
  assert.equal(outer("if both { return i.up(x) } return i.up(x)"), ["E0204"]);
  assert.equal(outer("return i.up(x)", "true"), ["E0204"]);
  const named = `${linear} layer I(D, H, rate = 1.0) { if maximum(rate, 2) > 3 { up: Linear(D, 2 * H) } else { up: Linear(D, H) } }`;
  const other = (given: string): string[] =>
    codesIn(
      `${named} layer A(D, H, rate = 1.0, other = 1.0) { i: I(D, H, ${given}) forward(x: f32[N, D]) -> f32[N, H] { if maximum(rate, 2) > 3 { return i.up(x)[:, H:] } return i.up(x) } }`,
    );
  assert.equal(other("rate"), []);
  assert.equal(other("other"), ["E0204", "E0204"]);
});
test("an element of an array of different layers is each of them, and one that is told by its number that one", () => {
  const layers =
    "layer P(D) { two(x: f32[D]) -> f32[D] { return x } } layer Q(D) { two(x: f32[D]) -> f32[2] { return x[:2] } one(x: f32[D]) -> f32[D] { return x } }";
  const array = (body: string): string[] =>
    codesIn(`${layers} layer A(D) { l: [P(D), Q(D)][4] forward(x: f32[D]) -> f32[D] { ${body} } }`);
  assert.equal(array("return l[1].one(l[0].two(x))"), []);
  assert.equal(array("for b, i in l { if i == 1 { x = b.one(x) } } return x"), []);
  for (const body of ["return l[1].two(x)", "for b, i in l { x = l[i].two(x) } return x"])
    assert.is(array(body).length, 1, body);
  const first = (items: string): string[] =>
    codesIn(`${layers} layer A(D, N) { l: [${items}] forward(x: f32[D]) -> f32[D] { return l[0].two(x) } }`);
  for (const items of ["P(D)[2], Q(D)", "Q(D)[0], P(D), Q(D)"]) assert.equal(first(items), [], items);
  for (const items of ["P(D)[N], Q(D)", "P(D)[0], Q(D)"]) assert.is(first(items).length, 1, items);
});

const ofSize = (size: string): string => `fn f() -> f32[3] { let y: f32[${size}] = 1 return y }`;
test("`div` and `where` of numbers that are known when compiling are known, too", () => {
  for (const size of ["div(7, 2)", "where(2 > 1, 3, 5)", "where(2 < 1, 5, div(3, 1))"])
    assert.equal(codesIn(ofSize(size)), [], size);
  for (const size of ["div(7, 0)", "where(2 < 1, 3, 5)"]) assert.equal(codesIn(ofSize(size)), ["E0204"], size);
  assert.equal(codesIn("fn f(x: f32[N]) -> f32[N] { return x * where(N > 4, 2, div(N, 3)) }"), []);
});
test("one error makes no others", () => {
  const text = `layer A(D) { param w: float[D] = nothing
    forward(x: float[...S, D]) -> float[...S, D] { let y = missing(x) let z = y * 2 + w z = z + y return z } }
    layer B(D) { a: A(D, wrong) forward(x: float[D]) -> float[D] { let b = a(x) return b @ b } }`;
  assert.equal(codesIn(text), ["E0301", "E0301", "E0301"]);
});
test("`...S` stands for the same axes in all arguments", () => {
  const text = `fn f(a: float[...S, D], b: float[...S, D]) -> float[...S, D] { return a }
    fn g(x: float[N, K, D], y: float[N, D], z: float[M, K, D]) -> float[N, K, D] { return f(x, x) + f(x, y) + f(x, z) }`;
  assert.equal(codesIn(text), ["E0204", "E0204"]);
});
test("errors of several declarations and of imported files, each once, in order", () => {
  const files: Record<string, string> = { "./b": "fn g(x: float[N]) -> float[N] { return y }" };
  const resolve: Resolve = (path) => (files[path] === undefined ? null : { name: path, text: files[path] });
  const found = check(
    load(
      {
        name: "a.moe",
        text: 'import { g } from "./b"\nimport { h } from "./c"\nfn f(x: float[N]) -> float[N] { return g(z) + h(x) }',
      },
      resolve,
    ),
  );
  assert.equal(
    found.map((d) => [d.code, d.labels[0].span.source.name]),
    [
      ["E0303", "a.moe"],
      ["E0301", "a.moe"],
      ["E0301", "./b"],
    ],
  );
});
test("modules may import each other", () => {
  const files: Record<string, string> = {
    "./b":
      'import { f } from "./a"\nfn g(x: float[N]) -> float[N] { return x }\nfn h(x: float[N]) -> float[N] { return f(x) }',
    "./a": 'import { g } from "./b"\nfn f(x: float[N]) -> float[N] { return g(x) }',
  };
  const resolve: Resolve = (path) => (files[path] === undefined ? null : { name: path, text: files[path] });
  assert.equal(
    check(
      load({ name: "main", text: 'import { f } from "./a"\nfn m(x: float[N]) -> float[N] { return f(x) }' }, resolve),
    ),
    [],
  );
});
test("text that could not be read makes no errors about names", () => {
  assert.equal(
    codesIn(
      "fn broken(x: float[N) -> float[N] { return x }\nfn f(x: float[N]) -> float[N] { return broken(x) }",
    ).filter((c) => c >= "E02"),
    [],
  );
});

test("an error of syntax leaves all that is sound checked, and what it spoils is not judged", () => {
  const rest = `layer B(D, H) {
      param w: float[H, D] = 0
      a: A(D, 2)
      first(x: float[N, D]) -> float[N, H] { return a.other(x) }
      forward(x: float[N, D]) -> float[N, H] { let y = nothing return x @ w }
    }`;
  const broken = (a: string): string[] => codesIn(`${a}\n${rest}`);
  const member = "layer A(D, K) { param w float[D] forward(x: float[N, D]) -> float[N, D] { return x * (y + w) } }";
  assert.equal(broken(member), ["E0101", "E0301", "E0203"]);
  assert.equal(broken("layer A(D, K {\n forward(x: float[N, D]) -> float[N, D] { return x }\n}"), [
    "E0103",
    "E0301",
    "E0203",
  ]);
  assert.equal(broken("class A(D):"), ["E0101", "E0301", "E0203"]);
  const body = `layer A(D, K) {
      other(x: float[N, D]) -> float[N, D] { let y = x * return y }
      forward(x: float[N, D]) -> float[N, K] { return x }
    }`;
  assert.equal(broken(body), ["E0101", "E0204", "E0204", "E0301", "E0203"], "its other methods, and those who call it");
  const result = "layer A(D, K) { other(x: float[N, D]) -> float\n let y = x\n return y }\n }";
  assert.equal(broken(result), ["E0101", "E0301", "E0203"], "its result's type may have lost its axes");
  const calls = "layer A(D, K) { param w: float[D] softmax(D) other(x: float[H (, D) -> float { return N (x) } }";
  const uses = "layer C(D) { forward(x: float[N], y: float[H]) -> float[H] { return softmax(x) } }";
  assert.equal(codesIn(`${calls}\n${uses}`).at(-1), "E0204", "what it calls is known to others");
});
test("one token too few or too many, where it is an error of syntax, makes no other errors", () => {
  const name = join(project, "examples/lora.moe");
  const program = readFileSync(name, "utf8");
  const { tokens } = lexer().tokenize(program);
  const after = tokens.slice(tokens.findIndex((t) => t.image === "layer")); // a name removed from an import could be any
  const everyThird = after.filter((_, i) => i % 3 === 0);
  const faulty = everyThird.flatMap(({ startOffset: start, image }, i) => {
    const end = start + image.length;
    const without = `${program.slice(0, start)} ${program.slice(end)}`; // a blank, lest names that it parted become one
    const text = i % 2 === 0 ? without : program.slice(0, end) + program.slice(start);
    const found = check(load({ name, text })).map((d) => d.code);
    return found.some((c) => c < "E02") ? [{ text, others: found.filter((c) => c > "E02") }] : [];
  });
  assert.ok(faulty.length > 70, `${faulty.length}`);
  for (const { text, others } of faulty) assert.equal(others, [], text);
});
const allErrors = (text: string): string[] => checkText("test.moe", text).map((d) => `${d.code} ${d.message}`);
test("what a faulty import may have been meant to import is not missed where it is used", () => {
  const used = `
    layer A(D) { lin: Linear(D, 4) norm: RmsNorm(D) forward(x: float[N, D]) -> float[N, 4] { return silu(lin(norm(x))) } }`;
  const listed = [
    "imprt { _ } from",
    "Import { _ } from",
    "from _ import",
    "{ _ } from",
    "const { _ } =",
    "import { _ ] from",
  ];
  for (const line of [
    ...listed.map((line) => `${line.replace("_", "Linear, RmsNorm, silu")} "std/nn"`),
    'import { Linear, RmsNorm, "silu" } from "std/nn"',
    'import { Linear, RmsNorm, si-lu } from "std/nn"',
    'import * from "std/nn"',
    'import "std/nn"',
    'include "std/nn"',
    "import std/nn",
    "use std.nn",
    'import { Linear, RmsNrm, silu } from "std/nn"',
  ]) {
    const found = allErrors(line + used);
    assert.ok(found.length > 0 && !found.some((error) => error.startsWith("E0301")), `${line}: ${found.join()}`);
    const missing = allErrors(`${line}${used} fn f(x: f32) -> f32 { return missing(x) }`);
    assert.ok(missing.includes("E0301 nothing is called `missing` here"), line);
  }
  for (const line of ["import std/models/gpt", "use std.models.gpt", 'import { gptMoe } from "std/models/gpt"'])
    assert.equal(allErrors(`${line} model M() = GptMoE()`).length, 1, line);
  const [spelt] = check(load({ name: "test.moe", text: 'import { gptMoe } from "std/models/gpt"' }));
  assert.match(spelt?.help ?? "", "`GptMoE`", "a name in the other case is nearer than a part of it");
  for (const line of ["import torch.nn as nn", "class B: pass"])
    assert.ok(allErrors(line + used).includes("E0301 nothing is called `Linear` here"), line);
});
test("a state whose type is wrong is one error", () => {
  const text = "layer A(D) { forward(x: f32[D]) -> f32[D] { state m: f32[Q] = 0 update m = 2 * m return x + m } }";
  assert.equal(codesIn(text), ["E0301"]);
});

test("holes of templates hold declarations of others", () => {
  const { Twice } = moe<"Twice">`layer Twice(D) { forward(x: float[...S, D]) -> float[...S, D] { return 2 * x } }`;
  const { Two } =
    moe<"Two">`layer Two(D) { a: ${Twice}(D) b: ${Twice}(${3}) forward(x: float[D]) -> float[D] { return a(x) } }`;
  assert.is(shown(check(loadTemplate(Two.program))), "");
  const { Bad } = moe<"Bad">`layer Bad(D, H) { a: ${Twice}(H) forward(x: float[D]) -> float[D] { return a(x) } }`;
  const [error] = check(loadTemplate(Bad.program));
  assert.is(error?.code, "E0204");
  assert.match(error?.labels[0].span.source.name ?? "", "check.test.ts");
});

const right: Record<string, string> = {
  "sizes in one normal form":
    "fn f(x: float[B, D], Heads) -> float[B, D / Heads * Heads] { return reshape(reshape(x, [B, Heads, D / Heads]), [B, D]) }",
  "a spread and its product":
    "fn f(x: float[...S, D]) -> float[...S, D] { return reshape(reshape(x, [S, D]), [...S, D]) }",
  "names hide outer ones":
    "fn f(x: float[N]) -> float[N] { let sum = x let x = 2 for x in 0:3 { sum = sum + x } return sum * x }",
  "opaque sizes, named by a declared type": `layer P(M) { forward(x: float[N]) -> float[U] { if generating { let y: float[M] = 0 return y } return x } }
    layer Q(M) { p: P(M) forward(x: float[N]) -> float[N] { let y: float[V] = p(x) let z: bool[V] = true return x * sum(where(z, y, 0)) } }`,
  "both branches of an if may return":
    "fn f(x: float[N], deep = true) -> float[N] { if deep { return x } else { return 2 * x } }",
  "a function for an arrow, also a builtin":
    "layer A(D, act: float[...S] -> float[...S] = tanh) { forward(x: float[D]) -> float[D] { return act(x) } } layer B(D) { a: A(D, sqrt) forward(x: float[D]) -> float[D] { return a(x) } }",
  "arrays and patterns of layers":
    "layer I(D) { forward(x: float[...S, D]) -> float[...S, D] { return x } } layer J(D) { i: I(D) forward(x: float[...S, D]) -> float[...S, D] { return i(x) } } layer A(D, L) { m: [I(D), J(D)][L / 2] forward(x: float[D]) -> float[D] { for l, i in m { x = l(x) * i } return m[0](x) } }",
  "the widest float":
    "fn g(x: float[N], y: float[N]) -> float[N] { return x + y } fn f(x: bf16[N], y: f32[N]) -> f32[N] { return g(x, y) }",
  "a mixture of mixtures of one kind": `import { MoE } from "std/moe" import { SoftmaxGate } from "std/gates" import { SwiGlu } from "std/nn"
    layer Two(D) = MoE(D, 1, 2, SoftmaxGate(D, 2, 1), MoE(D, 1, 2, SoftmaxGate(D, 2, 1), SwiGlu(D, D)))
    layer Three(D) { moe: MoE(D, 1, 2, SoftmaxGate(D, 2, 1), Two(D)) forward(x: float[D]) -> float[D] { return moe(x) } }`,
  "a loop's number in sizes": `fn convolution(x: float[B, T, D], w: float[K, D], K) -> float[B, T, D] {
      let before: float[B, K, D] = 0
      let padded = concat([before, x], axis: 1)
      let y = x * 0
      for i in 1:K + 1 { y = y + padded[:, i:T + i] * w[i - 1] }
      return y
    }`,
  "an unknown number as a size":
    'import { SwiGlu } from "std/nn"\nlayer A(D, factor) { up: SwiGlu(D, ceil(factor * D)) forward(x: float[D]) -> float[D] { return up(x) } }',
};
for (const [name, text] of Object.entries(right)) test(`right: ${name}`, () => assert.is(shown(errorsIn(text)), ""));

const wrong: Record<string, [text: string, code: string]> = {
  "two opaque sizes are not the same": [
    "layer P() { forward(x: float[N]) -> float[U] { return x } } layer Q() { p: P() forward(x: float[N]) -> float[N] { return x * sum(p(x) + p(x)) } }",
    "E0202",
  ],
  "an opaque size is not the argument's": [
    "layer P() { forward(x: float[N]) -> float[U] { return x } } layer Q() { p: P() forward(x: float[N]) -> float[N] { return p(x) } }",
    "E0204",
  ],
  "names of headers are not bound by arguments": [
    "layer A(D) { forward(x: float[D]) -> float[D] { return x } } layer B(D, H) { a: A(D) forward(x: float[H]) -> float[H] { return a(x) } }",
    "E0204",
  ],
  "a branch with another type": [
    "fn f(x: float[N, D], deep = true) -> float[N] { if deep { return x } return sum(x, axis: -1) }",
    "E0204",
  ],
  "a name of a branch outside of it": [
    "fn f(x: float[N], deep = true) -> float[N] { if deep { let y = x } return y }",
    "E0301",
  ],
  "an index that is no number of a layer's kind": ["fn f(x: float[N]) -> float[N] { return x[x > 0] }", "E0210"],
  "a layer called before it is made": [
    "layer I(D) { forward(x: float[D]) -> float[D] { return x } } layer A(D, body: float[D] -> float[D] = I(D)) { forward(x: float[D]) -> float[D] { return I(D)(x) } }",
    "E0307",
  ],
  "results do not stretch": ["fn f(x: float[N]) -> float[N] { return 1 }", "E0204"],
};
for (const [name, [text, code]] of Object.entries(wrong))
  test(`wrong: ${name}`, () => assert.equal(codesIn(text), [code]));

test("sizes that are written alike and differ have a note", () => {
  const [text] = wrong["two opaque sizes are not the same"] ?? [""];
  const [error] = errorsIn(text);
  assert.ok(error?.notes.some((note) => note.startsWith("each call that chooses a size makes another U")));
});
test("a number that a loop makes may be none as an index", () => {
  assert.equal(
    codesIn("fn f(x: float[N], K) -> float { let y = x[0] for i in 0:K { y = y + x[i - 1] } return y }"),
    [],
  );
});
const f = (body: string): string => `fn f(x: i32[N]) -> i32[N] { return ${body} }`;
test("a number that an i32 does not hold is no i32", () => {
  for (const body of ["x + 3000000000", "x - 2147483649", "where(x > 2147483648, x, 0)", "4294967296"])
    assert.equal(codesIn(f(body)), ["E0205"], body);
  for (const body of ["x + 2147483647", "x + -2147483648", "i32(f32(x) + 3000000000)"])
    assert.equal(codesIn(f(body)), [], body);
});
const chain = (n: number): string =>
  `fn f(x: f32[N], K) -> f32[N] { ${Array.from({ length: n }, (_, i) => `if K == ${i} { return x } else `).join("")}{ return x } }`;
test("a chain of else-ifs is nested, as blocks are", () => {
  assert.equal(codesIn(chain(150)), []);
  for (const n of [250, 5000]) assert.equal(codesIn(chain(n)), ["E0107"]);
});
const inBrackets = (n: number): string => `(x: f32[N]) -> f32[N] { return ${"(".repeat(n)}x${")".repeat(n)} }`;
test("brackets are counted together with the blocks around them, as GRAMMAR.md says", () => {
  const [fn, method] = [(n: number) => `fn f${inBrackets(n)}`, (n: number) => `layer A() { forward${inBrackets(n)} }`];
  assert.equal([fn(198), fn(199), method(197), method(198)].map(codesIn), [[], ["E0107"], [], ["E0107"]]);
});
test("calls 200 deep are not said to call themselves", () => {
  const deep = Array.from(
    { length: 300 },
    (_, i) => `fn f${i}(x: f32[N]) -> f32[N] { return ${i ? `f${i - 1}(x)` : "x"} }`,
  );
  const request = { declaration: "f299", entries: [{ method: "f299", name: "f299", sizes: { N: 2 } }] };
  const loaded = load({ name: "test.moe", text: deep.join("\n") });
  assert.throws(
    () => elaborate(loaded, { ...request, sizes: {}, precision: "f32" }),
    (e: unknown) => e instanceof ProgramError && /is called 200 calls deep/.test(e.diagnostics[0]?.message ?? ""),
  );
});

test("what Node prints of an uncaught error is its message, with the source drawn, without the fields of its diagnostics and our stack", () => {
  const error = new ProgramError(errorsIn("fn f(x: float[N]) -> i32[N] { return x }"));
  const printed = inspect(error);
  assert.match(printed, /^\[ProgramError: error\[E0205\]: the result is declared i32\[N\]/);
  assert.match(printed, "1 | fn f(x: float[N]) -> i32[N] { return x }");
  assert.not.match(printed, "labels");
  assert.not.match(printed, /^ {4}at /m);
});
test("an argument's type that names a member that is wrong: one error, and no throw", () => {
  const text = "layer A(H) {\n  D: Nothing(H)\n  forward(x: float[N, D]) -> float[N, D] { return x }\n}";
  assert.equal(
    errorsIn(text).map((d) => d.message),
    ["nothing is called `Nothing` here"],
  );
});
test.run();
