// Entries as elaboration builds them: signatures, sizes, precision, random numbers, and the lengths of generate.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { elaborate, entrySignature, load, sizesFromInputs } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { problem } from "../assert-problem.ts";
import { codeOf, type Numbers, near, output, run } from "./elaborate-text.ts";

const test = suite("elaborate-entries");

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
test("a call that has as many results as are declared is all that is returned", () => {
  const o = run(
    `fn best(x: float[N, E], K) -> (float[N, K], i32[N, K]) { return top_k(x, K) }
    layer Gate(E) { forward(x: float[N, E]) -> (float[N, 2], i32[N, 2]) { return best(x, 2) } }
    layer Twice(E) { gate: Gate(E)  forward(x: float[N, E]) -> (float[N, R], i32[N, 2]) { return gate(x) } }`,
    { declaration: "Twice", inputs: { x: [[3, 1, 2]] }, sizes: { E: 3 } },
  );
  assert.equal([...(o.values.get("output 0")?.data ?? [])], [3, 2]);
  assert.equal([...(o.values.get("output 1")?.data ?? [])], [0, 2]);
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
test("layers and loops inside one another that never end when written out are refused", () => {
  const layers = Array.from({ length: 40 }, (_, i) => (i === 0 ? "" : `a: L${i - 1}() b: L${i - 1}()`)).map(
    (inside, i) => `layer L${i}() { ${inside} forward(x: f32) -> f32 { return x } }`,
  );
  const loops = `fn L39(x: f32) -> f32 { for i in 0:10000 { for j in 0:10000 { let y = x } } return x }`;
  for (const [method, text] of [["forward", layers.join("\n")] as const, ["L39", loops] as const]) {
    const entries = [{ name: method, method, sizes: {} }];
    const request = { declaration: "L39", sizes: {}, precision: "f32", entries } as const;
    const { message, help } = problem(() => elaborate(load({ name: "test.moe", text }), request));
    assert.match(message, "too large: written out it has more than 250000");
    assert.match(help, "fewer turns");
  }
});
test.run();
