import { Command } from "commander";
import { integerIn, requireTarget } from "../../compiler/options.ts";
import { type EvaluateOptions, type Evaluation, evaluate } from "../../runtime/training/evaluate.ts";
import type { Workers } from "../../runtime/workers/workers.ts";
import {
  addShared,
  addSharing,
  addWeights,
  average,
  examples,
  flag,
  inputPath,
  json,
  sourceLanguage,
  targetLanguage,
} from "../flags.ts";
import { withWorkers } from "../multi-process.ts";
import {
  compileProgress,
  note,
  print,
  printJson,
  progressPrinter,
  showBytes,
  showCount,
  showTokens,
  warn,
} from "../output.ts";

export const evaluateCommand = (): Command =>
  addSharing(
    addWeights(addShared(new Command("evaluate")))
      .description(
        "Measure the loss of a trained or imported model on a whole text. Under mpirun, several processes share its experts and the batch.",
      )
      .argument("<folder>", "the folder of a training run, or of an imported model")
      .requiredOption(
        "--data <files...>",
        "text files, concatenated, .jsonl files of documents, or .npy files of token numbers; - is stdin",
      )
      .option("--ids", "the files hold token numbers: 5 12 7; the default if the model was trained on those")
      .addOption(sourceLanguage("the prompts"))
      .addOption(targetLanguage("of the answers"))
      .addOption(flag("--batch <n>", "rows of a batch; default: the run's, or 16", integerIn(1)))
      .addOption(
        flag(
          "--length <n>",
          "tokens of a row; there is no context before a row; default: the run's, or 128",
          integerIn(1),
        ),
      )
      .addOption(average()),
  )
    .addOption(json())
    .addHelpText(
      "after",
      examples(
        "moec evaluate runs/gpt-moe --data other.txt",
        "moec evaluate runs/OLMoE-1B-7B --data book.txt --length 1024 --batch 1",
        "mpirun -n 2 moec evaluate runs/OLMoE-1B-7B --data book.txt",
      ),
    )
    .action(run);

interface Options extends Omit<EvaluateOptions, "folder"> {
  json?: boolean;
}
const run = (folder: string, options: Options): Promise<void> =>
  withWorkers(options.threads, (world) => runEvaluation(folder, options, world));
async function runEvaluation(folder: string, { json, data, ...options }: Options, world: Workers): Promise<void> {
  requireTarget(options);
  const how = { folder, data: data.map(inputPath), ...options };
  if (world.rank > 0) return void (await evaluate(how, world));
  const encoding = progressPrinter("encoding", showBytes);
  const evaluating = progressPrinter("evaluating", showCount, 5);
  const start = performance.now();
  const told = { warn, tell: note, onCompile: compileProgress(), encoding, evaluating };
  const result = await evaluate({ ...how, ...told }, world);
  const seconds = (performance.now() - start) / 1000;
  if (json) printJson(record(result, seconds));
  else {
    note(`step ${result.step}; ${showTokens(result.targets, result.unit)} in ${seconds.toFixed(1)} s`);
    print(line(result));
  }
}
const record = ({ step, loss, losses, perplexity, bitsPerByte, targets }: Evaluation, seconds: number): object => ({
  step,
  loss,
  losses: Object.fromEntries(losses),
  ...(perplexity === undefined ? {} : { perplexity }),
  ...(bitsPerByte === undefined ? {} : { bits_per_byte: bitsPerByte }),
  targets,
  seconds: Number(seconds.toFixed(3)),
});
function line({ loss, losses, measure, perplexity, bitsPerByte }: Evaluation): string {
  if (perplexity === undefined) {
    const each = [...losses].map(([name, mean]) => `${name} ${mean.toFixed(3)}`);
    return `loss ${loss.toFixed(3)} (${each.join(" + ")})`;
  }
  const bits = bitsPerByte === undefined ? "" : `, ${bitsPerByte.toFixed(3)} bits a byte`;
  return `loss ${loss.toFixed(3)} ${measure.unit}, perplexity ${perplexity.toPrecision(4)}${bits}`;
}
