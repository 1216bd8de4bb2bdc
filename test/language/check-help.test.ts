// What errors say beside their code: notes and remedies that depend on what was meant.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Diagnostic } from "../../compiler/diagnostic.ts";
import { project } from "../project.ts";
import { codesIn, elaborationErrors, errorsIn } from "./checked.ts";

const test = suite("check-help");

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
test("a member whose `if` does not hold is shown where it is declared, read by its layer or by another", () => {
  const inner = "layer A(D = 2) { if D > 2 { param w: f32[D] = 0 } forward(x: f32[D]) -> f32[D] { return x + w } }";
  const outer =
    "layer B(D) { if D > 2 { param w: f32[D] = 0 } } layer A(D = 2) { b: B(D) forward() -> f32[D] { return b.w } }";
  for (const text of [inner, outer]) {
    const [error, ...more] = elaborationErrors({ name: "A.moe", text });
    assert.equal(more, []);
    assert.is(error?.labels[1]?.span.start, text.indexOf("w:"));
    assert.is(error?.labels[1]?.text, "declared under an `if` that does not hold here");
    assert.is(error?.help, "ask the same condition before using it");
  }
});
test("a member of two `if`s that both hold is told so", () => {
  const text =
    "layer A(D = 2) { if D > 1 { param w: f32[D] = 0 } if D < 3 { param w: f32[D] = 1 } forward() -> f32[D] { return w } }";
  const [error, ...more] = elaborationErrors({ name: "A.moe", text });
  assert.equal([error?.code, more], ["E0302", []]);
  assert.match(error?.help ?? "", "the conditions of both hold here");
});
test("a gate of the library over more experts than there are is an error, mask or not", () => {
  const text = readFileSync(join(project, "test/programs/errors/E0413.moe"), "utf8");
  for (const call of ["feed(x)", "feed(x, mask)"]) {
    const masked = text.replace("forward(x: float[2, D])", "forward(x: float[2, D], mask: bool[2])");
    const [error] = elaborationErrors({ name: "A.moe", text: masked.replace("feed(x)", call) });
    assert.is(error?.code, "E0413", call);
  }
  for (const gate of ["GShardGate(D, 2 * E)", "SwitchGate(D, 2 * E)"]) {
    const capped = text.replaceAll("TopKGate", gate.slice(0, gate.indexOf("("))).replace(/\w+Gate\(D.*?2\)/, gate);
    const [error] = elaborationErrors({
      name: "A.moe",
      text: capped.replace("MoE(D, 2", `MoE(D, ${gate.startsWith("S") ? 1 : 2}`),
    });
    assert.is(error?.code, "E0413", gate);
  }
});
function placedHelp(header: string): string {
  const text = `import { Embedding } from "std/nn"
    layer Placed(C, D) { place: Embedding(C, D) forward(x: f32[6]) -> f32[6, D] { return place(range(6)) } }
    layer A(${header}) = Placed(Most, D)`;
  return elaborationErrors({ name: "A.moe", text })[0]?.help ?? "";
}
test("of a table that is too short the size in the header is named, where one alone is as long", () => {
  assert.match(placedHelp("Most = 4, D = 2"), "make the table longer, `--set Most=6`");
  assert.match(placedHelp("Most = 4, D = 4"), "make the table longer, or what indexes it shorter");
  assert.is(placedHelp("Most = 6, D = 4"), "");
});
test("a misspelt member is told from a function that its name only begins with", () => {
  const body = "experts: Linear(D, D)[2] forward(x: float[N, D]) -> float[N, D] { return exprets[0](x) }";
  const [error] = errorsIn(`import { Linear } from "std/nn" layer A(D) { ${body} }`);
  assert.is(error?.help, "did you mean `experts`?");
});
test("an item of a list that is no size is shown itself, and all that a header lacks is named", () => {
  const text = "forward(x: float[4, D]) -> float[4, D] { return reshape(reshape(x, [4 / G, G * D]), [4, D]) } }";
  const missing = (header: string): Diagnostic | undefined =>
    elaborationErrors({ name: "A.moe", text: `layer A(${header}) { ${text}` })[0];
  const [size, names] = [missing("D = 2, G = 3"), missing("D = 2, G, H, K")];
  assert.is(size?.message, "4 / G is 1.3333333333333333, which is not a size");
  assert.is(names?.message, "`A` needs `G`");
  assert.equal(names?.notes, ["it needs `H`, `K` too"]);
});
test("an index between two rows is an error, where `/` in a loop makes it too; a slice that ends before it begins is none", () => {
  const loop = "let y: f32[D] = 0 for i in 0:4 { y = y + x[i / 2] } return y";
  const [error] = elaborationErrors({
    name: "A.moe",
    text: `layer A(D = 2) { forward(x: f32[4, D]) -> f32[D] { ${loop} } }`,
  });
  assert.is(error?.message, "an index is a whole number, and this is 0.5");
  assert.is(error?.help, "round it: `floor(i / 2)`");
  const rounded = loop.replace("i / 2", "floor(i / 2)");
  const text = `layer A(D = 2) { forward(x: f32[4, D]) -> f32[D] { ${rounded} } }`;
  assert.equal(elaborationErrors({ name: "A.moe", text }), []);
  const slices = errorsIn("fn f(x: f32[N]) -> f32[2] { return x[5:3] } fn g(x: f32[N]) -> f32[0] { return x[3:3] }");
  assert.equal(
    slices.map((d) => d.message),
    ["5:3 is not a part of f32[N]"],
  );
});
const errorWithoutLayers = (body: string): Diagnostic | undefined =>
  elaborationErrors({
    name: "A.moe",
    text: `import { Linear } from "std/nn" layer A(D = 2, E = 0) { e: Linear(D, D)[E] ${body} }`,
  })[0];
test("an array of no layers is said to be empty, however it is called", () => {
  for (const body of [
    "forward(x: f32[3, D], i: i32[3]) -> f32[3, D] { return e[i](x) }",
    "forward(x: f32[E, 3, D]) -> f32[E, 3, D] { return e[:](x) }",
    "forward() -> f32[E, D, D] { return e[:].weight }",
  ])
    assert.is(errorWithoutLayers(body)?.message, "this array has no layers");
  const numbered = errorWithoutLayers("forward(x: f32[3, D]) -> f32[3, D] { return e[0](x) }");
  assert.is(numbered?.help, "this array has none: make it of one layer or more");
});
const helps = (body: string): string[] =>
  errorsIn(`layer A(D, big = true) { forward(x: float[D]) -> float[D] { ${body} return x } }`).map((d) => d.help);
test("a name that ended with its block is told from one that is nowhere", () => {
  const variable = "`y` ends with the block that declares it: declare it before, and there write `y = ...`";
  assert.equal(helps("if big { let y = 2 * x } else { let y = x } x = y"), [variable]);
  assert.equal(helps("if big { x = 2 * x } else { let y = x } x = y"), [variable]);
  assert.equal(helps("for i in 0:2 { if big { let (y, i) = top_k(x, D) } } y = x"), [variable]);
  assert.equal(helps("if generating { state y: f32 = 0 } update y = 1"), [
    "`y` ends with the block that declares it: `update` it there, or declare it before",
  ]);
  assert.equal(helps("let z = x x = y"), ["declare it, import it, or give it as an argument"]);
});
/** The help for a `let` that hides a variable. */
const drop = (name: string): string => `to change that one, write \`${name} = ...\` without \`let\``;
test("what a block makes anew, where it was to change what is around it, is told to drop `let`", () => {
  assert.equal(helps("let n = 2 if big { let x = 2 * x } for i in 0:2 { let x = x + i } if big { let n = 3 }"), [
    drop("x"),
    drop("x"),
    drop("n"),
  ]);
  assert.equal(helps("if big { let x = 2 * x x = x + 1 } for i in 0:2 { if big { let i = x } }"), []);
  assert.equal(errorsIn("fn f(x: f32[N], y: f32[N]) -> f32[N] { let y = 2 * x return x }"), []);
  assert.equal(helps("for i in 0:2 { let K = 2 * D if big { let K = D let D = 2 } }"), [], "sizes");
  assert.equal(
    errorsIn("layer A(rate = 0.1, big = true) { forward() { if big { let rate = 1 } } }"),
    [],
    "of a header",
  );
  assert.equal(helps("if big { let (x, _) = top_k(x, D) }"), [
    "to change that one, give this another name, and then write `x = ...`",
  ]);
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
const noLayer = (n: number, E: string, last: string): string[] => [
  `there is no layer ${n} of ${E}; layers are numbered from 0 to ${last}; where an index tensor holds -1, no layer is called`,
];
/** What is wrong with a body of an array of `E` layers, 3 by default: while checking, or else when its sizes are known. */
function layerErrors(E: string, body: string): string[] {
  const text = `import { Linear } from "std/nn"
    layer A(D = 2, E = 3) {
      experts: Linear(D, D)[${E}]
      forward(x: float[D]) -> float[D] { let y = x ${body} return y } }`;
  const checked = errorsIn(text);
  const found = checked.length > 0 ? checked : elaborationErrors({ name: "test.moe", text });
  return found.map(({ message, help }) => `${message}; ${help}`);
}
test("a number that no layer has is an error, found as early as the sizes are known", () => {
  for (const n of ["-1", "2 - 3"]) assert.equal(layerErrors("E", `y = experts[${n}](x)`), noLayer(-1, "E", "E - 1"));
  assert.equal(layerErrors("4", "y = experts[4](x)"), noLayer(4, "4", "3"));
  assert.equal(layerErrors("4", "y = experts[3](x)"), []);
  assert.equal(layerErrors("E", "for i in 0:E { y = y + experts[i - 1](x) }"), noLayer(-1, "3", "2"));
  assert.equal(layerErrors("E", "for i in 1:E { y = y + experts[i - 1](x) }"), []);
});
const pickedTwo = (e: string): string => `import { Linear } from "std/nn"
  layer Two(D) { up: Linear(D, D)
    forward(x: float[...S, D]) -> float[...S, D] { return up(x) } twice(x: float[...S, D]) -> float[...S, D] { return up(up(x)) } }
  layer A(D, E) { experts: Two(D)[E] forward(x: float[N, D], index: i32[N]) -> float[N, D] { return ${e} } }`;
test("only `forward` is called of layers that an index picks, and an error says so", () => {
  assert.equal(codesIn(pickedTwo("experts[index](x)")), []);
  for (const e of ["experts[index].twice(x)", "experts[index].up(x)", "experts[:].twice(x)"]) {
    const [error, ...more] = errorsIn(pickedTwo(e));
    assert.equal(
      [error?.code, error?.message, more],
      ["E0313", "of layers picked from an array only `forward` is called", []],
    );
    assert.match(error?.help ?? "", /have `(twice|up)` in the `forward` .* call `experts\[(index|:)\]\(x\)`$/);
  }
});
const codesAndMessages = (text: string): string[] => errorsIn(text).map((d) => `${d.code} ${d.message}`);
/** What is wrong where `e` is passed to a function, in a layer with `members`. */
const passed = (members: string, e: string): string[] =>
  codesAndMessages(`import { Linear, Mlp } from "std/nn"
    fn twice(f: float[...S, D] -> float[...S, D], x: float[...S, D]) -> float[...S, D] { return f(f(x)) }
    layer Named(D) { up: Linear(D, D) twice(x: float[N, D]) -> float[N, D] { return up(up(x)) } }
    layer A(D, E) { ${members} forward(x: float[N, D]) -> float[N, D] { return twice(${e}, x) } }`);
test("a header takes a layer that is yet to be made, a function one that is made, of the right sizes", () => {
  assert.equal(passed("a: Linear(D, D)", "a"), []);
  assert.equal(passed("a: Linear(D, D)[E]", "a[0]"), []);
  assert.equal(passed("a: Named(D)", "a.twice"), []);
  assert.equal(passed("a: Linear(D, E)", "a"), ["E0401 `a` is not what `f` takes: float[...S, D] -> float[...S, D]"]);
  assert.equal(passed("a: [Linear(D, D), Mlp(D, E), Linear(D, E)]", "a[1]"), [
    "E0401 `a[1]` is not what `f` takes: float[...S, D] -> float[...S, D]",
  ]);
  assert.equal(passed("a: Named(D)", "a"), ["E0307 `Named` has no `forward`, so it cannot be called by itself"]);
  assert.equal(passed("a: Linear(D, D)", "Mlp(D, E, a)"), ["E0307 a layer that is made already cannot be passed"]);
});
/** What is wrong in reading members of all layers of an array. */
const read = (of: string, to = "float[E, D, D]"): string[] =>
  codesAndMessages(`import { Linear, Mlp } from "std/nn"
    layer Two(D) { up: Linear(D, D) down: Linear(D, D) forward(x: float[...S, D]) -> float[...S, D] { return down(up(x)) } }
    layer A(D, E, given: float[...S, D] -> float[...S, D]) { experts: Two(D)[E] both: [Two(D), Linear(D, D)] given: given[E]
      forward(x: float[N, D], index: i32[N]) -> ${to} { return ${of} } }`);
test("of all layers of an array members are read as of one", () => {
  assert.equal(read("experts[:].up.weight"), []);
  assert.equal(read("take(experts[:].up.weight, index)", "float[N, D, D]"), []);
  assert.equal(read("experts[:].up"), ["E0311 a tensor is needed here, not layers picked from an array"]);
  assert.equal(read("experts[:].wieght"), ["E0313 `Two` has no member `wieght`"]);
  assert.equal(read("both[:].up.weight"), ["E0313 `Linear` has no member `up`"]);
  assert.equal(read("experts[:].up(x)"), [
    "E0307 `experts[:].up` is a layer of each layer of an array, of which only tensors are read",
  ]);
  assert.match(read("given[:].weight").join(), "E0313 of this layer only its `forward` is known");
});
const mixture = (call: string): string[] =>
  errorsIn(`import { MoE } from "std/moe" import { TopKGate } from "std/gates" import { Linear, SwiGlu } from "std/nn"
    layer A(D, H, E, K) { moe: ${call} forward(x: float[N, D]) -> float[N, D] { return moe(x) } }`).map((d) => d.help);
test("where two sizes are exchanged, the error asks whether they are; where none are, it does not", () => {
  for (const [E, K] of [
    ["E", "K"],
    ["8", "2"],
  ]) {
    const [help = "", ...more] = mixture(`MoE(D, ${E}, ${K}, TopKGate(D, ${E}, ${K}), SwiGlu(D, H))`);
    assert.equal(more, []);
    assert.match(help, `are ${E} and ${K} exchanged in \`MoE(...)\`? It is declared as \`MoE(D, K, E, gate, `);
  }
  const [help, ...more] = mixture("MoE(D, K, E, TopKGate(D, E, K), Linear(D, H))");
  assert.match(help ?? "", "give a layer or function whose");
  assert.equal(more, []);
  assert.equal(mixture("MoE(D, K, E, TopKGate(D, E, K), SwiGlu(D, H))"), []);
});
test("a gate of the library that needs a batch, in an expert, is one error; of one's own layer, each thing is", () => {
  const [error, ...more] =
    errorsIn(`import { SwiGlu } from "std/nn" import { MoE } from "std/moe" import { SwitchGate, TopKGate } from "std/gates"
    layer A(D, K) {
      moe: MoE(D, K, 4, TopKGate(D, 4, K), MoE(D, 1, 3, SwitchGate(D, 3), SwiGlu(D, D)))
      forward(x: float[N, D]) -> float[N, D] { return moe(x) }
    }`);
  assert.is(error?.code, "E0403");
  assert.match(error?.help ?? "", "`SoftmaxGate`");
  assert.match(error?.notes.join("\n") ?? "", "test.moe:3");
  assert.equal(more, []);
  const own = errorsIn(`layer Expert(D) {
      forward(x: float[D]) -> float[D] {
        loss size = mean(x)
        metric size = x
        return x
      }
    }
    layer A(D, E) {
      experts: Expert(D)[E]
      forward(x: float[N, D], index: i32[N]) -> float[N, D] { return experts[index](x) }
    }`);
  assert.equal(
    own.map((d) => d.code),
    ["E0403", "E0403"],
  );
});
test("of many calls that led to an error in the library, the user's own is named", () => {
  const [error] = elaborationErrors({
    name: "test.moe",
    text: `import { Mixtral } from "std/models/decoder" import { AdamW } from "std/optim"
    model A() = Mixtral(V: 64, D: 16, H: 16, L: 1, Heads: 2, Groups: 2, E: 4, K: 8, Context: 32) {
      train(tokens: i32[1, 8], targets: i32[1, 8]) {
        loss size = mean(forward(tokens))
        optimize with AdamW()
      }
    }`,
  });
  assert.is(error?.code, "E0210");
  assert.is(error?.notes.length, 4);
  assert.match(error?.notes.at(-1) ?? "", "called as `forward(tokens)` at test.moe:4");
});
test("an index that a real number of a header makes real is told of its name as a size", () => {
  const asSize = /^`step` is a real number of the header: .* it is `Step`; else convert: `i32/;
  const texts = [
    "layer A(step) { forward(x: float[T, D]) -> float[T, D] { return take(x, range(T) - step) } }",
    "layer A(step = 2) { forward(x: float[T, D]) -> float[T, D] { return x[range(T) - step] } }",
    "fn f(x: float[T, D], step) -> float[T, D] { return put(x, step * range(T), x) }",
    "fn f(x: float[T, D], step) -> float[T, D] { return scatter(x, range(T) + step, T) }",
  ];
  for (const text of texts) assert.match(errorsIn(text)[0]?.help ?? "", asSize, text);
  const others = [
    "fn f(x: float[T, D], step: f32) -> float[T, D] { return x[range(T) - step] }",
    "fn f(x: float[T, D], i: f32[T], step) -> float[T, D] { return step * x[i] }",
    "layer A(step) { param i: f32[2] = 0 forward(x: float[T, D]) -> float[2, D] { return step * take(x, i) } }",
  ];
  for (const text of others) assert.match(errorsIn(text)[0]?.help ?? "", /^convert it: `i32/, text);
});
test.run();
