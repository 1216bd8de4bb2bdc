// Weights of 4 bits: which parameters become codes of 4 bits and which of 8, that kernels give what the interpreter does, and the numbers that codes stand for,
// in the forward and in the gradients; no kernel but one that multiplies by a weight makes its numbers.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadTemplate } from "../../compiler/check/index.ts";
import type { Graph } from "../../compiler/graph/node.ts";
import { printGraph } from "../../compiler/graph/print.ts";
import { nodesOf } from "../../compiler/graph/walk.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { type BuildRequest, toGraphs, toPlan } from "../../compiler/pipeline.ts";
import { product, sum } from "../../compiler/types/numbers.ts";
import { dims } from "../../compiler/types/type.ts";
import {
  type CompileOptions,
  compile,
  type Handle,
  moe,
  numbers,
  type Tensor,
  type TrainOptions,
  tensor,
} from "../../runtime/index.ts";
import { generator } from "../graphs.ts";
import { near, threeSteps } from "./three-steps.ts";

const test = suite("quantise-fp4");

const { Body, Dense, Trained, Views } = moe<"Body" | "Dense" | "Trained" | "Views">`
  import { Attention } from "std/attention"
  import { normal } from "std/init"
  import { Embedding, Linear, SwiGlu } from "std/nn"
  import { Sgd } from "std/optim"
  layer Body(V, D, H, E) {
    embed: Embedding(V, D, 0.3)
    attention: Attention(D, 2, std: 0.12)
    shared: SwiGlu(D, H, std: 0.12)
    experts: SwiGlu(D, H, std: 0.12)[E]
    param split: float[2, D, H] = normal(std: 0.12)
    param down: float[H, D - 3] = normal(std: 0.12)
    forward(tokens: i32[B, T], at: i32[B, T], index: i32[B * T, K]) -> float[B * T, V] {
      let x = reshape(attention(embed(tokens), at), [B * T, D])
      let y = x + shared(x) + sum(experts[index](x), axis: 1)
      let narrow = (tanh(y @ split[0]) + y @ split[1]) @ down
      return embed.logits(y + concat([narrow, y[:, :3]], axis: 1))
    }
  }
  model Trained(V, D, H, E) {
    body: Body(V, D, H, E)
    param a: float[V, V] = normal(std: 0.1)
    train(tokens: i32[B, T], at: i32[B, T], index: i32[B * T, K], targets: f32[B * T, V]) {
      loss distance = mean((f32(body(tokens, at, index) @ a) - targets) ** 2)
      optimize a, body.attention.query with Sgd(lr: 0.1)
    }
  }
  layer Dense(D) {
    param w: float[D, D] = normal()
    forward(x: float[N, D]) -> float[N, D] { return x @ w }
  }
  layer Views(D) {
    param turned: float[D, D] = normal()
    param both: float[2, D, D] = normal()
    param joined: float[2, D, D] = normal()
    param short: float[D - 1, D] = normal()
    param table: float[D, D] = normal()
    forward(x: float[N, D], i: i32[N]) -> float[N, D] {
      let cut = x @ both[0] + x[:, 1:] @ short + concat([x, x], axis: 1) @ reshape(joined, [2 * D, D])
      return x @ transpose(turned, 0, 1) + cut + table[i]
    }
  }
`;

const graphsOf = (
  of: Handle | undefined,
  method: string,
  sizes: object,
  how: Partial<Pick<BuildRequest, "precision" | "weights" | "kept">> = { weights: "fp4" },
) =>
  toGraphs(
    loadTemplate((of as Handle).program),
    {
      declaration: (of as Handle).name,
      precision: "f32",
      ...how,
      sizes: { ...sizes },
      entries: [{ method, name: method, sizes: {} }],
    },
    silentObserver(),
  );
test("what a file has in 4 bits stays so where the program's matrix has whole groups; else its shape is told as it is read", () => {
  const kept = new Map([["w", { code: "fp4", axes: [-2] } as const]]);
  const codes = [64, 48].map((D) =>
    graphsOf(Dense, "forward", { D, N: 2 }, { kept }).stores.map((s) => s.quantised?.code),
  );
  assert.equal(
    codes.map((all) => all.includes("fp4")),
    [true, false],
  );
});
test("a matrix of one number stays in 8 bits as a file has it, whose scale does not tell along which axis its column is", () => {
  const kept = new Map([["w", { code: "int8", axes: [] } as const]]);
  const { stores } = graphsOf(Dense, "forward", { D: 1, N: 2 }, { kept });
  assert.equal(
    stores.flatMap((s) => (s.quantised ? [s.name, s.quantised.axes] : [])),
    ["w", [0]],
  );
});
test("codes of 4 bits are matrices with whole groups of 32 down the last axis but one; others are codes of 8", () => {
  const { stores } = graphsOf(Views, "forward", { D: 64, N: 2 });
  const scales = new Map(stores.map((s) => [s.name, `${s.type.dtype}[${dims(s.type).join()}]`]));
  assert.equal(
    stores.flatMap(({ name, type, quantised: by }) =>
      by ? [`${name} ${by.code} i8[${dims(type).join()}] ${scales.get(by.scales)}`] : [],
    ),
    [
      "turned int8 i8[64,64] f32[64,1]",
      "both fp4 i8[2,32,64] bf16[2,2,64]",
      "joined int8 i8[2,64,64] f32[1,1,64]",
      "short int8 i8[63,64] f32[1,64]",
      "table int8 i8[64,64] f32[64,1]",
    ],
  );
});
test("numbers are made of codes without an operation of the program", () => {
  for (const precision of ["f32", "bf16"] as const) {
    const { graphs } = graphsOf(Dense, "forward", { D: 64, N: 2 }, { weights: "fp4", precision });
    const forward = graphs.find((g) => g.name === "forward") as Graph;
    assert.is(sum(nodesOf(forward).map((node) => node.op.flops(node))), 2 * 2 * 64 ** 2, precision);
  }
});
test("a product reads the numbers of its codes; views are above them", () => {
  const { graphs } = graphsOf(Views, "forward", { D: 32, N: 1 });
  const text = printGraph(graphs.find((g) => g.name === "forward") as Graph);
  assert.match(text, /%(\d+) = from_fp4\(%\d+, %\d+\) : f32\[2, 32, 32\]\n.*slice\(%\1\)/);
});

type Sizes = Readonly<Record<"V" | "D" | "H" | "E" | "B" | "T" | "K", number>>;
const drawn = (draw: () => number, ...shape: number[]): Tensor =>
  tensor(
    "f32",
    shape,
    Array.from({ length: product(shape) }, () => 2 * draw() - 1),
  );
/** A batch; the last expert has no rows. */
function batchOf({ V, E, B, T, K }: Sizes) {
  const draw = generator("inputs");
  const below = (n: number, ...shape: number[]): Tensor =>
    tensor(
      "i32",
      shape,
      Array.from({ length: product(shape) }, () => Math.floor(n * draw())),
    );
  const at = tensor(
    "i32",
    [B, T],
    Array.from({ length: B * T }, (_, i) => i % T),
  );
  return {
    inputs: { tokens: below(V, B, T), at, index: below(Math.max(1, E - 1), B * T, K) },
    targets: drawn(draw, B * T, V),
  };
}
async function resultOf(sizes: Sizes, options: CompileOptions, parameters?: ReadonlyMap<string, Tensor>) {
  const program = await compile(Body, { sizes, threads: 2, ...options });
  try {
    const begun = program.parameters();
    if (parameters) program.load(parameters);
    const { outputs } = await program.run(batchOf(sizes).inputs);
    return { y: numbers(outputs[0] as Tensor), parameters: program.parameters(), begun };
  } finally {
    program.close();
  }
}
/** Losses of three steps, the trained matrices after them, and all parameters. */
async function trained(sizes: Sizes, options: Omit<TrainOptions, "batches">) {
  const { inputs, targets } = batchOf(sizes);
  const { losses, parameters, of } = await threeSteps(Trained, { ...inputs, targets }, { sizes, ...options });
  return { losses, a: of("a"), query: of("body.attention.query.weight"), parameters };
}
const error = { f32: 2e-5, bf16: 2e-2 } as const;
/** Few rows and many, columns in panels and not, depths of one group and of several. */
const cases: readonly (readonly [Sizes, "f32" | "bf16"])[] = [
  [{ V: 97, D: 64, H: 192, E: 5, B: 1, T: 3, K: 2 }, "f32"],
  [{ V: 67, D: 128, H: 160, E: 3, B: 1, T: 35, K: 2 }, "bf16"],
];
for (const [sizes, precision] of cases) {
  const name = `${precision}, ${Object.values(sizes).join(" ")}`;
  test(`kernels give what the interpreter does, and the numbers that codes stand for: ${name}`, async () => {
    const { begun } = await resultOf(sizes, { target: "reference" });
    const [host, reference] = await Promise.all([
      resultOf(sizes, { precision, weights: "fp4" }, begun),
      resultOf(sizes, { precision, weights: "fp4", target: "reference" }, begun),
    ]);
    near(host.y, reference.y, "interpreter", error[precision]);
    assert.equal(host.parameters, reference.parameters);
    near(host.y, (await resultOf(sizes, { target: "reference" }, host.parameters)).y, "numbers", error[precision]);
    for (const [what, t] of begun) {
      near(numbers(host.begun.get(what) as Tensor), numbers(t), what, precision === "f32" ? 0.18 : 0.19);
      assert.ok(
        numbers(host.begun.get(what) as Tensor).some((x) => x !== 0),
        what,
      );
    }
  });
  test(`so it is in the steps of what is trained beside them: ${name}`, async () => {
    const weights = (await trained(sizes, { target: "reference" })).parameters;
    const given = { precision, parameters: weights };
    const host = await trained(sizes, { ...given, weights: "fp4" });
    const reference = await trained(sizes, { ...given, weights: "fp4", target: "reference" });
    const begun = new Map(
      [...host.parameters].map(([w, t]) => [w, w === "a" || w.includes("query") ? (weights.get(w) ?? t) : t]),
    );
    const floats = await trained(sizes, { precision, parameters: begun, target: "reference" });
    for (const [what, other] of Object.entries({ reference, floats })) {
      near(host.losses, other.losses, `losses, ${what}`, error[precision]);
      for (const w of ["a", "query"] as const) near(host[w], other[w], `${w}, ${what}`, error[precision]);
    }
  });
}
test("no weight is in memory as numbers, in any form", () => {
  const sizes = { V: 64, D: 128, H: 256, E: 8, B: 1, T: 2, K: 1 };
  for (const precision of ["f32", "bf16"] as const) {
    const made = graphsOf(Body, "forward", sizes, { precision, weights: "fp4" });
    const { activations } = toPlan(made, silentObserver()).bytes;
    const least = 4 * sizes.D * sizes.D; // of the smallest weight, in f32
    assert.ok(activations > 0 && activations < least / 2, `${precision}: ${activations} of ${least} bytes`);
  }
});
test.run();
