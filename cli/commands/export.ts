import { Command } from "commander";
import { type ExportOptions, exportModel } from "../../runtime/import/export.ts";
import { average, examples, json, text } from "../flags.ts";
import { note, printJson, showCount, warn } from "../output.ts";

export const exportCommand = (): Command =>
  new Command("export")
    .description(
      "Write a model that moec import imported, fine-tuned or not, as a checkpoint of Hugging Face transformers (in bf16 where that was quantised).",
    )
    .argument("<folder>", "the folder of a training run, or of an imported model")
    .requiredOption("--like <folder>", "the folder that the model was imported from", text)
    .requiredOption("-o, --out <folder>", "the folder to write; it must not exist yet", text)
    .addOption(average())
    .addOption(json())
    .addHelpText(
      "after",
      examples(
        "moec import OLMoE-1B-7B",
        "moec train runs/OLMoE-1B-7B/model.moe --data book.txt --tokenizer OLMoE-1B-7B --params runs/OLMoE-1B-7B --out runs/tuned",
        "moec export runs/tuned --like OLMoE-1B-7B -o OLMoE-tuned",
      ),
    )
    .action(run);

interface Options extends Omit<ExportOptions, "folder" | "warn"> {
  json?: boolean;
}
function run(folder: string, { json, ...options }: Options): void {
  const { step, parameters, untied } = exportModel({ folder, ...options, warn });
  const { out } = options;
  if (json) return printJson({ folder: out, step, parameters, untied });
  const apart = untied ? ", head and embedding untied" : "";
  note(`step ${step}, ${showCount(parameters)} parameters${apart}: written to ${out}`);
}
