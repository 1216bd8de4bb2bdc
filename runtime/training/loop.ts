// The training loop: takes batches from the data, runs steps, logs and saves. A run that was stopped and resumed has the same bits as one that was
// not.
import { Problem } from "../../compiler/diagnostic.ts";
import { updateEntryName } from "../../compiler/gradients/accumulate.ts";
import { sum } from "../../compiler/types/numbers.ts";
import { letEventsRun } from "../events.ts";
import type { Executable, Outcome, RunContext, Tensor } from "../executable/executable.ts";
import {
  type BestEvaluation,
  type Checkpoint,
  hasFrozen,
  joinSave,
  loadStores,
  savedTensors,
  writeCheckpoint,
} from "../storage/checkpoint.ts";
import { bestOf, isOf, keepBest, withKept } from "../storage/checkpoint-folder.ts";
import { splitStacked } from "../storage/names.ts";
import { type LoadedParameters, loadParameters } from "../storage/parameters.ts";
import { type RunConfig, RunLog } from "../storage/run-folder.ts";
import { toNested } from "../tensor.ts";
import type { Workers } from "../workers/workers.ts";
import { afterEvaluation, comparesEvaluations, isOutOfPatience } from "./best.ts";
import {
  type Batch,
  type Dataset,
  evaluationBatches,
  pairsOf,
  requireEnough,
  shuffledBatch,
  streamPosition,
  trainingBatch,
  trainingPairs,
} from "./data.ts";
import { MeanLosses, type StepMeans, stepMeans, sumByName, type Weighted } from "./means.ts";
import { pairBatches } from "./pairs.ts";

/** A finished training step. Losses by name, summed over layers; metrics by path. Times are in seconds since this process began to train. */
export interface TrainStep {
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  readonly losses: Readonly<Record<string, number>>;
  readonly metrics: Readonly<Record<string, Tensor>>;
  readonly tokensPerSecond: number;
  readonly seconds: number;
  readonly secondsLeft: number;
  /** The held-out loss if it was measured after this step, else null. */
  readonly heldOut: number | null;
  /** The best evaluation so far; null: there was none, or the run compares none (`keepBest`, `patience`). */
  readonly best: BestEvaluation | null;
  /** The folder of the best checkpoint if this step's was kept there, else null. */
  readonly kept: string | null;
  /** The path of the checkpoint if one was written after this step, else null. */
  readonly saved: string | null;
}
/**
 * `folder`: where checkpoints and the log are written; null: nowhere. `modelLosses`: names of the losses that the model's `train` states itself, not
 * its layers.
 */
export interface TrainSetup {
  readonly executable: Executable;
  readonly text: Dataset;
  readonly config: RunConfig;
  readonly modelLosses: readonly string[];
  readonly folder: string | null;
  readonly from: Checkpoint | null;
  /** The best evaluation before the first step; null: there was none. */
  readonly best: BestEvaluation | null;
  /** All workers; worker 0 writes the folder. */
  readonly world: Workers;
  /** Parameters to begin with, unless the run resumes from a checkpoint; null: drawn from the seed. */
  readonly params: LoadedParameters | null;
  /** Save after every so many steps; 0: after the last only. `evaluateEvery` likewise. */
  readonly saveEvery: number;
  readonly evaluateEvery: number;
  /** The U of `source: i32[B, U]`; null: the model has no encoder. */
  readonly sourceLength: number | null;
  /** After how many evaluations in a row without a better one the loop ends; null: it does not. */
  readonly patience: number | null;
  /** Called before a step is written: makes the folder again if a user has removed it, and says whether it did. */
  readonly restoreFolder?: () => boolean;
  /** When it is aborted, on any worker, the current step is finished and saved, and the loop ends. */
  readonly signal?: AbortSignal;
}

/** Initialises or loads the model, then runs and yields each step. A loss or parameter that is not finite is a Problem. */
export async function* trainSteps(setup: TrainSetup): AsyncGenerator<TrainStep, void> {
  const { config, from, folder, patience, signal, world } = setup;
  const { B, T, n } = batchSizes(config);
  requireEnough(setup.text, B, T, config.shuffle);
  const unsaved = await begin(setup);
  const first = from?.state.step ?? 0;
  const log = folder === null || world.rank > 0 ? null : new RunLog(folder);
  log?.rewind(first);
  const clock = new Clock(config.steps, n * B * T);
  const stopped = (): boolean => world.anyWorker("whether to stop", signal?.aborted ?? false);
  // An abort between two steps runs one more step, which is then saved: `isSaved` says whether the current state is.
  let last = folder !== null && from !== null && isOf(folder, from) ? from.path : null;
  let isSaved = folder === null || last !== null;
  let { best } = setup;
  const compares = comparesEvaluations(config, patience);
  const ended = (done: number): boolean => done >= config.steps || isOutOfPatience(best, patience);
  for (let done = first; !ended(done) && !(stopped() && isSaved); ) {
    const outcome = await trainStep(setup, done);
    done += 1;
    const times = clock.tick(done);
    const evaluates = done === config.steps || isDue(done, setup.evaluateEvery);
    const heldOut = evaluates ? await heldOutLoss(setup, unsaved, done) : null;
    const restored = setup.restoreFolder?.() ?? false;
    if (config.keepBest && world.anyWorker("whether the best checkpoint is lost", restored)) best = null;
    if (compares && heldOut !== null) best = afterEvaluation(best, done, heldOut);
    const keeps = config.keepBest === true && best?.step === done;
    const saves = ended(done) || keeps || stopped() || isDue(done, setup.saveEvery);
    const saved = folder !== null && saves ? save(setup, folder, { step: done, best, last }) : null;
    const kept = folder !== null && keeps ? keep(setup, folder, done) : null;
    isSaved = folder === null || saved !== null;
    last = saved ?? last;
    clock.skip();
    const step = { step: done, steps: config.steps, ...summary(outcome), ...times, heldOut, best, kept, saved };
    log?.append(logRecord(step));
    yield step;
  }
}
/** Gives the executable what training begins with. Returns the states that checkpoints do not hold, as `init` leaves them. */
async function begin({ executable, config, from, params }: TrainSetup): Promise<[string, Tensor][]> {
  await executable.run("init", new Map(), { seed: config.seed, call: 0, step: 0 });
  const unsaved = states(executable, false);
  if (from) loadStores(executable, from);
  else if (params) loadParameters(executable, params);
  from?.close(); // else the disk keeps a checkpoint that is deleted
  params?.close?.();
  return unsaved;
}
/** Runs the step after `done` others: its batches, and, if there are several, then the optimizer. */
async function trainStep(setup: TrainSetup, done: number): Promise<StepMeans> {
  const { executable, config } = setup;
  const { B, T, n } = batchSizes(config);
  const at = (i: number): RunContext => ({ seed: config.seed, call: done * n + i, step: done });
  const batches: Weighted[] = [];
  for (let i = 0; i < n; i++) {
    const batch = batchOf(setup, done * n + i);
    const weight = batch.count / (B * T);
    batches.push({ outcome: await runBatch(executable, "train", batch, { ...at(i), weight }), weight });
    await letEventsRun();
  }
  const totals = meansOrKept(setup, batches, done + 1);
  if (n > 1) await executable.run(updateEntryName("train"), new Map(), at(n - 1));
  return totals;
}
/** `call`: how many batches were read before it. */
function batchOf({ text, config, sourceLength }: TrainSetup, call: number): Batch {
  const { B, T } = batchSizes(config);
  if (sourceLength !== null)
    return trainingPairs(text, B, sourceLength, T, call, config.shuffle ? config.seed : undefined);
  return config.shuffle ? shuffledBatch(text, B, T, call, config.seed) : trainingBatch(text, B, T, call);
}
/** `stepMeans`; its error says which checkpoint is kept. */
function meansOrKept({ folder }: TrainSetup, batches: readonly Weighted[], step: number): StepMeans {
  try {
    return stepMeans(batches, step);
  } catch (error) {
    throw folder === null ? error : withKept(folder, error);
  }
}
/** A step's line of log.jsonl. If there are many metrics, only some steps log them, so that the average is at most `loggedNumbers` numbers a step. */
function logRecord({ step, steps, loss, losses, metrics, heldOut, tokensPerSecond, seconds }: TrainStep): object {
  const size = Object.values(metrics).reduce((sum, t) => sum + t.data.length, 0);
  const wanted = step === steps || step % Math.max(1, Math.ceil(size / loggedNumbers)) === 0;
  return {
    step,
    loss,
    losses,
    ...(wanted ? { metrics: Object.fromEntries(Object.entries(metrics).map(([n, t]) => [n, toNested(t)])) } : {}),
    ...(heldOut === null ? {} : { held_out: heldOut }),
    tokens_per_second: Math.round(tokensPerSecond),
    seconds: Number(seconds.toFixed(3)),
  };
}
const loggedNumbers = 1024;
/** B: rows of a batch; T: tokens of a row; n: batches in a step. */
const batchSizes = (config: RunConfig) => ({
  B: sizeOf(config, "B"),
  T: sizeOf(config, "T"),
  n: config.accumulate ?? 1,
});
const isDue = (step: number, every: number): boolean => every > 0 && step % every === 0;
function sizeOf(config: RunConfig, name: string): number {
  const size = config.sizes[name];
  if (typeof size !== "number")
    throw new Problem(`the run's sizes lack ${name}`, "restore its config.json, or train again");
  return size;
}

export function runBatch(
  executable: Executable,
  entry: string,
  { source, tokens, targets, since }: Batch,
  at: RunContext,
): Promise<Outcome> {
  const inputs = { ...(source ? { source } : {}), tokens, targets, ...(since ? { since } : {}) };
  return executable.run(entry, new Map(Object.entries(inputs)), at);
}

/** The values of all states that checkpoints hold (`saved`), or of those that they do not. */
function states(executable: Executable, saved: boolean): [name: string, value: Tensor][] {
  const stores = executable.stores.filter((s) => s.role === "state" && s.saved === saved);
  return stores.map((s) => [s.name, executable.read(s.name)]);
}
/**
 * The mean, over all held-out targets, of the losses that `train` itself states, or of all if it states none. States that checkpoints do not hold begin as `init` left them
 * (`unsaved`); the others are restored afterwards, so that evaluating changes nothing.
 */
async function heldOutLoss(
  { executable, text, config, modelLosses, sourceLength }: TrainSetup,
  unsaved: readonly [string, Tensor][],
  step: number,
): Promise<number> {
  const { B, T } = batchSizes(config);
  const learned = states(executable, true);
  const means = new MeanLosses(modelLosses);
  try {
    for (const [name, value] of unsaved) executable.write(name, value);
    const batches =
      sourceLength === null
        ? evaluationBatches(text.heldOut, B, T, text.heldOutStarts)
        : pairBatches(pairsOf(text, "heldOut"), B, sourceLength, T);
    for (const batch of batches)
      means.add(await runBatch(executable, "evaluate", batch, { seed: config.seed, call: step, step }), batch.count);
  } finally {
    for (const [name, value] of learned) executable.write(name, value);
  }
  return means.sum;
}

function summary({ losses, metrics }: StepMeans): Pick<TrainStep, "loss" | "losses" | "metrics"> {
  const named = sumByName(losses);
  return {
    loss: sum(named.values()),
    losses: Object.fromEntries(named),
    metrics: Object.fromEntries([...metrics].flatMap(([name, t]) => splitStacked(name, t))),
  };
}
/** Makes the checkpoint of this step, which was just saved, the run's best. */
const keep = ({ world }: TrainSetup, folder: string, step: number): string =>
  world.rank > 0 ? bestOf(folder) : keepBest(folder, step);
/** `last`: the path of the run's last checkpoint, which shares its file of frozen parameters. */
function save(
  { executable, text, config, world }: TrainSetup,
  folder: string,
  { step, best, last }: { readonly step: number; readonly best: BestEvaluation | null; readonly last: string | null },
): string {
  const has = world.rank === 0 && last !== null && hasFrozen(executable, last);
  const shares = world.anyWorker("whether frozen parameters are saved", has);
  if (world.rank > 0) return joinSave(executable, folder, step, shares);
  const { B, T, n } = batchSizes(config);
  const call = step * n;
  const position = config.shuffle ? {} : { position: streamPosition(text, B, T, call) };
  const state = {
    step,
    sizes: config.sizes,
    random: { seed: config.seed, call },
    data: { hash: text.hash, bytes: text.bytes, ...position },
    tokenizer: text.codec.name,
    ...(best === null ? {} : { best }),
  };
  return writeCheckpoint(folder, state, savedTensors(executable), shares ? last : null);
}

/** Measures speed over the last 20 steps, without the time for evaluating and saving. */
class Clock {
  readonly #start = performance.now();
  readonly #total: number;
  readonly #tokens: number;
  readonly #recent: number[] = [];
  #last = this.#start;

  constructor(total: number, tokens: number) {
    this.#total = total;
    this.#tokens = tokens;
  }
  tick(step: number): Pick<TrainStep, "tokensPerSecond" | "seconds" | "secondsLeft"> {
    const now = performance.now();
    this.#recent.push(now - this.#last);
    if (this.#recent.length > 20) this.#recent.shift();
    const perStep = sum(this.#recent) / this.#recent.length / 1000;
    return {
      tokensPerSecond: this.#tokens / Math.max(perStep, 1e-9),
      seconds: (now - this.#start) / 1000,
      secondsLeft: perStep * (this.#total - step),
    };
  }
  skip(): void {
    this.#last = performance.now();
  }
}
