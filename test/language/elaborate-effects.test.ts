// States, losses, metrics and the optimizer, as elaboration builds them: compared with hand arithmetic, in f64.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { codeOf, near, numbers, output, run, stepped } from "./elaborate-text.ts";

const test = suite("elaborate-effects");

test("states: what follows reads the new value, what came before the old", () => {
  const text = `layer Count(D) { state n: f32[D] = 3 forward(x: f32[D]) -> (f32[D], f32[D]) { let before = n update n = n + x return before, n } }
    model M(D = 2) { c: Count(D) forward(x: f32[D]) -> (f32[D], f32[D]) { let (a, b) = c(x) let (d, e) = c(x) return b + d, e } }`;
  const o = run(text, { inputs: { x: [1, 2] } });
  near([...(o.values.get("output 0")?.data ?? [])], [8, 10]);
  near([...(o.values.get("output 1")?.data ?? [])], [5, 7]);
  near([...(o.values.get("store c.n")?.data ?? [])], [5, 7]);
  assert.is(o.elaboration.stores().find((s) => s.name === "c.n")?.saved, true);
});
test("a method's state has the call's sizes and is the entry's own", () => {
  const text =
    "model M(D = 2) { forward(x: f32[N, D]) -> f32[N, D] { state m: f32[N, D] = 1 update m = m + x return m } }";
  const o = run(text, {
    inputs: {
      x: [
        [1, 2],
        [3, 4],
      ],
    },
    sizes: { N: 2 },
  });
  near([...(o.values.get("store forward/m")?.data ?? [])], [2, 3, 4, 5]);
  assert.is(o.elaboration.stores().find((s) => s.name === "forward/m")?.saved, false);
});
test("losses and metrics are named by path", () => {
  const text = `layer L(D) { forward(x: f32[D]) -> f32[D] { loss z = sum(x) metric m = 2 * x return x + 1 } }
    model M(D = 2) { blocks: L(D)[2] forward(x: f32[D]) -> f32[D] { for b, i in blocks { x = b(x) + i } loss own = 1 return x } }`;
  const o = run(text, { inputs: { x: [1, 2] } });
  near([...(o.values.get("loss blocks.0.z")?.data ?? [])], [3]);
  near([...(o.values.get("loss blocks.1.z")?.data ?? [])], [5]);
  near([...(o.values.get("metric blocks.1.m")?.data ?? [])], [4, 6]);
  near([...(o.values.get("loss own")?.data ?? [])], [1]);
});
test("effects in experts[:] are each layer's", () => {
  const text = `layer L(D) { state n: f32 = 0 forward(x: f32[...S, D]) -> f32[...S, D] { loss z = sum(x) update n = sum(x) metric m = x return 2 * x } }
    model M(D = 1, E = 2) { ls: L(D)[E] forward(x: f32[E, D]) -> f32[E, D] { return ls[:](x) } }`;
  const o = run(text, { inputs: { x: [[1], [2]] } });
  near([...(o.values.get("output 0")?.data ?? [])], [2, 4]);
  near([...(o.values.get("loss ls.1.z")?.data ?? [])], [2]);
  near([...(o.values.get("store ls.*.n")?.data ?? [])], [1, 2]);
  near([...(o.values.get("metric ls.1.m")?.data ?? [])], [2]);
});
test("training, generating and step", () => {
  const text = `model M(D = 1) { param w: f32[D] = 1 forward(x: f32[D]) -> f32[D] { if training { return x + step } if generating { return x * 10 } return x }
    train(x: f32[D]) { loss z = sum(w * forward(x)) optimize with Sgd() } generate(x: f32[D]) -> f32[D] { return forward(x) } }
    optimizer Sgd(lr = 1) { apply(param: f32[...S], grad: f32[...S]) { update param = param - lr * grad } }`;
  near(output(text, { method: "train", inputs: { x: [2] }, step: 5 }, "loss z"), [7]);
  near(output(text, { method: "train", evaluates: true, inputs: { x: [2] }, step: 5 }, "loss z"), [2]);
  near(output(text, { method: "generate", inputs: { x: [2] } }), [20]);
});

const trained = `
model M(D = 2, E = 2) { embed: W(D) blocks: B(D)[E] experts: W(D)[E] frozen: W(D)
  forward(x: f32[D]) -> f32[D] { for b in blocks { x = b(x) } let i: i32[1] = 0 return embed(x) + experts[i](x)[0] + frozen(x) }
  train(x: f32[D]) { loss z = sum(forward(x)) optimize embed with Sgd(lr: 10) optimize frozen with none optimize with Sgd(lr: 0.5) } }
layer W(D) { param w: f32[D, D] = 1 param b: f32[D] = 2 forward(x: f32[...S, D]) -> f32[...S, D] { return x @ w + b } }
layer B(D) { w: W(D) forward(x: f32[D]) -> f32[D] { return w(x) } }
optimizer Sgd(lr = 1) {
  apply(param: f32[...S, R, C], grad: f32[...S, R, C]) { update param = param - lr * (smooth(grad) + param) }
  apply(param: f32[...S], grad: f32[...S]) { update param = param - lr * grad / total(sum(grad)) }
  smooth(g: f32[...S]) -> f32[...S] { state m: f32[...S] = 1 update m = m + g return m }
}`;
test("what one optimizer sums over all parameters gives those of another no states of its own", () => {
  const text = `model M(D = 2) { param a: f32[D] = 1 param b: f32[D] = 1
    train(x: f32[D]) { loss z = sum(a * b * x) optimize a with Kept() optimize b with Plain() } }
    optimizer Plain() { apply(param: f32[...S], grad: f32[...S]) { update param = param - grad } }
    optimizer Kept() { apply(param: f32[...S], grad: f32[...S]) {
      state m: f32[...S] = 0 update m = m + grad / total(sum(grad * grad)) update param = param - m } }`;
  const o = run(text, { method: "train", inputs: { x: [1, 2] } });
  near(stepped(o, { a: [1, 2], b: [1, 2] }).get("a.m") ?? [], [0.1, 0.2]);
  assert.equal(
    o.elaboration
      .stores()
      .filter((s) => s.role === "optimizer")
      .map((s) => s.name),
    ["a.m"],
  );
  const summed = text.replace("sum(grad * grad)", "sum(grad + m)");
  assert.is(
    codeOf(() => stepped(run(summed, { method: "train", inputs: { x: [1, 2] } }), {})),
    "E0504",
  );
  const both = summed.replace("{ update param = param - grad }", "{ state m: f32[...S] = 0 update param = param - m }");
  const after = stepped(run(both, { method: "train", inputs: { x: [1, 2] } }), { a: [1, 2], b: [1, 1] });
  near(after.get("a.m") ?? [], [0.2, 0.4]);
  // `b` reaches one of the two totals itself, by another rule than that which gives its term of the other
  const shared = `${text.replace("/ total", "/ added(sum(grad)) / total").replace("- grad }", "- grad / added(2 * sum(grad)) }")}
    fn added(s: f32) -> f32 { return total(s) }`;
  const two = stepped(run(shared, { method: "train", inputs: { x: [1, 2] } }), { a: [1, 2], b: [3, 4] });
  near(two.get("b") ?? [], [1 - 3 / 17, 1 - 4 / 17]);
});
const sharing = (body: string): Map<string, number[]> => {
  const text = `model M(D = 2) { param a: f32[D] = 1 param b: f32[D] = 1
    train(x: f32[D]) { loss z = sum(a * b * x) optimize a with Shares() optimize b with Shares() } }
    optimizer Shares() { apply(param: f32[...S], grad: f32[...S]) { ${body} }
      share(g: f32[...S]) -> f32[...S] { return g / total(sum(g)) } }`;
  return stepped(run(text, { method: "train", inputs: { x: [1, 2] } }), { a: [1, 2], b: [3, 4] });
};
test("each call of a function that sums over all parameters, and each round of a loop, has a sum of its own, which the next may need", () => {
  const twice = sharing("update param = param - share(grad) - share(grad * grad)");
  near(
    ["a", "b"].flatMap((name) => twice.get(name) ?? []),
    [1, 2, 3, 4].map((g) => 1 - g / 10 - g ** 2 / 30),
  );
  const rounds = sharing("let x = grad for i in 0:2 { x = share(x * grad) } update param = param - x");
  near(
    ["a", "b"].flatMap((name) => rounds.get(name) ?? []),
    [1, 2, 3, 4].map((g) => 1 - g ** 3 / 100),
  );
  const circular = `model M(D = 2) { param a: f32[D] = 1 param b: f32[D, D] = 1
    train(x: f32[D]) { loss z = sum(x @ b * a) optimize with Turned() } }
    optimizer Turned() {
      apply(param: f32[R, C], grad: f32[R, C]) { update param = param - one(two(grad)) }
      apply(param: f32[R], grad: f32[R]) { update param = param - two(one(grad)) }
      one(g: f32[...S]) -> f32[...S] { return g / total(sum(g)) }
      two(g: f32[...S]) -> f32[...S] { return g / total(sum(g)) } }`;
  assert.is(
    codeOf(() => stepped(run(circular, { method: "train", inputs: { x: [1, 2] } }), {})),
    "E0504",
  );
});
test("each copy of a stack is updated by random numbers of its own", () => {
  const text = `layer W(D) { param w: f32[D] = 0 forward(x: f32[...S, D]) -> f32[...S, D] { return x + w } }
    model M(D = 2, E = 3) { experts: W(D)[E] others: W(D)[2]
      train(x: f32[1, D]) { let i: i32[1] = 0 for o in others { x = o(x) } loss z = sum(experts[i](x)) optimize with Noise() } }
    optimizer Noise() { apply(param: f32[N], grad: f32[N]) { update param = drawn(param) }
      drawn(x: f32[N]) -> f32[N] { return uniform([N]) } }`;
  const after = stepped(run(text, { method: "train", inputs: { x: [[1, 2]] } }), { "experts.*.w": numbers(6) });
  assert.equal([...after.keys()], ["experts.*.w", "others.0.w", "others.1.w"]);
  assert.is(new Set([...after.values()].flat()).size, 10);
});
test("the optimizer: rules by type, selectors, states, totals over all trained parameters, copies alone", () => {
  const o = run(trained, { method: "train", inputs: { x: [1, 2] } });
  const names = o.elaboration.entries[0]?.training?.trainable.map((t) => t.store.name) ?? [];
  assert.equal(names, [
    "embed.w",
    "embed.b",
    "blocks.0.w.w",
    "blocks.0.w.b",
    "blocks.1.w.w",
    "blocks.1.w.b",
    "experts.*.w",
    "experts.*.b",
  ]);
  const grads: Record<string, number[]> = Object.fromEntries(
    names.map((n, i) => [n, numbers(n.startsWith("experts") ? (n.endsWith("w") ? 8 : 4) : n.endsWith("w") ? 4 : 2, i)]),
  );
  const after = stepped(o, grads);
  const all = Object.values(grads)
    .flat()
    .reduce((s, v) => s + v, 0);
  for (const name of names) {
    const [lr, g] = [name.startsWith("embed") ? 10 : 0.5, grads[name] ?? []];
    near(
      after.get(name) ?? [],
      name.endsWith("w") ? g.map((v) => 1 - lr * (1 + v + 1)) : g.map((v) => 2 - (lr * v) / all),
      1e-9,
    );
    if (name.endsWith("w"))
      near(
        after.get(`${name}.smooth.m`) ?? [],
        g.map((v) => 1 + v),
      );
  }
  assert.is(after.has("frozen.w"), false);
});
const selecting = (
  lines: string,
) => `layer W(D) { param a: f32[D] = 1 param b: f32[D] = 1 forward(x: f32[D]) -> f32[D] { return a * x + b } }
    layer B(D) { w: W(D) forward(x: f32[D]) -> f32[D] { return w(x) } }
    model M(D = 2) { blocks: B(D)[2] last: W(D) forward(x: f32[D]) -> f32[D] { for b in blocks { x = b(x) } return last(x) } train(x: f32[D]) { loss z = sum(forward(x)) ${lines} } }
    optimizer Sgd(lr = 1) { apply(param: f32[...S], grad: f32[...S]) { update param = param - lr * grad } }`;
const trainedBy = (lines: string): string[] =>
  run(selecting(lines), { method: "train", inputs: { x: [1, 1] } }).elaboration.entries[0]?.training?.trainable.map(
    (t) => t.store.name,
  ) ?? [];
test("selectors: the first line that fits; a path, a layer's name with a path, none", () => {
  assert.equal(trainedBy("optimize blocks.w.a with Sgd()"), ["blocks.0.w.a", "blocks.1.w.a"]);
  assert.equal(trainedBy("optimize W.b with none optimize last, blocks with Sgd()"), [
    "blocks.0.w.a",
    "blocks.1.w.a",
    "last.a",
  ]);
  assert.equal(trainedBy("optimize B with Sgd()"), ["blocks.0.w.a", "blocks.0.w.b", "blocks.1.w.a", "blocks.1.w.b"]);
  assert.is(
    codeOf(() => trainedBy("optimize blocks.w.c with Sgd()")),
    "E0501",
  );
});
test.run();
