import { Command } from "commander";
import { whole } from "../../compiler/options.ts";
import { importModel } from "../../runtime/import/folder.ts";
import { examples, flag, json, out } from "../flags.ts";
import { note, printJson, showCount } from "../output.ts";

export const importCommand = (): Command =>
  new Command("import")
    .description("Take over a mixture of experts that transformers saved: Mixtral, OLMoE, Qwen3-MoE, DeepSeek-V3.")
    .argument("<folder>", "what save_pretrained wrote: config.json and safetensors")
    .addOption(out("folder", "where it goes; default: runs/NAME"))
    .addOption(flag("--context <n>", "positions of a sequence; default: what config.json says, up to 4096", whole(1)))
    .addOption(json())
    .addHelpText(
      "after",
      examples("moec import OLMoE-1B-7B", "moec generate runs/OLMoE-1B-7B --ids --prompt '510 5347 273'"),
    )
    .action(run);

interface Options {
  out?: string;
  context?: number;
  json?: boolean;
}
function run(folder: string, { json, ...options }: Options): void {
  const { out: made, model, parameters, context } = importModel({ folder, ...options });
  if (json) printJson({ folder: made, model, parameters, context });
  else note(`${model}, ${showCount(parameters)} parameters, ${context} positions: written to ${made}`);
}
