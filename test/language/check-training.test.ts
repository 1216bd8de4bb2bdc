// What `moec check` finds in training steps, and what it leaves to the sizes of a batch.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { textOf } from "../../compiler/check/errors.ts";
import { checkFile, checkText } from "../../runtime/check.ts";
import { project } from "../project.ts";

const test = suite("check-training");
const training = (model: string): string => `import { AdamW, Sgd } from "std/optim" import { Linear } from "std/nn"
  layer Scored(D) { a: Linear(D, D) forward(x: f32[N, D]) -> f32[N, D] { loss size = mean(x) return a(x) } }
  layer Outer(D, inner: f32[N, D] -> f32[N, D]) { inner: inner forward(x: f32[N, D]) -> f32[N, D] { return inner(x) } }
  optimizer Narrow() { apply(param: f32[R, C], grad: f32[R, C]) { update param = param - grad } }
  optimizer Whole() {
    apply(param: f32[R, C], grad: f32[R, C]) { update param = param - grad * total(sum(grad[:1] * param)) }
    apply(param: f32[R], grad: f32[R]) { update param = param - grad }
  }
  model M(${model}`;
const allErrors = (text: string): string[] => checkText("test.moe", text).map((d) => `${d.code} ${d.message}`);
for (const [model, ...expected] of [
  ["D) { a: Linear(D, D) train(x: f32[N, D]) { let y = a(x) optimize with Sgd() } }", "E0412 `train` has no loss"],
  ["D = 4) { a: Linear(D, D) train(x: f32[N, D]) { let y = a(x) optimize with Sgd() } }", "E0412 `train` has no loss"],
  ["D) { a: Linear(D, D) train(x: f32[N, D]) { loss a = mean(a(x)) } }", "E0412 `train` has no optimizer"],
  ["D = 4) { a: Linear(D, D) train(x: f32[N, D]) { loss a = mean(a(x)) } }", "E0412 `train` has no optimizer"],
  ["D) { a: Outer(D, Scored(D)) train(x: f32[N, D]) { let y = a(x) if D > 2 { optimize with Sgd() } } }"],
  ["D = 4) { a: Outer(D, Scored(D)) train(x: f32[N, D]) { let y = a(x) optimize with Sgd() } }"],
  [
    "D = 4) { a: Scored(D) train(x: f32[N, D]) { let y = a(x) optimize a.a.wieght with Sgd() } }",
    "E0501 `a.a.wieght` selects no parameter",
  ],
  [
    "D = 4) { a: Linear(D, D, true) train(x: f32[N, D]) { loss a = mean(a(x)) optimize with Narrow() } }",
    "E0502 no `apply` of `Narrow` fits `a.bias`: f32[4]",
  ],
  ["D, f: (f32[N, D] -> f32[N, D])[2]) { f: f train(x: f32[N, D]) { let y = f[0](x) optimize with Sgd() } }"],
  ["D = 4) { a: Linear(D, D) train(x: f32[N, D]) { if N > 99 { loss a = mean(a(x)) } optimize with Sgd() } }"],
  [
    "D = 4, K = 6) { a: Linear(D, D) train(x: f32[N, D]) { let (s, i) = top_k(a(x), K) loss a = mean(s) optimize with Sgd() } }",
    "E0210 there are no 6 largest of 4",
  ],
  // of rows: a batch of 2000 has them
  [
    "D = 4, K = 1800) { a: Linear(D, D) train(x: f32[N, D]) { let (s, i) = top_k(mean(a(x), axis: -1), K) loss a = mean(s) optimize with Sgd() } }",
  ],
  // an index among rows: at most 32 fit
  [
    "D = 4) { a: Linear(D, D)[32] train(x: f32[N, D]) { let (s, i) = top_k(mean(x, axis: -1), 2) loss a = mean(a[i](x[:2])) optimize with Sgd() } }",
  ],
  [
    "D = 4) { a: Linear(D, D)[2] train(x: f32[N, D]) { let (s, i) = top_k(x, 2) loss a = mean(a[i](x)) optimize with Sgd() } }",
    "E0413 the index chooses among 4, and there are 2 layers",
  ],
  [
    "D = 4) { a: Linear(D, D) train(x: f32[...S, D]) { loss a = mean(a(x)) optimize with Sgd() optimize a with Sgd() } }",
    "E0505 no parameter is left for this line: those above take all that it selects",
  ],
  [
    "D = 4) { a: Linear(D, D, true) train(x: f32[N, D]) { loss a = mean(a(x)) optimize with Whole() } }",
    "E0504 `total` sums over all trained parameters, and the rule that it stands in does not fit `a.bias`: f32[4]",
  ],
  [
    "D = 4) { a: Linear(D, D, true) b: Linear(D, D, true) train(x: f32[N, D]) { loss a = mean(b(a(x))) optimize a with Sgd() optimize b with Narrow() } }",
    "E0502 no `apply` of `Narrow` fits `b.bias`: f32[4]",
  ],
  // at most 100 rows fit
  [
    "D = 4) { a: Linear(D, D) param p: f32[100] = 0 train(x: f32[N, D]) { loss a = mean(a(x) * p[0:N, new]) optimize a.wieght with Sgd() } }",
    "E0501 `a.wieght` selects no parameter",
  ],
  // found with a batch that fits
  [
    "D = 4) { a: Linear(D, D) train(x: f32[N, D]) { let y: f32[N / 128, 128, D] = reshape(x, [N / 128, 128, D]) loss a = mean(a(y)) optimize a.wieght with Sgd() } }",
    "E0501 `a.wieght` selects no parameter",
  ],
  // only larger batches fit, which is no error of the program
  [
    "D = 4) { a: Linear(D, D) train(x: f32[N, D]) { let y: f32[N / 128, 128, D] = reshape(x, [N / 128, 128, D]) loss a = mean(a(y)) optimize with Sgd() } }",
  ],
  ["D = 4) { a: Linear(D, D) evaluate(x: f32[N, D]) { loss a = mean(a(x)) } }"],
  [
    "D = 4, H = 3) { a: Linear(D, D / H) train(x: f32[N, D]) { loss a = mean(a(x)) optimize with Sgd() } }",
    "E0211 D / H is 1.3333333333333333, which is not a size",
  ],
  [
    "D = 4) { a: Linear(D, D) param book: f32[2, D] = 1 train(x: f32[N, D]) { let (s, i) = top_k(a(x), 1) loss a = mean(book[i]) optimize with Sgd() } }",
    "E0216 the index chooses among 4, and there are 2 rows",
  ],
  // rows of at most 8
  [
    "D = 4, C = 8) { place: Linear(C, D) train(x: f32[N, T, D]) { loss a = mean(x + place.weight[range(T)]) optimize with Sgd() } }",
  ],
  [
    "D = 4) { a: Linear(D, D)[2] forward(x: f32[N, D]) -> f32[N, 2, D] { let (s, i) = top_k(x, 2) return a[i](x) } }",
    "E0413 the index chooses among 4, and there are 2 layers",
  ],
  // only multiples of 3, or of over 300 rows, fit
  [
    "D = 4) { a: Linear(D, D) train(x: f32[N, D]) { loss a = mean(a(x)) + mean(reshape(x, [N / 3, 3 * D])) + mean(x[N - 300:]) optimize with Sgd() } }",
  ],
] as const)
  test(`a training step: ${expected.join() || model.slice(0, 40)}`, () =>
    assert.equal(allErrors(training(model)), expected));
// of equal layers one is elaborated: not where a call depends on more than types
const twice = (body: string): string =>
  training(`D = 4) { a: Linear(D, D)[2] pick: Picked(D)[2] kept: Kept(D)[2] near: Near(D)[2] few: Few()[2] counted: Counted(D)[2] most: Most(D)[2] pair: Pair(D)[2]
    wide: Wide(D)[2] rows: Rows(D)[2]
    train(x: f32[N, D]) { ${body} optimize with Sgd() } }
    layer Picked(D) { a: Linear(D, D) forward(x: f32[N, D]) -> i32[N, 1] { let (s, i) = top_k(a(x), 1) return i }
      low(x: f32[N, D]) -> bool[N, 1] { let (s, i) = top_k(a(x), 1) return i < 2 } }
    layer Most(D) { forward(x: f32[N, D], K) -> f32 { let (s, i) = top_k(x, K) return sum(s) } }
    layer Pair(D) { param table: f32[3, D] = 0
      forward(few: f32[A], many: f32[B]) -> f32 { return mean(table[range(A)]) + mean(few) + mean(many) } }
    layer Wide(D) { of(x: f32[N, D], W) -> f32[W] { let y: f32[W] = mean(x) return y } }
    layer Rows(D) { forward(table: f32[3, D]) -> f32 { return mean(table[range(4)]) } }
    layer Few() { forward(at: i32[N, 1]) -> bool[N, 1] { return at < 2 } }
    layer Counted(D) { forward(hot: f32[N, D]) -> f32[D] { let ones: f32[N] = 1 return ones @ hot } }
    layer Kept(D) { state place: i32[3] = 0 param table: f32[3, D] = 0
      put(x: f32[N, D]) -> f32[N, D] { update place = range(3) + 1 return x }
      forward(x: f32[N, D]) -> f32[N, D] { return x + mean(table[place]) } }
    layer Near(D) { param table: f32[5, D] = 0 forward(x: f32[N, D], at: i32[T]) -> f32[N, D] { return x + mean(table[at]) } }`);

for (const [body, expected] of [
  ["let i = pick[0](x) loss a = mean(a[pick[1](x)](x))", "E0413 the index chooses among 4, and there are 2 layers"],
  [
    "let y = kept[0](x) let z = kept[1](kept[1].put(y)) loss a = mean(z)",
    "E0216 the index goes up to 3, and `kept.1.table` has 3 rows",
  ],
  [
    "let y = near[0](x, range(4)) let z = near[1](y, range(4) + 2) loss a = mean(z)",
    "E0216 the index goes up to 5, and `near.1.table` has 5 rows",
  ],
  ["let y = near[0](x, range(4)) loss a = mean(near[1](y, range(4)))", ""],
  ["loss a = most[0](x, 2) + most[1](x, 9)", "E0210 there are no 9 largest of 4"],
  [
    "let u: f32[3] = mean(x) let v: f32[5] = mean(x) loss a = pair[0](few: u, many: v) + pair[1](many: u, few: v)",
    "E0216 the index goes up to 4, and `pair.1.table` has 3 rows",
  ],
  [
    "let u: f32[3] = wide[0].of(x) let v: f32[5] = wide[1].of(x) loss a = mean(u) + mean(v) + mean(a[pick[0](x)](x))",
    "E0413 the index chooses among 4, and there are 2 layers",
  ],
  [
    "let u: f32[3, D] = mean(x) loss a = rows[0](u) + rows[1](kept[1].table)",
    "E0216 the index goes up to 3, and `kept.1.table` has 3 rows",
  ],
  [
    "let u: i32[6] = i32(mean(x)) loss a = mean(near[1](near[0](x, u), concat([u[:1], range(6)[1:]], axis: 0)))",
    "E0216 the index goes up to 5, and `near.1.table` has 5 rows",
  ],
  // a choice that is tested by what an equal call returns
  ["let i = pick[0](x) loss a = mean(f32(few[0](1 * i))) + mean(a[where(few[1](1 * i), i, -1)](x))", ""],
  ["let i = pick[0](x) loss a = mean(a[where(pick[0].low(x), i, -1)](x))", ""],
  // what all chose together does not test one
  [
    "let i = pick[0](x) let hot = f32(i == range(D)) loss a = mean(counted[0](hot)) + mean(a[where(counted[1](hot)[i] < 9, i, -1)](x))",
    "E0413 the index chooses among 4, and there are 2 layers",
  ],
] as const)
  test(`equal layers: ${body.slice(0, 40)}`, () => assert.is(allErrors(twice(body)).join(), expected));
const withSelector = (selector: string): string =>
  training(`D, f: f32[N, D] -> f32[N, D]) { a: Scored(D) many: Scored(D)[2] if D > 2 { wide: Linear(D, D) } given: f
    train(x: f32[N, D]) { loss a = missing(x) optimize ${selector} with Sgd() } }`);
const selectorHelp = (selector: string): string => checkText("test.moe", withSelector(selector))[1]?.help ?? "";
test("a selector of no parameter is told with the other errors, with the name that was meant", () => {
  const missing = "E0301 nothing is called `missing` here";
  for (const right of [
    "a",
    "a.a",
    "a.a.weight",
    "many.a.weight",
    "wide.weight",
    "given.any.thing",
    "Scored",
    "Linear.weight",
  ])
    assert.equal(allErrors(withSelector(right)), [missing], right);
  for (const wrong of ["a.a.wieght", "a.b", "many.a.wieght", "a.a.weight.more", "a.forward", "wide.wieght"])
    assert.equal(allErrors(withSelector(wrong)), [missing, `E0501 \`${wrong}\` selects no parameter`], wrong);
  assert.is(selectorHelp("many.a.wieght"), "did you mean `many.a.weight`?");
  assert.not.match(selectorHelp("a.forward"), "forward");
});
test("each selector of a line that is wrong is told, and its optimizer", () => {
  assert.equal(allErrors(withSelector("a.b, many.b").replace("Sgd()", "AdamW(learning_rate: 1)")).slice(1), [
    "E0501 `a.b` selects no parameter",
    "E0501 `many.b` selects no parameter",
    "E0305 `AdamW` takes no argument `learning_rate`",
  ]);
});
test("the models of the examples can be trained, and an alias of one that cannot is not reported twice", () => {
  for (const file of ["gpt-moe", "lora"]) assert.equal(checkFile(join(project, `examples/${file}.moe`)), []);
  for (const header of ["(D)", "(D = 4)"]) {
    const text = `${header.slice(1)} { a: Linear(D, D) train(x: f32[N, D]) { optimize with Sgd() } } model Alias${header} = M(D)`;
    assert.equal(allErrors(training(text)), ["E0412 `train` has no loss"], header);
  }
});
test("of aliases each is told what it makes wrong, with its name where all else is the library's", () => {
  const text = `import { GptMoE } from "std/models/gpt" import { TopKGate } from "std/gates"
    model A() = GptMoE(E: 4, gate: TopKGate(64, 8, 2)) model B() = GptMoE(E: 6, gate: TopKGate(64, 8, 2)) model C() = GptMoE()`;
  const found = checkText("test.moe", text);
  assert.equal(
    found.map((d) => [d.message, d.labels.at(-1)?.text, textOf(d.labels.at(-1)?.span ?? d.labels[0].span)]),
    [4, 6].map((n, i) => [`the index chooses among 8, and there are ${n} layers`, "of this model", "AB"[i]]),
  );
});
test.run();
