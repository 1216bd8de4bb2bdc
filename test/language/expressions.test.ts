// What an expression is: LANGUAGE's operators and functions against hand arithmetic, in f64.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { runEntry } from "../../runtime/run.ts";
import { writeSafetensors } from "../../runtime/storage/safetensors.ts";
import { fromNumbers, numbers as valuesOf } from "../../runtime/tensor.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { at, expression, type Numbers, near, numbers, output, run } from "./elaborate-text.ts";

const test = suite("expressions");

const x = {
  x: {
    type: "f32[2, 3]",
    value: [
      [1, -2, 3],
      [0.5, 4, -1],
    ] as Numbers,
  },
};
const flatX = [1, -2, 3, 0.5, 4, -1];
test("arithmetic: precedence, real division, the sign of %, powers", () => {
  near(
    expression("x * 2 + 1 / 4 - x ** 2", "f32[2, 3]", x),
    flatX.map((v) => v * 2 + 0.25 - v ** 2),
  );
  near(expression("x % 3", "f32[2, 3]", x), [1, 1, 0, 0.5, 1, 2]);
  near(expression("i % 3", "i32[4]", { i: { type: "i32[4]", value: [-1, 4, 3, -5] } }), [2, 1, 0, 1]);
  near(
    expression("x * 0 + 6 % -3 + 7 % -3 * 10 + -7 % 3 * 100", "f32[2, 3]", x),
    flatX.map(() => 180),
  );
  near(expression("i / 2", "f32[2]", { i: { type: "i32[2]", value: [1, 3] } }), [0.5, 1.5]);
  near(expression("div(i, 2)", "i32[3]", { i: { type: "i32[3]", value: [-3, 3, 5] } }), [-2, 1, 2]);
  near(expression("div(i, 0) + i % 0", "i32[2]", { i: { type: "i32[2]", value: [5, -5] } }), [0, 0]);
});
test("comparisons and booleans give and take bools", () => {
  near(expression("x > 0 && !(x > 2) || x == 4", "bool[2, 3]", x), [1, 0, 0, 1, 1, 0]);
  near(expression("sum(x > 0)", "i32", x), [4]);
  near(expression("where(x < 0, 0, x)", "f32[2, 3]", x), [1, 0, 3, 0.5, 4, 0]);
});
test("functions of elements", () => {
  const fns: Record<string, (v: number) => number> = {
    exp: Math.exp,
    tanh: Math.tanh,
    sin: Math.sin,
    cos: Math.cos,
    abs: Math.abs,
    sign: Math.sign,
    floor: Math.floor,
    ceil: Math.ceil,
  };
  for (const [name, f] of Object.entries(fns)) near(expression(`${name}(x)`, "f32[2, 3]", x), flatX.map(f), 1e-9);
  near(
    expression("log(abs(x)) + sqrt(abs(x)) + rsqrt(abs(x)) + sigmoid(x)", "f32[2, 3]", x),
    flatX.map(
      (v) => Math.log(Math.abs(v)) + Math.sqrt(Math.abs(v)) + 1 / Math.sqrt(Math.abs(v)) + 1 / (1 + Math.exp(-v)),
    ),
    1e-9,
  );
  near(
    expression("maximum(x, 1) - minimum(x, 1)", "f32[2, 3]", x),
    flatX.map((v) => Math.max(v, 1) - Math.min(v, 1)),
  );
  near(
    expression("round(x) + erf(x * 0)", "f32[2, 3]", x),
    flatX.map((v) => (v === 0.5 ? 0 : Math.round(v))),
  );
});
test("functions of integers: magnitude and sign stay integers, rounding leaves them, others give floats; of known numbers, numbers", () => {
  const whole = { i: { type: "i32[2]", value: [-3, 4] } };
  near(expression("abs(i) * sign(i)", "i32[2]", whole), [-3, 4]);
  near(expression("floor(i) + round(i) + ceil(i)", "i32[2]", whole), [-9, 12]);
  near(expression("sqrt(abs(i)) + abs(i > 0)", "f32[2]", whole), [Math.sqrt(3), 3], 1e-9);
  near(
    expression("x * 0 + erf(0.5) + abs(-2) + round(2.5)", "f32[2, 3]", x),
    flatX.map(() => 4 + 0.5204998778130465),
    1e-9,
  );
});
test("conversions: to i32 toward 0, bool, float", () => {
  near(expression("i32(x)", "i32[2, 3]", x), [1, -2, 3, 0, 4, -1]);
  near(expression("f32(x > 0) + float(i32(x))", "f32[2, 3]", x), [2, -2, 4, 1, 5, -1]);
});
test("reductions over numbers of axes, S, lists, all; with keep", () => {
  near(expression("sum(x, axis: 0)", "f32[3]", x), [1.5, 2, 2]);
  near(expression("mean(x, axis: -1)", "f32[2]", x), [2 / 3, 3.5 / 3]);
  near(expression("max(x) + min(x, axis: [0, 1])", "f32", x), [2]);
  near(expression("x - max(x, axis: -1, keep: true)", "f32[2, 3]", x), [-2, -5, 0, -3.5, 0, -5]);
  const overS = "fn f(x: f32[...S, D]) -> f32[D] { return sum(x, axis: S) * S }";
  near(
    output(overS, { declaration: "f", method: "f", sizes: { S: [2, 2], D: 2 }, inputs: { x: numbers(8) } }),
    [0, 1].map((d) => 4 * [0, 1, 2, 3].reduce((s, i) => s + at(numbers(8), i * 2 + d), 0)),
  );
});
test("softmax with a mask is 0 where masked, also where all is; logsumexp; cumsum", () => {
  const e = flatX.map(Math.exp);
  near(
    expression("softmax(x)", "f32[2, 3]", x),
    e.map((v, i) => v / e.slice(i < 3 ? 0 : 3, i < 3 ? 3 : 6).reduce((a, b) => a + b, 0)),
  );
  near(expression("softmax(x, where: x > 3)", "f32[2, 3]", x), [0, 0, 0, 0, 1, 0]);
  near(
    expression("logsumexp(x, axis: 0)", "f32[3]", x),
    [0, 1, 2].map((i) => Math.log(at(e, i) + at(e, i + 3))),
  );
  near(expression("cumsum(x)", "f32[2, 3]", x), [1, -1, 2, 0.5, 4.5, 3.5]);
  near(expression("cumsum(x, axis: 0)", "f32[2, 3]", x), [1, -2, 3, 1.5, 2, 2]);
});
test("matmul broadcasts leading axes; vectors on the left", () => {
  const [a, c] = [numbers(12), numbers(12, 5)];
  const expected = [0, 1].flatMap((n) =>
    [0, 1].flatMap((i) =>
      [0, 1].map((j) => [0, 1, 2].reduce((s, k) => s + at(a, n * 6 + i * 3 + k) * at(c, n * 6 + k * 2 + j), 0)),
    ),
  );
  near(
    expression("a @ c", "f32[2, 2, 2]", {
      a: { type: "f32[2, 2, 3]", value: a },
      c: { type: "f32[2, 3, 2]", value: c },
    }),
    expected,
  );
  near(
    expression("a @ c", "f32[2]", {
      a: { type: "f32[3]", value: a.slice(0, 3) },
      c: { type: "f32[3, 2]", value: c.slice(0, 6) },
    }),
    [0, 1].map((j) => [0, 1, 2].reduce((s, k) => s + at(a, k) * at(c, k * 2 + j), 0)),
  );
});
test("reshape, transpose, concat, range", () => {
  near(expression("transpose(x)", "f32[3, 2]", x), [1, 0.5, -2, 4, 3, -1]);
  near(expression("reshape(x, [3, 2])[1]", "f32[2]", x), [3, 0.5]);
  near(expression("concat([x[:, 1:], x[:, :1]], axis: -1)", "f32[2, 3]", x), [-2, 3, 1, 4, -1, 0.5]);
  near(expression("range(4) * 2", "i32[4]"), [0, 2, 4, 6]);
});
test("indexing: numbers, slices, ..., new, and none outside", () => {
  near(expression("x[1]", "f32[3]", x), [0.5, 4, -1]);
  near(expression("x[..., 0]", "f32[2]", x), [1, 0.5]);
  near(expression("x[0 - 1]", "f32[3]", x), [0, 0, 0]);
  near(expression("x[5, 0]", "f32", x), [0]);
  near(expression("x[:, new, 1:3]", "f32[2, 1, 2]", x), [-2, 3, 4, -1]);
  near(expression("x[..., new, :]", "f32[2, 1, 3]", x), flatX);
  near(
    expression("x[i]", "f32[3, 3]", { ...x, i: { type: "i32[3]", value: [1, -1, 0] } }),
    [0.5, 4, -1, 0, 0, 0, 1, -2, 3],
  );
});
test("take, put and scatter along an axis", () => {
  const i = {
    i: {
      type: "i32[2, 2]",
      value: [
        [2, 0],
        [1, 7],
      ] as Numbers,
    },
  };
  near(expression("take(x, i, axis: -1)", "f32[2, 2]", { ...x, ...i }), [3, 1, 4, 0]);
  near(expression("put(x, i, -take(x, i, axis: 1), axis: 1)", "f32[2, 3]", { ...x, ...i }), [-1, -2, -3, 0.5, -4, -1]);
  near(
    expression("put(x, i[:1], x[:1], axis: 0)", "f32[2, 3]", {
      x: { type: "f32[2, 3]", value: flatX },
      i: { type: "i32[2]", value: [1, 0] },
    }),
    [1, -2, 3, 1, -2, 3],
  );
  near(
    expression("scatter(x, i, 3, axis: 0)", "f32[3, 3]", { ...x, i: { type: "i32[2]", value: [2, 2] } }),
    [0, 0, 0, 0, 0, 0, 1.5, 2, 2],
  );
});
const both = (name: string) =>
  run(`fn f(x: f32[4]) -> (f32[4], i32[4]) { let (v, i) = ${name} return v, i }`, {
    declaration: "f",
    method: "f",
    inputs: { x: [1, 3, 3, 2] },
  });
test("top_k and sort give values and places, the first of equals first", () => {
  near([...(both("top_k(x, 4)").values.get("output 1")?.data ?? [])], [1, 2, 3, 0]);
  near([...(both("sort(x)").values.get("output 0")?.data ?? [])], [1, 2, 3, 3]);
  near([...(both("sort(x)").values.get("output 1")?.data ?? [])], [0, 3, 1, 2]);
});
test("cutoff: the largest that are enough, with their equals; all where they are not; never NaN", () => {
  const x = {
    x: {
      type: "f32[2, 4]",
      value: [
        [1, 3, 3, 2],
        [0, -1, NaN, 5],
      ] as Numbers,
    },
  };
  near(expression("cutoff(x, 1)", "f32[2]", x), [3, 5]);
  near(expression("cutoff(x, range(2) + 2)", "f32[2]", x), [3, -1]);
  near(expression("cutoff(x, 0)", "f32[2]", x), [3, 5]);
  near(expression("cutoff(x, 4)", "f32[2]", x), [1, -Infinity]);
  near(expression("cutoff(x, 0.4, weight: where(x > 2, 0.2, 0.1))", "f32[2]", x), [3, -1]);
  near(expression("cutoff(x, 2, weight: x > 2 || x < 0)", "f32[2]", x), [3, -1]);
});
test("known numbers: arithmetic, sizes, if, for", () => {
  const text =
    "fn f(x: f32[N], rounds) -> f32[N] { let C = ceil(N / 2) if C > 2 && rounds >= 2 { for i in 0:rounds { x = x + C * i } } return x }";
  near(
    output(text, { declaration: "f", method: "f", sizes: { rounds: 3, N: 5 }, inputs: { x: [0, 1, 2, 3, 4] } }),
    [9, 10, 11, 12, 13],
  );
});
for (const target of ["reference", "host"] as const)
  test(`NaN, nothing and halves, as GRAMMAR says: ${target}`, async () => {
    const here = temporaryFolder();
    const [program, input] = [join(here, "m.moe"), join(here, "x.safetensors")] as const;
    writeFileSync(
      program,
      `fn f(x: f32[4], none: f32[N, 1]) -> (f32[4], f32[4], f32[4], f32[4], f32[2], f32[5], f32[4]) {
        let (greatest, _) = top_k(x, 4)
        let (least, _) = sort(x)
        let ends = concat([max(x)[new], min(x)[new]], axis: 0)
        let n = none[:, 0]
        let of = concat([sum(n)[new], max(n)[new], logsumexp(n)[new], min(n)[new], mean(n)[new]], axis: 0)
        return greatest, least, maximum(x, 1), minimum(1, x), ends, of, round(x)
      }`,
    );
    const given = { x: fromNumbers("f32", [4], [0.5, Number.NaN, 2.5, -1.5]), none: fromNumbers("f32", [0, 1], []) };
    writeSafetensors(input, new Map(Object.entries(given)));
    const results = await runEntry({ program, entry: "f", input, target });
    const nan = Number.NaN;
    const wanted = [
      [2.5, 0.5, -1.5, nan],
      [-1.5, 0.5, 2.5, nan],
      [1, nan, 2.5, 1],
      [0.5, nan, 1, -1.5],
      [nan, nan],
      [0, -Infinity, -Infinity, Infinity, nan],
      [0, nan, 2, -2],
    ];
    for (const [i, want] of wanted.entries())
      assert.equal([...valuesOf(results.get(String(i)) ?? given.none)], want, `result ${i}`);
  });
test("an empty input of more axes than JSON can say is to be given as safetensors", async () => {
  const here = temporaryFolder();
  const [program, input] = [join(here, "m.moe"), join(here, "x.json")] as const;
  writeFileSync(program, "fn f(x: f32[N, 4]) -> f32[4] { return sum(x, axis: 0) }");
  writeFileSync(input, '{"x": []}');
  const run = runEntry({ program, entry: "f", input, target: "reference" });
  const error: unknown = await run.catch((e: unknown) => e);
  assert.ok(error instanceof Problem);
  assert.match(`${error.message} ${error.help}`, /x: f32\[N, 4\].*safetensors/);
});
/** What help says to write for functions of PyTorch, of a matrix or two of 2 x 4; `expected` is what those give. */
const instead: readonly (readonly [name: string, written: string, type: string, expected: readonly number[]])[] = [
  ["every second row", "x[2 * range(N / 2)]", "f32[N / 2, D]", [1, 2, 3, 4]],
  ["stack", "concat([x[new], y[new]], axis: 0)", "f32[2, N, D]", [1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 0, 2, 0, 1, 1, 0]],
  ["chunk, first", "x[:, :D / 2]", "f32[N, D / 2]", [1, 2, 5, 6]],
  ["chunk, second", "x[:, D / 2:]", "f32[N, D / 2]", [3, 4, 7, 8]],
  ["einsum ij,kj->ik", "x @ transpose(y, -2, -1)", "f32[N, N]", [9, 5, 21, 13]],
  ["einsum ij,jk->ik", "sum(x[..., new] * transpose(y, 0, 1), axis: -2)", "f32[N, N]", [9, 5, 21, 13]],
  ["flip", "take(x, N - 1 - range(N), axis: 0)", "f32[N, D]", [5, 6, 7, 8, 1, 2, 3, 4]],
  ["roll", "concat([x[N - 1:], x[:N - 1]], axis: 0)", "f32[N, D]", [5, 6, 7, 8, 1, 2, 3, 4]],
  ["outer", "x[:, 0][:, new] * y[0]", "f32[N, D]", [1, 0, 0, 2, 5, 0, 0, 10]],
  ["dot", "sum(x * y)", "f32", [22]],
  ["norm", "sqrt(sum(x * x, axis: -1))", "f32[N]", [Math.sqrt(30), Math.sqrt(174)]],
  [
    "std",
    "sqrt(mean((x - mean(x, axis: -1, keep: true)) ** 2, axis: -1))",
    "f32[N]",
    [Math.sqrt(1.25), Math.sqrt(1.25)],
  ],
  ["any", "sum(x > 7) > 0", "bool", [1]],
  ["all", "sum(!(x > 1)) == 0", "bool", [0]],
  ["isnan", "(y / y) != (y / y)", "bool[N, D]", [0, 1, 1, 0, 1, 0, 0, 1]],
];
for (const [name, written, type, expected] of instead)
  test(`what is written for ${name}`, () => {
    const inputs = {
      x: {
        type: "f32[N, D]",
        value: [
          [1, 2, 3, 4],
          [5, 6, 7, 8],
        ],
      },
      y: {
        type: "f32[N, D]",
        value: [
          [1, 0, 0, 2],
          [0, 1, 1, 0],
        ],
      },
    };
    near(expression(written, type, inputs), expected);
  });

test.run();
