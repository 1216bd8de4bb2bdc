import { Command } from "commander";
import { commonFlags } from "../../compiler/options.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { type MergeOptions, mergeRun } from "../../runtime/merge.ts";
import { average, examples, flag, json, option, text } from "../flags.ts";
import { compileProgress, note, printJson, showCount, warn } from "../output.ts";

export const mergeCommand = (): Command =>
  new Command("merge")
    .description(
      "Make plain weights of a run with adapters (LoRA), whose layers say by `merged()` what they are without: a run of the model that it began from.",
    )
    .argument("<folder>", "the folder of a training run")
    .requiredOption("-o, --out <folder>", "the folder to write; it must not exist yet", text)
    .addOption(
      flag(
        "--into <model>",
        "the model without adapters: a .moe file, or a run of it (default: the run that --params named when this one began)",
        text,
      ),
    )
    .addOption(flag("--model <name>", "which model of that file; default: its only one", text))
    .addOption(option({ ...commonFlags.set, doc: "set a size or value of that model's header; repeatable" }))
    .addOption(average())
    .addOption(option(commonFlags.target))
    .addOption(option(commonFlags.threads))
    .addOption(json())
    .addHelpText(
      "after",
      examples(
        "moec train examples/lora.moe --data book.txt --params runs/gpt-moe",
        "moec merge runs/lora -o runs/tuned",
        "moec generate runs/tuned --prompt 'Call me'",
      ),
    )
    .action(run);

interface Options extends Omit<MergeOptions, "folder" | "warn"> {
  json?: boolean;
}
async function run(folder: string, { json, ...options }: Options): Promise<void> {
  const { step, model, parameters, merged } = await mergeRun({
    folder,
    ...options,
    warn,
    onCompile: compileProgress(),
  });
  const { out } = options;
  if (json) return printJson({ folder: out, step, model, parameters, merged });
  note(
    `step ${step}, ${model}, ${showCount(parameters)} parameters, ${pluralize(merged, "tensor")} merged: written to ${out}`,
  );
}
