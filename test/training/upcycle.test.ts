// Sparse upcycling: an array of layers that weights lack begins as copies of the layer that they have in its place.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { StoreInfo } from "../../runtime/executable/executable.ts";
import { openTransformers } from "../../runtime/import/config.ts";
import { exportModel } from "../../runtime/import/export.ts";
import { transformersTensors } from "../../runtime/import/weights.ts";
import { compile, fit, type Tensor, tensor } from "../../runtime/index.ts";
import { runEntry } from "../../runtime/run.ts";
import { type LoadedParameters, matchParameters, upcycledArrays } from "../../runtime/storage/parameters.ts";
import { readConfig } from "../../runtime/storage/run-folder.ts";
import { allInMemory, inMemory, readAll, type StoredTensor } from "../../runtime/storage/stored-tensor.ts";
import { type CopiedArray, tellCopies } from "../../runtime/storage/upcycle.ts";
import { numbers } from "../../runtime/tensor.ts";
import { openTraining } from "../../runtime/training/train.ts";
import { assertProblem } from "../assert-problem.ts";
import { command } from "../command.ts";
import { full } from "../full.ts";
import { assertClose } from "../peer-results.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { last, losses } from "../training-runs.ts";

const test = suite("upcycle");
const at = temporaryFolder();
const [data, dense, mixed] = [join(at, "text"), join(at, "dense"), join(at, "mixed")];
const file = (name: string, text: string): string => {
  writeFileSync(join(at, name), text);
  return join(at, name);
};
const sizes = "V: 128, D: 8, L: 2, Heads: 2, Groups: 1, Context: 16, base: 1e4, eps: 1e-5, std: 0.3";
const denseProgram = file(
  "dense.moe",
  `import { Llama } from "std/models/decoder"
model Dense(H = 6) = Llama(H: H, ${sizes})`,
);
const mixtureProgram = file(
  "mixture.moe",
  `import { Mixtral } from "std/models/decoder"
model Mixture(H = 6, E = 4) = Mixtral(H: H, E: E, K: 2, ${sizes}, balance: 0)`,
);
const wrappedProgram = file(
  "wrapped.moe",
  `import { Block, LanguageModel } from "std/models/decoder"
import { Attention } from "std/attention"
import { MoE } from "std/moe"
import { TopKGate } from "std/gates"
import { SwiGlu } from "std/nn"
layer Inside(D, H, E) {
  moe: MoE(D, 2, E, TopKGate(D, E, 2, balance: 0), SwiGlu(D, H))
  forward(x: float[...S, D], mask: bool[...S] = true) -> float[...S, D] { return moe(x, mask) }
}
model Wrapped(V = 128, D = 8, H = 6, L = 2, E = 4) =
  LanguageModel(V, D, L, Block(D, Attention(D, 2, 1, Context: 16, base: 1e4), Inside(D, H, E), 1e-5)[L], 1e-5)`,
);
const options = { data: [data], target: "reference", batch: 2, length: 8 } as const;
test.before(async () => {
  writeFileSync(data, "abcdefgh ".repeat(40));
  await losses({ ...options, program: denseProgram, steps: 1, out: dense });
  await losses({ ...options, program: mixtureProgram, steps: 1, out: mixed, params: dense, upcycle: true });
});
function values(t: Tensor | undefined): number[] {
  assert.ok(t);
  return [...numbers(t)];
}
const weights = (): ReadonlyMap<string, Tensor> => last(dense).model;

for (const target of full ? (["reference", "host"] as const) : (["reference"] as const))
  test(`the copies are those of the layer, and scores that sum to 1 give the logits of the dense model, on ${target}`, async () => {
    const how = { sizes: { B: 1, T: 5 }, target };
    const [one, many] = await Promise.all([
      compile({ file: denseProgram }, how),
      compile({ file: mixtureProgram }, how),
    ]);
    try {
      one.load(weights());
      many.load(weights(), { upcycle: true });
      for (const [block, expert] of [
        [0, 0],
        [1, 3],
      ])
        assert.equal(
          many.read(`blocks.${block}.feed.experts.${expert}.up.weight`),
          weights().get(`blocks.${block}.feed.up.weight`),
        );
      assert.equal(many.read("blocks.0.feed.gate.weight").shape, [8, 4]); // the router, which has the name of SwiGlu's own gate
      const tokens = Int32Array.of(97, 98, 99, 100, 101);
      const [{ outputs: as }, { outputs: of }] = [await one.run({ tokens }), await many.run({ tokens })];
      assertClose("logits", of[0], as[0], 1e-5);
    } finally {
      one.close();
      many.close();
    }
  });

test("experts within a layer that the weights lack are copies too: moec run shows the dense model's first loss, and gradients", async () => {
  const input = file("batch.json", JSON.stringify({ tokens: [[1, 2, 3, 4]], targets: [[2, 3, 4, 5]] }));
  const how = { input, params: dense, target: "reference", gradients: true } as const;
  const told: string[] = [];
  const onCopies = (copies: readonly CopiedArray[]): void => void told.push(...copies.map(tellCopies));
  const of = await runEntry({ ...how, program: denseProgram, entry: "Dense.train" });
  const as = await runEntry({ ...how, program: wrappedProgram, entry: "Wrapped.train", upcycle: true, onCopies });
  assertClose("loss", as.get("loss.language"), of.get("loss.language"), 1e-6);
  const same = "grad.embed.weight"; // of what is before all copies
  assertClose(same, as.get(same), of.get(same), 1e-5);
  const copies = "blocks.feed.moe.experts: 4 copies of blocks.feed";
  assert.equal(told, [copies]);
  for (let i = 0; i < 2; i++)
    await runEntry({
      ...how,
      target: "host",
      program: wrappedProgram,
      entry: "Wrapped.train",
      upcycle: true,
      onCopies,
    });
  assert.equal(told, [copies, copies, copies]); // the last time of a program that the cache has
  const drawn = [...as.keys()].filter((name) => name.startsWith("param."));
  assert.equal(drawn, ["param.blocks.0.feed.moe.gate.weight", "param.blocks.1.feed.moe.gate.weight"]);
  const run = (more: object) => () => runEntry({ ...how, program: wrappedProgram, entry: "Wrapped.train", ...more });
  await assertProblem(
    run({}),
    "nothing is named `blocks.0.feed.gate.weight`",
    "begins blocks.feed.moe.experts as 4 copies",
  );
  await assertProblem(run({ params: undefined, upcycle: true }), "--params, which is not given", "the dense model");
});
async function firstLoss(program: string, upcycle?: boolean): Promise<number> {
  const [first = Number.NaN] = await losses({ ...options, program, steps: 1, out: null, params: dense, upcycle });
  return first;
}
test("the first loss is the dense model's, experts then differ, and the run says that it began so", async () => {
  const [of, as] = [await firstLoss(mixtureProgram, true), await firstLoss(denseProgram)];
  assert.ok(Math.abs(of - as) < 1e-5 * as, `${of} and ${as}`);
  const { model } = last(mixed);
  const experts = [0, 1, 2, 3].map((e) => values(model.get(`blocks.0.feed.experts.${e}.up.weight`)).join());
  assert.is(new Set(experts).size, 4);
  assert.is(readConfig(mixed).upcycle, true);
});
test("moec train says what is copied; a run goes on without --upcycle, and another from it too", async () => {
  const flags = ["--data", data, "--target", "reference", "--batch", "2", "--length", "8", "--steps", "3"];
  const from = join(at, "from");
  const begun = ["--params", dense, "--upcycle", "--steps", "1", "--out", join(at, "said")];
  const { stderr } = command(["train", mixtureProgram, ...flags, ...begun]);
  assert.match(stderr, `begins with the parameters of ${dense}, which lacks blocks.0.feed.gate.weight and 1 more\n`);
  assert.match(stderr, "\nblocks.feed.experts: 4 copies of blocks.feed\n");
  await losses({ ...options, program: mixtureProgram, steps: 2, out: mixed, resume: true });
  await losses({ ...options, program: mixtureProgram, steps: 3, from: mixed, out: from });
  assert.is(readConfig(from).upcycle, undefined);
  const again = (more: object) => () => openTraining({ ...options, program: mixtureProgram, out: mixed, ...more });
  await assertProblem(again({ resume: true, upcycle: true }), "--params, which is not given", "needs no --upcycle");
  await assertProblem(again({ upcycle: true, out: null }), "--params, which is not given", "the dense model");
});
test("an upcycled run is exported into the folder of a mixture of its sizes, to be imported again with the same bits", async () => {
  const like = join(project, "test/peers/hf/mixtral");
  const mixtral = "V: 40, D: 16, H: 24, L: 2, Heads: 4, Groups: 2, Context: 64, window: 5";
  const program = (name: string, text: string): string =>
    file(name, `import { Mistral, Mixtral } from "std/models/decoder"\nmodel M() = ${text}`);
  const ids = file("ids", Array.from({ length: 200 }, (_, i) => (i * i) % 37).join(" "));
  const how = { ...options, data: [ids], ids: true, steps: 1 };
  const [of, as, out] = ["small", "sparse", "theirs"].map((name) => join(at, name)) as [string, string, string];
  await losses({ ...how, program: program("small.moe", `Mistral(${mixtral})`), out: of });
  const sparse = program("sparse.moe", `Mixtral(${mixtral}, E: 4, K: 2)`);
  await losses({ ...how, program: sparse, out: as, params: of, upcycle: true });
  exportModel({ folder: as, like, out, warn: assert.unreachable });
  const again = readAll(transformersTensors(openTransformers(out)));
  assert.is(again.size, last(as).model.size);
  for (const [name, t] of last(as).model) assert.equal(again.get(name), t, name);
});
const opened = (more: object) => (): Promise<unknown> =>
  openTraining({ ...options, program: mixtureProgram, steps: 1, out: null, params: dense, ...more });
test("without it nothing is copied, and the error offers it; layers of other sizes, and weights without the layer, are refused", async () => {
  await assertProblem(
    opened({}),
    "`blocks.0.feed.gate.weight` gives f32[8, 6]",
    "`--upcycle` (in TypeScript `upcycle: true`) begins blocks.feed.experts as 4 copies of blocks.feed",
  );
  const finer = opened({ upcycle: true, set: { H: 3 } });
  await assertProblem(
    finer,
    "gives f32[8, 6] for each copy of `blocks.feed.experts.gate.weight`, which is f32[8, 3]",
    "--set",
  );
  await assertProblem(opened({ upcycle: true, params: mixed }), "has no layer for `--upcycle`", "leave the option out");
});
test("in TypeScript fit and train take it, with parameters", async () => {
  const row = { tokens: new Int32Array(8).fill(97), targets: new Int32Array(8).fill(98) };
  const how = { sizes: { B: 1, T: 8 }, target: "reference", batches: [row] } as const;
  const fitted = await fit({ file: mixtureProgram }, { ...how, parameters: weights(), upcycle: true });
  const distance = values(fitted.get("blocks.0.feed.experts.2.down.weight")).map((x, i) =>
    Math.abs(x - (values(weights().get("blocks.0.feed.down.weight"))[i] ?? Number.NaN)),
  );
  assert.ok(Math.max(...distance) < 1e-3, String(Math.max(...distance))); // a step's
  const mixture = { file: mixtureProgram };
  await assertProblem(() => fit(mixture, { ...how, upcycle: true }), "none are given", "the dense model");
  await assertProblem(() => fit(mixture, { ...how, parameters: weights() }), "gives f32[8, 6]", "upcycle: true");
});

const store = (name: string, ...shape: number[]): StoreInfo => ({
  name,
  role: "parameter",
  dtype: "f32",
  shape,
  stack: name.split("*").length - 1,
  saved: true,
});
const given = (tensors: Readonly<Record<string, readonly number[]>>): LoadedParameters => ({
  path: "weights",
  upcycle: true,
  tensors: allInMemory(new Map(Object.entries(tensors).map(([name, x]) => [name, tensor("f32", [x.length], [...x])]))),
});
/** What each store is given; null: nothing. */
const matched = (stores: readonly StoreInfo[], weights: LoadedParameters): (number[] | null)[] =>
  matchParameters(stores, weights).map(({ value }) => value && values(value.read()));
test("an array may have any name, lie in others that the weights have or lack, and be of layers with numbers of their own", () => {
  const one = given({ "blocks.0.w": [1, 2], "blocks.1.w": [3, 4], "heads.0.w": [5] });
  const nested = [store("blocks.*.groups.*.experts.*.w", 2, 2, 3, 2), store("heads.*.w", 1, 1)];
  const copies = Array.from({ length: 24 }, (_, i) => (i < 12 ? 1 : 3) + (i % 2));
  assert.equal(matched(nested, one), [copies, [5]]);
  assert.equal(upcycledArrays(nested, one), [{ array: "blocks.groups.experts", layer: "blocks", count: 6 }]);
  const apart = [0, 1, 2].map((i) => store(`specialists.${i}.heads.*.w`, 2, 1));
  const inner = given({ "heads.0.w": [7], "heads.1.w": [8] });
  assert.equal(matched(apart, inner), [
    [7, 8],
    [7, 8],
    [7, 8],
  ]);
  assert.equal(upcycledArrays(apart, inner), [{ array: "specialists", layer: "", count: 3 }]);
  assert.equal(matched([store("experts.*.heads.*.w", 3, 2, 1)], inner), [[7, 8, 7, 8, 7, 8]]);
  const layer = { ...given({ "gate.weight": [1] }), upcycle: false }; // not the matrix that the array's layers have by this name
  assert.equal(upcycledArrays([store("experts.*.gate", 2, 1)], layer), []);
});
test("what is copied is the nearest layer around the array that the weights have, and no other", () => {
  const weights = given({ w: [1], "feed.w": [2], "feed.inner.w": [3], "feed.bias": [4] });
  const near = store("feed.inner.moe.experts.*.w", 2, 1);
  const all = [store("w", 1), store("feed.w", 1), near, store("feed.moe.deep.experts.*.bias", 2, 1)];
  assert.equal(matched(all, weights), [[1], [2], [3, 3], [4, 4]]);
  assert.equal(upcycledArrays([near], weights), [{ array: "feed.inner.moe.experts", layer: "feed.inner", count: 2 }]);
  assert.equal(upcycledArrays([store("feed.inner.moe.experts.*.bias", 2, 1)], { ...weights, upcycle: false }), []);
});
test("an array that the weights have is kept; what a layer lacks begins as the program says", () => {
  const stores = [
    store("blocks.*.norm", 2, 1),
    store("norm", 1),
    store("blocks.*.experts.*.a", 2, 2, 1),
    store("blocks.*.experts.*.w", 2, 2, 1),
  ];
  const weights = given({ norm: [1], "blocks.0.w": [2], "blocks.1.w": [3] });
  assert.equal(matched(stores, weights), [null, [1], null, [2, 2, 3, 3]]);
});
test("several arrays may be copies of one layer", () => {
  const stores = [store("blocks.*.feed.experts.*.w", 2, 3, 1), store("blocks.*.feed.shared.*.w", 2, 2, 1)];
  const weights = given({ "blocks.0.feed.w": [1], "blocks.1.feed.w": [2] });
  assert.equal(matched(stores, weights), [
    [1, 1, 1, 2, 2, 2],
    [1, 1, 2, 2],
  ]);
  assert.equal(upcycledArrays(stores, weights), [
    { array: "blocks.feed.experts", layer: "blocks.feed", count: 3 },
    { array: "blocks.feed.shared", layer: "blocks.feed", count: 2 },
  ]);
});
test("weights that an array would be copies of, and that fit a member of their own name too, are a Problem", async () => {
  const experts = store("feed.experts.*.w", 2, 1);
  const weights = given({ norm: [1], "feed.w": [2] });
  const added = () => matchParameters([store("norm", 1), store("adapters.*.norm", 2, 1), experts], weights);
  await assertProblem(added, "`norm` could be for itself, or for each copy of `adapters.norm`", "something else");
  assert.equal(matched([store("norm", 1), store("adapters.*.norm2", 2, 1), experts], weights), [[1], null, [2, 2]]);
  const some = [store("blocks.0.w", 1), store("blocks.1.experts.*.w", 2, 1)]; // a dense block, and a mixture
  assert.equal(matched(some, given({ "blocks.0.w": [1], "blocks.1.w": [2] })), [[1], [2, 2]]);
});
test("what is for no copy is a Problem, and so is a layer that some blocks lack", async () => {
  const stores = [store("blocks.*.experts.*.w", 2, 2, 1)];
  const refused = (tensors: Readonly<Record<string, readonly number[]>>, message: string, help: string) =>
    assertProblem(() => matchParameters(stores, given(tensors)), message, help);
  await refused(
    { "blocks.0.w": [1], "blocks.1.w": [2], "blocks.0.bias": [3] },
    "nothing is named `blocks.0.bias`",
    "blocks.0.experts.0.w",
  );
  const pairs = [store("blocks.*.experts.*.w", 2, 2)];
  const three = () => matchParameters(pairs, given({ "blocks.w": [1, 2, 3] }));
  await assertProblem(three, "nothing is named `blocks.w (2 of its 3 copies)`", "blocks.0.experts.0.w");
  await refused({ "blocks.0.w": [1] }, "has `blocks.0.w` but not `blocks.1.w`", "every copy");
  await refused({ "blocks.0.experts.0.w": [1] }, "has no layer for", "leave the option out");
});
test("each layer is read once for all of its copies, and no more than one is kept", () => {
  const reads: string[] = [];
  const counted = (name: string, t: Tensor): [string, StoredTensor] => [
    name,
    { ...inMemory(t), read: (index) => (reads.push(name), inMemory(t).read(index)) },
  ];
  const matrix = tensor("f32", [2, 2], [1, 2, 3, 4]);
  const tensors = new Map([counted("blocks.0.w", matrix), counted("blocks.1.w", matrix)]);
  const [match] = matchParameters([store("blocks.*.experts.*.w", 2, 5, 2, 2)], {
    path: "weights",
    upcycle: true,
    tensors,
  });
  assert.is(reads.length, 0);
  const copies = [0, 1].flatMap((b) => [0, 1, 2, 3, 4].map((e) => match?.value?.read([b, e])));
  assert.equal(reads, ["blocks.0.w", "blocks.1.w"]);
  assert.ok(copies.every((copy) => copy && values(copy).join() === "1,2,3,4"));
});
test.run();
