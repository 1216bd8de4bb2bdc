// The checker: all programs of the design pass; each code has a wrong program whose text is a golden; what is right is let pass.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check, elaborate, load, loadTemplate, type Resolve, resolveFile } from "../compiler/check/index.ts";
import { codes } from "../compiler/codes.ts";
import { type Diagnostic, ProgramError } from "../compiler/diagnostic.ts";
import { render } from "../compiler/render.ts";
import type { Source } from "../compiler/syntax/ast.ts";
import { moe } from "../compiler/syntax/template.ts";
import { golden } from "./golden.ts";

const test = suite("check");
const folder = new URL("programs/", import.meta.url);
const source = (path: string): Source => ({ name: path, text: readFileSync(new URL(path, folder), "utf8") });
/** The design's own standard library. */
const design: Resolve = (path, from) => {
  if (!path.startsWith("std/")) return resolveFile(path, from);
  const file = `design/${path}.moe`;
  return existsSync(new URL(file, folder)) ? source(file) : null;
};
const shown = (list: readonly Diagnostic[]): string => render(list, { color: false, width: 140 });
const errorsIn = (text: string): Diagnostic[] => check(load({ name: "test.moe", text }));
const codesIn = (text: string): string[] => errorsIn(text).map((d) => d.code);

for (const kind of ["std", "models"])
  for (const file of readdirSync(new URL(`design/${kind}`, folder)))
    test(`design/${kind}/${file} has no errors`, () =>
      assert.is(shown(check(load(source(`design/${kind}/${file}`), design))), ""));
for (const file of readdirSync(new URL("../stdlib", import.meta.url)).filter((f) => f.endsWith(".moe")))
  test(`stdlib/${file} has no errors`, () => {
    const text = readFileSync(new URL(`../stdlib/${file}`, import.meta.url), "utf8");
    assert.is(shown(check(load({ name: `stdlib/${file}`, text }))), "");
  });

/** Errors that only numbers bring to light. */
function elaborationErrors(text: Source): Diagnostic[] {
  try {
    const methods = text.text.includes("train(") ? ["train"] : ["forward"];
    const declaration = text.text.startsWith("optimizer") ? "Sgd" : "A";
    elaborate(load(text, design), {
      declaration,
      sizes: {},
      precision: "f32",
      entries: methods.map((method) => ({ name: method, method, sizes: {} })),
    });
    return [];
  } catch (error) {
    if (error instanceof ProgramError) return [...error.diagnostics];
    throw error;
  }
}
const own = Object.keys(codes).filter((code) => code > "E02");
for (const code of own)
  test(`${code} has a golden`, () => {
    const program = { ...source(`errors/${code}.moe`), name: `errors/${code}.moe` };
    const checked = check(load(program, design));
    const found = checked.length > 0 ? checked : elaborationErrors(program);
    assert.ok(
      found.some((d) => d.code === code),
      `no ${code} in ${found.map((d) => d.code).join(" ")}`,
    );
    golden(`errors/${code}.txt`, shown(found));
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

const division =
  "sizes and numbers are divided by `/`, tensors of `i32` by `div(a, b)`; a comment has a line of its own";
const helps: Record<string, [text: string, help: string]> = {
  "what the library has": [
    "fn f(x: float[N]) -> float[N] { return relu(x) }",
    'it is in the library: `import { relu } from "std/nn"`',
  ],
  "another module of the library": ['import { AdamW } from "std/nn"', '"std/optim" does'],
  "one letter is like no other": [
    "fn f(x: float[N]) -> float[N] { return a }",
    "declare it, import it, or give it as an argument",
  ],
  "the other case": ["fn f(x: float[N]) -> float[N] { return X }", "did you mean `x`?"],
  "a size in lower case": [
    "layer A(d) { forward(x: float[N, d]) -> float[N] { return sum(x, axis: -1) } }",
    "sizes begin with a capital: `D`",
  ],
  "a size in lower case that nothing declares": [
    "fn f(x: float[n]) -> float { return sum(x) }",
    "sizes begin with a capital: `N`",
  ],
  "a number with a capital": [
    "fn f(x: float[N], Rate = 0.5) -> float[N] { return x * Rate }",
    "a size is a whole number; in a header, other numbers have names in lower case",
  ],
  "a method of a tensor": ["fn f(x: float[N]) -> float { return x.sum() }", "write `sum(x)`"],
  "a matrix turned": ["fn f(x: float[N, M]) -> float[M, N] { return x.T }", "write `transpose(x, -2, -1)`"],
  "a vector on the right of `@`": [
    "fn f(x: float[N, M], y: float[M]) -> float[N] { return x @ y }",
    "the right side is a matrix; of a vector take `sum(x * y, axis: -1)`",
  ],
  "a slice from the end": [
    "fn f(x: float[N, M]) -> float[N, M - 1] { return x[:, :-1] }",
    "from the end, subtract: `M - 1`",
  ],
  "an index from the end": ["fn f(x: float[N, M]) -> float[N] { return x[:, -1] }", "from the end, subtract: `M - 1`"],
  "a mask as index": [
    "fn f(x: float[N]) -> float[N] { return x[x > 0] }",
    "no size depends on data, so a mask picks no rows: choose with `where(x > 0, a, b)`",
  ],
  "a list of tensors": [
    "fn f(x: float[N]) -> float { let l = [x, x] return sum(l[0]) }",
    "name each of them, or join them along an axis: `concat([x[new], y[new]], axis: 0)`",
  ],
  "a function of another language": [
    "fn f(x: float[N]) -> float[N] { return x + ones(N) }",
    "a number stretches to a declared type: `let y: float[N, D] = 1`",
  ],
  "a method of another language": [
    "fn f(x: float[N]) -> float[N] { return x.clamp(0, 1) }",
    "write `minimum(maximum(x, low), high)`",
  ],
  "a text as argument": ['fn f(x: float[N]) -> float[N] { return x * lookup("n") }', "a text stands only after `from`"],
  "an einsum": [
    'fn f(x: float[N]) -> float[N] { return einsum("n->n", x) }',
    'write `x @ y`, or `sum(x[..., new] * y, axis: a)`; "ij,kj->ik" is `x @ transpose(y, -2, -1)`',
  ],
  "results without brackets": [
    "fn f(x: float[N]) -> float[1] { let v, i = top_k(x, 1) return v }",
    "several results stand in brackets: `let (a, b) = ...`",
  ],
  "a loop while": [
    "fn f(x: float[N]) -> float[N] { while N > 2 { x = x } return x }",
    "the only loops are `for x in array` and `for i in 0:n`, which are unrolled",
  ],
  "nothing that is returned": [
    "fn f(x: float[N]) -> float[N] { return {x} }",
    "a value stands here: a name, a number, a call, `(...)` or `[...]`",
  ],
  "a size that a layer's body makes": [
    "layer A(D) { let H = 4 * D forward(x: float[D]) -> float[D] { return x } }",
    "`let` is for methods; a size made of others stands in the header: `layer Name(D, H = 4 * D)`",
  ],
  "a size that nothing says": [
    "fn f(x: float[2 * D]) -> float { return sum(x) }",
    "a size stands alone in an argument's type, as in `float[D]`, or in the header",
  ],
  "a size to be found": [
    "fn f(x: float[N, M]) -> float[N * M] { return reshape(x, [-1]) }",
    "sizes are 0 or more, and none is found by itself: write it, as in `B * T`",
  ],
  "comparisons that are compared": [
    "fn f(x: float[N], y: float[N]) -> bool[N] { return x > 0 == y > 0 }",
    "put one of them in brackets: `(a < b) == c`",
  ],
  "rows that a loop collects": [
    "fn f(x: float[N], K) -> float[N] { let y: float[0, N] = 0 for i in 0:K { y = concat([y, x[new]], axis: 0) } return x }",
    "give `y` its last size before this block, and set rows of it: `y = put(y, index, rows, axis: a)`",
  ],
  "a function in a header": [
    "layer A(D, act = tanh) { forward(x: float[D]) -> float[D] { return x } }",
    "give it an arrow type to take layers and functions: `act: float[...S] -> float[...S]`",
  ],
  "a function called as a member": [
    'import { dropout } from "std/nn" layer A(D) { drop: dropout(0.1) forward(x: float[D]) -> float[D] { return x } }',
    "call it in a method: `dropout(x, ...)`",
  ],
  "the larger of two numbers": [
    "fn f(x: float[N], M = 2) -> float[N] { return x * max(M, 3) }",
    "of two values, write `maximum(a, b)`",
  ],
  "several axes to exchange": [
    "fn f(x: float[N, M, K]) -> float[K, N, M] { return transpose(x, [2, 0, 1]) }",
    "give one number: axes are exchanged, and worked along, one at a time",
  ],
  "tensors to join that are no list": [
    "fn f(x: float[N], y: float[N]) -> float[2 * N] { return concat(x, y, axis: 0) }",
    "leave one out: `concat(list, axis)` takes them in this order",
  ],
  "a last axis of 1": ["fn f(x: float[N, 1]) -> float[N] { return x * 2 }", "take the axis of 1 away: `x[..., 0]`"],
  "a layer without its header": [
    "layer I(D, eps = 1) { forward(x: float[D]) -> float[D] { return x } } layer A(D) { i: I forward(x: float[D]) -> float[D] { return x } }",
    "write `I(D)`",
  ],
  "a word for `!`": ["fn f(m: bool[N]) -> bool[N] { return not m }", "write `!`"],
  "brackets without axes": [
    "fn f(x: f32[]) -> f32 { return x }",
    "nothing stands in the brackets: leave them out (`f32` has no axes), or say what belongs there",
  ],
  "a slice with a step": [
    "fn f(x: float[N]) -> float[N] { return x[::2] }",
    "a slice is `a:b` and has no step: every second row is `x[2 * range(N / 2)]`",
  ],
  "a size that is divided by 0": [
    "fn f(x: float[N, D]) -> float[N, D] { return x[:, D / 0:] }",
    "nothing is divided by 0, and of less than 0 there is no root and no logarithm",
  ],
  "a divisor that is no number": [
    "fn f(x: float[N]) -> float[N] { return x[:N / 2D] }",
    "numbers are written `1`, `0.5`, `2e-3`; a name cannot begin with a digit",
  ],
  "an argument that would stretch": [
    "fn g(at: i32[B, T]) -> i32[B] { return at[:, 0] } fn f(B, T) -> i32[B] { let one: i32[B] = 1 return g(range(T)) * one }",
    "stretch it first: `let y: i32[B, T] = ...`, or add an axis with `x[..., new]`",
  ],
  "PyTorch's `dim`": ["fn f(x: float[N, D]) -> float[N] { return sum(x, dim: -1) }", "write `axis`"],
  "PyTorch's weight_decay": [
    'import { AdamW } from "std/optim" model M(D) { param w: float[D] = 0 train(x: float[D]) { loss l = sum(x * w) optimize with AdamW(weight_decay: 0) } }',
    "write `decay`",
  ],
  "an argument named with `=`": [
    "fn f(x: float[N, D]) -> float[N] { return sum(x, axis=-1) }",
    "an argument is named with `:`, as in `axis: 1`; to compare, write `==`",
  ],
  "a module before a function": [
    "fn f(x: float[N]) -> float[N] { return F.relu(x) }",
    'it is in the library: `import { relu } from "std/nn"`',
  ],
  "a module before a built-in function": [
    "fn f(x: float[N]) -> float[N] { return torch.exp(x) }",
    "functions have no module before them: `exp(...)`",
  ],
  "an element that is set": [
    "fn f(x: float[N]) -> float[N] { x[0] = 0 return x }",
    "elements are not set one by one: choose with `where(condition, a, b)`, or set rows, `x = put(x, index, rows, axis: a)`",
  ],
  "a list made by a loop": [
    "layer I(D) { forward(x: float[D]) -> float[D] { return x } } layer A(D, L) { all: List([I(D) for i in L]) forward(x: float[D]) -> float[D] { return x } }",
    "a list is not made by a loop: an array of layers is `Block(D)[L]`, and a `for` of a method sets a variable turn by turn",
  ],
  "a layer of PyTorch": [
    "layer A(D) { net: Sequential(D) forward(x: float[D]) -> float[D] { return x } }",
    "an array holds layers, `blocks: Block(D)[L]`, and a method calls them: `for block in blocks { x = block(x) }`",
  ],
  "nearly an optimizer of the library": [
    "model M(D) { param w: float[D] = 0 train(x: float[D]) { loss l = sum(x * w) optimize with Adam(lr: 1) } }",
    'did you mean `AdamW`, of "std/optim"?',
  ],
  "an import without braces": [
    "import std/nn",
    'names are imported as they are called: `import { Linear, silu } from "std/nn"`',
  ],
  "an import with another name": [
    'import { Linear as L } from "std/nn"',
    'names are imported as they are called: `import { Linear, silu } from "std/nn"`',
  ],
  "Python's import": [
    "from std import nn",
    'names are imported as they are called: `import { Linear, silu } from "std/nn"`',
  ],
  "a module that is another": ['import { Linear } from "std/layers"', '`Linear` is in "std/nn"'],
  "a dtype of PyTorch": ["fn f(x: float32[N]) -> float32[N] { return x }", "write `f32`"],
  "an axis made by None": [
    "fn f(x: float[N]) -> float[N, 1] { return x[:, None] }",
    "in an index, `new` makes an axis: `x[..., new]`",
  ],
  "a sum that begins with a number": [
    "fn f(x: float[N, D], K) -> float[N, D] { let y = 0 for i in 0:K { y = y + x } return y }",
    "make it a tensor from the first: `let y: float[N, D] = ...`",
  ],
  "a member by `self`": [
    "layer A(D) { param w: float[D] = 0 forward(self, x: float[D]) -> float[D] { return x * self.w } }",
    "members are named without `self`",
  ],
  "a method with a keyword": [
    "layer A(D) {\n  fn forward(x: float[D]) -> float[D] { return x }\n}",
    "functions stand outside of layers; a method has no keyword: `forward(x: float[N]) -> float[N] { ... }`",
  ],
  "a whole division": ["fn f(x: float[N, D]) -> float[N, 2, D / 2] {\n return reshape(x, [N, 2, D // 2])\n}", division],
  "a whole division at the end of its line": [
    "fn f(x: float[N], k = 6) -> float[N] {\n let h = k // 2\n return x * h }",
    division,
  ],
  "the larger of two tensors": [
    "fn f(x: float[N], y: float[N]) -> float[N] { return max(x, y) }",
    "`axis: -1`, `axis: S` for the axes of `...S`, or a list; of two values, `maximum(a, b)`",
  ],
  "axes without a name": [
    "fn f(x: float[..., D]) -> float[D] { return x }",
    "the axes in front have a name: `float[...S, D]`",
  ],
  "results declared without brackets": [
    "fn f(x: float[N]) -> float[N], i32[N] { return x, range(N) }",
    "several results stand in brackets: `-> (float[N, D], i32[N])`",
  ],
  "a parameter without a beginning": [
    "layer A(D) {\n  param w: float[D]\n  forward(x: float[D]) -> float[D] { return x * w }\n}",
    "say what it begins with: `= normal()`, `= 0`",
  ],
  "a function without a name": [
    "fn f(x: float[N]) -> float[N] { let g = lambda y: 2 return x }",
    "give the function a name: `fn name(x: float[N]) -> float[N] { ... }`",
  ],
  "a loss without a name": [
    "layer A(D) { forward(x: float[D]) -> float[D] { loss sum(x) return x } }",
    "it has a name: `loss name = sum(...)`",
  ],
  "infinity as a text": [
    'fn f(x: float[N]) -> float[N] { return where(x > 0, x, float("-inf")) }',
    "infinity is `inf`, or `-inf`",
  ],
  "one result that is taken apart": [
    "fn g(x: float[N]) -> float[N] { return x } fn f(x: float[N]) -> float[N] { let (q, k) = g(x) return q }",
    "write `let q = ...`; parts of one result are slices: `q[..., :D]`",
  ],
  "an array of layers that is called": [
    "layer I(D) { forward(x: float[D]) -> float[D] { return x } } layer A(D) { l: I(D)[3] forward(x: float[D]) -> float[D] { return l(x) } }",
    "pick one: `l[0](x)`, all: `l[:](x)`, by index: `l[index](x)`, or one after the other: `for layer in l { x = layer(x) }`",
  ],
  "the largest of nothing": [
    "fn f() -> float[1] { let x: float[0] = 1 let (v, _) = top_k(x, 1) return v }",
    "the axis is empty: check the size that it has",
  ],
  "a layer that a method makes": [
    "layer I(D) { forward(x: float[D]) -> float[D] { return x } } layer A(D) { forward(x: float[D]) -> float[D] { let i = I(D) return i(x) } }",
    "make it a member of this layer, `i: I(...)`, and call that",
  ],
  "a sign, and only that": ["fn f(m: bool[N], n: bool[N]) -> bool[N] { return m & n }", "write `&&`"],
  "a sign of bits": ["fn f(m: bool[N]) -> bool[N] { return ~m }", "write `!`"],
  "results of a call": [
    "fn g(x: float[N]) -> (float[1], i32[1]) { let (v, i) = top_k(x, 1) return v, i } fn f(x: float[N]) -> (float[1], i32[1]) { return g(x) }",
    "name the results of the call first: `let (a, b) = g(x)`, then `return a, b`",
  ],
};
for (const [name, [text, help]] of Object.entries(helps))
  test(`help: ${name}`, () => assert.equal([...new Set(errorsIn(text).map((d) => d.help))], [help]));
test("comments that divide nothing stay comments", () => {
  const text = `fn f(x: float[N, D]) -> float[N, D] { // 2
    let y = x // [N, D]
    let z = reshape(y, [N, D]) // N, D
    // 2
    return z // twice (or more)
  } // f // 3`;
  assert.is(shown(errorsIn(text)), "");
});
test("sizes that are written alike and differ have a note", () => {
  const [text] = wrong["two opaque sizes are not the same"] ?? [""];
  const [error] = errorsIn(text);
  assert.ok(error?.notes.some((note) => note.startsWith("each call that chooses a size makes another U")));
});
test("sizes that are the same by default only have a note", () => {
  const header = "layer A(D, E, H = D * E)";
  const bodies = {
    "float[H]": "return reshape(x, [D * E])",
    "float[D * E]": "return y",
    "float[1, D]": "return reshape(x, [1, D * E]) @ transpose(w, 0, 1)",
  };
  for (const [result, body] of Object.entries(bodies)) {
    const text = `${header} { param w: float[D, H] = 0 forward(x: float[D, E], y: float[H]) -> ${result} { ${body} } }`;
    const notes = errorsIn(text).flatMap((d) => d.notes);
    assert.ok(
      notes.some((note) => / by default only: write /.test(note)),
      `${result}: ${notes.join("; ")}`,
    );
  }
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
test("a member that names another is told that members do not see one another", () => {
  const members = [
    "param p: f32[D] = q",
    "param p: f32[D] = other.weight",
    "sub: other",
    "if q { param p: f32[D] = 0 }",
  ];
  for (const member of members) {
    const [error] = errorsIn(`import { Linear } from "std/nn"
      layer A(D) { state q: f32[D] = 0 other: Linear(D, D) ${member} }`);
    assert.is(error?.code, "E0301", member);
    assert.match(
      error?.help ?? "",
      /^`(q|other)` is a member, and members do not see one another: use it in a method/,
      member,
    );
  }
  assert.not.match(errorsIn("layer A(D) { param p: f32[D] = q }")[0]?.help ?? "", /member/);
});
/** `experts[index](x)` as a result, in an operation, and for a declared name. */
const routing = (expert: string, rows: string): string => `
  layer Expert(D) { forward(x: ${expert}) -> ${expert} { return x } }
  layer A(D, E, K) {
    experts: Expert(D)[E]
    forward(x: float[${rows}, D], index: i32[${rows}, K]) -> float[${rows}, K, D] { return experts[index](x) }
    weighted(x: float[${rows}, D], score: float[${rows}, K, 1], index: i32[${rows}, K]) -> float[${rows}, K, D] {
      return score * experts[index](x)
    }
    named(x: float[${rows}, D], index: i32[${rows}, K]) -> float[${rows}, K, D] {
      let y: float[${rows}, K, D] = experts[index](x)
      return y
    }
  }`;
test("an expert that takes more than a row is told that it takes one", () => {
  const cases = { "float[N, D]": ["M", "B, T", "...S"], "float[B, T, D]": ["B, T"] };
  for (const [expert, all] of Object.entries(cases))
    for (const rows of all) {
      const errors = errorsIn(routing(expert, rows));
      assert.is(errors.length, 3, `${expert} ${rows}`);
      for (const { help } of errors)
        assert.match(help, `an expert takes one row, and for \`${expert}\` a row has`, `${expert} ${rows}`);
    }
  assert.match(errorsIn(routing("float[N, D]", "M"))[0]?.help ?? "", /2 axes: declare `float\[\.\.\.S, D\]`$/);
  for (const expert of ["float[...S, D]", "float[D]"]) assert.equal(codesIn(routing(expert, "B, T")), [], expert);
  const whole = "forward(x: float[M, D], index: i32[M, K]) -> float[M, K, M, D] { return experts[index](x) }";
  const text = routing("float[N, D]", "M").replace(/forward\(x: float\[M.*/, whole);
  assert.equal(codesIn(text.replace(/weighted[^]*$/, "}")), [], "all of x for each choice may be meant");
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

test.run();
