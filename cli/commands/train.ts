import { Command } from "commander";
import { Problem } from "../../compiler/diagnostic.ts";
import { integerIn, recompute, requireTarget } from "../../compiler/options.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { type BestEvaluation } from "../../runtime/storage/checkpoint.ts";
import { bestOf, isOf } from "../../runtime/storage/checkpoint-folder.ts";
import { offerToCopy, tellCopies } from "../../runtime/storage/upcycle.ts";
import { toNested } from "../../runtime/tensor.ts";
import { isOutOfPatience } from "../../runtime/training/best.ts";
import type { TrainStep } from "../../runtime/training/loop.ts";
import { openTraining, type Training } from "../../runtime/training/train.ts";
import type { TrainOptions } from "../../runtime/training/train-options.ts";
import type { Workers } from "../../runtime/workers/workers.ts";
import {
  addShared,
  addTrainingSharing,
  addWeights,
  examples,
  flag,
  inputPath,
  json,
  option,
  out,
  sourceLanguage,
  targetLanguage,
  text,
} from "../flags.ts";
import { withWorkers } from "../multi-process.ts";
import {
  compileProgress,
  note,
  printJson,
  progressPrinter,
  shellWord,
  showBytes,
  showCount,
  showTokens,
  warn,
  write,
} from "../output.ts";
import { progress } from "../progress.ts";
import { abortOnSignals } from "../signals.ts";

export const trainCommand = (): Command =>
  addTrainingSharing(
    addCheckpoints(addBeginnings(addBatches(addTexts(addWeights(addShared(new Command("train")))))))
      .description(
        "Train a model on text, as bytes or a tokenizer's tokens. Ctrl-C saves and stops. Under mpirun, several processes train one model.",
      )
      .argument("<file>", "a .moe file with a model")
      .addOption(option(recompute)),
  )
    .option("--resume", "continue the run in --out from its last checkpoint")
    .addOption(json())
    .addHelpText(
      "after",
      examples(
        "moec train examples/gpt-moe.moe --data book.txt",
        "moec train examples/gpt-moe.moe --data a.txt b.txt --steps 2000 --batch 32 --set L=6 --out runs/big",
        "moec train examples/gpt-moe.moe --data book.txt --steps 4000 --resume",
        "moec train examples/gpt-moe.moe --data more.txt --steps 4000 --batch 32 --from runs/gpt-moe",
        "moec train examples/lora.moe --data other.txt --params runs/gpt-moe",
        "moec train mixture.moe --data book.txt --params runs/dense --upcycle",
        "mpirun -n 4 moec train examples/gpt-moe.moe --data book.txt",
        "moec train runs/OLMoE-1B-7B/model.moe --data book.txt --tokenizer runs/OLMoE-1B-7B --params runs/OLMoE-1B-7B",
        "moec train runs/nllb-moe-54b/model.moe --data pairs.jsonl --params runs/nllb-moe-54b --source-language eng_Latn --target-language fra_Latn",
      ),
    )
    .action(run);

const addTexts = (command: Command): Command =>
  command
    .addOption(flag("--model <name>", "the model to train, if the file declares several", text))
    .requiredOption(
      "--data <files...>",
      "text files, concatenated, .jsonl files of documents, or .npy files of token numbers; - is stdin",
    )
    .option(
      "--held-out <files...>",
      "text files to evaluate on; default: the last 5% of the data, at most 2^20 tokens, which is then not trained on",
    )
    .addOption(
      flag(
        "--tokenizer <path>",
        "a tokenizer.json of Hugging Face's tokenizers, or a folder with one; the run keeps a copy. Default: that of --params or --from, if they have one, else tokens are bytes",
        text,
      ),
    )
    .option("--ids", "the files hold token numbers instead of text: 5 12 7")
    .addOption(sourceLanguage("the prompts"))
    .addOption(targetLanguage("of the answers"));
const addBatches = (command: Command): Command =>
  command
    .addOption(
      flag(
        "--steps <n>",
        "total number of training steps, including those before --resume; default: the model's Steps, or 400",
        integerIn(1),
      ),
    )
    .addOption(
      flag(
        "--batch <n>",
        "rows of a batch; each row reads its own part of the text; default: the model's, or 16",
        integerIn(1),
      ),
    )
    .addOption(flag("--length <n>", "tokens of a row; default: the model's, or 128", integerIn(1)))
    .option(
      "--shuffle",
      "read crops of the text in random order, cut anew each epoch; default: each row goes on where it ended",
    )
    .option("--no-shuffle", "read on in order, where the run in --from did not")
    .addOption(flag("--accumulate <n>", "gradient accumulation: batches per step; default: 1", integerIn(1)))
    .addOption(
      flag("--seed <n>", "seed of the initial parameters and of random numbers; default: 0", integerIn(-(2 ** 31))),
    );
const addBeginnings = (command: Command): Command =>
  command
    .addOption(
      flag(
        "--params <path>",
        "initial parameters by name: another run's folder (its --set holds too), safetensors, or a folder that transformers wrote; missing ones are initialised from the seed",
        text,
      ),
    )
    .option(
      "--upcycle",
      "arrays of layers that --params lacks, such as experts, begin as copies of the nearest layer around them that it has: a dense model becomes a mixture",
    )
    .addOption(
      flag(
        "--from <run>",
        "go on in a new folder from another run's last checkpoint, with the optimizer's state and the step; data, batch, --set and all else may differ, and is that run's if not given",
        text,
      ),
    );
const addCheckpoints = (command: Command): Command =>
  command
    .addOption(
      out(
        "folder",
        "the folder of the run; default: runs/NAME, or runs/NAME-2, ... where that holds a run; with --resume the last of them",
      ),
    )
    .addOption(flag("--save-every <n>", "steps between checkpoints; 0: only at the end; default: 100", integerIn(0)))
    .addOption(
      flag(
        "--evaluate-every <n>",
        "steps between evaluations on the held-out text; 0: only at the end; default: 0",
        integerIn(0),
      ),
    )
    .option(
      "--keep-best",
      "keep the checkpoint with the lowest held-out loss in the run's folder `best`, which all commands take as they take a run's",
    )
    .addOption(
      flag(
        "--patience <n>",
        "end after n evaluations in a row without a better held-out loss; default: train all steps",
        integerIn(1),
      ),
    );

interface Options extends Omit<TrainOptions, "program"> {
  json?: boolean;
}
const run = (program: string, options: Options): Promise<void> =>
  withWorkers(options.threads, (world) => runTraining(program, options, world));
async function runTraining(program: string, { json, ...options }: Options, world: Workers): Promise<void> {
  requireTarget(options);
  const files = options.data.map(inputPath);
  const tells =
    world.rank > 0 ? {} : { warn, onCompile: compileProgress(), encoding: progressPrinter("encoding", showBytes) };
  const training = await openTraining({ program, ...options, data: files, ...tells }, world);
  try {
    const signal = await abortOnSignals();
    if (world.rank > 0) return await runSilently(training, signal);
    const last = await (json ? asJson(training, signal) : forPeople(training, signal));
    world.finish();
    note(closing(training, last, options.patience ?? null, signal));
    if (!json && !signal.aborted && last && last.step === last.steps) await showSample(training, signal);
  } finally {
    training.close();
  }
}
/** Runs the steps without printing, on workers other than 0. */
async function runSilently(training: Training, signal: AbortSignal): Promise<void> {
  for await (const _ of training.steps(signal)) continue;
  training.world.finish();
}

async function asJson(training: Training, signal: AbortSignal): Promise<TrainStep | null> {
  printJson(training.about);
  let last: TrainStep | null = null;
  for await (const step of training.steps(signal)) {
    printJson(record(step));
    if (step.heldOut !== null) printJson(evaluation(step));
    last = step;
  }
  return last;
}
const evaluation = ({ step, heldOut, best }: TrainStep): object => ({
  step,
  held_out: heldOut,
  ...(best === null ? {} : { best: { step: best.step, held_out: best.heldOut } }),
});
const record = ({ step, loss, losses, metrics, tokensPerSecond, seconds }: TrainStep): object => ({
  step,
  loss,
  losses,
  metrics: Object.fromEntries(Object.entries(metrics).map(([name, t]) => [name, toNested(t)])),
  tokens_per_second: tokensPerSecond,
  seconds,
});

async function forPeople(training: Training, signal: AbortSignal): Promise<TrainStep | null> {
  note(opening(training));
  const shown = progress(process.stderr);
  let last: TrainStep | null = null;
  const stopping = (): void => (shown.done(), note("stopping after this step; Ctrl-C again quits at once"));
  signal.addEventListener("abort", stopping, { once: true });
  try {
    for await (const step of training.steps(signal)) {
      shown.step(step);
      last = step;
    }
  } finally {
    signal.removeEventListener("abort", stopping);
    shown.done();
  }
  return last;
}
function opening(training: Training): string {
  const { config, text, about, folder, from, inherited, sharding, quantised } = training;
  const { parameters, trained, unreached = [], plan } = about;
  const memory = "arena" in plan ? `, ${showBytes(plan.arena)} of memory` : "";
  const learned = trained < parameters ? `, of which ${showCount(trained)} are trained` : "";
  const of = folder === null || from === null || isOf(folder, from) ? "" : ` of ${config.from}`;
  return [
    `${config.model}: ${showCount(parameters)} parameters${learned}${memory}`,
    ...(unreached.length === 0 ? [] : [`no loss depends on ${listed(unreached)}, which will learn nothing`]),
    aboutData(config, text),
    ...[sharding, quantised].filter((line) => line !== null),
    ...begins(training),
    ...taken(inherited),
    ...(folder === null ? [] : [`run: ${folder}${from ? `, from step ${from.state.step}${of}` : ""}`]),
  ].join("\n");
}
function aboutData({ accumulate = 1, shuffle, sizes: { B, T } }: Training["config"], text: Training["text"]): string {
  const { bytes, heldOut, heldOutFiles, codec } = text;
  const rows = `${accumulate > 1 ? `${accumulate} times ` : ""}${pluralize(Number(B), "row")} of ${pluralize(Number(T), codec.unit)} a step${shuffle ? ", shuffled" : ""}`;
  const held = showTokens(heldOut.length, codec.unit);
  return `data: ${showBytes(bytes)}, ${rows}, ${heldOutFiles ? `${held} of ${heldOutFiles.files.join(", ")}` : `the last ${held}`} held out`;
}
function begins({ config: { params, upcycle }, missing, upcycled }: Training): string[] {
  if (missing === null || params === undefined) return [];
  const lacks = missing.length === 0 ? "" : `, which lacks ${listed(missing)}`;
  const offers = upcycle ? [] : upcycled.map(offerToCopy);
  const copies = upcycle ? upcycled.map(tellCopies) : [];
  return [[`begins with the parameters of ${params}${lacks}`, ...offers].join("; "), ...copies];
}
const listed = ([first = "", ...others]: readonly string[]): string =>
  others.length === 0 ? first : `${first} and ${others.length} more`;
/** A line about what the program's header has of the other run, for a learning rate of it may surprise. */
function taken(inherited: Training["inherited"]): string[] {
  const set = Object.entries(inherited).map(([name, value]) => `${name}=${value}`);
  return set.length === 0 ? [] : [`as that run had it: ${set.join(", ")}; --set changes it`];
}
function closing(
  { config, folder, about, from, best: before }: Training,
  last: TrainStep | null,
  patience: number | null,
  { aborted }: AbortSignal,
): string {
  const best = last?.best ?? before;
  const done = last?.step ?? from?.state.step ?? 0;
  const impatient = done < config.steps && best && isOutOfPatience(best, patience) ? noBetter(done, best) : null;
  if (!last)
    return impatient ?? (from ? unmoved(from.state.step, config.steps, aborted) : "stopped before the first step");
  const kept =
    config.keepBest && folder !== null && best ? `; the best, of step ${best.step}, in ${bestOf(folder)}` : "";
  const saved = last.saved === null ? "" : `saved in ${last.saved}${kept}`;
  if (impatient !== null) return `${impatient}\n${saved}`;
  if (last.step < config.steps)
    return `stopped at step ${last.step}; ${saved}; go on with --resume${folder === null ? "" : ` --out ${shellWord(folder)}`}`;
  const loss = (last.heldOut ?? Number.NaN).toFixed(3);
  return `held-out loss ${loss} ${measured(about)}\n${saved}`;
}
/** What a held-out loss is; beside it stands what a bigram model has, where that is of the same kind. */
function measured({ measure: { losses, unit }, bigram }: Training["about"]): string {
  if (unit === undefined) return `(${losses.join(" + ") || "all losses"})`;
  return bigram === undefined ? unit : `${unit}; a bigram model's is ${bigram.toFixed(3)}`;
}
const noBetter = (step: number, { since, ...best }: BestEvaluation): string =>
  `stopped at step ${step}: ${pluralize(since, "evaluation")} since step ${best.step} found no held-out loss below its ${best.heldOut.toFixed(3)}; --resume with a larger --patience, or none, goes on`;
const unmoved = (step: number, steps: number, aborted: boolean): string =>
  aborted
    ? `stopped at step ${step}; go on with --resume`
    : `the run is at step ${step}; --steps ${step + steps} trains on`;
async function showSample(training: Training, signal: AbortSignal): Promise<void> {
  const sample = training.sample({ tokens: 300, temperature: 0.8, signal });
  if (!sample) return;
  note("a sample:");
  try {
    for await (const piece of sample) write(piece);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    warn(`there is none: ${error.message}; ${error.help}`); // what was trained is saved
  }
  write("\n");
}
