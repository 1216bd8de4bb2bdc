// What the checker and elaboration refuse beyond the program of each code's golden: the code, and what is said.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Diagnostic } from "../../compiler/diagnostic.ts";
import { elaborationErrors, errorsIn } from "./checked.ts";

const test = suite("refused");
type Refused = readonly [text: string, code: string, message: string | RegExp];
const linear = 'import { Linear } from "std/nn" ';
const layer = (members: string, body: string): string =>
  `${linear}layer A(D) { ${members} forward(x: f32[D]) -> f32[D] { ${body} } }`;
const routed = (call: string): string =>
  `${linear}layer A(D) { e: Linear(D, D)[4] forward(x: f32[N, D], i: i32[N, 2]) -> f32[N, 2, D] { return ${call} } }`;

const whenChecked: Record<string, Refused> = {
  "an argument twice": [
    "fn g(x: f32[N], y: f32[N] = 0) -> f32[N] { return x + y } fn f(x: f32[N]) -> f32[N] { return g(x, x: x) }",
    "E0305",
    "`x` is given twice",
  ],
  "a tensor that is not given": [
    "fn g(x: f32[N], y: f32[N]) -> f32[N] { return x + y } fn f(x: f32[N]) -> f32[N] { return g(x) }",
    "E0306",
    "`g` needs `y`",
  ],
  "too many arguments of an expert": [routed("e[i](x, x)"), "E0305", "the layer takes 1 argument"],
  "an argument that an expert does not have": [routed("e[i](y: x)"), "E0305", "the layer takes no argument `y`"],
  "`keep` of any number of axes": [
    "fn f(x: f32[...S]) -> f32[...S] { return sum(x, keep: true) }",
    "E0207",
    "`keep: true` cannot keep any number of axes",
  ],
  "an index with too few axes": [
    "fn f(x: f32[3, 4, 5], i: i32[7]) -> f32[3, 4, 7] { return take(x, i, axis: 2) }",
    "E0210",
    "the index i32[7] has too few axes for the [3, 4] before the axis",
  ],
  "`put` into fewer rows than the index has": [
    "fn f(x: f32[1, 4], i: i32[5, 2], v: f32[5, 2]) -> f32[1, 4] { return put(x, i, v, axis: 1) }",
    "E0210",
    "`put` into f32[1, 4] cannot have the index i32[5, 2]",
  ],
  "a state inside of an expert": [
    "layer E() { forward(x: f32[3]) -> f32[3] { state s: f32 = 0 return x } } layer A() { e: E()[4] forward(x: f32[N, 3], i: i32[N]) -> f32[N, 3] { return e[i](x) } }",
    "E0403",
    "`state` cannot stand in a layer called by `experts[index](x)`",
  ],
  "a member of an array": [
    layer("l: Linear(D, D)[4]", "return l.weight @ x"),
    "E0313",
    "an array of layers has no members",
  ],
  "an array without a number": [
    layer("l: Linear(D, D)[:]", "return x"),
    "E0210",
    "an array of layers has a number of copies",
  ],
  "two indices of an array": [
    layer("l: Linear(D, D)[4]", "return l[1, 2](x)"),
    "E0210",
    "layers are picked by one index",
  ],
  "a part of an array": [
    layer("l: Linear(D, D)[4]", "return l[1:2](x)"),
    "E0210",
    "a part of an array of layers cannot be picked",
  ],
  "a boolean as an index of an array": [
    layer("l: Linear(D, D)[4]", "return l[true](x)"),
    "E0210",
    "layers are picked by a number or an i32 tensor, not a boolean",
  ],
  "a member that is a number": [layer("l: 3", "return x"), "E0307", "a layer or function is needed here, not a number"],
  "a member of another element of an array of different layers": [
    "layer P(D) { forward(x: f32[D]) -> f32[D] { return x } two(x: f32[D]) -> f32[D] { return x } } layer Q(D) { forward(x: f32[D]) -> f32[D] { return x } two(x: f32[D]) -> f32[2] { return x[:2] } } layer A(D) { l: [P(D), Q(D)][4] forward(x: f32[D]) -> f32[D] { for b in l { x = b.two(x) } return x } }",
    "E0215",
    "`x` is f32[D], and this is f32[2]",
  ],
  "a member under a condition that does not hold": [
    "layer B(D, H) { if H > D { param w: f32[D] = 0 } forward(x: f32[D]) -> f32[D] { return x } } layer A() { b: B(3, 2) forward(x: f32[3]) -> f32[3] { return b.w } }",
    "E0313",
    "`B` has no member `w`",
  ],
  "`!` of a number": [
    "fn f(x: f32[N]) -> f32[N] { return where(!N, x, 0) }",
    "E0201",
    "`!` needs a boolean, not a number",
  ],
  "a size that is set": [layer("", "D = 3 return x"), "E0404", "`D` is not a variable of this body"],
  "a boolean that becomes a number": [
    "fn f(x: f32[N]) -> f32[N] { let flag = true flag = 3 return x }",
    "E0215",
    "`flag` is a boolean, and this is a number",
  ],
  "a float where a boolean is declared": [
    "fn f(x: f32[N]) -> f32[N] { let m: bool[N] = x return where(m, x, 0) }",
    "E0205",
    "`m` is declared bool[N], but this is f32[N]",
  ],
  "an alias of itself": ["layer A(D) = A(D)", "E0308", "`A(D)` leads back to itself"],
  "aliases of one another": ["layer A(D) = B(D) layer B(D) = A(D)", "E0308", "`A(D)` leads back to itself"],
  "a default that needs itself": [
    "layer A(D, f: (float[D]) -> float[D] = A(D)) { forward(x: f32[D]) -> f32[D] { return x } }",
    "E0308",
    "`A(D)` leads back to itself",
  ],
  "a mask of another size": [
    "fn f(x: f32[3, 4], m: bool[5]) -> f32[3, 4] { return softmax(x, where: m) }",
    "E0202",
    /^`softmax`: the shapes do not fit/,
  ],
};
const whenElaborated: Record<string, Refused> = {
  "a loop of too many turns": [
    "layer A() { forward(x: f32[3]) -> f32[3] { let y = x for i in 0:20000 { y = y + 1 } return y } }",
    "E0211",
    "a loop of 20000 turns",
  ],
};
const assertOnly = (found: readonly Diagnostic[], [, code, message]: Refused): void => {
  assert.equal(
    found.map((d) => d.code),
    [code],
  );
  assert.match(found[0]?.message ?? "", message);
  assert.ok(found[0]?.help, "it says what to do");
};
for (const [name, refused] of Object.entries(whenChecked))
  test(`refused: ${name}`, () => assertOnly(errorsIn(refused[0]), refused));
for (const [name, refused] of Object.entries(whenElaborated))
  test(`refused with its sizes: ${name}`, () => {
    assert.equal(errorsIn(refused[0]), []);
    assertOnly(elaborationErrors({ name: "test.moe", text: refused[0] }), refused);
  });
test.run();
