// What elaboration builds means what LANGUAGE says: compared with plain loops and hand arithmetic, in f64.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { elaborate, entrySignature, load, sizesFromInputs } from "../compiler/check/index.ts";
import { Problem, ProgramError } from "../compiler/diagnostic.ts";
import { at, type Numbers, near, numbers, output, run, shapeOf, stepped } from "./elaborated.ts";

const test = suite("elaborate");

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (error instanceof ProgramError) return error.diagnostics[0]?.code ?? "none";
    throw error;
  }
  return "none";
};

const mlp = `
layer Mlp(D, H) { param up: float[D, H] = gaussian([D, H])  param down: float[H, D] = gaussian([H, D])  param bias: float[D] = uniform([D])
  forward(x: float[...S, D]) -> float[...S, D] { return tanh(x @ up) @ down + bias } }
`;
type Expert = (row: readonly number[]) => number[];
/** The experts of stacked tensors, as loops. */
function experts(store: (name: string) => readonly number[], d: number, h: number): (e: number) => Expert {
  return (e) => (row) => {
    const hidden = Array.from({ length: h }, (_, j) =>
      Math.tanh(row.reduce((s, v, i) => s + v * at(store("up"), (e * d + i) * h + j), 0)),
    );
    return row.map(
      (_, i) =>
        hidden.reduce((s, v, j) => s + v * at(store("down"), (e * h + j) * d + i), 0) + at(store("bias"), e * d + i),
    );
  };
}
const mixture = (call: string, array = "Mlp(D, 3)[E]") => `${mlp} model M(D = 2, E = 3) { experts: ${array}
  forward(x: float[N, D], index: i32[N, K]) -> float[N, K, D] { return ${call} } }`;
const index = [
  [0, 2],
  [-1, 1],
  [1, 1],
  [2, 3],
  [0, -5],
];
const rows = Array.from({ length: 5 }, (_, n) => numbers(2, n));
function expectedMixture(expert: (e: number) => Expert, known: number): number[] {
  return rows.flatMap((row, n) => (index[n] ?? []).flatMap((e) => (e >= 0 && e < known ? expert(e)(row) : [0, 0])));
}
test("experts[index](x): the plain meaning, none gives zeros", () => {
  const o = run(mixture("experts[index](x)"), { inputs: { x: rows, index }, sizes: { N: 5, K: 2 } });
  const expert = experts((n) => [...(o.stores.get(`experts.*.${n}`)?.data ?? [])], 2, 3);
  assert.equal(shapeOf(o), [5, 2, 2]);
  near([...(o.values.get("output 0")?.data ?? [])], expectedMixture(expert, 3));
  const [a, c] = [o.stores.get("experts.*.up")?.data.slice(0, 6), o.stores.get("experts.*.up")?.data.slice(6, 12)];
  assert.not.equal(a, c, "each copy begins with numbers of its own");
});
test("experts[:](x) and experts[1](x)", () => {
  const text = `${mlp} model M(D = 2, E = 3) { experts: Mlp(D, 3)[E]
    forward(x: float[E, C, D]) -> (float[E, C, D], float[C, D]) { return experts[:](x), experts[1](x[1]) } }`;
  const o = run(text, { inputs: { x: numbers(12) }, sizes: { C: 2 } });
  const expert = experts((n) => [...(o.stores.get(`experts.*.${n}`)?.data ?? [])], 2, 3);
  const all = [0, 1, 2].flatMap((e) =>
    [0, 1].flatMap((c) => expert(e)(numbers(12).slice((e * 2 + c) * 2, (e * 2 + c) * 2 + 2))),
  );
  near([...(o.values.get("output 0")?.data ?? [])], all);
  near([...(o.values.get("output 1")?.data ?? [])], all.slice(4, 8));
});
test("an array of different layers, routed: each run on its own numbers", () => {
  const array = "[Mlp(D, 3), Twice(D)[2]]";
  const o = run(
    `layer Twice(D) { forward(x: float[...S, D]) -> float[...S, D] { return 2 * x } } ${mixture("experts[index](x)", array)}`,
    { inputs: { x: rows, index }, sizes: { N: 5, K: 2 } },
  );
  const own = experts((n) => [...(o.stores.get(`experts.0.${n}`)?.data ?? [])], 2, 3);
  near(
    [...(o.values.get("output 0")?.data ?? [])],
    expectedMixture((e) => (e === 0 ? own(0) : (row) => row.map((v) => 2 * v)), 3),
  );
});
test("arguments per choice, per row and for all", () => {
  const text = `layer Add(D) { param b: float[D] = uniform([D]) forward(x: float[...S, D], y: float[...S, D], z: float[D]) -> float[...S, D] { return x * y + z + b } }
    model M(D = 2, E = 3) { experts: Add(D)[E] forward(x: float[N, D], y: float[N, K, D], z: float[D], index: i32[N, K]) -> float[N, K, D] { return experts[index](x, y, z) } }`;
  const y = numbers(20, 9);
  const o = run(text, { inputs: { x: rows, y, z: [0.25, 0.5], index }, sizes: { N: 5, K: 2 } });
  const b = [...(o.stores.get("experts.*.b")?.data ?? [])];
  const expected = rows.flatMap((row, n) =>
    (index[n] ?? []).flatMap((e, k) =>
      row.map((v, d) => (e >= 0 && e < 3 ? v * at(y, (n * 2 + k) * 2 + d) + at([0.25, 0.5], d) + at(b, e * 2 + d) : 0)),
    ),
  );
  near([...(o.values.get("output 0")?.data ?? [])], expected);
});
test("a mixture inside an expert", () => {
  const text = `layer Leaf(D) { param w: float[D] = uniform([D]) forward(x: float[...S, D]) -> float[...S, D] { return x * w } }
    layer Inner(D, F) { leaves: Leaf(D)[F] param choice: float[D, F] = gaussian([D, F])
      forward(x: float[...S, D]) -> float[...S, D] { let (score, index) = top_k(x @ choice, 2) return sum(score[..., new] * leaves[index](x), axis: -2) } }
    model M(D = 2, E = 2, F = 3) { experts: Inner(D, F)[E] forward(x: float[N, D], index: i32[N, K]) -> float[N, K, D] { return experts[index](x) } }`;
  const o = run(text, { inputs: { x: rows, index }, sizes: { N: 5, K: 2 } });
  const [w, choice] = ["experts.*.leaves.*.w", "experts.*.choice"].map((n) => [...(o.stores.get(n)?.data ?? [])]) as [
    number[],
    number[],
  ];
  assert.is(o.stores.get("experts.*.leaves.*.w")?.shape.join(), "2,3,2");
  const expert =
    (e: number): Expert =>
    (row) => {
      const scores = [0, 1, 2].map((f) => row.reduce((s, v, d) => s + v * at(choice, (e * 2 + d) * 3 + f), 0));
      const best = [0, 1, 2].toSorted((p, q) => at(scores, q) - at(scores, p) || p - q).slice(0, 2);
      return row.map((v, d) => best.reduce((s, f) => s + at(scores, f) * v * at(w, (e * 3 + f) * 2 + d), 0));
    };
  near([...(o.values.get("output 0")?.data ?? [])], expectedMixture(expert, 2));
});
test("a layer given for an arrow, with its own header, and a function", () => {
  const text = `${mlp} layer Wrap(D, body: float[...S, D] -> float[...S, D], act: float[...S] -> float[...S] = tanh) { body: body forward(x: float[...S, D]) -> float[...S, D] { return act(body(x)) } }
    fn half(x: float[...S]) -> float[...S] { return x / 2 }
    layer Wide(D) = Mlp(D, 4 * D)
    model M(D = 2) { a: Wrap(D, Wide(D), half) b: Wrap(D, Wrap(D, half)) forward(x: float[N, D]) -> float[N, D] { return a(x) + b(x) } }`;
  const o = run(text, { inputs: { x: rows }, sizes: { N: 5 } });
  const expert = experts((n) => [...(o.stores.get(`a.body.${n}`)?.data ?? [])], 2, 8)(0);
  near(
    [...(o.values.get("output 0")?.data ?? [])],
    rows.flatMap((row) => expert(row).map((v, i) => v / 2 + Math.tanh(Math.tanh(at(row, i) / 2)))),
  );
});
test("tensors broadcast to what they are declared with", () => {
  near(
    output(
      "fn f(x: f32[N]) -> f32[N, 2] { let y: f32[2, N] = x let m: bool[N, 2] = true return where(m, transpose(y), 0) }",
      { declaration: "f", method: "f", inputs: { x: [1, 2] }, sizes: { N: 2 } },
    ),
    [1, 1, 2, 2],
  );
  near(
    output("fn f(x: f32[N], at: i32[2, N] = range(N)) -> f32[2, N] { return x * at }", {
      declaration: "f",
      method: "f",
      inputs: { x: [1, 2, 3] },
      sizes: { N: 3 },
    }),
    [0, 2, 6, 0, 2, 6],
  );
});

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
  assert.equal(o.elaboration.entries[0]?.stated, ["own"]);
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

test("precision: float parameters are read as the method's float, f32 stays f32, masters are f32", () => {
  const text = `model M(D = 2) { param w: float[D] = 0.3 forward(x: float[D]) -> float[D] { return x * w } gate(x: f32[D]) -> f32[D] { return x * w }
    train(x: float[D]) { loss z = sum(f32(forward(x))) optimize with Sgd() } }
    optimizer Sgd(lr = 1) { apply(param: f32[...S], grad: f32[...S]) { update param = param - lr * grad } }`;
  const bf16 = run(text, { precision: "bf16", inputs: { x: [1, 2] } });
  assert.is(bf16.values.get("output 0")?.dtype, "bf16");
  assert.is(bf16.stores.get("w")?.dtype, "bf16");
  assert.is(
    run(text, { precision: "bf16", method: "gate", inputs: { x: [1, 2] } }).values.get("output 0")?.dtype,
    "f32",
  );
  assert.is(run(text, { precision: "bf16", method: "train", inputs: { x: [1, 2] } }).stores.get("w")?.dtype, "f32");
  assert.is(
    run(text, { precision: "f64", method: "gate", inputs: { x: [1, 2] } }).values.get("output 0")?.dtype,
    "f64",
  );
});
const randomText = (space: string) => `layer R(D) { forward(x: f32[D]) -> f32[D] { ${space} return x + uniform([D]) } }
    model M(D = 3) { a: R(D) b: R(D) forward(x: f32[D]) -> f32[4, D] { let u = uniform([D]) ${space} let list = a(x) let y = b(x) let z = x for i in 0:2 { z = z + uniform([D]) } return concat([u[new], list[new], y[new], z[new]], axis: 0) } }`;
test("random numbers differ by place, layer and turn, and not by spaces or comments", () => {
  const inputs = { x: [0, 0, 0] };
  const first = output(randomText(""), { inputs });
  assert.equal(output(randomText("// more\n\n  "), { inputs }), first);
  assert.is(new Set(first).size, 12);
  assert.not.equal(output(randomText(""), { inputs, seed: 2 }), first);
});
/** Rows at `t` of both sequences. */
const rowOf = (list: readonly number[], t: number, length: number): number[] =>
  [0, 1].flatMap((n) => list.slice((n * length + t) * 4, (n * length + t + 1) * 4));
test("generating in chunks gives what the whole gives, whatever the lengths of the sequences", () => {
  const text = `import { Attention } from "std/attention"
    import { Embedding } from "std/nn"
    model M(V = 5, D = 4, Heads = 2, Context = 8) { embed: Embedding(V, D, 1) attention: Attention(D, Heads, Context: Context)
      forward(tokens: i32[B, T], at: i32[B, T] = range(T)) -> float[B, T, D] { return attention(embed(tokens), at) }
      generate(tokens: i32[B, T], at: i32[B, T]) -> float[B, T, D] { return forward(tokens, at) } }`;
  const tokens = [
    [1, 4, 2, 0, 3],
    [2, 2, 1, 3, 0],
  ];
  const whole = output(text, { inputs: { tokens } });
  const part = (from: number, to: number, old: Readonly<Record<string, Numbers>>) => {
    const at = tokens.map((row) => row.slice(from, to).map((_, i) => from + i));
    const o = run(text, {
      method: "generate",
      inputs: { tokens: tokens.map((row) => row.slice(from, to)), at },
      stores: old,
    });
    const stores = [...o.values].flatMap(([k, v]): [string, number[]][] =>
      k.startsWith("store ") ? [[k.slice(6), [...v.data]]] : [],
    );
    return { out: [...(o.values.get("output 0")?.data ?? [])], stores: Object.fromEntries(stores) };
  };
  const first = part(0, 3, {});
  const second = part(3, 5, first.stores);
  for (const t of [0, 1, 2]) near(rowOf(first.out, t, 3), rowOf(whole, t, 5), 1e-9);
  for (const t of [3, 4]) near(rowOf(second.out, t - 3, 2), rowOf(whole, t, 5), 1e-9);
});
test("random numbers of a row are keyed by its choice, not by its expert", () => {
  const text = `layer R(D) { forward(x: f32[...S, D]) -> f32[...S, D] { return x + uniform([...S, D]) } }
    layer Inner(D) { rs: R(D)[2] forward(x: f32[...S, D], i: i32[...S, 1]) -> f32[...S, D] { return rs[i](x)[..., 0, :] } }
    model M(D = 2) { plain: R(D)[3] nested: Inner(D)[3]
      forward(x: f32[N, D], index: i32[N, K]) -> f32[N, K, D] { return plain[index](x) }
      inner(x: f32[N, D], index: i32[N], i: i32[N, 1]) -> f32[N, D] { return nested[index](x, i) }
      all(x: f32[3, D]) -> f32[3, D] { return plain[:](x) } }`;
  const x = [
    [0, 0],
    [0, 0],
    [0, 0],
  ];
  const routed = (index: Numbers): number[] => output(text, { inputs: { x, index } });
  const first = routed([
    [0, 2],
    [1, 0],
    [2, 2],
  ]);
  assert.equal(
    routed([
      [2, 0],
      [0, 0],
      [1, 1],
    ]),
    first,
  );
  assert.is(new Set(first).size, 12);
  const nested = output(text, { method: "inner", inputs: { x, index: [0, 2, 1], i: [[1], [0], [1]] } });
  assert.equal(output(text, { method: "inner", inputs: { x, index: [1, 1, 0], i: [[0], [0], [1]] } }), nested);
  assert.is(new Set(nested).size, 6);
  assert.is(new Set(output(text, { method: "all", inputs: { x } })).size, 6);
});
test("sizes that do not divide are found when numbers are known", () => {
  const text = "fn f(x: f32[N]) -> f32[2, N / 2] { return reshape(x, [2, N / 2]) }";
  assert.is(
    codeOf(() => run(text, { declaration: "f", method: "f", sizes: { N: 4 }, inputs: { x: [1, 2, 3, 4] } })),
    "none",
  );
  assert.is(
    codeOf(() => run(text, { declaration: "f", method: "f", sizes: { N: 5 }, inputs: { x: [1, 2, 3, 4, 5] } })),
    "E0211",
  );
});
const problemOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (error instanceof Problem) return `${error.message}: ${error.help}`;
    throw error;
  }
  return "none";
};
const sized = `layer A(D, H = 2 * D, rate = 0.5) { param w: float[D, H] = 1 forward(x: float[...S, D], y: float[N, 2] = 0) -> float[...S, H] { return x @ w * rate } }
  model B(D = 4) = A(D, 3 * D)`;
test("an entry's signature, before sizes have numbers; sizes found from inputs", () => {
  const loaded = load({ name: "test.moe", text: sized });
  const signature = entrySignature(loaded, "B");
  assert.equal(signature.header, [{ name: "D", kind: "size", default: "4" }]);
  assert.equal(signature.results, ["float[...S, H]"]);
  assert.equal(
    signature.arguments.map((a) => [a.name, a.dtype, a.spread, a.axes, a.optional]),
    [
      ["x", "float", "S", ["D"], false],
      ["y", "float", null, ["N", null], true],
    ],
  );
  assert.equal(sizesFromInputs(signature, new Map([["x", [2, 3, 4]]])), { S: [2, 3], D: 4 });
  assert.match(
    problemOf(() => sizesFromInputs(signature, new Map([["y", [2]]]))),
    "declared float[N, 2]",
  );
  assert.equal(
    entrySignature(loaded, "A").header.map((h) => [h.name, h.kind, h.default]),
    [
      ["D", "size", null],
      ["H", "size", "2 * D"],
      ["rate", "value", "0.5"],
    ],
  );
});
const filled = sized.replace("y: float[N, 2] = 0", "y: float[D, 2] = 0");
test("the header is filled in from outside; what it lacks is a slip", () => {
  near(output(filled, { declaration: "A", sizes: { D: 1, H: 1, rate: 2, S: [] }, inputs: { x: [3] } }), [6]);
  near(output(filled, { sizes: { D: 1, S: [2] }, inputs: { x: [1, 2] } }), [0.5, 0.5, 0.5, 1, 1, 1]);
  assert.match(
    problemOf(() => run(filled, { sizes: { D: 1, S: [], Hidden: 3 }, inputs: { x: [3] } })),
    "no size or value Hidden",
  );
  assert.match(
    problemOf(() => run(filled, { sizes: { D: 1.5, S: [] }, inputs: { x: [3] } })),
    "D is a size, and 1.5 is not",
  );
  assert.match(
    problemOf(() => run(filled, { declaration: "C" })),
    "declares no C",
  );
  assert.match(
    problemOf(() => run(filled, { method: "backward" })),
    "B has no method backward",
  );
  assert.is(
    codeOf(() => run(filled, { declaration: "A", sizes: { S: [] } })),
    "E0407",
  );
  assert.is(
    codeOf(() => run(filled, { sizes: { D: 2 } })),
    "E0408",
  );
  assert.is(
    codeOf(() => run(sized, { sizes: { D: 1, S: [] }, inputs: { x: [3] } })),
    "E0306",
  );
});
test("all lengths of generate share their states, which must have one shape", () => {
  const text =
    "model M(D = 2) { generate(x: f32[B, T, D]) -> f32[B, D] { state m: f32[B, D] = 0 update m = m + sum(x, axis: 1) return m } }";
  const lengths = (second: number) =>
    elaborate(load({ name: "test.moe", text }), {
      sizes: {},
      precision: "f32",
      entries: [1, 4].map((T) => ({
        name: `generate:${T}`,
        method: "generate",
        sizes: { B: T === 1 ? 3 : second, T },
      })),
    });
  assert.equal(
    lengths(3)
      .stores()
      .filter((s) => s.role === "state")
      .map((s) => s.name),
    ["generate/m"],
  );
  assert.equal(
    lengths(3)
      .stores()
      .filter((s) => s.role === "input")
      .map((s) => s.name),
    ["generate:1/x", "generate:4/x"],
  );
  assert.is(
    codeOf(() => lengths(2)),
    "E0408",
  );
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
