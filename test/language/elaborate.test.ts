// What elaboration builds means what LANGUAGE says: compared with plain loops and hand arithmetic, in f64. Layers, their arrays, routed calls.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { nodesOf } from "../../compiler/graph/walk.ts";
import { at, codeOf, errorOf, near, numbers, output, run, shapeOf } from "./elaborate-text.ts";

const test = suite("elaborate");

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
const first = (o: ReturnType<typeof run>): number[] => [...(o.values.get("output 0")?.data ?? [])];
/** `body` gives all of Mlp's `up`s, here of two copies of an expert: what is in the store, or the stores. */
for (const [what, array, body] of [
  ["a stack", "experts: Mlp(D, 3)[E]", "experts[:].up"],
  ["a stack by another name", "experts: Mlp(D, 3)[E]", "{ let all = experts[:]  return all.up }"],
  ["layers in layers", "experts: Inside(D)[E]", "experts[:].inner.up"],
  ["neighbours that differ", "experts: [Mlp(D, 3), Inside(D), Mlp(D, 3)]", "experts[:].up"],
  [
    "layers that are called one by one too",
    "experts: Mlp(D, 3)[E]",
    "{ for e in experts { x = e(x) }  return experts[:].up + 0 * sum(x) }",
  ],
] as const)
  test(`a parameter of all copies, of ${what}`, () => {
    const inside = `layer Inside(D) { inner: Mlp(D, 3) param up: float[D, 3] = gaussian([D, 3])
      forward(x: float[...S, D]) -> float[...S, D] { return inner(x) } }`;
    const text = `${mlp} ${inside} model M(D = 2, E = 3) { ${array}
      forward(x: float[N, D]) -> float[3, D, 3] ${body.startsWith("{") ? body : `{ return ${body} }`} }`;
    const o = run(text, { inputs: { x: rows }, sizes: { N: 5 } });
    assert.equal(shapeOf(o), [3, 2, 3]);
    const name = body.includes("inner") ? "inner.up" : "up";
    const stored = [...o.stores].filter(([store]) => new RegExp(`^experts\\.[\\d*]\\.${name}$`).test(store));
    assert.equal(
      first(o),
      stored.flatMap(([, t]) => [...t.data]),
    );
  });
/** A model with two kinds of layers, a function and a method that take one, and these statements. */
const passing = (body: string): number[] => {
  const text = `${mlp} fn twice(f: float[...S, D] -> float[...S, D], x: float[...S, D]) -> float[...S, D] { return f(f(x)) }
    model M(D = 2) { one: Mlp(D, 3) many: [Mlp(D, 3), Mlp(D, 2)]
      forward(x: float[N, D]) -> float[N, D] { ${body} }
      beside(f: float[N, D] -> float[N, D], x: float[N, D]) -> float[N, D] { return x + f(x) } }`;
  return first(run(text, { inputs: { x: rows }, sizes: { N: 5 } }));
};
test("a layer that is made is passed to a function, or a method, as its `forward`", () => {
  near(passing("return twice(one, x)"), passing("return one(one(x))"));
  near(
    passing("for f in many { x = beside(f, x) } return twice(one.forward, x)"),
    passing("for f in many { x = x + f(x) } return one(one(x))"),
  );
});
test("experts may be many; layers that are made one by one may not", () => {
  const many = run(mixture("experts[index](x)", "Mlp(D, 3)[20000 * E]"), {
    inputs: { x: rows.slice(0, 1), index: [[0, 59_999]] },
    sizes: { N: 1, K: 2 },
  });
  const [store, out] = [many.stores.get("experts.*.bias"), many.values.get("output 0")];
  assert.equal(store?.shape, [60_000, 2]);
  assert.not.equal(out?.data.slice(0, 2), out?.data.slice(2, 4));
  const one = { inputs: { x: rows.slice(0, 1), index: [[0]] }, sizes: { N: 1, K: 1 } };
  const picked = "{ let picked = experts[index]  return picked(x) }";
  const late = mixture("0", "Mlp(D, 3)[4000 * E]").replace("{ return 0 }", picked);
  assert.equal(run(late, one).stores.get("experts.*.bias")?.shape, [12_000, 2]);
  const chain = mixture("experts[1](x)[:, new]", "Mlp(D, 3)[20000 * E]");
  assert.throws(() => run(chain, one), /experts has 60000 layers/);
});
/** Ways to call experts by index: the members of a model `M`, and its statements. A layer `Held` has experts and does not call them. */
const ways: Readonly<Record<string, readonly [members: string, body: string]>> = {
  "by another name": ["experts: Mlp(D, 3)[E]", "let e = experts  let f = e  return f[index](x)"],
  "picked before": ["experts: Mlp(D, 3)[E]", "let picked = experts[index]  return picked(x)"],
  "of another layer": ["held: Held(D, E)", "return held.experts[index](x)"],
  "of a layer in another": ["outer: Outer(D, E)", "return outer.held.experts[index](x)"],
  "of one of several layers": ["all: Held(D, E)[2]", "return all[1].experts[index](x)"],
  "of a layer of a loop": [
    "all: Held(D, E)[1]",
    "let y: float[N, K, D] = 0  for h in all { y = y + h.experts[index](x) }  return y",
  ],
  "of a layer from a header": ["held: Given(D, E, Mlp(D, 3))", "return held.experts[index](x)"],
  "in an expert": ["outer: Routed(D, E)[1]", "return outer[0 * index[:, 0]](x, index)"],
};
const holders = `layer Held(D, E) { experts: Mlp(D, 3)[E] }
  layer Outer(D, E) { held: Held(D, E) }
  layer Given(D, E, body: float[...S, D] -> float[...S, D]) { experts: body[E] }
  layer Routed(D, E) { held: Held(D, E)
    forward(x: float[...S, D], index: i32[...S, K]) -> float[...S, K, D] { return held.experts[index](x) } }`;
for (const [way, [members, body]] of Object.entries(ways))
  test(`experts called ${way} are one stack, of which nothing is copied`, () => {
    const text = `${mlp} ${holders} model M(D = 2, E = 3) { ${members}
      forward(x: float[N, D], index: i32[N, K]) -> float[N, K, D] { ${body} } }`;
    const o = run(text, { inputs: { x: rows, index }, sizes: { N: 5, K: 2 } });
    const name = [...o.stores.keys()].findLast((s) => s.endsWith("experts.*.up")) ?? "";
    assert.ok(name, [...o.stores.keys()].join());
    const expert = experts((n) => [...(o.stores.get(name.replace(/up$/, n))?.data ?? [])], 2, 3);
    near([...(o.values.get("output 0")?.data ?? [])], expectedMixture(expert, 3));
    const ops = o.elaboration.entries.flatMap(({ graph }) => nodesOf(graph).map((n) => n.op.name));
    assert.equal([ops.includes("ragged_dot"), ops.includes("concat")], [true, false]);
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
/** Experts of two kinds, inside of others, by what `index` makes of `p`, logits over 4. */
const chosen = (index: string, count: number): void => {
  const text = `import { argmax } from "std/nn"
    layer Inner(D, E) { experts: [Mlp(D, 2), Mlp(D, 3)[E - 1]]
      forward(x: float[...S, D], p: f32[...S, 4]) -> float[...S, D] { let first = argmax(p) ${index} return experts[index](x) } }
    model M(D = 2, E = ${count}) { outer: Inner(D, E)[2]
      forward(x: float[5, D], p: f32[5, 4]) -> float[5, D] { return outer[argmax(p[:, :2])](x, p) } } ${mlp}`;
  run(text, { inputs: { x: rows, p: numbers(20) } });
};
for (const [what, index] of [
  ["argmax", "let index = first"],
  ["a part of sort's order", "let (_, order) = sort(p) let index = order[..., 1]"],
  ["a conversion there and back", "let index = i32(f32(first))"],
  ["what a mask of rows keeps", "let index = where(x[..., 0] > 0, first, -1)"],
  [
    "one of the best",
    "let (_, all) = top_k(p, 2) let (_, one) = top_k(all, 1) let index = take(all, one, axis: -1)[..., 0]",
  ],
] as const)
  test(`an index that is ${what} of 4 needs 4 experts`, () => {
    assert.is(
      codeOf(() => chosen(index, 3)),
      "E0413",
    );
    chosen(index, 4);
  });
test("an index that `where` or arithmetic makes may be none", () => {
  chosen("let index = where(first < 3, first, -1)", 3);
  chosen("let index = first + 1", 3);
});
/** What `take` by `index` of a table of 4 rows is, beside `x`, data of 4 rows. */
const looked = (index: string, of = "table"): void => {
  const text = `model M(R = 4) { param table: f32[R, 2] = 1
    forward(x: f32[4, 2], p: f32[5, 5]) -> f32[N, 2] { let (_, best) = top_k(p, 1) return ${of}[${index}] } }`;
  run(text, {
    inputs: {
      x: numbers(8)
        .map((n, i) => [n, i])
        .slice(0, 4),
      p: numbers(25),
    },
  });
};
for (const [what, index, code] of [
  ["positions that the table has", "range(4)"],
  ["more positions", "range(5)", "E0216"],
  ["positions with an offset", "range(3) + 2", "E0216"],
  ["the last of a part of more positions", "range(8)[3:5]", "E0216"],
  ["a part of more positions", "range(8)[1:4]"],
  ["what a division leaves", "div(range(8), 2)"],
  ["more than a division leaves", "div(range(9), 2)", "E0216"],
  ["distances of positions, up to the last row", "reshape(range(3)[:, new] - range(5) + 1, [15])"],
  ["distances of positions, past it", "reshape(range(4)[:, new] - range(5) + 1, [20])", "E0216"],
  ["distances that are kept within it", "reshape(minimum(range(9)[:, new] - range(5), 3), [45])"],
  ["what two ranges along the same axis add up to", "(range(4) - range(4)) + 3"],
  ["positions in another order", "7 - range(5)", "E0216"],
  ["positions before the first", "range(4) - 2"],
  ["positions of which the others are none", "where(range(5) < 4, range(5), -1)"],
  ["a choice among more", "best[:, 0]", "E0216"],
  ["a choice of which the others are none", "where(best[:, 0] < 4, best[:, 0], -1)"],
] as const)
  test(`an index of a table: ${what}`, () => {
    if (code === undefined) looked(index);
    else
      assert.is(
        codeOf(() => looked(index)),
        code,
      );
  });
for (const [of, what] of [
  ["table", "`table` has 4 rows"],
  ["(table * 2)", "`table` has 4 rows"],
  ["table[:3]", "what it indexes has 3 rows"],
  ["transpose(table)", "what it indexes has 2 rows"],
  ["(table + other)", "what it indexes has 4 rows"],
] as const)
  test(`an index past the end of ${of} names what has as many rows`, () => {
    const text = `model M(R = 4) { param table: f32[R, 2] = 1 param other: f32[2] = 1
      forward() -> f32 { return sum(${of}[range(5)]) } }`;
    const error = errorOf(() => run(text));
    assert.is(error?.message, `the index goes up to 4, and ${what}`);
    assert.is(error?.labels.length, what.startsWith("`") ? 2 : 1);
  });
test("positions past the end of data are zeros", () => looked("range(4) + 1", "x"));
for (const [what, gate] of [
  ["a capacity", "where(place(first) < 2, first, -1)"],
  ["a score", "where(p[:, 0] > 0.5, first, -1)"],
] as const)
  test(`an index that ${what} drops still chooses among all`, () => {
    const text = `import { argmax, one_hot } from "std/nn"
      fn place(index: i32[N]) -> f32[N] { return take(cumsum(one_hot(index, 4), axis: 0), index[:, new], axis: 1)[:, 0] }
      model M(D = 2) { experts: Mlp(D, 2)[3] forward(x: float[5, D], p: f32[5, 4]) -> float[5, D] {
        let first = argmax(p) return experts[${gate}](x) } } ${mlp}`;
    assert.is(
      codeOf(() => run(text, { inputs: { x: rows, p: numbers(20) } })),
      "E0413",
    );
  });
test("an index that a table of the layers allows may be none", () => {
  const text = `import { argmax } from "std/nn"
    model M(D = 2) { experts: Mlp(D, 2)[3] param open: f32[4] = 1 forward(x: float[5, D], p: f32[5, 4]) -> float[5, D] {
      let first = argmax(p) return experts[where(open[first] > 0, first, -1)](x) } } ${mlp}`;
  run(text, { inputs: { x: rows, p: numbers(20) } });
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
const underIf = (
  late: boolean,
): string => `layer Leaf(D) { param w: f32[D] = 1 forward(x: f32[...S, D]) -> f32[...S, D] { return x * w } }
  model M(D = 2, late = ${late}) {
    experts: Leaf(D)[3]
    if late { forward(x: f32[N, D], i: i32[N]) -> f32[N, D] { return experts[i](x) } }
    else { forward(x: f32[N, D], i: i32[N]) -> f32[N, D] { return 2 * experts[i](x) } }
  }`;
test("experts are one stack of weights also where the method that calls them is under an `if`", () => {
  for (const [late, out] of [
    [true, [1, 2, 3, 4]],
    [false, [2, 4, 6, 8]],
  ] as const) {
    const o = run(underIf(late), {
      inputs: {
        x: [
          [1, 2],
          [3, 4],
        ],
        i: [2, 0],
      },
      sizes: { N: 2 },
    });
    near([...(o.values.get("output 0")?.data ?? [])], [...out]);
    assert.is(o.stores.get("experts.*.w")?.shape.join(), "3,2");
  }
});
const each = <T>(n: number, f: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => f(i));
test("patches of images are in reading order, their pixels too", () => {
  const [B, H, W, C, P] = [2, 4, 6, 3, 2];
  const pixel = (b: number, y: number, x: number, c: number): number => ((b * H + y) * W + x) * C + c;
  const image = each(B, (b) => each(H, (y) => each(W, (x) => each(C, (c) => pixel(b, y, x, c)))));
  const text = `import { patches } from "std/nn"
    model M(P = ${P}) {
      forward(image: f32[B, H, W, C]) -> f32[B, H / P * W / P, P * P * C] { return patches(image, P) } }`;
  const patch = (b: number, n: number): number[] =>
    each(P * P * C, (i) =>
      pixel(
        b,
        P * Math.floor(n / (W / P)) + Math.floor(i / (P * C)),
        P * (n % (W / P)) + (Math.floor(i / C) % P),
        i % C,
      ),
    );
  near(output(text, { inputs: { image } }), each(B, (b) => each((H / P) * (W / P), (n) => patch(b, n))).flat(2));
});
test("attention of a sequence to itself sees all of it, where no places are given", () => {
  const text = `import { CrossAttention } from "std/attention"
    model M(D = 4) { attention: CrossAttention(D, 2)
      forward(x: float[B, T, D], place: i32[B, T]) -> (float[B, T, D], float[B, T, D], float[B, T, D]) {
        let all: i32[B, T] = range(T)
        return attention(x, x), attention(x, x, all), attention(x, x, place) } }`;
  const [x, place] = [[rows.map((row) => [...row, ...row])], [[0, 1, 2, -1, -1]]];
  const [all, ranged, part] = [0, 1, 2].map((i) => {
    const o = run(text, { inputs: { x, place }, sizes: { B: 1, T: 5 } });
    return [...(o.values.get(`output ${i}`)?.data ?? [])];
  }) as [number[], number[], number[]];
  near(all, ranged);
  assert.not.equal(all, part);
});
test.run();
