// The loop over batches, checkpoints and the log, by an executable that only counts.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import type { Outcome } from "../../runtime/executable/executable.ts";
import { newestCheckpoint } from "../../runtime/storage/checkpoint.ts";
import { bestOf, checkpointSteps } from "../../runtime/storage/checkpoint-folder.ts";
import {
  defaultRunFolder,
  type RunConfig,
  RunLog,
  readConfig,
  requireSame,
  writeConfig,
} from "../../runtime/storage/run-folder.ts";
import { fromNumbers, zeros } from "../../runtime/tensor.ts";
import { bestBefore } from "../../runtime/training/best.ts";
import { type TrainSetup, type TrainStep, trainSteps } from "../../runtime/training/loop.ts";
import { stepMeans } from "../../runtime/training/means.ts";
import { singleWorker } from "../../runtime/workers/workers.ts";
import { rejectedProblem } from "../assert-problem.ts";
import { FakeExecutable, type FakeOptions, total } from "../fake-executable.ts";
import { full, withPatchedFs } from "../patch-fs.ts";
import { datasetOfBytes, last } from "../training-runs.ts";

const test = suite("train");
const root = mkdtempSync(join(tmpdir(), "moec-train-"));
test.after(() => rmSync(root, { recursive: true }));
let folders = 0;
const fresh = (): string => join(root, String(folders++));

const text = datasetOfBytes(Uint8Array.from({ length: 3000 }, (_, i) => (i * i) % 255));
const config: RunConfig = {
  model: "Fake",
  sizes: { B: 3, T: 11 },
  steps: 20,
  seed: 5,
  precision: "f32",
  data: { files: [], bytes: text.bytes, hash: text.hash },
};
interface Run {
  readonly steps: TrainStep[];
  readonly executable: FakeExecutable;
}
async function run(
  folder: string | null,
  more: Partial<TrainSetup> = {},
  fake: FakeOptions = {},
  upTo = Infinity,
  each: (step: TrainStep) => void = () => {},
): Promise<Run> {
  const executable = new FakeExecutable(fake);
  const from = folder === null ? null : newestCheckpoint(folder, () => {});
  const steps: TrainStep[] = [];
  for await (const step of trainSteps({
    executable,
    text,
    config,
    modelLosses: ["language"],
    folder,
    from,
    world: singleWorker,
    params: null,
    saveEvery: 6,
    evaluateEvery: 0,
    patience: null,
    sourceLength: null,
    best: bestBefore(folder, from, more.config ?? config, more.patience ?? null),
    ...more,
  })) {
    steps.push(step);
    each(step);
    if (step.step >= upTo) break;
  }
  return { steps, executable };
}
const speeds = new Set(["tokens_per_second", "seconds"]);
/** Without what depends on the machine's speed. */
const log = (folder: string): Record<string, object>[] =>
  readFileSync(join(folder, "log.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line, (key, x: unknown) => (speeds.has(key) ? undefined : x)) as Record<string, object>);
const losses = (steps: readonly TrainStep[]): number[] => steps.map((s) => s.loss);

test("a step reports losses summed by name, metrics by path, and the held-out loss after the last", async () => {
  const { steps } = await run(null, { evaluateEvery: 8 });
  assert.equal(
    steps.map((s) => s.step),
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
  const [first] = steps;
  assert.equal(Object.keys(first?.losses ?? {}), ["language", "balance"]);
  assert.is(first?.losses["balance"], 0.75);
  assert.equal(Object.keys(first?.metrics ?? {}), ["blocks.0.gate.load", "blocks.1.gate.load"]);
  assert.equal(
    steps.filter((s) => s.heldOut !== null).map((s) => s.step),
    [8, 16, 20],
  );
  for (const s of steps) assert.ok(s.tokensPerSecond > 0 && s.secondsLeft >= 0);
  assert.is(steps.at(-1)?.secondsLeft, 0);
});

test("calls are counted by batch and steps by update: what random numbers and schedules are keyed by", async () => {
  const folder = fresh();
  const { executable } = await run(folder, { config: { ...config, steps: 2, accumulate: 3 } });
  const training = executable.calls.filter((c) => c.entry.startsWith("train"));
  const [update, batches] = [["train:update"], ["train", "train", "train"]];
  assert.equal(
    training.map((c) => c.entry),
    [...batches, ...update, ...batches, ...update],
  );
  assert.equal(
    training.map((c) => c.call),
    [0, 1, 2, 2, 3, 4, 5, 5],
  );
  assert.equal(
    training.map((c) => c.step),
    [0, 0, 0, 0, 1, 1, 1, 1],
  );
  const evaluating = executable.calls.filter((c) => c.entry === "evaluate");
  assert.ok(evaluating.length > 0 && evaluating.every(({ call, step }) => call === 2 && step === 2));
  const { random, data } = newestCheckpoint(folder, () => {})?.state ?? {};
  assert.equal([random, data?.position], [{ seed: 5, call: 6 }, 6 * 11]);
});

test("the held-out loss is the mean over all held-out targets of the losses of `train` itself", async () => {
  const { steps, executable } = await run(null);
  const weight = total(executable.read("embed.weight"));
  const targets = [...text.heldOut.read(1)];
  const mean = targets.reduce((a, b) => a + b, 0) / targets.length;
  assert.ok(Math.abs((steps.at(-1)?.heldOut ?? 0) - (mean + weight)) < 1e-9);
});

test("an evaluation leaves the model's states as training made them", async () => {
  const [often, once] = [await run(null, { evaluateEvery: 1 }), await run(null, { evaluateEvery: 0 })];
  const [bias, same] = [often, once].map(({ executable }) => executable.read("gate.bias").data);
  assert.equal(bias, same);
  assert.is.not(bias?.[0], 20);
  const seen: unknown[] = [];
  const writing: FakeExecutable = new FakeExecutable({
    before: (entry) => {
      if (entry === "train") writing.write("generate.seen", zeros("f32", [64])); // a state that checkpoints do not hold
      if (entry === "evaluate") seen.push(writing.read("generate.seen").data[0]);
    },
  });
  await run(null, { executable: writing, evaluateEvery: 5 });
  assert.equal([...new Set(seen)], [Math.fround(Math.sin(config.seed))]); // as `init` leaves it
  let evaluations = 0;
  const failing = new FakeExecutable({
    before: (entry) => {
      if (entry === "evaluate" && ++evaluations > 1) throw new Problem("no memory", "");
    },
  });
  const none = { folder: null, from: null, params: null, sourceLength: null, world: singleWorker };
  const how = { executable: failing, text, config, modelLosses: [], ...none, saveEvery: 0, best: null, patience: null };
  assert.is((await rejectedProblem(() => trainSteps({ ...how, evaluateEvery: 1 }).next())).message, "no memory");
  assert.equal(failing.read("gate.bias").data, bias);
});

test("a run that was cut off and resumed has the bits and the log of an unbroken one", async () => {
  const [whole, broken] = [fresh(), fresh()];
  const unbroken = await run(whole);
  const first = await run(broken, {}, {}, 15); // the consumer goes away: steps 13 to 15 are lost
  writeFileSync(join(broken, "log.jsonl"), '{"step":16,"lo', { flag: "a" });
  assert.equal(checkpointSteps(broken), [12, 6]);
  const second = await run(broken);
  assert.is(second.steps[0]?.step, 13);
  assert.equal(losses([...first.steps.slice(0, 12), ...second.steps]), losses(unbroken.steps));
  for (const { name } of unbroken.executable.stores.filter((s) => s.saved))
    assert.equal(second.executable.read(name), unbroken.executable.read(name));
  assert.equal(log(broken), log(whole));
  assert.equal(Object.keys(log(whole)[0]?.["metrics"] ?? {}), ["blocks.0.gate.load", "blocks.1.gate.load"]);
  assert.equal(checkpointSteps(broken), [20, 18]);
});

const batches = ({ calls }: FakeExecutable): unknown[] =>
  calls.flatMap(({ entry, call, inputs }) => (entry === "train" && call >= 12 ? [inputs] : []));
test("a shuffled run goes on with the batches of an unbroken one, and says so", async () => {
  const [whole, broken] = [fresh(), fresh()];
  const shuffled = { config: { ...config, shuffle: true as const, accumulate: 2 } };
  const unbroken = await run(whole, shuffled);
  await run(broken, shuffled, {}, 7);
  const { executable } = await run(broken, shuffled);
  assert.equal(batches(executable), batches(unbroken.executable));
  assert.is(executable.calls.filter(({ entry }) => entry === "train").length, 28);
  assert.is.not(losses(unbroken.steps)[0], losses((await run(null)).steps)[0]);
  const { random, data } = newestCheckpoint(broken, () => {})?.state ?? {};
  assert.equal([random?.call, data && "position" in data], [40, false]);
});

test("the log begins with what the run is, once; many metrics are kept of some steps", async () => {
  const folder = fresh();
  await run(folder, {}, { experts: 700 });
  for (const parameters of [1, 2]) new RunLog(folder).begin({ parameters });
  const [about, ...steps] = log(folder);
  assert.equal(about, { parameters: 2 });
  assert.equal(
    steps.map((s) => "metrics" in s),
    steps.map((_, i) => i % 2 === 1),
  );
  assert.is(steps.length, 20);
});

/** A run that is evaluated every four steps, with those losses. */
const evaluated = (...heldOut: readonly number[]): FakeOptions => ({
  heldOut: (step) => heldOut[step / 4 - 1] ?? Number.NaN,
});
const keeping = { evaluateEvery: 4, config: { ...config, keepBest: true as const } };
test("the checkpoint with the lowest held-out loss is kept beside the last two", async () => {
  const folder = fresh();
  const { steps } = await run(folder, keeping, evaluated(Number.NaN, 3, 4, 2, 2));
  const kept = (those: readonly TrainStep[]): number[] =>
    those.flatMap((s) => (s.kept === bestOf(folder) ? s.step : []));
  assert.equal(kept(steps), [8, 16]);
  assert.equal(steps.at(-1)?.best, { step: 16, heldOut: 2, since: 1 });
  assert.equal([checkpointSteps(folder), checkpointSteps(bestOf(folder))], [[20, 18], [16]]);
  const sixteen = fresh();
  await run(sixteen, { config: { ...config, steps: 16 } });
  const [best, same] = [last(bestOf(folder)), last(sixteen)];
  assert.equal([best.model, best.training], [same.model, same.training]);
  assert.equal(best.state.best, { step: 16, heldOut: 2, since: 0 });
});
test("once a run's folder was removed, with the best checkpoint in it, the next evaluation is the best", async () => {
  const folder = fresh();
  let steps = 0;
  const restoreFolder = (): boolean => {
    if (++steps !== 8) return false;
    rmSync(folder, { recursive: true });
    return true;
  };
  const last = (await run(folder, { ...keeping, restoreFolder }, evaluated(3, 4, 5, 6, 7))).steps.at(-1);
  assert.equal(last?.best, { step: 8, heldOut: 4, since: 3 });
  assert.equal(checkpointSteps(bestOf(folder)), [8]);
});
test("a run that was cut off and resumed keeps the best of an unbroken one", async () => {
  const fake = evaluated(3, 2, 4, 2.5, 5);
  const [whole, broken] = [fresh(), fresh()];
  await run(whole, keeping, fake);
  await run(broken, keeping, fake, 15);
  const { steps } = await run(broken, keeping, fake);
  assert.equal([steps[0]?.step, steps.some((s) => s.kept !== null)], [13, false]);
  for (const of of [(run: string) => run, bestOf]) {
    const [{ path: _, ...there }, { path: __, ...here }] = [last(of(whole)), last(of(broken))];
    assert.equal(here, there);
  }
  rmSync(bestOf(broken), { recursive: true });
  const more = await run(
    broken,
    { ...keeping, config: { ...keeping.config, steps: 24 } },
    evaluated(3, 2, 4, 2.5, 5, 6),
  );
  assert.is(more.steps.at(-1)?.kept, bestOf(broken)); // none was there to be compared with
});
const notPermitted = (): never => {
  throw Object.assign(new Error("EPERM: operation not permitted"), { code: "EPERM" });
};
test("the best is copied where the disk has no hard links; if it has no room the one before stays", async () => {
  const folder = fresh();
  const { message, help } = await rejectedProblem(() =>
    withPatchedFs({ linkSync: notPermitted }, async () => {
      await run(folder, { ...keeping, config: { ...keeping.config, steps: 4 } }, evaluated(3));
      await withPatchedFs({ copyFileSync: full }, () => run(folder, keeping, evaluated(3, 2)));
    }),
  );
  assert.match(message, "the disk is full");
  assert.match(help, "--resume goes on from step-000008");
  assert.is(last(bestOf(folder)).state.step, 4);
  assert.equal(readdirSync(join(bestOf(folder), "checkpoints")), ["step-000004"]);
});
test("patience ends a run after evaluations without a better one; more of it goes on", async () => {
  const folder = fresh();
  const impatient = { evaluateEvery: 4, patience: 2 };
  const fake = evaluated(5, 3, 3, 4, 1);
  const { steps } = await run(folder, impatient, fake);
  assert.equal([steps.length, steps.at(-1)?.best], [16, { step: 8, heldOut: 3, since: 2 }]);
  assert.equal(checkpointSteps(folder), [16, 12]);
  assert.equal((await run(folder, impatient, fake)).steps, []);
  const more = await run(folder, { ...impatient, patience: 3 }, fake);
  assert.equal(
    more.steps.map((s) => s.step),
    [17, 18, 19, 20],
  );
  assert.equal(more.steps.at(-1)?.best, { step: 20, heldOut: 1, since: 0 });
});

test("an abort lets the step end, saves it and stops", async () => {
  const folder = fresh();
  const controller = new AbortController();
  const { steps } = await run(
    folder,
    { signal: controller.signal },
    { before: (entry, step) => entry === "train" && step === 8 && controller.abort() },
  );
  assert.is(steps.at(-1)?.step, 9);
  assert.match(steps.at(-1)?.saved ?? "", "step-000009");
  assert.is(steps.at(-1)?.heldOut, null);
  assert.equal(checkpointSteps(folder), [9, 6]);
});

test("an abort between two steps costs one more, which is saved", async () => {
  const controller = new AbortController();
  const { steps } = await run(fresh(), { signal: controller.signal }, {}, Infinity, (step) => {
    if (step.step === 7) controller.abort();
  });
  assert.equal([steps.at(-1)?.step, steps.at(-1)?.saved?.slice(-11)], [8, "step-000008"]);
  const folder = fresh();
  const aborted = async (): Promise<unknown[]> =>
    (await run(folder, { signal: AbortSignal.abort() })).steps.map((s) => s.saved?.slice(-11));
  assert.equal(await aborted(), ["step-000001"]); // before there is anything to go on from
  assert.equal(await aborted(), []);
  const from = newestCheckpoint(folder, () => {});
  const { steps: further } = await run(fresh(), { from, signal: AbortSignal.abort() }); // nothing of it is in its folder
  assert.equal(
    further.map((s) => s.saved?.slice(-11)),
    ["step-000002"],
  );
});
test("the best is none where nothing asks for it", async () => {
  const folder = fresh();
  const { steps } = await run(folder, { evaluateEvery: 5 });
  assert.equal([steps.at(-1)?.best, newestCheckpoint(folder, () => {})?.state.best], [null, undefined]);
});
const outcomeOf = (loss: number, short: number): Outcome => ({
  outputs: [],
  losses: new Map([["loss", loss]]),
  metrics: new Map([["short", fromNumbers("bf16", [1], [short])]]),
  gradients: new Map(),
});
test("means are by weight, 0 where nothing counts; a metric is averaged by the numbers that it stands for", () => {
  const batches = [
    { outcome: outcomeOf(2, 1), weight: 1 },
    { outcome: outcomeOf(6, 3), weight: 3 },
  ];
  const { losses, metrics } = stepMeans(batches, 1);
  assert.equal([losses.get("loss"), metrics.get("short")], [5, fromNumbers("f32", [1], [2.5])]);
  const none = stepMeans(
    batches.map((batch) => ({ ...batch, weight: 0 })),
    1,
  );
  assert.is(none.losses.get("loss"), 0);
});

test("a loss that is NaN stops the run by name and leaves the good checkpoints", async () => {
  const folder = fresh();
  const { message, help } = await rejectedProblem(() => run(folder, {}, { nanLoss: 15 }));
  assert.match(message, "the loss `language` is NaN at step 15");
  assert.match(help, /look at the data; --resume goes on from step-000012$/);
  assert.equal(checkpointSteps(folder), [12, 6]);
  assert.ok(newestCheckpoint(folder, assert.unreachable));
});

test("a parameter that is NaN stops the run when it would be saved", async () => {
  const folder = fresh();
  const { message, help } = await rejectedProblem(() => run(folder, {}, { nanParameter: 16 }));
  assert.match(message, "`experts.1.up.weight` of layer `experts.1.up`");
  assert.match(help, /harder; --resume goes on from step-000012$/);
  assert.equal(checkpointSteps(folder), [12, 6]);
});

test("where nothing was saved before a NaN, none is told to go on from it", async () => {
  for (const fake of [{ nanLoss: 4 }, { nanParameter: 4 }])
    for (const folder of [fresh(), null]) {
      if (folder === null && "nanParameter" in fake) continue; // saved nowhere, so seen by no one
      const { message, help } = await rejectedProblem(() => run(folder, {}, fake));
      assert.match(message, /NaN at step 4|no longer finite/);
      assert.not.match(help, "--resume");
    }
});

test("resuming refuses other sizes, data, seed or model, naming the key and both values; more steps are fine", () => {
  const folder = fresh();
  writeConfig(folder, config);
  const saved = readConfig(folder);
  assert.equal(saved, config);
  const refusal = (change: Partial<RunConfig>): string => {
    try {
      requireSame(folder, saved, { ...config, ...change });
      return "";
    } catch (error) {
      return error instanceof Problem ? error.message : String(error);
    }
  };
  assert.is(refusal({ steps: 4000 }), "");
  assert.is(refusal({ sizes: { ...config.sizes, Steps: 4000 } }), "");
  assert.match(refusal({ sizes: { B: 4, T: 11 } }), "--batch was 3 and is now 4");
  assert.match(refusal({ sizes: { B: 3, T: 12 } }), "--length was 11 and is now 12");
  assert.match(refusal({ sizes: { ...config.sizes, D: 9 } }), "--set D was not given and is now 9");
  assert.match(refusal({ seed: 6 }), "--seed was 5 and is now 6");
  assert.match(refusal({ shuffle: true }), "--shuffle was not given and is now given");
  assert.match(refusal({ tf32: true }), "--tf32 was not given and is now given");
  assert.match(refusal({ ids: true }), "--ids was not given and is now given");
  assert.match(refusal({ precision: "bf16" }), "--precision was f32 and is now bf16");
  assert.match(refusal({ accumulate: 2 }), "--accumulate was 1 and is now 2");
  assert.match(refusal({ tokenizer: "y" }), "--tokenizer was not given and is now of SHA-256 y");
  assert.match(
    refusal({ heldOut: { files: [], bytes: 1, hash: "x" } }),
    "--held-out was not given and is now 1 byte, SHA-256 x",
  );
  assert.match(refusal({ data: { files: [], bytes: 1, hash: "x" } }), text.hash);
  assert.match(refusal({ model: "Other" }), "was Fake and is now Other");
});

test("a run's folder is called as its program, or as the folder that `.` and `..` are", () => {
  const [own, above] = [basename(process.cwd()), basename(dirname(process.cwd()))];
  assert.equal(
    ["a/none.moe", "a/none/", ".", ".."].map((program) => defaultRunFolder(program, true)),
    ["none", "none", own, above].map((name) => join("runs", name)),
  );
});
test("a config that is damaged is a Problem that names the key", async () => {
  const folder = fresh();
  writeConfig(folder, config);
  const path = join(folder, "config.json");
  writeFileSync(path, readFileSync(path, "utf8").replace('"steps": 20', '"steps": "20"'));
  assert.match((await rejectedProblem(async () => readConfig(folder))).message, "steps");
  writeFileSync(path, "{");
  assert.match((await rejectedProblem(async () => readConfig(folder))).message, "JSON");
});

test("nothing is written without a folder", async () => {
  const before = existsSync("runs");
  const { steps } = await run(null);
  assert.ok(steps.every((s) => s.saved === null));
  assert.is(existsSync("runs"), before);
});
test.run();
