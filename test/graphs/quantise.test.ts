// Weights of 8 bits: which parameters become codes and scales, that kernels give what the interpreter does, and what is refused.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadTemplate } from "../../compiler/check/index.ts";
import type { Graph } from "../../compiler/graph/node.ts";
import { printGraph } from "../../compiler/graph/print.ts";
import { nodesOf } from "../../compiler/graph/walk.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { type BuildRequest, toGraphs } from "../../compiler/pipeline.ts";
import { product, sum } from "../../compiler/types/numbers.ts";
import { dims } from "../../compiler/types/type.ts";
import { quantisedSummary } from "../../runtime/executable/quantised.ts";
import { generate } from "../../runtime/generation/generate.ts";
import { openModel } from "../../runtime/generation/text-model.ts";
import { type CompileOptions, compile, type Handle, moe, numbers, type Tensor, tensor } from "../../runtime/index.ts";
import { evaluate } from "../../runtime/training/evaluate.ts";
import { assertProblem } from "../assert-problem.ts";
import { generator } from "../graphs.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { train } from "../training-runs.ts";
import { near } from "./three-steps.ts";

const test = suite("quantise");

const { Read, Biased, Chosen, Within, Model, Trained } = moe<
  "Read" | "Biased" | "Chosen" | "Within" | "Model" | "Trained"
>`
  import { normal } from "std/init"
  import { NoisyGate, SoftmaxGate } from "std/gates"
  import { MoE } from "std/moe"
  import { Embedding, Linear, SwiGlu } from "std/nn"
  import { Sgd } from "std/optim"
  layer Read(D) {
    param both: float[D, D] = normal()
    param turned: float[D, D] = normal()
    param summed: float[D, D] = normal()
    param bias: float[D] = normal()
    param left: float[D, D] = normal()
    param split: float[2, D, D] = normal()
    param joined: float[2, D, D] = normal()
    param unread: float[D, D] = normal()
    forward(x: float[2, D]) -> float[2, D] {
      let wide = x @ both + x @ transpose(both, 0, 1) + x @ transpose(turned, 0, 1) + x @ summed + sum(summed) + bias
      let cut = x @ split[0] + x @ split[1] + concat([x, x], axis: 1) @ reshape(joined, [2 * D, D])
      return wide + cut + transpose(left @ transpose(x, 0, 1), 0, 1)
    }
  }
  layer Expert(D) {
    param weight: float[D, D] = normal()
    param bias: float[D] = normal()
    forward(x: float[D]) -> float[D] { return x @ weight + bias }
  }
  layer Biased(D, E) {
    experts: Expert(D)[E]
    forward(x: float[N, D], index: i32[N]) -> float[N, D] { return experts[index](x) }
  }
  layer Chosen(D, E) {
    up: Linear(D, D)
    moe: MoE(D, 1, E, NoisyGate(D, E, 1), Linear(D, D))
    forward(x: float[N, D]) -> float[N, D] { return moe(tanh(up(x))) }
  }
  layer Within(D, E) {
    first: Linear(D, D)
    moe: MoE(D, 1, E, SoftmaxGate(D, E, 1), MoE(D, 1, E, SoftmaxGate(D, E, 1), Linear(D, D)))
    forward(x: float[N, D]) -> float[N, D] { return moe(x + first(x)) }
  }
  layer Model(V, D, H, E) {
    embed: Embedding(V, D)
    up: Linear(D, H)
    param down: float[H, D] = normal()
    param turned: float[D, D] = normal()
    param split: float[2, D, D] = normal()
    experts: SwiGlu(D, H)[E]
    forward(tokens: i32[N], index: i32[N, K]) -> float[N, V] {
      let x = embed(tokens)
      let y = tanh(up(x)) @ down + x @ transpose(turned, 0, 1) + x @ split[0] + tanh(x) @ split[1]
      return embed.logits(y + sum(experts[index](x), axis: 1))
    }
  }
  model Trained(D) {
    param w: float[D, D] = normal()
    forward(x: float[D, D]) -> float[D, D] { return x @ w }
    train(x: float[D, D]) {
      loss square = mean(forward(x) ** 2)
      optimize with Sgd(lr: 1e-2)
    }
  }
`;

function quantised(of: Handle | undefined, more: Pick<BuildRequest, "sizes"> & Partial<BuildRequest>) {
  if (!of) throw new Error("no declaration");
  const entries = [{ method: "forward", name: "forward", sizes: {} }];
  const request = { declaration: of.name, precision: "f32", weights: "int8", entries, ...more } as const;
  return toGraphs(loadTemplate(of.program), request, silentObserver());
}
const codesOf = (...of: Parameters<typeof quantised>): string[] =>
  quantised(...of).stores.flatMap(({ name, type, quantised: by }) =>
    by ? [`${name} ${type.dtype}[${dims(type).join()}] along ${by.axes.join()}`] : [],
  );
test("codes are what right operands and look-ups alone read, or nothing, with a scale for each column or row", () => {
  for (const precision of ["f32", "bf16"] as const)
    assert.equal(codesOf(Read, { sizes: { D: 4 }, precision }), [
      "turned i8[4,4] along 1",
      "split i8[2,4,4] along 1",
      "joined i8[2,4,4] along 0,1",
      "unread i8[4,4] along 0",
    ]);
  assert.equal(
    codesOf(Biased, { sizes: { D: 4, E: 3, N: 2 } }),
    ["experts.*.weight i8[3,4,4] along 1"],
    "an expert's bias is no row of a table",
  );
  assert.equal(
    codesOf(Chosen, { sizes: { D: 4, E: 3, N: 2 } }),
    ["up.weight i8[4,4] along 0", "moe.experts.*.weight i8[3,4,4] along 1"],
    "a gate chooses what it chose",
  );
  assert.equal(
    codesOf(Within, { sizes: { D: 4, E: 3, N: 2 } }),
    ["first.weight i8[4,4] along 0", "moe.experts.*.experts.*.weight i8[3,3,4,4] along 2"],
    "so does a gate in an expert",
  );
  assert.equal(codesOf(Model, { sizes: { V: 5, D: 4, H: 3, E: 2, N: 2, K: 1 } }), [
    "embed.weight i8[5,4] along 1",
    "up.weight i8[4,3] along 0",
    "down i8[3,4] along 0",
    "turned i8[4,4] along 1",
    "split i8[2,4,4] along 1",
    "experts.*.gate.weight i8[2,4,3] along 1",
    "experts.*.up.weight i8[2,4,3] along 1",
    "experts.*.down.weight i8[2,3,4] along 1",
  ]);
});
test("a product reads codes, and its columns are multiplied by their scales", () => {
  const { graphs } = quantised(Trained, { sizes: { D: 4 } });
  const forward = graphs.find((g) => g.name === "forward");
  const flops = nodesOf(forward as Graph).map((node) => node.op.flops(node));
  assert.is(sum(flops), 2 * 4 ** 3 + 4 ** 2);
  assert.is(
    forward && printGraph(forward).trim(),
    `graph forward {
  %0 = param forward/x : f32[4, 4]
  %1 = param w : i8[4, 4]
  %2 = cast(%1) f32 : f32[4, 4]
  %3 = dot(%0, %2) : f32[4, 4]
  %4 = param w scales : f32[1, 4]
  %5 = reshape(%4) : f32[4]
  %6 = broadcast(%5) axes=[1] : f32[4, 4]
  %7 = mul(%3, %6) : f32[4, 4]
  output 0 = %7
}`,
  );
});

const { Sum, Empty } = moe<"Sum" | "Empty">`
  layer Sum(D) {
    param table: float[4, D] = 0
    param w: float[D, D] = 0
    forward(x: float[2, 3], y: float[2, D], rows: i32[3]) -> float[2, D] { return x @ table[rows] + y @ w }
  }
  layer Empty(D) {
    param w: float[D, D] = 1
    param x: float[2, D] = 1
    forward(y: float[2, D]) -> float[2, D, 0] { return (y @ w)[..., new] @ reshape(x[:0], [2, 1, 0]) }
  }
`;
test("a product sums one pair of codes, and one of rows of codes that are looked up", async () => {
  const parameters = new Map([
    ["table", tensor("f32", [4, 2], [127, -3, 1, 127, 127, 2, -127, 64])],
    ["w", tensor("f32", [2, 2], [127, 4, -3, 127])],
  ]);
  const given = {
    x: tensor("f32", [2, 3], [1, 2, 3, 4, 5, 6]),
    y: tensor("f32", [2, 2], [1, 0, 2, 1]),
    rows: tensor("i32", [3], [3, 0, 2]),
  };
  const found = [];
  for (const more of [{ weights: "int8" }, {}] as const) {
    const program = await compile(Sum, { sizes: { D: 2 }, target: "reference", ...more });
    program.load(parameters); // numbers that are codes already
    found.push((await program.run(given)).outputs);
    program.close();
  }
  assert.equal(found[0], found[1]);
  assert.equal([...(found[0]?.[0]?.data ?? [])], [635, 68, 1140, 388]);
});
const { Views } = moe<"Views">`
  layer Each(D) {
    param w: float[D, D] = 1
    forward(x: float[D]) -> float[D] { return x @ w }
  }
  layer Views(D) {
    param returned: float[D, D] = 1
    param apart: float[2, D, 3] = 1
    param zero: float[2 * D, D] = 0
    each: Each(D)[2]
    forward(x: float[2, D], six: float[2, 6], wide: float[2, 2 * D]) -> (float[2, D], float[D, D]) {
      let y = x @ returned + six @ reshape(transpose(apart, 1, 2), [6, D]) + wide @ reshape(each[:].w, [2 * D, D])
      return y + wide @ zero + wide[:, 1:3] @ zero[1:3], returned
    }
  }
`;
/** Codes, of which each column has the largest. */
const filled = (...shape: number[]): Tensor =>
  tensor(
    "f32",
    shape,
    Array.from({ length: product(shape) }, (_, i) => (i % 5 === 0 ? 127 : ((i * 37) % 254) - 127)),
  );
test("what is returned, what lies apart along a column, and columns over several copies stay floats; a part of a column has its scale", async () => {
  const D = 4;
  assert.equal(codesOf(Views, { sizes: { D } }), ["zero i8[8,4] along 0"]);
  const given = { x: filled(2, D), six: filled(2, 6), wide: filled(2, 2 * D) };
  for (const loaded of [false, true]) {
    const found = [];
    for (const more of [{ weights: "int8" }, {}] as const) {
      const program = await compile(Views, { sizes: { D }, target: "reference", ...more });
      if (loaded) program.load(new Map([...program.parameters()].map(([name, { shape }]) => [name, filled(...shape)])));
      found.push((await program.run(given)).outputs);
      program.close();
    }
    assert.equal(found[0], found[1]);
  }
});
test("a parameter of which no element is read is no obstacle", () =>
  assert.equal(codesOf(Empty, { sizes: { D: 3 } }), ["w i8[3,3] along 0"]));

type Sizes = Readonly<Record<"V" | "D" | "H" | "E" | "N" | "K", number>>;
const floats = (draw: () => number, ...shape: number[]): Tensor =>
  tensor(
    "f32",
    shape,
    Array.from({ length: product(shape) }, () => 4 * draw() - 2),
  );
const below = (n: number, draw: () => number, ...shape: number[]): Tensor =>
  tensor(
    "i32",
    shape,
    Array.from({ length: product(shape) }, () => Math.floor(n * draw())),
  );
async function resultOf(sizes: Sizes, options: CompileOptions, parameters?: ReadonlyMap<string, Tensor>) {
  const program = await compile(Model, { sizes, threads: 2, ...options });
  try {
    const begun = program.parameters();
    if (parameters) program.load(parameters);
    const draw = generator("inputs");
    const { V, E, N, K } = sizes;
    const index = below(Math.max(1, E - 1), draw, N, K); // the last expert has no rows
    const { outputs } = await program.run({ tokens: below(V, draw, N), index });
    return { y: numbers(outputs[0] as Tensor), parameters: program.parameters(), begun, report: program.report };
  } finally {
    program.close();
  }
}
/** Drawn parameters; one column of each matrix, or element of each row, is zeros. */
function drawn(like: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const draw = generator("parameters");
  return new Map(
    [...like].map(([name, { shape }]) => {
      const [columns = 1, all] = [shape.at(-1), numbers(floats(draw, ...shape))];
      return [
        name,
        tensor(
          "f32",
          shape,
          all.map((x, i) => (columns > 2 && i % columns === 1 ? 0 : x)),
        ),
      ];
    }),
  );
}
/** Half of a column's scale, or of a row's, what a scale is off, and what the numbers were before. */
function requireRounded(codes: ReadonlyMap<string, Tensor>, exact: ReadonlyMap<string, Tensor>, before = 0): void {
  for (const [name, t] of exact) {
    const most = Math.max(...numbers(t).map(Math.abs));
    near(numbers(codes.get(name) as Tensor), numbers(t), name, 0.503 / 127 + before);
    assert.ok(most > 0 || product(t.shape) === 1, name);
  }
}
/** Few rows and many, columns in panels and not, an expert without rows, everything of size 1. */
const cases: readonly (readonly [Sizes, "f32" | "bf16"])[] = [
  [{ V: 97, D: 64, H: 192, E: 5, N: 1, K: 2 }, "f32"],
  [{ V: 128, D: 53, H: 64, E: 3, N: 61, K: 1 }, "f32"],
  [{ V: 67, D: 64, H: 37, E: 4, N: 13, K: 2 }, "bf16"],
  [{ V: 128, D: 192, H: 67, E: 2, N: 70, K: 2 }, "bf16"],
  [{ V: 1, D: 1, H: 1, E: 1, N: 2, K: 1 }, "f32"],
];
for (const [sizes, precision] of cases)
  test(`kernels give what the interpreter does, and what the numbers give that codes stand for: ${precision}, ${Object.values(sizes).join(" ")}`, async () => {
    const plain = await resultOf(sizes, { target: "reference" });
    const weights = drawn(plain.begun);
    const [host, reference] = await Promise.all([
      resultOf(sizes, { precision, weights: "int8" }, weights),
      resultOf(sizes, { precision, weights: "int8", target: "reference" }, weights),
    ]);
    const error = precision === "f32" ? 2e-5 : 2e-2;
    near(host.y, reference.y, "interpreter", error);
    assert.equal(host.parameters, reference.parameters);
    requireRounded(host.parameters, weights);
    requireRounded(host.begun, plain.begun, precision === "bf16" ? 2 ** -8 : 0);
    near(host.y, (await resultOf(sizes, { target: "reference" }, host.parameters)).y, "numbers", error);
    near(host.y, (await resultOf(sizes, { target: "reference" }, weights)).y, "unrounded", 5e-2);
  });

test("the activations of a program are its entry's, not what codes are made of", async () => {
  const program = await compile(Trained, { sizes: { D: 64 }, weights: "int8" });
  assert.is(program.report.activations, 4 * 64 ** 2, "its output");
  program.close();
});
test("a weight is not quantised that is not finite", async () => {
  const program = await compile(Trained, { sizes: { D: 3 }, target: "reference", weights: "int8" });
  const w = tensor("f32", [3, 3], [1, 2, 3, 4, Number.POSITIVE_INFINITY, 6, 7, 8, 9]);
  assert.throws(() => program.load(new Map([["w", w]])), /`w` has an element that is not finite/);
  assert.throws(() => program.load(new Map([["w", tensor("f32", [3, 2], [1, 2, 3, 4, 5, 6])]])), /\[3, 2\]/);
  program.load(new Map([["w", tensor("f32", [3, 3], [127, 0, -254, 63.5, 0, 127, 63.5, 0, 63.5])]]));
  // halves of a scale go to the even code
  assert.equal([...program.read("w").data], [127, 0, -254, 64, 0, 128, 64, 0, 64]);
  program.close();
});
test("what cannot be is refused: gradients, training, other formats", async () => {
  const sizes = { D: 4 };
  await assertProblem(() => compile(Trained, { sizes, weights: "int8", gradients: true }), "no gradients", "leave");
  await assertProblem(
    () => compile(Trained, { sizes, weights: "int8", entry: "train" }),
    "no matrix can be kept as codes",
    "adapters",
  );
  await assertProblem(() => compile(Trained, { sizes, weights: "int4" as "int8" }), "no weights int4", "int8");
});
test("a run is evaluated, and writes text, with its weights in 8 bits", async () => {
  const root = temporaryFolder();
  const [program, data] = [join(root, "gpt.moe"), join(root, "text")];
  writeFileSync(program, readFileSync(join(project, "examples/gpt-moe.moe")));
  writeFileSync(data, "Some years ago, never mind how long precisely, having little or no money. ".repeat(20));
  const set = { L: 1, D: 16, H: 24, E: 4, Heads: 2, Context: 64 };
  const folder = join(root, "run");
  const training = { program, data: [data], batch: 2, length: 12, steps: 4, set, out: folder } as const;
  for await (const _ of train({ ...training, target: "reference" })) continue;
  const lines: string[] = [];
  const told = { folder, weights: "int8", tell: (line: string) => lines.push(line) } as const;
  const losses = [];
  for (const how of [{ folder }, told, { ...told, target: "reference" } as const])
    losses.push((await evaluate({ ...how, data: [data] })).loss);
  const [exact = Number.NaN, host = Number.NaN, reference = Number.NaN] = losses;
  assert.ok(Math.abs(host - reference) < 1e-5, `${host} and ${reference}`);
  assert.ok(Math.abs(host - exact) < 5e-3 && host !== exact, `${host} and ${exact}`);
  let text = "";
  for await (const piece of generate({ ...told, prompts: ["So"], tokens: 8, temperature: 0 })) text += piece.text;
  const model = await openModel(folder, { weights: "int8", batch: 1 });
  let again = "";
  for await (const piece of model.generate("So", { tokens: 8, temperature: 0 })) again += piece;
  await model.close();
  assert.is(text, again);
  assert.is(text.length, 8);
  assert.match(lines.join(), /^9\d.\d % of the parameters in 8 bits: [\d.]+ KiB in place of [\d.]+ KiB/);
});
test("the summary counts codes and scales", () => {
  const { stores } = quantised(Trained, { sizes: { D: 64 } });
  const infos = stores.map(
    ({ type, ...s }) => ({ ...s, shape: dims(type), dtype: s.quantised?.dtype ?? "f32" }) as const,
  );
  assert.is(quantisedSummary(infos), "100.0 % of the parameters in 8 bits: 4.25 KiB in place of 16 KiB");
});
test.run();
