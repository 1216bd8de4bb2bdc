// `moec evaluate`: the loss of what was trained, on any text.
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openModel } from "../../runtime/generation/text-model.ts";
import { runEntry } from "../../runtime/run.ts";
import type { Tokens } from "../../runtime/tokens.ts";
import { evaluate } from "../../runtime/training/evaluate.ts";
import { assertProblem } from "../assert-problem.ts";
import { datasetOfBytes, small, train } from "../training-runs.ts";

const test = suite("evaluate");
const folder = mkdtempSync(join(tmpdir(), "moec-evaluate-"));
test.after(() => rmSync(folder, { recursive: true }));

const bytes = Uint8Array.from({ length: 3000 }, (_, i) => (i * i) % 97);
const file = (name: string, content: Tokens | string): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
const target = "reference";
const shapes = { batch: 4, length: 9 };
/** Trains for three steps; returns the run's folder and its held-out loss. */
async function trained(name: string, program: string, data: string, ids = false): Promise<[string, number]> {
  const out = join(folder, name);
  const options = {
    program: file(`${name}.moe`, program),
    data: [data],
    steps: 3,
    out,
    target,
    ids,
    ...shapes,
  } as const;
  let loss = Number.NaN;
  for await (const { heldOut } of train(options)) loss = heldOut ?? loss;
  return [out, loss];
}

test("the loss on a run's held-out text is the run's own, and that of any text does not depend on how it is cut", async () => {
  const [run, loss] = await trained("bytes", small(256, 8), file("all", bytes));
  const held = file("held", datasetOfBytes(bytes).heldOut.read());
  const own = await evaluate({ folder: run, data: [held], target });
  assert.is(own.loss, loss, "the same rows: the same bits");
  assert.is(own.step, 3);
  assert.is(own.targets, 149);
  assert.equal([...own.losses.keys()], ["language"]);
  const cut = await evaluate({ folder: run, data: [held], target, batch: 1, length: 149 });
  assert.is(cut.targets, 149);
  assert.ok(Math.abs(cut.loss - loss) < 1e-6, "a model that looks at one token");
  assert.is(own.perplexity, Math.exp(loss));
  assert.is(own.bitsPerByte, (loss * 149) / Math.LN2 / 150);
});
test("of token numbers there are no bits a byte; of a loss of another kind no perplexity", async () => {
  const numbers = file("ids", [...bytes].join(" "));
  const [run] = await trained("numbers", small(100, 8), numbers, true);
  const of = await evaluate({ folder: run, data: [numbers], target });
  assert.is(of.targets, 2999);
  assert.ok(of.perplexity !== undefined && of.bitsPerByte === undefined);
  const other = small(256, 8).replace("optimize", "loss size = sum(embed.weight * embed.weight)\n    optimize");
  const [both, loss] = await trained("both", other, file("all", bytes));
  const sum = await evaluate({ folder: both, data: [file("held", datasetOfBytes(bytes).heldOut.read())], target });
  assert.equal([...sum.losses.keys()], ["language", "size"]);
  assert.is(sum.loss, loss);
  assert.ok(sum.perplexity === undefined && sum.bitsPerByte === undefined);
});
test("a run that is read is closed, whatever fails", async () => {
  if (!existsSync("/proc/self/fd")) return;
  const [run] = await trained("closed", small(256, 8), file("all", bytes));
  const held = file("held", datasetOfBytes(bytes).heldOut.read());
  const input = file("input.json", '{ "tokens": [[1, 2]] }');
  const program = join(run, "model.moe");
  const open = readdirSync("/proc/self/fd").length;
  await evaluate({ folder: run, data: [held], target });
  for (const failing of [
    () => evaluate({ folder: run, data: ["none"], target }),
    () => evaluate({ folder: run, data: [held], target, set: { D: 9 } }),
    () => openModel(run, { target }),
    () => runEntry({ program, input, params: run, target, set: { T: 3 } }),
    () => runEntry({ program, input, params: run, target, set: { D: 9 } }),
  ])
    await assertProblem(failing, "", "");
  assert.is(readdirSync("/proc/self/fd").length, open);
});
const step = "train(tokens: i32[B, T], targets: i32[B, T]) {";
test("where `train` leaves all losses to what it calls, all count", async () => {
  const text = small(256, 8);
  const called = text
    .replace(/\n {4}optimize.*/, "")
    .replace(
      step,
      `${step} objective(tokens, targets) optimize with AdamW(lr: 0.01) }\n  ${step.replace("train", "objective")}`,
    );
  const [run, loss] = await trained("called", called, file("all", bytes));
  assert.is(loss, (await trained("own", text, file("all", bytes)))[1]);
  const held = await evaluate({ folder: run, data: [file("held", datasetOfBytes(bytes).heldOut.read())], target });
  assert.equal([...held.losses], [["language", loss]]);
});
test("of a `train` under an `if` that is not taken, the losses are those of the one that is", async () => {
  const text = small(256, 8);
  const chosen = `${text.replace("model Small", "layer Basis")}
    model Small(other = false) = Basis() { if other { ${step} loss size = sum(embed.weight) optimize with none } } }`;
  const [, loss] = await trained("chosen", chosen, file("all", bytes));
  assert.is(loss, (await trained("plain", text, file("all", bytes)))[1]);
});
test("what cannot be evaluated is a Problem", async () => {
  const [run] = await trained("few", small(97, 8), file("all", bytes));
  const of =
    (data: string, where = run) =>
    () =>
      evaluate({ folder: where, data: [data], target });
  await assertProblem(of(file("large", Uint8Array.of(1, 99, 3))), "the data holds", "");
  await assertProblem(of(file("one", "a")), "1 byte", "two");
  await assertProblem(of(join(folder, "none")), "none", "");
  await assertProblem(of(file("all", bytes), folder), "config.json", "give a run: ");
});

test.run();
