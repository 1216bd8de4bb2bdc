// Whole runs by the interpreter: what they begin with, how they go on, what of them is refused before anything is written.
import { rejects as assertRejects } from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { generate } from "../../runtime/generation/generate.ts";
import { openTransformers } from "../../runtime/import/config.ts";
import { bestOf } from "../../runtime/storage/checkpoint-folder.ts";
import { readConfig } from "../../runtime/storage/run-folder.ts";
import { writeSafetensors } from "../../runtime/storage/safetensors.ts";
import { zeros } from "../../runtime/tensor.ts";
import { readDataset } from "../../runtime/training/data.ts";
import { evaluate } from "../../runtime/training/evaluate.ts";
import { openTraining } from "../../runtime/training/train.ts";
import type { TrainOptions } from "../../runtime/training/train-options.ts";
import { problem, rejectedProblem } from "../assert-problem.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { last, losses as lossesOf, small, train } from "../training-runs.ts";

const test = suite("training-runs");
const root = temporaryFolder();
let folders = 0;
const fresh = (): string => join(root, String(folders++));

test("text with bytes that the model has no token for is refused before anything is written", async () => {
  const [data, out] = [join(root, "text"), fresh()];
  const set = { V: 100, D: 8, H: 8, L: 1, Heads: 2, E: 2, K: 1, Context: 16 };
  const options = { program: "examples/gpt-moe.moe", target: "reference", set, batch: 1, length: 8, out } as const;
  writeFileSync(data, `${"abc".repeat(99)}d`);
  await assertRejects(openTraining({ ...options, data: [data] }), /token 100, .* 0 to 99/);
  assert.not.ok(existsSync(join(out, "config.json")));
  (await openTraining({ ...options, set: { ...set, V: 101 }, data: [data] })).close();
});
test("a run on token numbers has batches of them, and goes on with them unasked", async () => {
  const [data, program, out] = [join(root, "ids"), join(root, "small.moe"), fresh()];
  const ids = Array.from({ length: 200 }, (_, i) => (i * i) % 300);
  writeFileSync(data, ids.join(" "));
  writeFileSync(program, small(300, 4));
  const options = { program, data: [data], target: "reference", batch: 1, length: 8, out } as const;
  const whole = await lossesOf({ ...options, ids: true, out: null, steps: 3 });
  await lossesOf({ ...options, ids: true });
  assert.is(readConfig(out).ids, true);
  assert.is(last(out).state.tokenizer, "ids");
  assert.equal(await lossesOf({ ...options, resume: true, steps: 3 }), whole.slice(2));
  await assertRejects(openTraining({ ...options, resume: true, ids: false }), /--ids was given and is now not given/);
  await assertRejects(openTraining({ ...options, out: fresh(), ids: true, set: { V: 100 } }), /0 to 99/);
});
test("a folder that is removed while it is trained is written again, whole; not if another run has it", async () => {
  const [data, program, out] = [join(root, "removed-text"), join(root, "removed.moe"), fresh()];
  const layers = join(root, "of", "layers.moe");
  mkdirSync(dirname(layers));
  writeFileSync(data, "kept as it is. ".repeat(20));
  writeFileSync(layers, small(256, 4));
  writeFileSync(program, 'import { Small } from "./of/layers.moe"\nmodel Removed() = Small()\n');
  const warned: string[] = [];
  const warn = (line: string): void => void warned.push(line);
  const options = { program, data: [data], target: "reference", batch: 1, length: 8, steps: 3, warn } as const;
  const whole = await lossesOf({ ...options, out: null, steps: 4 });
  const found: number[] = [];
  for await (const { step, loss } of train({ ...options, out })) {
    found.push(loss);
    if (step === 1) for (const path of [out, layers]) rmSync(path, { recursive: true });
  }
  const warnings = [`${out} was removed while it is trained: it is written again, without the steps up to here`];
  assert.equal(warned, warnings);
  const more = { ...options, program: join(out, "model.moe"), out, resume: true };
  assert.equal([...found, ...(await lossesOf({ ...more, steps: 4 }))], whole);
  const [taken, lock] = [train({ ...more, steps: 7 }), join(out, "lock")];
  await taken.next();
  rmSync(lock);
  await taken.next();
  assert.ok(existsSync(lock));
  assert.equal(warned, warnings);
  writeFileSync(lock, '{"host":"elsewhere","pid":1,"started":"0"}');
  await assertRejects(taken.next(), /another run writes/);
});
const tiny = {
  program: "examples/gpt-moe.moe",
  target: "reference",
  set: { D: 8, H: 8, L: 1, Heads: 2, E: 2, K: 1, Context: 16 },
  batch: 1,
  length: 8,
  steps: 1,
} as const;
test("a run that cannot go on, because its program has changed, keeps every byte, and generates", async () => {
  const [data, program, out] = [join(root, "kept-text"), join(root, "kept.moe"), fresh()];
  writeFileSync(data, "kept as it is. ".repeat(20));
  const [spare, norm] = ["  param spare: f32[D] = 0\n", "  norm: RmsNorm(D)\n"];
  const text = readFileSync(tiny.program, "utf8").replace(norm, `${norm}${spare}`);
  writeFileSync(program, text);
  const options = { ...tiny, program, data: [data], out };
  await lossesOf(options);
  const before = bytesOf(out);
  for (const [from, to, message] of [
    ["SwiGlu(D, H)", "SwiGlu(D, 2 * H)", /gives f32\[8, 8\] for `.*`, which is f32\[8, 16\]/],
    ["  norm: RmsNorm(D)", "  norm: RmsNorm(D)\n  param more: f32[D] = 0", /has no `more`/],
    [spare, "", /has `spare`, and the program does not/],
  ] as const) {
    assert.ok(text.includes(from));
    writeFileSync(program, text.replace(from, to));
    const problem = await rejectedProblem(() => openTraining({ ...options, steps: 2, resume: true }));
    assert.match(problem.message, message);
    assert.match(problem.help, "use the model.moe of its folder");
    assert.equal(bytesOf(out), before);
  }
  assert.not.ok((await generate({ folder: out, target: "reference", tokens: 1 }).next()).done);
});
test("what is trained is what the folder holds, also if the program is written to meanwhile", async () => {
  const [data, program, out] = [join(root, "meanwhile-text"), join(root, "meanwhile.moe"), fresh()];
  writeFileSync(data, "kept as it is. ".repeat(20));
  const text = readFileSync(tiny.program, "utf8");
  writeFileSync(program, text);
  const opening = openTraining({ ...tiny, program, data: [data], out });
  writeFileSync(program, text.replace("  norm: RmsNorm(D)\n", "  norm: RmsNorm(D)\n  param more: f32[D] = 0\n"));
  const training = await opening;
  for await (const _ of training.steps()) continue;
  training.close();
  assert.not.ok(last(out).model.has("more"));
  assert.is(readFileSync(join(out, "model.moe"), "utf8"), text);
});
/** The content of every file of a folder. */
const bytesOf = (folder: string): [file: string, content: Buffer][] =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .toSorted()
    .filter((file) => statSync(join(folder, file)).isFile())
    .map((file) => [file, readFileSync(join(folder, file))]);
test("a held-out file is what the loss is measured on, and a run goes on with the same one", async () => {
  const [data, held, out] = [join(root, "held-data"), join(root, "held-out"), fresh()];
  writeFileSync(data, "all of it is trained on. ".repeat(20));
  const heldOutLoss = async (content: string): Promise<unknown> => {
    writeFileSync(held, content);
    const training = await openTraining({ ...tiny, data: [data], heldOut: [held], out: null });
    let last: unknown = null;
    for await (const step of training.steps()) last = step.heldOut;
    return (training.close(), last);
  };
  const [a, b, again] = [await heldOutLoss("zebras"), await heldOutLoss("all of"), await heldOutLoss("zebras")];
  assert.type(a, "number");
  assert.is(again, a);
  assert.is.not(a, b);
  await lossesOf({ ...tiny, data: [data], heldOut: [held], out });
  writeFileSync(held, "zebra");
  const refused = openTraining({ ...tiny, data: [data], heldOut: [held], out, steps: 2, resume: true });
  assert.match((await rejectedProblem(() => refused)).message, /--held-out was 6 bytes, SHA-256 .* and is now 5 bytes/);
  const missing = openTraining({ ...tiny, data: [data], out, steps: 2, resume: true });
  assert.match((await rejectedProblem(() => missing)).message, /--held-out was .* and is now not given/);
});
test("the folder of the best checkpoint is taken as a run's is", async () => {
  const [data, out] = [join(root, "best-text"), fresh()];
  const best = bestOf(out);
  writeFileSync(data, "all of it is trained on. ".repeat(20));
  const options = { ...tiny, data: [data], out, steps: 2, evaluateEvery: 1 };
  await lossesOf({ ...options, keepBest: true });
  assert.is(last(best).state.best?.step, last(best).state.step);
  const heldOut = last(best).state.best?.heldOut ?? Number.NaN;
  const held = join(root, "best-held");
  writeFileSync(held, readFileSync(data).subarray(0.95 * statSync(data).size));
  const { loss } = await evaluate({ folder: best, data: [held], target: "reference" });
  assert.ok(Math.abs(loss - heldOut) < 1e-6, `${loss} ${heldOut}`);
  assert.not.ok((await generate({ folder: best, target: "reference", tokens: 1 }).next()).done);
  const from = await openTraining({ ...options, steps: 3, patience: 2, from: best, out: fresh() });
  assert.equal([from.from?.path, from.config.keepBest, from.best], [last(best).path, undefined, null]);
  from.close();
  const resumed = await openTraining({ ...tiny, data: [data], out, steps: 3, resume: true });
  assert.equal([resumed.config.keepBest, resumed.best], [true, last(out).state.best]);
  resumed.close();
  for (const [more, message] of [
    [{ keepBest: true, evaluateEvery: 0 }, "--keep-best compares held-out losses"],
    [{ patience: 2, evaluateEvery: 0 }, "--patience compares"],
    [{ keepBest: true, out: null }, "has no place"],
  ] as const)
    assert.match((await rejectedProblem(() => openTraining({ ...options, out: fresh(), ...more }))).message, message);
});
test("what was trained on token numbers takes and writes them unasked", async () => {
  const [data, out] = [join(root, "ids"), fresh()];
  writeFileSync(data, "1 2 3 4 5 6 7 8 9 ".repeat(20));
  await lossesOf({ ...tiny, set: { ...tiny.set, V: 12 }, data: [data], ids: true, out });
  const how = { folder: out, target: "reference", tokens: 2 } as const;
  const texts: string[] = [];
  for await (const { text } of generate({ ...how, prompts: ["5 6"] })) texts.push(text);
  assert.match(texts.join(""), /^ \d+ \d+$/);
  await assertRejects(generate({ ...how, prompts: ["Call me"] }).next(), /`Call` is not a token number/);
});
const helps = (e: unknown, by: string): boolean => e instanceof Problem && e.help.includes(by);
test("what was trained on text without line ends begins as that text does, where no prompt is given", async () => {
  const [data, out] = [join(root, "one-line"), fresh()];
  writeFileSync(data, "never an end ".repeat(20));
  await lossesOf({ ...tiny, data: [data], out });
  const text = await readDataset([data]);
  const { opening } = readConfig(out);
  assert.equal(opening, [...text.heldOut.read(0, 1)]);
  const written = async (more: { prompts?: string[] }): Promise<string> => {
    const pieces: string[] = [];
    for await (const piece of generate({ folder: out, target: "reference", tokens: 3, ...more }))
      pieces.push(piece.text);
    return pieces.join("");
  };
  assert.is(await written({}), await written({ prompts: [String.fromCharCode(...(opening ?? []))] }));
  const huge = { folder: out, target: "reference" as const, set: { D: 1e9 } };
  const refused = (precision: "f32" | "bf16") => generate({ ...huge, precision }).next();
  await assertRejects(refused("f32"), (e) => helps(e, "--precision bf16"));
  await assertRejects(refused("bf16"), (e) => !helps(e, "--precision bf16") && helps(e, "lower the model's sizes"));
});
test("a run begins with the parameters of another, also where it was stopped before its first checkpoint", async () => {
  const [data, program, base, out] = [join(root, "bytes"), join(root, "small.moe"), fresh(), fresh()];
  writeFileSync(data, "abcdefgh".repeat(30));
  writeFileSync(program, small(128, 4));
  const options = { program, data: [data], target: "reference", batch: 1, length: 8 } as const;
  await lossesOf({ ...options, out: base, set: { D: 3 } });
  const first = async (more: Partial<TrainOptions>): Promise<number | undefined> =>
    (await lossesOf({ ...options, ...more, out: null, steps: 1 }))[0];
  const begun = await first({ params: base });
  assert.is.not(begun, await first({ set: { D: 3 } }));
  assert.is(begun, await first({ params: join(last(base).path, "model.safetensors"), set: { D: 3 } }));
  (await openTraining({ ...options, params: base, out })).close();
  assert.is((await lossesOf({ ...options, resume: true, out }))[0], begun);
  await assertRejects(openTraining({ ...options, params: base, resume: true, out }), /--params/);
});
test("a run goes on from another's checkpoint with a batch and data of its own, and keeps the optimizer's state", async () => {
  const [data, other, program] = [join(root, "bytes"), join(root, "more-bytes"), join(root, "small.moe")];
  const [base, out, stopped] = [fresh(), fresh(), fresh()];
  writeFileSync(data, "abcdefgh".repeat(30));
  writeFileSync(other, "hgfedcba".repeat(30));
  writeFileSync(program, small(128, 4));
  const options = { program, data: [data], target: "reference", batch: 1, length: 8 } as const;
  await lossesOf({ ...options, out: base, set: { D: 3 }, seed: 7 });
  const whole = await lossesOf({ ...options, out: null, set: { D: 3 }, seed: 7, steps: 4 });
  const same = { program, data: [data], target: "reference", from: base, steps: 4 } as const;
  assert.equal(await lossesOf({ ...same, out: null }), whole.slice(2), "as the run itself would");
  const wider = { ...same, batch: 2, data: [other] };
  const lossesAfter = await lossesOf({ ...wider, out });
  assert.is(lossesAfter.length, 2);
  assert.is(readConfig(out).sizes["B"], 2);
  assert.is(readConfig(base).sizes["B"], 1);
  (await openTraining({ ...wider, out: stopped })).close();
  const resumed = { program, data: [other], target: "reference", out: stopped, resume: true } as const;
  assert.equal(await lossesOf(resumed), lossesAfter, "also where it was stopped before its first checkpoint");
  const ended = await openTraining({ ...wider, out: fresh() });
  for await (const { step } of ended.steps(AbortSignal.abort())) assert.is(step, 3);
  assert.is(last(ended.folder ?? "").state.step, 3, "one that is stopped at once has a checkpoint of its own");
  ended.close();
  const open = async (more: Partial<TrainOptions>): Promise<unknown> => openTraining({ ...same, out: null, ...more });
  await assertRejects(open({ steps: 2 }), /is at step 2, and 2 in all/);
  await assertRejects(open({ params: base }), /--params and --from/);
  await assertRejects(open({ from: root }), /holds no training run/);
  writeFileSync(program, small(128, 4).replace("AdamW(lr", "Sgd(lr").replace("{ AdamW }", "{ Sgd }"));
  await assertRejects(open({}), (e) => helps(e, `--params ${base}`));
});
test("of the run that it begins from, a run has the sizes and the tokens, and says which sizes those are", async () => {
  const [data, program, base] = [join(root, "ids"), join(root, "small.moe"), fresh()];
  writeFileSync(data, "1 2 3 4 5 6 7 8 9 ".repeat(20));
  writeFileSync(program, small(12, 4));
  const options = { program, data: [data], target: "reference", batch: 1, length: 8 } as const;
  await lossesOf({ ...options, ids: true, out: base, set: { D: 3 } });
  for (const begins of [{ params: base }, { from: base, steps: 3 }]) {
    const training = await openTraining({ ...options, ...begins, out: null });
    assert.is(training.text.codec.name, "ids");
    assert.equal(training.inherited, { D: 3 });
    training.close();
  }
  const set = await openTraining({ ...options, params: base, out: null, set: { D: 3 } });
  assert.equal(set.inherited, {});
  set.close();
});
const tooLate = (): void => assert.unreachable("kernels are compiled");
test("parameters that do not fit are refused before a kernel is compiled, and anything written", async () => {
  const [data, program, params, out] = [
    join(root, "bytes"),
    join(root, "small.moe"),
    join(root, "p.safetensors"),
    fresh(),
  ];
  writeFileSync(data, "abcdefgh".repeat(30));
  writeFileSync(program, small(128, 4));
  const options = { program, data: [data], target: "reference", batch: 1, length: 8, params, out } as const;
  await assertRejects(openTraining(options), /p\.safetensors/);
  for (const [name, shape] of [
    ["mix.weight", [4, 3]],
    ["mix.bias", [4]],
  ] as const) {
    writeSafetensors(params, new Map([[name, zeros("f32", shape)]]));
    for (const target of ["reference", "host"] as const)
      await assertRejects(openTraining({ ...options, target, onCompile: tooLate }), new RegExp(name));
  }
  assert.not.ok(existsSync(join(out, "config.json")));
});
test("of a file's several models one is named; a run that goes on knows which; a file of none is not trained", async () => {
  const [program, data, out] = [join(root, "m.moe"), join(root, "bytes"), fresh()];
  writeFileSync(data, "abcdefgh".repeat(30));
  const options = { program, data: [data], target: "reference", batch: 1, length: 8, out } as const;
  writeFileSync(program, "fn f(x: f32[N]) -> f32[N] { return x }");
  await assertRejects(openTraining(options), /declares no model/);
  writeFileSync(program, `${small(128, 4)}model Other() = Small(D: 3)`);
  await assertRejects(openTraining(options), /several models/);
  await assertRejects(openTraining({ ...options, model: "Othr" }), /no model Othr/);
  await lossesOf({ ...options, model: "Other", steps: 1 });
  assert.is(readConfig(out).model, "Other");
  assert.is((await lossesOf({ ...options, resume: true, steps: 2 })).length, 1);
  await assertRejects(
    openTraining({ ...options, resume: true, model: "Small" }),
    /the model was Other and is now Small/,
  );
  writeFileSync(program, small(128, 4));
  const elsewhere = await rejectedProblem(() => openTraining({ ...options, resume: true }));
  assert.match(elsewhere.message, `${out} is a run of Other, which ${program} does not declare`);
  assert.match(elsewhere.help, join(out, "model.moe"));
});
test("for a path that is no run, the run that it is a part of is named, or those that it holds", async () => {
  const [program, data, runs] = [join(root, "other.moe"), join(root, "bytes"), fresh()];
  writeFileSync(data, "abcdefgh".repeat(30));
  writeFileSync(program, small(128, 4));
  const out = join(runs, "one");
  const options = { program, data: [data], target: "reference", batch: 1, length: 8, steps: 1 } as const;
  await lossesOf({ ...options, out });
  const [checkpoints, part] = [join(out, "checkpoints"), join(out, "checkpoints", "step-000001")];
  for (const [path, help] of [
    [part, `give the folder of the run: ${out}`],
    [checkpoints, `give the folder of the run: ${out}`],
    [runs, `give a run: ${out}`],
    [program, `moec train ${program}`],
    [join(runs, "none"), "such as runs/NAME"],
  ] as const) {
    assert.is(problem(() => readConfig(path)).help.includes(help), true, path);
    if (path === program || !existsSync(path)) continue;
    const { message, help: ofParams } = await rejectedProblem(() =>
      openTraining({ ...options, out: null, params: path }),
    );
    assert.match(message, "neither a run nor a folder of transformers'");
    assert.match(ofParams, help);
  }
  const { message, help } = await rejectedProblem(() => openTraining({ ...options, out: null, program: out }));
  assert.equal([message, help], [`${out} is a folder`, `name the program in it: ${join(out, "model.moe")}`]);
  assert.match(problem(() => openTransformers(out)).message, "is a run of moec");
  rmSync(join(out, "model.moe"));
  const lacks = await rejectedProblem(() => generate({ folder: out }).next());
  assert.match(lacks.message, `${out} lacks its program, model.moe`);
});
test.run();
