// Weights of 8 bits under adapters: what is not trained is codes, the gradients pass through them, and a checkpoint keeps them as they are.
import { rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadTemplate } from "../../compiler/check/index.ts";
import type { Graph } from "../../compiler/graph/node.ts";
import { nodesOf } from "../../compiler/graph/walk.ts";
import { isOfCodes, pairsOf } from "../../compiler/ops/pairs.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toGraphs } from "../../compiler/pipeline.ts";
import { dims } from "../../compiler/types/type.ts";
import { dequantised, quantised } from "../../runtime/codes.ts";
import type { Codes } from "../../runtime/executable/executable.ts";
import { type Handle, moe, numbers, type Tensor, type TrainOptions, tensor } from "../../runtime/index.ts";
import { setCodes, setNumbers } from "../../runtime/int8.ts";
import { mergeRun } from "../../runtime/merge.ts";
import { native } from "../../runtime/native.ts";
import { openWithCodes, readSafetensors } from "../../runtime/storage/safetensors.ts";
import { isCodes } from "../../runtime/storage/stored-tensor.ts";
import { zeros } from "../../runtime/tensor.ts";
import { evaluate } from "../../runtime/training/evaluate.ts";
import { assertProblem } from "../assert-problem.ts";
import { generator } from "../graphs.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { losses } from "../training-runs.ts";
import { near, threeSteps } from "./three-steps.ts";

const test = suite("quantise-train");

const { Adapted, Both, Replaced } = moe<"Adapted" | "Both" | "Replaced">`
  import { normal } from "std/init"
  import { Embedding, Linear, SwiGlu } from "std/nn"
  import { Sgd } from "std/optim"
  model Adapted(V, D, H, E) {
    embed: Embedding(V, D, 0.3)
    up: Linear(D, H, std: 0.12)
    param turned: float[D, H] = normal(std: 0.12)
    param both: float[2, D, D] = normal(std: 0.12)
    experts: SwiGlu(D, H, std: 0.12)[E]
    param a: float[D, D] = normal(std: 0.1)
    train(tokens: i32[N], index: i32[N, K], targets: f32[N, V]) {
      let x = embed(tokens) @ a
      let y = tanh(up(x)) @ transpose(turned, 0, 1) + x @ both[0] + tanh(x @ both[1])
      let z = embed.logits(y + sum(experts[index](tanh(y) + x), axis: 1))
      loss distance = mean((f32(z) - targets) ** 2)
      optimize a with Sgd(lr: 0.1)
    }
  }
  optimizer Follow() { apply(param: f32[...S], grad: f32[...S]) { update param = -grad } }
  model Replaced(D) {
    param w: float[D, D] = normal(std: 0.5)
    train(x: float[D, D]) {
      loss size = sum(f32(x @ w))
      optimize with Follow()
    }
  }
  model Both(D) {
    param w: float[D, D] = normal(std: 0.12)
    param left: float[D, D] = normal(std: 0.12)
    param a: float[D, D] = normal()
    train(x: float[D, D]) {
      let y = x @ a
      loss size = sum(f32(y @ w + y @ transpose(w, 0, 1) + left @ y) ** 2)
      optimize a with Sgd(lr: 1e-2)
    }
  }
`;

type Sizes = Readonly<Record<"V" | "D" | "H" | "E" | "N" | "K", number>>;
/** A training of a model beside weights of 8 bits. */
const trainingOf = (of: Handle | undefined, sizes: object) =>
  toGraphs(
    loadTemplate((of as Handle).program),
    {
      declaration: (of as Handle).name,
      precision: "f32",
      weights: "int8",
      sizes: {},
      entries: [{ method: "train", name: "train", sizes: { ...sizes } }],
    },
    silentObserver(),
  );
/** Its stores of codes. */
const codesOf = (of: Handle | undefined, sizes: object): string[] =>
  trainingOf(of, sizes).stores.flatMap(({ name, type, quantised: by }) =>
    by ? [`${name} ${type.dtype}[${dims(type).join()}] along ${by.axes.join()}`] : [],
  );
test("what is trained stays as it is, what gradients pass through is codes; a weight that the forward reads in two ways is none", () => {
  assert.equal(codesOf(Adapted, { V: 5, D: 4, H: 3, E: 2, N: 2, K: 1 }), [
    "embed.weight i8[5,4] along 1",
    "up.weight i8[4,3] along 0",
    "turned i8[4,3] along 1",
    "both i8[2,4,4] along 1",
    "experts.*.gate.weight i8[2,4,3] along 1",
    "experts.*.up.weight i8[2,4,3] along 1",
    "experts.*.down.weight i8[2,3,4] along 1",
  ]);
  for (const none of [Both, Replaced]) assert.throws(() => codesOf(none, { D: 4 }), /no matrix can be kept as codes/);
});

test("gradients through matrices of codes that are summed are one product of pairs, as gate's and up's", () => {
  const [train] = trainingOf(Adapted, { V: 5, D: 4, H: 3, E: 2, N: 2, K: 1 }).graphs.filter((g) => g.name === "train");
  const products = nodesOf(train as Graph).filter(({ op }) => op.name === "ragged_dot");
  assert.equal(
    products.map((node) => pairsOf(node).filter(([, y]) => isOfCodes(y)).length).toSorted((x, y) => x - y),
    [1, 1, 1, 1, 2],
  );
});

const randoms = (draw: () => number, ...shape: number[]): Tensor =>
  tensor(
    "f32",
    shape,
    Array.from({ length: shape.reduce((x, y) => x * y, 1) }, () => 2 * draw() - 1),
  );
/** Losses of three steps, the trained parameter after them, and all parameters. */
async function trained(sizes: Sizes, options: Omit<TrainOptions, "batches">) {
  const draw = generator("inputs");
  const { V, E, N, K } = sizes;
  const chosen = (n: number, shape: number[]): Tensor => {
    const all = numbers(randoms(draw, ...shape));
    return tensor(
      "i32",
      shape,
      all.map((x) => Math.floor(((x + 1) / 2) * n)),
    );
  };
  const batch = { tokens: chosen(V, [N]), index: chosen(Math.max(1, E - 1), [N, K]), targets: randoms(draw, N, V) };
  const { losses, parameters, of } = await threeSteps(Adapted, batch, { sizes, ...options });
  return { losses, a: of("a"), parameters };
}
/** Few rows and many, columns in panels and not, an expert without rows, everything of size 1. */
const cases: readonly (readonly [Sizes, "f32" | "bf16"])[] = [
  [{ V: 97, D: 64, H: 192, E: 5, N: 3, K: 2 }, "f32"],
  [{ V: 67, D: 53, H: 64, E: 3, N: 61, K: 1 }, "f32"],
  [{ V: 128, D: 64, H: 37, E: 2, N: 70, K: 2 }, "bf16"],
  [{ V: 1, D: 1, H: 1, E: 1, N: 2, K: 1 }, "f32"],
];
for (const [sizes, precision] of cases)
  test(`steps are those that the interpreter makes, and that the numbers make that codes stand for: ${precision}, ${Object.values(sizes).join(" ")}`, async () => {
    const weights = (await trained(sizes, { target: "reference" })).parameters;
    const given = { precision, parameters: weights };
    const host = await trained(sizes, { ...given, weights: "int8" });
    const reference = await trained(sizes, { ...given, weights: "int8", target: "reference" });
    const floats = await trained(sizes, {
      precision,
      parameters: new Map([...host.parameters, ["a", weights.get("a") as Tensor]]),
      target: "reference",
    });
    const error = precision === "f32" ? 2e-5 : 2e-2;
    for (const [what, other] of Object.entries({ reference, floats })) {
      near(host.losses, other.losses, `losses, ${what}`, error);
      near(host.a, other.a, `a, ${what}`, error);
    }
    const moved = host.a.map((x, i) => x - (numbers(weights.get("a") as Tensor)[i] ?? 0));
    const movedSo = floats.a.map((x, i) => x - (numbers(weights.get("a") as Tensor)[i] ?? 0));
    near(moved, movedSo, "the step", precision === "f32" ? 1e-3 : 5e-2);
    for (const [name, t] of host.parameters)
      if (name !== "a") assert.equal(numbers(t), numbers(reference.parameters.get(name) as Tensor), name);
  });

const coded = (t: Tensor, axes: readonly number[]): Codes => quantised("w", t, { code: "int8", axes });
test("what codes stand for has the same codes again, and the addon makes those of the definition", () => {
  const draw = generator("codes");
  native(); // makes them from here on
  for (const [shape, axes] of [
    [[7, 5], [0]],
    [[3, 4, 6], [1]],
    [
      [2, 3, 1, 5],
      [1, 2],
    ],
    [[1, 9], [1]],
    [[4, 1], [0]],
    [[3, 5, 4], [2]],
  ] as const) {
    const wide = randoms(draw, ...shape);
    const first = coded(wide, axes);
    const again = coded(dequantised(first), axes);
    assert.equal(again, first);
    const defined: Codes = { code: "int8", codes: zeros("i8", shape), scales: zeros("f32", first.scales.shape) };
    const data = { numbers: wide.data, codes: defined.codes.data, scales: defined.scales.data };
    const at = axes[0];
    const sizes = [shape.slice(0, at), shape.slice(at, at + axes.length), shape.slice(at + axes.length)];
    const columns = sizes.map((n) => n.reduce<number>((x, y) => x * y, 1)) as [number, number, number];
    assert.ok(setCodes(data, columns));
    assert.equal(defined, first);
    const back = new Float32Array(wide.data.length);
    setNumbers({ ...data, numbers: back }, columns);
    assert.equal(back, dequantised(first).data);
    const broken = Float32Array.from(wide.data);
    broken[1] = Number.NaN;
    assert.throws(() => coded(tensor("f32", shape, broken), axes), /`w` has an element that is not finite \(1\)/);
    assert.ok(Math.max(...first.codes.data) === 127 || Math.min(...first.codes.data) === -127);
  }
});

test("numbers so small that their scale is not exact keep their signs", () => {
  native();
  const small = [1.7e-38, -1.7e-38, 1e-38, -1e-38, 0];
  const { codes, scales } = coded(tensor("f32", [5, 1], small), [0]);
  const [defined, of] = [zeros("i8", [5, 1]), zeros("f32", [1, 1])];
  setCodes({ numbers: Float32Array.from(small), codes: defined.data, scales: of.data }, [1, 5, 1]);
  assert.equal([defined, of], [codes, scales]);
  assert.equal([...codes.data].map(Math.sign), [1, -1, 1, -1, 0]);
});

const root = temporaryFolder();
const program = (name: string): string => join(project, "examples", name);
const file = (run: string, name: string, step = 4): string =>
  join(run, `checkpoints/step-00000${step}/${name}.safetensors`);
test("a run under adapters keeps its codes in checkpoints, goes on with the same bits, and is evaluated and merged", async () => {
  const data = join(root, "text");
  writeFileSync(data, "Some years ago, never mind how long precisely, having little or no money. ".repeat(20));
  const [base, whole, cut] = [join(root, "base"), join(root, "whole"), join(root, "cut")];
  const options = { data: [data], target: "reference", batch: 2, length: 8 } as const;
  const set = { V: 128, D: 8, H: 6, L: 1, Heads: 2, E: 3, Context: 16 };
  await losses({ ...options, program: program("gpt-moe.moe"), set, steps: 3, out: base });
  const how = { ...options, program: program("lora.moe"), set: { R: 2 }, saveEvery: 2 } as const;
  const first = await losses({ ...how, params: base, weights: "int8", steps: 4, out: whole });
  await losses({ ...how, params: base, weights: "int8", steps: 4, out: cut });
  rmSync(join(cut, "checkpoints/step-000004"), { recursive: true });
  const rest = await losses({ ...how, resume: true, out: cut });
  assert.equal(rest, first.slice(2));
  const found = [...openWithCodes(file(whole, "frozen"))].flatMap(([name, t]) =>
    isCodes(t) ? [`${name} ${t.code}`] : [],
  );
  assert.ok(found.includes("blocks.0.feed.experts.2.up.weight i8") && found.includes("embed.weight i8"));
  for (const name of ["model", "frozen", "training"]) {
    const [all, again] = [readSafetensors(file(whole, name)), readSafetensors(file(cut, name))];
    assert.equal(again, all);
    assert.not.ok([...all.keys()].some((of) => of.includes(" ")));
  }
  for (const run of [whole, cut]) assert.is(statSync(file(run, "frozen", 2)).ino, statSync(file(run, "frozen")).ino);
  await assertProblem(
    () => losses({ ...how, resume: true, steps: 5, precision: "bf16", out: cut }),
    "--precision was f32",
    "--from",
  );
  await assertProblem(
    () => losses({ ...how, program: program("gpt-moe.moe"), set, resume: true, steps: 4, weights: "int8", out: base }),
    "--weights was float and is now int8",
    "--from",
  );
  const merged = join(root, "merged");
  await mergeRun({ folder: whole, out: merged, target: "reference", warn: () => {} });
  const lossOf = async (folder: string, weights?: "int8"): Promise<number> =>
    (await evaluate({ folder, data: [data], target: "reference", weights })).loss;
  const exact = await lossOf(whole);
  near([await lossOf(merged)], [exact], "merged", 1e-6);
  near([await lossOf(whole, "int8")], [exact], "in 8 bits", 1e-2);
});
test.run();
