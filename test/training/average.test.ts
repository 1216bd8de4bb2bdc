// Averages of the weights (EMA): what AdamW keeps, and that a folder is opened with them in place of the parameters.
import { rejects as assertRejects } from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compile, type Tensor, train } from "../../runtime/index.ts";
import { newestModel } from "../../runtime/storage/checkpoint.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";
import { evaluationBatches } from "../../runtime/training/data.ts";
import { evaluate } from "../../runtime/training/evaluate.ts";
import { problem } from "../assert-problem.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { datasetOfBytes, last, losses, small } from "../training-runs.ts";

const test = suite("average");
const root = temporaryFolder();
const [V, D, keep] = [128, 4, 0.7];
const program = join(root, "averaged.moe");
writeFileSync(
  program,
  small(V, D)
    .replace("AdamW(lr: 0.01)", `AdamW(lr: 0.01, average: ${keep})`)
    .replace("optimize with", "optimize Linear with none\n    optimize with")
    .replace("mix: Linear(D, D)", "mix: Linear(D, D)\n  norms: RmsNorm(D)[2]")
    .replace("Embedding, Linear", "Embedding, Linear, RmsNorm")
    .replace("mix(embed(tokens))", "norms[1](norms[0](mix(embed(tokens))))"),
);
const target = "reference";

test("AdamW keeps a running mean of each trained parameter, matrix or not", async () => {
  const ids = fromNumbers("i32", [1, 8], [5, 3, 9, 1, 0, 7, 2, 5]);
  const batch = { tokens: ids, targets: ids };
  let means: Map<string, number[]> | null = null;
  const averaged = { file: program, declaration: "Small" };
  for await (const { program: of } of train(averaged, { batches: [batch, batch, batch], target, sizes: { V, D } })) {
    const state = of.state();
    const parameters = [...of.parameters()].filter(([name]) => !name.startsWith("mix"));
    assert.is(parameters.length, 3);
    means = new Map(
      parameters.map(([name, t]): [string, number[]] => {
        const before = means?.get(name);
        return [name, Array.from(numbers(t), (x, i) => (before ? keep * (before[i] ?? 0) + (1 - keep) * x : x))];
      }),
    );
    for (const [name, mean] of means) {
      const ema = state.get(`${name}.ema`)?.data ?? [];
      assert.ok(
        mean.every((x, i) => Math.abs(x - (ema[i] ?? Number.NaN)) < 1e-6),
        name,
      );
    }
    assert.not.ok(state.has("mix.weight.ema"));
  }
  assert.ok(means);
});

test("a folder is evaluated with the averages, and with the parameters of which none is kept", async () => {
  const [data, folder] = [join(root, "text"), join(root, "run")];
  const bytes = new TextEncoder().encode("all of it is trained on. ".repeat(20));
  writeFileSync(data, bytes);
  await losses({ program, data: [data], target, batch: 2, length: 8, steps: 5, out: folder });
  const { model, training } = last(folder);
  const expected = new Map([...model].map(([name, t]): [string, Tensor] => [name, training.get(`${name}.ema`) ?? t]));
  assert.equal(
    [...model.keys()].filter((name) => expected.get(name) === model.get(name)),
    ["mix.weight"],
  );
  const evaluated = async (parameters: ReadonlyMap<string, Tensor>): Promise<number> => {
    const source = { file: program, declaration: "Small" };
    const sizes = { V, D, B: 2, T: 8 };
    const one = await compile(source, { entry: "train", evaluates: true, target, sizes });
    one.load(parameters);
    let [sum, count] = [0, 0];
    for (const { tokens, targets, count: n } of evaluationBatches(datasetOfBytes(bytes).all, 2, 8)) {
      sum += n * ((await one.run({ tokens, targets })).losses.get("language") ?? Number.NaN);
      count += n;
    }
    return sum / count;
  };
  const how = { folder, data: [data], target } as const;
  const [plain, averaged] = [await evaluate(how), await evaluate({ ...how, average: "ema" })];
  assert.ok(Math.abs(averaged.loss - (await evaluated(expected))) < 1e-6);
  assert.ok(Math.abs(plain.loss - (await evaluated(model))) < 1e-6);
  assert.ok(Math.abs(plain.loss - averaged.loss) > 1e-4, `${plain.loss} ${averaged.loss}`);
  const { message, help } = problem(() => newestModel(folder, () => {}, "mean"));
  assert.match(message, "has no `mean` of a parameter");
  assert.match(help, "AdamW(average: 0.999)");
  await assertRejects(evaluate({ ...how, average: "mean" }), /no `mean`/);
});
test("a state that has not the parameter's shape is no average of it", async () => {
  const [factored, data, out] = [join(root, "factored.moe"), join(root, "factored-text"), join(root, "factored")];
  writeFileSync(factored, small(V, D).replace("AdamW(lr: 0.01)", "Adafactor()").replace("AdamW", "Adafactor"));
  writeFileSync(data, "all of it is trained on. ".repeat(20));
  await losses({ program: factored, data: [data], target, batch: 2, length: 8, steps: 1, out });
  assert.ok([...last(out).training.keys()].includes("mix.weight.rows"));
  assert.match(problem(() => newestModel(out, () => {}, "rows")).message, "has no `rows` of a parameter, of its shape");
});
test.run();
