// Aliases with a body: what it adds to a layer, what it replaces, and what each method sees.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check, checkAll, entrySignature, load, loadTemplate } from "../../compiler/check/index.ts";
import { moe } from "../../compiler/syntax/template.ts";
import { isInNats, ownLosses } from "../../runtime/program.ts";
import { codesIn, errorsIn } from "./checked.ts";
import { codeOf, near, numbers, output, run, stepped } from "./elaborate-text.ts";

const test = suite("alias");
const D = 3;
const x = [numbers(D, 1), numbers(D, 2)];
const flat = x.flat();
const loadText = (text: string) => load({ name: "test.moe", text });

const base = `fn outer(x: float[...S]) -> float[...S] { return x + 100 }
  layer Base(D, rate = 10) {
    param w: float[D] = 2
    part(x: float[N, D]) -> float[N, D] { return w * x }
    forward(x: float[N, D]) -> float[N, D] { return outer(part(x)) + rate }
  }
  optimizer Sgd(lr = 1) { apply(param: f32[...S], grad: f32[...S]) { update param = param - lr * grad } }
`;
const alias = (header: string, call: string, body: string): string =>
  `${base} model A(${header}) = Base(${call}) { ${body} }`;

test("a method replaces the layer's, also for the layer's own methods", () => {
  const text = alias("D = 3", "D", "part(x: float[N, D]) -> float[N, D] { return w * x * x }");
  assert.equal(codesIn(text), []);
  near(
    output(text, { inputs: { x } }),
    flat.map((v) => 2 * v * v + 100 + 10),
  );
});
test("what is added is seen by the methods of the body, and by nobody else's", () => {
  const text = alias(
    "D = 3",
    "D",
    `param v: float[D] = 5  rate: Base(D)
     outer(x: float[N, D]) -> float[N, D] { return v * x }
     both(x: float[N, D]) -> float[N, D] { return outer(forward(x)) + rate.part(x) }`,
  );
  assert.equal(codesIn(text), []);
  near(
    output(text, { inputs: { x } }),
    flat.map((v) => 2 * v + 110),
  );
  near(
    output(text, { inputs: { x }, method: "both" }),
    flat.map((v) => 5 * (2 * v + 110) + 2 * v),
  );
});
test("in the body its own header and module are seen, not the layer's header", () => {
  const seen = alias("D = 3, rate = 7", "D, 1", "scaled(x: float[N, D]) -> float[N, D] { return rate * forward(x) }");
  near(
    output(seen, { inputs: { x }, method: "scaled" }),
    flat.map((v) => 7 * (2 * v + 101)),
  );
  const [error, ...more] = errorsIn(alias("", "3", "scaled(x: float[N, 3]) -> float[N, 3] { return rate * x }"));
  assert.equal([error?.code, more], ["E0301", []]);
  assert.match(error?.help ?? "", "the layer's header is not seen here: have `rate` in that of the alias");
});
test("of two bodies the outer one replaces, for the methods of the inner one too", () => {
  const text = `${alias(
    "D",
    "D",
    "part(x: float[N, D]) -> float[N, D] { return 3 * x } twice(x: float[N, D]) -> float[N, D] { return 2 * part(x) }",
  )} model B(D = 3) = A(D) { part(x: float[N, D]) -> float[N, D] { return 4 * x } }`;
  assert.equal(codesIn(text), []);
  const outputs = (declaration: string, method: string) =>
    output(text, { declaration, method, inputs: { x }, sizes: { D } });
  near(
    outputs("B", "forward"),
    flat.map((v) => 4 * v + 110),
  );
  near(
    outputs("B", "twice"),
    flat.map((v) => 8 * v),
  );
  near(
    outputs("A", "twice"),
    flat.map((v) => 6 * v),
  );
});
test("parameters keep their names, order and first values; those of the body follow", () => {
  const texts = [
    'import { Linear } from "std/nn" model A(D = 3) = Linear(D, D, true)',
    'import { Linear } from "std/nn" model A(D = 3) = Linear(D, D, true) { more: Linear(D, D) forward(x: float[...S, D]) -> float[...S, D] { return more(x @ weight) } }',
  ];
  const [plain, more] = texts.map((text) => run(text, { inputs: { x }, sizes: { S: [2] } }).stores);
  const names = (stores = plain) => [...(stores?.keys() ?? [])].filter((name) => /weight|bias/.test(name));
  assert.equal(names(), ["weight", "bias"]);
  assert.equal(names(more), ["weight", "bias", "more.weight"]);
  for (const name of names()) assert.equal([...(more?.get(name)?.data ?? [])], [...(plain?.get(name)?.data ?? [])]);
});
test("an alias with a body is passed as a layer, repeated, and called by index", () => {
  const text = `${base} import { Linear } from "std/nn"
    layer Row(D, scale) { param w: float[D] = scale  part(x: float[D]) -> float[D] { return w * x } forward(x: float[D]) -> float[D] { return part(x) } }
    layer Mine(D, scale) = Row(D, scale) { param v: float[D] = 3  part(x: float[D]) -> float[D] { return w * v * x } }
    layer Mix(D, expert: float[D] -> float[D]) { experts: expert[2]  forward(x: float[N, D], index: i32[N, K]) -> float[N, D] { return sum(experts[index](x), axis: 1) } }
    model M(D = 3) { mix: Mix(D, Mine(D, 5)) forward(x: float[N, D], index: i32[N, K]) -> float[N, D] { return mix(x, index) } }`;
  assert.equal(codesIn(text), []);
  const o = run(text, {
    declaration: "M",
    inputs: {
      x,
      index: [
        [0, 1],
        [1, -1],
      ],
    },
  });
  near(
    [...(o.values.get("output 0")?.data ?? [])],
    flat.map((v, i) => (i < D ? 2 : 1) * 15 * v),
  );
  assert.equal(o.stores.get("mix.experts.*.v")?.shape, [2, D]);
});
test("what a body's header takes and a method routes to is checked as one row", () => {
  const text = `${base} layer Lossy(D) { forward(x: float[D]) -> float[D] { loss size = sum(x) return x } }
    layer A(D, expert: float[D] -> float[D]) = Base(D) { experts: expert[2]  mix(x: float[N, D], index: i32[N]) -> float[N, D] { return experts[index](x) } }
    model M(D) { a: A(D, Lossy(D)) forward(x: float[N, D]) -> float[N, D] { return a(x) } }`;
  assert.equal(codesIn(text), ["E0403"]);
});
test("a body may call the layer's array by index: it is then one tensor", () => {
  const text = `layer One(D) { param w: float[D] = 2 forward(x: float[D]) -> float[D] { return w * x } }
    layer Chain(D) { ones: One(D)[2] forward(x: float[N, D]) -> float[N, D] { for one in ones { x = x + one.w } return x } }
    model A(D = 3) = Chain(D) { pick(x: float[N, D], index: i32[N]) -> float[N, D] { return ones[index](x) } }`;
  assert.equal(codesIn(text), []);
  const o = run(text, { declaration: "A", method: "pick", inputs: { x, index: [1, -1] } });
  near(
    [...(o.values.get("output 0")?.data ?? [])],
    flat.map((v, i) => (i < D ? 2 * v : 0)),
  );
  assert.equal(o.stores.get("ones.*.w")?.shape, [2, D]);
});
test("members under an `if` of the body", () => {
  const text = alias(
    "D = 3, wide = true",
    "D",
    "if wide { param v: float[D] = 4  part(x: float[N, D]) -> float[N, D] { return v * x } }",
  );
  assert.equal(codesIn(text), []);
  near(
    output(text, { inputs: { x } }),
    flat.map((v) => 4 * v + 110),
  );
  near(
    output(text, { inputs: { x }, sizes: { wide: false } }),
    flat.map((v) => 2 * v + 110),
  );
});
test("a name that the layer has under another condition is free", () => {
  const text = `layer B(D, biased = false) { if biased { param bias: float[D] = 1 } forward(x: float[N, D]) -> float[N, D] { return x } }
    model A(D = 3) = B(D, C) { bias(x: float[N, D]) -> float[N, D] { return 2 * x } }`;
  assert.equal(codesIn(text.replace("C", "false")), []);
  near(
    output(text.replace("C", "false"), { method: "bias", inputs: { x } }),
    flat.map((v) => 2 * v),
  );
  assert.equal(codesIn(text.replace("C", "true")), ["E0302"]);
});
test("templates: an alias of what a hole holds", () => {
  const { Base } =
    moe<"Base">`layer Base(D) { param w: float[D] = 2 forward(x: float[N, D]) -> float[N, D] { return w * x } }`;
  const { A } =
    moe<"A">`model A(D = 3) = ${Base}(D) { twice(x: float[N, D]) -> float[N, D] { return forward(forward(x)) } }`;
  const loaded = loadTemplate(A.program);
  assert.equal(check(loaded), []);
  for (const method of ["twice", "forward"])
    assert.equal(
      entrySignature(loaded, "A", method).arguments.map((a) => a.text),
      ["float[N, D]"],
    );
});

const trained = alias(
  "D = 3, lr = 0.5",
  "D",
  `param v: float[D] = 1
   train(x: float[N, D]) { loss size = sum(v * part(x)) optimize v with Sgd(lr: lr) }`,
);
test("a `train` makes a model of a layer, and trains what its lines name", () => {
  assert.equal(checkAll(loadText(trained)), []);
  const o = run(trained, { method: "train", inputs: { x }, precision: "f32" });
  near([...(o.values.get("loss size")?.data ?? [])], [flat.reduce((sum, v) => sum + 2 * v, 0)], 1e-6);
  const after = stepped(o, { v: [1, 2, 3] });
  assert.equal(after.get("v"), [0.5, 0, -0.5]);
  assert.not.ok(after.has("w"));
});
test("selectors take the alias's name and that of its layer", () => {
  for (const name of ["A", "Base", "w"]) {
    const text = trained.replace("optimize v", `optimize ${name}`);
    assert.equal(checkAll(loadText(text)), []);
    const o = run(text, { method: "train", inputs: { x }, precision: "f32" });
    const [first] = o.elaboration.entries;
    const found = (first?.training?.trainable ?? []).map((t) => t.store.name);
    assert.equal(found, name === "w" ? ["w"] : ["w", "v"]);
  }
});
const allErrors = (text: string): string[] => checkAll(loadText(text)).map((d) => `${d.code} ${d.message}`);
test("what cannot be trained is found by `moec check`, and blamed on the body", () => {
  assert.equal(allErrors(trained.replace("optimize v", "optimize v.a")), ["E0501 `v.a` selects no parameter"]);
  assert.equal(allErrors(trained.replace("optimize v with", "optimize with none optimize v with")).length, 1);
  assert.equal(allErrors(trained.replace(/loss size = /, "let y = ")), ["E0412 `train` has no loss"]);
  assert.equal(allErrors(trained.replace(/optimize v with Sgd\(lr: lr\)/, "")), ["E0412 `train` has no optimizer"]);
});
test("without defaults for the header, too: losses of a `train` that is replaced do not count", () => {
  const text = `${base} model M(D) = Base(D) { train(x: float[N, D]) { loss a = sum(part(x)) optimize with Sgd() } }
    model N(D) = M(D) { train(x: float[N, D]) { loss b = sum(part(x)) optimize w with Sgd() } }`;
  assert.equal(allErrors(text), []);
  assert.equal(allErrors(text.replace("loss b = sum(part(x))", "")), ["E0412 `train` has no loss"]);
});
test("of a `train` under an `if` and the one that it may replace, both count", () => {
  const text = `import { Gpt } from "std/models/gpt" import { cross_entropy } from "std/loss" import { AdamW } from "std/optim"
    model A(mine = false) = Gpt() { if mine { train(tokens: i32[B, T], targets: i32[B, T]) { loss mine = cross_entropy(forward(tokens), targets) optimize with AdamW() } } }
    model B(one = false) = A() { if one { train(tokens: i32[B, T], targets: i32[B, T]) { loss one = 2 * cross_entropy(forward(tokens), targets) optimize with AdamW() } } }`;
  assert.equal(ownLosses(loadText(text), "A"), ["mine", "language"]);
  assert.is(isInNats(loadText(text), "A"), true);
  assert.equal(ownLosses(loadText(text), "B"), ["one", "mine", "language"]);
  assert.is(isInNats(loadText(text), "B"), false);
});
test("losses and their unit are read from the `train` that counts, with its module's names", () => {
  const text = `import { Gpt } from "std/models/gpt" import { cross_entropy } from "std/loss" import { AdamW } from "std/optim"
    model A() = Gpt() { train(tokens: i32[B, T], targets: i32[B, T]) { loss mine = cross_entropy(forward(tokens), targets) optimize with AdamW() } }`;
  assert.equal(ownLosses(loadText(text), "A"), ["mine"]);
  assert.is(isInNats(loadText(text), "A"), true);
  assert.is(isInNats(loadText(text.replace("mine = ", "mine = 2 * ")), "A"), false);
  const other = text.replace(
    'import { cross_entropy } from "std/loss"',
    "fn cross_entropy(x: float[B, T, V], y: i32[B, T]) -> float { return sum(x) }",
  );
  assert.is(isInNats(loadText(other), "A"), false);
});

const part = (text: string): string => alias("D", "D", text);
for (const [name, text, expected] of [
  [
    "another name",
    part("part(y: float[N, D]) -> float[N, D] { return y }"),
    "argument 0 is `x: float[N, D]` there, and `y: float[N, D]` here",
  ],
  [
    "too few",
    part("part() -> float[3, D] { let y: float[3, D] = 0 return y }"),
    "argument 0 is `x: float[N, D]` there, and missing here",
  ],
  ["more, without a default", part("part(x: float[N, D], by) -> float[N, D] { return by * x }"), "`part` needs `by`"],
  [
    "another dtype",
    part("part(x: f32[N, D]) -> float[N, D] { return x }"),
    "`x: float[N, D]` there is `x: f32[N, D]` here",
  ],
  [
    "another dtype of the result",
    part("part(x: float[N, D]) -> f32[N, D] { return x }"),
    "it returns float[N, D] there, and f32[N, D] here",
  ],
  [
    "another number of results",
    part("part(x: float[N, D]) -> (float[N, D], float[N, D]) { return x, x }"),
    "there it has 1 result, and here 2",
  ],
  [
    "another shape",
    part("part(x: float[N, D]) -> float[D, N] { return transpose(x, 0, 1) }"),
    "the result of `part` needs float[N, D], not [D, N]",
  ],
  [
    "a narrower argument",
    alias("", "3", "part(x: float[2, 3]) -> float[2, 3] { return x }"),
    "`x` of `part` needs float[2, 3], not [N, 3]",
  ],
] as const)
  test(`a method that others call keeps its types: ${name}`, () => {
    const [error, ...more] = errorsIn(text);
    assert.equal([error?.code, more], ["E0414", []]);
    assert.is(error?.message, "`forward` cannot call this `part` in place of the layer's");
    assert.equal(error?.notes, [expected]);
    assert.equal(
      error?.labels.map((l) => l.span.source.text.slice(l.span.start, l.span.end)),
      ["part", "part"],
    );
    assert.ok((error?.labels[0].span.start ?? 0) > (error?.labels[1]?.span.start ?? 0));
  });
test("a parameter's default is a part of the types", () => {
  const text = `layer B(D) { part(x: float[N, D], by = 1) -> float[N, D] { return by * x } forward(x: float[N, D]) -> float[N, D] { return part(x) } }
    layer A(D) = B(D) { part(x: float[N, D], by) -> float[N, D] { return by * x } }`;
  assert.equal(
    errorsIn(text).map((d) => d.notes),
    [["`by` has a default there, and none here"]],
  );
});
test("a size of the layer's header in a result is a new one, which the error says", () => {
  const text = `layer B(D, V) { head(x: float[N, D]) -> float[N, V] { let y: float[N, V] = 0 return y } forward(x: float[N, D]) -> float[N, V] { return head(x) } }
    layer A() = B(3, 5) { head(x: float[N, 3]) -> float[N, V] { let y: float[N, 5] = 0 return y } }`;
  const [error] = errorsIn(text);
  assert.equal([error?.code, error?.help.startsWith("the layer's header is not seen here: have `V`")], ["E0414", true]);
});
for (const [name, text] of [
  ["more, with a default", part("part(x: float[N, D], by = 2) -> float[N, D] { return by * x }")],
  ["wider sizes", part("part(x: float[...S, D]) -> float[...S, D] { return x }")],
  ["others, if nothing calls it", part("forward(tokens: i32[N]) -> i32[N] { return tokens }")],
  [
    "others, if what calls it is replaced",
    part("part(x: float[N]) -> float[N] { return x } forward(x: float[N]) -> float[N] { return part(x) }"),
  ],
] as const)
  test(`types of a method that replaces one: ${name}`, () => assert.equal(codesIn(text), []));
const twice = (name: string): string => part(`${name}(x: float[N, D]) -> float[N, D] { return 2 * x }`);
test("a method that nothing calls must not have nearly the name of one that it may be meant to replace", () => {
  for (const name of ["foward", "froward", "forwrd", "fforward", "Forward"]) {
    const [error, ...more] = errorsIn(twice(name));
    assert.equal([error?.code, more], ["E0415", []], name);
    assert.match(error?.help ?? "", "write `forward`");
  }
  for (const name of ["forward2", "forwards", "backward", "party", "past"])
    assert.equal(codesIn(twice(name)), [], name);
  assert.equal(codesIn(part("param foward: f32[D] = 0")), []); // no method
  assert.equal(
    codesIn(`${twice("foward")} layer C(D) { a: A(D) own(x: float[N, D]) -> float[N, D] { return a.foward(x) } }`),
    [],
  );
});
for (const [name, body] of [
  ["itself", "part(x: float[N, D]) -> float[N, D] { return 2 * part(x) }"],
  ["itself, by the layer's methods", "part(x: float[N, D]) -> float[N, D] { return 2 * forward(x) }"],
  [
    "itself, by both",
    "part(x: float[N, D]) -> float[N, D] { return more(x) } more(x: float[N, D]) -> float[N, D] { return forward(x) }",
  ],
] as const)
  test(`a method that calls ${name}`, () => {
    const found = errorsIn(part(body));
    assert.equal(
      found.map((d) => d.code),
      ["E0308"],
    );
    assert.match(found[0]?.help ?? "", "none the one that it replaces");
  });
const calling = (name: string, calls: string): string => `${name}(x: f32[2]) -> f32[2] { return ${calls} }`;
test("methods of the layer that call each other for ever are errors of the layer, also where the body calls them", () => {
  const base = `layer Round() { ${calling("there", "back(x)")} ${calling("back", "there(x)")} ${calling("forward", "x")} }`;
  const found = codesIn(`${base} layer A() = Round() { ${calling("forward", "there(x)")} }`);
  assert.ok(found.length > 0 && found.every((code) => code === "E0308"), found.join());
});
for (const [text, code, help] of [
  ["layer A(D) = Base(D)\n part(x: float[N, D]) -> float[N, D] { return x }", "E0101", "stands in braces"],
  ["layer A(D) = Base(D) { override part(x: float[N, D]) -> float[N, D] { return x } }", "E0101", "without a word"],
  [
    "layer A(D) = Base(D) { part(x: float[N, D]) -> float[N, D] { return super.part(x) } }",
    "E0301",
    "cannot be called",
  ],
  ["layer A(D) = Base { more(x: float[N, D]) -> float[N, D] { return x } }", "E0307", "write `layer A(D) = B("],
] as const)
  test(`what others write: ${text.slice(0, 40)}`, () => {
    const [error, ...more] = errorsIn(`${base} ${text}`);
    assert.equal([error?.code, more], [code, []]);
    assert.match(error?.help ?? "", help);
  });
test("a function that has the name of an added method is not that method", () => {
  assert.equal(codesIn(part("outer(x: float[N, D]) -> float[N, D] { return forward(x) }")), []);
});
test("a layer that a loop or a `let` gives the name of a method is not that method", () => {
  const text = `layer One(D) { param w: float[D] = 2 forward(x: float[N, D]) -> float[N, D] { return w * x } }
    layer Chain(D) { ones: One(D)[2] forward(x: float[N, D]) -> float[N, D] { for one in ones { x = one(x) } return x } }
    model A(D = 3) = Chain(D) {
      one(x: float[N, D]) -> float[N, D] { for one in ones { x = one(x) } let one = ones[0] return one(x) }
      again(x: float[N, D], index: i32[N]) -> float[N, D] { return again(x, index) }
    }`;
  assert.equal(codesIn(text), ["E0308"]);
  near(
    output(text.replace("{ return again(x, index) }", "{ return x }"), { method: "one", inputs: { x } }),
    flat.map((v) => 8 * v),
  );
});
test("a layer of the same kind inside is not a recursion", () => {
  const text = part("inner: Base(D)  part(x: float[N, D]) -> float[N, D] { return inner(x) }");
  assert.equal(codesIn(text), []);
  near(
    output(text, { sizes: { D }, inputs: { x } }),
    flat.map((v) => 2 * v + 220),
  );
});
for (const [name, body] of [
  ["two members", "w: Base(D)"],
  ["a method for a parameter", "w(x: float[N, D]) -> float[N, D] { return x }"],
  ["a parameter for a method", "param part: float[D] = 0"],
] as const)
  test(`a name twice: ${name}`, () => {
    const [error, ...more] = errorsIn(part(body));
    assert.equal([error?.code, more.map((d) => d.code)], ["E0302", []]);
    assert.ok((error?.labels[0].span.start ?? 0) > (error?.labels[1]?.span.start ?? 0));
  });
test("errors of a body are found once, with the sizes of the alias's header", () => {
  const body = "part(x: float[N, D]) -> float[N, D] { return x @ x } more(x: float[N, D]) -> float[N, D] { return y }";
  assert.equal(
    codesIn(
      `${part(body)} model C() = A(3) model E() = A(4) { third(x: float[N, 4]) -> float[N, 4] { return forward(x) } }`,
    ),
    ["E0203", "E0301"],
  );
  assert.is(
    codeOf(() =>
      output(part("part(x: float[N, D]) -> float[N, D] { return x + at }"), { sizes: { D }, inputs: { x } }),
    ),
    "E0301",
  );
});
test("after an error of syntax in one method the others are checked", () => {
  const text = part(
    "part(x: float[N, D]) -> float[N, D] { let y = = 2 return y }\n more(x: float[N, D]) -> float[N, D] { return q }",
  );
  assert.equal(codesIn(text), ["E0101", "E0301"]);
});
test.run();
